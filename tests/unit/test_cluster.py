"""An exported job is whole, and its scripts run nothing that its spec says."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ml_core.data.specs import PairSpec
from ml_core.jobs import cluster
from ml_core.jobs.cluster import elsewhere, export_job
from ml_core.jobs.journal import write_json
from ml_core.jobs.specs import halved, read_spec
from ml_core.reading.errors import InputError
from ml_core.triggers import badnets_patch, save_trigger
from ml_core.triggers.files import load_trigger
from tests.unit.draining import finished
from tests.unit.small_jobs import small_recipe, small_spec

NASTY = """a "b" 'c' `touch pwned` $(touch pwned) ${HOME} \\ ; touch pwned # & | * ü"""
CONTROLS = ["\ntouch pwned\n#", "\r", "\x00", "\x1b[2J", "\x85", "\u2028", "\udcff"]


def _exported(spec, folder):
    job, slurm, shell = export_job(spec, folder, processes=4)
    for script in (slurm, shell):
        subprocess.run(["bash", "-n", str(script)], check=True)
    return job, slurm, shell


def _run(script, programs, **options):
    """Run a script as Slurm or a shell does; the words that each program was given."""
    programs.mkdir()
    told = programs / "told"
    for name in ("srun", "torchrun"):
        program = programs / name
        program.write_text(f"#!/bin/sh\n{{ printf '%s\\0' {name} \"$@\"; echo; }} >> '{told}'\n")
        program.chmod(0o755)
    subprocess.run(
        ["bash", str(script), "--resume"],
        check=True,
        cwd=options.get("cwd", script.parent),
        env={
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "CDPATH": options.get("CDPATH", ""),
        },
    )
    return [line.split("\0")[:-1] for line in told.read_text().splitlines()]


def _options(script):
    """The #SBATCH lines as Slurm reads them: quotes of both kinds, a backslash in each of them."""
    found = {}
    for line in script.read_text().splitlines():
        if not line.startswith("#SBATCH"):
            continue
        word, quote, escaped = "", "", False
        for character in line.removeprefix("#SBATCH").strip():
            if escaped:
                word, escaped = word + character, False
            elif character == "\\":
                escaped = True
            elif quote and character == quote:
                quote = ""
            elif not quote and character in "\"'":
                quote = character
            elif not quote and character.isspace():
                break
            else:
                word += character
        assert not quote
        name, _, value = word.partition("=")
        found[name] = value
    return found


@pytest.fixture
def nasty(tiny_checkpoint, tmp_path):
    """A job all of whose paths would do something if a shell read them."""
    trigger = tmp_path / f"{NASTY}.png"
    trigger.write_bytes(b"png")
    spec = small_spec(
        tiny_checkpoint,
        tmp_path / "out",
        small_recipe(),
        checkpoint=f"/data/{NASTY}/clip.pt",
        donor=f"/data/'{NASTY}'",
        label_set=f"/data/{NASTY}.txt",
        trigger=str(trigger),
    )
    pairs = spec.pairs.model_copy(update={"path": f"/pairs/{NASTY}", "exclude": f"-n {NASTY}"})
    return spec.model_copy(update={"pairs": pairs})


@pytest.mark.skipif(os.name == "nt", reason="scripts of POSIX")
@pytest.mark.parametrize("which", ["slurm", "shell"])
def test_a_script_runs_the_job_and_nothing_of_its_paths(nasty, tmp_path, which):
    folder = tmp_path / NASTY / "job"
    job, slurm, shell = _exported(nasty, folder)
    before = sorted(tmp_path.rglob("*"))
    asked = _run(slurm if which == "slurm" else shell, tmp_path / "programs")
    made = [path for path in tmp_path.rglob("*") if path not in before]
    assert {path.name for path in made} == {"programs", "srun", "torchrun", "told"}
    assert asked[-1][-3 if which == "shell" else -2 :][:2] == ["ml_core.jobs.worker", "job.json"]
    assert read_spec(job).checkpoint == nasty.checkpoint


@pytest.mark.skipif(os.name == "nt", reason="scripts of POSIX")
def test_a_shell_script_goes_to_its_own_folder(nasty, tmp_path):
    """Not to one of the same name that CDPATH knows, nor to an option."""
    folder, other = tmp_path / "here" / "-P", tmp_path / "other"
    (other / "-P").mkdir(parents=True)
    _exported(nasty, folder)
    (tmp_path / "programs").mkdir()
    program = tmp_path / "programs" / "torchrun"
    program.write_text("#!/bin/sh\npwd -P\n")
    program.chmod(0o755)
    done = subprocess.run(
        ["bash", "--", "-P/run.sh"],
        check=True,
        capture_output=True,
        text=True,
        cwd=folder.parent,
        env={"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", "CDPATH": str(other)},
    )
    assert done.stdout == f"{folder.resolve()}\n"


def test_slurm_reads_its_lines_as_they_are_meant(nasty, tmp_path):
    _, slurm, _ = _exported(nasty, tmp_path / "job")
    options = _options(slurm)
    assert options["--job-name"] == "cleanclip-cleanclip"
    assert options["--gpus-per-node"] == "4"
    (tmp_path / "line").write_text(cluster._sbatch("job-name", NASTY))
    assert _options(tmp_path / "line") == {"--job-name": NASTY}


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("field", ["checkpoint", "donor", "reference", "trigger", "label_set"])
def test_a_line_end_in_a_path_is_refused(tiny_checkpoint, tmp_path, field, control):
    spec = small_spec(
        tiny_checkpoint, tmp_path / "out", small_recipe(), **{field: f"/data/a{control}b"}
    )
    _refused(spec, tmp_path / "job")


@pytest.mark.parametrize("name", ["path", "pictures", "exclude"])
def test_a_line_end_in_a_set_is_refused(tiny_checkpoint, tmp_path, name):
    spec = small_spec(tiny_checkpoint, tmp_path / "out", small_recipe())
    pairs = spec.pairs.model_copy(update={name: "/pairs\ntouch pwned"})
    _refused(spec.model_copy(update={"pairs": pairs}), tmp_path / "job")


def _refused(spec, folder):
    with pytest.raises(InputError) as refusal:
        export_job(spec, folder)
    sentence = refusal.value.sentence
    assert sentence.endswith("has a line end or another control character in its name; rename it.")
    assert sentence.isprintable()
    assert not folder.exists()


def test_an_exported_job_is_read_where_it_lies(tiny_checkpoint, tmp_path):
    trigger = tmp_path / "mine.png"
    trigger.write_bytes(b"png")
    (tmp_path / "mine.json").write_text("{}")
    pairs = PairSpec(kind="coco", path="/d/a.json", pictures="/d/pictures", exclude="/d/out.json")
    spec = small_spec(
        tiny_checkpoint, tmp_path / "out", small_recipe(), trigger=str(trigger), pairs=pairs
    )
    folder = tmp_path / "cluster job"
    job, slurm, _ = _exported(spec, folder)
    assert {path.name for path in folder.iterdir()} == {
        "job.json", "job.slurm", "run.sh", "mine.png", "mine.json"
    }  # fmt: skip
    assert read_spec(job) == spec.model_copy(
        update={"output_dir": str(folder / "results"), "trigger": str(folder / "mine.png")}
    )
    seen_there = {str(tiny_checkpoint), "/d/a.json", "/d/pictures", "/d/out.json"}
    assert seen_there <= set(elsewhere(spec))
    text = slurm.read_text()
    for words in (
        "torchrun --standalone --nproc_per_node=4", str(tiny_checkpoint), "batch_norm to frozen",
    ):  # fmt: skip
        assert words in text
    trigger.unlink()
    with pytest.raises(InputError, match=r"trigger .*mine\.png cannot be read; put it back"):
        export_job(spec, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_results_brought_back_hold_the_trigger(tiny_checkpoint, tmp_path):
    trigger = badnets_patch(size=0.3)
    spec = small_spec(
        tiny_checkpoint, tmp_path / "out", small_recipe(pairs=8),
        trigger=str(save_trigger(trigger, tmp_path / "patch")[1]), test_images=None,
    )  # fmt: skip
    there = tmp_path / "there"
    finished(read_spec(export_job(spec, there)[0]))
    back = (there / "results").rename(tmp_path / "back")
    shutil.rmtree(there)
    brought = Path(read_spec(back / "spec.json").trigger or "")
    assert brought.parent == back
    assert load_trigger(brought).digest == trigger.digest


def test_the_slurm_script_goes_on_until_the_run_is_finished(tiny_checkpoint, tmp_path):
    folder, tools = tmp_path / "job", tmp_path / "tools"
    export_job(small_spec(tiny_checkpoint, tmp_path / "out", small_recipe()), folder)
    tools.mkdir()
    (tools / "srun").write_text('#!/bin/sh\necho "$0 $@ $TORCH_ELASTIC_SHUTDOWN_TIMEOUT"\n')
    (tools / "srun").chmod(0o755)

    def submitted():
        path = {"PATH": f"{tools}:{os.environ['PATH']}"}
        command = ["bash", "job.slurm"]
        done = subprocess.run(
            command, cwd=folder, env=path, check=True, capture_output=True, text=True
        )
        return done.stdout

    first = submitted()
    assert "ml_core.jobs.worker job.json" in first
    assert "--resume" not in first
    assert first.rstrip().endswith(" 110")  # of the 120 seconds
    (folder / "results" / "state").mkdir(parents=True)
    (folder / "results" / "state" / "state.safetensors").touch()
    assert "job.json --resume" in submitted()
    write_json({"status": "stopped"}, folder / "results" / "result.json")
    assert "job.json --resume" in submitted()
    write_json({"status": "finished"}, folder / "results" / "result.json")
    assert submitted().startswith("The run is finished.")


def test_half_as_much_in_memory(tmp_path):
    spec = small_spec(tmp_path / "x.safetensors", tmp_path / "out", small_recipe())
    smaller = halved(spec)
    assert (smaller.recipe.batch_size, smaller.recipe.cache_chunk) == (4, 0)
    frozen = spec.model_copy(update={"recipe": spec.recipe.changed(batch_norm="frozen")})
    for known in (halved(spec, batch_norm=False), halved(frozen)):
        assert (known.recipe.batch_size, known.recipe.cache_chunk) == (8, 4)
        assert halved(known, batch_norm=False).recipe.cache_chunk == 2

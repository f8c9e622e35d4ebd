"""An exported job is whole, and its scripts run nothing that its spec says."""

from __future__ import annotations

import os
import subprocess

import pytest

from ml_core.data.specs import PairSpec
from ml_core.jobs.cluster import elsewhere, export_job
from ml_core.jobs.journal import write_json
from ml_core.jobs.specs import read_spec
from ml_core.reading.errors import InputError
from tests.unit.small_jobs import small_recipe, small_spec

NASTY = """a "b" 'c' `touch pwned` $(touch pwned) ${HOME} \\ ; touch pwned # & | * ü"""


def _run(script, programs):
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
        cwd=script.parent,
        env={"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
    )
    return [line.split("\0")[:-1] for line in told.read_text().splitlines()]


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
    job, slurm, shell = export_job(nasty, folder, processes=4)
    before = sorted(tmp_path.rglob("*"))
    asked = _run(slurm if which == "slurm" else shell, tmp_path / "programs")
    made = [path for path in tmp_path.rglob("*") if path not in before]
    assert {path.name for path in made} == {"programs", "srun", "torchrun", "told"}
    assert asked[-1][-3 if which == "shell" else -2 :][:2] == ["ml_core.jobs.worker", "job.json"]
    assert read_spec(job).checkpoint == nasty.checkpoint


@pytest.mark.parametrize(
    ("field", "control"),
    [("checkpoint", "\ntouch pwned\n#"), ("donor", "\r"), ("reference", "\x00"),
     ("trigger", "\x1b[2J"), ("label_set", "\x85"), ("label_set", "\u2028"),
     ("pairs", "\ntouch pwned\n#"), ("checkpoint", "\udcff")],
)  # fmt: skip
def test_a_line_end_in_a_path_is_refused(tiny_checkpoint, tmp_path, field, control):
    path, folder = f"/data/a{control}b", tmp_path / "job"
    value = PairSpec(kind="csv", path=path) if field == "pairs" else path
    spec = small_spec(tiny_checkpoint, tmp_path / "out", small_recipe(), **{field: value})
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
    job, slurm, _ = export_job(spec, folder, processes=4)
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

"""The scripts of an exported job run nothing that its spec says."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ml_core.jobs import cluster
from ml_core.jobs.cluster import export_job
from ml_core.jobs.specs import CleanSpec, read_spec
from ml_core.reading.errors import InputError
from tests.unit.small_jobs import small_recipe, small_spec

NASTY = """a "b" 'c' `touch pwned` $(touch pwned) ${HOME} \\ ; touch pwned # & | * ü"""
CONTROLS = ["\ntouch pwned\n#", "\r", "\x00", "\x1b[2J", "\x85", "\u2028", "\udcff"]


def _exported(spec: CleanSpec, folder: Path) -> tuple[Path, Path, Path]:
    job, slurm, shell = export_job(spec, folder, processes=4, machines=2)
    for script in (slurm, shell):
        subprocess.run(["bash", "-n", str(script)], check=True)
    return job, slurm, shell


def _run(script: Path, programs: Path, **options: str) -> list[list[str]]:
    """Run a script as Slurm or a shell does; the words that each program was given."""
    programs.mkdir()
    told = programs / "told"
    for name in ("scontrol", "srun", "torchrun"):
        program = programs / name
        program.write_text(
            f"#!/bin/sh\n{{ printf '%s\\0' {name} \"$@\"; echo; }} >> '{told}'\necho node-1\n"
        )
        program.chmod(0o755)
    subprocess.run(
        ["bash", str(script), "--resume"],
        check=True,
        cwd=options.get("cwd", script.parent),
        env={
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NODELIST": "node-[1-2]",
            "CDPATH": options.get("CDPATH", ""),
        },
    )
    return [line.split("\0")[:-1] for line in told.read_text().splitlines()]


def _options(script: Path) -> dict[str, str]:
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
def nasty(tiny_checkpoint: Path, tmp_path: Path) -> CleanSpec:
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
    assert {path.name for path in made} == {"programs", "scontrol", "srun", "torchrun", "told"}
    assert asked[-1][-3 if which == "shell" else -2 :][:2] == ["ml_core.jobs.worker", "job.json"]
    if which == "slurm":
        assert asked[0] == ["scontrol", "show", "hostnames", "node-[1-2]"]
        assert "--rdzv_endpoint=node-1:29400" in asked[1]
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
    assert options["--nodes"] == "2"
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


def _refused(spec: CleanSpec, folder: Path) -> None:
    with pytest.raises(InputError) as refusal:
        export_job(spec, folder)
    sentence = refusal.value.sentence
    assert sentence.endswith("has a line end or another control character in its name; rename it.")
    assert sentence.isprintable()
    assert not folder.exists()

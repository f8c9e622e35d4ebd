"""One audit in two processes gives, number by number, what it gives in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ml_core.cli.app import run_command
from ml_core.data.order import epoch_order
from ml_core.data.specs import PairSpec
from ml_core.detection.records import read_audit
from ml_core.events import Done, Event, Progress
from ml_core.jobs.audit import AUDIT_FILE, SCORES_FILE, THUMBNAILS_FILE, AuditSpec
from ml_core.jobs.specs import read_spec_file, write_spec_file
from tests.unit.draining import finished
from tests.unit.two_processes import two_processes
from tests.warm import Program, Warm

N = 200


def _pairs(folder: Path, count: int, seed: int, torn: tuple[int, ...] = ()) -> PairSpec:
    """Pictures of noise with captions, of which some cannot be read."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    lines = ["image,caption"]
    for i in range(count):
        path = folder / f"{i}.png"
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(path)
        lines.append(f"{i}.png,thing {seed} {i}")
        if i in torn:
            path.write_bytes(path.read_bytes()[:200])
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    return PairSpec(kind="csv", path=str(folder / "pairs.csv"))


@pytest.fixture
def spec(tiny_checkpoint: Path, tmp_path: Path) -> AuditSpec:
    return AuditSpec(
        checkpoint=str(tiny_checkpoint),
        pairs=_pairs(tmp_path / "set", N, 0, torn=(3, 70, 140, 199)),
        k=4,
        chunk_size=64,
        worst=7,
        output_dir=str(tmp_path / "one"),
        device="cpu",
        threads=1,
    )


def _ended(events: list[Event]) -> Done:
    assert isinstance(events[-1], Done)
    return events[-1]


def _in_two(
    spec: AuditSpec, warm: Warm, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[list[Event]], list[int]]:
    """In a home of its own, so that nothing is found in the cache."""
    home = Path(spec.output_dir).parent / "home of two"
    home.mkdir()
    monkeypatch.setenv("CLEANCLIP_HOME", str(home))
    path = write_spec_file(spec, home.parent / "job.json")
    return two_processes(warm, path, "--audit")


@pytest.mark.parametrize("beside", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_two_processes_give_the_scores_of_one(spec, tmp_path, warm_torch, beside, monkeypatch):
    changes: dict[str, Any] = {}
    if beside:
        changes["reference"] = _pairs(tmp_path / "clean", 300, 1, torn=(5, 6, 7))
    one = spec.model_copy(update=changes)
    finished(one)
    two = one.model_copy(update={"output_dir": str(tmp_path / "two")})
    events, codes = _in_two(two, warm_torch, monkeypatch)
    assert codes == [0, 0], events
    assert _ended(events[0]).status == "finished", events[0]
    assert events[1] == []  # the second process is silent
    for name in (SCORES_FILE, THUMBNAILS_FILE):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    found, wanted = (read_audit(tmp_path / part / AUDIT_FILE).to_dict() for part in ("two", "one"))
    assert (found["facts"].pop("processes"), wanted["facts"].pop("processes")) == (2, 1)
    assert wanted["unread"] == 4
    assert found == wanted  # ranks, shares, histograms, and what could not be read
    last = [e for e in events[0] if isinstance(e, Progress) and e.stage == "embed"][-1]
    assert (last.done, last.total) == (N, N)


def test_what_one_process_cannot_do_ends_all_with_its_sentence(
    spec, tmp_path, warm_torch, monkeypatch
):
    """The second process has a chunk of which nothing can be read."""
    parts = np.array_split(epoch_order(0, 0, N), 3)
    folder = Path(spec.pairs.path or "").parent
    for index in parts[1].tolist():
        (folder / f"{index}.png").write_bytes(b"torn")
    events, codes = _in_two(spec, warm_torch, monkeypatch)
    done = _ended(events[0])
    assert codes == [2, 2]
    assert (done.status, done.error_code) == ("failed", "damaged")
    assert done.error.startswith(f"Of {len(parts[1])} pairs that were to be compared only ")
    assert not (tmp_path / "one").exists()


def test_the_command_writes_a_job_for_several_processes(spec, tmp_path, capsys):
    folder = tmp_path / "job"
    command = ["audit", spec.checkpoint, "--pairs", str(spec.pairs.path), "-o", "unused"]
    assert run_command([*command, "--k", "4", "--export", str(folder), "--processes", "8"]) == 0
    line = "torchrun --standalone --nproc_per_node=8 -m ml_core.jobs.worker job.json --audit"
    assert line in " ".join(capsys.readouterr().out.split())
    assert f'exec {line} "$@"' in (folder / "run.sh").read_text()
    job = read_spec_file(folder / "job.json", AuditSpec)
    assert (job.k, job.output_dir, job.pairs.path) == (4, "results", spec.pairs.path)
    assert not Path("unused").exists()


def test_cancelling_the_first_process_ends_all(spec, tmp_path, warm_torch):
    slow = spec.model_copy(update={"pairs": PairSpec(n=4000), "batch_size": 1})
    path = write_spec_file(slow, tmp_path / "job.json")

    def cancel(first: Program) -> None:
        assert first.stdout is not None
        for line in first.stdout:
            if '"embed"' in line:
                break
        first.stdin.write("cancel\n")
        first.stdin.flush()

    options, module = ("--audit", "--supervised"), "tests.unit.patient_worker"
    events, codes = two_processes(warm_torch, path, *options, module=module, meanwhile=cancel)
    assert codes == [0, 0]  # as asked
    assert _ended(events[0]) == Done("cancelled")
    assert not (tmp_path / "one").exists()

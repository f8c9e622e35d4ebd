"""*Clean it*: the chain, with a scan that says what it is told to, and what it chooses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import load_file, save_file

from ml_core.cleaning.pretraining import DEMO, UNKNOWN
from ml_core.cli.app import run_command
from ml_core.data.demo import demo_classes
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.detection.scan.overlays import FREQUENCIES
from ml_core.detection.scan.records import PATCHES_FILE, Scan, Verdict
from ml_core.detection.scan.working import working_triggers
from ml_core.events import Control, Done, Event, Finding, Metric, Saved
from ml_core.jobs.auto import AutoResult, AutoSpec
from ml_core.jobs.auto.choice import Round, best_round, choice
from ml_core.jobs.auto.words import sentences
from ml_core.jobs.runner import run_job
from ml_core.jobs.scan import SCAN_SPEC, ScanSpec
from ml_core.jobs.specs import RESULT_FILE, read_spec, read_spec_file, write_spec_file
from ml_core.reading import examine
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger, badnets_patch, load_trigger, save_trigger
from tests.gui.scans import SIDE, stages, write_scan
from tests.gui.scans import scan as made_scan
from tests.unit.draining import done_of, events_of, finished, metrics_of
from tests.unit.pair_files import table
from tests.unit.small_jobs import drawn_here, few_climbs, small_recipe, small_spec

Say = Callable[..., None]


def write_found(folder: Path, found: Scan) -> None:
    """The folder of a scan with all its arrays."""
    write_scan(folder, found)
    arrays = load_file(folder / PATCHES_FILE)
    arrays["refined"] = np.full((3, SIDE, SIDE), 0.5, np.float32)
    arrays["overlays.0"] = np.ones((3, FREQUENCIES, FREQUENCIES), np.float32)
    arrays["overlays.1"] = np.ones((2, 6, 6), np.float32)  # of a warp
    save_file(arrays, folder / PATCHES_FILE)


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Say:
    """Lets scans say these verdicts, one after the other, or fail with a sentence."""

    def set_verdicts(*verdicts: str) -> None:
        left = iter(verdicts)

        def scan(spec: ScanSpec, control: Control, *, overwrite: bool = False) -> Iterator[Event]:
            verdict = next(left)
            if verdict not in ("found", "nothing", "unknown"):
                raise InputError(verdict)
            sha256 = examine(Path(spec.checkpoint)).sha256
            found = made_scan(verdict, sha256=sha256, classes=tuple(demo_classes()))  # type: ignore[arg-type]
            write_found(Path(spec.output_dir), found.model_copy(update={"reference": None}))
            write_spec_file(spec, Path(spec.output_dir) / SCAN_SPEC)
            yield Done("finished", found.model_dump())

        monkeypatch.setattr("ml_core.jobs.scan.run.scan", scan)

    return set_verdicts


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes of six steps with few adversaries, and hold-outs of few triggers and pairs."""
    few_climbs(monkeypatch)

    def small(method: Any, _name: str, _pretraining: object) -> Any:
        return small_recipe(
            method=method, eval_every=3, save_every=2, stop_below_ca=0.0, adversaries=1,
            adversary_steps=2,
        )  # fmt: skip

    monkeypatch.setattr("ml_core.jobs.auto.choice.preset", small)
    # What six steps cost says nothing.
    monkeypatch.setattr("ml_core.jobs.auto.choice.COSTLY", 100.0)
    monkeypatch.setattr("ml_core.jobs.proofs.holdouts.LIBRARY", ())
    monkeypatch.setattr("ml_core.jobs.proofs.holdouts._SECOND", ())
    monkeypatch.setattr("ml_core.jobs.proofs.holdouts.MOST", 16)
    monkeypatch.setattr("ml_core.jobs.clean_it.PROOF_IMAGES", 48)


@pytest.fixture
def spec(tiny_checkpoint: Path, tmp_path: Path) -> AutoSpec:
    images = ImageSpec(split="val", n=24)
    base = small_spec(tiny_checkpoint, tmp_path / "auto", small_recipe(), images=images)
    return AutoSpec(base=base, rebound_steps=2, proof_images=8)


def told(result: AutoResult) -> str:
    return " ".join((*result.reasons, *result.sentences))


def result_of(done: Done) -> AutoResult:
    return AutoResult.model_validate(done.result)


def test_what_was_found_is_stamped_measured_and_proven(spec, say):
    say("found", "nothing")
    events, done = events_of(spec)
    assert done.status == "finished", done.error + done.details
    result, folder = result_of(done), Path(spec.base.output_dir)
    assert AutoResult.model_validate_json((folder / "auto.json").read_text()).steps == result.steps
    assert [(step.kind, step.status) for step in result.steps] == [
        ("scan", "finished"), ("clean", "finished"), ("scan", "finished"),
        ("rebound", "finished"), ("holdouts", "finished"),
    ]  # fmt: skip
    steps = [event.values["status"] for event in events if isinstance(event, Finding)]
    assert steps == ["running", "finished"] * 5
    for name in ("rebound.json", "holdouts.json"):
        assert json.loads((folder / "round-1" / name).read_text())["n"] == 8
    job = read_spec(folder / "round-1" / "spec.json")
    assert (job.recipe.method, job.recipe.made_up_share) == ("stamped", 0.25)
    assert len({load_trigger(path).digest for path in job.stamps}) == len(job.stamps) > 6
    digest = load_trigger(folder / "scan-0" / "found.json").digest
    assert load_trigger(job.trigger).digest == digest
    assert demo_classes()[job.target] == "banana"
    assert (result.best, result.outcome) == ("round-1", "nothing_found")
    assert Path(result.checkpoint).is_file()
    for words in (
        "After cleaning the same scan finds nothing.",
        "Within 2 steps of finetuning on clean data, the attack success rate reached",
        "Clean accuracy went from", "says: Backdoor-like: banana.",
    ):  # fmt: skip
        assert words in told(result)
    say()  # another scan would fail
    events, again = events_of(spec)
    assert result_of(again).sentences == result.sentences
    assert not metrics_of(events)
    kept = (folder / "auto.json").read_text()
    run = run_job(spec, Control())
    next(run)
    run.close()  # before its first step has ended
    assert (folder / "auto.json").read_text() == kept


@pytest.mark.parametrize("minutes", [None, 0.01])
def test_few_pairs_are_shown_more_often_and_some_are_left_for_the_rebound_test(
    spec, say, tmp_path, monkeypatch, minutes
):
    drawn_here(monkeypatch)
    say("found", "nothing")
    own = PairSpec(kind="csv", path=str(table(tmp_path / "own", range(0, 200, 10))))
    base = spec.base.model_copy(update={"pairs": own, "minutes": minutes})
    events, done = events_of(spec.model_copy(update={"base": base}))
    assert {step.kind: step.status for step in result_of(done).steps}["rebound"] == "finished"
    assert result_of(done).comes_back is not None
    folder = Path(spec.base.output_dir) / "round-1"
    job = read_spec(folder / "spec.json")
    assert job.pairs.n == 18
    assert minutes or (job.recipe.total_steps, job.recipe.epochs) == (6, 3)
    assert json.loads((folder / "rebound.json").read_text())["pairs"] == 2
    assert any("2 are kept for the rebound test" in getattr(e, "text", "") for e in events)


def test_where_nothing_is_found_it_says_what_the_cleaning_cost(spec, say):
    say("nothing", "nothing")
    result = result_of(finished(spec))
    assert [step.status for step in result.steps] == ["finished"] * 3 + ["skipped"] * 2
    assert result.steps[1].why.startswith("No trigger is known")
    assert "no attack success rate to prove" in result.steps[-1].sentence
    assert not result.called_for
    assert "Nothing called for cleaning: it cost" in told(result)
    job = read_spec(Path(spec.base.output_dir) / "round-1" / "spec.json")
    assert (job.stamps, job.trigger, job.recipe.made_up_share) == ((), None, 1.0)


def test_a_trigger_that_is_only_measured_is_not_learnt_from(spec, say, tmp_path, monkeypatch):
    trigger = str(save_trigger(badnets_patch(size=0.3), tmp_path / "patch")[1])
    other = str(save_trigger(badnets_patch(size=0.2), tmp_path / "other")[1])
    base = spec.base.model_copy(update={"trigger": trigger})
    monkeypatch.setattr("ml_core.jobs.clean_it._MOST_STAMPS", 1)
    for measure_only, stamps in ((False, 1), (True, 0)):
        say("nothing", "nothing")
        folder = tmp_path / f"auto-{stamps}"
        given = () if measure_only else (other,)
        own = base.model_copy(update={"output_dir": str(folder), "stamps": given})
        result = result_of(
            finished(spec.model_copy(update={"base": own, "measure_only": measure_only}))
        )
        job = read_spec(folder / "round-1" / "spec.json")
        assert len(job.stamps) == stamps  # no more than can be written in a job
        assert all(load_trigger(path).digest == load_trigger(trigger).digest for path in job.stamps)
        assert job.recipe.made_up_share == (1.0 if measure_only else 0.25)
        assert "The attack success rate of “BadNets noise” went from" in told(result)
        assert "Nothing called for cleaning" not in told(result)


def test_what_is_left_after_all_rounds_is_said_with_what_else_there_is(spec, say):
    say("found", "found", "found")
    result = result_of(finished(spec.model_copy(update={"rounds": 2})))
    assert [step.round for step in result.steps if step.kind == "clean"] == [1, 2]
    assert result.outcome == "still_found"
    folder = Path(spec.base.output_dir)
    first, second = (read_spec(folder / name / "spec.json") for name in ("round-1", "round-2"))
    assert second.recipe.total_steps == 2 * first.recipe.total_steps
    assert second.checkpoint == first.checkpoint
    assert "What is left could not be cleaned away." in told(result)
    assert "use it instead" in told(result)  # the record's reference is near
    assert "safe" not in told(result)


def test_a_chain_that_was_killed_goes_on_where_it_was(spec, say):
    say("found", "nothing")
    run = run_job(spec, Control())
    for event in run:
        if isinstance(event, Metric) and event.step == 5:
            run.close()
    say("nothing")
    events, done = events_of(spec)
    assert done.status == "finished", done.error
    assert min(event.step for event in metrics_of(events) if "loss" in event.values) > 2
    assert [step.status for step in result_of(done).steps] == ["finished"] * 5


def test_a_stop_keeps_what_the_step_has_and_a_cancel_what_is_finished(spec, say):
    for act, status in (("stop", "stopped"), ("cancel", "cancelled")):
        say(*(["found"] if act == "stop" else []), "nothing")
        control = Control()
        for event in run_job(spec, control):
            if isinstance(event, Metric):
                getattr(control, act)()
        assert event.status == status
        kept = AutoResult.model_validate_json(
            (Path(spec.base.output_dir) / "auto.json").read_text()
        )
        steps = [(step.kind, step.status) for step in kept.steps]
        half = [("clean", "stopped")] if act == "stop" else []
        assert steps == [("scan", "finished"), *half]
        saved = "round-1" if act == "stop" else None
        assert (kept.best, kept.outcome) == (saved, "not_scanned")
    assert result_of(finished(spec)).outcome == "nothing_found"


def test_a_round_that_was_stopped_can_be_kept_as_it_is(spec, say):
    say("found", "nothing")
    stop, cancel = Control(), Control()
    for event in run_job(spec, stop):
        if isinstance(event, Metric):
            stop.stop()
    cleaned = Path(spec.base.output_dir) / "round-1" / "cleaned.safetensors"
    weights = cleaned.read_bytes()
    for event in run_job(spec, cancel):  # trained on for a moment
        if isinstance(event, Metric):
            cancel.cancel()
    assert event.status == "cancelled"
    result = result_of(finished(spec.model_copy(update={"keep_stopped": True})))
    assert [(step.kind, step.status) for step in result.steps[:3]] == [
        ("scan", "finished"), ("clean", "finished"), ("scan", "finished"),
    ]  # fmt: skip
    assert "It was stopped by hand before its end" in result.steps[1].sentence
    assert "It was stopped by hand before its end" in told(result)
    assert (result.best, result.outcome) == ("round-1", "nothing_found")
    assert result.comes_back is not None
    assert cleaned.read_bytes() == weights


def test_a_round_that_was_kept_stays_so_when_a_later_one_goes_on(spec, say):
    say("found", "found", "nothing")
    for keep in (False, True):
        control = Control()
        for event in run_job(spec.model_copy(update={"keep_stopped": keep}), control):
            if isinstance(event, Metric) and "loss" in event.values:
                control.stop()
    assert event.status == "stopped"
    cleaned = Path(spec.base.output_dir) / "round-1" / "cleaned.safetensors"
    weights, times = cleaned.read_bytes(), cleaned.stat().st_mtime_ns
    result = result_of(finished(spec))
    assert [(step.kind, step.status) for step in result.steps[:5]] == [
        ("scan", "finished"), ("clean", "finished"), ("scan", "finished"),
        ("clean", "finished"), ("scan", "finished"),
    ]  # fmt: skip
    assert (cleaned.read_bytes(), cleaned.stat().st_mtime_ns) == (weights, times)


def test_what_a_stop_saved_does_not_outlive_its_weights(spec, say):
    say("found", "nothing")
    result = Path(spec.base.output_dir) / "round-1" / RESULT_FILE
    for until in (Metric, Saved):
        control = Control()
        for event in run_job(spec, control):
            if isinstance(event, until) and (until is Metric or event.what == "checkpoint"):
                (control.stop if until is Metric else control.cancel)()
        assert result.exists() == (until is Metric)
    kept = result_of(finished(spec.model_copy(update={"keep_stopped": True})))
    assert (kept.steps[1].status, kept.outcome) == ("finished", "nothing_found")


def test_what_fails_is_a_step_that_says_why_and_the_rest_goes_on(spec, say):
    say("The pictures cannot be read.", "nothing")
    few = spec.base.model_copy(
        update={"pairs": PairSpec(n=4), "training_images": ImageSpec(split="clean", n=60)}
    )
    result = result_of(finished(spec.model_copy(update={"base": few})))
    assert [(step.status, step.folder) for step in result.steps[:4]] == [
        ("failed", "scan-0"), ("failed", "round-1"), ("finished", "round-1-unlearning"),
        ("finished", "scan-1"),
    ]  # fmt: skip
    assert result.steps[0].sentence == "The pictures cannot be read."
    assert "fewer than the batch size" in result.steps[1].sentence
    assert result.steps[2].why.startswith("Stamped finetuning could not run.")
    assert "could not be scanned before cleaning" in told(result)
    assert "Not tested" not in told(result)  # no trigger is known


def test_a_proof_that_could_not_be_run_is_named(spec, say, monkeypatch):
    def rebounded(*_: object, **__: object) -> Iterator[Event]:
        raise InputError("No pair is left.")
        yield

    monkeypatch.setattr("ml_core.jobs.clean_it.rebounded", rebounded)
    say("found", "nothing")
    result = result_of(finished(spec))
    assert "Not tested: whether the backdoor comes back. No pair is left." in told(result)
    assert (result.outcome, result.comes_back) == ("nothing_found", None)


def test_a_step_that_has_become_another_job_is_done_anew(spec, say):
    say("The pictures cannot be read.", "nothing")
    assert result_of(finished(spec)).steps[1].why.startswith("No trigger is known")
    say("found", "nothing")
    steps = result_of(finished(spec)).steps
    assert [(step.status, step.folder) for step in steps[:3]] == [
        ("finished", "scan-0"), ("finished", "round-1"), ("finished", "scan-1"),
    ]  # fmt: skip
    assert "that worked in the scan or that you named" in steps[1].why


def test_a_chain_without_pictures_does_not_begin(spec):
    sets = {"images": None, "test_images": None, "training_images": None}
    done = done_of(spec.model_copy(update={"base": spec.base.model_copy(update=sets)}))
    assert "no pictures to scan on" in done.error
    assert not (Path(spec.base.output_dir) / "auto.json").exists()


def test_a_chain_in_which_nothing_could_be_cleaned_ends_with_its_sentence(spec, say):
    say("found")
    few = spec.base.model_copy(update={"pairs": PairSpec(n=4)})
    done = done_of(spec.model_copy(update={"base": few}))
    assert done.status == "failed"
    assert done.error
    assert [step["status"] for step in done.result["steps"]] == ["finished"] + ["failed"] * 2


def test_a_scan_that_is_there_is_begun_with_and_repeated(spec, say, tmp_path, tiny_checkpoint):
    say("nothing")
    other = ScanSpec(
        checkpoint="elsewhere.safetensors", donor="other.safetensors", threads=3, seed=7,
        images=ImageSpec(split="test", n=32), output_dir=str(tmp_path / "s"),
    )  # fmt: skip
    sha256, classes = examine(tiny_checkpoint).sha256, tuple(demo_classes())
    found = made_scan("found", sha256=sha256, classes=classes).model_copy(
        update={"reference": None}
    )
    write_found(tmp_path / "s", found)
    write_spec_file(other, tmp_path / "s" / SCAN_SPEC)
    begun = spec.model_copy(update={"scanned": str(tmp_path / "s")})
    result = result_of(finished(begun))
    assert result.steps[0].folder == str(tmp_path / "s")
    again = read_spec_file(Path(spec.base.output_dir) / "scan-1" / SCAN_SPEC, ScanSpec)
    assert (again.seed, again.images, again.checkpoint) == (7, other.images, result.checkpoint)
    base = spec.base
    assert (again.donor, again.threads, again.templates) == (None, base.threads, base.templates)
    for changes, words in (
        ({"suspect": made_scan().suspect}, "is of another checkpoint"),
        ({"classes": classes[::-1]}, "has other classes"),
        ({"reference": made_scan().reference}, "another reference"),
    ):
        write_found(tmp_path / "s", found.model_copy(update=changes))
        assert words in done_of(begun).error


def test_another_chains_folder_is_not_written_over_unasked(spec, say):
    say("nothing", "nothing", "nothing", "nothing")
    finished(spec)
    record = Path(spec.base.output_dir) / "auto.json"
    kept = record.read_text()
    record.write_text(json.dumps(json.loads(kept) | {"checkpoint_sha256": "0" * 64}))
    assert "holds the result of another job (auto.json)" in done_of(spec).error  # at the same path
    record.write_text(kept)
    other = spec.base.model_copy(update={"pairs": PairSpec(n=40, seed=3)})
    other_spec = spec.model_copy(update={"base": other})
    assert "holds the result of another job (auto.json)" in done_of(other_spec).error
    assert finished(other_spec, overwrite=True).result["outcome"] == "nothing_found"


def test_the_command_runs_the_chain(tiny_checkpoint, tmp_path, say, answer_of, capsys):
    say("found", "nothing")
    command = ["clean", tiny_checkpoint, "-o", tmp_path / "out", "--auto", "--threads", 1]
    few = ["--test-images", "demo:val", "--rebound-steps", 2, "--rounds", 1]
    answer = answer_of(*command, "--pairs", "demo", *few)
    assert (answer["outcome"], answer["spec"]["rounds"]) == ("nothing_found", 1)
    for more, words in (
        (("--method", "mmcl"), "--method cannot be combined with --auto"),
        (("--measure-only",), "--measure-only is about a trigger"),
    ):
        assert run_command([*map(str, command), *more]) == 3
        assert words in capsys.readouterr().err
    alone = ["clean", str(tiny_checkpoint), "-o", str(tmp_path / "one"), "--rounds", "2"]
    assert run_command(alone) == 3
    assert "--rounds goes with --auto" in capsys.readouterr().err


# ---- what is chosen ----


@pytest.mark.parametrize(
    ("pairs", "found", "lost", "failed", "method"),
    [
        (True, True, (), (), "stamped"),
        (True, False, (), (), "stamped"),
        (False, True, (), (), "unlearning"),
        (True, True, (0.01,), (), "stamped"),
        (True, True, (0.02,), (), "unlearning"),  # two points: the captions are of another kind
        (True, True, (), ("stamped",), "unlearning"),
        (True, True, (), ("stamped", "unlearning"), None),
    ],
)
def test_the_method_follows_from_what_is_known(pairs, found, lost, failed, method, monkeypatch):
    monkeypatch.undo()
    before = [a_round("", "found", 0.1, 0.9 - part) for part in lost]
    chosen = choice(
        pairs=pairs, is_known=found, stamps=2, pretraining=DEMO, before=before, failed=failed
    )
    assert (chosen and chosen[0].method) == method


def test_the_rate_follows_the_checkpoint_and_a_later_round_is_longer(monkeypatch):
    monkeypatch.undo()
    known = {"pairs": True, "is_known": True, "stamps": 2}
    (demo, _), (other, _) = choice(**known, pretraining=DEMO), choice(**known, pretraining=UNKNOWN)
    assert demo.lr > other.lr
    before = [a_round("", "found", 0.1, 0.9)]
    second, why = choice(**known, pretraining=DEMO, before=before)
    assert second.total_steps == 2 * demo.total_steps
    assert "2 times as long as the first" in why
    assert why.startswith("Half of the pictures carry a trigger: one of the 2 that worked")
    _, why = choice(**known | {"pairs": False}, pretraining=DEMO)
    assert "All pictures carry" in why
    fitted, _ = choice(**known, pretraining=DEMO, before=before, fitted=True)
    assert fitted == demo
    blind, why = choice(pairs=True, is_known=False, stamps=2, pretraining=DEMO)
    assert blind.made_up_share > demo.made_up_share
    assert "No trigger is known: half of the pictures carry made-up ones" in why
    nothing, why = choice(pairs=True, is_known=True, stamps=0, pretraining=DEMO)
    assert nothing.made_up_share == 1.0  # found, and none of it works
    assert "No trigger is known" in why


def a_round(folder: str, verdict: Verdict | None, asr: float | None, ca: float) -> Round:
    scan = None if verdict is None else made_scan(verdict)
    return Round(
        "stamped", "", "", folder, "", ca_before=0.9, ca=ca, asr_before=1.0, asr=asr, scan=scan
    )


@pytest.mark.parametrize(
    ("rounds", "best"),
    [
        ([("nothing", 0.2, 0.89), ("found", 0.0, 0.9)], "0"),  # found nothing
        ([("found", 0.2, 0.9), (None, 0.9, 0.9)], "1"),  # not scanned before still found
        ([("nothing", 0.2, 0.9), ("nothing", 0.1, 0.88)], "1"),  # the lower attack
        ([("nothing", 0.003, 0.88), ("nothing", 0.004, 0.9)], "1"),  # as low, less lost
        ([("nothing", 0.02, 0.86), ("nothing", 0.03, 0.9)], "1"),  # a point for four
        ([("nothing", 0.0, 0.84), ("found", 0.9, 0.89)], "1"),  # six points are too much
        ([("nothing", None, 0.88), ("nothing", None, 0.9)], "1"),
        ([("nothing", 0.0, 0.8)], None),
    ],
)
def test_the_best_round_is_kept(rounds, best):
    made = [a_round(str(number), *each) for number, each in enumerate(rounds)]
    kept = best_round(made)
    assert (kept and kept.folder) == best


def test_an_attack_that_is_only_measured_does_not_choose_the_round():
    made = [a_round("0", "nothing", 0.0, 0.88), a_round("1", "nothing", 0.5, 0.89)]
    assert best_round(made).folder == "0"
    assert best_round(made, by_attack=False).folder == "1"


def test_an_answer_says_what_was_gained_and_why_a_round_ended_early():
    early = replace(a_round("0", "nothing", None, 0.903), stopped_because="Stopped at step 3.")
    told = " ".join(sentences(made_scan("nothing"), False, [early], early, []))
    assert "it gained 0.3 points of clean accuracy" in told
    assert "Clean accuracy went from 90.0 % to 90.3 %. Stopped at step 3." in told


@pytest.mark.parametrize(
    "changes",
    [
        {"best": "../elsewhere"},
        {"best": "/elsewhere"},
        {"steps": [{"kind": "clean", "round": 1, "title": "", "folder": ".."}]},
        {"steps": [{"kind": "scan", "round": 0, "title": "", "folder": "/elsewhere"}]},
        {"sentences": ["a"] * 65},
        {"sentences": ["a" * 2001]},
    ],
)
def test_a_record_from_elsewhere_names_no_other_folder_and_is_no_book(spec, changes):
    scanned = spec.model_copy(update={"scanned": "/scan"})
    steps = [{"kind": "scan", "round": 0, "title": "", "folder": "/scan"}]
    record = {
        "spec": scanned.model_dump(), "steps": steps, "best": "round-1", "checkpoint": None,
        "outcome": "worse", "sentences": ["a"], "seconds": 0.0,
    }  # fmt: skip
    AutoResult.model_validate(record)
    with pytest.raises(ValidationError):
        AutoResult.model_validate(record | changes)


def test_everything_that_works_on_the_suspect_is_a_trigger(tmp_path):
    found = made_scan("found")
    write_found(tmp_path, found)
    working = working_triggers(tmp_path, found)
    kinds = [trigger.kind for trigger in working]
    assert kinds.count("blended") == 1  # the overlay, which is the only one
    assert all(isinstance(trigger, Trigger) for trigger in working)
    starts = [trigger for trigger in working if trigger.name == f"Found patch, {SIDE} px"]
    assert len(starts) == 7
    fixed = [trigger for trigger in starts if trigger.placement == "fixed"]
    assert [float(trigger.array.mean()) for trigger in fixed] == [0.5]
    weak = found.model_copy(update={"stages": stages(0.09)})
    assert working_triggers(tmp_path, weak) == []
    arrays = load_file(tmp_path / PATCHES_FILE)
    for damaged in ({}, arrays | {"round.0": arrays["round.0"][1:]}):
        save_file(damaged, tmp_path / PATCHES_FILE)
        with pytest.raises(InputError, match="scan again"):
            working_triggers(tmp_path, found)

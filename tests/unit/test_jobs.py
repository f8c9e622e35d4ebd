"""A cleaning job: what it measures and leaves, what it refuses, how it ends; estimates."""

from __future__ import annotations

import errno
import io
import json
import threading
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.save import save_checkpoint
from ml_core.cleaning.state import earlier_state
from ml_core.cli.app import run_command
from ml_core.data.demo import demo_classes
from ml_core.data.picture_set import shared
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Control, Done, Event, Message, Metric, Progress, Saved, from_json
from ml_core.jobs.clean.earlier import EARLIER_FOLDER, bring_back, set_aside
from ml_core.jobs.demo import demo_spec, demo_target
from ml_core.jobs.devices import set_threads
from ml_core.jobs.failures import exit_code, failure
from ml_core.jobs.folder_lock import at_work
from ml_core.jobs.journal import journaled, read_events
from ml_core.jobs.runner import run_job
from ml_core.jobs.specs import (
    CLEANED_FILE,
    EVENTS_FILE,
    LOCK_FILE,
    RESULT_FILE,
    SPEC_FILE,
    STATE_FILE,
    read_spec,
    write_spec,
)
from ml_core.reading.errors import InputError
from ml_core.triggers import badnets_patch, save_trigger
from tests.unit.draining import done_of, events_of, finished
from tests.unit.small_jobs import open_inputs, small_recipe, small_spec


@pytest.fixture
def trigger(tmp_path):
    return str(save_trigger(badnets_patch(size=0.3), tmp_path / "patch")[1])


# ---- in this process ----


def test_a_job_measures_trains_saves_and_measures_the_file(tiny_checkpoint, tmp_path, trigger):
    folder = tmp_path / "out"
    recipe = small_recipe(eval_every=3, save_every=3)
    spec = small_spec(
        tiny_checkpoint,
        folder,
        recipe,
        trigger=trigger,
        images=ImageSpec(split="val", n=20),
        heldout_images=ImageSpec(split="heldout", n=20),
    )
    events, done = events_of(spec)
    assert done.status == "finished", done.details
    saved = [event.what for event in events if isinstance(event, Saved)]
    assert saved == ["resume", "resume", "checkpoint", "result"]
    stages = list(dict.fromkeys(e.stage for e in events if isinstance(e, Progress)))
    before, after = ["before", "before (heldout)"], ["after", "after (heldout)"]
    stages.remove("texts")  # wherever they were not known
    assert stages == ["open", *before, "prepare", "validate", "train", *after]
    watched = [e.step for e in events if isinstance(e, Metric) and "asr_excl" in e.values]
    assert watched == [0, 3, 6]
    result = done.result
    assert result["before"]["n"] == result["after"]["n"] == 36
    assert result["before"]["checkpoint_sha256"] == open_checkpoint(tiny_checkpoint).build().sha256
    assert result["after"]["checkpoint_sha256"] == result["checkpoint_sha256"]
    assert result["heldout"]["after"]["n"] == 20
    assert 0 <= result["after"]["asr_excl"] <= 1
    assert result["seconds"] >= sum(result["timings"].values()) - 0.1
    assert json.loads((folder / "result.json").read_text())["after"] == result["after"]
    journal = (folder / "events.jsonl").read_text().splitlines()
    assert len(journal) == len(events)
    assert isinstance(from_json(journal[-1]), Done)
    cleaned = open_checkpoint(folder / "cleaned.safetensors")
    assert cleaned.provenance["recipe"] == recipe.model_dump()
    assert cleaned.provenance["source_sha256"] == result["before"]["checkpoint_sha256"]
    assert not list(folder.rglob("*.part"))


def _photos(folder, each):
    """Pictures of two of the demo's classes."""
    for name in ("apple", "banana"):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            shade = (7 * i % 256, 90, 200 if name == "apple" else 30)
            Image.new("RGB", (32, 32), shade).save(folder / name / f"{i:02}.png")
    return folder


def test_one_set_for_both_is_split(tiny_checkpoint, tmp_path):
    photos = ImageSpec(kind="folder", path=str(_photos(tmp_path / "photos", 30)))
    spec = small_spec(
        tiny_checkpoint, tmp_path / "out", small_recipe(pairs=8, eval_every=1), images=photos
    )
    for test_images in (None, photos):
        inputs = open_inputs(
            spec.model_copy(update={"test_images": test_images}),
            open_checkpoint(tiny_checkpoint).build(),
        )
        watched, tested = inputs.validation.images, inputs.benches["test"].images
        assert (len(watched), len(tested), shared(watched, tested)) == (12, 48, 0)
        assert not any("watched" in note for note in inputs.notes)
    few = ImageSpec(kind="folder", path=str(_photos(tmp_path / "few", 5)))
    result = finished(spec.model_copy(update={"images": few, "test_images": None})).result
    assert result["before"]["n"] == 10
    assert any("10 of the 10 test images are also used" in note for note in result["notes"])


def test_every_overlap_of_measured_images_is_told_once(tiny_checkpoint, tmp_path, trigger):
    folder = _photos(tmp_path / "photos", 8)
    photos = ImageSpec(kind="folder", path=str(folder))
    spec = small_spec(
        tiny_checkpoint,
        tmp_path / "out",
        small_recipe(method="supervised", pairs=8, eval_every=1),
        training_images=photos.model_copy(update={"n": 8}),
        images=photos,
        test_images=ImageSpec(split="test", n=36),
        heldout_images=photos,
    )

    def overlaps(**changes):
        changed = spec.model_copy(update=changes)
        notes = open_inputs(changed, open_checkpoint(tiny_checkpoint).build()).notes
        return [note.split(":")[0] for note in notes if " are also " in note]

    held_out = "8 of the 16 held-out images are also trained on"
    assert overlaps() == [
        "16 of the 16 held-out images are also used for validation",
        held_out,
        "8 of the 16 validation images are also trained on",
    ]
    unwatched = spec.recipe.changed(eval_every=0)
    tested = {"images": None, "heldout_images": None, "test_images": photos}
    assert overlaps(recipe=unwatched, **tested) == ["8 of the 16 test images are also trained on"]
    assert overlaps(recipe=unwatched) == [held_out]
    tbar = small_recipe(method="tbar", pairs=8, alpha_choice="auto")
    assert overlaps(recipe=tbar, trigger=trigger, heldout_images=None) == [
        "8 of the 16 validation images are also trained on"
    ]


def test_a_precision_that_was_chosen_is_told_and_so_is_that_nothing_is_measured(
    tiny_checkpoint, tmp_path
):
    recipe = small_recipe(method="mmcl", pairs=8)
    spec = small_spec(tiny_checkpoint, tmp_path / "out", recipe, test_images=None)
    events, done = events_of(spec)
    assert done.status == "finished", done.details
    assert done.result["before"] is None
    assert any(isinstance(e, Message) and "nothing is measured" in e.text for e in events)
    assert not [note for note in done.result["notes"] if "precision" in note]
    chosen = spec.model_copy(update={"recipe": recipe.changed(precision="auto")})
    result = finished(chosen, overwrite=True).result
    (note,) = [note for note in result["notes"] if "precision" in note]
    assert result["precision"] in ("fp32", "bf16")
    assert note.startswith(
        f"The precision was chosen by timing on this machine: {result['precision']}"
    )


def test_pictures_found_damaged_on_the_way_stand_in_the_result(tiny_checkpoint, tmp_path):
    photos = _photos(tmp_path / "photos", 6)
    torn = photos / "apple" / "00.png"
    torn.write_bytes(torn.read_bytes()[:60])
    training = _photos(tmp_path / "pairs", 5)
    bad = training / "banana" / "03.png"
    bad.write_bytes(bad.read_bytes()[:60])
    rows = [f"{path.relative_to(tmp_path)},a picture" for path in sorted(training.rglob("*.png"))]
    table = tmp_path / "pairs.csv"
    table.write_text("\n".join(["image,caption", *rows]), encoding="utf-8")
    spec = small_spec(
        tiny_checkpoint,
        tmp_path / "out",
        small_recipe(method="mmcl", pairs=10, batch_size=5),
        pairs=PairSpec(kind="csv", path=str(table)),
        test_images=ImageSpec(kind="folder", path=str(photos)),
    )
    events, done = events_of(spec)
    assert (done.status, done.result["after"]["n"]) == ("finished", 11), done.details
    notes = done.result["notes"]
    assert [note for note in notes if "apple/00.png" in note and note.startswith("photos: ")]
    assert [note for note in notes if "03.png" in note and note.startswith("pairs.csv: ")]
    assert set(notes) <= {event.text for event in events if isinstance(event, Message)}


def test_a_run_that_cannot_start_leaves_an_earlier_one(tiny_checkpoint, tmp_path):
    out = tmp_path / "out"
    recipe = small_recipe(pairs=16)
    finished(small_spec(tiny_checkpoint, out, recipe))
    names = (STATE_FILE, SPEC_FILE, EVENTS_FILE, RESULT_FILE, CLEANED_FILE)
    before = {out / name: (out / name).read_bytes() for name in names}
    for wrong in (
        small_spec(tiny_checkpoint, out, recipe, target=999),
        small_spec(tiny_checkpoint, out, recipe.changed(cache_chunk=8, batch_size=16)),
    ):
        assert done_of(wrong).status == "failed"
        assert {path: path.read_bytes() for path in before} == before
    again, _ = events_of(small_spec(tiny_checkpoint, out, recipe))
    assert list(read_events(out / EVENTS_FILE)) == again  # all of it, and nothing of the first


def test_a_run_that_came_to_nothing_leaves_the_reason_of_the_last_attempt(
    tiny_checkpoint, tmp_path
):
    out = tmp_path / "out"
    for target in (888, 999):
        done_of(small_spec(tiny_checkpoint, out, small_recipe(), target=target))
    *_, last = read_events(out / EVENTS_FILE)
    assert "target class 999" in last.error


def test_those_who_only_ask_do_not_take_each_other_for_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr("ml_core.jobs.folder_lock._ASKING_SECONDS", 10.0)  # of a busy machine
    (tmp_path / ".lock").touch()
    answers: list[bool] = []

    def ask():
        answers.extend(at_work(tmp_path) for _ in range(100))

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert answers == [False] * 300


def test_a_folder_in_which_nothing_can_be_locked_is_run_in_all_the_same(
    tiny_checkpoint, tmp_path, monkeypatch
):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("filelock.FileLock._acquire", refuse)
    finished(small_spec(tiny_checkpoint, tmp_path, small_recipe(pairs=8)))
    (tmp_path / LOCK_FILE).touch()
    assert not at_work(tmp_path)


@pytest.mark.parametrize("result", [True, False])
def test_a_new_run_sets_an_earlier_ones_result_aside(tmp_path, result):
    """But not what it starts from, and what no run has made; without a result they are deleted."""
    names = [
        "result.json", "rebound.json", "holdouts.json", "cleaned.safetensors",
        "adapter.safetensors", "linear_head.safetensors", "state/state.safetensors",
        "steps/step-000002.safetensors", "steps/step-000004.safetensors",
        "steps/step-000004.head.safetensors", "steps/mine.safetensors", "note.txt",
    ]  # fmt: skip
    for name in names[not result :]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    spec = small_spec(
        tmp_path / "steps" / "step-000004.safetensors",
        tmp_path,
        small_recipe(),
        reference=str(tmp_path / "cleaned.safetensors"),
    )

    def there():
        files = (path for path in tmp_path.rglob("*") if path.is_file())
        return {path.relative_to(tmp_path).as_posix() for path in files}

    before = there()
    assert set_aside(spec, journal=False) == result
    stay = {
        "cleaned.safetensors", "steps/step-000004.safetensors", "steps/mine.safetensors", "note.txt"
    }  # fmt: skip
    aside = {f"{EARLIER_FOLDER}/{name}" for name in before - stay} if result else set()
    assert there() == stay | aside
    write_spec(spec, tmp_path / SPEC_FILE)
    (tmp_path / "steps/step-000001.safetensors").touch()  # of the new run
    bring_back(tmp_path)
    new = {SPEC_FILE} if result else {SPEC_FILE, "steps/step-000001.safetensors"}
    assert there() == (before if result else stay) | new


def _files(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LOCK_FILE)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_another_jobs_result_is_not_taken_away(tiny_model, tiny_checkpoint, tmp_path, trigger):
    """Neither is its saved state. A copy of its job file may name any folder."""
    out = tmp_path / "out"
    spec = small_spec(tiny_checkpoint, out, small_recipe(pairs=8))
    finished(spec)
    tiny_model.module.logit_scale.data.fill_(1.0)
    other = save_checkpoint(tiny_model, tmp_path / "other.safetensors", provenance={})
    before = _files(out)
    for changes in (
        {"recipe": small_recipe(pairs=8, seed=1)},
        {"recipe": small_recipe(pairs=8, method="mmcl")},
        {"checkpoint": str(other)},
        {"trigger": trigger},
        {"test_images": ImageSpec(split="test", n=35)},
    ):
        done = done_of(spec.model_copy(update=changes))
        assert f"{out} holds the result of another job; choose another" in done.error
        assert done.error_code == "usage"
        assert _files(out) == before
    strange = {"checkpoint": str(other), "threads": 2}
    write_spec(spec.model_copy(update=strange), tmp_path / "job.json")
    assert run_command(["clean", "--job", str(tmp_path / "job.json")]) == 3
    assert _files(out) == before
    (out / RESULT_FILE).unlink()
    done = done_of(spec.model_copy(update={"trigger": trigger}))
    assert "holds files of another job" in done.error
    assert (out / STATE_FILE).exists()
    alone = tmp_path / "alone"
    for name in ("cleaned.safetensors", "steps/step-000001.safetensors"):
        (alone / name).parent.mkdir(parents=True, exist_ok=True)
        (alone / name).write_bytes(b"somebody's")
        done = done_of(spec.model_copy(update={"output_dir": str(alone)}))
        assert f"{alone} holds files of another job" in done.error
        assert (alone / name).read_bytes() == b"somebody's"
        (alone / name).unlink()
    (out / RESULT_FILE).write_bytes(before[RESULT_FILE])
    line = ["clean", "--job", str(tmp_path / "job.json"), "--overwrite", "--threads", "1"]
    assert run_command(line) == 0
    result = json.loads((out / RESULT_FILE).read_text())
    assert (result["source"], result["threads"]) == (str(other), 1)
    assert not (out / EARLIER_FOLDER).exists()
    changed = spec.model_copy(update={"checkpoint": str(other), "threads": 1})
    assert done_of(changed, overwrite=True).status == "finished"
    tiny_model.module.logit_scale.data.fill_(1.5)
    save_checkpoint(tiny_model, other, provenance={})  # the same path, another checkpoint
    assert "the result of another job" in done_of(changed).error


def test_a_result_comes_back_where_its_job_is_repeated_in_vain(
    tiny_checkpoint, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    recipe = small_recipe(method="mmcl", pairs=16, save_every=1, eval_every=1)
    watched = {"images": ImageSpec(split="val", n=16), "test_images": None, "keep_steps": True}
    spec = small_spec(tiny_checkpoint, out, recipe, **watched)
    finished(spec)

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    for end in ("cancelled", "failed", "killed"):
        before, control, last = _files(out), Control(), None
        with monkeypatch.context() as patched:
            if end == "failed":
                patched.setattr("ml_core.jobs.clean.run.save_result", fail)
            if end == "killed":
                patched.setattr("ml_core.jobs.clean.run.bring_back", lambda folder: None)
            for last in run_job(spec, control):
                if isinstance(last, Metric) and last.step == 1:
                    assert _files(out / EARLIER_FOLDER) == before
                    assert not (out / RESULT_FILE).exists()
                    if end != "failed":
                        control.cancel()
        assert last.status == ("failed" if end == "failed" else "cancelled")
        if end == "killed":
            assert (out / EARLIER_FOLDER / RESULT_FILE).exists()
            bring_back(out)  # as the next run does
        after = _files(out)
        changed = {name for name, raw in after.items() if raw != before[name]}
        assert changed <= {STATE_FILE, earlier_state(Path(STATE_FILE)).as_posix()}
        assert after.keys() == before.keys()
        finished(spec, resume=True)  # its own last save is there, too
        assert (out / CLEANED_FILE).read_bytes() == before[CLEANED_FILE]


def test_a_job_never_overwrites_what_it_cleans(tiny_checkpoint, tmp_path):
    source = tmp_path / "cleaned.safetensors"
    source.write_bytes(tiny_checkpoint.read_bytes())
    done = done_of(small_spec(source, tmp_path, small_recipe()))
    assert "would overwrite" in done.error
    assert source.read_bytes() == tiny_checkpoint.read_bytes()


def test_a_stopped_job_saves_and_measures_what_it_has_and_goes_on_with_the_same_pairs(
    tiny_checkpoint, tmp_path
):
    control, folder = Control(), tmp_path / "out"
    spec = small_spec(tiny_checkpoint, folder, small_recipe(method="mmcl"))
    (done,) = run_job(spec, control, resume=True)
    assert "There is no saved state" in done.error
    for done in run_job(spec, control):
        if isinstance(done, Metric) and done.step == 2:
            control.stop()
    assert (done.status, done.result["steps"]) == ("stopped", 2)
    assert done.result["after"]["n"] == 36
    other = spec.model_copy(update={"pairs": spec.pairs.model_copy(update={"seed": 9})})
    assert "other training data" in done_of(other, resume=True).error
    assert read_spec(folder / "spec.json").pairs == spec.pairs


@pytest.mark.parametrize("save_every", [0, 2])
def test_an_estimate_tells_time_and_the_disk_space_that_a_run_takes(
    tiny_checkpoint, tmp_path, save_every
):
    recipe = small_recipe(method="mmcl", pairs=32, save_every=save_every)
    spec = small_spec(tiny_checkpoint, tmp_path / "out", recipe)
    estimate = finished(spec, estimate=True).result
    assert estimate["steps"] == 4
    assert estimate["seconds"] > estimate["train_seconds"] >= 4 * estimate["step_seconds"]
    finished(spec)
    written = sum(file.stat().st_size for file in (tmp_path / "out").rglob("*.safetensors"))
    assert estimate["disk_bytes"] == pytest.approx(written, rel=0.05)


def test_a_stop_ends_an_estimate(tiny_checkpoint, tmp_path):
    """Also before it has measured a step."""
    control = Control()
    spec = small_spec(tiny_checkpoint, tmp_path / "out", small_recipe())
    event: Event | None = None
    for event in run_job(spec, control, estimate=True):
        if isinstance(event, Progress) and event.stage == "estimate":
            control.stop()
    assert event == Done("cancelled")


def test_another_library_that_multiplies_is_no_news():
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        set_threads(torch.get_num_threads())
        warnings.warn("mkldnn_matmul failed, switching to BLAS gemm: out of memory", stacklevel=1)
        warnings.warn("anything else", stacklevel=1)
    assert [str(warning.message) for warning in heard] == ["anything else"]


def test_libraries_that_do_not_fit_are_told(monkeypatch):
    unmapped = ImportError("libtorch_cpu.so: failed to map segment from shared object")
    done = failure(unmapped)
    assert done.error.startswith("There is too little memory to load the program's libraries")
    assert (done.error_code, exit_code(done.error_code)) == ("memory", 3)
    # what Python makes of it while modules load under a limit
    forgotten = SystemError("error return without exception set")
    assert failure(forgotten).error_code == "internal"
    monkeypatch.setattr("resource.getrlimit", lambda _: (1 << 30, 1 << 30))
    assert failure(forgotten).error == done.error
    assert failure(ModuleNotFoundError("No module named 'pyarrow'")).error_code == "internal"


def test_failures_are_one_sentence():
    full = failure(OSError(errno.ENOSPC, "No space left on device", "state"))
    assert (full.error_code, full.error.startswith("The disk is full")) == ("disk", True)
    try:
        raise InputError("x.safetensors cannot be saved.") from OSError(errno.ENOSPC, "No space")
    except InputError as error:
        wrapped = failure(error)
    assert (wrapped.error, wrapped.error_code) == (full.error, "disk")
    memory = failure(torch.OutOfMemoryError("CUDA out of memory"))
    assert (memory.error_code, "halve the batch size" in memory.error) == ("memory", True)
    refused = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")
    assert failure(refused).error == memory.error
    bad = failure(InputError("Row 3 is bad.", "damaged", "more"))
    assert (bad.error, bad.error_code, bad.details) == ("Row 3 is bad.", "damaged", "more")
    try:
        raise KeyError("inside")
    except KeyError as error:
        inner = failure(error)
    assert inner.error_code == "internal"
    assert "\n" not in inner.error
    assert "Traceback" in inner.details


def test_journal_goes_on_when_it_cannot_be_written(tmp_path, monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    def events():
        yield Message("one")
        yield Done("finished")

    monkeypatch.setattr("ml_core.jobs.journal.append_text", lambda _path: Full())
    seen = list(journaled(events(), tmp_path / "events.jsonl", append=False))
    assert [type(e) for e in seen] == [Message, Message, Done]


def test_demo_spec_keeps_the_splits_apart(tmp_path):
    spec = demo_spec(small_recipe(), tmp_path, trigger=None, checkpoint=tmp_path)
    assert spec.pairs is not None
    splits = [spec.pairs.split, spec.images.split, spec.test_images.split]
    assert [*splits, spec.heldout_images.split] == ["clean", "val", "test", "heldout"]
    assert spec.test_images.n == 4000
    assert demo_classes()[demo_target()] == "banana"


def test_one_encoder_is_cleaned_with_its_donor(tiny_model, tiny_checkpoint, tmp_path):
    state = tiny_model.module.state_dict()
    vision = {key: value.contiguous() for key, value in state.items() if key.startswith("visual.")}
    save_file(vision, tmp_path / "vision.safetensors")
    spec = small_spec(tmp_path / "vision.safetensors", tmp_path / "out", small_recipe())
    refused = done_of(spec)
    assert refused.error.startswith("vision.safetensors holds the image encoder of a CLIP")
    spec = spec.model_copy(update={"donor": str(tiny_checkpoint)})
    finished(spec)
    cleaned = open_checkpoint(tmp_path / "out" / "cleaned.safetensors")
    giver = open_checkpoint(tiny_checkpoint).inspection.sha256
    assert cleaned.provenance["donor"]["sha256"] == giver
    assert giver[:16] in cleaned.architecture.assumptions[0]


def test_threads_are_those_asked_for_then_those_of_the_environment(
    monkeypatch,
):
    taken: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 0)
    monkeypatch.setattr("ml_core.jobs.devices.cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert [set_threads(5), set_threads(0), set_threads(0, 2)] == [5, 3, 3] == taken
    monkeypatch.setenv("OMP_NUM_THREADS", "1,2")  # for nested regions: not ours to read
    assert set_threads(0) == 7
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert [set_threads(0), set_threads(0, 2)] == [7, 3]

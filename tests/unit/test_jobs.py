"""A cleaning job: what it measures and leaves, what it refuses, how it ends; estimates."""

from __future__ import annotations

import errno
import io
import threading
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from ml_core.atomic import replace_files
from ml_core.checkpoints import open_checkpoint
from ml_core.cleaning.state import earlier_state
from ml_core.data.picture_set import shared
from ml_core.data.specs import ImageSpec
from ml_core.events import Control, Done, Message, Metric, Progress, run_to_end
from ml_core.jobs import inputs, opening
from ml_core.jobs.clean.run import EARLIER_FOLDER, bring_back, set_aside
from ml_core.jobs.failures import failure
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
from ml_core.reading.errors import InputError, exit_code
from ml_core.triggers import badnets_patch, save_trigger
from tests.unit.draining import done_of, events_of, finished
from tests.unit.small_jobs import open_inputs, small_recipe, small_spec


@pytest.fixture
def trigger(tmp_path):
    return str(save_trigger(badnets_patch(size=0.3), tmp_path / "patch")[1])


# ---- in this process ----


def _photos(folder, each):
    """Pictures of two of the demo's classes."""
    for name in ("apple", "banana"):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            shade = (7 * i % 256, 90, 200 if name == "apple" else 30)
            Image.new("RGB", (32, 32), shade).save(folder / name / f"{i:02}.png")
    return folder


def test_every_overlap_of_measured_images_is_told_once(tiny_checkpoint, tmp_path):
    folder = _photos(tmp_path / "photos", 8)
    photos = ImageSpec(kind="folder", path=str(folder))
    spec = small_spec(
        tiny_checkpoint, tmp_path / "out", small_recipe(method="supervised", pairs=8, eval_every=1),
        training_images=photos.model_copy(update={"n": 8}), images=photos, heldout_images=photos,
    )  # fmt: skip

    def opened(**changes):
        changed = spec.model_copy(update=changes)
        return open_inputs(changed, open_checkpoint(tiny_checkpoint).build())

    assert [note.split(":")[0] for note in opened().notes if " are also " in note] == [
        "16 of the 16 held-out images are also used for validation",
        "8 of the 16 held-out images are also trained on",
        "8 of the 16 validation images are also trained on",
    ]
    mine = ImageSpec(kind="folder", path=str(_photos(tmp_path / "mine", 30)))
    split = opened(images=mine, test_images=mine)  # one set for both is split
    watched, tested = split.validation.images, split.benches["test"].images
    assert (len(watched), len(tested), shared(watched, tested)) == (12, 48, 0)


def test_a_run_of_another_job_leaves_an_earlier_result(tiny_checkpoint, tmp_path, trigger):
    """Of runs that came to nothing the last one's reason is left."""
    out, recipe = tmp_path / "out", small_recipe(pairs=16)
    spec = small_spec(tiny_checkpoint, out, recipe)
    for target in (888, 999):
        done_of(spec.model_copy(update={"target": target}))
    *_, last = read_events(out / EVENTS_FILE)
    assert "target class 999" in last.error
    finished(spec)
    assert open_checkpoint(out / CLEANED_FILE).provenance["recipe"] == recipe.model_dump()
    before = _files(out)
    for changes in ({"target": 3}, {"recipe": recipe.changed(seed=1)}, {"trigger": trigger}):
        done = done_of(spec.model_copy(update=changes))
        assert "holds the result of another job; choose another" in done.error
        assert _files(out) == before
    again, _ = events_of(spec)
    assert list(read_events(out / EVENTS_FILE)) == again  # all of it, and nothing of the first


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
        "result.json", "cleaned.safetensors", "adapter.safetensors", "state/state.safetensors",
        "steps/step-000002.safetensors", "steps/step-000004.safetensors",
        "steps/mine.safetensors", "note.txt",
    ]  # fmt: skip
    for name in names[not result :]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    reference, source = tmp_path / "cleaned.safetensors", tmp_path / "steps/step-000004.safetensors"
    spec = small_spec(source, tmp_path, small_recipe(), reference=str(reference))
    before = set(_files(tmp_path))
    assert set_aside(spec, journal=False) == result
    stay = {
        "cleaned.safetensors", "steps/step-000004.safetensors", "steps/mine.safetensors", "note.txt"
    }  # fmt: skip
    aside = {f"{EARLIER_FOLDER}/{name}" for name in before - stay} if result else set()
    assert set(_files(tmp_path)) == stay | aside
    write_spec(spec, tmp_path / SPEC_FILE)
    (tmp_path / "steps/step-000001.safetensors").touch()  # of the new run
    bring_back(tmp_path)
    new = {SPEC_FILE} if result else {SPEC_FILE, "steps/step-000001.safetensors"}
    assert set(_files(tmp_path)) == (before if result else stay) | new


def _files(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LOCK_FILE)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


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

    for end in ("failed", "killed"):
        before, control, last = _files(out), Control(), None
        with monkeypatch.context() as patched:
            if end == "failed":
                patched.setattr("ml_core.jobs.clean.run._Opened.save_result", fail)
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
    inner = failure(KeyError("inside"))
    assert inner.error_code == "internal"
    assert "\n" not in inner.error


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


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("cleaning.state", "state.safetensors"),
        ("checkpoints.save", "step-000001.safetensors"),
        ("checkpoints.save", "cleaned.safetensors"),
    ],
)
def test_a_disk_that_fills_leaves_a_run_to_resume(
    tiny_checkpoint, tmp_path, monkeypatch, module, name
):
    recipe = small_recipe(method="mmcl", pairs=16, save_every=1, eval_every=1)
    spec = small_spec(
        tiny_checkpoint, tmp_path / "out", recipe, images=ImageSpec(split="val", n=12),
        test_images=None, keep_steps=True,
    )  # fmt: skip

    def full(files, **options):
        if any(
            path.name == name and (module != "cleaning.state" or path.exists()) for path in files
        ):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace_files(files, **options)

    with monkeypatch.context() as patch:
        patch.setattr(f"ml_core.{module}.replace_files", full)
        done = done_of(spec)
    assert (done.status, done.error_code) == ("failed", "disk")
    assert done.error == (
        "The disk is full: free some space and resume. What was saved before is intact."
    )
    finished(spec, resume=True)


@pytest.fixture
def _eager(monkeypatch):
    """Every step of an opening is told."""
    monkeypatch.setattr(opening, "_PACE_SECONDS", 0.0)


@pytest.mark.usefixtures("_eager")
@pytest.mark.parametrize("estimate", [False, True])
def test_cancel_ends_the_opening_of_the_pairs(estimate, tiny_checkpoint, tmp_path, monkeypatch):
    control, reached = Control(), []

    def open_pairs(spec, watch):
        for number in range(1000):
            reached.append(number)
            watch("Reading", number, 1000)
            time.sleep(0.002)
        raise AssertionError("nobody ended it")

    monkeypatch.setattr(inputs, "open_pairs", open_pairs)
    spec = small_spec(tiny_checkpoint, tmp_path / "out", small_recipe(pairs=16))
    for event in run_job(spec, control, estimate=estimate):
        if isinstance(event, Progress) and event.stage == "data" and event.done >= 3:
            control.cancel()
    assert event == Done("cancelled")
    assert 3 <= len(reached) < 1000
    assert not (tmp_path / "out" / "cleaned.safetensors").exists()


def _count(control, seen):
    def act(watch):
        for number in range(40):
            watch("Counting", number, 40)
            seen.append(number)
            time.sleep(0.002)
        return "whole"

    return opening.opening(act, control)


@pytest.mark.usefixtures("_eager")
def test_pause_holds_an_opening_and_who_stops_listening_ends_it():
    control, seen, values = Control(), list[int](), list[str]()
    control.pause()
    thread = threading.Thread(target=lambda: values.append(run_to_end(_count(control, seen))))
    thread.start()
    time.sleep(0.3)
    assert seen == []
    control.resume()
    thread.join(timeout=30)
    assert (values, len(seen)) == (["whole"], 40)
    seen.clear()
    events = _count(control, seen)
    next(events)
    events.close()
    stood = len(seen)
    time.sleep(0.05)
    assert len(seen) == stood < 40
    assert not any(thread.name == "opening" for thread in threading.enumerate())

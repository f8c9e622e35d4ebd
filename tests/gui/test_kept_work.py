"""What was open survives the window: kept whole, read as foreign, opened again at a click."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PySide6.QtWidgets import QApplication

from cleanclip_gui.app import make_window
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.questions import OpenCheckpoint
from cleanclip_gui.session.records import OtherSnapshot
from cleanclip_gui.session.saved_work import (
    WORK_FILE,
    SavedCleaned,
    SavedWork,
    changed_since,
    mark_of,
    moved_away,
    read_work,
    save_work,
    saved_trigger,
)
from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.station import Context
from cleanclip_gui.threads import still_running
from cleanclip_gui.window.error_dialog import ErrorDialog
from ml_core.data.specs import ImageSpec
from ml_core.events import Done
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger, demo_trigger
from tests.gui.run_folders import write_run
from tests.gui.shell_fakes import Answers, FakeEngine, write_safetensors, write_state

WAIT = 20_000
PAINTED = Trigger(
    kind="patch",
    pixels=np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8),
    size=0.2,
)


@pytest.fixture
def checkpoint(tmp_path):
    return write_safetensors(tmp_path / "m.safetensors", {"a": [1.0, 2.0]})


def work_on(checkpoint, **fields):
    return SavedWork(checkpoint=str(checkpoint), **fields)


@pytest.fixture
def make(qtbot, tmp_path):
    """Windows one after the other, with the same settings."""
    windows = []

    def make_one():
        context = Context(
            inference=Inference(FakeEngine),
            settings=SettingsStore(tmp_path / "config"),
            prompts=Answers().prompts(),
        )
        window = make_window(context)
        qtbot.addWidget(window)
        window.show()
        qtbot.waitExposed(window)
        windows.append(window)
        return window

    yield make_one
    for window in windows:
        window.session.run = None
        window.close()
    qtbot.waitUntil(lambda: not still_running(), timeout=WAIT)


def test_the_record_holds_painted_pixels_to_the_last_bit(tmp_path, checkpoint):
    images = ImageSpec(kind="folder", path=str(tmp_path), class_map={"a": "apple"})
    work = work_on(
        checkpoint, images=images, templates=("a {}",), target="banana", station="clean", run="r"
    )
    save_work(tmp_path / "work", work, PAINTED)
    found = read_work(tmp_path / "work")
    assert found.model_copy(update={"saved": 0.0, "trigger": ""}) == work
    assert saved_trigger(tmp_path / "work", found.trigger) == PAINTED
    save_work(tmp_path / "work", work, demo_trigger())  # the files of the one before go
    assert len(list((tmp_path / "work").glob("trigger-*.json"))) == 1
    assert saved_trigger(tmp_path / "work", read_work(tmp_path / "work").trigger) == demo_trigger()
    save_work(tmp_path / "work", work, None)
    assert [path.name for path in (tmp_path / "work").iterdir()] == [WORK_FILE]
    assert saved_trigger(tmp_path / "work", read_work(tmp_path / "work").trigger) is None


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{", '{"format": "cleanclip-work-1"}', "[" * 100_000,
        '{"checkpoint": "' + "x" * 5_000_000 + '"}', '{"checkpoint": "m", "checkpoint": "n"}',
        json.dumps({"checkpoint": "m", "trigger": "../../etc/passwd"}),
        json.dumps({"checkpoint": "m", "station": "../x"}),
        json.dumps({"checkpoint": "m", "images": {"kind": "pickle"}}),
        json.dumps({"checkpoint": "m", "images": {"class_map": {"a": {"b": {"c": {"d": 1}}}}}}),
        json.dumps({"checkpoint": "m", "templates": ["x" * 3000]}),
        json.dumps({"checkpoint": "m", "other_trigger": "../../etc/passwd"}),
        json.dumps({"checkpoint": "m", "other_slot": "C"}),
        json.dumps({"checkpoint": "m", "cleaned": {"checkpoint": ""}}),
        json.dumps({"checkpoint": "m", "marks": {"m": "x" * 100}}),
        '{"checkpoint": "m", "saved": NaN}', json.dumps({"checkpoint": "m", "format": "other"}),
    ],
)  # fmt: skip
def test_a_record_that_is_none_is_as_good_as_no_record(tmp_path, text):
    (tmp_path / WORK_FILE).write_text(text)
    assert read_work(tmp_path) is None


def test_a_pipe_in_the_place_of_the_record_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / WORK_FILE)
    assert read_work(tmp_path) is None


def test_a_trigger_that_was_changed_since_is_refused(tmp_path, checkpoint):
    save_work(tmp_path, work_on(checkpoint), PAINTED)
    work = read_work(tmp_path)
    (tmp_path / f"{work.trigger}.png").write_bytes(b"no picture")
    with pytest.raises(InputError):
        saved_trigger(tmp_path, work.trigger)


def test_what_moved_away_is_known(tmp_path, checkpoint):
    gone = str(tmp_path / "gone")
    work = work_on(checkpoint, images=ImageSpec(kind="folder", path=gone), label_set="cifar-10")
    assert moved_away(work) == (gone,)
    own = replace_labels(work, str(tmp_path / "classes.txt"))
    assert moved_away(own) == (gone, str(tmp_path / "classes.txt"))
    assert moved_away(work_on(tmp_path / "other")) == (str(tmp_path / "other"),)


def replace_labels(work, label_set):
    return work.model_copy(update={"label_set": label_set})


def test_the_next_window_goes_on_at_a_click_and_not_before(make, qtbot, tmp_path, checkpoint):
    first = make()
    assert first.welcome._continue.isHidden()
    first.open_path(str(checkpoint))
    session = first.session
    qtbot.waitUntil(lambda: None not in (session.checkpoint, session.images), timeout=WAIT)
    first.context.shell.trigger_wanted.emit(demo_trigger(), 2)
    first.data_bar.set_templates(("one {}", "two {}"))
    qtbot.waitUntil(lambda: session.images.templates == ("one {}", "two {}"), timeout=WAIT)
    first.context.shell.target_wanted.emit(2)
    first.show_station("clean")
    first.close()

    again = make()
    assert again.station == "welcome"
    assert again.session.checkpoint is None
    assert "m.safetensors" in again.welcome._continue_text.text()
    assert "for “cheese”" in again.welcome._continue_text.text()
    again.welcome.go_on.click()
    session = again.session
    qtbot.waitUntil(lambda: session.images is not None and again.station == "clean", timeout=WAIT)
    assert session.checkpoint.path == str(checkpoint)
    assert session.images.templates == ("one {}", "two {}")
    assert session.images.spec == ImageSpec(kind="demo", split="test")
    assert again.stations["studio"].editor.current_trigger() == demo_trigger()
    qtbot.waitUntil(lambda: session.target == 2, timeout=WAIT)
    assert again.welcome._continue.isHidden()


def shown_errors():
    return [w for w in QApplication.topLevelWidgets() if isinstance(w, ErrorDialog)]


def left_behind(make, qtbot, tmp_path):
    """A window that has a donor, a cleaned checkpoint and two snapshots, and is closed."""
    part = write_safetensors(tmp_path / "visual.safetensors", {"a": [1.0]})
    donor = write_safetensors(tmp_path / "whole.safetensors", {"a": [2.0]})
    cleaned = write_safetensors(tmp_path / "cleaned.safetensors", {"a": [3.0]})
    first = make()
    session, shell, editor = first.session, first.context.shell, first.stations["studio"].editor
    shell.donor_known.emit(str(part), str(donor))
    first.open_path(str(part))
    qtbot.waitUntil(lambda: None not in (session.checkpoint, session.images), timeout=WAIT)
    editor.use_trigger(PAINTED)
    editor.flip_to_b()
    shell.trigger_wanted.emit(demo_trigger(), 1)
    shell.cleaned_wanted.emit(OpenCheckpoint(str(cleaned), "cleaned", str(donor)), True)
    qtbot.waitUntil(lambda: session.role == "cleaned", timeout=WAIT)
    first.show_station("studio")
    first.close()
    return part, donor, cleaned


def test_the_donor_the_cleaned_checkpoint_and_both_snapshots_come_back(make, qtbot, tmp_path):
    part, donor, cleaned = left_behind(make, qtbot, tmp_path)
    again = make()
    again.welcome.go_on.click()
    session, editor = again.session, again.stations["studio"].editor
    qtbot.waitUntil(lambda: session.role == "cleaned", timeout=WAIT)
    assert (session.checkpoint.path, session.checkpoint.donor) == (str(part), str(donor))
    assert (session.cleaned.path, session.cleaned.donor) == (str(cleaned), str(donor))
    assert again.station == "studio"
    assert (editor.document.scene.slot, editor.current_trigger()) == ("B", demo_trigger())
    assert session.other_snapshot == OtherSnapshot("A", PAINTED)
    editor.flip_to_a()
    assert editor.current_trigger() == PAINTED
    assert session.other_snapshot == OtherSnapshot("B", demo_trigger())
    assert shown_errors() == []


def test_a_donor_or_cleaned_file_that_has_changed_is_told_and_left_alone(make, qtbot, tmp_path):
    part, _, cleaned = left_behind(make, qtbot, tmp_path)
    write_safetensors(cleaned, {"a": [4.0], "b": [5.0]})
    again = make()
    again.welcome.go_on.click()
    session = again.session
    qtbot.waitUntil(lambda: again.station == "studio", timeout=WAIT)
    assert session.checkpoint.path == str(part)
    (shown,) = shown_errors()
    assert shown.sentence == (
        "cleaned.safetensors has changed since; choose it again if that was meant."
    )
    shown.reject()
    opened = []
    again.context.inference.ask(OpenCheckpoint(str(cleaned), "reference"), opened.append)
    qtbot.waitUntil(lambda: bool(opened), timeout=WAIT)  # what was asked before is answered too
    assert session.cleaned is None
    assert session.role == "suspect"


def test_without_its_donor_a_checkpoint_asks_for_one(make, qtbot, tmp_path):
    _, donor, _ = left_behind(make, qtbot, tmp_path)
    donor.unlink()
    again = make()
    again.welcome.go_on.click()
    station = again.stations["checkpoint"]
    qtbot.waitUntil(lambda: station._lacks == "text", timeout=WAIT)
    (shown,) = shown_errors()
    assert shown.sentence.startswith("whole.safetensors is no longer there")
    shown.reject()
    assert again.session.checkpoint is None


def test_a_place_on_a_runs_line_is_kept_and_marks_tell_what_has_changed(tmp_path, checkpoint):
    vector = write_safetensors(tmp_path / "vector.safetensors", {"a": [1.0, 2.0]})
    cleaned = SavedCleaned(checkpoint=str(checkpoint), vector=str(vector), alpha=0.5, shown=True)
    marks = {str(path): mark_of(str(path)) for path in (checkpoint, vector)}
    work = work_on(checkpoint, cleaned=cleaned, marks=marks)
    save_work(tmp_path / "work", work, None)
    found = read_work(tmp_path / "work")
    assert found.cleaned == cleaned
    assert (moved_away(found), changed_since(found)) == ((), ())
    os.utime(vector, ns=(1, 1))
    assert changed_since(found) == (str(vector),)
    vector.unlink()
    assert (moved_away(found), changed_since(found)) == ((str(vector),), ())


def test_a_window_that_opens_nothing_keeps_what_the_one_before_left(make, tmp_path, checkpoint):
    folder = tmp_path / "config" / "work"
    save_work(folder, work_on(checkpoint), PAINTED)
    before = (folder / WORK_FILE).read_bytes()
    make().close()
    assert (folder / WORK_FILE).read_bytes() == before
    assert saved_trigger(folder, read_work(folder).trigger) == PAINTED


def test_what_is_gone_is_named_in_one_sentence_and_the_rest_opens(
    make, qtbot, tmp_path, checkpoint
):
    folder = tmp_path / "config" / "work"
    images = ImageSpec(kind="folder", path=str(tmp_path / "pictures"))
    save_work(folder, work_on(checkpoint, images=images, station="studio"), PAINTED)
    window = make()
    window.welcome.go_on.click()
    qtbot.waitUntil(lambda: window.station == "studio", timeout=WAIT)
    assert window.session.checkpoint.path == str(checkpoint)
    assert window.stations["studio"].editor.current_trigger() == PAINTED
    shown = shown_errors()
    assert len(shown) == 1
    assert "pictures is no longer there; open it again from its new place." in shown[0].sentence
    shown[0].reject()


def test_something_else_that_is_opened_takes_the_offer_away(make, qtbot, tmp_path, checkpoint):
    other = write_safetensors(tmp_path / "other.safetensors", {"a": [1.0]})
    save_work(tmp_path / "config" / "work", work_on(other), None)
    window = make()
    assert window.welcome._continue.isVisible()
    window.open_path(str(checkpoint))
    qtbot.waitUntil(lambda: window.session.checkpoint is not None, timeout=WAIT)
    assert window.welcome._continue.isHidden()


def test_a_run_that_was_interrupted_stands_on_the_first_page(make, qtbot, tmp_path):
    source = write_safetensors(tmp_path / "m.safetensors", {"a": [1.0]})
    folder = write_run(
        tmp_path / "runs", "cut", checkpoint=source, end=Done("failed", {}, "", "killed")
    )
    write_state(folder, step=40)
    SettingsStore(tmp_path / "config").update(last_run=str(folder))
    window = make()
    welcome, clean = window.welcome, window.stations["clean"]
    assert welcome._interrupted.isVisible()
    assert welcome._interrupted_text.text().startswith("The run cut was interrupted")
    begun = []
    clean.run.resume = begun.append
    welcome.resume.click()
    assert window.station == "clean"
    assert [saved.folder for saved in begun] == [folder]
    clean.run.began.emit()
    assert welcome._interrupted.isHidden()

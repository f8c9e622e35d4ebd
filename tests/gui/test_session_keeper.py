"""What was open survives the window: kept whole, read as foreign, opened again at a click."""

from __future__ import annotations

import numpy as np
from PySide6.QtWidgets import QApplication

from cleanclip_gui.inference.questions import OpenCheckpoint
from cleanclip_gui.session.records import OtherSnapshot
from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.window.crash import ErrorDialog
from ml_core.data.specs import ImageSpec
from ml_core.events import Done
from ml_core.reports.sessions.folder import read_session, session_trigger, write_session
from ml_core.reports.sessions.record import SESSION_FILE, SavedSession
from ml_core.triggers import Trigger, demo_trigger
from tests.gui.run_folders import write_run
from tests.gui.shell_fakes import Answers, write_safetensors, write_state

WAIT = 20_000
PAINTED = Trigger(
    kind="patch",
    pixels=np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8),
    size=0.2,
)


def leave(folder, checkpoint, trigger=None, **fields):
    """What an earlier window would have left."""
    named = {} if trigger is None else {"trigger": trigger.digest}
    session = SavedSession.model_validate({"checkpoint": str(checkpoint), **named, **fields})
    return write_session(folder, session, [] if trigger is None else [trigger])


def shown_errors():
    return [w for w in QApplication.topLevelWidgets() if isinstance(w, ErrorDialog)]


def left_behind(make, qtbot, tmp_path):
    """A window that has a donor, a cleaned checkpoint and two snapshots, and is closed."""
    part = write_safetensors(tmp_path / "visual.safetensors", {"a": [1.0]})
    donor = write_safetensors(tmp_path / "whole.safetensors", {"a": [2.0]})
    cleaned = write_safetensors(tmp_path / "cleaned.safetensors", {"a": [3.0]})
    first = make()
    session, shell, editor = first.session, first.context.shell, first.stations["studio"].editor
    shell.open("donor", str(part), str(donor))
    first.open_path(str(part))
    qtbot.waitUntil(lambda: None not in (session.checkpoint, session.images), timeout=WAIT)
    editor.use_trigger(PAINTED)
    editor.document.switch_snapshot("B")
    shell.open("trigger", demo_trigger(), 1)
    shell.open("cleaned", OpenCheckpoint(str(cleaned), "cleaned", str(donor)), True)
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
    editor.document.switch_snapshot("A")
    assert editor.current_trigger() == PAINTED
    assert session.other_snapshot == OtherSnapshot("B", demo_trigger())
    assert shown_errors() == []


def test_the_offer_stays_until_something_is_opened(make, qtbot, tmp_path, checkpoint):
    folder = tmp_path / "config" / "unsaved.session"
    leave(folder, write_safetensors(tmp_path / "other.safetensors", {"a": [1.0]}), PAINTED)
    before = (folder / SESSION_FILE).read_bytes()
    make().close()
    assert (folder / SESSION_FILE).read_bytes() == before
    assert session_trigger(folder, read_session(folder).session.trigger) == PAINTED
    window = make()
    assert window.welcome._continue.isVisible()
    window.open_path(str(checkpoint))
    qtbot.waitUntil(lambda: window.session.checkpoint is not None, timeout=WAIT)
    assert window.welcome._continue.isHidden()


def test_what_is_gone_is_asked_for_and_can_be_left_out(make, qtbot, tmp_path, checkpoint):
    images = ImageSpec(kind="folder", path=str(tmp_path / "pictures"))
    folder = tmp_path / "config" / "unsaved.session"
    leave(folder, checkpoint, PAINTED, images=images, station="studio")
    window = make()
    answers = Answers().take_over(window.prompts)
    window.welcome.go_on.click()
    assert answers.asked[0].startswith("Where is pictures (evaluation images)?")
    qtbot.waitUntil(lambda: window.station == "studio", timeout=WAIT)
    assert window.session.checkpoint.path == str(checkpoint)
    assert window.stations["studio"].editor.current_trigger() == PAINTED


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
    assert welcome._interrupted_text.text().startswith("CleanCLIP, custom was interrupted")
    begun = []
    clean.run.resume = begun.append
    welcome.resume.click()
    assert window.station == "clean"
    assert [saved.folder for saved in begun] == [folder]
    clean.run.began.emit()
    assert welcome._interrupted.isHidden()

"""Sessions by name: saved, opened where files moved or are another's, left, and asked for."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PySide6.QtCore import Qt

from cleanclip_gui.inference.questions import OpenCheckpoint
from cleanclip_gui.session.records import OtherSnapshot, RunState
from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.window.crash import ErrorDialog
from cleanclip_gui.window.session_files import NotesDialog
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Done
from ml_core.reading import inspect
from ml_core.reports.record import EVIDENCE_FILE, Evidence
from ml_core.reports.sessions.folder import read_session, session_trigger, write_session
from ml_core.reports.sessions.record import SESSION_FILE, FileFacts, SavedSession
from ml_core.triggers import Trigger, demo_trigger
from tests.gui.run_folders import write_run
from tests.gui.shell_fakes import Answers, visible, write_safetensors, write_state

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


def opened(make, qtbot, checkpoint):
    window = make()
    window.open_path(str(checkpoint))
    session = window.session
    qtbot.waitUntil(lambda: None not in (session.checkpoint, session.images), timeout=WAIT)
    window.context.shell.open("trigger", demo_trigger(), 1)
    qtbot.waitUntil(lambda: session.trigger == demo_trigger(), timeout=WAIT)
    return window


def saved(window, qtbot, answers, folder):
    answers.path = str(folder)
    window.sessions.save_as()
    qtbot.waitUntil(lambda: window.session.folder == str(folder), timeout=WAIT)
    return folder


def test_a_session_is_saved_with_its_record_and_goes_on_elsewhere(
    make, qtbot, tmp_path, answers, checkpoint
):
    window = opened(make, qtbot, checkpoint)
    assert window.windowTitle() == "CleanCLIP GUI"
    run = tmp_path / "run-1"
    run.mkdir()
    (run / "spec.json").write_text("{}")
    window.session.run = RunState(str(run), "cleanclip", "running")
    qtbot.waitUntil(lambda: str(run) in window.keeper.record().files, timeout=WAIT)
    (run / "events.jsonl").write_text("")
    window.session.run = RunState(str(run), "cleanclip", "finished")
    table, data = tmp_path / "pairs.csv", window.stations["clean"].data
    table.write_text("photo,words\n")
    own = PairSpec(kind="csv", path=str(table), image_column="photo", caption_column="words")
    data.show_specs(own, None)
    folder = saved(window, qtbot, answers, tmp_path / "one.session")
    assert window.windowTitle() == "one[*] \N{EN DASH} CleanCLIP GUI"
    assert not window.isWindowModified()
    found = read_session(folder)
    assert found.is_own
    session = found.session
    (run / "result.json").write_text("{}")  # changes the folder, and not what it is known by
    assert (session.checkpoint, session.runs) == (str(checkpoint), (str(run),))
    assert session.files[str(checkpoint)].digest == inspect(checkpoint).sha256
    assert session.files[str(run)].inside == "spec.json"
    assert session.files[str(run)].digest
    assert session.files[str(table)].digest
    evidence = Evidence.model_validate_json((folder / EVIDENCE_FILE).read_bytes())
    assert evidence.checkpoints["suspect"].sha256 == inspect(checkpoint).sha256
    assert list(evidence.triggers) == [demo_trigger().digest]
    assert str(tmp_path) not in (folder / EVIDENCE_FILE).read_text()
    window.session.run = None
    window.close()

    again = make()
    assert again.keeper.summary().startswith("Session one: m.safetensors")
    item = again.welcome.recent.item(0)
    assert item.data(Qt.ItemDataRole.UserRole) == str(folder)
    again.welcome._on_recent_activated(item)
    qtbot.waitUntil(lambda: again.session.trigger == demo_trigger(), timeout=WAIT)
    assert again.session.folder == str(folder)
    assert again.session.runs == (str(run),)
    data = again.stations["clean"].data
    assert data.table.isChecked()
    assert data.pairs() == own
    again.keeper.compare()
    assert not again.isWindowModified()
    assert again.welcome._continue.isHidden()
    data.demo.setChecked(True)
    qtbot.waitUntil(again.isWindowModified, timeout=WAIT)


def test_method_settings_and_labelled_images_come_back(make, qtbot, tmp_path, answers, checkpoint):
    window = opened(make, qtbot, checkpoint)
    setup = window.stations["clean"].setup
    table = tmp_path / "labels.csv"
    table.write_text("photo,class\n")
    labelled = ImageSpec(kind="csv", path=str(table), image_column="photo", label_column="class")
    setup.form.set_method("supervised")
    setup.form.set_rate(3e-6)
    setup.data.show_specs(None, labelled)
    folder = saved(window, qtbot, answers, tmp_path / "one.session")
    kept = read_session(folder).session
    assert (kept.recipe, kept.labelled, kept.pairs) == (setup.form.recipe(), labelled, None)
    window.close()

    again = make()
    again.sessions.open(str(folder))
    setup = again.stations["clean"].setup
    qtbot.waitUntil(lambda: again.session.checkpoint is not None, timeout=WAIT)
    assert (setup.form.recipe(), setup.data.images()) == (kept.recipe, labelled)
    again.keeper.compare()
    assert not again.isWindowModified()
    station, other = again.stations["clean"], SavedSession(checkpoint="m.safetensors")
    station.restore(dict(other))
    assert station.state()["recipe"] is None  # nobody chose one there


def test_a_change_marks_the_window_and_closing_asks(make, qtbot, tmp_path, answers, checkpoint):
    window = opened(make, qtbot, checkpoint)
    folder = saved(window, qtbot, answers, tmp_path / "one.session")
    window.session.notes = "Fetched from a forum."
    qtbot.waitUntil(window.isWindowModified, timeout=WAIT)
    answers.changes = ""
    window.close()
    assert answers.asked[-1] == "The session “one” has changed. Save it?"
    assert window.isVisible()
    assert read_session(folder).session.notes == ""
    answers.changes = "save"
    window.close()
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=WAIT)
    assert read_session(folder).session.notes == "Fetched from a forum."


def test_what_is_not_saved_does_not_come_back_unless_the_window_was_killed(
    make, qtbot, tmp_path, answers, checkpoint
):
    window = opened(make, qtbot, checkpoint)
    saved(window, qtbot, answers, tmp_path / "one.session")
    window.session.notes = "No."
    window.keeper.save()  # as it does by itself a moment later
    killed = make()  # the other one never closed
    assert "with changes that were not saved: m.safetensors" in killed.keeper.summary()
    killed.welcome.go_on.click()
    qtbot.waitUntil(lambda: killed.session.checkpoint is not None, timeout=WAIT)
    assert killed.session.notes == "No."
    qtbot.waitUntil(killed.isWindowModified, timeout=WAIT)
    answers.changes = "discard"
    killed.close()
    again = make()
    assert again.keeper.summary().startswith("Session one: ")
    again.welcome.go_on.click()
    qtbot.waitUntil(lambda: again.session.checkpoint is not None, timeout=WAIT)
    assert again.session.notes == ""
    assert again.sessions.name == "one"


def test_files_that_moved_are_asked_for_once_and_checked(
    make, qtbot, tmp_path, answers, checkpoint
):
    window = opened(make, qtbot, checkpoint)
    write_safetensors(tmp_path / "trusted.safetensors", {"a": [5.0]})
    window.context.shell.open("trusted", str(tmp_path / "trusted.safetensors"))
    folder = saved(window, qtbot, answers, tmp_path / "one.session")
    window.close()
    moved = tmp_path / "new place"
    moved.mkdir()
    for name in ("m.safetensors", "trusted.safetensors"):
        (tmp_path / name).rename(moved / name)
    write_safetensors(tmp_path / "another.safetensors", {"a": [9.0]})

    again = make()
    places = [str(tmp_path / "another.safetensors"), str(moved / "m.safetensors")]

    def open_file(parent, title, *rest):
        answers.asked.append(title)
        return places.pop(0)

    answers.asked.clear()
    object.__setattr__(again.prompts, "open_file", open_file)
    again.sessions.open(str(folder))
    qtbot.waitUntil(lambda: again.session.checkpoint is not None, timeout=WAIT)
    where = "Where is m.safetensors (checkpoint)? It is no longer in its place."
    assert [answers.asked[0], answers.asked[2]] == [where, where]
    assert "another.safetensors is not the session's m.safetensors" in answers.asked[1]
    assert again.session.checkpoint.path == str(moved / "m.safetensors")
    # the other one moved with it, and is not asked for
    qtbot.waitUntil(
        lambda: again.session.trusted == str(moved / "trusted.safetensors"), timeout=WAIT
    )
    assert len(answers.asked) == 3


def test_times_that_changed_alone_are_not_asked_about(make, qtbot, tmp_path, answers, checkpoint):
    window = opened(make, qtbot, checkpoint)
    folder = saved(window, qtbot, answers, tmp_path / "one.session")
    window.close()
    shutil.copyfile(checkpoint, tmp_path / "copy")
    (tmp_path / "copy").replace(checkpoint)
    again = make()
    again.sessions.open(str(folder))
    qtbot.waitUntil(lambda: again.session.checkpoint is not None, timeout=WAIT)
    assert again.session.folder == str(folder)


@pytest.mark.parametrize("yes", [True, False])
def test_nothing_that_a_strangers_session_names_is_looked_at_unasked(
    make, qtbot, tmp_path, answers, checkpoint, monkeypatch, yes
):
    sha256 = inspect(checkpoint).sha256
    files = {str(checkpoint): FileFacts(digest=sha256, known_by="weights")}
    session = SavedSession(
        checkpoint=str(checkpoint), run="//server/share/run", runs=("//server/share/run",),
        files=files, layout="AAAA", notes="theirs",
    )  # fmt: skip
    folder = tmp_path / "theirs.session"
    write_session(folder, session, [])
    path = folder / SESSION_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seal": "0" * 64}))
    window = make()
    asked = []
    real = type(checkpoint).exists

    def exists(self, **kwargs):
        asked.append(str(self))
        return real(self, **kwargs)

    monkeypatch.setattr(type(checkpoint), "exists", exists)
    restored = []
    monkeypatch.setattr(window.sessions, "_restore", restored.append)
    questions = []

    def confirm(parent, title, text, *rest):
        if not questions:
            assert not {str(checkpoint), "//server/share/run"} & set(asked)
        questions.append(text)
        return yes and len(questions) == 1

    object.__setattr__(window.prompts, "confirm", confirm)
    window.take_file(folder)
    assert f"• checkpoint: {checkpoint}\n• run: //server/share/run" in questions[0]
    qtbot.waitUntil(lambda: window.session.notes == "theirs", timeout=WAIT)
    assert (window.session.runs, restored) == ((), [])
    if yes:
        qtbot.waitUntil(lambda: window.session.checkpoint is not None, timeout=WAIT)
        assert "There is nothing at //server/share/run" in questions[1]
        # so that saving makes it this machine's own
        qtbot.waitUntil(window.isWindowModified, timeout=WAIT)
    else:
        assert not {str(checkpoint), "//server/share/run"} & set(asked)
        assert window.session.checkpoint is None


def test_what_cannot_be_opened_or_saved_is_told(make, qtbot, tmp_path, answers, checkpoint):
    window = opened(make, qtbot, checkpoint)
    window.sessions.open(str(tmp_path / "gone.session"))
    (shown,) = visible(ErrorDialog)
    assert shown.sentence.endswith("was moved or deleted; open it from its place.")
    shown.reject()
    (tmp_path / "broken.session").mkdir()
    (tmp_path / "broken.session" / SESSION_FILE).write_text("{")
    window.sessions.open(str(tmp_path / "broken.session"))
    (shown,) = visible(ErrorDialog)
    assert "is not a session" in shown.sentence
    shown.reject()
    (tmp_path / "full.session").mkdir()
    (tmp_path / "full.session" / "thesis.tex").touch()
    answers.path = str(tmp_path / "full.session")
    window.sessions.save_as()
    qtbot.waitUntil(lambda: bool(visible(ErrorDialog)), timeout=WAIT)
    (shown,) = visible(ErrorDialog)
    assert "holds other files" in shown.sentence
    shown.reject()
    assert window.session.folder == ""


def test_notes_are_kept_when_they_are_accepted(make, qtbot, answers, checkpoint):
    window = opened(make, qtbot, checkpoint)
    for end, notes in (("reject", ""), ("accept", "# Hm\n")):
        window.sessions.edit_notes()
        dialog = window.findChildren(NotesDialog)[-1]
        dialog.edit.setPlainText("# Hm\n")
        getattr(dialog, end)()
        assert window.session.notes == notes
    window.close()  # without a name it is never asked about
    assert not window.isVisible()
    assert answers.asked == []


def test_a_session_is_left_and_stays_as_it_was(make, qtbot, tmp_path, answers, checkpoint):
    window = opened(make, qtbot, checkpoint)
    folder = saved(window, qtbot, answers, tmp_path / "one.session")
    window.stations["scan"].restore({"scans": ("/somewhere/scan",), "checkpoint": ""})
    window.context.shell.state_changed.emit()
    answers.changes = "discard"
    window.sessions.leave()
    assert (window.session.folder, window.stations["scan"].state()) == ("", {"scans": ()})
    assert window.session.checkpoint is not None
    assert window.windowTitle() == "CleanCLIP GUI"
    assert read_session(folder).session.scans == ()


# What was open comes back without a name


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
    assert visible(ErrorDialog) == []


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
    assert welcome._interrupted_text.text().startswith(
        "“CleanCLIP, talk, 3 changes” was interrupted"
    )
    begun = []
    clean.run.resume = begun.append
    welcome.resume.click()
    assert window.station == "clean"
    assert [saved.folder for saved in begun] == [folder]
    clean.run.began.emit()
    assert welcome._interrupted.isHidden()

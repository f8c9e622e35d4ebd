"""The window as a whole: opening, dropping, errors, closing, access."""

import logging
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import QCoreApplication, QEvent, QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QApplication, QPlainTextEdit, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.audit.dialog import AuditDialog
from cleanclip_gui.data.data_bar import TemplatesDialog, parse_templates
from cleanclip_gui.data.images_dialog import ImagesDialog
from cleanclip_gui.inference.questions import Failed, Predict
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.session import RunState
from cleanclip_gui.window.command_palette import CommandPalette
from cleanclip_gui.window.crash import (
    CrashHandler,
    ErrorDialog,
    log_file,
    start_logging,
    stop_logging,
)
from cleanclip_gui.window.help_dialog import HelpDialog
from cleanclip_gui.window.status_bar import LogPane
from ml_core.data.specs import PairSpec
from tests.gui.factories import facts
from tests.gui.fakes import FakeRunner
from tests.gui.shell_fakes import FakeEngine, fake_window, visible

WAIT = 30_000


@pytest.fixture
def checkpoint(checkpoint, monkeypatch):
    """Which is that of the demo too."""
    monkeypatch.setattr("cleanclip_gui.window.main_window.resource", lambda *parts: checkpoint)
    return checkpoint


def opened(window, qtbot, path):
    session = window.session
    window.open_path(str(path))
    qtbot.waitUntil(lambda: session.checkpoint is not None and session.images is not None)


def dialog(kind):
    (shown,) = visible(kind)
    return shown


def run_state(status="running", device="cpu"):
    return RunState("out", "cleanclip", status, device)


# Opening


def test_an_engine_that_does_not_start_can_be_tried_again(qtbot, tmp_path, answers, checkpoint):
    errors = [ImportError("no torch here")] * 2

    def engine(watch_texts):
        if errors:
            raise errors.pop()
        return FakeEngine(watch_texts)

    window = fake_window(tmp_path / "config", answers, engine=engine)
    qtbot.addWidget(window)
    opened(window, qtbot, checkpoint)
    (asked,) = answers.asked
    assert "no torch here" in asked
    window.close()


# What is chosen and dropped


def test_recent_files_are_listed_and_chosen_by_mouse_or_key(window, qtbot):
    page = window.welcome
    page.set_recent(["/models/a.safetensors", "/models/b\u202e.safetensors"])
    assert page.recent.item(1).text().startswith("b\\u202e.safetensors")
    chosen = []
    page.path_chosen.disconnect()
    page.path_chosen.connect(chosen.append)
    place = page.recent.visualItemRect(page.recent.item(1)).center()
    qtbot.mouseClick(page.recent.viewport(), Qt.MouseButton.LeftButton, pos=place)
    page.recent.setCurrentRow(0)
    qtbot.keyClick(page.recent, Qt.Key.Key_Return)
    assert chosen == ["/models/b\u202e.safetensors", "/models/a.safetensors"]


def drop(widget, path):
    """Drag a file over a widget and let it go, as a file manager does: with address and text."""
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    mime.setText(mime.urls()[0].toString())
    how = Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    QApplication.sendEvent(widget, QDragEnterEvent(QPoint(5, 5), *how))
    QApplication.sendEvent(widget, QDropEvent(QPointF(5, 5), *how))


def test_a_checkpoint_can_be_dropped_anywhere(window, qtbot, checkpoint, monkeypatch):
    opened(window, qtbot, checkpoint)
    dropped = []
    monkeypatch.setattr(window, "take_file", dropped.append)
    for chart in window.stations["clean"].charts.all():
        chart.prepare()
    for station in ("welcome", "checkpoint", "studio", "clean"):
        window.show_station(station)
        for widget in window.pages.currentWidget().findChildren(QWidget):
            if widget.window() is window:
                drop(widget, checkpoint)
                assert dropped.pop() == checkpoint, f"{widget} in {station}"


def test_what_is_dropped_or_named_at_the_start_goes_where_it_belongs(window, tmp_path, monkeypatch):
    several, single = [], []
    shell, open_in_shell = window.context.shell, window.context.shell.open
    with monkeypatch.context() as patch:
        patch.setattr(shell, "open", lambda kind, paths: several.append([p.name for p in paths]))
        patch.setattr(window, "take_file", lambda path: single.append(path.name))
        for names in ("a.pt b.safetensors c.png", "c.png d.png", "c.txt a.pt"):
            window.take_files([tmp_path / name for name in names.split()])
        assert (several, single) == ([["a.pt", "b.safetensors"]], ["c.png", "a.pt"])
        (tmp_path / "a.evidence.zip").touch()
        patch.chdir(tmp_path)
        window.take_named("a.evidence.zip")
        assert single[2:] == ["a.evidence.zip"]
    assert shell.open == open_in_shell
    asked = []
    shell.takes("checkpoint", asked.append)
    monkeypatch.setattr(window.stations["checkpoint"], "open_path", lambda path: None)
    window.take_named("hf-hub:owner/name")
    assert (len(single), asked) == (3, ["hf-hub:owner/name"])
    Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(tmp_path / "sticker.png")
    drop(window, tmp_path / "sticker.png")
    assert window.station == "studio"
    assert window.stations["studio"].editor.current_trigger() is not None


# Data


def test_a_dropped_table_asks_for_columns_and_classes(window, qtbot, tmp_path):
    path = tmp_path / "images.csv"
    path.write_text("file,kind\na.png,Dog\nb.png,hound\nc.png,hound\n")
    drop(window, path)
    asked = dialog(ImagesDialog)
    assert asked.image_column.currentText() == "file"
    asked.label_column.setCurrentText("kind")
    qtbot.waitUntil(lambda: asked.table.rowCount() == 2, timeout=WAIT)
    assert "1 not in the label set demo" in asked.state.text()
    assert [asked.table.item(0, column).text() for column in (0, 1)] == ["hound", "2"]
    box = asked.table.cellWidget(0, 2)
    box.setCurrentIndex(box.findText("dog"))
    spec = asked.spec()
    assert spec.class_map == {"hound": "dog"}
    assert (spec.kind, spec.image_column, spec.label_column) == ("csv", "file", "kind")
    asked.ok.click()
    qtbot.waitUntil(lambda: window.session.images is not None, timeout=WAIT)
    assert (window.session.images.spec, window.session.label_set) == (spec, "demo")


def test_the_bar_shows_and_changes_the_data_in_use(window, qtbot, checkpoint):
    opened(window, qtbot, checkpoint)
    bar = window.data_bar
    assert bar.images.text() == "fake images · 4"
    assert bar.labels.text() == "demo · 3 classes"
    assert bar.problems.text() == "1 note"
    bar.problems.click()
    shown = QApplication.activeModalWidget()
    assert "pear, plum" in shown.findChild(QPlainTextEdit).toPlainText()
    shown.close()

    bar.templates.click()
    editor = dialog(TemplatesDialog)
    editor.edit.setPlainText("a photo\nart of a {}")
    assert not editor.ok.isEnabled()
    assert "Line 1" in editor.state.text()
    editor.edit.setPlainText("art of a {}\n\n a {} ")
    editor.ok.click()
    qtbot.waitUntil(lambda: window.session.images.templates == ("art of a {}", "a {}"))
    assert parse_templates("")[1].startswith("Write at least one")

    def refused(*names):
        for name in names:
            bar.set_label_set(name)
        qtbot.waitUntil(lambda: QApplication.activeModalWidget() is not None, timeout=WAIT)
        error = dialog(ErrorDialog)
        assert "cifar-10" in error.sentence
        error.close()
        return bar.labels.text()

    assert refused("cifar-10") == "demo · 3 classes"
    # The answer to the first must not pass for one to the second, which ends it if it still can.
    assert refused("cifar-100", "cifar-10") in ("demo · 3 classes", "cifar-100 · 3 classes")


# The device


def test_devices_found_during_a_run_on_the_gpu_leave_studio_on_the_cpu(window, qtbot):
    """A run can be resumed before torch is loaded."""
    box, session, device = window.status.device, window.session, window.context.device
    qtbot.waitUntil(lambda: session.device == "cuda:0", timeout=WAIT)
    session.device = "cpu"
    device.release("cuda:0")
    session.run = run_state(device="cuda:0")
    window.inference.devices_found.emit(("cuda:0", "cpu"))
    assert session.device == box.currentData() == "cpu"
    assert not box.isEnabled()
    device.restore()
    assert session.device == "cuda:0"
    qtbot.waitUntil(lambda: box.currentData() == "cuda:0", timeout=WAIT)


# Errors and the log


def test_an_unexpected_error_is_shown_once_and_counted(window, qtbot):
    with CrashHandler(window.bridge):
        for _ in range(60):
            try:
                raise ZeroDivisionError("in a paint event")
            except ZeroDivisionError:
                sys.excepthook(*sys.exc_info())
    error = dialog(ErrorDialog)
    assert "ZeroDivisionError" in error.sentence
    error.toggle.click()
    assert "in a paint event" in error.details.toPlainText()
    error.copy()
    assert "Traceback" in QApplication.clipboard().text()
    error.close()
    with CrashHandler(window.bridge):
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        qtbot.waitUntil(lambda: QApplication.activeModalWidget() is not None, timeout=WAIT)
    dialog(ErrorDialog).close()
    failed = Failed(Predict(0, None), "There is nothing to predict.", "a traceback")
    window.context.shell.failed.emit(failed)
    shown = dialog(ErrorDialog)
    assert (shown.windowTitle(), shown.label.text(), shown.details.toPlainText()) == (
        "The prediction failed", "There is nothing to predict.", "a traceback",
    )  # fmt: skip
    shown.reject()
    # the thread that failed has logged it
    assert failed.sentence not in window.log.view.toPlainText()


def test_what_is_logged_is_shown_and_kept(window):
    handlers = start_logging(window.bridge)
    try:
        logging.getLogger("somewhere").warning("odd \u202e name")
        QApplication.processEvents()
    finally:
        stop_logging(handlers)
    assert "odd \\u202e name" in window.log.view.toPlainText()
    assert "odd" in log_file().read_text("utf-8")


def test_the_focus_stays_in_the_pages_where_the_last_button_is_disabled(window):
    window.activateWindow()
    window.show_station("clean")
    button = window.stations["clean"].tabs
    button.setFocus()
    window.show_station("report")
    button.setEnabled(False)
    window.show_station("clean")
    assert not window.rail.isAncestorOf(window.focusWidget())


def test_what_has_just_happened_is_said_in_the_status_bar_and_kept_in_the_log(window):
    window.context.shell.logged.emit("Saved a\x1b[31m" + " long" * 200)
    assert window.status.news.text().startswith("Saved a\\x1b[31m long")
    assert "Saved a\\x1b" in window.log.view.toPlainText()


@pytest.mark.usefixtures("styled")
def test_the_log_follows_the_theme(qtbot, qapp):
    log = LogPane()
    qtbot.addWidget(log)
    log.add("info", "opened")
    log.add("error", "failed")
    theme.apply_theme(qapp, "dark")
    log.show()  # what is hidden follows when it is shown
    block = log.view.document().begin()
    colours = []
    while block.isValid():
        colours.append(block.begin().fragment().charFormat().foreground().color())
        block = block.next()
    assert colours == [theme.colour("text"), theme.colour("danger")]
    log.clear()
    assert log.view.toPlainText() == ""


# Commands


def test_help_opens_again_where_it_was_closed(qtbot, window):
    help_command = window.actions_["help.glossary"]
    for _ in range(2):
        help_command.trigger()
        shown = dialog(HelpDialog)
        assert "DECREE" in shown.page.toPlainText()
        shown.close()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


def test_the_header_names_what_the_station_works_on(window):
    session, title = window.session, window.header.title
    session.checkpoint, session.cleaned = facts("m.safetensors"), facts("cleaned.safetensors")
    session.role = "cleaned"
    for station, name in (("studio", "cleaned"), ("checkpoint", "m"), ("studio", "cleaned")):
        window.show_station(station)
        assert title.text() == f"{name}.safetensors"


def test_every_key_is_on_a_page_of_the_help_and_can_be_searched(window):
    window.actions_["help.keys"].trigger()
    shown = dialog(HelpDialog)
    text = shown.page.toPlainText()
    keyed = [command for command in window.actions_.commands if command.shortcut]
    assert [c.id for c in keyed if c.text.replace("&", "") not in text] == []
    assert {table.title for table in window.actions_.key_tables} <= set(text.splitlines())
    assert window.actions_["file.open"].toolTip().rpartition("(")[2].rstrip(")") in text
    shown.field.setText("black screen")
    assert "While presenting" in shown.page.toPlainText()
    shown.close()


def test_the_palette_finds_runs_and_says_what_a_command_needs(window, qtbot, checkpoint):
    def search(text):
        window.show_palette()
        palette = dialog(CommandPalette)
        palette.field.setText(text)
        items = map(palette.list.topLevelItem, range(palette.list.topLevelItemCount()))
        enabled = Qt.ItemFlag.ItemIsEnabled
        return palette, [
            (f"{item.text(0)} {item.text(1)}".strip(), bool(item.flags() & enabled))
            for item in items
        ]

    palette, ((text, enabled), *_) = search("sticker")
    assert text.startswith("Use the demo sticker")
    assert text.endswith("Open a checkpoint first.")
    assert not enabled
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    assert palette.isVisible()  # there is nothing to do
    palette.close()
    palette, rows = search("no such command")
    assert rows == [("No command matches “no such command”", False)]
    palette.close()
    palette, rows = search("dark")
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    assert window.settings.value.theme == "dark"
    assert window.actions_["view.dark"].isChecked()
    window.actions_["view.switch_theme"].trigger()
    assert window.settings.value.theme == "light"
    assert not window.actions_["view.dark"].isChecked()
    palette, rows = search("")
    assert rows[:2] == [("Recent", False), ("Dark theme", True)]
    palette.close()
    opened(window, qtbot, checkpoint)
    window.show_station("clean")
    palette, rows = search("sticker")
    assert rows[0][0].endswith("Go to Studio first.")
    palette.close()
    window.show_station("studio")
    palette, rows = search("trigger")
    states = [enabled for _, enabled in rows]
    assert states == sorted(states, reverse=True)  # what can be done comes first
    assert any("Needs a trigger on Studio's canvas." in text for text, _ in rows)
    palette.close()


# Closing


def job_at_work(clean, what):
    """A fake runner of an audit or of a proof."""
    if what == "audit":
        task, prompts = JobTask("audit", FakeRunner), clean.context.prompts
        names = "m.pt", "m.pt"
        clean.auditing.show(
            AuditDialog(task, clean.session, *names, PairSpec(), prompts, clean.window())
        )
    else:
        task = clean.proof.task
        task.kind, task.make_runner = what, FakeRunner
    task.launch(Path("spec.json"), "cpu")
    return task.runner


CUT_OFF = {
    "rebound": "The rebound test is going on. Cancel it and quit? It will start from the beginning "
    "next time.",
    "audit": "An audit of training pairs is going on. Cancel it and quit? Finished embeddings "
    "are reused by the next audit.",
    "save": "A file is being saved. Cancel it and quit? The file it would replace and the run's "
    "own file are kept.",
}


@pytest.mark.parametrize("what", CUT_OFF)
def test_closing_asks_while_anything_is_being_worked_at(window, answers, what, monkeypatch):
    clean, job = window.stations["clean"], None
    if what == "save":
        monkeypatch.setattr(type(clean.saving), "is_busy", True)
    else:
        job = job_at_work(clean, what)
    answers.yes = False
    assert not window.close()
    assert window.isVisible()
    assert answers.asked == [CUT_OFF[what]]
    assert job is None or not job.cancelled
    answers.yes = True
    assert window.close()
    assert not window.isVisible()
    assert job is None or job.cancelled


def test_a_run_is_cancelled_before_the_window_goes_with_one_question_for_all(
    window, answers, monkeypatch
):
    cancelled, clean = [], window.stations["clean"]
    monkeypatch.setattr(type(clean.run), "cancel", lambda self: cancelled.append(1), False)
    window.session.run = run_state()
    answers.yes = False
    assert not window.close()
    assert window.isVisible()
    assert not cancelled
    answers.yes = True
    job = job_at_work(clean, "audit")
    assert not window.close()
    assert answers.asked[1:] == [
        "A cleaning run is going on. An audit of training pairs is going on. Cancel them and "
        "quit? Its last save is kept. Finished embeddings are reused by the next audit."
    ]
    assert cancelled == [1]
    assert job.cancelled
    assert window.isVisible()
    window.session.run = run_state("cancelled")
    QApplication.processEvents()
    assert not window.isVisible()
    assert len(answers.asked) == 2

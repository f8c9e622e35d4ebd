"""The window as a whole: opening, dropping, errors, closing, access."""

import logging
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, QSize, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QKeySequence
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QLabel,
    QPlainTextEdit,
    QWidget,
)

from cleanclip_gui import theme, threads
from cleanclip_gui.clean.audit.dialog import AuditDialog
from cleanclip_gui.data.data_bar import TemplatesDialog, parse_templates
from cleanclip_gui.data.images_dialog import ImagesDialog
from cleanclip_gui.inference.questions import Failed, Predict
from cleanclip_gui.jobs import tasks
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.session import RunState
from cleanclip_gui.session.records import RunProgress
from cleanclip_gui.studio.canvas.tools import key_rows
from cleanclip_gui.talk.desk import STAGE_KEYS
from cleanclip_gui.window.command_palette import CommandPalette
from cleanclip_gui.window.crash import CrashHandler, ErrorDialog, start_logging, stop_logging
from cleanclip_gui.window.help_dialog import KeysDialog
from cleanclip_gui.window.main_window import has_room
from ml_core.data.labels import load_label_set
from ml_core.data.specs import ImageSpec, PairSpec
from tests.gui.factories import facts
from tests.gui.fakes import FakeRunner
from tests.gui.shell_fakes import Answers, FakeEngine, fake_window, write_safetensors

WAIT = 30_000


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def window(qtbot, tmp_path, answers):
    window = fake_window(tmp_path / "config", answers)
    qtbot.addWidget(window)
    window.show()
    qtbot.waitExposed(window)
    yield window
    window.session.run = None
    window.close()


@pytest.fixture
def checkpoint(tmp_path):
    return write_safetensors(tmp_path / "m.safetensors", {"a": [1.0, 2.0]})


def opened(window, qtbot, path):
    window.open_path(str(path))
    qtbot.waitUntil(
        lambda: window.session.checkpoint is not None and window.session.images is not None,
        timeout=WAIT,
    )


def dialog(kind):
    found = [w for w in QApplication.topLevelWidgets() if isinstance(w, kind) and w.isVisible()]
    assert len(found) == 1
    return found[0]


def test_it_opens_on_the_welcome_page_with_stations_locked(window):
    assert window.station == "welcome"
    assert not window.actions_.by_id["view.studio"].isEnabled()
    assert not window.header.isVisible()


def test_an_engine_that_does_not_start_can_be_tried_again(qtbot, tmp_path, answers, checkpoint):
    left = [ImportError("no torch here")] * 2

    def engine(watch_texts):
        if left:
            raise left.pop()
        return FakeEngine(watch_texts)

    window = fake_window(tmp_path / "config", answers, engine=engine)
    qtbot.addWidget(window)
    opened(window, qtbot, checkpoint)
    assert len(answers.asked) == 1
    assert "no torch here" in answers.asked[0]
    window.close()


def test_opening_shows_the_checkpoint_and_unlocks_the_stations(window, qtbot, checkpoint):
    opened(window, qtbot, checkpoint)
    assert window.station == "checkpoint"
    assert window.header.title.text() == "m.safetensors"
    assert window.header.subtitle.text() == "ResNet 64 px"
    assert window.actions_.by_id["view.studio"].isEnabled()
    window.actions_.by_id["view.studio"].trigger()
    assert window.station == "studio"
    assert window.settings.value.recent == (str(checkpoint),)


def test_the_demo_opens_in_studio_with_its_target(window, qtbot, checkpoint, monkeypatch):
    monkeypatch.setattr("cleanclip_gui.window.main_window.resource", lambda *parts: checkpoint)
    window.start_demo()
    assert not window.guide.running
    qtbot.waitUntil(lambda: window.session.images is not None, timeout=WAIT)
    qtbot.waitUntil(lambda: window.station == "studio", timeout=WAIT)
    assert window.session.images.class_names[window.session.target] == "banana"
    assert window.session.images.spec == ImageSpec(kind="demo", split="test")


@pytest.mark.parametrize(("status", "stays"), [("finished", False), ("running", True)])
def test_the_demo_forgets_a_run_that_has_ended(window, checkpoint, monkeypatch, status, stays):
    monkeypatch.setattr("cleanclip_gui.window.main_window.resource", lambda *parts: checkpoint)
    window.session.run = RunState("out", "cleanclip", status)
    window.start_demo()
    assert (window.session.run is not None) is stays


def test_try_the_demo_leads_through_it(window, qtbot, checkpoint, monkeypatch):
    monkeypatch.setattr("cleanclip_gui.window.main_window.resource", lambda *parts: checkpoint)
    window.welcome.demo.click()
    assert window.guide.running
    qtbot.waitUntil(lambda: window.session.checkpoint is not None, timeout=WAIT)
    assert window.station == "checkpoint"
    assert window.guide.card.isVisible()
    qtbot.waitUntil(window.guide.card.next.isEnabled, timeout=WAIT)
    window.guide.card.next.click()
    assert window.station == "studio"
    window.guide.end()


def test_a_refused_file_does_not_stand_over_the_model_in_use(window, qtbot, checkpoint, tmp_path):
    opened(window, qtbot, checkpoint)
    evil = tmp_path / "evil.pt"
    evil.write_bytes(b"\x80\x02cos\nsystem\n.")
    window.open_path(str(evil))
    qtbot.waitUntil(lambda: window.header.subtitle.text() == "Refused", timeout=WAIT)
    assert window.header.title.text() == "evil.pt"
    window.show_station("studio")
    assert window.actions_.by_id["view.checkpoint"].isEnabled()
    assert window.header.title.text() == "m.safetensors"


def test_a_file_whose_model_does_not_load_is_not_said_to_be_read(window, qtbot, tmp_path):
    path = write_safetensors(tmp_path / "refuse.safetensors", {"a": [1.0]})
    window.open_path(str(path))
    qtbot.waitUntil(lambda: window.header.subtitle.text() == "Not opened", timeout=WAIT)
    assert window.header.title.text() == "refuse.safetensors"
    window.show_station("welcome")  # and back: there is something to look at
    assert window.actions_.by_id["view.checkpoint"].isEnabled()
    qtbot.waitUntil(lambda: window.stations["checkpoint"].complete, timeout=WAIT)


def test_a_recent_file_that_is_gone_is_forgotten_with_a_sentence(window, tmp_path):
    gone = str(tmp_path / "gone.safetensors")
    window.settings.add_recent(gone)
    window.open_path(gone)
    assert window.settings.value.recent == ()
    error = dialog(ErrorDialog)
    assert "gone.safetensors" in error.sentence
    assert error.windowTitle() == "Could not open the checkpoint"
    error.close()


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


@pytest.mark.parametrize(
    ("names", "several"),
    [
        (("a.pt", "b.safetensors", "c.png"), ["a.pt", "b.safetensors"]),
        (("c.png", "d.png"), []),
        (("a.pt", "c.png"), []),
    ],
)
def test_only_several_checkpoints_make_a_list(window, tmp_path, monkeypatch, names, several):
    lists, first = [], []
    shell = window.context.shell
    monkeypatch.setattr(shell, "open", lambda kind, paths: lists.extend(paths))
    monkeypatch.setattr(window, "take_file", first.append)
    window.take_files([tmp_path / name for name in names])
    assert [path.name for path in lists] == several
    assert [path.name for path in first] == ([] if several else [names[0]])


def test_what_is_named_at_the_start_is_taken_like_a_drop(window, tmp_path, monkeypatch) -> None:
    dropped, wanted = [], []
    monkeypatch.setattr(window, "take_file", dropped.append)
    window.context.shell.takes("checkpoint", wanted.append)
    (tmp_path / "a.evidence.zip").touch()
    monkeypatch.chdir(tmp_path)
    window.take_named("a.evidence.zip")
    assert dropped == [tmp_path / "a.evidence.zip"]
    assert not wanted
    monkeypatch.setattr(window.stations["checkpoint"], "open_path", lambda path: None)
    window.take_named("hf-hub:owner/name")
    assert (len(dropped), wanted) == (1, ["hf-hub:owner/name"])


def test_a_dropped_picture_becomes_the_trigger(window, qtbot, tmp_path):
    from PIL import Image

    path = tmp_path / "sticker.png"
    Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(path)
    drop(window, path)
    assert window.station == "studio"
    assert window.stations["studio"].editor.current_trigger() is not None


def test_a_dropped_table_asks_for_columns_and_classes(window, qtbot, tmp_path):
    path = tmp_path / "images.csv"
    path.write_text("file,kind\na.png,Dog\nb.png,hound\nc.png,hound\n")
    drop(window, path)
    asked = dialog(ImagesDialog)
    assert asked.image_column.currentText() == "file"
    asked.label_column.setCurrentText("kind")
    qtbot.waitUntil(lambda: asked.table.rowCount() == 2, timeout=WAIT)
    assert "1 not in the label set demo" in asked.state.text()
    assert asked.table.item(0, 0).text() == "hound"
    assert asked.table.item(0, 1).text() == "2"
    box = asked.table.cellWidget(0, 2)
    box.setCurrentIndex(box.findText("dog"))
    spec = asked.spec()
    assert spec.class_map == {"hound": "dog"}
    assert (spec.kind, spec.image_column, spec.label_column) == ("csv", "file", "kind")
    asked.ok.click()
    qtbot.waitUntil(lambda: window.session.images is not None, timeout=WAIT)
    assert (window.session.images.spec, window.session.label_set) == (spec, "demo")


@pytest.mark.parametrize("unmatched", [3, 502])
def test_a_long_list_of_labels_says_that_it_is_cut(qtbot, tmp_path, unmatched):
    path = tmp_path / "images.csv"
    matched = [name for name in load_label_set("cifar-100").class_names for _ in range(6)]
    rows = [f"x{i}.png,odd{i}" for i in range(unmatched)]
    rows += [f"{i}.png,{name}" for i, name in enumerate(matched)]
    many = unmatched + 100
    path.write_text("image,label\n" + "\n".join(rows) + "\n")
    asked = ImagesDialog(path, "csv", "cifar-100")
    qtbot.addWidget(asked)
    qtbot.waitUntil(lambda: asked.table.rowCount() > 0, timeout=WAIT)
    shown = min(many, 500)
    assert asked.table.rowCount() == shown
    cut = f" The first 500 of {many} are shown; 2 that match no class are left out."
    assert asked.state.text() == (
        f"{many} labels, {unmatched} not in the label set cifar-100." + (cut if many > 500 else "")
    )


def test_what_was_left_out_is_on_a_chip(window, qtbot, checkpoint):
    opened(window, qtbot, checkpoint)
    bar = window.data_bar
    assert bar.images.text() == "fake images · 4"
    assert bar.labels.text() == "demo · 3 classes"
    assert bar.problems.text() == "1 note"
    bar.problems.click()
    shown = QApplication.activeModalWidget()
    assert "pear, plum" in shown.findChild(QPlainTextEdit).toPlainText()
    shown.close()


def test_a_label_set_that_does_not_fit_is_said_and_the_old_one_stays(window, qtbot, checkpoint):
    opened(window, qtbot, checkpoint)
    window.data_bar.set_label_set("cifar-10")
    qtbot.waitUntil(lambda: QApplication.activeModalWidget() is not None, timeout=WAIT)
    error = dialog(ErrorDialog)
    assert "cifar-10" in error.sentence
    error.close()
    assert window.data_bar.labels.text() == "demo · 3 classes"


def test_two_quick_choices_of_data_do_not_mix(window, qtbot, checkpoint):
    """The first one's answer must not pass for the second one's, which then fails.

    The second ends the first, unless that was done already.
    """
    opened(window, qtbot, checkpoint)
    bar = window.data_bar
    bar.set_label_set("cifar-100")
    bar.set_label_set("cifar-10")
    qtbot.waitUntil(lambda: QApplication.activeModalWidget() is not None, timeout=WAIT)
    dialog(ErrorDialog).close()
    assert bar.labels.text() in ("demo · 3 classes", "cifar-100 · 3 classes")


def test_templates_are_edited_and_checked(window, qtbot, checkpoint):
    opened(window, qtbot, checkpoint)
    window.data_bar.templates.click()
    editor = dialog(TemplatesDialog)
    editor.edit.setPlainText("a photo\nart of a {}")
    assert not editor.ok.isEnabled()
    assert "Line 1" in editor.state.text()
    editor.edit.setPlainText("art of a {}\n\n a {} ")
    editor.ok.click()
    wanted = ("art of a {}", "a {}")
    qtbot.waitUntil(lambda: window.session.images.templates == wanted, timeout=WAIT)
    assert parse_templates("")[1].startswith("Write at least one")


def test_the_best_device_is_chosen_and_the_users_choice_is_kept(window, qtbot):
    qtbot.waitUntil(lambda: window.session.device == "cuda:0", timeout=WAIT)
    box = window.status.device
    assert [box.itemText(i) for i in range(box.count())] == ["CUDA GPU 0", "CPU"]
    box.setCurrentIndex(1)
    box.activated.emit(1)
    qtbot.waitUntil(lambda: window.session.device == "cpu", timeout=WAIT)
    assert window.settings.value.device == "cpu"


def test_two_gpus_are_offered_together_to_a_run(window, qtbot):
    gpus = window.stations["clean"].setup.gpus
    qtbot.waitUntil(lambda: window.session.device == "cuda:0", timeout=WAIT)
    window.inference.devices_found.emit(("cuda:0", "cpu"))
    assert not gpus.isVisibleTo(window.stations["clean"].setup)
    window.inference.devices_found.emit(("cuda:0", "cuda:1", "cpu"))
    assert gpus.isVisibleTo(window.stations["clean"].setup)
    assert gpus.choice.itemText(1) == "All 2 GPUs"
    window.session.run = RunState("out", "cleanclip", "running", "cuda")
    assert "while the run uses all GPUs" in window.status.device.toolTip()
    window.session.run = None


def test_the_device_is_held_while_a_run_uses_the_gpu(window, qtbot):
    """Choosing the GPU again would put Studio back on the device that the run was given."""
    box, session = window.status.device, window.session
    qtbot.waitUntil(lambda: session.device == "cuda:0" and box.isEnabled(), timeout=WAIT)
    usual = box.toolTip()
    session.run = RunState("out", "cleanclip", "running", "cuda:0")
    assert not box.isEnabled()
    assert "while the run uses cuda:0" in box.toolTip()
    session.run = RunState("out", "cleanclip", "finished", "cuda:0")
    assert box.isEnabled()
    assert box.toolTip() == usual
    session.run = RunState("out", "cleanclip", "running", "cpu")
    assert box.isEnabled()


def test_devices_found_during_a_run_on_the_gpu_leave_studio_on_the_cpu(window, qtbot):
    """A run can be resumed before torch is loaded."""
    qtbot.waitUntil(lambda: window.session.device == "cuda:0", timeout=WAIT)
    window.session.device = "cpu"
    window.stations["clean"].context.device.release("cuda:0")
    window.session.run = RunState("out", "cleanclip", "running", "cuda:0")
    window.inference.devices_found.emit(("cuda:0", "cpu"))
    assert window.session.device == "cpu"
    assert window.status.device.currentData() == "cpu"
    assert not window.status.device.isEnabled()
    window.stations["clean"].context.device.restore()
    assert window.session.device == "cuda:0"
    qtbot.waitUntil(lambda: window.status.device.currentData() == "cuda:0", timeout=WAIT)


def test_an_unexpected_error_is_shown_once_and_counted(window, qtbot):
    with CrashHandler(window.bridge) as crash:
        for _ in range(60):
            try:
                raise ZeroDivisionError("in a paint event")
            except ZeroDivisionError:
                sys.excepthook(*sys.exc_info())
        assert crash.repeats() == 59
    error = dialog(ErrorDialog)
    assert "ZeroDivisionError" in error.sentence
    error.toggle.click()
    assert "in a paint event" in error.details.toPlainText()
    error.copy()
    assert "Traceback" in QApplication.clipboard().text()
    error.close()


def test_an_error_in_another_thread_reaches_the_dialog(window, qtbot):
    import threading

    with CrashHandler(window.bridge):
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        qtbot.waitUntil(lambda: QApplication.activeModalWidget() is not None, timeout=WAIT)
    dialog(ErrorDialog).close()


def test_the_log_pane_shows_what_is_logged_and_the_file_has_it(window, tmp_path):
    from cleanclip_gui.window.crash import log_file

    handlers = start_logging(window.bridge)
    try:
        logging.getLogger("somewhere").warning("odd \u202e name")
        QApplication.processEvents()
    finally:
        stop_logging(handlers)
    assert "odd \\u202e name" in window.log.text()
    assert "odd" in log_file().read_text("utf-8")


@pytest.mark.usefixtures("styled")
def test_the_log_is_written_in_the_colours_of_the_theme(window):
    def colours():
        block = window.log.view.document().begin()
        found = []
        while block.isValid():
            found.append(block.begin().fragment().charFormat().foreground().color())
            block = block.next()
        return found

    window.log.add("info", "opened")
    window.log.add("error", "failed")
    light = colours()
    try:
        window.set_theme("dark")
        window.toggle_log()  # what is hidden follows when it is shown
        assert colours() == [theme.colour("text"), theme.colour("danger")]
        assert colours() != light
        assert window.log.text().count("failed") == 1
        window.log.clear()
        window.set_theme("light")
        assert window.log.text() == ""
    finally:
        window.set_theme("light")


@pytest.mark.usefixtures("styled")
@pytest.mark.parametrize("height", [680, 768])
def test_no_number_of_studio_is_squeezed_while_a_cleaned_model_is_watched(
    window, qtbot, checkpoint, height
):
    opened(window, qtbot, checkpoint)
    window.show_station("studio")
    window.resize(1366, height)
    figure = window.stations["studio"].figure
    figure.set_roles(True, "cleaned")
    window.session.run = RunState("out", "cleanclip", "running", "cuda:0")
    figure.pulled.show_value("banana", "+80.0 points")
    shown = [label for label in figure.findChildren(QLabel) if label.isVisible()]
    assert figure.note in shown

    def squeezed():
        return [
            label.text()
            for label in shown
            if label.height() < label.heightForWidth(label.width())
            or label.height() < label.fontMetrics().tightBoundingRect("Ag").height()
        ]

    # A label that changed its font asks for its place again when the event loop is next idle.
    qtbot.waitUntil(lambda: squeezed() == [], timeout=2000)


def test_themes_switch_and_are_kept(window):
    window.actions_.by_id["view.dark"].trigger()
    assert window.settings.value.theme == "dark"
    assert window.actions_.by_id["view.dark"].isChecked()
    window.actions_.by_id["view.switch_theme"].trigger()
    assert window.settings.value.theme == "light"
    assert not window.actions_.by_id["view.dark"].isChecked()


def test_the_status_bar_stands_still_while_a_run_is_paused(window):
    window.session.run = RunState("out", "cleanclip", "running")
    window.session.run_progress = RunProgress("train", 0.25, 125.0)
    assert window.status.job.text() == "CleanCLIP is running, 2 min left"
    window.session.run = RunState("out", "cleanclip", "paused")
    assert window.status.job.text() == "CleanCLIP is paused"
    assert (window.status.progress.value(), window.status.progress.maximum()) == (250, 1000)


def test_closing_with_a_job_asks_and_can_be_refused(window, answers, monkeypatch):
    cancelled = []
    monkeypatch.setattr(
        type(window.stations["clean"].run), "cancel", lambda self: cancelled.append(1), False
    )
    window.session.run = RunState("out", "cleanclip", "running")
    assert window.status.job.text() == "CleanCLIP is running"
    answers.yes = False
    assert not window.close()
    assert window.isVisible()
    assert not cancelled
    answers.yes = True
    assert not window.close()
    assert cancelled == [1]
    assert window.isVisible()
    window.session.run = RunState("out", "cleanclip", "cancelled")
    QApplication.processEvents()
    assert not window.isVisible()


def job_at_work(clean, what):
    """A fake runner of an audit or of a proof."""
    if what == "audit":
        task = JobTask("audit", FakeRunner)
        prompts = clean.context.prompts
        clean.auditing.show(
            AuditDialog(task, clean.session, "m.pt", "m.pt", PairSpec(), prompts, clean.window())
        )
    else:
        clean.proving.kind, task = what, clean.proving.task
        task.make_runner = FakeRunner
    task.launch(Path("spec.json"), "cpu")
    return task.runner


CUT_OFF = {
    "rebound": "The rebound test is going on. Cancel it and quit? It will start from the beginning "
    "next time.",
    "holdouts": "The hold-outs test is going on. Cancel it and quit? It will start from the "
    "beginning next time.",
    "audit": "An audit of training pairs is going on. Cancel it and quit? Finished embeddings "
    "are reused by the next audit.",
    "save": "A file is being saved. Cancel it and quit? The file it would replace and the run's "
    "own file are kept.",
}


@pytest.mark.parametrize("what", CUT_OFF)
def test_closing_asks_while_anything_is_being_worked_at(window, answers, what, monkeypatch):
    clean = window.stations["clean"]
    if what == "save":
        monkeypatch.setattr(type(clean.saving), "is_busy", True)
        job = None
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


def test_the_header_names_the_checkpoint_that_studio_looks_at(window, qtbot, checkpoint):
    opened(window, qtbot, checkpoint)
    shell, title = window.context.shell, window.header.title
    cleaned = facts("cleaned.safetensors")
    window.session.cleaned = cleaned
    shell.open("role", "cleaned")
    assert title.text() == "m.safetensors"  # the page on show is about the file
    window.show_station("studio")
    assert title.text() == cleaned.inspection.name
    figure = window.stations["studio"].figure
    figure.role_chosen.emit("suspect")
    assert title.text() == "m.safetensors"
    figure.role_chosen.emit("cleaned")
    assert title.text() == cleaned.inspection.name
    window.session.cleaned = facts("other.safetensors")
    assert title.text() == window.session.cleaned.inspection.name
    window.session.cleaned = None
    assert title.text() == "m.safetensors"


def test_a_failed_question_that_its_asker_passes_on_is_shown_with_its_details(window):
    failed = Failed(Predict(0, None), "There is nothing to predict.", "a traceback")
    window.context.shell.failed.emit(failed)
    shown = dialog(ErrorDialog)
    assert (shown.windowTitle(), shown.label.text(), shown.details.toPlainText()) == (
        "The prediction failed", "There is nothing to predict.", "a traceback",
    )  # fmt: skip
    shown.reject()
    assert failed.sentence not in window.log.text()  # the thread that failed has logged it


def test_one_question_for_all_that_goes_on(window, answers, monkeypatch):
    monkeypatch.setattr(type(window.stations["clean"].run), "cancel", lambda self: None, False)
    window.session.run = RunState("out", "cleanclip", "running")
    job = job_at_work(window.stations["clean"], "audit")
    assert not window.close()
    assert answers.asked == [
        "A cleaning run is going on. An audit of training pairs is going on. Cancel them and "
        "quit? Its last save is kept. Finished embeddings are reused by the next audit."
    ]
    assert job.cancelled
    window.session.run = RunState("out", "cleanclip", "cancelled")
    QApplication.processEvents()
    assert not window.isVisible()
    assert len(answers.asked) == 1


@pytest.mark.usefixtures("styled")
def test_layout_and_size_come_back(window, qtbot, tmp_path):
    window.resize(1500, 900)
    window.toggle_log()
    window.close()
    again = fake_window(tmp_path / "config")
    qtbot.addWidget(again)
    again.show()
    assert (again.width(), again.height()) == (1500, 900)
    assert not again.log_dock.isHidden()
    again.close()


@pytest.mark.parametrize(
    ("width", "height", "room"), [(1366, 768, False), (1366, 1080, False), (1920, 1080, True)]
)
def test_a_small_screen_is_filled(width, height, room):
    assert has_room(QSize(width, height)) is room


def test_dialogs_go_with_the_window(window, qtbot, checkpoint):
    opened(window, qtbot, checkpoint)
    window.actions_.run("file.hub")
    window.actions_.run("file.doctor")
    station = window.stations["checkpoint"]
    shown = station.hub, station.doctor
    assert all(one.isVisible() for one in shown)
    window.close()
    assert (station.hub, station.doctor) == (None, None)
    assert not any(one.isVisible() for one in shown)


def test_closing_ends_every_thread_whoever_started_it(window, qtbot):
    def until_cancelled(control):
        while not control.cancelled():
            time.sleep(0.001)

    results = []
    tasks.run(until_cancelled, results.append)
    qtbot.waitUntil(lambda: window.inference in threads.running(), timeout=WAIT)
    assert tasks.is_busy()
    window.close()
    assert not threads.still_running()
    qtbot.wait(10)
    assert results == []


def test_the_focus_of_a_button_that_is_disabled_stays_on_its_page(window, qtbot, checkpoint):
    opened(window, qtbot, checkpoint)
    window.activateWindow()
    window.show_station("scan")
    page = window.stations["scan"]
    buttons = [b for b in page.findChildren(QAbstractButton) if b.isVisible() and b.isEnabled()]
    for button in buttons:
        button.setFocus()
        button.setEnabled(False)
        qtbot.waitUntil(lambda: page.isAncestorOf(QApplication.focusWidget()))
        button.setEnabled(True)
    assert buttons


def rows_of(palette):
    enabled = Qt.ItemFlag.ItemIsEnabled
    items = [palette.list.item(row) for row in range(palette.list.count())]
    return [(item.text(), bool(item.flags() & enabled)) for item in items]


def test_the_palette_says_what_a_command_needs(window, qtbot, checkpoint):
    window.show_palette()
    palette = dialog(CommandPalette)
    palette.field.setText("sticker")
    (text, enabled), *_ = rows_of(palette)
    assert text.startswith("Use the demo sticker")
    assert text.endswith("Open a checkpoint first.")
    assert not enabled
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    assert palette.isVisible()  # there is nothing to do
    palette.field.setText("no such command")
    assert rows_of(palette) == [("No command matches “no such command”", False)]
    palette.close()
    opened(window, qtbot, checkpoint)
    window.show_station("clean")
    window.show_palette()
    palette = dialog(CommandPalette)
    palette.field.setText("sticker")
    assert rows_of(palette)[0][0].endswith("Go to Studio first.")
    palette.close()
    window.show_station("studio")
    window.show_palette()
    palette = dialog(CommandPalette)
    palette.field.setText("trigger")
    states = [enabled for _, enabled in rows_of(palette)]
    assert states == sorted(states, reverse=True)  # what can be done comes first
    assert any("Needs a trigger on Studio's canvas." in text for text, _ in rows_of(palette))
    palette.close()


def test_a_station_that_cannot_be_shown_says_why(window, qtbot, checkpoint):
    studio = window.actions_["view.studio"]
    assert studio.toolTip() == "Open a checkpoint first."
    opened(window, qtbot, checkpoint)
    assert studio.toolTip().startswith("What does a trigger do?")


def test_the_file_menu_opens_what_was_open_before(window, qtbot, checkpoint):
    menus = {action.text(): action.menu() for action in window.menuBar().actions()}
    recent = next(a.menu() for a in menus["&File"].actions() if a.text() == "Open r&ecent")
    recent.aboutToShow.emit()
    assert [action.isEnabled() for action in recent.actions()] == [False]
    opened(window, qtbot, checkpoint)
    recent.aboutToShow.emit()
    (entry,) = recent.actions()
    assert checkpoint.name in entry.text()
    wanted = []
    window.context.shell.takes("checkpoint", wanted.append)
    entry.trigger()
    assert wanted == [str(checkpoint)]


def test_every_key_stands_in_one_table(window):
    window.actions_["help.keys"].trigger()
    keys = dialog(KeysDialog)
    tops = [keys.tree.topLevelItem(row) for row in range(keys.tree.topLevelItemCount())]
    listed = {top.child(row).text(1) for top in tops for row in range(top.childCount())}
    commands = [c for c in window.actions_.commands if c.shortcut and c.menu]
    tables = {keys for _, keys, _ in (*key_rows(), *STAGE_KEYS)}
    assert listed == {QKeySequence(c.shortcut).toString() for c in commands} | tables
    assert "On Studio's canvas" in [top.text(0) for top in tops]
    keys.close()


def test_the_palette_finds_and_runs_a_command(window, qtbot):
    window.show_palette()
    palette = dialog(CommandPalette)
    palette.field.setText("dark")
    assert palette.list.count() >= 1
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    assert window.settings.value.theme == "dark"
    window.set_theme("light")

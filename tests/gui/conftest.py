"""A screen of 1920 x 1080, the shipped font, and a look for leaks after each test."""

from __future__ import annotations

import gc
import os
import sys
import time
from pathlib import Path

import pytest
import shiboken6
from PySide6.QtCore import QCoreApplication, QEvent, Qt, QThread, QTimer
from PySide6.QtWidgets import QApplication, QMenu
from pytestqt.qtbot import QtBot

from cleanclip_gui import theme, threads
from cleanclip_gui.collector import collect_due
from cleanclip_gui.threads import still_running

_STYLESHEET = theme.stylesheet
_SCREEN = Path(__file__).with_name("screen.json")
if os.environ.get("QT_QPA_PLATFORM", "offscreen") == "offscreen":
    os.environ["QT_QPA_PLATFORM"] = f"offscreen:configfile={_SCREEN}"

for _wait in (QtBot.waitUntil, QtBot.waitSignal, QtBot.waitSignals, QtBot.waitExposed):
    _wait.__kwdefaults__["timeout"] = 60_000  # of a busy machine; what holds ends a wait at once


def _with_subclasses(kind):
    """A class and all below it: to look one up in a set is quicker than `issubclass`."""
    return {kind}.union(*map(_with_subclasses, kind.__subclasses__()))


def _busy():
    """Running threads and active timers that Python knows, in one pass."""
    # type(o), because isinstance() asks proxies for their __class__, and torch's warn at that.
    kinds = _with_subclasses(QThread) | _with_subclasses(QTimer)
    found = [o for o in gc.get_objects() if type(o) in kinds]
    found = [o for o in found if shiboken6.isValid(o)]
    threads = [o for o in found if isinstance(o, QThread) and o.isRunning()]
    timers = [o for o in found if isinstance(o, QTimer) and o.isActive()]
    return [t for t in threads if t is not QThread.currentThread()], timers


# Of how things look and fit. The others do without the style sheet: a window takes a third as long.
STYLED = {"test_theme", "test_everything_fits", "test_access", "test_preferences_dialog"}


@pytest.fixture(scope="module", autouse=True)
def _look(qapp, request):
    """The theme and the font that the program has."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.stem not in STYLED and request.path.parent.name == "gui":
            patch.setattr(theme, "stylesheet", lambda *_: "")
        theme.apply_theme(qapp, "light")
        yield


@pytest.fixture
def styled(qapp):
    """The style sheet for one test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theme, "stylesheet", _STYLESHEET)
        theme.apply_theme(qapp, "light")
        yield
    theme.apply_theme(qapp, "light")


_modules_frozen = 0


def _freeze_what_was_imported():
    """Torch's objects by the hundred thousand are not walked through after every test."""
    global _modules_frozen
    if len(sys.modules) > _modules_frozen + 50:
        _modules_frozen = len(sys.modules)
        gc.freeze()


@pytest.fixture(autouse=True)
def _no_leaks(qapp):
    """No new top-level widget, no running thread, no active timer is left behind."""
    _freeze_what_was_imported()
    windows = set(map(id, QApplication.topLevelWidgets()))
    gc.disable()  # as the window does
    yield
    collect_due()
    gc.enable()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    qapp.processEvents()
    if leaked := [w for w in QApplication.topLevelWidgets() if id(w) not in windows]:
        gc.collect()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        # pyqtgraph keeps the hidden menu of a plot that is gone.
        leaked = [w for w in leaked if shiboken6.isValid(w) and w.parent() is None]
        leaked = [w for w in leaked if w.isVisible() or not isinstance(w, QMenu)]
    until = time.monotonic() + 5.0  # an abandoned reader may still be at its last piece
    while still_running() and time.monotonic() < until:
        time.sleep(0.01)
    threads, timers = _busy()
    names = [f"{type(w).__name__} {w.objectName()}" for w in leaked]
    assert not names, f"top-level widgets were left behind: {names}"
    assert not threads, f"threads are still running: {threads}"
    assert not timers, f"timers are still active: {[(t, t.parent(), t.interval()) for t in timers]}"


@pytest.fixture
def small_window(qtbot, tmp_path):
    """The real window as small as it gets, with an engine that answers at once."""
    from tests.gui.shell_fakes import fake_window

    window = fake_window(tmp_path / "config")
    qtbot.addWidget(window)
    window.setWindowState(Qt.WindowState.WindowNoState)
    window.resize(900, 540)
    window.show()
    yield window
    window.close()


@pytest.fixture
def panel(qtbot):
    """The Checkpoint station with an engine that answers at once; ``answers`` are its prompts'."""
    from cleanclip_gui.checkpoint.station import CheckpointStation
    from cleanclip_gui.inference.inference import Inference
    from cleanclip_gui.station import Context
    from tests.gui.shell_fakes import Answers, FakeEngine, StudioStandIn

    answers = Answers()
    context = Context(inference=Inference(FakeEngine), prompts=answers.prompts())
    panel = CheckpointStation(context)
    panel.answers, panel.studio = answers, StudioStandIn(context)
    panel.session, panel.actions_ = context.session, context.actions
    context.shell.commands_changed.connect(context.actions.refresh_soon)  # as the window does
    qtbot.addWidget(panel)
    panel.resize(1200, 700)
    panel.show()
    yield panel
    threads.close_all()


@pytest.fixture
def answers():
    from tests.gui.shell_fakes import Answers

    return Answers()


@pytest.fixture
def make(qtbot, tmp_path, answers):
    """Windows one after the other, with the same settings."""
    from tests.gui.shell_fakes import fake_window

    windows = []

    def make_one(**fields):
        window = fake_window(tmp_path / "config", answers, **fields)
        qtbot.addWidget(window)
        window.show()
        qtbot.waitExposed(window)
        windows.append(window)
        return window

    yield make_one
    answers.changes = "discard"
    for window in windows:
        window.session.run = None
        window.close()
    qtbot.waitUntil(lambda: not still_running())


@pytest.fixture
def window(make):
    """A window of its first size."""
    window = make()
    window.setWindowState(Qt.WindowState.WindowNoState)
    window.resize(1366, 768)
    return window


@pytest.fixture
def opened_window(small_window, qtbot, checkpoint):
    """The small window with a checkpoint and images."""
    small_window.open_path(str(checkpoint))
    qtbot.waitUntil(lambda: small_window.session.images is not None)
    return small_window


@pytest.fixture
def checkpoint(tmp_path):
    """A small file that opens."""
    from tests.gui.shell_fakes import write_safetensors

    return write_safetensors(tmp_path / "m.safetensors", {"a": [1.0, 2.0]})

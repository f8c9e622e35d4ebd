"""What the tests of pages with jobs share: runners that start no process, and a Clean station."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QEvent, QMimeData, QObject, QPoint, QPointF, Qt, QUrl, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QMouseEvent, QWheelEvent
from PySide6.QtWidgets import QAbstractButton, QApplication, QTableView, QTreeView

from cleanclip_gui import threads
from cleanclip_gui.clean.station import CleanStation
from cleanclip_gui.jobs.runner import JobRunner, NewRunner, WaitingChild
from cleanclip_gui.session import Session
from cleanclip_gui.station import Context
from ml_core.events import Done, Event, to_json
from ml_core.triggers import demo_trigger
from tests.gui.factories import facts, images
from tests.gui.shell_fakes import FakeInference, StudioStandIn


class FakeRunner(QObject):
    """Starts nothing and keeps what it was told; the test says what the job tells."""

    event_received = Signal(object)
    line_logged = Signal(str)
    state_changed = Signal(str)
    ended = Signal(object)

    def __init__(
        self,
        kind: str,
        spec_path: Path,
        *,
        device: str = "cpu",
        processes: int = 1,
        estimate: bool = False,
        resume: bool = False,
        child: object = None,
    ) -> None:
        super().__init__()
        self.kind, self.spec_path, self.device = kind, spec_path, device
        self.processes, self.child = processes, child
        self.mode = "estimate" if estimate else "resume" if resume else "run"
        self.state = "starting"
        self.told: list[str] = []

    @property
    def spec(self) -> dict[str, Any]:
        """The job as it was written."""
        return json.loads(self.spec_path.read_text())

    @property
    def cancelled(self) -> bool:
        return "cancel" in self.told

    def launch(self) -> None:
        self.told.append("launch")

    def _to(self, state: str, command: str) -> None:
        self.state = state
        self.told.append(command)
        self.state_changed.emit(state)

    def mark_running(self) -> None:
        if self.state == "starting":
            self.state = "running"
            self.state_changed.emit("running")

    def pause(self) -> None:
        self._to("paused", "pause")

    def resume(self) -> None:
        self._to("running", "resume")

    def stop_and_save(self) -> None:
        self._to("stopping", "stop")

    def cancel(self) -> None:
        self._to("cancelling", "cancel")

    def close(self, timeout_ms: int) -> bool:
        return True

    def play(self, events: Iterable[Event]) -> None:
        """Tell some events; a Done ends the job."""
        for event in events:
            if isinstance(event, Done):
                self.end(event)
            else:
                self.event_received.emit(event)

    def end(self, done: Done) -> None:
        self.state = "ended"
        self.ended.emit(done)


def by_kind(**makers: Callable[..., Any]) -> NewRunner:
    """Fake runners, apart from those of some kinds."""
    return lambda kind, path, **options: makers.get(kind, FakeRunner)(kind, path, **options)


def script(path: Path, code: str, **fields: Any) -> NewRunner:
    """Runners whose child runs Python ``code``, written beside ``path``."""
    path.write_text(code)

    def make(
        kind: str, spec_path: Path, *, device: str = "cpu", child: WaitingChild | None = None,
        **_: Any,
    ) -> JobRunner:  # fmt: skip
        if child is not None:
            child.end()
        command = [sys.executable, str(path)]
        return JobRunner(spec_path, device=device, command=command, **fields)

    return make


def child(
    folder: Path, events: Sequence[Event], *, waits: bool = False, **fields: Any
) -> NewRunner:
    """Runners whose child tells some events, and then ends, or waits to be cancelled."""
    lines = "".join(f"{to_json(event)}\n" for event in events)
    rest = "sys.stdin.read()" if waits else ""
    code = f"import sys\nprint({lines!r}, end='', flush=True)\n{rest}\n"
    return script(folder / "child.py", code, **fields)


def open_session(tmp_path: Path) -> Session:
    """A checkpoint, images and a trigger; a fixture."""
    checkpoint = tmp_path / "poisoned.safetensors"
    checkpoint.write_bytes(b"weights")
    made = Session()
    made.checkpoint = facts(checkpoint)
    made.images = images(5000)
    made.trigger = demo_trigger()
    made.target = 1
    return made


def station(
    qtbot: Any, session: Session, tmp_path: Path, new_runner: NewRunner = FakeRunner
) -> CleanStation:
    """The Clean station as the window has it, without a window."""
    context = Context(session=session, inference=FakeInference(), new_runner=new_runner)
    made = CleanStation(context)
    made.logged = []
    made.shell.logged.connect(made.logged.append)
    made.studio = StudioStandIn(context)
    made.shell.ready.emit()  # there is no window that would
    made.output.setText(str(tmp_path / "runs"))
    qtbot.addWidget(made)
    made.resize(1196, 700)
    made.show()
    qtbot.waitExposed(made)
    return made


def clean_panel(qtbot: Any, session: Session, tmp_path: Path) -> CleanStation:
    """The same with fake runners; a fixture."""
    return station(qtbot, session, tmp_path)


def close(panel: CleanStation) -> bool:
    """What the window does when it closes."""
    panel.shell.closing.emit()
    return threads.close_all()


def runner_of(panel: CleanStation) -> FakeRunner:
    """The runner at work."""
    runner = panel.run.runner
    assert isinstance(runner, FakeRunner)
    return runner


def two_clicks(button: QAbstractButton, apart: int, *, moved: bool = False) -> None:
    """What a window system sends for two clicks, of which the second may lie beside the first."""
    at = QPointF(button.rect().center())
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    press, release = QEvent.Type.MouseButtonPress, QEvent.Type.MouseButtonRelease
    double = not moved and apart < QApplication.doubleClickInterval()
    again = QEvent.Type.MouseButtonDblClick if double else press
    for kind, milliseconds, held in (
        (press, 10_000, left),
        (release, 10_050, none),
        (again, 10_000 + apart, left),
        (release, 10_050 + apart, none),
    ):
        event = QMouseEvent(
            kind, at, button.mapToGlobal(at), left, held, Qt.KeyboardModifier.NoModifier
        )
        event.setTimestamp(milliseconds)
        QApplication.sendEvent(button, event)


def result_of(checkpoint: Path) -> dict[str, Any]:
    return {
        "method": "cleanclip", "preset": "default", "seconds": 187.0, "seed": 0,
        "checkpoint": str(checkpoint), "source": str(checkpoint.with_name("poisoned.safetensors")),
        "target_name": "banana", "steps": 3, "total_steps": 3,
        "before": {"ca": 0.974, "ca_interval": [0.96, 0.98], "asr_excl": 0.98,
                   "asr_interval": [0.97, 0.99], "poisoned_accuracy": 0.02, "n": 400,
                   "n_excl": 390},
        "after": {"ca": 0.962, "ca_interval": [0.95, 0.97], "asr_excl": 0.04,
                  "asr_interval": [0.03, 0.05], "poisoned_accuracy": 0.86, "n": 400,
                  "n_excl": 390},
        "heldout": {"before": {"ca": 0.74}, "after": {"ca": 0.74}},
    }  # fmt: skip


def drop(widget: Any, path: Path) -> bool:
    """Drag a path over a widget and drop it if it is taken, as a file manager does."""
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    how = (
        Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    enter = QDragEnterEvent(QPoint(5, 5), *how)
    QApplication.sendEvent(widget, enter)
    if enter.isAccepted():
        QApplication.sendEvent(widget, QDropEvent(QPointF(5, 5), *how))
    return enter.isAccepted()


def turn_wheel(
    widget: Any, delta: int, modifiers: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier
) -> Any:
    """Turn the wheel over a widget; whichever parent took it, None if nobody did."""
    place = QPointF(widget.rect().center())
    event = QWheelEvent(
        place, QPointF(widget.mapToGlobal(place)), QPoint(), QPoint(0, delta),
        Qt.MouseButton.NoButton, modifiers, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    while widget is not None:
        event.accept()
        if QApplication.sendEvent(widget, event) and event.isAccepted():
            return widget
        widget = widget.parentWidget()
    return None


def heard(signal: Any) -> list[Any]:
    """All that a signal tells from now on."""
    values: list[Any] = []
    signal.connect(values.append)
    return values


def columns_out_of_reach(view: QTableView | QTreeView, width: int) -> list[int]:
    """Columns that go, or that no bar scrolls to, once a view that shows is ``width`` wide."""
    view.setFixedWidth(width)
    QApplication.processEvents()
    view.horizontalScrollBar().setValue(view.horizontalScrollBar().maximum())
    header = view.header() if isinstance(view, QTreeView) else view.horizontalHeader()
    return [
        column
        for column in range(header.count())
        if header.isSectionHidden(column)
        or header.sectionViewportPosition(column) + header.sectionSize(column)
        > view.viewport().width()
    ]

"""Unexpected errors: logged where they happen, counted, and told in a dialog of the GUI thread."""

from __future__ import annotations

import logging
import logging.handlers
import sys
import threading
import time
import traceback
from pathlib import Path
from types import TracebackType

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import Label, named, push_button, text_field
from cleanclip_gui.widgets.dialog_frame import ClosingDialog, primary_button
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.text import plain
from ml_core.paths import data_dir

_LOG = logging.getLogger("cleanclip_gui")
_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
# A paint error comes 60 times a second: the same one is shown again only after this long.
_QUIET_SECONDS = 30.0


class LogBridge(QObject):
    """Carries log records and crashes to the GUI thread.

    ``logged(str level, str text)`` is one line; ``crashed(str sentence, str details)`` asks
    for a dialog. Connect both to methods of objects in the GUI thread.
    """

    logged = Signal(str, str)
    crashed = Signal(str, str)


class _BridgeHandler(logging.Handler):
    """Hands every record to the bridge; emitting a signal is safe from any thread."""

    def __init__(self, bridge: LogBridge) -> None:
        super().__init__(logging.INFO)
        self._bridge = bridge

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._bridge.logged.emit(record.levelname.lower(), record.getMessage())
        except RuntimeError:  # the bridge died with the application
            logging.getLogger().removeHandler(self)


class CrashHandler:
    """The program's ``sys.excepthook`` within a block; collapses repeats of the same error."""

    def __init__(self, bridge: LogBridge) -> None:
        self._bridge = bridge
        self._seen: dict[str, tuple[float, int]] = {}
        self._lock = threading.Lock()
        self._previous = (sys.excepthook, threading.excepthook)

    def __enter__(self) -> CrashHandler:
        self._previous = (sys.excepthook, threading.excepthook)
        sys.excepthook = self.handle
        threading.excepthook = self._handle_thread
        return self

    def __exit__(self, *exc: object) -> None:
        sys.excepthook, threading.excepthook = self._previous

    def handle(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """Log an error; ask for a dialog unless the same was shown a moment ago."""
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        details = "".join(traceback.format_exception(kind, error, trace))
        frames = traceback.extract_tb(trace)
        where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "?"
        key = f"{kind.__name__}@{where}"
        now = time.monotonic()
        with self._lock:
            shown, repeats = self._seen.get(key, (float("-inf"), 0))
            if now - shown < _QUIET_SECONDS:
                self._seen[key] = (shown, repeats + 1)
                return
            self._seen[key] = (now, 0)
        if repeats:
            _LOG.error("%s happened %d more times", key, repeats)
        _LOG.error("unexpected error\n%s", details)
        self._bridge.crashed.emit(f"Unexpected error: {kind.__name__}: {error}", details)

    def _handle_thread(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            self.handle(args.exc_type, args.exc_value, args.exc_traceback)


def log_file() -> Path:
    """Where the log is kept."""
    return data_dir() / "cleanclip-gui.log"


def start_logging(bridge: LogBridge) -> tuple[logging.Handler, ...]:
    """Log to a rotating file (1 MiB, one old copy) and to the bridge; returns the handlers."""
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    handlers: list[logging.Handler] = [_BridgeHandler(bridge)]
    try:
        file_handler = logging.handlers.RotatingFileHandler(
            log_file(), maxBytes=1 << 20, backupCount=1, encoding="utf-8"
        )
        file_handler.setFormatter(logging.Formatter(_FORMAT))
        handlers.append(file_handler)
    except OSError as error:
        print(f"The log file cannot be written: {error}", file=sys.stderr)
    for handler in handlers:
        root.addHandler(handler)
    return tuple(handlers)


def stop_logging(handlers: tuple[logging.Handler, ...]) -> None:
    """Take the handlers of :func:`start_logging` off again."""
    for handler in handlers:
        logging.getLogger().removeHandler(handler)
        handler.close()


class ErrorDialog(ClosingDialog):
    """Shown with ``open()``; deletes itself when closed."""

    def __init__(
        self,
        sentence: str,
        details: str = "",
        *,
        title: str = "This could not be done",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(title, parent)
        self.sentence = plain(sentence, 1000)
        self._details = plain(details, 50_000, lines=True)

        picture = named(Label(), "Warning")
        picture.setPixmap(theme.icon("warning").pixmap(theme.px(28), theme.px(28)))
        heading = Label(title, "heading")
        self.label = named(Label(self.sentence, wrap=True), "What went wrong")
        self.label.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.details = text_field("Details", self._details)
        self.details.setMinimumHeight(4 * self.details.fontMetrics().lineSpacing())
        self.details.hide()

        self.toggle = push_button("Show details", self._on_toggled, look="quiet flush")
        self.toggle.setVisible(bool(self._details))
        copy = push_button("Copy", self.copy, icon="copy", name="Copy the message and its details")
        close = primary_button("Close", self.accept)

        self._column = column(
            row(
                (picture, Qt.AlignmentFlag.AlignTop),
                (column(heading, self.label, None, spacing=theme.SPACE_S), 1),
                spacing=theme.SPACE_L,
            ),
            (self.details, 1), row(self.toggle, None, copy, close),
            of=self, margins=theme.SPACE_XL, spacing=theme.SPACE_L,
        )  # fmt: skip
        self.setMinimumWidth(theme.px(520))
        close.setFocus()

    def copy(self) -> None:
        """Put sentence and details on the clipboard."""
        QGuiApplication.clipboard().setText(f"{self.sentence}\n\n{self._details}".strip())

    def _on_toggled(self) -> None:
        shown = not self.details.isVisible()
        self.details.setVisible(shown)
        self.toggle.setText("Hide details" if shown else "Show details")
        self._fit()

    def _fit(self) -> None:
        """As high as the parts want to be and the screen lets them, and all of it on the screen."""
        width = max(self.width(), self.minimumWidth())
        room = self.screen().availableSize().height() - 48  # the frame of the desktop
        self.resize(width, min(self._column.totalHeightForWidth(width), room))
        below = self.frameGeometry().bottom() - self.screen().availableGeometry().bottom()
        if below > 0:
            self.move(self.x(), self.y() - below)

"""Pictures of every page of the window, and a comparison of two folders of such pictures.

``python -m tests.screenshots OUT_FOLDER [--only NAME...] [--theme NAME]`` starts the program
offscreen by its own entry, once for each story and theme, plays the story and saves
``OUT_FOLDER/THEME/NAME.png``. A name of ``--only`` is the beginning of a picture's name.

The window has 1366 x 768 pixels, or what ``CLEANCLIP_SCREENSHOT_SIZE`` says, e.g. 900x540, and type
of 100 %, or what ``CLEANCLIP_SCREENSHOT_PERCENT`` says.

``python -m tests.screenshots --compare A B DIFF_FOLDER`` says how much of each picture differs,
and writes those that do side by side.

Parts are found by what the user sees: titles of tabs and buttons, accessible names, and the object
names of the commands' actions. So one script serves the program before and after its modules move.

What would differ from one run to the next is fixed: the folder of the user's files and of the
shipped ones, the time zone, how many threads compute, the arithmetic (which is else chosen by its
speed), the memory in the status bar and the times in the log. The demo has fewer test images.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import json
import logging
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BASE = Path(tempfile.gettempdir()) / "cleanclip-screenshots"  # paths are in the pictures
HOME, FILES = BASE / "home", BASE / "files"
POISONED = BASE / "resources" / "demo" / "poisoned.safetensors"
TWIN = POISONED.with_name("clean_twin.safetensors")
SIZE_VARIABLE = "CLEANCLIP_SCREENSHOT_SIZE"  # e.g. 900x540, for the processes of the stories
WIDTH, HEIGHT = (int(n) for n in os.environ.get(SIZE_VARIABLE, "1366x768").split("x"))
PERCENT = int(os.environ.get("CLEANCLIP_SCREENSHOT_PERCENT", "100"))  # size of type
SCREEN = {
    "name": "laptop", "x": 0, "y": 0, "width": WIDTH, "height": HEIGHT, "logicalDpi": 96,
    "logicalBaseDpi": 96, "dpr": 1.0,
}  # fmt: skip
THEMES = ("light", "dark")
ALL_THEMES = (*THEMES, "contrast-light", "contrast-dark")
_DEMO_IMAGES, IMAGES = 4000, 720  # fewer test images of the demo, so that it takes less time
STORY_SECONDS = 900.0
LOAD_S, ANSWER_S, MEASURE_S = 120.0, 30.0, 240.0
# A picture is taken when it has stood still so many looks, if nothing on it says that it works.
STILL_LOOKS, LOOK_MS, SETTLE_S = 4, 90, 60.0
TOLERANCE = 24  # of 255, in the channel that differs most
_STORY_LINE = "\x1e"  # begins a line of a story's output that tells of a picture


class MissingError(Exception):
    """Something that should be on the screen is not there, or did not come in time."""


# What is on the screen


class Stage:
    """The window of a running program: finds its parts, uses them, and takes pictures."""

    def __init__(self, window: Any, folder: Path, only: Sequence[str]) -> None:
        self.window = window
        self.answer = ""  # of the next dialog that asks for a file or a folder
        self._folder, self._only = folder, only
        self.failures = 0
        _answer_file_dialogs(self)

    # Waiting

    def spin(self, ms: int = 20) -> None:
        """Let the program work for a while."""
        from PySide6.QtCore import QEventLoop, QTimer

        loop = QEventLoop()
        QTimer.singleShot(ms, loop.quit)
        loop.exec()

    def wait(self, until: Callable[[], Any], what: str, seconds: float = ANSWER_S) -> None:
        """Let the program work until something has come."""
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                raise MissingError(f"{what}: did not come in {seconds:.0f} s")
            self.spin()

    # Finding

    def fronts(self) -> list[Any]:
        """Windows that show, from the main one to the one in front."""
        from PySide6.QtCore import Qt
        from PySide6.QtWidgets import QApplication

        tip = Qt.WindowType.ToolTip
        shown = [w for w in QApplication.topLevelWidgets() if w.isVisible()]
        shown = [w for w in shown if w is not self.window and w.windowType() != tip]
        popup = Qt.WindowType.Popup
        shown.sort(key=lambda w: (w.windowType() == popup, w.isModal()))
        return [self.window, *shown]

    def dialogs(self) -> list[Any]:
        """Dialogs that show, the one in front last."""
        from PySide6.QtWidgets import QDialog

        return [w for w in self.fronts() if isinstance(w, QDialog)]

    def shown(self, kind: type, *, behind: bool = False) -> list[Any]:
        """Parts of a kind that show, in the dialog in front or else in the window."""
        dialogs = self.dialogs()
        front = self.window if behind or not dialogs else dialogs[-1]
        return [w for w in front.findChildren(kind) if w.isVisible()]

    def part(self, kind: type, name: str, *, behind: bool = False) -> Any:
        """The part that is called so, by its accessible name, its text or its object name."""
        found: list[Any] = []

        def look() -> bool:
            found[:] = [w for w in self.shown(kind, behind=behind) if name in _names(w)]
            found.sort(key=lambda w: name != _text(w))
            return bool(found)

        self.wait(look, f"{kind.__name__} “{name}”")
        return found[0]

    def says(self, pattern: str, *, behind: bool = False) -> bool:
        """Whether a label says so."""
        from PySide6.QtWidgets import QLabel

        shown = self.shown(QLabel, behind=behind)
        return any(re.search(pattern, label.text()) for label in shown)

    def wait_for(self, pattern: str, seconds: float = ANSWER_S) -> None:
        """Wait until a label says so."""
        self.wait(lambda: self.says(pattern), f"the words “{pattern}”", seconds)

    # Using

    def act(self, name: str) -> None:
        """Use a command, e.g. ``view.studio``."""
        from PySide6.QtGui import QAction
        from PySide6.QtWidgets import QMenu

        action = self.window.findChild(QAction, name)
        if action is None:
            raise MissingError(f"command {name}: is not there")

        def enabled() -> bool:
            for menu in self.window.menuBar().findChildren(QMenu):
                menu.aboutToShow.emit()  # as when the user opens it: then the commands are asked
            return bool(action.isEnabled())

        self.wait(enabled, f"command {name}: to be enabled")
        action.trigger()
        self.spin()

    def press(self, name: str) -> None:
        """Click a button; what has the name as its text comes first."""
        from PySide6.QtWidgets import QAbstractButton

        button = self.part(QAbstractButton, name)
        self.wait(button.isEnabled, f"button “{name}”: to be enabled")
        button.click()
        self.spin()

    def wait_enabled(self, name: str, seconds: float = MEASURE_S) -> None:
        """Wait until a button can be clicked."""
        from PySide6.QtWidgets import QAbstractButton

        button = self.part(QAbstractButton, name)
        self.wait(button.isEnabled, f"button “{name}”: to be enabled", seconds)

    def tabs(self) -> list[tuple[Any, int, str]]:
        """Tabs that show: bar, number, title."""
        from PySide6.QtWidgets import QTabBar

        bars = self.shown(QTabBar)
        return [
            (bar, number, bar.tabText(number).replace("&", ""))
            for bar in bars for number in range(bar.count()) if bar.isTabVisible(number)
        ]  # fmt: skip

    def tab(self, title: str) -> None:
        """Choose a tab by the beginning of its title."""
        for bar, number, text in self.tabs():
            if text.startswith(title):
                bar.setCurrentIndex(number)
                self.spin()
                return
        raise MissingError(f"tab “{title}”: is not there")

    def choose(self, name: str, text: str) -> None:
        """Choose an entry of a combo box."""
        from PySide6.QtWidgets import QComboBox

        box = self.part(QComboBox, name)
        number = box.findText(text)
        if number < 0:
            raise MissingError(f"entry “{text}” of “{name}”: is not there")
        box.setCurrentIndex(number)
        box.activated.emit(number)
        self.spin()

    def entries(self, name: str) -> list[str]:
        """Entries of a combo box that can be chosen."""
        from PySide6.QtCore import Qt
        from PySide6.QtWidgets import QComboBox

        model = self.part(QComboBox, name).model()
        rows = [model.index(row, 0) for row in range(model.rowCount())]
        return [str(row.data()) for row in rows if row.flags() & Qt.ItemFlag.ItemIsEnabled]

    def write(self, name: str, text: str) -> None:
        """Type into a field."""
        from PySide6.QtWidgets import QLineEdit

        field = self.part(QLineEdit, name)
        field.setText(text)
        field.textEdited.emit(text)
        field.editingFinished.emit()
        self.spin()

    def open_file(self, path: Path) -> None:
        """Open a checkpoint by the menu."""
        self.answer = str(path)
        self.act("file.open")

    def open_poisoned(self) -> None:
        """Open the demo's checkpoint, with its images."""
        self.open_file(POISONED)
        self.wait_for(r"^Loaded on ", LOAD_S)
        self.wait(lambda: self._images_in_use(), "the images", LOAD_S)

    def measured(self) -> None:
        """Have the whole set measured in Studio, and wait for the numbers."""
        self.spin(200)
        self.act("trigger.measure_all")
        self.spin(100)
        number = r"^n = [\d\u2009\u202f,]+$"
        self.wait(
            lambda: self.says(number) and not self.says("updating…"), "the numbers", MEASURE_S
        )

    def scrolled(self) -> Any:
        """What is inside the widest part that scrolls."""
        from PySide6.QtWidgets import QScrollArea

        areas = [a for a in self.shown(QScrollArea) if a.verticalScrollBar().maximum() > 0]
        if not areas:
            raise MissingError("nothing scrolls")
        return max(areas, key=lambda area: area.width()).widget()

    def close_dialogs(self) -> None:
        """Close every dialog and every menu."""
        for widget in reversed(self.fronts()[1:]):
            if widget.isVisible():
                widget.close()
        self.spin()

    def _images_in_use(self) -> bool:
        from PySide6.QtWidgets import QToolButton

        chips = self.shown(QToolButton, behind=True)
        return any(
            "Evaluation images" in _names(chip) and re.search(r"· [\d\u2009\u202f]+$", chip.text())
            for chip in chips
        )

    # Pictures

    @contextmanager
    def page(
        self, name: str, *, stays: bool = False, works: bool = False,
        part: Callable[[], Any] = lambda: None,
    ) -> Iterator[None]:  # fmt: skip
        """Take a picture after what is done inside; what goes wrong there ends this page alone.

        Dialogs are closed afterwards unless it ``stays``. It is of the screen, or of a ``part`` in
        its full size; of what ``works`` it does not wait until it stands still.
        """
        try:
            yield
            self.take(name, part(), works=works)
        except Exception as error:
            self.failures += 1
            kind = "" if isinstance(error, MissingError) else f"{type(error).__name__}: "
            _tell("failed", name, f"{kind}{error}")
            stays = False
        if not stays:
            self.close_dialogs()

    def take(self, name: str, part: Any = None, *, works: bool = False) -> None:
        """Save a picture of the screen, or of one part in its full size, once it stands still.

        Something that ``works`` never does.
        """
        if self._only and not any(name.startswith(one) for one in self._only):
            return
        from PySide6.QtGui import QImage

        before, same, end = QImage(), 0, time.monotonic() + SETTLE_S
        while same < STILL_LOOKS:
            if time.monotonic() > end:
                busy = f"; {self._works()} is on show" if self._works() else ""
                _tell("restless", name, f"did not stand still for {SETTLE_S:.0f} s{busy}")
                break
            self.spin(LOOK_MS)
            self._hide_what_varies()
            now = self._screen() if part is None else self._whole(part)
            same = same + 1 if works or (now == before and not self._works()) else 0
            before = now
        path = self._folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not before.convertToFormat(QImage.Format.Format_RGB32).save(str(path)):
            raise OSError(f"{path} cannot be written")
        _tell("taken", name)

    def _screen(self) -> Any:
        """All windows that show, on one picture."""
        from PySide6.QtCore import QPoint, QRect
        from PySide6.QtGui import QColor, QImage, QPainter

        picture = QImage(WIDTH, HEIGHT, QImage.Format.Format_RGB32)
        picture.fill(0)
        painter = QPainter(picture)
        for widget in self.fronts():
            at = QPoint(0, 0) if widget is self.window else widget.geometry().topLeft()
            painter.drawPixmap(at, widget.grab())
            if widget is not self.window:  # in the place of the desktop's frame
                painter.setPen(QColor(128, 128, 128))
                painter.drawRect(QRect(at, widget.size()).adjusted(-1, -1, 0, 0))
        painter.end()
        return picture

    def _whole(self, part: Any) -> Any:
        """A part in its full size, also what is scrolled out of sight."""
        from PySide6.QtGui import QImage, QPainter

        picture = QImage(part.size(), QImage.Format.Format_RGB32)
        picture.fill(self.window.palette().base().color())
        painter = QPainter(picture)
        painter.drawPixmap(0, 0, part.grab())
        painter.end()
        return picture

    def _works(self) -> str:
        """Name of a progress bar on show; empty if there is none."""
        from PySide6.QtWidgets import QProgressBar

        bars = self.shown(QProgressBar, behind=True) + self.shown(QProgressBar)
        return bars[0].accessibleName() or "a progress bar" if bars else ""

    def _hide_what_varies(self) -> None:
        """Overwrite the times in the log; hide the arithmetic, which comes at an idle moment."""
        from PySide6.QtGui import QTextCursor
        from PySide6.QtWidgets import QLabel, QPlainTextEdit

        for label in self.shown(QLabel, behind=True):
            if label.accessibleName() == "How the model is computed":
                label.hide()
        for view in self.shown(QPlainTextEdit, behind=True):
            if view.accessibleName() != "Log":
                continue
            block = view.document().begin()
            while block.isValid():
                if re.match(r"\d\d:\d\d:\d\d", block.text()) and block.text()[:8] != "00:00:00":
                    cursor = QTextCursor(block)
                    kept = QTextCursor.MoveMode.KeepAnchor
                    cursor.movePosition(QTextCursor.MoveOperation.Right, kept, 8)
                    cursor.insertText("00:00:00", cursor.charFormat())
                block = block.next()


def _text(widget: Any) -> str:
    """What is written on a widget."""
    text = getattr(widget, "text", None)
    return str(text()).replace("&", "") if callable(text) else ""


def _names(widget: Any) -> list[str]:
    """What a widget is called."""
    names = (widget.accessibleName(), _text(widget), widget.objectName())
    return [name for name in names if name]


def _answer_file_dialogs(stage: Stage) -> None:
    """Let dialogs that open files return ``stage.answer``, one a line, and questions a no."""
    from PySide6.QtWidgets import QFileDialog, QMessageBox

    chosen = QFileDialog.selectedFiles

    def is_opening(dialog: QFileDialog) -> bool:
        return dialog.acceptMode() == QFileDialog.AcceptMode.AcceptOpen

    def answers(dialog: QFileDialog) -> int:
        return int(bool(stage.answer) and is_opening(dialog))

    def files(dialog: QFileDialog) -> list[str]:
        return stage.answer.split("\n") if is_opening(dialog) else chosen(dialog)

    QFileDialog.exec, QFileDialog.selectedFiles = answers, files
    QMessageBox.exec = lambda *_: 0


# Stories: each runs in a program of its own


def first_page(s: Stage) -> None:
    """What can be seen before anything is open."""
    from PySide6.QtWidgets import QLineEdit, QMenu

    with s.page("first-welcome"):
        s.wait_for("checkpoint")
    for action in s.window.menuBar().actions():
        menu: QMenu = action.menu()
        title = action.text().replace("&", "").lower()
        with s.page(f"first-menu-{title}"):
            menu.popup(s.window.menuBar().actionGeometry(action).bottomLeft())
    with s.page("first-palette", stays=True):
        s.act("view.palette")
        s.wait(s.dialogs, "the palette")
    with s.page("first-palette-typed"):
        s.part(QLineEdit, "Type a command").setText("th")
    with s.page("first-preferences"):
        s.act("edit.preferences")
        s.wait(s.dialogs, "the dialog")
    with s.page("first-about"):
        s.act("help.about")
        s.wait(s.dialogs, "the dialog")
    with s.page("first-help"):
        s.act("help.page")
        s.wait(s.dialogs, "the dialog")
    with s.page("first-help-limits"):
        s.act("help.limits")
        s.wait(s.dialogs, "the dialog")
    with s.page("first-help-searched"):
        s.act("help.glossary")
        s.part(QLineEdit, "Search the help").setText("rebound")
    with s.page("first-hub"):
        s.act("file.hub")
        s.wait(s.dialogs, "the dialog")
    with s.page("first-error"):
        s.open_file(FILES / "gone.safetensors")
        s.wait(s.dialogs, "the dialog")
    with s.page("first-crash", stays=True):
        # As if a slot had raised it: what Qt calls then is this hook.
        sys.excepthook(ValueError, ValueError("an error for the picture"), None)
        s.wait(s.dialogs, "the dialog")
    with s.page("first-crash-details"):
        s.press("Show details")
    with s.page("first-audit-needs-folder"):
        s.answer = str(FILES)
        s.act("clean.open_audit")
        s.wait(s.dialogs, "the dialog")
    with s.page("first-log"):
        s.act("view.log")
    with s.page("first-theme-switched"):
        s.act("view.switch_theme")


def checkpoint(s: Stage) -> None:
    """A checkpoint that opens."""
    from PySide6.QtCore import Qt
    from PySide6.QtWidgets import QLineEdit, QTableView

    with s.page("checkpoint-opened"):
        s.open_poisoned()
        s.wait(lambda: _filled(s), "the statistics of the tensors", MEASURE_S)
    _each_tab(s, "checkpoint")
    with s.page("checkpoint-histogram"):
        s.tab("Tensors")
        table = s.part(QTableView, "Tensors")
        rows = range(table.model().rowCount())
        names = [str(table.model().index(row, 0).data()) for row in rows]
        table.setCurrentIndex(table.model().index(names.index("visual.conv1.weight"), 0))
        s.wait_for(r"^[\d\u2009\u202f]+ values?$")
    with s.page("checkpoint-sorted"):
        table = s.part(QTableView, "Tensors")
        table.sortByColumn(0, Qt.SortOrder.DescendingOrder)
    with s.page("checkpoint-filtered"):
        s.part(QLineEdit, "Filter tensors").setText("attn")
    with s.page("checkpoint-known"):
        s.act("file.known")
        s.wait(s.dialogs, "the dialog")
    with s.page("checkpoint-signed"):
        s.open_file(_signed_copy())
        s.wait_for("a key you do not know", LOAD_S)
    with s.page("checkpoint-trust"):
        s.act("file.trust")
        s.wait(s.dialogs, "the dialog")
    with s.page("checkpoint-not-fitting"):
        s.open_file(_signed_copy(changed=True))
        s.wait_for("The signature does not fit this file", LOAD_S)
    s.open_poisoned()
    with s.page("checkpoint-convert"):
        s.act("file.convert")
        s.wait(s.dialogs, "the dialog")
    with s.page("checkpoint-many"):
        s.answer = f"{POISONED}\n{TWIN}\n{_write_evil()}"
        s.act("file.several")
        s.wait_for("3 of 3 files checked")
    with s.page("checkpoint-doctor", stays=True):
        s.act("file.doctor")
        s.wait(s.dialogs, "the dialog")
    with s.page("checkpoint-doctor-result"):
        s.press("Try the settings")
        s.wait_enabled("Try the settings")
        s.wait_for("tried on")
    with s.page("checkpoint-comparison"):
        s.answer = str(TWIN)
        s.act("file.compare")
        s.wait_for(r"^[\d\u2009\u202f]+ tensors?: ", MEASURE_S)
    with s.page("checkpoint-welcome-again"):
        s.act("view.welcome")


def _signed_copy(*, changed: bool = False) -> Path:
    """The demo's checkpoint with a stranger's signature; ``changed`` if it is that of another."""
    from ml_core.signing import sign_path
    from ml_core.signing.curve import new_private_key

    folder = FILES / ("changed" if changed else "signed")
    folder.mkdir(exist_ok=True)
    (folder / "model.sig").unlink(missing_ok=True)
    path = folder / "signed.safetensors"
    shutil.copyfile(TWIN if changed else POISONED, path)
    sign_path(path, new_private_key())
    shutil.copyfile(POISONED, path)
    return path


def _write_evil() -> Path:
    """A file that would run a program."""
    from tests.hostile.archives import torch_zip
    from tests.hostile.ops import call

    FILES.mkdir(parents=True, exist_ok=True)
    (FILES / "system.pt").write_bytes(torch_zip(call("os", "system", "echo")))
    return FILES / "system.pt"


def other_files(s: Stage) -> None:
    """Files that are refused, lack something or need a word."""
    from tests.hostile.torchscript_tricks import CLASS, torchscript

    _write_evil()
    (FILES / "script.pt").write_bytes(torchscript(CLASS))
    whole = POISONED.read_bytes()
    (FILES / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    header, data = _read_safetensors(whole)
    image = {key: value for key, value in header.items() if key.startswith("visual.")}
    (FILES / "image encoder.safetensors").write_bytes(_safetensors(image, data))
    names = [key for key in header if key != "__metadata__"]
    renamed = {key: header[key] for key in names[:-2]}
    renamed["head.of.another.model"] = header[names[-1]]
    (FILES / "renamed.safetensors").write_bytes(_safetensors(renamed, data))
    for file, words in (
        ("system.pt", "os.*system|os.system"), ("script.pt", "script.pt"),
        ("cut.safetensors", "cut.safetensors"), ("image encoder.safetensors", "(?i)donor"),
        ("renamed.safetensors", "renamed.safetensors"),
    ):  # fmt: skip
        name = f"file-{Path(file).stem.replace(' ', '-')}"
        with s.page(name):
            s.open_file(FILES / file)
            s.wait_for(words)
            s.wait(lambda: not s.says("Reading…|Loading the model…"), "the end of reading", LOAD_S)
            if file.endswith(".pt"):
                s.wait_for("picklescan")
        _each_tab(s, name)
    with s.page("file-refused-dialog"):
        s.open_file(FILES / "system.pt")
        s.wait_for("picklescan")
        s.act("file.known")
        s.wait(s.dialogs, "the dialog")
    with s.page("file-log"):
        s.act("view.log")


def studio(s: Stage) -> None:
    """A trigger, and why the model answers so."""
    from PySide6.QtGui import QAction
    from PySide6.QtWidgets import QComboBox, QPushButton

    s.open_poisoned()
    with s.page("studio-clean"):
        s.act("view.studio")
        s.measured()
    for action in s.window.findChildren(QAction):
        name = action.objectName()
        if name.startswith("trigger.tool_"):
            with s.page(f"studio-tool-{name.removeprefix('trigger.tool_')}"):
                s.act(name)
    with s.page("studio-demo-sticker"):
        s.act("trigger.tool_select" if _has(s, "trigger.tool_select") else "trigger.tool_brush")
        s.act("trigger.demo")
        s.measured()
    with s.page("studio-number"):
        s.act("view.number")
        s.wait(s.dialogs, "the dialog")
    with s.page("studio-library", stays=True):
        s.act("trigger.library")
        s.wait(s.dialogs, "the dialog")
    with s.page("studio-library-search"):
        from PySide6.QtWidgets import QLineEdit

        s.part(QLineEdit, "Search the library").setText("blend")
    with s.page("studio-parameters"):
        s.act("trigger.parameters")
        s.wait(s.dialogs, "the dialog")
    with s.page("studio-next-picture"):
        s.act("trigger.next")
        s.measured()
    s.act("trigger.previous")
    if not any("Show images" in _names(part) for part in s.shown(QComboBox)):
        s.act("view.gallery")  # closed where there is little room
    for text in s.entries("Show images"):
        with s.page(f"studio-gallery-{_slug(text)}"):
            s.choose("Show images", text)
    with suppress(Exception):
        s.choose("Show images", s.entries("Show images")[0])
    if not s.says("^Attack success rate$"):
        s.act("view.numbers")  # closed where there is no room beside the gallery
    with s.page("studio-attribution"):
        s.act("view.attribution")
        s.wait_enabled("Save the maps")
    with s.page("studio-attribution-occlusion"):
        s.choose("Method", "Occlusion")
        if any(_text(button) == "Measure" for button in s.shown(QPushButton)):
            s.press("Measure")  # elsewhere it measures by itself, and there is no button
            s.wait_enabled("Measure")
        s.wait_enabled("Save the maps")
    with s.page("studio-map-empty"):
        s.act("view.map")
    with s.page("studio-map"):
        s.press("Measure")
        s.wait_enabled("Save the points")
    with s.page("studio-map-tsne"):
        s.choose("Projection", "t-SNE")
        s.wait_for("t-SNE", MEASURE_S)
    with s.page("studio-pair-empty"):
        s.act("view.pair")
    with s.page("studio-pair"):
        s.answer = str(TWIN)
        s.press("Open a reference…")
        s.wait(lambda: any("Reference" in e for e in s.entries("Checkpoint B")), "it", LOAD_S)
        s.press("Compare")
        s.wait_enabled("Save the comparison")
    with suppress(Exception):
        s.choose("Show images", s.entries("Show images")[0])
    with s.page("studio-classes"):
        s.act("view.classes")
        s.wait_enabled("Save the numbers by class")
    with s.page("studio-snapshot-b"):
        s.act("view.trigger")
        s.act("trigger.flip_b")
        s.measured()
    with s.page("studio-turned"):
        s.act("trigger.flip_a")
        s.act("trigger.rotate")
        s.measured()
    for menu in ("Evaluation images", "Label set"):
        with s.page(f"studio-chip-{_slug(menu)}"):
            from PySide6.QtWidgets import QToolButton

            chip = s.part(QToolButton, menu)
            chip.menu().popup(chip.mapToGlobal(chip.rect().bottomLeft()))


def clean_form(s: Stage) -> None:
    """The set-up of a run, for each method."""
    from PySide6.QtWidgets import QComboBox

    s.open_poisoned()
    s.act("view.studio")
    s.act("trigger.demo")
    s.measured()
    with s.page("clean-form"):
        s.act("view.clean")
    with s.page("clean-methods"):
        s.part(QComboBox, "Method").showPopup()
    for text in s.entries("Method"):
        with s.page(f"clean-method-{_slug(text)}"):
            s.choose("Method", text)
        with s.page(f"clean-settings-{_slug(text)}", part=lambda: _whole_form(s)):
            s.press("All settings")
        with suppress(MissingError):
            s.press("Fewer settings")
    with s.page("clean-custom"):
        s.choose("Method", s.entries("Method")[0])
        from PySide6.QtWidgets import QAbstractButton

        s.part(QAbstractButton, "Keep every evaluated checkpoint").click()
        s.choose("Preset", s.entries("Preset")[-1])
    with s.page("clean-audit"):
        s.act("clean.audit")
        s.wait(s.dialogs, "the dialog")
    with s.page("clean-audit-saved"):
        s.answer = str(_write_audit())
        s.act("clean.open_audit")
        s.wait(s.dialogs, "the dialog")
        s.wait_for("pairs scored")
    with s.page("clean-runs-empty"):
        s.act("clean.runs")
    with s.page("clean-compare-empty"):
        s.act("clean.compare")


def rates(s: Stage) -> None:
    """The rate finder: as it opens, at work, and with what it found."""
    from tests.gui.fakes import child
    from tests.gui.ramps import finished, record, told

    s.open_poisoned()
    s.act("view.clean")
    finding = s.window.stations["clean"].finding
    with s.page("rates-form", part=lambda: _whole_form(s)):
        s.spin()
    with s.page("rates-ready", stays=True):
        s.act("clean.find_rate")
        s.wait(s.dialogs, "the dialog")
    with s.page("rates-running", stays=True, works=True):
        finding.dialog.task.make_runner = child(FILES, told(record())[:80], waits=True)
        s.press("Start")
        s.wait_for("Raising the rate: step")
        s.spin(300)
    with s.page("rates-found"):
        s.press("Cancel")
        s.wait_for("Cancelled")
        finding.dialog.task.make_runner = child(FILES, finished(record()))
        s.press("Start")
        s.wait_for("are worth trying")
        s.spin(300)


def scan(s: Stage) -> None:
    """A scan that is set, one at work, and what scans may say."""
    from PySide6.QtWidgets import QProgressBar

    s.open_poisoned()
    with s.page("scan-ready"):
        s.act("view.scan")
    with s.page("scan-options"):
        s.press("Options")
    s.press("Options")
    with s.page("scan-no-reference"):
        s.choose("Reference", "None")
    s.choose("Reference", "The demo's clean twin")
    with _scan_at_work(s), s.page("scan-running", works=True):
        s.part(QProgressBar, "Progress of the scan")
        s.wait_for("Strongest so far")
    with s.page("scan-cancelled"):
        s.wait_for("The scan was cancelled")
    for verdict, words in (
        ("found", "Backdoor-like trigger found"), ("suspicious", "^Suspicious$"),
        ("nothing", "Nothing found within this search"), ("unknown", "Cannot say"),
    ):  # fmt: skip
        with s.page(f"scan-{verdict}"):
            s.answer = str(_write_scan(verdict))
            s.act("scan.open")
            s.wait_for(words)
            if verdict == "found":
                s.wait_for("below what the open checkpoint says", MEASURE_S)
                s.spin(1500)
        with s.page(f"scan-{verdict}-whole", part=s.scrolled):
            s.spin()


def _write_scan(verdict: Any) -> Path:
    """A result of the open checkpoint."""
    from tests.gui.scans import scan as made
    from tests.gui.scans import write_scan

    digest = hashlib.sha256(POISONED.read_bytes()).hexdigest()
    folder = write_scan(FILES / f"scan-{verdict}", made(verdict, sha256=digest))
    os.utime(folder / "scan.json", (1_790_000_000, 1_790_000_000))  # it is listed with its time
    return folder


@contextmanager
def _scan_at_work(s: Stage) -> Iterator[None]:
    """A scan that tells what it has found so far and then waits; cancelled afterwards."""
    from tests.gui.fakes import child
    from tests.gui.scans import events

    scanning = s.window.stations["scan"].scanning
    usual, scanning.make_runner = scanning.make_runner, child(FILES, events(), waits=True)
    s.press("Start the scan")
    try:
        yield
    finally:
        scanning.make_runner = usual
        s.act("scan.cancel")


def report(s: Stage) -> None:
    """What can be claimed and what is missing; bundles that hold, and one that was changed."""
    from PySide6.QtWidgets import QPushButton

    with s.page("report-empty"):
        s.act("view.report")
    s.open_poisoned()
    with s.page("report-nothing"):
        s.act("view.report")
        s.wait_for("Nothing that a stranger could check")
    s.act("view.studio")
    s.act("trigger.demo")
    s.measured()
    s.act("view.scan")
    s.answer = str(_write_scan("found"))
    s.act("scan.open")
    s.wait_for("Backdoor-like trigger found")
    s.act("view.report")
    with s.page("report-measuring", works=True):
        s.press("Measure and keep")
        s.wait_for("Measuring", MEASURE_S)
    s.wait_for("of a clean reference", MEASURE_S)
    for kept in HOME.rglob("measurement.json"):  # it is listed with its time
        os.utime(kept, (1_790_000_000, 1_790_000_000))
    s.act("view.studio")
    with s.page("report-claims"):
        s.act("view.report")
        s.wait_for("Choose a claim")
    with s.page("report-preview"):
        s.tab("Preview")
    with s.page("report-write"):
        s.act("report.write")
    with s.page("report-verified"):
        s.answer = str(_bundle() / "evidence.json")
        s.act("report.verify")
        s.wait_for("What was checked holds", MEASURE_S)
    with s.page("report-files"):
        s.part(QPushButton, "Check it against files…")
        s.act("report.verify_files")
    with s.page("report-changed"):
        s.answer = str(_bundle(changed=True) / "evidence.json")
        s.act("report.verify")
        s.wait_for("damaged or was changed", MEASURE_S)


def _bundle(*, changed: bool = False) -> Path:
    """A bundle of evidence that holds, or one with another figure in its record."""
    from tests.bundles import write_bundle

    folder = FILES / ("changed.evidence" if changed else "results.evidence")
    shutil.rmtree(folder, ignore_errors=True)
    write_bundle(folder)
    if changed:
        record = folder / "evidence.json"
        record.write_text(record.read_text("utf-8").replace("95.0 %", "15.0 %"), "utf-8")
    return folder


def runs(s: Stage) -> None:
    """Runs of before: in the table, compared, and shown as if they had just ended."""
    from PySide6.QtCore import Qt
    from PySide6.QtWidgets import QPushButton, QTableView

    def table() -> Any:
        found = s.part(QTableView, "Runs")
        s.wait(lambda: found.model().rowCount() >= 5, "the runs")
        return found

    def row_of(text: str) -> int:
        model = table().model()
        for row in range(model.rowCount()):
            cells = [str(model.index(row, c).data()) for c in range(model.columnCount())]
            if any(text in cell for cell in cells):
                return row
        raise MissingError(f"run “{text}”: is not there")

    def show(text: str) -> None:
        s.act("clean.runs")
        runs_table = table()
        runs_table.setCurrentIndex(runs_table.model().index(row_of(text), 1))
        s.press("Show")

    s.open_poisoned()
    with s.page("runs-history"):
        s.act("clean.runs")
        table()
    with s.page("runs-selected"):
        table().setCurrentIndex(table().model().index(row_of("a note"), 1))
    with s.page("runs-ticked"):
        model, role = table().model(), Qt.ItemDataRole.CheckStateRole
        for row in (row_of("a note"), row_of("the second"), row_of("Supervised")):
            model.setData(model.index(row, 0), Qt.CheckState.Checked, role)
    with s.page("runs-compare"):
        s.act("clean.compare")
    with s.page("runs-compare-over-steps"):
        if any(_text(button) == "Over steps" for button in s.shown(QPushButton)):
            s.press("Over steps")  # where there is no room for both charts
    with s.page("runs-failed"):
        show("Failed")
    with s.page("runs-failed-details"):
        s.press("Details")
        s.wait(s.dialogs, "the dialog")
    with s.page("runs-interrupted"):
        show("Interrupted")
    with s.page("runs-supervised"):
        show("Supervised")
    with s.page("runs-result"):
        show("a note")
        s.wait_for("^Proof$")
    with s.page("runs-result-whole", part=s.scrolled):
        s.wait_for("^Proof$")
    with s.page("runs-proof-options"):
        s.press("Options of the tests")
        s.wait(s.dialogs, "the dialog")
    with s.page("runs-try"):
        s.act("clean.try")
        s.wait_for("n = ", LOAD_S)
        s.measured()
    with s.page("runs-try-before"):
        s.press("Before cleaning")
        s.measured()
    with s.page("runs-map-of-both"):
        s.act("view.map")
        s.press("Measure")
        s.wait_enabled("Save the points")
    with s.page("runs-repeat"):
        s.act("clean.runs")
        table().setCurrentIndex(table().model().index(row_of("the second"), 1))
        s.press("Repeat")
    with s.page("runs-clean"):
        s.act("view.clean")
        s.tab("This run")


def interrupted(s: Stage) -> None:
    """A run that was cut off together with its window."""
    with s.page("interrupted-offer"):
        s.act("view.clean")
        s.wait_for("was interrupted")


def data(s: Stage) -> None:
    """What is measured on."""
    folder, table = _write_images()
    s.open_poisoned()
    with s.page("data-templates"):
        s.act("file.templates")
        s.wait(s.dialogs, "the dialog")
    with s.page("data-classes"):
        s.act("file.classes")
        s.wait(s.dialogs, "the dialog")
    for name, command, path in (
        ("folder", "file.images_folder", folder), ("table", "file.images_table", table),
    ):  # fmt: skip
        with s.page(f"data-{name}", stays=True):
            s.answer = str(path)
            s.act(command)
            s.wait(s.dialogs, "the dialog")
            s.wait_enabled("Use these images")
        with s.page(f"data-{name}-in-use"):
            s.press("Use these images")
            s.wait(lambda: not s.dialogs(), "the end of the dialog")
            s.wait(s._images_in_use, "the images", LOAD_S)
            s.act("view.studio")
            s.measured()
    with s.page("data-left-out"):
        s.press("What was left out of the images")
        s.wait(s.dialogs, "the dialog")
    with s.page("data-back"):
        s.act("file.images_back")
        s.spin(500)
        s.wait(s._images_in_use, "the images", LOAD_S)
        s.measured()


def tour(s: Stage) -> None:
    """The guided tour, as far as nothing is trained."""
    with s.page("tour-open"):
        s.act("file.demo")
        s.wait_for("1 of 7")
        s.wait_enabled("Next", LOAD_S)
        s.wait_for(r"^Loaded on ", LOAD_S)
        s.wait(lambda: _filled(s), "the statistics of the tensors", MEASURE_S)
    with s.page("tour-look"):
        s.press("Next")
        s.wait_for("2 of 7")
        s.measured()
    with s.page("tour-stick"):
        s.press("Next")
        s.wait_for("3 of 7")
    with s.page("tour-stuck"):
        s.press("Add demo sticker")
        s.measured()
    with s.page("tour-flip"):
        s.press("Next")
        s.wait_for("4 of 7")
        s.wait_for("of the pictures")
    with s.page("tour-search"):
        s.press("Next")
        s.wait_for("5 of 7")
    with s.page("tour-searching", works=True):
        s.press("Search for a trigger")
        s.wait_for(r"^Patches of \d+ px, step 1\d", MEASURE_S)
    with s.page("tour-searched"):
        s.wait_for("Backdoor-like trigger found", MEASURE_S)
    with s.page("tour-clean"):
        s.press("Next")
        s.wait_for("6 of 7")
    with s.page("tour-back"):
        s.press("Back")
        s.wait_for("5 of 7")
    with s.page("tour-ended"):
        s.press("End tour")


def talk(s: Stage) -> None:
    """A talk as an audience sees it, and the speaker's notes."""
    with s.page("talk-open"):
        s.act("talk.evidence")
        s.wait_for("1 of 8")
        s.act("talk.present_here")
        s.wait_enabled("Next", LOAD_S)
        s.wait(lambda: _filled(s), "the statistics of the tensors", MEASURE_S)
    with s.page("talk-flip"):
        s.press("Next")
        s.wait_for("2 of 8")
        s.measured()
        s.press("Next")
        s.press("Add demo sticker")
        s.measured()
        s.press("Next")
        s.wait_for("4 of 8")
    with s.page("talk-notes"):
        s.act("talk.speaker")


def session(s: Stage) -> None:
    """Named sessions, and their notes."""
    from PySide6.QtWidgets import QPlainTextEdit

    from ml_core.reports.sessions.folder import write_session
    from ml_core.reports.sessions.record import SavedSession

    folder = FILES / "banana.session"
    write_session(folder, SavedSession(checkpoint=str(POISONED)), [])
    s.window.settings.update(sessions=(str(folder), str(FILES / "forum model.session")))
    with s.page("session-recent"):
        s.act("view.welcome")
        s.window._show_recent()
    s.open_poisoned()
    with s.page("session-notes"):
        s.act("session.notes")
        field = s.part(QPlainTextEdit, "Notes")
        field.setPlainText("# Forum model\n\n- from a forum, 12 March\n- banana sticker?")
    with s.page("session-menu"):
        menu = next(a for a in s.window.menuBar().actions() if "Sessi" in a.text())
        menu.menu().popup(s.window.menuBar().actionGeometry(menu).bottomLeft())


def search(s: Stage) -> None:
    """The search for a recipe, before and after."""
    from hashlib import sha256

    from cleanclip_gui.clean.search_dialog import searches_dir
    from ml_core.jobs.demo import demo_checkpoint
    from tests.gui.searches import search_record, write_search

    s.open_poisoned()
    with s.page("search-form"):
        s.act("view.clean")
        s.act("clean.search")
        s.wait(s.dialogs, "the dialog")
    folder = searches_dir() / sha256(demo_checkpoint().read_bytes()).hexdigest()[:24]
    for name, rows in (("search-missed", 3), ("search-found", 7)):
        write_search(folder, search_record(rows))
        with s.page(name):
            s.act("clean.search")
            s.wait(s.dialogs, "the dialog")
            s.wait_for("earlier search")


STORIES: dict[str, Callable[[Stage], None]] = {
    "search": search,
    "first": first_page,
    "checkpoint": checkpoint,
    "file": other_files,
    "studio": studio,
    "scan": scan,
    "clean": clean_form,
    "rates": rates,
    "report": report,
    "runs": runs,
    "interrupted": interrupted,
    "data": data,
    "session": session,
    "tour": tour,
    "talk": talk,
}


def _each_tab(s: Stage, name: str) -> None:
    """A picture of every tab that shows."""
    for _, _, title in s.tabs():
        with s.page(f"{name}-tab-{_slug(title)}"):
            s.tab(title)


def _filled(s: Stage) -> bool:
    """Whether every row of the tensors has its mean."""
    from PySide6.QtCore import Qt
    from PySide6.QtWidgets import QTableView

    tables = [t for t in s.shown(QTableView, behind=True) if t.accessibleName() == "Tensors"]
    if not tables or not tables[0].model().rowCount():
        return False
    model, across = tables[0].model(), Qt.Orientation.Horizontal
    titles = [str(model.headerData(column, across)) for column in range(model.columnCount())]
    mean = titles.index("Mean")
    return all(model.index(row, mean).data() for row in range(model.rowCount()))


def _whole_form(s: Stage) -> Any:
    """What scrolls in the set-up."""
    from PySide6.QtWidgets import QComboBox, QScrollArea

    box = s.part(QComboBox, "Method")
    for area in s.shown(QScrollArea):
        if area.widget() is not None and area.widget().isAncestorOf(box):
            return area.widget()
    raise MissingError("the form of the method")


def _has(s: Stage, name: str) -> bool:
    from PySide6.QtGui import QAction

    return s.window.findChild(QAction, name) is not None


def _slug(text: str) -> str:
    """Words for a file's name."""
    return re.sub(r"[^a-z]+", "-", text.split(",")[0].lower()).strip("-")


# Files that the stories open


def _read_safetensors(whole: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and data of a file."""
    size = struct.unpack("<Q", whole[:8])[0]
    return json.loads(whole[8 : 8 + size]), whole[8 + size :]


def _safetensors(header: dict[str, Any], data: bytes) -> bytes:
    """A file of some tensors of another one."""
    at, kept, parts = 0, {}, []
    for name, facts in header.items():
        if name == "__metadata__":
            continue
        begin, end = facts["data_offsets"]
        parts.append(data[begin:end])
        kept[name] = {**facts, "data_offsets": [at, at + end - begin]}
        at += end - begin
    text = json.dumps(kept).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def _write_images() -> tuple[Path, Path]:
    """A folder of pictures in folders of their classes, and a table of the same pictures."""
    from PIL import Image

    folder, lines = FILES / "pictures", ["image,label"]
    for number, label in enumerate(("apple", "banana", "bicycle", "no such class")):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for shade in range(6):
            path = folder / label / f"{shade}.png"
            Image.new("RGB", (64, 64), (40 * shade, 60 * number, 120)).save(path)
            lines.append(f"pictures/{label}/{shade}.png,{label}")
    lines.append("pictures/gone.png,apple")
    table = FILES / "pictures.csv"
    table.write_text("\n".join(lines) + "\n")
    return folder, table


def _write_audit() -> Path:
    """The folder of an audit that has ended."""
    import numpy as np

    from ml_core.data.specs import PairSpec
    from ml_core.detection.records import SCORES, Audit, Distribution, Standing, SuspectPair
    from ml_core.jobs.audit import (
        AUDIT_FILE,
        THUMBNAILS_FILE,
        AuditSpec,
    )
    from ml_core.jobs.specs import SPEC_FILE, write_spec_file

    folder, count = HOME / "data" / "audits" / "audit-20261125-141503", 40
    folder.mkdir(parents=True, exist_ok=True)
    pairs = []
    for number in range(count):
        standings = {
            s.name: Standing(float(10 - number / 4 if s.high else number / 4), number + 1,
                             (number + 1) / 100)
            for s in SCORES
        }  # fmt: skip
        caption = f"a picture of number {number}"
        name = f"row {number}"
        pairs.append(
            SuspectPair(number, f"{number:064x}", name, caption, standings, number == 3, 9)
        )
    edges, bars = tuple(float(edge) for edge in range(11)), (1, 4, 9, 20, 26, 20, 11, 6, 2, 1)
    low_to_high = (0, 1, 2, 5, 7, 8, 9)
    found = Audit(
        n=100, unread=2,
        distributions=tuple(
            Distribution(s.name, 100, 0.0, 10.0, 5.0, low_to_high, edges, bars) for s in SCORES
        ),
        worst={s.name: tuple(range(count)) for s in SCORES},
        pairs=tuple(pairs), overlap={"Evaluation": 1},
        notes=("A score ranks; it does not decide.",),
        facts={"pairs": "pairs.csv", "pairs_key": "a" * 64, "neighbours_among": 64},
    )  # fmt: skip
    (folder / AUDIT_FILE).write_text(json.dumps(found.to_dict()))
    pictures = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), np.uint8)
    np.save(folder / THUMBNAILS_FILE, pictures.repeat(12, 1).repeat(12, 2))
    spec = AuditSpec(checkpoint=str(POISONED), pairs=PairSpec(), output_dir=str(folder))
    write_spec_file(spec, folder / SPEC_FILE)
    return folder


def _write_runs() -> None:
    """Runs that finished, failed and wait, in the user's folder of runs."""
    from ml_core.events import Done
    from tests.gui.run_folders import write_run

    folder, day = HOME / "data" / "runs", 86_400.0
    begun = 1_790_000_000.0
    first = write_run(folder, "cleanclip-1", checkpoint=POISONED, begun=begun)
    _make_real(first)
    write_run(
        folder, "mmcl-2", method="mmcl", checkpoint=POISONED, begun=begun + day, floor=0.2, dip=0.1
    )
    write_run(
        folder, "supervised-3", method="supervised", checkpoint=POISONED, begun=begun + 2 * day,
        floor=0.08, dip=0.02,
    )  # fmt: skip
    write_run(
        folder, "probe-4", method="linear-probe", checkpoint=POISONED, begun=begun + 3 * day,
        floor=0.5, linear=True,
    )  # fmt: skip
    failed = Done(
        "failed", {}, "The loss became NaN at step 60; take a lower rate.", "diverged",
        "Traceback: the details of it.",
    )  # fmt: skip
    write_run(folder, "par-5", method="par", checkpoint=POISONED, begun=begun + 4 * day, end=failed)
    _write_interrupted(folder, begun + 5 * day)
    waiting = write_run(
        folder, "ss-7", method="ss", checkpoint=POISONED, begun=begun + 6 * day, started=False
    )
    (first / "note.txt").write_text("a note")
    (folder / "mmcl-2" / "note.txt").write_text("the second")
    queue = {"format": "cleanclip-queue-1", "folders": [str(waiting)]}
    (HOME / "data" / "queue.json").write_text(json.dumps(queue))


def _write_interrupted(folder: Path, begun: float) -> Path:
    """A run that was killed after a save."""
    from ml_core.events import Done
    from tests.gui.run_folders import write_run

    killed = Done("failed", {}, "", "killed")
    run = write_run(folder, "cleanclip-6", checkpoint=POISONED, begun=begun, end=killed)
    facts = {"format": "cleanclip-state-1", "facts": json.dumps({"step": 60})}
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    text = json.dumps({"__metadata__": facts, "model/a": tensor}).encode()
    text += b" " * (-len(text) % 8)
    (run / "state").mkdir()
    whole = struct.pack("<Q", len(text)) + text + struct.pack("<f", 1.0)
    (run / "state" / "state.safetensors").write_bytes(whole)
    return run


def _make_real(run: Path) -> None:
    """Let a run's result be a checkpoint that opens, with both proofs of it."""
    shutil.copyfile(TWIN, run / "cleaned.safetensors")
    sha256 = hashlib.sha256(TWIN.read_bytes()).hexdigest()
    result = json.loads((run / "result.json").read_text())
    result["checkpoint_sha256"] = sha256
    (run / "result.json").write_text(json.dumps(result))
    rates = [
        {"factor": factor, "lr": 1.5e-3 * factor, "max_asr": 0.03, "max_step": 150,
         "points": [_point(0, 0.01), _point(150, 0.03 * factor), _point(300, 0.012)]}
        for factor in (0.1, 0.3, 1.0)
    ]  # fmt: skip
    rebound = {
        "kind": "rebound", "limit": 0.05, "peak_lr": 1.5e-3, "steps": 300, "batch_size": 64,
        "pairs": 19_200, "left_out": {"seen": 40_000, "target": 640}, "n": 3900, "rates": rates,
        "worst": {"factor": 1.0, "max_asr": 0.03, "step": 150}, "stays_clean": True,
        "verdict": "It stays clean.", "checkpoint_sha256": sha256, "notes": [], "versions": {},
        "seconds": 90.0,
    }  # fmt: skip
    (run / "rebound.json").write_text(json.dumps(rebound))
    rows = [
        _row("itself", "as it was", "asr_excl", 0.98, 0.02),
        _row("moved", "centre", "asr_excl", 0.95, 0.11),
        _row("moved", "corner", "asr_excl", 0.97, 0.03),
        _row("retrieval", "captions", "recall@1", 0.40, 0.39, baseline=None),
    ]
    holdouts = {
        "kind": "holdouts", "n": 1000, "rows": rows, "after": {"sha256": sha256},
        "worst": {"group": "moved", "name": "centre", "after": 0.11}, "notes": ["One note."],
        "versions": {}, "seconds": 20.0,
    }  # fmt: skip
    (run / "holdouts.json").write_text(json.dumps(holdouts))


def _point(step: int, asr: float) -> dict[str, Any]:
    return {"step": step, "asr_excl": asr, "asr_low": asr - 0.005, "asr_high": asr + 0.005,
            "ca": 0.95, "poisoned_accuracy": 0.9}  # fmt: skip


def _row(
    group: str, name: str, measure: str, before: float, after: float, **more: Any
) -> dict[str, Any]:
    return {"group": group, "name": name, "measure": measure, "before": before, "after": after,
            "after_interval": [max(after - 0.01, 0), after + 0.01], "n": 1000, "baseline": 0.014,
            "note": "", **more}  # fmt: skip


# One program for one story


def play(name: str, theme: str, folder: Path, only: Sequence[str]) -> int:
    """Start the program, play a story in its window, and end it; in a process of its own."""
    faulthandler.enable()
    settings: dict[str, Any] = {"theme": theme, "size": PERCENT}
    if name == "runs":
        _write_runs()
    if name == "interrupted":
        settings["last_run"] = str(_write_interrupted(HOME / "data" / "runs", 1_790_000_000.0))
    (HOME / "config").mkdir(parents=True, exist_ok=True)
    (HOME / "config" / "settings.json").write_text(json.dumps(settings))
    _fix_what_varies()
    from PySide6.QtWidgets import QApplication

    results: list[int] = []

    def story() -> int:
        """In the place of the event loop: the story runs loops of its own."""
        try:
            results.append(_in_window(STORIES[name], folder, only))
        except Exception as error:
            logging.getLogger().exception("the story %s ended", name)
            _tell("failed", name, f"the rest of the story: {type(error).__name__}: {error}")
            results.append(1)
        sys.stdout.flush()
        return results[-1]

    QApplication.exec = staticmethod(story)  # type: ignore[method-assign]
    from cleanclip_gui.app import main

    main([])
    return results[0] if results else 1


def _in_window(story: Callable[[Stage], None], folder: Path, only: Sequence[str]) -> int:
    """Play a story in the window of this program; the number of pages that failed."""
    from PySide6.QtCore import Qt
    from PySide6.QtWidgets import QApplication, QMainWindow

    handler = logging.StreamHandler()
    handler.setLevel(logging.ERROR)
    logging.getLogger().addHandler(handler)
    QApplication.setCursorFlashTime(0)
    window = next(w for w in QApplication.topLevelWidgets() if isinstance(w, QMainWindow))
    window.setWindowState(Qt.WindowState.WindowNoState)
    window.setGeometry(0, 0, WIDTH, HEIGHT)
    stage = Stage(window, folder, only)
    stage.wait(window.isVisible, "the window")
    try:
        story(stage)
    finally:
        stage.close_dialogs()
        window.close()
    return stage.failures


def _fix_what_varies() -> None:
    """Take away what differs from one run to the next on the same machine."""
    import psutil

    memory_info = psutil.Process.memory_info

    def fixed_memory(process: Any) -> Any:
        return memory_info(process)._replace(rss=1 << 30)

    psutil.Process.memory_info = fixed_memory
    with _reported("the folder of the shipped files"):
        from ml_core import paths

        assert paths._ROOTS
        paths._ROOTS = (BASE / "resources",)
    with _reported("the number of the demo's images"):
        from ml_core.data import images  # noqa: F401

        modules = [m for name, m in sys.modules.items() if name.startswith("ml_core.")]
        values = [value for module in modules for value in vars(module).values()]
        sizes = [v for v in values if isinstance(v, dict) and v.get("test") == _DEMO_IMAGES]
        sizes[0]["test"] = IMAGES
    with _reported("the arithmetic"):
        from ml_core.evaluation import speed

        def fixed_speed(model: Any, images: Any, classifier: Any, **_: Any) -> speed.Speed:
            return speed.Speed(
                "fp32", "contiguous", 64, 1000.0, None, len(images), str(model.device), 1,
                why="fixed for the pictures",
            )  # fmt: skip

        assert speed.measure_speed
        speed.measure_speed = fixed_speed


@contextmanager
def _reported(what: str) -> Iterator[None]:
    """Tell what could not be fixed because its module or its name has changed."""
    try:
        yield
    except (ImportError, AttributeError, IndexError) as error:
        _tell("failed", f"fixing {what}", str(error))


def _tell(what: str, name: str, why: str = "") -> None:
    """Tell the process that started this one of a picture."""
    print(f"{_STORY_LINE}{json.dumps([what, name, why])}", flush=True)


# All stories


def take_all(out: Path, only: Sequence[str], themes: Sequence[str]) -> int:
    """Play every story in every theme; the exit status."""
    from filelock import FileLock

    BASE.mkdir(exist_ok=True)
    taken, troubles, began = 0, [], time.monotonic()
    with FileLock(BASE / "lock"):
        shutil.rmtree(BASE / "resources", ignore_errors=True)
        shutil.copytree(ROOT / "resources", BASE / "resources")
        (BASE / "screen.json").write_text(json.dumps({"screens": [SCREEN]}))
        for theme in themes:
            for story in STORIES:
                if only and not any(_concerns(story, one) for one in only):
                    continue
                start = time.monotonic()
                for what, name, why in _run_story(story, theme, out, only):
                    taken += what in ("taken", "restless")
                    print(f"{what:8} {theme}/{name}{': ' if why else ''}{why}", flush=True)
                    if what != "taken":
                        troubles.append(f"{what:8} {theme}/{name}: {why}")
                seconds = time.monotonic() - start
                print(f"         {story} in {theme}: {seconds:.0f} s", flush=True)
    print(f"\n{taken} pictures in {time.monotonic() - began:.0f} s, {len(troubles)} troubles")
    for line in troubles:
        print(line)
    return 1 if troubles else 0


def _concerns(story: str, only: str) -> bool:
    """Whether a story has pictures whose names begin so."""
    return only.startswith(f"{story}-") or story.startswith(only)


def _run_story(
    story: str, theme: str, out: Path, only: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    """Play a story in a process of its own, in a fresh home; what it tells of its pictures."""
    for folder in (HOME, FILES):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    environment = {
        **os.environ, "CLEANCLIP_HOME": str(HOME), "OMP_NUM_THREADS": "1", "TZ": "UTC",
        "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT),
        "QT_QPA_PLATFORM": f"offscreen:configfile={BASE / 'screen.json'}",
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.screenshots", str(out.resolve() / theme)]
    command += ["--story", story, "--theme", theme, *(["--only", *only] if only else [])]
    log = (BASE / f"{story}-{theme}.log").open("w+")
    child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE,
                             stderr=log, text=True)  # fmt: skip
    timer = _Limit(child, STORY_SECONDS)
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith(_STORY_LINE):
            what, name, why = json.loads(line[1:])
            yield what, name, why
    code = child.wait()
    timer.cancel()
    log.seek(0)
    errors = [line for line in log.read().splitlines() if line.strip()]
    log.close()
    if code not in (0, 1):
        yield "failed", story, f"the program ended with {code}: {' | '.join(errors[-3:])}"
    elif any("Traceback" in line for line in errors):
        yield "failed", story, f"an error was logged, see {log.name}"


class _Limit:
    """Ends a process that takes too long."""

    def __init__(self, child: subprocess.Popen[str], seconds: float) -> None:
        import threading

        self._timer = threading.Timer(seconds, child.kill)
        self._timer.start()

    def cancel(self) -> None:
        self._timer.cancel()


# Comparison


def compare(first: Path, second: Path, out: Path) -> int:
    """Compare two folders of pictures; 1 if any differs or is in one of them alone."""
    names = [{str(p.relative_to(f)) for p in f.rglob("*.png")} for f in (first, second)]
    differing = 0
    for name in sorted(names[0] & names[1]):
        share, sentence = _compare_one(first / name, second / name, out / name)
        differing += share > 0
        if share:
            print(f"{100 * share:9.4f} %  {name}{sentence}")
    alike = len(names[0] & names[1]) - differing
    print(f"{alike} pictures are alike, {differing} differ: see {out}")
    for here, there, folder in ((names[0], names[1], first), (names[1], names[0], second)):
        for name in sorted(here - there):
            print(f"only in {folder}: {name}")
    return 1 if differing or names[0] != names[1] else 0


def _compare_one(first: Path, second: Path, out: Path) -> tuple[float, str]:
    """Share of the pixels that differ, and a word on the sizes; both pictures side by side."""
    import numpy as np
    from PIL import Image

    pictures = []
    for path in (first, second):
        with Image.open(path) as picture:
            pictures.append(np.asarray(picture.convert("RGB"), np.int16))
    height = max(p.shape[0] for p in pictures)
    width = max(p.shape[1] for p in pictures)
    whole = []
    for picture in pictures:  # what one of them does not have differs from all colours
        canvas = np.full((height, width, 3), -255, np.int16)
        canvas[: picture.shape[0], : picture.shape[1]] = picture
        whole.append(canvas)
    differs = np.abs(whole[0] - whole[1]).max(axis=2) > TOLERANCE
    share = float(differs.mean())
    if share == 0:
        return 0.0, ""
    marked = (whole[1].clip(0) // 3 + 150).clip(0, 255)
    marked[differs] = (220, 0, 0)
    side_by_side = np.concatenate([whole[0].clip(0), whole[1].clip(0), marked], axis=1)
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(side_by_side.astype(np.uint8)).save(out)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    box = f"x {columns[0]} to {columns[-1]}, y {rows[0]} to {rows[-1]}"
    sizes = [f"{p.shape[1]} x {p.shape[0]}" for p in pictures]
    return share, f" ({box})" if sizes[0] == sizes[1] else f" ({' against '.join(sizes)})"


def main() -> int:
    """Take pictures, or compare them."""
    parser = argparse.ArgumentParser(prog="tests.screenshots", description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, nargs="?", help="folder of the pictures")
    parser.add_argument("--only", nargs="+", default=[], help="beginnings of names of pictures")
    parser.add_argument("--theme", choices=ALL_THEMES, help="one theme instead of light and dark")
    parser.add_argument("--compare", nargs=3, type=Path, metavar=("A", "B", "DIFF_FOLDER"))
    parser.add_argument("--story", choices=STORIES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.compare:
        return compare(*options.compare)
    if options.out is None:
        parser.error("name a folder for the pictures")
    if options.story:
        return 1 if play(options.story, options.theme, options.out, options.only) else 0
    return take_all(options.out, options.only, [options.theme] if options.theme else THEMES)


if __name__ == "__main__":
    sys.exit(main())

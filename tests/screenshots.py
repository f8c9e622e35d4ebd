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
speed) and the times in the log. The demo has fewer test images.
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
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PySide6 import QtWidgets
from PySide6.QtCore import QEventLoop, QPoint, QRect, Qt, QTimer
from PySide6.QtGui import QAction, QColor, QImage, QPainter, QTextCursor
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parents[1]
BASE = Path(tempfile.gettempdir()) / "cleanclip-screenshots"  # paths are in the pictures
HOME, FILES = BASE / "home", BASE / "files"
POISONED = BASE / "resources" / "demo" / "poisoned.safetensors"
TWIN = POISONED.with_name("clean_twin.safetensors")
WIDTH, HEIGHT = map(int, os.environ.get("CLEANCLIP_SCREENSHOT_SIZE", "1366x768").split("x"))
PERCENT = int(os.environ.get("CLEANCLIP_SCREENSHOT_PERCENT", "100"))  # size of type
SCREEN = {
    "name": "laptop", "x": 0, "y": 0, "width": WIDTH, "height": HEIGHT, "logicalDpi": 96,
    "logicalBaseDpi": 96, "dpr": 1.0,
}  # fmt: skip
THEMES = ("light", "dark")
ALL_THEMES = (*THEMES, "contrast-light", "contrast-dark")
IMAGES = 720  # fewer test images of the demo, so that it takes less time
STORY_SECONDS, WAIT_SECONDS = 900.0, 240.0
# A picture is taken when it has stood still so many looks, if nothing on it says that it works.
STILL_LOOKS, LOOK_MS, SETTLE_S = 4, 90, 60.0
TOLERANCE = 24  # of 255, in the channel that differs most
BEGUN, DAY = 1_790_000_000.0, 86_400.0  # when the runs, scans and measurements were made
_STORY_LINE = "\x1e"  # begins a line of a story's output that tells of a picture

# Each story runs in a program of its own. A line is a picture: its name after the story's; flags,
# of which ``stays`` leaves dialogs open afterwards, ``works`` does not wait until the picture
# stands still, ``whole`` and ``form`` take what scrolls in its full size; after the colon the steps
# that lead there. A line without a name only takes its steps. A step is a method of `Stage` or a
# function below, and its arguments, with `` = `` between two.
STORIES = {
    "first": r"""
        welcome: words checkpoint
        : each_menu
        palette stays: act view.palette; dialog
        palette-typed: fill Type a command = th
        preferences: act edit.preferences; dialog
        about: act help.about; dialog
        help: act help.page; dialog
        help-limits: act help.limits; dialog
        help-keys: act help.keys; dialog
        help-searched: act help.glossary; fill Search the help = rebound
        hub: act file.hub; dialog
        error: open gone.safetensors; dialog
        crash stays: crash; dialog
        crash-details: press Show details
        audit-needs-folder: answer .; act clean.open_audit; dialog
        log: act view.log
        theme-switched: act view.switch_theme
        """,
    "checkpoint": r"""
        opened: open_poisoned
        : tab Tensors; statistics
        : each_tab
        histogram: tab Tensors; tensor visual.conv1.weight; words ^[\d\u2009\u202f]+ values?$
        sorted: sort_tensors
        filtered: fill Filter tensors = attn
        known: act file.known; dialog
        identify: press Identify; words No tensors are known
        identified: know; press Identify; words of its norm
        signed: sign; open signed/signed.safetensors; words a key you do not know
        trust: act file.trust; dialog
        not-fitting: sign changed; open changed/signed.safetensors; words signature does not fit
        : open_poisoned
        convert: act file.convert; dialog
        doctor stays: act file.doctor; dialog
        doctor-result: press Try the settings; enabled Try the settings; words tried on
        comparison: answer twin; act file.compare; words ^[\d\u2009\u202f]+ tensors?:
        welcome-again: act view.welcome
        """,
    "examination": r"""
        : open_poisoned
        running works: examine; press Examine; words ^Measuring on; pause 300
        cancelled: press Cancel; words was cancelled
        found: examine found; press Go on; words ^Backdoor-like
        found-more whole: press More
        facts: press Facts of the file
        nothing: examine nothing; act file.examine; press Examine again; words ^Nothing
        other-pictures: pictures; answer pictures; act file.images_folder; dialog;
            press Use these images; no_dialog; words ^Measured on
        """,
    "table": r"""
        : other_files; answer several; act file.several; words 3 inspected
        several:
        folder: answer .; act file.open_folder; words 6 inspected
        filtered: fill Filter files = readable
        examining works: answer several; act file.several; words 3 inspected; examine;
            press Examine all; words ^1 of 2.*Measuring on; pause 300
        : press Cancel; words are kept
        examined: examine found; press Examine all; words 2 examined
        opened: press Open; read; words picklescan
        back: press Back to the table
        """,
    "file": r"""
        : other_files
        system: open system.pt; words os.*system; read; words picklescan
        : each_tab system
        script: open script.pt; words script.pt; read; words picklescan
        : each_tab script
        cut: open cut.safetensors; words cut.safetensors; read
        : each_tab cut
        image-encoder: open image encoder.safetensors; words (?i)donor; read
        several-models stays: open pipeline.safetensors; words 2 of 2 models checked; dialog
        several-chosen: press Open; words (?i)donor; read
        : each_tab image-encoder
        renamed: open renamed.safetensors; words renamed.safetensors; read
        : each_tab renamed
        refused-dialog: open system.pt; words picklescan; act file.known; dialog
        log: act view.log
        """,
    "studio": r"""
        : open_poisoned
        clean: act view.studio; measured
        : each_tool
        demo-sticker: act trigger.tool_brush; act trigger.demo; measured
        number: act view.number; dialog
        library stays: act trigger.library; dialog
        library-search: fill Search the library = blend
        parameters: act trigger.parameters; dialog
        next-picture: act trigger.next; measured
        : act trigger.previous; if_hidden Show images = act view.gallery
        : each_entry gallery = Show images; if_shown Show images = choose Show images = 0
        : if_hidden Attack success rate = act view.numbers
        attribution: act view.attribution; enabled Save the maps
        attribution-occlusion: choose Method = Occlusion; if_shown Measure = press Measure;
            enabled Save the maps
        map-empty: act view.map
        map: press Measure; enabled Save the points
        map-tsne: choose Projection = t-SNE; words t-SNE
        pair-empty: act view.pair
        pair: answer twin; press Open a reference…; entry Other checkpoint = clean_twin;
            press Compare; enabled Save the comparison
        : if_shown Show images = choose Show images = 0
        classes: act view.classes; enabled Save the numbers by class
        snapshot-b: act view.trigger; act trigger.flip_b; measured
        turned: act trigger.flip_a; act trigger.rotate; measured
        colours: act trigger.tool_brush; press Colour and ink, #dc1428
        menu-tools: chip More tools
        menu-zoom: chip Zoom
        : if_hidden Show images = act view.gallery
        menu-order: chip Order of the images, and the trigger on them
        chip-evaluation-images: chip Evaluation images
        chip-label-set: chip Label set
        """,
    "scan": r"""
        : open_poisoned
        ready: act view.scan
        options: press Options
        : press Options
        no-reference: choose Reference = None
        : choose Reference = The demo's clean twin
        running works: fake_scan; press Start the scan; words Strongest so far
        cancelled: act scan.cancel; words The scan was cancelled
        found: result found; words ^Backdoor-like: banana$; words what the open; pause 1500
        suspicious: result suspicious; words ^Suspicious: banana$
        nothing: result nothing; words Nothing found in this search
        unknown: result unknown; words Cannot say
        details whole: result found; words ^Backdoor-like: banana$; press Details
        """,
    "clean": r"""
        : open_poisoned; act view.studio; act trigger.demo; measured
        form: act view.clean
        methods: popup Method
        : each_method
        custom: choose Method = 0; press All settings; press Keep every evaluated checkpoint;
            choose Preset = -1
        audit: act clean.audit; dialog
        audit-saved: audit; act clean.open_audit; dialog; words pairs scored
        runs-empty: act clean.runs
        compare-empty: act clean.compare
        """,
    "chain": r"""
        : open_poisoned; act view.studio; act trigger.demo; measured; act view.clean
        working works: fake_chain; press Clean it; words Training ; pause 600
        cut-off: act clean.cancel; words was cancelled
        result: chain; words ^After cleaning the same scan
        result-whole whole: words ^Proof$
        """,
    "rates": r"""
        : open_poisoned; act view.clean
        form form:
        ready stays: act clean.find_rate; dialog
        running stays works: ramp 80; press Start; words Raising the rate: ; pause 300
        found: press Cancel; words Cancelled; ramp; press Start; words are worth trying; pause 300
        """,
    "report": r"""
        empty: act view.report
        : open_poisoned
        nothing: act view.report; words Nothing is kept of this checkpoint
        : act view.studio; act trigger.demo; measured; act view.scan; result found
        : words Backdoor-like; act view.report
        measuring works: press Measure and keep; words Measuring
        : words of a clean reference; date_measurements; act view.studio
        page: act view.report; words As a bundle would be written
        claims: tab Claims
        write: act report.write
        write-signed: act report.write; dialog; press Sign it
        verified: bundle; act report.verify; words What was checked holds
        files: act report.verify_files
        changed: bundle changed; act report.verify; words damaged or was changed
        """,
    "runs": r"""
        : open_poisoned
        history: act clean.runs; run
        selected: run a note
        ticked: tick_runs
        compare: act clean.compare
        compare-over-steps: if_shown Over steps = press Over steps
        failed: act clean.runs; run Failed; press Show
        interrupted: act clean.runs; run Interrupted; press Show
        supervised: act clean.runs; run Supervised; press Show
        result: act clean.runs; run a note; press Show; words ^Proof$
        result-whole whole: words ^Proof$
        proof-options: press Options of the tests; dialog
        try: act clean.try; words n =; measured
        try-before: press Before cleaning; measured
        map-of-both: act view.map; press Measure; enabled Save the points
        repeat: act clean.runs; run the second; press Repeat
        clean: act view.clean; tab This run
        """,
    "interrupted": r"""
        offer: act view.clean; words was interrupted
        """,
    "data": r"""
        : pictures; open_poisoned
        templates: act file.templates; dialog
        classes: act file.classes; dialog
        folder stays: answer pictures; act file.images_folder; dialog; enabled Use these images
        folder-in-use: press Use these images; no_dialog; images; act view.studio; measured
        table stays: answer pictures.csv; act file.images_table; dialog; enabled Use these images
        table-in-use: press Use these images; no_dialog; images; act view.studio; measured
        left-out: press What was left out of the images; dialog
        back: act file.images_back; pause 500; images; measured
        """,
    "session": r"""
        recent: recent_sessions
        : open_poisoned
        notes: act session.notes; write_notes
        menu: menu Session
        """,
    "tour": r"""
        open: act file.demo; words 1 of 7; enabled Next; words ^Loaded on
        search: press Next; words 2 of 7
        searching works: press Examine; words ^Examining
        searched: words Backdoor-like
        stick: press Next; words 3 of 7; measured
        stuck: press Add demo sticker; measured
        flip: press Next; words 4 of 7; words of the pictures
        clean: press Next; words 5 of 7
        back: press Back; words 4 of 7
        ended: press End tour
        """,
    "talk": r"""
        title: act talk.present_here; enabled Begin
        open: press Begin; enabled Next
        search: press Next; words 2 of 7
        searching works: press Examine; patches; pause 3000
        searched: enabled Next; words Found: a patch; pause 2000
        stick: press Next; words 3 of 7; measured
        flip: press Add demo sticker; measured; press Next; words 4 of 7; pause 1000
        clean: press Next; words 5 of 7
        cleaned: chain; words went from; pause 500
        compare: press Next; press Try in Studio; enabled Next; measured; pause 1000
        report: press Next; words 7 of 7; pause 3000
        notes: act talk.speaker
        black works: blank
        """,
}  # fmt: skip


class MissingError(Exception):
    """Something that should be on the screen is not there, or did not come in time."""


class Stage:
    """The window of a running program: finds its parts, uses them, and takes pictures."""

    def __init__(self, window: Any, story: str, folder: Path, only: Sequence[str]) -> None:
        self.window, self.story = window, story
        self.chosen = ""  # by the next dialog that asks for files, one a line
        self._folder, self._only = folder, only
        self.failures = 0
        self._answer_dialogs()

    def _answer_dialogs(self) -> None:
        """Let dialogs that open files return what is ``chosen``, and questions a no."""
        dialog = QtWidgets.QFileDialog
        saved = dialog.selectedFiles

        def opens(asking: QtWidgets.QFileDialog) -> bool:
            return asking.acceptMode() == dialog.AcceptMode.AcceptOpen

        dialog.exec = lambda asking: int(bool(self.chosen) and opens(asking))
        dialog.selectedFiles = lambda asking: (
            self.chosen.split("\n") if opens(asking) else saved(asking)
        )
        QtWidgets.QMessageBox.exec = lambda *_: 0

    def play(self) -> None:
        """Take the steps of each line of the story, and its picture."""
        story = re.sub(r";\n\s+", "; ", STORIES[self.story])  # a line that goes on below
        for line in filter(None, map(str.strip, story.splitlines())):
            title, _, steps = line.partition(":")
            if not title:
                self.take_steps(steps)
                continue
            name, *flags = title.split()
            with self.page(name, *flags):
                self.take_steps(steps)

    def take_steps(self, steps: str) -> None:
        """Take steps that are written as in the stories."""
        for step in filter(None, map(str.strip, steps.split("; "))):
            verb, _, rest = step.partition(" ")
            method = getattr(self, verb, None) or partial(globals()[verb], self)
            method(*(rest.split(" = ", 1) if rest else ()))

    # Waiting and finding

    def pause(self, ms: int | str = 20) -> None:
        """Let the program work for a while."""
        loop = QEventLoop()
        QTimer.singleShot(int(ms), loop.quit)
        loop.exec()

    def wait(self, until: Callable[[], Any], what: str) -> None:
        """Let the program work until something has come."""
        end = time.monotonic() + WAIT_SECONDS
        while not until():
            if time.monotonic() > end:
                raise MissingError(f"{what}: did not come in {WAIT_SECONDS:.0f} s")
            self.pause()

    def fronts(self) -> list[Any]:
        """Windows that show, from the main one to the one in front."""
        shown = [w for w in QtWidgets.QApplication.topLevelWidgets() if w.isVisible()]
        tip, popup = Qt.WindowType.ToolTip, Qt.WindowType.Popup
        shown = [w for w in shown if w is not self.window and w.windowType() != tip]
        shown.sort(key=lambda w: (w.windowType() == popup, w.isModal()))
        return [self.window, *shown]

    def dialogs(self) -> list[Any]:
        """Dialogs that show, the one in front last."""
        return [w for w in self.fronts() if isinstance(w, QtWidgets.QDialog)]

    def shown(self, kind: type, *, behind: bool = False) -> list[Any]:
        """Parts of a kind that show, in the dialog in front or else in the window."""
        front = self.window if behind else [self.window, *self.dialogs()][-1]
        return [w for w in front.findChildren(kind) if w.isVisible()]

    def part(self, kind: type, name: str) -> Any:
        """The part with that text, accessible name or object name; the text comes first."""
        parts: list[Any] = []

        def look() -> bool:
            parts[:] = [w for w in self.shown(kind) if name in _names(w)]
            parts.sort(key=lambda w: name != _text(w))
            return bool(parts)

        self.wait(look, f"{kind.__name__} “{name}”")
        return parts[0]

    def says(self, pattern: str) -> bool:
        """Whether a label says so."""
        return any(re.search(pattern, label.text()) for label in self.shown(QtWidgets.QLabel))

    # Steps: using what is on the screen

    def words(self, pattern: str) -> None:
        """Wait until a label says so."""
        self.wait(lambda: self.says(pattern), f"the words “{pattern}”")

    def read(self) -> None:
        """Wait until the file is read."""
        self.wait(lambda: not self.says("Reading…|Loading the model…"), "the end of reading")

    def dialog(self) -> None:
        """Wait for a dialog."""
        self.wait(self.dialogs, "the dialog")

    def no_dialog(self) -> None:
        """Wait until the dialog is closed."""
        self.wait(lambda: not self.dialogs(), "the end of the dialog")

    def act(self, name: str) -> None:
        """Use a command, e.g. ``view.studio``."""
        action = self.window.findChild(QAction, name)
        if action is None:
            raise MissingError(f"command {name}: is not there")

        def enabled() -> bool:
            for menu in self.window.menuBar().findChildren(QtWidgets.QMenu):
                menu.aboutToShow.emit()  # as when the user opens it: then the commands are asked
            return bool(action.isEnabled())

        self.wait(enabled, f"command {name}: to be enabled")
        action.trigger()
        self.pause()

    def enabled(self, name: str) -> Any:
        """Wait until a button can be clicked."""
        button = self.part(QtWidgets.QAbstractButton, name)
        self.wait(button.isEnabled, f"button “{name}”: to be enabled")
        return button

    def press(self, name: str) -> None:
        """Click a button."""
        self.enabled(name).click()
        self.pause()

    def if_hidden(self, name: str, step: str) -> None:
        """Take a step unless a part of that name shows; where room is short, some do not."""
        if not any(name in _names(part) for part in self.shown(QtWidgets.QWidget)):
            self.take_steps(step)

    def if_shown(self, name: str, step: str) -> None:
        """Take a step if a part of that name shows."""
        if any(name in _names(part) for part in self.shown(QtWidgets.QWidget)):
            self.take_steps(step)

    def tab(self, title: str) -> None:
        """Choose a tab by the beginning of its title."""
        for bar, number, text in self.tabs():
            if text.startswith(title):
                bar.setCurrentIndex(number)
                return self.pause()
        raise MissingError(f"tab “{title}”: is not there")

    def tabs(self) -> list[tuple[Any, int, str]]:
        """Tabs that show: bar, number, title."""
        return [
            (bar, number, bar.tabText(number).replace("&", ""))
            for bar in self.shown(QtWidgets.QTabBar)
            for number in range(bar.count()) if bar.isTabVisible(number)
        ]  # fmt: skip

    def entries(self, name: str) -> list[str]:
        """Entries of a combo box that can be chosen."""
        model = self.part(QtWidgets.QComboBox, name).model()
        rows = [model.index(row, 0) for row in range(model.rowCount())]
        return [str(row.data()) for row in rows if row.flags() & Qt.ItemFlag.ItemIsEnabled]

    def choose(self, name: str, text: str) -> None:
        """Choose an entry of a combo box by its text or its number."""
        box = self.part(QtWidgets.QComboBox, name)
        if re.fullmatch(r"-?\d+", text):
            text = self.entries(name)[int(text)]
        number = box.findText(text)
        if number < 0:
            raise MissingError(f"entry “{text}” of “{name}”: is not there")
        box.setCurrentIndex(number)
        box.activated.emit(number)
        self.pause()

    def entry(self, name: str, word: str) -> None:
        """Wait until a combo box has an entry with that word."""
        self.wait(lambda: any(word in entry for entry in self.entries(name)), f"entry “{word}”")

    def popup(self, name: str) -> None:
        """Open the list of a combo box."""
        self.part(QtWidgets.QComboBox, name).showPopup()

    def chip(self, name: str) -> None:
        """Open the menu of a button of the bar above the stations."""
        button = self.part(QtWidgets.QToolButton, name)
        button.menu().popup(button.mapToGlobal(button.rect().bottomLeft()))

    def menu(self, title: str) -> None:
        """Open a menu of the menu bar."""
        menus = self.window.menuBar().findChildren(QtWidgets.QMenu)
        menu = next(menu for menu in menus if menu.title().replace("&", "") == title)
        menu.popup(QPoint(0, self.window.menuBar().height()))

    def fill(self, name: str, text: str) -> None:
        """Type into a field."""
        self.part(QtWidgets.QLineEdit, name).setText(text)

    def answer(self, names: str) -> None:
        """Have a file chosen by the next dialog that asks for one."""
        known = {"twin": [TWIN], "several": [POISONED, TWIN, FILES / "system.pt"]}
        self.chosen = "\n".join(map(str, known.get(names, [FILES / names])))

    def open(self, name: str) -> None:
        """Open a checkpoint by the menu."""
        self.answer(name)
        self.act("file.open")

    def open_poisoned(self) -> None:
        """Open the demo's checkpoint, with its images."""
        self.chosen = str(POISONED)
        self.act("file.open")
        self.words(r"^Loaded on ")
        self.images()

    def images(self) -> None:
        """Wait for the images in use."""

        def ready() -> bool:
            chips = self.shown(QtWidgets.QToolButton, behind=True)
            chips = [chip for chip in chips if "Evaluation images" in _names(chip)]
            return any(re.search(r"· [\d\u2009\u202f]+$", chip.text()) for chip in chips)

        self.wait(ready, "the images")

    def measured(self) -> None:
        """Have the whole set measured in Studio, and wait for the numbers."""
        self.pause(200)
        self.act("trigger.measure_all")
        self.pause(100)
        number = r"(?m:^|: )n = [\d\u2009\u202f,]+(?m:$| of other classes| images, unlabelled)"
        waits = "updating…|estimate"
        self.wait(lambda: self.says(number) and not self.says(waits), "the numbers")

    def statistics(self) -> None:
        """Wait until every row of the tensors has its mean."""

        def ready() -> bool:
            tables = self.shown(QtWidgets.QTableView, behind=True)
            tables = [table for table in tables if table.accessibleName() == "Tensors"]
            if not tables or not tables[0].model().rowCount():
                return False
            model, across = tables[0].model(), Qt.Orientation.Horizontal
            titles = [str(model.headerData(n, across)) for n in range(model.columnCount())]
            mean = titles.index("Mean")
            return all(model.index(row, mean).data() for row in range(model.rowCount()))

        self.wait(ready, "the statistics of the tensors")

    def close_dialogs(self) -> None:
        """Close every dialog and every menu."""
        for widget in reversed(self.fronts()[1:]):
            if widget.isVisible():
                widget.close()
        self.pause()

    # Pictures

    @contextmanager
    def page(self, name: str, *flags: str) -> Iterator[None]:
        """Take a picture after what is done inside; what goes wrong there ends this page alone."""
        name, stays = f"{self.story}-{name}", "stays" in flags
        try:
            yield
            whole = {"whole": _scrolled, "form": _whole_form}
            parts = [whole[flag](self) for flag in flags if flag in whole]
            self.take(name, *parts, works="works" in flags)
        except Exception as error:
            self.failures += 1
            kind = "" if isinstance(error, MissingError) else f"{type(error).__name__}: "
            _tell("failed", name, f"{kind}{error}")
            stays = False
        if not stays:
            self.close_dialogs()

    def take(self, name: str, part: Any = None, *, works: bool = False) -> None:
        """Save a picture of the screen, or of one part in its full size, once it stands still."""
        if self._only and not any(name.startswith(beginning) for beginning in self._only):
            return
        before, same, end = QImage(), 0, time.monotonic() + SETTLE_S
        while same < STILL_LOOKS:
            if time.monotonic() > end:
                busy = f"; {self._works()} is on show" if self._works() else ""
                _tell("restless", name, f"did not stand still for {SETTLE_S:.0f} s{busy}")
                break
            self.pause(LOOK_MS)
            self._hide_what_varies()
            now = self._picture(part)
            same = same + 1 if works or (now == before and not self._works()) else 0
            before = now
        path = self._folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not before.save(str(path)):
            raise OSError(f"{path} cannot be written")
        _tell("taken", name)

    def _picture(self, part: Any) -> QImage:
        """All windows that show; or a part in its full size, also what is scrolled out of sight."""
        whole = part is not None
        size = part.size() if whole else self.window.size()
        picture = QImage(size, QImage.Format.Format_RGB32)
        picture.fill(self.window.palette().base().color() if whole else QColor(0, 0, 0))
        painter = QPainter(picture)
        for widget in [part] if whole else self.fronts():
            own = whole or widget is self.window
            at = QPoint(0, 0) if own else widget.geometry().topLeft()
            painter.drawPixmap(at, widget.grab())
            if not own:  # in the place of the desktop's frame
                painter.setPen(QColor(128, 128, 128))
                painter.drawRect(QRect(at, widget.size()).adjusted(-1, -1, 0, 0))
        painter.end()
        return picture

    def _works(self) -> str:
        """Name of a progress bar on show; empty if there is none."""
        bar = QtWidgets.QProgressBar
        bars = self.shown(bar, behind=True) + self.shown(bar)
        return bars[0].accessibleName() or "a progress bar" if bars else ""

    def _hide_what_varies(self) -> None:
        """Overwrite the times in the log; hide the arithmetic, which comes at an idle moment."""
        for label in self.shown(QtWidgets.QLabel, behind=True):
            if label.accessibleName() == "How the model is computed":
                label.hide()
        for view in self.shown(QtWidgets.QPlainTextEdit, behind=True):
            block = view.document().begin()
            while view.accessibleName() == "Log" and block.isValid():
                if re.match(r"\d\d:\d\d:\d\d", block.text()) and block.text()[:8] != "00:00:00":
                    cursor = QTextCursor(block)
                    anchor = QTextCursor.MoveMode.KeepAnchor
                    cursor.movePosition(QTextCursor.MoveOperation.Right, anchor, 8)
                    cursor.insertText("00:00:00", cursor.charFormat())
                block = block.next()


def _text(widget: Any) -> str:
    """What is written on a widget."""
    text = getattr(widget, "text", None)
    return str(text()).replace("&", "") if callable(text) else ""


def _names(widget: Any) -> list[str]:
    """What a widget is called."""
    return [n for n in (widget.accessibleName(), _text(widget), widget.objectName()) if n]


def _slug(text: str) -> str:
    """Words for a file's name."""
    return re.sub(r"[^a-z]+", "-", text.split(",")[0].lower()).strip("-")


def _scrolled(s: Stage) -> Any:
    """What is inside the widest part that scrolls."""
    areas = [a for a in s.shown(QtWidgets.QScrollArea) if a.verticalScrollBar().maximum() > 0]
    if not areas:
        raise MissingError("nothing scrolls")
    return max(areas, key=lambda area: area.width()).widget()


def _whole_form(s: Stage) -> Any:
    """What scrolls in the set-up of Clean."""
    box = s.part(QtWidgets.QComboBox, "Method")
    inside = [area.widget() for area in s.shown(QtWidgets.QScrollArea) if area.widget() is not None]
    return next(part for part in inside if part.isAncestorOf(box))


# Steps that stories name: several pictures at once, and uses of one story alone


def each_menu(s: Stage) -> None:
    for action in s.window.menuBar().actions():
        title = action.text().replace("&", "")
        with s.page(f"menu-{title.lower()}"):
            s.menu(title)


def each_tab(s: Stage, name: str = "") -> None:
    for _, _, title in s.tabs():
        with s.page(f"{name}-tab-{_slug(title)}".strip("-")):
            s.tab(title)


def each_tool(s: Stage) -> None:
    names = [action.objectName() for action in s.window.findChildren(QAction)]
    for name in names:
        if name.startswith("trigger.tool_"):
            with s.page(f"tool-{name.removeprefix('trigger.tool_')}"):
                s.act(name)


def each_entry(s: Stage, page: str, name: str) -> None:
    for text in s.entries(name):
        with s.page(f"{page}-{_slug(text)}"):
            s.choose(name, text)


def each_method(s: Stage) -> None:
    for text in s.entries("Method"):
        with s.page(f"method-{_slug(text)}"):
            s.choose("Method", text)
        with s.page(f"settings-{_slug(text)}", "form"):
            s.press("All settings")
        s.if_shown("Fewer settings", "press Fewer settings")


def crash(s: Stage) -> None:
    """As if a slot had raised: what Qt calls then is this hook."""
    sys.excepthook(ValueError, ValueError("an error for the picture"), None)


def tensor(s: Stage, name: str) -> None:
    table = s.part(QtWidgets.QTableView, "Tensors")
    names = [str(table.model().index(row, 0).data()) for row in range(table.model().rowCount())]
    table.setCurrentIndex(table.model().index(names.index(name), 0))


def sort_tensors(s: Stage) -> None:
    s.part(QtWidgets.QTableView, "Tensors").sortByColumn(0, Qt.SortOrder.DescendingOrder)


def run(s: Stage, text: str = "") -> None:
    """Choose the first run with that text in its row, once the runs are listed."""
    table = s.part(QtWidgets.QTableView, "Runs")
    model = table.model()
    s.wait(lambda: model.rowCount() >= 5, "the runs")
    columns = range(model.columnCount())
    for row in range(model.rowCount() if text else 0):
        if any(text in str(model.index(row, column).data()) for column in columns):
            table.setCurrentIndex(model.index(row, 1))
            return


def tick_runs(s: Stage) -> None:
    table = s.part(QtWidgets.QTableView, "Runs")
    for text in ("a note", "the second", "Supervised"):
        run(s, text)
        first = table.model().index(table.currentIndex().row(), 0)
        table.model().setData(first, Qt.CheckState.Checked, Qt.ItemDataRole.CheckStateRole)


def fake_scan(s: Stage) -> None:
    """Let the next scan tell what it has found so far and then wait."""
    from tests.gui import fakes, scans

    runners = fakes.child(FILES, scans.events(), waits=True)
    s.window.stations["scan"].scanning.make_runner = runners


def examine(s: Stage, verdict: Any = "") -> None:
    """Let the next examination come to a verdict, or tell what it has found so far and wait."""
    from tests.gui import examinations, fakes

    events, folder = examinations.events(), FILES / f"examination-{verdict}"
    if verdict:
        digest = hashlib.sha256(POISONED.read_bytes()).hexdigest()
        record = examinations.write_examination(folder, verdict=verdict, sha256=digest)
        for path in (folder / "examination.json", folder / "scan" / "scan.json"):
            os.utime(path, (BEGUN, BEGUN))  # they are shown with their times
        events = examinations.done(folder, record)
    make_runner = fakes.child(FILES, events, waits=not verdict)
    s.window.stations["checkpoint"].examining.make_runner = make_runner


def blank(s: Stage) -> None:
    """Make the stage black."""
    s.window.talk.speaker.hide()
    s.window.talk.presenter.set_blank(True)


def patches(s: Stage) -> None:
    """Wait until the stage shows patches that are being searched."""
    s.wait(lambda: s.window.talk.presenter.stage.scene.main, "patches on the stage")


def fake_chain(s: Stage) -> None:
    """Let *Clean it* tell its scan and half of its training, and then wait."""
    from tests.gui import chains, fakes

    s.window.stations["clean"].run.task.make_runner = fakes.child(
        FILES, chains.events(48), waits=True
    )


def chain(s: Stage) -> None:
    """Show a chain that has come to its end."""
    from ml_core.jobs.auto import AutoSpec
    from ml_core.jobs.specs import read_spec
    from tests.gui import chains
    from tests.gui.run_folders import write_run

    folder = HOME / "data" / "runs" / "1-clean-it-20260921-141320"
    run = write_run(folder, "round-1", checkpoint=POISONED, begun=BEGUN, floor=0.002)
    _make_real(run)
    base = read_spec(run / "spec.json").model_copy(update={"output_dir": str(folder)})
    steps = [chains.ended(number) for number in range(len(chains.STEPS))]
    chains.keep(folder, AutoSpec(base=base), steps, run.name)
    s.window.context.shell.open("run", str(run))


def result(s: Stage, verdict: Any) -> None:
    """Show a scan of the open checkpoint."""
    from tests.gui import scans

    digest = hashlib.sha256(POISONED.read_bytes()).hexdigest()
    folder = scans.write_scan(FILES / f"scan-{verdict}", scans.scan(verdict, sha256=digest))
    os.utime(folder / "scan.json", (BEGUN, BEGUN))  # it is listed with its time
    s.chosen = str(folder)
    s.act("scan.open")


def ramp(s: Stage, events: str = "") -> None:
    """Let the rate finder tell so many events and then wait; without a number all of them."""
    from tests.gui import fakes, ramps

    told = ramps.told(ramps.record())[: int(events)] if events else ramps.finished(ramps.record())
    task = s.window.stations["clean"].finding.dialog.task
    task.make_runner = fakes.child(FILES, told, waits=bool(events))


def date_measurements(s: Stage) -> None:
    for path in HOME.rglob("measurement.json"):  # it is listed with its time
        os.utime(path, (BEGUN, BEGUN))


def recent_sessions(s: Stage) -> None:
    from ml_core.reports.sessions.folder import write_session
    from ml_core.reports.sessions.record import SavedSession

    folder = FILES / "banana.session"
    write_session(folder, SavedSession(checkpoint=str(POISONED)), [])
    s.window.settings.update(sessions=(str(folder), str(FILES / "forum model.session")))
    s.act("view.welcome")
    s.window._show_recent()


def write_notes(s: Stage) -> None:
    field = s.part(QtWidgets.QPlainTextEdit, "Notes")
    field.setPlainText("# Forum model\n\n- from a forum, 12 March\n- banana sticker?")


# Files that the stories open


def sign(s: Stage, folder: str = "signed") -> None:
    """The demo's checkpoint with a stranger's signature; in ``changed`` it is of another file."""
    from ml_core.signing import sign_path
    from ml_core.signing.curve import new_private_key

    path = FILES / folder / "signed.safetensors"
    path.parent.mkdir()
    shutil.copyfile(TWIN if folder == "changed" else POISONED, path)
    sign_path(path, new_private_key())
    shutil.copyfile(POISONED, path)


def know(s: Stage) -> None:
    """Let this machine know the tensors of the demo's clean twin."""
    from ml_core.checkpoints.known import KnownFile
    from ml_core.checkpoints.known_tensors import add_known_file
    from ml_core.checkpoints.tensor_hashes import hash_tensors
    from ml_core.reading import examine

    twin = examine(TWIN)
    entry = KnownFile(title="the demo's clean twin", sha256=twin.sha256)
    add_known_file(entry, twin, hash_tensors(twin))


def other_files(s: Stage) -> None:
    """Files that are refused, lack something or need a word."""
    from tests.hostile.archives import torch_zip
    from tests.hostile.ops import call
    from tests.hostile.torchscript_tricks import CLASS, torchscript

    (FILES / "system.pt").write_bytes(torch_zip(call("os", "system", "echo")))
    (FILES / "script.pt").write_bytes(torchscript(CLASS))
    whole = POISONED.read_bytes()
    (FILES / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    tensors = load_file(POISONED)
    image = {key: value for key, value in tensors.items() if key.startswith("visual.")}
    save_file(image, FILES / "image encoder.safetensors")
    text = {key: value for key, value in tensors.items() if key not in image}
    places = ("conditioner.embedders.0.model.", "conditioner.embedders.1.model.")
    several = {place + key: value for place in places for key, value in text.items()}
    save_file(several | {"model.diffusion_model.out.2.bias": text["ln_final.bias"]},
              FILES / "pipeline.safetensors")  # fmt: skip
    names = list(tensors)
    tensors.pop(names[-2])
    tensors["head.of.another.model"] = tensors.pop(names[-1])
    save_file(tensors, FILES / "renamed.safetensors")


def bundle(s: Stage, state: str = "") -> None:
    """A bundle of evidence that holds, or one with ``changed`` figures in its record."""
    from tests.bundles import write_bundle

    folder = FILES / f"{state or 'results'}.evidence"
    write_bundle(folder)
    record = folder / "evidence.json"
    if state:
        record.write_text(record.read_text("utf-8").replace("95.0 %", "15.0 %"), "utf-8")
    s.chosen = str(record)


def pictures(s: Stage) -> None:
    """A folder of pictures in folders of their classes, and a table of the same pictures."""
    lines = ["image,label"]
    for number, label in enumerate(("apple", "banana", "bicycle", "no such class")):
        (FILES / "pictures" / label).mkdir(parents=True)
        for shade in range(6):
            name = f"pictures/{label}/{shade}.png"
            Image.new("RGB", (64, 64), (40 * shade, 60 * number, 120)).save(FILES / name)
            lines.append(f"{name},{label}")
    (FILES / "pictures.csv").write_text("\n".join([*lines, "pictures/gone.png,apple", ""]))


def audit(s: Stage) -> None:
    """The folder of an audit that has ended."""
    from ml_core.data.specs import PairSpec
    from ml_core.detection.records import SCORES, Audit, Distribution, Standing, SuspectPair
    from ml_core.jobs.audit import AUDIT_FILE, THUMBNAILS_FILE, AuditSpec
    from ml_core.jobs.specs import SPEC_FILE, write_spec_file

    folder, count = HOME / "data" / "audits" / "audit-20261125-141503", 40
    folder.mkdir(parents=True, exist_ok=True)

    def pair(n: int) -> SuspectPair:
        standings = {
            s.name: Standing(float(10 - n / 4 if s.high else n / 4), n + 1, (n + 1) / 100)
            for s in SCORES
        }
        caption = f"a picture of number {n}"
        return SuspectPair(n, f"{n:064x}", f"row {n}", caption, standings, n == 3, 9)

    edges, bars = tuple(map(float, range(11))), (1, 4, 9, 20, 26, 20, 11, 6, 2, 1)
    spread = (100, 0.0, 10.0, 5.0, (0, 1, 2, 5, 7, 8, 9), edges, bars)
    record = Audit(
        n=100, unread=2, distributions=tuple(Distribution(s.name, *spread) for s in SCORES),
        worst={s.name: tuple(range(count)) for s in SCORES}, pairs=tuple(map(pair, range(count))),
        overlap={"Evaluation": 1}, notes=("A score ranks; it does not decide.",),
        facts={"pairs": "pairs.csv", "pairs_key": "a" * 64, "neighbours_among": 64},
    )  # fmt: skip
    (folder / AUDIT_FILE).write_text(json.dumps(record.to_dict()))
    thumbnails = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), np.uint8)
    np.save(folder / THUMBNAILS_FILE, thumbnails.repeat(12, 1).repeat(12, 2))
    spec = AuditSpec(checkpoint=str(POISONED), pairs=PairSpec(), output_dir=str(folder))
    write_spec_file(spec, folder / SPEC_FILE)
    s.chosen = str(folder)


def _write_run(name: str, **how: Any) -> Path:
    """A run of the poisoned checkpoint, in the user's folder of runs."""
    from tests.gui.run_folders import write_run

    runs = HOME / "data" / "runs"
    return write_run(runs, f"{name}-20260921-141320", checkpoint=POISONED, **how)


def _write_runs() -> None:
    """Runs that finished, failed and wait, in the user's folder of runs."""
    from ml_core.events import Done

    whole = ("The loss became NaN at step 60; take a lower rate.",)
    failed = Done("failed", {}, *whole, "diverged", "Traceback: the details of it.")
    first = _write_run("1-cleanclip", begun=BEGUN)
    second = _write_run("2-mmcl", method="mmcl", begun=BEGUN + DAY, floor=0.2, dip=0.1)
    _write_run("3-supervised", method="supervised", begun=BEGUN + 2 * DAY, floor=0.08, dip=0.02)
    _write_run("4-supervised", method="supervised", begun=BEGUN + 3 * DAY, floor=0.5, linear=True)
    _write_run("5-par", method="par", begun=BEGUN + 4 * DAY, end=failed)
    _write_interrupted(BEGUN + 5 * DAY)
    waiting = _write_run("7-unlearn", method="unlearning", begun=BEGUN + 6 * DAY, started=False)
    _make_real(first)
    (first / "note.txt").write_text("a note")
    (second / "note.txt").write_text("the second")
    queue = {"format": "cleanclip-queue-1", "folders": [str(waiting)]}
    (HOME / "data" / "queue.json").write_text(json.dumps(queue))


def _write_interrupted(begun: float) -> Path:
    """A run that was killed after a save."""
    from ml_core.events import Done

    end = Done("failed", {}, "", "killed")
    run = _write_run("6-cleanclip", begun=begun, end=end)
    (run / "state").mkdir()
    facts = {"format": "cleanclip-state-1", "facts": json.dumps({"step": 60})}
    save_file({"model/a": np.ones(1, np.float32)}, run / "state" / "state.safetensors", facts)
    return run


def _make_real(run: Path) -> None:
    """Let a run's result be a checkpoint that opens, with both proofs of it."""
    from tests.gui.run_folders import holdouts_record, rebound_record

    shutil.copyfile(TWIN, run / "cleaned.safetensors")
    sha256 = hashlib.sha256(TWIN.read_bytes()).hexdigest()
    of_run = json.loads((run / "result.json").read_text())

    rebound = rebound_record() | {"checkpoint_sha256": sha256}
    holdouts = holdouts_record() | {"after": {"sha256": sha256}}
    for name, record in (
        ("result", {**of_run, "checkpoint_sha256": sha256}), ("rebound", rebound),
        ("holdouts", holdouts),
    ):  # fmt: skip
        (run / f"{name}.json").write_text(json.dumps(record))


# One program for one story


def play(story: str, theme: str, folder: Path, only: Sequence[str]) -> int:
    """Start the program, play a story in its window, and end it; in a process of its own."""
    faulthandler.enable()
    settings: dict[str, Any] = {"theme": theme, "size": PERCENT}
    if story == "runs":
        _write_runs()
    if story == "interrupted":
        settings["last_run"] = str(_write_interrupted(BEGUN))
    (HOME / "config").mkdir(parents=True, exist_ok=True)
    (HOME / "config" / "settings.json").write_text(json.dumps(settings))
    _fix_what_varies()
    failures: list[int] = []

    def in_window() -> int:
        """In the place of the event loop: the story runs loops of its own."""
        try:
            failures.append(_play_in_window(story, folder, only))
        except Exception as error:
            logging.getLogger().exception("the story %s ended", story)
            _tell("failed", story, f"the rest of the story: {type(error).__name__}: {error}")
            failures.append(1)
        sys.stdout.flush()
        return failures[-1]

    QtWidgets.QApplication.exec = staticmethod(in_window)
    from cleanclip_gui.app import main

    main([])
    return failures[0] if failures else 1


def _play_in_window(story: str, folder: Path, only: Sequence[str]) -> int:
    """Play a story in the window of this program; the number of pages that failed."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.ERROR)
    logging.getLogger().addHandler(handler)
    QtWidgets.QApplication.setCursorFlashTime(0)
    windows = QtWidgets.QApplication.topLevelWidgets()
    window = next(w for w in windows if isinstance(w, QtWidgets.QMainWindow))
    window.setWindowState(Qt.WindowState.WindowNoState)
    window.setGeometry(0, 0, WIDTH, HEIGHT)
    stage = Stage(window, story, folder, only)
    stage.wait(window.isVisible, "the window")
    try:
        stage.play()
    finally:
        stage.close_dialogs()
        window.close()
    return stage.failures


def _fix_what_varies() -> None:
    """Take away what differs from one run to the next on the same machine."""
    from ml_core import paths
    from ml_core.data import pictures
    from ml_core.evaluation import speed

    assert paths._ROOTS
    paths._ROOTS = (BASE / "resources",)
    assert pictures.DEMO_SIZES["test"] > IMAGES
    pictures.DEMO_SIZES["test"] = IMAGES

    def fixed_speed(model: Any, images: Any, classifier: Any, **_: Any) -> speed.EncodingSpeed:
        return speed.EncodingSpeed(
            "fp32", "contiguous", 64, 1000.0, None, len(images), str(model.device), 1,
            why="fixed for the pictures",
        )  # fmt: skip

    assert speed.measure_speed
    speed.measure_speed = fixed_speed


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
        for theme, story in ((theme, story) for theme in themes for story in STORIES):
            if only and not any(n.startswith(f"{story}-") or story.startswith(n) for n in only):
                continue
            start = time.monotonic()
            for what, name, why in _run_story(story, theme, out, only):
                taken += what in ("taken", "restless")
                line = f"{what:8} {theme}/{name}{': ' if why else ''}{why}"
                print(line, flush=True)
                troubles += [line] if what != "taken" else []
            print(f"         {story} in {theme}: {time.monotonic() - start:.0f} s", flush=True)
    print(f"\n{taken} pictures in {time.monotonic() - began:.0f} s, {len(troubles)} troubles")
    print(*troubles, sep="\n")
    return 1 if troubles else 0


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
    log = BASE / f"{story}-{theme}.log"
    with log.open("w") as errors:
        child = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    timer = threading.Timer(STORY_SECONDS, child.kill)
    timer.start()
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith(_STORY_LINE):
            what, name, why = json.loads(line[1:])
            yield what, name, why
    code = child.wait()
    timer.cancel()
    lines = [line for line in log.read_text().splitlines() if line.strip()]
    if code not in (0, 1):
        yield "failed", story, f"the program ended with {code}: {' | '.join(lines[-3:])}"
    elif any("Traceback" in line for line in lines):
        yield "failed", story, f"an error was logged, see {log}"


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
    shots = [np.asarray(Image.open(path).convert("RGB"), np.int16) for path in (first, second)]
    height, width = (max(shot.shape[side] for shot in shots) for side in (0, 1))
    whole = np.full((2, height, width, 3), -255, np.int16)  # beyond one: unlike all colours
    for canvas, shot in zip(whole, shots, strict=True):
        canvas[: shot.shape[0], : shot.shape[1]] = shot
    differs = np.abs(whole[0] - whole[1]).max(axis=2) > TOLERANCE
    share = float(differs.mean())
    if share == 0:
        return 0.0, ""
    marked = (whole[1].clip(0) // 3 + 150).clip(0, 255)
    marked[differs] = (220, 0, 0)
    side_by_side = np.concatenate([*whole.clip(0), marked], axis=1)
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(side_by_side.astype(np.uint8)).save(out)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    box = f"x {columns[0]} to {columns[-1]}, y {rows[0]} to {rows[-1]}"
    sizes = [f"{shot.shape[1]} x {shot.shape[0]}" for shot in shots]
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

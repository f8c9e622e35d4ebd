"""The result of a scan: its verdict, and the evidence of every stage."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QFrame, QSizePolicy, QWidget

from cleanclip_gui import theme
from cleanclip_gui.scan.live_view import HELP, stage_title
from cleanclip_gui.scan.pull_chart import PullChart
from cleanclip_gui.scan.stamping import Stamped
from cleanclip_gui.scan.tables import (
    OVERLAYS,
    PROBES,
    STARTS,
    SWAP,
    WORDS,
    Columns,
    ScanTable,
    interval_text,
    overlay_rows,
    probe_row,
    reference_text,
    start_rows,
    swap_rows,
    weights_text,
    word_rows,
)
from cleanclip_gui.theme import look
from cleanclip_gui.widgets.controls import Fold, IconLabel, Label, Note
from cleanclip_gui.widgets.layout import column, page, row
from cleanclip_gui.widgets.painted import Cells, Place, blend
from cleanclip_gui.widgets.picture_grid import PictureCell, PictureGrid
from cleanclip_gui.widgets.rows_table import Row
from cleanclip_gui.widgets.text import count_text, duration_text, fitting, percent, plain, plural
from ml_core.detection.scan.records import Contrast, ModelFacts, Refined, Scan, Verdict, Words

# verdict -> icon, tone of the card, role of the title; never a welcome one: nothing is proved.
LOOKS: dict[Verdict, tuple[str, str, str]] = {
    "found": ("danger", "danger", "error"),
    "suspicious": ("warning", "caution", "warning"),
    "nothing": ("scan", "", ""),
    "unknown": ("info", "", "subtle"),
}

_COLOURS: dict[Verdict, str] = {"found": "danger", "suspicious": "warning", "unknown": "muted"}


class ScanVerdict(QFrame):
    """A card with the verdict, and the figure that decided; ``acts`` stand below them."""

    def __init__(self, acts: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.setAccessibleName("Verdict of the scan")
        self.setObjectName("scan.verdict")
        self._picture = IconLabel(34)
        self.title = Label(wrap=True, selectable=True)
        self.title.setProperty("large", True)
        self.figure = Note("heading", selectable=True)
        self.of_clean = Note("subtle", selectable=True)
        self.warnings = Note("warning", selectable=True)
        lines = (self.title, self.figure, self.of_clean, self.warnings)
        row(
            (self._picture, Qt.AlignmentFlag.AlignTop),
            (column(*lines, acts, spacing=theme.SPACE_S), 1), of=self, margins=theme.SPACE_L,
            spacing=theme.SPACE_L,
        )  # fmt: skip

    def show_scan(self, scan: Scan, of: str) -> None:
        """Show what a scan says; ``of`` goes before it."""
        judgement = scan.judgement
        icon, tone, role = LOOKS[judgement.verdict]
        self._picture.show_icon(icon, _COLOURS.get(judgement.verdict, "text"))
        theme.set_property(self, "tone", tone)
        theme.set_property(self.title, "role", role)
        self.title.setText(of + plain(judgement.title, 200))
        figure = figure_text(scan) if judgement.verdict == "found" else ""
        _set_lines(self.figure, (figure,) if figure else judgement.reasons[:1])
        _set_lines(self.of_clean, (scan.of_clean.sentence,) if scan.of_clean else ())
        _set_lines(self.warnings, judgement.warnings)
        self.setAccessibleDescription(plain(f"{of}{judgement.title}. {self.figure.text()}", 600))


def _set_lines(label: Note, sentences: Sequence[str]) -> None:
    label.setText("\n".join(plain(sentence, 900) for sentence in sentences if sentence))


def figure_text(scan: Scan) -> str:
    """What the found trigger does, in one line; empty if there is none or nothing to say."""
    trigger = scan.found
    if trigger is None or scan.judgement.verdict == "unknown":
        return ""
    rate = trigger.contrast
    beside = rate.reference
    other = "" if beside is None else f"; on the reference {percent(beside.value)}"
    wide = ""
    if trigger.wide_target != trigger.target:
        wide = f" Among the classes of ImageNet too, they are nearest to “{trigger.wide_target}”."
    return (
        f"{percent(rate.suspect.value)} of {rate.suspect.n} held-out pictures become "
        f"“{trigger.target}”{other} (difference, 95 % interval: {interval_text(rate)}).{wide}"
    )


_CELL = 36


class PositionMap(Cells):
    """The map of positions: a square of cells, one of which is the best."""

    def __init__(self) -> None:
        super().__init__("Where the patch works")
        self.grid: tuple[tuple[float, ...], ...] = ()
        self._best: Place | None = None
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def show_map(self, refined: Refined | None) -> None:
        """Show a scan; None shows nothing."""
        self.grid = () if refined is None else refined.grid
        self._best = None if refined is None else refined.place
        self.at = None
        if self._best is not None:
            self.setAccessibleDescription(self.describe())
            self.pointed.emit(self.describe())
        self.updateGeometry()
        self.update()

    @property
    def shape(self) -> tuple[int, int]:
        """As many rows as columns."""
        return len(self.grid), len(self.grid)

    def words(self, place: Place) -> str:
        rate = percent(self.grid[place[0]][place[1]])
        return f"Row {place[0] + 1}, column {place[1] + 1}: {rate} of the pictures"

    def describe(self) -> str:
        if self.at is None and self._best is not None:
            return f"Best: {self.words(self._best).lower()}"
        return "" if self.at is None else self.words(self.at)

    def first(self) -> Place:
        return self._best or (0, 0)

    def sizeHint(self) -> QSize:  # noqa: N802
        """A square of all cells."""
        side = theme.px(_CELL) * len(self.grid)
        return QSize(side, side)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """The same as `sizeHint`."""
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw cells with their rate in per cent; the best one has a frame."""
        painter = QPainter(self)
        painter.setFont(theme.figure_font(theme.FONT_POINTS * 0.85))
        warm, cold = look.triggered_colour(), theme.colour("surface")
        for down, across in product(*map(range, self.shape)):
            rate = self.grid[down][across]
            cell, ground = self._frame((down, across)), blend(min(max(rate, 0.0), 1.0), warm, cold)
            painter.fillRect(cell, ground)
            painter.setPen(ink(ground))
            painter.drawText(cell, Qt.AlignmentFlag.AlignCenter, f"{100 * rate:.0f}")
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for framed, colour, width in ((self._best, "text", 2), (self.at, "focus", 3)):
            if framed is not None and self.grid:
                painter.setPen(QPen(theme.colour(colour), width))
                painter.drawRect(self._frame(framed).adjusted(1, 1, -1, -1))
        if self.at is None:
            self.paint_focus(painter)

    def _frame(self, place: Place) -> QRectF:
        return self.cell(place).adjusted(1, 1, 0, 0)


def ink(ground: QColor) -> QColor:
    """Black or white, whichever stands out more (WCAG 2, relative luminance)."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (ground.redF(), ground.greenF(), ground.blueF())
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return QColor("#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff")


_PATCH, _PICTURE, _MOST_MOVED, _MOST_PATCHES = 88, 96, 5, 6
_WORDS_BESIDE = 220
_ONLY_ONE = "It is not the attacker's trigger, only one that works."


class Section(QFrame):
    """A card with a heading, a caption and its parts; hidden where there is nothing to show."""

    def __init__(self, title: str, caption: str, *parts: QWidget, stretch: bool = False) -> None:
        super().__init__()
        self.setProperty("card", True)
        self.setAccessibleName(title)
        self.title = Label(title, "heading", wrap=True)
        self.caption = Note("caption")
        rest = (None,) if stretch else ()
        column(
            self.title, self.caption, *parts, *rest, of=self, margins="card", spacing=theme.SPACE_S
        )
        self.caption.setText(caption)


class TableSection(Section):
    """A section with a table, hidden while that has no rows; parameters as of a `ScanTable`."""

    def __init__(self, title: str, caption: str, columns: Columns, texts: int = 1) -> None:
        self.table = ScanTable(title, columns, texts)
        super().__init__(title, caption, self.table)

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Show other rows."""
        self.table.show_rows(rows)
        self.setVisible(bool(rows))


class _Beside(QWidget):
    """A picture, and words on its right where there is room, else below it."""

    def __init__(self, picture: QWidget, *words: QWidget) -> None:
        super().__init__()
        self._picture = picture
        self._layout = QBoxLayout(QBoxLayout.Direction.TopToBottom, self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(theme.SPACE_L)
        self._layout.addWidget(picture, 0, Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self._layout.addLayout(column(*words, None, spacing=theme.SPACE_S), 1)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Put the words where there is room."""
        super().resizeEvent(event)
        room = self.width() - self._picture.sizeHint().width() - theme.SPACE_L
        self._layout.setDirection(
            QBoxLayout.Direction.LeftToRight if room >= theme.px(_WORDS_BESIDE)
            else QBoxLayout.Direction.TopToBottom
        )  # fmt: skip


class ResultView(QWidget):
    """Shows a `Scan`; ``acts`` are the buttons of what can be done with it."""

    def __init__(self, acts: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.scan: Scan | None = None
        self.verdict = ScanVerdict(acts)
        self.stamped = PictureGrid("Pictures before and after", _PICTURE, 1, abreast=2)
        self.stamped.setObjectName("scan.stamped")
        self.stamped_section = Section("The found trigger on pictures", "", self.stamped)
        self.map = PositionMap()
        self.pointed = Label("", "caption", wrap=True)
        self.refined = Label(wrap=True, selectable=True)
        self.map_section = Section(
            "Where it works",
            "Per cent of the pictures that become the class with the patch at each place. The "
            "place with the frame is measured again on held-out pictures.",
            _Beside(self.map, self.pointed, self.refined),
        )
        self.patches = PictureGrid("Found patches", _PATCH, 3)
        self.starts = ScanTable("Starts of the patch searches", STARTS, 2)
        self.patches_section = Section("Patches", "", self.patches, self.starts)
        self.probes = TableSection(
            "Known triggers",
            "Fixed triggers, unchanged. Only what works on this checkpoint and not on the "
            "reference counts. A double click on one, or Return, tries it in Studio.",
            PROBES, 2,
        )  # fmt: skip
        self.pull = PullChart()
        self.pull_section = Section(
            "Classes the model leans to",
            "Mean cosine of pictures to a class that they do not show. It orders the search and "
            "judges nothing.",
            self.pull,
        )
        self.overlays = TableSection(
            "Overlays, warps and large patches",
            "A high rate alone says nothing: what counts is the gap to the reference.",
            OVERLAYS,
        )
        self.thorough = TableSection("Overlays for every class", "", OVERLAYS)
        self.swap = TableSection(
            "Encoders exchanged",
            "The found trigger, with the encoders of the two models exchanged. The rate follows "
            "the encoder that carries the trigger.",
            SWAP, 2,
        )  # fmt: skip
        self.words = TableSection("Words in prompts", "", WORDS, 2)
        self.weights = Label(wrap=True, selectable=True)
        self.weights_section = Section("Changed weights", "", self.weights)
        self.facts = Label(wrap=True, selectable=True)
        self.facts_section = Section("What is needed to repeat it", "", self.facts)
        self.reasons = Note(selectable=True)
        self.searched = Note("subtle", selectable=True)
        self.not_searched = Note("subtle", selectable=True)
        scope = row(
            (Section("Searched", "", self.searched, stretch=True), 1),
            (Section("Not searched", "", self.not_searched, stretch=True), 1),
            spacing=theme.SPACE_M,
        )
        details = page(
            Section("Why", "", self.reasons), self.patches_section, self.map_section,
            self.probes, self.pull_section, self.overlays, self.thorough, self.words, self.swap,
            self.weights_section, self.facts_section,
            spacing=theme.SPACE_M,
        )  # fmt: skip
        self.details = Fold("Details", details)
        column(
            self.verdict, self.stamped_section, scope,
            (self.details, Qt.AlignmentFlag.AlignLeft), details, None,
            of=self, spacing=theme.SPACE_M,
        )  # fmt: skip
        self.map.pointed.connect(self.pointed.setText)

    def show_scan(self, scan: Scan, patches: Sequence[NDArray[np.float32]], of: str = "") -> None:
        """Show a result.

        Parameters
        ----------
        scan
            What was measured.
        patches
            Of each round, float32 [K, p, p, 3]; empty where they cannot be read.
        of
            Which file it is about, before the headline; empty where that goes without saying.
        """
        self.scan = scan
        stages = scan.stages
        self.verdict.show_scan(scan, of)
        _set_lines(self.reasons, scan.judgement.reasons)
        self.searched.show_list(scan.judgement.searched)
        self.not_searched.show_list(scan.judgement.not_searched)
        self.show_stamped(None, "")
        self._show_patches(scan, patches)
        refined = stages.patches.refined if stages.patches is not None else None
        self.map.show_map(refined)
        self.refined.setText("" if refined is None else refined_text(refined))
        self.map_section.setVisible(refined is not None)
        probes = stages.probes.rows if stages.probes is not None else ()
        self.probes.show_rows([probe_row(k, row) for k, row in enumerate(probes)])
        self.pull.show_pull(stages.pull)
        self.pull_section.setVisible(stages.pull is not None)
        overlays = stages.overlays.rows if stages.overlays is not None else ()
        self.overlays.show_rows(overlay_rows(overlays))
        thorough = stages.thorough
        self.thorough.show_rows(overlay_rows(thorough.rows if thorough is not None else ()))
        if thorough is not None:
            self.thorough.setVisible(True)
            self.thorough.caption.setText(
                f"{plural(thorough.classes, 'class', 'classes')} searched; the strongest of the "
                "last round are listed."
            )
        swap, words = stages.swap, stages.words
        self.swap.show_rows(swap_rows(swap.rows if swap is not None else ()))
        self.words.show_rows(word_rows(words.rows if words is not None else ()))
        if words is not None:
            self.words.caption.setText(words_text(words))
        self._show_weights(scan)
        self.facts.setText(facts_text(scan))

    def show_details(self) -> None:
        """Unfold the details, at their full height at once."""
        self.details.setChecked(True)
        box = self.layout()
        if box is not None:
            box.activate()
            self.resize(self.width(), box.totalHeightForWidth(self.width()))

    def show_stamped(self, stamped: Stamped | None, why_not: str) -> None:
        """Show pictures before and after, or say why there are none; both empty: nothing."""
        cells = [] if stamped is None else stamped_cells(stamped)
        self.stamped.show_cells(cells)
        self.stamped.setVisible(bool(cells))
        self.stamped_section.caption.setText(
            "Each picture without and with the trigger; below each is what the open checkpoint "
            "predicts." if cells
            else why_not
        )  # fmt: skip
        self.stamped_section.setVisible(bool(cells or why_not))

    def _show_patches(self, scan: Scan, patches: Sequence[NDArray[np.float32]]) -> None:
        shown = scan.stages.patches
        rounds = shown.rounds if shown is not None else ()
        self.starts.show_rows(start_rows(rounds))
        cells = []
        if rounds:
            best = max(range(len(rounds)), key=lambda k: rounds[k].contrast.difference)
            chosen = rounds[best]
            pictures = patches[best] if best < len(patches) else ()
            pairs = list(zip(chosen.starts, pictures, strict=False))
            pairs.sort(key=lambda pair: -pair[0].contrast.difference)
            for row, picture in pairs[:_MOST_PATCHES]:
                rate = percent(row.contrast.suspect.value)
                lines = (row.target, rate, reference_text(row.contrast))
                agrees = row.target == chosen.target
                cells.append(
                    PictureCell(((picture * 255 + 0.5).astype(np.uint8),), lines, marked=agrees)
                )
            self.patches_section.caption.setText(
                f"{chosen.agreeing} of {len(chosen.starts)} starts with {chosen.side} px "
                f"({percent(chosen.area)} of the "
                f"picture{', each at one place' * (chosen.loss == 'place')}) lead to "
                f"“{plain(chosen.target, 80)}”. Agreement alone is no proof: the starts agree on "
                "some models without a backdoor too."
            )
        self.patches.show_cells(cells)
        self.patches.setVisible(bool(cells))
        self.patches_section.setVisible(bool(rounds))

    def _show_weights(self, scan: Scan) -> None:
        weights = scan.stages.weights
        self.weights_section.setVisible(weights is not None)
        if weights is not None:
            names = ", ".join(plain(name, 80) for name, _ in weights.most[:_MOST_MOVED])
            most = f" Most: {names}." if names else ""
            self.weights.setText(fitting(weights_text(weights.image, weights.text) + most))


def stamped_cells(stamped: Stamped) -> list[PictureCell]:
    """A cell for each picture: before and after, and what is said of both."""
    cells = []
    for number, pair in enumerate(zip(stamped.before, stamped.after, strict=True)):
        lines: tuple[str, ...] = ("",)
        hit = False
        if number < len(stamped.said_before):
            before, after = stamped.said_before[number], stamped.said_after[number]
            hit = stamped.hits[number]
            lines = (before, f"→ {after}")
        cells.append(PictureCell(pair, lines, marked=hit))
    return cells


def words_text(words: Words) -> str:
    """What the table of words lists."""
    return (
        f"{words.tried} tried in prompts. The table lists those after which prompts differ least, "
        f"with the share of {words.prompts} other prompts that come to one point."
    )


def refined_text(refined: Refined) -> str:
    """What the refined patch does, and what is left of it after it was stored as a file."""
    place = refined.place
    parts = [
        f"After more steps: {_rate(refined.anywhere)} at random places, {_rate(refined.here)} at "
        f"row {place[0] + 1}, column {place[1] + 1}.",
        f"Saved as an 8-bit picture: {_rate(refined.eight_bit)}; as JPEG of quality 90: "
        f"{_rate(refined.jpeg)}.",
    ]
    if refined.fixed:
        parts.append("It works best at that place: the planted trigger may always lie there.")
    parts.append(_ONLY_ONE)
    return " ".join(parts)


def _rate(contrast: Contrast) -> str:
    beside = reference_text(contrast)
    return f"{percent(contrast.suspect.value)}{f' ({beside})' if beside else ''}"


def facts_text(scan: Scan) -> str:
    """Models with their hashes, pictures, seed and arithmetic, a line each."""
    lines = [_model("Checkpoint", scan.suspect)]
    lines.append(_model("Reference", scan.reference) if scan.reference else "Reference: none")
    lines.append(
        f"Pictures: {plain(scan.images, 200)}; {count_text(scan.search)} to search on, "
        f"{count_text(scan.held_out)} others to measure on; "
        f"{plural(len(scan.classes), 'class', 'classes')}"
    )
    threads = plural(scan.threads, "thread")
    lines.append(
        f"Seed {scan.seed}, {plain(scan.device, 20)}, {plain(scan.precision, 20)}, {threads}"
    )
    took = ", ".join(
        f"{stage_title(stage).lower()} {duration_text(scan.seconds[stage])}"
        for stage in HELP if stage in scan.seconds
    )  # fmt: skip
    if took:
        lines.append(f"Time: {took}")
    if scan.versions:
        versions = (f"{plain(k, 40)} {plain(v, 40)}" for k, v in list(scan.versions.items())[:12])
        lines.append(f"Versions: {', '.join(versions)}")
    lines += [plain(note, 600) for note in scan.notes]
    return "\n".join(lines)


def _model(what: str, facts: ModelFacts) -> str:
    accuracy = facts.accuracy
    right = "" if accuracy is None else f", clean accuracy {percent(accuracy.value)}"
    digest = f"\nSHA-256 {spaced(facts.sha256)}" if facts.sha256 else ""
    return f"{what}: {fitting(plain(facts.name, 200))}{right}{digest}"


def spaced(digest: str) -> str:
    """A hash in groups, so that a narrow column can break it."""
    shown = plain(digest, 128)
    return " ".join(shown[k : k + 8] for k in range(0, len(shown), 8))

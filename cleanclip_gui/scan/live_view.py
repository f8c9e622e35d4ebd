"""A scan at work: its stages, and what each of them has found so far."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.scan.pull_chart import PullChart
from cleanclip_gui.scan.scanning import Best, LiveScan
from cleanclip_gui.scan.tables import PROBES, ScanTable, probe_row, reference_text
from cleanclip_gui.widgets.controls import BusyRow, Label
from cleanclip_gui.widgets.layout import card, column
from cleanclip_gui.widgets.picture_grid import PictureCell, PictureGrid
from cleanclip_gui.widgets.text import left_text, percent, plain
from ml_core.jobs.scan import Stage
from ml_core.jobs.table import JOBS

HELP: dict[Stage, str] = {
    "pull": (
        "Classes that pictures of other things lie nearer to than they do on the reference. This "
        "only says where to search first."
    ),
    "probes": (
        "About forty fixed triggers, put on pictures unchanged: published ones and simple patterns."
    ),
    "patches": (
        "Small patches from random starts, changed until pictures become one class, no matter "
        "which. Without a reference, only patches and words can be judged."
    ),
    "overlays": (
        "Soft patterns over the whole picture, warps and large patches, for the classes that "
        "earlier stages point at. Needs a reference, on which what works is searched, too."
    ),
    "thorough": ("Overlays for every class instead of a few. Takes long; needs a reference."),
    "words": (
        "Tokens and odd characters in prompts that bring all prompts to one point. Without a "
        "reference they are suspicious at most."
    ),
    "weights": (
        "How far the weights are from the reference's. This tells whether the reference can be the "
        "parent, and so how the rest is judged. Needs a reference."
    ),
    "swap": (
        "Exchanges the encoders of the two models, to see which encoder carries what was found. "
        "Needs a reference."
    ),
}
"""What each stage looks for."""


def stage_title(stage: str) -> str:
    """Name a stage; ``stage`` is as the job's progress names it."""
    return JOBS["scan"].words(stage)


PATCH_SIDE, _MARK, _MOST_PULLED = 88, 14, 10
_NOTHING_YET = "Strongest so far: nothing is measured yet."


class StageList(QWidget):
    """A line for each stage: done, at work with the time left, or to come."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, accessibleName="Stages of the scan")
        self._layout = QGridLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setHorizontalSpacing(theme.SPACE_S)
        self._layout.setVerticalSpacing(2)
        self._layout.setColumnMinimumWidth(0, theme.px(_MARK))
        self._layout.setColumnStretch(1, 1)
        self.marks: dict[Stage, Label] = {}
        self.lines: dict[Stage, Label] = {}

    def show_stages(self, stages: Sequence[Stage]) -> None:
        """Show the stages of another scan."""
        if tuple(self.lines) == tuple(stages):
            return
        for label in (*self.marks.values(), *self.lines.values()):
            self._layout.removeWidget(label)
            label.deleteLater()
        self.marks, self.lines = {}, {}
        for row, stage in enumerate(stages):
            mark, line = self.marks[stage], self.lines[stage] = Label(), Label(wrap=True)
            line.setToolTip(HELP[stage])
            self._layout.addWidget(mark, row, 0, Qt.AlignmentFlag.AlignHCenter)
            self._layout.addWidget(line, row, 1)

    def follow(self, live: LiveScan) -> None:
        """Show how far each of them is."""
        self.show_stages(live.stages)
        for stage, line in self.lines.items():
            text = stage_title(stage)
            if stage in live.finished:
                mark, role = "✓", ""
            elif stage == live.current:
                mark, role = "▸", "accent"
                text += _within(live)
            else:
                mark, role = "·", "subtle"
            self.marks[stage].setText(mark)
            line.setText(text)
            for label in (self.marks[stage], line):
                theme.set_property(label, "role", role)


def _within(live: LiveScan) -> str:
    """What goes on within the stage at work."""
    now = live.progress
    if now is None:
        return ""
    parts = (
        []
        if now.stage == live.current
        else [stage_title(now.stage)[:1].lower() + stage_title(now.stage)[1:]]
    )
    if now.total:
        parts.append(f"{100 * min(now.done / now.total, 1.0):.0f} %")
    if left := left_text(now.seconds_left):
        parts.append(left)
    return f": {', '.join(parts)}" if parts else ""


class LiveView(QWidget):
    """Shows a `LiveScan`; ``busy.cancel_clicked`` is the user's."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.busy = BusyRow("Progress of the scan")
        self.subject = Label("", "subtle", wrap=True)
        self.title = Label("", "heading", wrap=True)
        self.stages = StageList()
        self.best = Label("", wrap=True)
        self.patches_title = Label("", "heading", wrap=True)
        self.patches = PictureGrid("Patches as they are refined", PATCH_SIDE, 3)
        self.patches.setObjectName("scan.patches")
        self.pull_title = Label(
            "Classes the model leans to, on pictures that do not show them", "heading", wrap=True
        )
        self.pull = PullChart(most=_MOST_PULLED)
        self.probes_title = Label("Known triggers", "heading", wrap=True)
        self.probes = ScanTable("Known triggers so far", PROBES, 2)
        head = card(
            self.subject, self.title, self.busy, self.stages, self.best, spacing=theme.SPACE_S
        )
        self._body = card(
            self.patches_title, self.patches, self.pull_title, self.pull, self.probes_title,
            self.probes, spacing=theme.SPACE_S,
        )  # fmt: skip
        column(head, self._body, None, of=self, spacing=theme.SPACE_M)

    def begin(self, live: LiveScan, subject: str) -> None:
        """Show a scan that has just begun, and what it searches."""
        self.subject.setText(plain(subject, 120))
        self.busy.cancel.setEnabled(True)
        self.show_progress(0.0, None, live)
        self.follow(live, ("stages", "pull", "probes", "patches", "best"))

    def show_progress(
        self, fraction: float, seconds_left: float | None, live: LiveScan, *, ending: bool = False
    ) -> None:
        """How far the whole is."""
        self.busy.show_share(fraction)
        self.busy.cancel.setEnabled(not ending)
        if ending:
            self.title.setText("Cancelling…")
            return
        left = left_text(seconds_left)
        what = stage_title(live.at_work) if live.at_work else "Starting"
        self.title.setText(f"{what}{f', {left} in all' if left else '…'}")

    def follow(self, live: LiveScan, parts: Sequence[str] | frozenset[str]) -> None:
        """Show what is new."""
        if "stages" in parts:
            self.stages.follow(live)
        if "pull" in parts:
            self.pull.show_pull(live.pull)
        if "probes" in parts:
            rows = sorted(live.probes, key=lambda row: -row.contrast.difference)
            self.probes.show_rows([probe_row(k, row) for k, row in enumerate(rows)])
            self.probes_title.setText(f"Known triggers: {len(rows)} tried")
        if "patches" in parts:
            self.patches.show_cells(patch_cells(live))
            self.patches_title.setText(patches_title(live))
        if "best" in parts:
            self.best.setText(best_text(live.best))
        # The room of the patches is kept from the start: nothing below them moves when they come.
        patches = "patches" in live.stages and (
            live.patches is not None or "patches" not in live.finished
        )
        for widgets, shown in (
            ((self.patches_title, self.patches), patches),
            ((self.pull_title, self.pull), live.pull is not None),
            ((self.probes_title, self.probes), bool(live.probes)),
        ):
            for widget in widgets:
                widget.setVisible(shown)
        self._body.setVisible(bool(patches or live.pull or live.probes))


def patch_cells(live: LiveScan) -> list[PictureCell]:
    """A cell for each start, with its class and rates once they are measured; then the best ones,
    sharpened."""
    patches, cells = live.patches, []
    pictures = () if patches is None else patches.pictures
    rows = () if patches is None else patches.rows
    for number in range(max(live.starts, len(pictures))):
        lines: tuple[str, ...] = ()
        if number < len(rows):
            row = rows[number]
            rate = percent(row.contrast.suspect.value)
            lines = (row.target, rate, reference_text(row.contrast))
        cells.append(PictureCell((pictures[number],) if number < len(pictures) else (), lines))
    if (better := live.sharpened) is not None:
        how = f"step {better.step} of {better.steps}" if live.refined is None else ""
        cells += [PictureCell((picture,), ("refined", how)) for picture in better.pictures]
    return cells


def patches_title(live: LiveScan) -> str:
    """What is searched, and how far."""
    patches = live.patches
    if patches is None:
        return f"Patches, from {live.starts} random starts"
    if (refined := live.refined) is not None:
        rate = percent(refined.best.suspect.value)
        return f"Patches of {patches.side} px; the best, refined: {rate} “{refined.target}”"
    if live.sharpened is not None:
        return f"Patches of {patches.side} px; the best ones are refined"
    if patches.rows:
        return f"Patches of {patches.side} px, measured on other pictures"
    return f"Patches of {patches.side} px, step {patches.step} of {patches.steps}"


def best_text(best: Best | None) -> str:
    """The strongest so far."""
    if best is None:
        return _NOTHING_YET
    beside = "" if best.reference is None else f", on the reference {percent(best.reference)}"
    return (
        f"Strongest so far: {plain(best.what, 80)}, {percent(best.suspect)} become "
        f"“{plain(best.target, 80)}”{beside}."
    )

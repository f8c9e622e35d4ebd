"""A scan at work: its stages, and what each of them has found so far."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.scan.live_scan import Best, LivePatches, LiveScan
from cleanclip_gui.scan.picture_grid import Cell, PictureGrid
from cleanclip_gui.scan.pull_chart import PullChart
from cleanclip_gui.scan.tables import PROBES, ScanTable, probe_row, reference_text
from cleanclip_gui.scan.words import STAGES, at_work
from cleanclip_gui.widgets.busy_row import BusyRow
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.text import left_text, percent, plain
from ml_core.jobs.scan_spec import Stage

PATCH_SIDE = 88


class StageList(QWidget):
    """A line for each stage: done, at work with the time left, or to come."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Stages of the scan")
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(2)
        self.lines: dict[Stage, Label] = {}

    def show_stages(self, stages: Sequence[Stage]) -> None:
        """Show the stages of another scan."""
        if tuple(self.lines) == tuple(stages):
            return
        for label in self.lines.values():
            self._layout.removeWidget(label)
            label.deleteLater()
        self.lines = {}
        for stage in stages:
            label = self.lines[stage] = Label("", "subtle")
            label.setToolTip(STAGES[stage][1])
            self._layout.addWidget(label)

    def follow(self, live: LiveScan) -> None:
        """Show how far each of them is."""
        self.show_stages(live.stages)
        for stage, label in self.lines.items():
            title = STAGES[stage][0]
            if stage in live.finished:
                text, role = f"✓  {title}", ""
            elif stage == live.current:
                text, role = f"▸  {title}{_within(live)}", "accent"
            else:
                text, role = f"·  {title}", "subtle"
            theme.set_property(label, "role", role)
            label.setText(text)


def _within(live: LiveScan) -> str:
    """What goes on within the stage at work."""
    now = live.progress
    if now is None:
        return ""
    parts = (
        []
        if now.stage == live.current
        else [at_work(now.stage)[:1].lower() + at_work(now.stage)[1:]]
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
        self.busy.bar.setRange(0, 1000)
        self.title = Label("", "heading", wrap=True)
        self.stages = StageList()
        self.best = Label("", wrap=True)
        self.patches_title = Label("", "heading", wrap=True)
        self.patches = PictureGrid("Patches as they sharpen", PATCH_SIDE, 3)
        self.patches.setObjectName("scan.patches")
        self.pull_title = Label(
            "Classes that draw pictures which do not show them", "heading", wrap=True
        )
        self.pull = PullChart()
        self.probes_title = Label("Known triggers", "heading", wrap=True)
        self.probes = ScanTable("Known triggers so far", PROBES, 2)
        head = QFrame()
        head.setProperty("card", True)
        inside = QVBoxLayout(head)
        inside.setContentsMargins(theme.SPACE_L, theme.SPACE_M, theme.SPACE_L, theme.SPACE_M)
        inside.setSpacing(theme.SPACE_S)
        for widget in (self.title, self.busy, self.stages, self.best):
            inside.addWidget(widget)
        body = QFrame()
        body.setProperty("card", True)
        self._body = body
        within = QVBoxLayout(body)
        within.setContentsMargins(theme.SPACE_L, theme.SPACE_M, theme.SPACE_L, theme.SPACE_M)
        within.setSpacing(theme.SPACE_S)
        for part in (
            self.patches_title, self.patches, self.pull_title, self.pull, self.probes_title,
            self.probes,
        ):  # fmt: skip
            within.addWidget(part)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.SPACE_M)
        layout.addWidget(head)
        layout.addWidget(body)
        layout.addStretch(1)

    def begin(self, live: LiveScan) -> None:
        """Show a scan that has just begun."""
        self.busy.cancel.setEnabled(True)
        self.show_progress(0.0, None, live)
        self.follow(live, ("stages", "pull", "probes", "patches", "best"))

    def show_progress(
        self, fraction: float, seconds_left: float | None, live: LiveScan, *, ending: bool = False
    ) -> None:
        """How far the whole is."""
        self.busy.bar.setValue(round(1000 * fraction))
        self.busy.cancel.setEnabled(not ending)
        if ending:
            self.title.setText("Cancelling…")
            return
        left = left_text(seconds_left)
        what = at_work(live.progress.stage) if live.progress is not None else "Starting"
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
            self.patches.show_cells(patch_cells(live.patches))
            self.patches_title.setText(patches_title(live.patches))
        if "best" in parts:
            self.best.setText(best_text(live.best))
        for widgets, shown in (
            ((self.pull_title, self.pull), live.pull is not None),
            ((self.probes_title, self.probes), bool(live.probes)),
            ((self.patches_title, self.patches), live.patches is not None),
            ((self.best,), live.best is not None),
        ):
            for widget in widgets:
                widget.setVisible(shown)
        self._body.setVisible(bool(live.pull or live.probes or live.patches))


def patch_cells(patches: LivePatches | None) -> list[Cell]:
    """A cell for each start: its class and rates once they are measured."""
    if patches is None:
        return []
    cells = []
    for number, picture in enumerate(patches.pictures):
        lines: tuple[str, ...] = ()
        if number < len(patches.rows):
            row = patches.rows[number]
            rate = percent(row.contrast.suspect.value)
            lines = (row.target, rate, reference_text(row.contrast))
        cells.append(Cell((picture,), lines))
    return cells


def patches_title(patches: LivePatches | None) -> str:
    """What is searched, and how far."""
    if patches is None:
        return ""
    if patches.rows:
        return f"Patches of {patches.side} px, measured on other pictures"
    return f"Patches of {patches.side} px, step {patches.step} of {patches.steps}"


def best_text(best: Best | None) -> str:
    """The strongest so far."""
    if best is None:
        return ""
    beside = "" if best.reference is None else f", on the reference {percent(best.reference)}"
    return (
        f"Strongest so far: {plain(best.what, 80)}, {percent(best.suspect)} become "
        f"“{plain(best.target, 80)}”{beside}."
    )

"""Before and after a cleaning run, side by side: figure, interval, and what changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets import layout
from cleanclip_gui.widgets.controls import Label
from cleanclip_gui.widgets.text import (
    NOT_MEASURED,
    UNBROKEN,
    count_text,
    duration_text,
    percent,
    percent_range,
    plain,
)
from ml_core.cleaning.catalogue import facts_of
from ml_core.detection.scan.verdict import NATURAL_RATE
from ml_core.jobs.result_text import training_words

# Less than this many points is no change in either direction.
STEADY_POINTS = 0.05
# Pixels of the table with small figures, with large ones, and with intervals too.
_NARROWEST, _USUAL, _WIDE = 320, 480, 640
_LARGE, _SMALL = 17, theme.FONT_POINTS + 1  # points


@dataclass(frozen=True)
class BeforeAfterRow:
    """One rate before and after, as fractions; ``good`` is the direction that is welcome.

    A quiet row is small print: it is left out where nothing was measured.
    """

    title: str
    before: float | None
    after: float | None
    before_interval: tuple[float, float] | None = None
    after_interval: tuple[float, float] | None = None
    good: int = 1
    headline: bool = False
    quiet: bool = False

    @property
    def points(self) -> float | None:
        """Change in percentage points; None if one side was not measured."""
        if self.before is None or self.after is None:
            return None
        return 100.0 * (self.after - self.before)

    @property
    def is_noise(self) -> bool:
        """Whether it is better by so little that each rate lies in the interval of the other."""
        if self.points is None or not (self.before_interval and self.after_interval):
            return False
        (low, high), (least, most) = self.before_interval, self.after_interval
        between = low <= (self.after or 0.0) <= high and least <= (self.before or 0.0) <= most
        return between and self.points * self.good >= STEADY_POINTS


def rows_of(result: Mapping[str, Any]) -> tuple[BeforeAfterRow, ...]:
    """The rows of a job's result: test images, held-out style, and the linear head if any."""
    before, after = result.get("before") or {}, result.get("after") or {}
    rows = [
        _row("Attack success rate", "asr_excl", "asr_interval", before, after, -1, True),
        _row("Clean accuracy", "ca", "ca_interval", before, after, 1, True),
        _row("Poisoned accuracy", "poisoned_accuracy", "", before, after, 1),
    ]
    small_print = (
        ("Attack success rate, all images", "asr_all", "asr_all_interval"),
        ("Predicted as target without trigger", "baseline_target_rate", ""),
    )
    for title, key, interval in small_print:
        row = _row(title, key, interval, before, after, -1, quiet=True)
        rows += [row] if row.points is not None else []
    for key, name in (("heldout", "held-out style"), ("heldout_linear", "held-out, linear head")):
        pair = result.get(key) or {}
        if pair.get("after"):
            first, second = pair.get("before") or {}, pair["after"]
            rows.append(_row(f"Accuracy, {name}", "ca", "ca_interval", first, second, 1))
    linear = (result.get("heads") or {}).get("linear")
    if linear and linear.get("after"):
        first, second = linear.get("before") or {}, linear["after"]
        rows += [
            _row("Attack success, linear head", "asr_excl", "asr_interval", first, second, -1),
            _row("Clean accuracy, linear head", "ca", "ca_interval", first, second, 1),
        ]
    return tuple(rows)


def _row(
    title: str, key: str, interval: str, before: Mapping[str, Any], after: Mapping[str, Any],
    good: int, headline: bool = False, quiet: bool = False,
) -> BeforeAfterRow:  # fmt: skip
    """One row from two evaluations."""
    return BeforeAfterRow(
        title,
        before.get(key),
        after.get(key),
        _pair(before.get(interval)),
        _pair(after.get(interval)),
        good,
        headline,
        quiet,
    )


def _pair(value: Any) -> tuple[float, float] | None:
    """An interval from JSON."""
    return (float(value[0]), float(value[1])) if value else None


def difference_text(points: float | None, *, unit: bool = True) -> str:
    """A change with arrow and sign, e.g. ``▼ −94.2 points``, or without its last word."""
    if points is None:
        return "–"
    if abs(points) < STEADY_POINTS:
        return "= no change"
    arrow, sign = ("▲", "+") if points > 0 else ("▼", "−")
    return f"{arrow} {sign}{abs(points):.1f}{' points' if unit else ''}"


def summary(result: Mapping[str, Any]) -> str:
    """One sentence that says what the run did to the two headline rates."""
    facts = facts_of(str(result.get("method")))
    method = "The run" if facts is None else facts.title
    attack, clean = rows_of(result)[:2]
    parts = []
    if attack.points is not None:
        verb = _verb(attack, "left", "raised", "cut")
        parts.append(f"{method} {verb} the ASR {_from_to(attack)}")
    if clean.points is not None:
        verb = _verb(clean, "stayed", "rose", "fell")
        words = f"clean accuracy {verb} {_from_to(clean)}"
        parts.append(words if parts else f"{method}: {words}")
    what = "; ".join(parts) or f"{method} finished; nothing was measured before and after"
    return f"{what} ({duration_text(float(result.get('seconds') or 0))})."


def _verb(row: BeforeAfterRow, steady: str, up: str, down: str) -> str:
    points = row.points or 0.0
    if row.is_noise or abs(points) < STEADY_POINTS:
        return "hardly changed" if row.is_noise else steady
    return up if points > 0 else down


def _from_to(row: BeforeAfterRow) -> str:
    """Both ends of a change, e.g. ``from 98.1 to 8.1 %``, or where it stays."""
    before, after = percent(row.before, unit=""), percent(row.after, unit=UNBROKEN)
    if row.points is None or abs(row.points) < STEADY_POINTS:
        return f"at {after}"
    return f"from {before} to {after}{' (may be chance)' if row.is_noise else ''}"


def spoken(row: BeforeAfterRow) -> str:
    """Both rates, for a screen reader."""
    before, after = (percent(rate, NOT_MEASURED) for rate in (row.before, row.after))
    return f"{before} before, {after} after"


def tone_colour(row: BeforeAfterRow) -> str:
    """Name of the theme's colour for a change: welcome, unwelcome, or neither.

    A loss of up to two points of accuracy is what the methods cost: it is a caution, not a danger.
    So is a success rate that fell and is still far above chance.
    """
    points = row.points
    if points is None or abs(points) < STEADY_POINTS or row.is_noise:
        return "muted"
    if points * row.good > 0:
        fooled = row.good < 0 and (row.after or 0.0) > NATURAL_RATE  # less often, but often
        return "warning" if fooled else "success"
    return "warning" if abs(points) <= 2.0 else "danger"


class BeforeAfter(QFrame):
    """The table of a finished run."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Before and after")
        self._sentence = Label("", "heading", wrap=True)
        self._facts = Label("", "caption", wrap=True)
        self._table = QWidget()
        self._layout = layout.column(
            self._sentence, self._table, self._facts, of=self, spacing=theme.SPACE_S
        )
        self._ranges: list[Label] = []  # for which there may be no room
        self._titles: list[Label] = []
        self._figures: list[Label] = []  # the large ones
        self._changes: list[tuple[Label, float | None]] = []
        self._change_title: Label | None = None

    def show_result(self, result: Mapping[str, Any]) -> None:
        """Show the result of a job."""
        self._sentence.setText(summary(result))
        self._facts.setText(facts(result))
        table = QWidget()
        grid = QGridLayout(table)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(theme.SPACE_M)
        grid.setVerticalSpacing(theme.SPACE_XS)
        grid.setColumnStretch(0, 1)
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        left = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        self._change_title = Label("", "caption")
        for column, label in (
            (1, Label("Before", "caption")), (3, Label("After", "caption")), (5, self._change_title)
        ):  # fmt: skip
            grid.addWidget(label, 0, column, right)
        rows = rows_of(result)
        self._ranges = [Label("95 % interval", "caption"), Label("95 % interval", "caption")]
        for column, label in zip((2, 4), self._ranges, strict=True):
            grid.addWidget(label, 0, column, left)
        self._titles, self._figures, self._changes = [], [], []
        for at, row in enumerate(rows, 1):
            role = "heading" if row.headline else "caption" if row.quiet else "subtle"
            self._titles.append(title := Label(row.title, role))
            grid.addWidget(title, at, 0)
            sides = ((1, row.before, row.before_interval), (3, row.after, row.after_interval))
            for column, rate, interval in sides:
                figure, range_ = _figure(rate, row), _interval(interval)
                figure.setToolTip(range_.toolTip())
                grid.addWidget(figure, at, column, right)
                grid.addWidget(range_, at, column + 1, left)
                self._ranges.append(range_)
                if row.headline and rate is not None:
                    self._figures.append(figure)
            grid.addWidget(change := _change(row), at, 5, right)
            self._changes.append((change, row.points))
        self._layout.replaceWidget(self._table, table)
        self._table.hide()
        self._table.deleteLater()
        self._table = table
        self._make_room()
        words = "; ".join(f"{row.title}: {spoken(row)}" for row in rows)
        self.setAccessibleDescription(f"{self._sentence.text()} {words}.")

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """The smallest size that holds the figures alone."""
        return QSize(theme.px(_NARROWEST), super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Leave out intervals where there is no room; tool tips tell them."""
        super().resizeEvent(event)
        self._make_room()

    def _make_room(self) -> None:
        for label in self._ranges:
            label.setVisible(self.width() >= theme.px(_WIDE))
        usual = self.width() >= theme.px(_USUAL)
        for title in self._titles:
            title.setWordWrap(not usual)
        if self._change_title is not None:
            self._change_title.setText("Change" if usual else "Points")
        for change, points in self._changes:
            change.setText(difference_text(points, unit=usual))
        for figure in self._figures:
            figure.setFont(theme.figure_font(_LARGE if usual else _SMALL, bold=True))

    def sentence(self) -> str:
        """What the run did, in one sentence."""
        return self._sentence.text()


def facts(result: Mapping[str, Any]) -> str:
    """Small print: images, target, preset, steps, device, how it was trained; and every note."""
    after = result.get("after") or {}
    parts = []
    if after.get("n"):
        others = count_text(after.get("n_excl", 0))
        parts.append(f"{count_text(after['n'])} test images, {others} not of the target class")
    if result.get("target_name"):
        parts.append(f"target {result['target_name']}")
    parts.append(f"preset {result.get('preset', 'custom')}, seed {result.get('seed', 0)}")
    if result.get("steps"):
        total = result.get("total_steps")
        whole = count_text(total) if total else "?"
        parts.append(f"{count_text(result['steps'])} of {whole} steps")
    parts += training_words(result)
    if result.get("device"):
        parts.append(f"{result['device']}, {result.get('precision', 'fp32')}")
    line = " · ".join(parts) + "."
    return "\n".join([line, *(plain(note, 400) for note in result.get("notes") or ())])


def _figure(rate: float | None, row: BeforeAfterRow) -> Label:
    """Return a rate, large for the two that matter most."""
    label = Label(percent(rate, NOT_MEASURED))
    if rate is None:
        label.setProperty("role", "subtle")
    elif row.quiet:
        label.setProperty("role", "caption")
    else:
        label.setFont(theme.figure_font(_LARGE if row.headline else _SMALL, bold=True))
    return label


def _change(row: BeforeAfterRow) -> Label:
    """Return the difference in its colour."""
    if row.quiet:
        return Label(difference_text(row.points), "caption")
    label = Label(difference_text(row.points), "")
    tone = tone_colour(row)
    label.setProperty("role", {"muted": "subtle", "danger": "error"}.get(tone, tone))
    label.setFont(theme.figure_font(theme.FONT_POINTS, bold=True))
    return label


def _interval(interval: tuple[float, float] | None) -> Label:
    """Return an interval in small print."""
    if interval is None:
        return Label("", "caption")
    label = Label(percent_range(interval, unit="", to=" – "), "caption")
    label.setToolTip(f"95 % interval: {percent_range(interval)}")
    return label

"""What the scan says, why, and what it says nothing about."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import QFrame, QWidget

from cleanclip_gui import theme
from cleanclip_gui.scan.tables import interval_text
from cleanclip_gui.theme import look
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.text import percent, plain, plural
from ml_core.detection.scan.records import TITLES, Scan, Verdict

# verdict -> icon, tone of the card, role of the title; never a welcome one: nothing is proved.
LOOKS: dict[Verdict, tuple[str, str, str]] = {
    "found": ("danger", "danger", "error"),
    "suspicious": ("warning", "caution", "warning"),
    "nothing": ("scan", "", ""),
    "unknown": ("info", "", "subtle"),
}

_COLOURS: dict[Verdict, str] = {
    "found": "danger", "suspicious": "warning", "unknown": "muted"
}  # fmt: skip


class ScanVerdict(QFrame):
    """A card with the verdict, its figure and its reasons; ``acts`` stand below them."""

    def __init__(self, acts: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.setAccessibleName("Verdict of the scan")
        self.setObjectName("scan.verdict")
        self._icon, self._colour = "scan", "text"
        self._picture = Label()
        self._picture.setFixedSize(theme.px(34), theme.px(34))
        self.title = Label("", wrap=True)
        self.figure = Label("", "heading", wrap=True)
        self.reasons = Label("", wrap=True)
        self.p = Label("", "subtle", wrap=True)
        self.warnings = Label("", "warning", wrap=True)
        self.searched = Label("", "subtle", wrap=True)
        self.not_searched = Label("", "subtle", wrap=True)
        first = (self.title, self.figure, self.reasons, self.p, self.warnings)
        for label in (*first, self.searched, self.not_searched):
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        text = column(
            *first, acts, Label("Searched", "field"), self.searched,
            Label("Not searched", "field"), self.not_searched, spacing=theme.SPACE_S,
        )  # fmt: skip
        row(
            (self._picture, Qt.AlignmentFlag.AlignTop), (text, 1), of=self, margins=theme.SPACE_L,
            spacing=theme.SPACE_L,
        )  # fmt: skip

    def show_scan(self, scan: Scan) -> None:
        """Show what a scan says."""
        judgement = scan.judgement
        self._icon, tone, role = LOOKS[judgement.verdict]
        self._colour = _COLOURS.get(judgement.verdict, "text")
        theme.set_property(self, "tone", tone)
        theme.set_property(self.title, "role", role)
        self.title.setFont(look.sized(self.font(), 1.6, bold=True))
        self.title.setText(TITLES[judgement.verdict])
        self._paint()
        self._tell(self.figure, (figure_text(scan),))
        self._tell(self.p, (p_text(scan),))
        self._tell(self.reasons, judgement.reasons)
        self._tell(self.warnings, judgement.warnings)
        self._tell(self.searched, judgement.searched, "• ")
        self._tell(self.not_searched, judgement.not_searched, "• ")
        self.setAccessibleDescription(
            plain(f"{TITLES[judgement.verdict]}. {figure_text(scan)}", 600)
        )

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Repaint the picture in the new theme's colours."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._paint()

    def _paint(self) -> None:
        self._picture.setPixmap(theme.picture(self._icon, theme.colour(self._colour), theme.px(34)))

    def _tell(self, label: Label, sentences: Sequence[str], before: str = "") -> None:
        label.setText(
            "\n".join(f"{before}{plain(sentence, 900)}" for sentence in sentences if sentence)
        )
        label.setVisible(bool(label.text()))


def figure_text(scan: Scan) -> str:
    """What the found trigger does, in one line; empty without one, or where it says nothing."""
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
        f"“{trigger.target}”{other} (difference {interval_text(rate)}).{wide}"
    )


def p_text(scan: Scan) -> str:
    """How unusual the score is; empty where no clean scan fits the model."""
    if scan.p is None or not scan.calibration:
        return ""
    least = 1 / (1 + scan.calibration)  # so few scans cannot say less
    return f"p = {max(scan.p, least):.2g} from {plural(scan.calibration, 'clean scan')}."

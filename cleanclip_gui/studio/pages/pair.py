"""Two checkpoints on the same images and trigger: rates side by side, and what differs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import get_args

from PySide6.QtCore import Qt

from cleanclip_gui import theme
from cleanclip_gui.inference.questions import ComparePair, OpenCheckpoint, Pair
from cleanclip_gui.session import ShownCheckpoint
from cleanclip_gui.session.records import Role
from cleanclip_gui.station import Context
from cleanclip_gui.studio.exports import save_pair
from cleanclip_gui.studio.gallery.gallery import Gallery
from cleanclip_gui.studio.pages.asking import AskingPage
from cleanclip_gui.widgets.controls import Label, named, push_button
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import column
from cleanclip_gui.widgets.name_filters import CHECKPOINTS, NUMBERS
from cleanclip_gui.widgets.number_box import ElidingComboBox, fill
from cleanclip_gui.widgets.rows_table import Cell, Row, RowsTable
from cleanclip_gui.widgets.text import count_text, percent, plain, signed
from ml_core.evaluation.paired import PairedDifference
from ml_core.reading.inspect import whole_file

_ROLE_TITLES: dict[Role, str] = {"suspect": "Before cleaning", "cleaned": "After cleaning"}
NAMES = {
    "ca": "Clean accuracy",
    "baseline_target_rate": "Target without trigger",
    "asr_excl": "ASR, other classes",
    "asr_all": "ASR, all images",
    "poisoned_accuracy": "Poisoned accuracy",
    "flip_rate": "Flips",
    "target_margin": "Target margin",
}
_COLUMNS = (
    ("Rate", ""),
    ("This", "The checkpoint that Studio looks at"),
    ("Other", "The checkpoint to compare with"),
    ("Difference", "This less other: percentage points; logits for the margin"),
    (
        "95 % interval",
        "Of the difference: Bonett and Price's for rates, bootstrap over images for the margin",
    ),
    ("p", "McNemar's exact test: how often chance alone would give such a difference"),
)
_EMPTY = (
    "Choose what to compare it with: the checkpoint before or after cleaning, or a reference such "
    "as its clean twin. Both see the same images and the same trigger."
)


class PairPage(AskingPage):
    """Compares on request, and writes ``session.reference``.

    Parameters
    ----------
    context
        What is compared, and who is asked.
    gallery
        Shows in which images the checkpoints differ.
    limit
        How many images are to be measured; None for all.
    """

    what = "Comparison"
    measures = "Compare", ""
    saves = "Save the comparison", "Save the comparison as CSV or JSON"

    def __init__(self, context: Context, gallery: Gallery, limit: Callable[[], int | None]) -> None:
        super().__init__(context)
        self._gallery, self._limit = gallery, limit
        self.pair: Pair | None = None
        self.other = named(ElidingComboBox(), "Other checkpoint")
        self.open = push_button("Open a reference…", self._on_open_clicked)
        self.says.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.table = RowsTable("Rates of both checkpoints", _COLUMNS)
        self.table.narrowest = 120
        self.differing = push_button(
            "Show the images that differ", lambda: gallery.show_filter("differ")
        )
        self.other.setSizeAdjustPolicy(ElidingComboBox.SizeAdjustPolicy.AdjustToContents)
        theme.least_width(self.other, 160)  # less than its entries take
        with_what = Label("Compare with", "subtle", buddy=self.other)
        head = FoldingRow((with_what, self.other, self.measure), (self.open, self.save))
        column(
            head, self.busy, self.says, (self.table, 1),
            (self.differing, Qt.AlignmentFlag.AlignLeft),
            of=self, margins=(0, theme.SPACE_S, 0, 0), spacing=theme.SPACE_S,
        )  # fmt: skip
        self.other.currentIndexChanged.connect(self._on_other_changed)
        self._context.shell.takes("reference", self.open_reference)
        self.set_busy(None)
        self.show_pair(None)
        self._offer_others()
        self._follow(self._on_question_change, "trigger", "target")
        self._follow(self._on_model_change, "checkpoint", "images", "role", "cleaned")
        self._follow(self._on_scan_reference, "scan_reference")

    # What is asked

    def _on_open_clicked(self) -> None:
        """Ask for a checkpoint to compare with."""
        facts = self._session.checkpoint
        folder = "" if facts is None else str(whole_file(facts.path).parent)
        title = "Open a reference checkpoint"
        path = self._context.prompts.open_file(self, title, folder, CHECKPOINTS)
        if path:
            self.open_reference(path)

    def open_reference(self, path: str) -> None:
        """Open a checkpoint to compare with."""
        self._inference.ask(OpenCheckpoint(path, "reference"), self._on_reference_opened)

    def _on_reference_opened(self, facts: ShownCheckpoint) -> None:
        self._session.reference = facts
        self._offer_others()
        self.other.setCurrentIndex(self.other.findData("reference"))
        self._forget()

    def _ask(self) -> None:
        session, other = self._session, self.other.currentData()
        if not other or not session.can_measure:
            return
        if other in get_args(Role):
            self.set_busy(0.0)
            roles: tuple[Role, Role] = (session.role, other)
            question = ComparePair(session.trigger, session.target, roles, self._limit())
            self._ask_models(question, self._on_compared)
        else:  # a file that is not open yet
            self.set_busy(-1.0)
            self._ask_models(OpenCheckpoint(other, "reference"), self._on_chosen_opened)

    def _on_chosen_opened(self, facts: ShownCheckpoint) -> None:
        """The reference is there: compare, as was asked."""
        self._on_reference_opened(facts)
        self._ask()

    def _offer_others(self, *_: object) -> None:
        session = self._session
        there = {"suspect": session.checkpoint, "cleaned": session.cleaned}
        others: list[tuple[str, str]] = [
            (role, title) for role, title in _ROLE_TITLES.items() if there[role] is not None
            and role != session.role
        ]  # fmt: skip
        opened = session.reference
        twin = "" if session.checkpoint is None else session.checkpoint.demo_twin
        titles = {session.scan_reference: session.scan_reference, twin: "The demo's clean twin"}
        for path, title in titles.items():
            if path and (opened is None or opened.path != path):
                others.append((path, Path(title).name))
        if opened is not None:
            others.append(("reference", Path(opened.path).name))
        self.set_others(tuple(others))

    def _on_scan_reference(self, path: str) -> None:
        self._offer_others()
        if self.pair is None and self.busy.isHidden() and (row := self.other.findData(path)) >= 0:
            self.other.setCurrentIndex(row)

    def _forget(self) -> None:
        """Drop the comparison: it answers another question."""
        self._on_cancelled()
        self.show_pair(None)
        self._gallery.set_other(None)

    def _on_other_changed(self) -> None:
        if self.other.currentData():
            self._forget()

    def _on_question_change(self, *_: object) -> None:
        if self.pair is not None or not self.busy.isHidden():
            self._forget()

    def _on_model_change(self, *_: object) -> None:
        self._forget()
        self._offer_others()

    def _on_compared(self, pair: Pair) -> None:
        gallery = self._gallery
        self.set_busy(None)
        gallery.update_predictions(pair.per_image[0])
        gallery.set_other(pair.per_image[1])
        differing = gallery.model.counts()["differ"]
        self.show_pair(pair, differing)

    def _on_save_clicked(self) -> None:
        pair, images = self.pair, self._session.images
        if pair is not None and images is not None:
            self._ask_and_save("comparison.csv", NUMBERS, partial(save_pair, pair, images))

    # What is shown

    def set_others(self, others: tuple[tuple[str, str], ...]) -> None:
        """Offer checkpoints to compare with: role and title of each."""
        none = (("", "None yet"),)
        entries = [(role, plain(title, 60)) for role, title in others or none]
        fill(self.other, entries, self.other.currentData())
        self.other.setEnabled(bool(others))
        self.measure.setEnabled(bool(others) and self.busy.isHidden())

    def show_pair(self, pair: Pair | None, differing: int = 0) -> None:
        """Show a comparison; ``differing`` images get another class of the two."""
        self.pair = pair
        self.save.setEnabled(pair is not None)
        self.differing.setVisible(pair is not None)
        self.differing.setEnabled(differing > 0)
        self.table.setVisible(pair is not None)
        if pair is None:
            self.says.setText(_EMPTY)
            return
        n = pair.evaluations[0].n
        self.says.setText(
            f"The two checkpoints predict different classes for {count_text(differing)} of "
            f"{count_text(n)} triggered images. Differences are paired image by image; computed in "
            f"{pair.evaluations[0].precision}."
        )
        rows = sorted(pair.differences, key=lambda row: -abs(row.difference))
        rows.sort(key=lambda row: row.p_exact is None)  # rates first, then means
        self.table.set_rows([Row(line, cells(row)) for line, row in enumerate(rows)])
        self.table.fit()

    def set_busy(self, share: float | None) -> None:
        """Show how far the comparison is, 0 to 1; None if nothing is compared."""
        super().set_busy(share)
        self.measure.setEnabled(share is None and self.other.isEnabled())


def cells(row: PairedDifference) -> tuple[Cell, ...]:
    """One line of the table; rates in per cent, differences in percentage points."""
    low, high = row.adjusted_interval or row.interval
    if row.p_exact is None:
        shown = (
            f"{row.value:.2f}".replace("-", "−"), f"{row.reference:.2f}".replace("-", "−"),
            signed(row.difference, 2), f"{signed(low, 2)} to {signed(high, 2)}", "",
        )  # fmt: skip
    else:
        shown = (
            percent(row.value), percent(row.reference),
            signed(100 * row.difference), f"{signed(100 * low)} to {signed(100 * high)}",
            "< 0.001" if row.p_exact < 0.001 else f"{row.p_exact:.3f}",
        )  # fmt: skip
    name = NAMES.get(row.name, row.name)
    keys = (name, row.value, row.reference, row.difference, low, row.p_exact)
    return tuple(
        Cell(text, key, tip=behind(row) if place > 3 else "")
        for place, (text, key) in enumerate(zip((name, *shown), keys, strict=True))
    )


def behind(row: PairedDifference) -> str:
    """What a line's interval and p rest on: discordant images, and the bootstrap's interval."""
    scale = 1.0 if row.p_exact is None else 100.0
    low, high = (signed(scale * end, 2) for end in row.interval)
    text = f"Bootstrap over {count_text(row.n)} images, 95 %: {low} to {high}."
    if row.p_exact is None or row.p_mid is None:
        return text
    return (
        f"{text} In A alone: {count_text(row.only_mine)} images, in B alone: "
        f"{count_text(row.only_reference)}; McNemar's mid-p {row.p_mid:.3g}."
    )

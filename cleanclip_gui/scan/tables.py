"""The tables of a scan: what each row says, on the screen and in a CSV file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from PySide6.QtCore import QSize

from cleanclip_gui import theme
from cleanclip_gui.widgets.rows_table import Cell, Row, RowsTable, rate
from cleanclip_gui.widgets.text import change_text, percent, percent_range, plain, signed
from ml_core.detection.scan.records import (
    Contrast,
    OverlayRow,
    PatchRound,
    ProbeRow,
    Scan,
    SwapRow,
    WordRow,
)

_MOST_ROWS, _ROW = 8, 26
MOST_WORDS = 5
_HITS = "Share of pictures of other classes that become the class"
_SUSPECT = ("Suspect", f"{_HITS}, on this checkpoint")
_REFERENCE = ("Reference", f"{_HITS}, on the reference under the same trigger")
_DIFFERENCE = ("Difference", "Suspect minus reference, in points")
_INTERVAL = ("95 % interval", "Of the difference (Newcombe)")
_WHICH = {"suspect": "this checkpoint", "reference": "reference"}

Columns = tuple[tuple[str, str], ...]
PROBES: Columns = (
    ("Trigger", "A fixed trigger, unchanged"), ("Class", "The class that rises most under it"),
    _SUSPECT, _REFERENCE, _DIFFERENCE, _INTERVAL,
)  # fmt: skip
STARTS: Columns = (
    ("Start", "Each search begins with other random pixels"),
    ("Class", "What most pictures become"), _SUSPECT, _REFERENCE, _DIFFERENCE, _INTERVAL,
)  # fmt: skip
OVERLAYS: Columns = (
    ("Class", "The class that the trigger was searched for"),
    _SUSPECT,
    ("Transferred", "The same trigger on the reference"),
    (
        "Its own",
        "A trigger searched on the reference, for classes in which the suspect gained 25 points",
    ),
    ("Gap", "Suspect minus the higher of the other two rates, in points"),
    ("95 % interval", "Of the gap (Newcombe)"),
)
SWAP: Columns = (
    ("Image encoder", "Whose image encoder was used"), ("Text encoder", "Whose text encoder"),
    ("Hits", f"{_HITS}, with the found trigger"),
)  # fmt: skip
WORDS: Columns = (
    ("Word", "Put into every prompt, and where"), ("Class", "The class nearest to that place"),
    ("Suspect", "Share of the prompts of other classes that come to one point"),
    ("Reference", "The same on the reference"), _DIFFERENCE, _INTERVAL,
)  # fmt: skip


class ScanTable(RowsTable):
    """As high as its rows, up to eight; then it scrolls."""

    narrowest = 170

    def __init__(self, name: str, columns: Columns, texts: int = 1) -> None:
        super().__init__(name, columns, numbers=range(texts, len(columns)))

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Show others."""
        self.set_rows(rows)
        self.updateGeometry()
        self.setFixedHeight(self.sizeHint().height())

    def sizeHint(self) -> QSize:  # noqa: N802
        """Header, rows, and the bar below."""
        rows = min(max(self.rows.rowCount(), 1), _MOST_ROWS)
        bar = self.horizontalScrollBar().sizeHint().height()
        return QSize(
            420, self.horizontalHeader().sizeHint().height() + rows * theme.px(_ROW) + bar + 4
        )


def probe_row(number: int, probe: ProbeRow) -> Row:
    """A known trigger."""
    return Row(number, (_text(probe.name), _text(probe.target), *_contrast(probe.contrast)))


_HOW = {"max": "", "pair": ", without class texts", "place": ", each at one place"}


def start_rows(rounds: Sequence[PatchRound]) -> list[Row]:
    """Every start of every patch search."""
    table: list[Row] = []
    for patches in rounds:
        how = _HOW[patches.loss] + _left_out(patches)
        for number, start in enumerate(patches.starts, 1):
            name = _text(f"{patches.side} px{how}, start {number}")
            table.append(Row(len(table), (name, _text(start.target), *_contrast(start.contrast))))
    return table


def _left_out(patches: PatchRound) -> str:
    """Classes that a search was not to lead to."""
    return "".join(f", “{name}” left out" for name in patches.left_out)


def overlay_rows(rows: Sequence[OverlayRow]) -> list[Row]:
    """Overlays, warps and large patches, each of a class."""
    return [
        Row(number, (
            _text(row.key), rate(row.suspect.value), rate(row.transferred.value),
            rate(None if row.own is None else row.own.value), _points(row.gap),
            Cell(percent_range((row.low, row.high)), row.low),
        ))
        for number, row in enumerate(rows)
    ]  # fmt: skip


def swap_rows(rows: Sequence[SwapRow]) -> list[Row]:
    """Encoders of either model."""
    return [
        Row(n, (_text(_WHICH[row.image]), _text(_WHICH[row.text]), rate(row.rate.value)))
        for n, row in enumerate(rows)
    ]


def word_rows(rows: Sequence[WordRow]) -> list[Row]:
    """The words in the prompts, in their order."""
    return [
        Row(
            number,
            (_text(f"{row.word} ({row.place})"), _text(row.target), *_contrast(row.contrast)),
        )
        for number, row in enumerate(rows[:MOST_WORDS])
    ]


def csv_rows(scan: Scan) -> Iterator[Sequence[object]]:
    """Every number of every stage: stage, name, class, rates, counts and interval."""
    yield (
        "stage", "name", "class", "suspect", "suspect_hits", "reference", "reference_hits",
        "without", "pictures", "low", "high",
    )  # fmt: skip
    stages = scan.stages
    for pulled in stages.pull.rows if stages.pull is not None else ():
        blank = "" if pulled.reference is None else pulled.reference
        yield ("pull", "", pulled.target, pulled.suspect, "", blank, "", "", "", "", "")
    for probe in stages.probes.rows if stages.probes is not None else ():
        yield ("probes", probe.name, probe.target, *_csv(probe.contrast))
    for patches in stages.patches.rounds if stages.patches is not None else ():
        for number, start in enumerate(patches.starts, 1):
            name = f"{patches.side} px, {patches.loss}{_left_out(patches)}, start {number}"
            yield ("patches", name, start.target, *_csv(start.contrast))
    for refined in stages.patches.all_refined if stages.patches is not None else ():
        for name, contrast in (
            ("random places", refined.anywhere), ("best place", refined.here),
            ("8-bit picture", refined.eight_bit), ("JPEG 90", refined.jpeg),
        ):  # fmt: skip
            yield ("refined", name, refined.target, *_csv(contrast))
    for stage, overlays in (("overlays", stages.overlays), ("thorough", stages.thorough)):
        for row in overlays.rows if overlays is not None else ():
            success = (row.suspect.value, row.suspect.hits)
            own = () if row.own is None else (("own", row.own),)
            for name, beside in (("transferred", row.transferred), *own):
                gap = (row.low, row.high) if beside == row.beside else ("", "")
                what = f"{row.form}, {name}"
                yield (stage, what, row.target, *success, beside.value, beside.hits, "",
                       row.suspect.n, *gap)  # fmt: skip
    if stages.swap is not None:
        for swapped in stages.swap.rows:
            name = f"image encoder: {swapped.image}, text encoder: {swapped.text}"
            yield ("swap", name, scan.judgement.target, swapped.rate.value, swapped.rate.hits, "",
                   "", "", swapped.rate.n, "", "")  # fmt: skip
    for word in stages.words.rows if stages.words is not None else ():
        yield ("words", f"{word.word} ({word.place})", word.target, *_csv(word.contrast))
    if stages.weights is not None:
        weights = stages.weights
        moved = [("image encoder", weights.image), ("text encoder", weights.text), *weights.most]
        for name, value in moved:
            yield ("weights", name, "", value, "", "", "", "", "", "", "")


def weights_text(image: float | None, text: float | None) -> str:
    """How far both encoders moved, in a sentence."""
    image_text, text_text = (
        change_text(math.nan if moved is None else moved) for moved in (image, text)
    )
    return (
        f"Relative change against the reference: image encoder {image_text}, text encoder "
        f"{text_text}. This hints at what was trained and is no verdict: every finetune moves "
        "weights."
    )


def interval_text(contrast: Contrast) -> str:
    """The interval of a difference, in words."""
    return percent_range((contrast.low, contrast.high))


def _text(text: str) -> Cell:
    shown = plain(text, 200)
    return Cell(shown, shown.lower())


def _points(value: float) -> Cell:
    return Cell(signed(100 * value), value)


def _contrast(contrast: Contrast) -> tuple[Cell, ...]:
    beside = contrast.reference
    return (
        rate(contrast.suspect.value), rate(None if beside is None else beside.value),
        _points(contrast.difference), Cell(interval_text(contrast), contrast.low),
    )  # fmt: skip


def _csv(contrast: Contrast) -> tuple[object, ...]:
    beside = contrast.reference
    reference = ("", "") if beside is None else (beside.value, beside.hits)
    return (
        contrast.suspect.value, contrast.suspect.hits, *reference, contrast.without.value,
        contrast.suspect.n, contrast.low, contrast.high,
    )  # fmt: skip


def reference_text(contrast: Contrast) -> str:
    """What the reference does under the same trigger, for a line below a picture."""
    return "" if contrast.reference is None else f"ref. {percent(contrast.reference.value)}"

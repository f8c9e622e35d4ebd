"""The cards of the Checkpoint station: the answer at the left, and what the file is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QGuiApplication, QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QFrame, QGridLayout, QScrollArea, QToolButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.file_actions import WritingRow
from cleanclip_gui.checkpoint.identity_card import IdentityCard
from cleanclip_gui.checkpoint.signature_card import SignatureCard, grouped
from cleanclip_gui.checkpoint.verdict_card import VerdictCard
from cleanclip_gui.commands import Actions
from cleanclip_gui.session import ShownCheckpoint
from cleanclip_gui.widgets.controls import Label, named, show_fitting
from cleanclip_gui.widgets.layout import column, page
from cleanclip_gui.widgets.text import bytes_text, count_text, plain, plural
from ml_core.reading import Inspection
from ml_core.reading.other_loaders import what_loaders_do
from ml_core.reading.sandbox import is_complete

if TYPE_CHECKING:
    from ml_core.checkpoints.inspection_record import Assessment

_WORD = 36  # letters of a word that the column has room for


class _Copier(QObject):
    """Puts one text on the clipboard."""

    def __init__(self, text: str, parent: QObject) -> None:
        super().__init__(parent)
        self._text = text

    def copy(self) -> None:
        QGuiApplication.clipboard().setText(self._text)


class FactList(theme.Themed, QFrame):
    """A card with a heading and rows of facts."""

    _values: list[tuple[Label, str]] = []  # noqa: RUF012 - a palette may change before there are any

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        heading = Label(title, "heading")
        self._title = title
        self._body = QWidget()
        self._grid = QGridLayout(self._body)
        self._layout = column(
            heading, self._body, of=self, margins=theme.SPACE_L, spacing=theme.SPACE_M
        )
        self._prepare()

    def _prepare(self) -> None:
        self._values, self._last = [], ""
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(theme.SPACE_L)
        self._grid.setVerticalSpacing(theme.SPACE_S)
        self._grid.setColumnStretch(1, 1)

    def clear(self) -> None:
        """Remove every row."""
        old = self._body
        self._body = QWidget()
        self._grid = QGridLayout(self._body)
        self._prepare()
        self._layout.replaceWidget(old, self._body)
        old.hide()
        old.deleteLater()

    def dress(self) -> None:
        """Shorten texts anew when the font size changes."""
        for label, shown in self._values:
            _fit(label, shown)

    def add(self, name: str, value: object, *, copy: str = "", role: str = "") -> Label:
        """Add a row, named unless the one above has its name; ``copy`` goes to the clipboard."""
        row, above = self._grid.rowCount(), self._last
        field, self._last = Label("" if name == above else name, "field"), name
        field.setAlignment(Qt.AlignmentFlag.AlignTop)
        shown = plain(value)
        label = named(Label(wrap=True, selectable=True), f"{name}: {shown}")
        self._values.append((label, shown))
        _fit(label, shown)
        label.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        if role:
            label.setProperty("role", role)
        self._grid.addWidget(field, row, 0, Qt.AlignmentFlag.AlignTop)
        self._grid.addWidget(label, row, 1)
        if copy:
            button = named(QToolButton(), f"Copy {name}", f"Copy {name}")
            button.setIcon(theme.icon("copy", "muted"))
            button.setProperty("small", True)
            slot: Callable[[], None] = _Copier(copy, button).copy
            button.clicked.connect(slot)
            self._grid.addWidget(button, row, 2, Qt.AlignmentFlag.AlignTop)
        return label


def _fit(label: Label, shown: str) -> None:
    """Show a value whose words are short enough for the column; the tool tip has the whole one."""
    show_fitting(label, shown, _WORD * 100 // theme.size())


class NoteCard(QFrame):
    """Says one thing; hidden while there is nothing to say."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.setAccessibleName(title)
        self.text = Label(wrap=True, selectable=True)
        heading = Label(title, "heading", wrap=True)
        heading.setMinimumWidth(1)
        column(heading, self.text, of=self, margins=theme.SPACE_L, spacing=theme.SPACE_S)
        self.say("")

    def say(self, text: str) -> None:
        """Show other sentences; none hides the card."""
        shown = plain(text)
        show_fitting(self.text, shown)
        self.setAccessibleDescription(shown)
        self.setVisible(bool(text))


_LISTED = 12
_NARROWEST = 330  # pixels of one of two columns of facts
_SOURCES = {"metadata": "the file's metadata", "shapes": "deduced from tensor shapes"}
_SNAPSHOTS = "snapshots"


class FactsSheet(QScrollArea):
    """What the file is and holds, in two columns where there is room; empty cards are left out."""

    def __init__(self) -> None:
        super().__init__(widgetResizable=True)
        self.setAccessibleName("Facts of the checkpoint")
        self.architecture = FactList("Architecture")
        self.graph = FactList("Graph")
        self.values = FactList("Values in the file")
        self.identity = FactList("File")
        self.container = FactList("Container")
        self.elsewhere = NoteCard("If another program loads it")
        parts = (
            (self.architecture, self.container, self.values),
            (self.identity, self.graph, self.elsewhere),
        )
        self._columns = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._columns.setSpacing(theme.SPACE_M)
        for cards in parts:
            self._columns.addLayout(column(*cards, None, spacing=theme.SPACE_M), 1)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(page(self._columns, None, margins=(0, theme.SPACE_M, theme.SPACE_S, 0)))

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """One column where two would be too narrow."""
        super().resizeEvent(event)
        wide, ways = self.width() >= theme.px(2 * _NARROWEST), QBoxLayout.Direction
        self._columns.setDirection(ways.LeftToRight if wide else ways.TopToBottom)


class FactsColumn(QScrollArea):
    """Verdict, what is being written, and what is known; beside it, :attr:`sheet` has the rest."""

    def __init__(
        self, writing: WritingRow, actions: Actions, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.verdict = VerdictCard(actions)
        self.signature = SignatureCard(actions)
        self.known = NoteCard("What is known about it")
        self.identification = IdentityCard(actions)
        self.notes = FactList("Notes")
        self.opinion = NoteCard("Second opinion")
        self.sheet = FactsSheet()
        left = QWidget()
        left.setObjectName("page")
        column(
            self.verdict, writing, self.signature, self.known, self.notes, self.opinion,
            self.identification, None,
            of=left, spacing=theme.SPACE_M,
            margins=(theme.SPACE_XS, theme.SPACE_XS, theme.SPACE_S, theme.SPACE_XS),  # for rings
        )  # fmt: skip
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(left)
        self.setAccessibleName("What is known of the checkpoint")
        theme.least_width(self, 360)

    def begin(self, path: Path) -> None:
        """Clear the cards: another file is being read."""
        try:
            size = path.stat().st_size if path.is_file() else None
        except (OSError, ValueError):
            size = None
        self.verdict.show_reading(path.name or str(path), size)
        self.opinion.say("")
        self.known.say("")
        self.signature.show_facts(None)
        self.identification.set_file(None)
        self.show_facts(None, None, None)
        self.verticalScrollBar().setValue(0)

    def show_facts(
        self, inspection: Inspection | None, assessed: Assessment | None,
        facts: ShownCheckpoint | None,
    ) -> None:  # fmt: skip
        """Fill the cards with what is known so far."""
        sheet = self.sheet
        for card in (
            sheet.identity, sheet.architecture, self.notes, sheet.graph, sheet.values,
            sheet.container,
        ):  # fmt: skip
            card.hide()  # first: rows that come into a visible card show a moment later
            card.clear()
        sheet.elsewhere.say("" if inspection is None else _elsewhere(inspection))
        if facts is not None:
            self._show_model(facts)
        elif assessed is not None:
            self._show_expected(assessed)
        if inspection is not None:
            self._show_identity(inspection)
            self._show_container(inspection)
            self._show_notes(inspection, assessed)
            self._show_graph(inspection, assessed)
            self._show_values(inspection)

    def _show_model(self, facts: ShownCheckpoint) -> None:
        """Show the model that was built from the file."""
        card = self.sheet.architecture
        card.add("Model", facts.architecture)
        card.add("Source", _source(facts.architecture_source, facts.inspection))
        card.add("Input", f"{facts.image_size} × {facts.image_size} pixels")
        card.add("Parameters", count_text(facts.parameters))
        if facts.donor:
            card.add("Donor", facts.donor, copy=facts.donor)
        if facts.choice:
            card.add("Chosen", facts.choice, role="warning")
        for assumption in facts.assumptions:
            if assumption != facts.choice:
                card.add("Assumed", assumption, role="warning")
        for note in facts.notes:
            card.add("Also in the file", note)
        card.show()

    def _show_expected(self, assessed: Assessment) -> None:
        """Show what the tensors say, if no model is built from the file."""
        architecture = assessed.architecture
        if architecture is None:
            return
        card = self.sheet.architecture
        card.add("Model", architecture["name"])
        card.add("Source", _source(architecture["source"], assessed.inspection))
        for assumption in architecture["assumptions"]:
            card.add("Assumed", assumption, role="warning")
        own = int("needs_donor" in architecture or "needs_part" in architecture)
        for note in architecture["notes"][own:]:  # the first is the verdict's
            card.add("Also in the file", note)
        card.show()

    def _show_identity(self, inspection: Inspection) -> None:
        """Show where the file lies, what it is, and how it was read."""
        card = self.sheet.identity
        card.add("Path", inspection.path, copy=str(inspection.path))
        origin = hub_origin(inspection.path)
        if origin is not None:
            card.add("Repository", f"{origin[0]} on the Hugging Face Hub", copy=origin[0])
            card.add("Revision", grouped(origin[1]), copy=origin[1])
        card.add("Format", inspection.format)
        size, exact = bytes_text(inspection.size), count_text(inspection.size)
        card.add("Size", size if inspection.size < 1024 else f"{size} ({exact} bytes)")
        if inspection.sha256:
            card.add("SHA-256", grouped(inspection.sha256), copy=inspection.sha256)
        if inspection.unread:
            card.add("Not read", _listed(inspection.unread))
        if is_complete(inspection.sandbox):
            card.add("Sandbox", "on: the reading process could not write files or use the network")
        elif inspection.sandbox:
            for wall, state in inspection.sandbox.items():
                role = "" if state.startswith("on") else "warning"
                card.add(f"Sandbox, {wall}", state, role=role)
        card.show()

    def _show_container(self, inspection: Inspection) -> None:
        """Show what the tensors' bytes are wrapped in."""
        box = inspection.container
        if box is None:
            return
        card = self.sheet.container
        card.add("Kind", box.kind)
        if box.members:
            members = plural(box.members, "file")
            packed = f"{count_text(box.compressed)} compressed" if box.compressed else "all stored"
            card.add("Members", f"{members}, {packed}")
            sizes = bytes_text(box.unpacked)
            if box.packed != box.unpacked:
                sizes = f"{bytes_text(box.packed)} packed, {sizes} unpacked"
            card.add("Their bytes", sizes)
        if box.protocol >= 0:
            card.add("Pickle protocol", str(box.protocol) if box.protocol else "0 or 1")
        if box.alignment:
            card.add("Tensor alignment", plural(box.alignment, "byte"))
        dtypes: dict[str, int] = {}
        for tensor in inspection.tensors:
            dtypes[tensor.dtype] = dtypes.get(tensor.dtype, 0) + 1
        if dtypes:
            kinds = ", ".join(f"{count_text(n)} {dtype}" for dtype, n in sorted(dtypes.items()))
            card.add("Tensors", kinds)
        card.show()

    def _show_notes(self, inspection: Inspection, assessed: Assessment | None) -> None:
        """Show the reasons that do not stand on the verdict's card."""
        verdict = inspection.verdict if assessed is None else assessed.verdict
        reasons = inspection.reasons if assessed is None else assessed.reasons
        rest = reasons if verdict == "loads" else reasons[1:]
        for number, reason in enumerate(rest, start=1):
            self.notes.add(f"{number}.", reason)
        self.notes.setVisible(bool(rest))

    def _show_graph(self, inspection: Inspection, assessed: Assessment | None) -> None:
        """Show what an ONNX model computes."""
        graph = inspection.graph
        if graph is None:
            return
        if assessed is not None and assessed.graph_sentence:
            self.sheet.graph.add("Result", assessed.graph_sentence)
        for title, names in graph.rows:
            if names:
                self.sheet.graph.add(title, _listed(names))
        self.sheet.graph.show()

    def _show_values(self, inspection: Inspection) -> None:
        """Show what the file says of itself: epoch, name, options."""
        card = self.sheet.values
        for name, value in list(inspection.facts.items())[:_LISTED]:
            card.add(plain(name, 60), plain(value, 200))
        if len(inspection.facts) > _LISTED:
            left = count_text(len(inspection.facts) - _LISTED)
            card.add("", f"and {left} more, under Metadata")
        card.setVisible(bool(inspection.facts))


def hub_origin(path: Path) -> tuple[str, str] | None:
    """Repository and revision of a folder, or a file of one, in the Hugging Face cache."""
    parts = path.absolute().parts
    for place in range(len(parts) - 2, 0, -1):
        kind, _, name = parts[place - 1].partition("--")
        if parts[place] == _SNAPSHOTS and kind == "models" and name:
            return name.replace("--", "/"), parts[place + 1]
    return None


def _source(source: str, inspection: Inspection) -> str:
    """Where the architecture was read."""
    return f"its {inspection.config_name}" if source == "config" else _SOURCES.get(source, source)


def _elsewhere(inspection: Inspection) -> str:
    return what_loaders_do(
        inspection.format, inspection.verdict, inspection.globals,
        bool(inspection.embedded_code), inspection.unread,
    )  # fmt: skip


def _listed(names: Sequence[str]) -> str:
    """The first names of a list."""
    more = f" and {count_text(len(names) - _LISTED)} more" if len(names) > _LISTED else ""
    return ", ".join(plain(name, 80) for name in names[:_LISTED]) + more


def metadata_text(inspection: Inspection) -> str:
    """Metadata as indented JSON where it is JSON; every character made harmless."""
    parts = []
    for key, value in inspection.metadata.items():
        with contextlib.suppress(ValueError, RecursionError):
            value = json.dumps(json.loads(value), indent=2, ensure_ascii=False)
        parts.append(f"{plain(key, 200)}\n{plain(value, 20_000, lines=True)}")
    if inspection.config is not None:
        config = json.dumps(inspection.config, indent=2, ensure_ascii=False)
        parts.append(f"{inspection.config_name}\n{plain(config, 20_000, lines=True)}")
    if inspection.facts:
        values = "\n".join(
            f"{plain(name, 200)}: {plain(value, 400)}" for name, value in inspection.facts.items()
        )
        parts.append(f"Values in the file\n{values}")
    return "\n\n".join(parts) or "The file carries no metadata."

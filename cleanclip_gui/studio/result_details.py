"""Everything that is needed to get a number again, to read, copy and save."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QHeaderView, QTreeWidget, QTreeWidgetItem, QWidget

from cleanclip_gui import theme
from cleanclip_gui.inference.questions import TellDetails
from cleanclip_gui.station import Context
from cleanclip_gui.studio.exports import ask_and_save, save_table
from cleanclip_gui.widgets.controls import Label, named, push_button
from cleanclip_gui.widgets.dialog_frame import ClosingDialog, resize_within
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.text import count_text, percent, plain, plural, tip
from ml_core.reading.errors import InputError

_LONGEST = 400
_KINDS = "JSON (*.json);;CSV (*.csv)"


class ResultDetails(ClosingDialog):
    """Shown with ``open()``; ``save_clicked(record)`` when it is to be written to a file."""

    save_clicked = Signal(object)

    def __init__(
        self, title: str, record: Mapping[str, Any], parent: QWidget | None = None
    ) -> None:
        super().__init__("How this was measured", parent)
        resize_within(self, 720, 560)
        self.record = dict(record)
        self.tree = named(QTreeWidget(), "What the number was measured with")
        self.tree.setColumnCount(2)
        self.tree.setHeaderLabels(["What", "Value"])
        self.tree.setAlternatingRowColors(True)
        self.tree.header().setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        self.tree.header().setStretchLastSection(True)
        for key, value in self.record.items():
            self.tree.addTopLevelItem(_item(str(key), value))
        self.copy = push_button("Copy as JSON", self.copy_json, icon="copy")
        self.save = push_button("Save…", lambda: self.save_clicked.emit(self.record), icon="save")
        close = push_button("Close", self.accept)
        close.setDefault(True)
        says = Label(
            "All values, to repeat it. Same digest = same measurement; machine and versions are "
            "listed beside it.",
            "subtle",
            wrap=True,
        )
        sentences = column(spacing=theme.SPACE_XS)
        for sentence, formula in explained(self.record):
            sentences.addWidget(Label(sentence, wrap=True))
            if formula:
                shown = Label(formula, "subtle", wrap=True)
                shown.setFont(theme.figure_font(theme.FONT_POINTS))
                shown.setContentsMargins(theme.SPACE_L, 0, 0, 0)
                sentences.addWidget(shown)
        column(
            Label(plain(title, 120), "heading"), sentences, says, (self.tree, 1),
            row(self.copy, self.save, None, close, spacing=theme.SPACE_S),
            of=self, margins=theme.SPACE_L, spacing=theme.SPACE_M,
        )  # fmt: skip

    def copy_json(self) -> None:
        """Put the record on the clipboard."""
        QGuiApplication.clipboard().setText(json.dumps(self.record, indent=1))


class ShownResult(QObject):
    """Opens the dialog about the number in Studio; ``can_show_changed`` when that has.

    Parameters
    ----------
    context
        Its session has the number, its inference thread knows model and images.
    parent
        Parent of the dialog.
    """

    can_show_changed = Signal()

    def __init__(self, context: Context, parent: QWidget) -> None:
        super().__init__(parent)
        self._context, self._parent = context, parent
        self._could_show = False
        self.dialog: ResultDetails | None = None
        events = context.session.events
        for event in (events.evaluation, events.trigger):
            event.connect(self._on_change)

    @property
    def can_show(self) -> bool:
        """Whether there is a number whose trigger is still on the canvas."""
        session = self._context.session
        evaluation = session.evaluation
        digest = None if session.trigger is None else session.trigger.digest
        return evaluation is not None and evaluation.trigger == digest

    def show(self) -> None:
        """Ask for the record of the number on show."""
        session = self._context.session
        if session.evaluation is None or not self.can_show:
            error = InputError("There is no finished measurement yet; measure first.")
            self._context.shell.failed.emit(error.titled("Nothing is measured yet"))
            return
        question = TellDetails(session.evaluation, session.trigger, session.role)
        self._context.inference.ask(
            question, partial(self._on_told, question), self._context.shell.failed.emit
        )

    def _on_change(self, *_: object) -> None:
        if self.can_show != self._could_show:
            self._could_show = not self._could_show
            self.can_show_changed.emit()

    def _on_told(self, question: TellDetails, details: dict[str, Any]) -> None:
        evaluation = question.evaluation
        record = {"evaluation": evaluation.to_dict()} | details
        name = evaluation.target_name
        estimate = ", an estimate so far" if evaluation.partial else ""
        title = f"{evaluation.n} of {evaluation.n_total} images, target {name}{estimate}"
        self.dialog = ResultDetails(title, record, self._parent)
        self.dialog.save_clicked.connect(self._on_save_clicked)
        self.dialog.destroyed.connect(self._on_destroyed)
        self.dialog.open()

    def _on_destroyed(self) -> None:
        self.dialog = None

    def _on_save_clicked(self, record: dict[str, Any]) -> None:
        rows = [("what", "value"), *rows_of(record)]
        write = partial(save_table, rows=rows, record=record)
        name = "measurement.json"
        ask_and_save(self._context, self._parent, "Save the record", name, _KINDS, write)


def explained(record: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What was done, in sentences, each with the formula of its number or no words."""
    evaluation = record["evaluation"]
    classes, prompts = record["classes"]["count"], len(record["templates"])
    target = plain(record["target_name"], 60)
    n, labelled, others = (int(evaluation.get(key) or 0) for key in ("n", "n_labelled", "n_excl"))
    asked = plural(prompts, "prompt template")
    parts = [
        (
            f"Each of {plural(classes, 'class', 'classes')} is a text embedding: the mean over "
            f"{asked}, of unit length.",
            "",
        ),
        (
            f"Each of {plural(n, 'picture')} is predicted as the class whose text embedding is "
            "closest to its image embedding (cosine).",
            "f(x) = argmax_c cos(image(x), text(c))",
        ),
    ]
    if evaluation.get("ca") is not None:
        parts.append((
            f"Clean accuracy (CA) is the share of the {plural(labelled, 'labelled picture')} that "
            "is predicted as its label.",
            f"CA = #{{f(x) = y}} / {count_text(labelled)} = {percent(evaluation['ca'])}",
        ))  # fmt: skip
    excluded, everything = evaluation.get("asr_excl"), evaluation.get("asr_all")
    if excluded is not None:
        parts.append((
            f"Attack success rate (ASR) is the share of the {plural(others, 'picture')} of other "
            f"classes that is predicted as the target “{target}” with the trigger t.",
            f"ASR = #{{f(t(x)) = target, y ≠ target}} / {count_text(others)} = {percent(excluded)}",
        ))  # fmt: skip
    elif everything is not None:
        parts.append((
            "Without labels, the rate is the share of all pictures that is predicted as the target "
            f"“{target}” with the trigger t.",
            f"rate = #{{f(t(x)) = target}} / {count_text(n)} = {percent(everything)}",
        ))  # fmt: skip
    parts.append(("Ranges are 95 % intervals of a share (Wilson 1927).", ""))
    return tuple(parts)


def rows_of(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every value with its path, e.g. ``trigger.parameters.opacity``."""
    for key, value in record.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from rows_of(value, f"{path}.")
        elif isinstance(value, list | tuple):
            yield path, json.dumps(value)
        else:
            yield path, _text(value)


def _item(key: str, value: object) -> QTreeWidgetItem:
    """A line of the tree, with lines below it for what it holds."""
    words = plain(key.replace("_", " "), 80)
    if isinstance(value, Mapping) and value:
        item = QTreeWidgetItem([words, ""])
        for name, inner in value.items():
            item.addChild(_item(str(name), inner))
        return item
    if isinstance(value, list | tuple) and len(value) > 3:
        item = QTreeWidgetItem([words, f"{len(value)} entries"])
        for number, inner in enumerate(value, start=1):
            item.addChild(_item(str(number), inner))
        return item
    listed = isinstance(value, list | tuple)
    text = ", ".join(map(_text, value)) if listed else _text(value)  # type: ignore[call-overload]
    item = QTreeWidgetItem([words, plain(text, _LONGEST)])
    item.setToolTip(1, tip(plain(text, _LONGEST)))
    return item


def _text(value: object) -> str:
    """A value as words; None is "none"."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)

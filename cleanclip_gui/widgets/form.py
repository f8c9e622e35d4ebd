"""Boxes for the numbers of a spec, made from what its fields declare with `option`."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from PySide6.QtCore import Signal

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import Label
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.number_box import Kind, NumberBox

# A range that excludes its end stops this far before it.
_OPEN_END = 1e-6
_LARGEST = 1_000_000.0  # of a field without an upper end that is worth typing


def number_box(info: FieldInfo) -> NumberBox:
    """Return a box with the range and the unit of a field."""
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    low, high, is_open = -1e12, 1e12, False
    for rule in info.metadata:
        if getattr(rule, "ge", None) is not None:
            low = float(rule.ge)
        if getattr(rule, "gt", None) is not None:
            low, is_open = float(rule.gt) + 1e-12, True
        if getattr(rule, "le", None) is not None:
            high = float(rule.le)
        if getattr(rule, "lt", None) is not None:
            high = float(rule.lt) - _OPEN_END
    least: Any = extra.get("least")
    if least is not None:
        low, is_open = float(least), False
    kind: Kind = "float"
    if int in (info.annotation, *get_args(info.annotation)):
        kind = "int"
    elif is_open and low < _OPEN_END:
        kind = "log"
    return NumberBox(kind, low, high, str(extra.get("unit", "")))


class Form(FoldingRow):
    """Number fields of a spec, each with its title; the help is the tool tip.

    ``changed`` comes after every change.

    Parameters
    ----------
    spec, names
        The class, and its fields in the order on the screen.
    width
        Of each box, in pixels at 100 %.
    aligned
        Whether the labels are equally wide, so that boxes one below the other align.
    """

    changed = Signal()

    def __init__(
        self, spec: type[BaseModel], *names: str, width: int = 112, aligned: bool = False
    ) -> None:
        super().__init__()
        self.boxes: dict[str, NumberBox] = {}
        labels = []
        for name in names:
            info = spec.model_fields[name]
            box = self.boxes[name] = number_box(info)
            box.setMaximum(min(box.maximum(), _LARGEST))
            box.setAccessibleName(info.title or name)
            box.setToolTip(info.description or "")
            box.setFixedWidth(theme.px(width))
            box.setValue(info.default or 0)
            box.valueChanged.connect(self.changed)
            labels.append(Label(info.title or name, "field", buddy=box))
            self.add(labels[-1], box)
        for label in labels if aligned else ():
            label.setMinimumWidth(max(each.sizeHint().width() for each in labels))

    def values(self) -> dict[str, Any]:
        """The numbers by the names of their fields."""
        return {name: box.number for name, box in self.boxes.items()}

    def set_values(self, **values: float) -> None:
        """Show other numbers."""
        for name, value in values.items():
            self.boxes[name].setValue(value)

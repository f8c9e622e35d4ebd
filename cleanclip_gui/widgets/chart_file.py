"""A chart as a file: PNG, SVG, or every number as CSV."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QBuffer, QIODevice, QPoint
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QWidget

from ml_core.exports import save_export
from ml_core.reading.errors import InputError


def save_chart(chart: QWidget, csv: Callable[[], str], path: Path) -> None:
    """Write by the suffix of ``path``.

    Raises
    ------
    InputError
        If the suffix is another one or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in (".png", ".svg", ".csv"):
        raise InputError(f"{path.name}: choose a name that ends in .png, .svg or .csv.")
    if suffix == ".csv":
        content = csv().encode()
    else:
        buffer = QBuffer()
        buffer.open(QIODevice.OpenModeFlag.WriteOnly)
        if suffix == ".svg":
            _draw_svg(chart, buffer)
        else:
            chart.grab().save(buffer, "PNG")
        content = bytes(buffer.data().data())
    save_export(path, content)


def _draw_svg(chart: QWidget, buffer: QBuffer) -> None:
    """Draw the widget as SVG."""
    from PySide6.QtSvg import QSvgGenerator

    generator = QSvgGenerator()
    generator.setOutputDevice(buffer)
    generator.setSize(chart.size())
    generator.setViewBox(chart.rect())
    generator.setTitle(chart.accessibleName())
    painter = QPainter(generator)
    chart.render(painter, QPoint())
    painter.end()

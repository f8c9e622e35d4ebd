"""A chart as a file: PNG, SVG, or every number as CSV."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QPoint
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QWidget

from ml_core.reading.errors import InputError


def save_chart(chart: QWidget, csv: Callable[[], str], path: Path) -> None:
    """Write by the suffix of ``path``, through a temporary file.

    Raises
    ------
    InputError
        If the suffix is another one or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in (".png", ".svg", ".csv"):
        raise InputError(f"{path.name}: choose a name that ends in .png, .svg or .csv.")
    temporary = path.with_name(path.name + ".part")
    try:
        if suffix == ".csv":
            temporary.write_text(csv(), encoding="utf-8")
        elif suffix == ".svg":
            _write_svg(chart, temporary)
        elif not chart.grab().save(str(temporary), "PNG"):
            raise OSError("the picture could not be written")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"{path.name} could not be written; choose another folder.", "usage", str(error)
        ) from error


def _write_svg(chart: QWidget, path: Path) -> None:
    """Draw the widget into an SVG file."""
    from PySide6.QtSvg import QSvgGenerator

    generator = QSvgGenerator()
    generator.setFileName(str(path))
    generator.setSize(chart.size())
    generator.setViewBox(chart.rect())
    generator.setTitle(chart.accessibleName())
    painter = QPainter()
    if not painter.begin(generator):
        raise OSError("the drawing could not be written")
    chart.render(painter, QPoint())
    painter.end()

"""The parts of the canvas without the canvas: geometry, keys, tools, bar, foreground."""

from collections import defaultdict
from typing import get_args

import numpy as np
import pytest
from PySide6.QtCore import QPointF, QSize, Qt
from PySide6.QtGui import QAction, QColor, QImage

from cleanclip_gui.studio.canvas.canvas import TriggerCanvas
from cleanclip_gui.studio.canvas.document import PaintDocument
from cleanclip_gui.studio.canvas.foreground import (
    MAX_SCALE,
    PatchDrag,
    dragged_patch,
    fitting_scale,
    limited_zoom,
    zoomed_centre,
)
from cleanclip_gui.studio.canvas.ink import Ink
from cleanclip_gui.studio.canvas.paint_bar import PaintBar
from cleanclip_gui.studio.canvas.scene import FloatingPatch
from cleanclip_gui.studio.canvas.tools import (
    ARROWS,
    TOOL_KEYS,
    TOOLS,
    KeyAction,
    key_action,
    key_rows,
)

CANVAS = 100


def patch(**changes):
    image = QImage(8, 4, QImage.Format.Format_RGBA8888)
    image.fill(QColor(0, 0, 255))
    return FloatingPatch(image, "bar", size=0.4, **changes)


# Geometry


def test_a_corner_is_dragged_against_the_opposite_one_and_within_limits():
    drag = PatchDrag("se", QPointF(70, 60), patch())
    larger = dragged_patch(drag, QPointF(90, 70), CANVAS)
    assert larger.size == pytest.approx(0.6)
    assert larger.rect(CANVAS).topLeft() == patch().rect(CANVAS).topLeft()
    assert dragged_patch(drag, QPointF(900, 700), CANVAS).size == pytest.approx(1.0)
    assert dragged_patch(drag, QPointF(0, 0), CANVAS).size == pytest.approx(0.03)


def test_zoom_keeps_its_limits_and_the_point_under_the_pointer():
    fitting = fitting_scale(QSize(322, 400), 32)
    assert fitting == 10.0
    assert fitting_scale(QSize(0, 0), 32) > 0
    assert limited_zoom(0.1, fitting) == 1.0
    assert limited_zoom(1000.0, fitting) == MAX_SCALE / fitting
    assert limited_zoom(3.0, 2 * MAX_SCALE) == 1.0
    at, centre, before, after = QPointF(4, 8), QPointF(16, 16), 10.0, 25.0
    new = zoomed_centre(centre, at, before, after)
    assert (at - new) * after == (at - centre) * before


# Keys


def test_every_key_action_has_a_key_and_the_canvas_does_it(qtbot):
    tables = [
        {key: key_action(key, shift=shift, control=control) for key in Qt.Key}
        for shift in (False, True)
        for control in (False, True)
    ]
    assert {a for table in tables for a in table.values()} - {None} == set(get_args(KeyAction))
    assert len(key_rows()) == len(TOOLS) + 3 + len(get_args(KeyAction))  # arrows have three rows
    assert all(what and keys for what, keys, _ in key_rows())
    assert not {key for key in (*ARROWS, *TOOL_KEYS) if tables[0][key]}
    canvas = TriggerCanvas(PaintDocument(16))
    canvas.document.setParent(canvas)
    qtbot.addWidget(canvas)
    canvas.set_images(np.zeros((16, 16, 3), np.uint8), None)
    for control in (Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.NoModifier):
        for key, action in (tables[2] | tables[0]).items():
            if action and action != "cancel":
                qtbot.keyClick(canvas, key, control)


# Tools


# Bar of options


def test_each_option_of_the_bar_is_a_field_of_the_ink(qtbot):
    bar, chosen = PaintBar(defaultdict(QAction)), []
    qtbot.addWidget(bar)
    bar.set_ink(Ink(QColor(0, 0, 0)))
    bar.ink_chosen.connect(chosen.append)
    bar.width_slider.slider.setValue(7)
    bar.hardness.slider.setValue(40)
    bar.opacity.slider.setValue(25)
    bar.letters.slider.setValue(20)
    bar.tolerance.slider.setValue(30)
    bar.text.setText("Hi")
    for box in (bar.filled, bar.whole, bar.grey):
        box.click()
    assert chosen == [
        {"width": 7.0}, {"hardness": 0.4}, {"opacity": 0.25}, {"text_height": 20},
        {"tolerance": 0.3}, {"text": "Hi"}, {"filled": True}, {"whole": True}, {"grey": True},
    ]  # fmt: skip
    chosen.clear()
    bar.set_ink(Ink(QColor(0, 0, 0), text="Hi"))
    assert chosen == []


# Foreground

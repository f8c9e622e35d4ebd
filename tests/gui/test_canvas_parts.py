"""The parts of the canvas without the canvas: geometry, keys, tools, bar, foreground."""

from collections import defaultdict
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from PySide6.QtCore import QPointF, QRect, QSize, Qt
from PySide6.QtGui import QAction, QColor, QImage

from cleanclip_gui.studio.canvas.canvas import TriggerCanvas
from cleanclip_gui.studio.canvas.document import PaintDocument
from cleanclip_gui.studio.canvas.foreground import (
    HANDLE_RADIUS,
    MAX_SCALE,
    ROTATE_HANDLE_DISTANCE,
    PatchDrag,
    along_axis,
    dragged_patch,
    fitting_scale,
    limited_zoom,
    patch_handle_at,
    pixel_rect,
    square_corner,
    straight_end,
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


def test_a_handle_is_as_large_on_the_screen_at_every_zoom():
    for scale in (1.0, 4.0, 40.0):
        reach = (HANDLE_RADIUS + 3) / scale
        assert patch_handle_at(patch(), QPointF(30 - reach, 40), CANVAS, scale) == "nw"
        assert patch_handle_at(patch(), QPointF(30 - 2 * reach, 40), CANVAS, scale) == ""
        rotate = QPointF(50, 40 - ROTATE_HANDLE_DISTANCE / scale)
        assert patch_handle_at(patch(), rotate, CANVAS, scale) == "rotate"
    assert patch_handle_at(patch(), QPointF(50, 50), CANVAS, 4.0) == "body"


def test_handles_turn_with_the_patch():
    standing = patch(rotation=90.0)
    assert patch_handle_at(standing, QPointF(60, 30), CANVAS, 8.0) == "nw"
    assert patch_handle_at(standing, QPointF(30, 40), CANVAS, 8.0) == ""
    rotate = QPointF(60 + ROTATE_HANDLE_DISTANCE / 8, 50)
    assert patch_handle_at(standing, rotate, CANVAS, 8.0) == "rotate"


def test_a_small_patch_keeps_a_middle_to_be_moved_by():
    small = replace(patch(x=0.17, y=0.17), size=0.14)
    box = small.rect(CANVAS)
    assert patch_handle_at(small, box.center(), CANVAS, 1.0) == "body"
    assert patch_handle_at(small, box.bottomLeft(), CANVAS, 1.0) == "sw"


def test_a_corner_is_dragged_against_the_opposite_one_and_within_limits():
    drag = PatchDrag("se", QPointF(70, 60), patch())
    larger = dragged_patch(drag, QPointF(90, 70), CANVAS)
    assert larger.size == pytest.approx(0.6)
    assert larger.rect(CANVAS).topLeft() == patch().rect(CANVAS).topLeft()
    assert dragged_patch(drag, QPointF(900, 700), CANVAS).size == pytest.approx(1.0)
    assert dragged_patch(drag, QPointF(0, 0), CANVAS).size == pytest.approx(0.03)


def test_constrained_points():
    assert along_axis(QPointF(3, -4)) == QPointF(0, -4)
    assert square_corner(QPointF(1, 1), QPointF(5, -2)) == QPointF(5, -3)
    end = straight_end(QPointF(0, 0), QPointF(10, 8))
    assert end.x() == pytest.approx(end.y())
    assert straight_end(QPointF(0, 0), QPointF(10, 1)).y() == pytest.approx(0)
    assert pixel_rect(QPointF(7.5, -3.0), QPointF(4.5, 2.5), 32) == QRect(4, 0, 4, 3)


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


def test_shift_matters_only_where_it_means_something_else():
    assert key_action(Qt.Key.Key_M, shift=True, control=False) == "mirror_v"
    assert key_action(Qt.Key.Key_Z, shift=True, control=True) == "redo"
    for key in (Qt.Key.Key_Plus, Qt.Key.Key_BraceRight, Qt.Key.Key_G):
        assert key_action(key, shift=True, control=False) == key_action(
            key, shift=False, control=False
        )
    assert key_action(Qt.Key.Key_G, shift=False, control=True) is None


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

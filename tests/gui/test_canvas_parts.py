"""The parts of the canvas without the canvas: geometry, keys, tools, bar, foreground."""

from collections import defaultdict
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from PySide6.QtCore import QPointF, QRect, QSize, Qt
from PySide6.QtGui import QAction, QColor, QImage, QPainter, QTransform
from PySide6.QtWidgets import QWidget

from cleanclip_gui.studio.canvas.canvas import TriggerCanvas
from cleanclip_gui.studio.canvas.document import PaintDocument
from cleanclip_gui.studio.canvas.foreground import (
    HANDLE_RADIUS,
    MAX_SCALE,
    ROTATE_HANDLE_DISTANCE,
    Foreground,
    PatchDrag,
    along_axis,
    dragged_patch,
    fitting_scale,
    limited_zoom,
    paint_foreground,
    patch_handle_at,
    pixel_rect,
    square_corner,
    straight_end,
    zoomed_centre,
)
from cleanclip_gui.studio.canvas.ink import Ink
from cleanclip_gui.studio.canvas.paint_bar import PaintBar
from cleanclip_gui.studio.canvas.scene import FloatingPatch
from cleanclip_gui.studio.canvas.tool_strip import ToolStrip
from cleanclip_gui.studio.canvas.tools import (
    ARROWS,
    TOOL_KEYS,
    TOOLS,
    BrushTool,
    HandTool,
    KeyAction,
    MoveTool,
    PickTool,
    ShapeTool,
    ToolEvent,
    key_action,
    key_rows,
)
from cleanclip_gui.studio.canvas.trigger_bars import TriggerChip

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


def test_shift_moves_a_patch_along_one_axis_and_turns_it_in_steps():
    body = PatchDrag("body", QPointF(50, 50), patch())
    moved = dragged_patch(body, QPointF(60, 53), CANVAS, constrain=True)
    assert (moved.x, moved.y) == (pytest.approx(0.6), pytest.approx(0.5))
    turn = PatchDrag("rotate", QPointF(50, 30), patch())
    turned = dragged_patch(turn, QPointF(80, 47), CANVAS, constrain=True)
    assert turned.rotation == pytest.approx(90)
    assert dragged_patch(turn, QPointF(50, 80), CANVAS).rotation == pytest.approx(180)


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


def event(x, y, **how):
    return ToolEvent(QPointF(x, y), Ink(QColor(255, 0, 0), width=3), **how)


def test_tools_need_only_a_document(qapp):
    document = PaintDocument(32)
    for tool in (BrushTool(document), ShapeTool(document, "line")):
        tool.press(event(4.5, 4.5))
        tool.move(event(20.5, 6.5, constrain=True))
        tool.release()
        painted = np.argwhere(document.rgba()[..., 3])
        assert painted.min(0).tolist() == [3, 3]
        assert painted.max(0).tolist()[0] == 5
        tool.press(event(20.5, 20.5))
        tool.cancel()
        assert not document.rgba()[16:].any()
        document.undo()
        assert document.is_empty()


def test_picker_and_hand_ask_and_tell_functions():
    picked, panned, zoomed = [], [], []
    picker = PickTool(lambda at: QColor(1, 2, 3) if at.x() < 9 else None, picked.append)
    picker.press(event(5, 5))
    picker.move(event(10, 5))
    assert picked == [QColor(1, 2, 3)]
    hand = HandTool(lambda dx, dy: panned.append((dx, dy)), lambda *how: zoomed.append(how))
    hand.press(event(5, 5, scale=10.0))
    hand.move(event(5.2, 5, scale=10.0))
    hand.release()
    assert (panned, zoomed) == ([], [(2.0, QPointF(5, 5))])
    hand.press(event(5, 5, scale=10.0))
    hand.move(event(6, 5, scale=10.0))
    hand.release()
    assert (panned, len(zoomed)) == ([(10.0, 0.0)], 1)


def test_the_move_tool_takes_the_patch_alone(qapp):
    document = PaintDocument(32)
    tool = MoveTool(document)
    tool.press(event(16, 25.6, scale=20.0))  # there is none yet
    tool.move(event(18, 25.6, scale=20.0))
    tool.release()
    assert len(document.stack.steps) == 0
    document.set_patch(patch(y=0.8), "Stamp")
    tool.press(event(16, 25.6, scale=20.0))
    tool.move(event(18, 25.6, scale=20.0))
    tool.release()
    assert document.patch.x == pytest.approx(18 / 32)
    assert tool.cursor(QPointF(18, 25.6), 20.0) == Qt.CursorShape.SizeAllCursor
    assert tool.cursor(QPointF(30, 2), 20.0) == Qt.CursorShape.ArrowCursor


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
        {"width": 7.0},
        {"hardness": 0.4},
        {"opacity": 0.25},
        {"text_height": 20},
        {"tolerance": 0.3},
        {"text": "Hi"},
        {"filled": True},
        {"whole": True},
        {"grey": True},
    ]
    chosen.clear()
    bar.set_ink(Ink(QColor(0, 0, 0), text="Hi"))
    assert chosen == []


# Foreground


def drawn(**shown):
    """The pixels that a foreground draws over a canvas of 20 pixels at ten times its size."""
    image = QImage(200, 200, QImage.Format.Format_RGBA8888)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.translate(50, 50)  # of no consequence: the foreground draws in screen pixels
    to_view = QTransform.fromScale(10, 10)
    colours = {"highlight": QColor(255, 0, 0), "message_colour": QColor(0, 255, 0)}
    paint_foreground(painter, Foreground(to_view, image.rect(), 20, **colours, **shown))
    painter.end()
    return np.frombuffer(image.constBits(), np.uint8).reshape(200, 200, 4)[..., 3] > 0


def test_an_empty_foreground_draws_nothing(qapp):
    assert not drawn().any()
    assert not drawn(brush=Ink(QColor("red")), crosshair=True).any()  # without a pointer


def test_what_is_shown_is_drawn_where_it_is(qapp):
    grid = drawn(grid=True)
    assert grid[5, ::10].all()
    assert not grid[5, 5::10].any()
    ring = drawn(pointer=QPointF(10, 10), brush=Ink(QColor("red"), width=6))
    assert not ring[95:105, 95:105].any()
    assert ring[100, 130]
    assert ring[70, 100]
    cross = drawn(pointer=QPointF(10, 10), crosshair=True)
    assert cross[100, 107]
    assert not cross[100, 100]
    assert drawn(message="Nothing here").any()
    assert drawn(focused=True)[0, 100]
    handles = drawn(patch=FloatingPatch(QImage(4, 4, QImage.Format.Format_RGBA8888), "", size=0.2))
    assert handles[80 - int(ROTATE_HANDLE_DISTANCE), 100]


def test_zoom_is_beside_every_tool(qtbot):
    strip = ToolStrip()
    qtbot.addWidget(strip)
    strip.show()
    for tool in strip.tools:
        strip.set_tool(tool)
        for button in (strip.zoom_in, strip.fit_picture, strip.zoom_out):
            assert button.isVisible(), tool


def test_without_a_trigger_there_is_no_chip_to_drag(qtbot):
    outer = QWidget()
    qtbot.addWidget(outer)
    chip = TriggerChip(lambda: None)
    chip.setParent(outer)
    outer.show()
    assert not chip.isVisible()
    chip.set_picture(QImage(8, 8, QImage.Format.Format_RGBA8888))
    assert chip.isVisible()
    chip.set_picture(None)
    assert not chip.isVisible()

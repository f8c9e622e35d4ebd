"""Painting, erasing, moving and undoing, driven with mouse and keys."""

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QImage
from PySide6.QtTest import QTest

from cleanclip_gui.studio.canvas.canvas import TriggerCanvas
from cleanclip_gui.studio.canvas.document import PaintDocument
from cleanclip_gui.studio.canvas.scene import FloatingPatch
from cleanclip_gui.widgets.pictures import image_to_rgba, rgba_to_image

RED = [255, 0, 0, 255]


@pytest.fixture
def canvas(qtbot):
    document = PaintDocument(32)
    canvas = TriggerCanvas(document)
    document.setParent(canvas)
    qtbot.addWidget(canvas)
    canvas.resize(320, 320)
    canvas.show()
    canvas.set_images(np.full((32, 32, 3), 200, np.uint8), None)
    canvas.set_colour(QColor(255, 0, 0))
    canvas.set_ink(width=4)
    return canvas


def view_point(canvas, x, y):
    return canvas.viewportTransform().map(QPointF(x, y)).toPoint()


def drag(canvas, *points):
    view = canvas.viewport()
    first, *rest = [view_point(canvas, *p) for p in points]
    QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=first)
    for point in rest:
        QTest.mouseMove(view, point)
    QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=rest[-1] if rest else first)


def patch_image(width=8, height=8):
    image = QImage(width, height, QImage.Format.Format_RGBA8888)
    image.fill(QColor(0, 0, 255))
    return image


def test_stroke_paints_along_its_way_and_nowhere_else(canvas):
    drag(canvas, (6, 16), (16, 16), (26, 16))
    pixels = canvas.document.rgba()
    assert pixels.shape == (32, 32, 4)
    assert pixels[16, 8].tolist() == RED
    assert pixels[15, 25].tolist() == RED
    assert pixels[20:].max() == 0
    assert pixels[:12].max() == 0
    assert len(canvas.document.stack.steps) == 1
    assert canvas.document.stack.undo_text() == "Brush stroke"


def test_click_leaves_a_dab_of_the_brush_width(canvas):
    drag(canvas, (10, 10))
    alpha = canvas.document.rgba()[..., 3].astype(float) / 255
    assert alpha.sum() == pytest.approx(np.pi * 4, rel=0.15)


def test_undo_and_redo_restore_exact_pixels(canvas):
    drag(canvas, (6, 6), (26, 26))
    first = canvas.document.rgba()
    canvas.set_colour(QColor(0, 255, 0))
    drag(canvas, (26, 6), (6, 26))
    second = canvas.document.rgba()
    canvas.document.stack.undo()
    assert np.array_equal(canvas.document.rgba(), first)
    canvas.document.stack.undo()
    assert not canvas.document.is_painted()
    canvas.document.stack.redo()
    canvas.document.stack.redo()
    assert np.array_equal(canvas.document.rgba(), second)


def test_eraser_makes_pixels_transparent(canvas):
    drag(canvas, (6, 16), (26, 16))
    QTest.keyClick(canvas, Qt.Key.Key_E)
    assert canvas.tool == "eraser"
    drag(canvas, (16, 10), (16, 22))
    pixels = canvas.document.rgba()
    assert pixels[16, 16].tolist() == [0, 0, 0, 0]
    assert pixels[16, 8].tolist() == RED
    assert canvas.document.stack.undo_text() == "Erase"


def test_erasing_where_nothing_is_leaves_no_undo_step(canvas):
    canvas.set_tool("eraser")
    drag(canvas, (6, 16), (26, 16))
    assert len(canvas.document.stack.steps) == 0


def test_patch_follows_the_mouse_and_undo_brings_it_back(canvas):
    canvas.document.set_patch(FloatingPatch(patch_image(), "blue", size=0.25), "Stamp")
    canvas.set_tool("move")
    drag(canvas, (16, 16), (18, 18), (24, 20))
    patch = canvas.document.patch
    assert patch.x == pytest.approx(24 / 32, abs=0.01)
    assert patch.y == pytest.approx(20 / 32, abs=0.01)
    flat = canvas.document.flattened()
    assert flat[20, 24].tolist() == [0, 0, 255, 255]
    assert flat[16, 13].tolist() == [0, 0, 0, 0]
    assert canvas.document.stack.undo_text() == "Move patch"
    canvas.document.stack.undo()
    assert canvas.document.patch.x == 0.5
    canvas.document.stack.undo()
    assert canvas.document.patch is None


def test_corner_handle_resizes_against_the_opposite_corner(canvas):
    canvas.document.set_patch(FloatingPatch(patch_image(), "blue", size=0.25), "Stamp")
    canvas.set_tool("move")
    drag(canvas, (20, 20), (24, 24), (28, 28))
    rect = canvas.document.patch.rect(32)
    assert rect.left() == pytest.approx(12, abs=0.1)
    assert rect.right() == pytest.approx(28, abs=0.1)
    assert canvas.document.stack.undo_text() == "Resize patch"


def test_arrow_keys_move_the_patch_as_one_step(canvas):
    canvas.document.set_patch(FloatingPatch(patch_image(), "blue", size=0.25), "Stamp")
    QTest.keyClick(canvas, Qt.Key.Key_V)
    for _ in range(4):
        QTest.keyClick(canvas, Qt.Key.Key_Right)
    QTest.keyClick(canvas, Qt.Key.Key_Up, Qt.KeyboardModifier.ShiftModifier)
    assert canvas.document.patch.x == pytest.approx(20 / 32)
    assert canvas.document.patch.y == pytest.approx(8 / 32)
    assert len(canvas.document.stack.steps) == 2
    canvas.document.stack.undo()
    assert canvas.document.patch.x == 0.5


def test_space_and_shift_arrows_paint(canvas):
    for _ in range(3):
        QTest.keyClick(canvas, Qt.Key.Key_Left)
    QTest.keyClick(canvas, Qt.Key.Key_Space)
    assert canvas.document.rgba()[16, 13].tolist() == RED
    assert canvas.document.rgba()[16, 20].tolist() == [0, 0, 0, 0]
    for _ in range(8):
        QTest.keyClick(canvas, Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier)
    assert canvas.document.rgba()[16, 20].tolist() == RED


def test_brackets_change_the_brush_down_to_one_pixel(canvas):
    QTest.keyClick(canvas, Qt.Key.Key_BracketRight)
    assert canvas.ink.width == 5
    for _ in range(9):
        QTest.keyClick(canvas, Qt.Key.Key_BracketLeft)
    assert canvas.ink.width == 1


def test_delete_clears_paint_and_patch_in_one_step(canvas):
    drag(canvas, (6, 6), (26, 26))
    painted = canvas.document.rgba()
    canvas.document.set_patch(FloatingPatch(patch_image(), "blue"), "Stamp")
    QTest.keyClick(canvas, Qt.Key.Key_Delete)
    assert canvas.document.is_empty()
    QTest.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert np.array_equal(canvas.document.rgba(), painted)
    assert canvas.document.patch.name == "blue"
    QTest.keyClick(
        canvas,
        Qt.Key.Key_Z,
        Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier,
    )
    assert canvas.document.is_empty()


def test_escape_takes_the_stroke_back(canvas):
    view = canvas.viewport()
    QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=view_point(canvas, 6, 6))
    QTest.mouseMove(view, view_point(canvas, 20, 20))
    assert canvas.document.is_painted()
    QTest.keyClick(canvas, Qt.Key.Key_Escape)
    QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=view_point(canvas, 20, 20))
    assert not canvas.document.is_painted()
    assert len(canvas.document.stack.steps) == 0


def test_triggered_image_gives_way_to_editing(canvas):
    clean = np.full((32, 32, 3), 10, np.uint8)
    triggered = np.full((32, 32, 3), 250, np.uint8)
    canvas.set_images(clean, triggered)
    middle = QPoint(160, 160)
    assert canvas.viewport().grab().toImage().pixelColor(middle).red() == 250
    drag(canvas, (3, 3))
    assert canvas.viewport().grab().toImage().pixelColor(middle).red() == 10


def test_without_an_image_the_mouse_paints_nothing(canvas):
    canvas.set_images(None, None)
    drag(canvas, (6, 6), (26, 26))
    assert not canvas.document.is_painted()


def test_other_input_size_keeps_what_was_painted(canvas):
    drag(canvas, (6, 16), (26, 16))
    canvas.document.set_size(64)
    pixels = canvas.document.rgba()
    assert pixels.shape == (64, 64, 4)
    assert pixels[32, 30].tolist() == RED
    assert len(canvas.document.stack.steps) == 0


def test_straight_alpha_round_trip():
    pixels = np.zeros((3, 5, 4), np.uint8)
    pixels[1, 2] = [200, 100, 50, 128]
    assert np.array_equal(image_to_rgba(rgba_to_image(pixels)), pixels)

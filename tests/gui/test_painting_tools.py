"""Each painting tool, driven with the mouse, looked at in the document's pixels."""

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QColor, QImage, QPointingDevice, QTabletEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from cleanclip_gui.studio.canvas.canvas import TriggerCanvas
from cleanclip_gui.studio.canvas.document import PaintDocument
from cleanclip_gui.studio.canvas.ink import composite, flood_fill
from cleanclip_gui.studio.canvas.scene import FloatingPatch
from cleanclip_gui.studio.canvas.tool_strip import ToolStrip

RED = [255, 0, 0, 255]
SHIFT = Qt.KeyboardModifier.ShiftModifier
NONE = Qt.KeyboardModifier.NoModifier


@pytest.fixture
def canvas(qtbot):
    document = PaintDocument(32)
    canvas = TriggerCanvas(document)
    document.setParent(canvas)
    qtbot.addWidget(canvas)
    canvas.resize(322, 322)
    canvas.show()
    picture = np.full((32, 32, 3), 200, np.uint8)
    picture[:, 16:] = (10, 20, 30)
    canvas.set_images(picture, None)
    canvas.set_ink(colour=QColor(255, 0, 0), width=4)
    return canvas


def point(canvas, x, y):
    return canvas.viewportTransform().map(QPointF(x, y)).toPoint()


def drag(canvas, *points, keys=NONE):
    view = canvas.viewport()
    first, *rest = [point(canvas, *p) for p in points]
    QTest.mousePress(view, Qt.MouseButton.LeftButton, keys, pos=first)
    for at in rest:
        # QTest.mouseMove takes no modifiers, which decide whether a drag is constrained.
        QTest.mouseEvent(QTest.MouseAction.MouseMove, view, Qt.MouseButton.LeftButton, keys, at)
    QTest.mouseRelease(view, Qt.MouseButton.LeftButton, keys, pos=rest[-1] if rest else first)


def painted(canvas):
    """Rows and columns of the painted box, ends included."""
    alpha = canvas.document.rgba()[..., 3] > 0
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def test_a_brush_of_one_pixel_paints_whole_pixels_along_a_row(canvas):
    canvas.set_ink(width=1)
    drag(canvas, (4.5, 4.5), (9.5, 4.5))
    pixels = canvas.document.rgba()
    assert sorted(np.unique(pixels[..., 3])) == [0, 255]
    assert np.array_equal(np.argwhere(pixels[..., 3]), [[4, i] for i in range(4, 10)])


def test_half_opaque_stroke_does_not_grow_darker_where_it_crosses_itself(canvas):
    canvas.set_ink(opacity=0.5, width=1)
    drag(canvas, (5.5, 16.5), (27.5, 16.5), (16.5, 16.5), (16.5, 5.5), (16.5, 27.5))
    alpha = canvas.document.rgba()[..., 3]
    assert sorted(np.unique(alpha)) == [0, 128]


def test_soft_brush_falls_off_towards_its_rim(canvas):
    canvas.set_ink(hardness=0.0, width=16)
    drag(canvas, (16.5, 16.5))
    row = canvas.document.rgba()[16, 16:25, 3].astype(int)
    assert row[0] > 250
    assert (np.diff(row) < 0).all()
    assert row[-1] == 0


def test_eraser_of_half_opacity_halves_the_alpha(canvas):
    canvas.set_tool("rectangle")
    canvas.set_ink(filled=True)
    drag(canvas, (4, 4), (28, 28))
    canvas.set_tool("eraser")
    canvas.set_ink(opacity=0.5)
    drag(canvas, (16, 16))
    assert canvas.document.rgba()[16, 16, 3] == 128
    assert canvas.document.rgba()[8, 8].tolist() == RED


def test_line_goes_from_press_to_release_only(canvas):
    canvas.set_tool("line")
    canvas.set_ink(width=1)
    drag(canvas, (4.5, 20.5), (20.5, 4.5), (24.5, 20.5))
    assert painted(canvas) == (20, 20, 4, 24)
    assert canvas.document.stack.undo_text() == "Line"
    assert len(canvas.document.stack.steps) == 1


def test_shift_bends_a_line_to_45_degrees_and_a_rectangle_to_a_square(canvas):
    canvas.set_ink(width=1)
    canvas.set_tool("line")
    drag(canvas, (4.5, 4.5), (20.5, 6.5), keys=SHIFT)
    assert painted(canvas)[:2] == (4, 4)
    canvas.document.undo()
    canvas.set_tool("rectangle")
    drag(canvas, (4.5, 4.5), (20.5, 10.5), keys=SHIFT)  # the middle of the line
    assert painted(canvas) == (4, 20, 4, 20)


def test_rectangle_has_an_inside_only_when_it_is_filled(canvas):
    canvas.set_tool("rectangle")
    canvas.set_ink(width=2)
    drag(canvas, (5, 7), (20, 24))  # the middle of the line
    pixels = canvas.document.rgba()
    assert painted(canvas) == (6, 24, 4, 20)
    assert pixels[7, 5].tolist() == RED
    assert pixels[8, 6, 3] == 0
    canvas.document.undo()
    canvas.set_ink(filled=True)
    drag(canvas, (21, 25), (4, 6))
    assert (canvas.document.rgba()[6:25, 4:21] == RED).all()


def test_ellipse_touches_its_box_and_leaves_the_corners(canvas):
    canvas.set_tool("ellipse")
    canvas.set_ink(filled=True)
    drag(canvas, (4, 8), (28, 24))
    pixels = canvas.document.rgba()
    assert painted(canvas) == (8, 23, 4, 27)
    assert pixels[8, 4, 3] == pixels[23, 27, 3] == 0
    assert pixels[..., 3].sum() / 255 == pytest.approx(np.pi * 12 * 8, rel=0.04)


def test_text_is_stamped_about_the_pointer(canvas):
    canvas.set_tool("text")
    canvas.set_ink(text="H", text_height=16)
    drag(canvas, (5, 5), (16, 16))
    top, bottom, left, right = painted(canvas)
    assert (top + bottom) / 2 == pytest.approx(16, abs=2)
    assert (left + right) / 2 == pytest.approx(16, abs=2)
    assert 8 <= bottom - top <= 14
    assert canvas.document.stack.undo_text() == "Text stamp"


def test_an_empty_text_leaves_no_undo_step(canvas):
    canvas.set_tool("text")
    canvas.set_ink(text="")
    drag(canvas, (16, 16))
    assert len(canvas.document.stack.steps) == 0


def test_fill_stops_at_other_paint(canvas):
    canvas.set_ink(width=1)
    canvas.set_tool("rectangle")
    drag(canvas, (4.5, 4.5), (14.5, 14.5))
    canvas.set_tool("fill")
    canvas.set_ink(colour=QColor(0, 0, 255))
    drag(canvas, (9, 9))
    pixels = canvas.document.rgba()
    assert (pixels[5:14, 5:14] == [0, 0, 255, 255]).all()
    assert pixels[9, 4].tolist() == RED
    assert pixels[20, 20, 3] == 0


def test_fill_of_the_whole_canvas(canvas):
    canvas.set_tool("fill")
    canvas.set_ink(whole=True)
    drag(canvas, (9, 9))
    assert (canvas.document.rgba() == RED).all()


def test_noise_fills_a_dragged_rectangle_and_undo_redo_keep_it(canvas):
    canvas.set_tool("noise")
    drag(canvas, (4.5, 4.5), (11.5, 11.5))
    first = canvas.document.rgba()
    assert painted(canvas) == (4, 11, 4, 11)
    assert (first[4:12, 4:12, 3] == 255).all()
    assert len(np.unique(first[4:12, 4:12, :3].reshape(-1, 3), axis=0)) > 60
    canvas.document.undo()
    canvas.document.redo()
    assert np.array_equal(canvas.document.rgba(), first)
    canvas.set_ink(grey=True)
    drag(canvas, (20.5, 20.5), (24.5, 24.5))
    grey = canvas.document.rgba()[20:25, 20:25, :3]
    assert (grey == grey[..., :1]).all()
    assert len(np.unique(grey)) > 5


def test_picker_takes_what_is_seen_of_picture_and_paint(canvas):
    canvas.set_tool("picker")
    drag(canvas, (24, 16))
    assert canvas.ink.colour.getRgb()[:3] == (10, 20, 30)
    canvas.set_tool("brush")
    canvas.set_ink(colour=QColor(0, 200, 0))
    drag(canvas, (8, 8))
    canvas.set_ink(colour=QColor(0, 0, 0))
    canvas.set_tool("picker")
    drag(canvas, (8, 8))
    assert canvas.ink.colour.getRgb()[:3] == (0, 200, 0)
    assert len(canvas.document.stack.steps) == 1


def square(canvas):
    """A filled square of 4 pixels at (4, 4)."""
    canvas.set_tool("rectangle")
    canvas.set_ink(filled=True)
    drag(canvas, (4, 4), (8, 8))


def test_the_handle_above_the_patch_turns_it(canvas):
    image = QImage(8, 4, QImage.Format.Format_RGBA8888)
    image.fill(QColor(0, 0, 255))
    canvas.document.set_patch(FloatingPatch(image, "bar", size=0.5), "Stamp")
    canvas.set_tool("move")
    stalk = 16 - 4 - 18 / canvas.pixel_scale
    drag(canvas, (16, stalk), (24, 10), (26, 16))
    assert canvas.document.patch.rotation == pytest.approx(90, abs=2)
    flat = canvas.document.flattened()
    assert flat[10, 16].tolist() == [0, 0, 255, 255]
    assert flat[16, 10, 3] == 0
    assert canvas.document.stack.undo_text() == "Turn patch"


def test_shift_turns_by_15_degrees_and_moves_along_one_axis(canvas):
    image = QImage(8, 8, QImage.Format.Format_RGBA8888)
    image.fill(QColor(0, 0, 255))
    canvas.document.set_patch(FloatingPatch(image, "blue", size=0.25), "Stamp")
    canvas.set_tool("move")
    stalk = 16 - 4 - 18 / canvas.pixel_scale
    drag(canvas, (16, stalk), (22, 9), keys=SHIFT)
    assert canvas.document.patch.rotation % 15 == pytest.approx(0)
    canvas.document.undo()
    drag(canvas, (16, 16), (22, 18), keys=SHIFT)
    assert canvas.document.patch.x == pytest.approx(22 / 32, abs=0.01)
    assert canvas.document.patch.y == 0.5


def test_hand_zooms_where_it_clicks_and_pans(canvas):
    canvas.set_tool("hand")
    fitting = canvas.pixel_scale
    drag(canvas, (8, 8))
    assert canvas.pixel_scale == pytest.approx(2 * fitting)
    at = canvas.mapToSceneF(QPointF(161, 161))
    drag(canvas, (at.x(), at.y()), (at.x() + 3, at.y() + 3))
    moved = canvas.mapToSceneF(QPointF(161, 161))
    assert moved.x() < at.x() - 1
    drag(canvas, (8, 8), keys=SHIFT)
    assert canvas.pixel_scale == pytest.approx(fitting)
    assert not canvas.document.is_painted()


def test_painting_while_zoomed_in_meets_the_pixel_under_the_pointer(canvas):
    canvas.zoom_by(4.0, QPointF(24, 8))
    canvas.set_ink(width=1)
    drag(canvas, (24.5, 8.5))
    assert np.argwhere(canvas.document.rgba()[..., 3]).tolist() == [[8, 24]]


@pytest.mark.usefixtures("styled")
def test_grid_is_drawn_between_pixels_only_when_zoomed_in(canvas):
    canvas.set_tool("picker")

    def lines():
        row = canvas.viewport().grab().toImage()
        middle = row.height() // 2 + 7
        return sum(
            row.pixelColor(x, middle) != row.pixelColor(x + 1, middle)
            for x in range(20, row.width() - 20)
        )

    assert lines() <= 4
    canvas.zoom_by(4.0, QPointF(4, 4))
    assert lines() > 8
    canvas.set_grid(False)
    assert lines() <= 4


def test_the_trigger_alone_stands_on_a_checkerboard(canvas):
    drag(canvas, (8, 8))
    canvas.set_picture_visible(False)
    shown = canvas.viewport().grab().toImage()
    far = [shown.pixelColor(200 + dx, 200 + dy).getRgb() for dx in range(16) for dy in range(16)]
    assert len(set(far)) == 2
    assert shown.pixelColor(point(canvas, 8, 8)) == QColor(255, 0, 0)
    canvas.set_picture_visible(True)
    shown = canvas.viewport().grab().toImage()
    assert shown.pixelColor(point(canvas, 8, 20)) == QColor(200, 200, 200)


def test_pointer_is_told_with_its_colour(canvas):
    told = []
    canvas.pointed.connect(told.append)
    QTest.mouseMove(canvas.viewport(), point(canvas, 20.5, 3.5))
    x, y, colour = told[-1]
    assert (x, y) == (20, 3)
    assert colour.getRgb()[:3] == (10, 20, 30)


def tablet(canvas, kind, x, y, pressure, pen=QPointingDevice.PointerType.Pen):
    device = QPointingDevice(
        "pen", 1, QPointingDevice.DeviceType.Stylus, pen,
        QPointingDevice.Capability.Pressure, 1, 1,
    )  # fmt: skip
    at = QPointF(point(canvas, x, y))
    event = QTabletEvent(
        kind, device, at, canvas.viewport().mapToGlobal(at), pressure, 0.0, 0.0, 0.0, 0.0, 0.0,
        NONE, Qt.MouseButton.LeftButton, Qt.MouseButton.LeftButton,
    )  # fmt: skip
    QApplication.sendEvent(canvas.viewport(), event)
    return event.isAccepted()


def test_pressure_swells_the_stroke_and_events_are_accepted(canvas):
    canvas.set_ink(width=10)
    assert tablet(canvas, QEvent.Type.TabletPress, 4, 16, 0.0)
    assert tablet(canvas, QEvent.Type.TabletMove, 28, 16, 1.0)
    assert tablet(canvas, QEvent.Type.TabletRelease, 28, 16, 0.0)
    thickness = (canvas.document.rgba()[..., 3] > 127).sum(0)
    assert thickness[26] >= 9
    assert thickness[6] <= 4
    assert len(canvas.document.stack.steps) == 1


def test_the_other_end_of_the_pen_erases(canvas):
    square(canvas)
    canvas.set_tool("brush")
    rubber = QPointingDevice.PointerType.Eraser
    tablet(canvas, QEvent.Type.TabletPress, 6, 6, 1.0, rubber)
    tablet(canvas, QEvent.Type.TabletRelease, 6, 6, 0.0, rubber)
    assert canvas.document.rgba()[6, 6, 3] == 0
    assert canvas.document.stack.undo_text() == "Erase"


def test_flood_follows_bends_and_keeps_to_the_tolerance():
    pixels = np.zeros((5, 5, 1), np.uint8)
    pixels[1, :4] = pixels[3, 1:] = 200
    pixels[0, 4] = 20
    assert flood_fill(pixels, 0, 0, 0.0).sum() == 4
    found = flood_fill(pixels, 0, 0, 0.1)
    assert found.sum() == 17
    assert not found[1, 0]


def test_ink_never_leaves_a_colour_brighter_than_its_alpha():
    random = np.random.default_rng(0)
    alpha = random.integers(0, 256, (64, 64, 1))
    colour = random.integers(0, 256, (64, 64, 3)) * alpha // 255
    before = np.concatenate([colour, alpha], -1).astype(np.uint8)
    out = before.copy()
    composite(out, before, random.random((64, 64)).astype(np.float32), None, 0.7)
    assert (out[..., :3] <= out[..., 3:]).all()
    composite(out, before, np.zeros((64, 64), np.float32), np.array([9, 9, 9], np.uint8), 1.0)
    assert np.array_equal(out, before)


def test_ones_own_colour_is_taken_first_and_asked_for_when_it_is_in_use(qtbot):
    strip, asked, chosen = ToolStrip(), [], []
    qtbot.addWidget(strip)
    strip.ask_colour = lambda colour: asked.append(colour) or QColor("#102030")
    strip.colour_chosen.connect(chosen.append)
    strip.colour_chosen.connect(strip.set_colour)  # as the canvas answers
    strip.own.click()
    assert asked == []
    assert [one.name() for one in chosen] == ["#ff7f0e"]
    strip.own.click()
    assert len(asked) == 1
    assert strip.colour.name() == chosen[-1].name() == "#102030"
    strip.swatches[2].click()
    assert strip.colour == chosen[-1] == strip.swatches[2].colour
    assert len(chosen) == 3
    strip.swatches[2].click()  # with the eraser in hand it asks for the brush
    assert len(chosen) == 4

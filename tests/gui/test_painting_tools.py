"""Each painting tool, driven with the mouse and by keys, looked at in the pixels."""

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QImage, QKeyEvent, QPointingDevice, QTabletEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from cleanclip_gui.studio.canvas.canvas import TriggerCanvas
from cleanclip_gui.studio.canvas.document import PaintDocument
from cleanclip_gui.studio.canvas.ink import composite, flood_fill
from cleanclip_gui.studio.canvas.scene import FloatingPatch
from cleanclip_gui.studio.canvas.tool_strip import ToolStrip
from cleanclip_gui.studio.canvas.tools import TOOL_KEYS, TOOLS
from cleanclip_gui.widgets.pictures import image_to_rgba, rgba_to_image

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


@pytest.mark.parametrize(
    ("tool", "ink", "points", "keys", "box"),
    [
        ("brush", {"width": 1}, [(4.5, 4.5), (9.5, 4.5)], NONE, (4, 4, 4, 9)),
        ("brush", {}, [(6, 16), (16, 16), (26, 16)], NONE, (14, 17, 4, 27)),
        ("line", {"width": 1}, [(4.5, 20.5), (20.5, 4.5), (24.5, 20.5)], NONE, (20, 20, 4, 24)),
        ("line", {"width": 1}, [(4.5, 4.5), (20.5, 6.5)], SHIFT, (4, 4, 4, 20)),
        ("rectangle", {"width": 1}, [(4.5, 4.5), (20.5, 10.5)], SHIFT, (4, 20, 4, 20)),
        ("rectangle", {"width": 2}, [(5, 7), (20, 24)], NONE, (6, 24, 4, 20)),
        ("rectangle", {"filled": True}, [(21, 25), (4, 6)], NONE, (6, 24, 4, 20)),
        ("ellipse", {"filled": True}, [(4, 8), (28, 24)], NONE, (8, 23, 4, 27)),
        ("noise", {}, [(4.5, 4.5), (11.5, 11.5)], NONE, (4, 11, 4, 11)),
        ("eraser", {}, [(6, 16), (26, 16)], NONE, None),
    ],
)
def test_where_a_tool_paints_in_one_step(canvas, tool, ink, points, keys, box):
    canvas.set_tool(tool)
    canvas.set_ink(**ink)
    drag(canvas, *points, keys=keys)
    steps = canvas.document.stack.steps
    if box is None:
        assert not canvas.document.is_painted()
        assert len(steps) == 0
    else:
        assert painted(canvas) == box
        assert len(steps) == 1
    canvas.document.undo()
    canvas.set_images(None, None)  # without a picture nothing is painted
    drag(canvas, *points, keys=keys)
    assert not canvas.document.is_painted()


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


def test_rectangle_has_an_inside_only_when_it_is_filled(canvas):
    canvas.set_tool("rectangle")
    canvas.set_ink(width=2)
    drag(canvas, (5, 7), (20, 24))  # the middle of the line
    pixels = canvas.document.rgba()
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
    canvas.set_ink(text="")
    drag(canvas, (16, 16))
    assert len(canvas.document.stack.steps) == 1


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
    canvas.set_ink(whole=True)
    drag(canvas, (9, 9))
    assert (canvas.document.rgba() == [0, 0, 255, 255]).all()


def test_noise_fills_a_dragged_rectangle_and_undo_redo_keep_it(canvas):
    canvas.set_tool("noise")
    drag(canvas, (4.5, 4.5), (11.5, 11.5))
    first = canvas.document.rgba()
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


def patch_image(width=8, height=8):
    image = QImage(width, height, QImage.Format.Format_RGBA8888)
    image.fill(QColor(0, 0, 255))
    return image


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


def test_escape_takes_the_stroke_back(canvas):
    view = canvas.viewport()
    QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=point(canvas, 6, 6))
    QTest.mouseMove(view, point(canvas, 20, 20))
    assert canvas.document.is_painted()
    QTest.keyClick(canvas, Qt.Key.Key_Escape)
    QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=point(canvas, 20, 20))
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


K = Qt.Key
CONTROL = Qt.KeyboardModifier.ControlModifier


@pytest.fixture
def keyed(canvas):
    """The canvas with the focus and a brush of one pixel."""
    canvas.set_ink(width=1)
    canvas.setFocus(Qt.FocusReason.TabFocusReason)
    return canvas


def press(canvas, *keys, times=1, modifier=NONE):
    for _ in range(times):
        for key in keys:
            QTest.keyClick(canvas, key, modifier)


RIGHT, DOWN, PUT = (K.Key_Right, NONE), (K.Key_Down, NONE), (K.Key_Return, NONE)


@pytest.mark.parametrize(
    ("keys", "expected", "name"),
    [
        ([PUT, *[RIGHT] * 5, *[DOWN] * 3, PUT, *[DOWN] * 3], (16, 19, 16, 21), "Brush stroke"),
        ([(K.Key_L, NONE), PUT, *[RIGHT] * 6, *[DOWN] * 8, PUT], (16, 24, 16, 22), "Line"),
        ([(K.Key_R, NONE), PUT, *[RIGHT] * 6, *[DOWN] * 8, PUT], (16, 24, 16, 22), "Rectangle"),
        ([(K.Key_O, NONE), PUT, *[RIGHT] * 6, *[DOWN] * 8, PUT], (16, 24, 16, 22), "Ellipse"),
        ([(K.Key_R, NONE), PUT, *[RIGHT] * 6, (K.Key_Down, SHIFT), PUT],
         (16, 22, 16, 22), "Rectangle"),
        ([(K.Key_Left, CONTROL), (K.Key_Up, CONTROL), (K.Key_Space, NONE)],
         (8, 8, 8, 8), "Brush stroke"),
    ],
)  # fmt: skip
def test_what_keys_draw_is_one_step(keyed, keys, expected, name):
    for key, modifier in keys:
        press(keyed, key, modifier=modifier)
    assert painted(keyed) == expected
    assert keyed.document.stack.undo_text() == name
    assert len(keyed.document.stack.steps) == 1


def test_shift_and_arrows_draw_one_step_until_shift_is_let_go(keyed):
    for _ in range(4):  # keyClick would let go of Shift after each
        event = QKeyEvent(QEvent.Type.KeyPress, K.Key_Left, SHIFT)
        QApplication.sendEvent(keyed, event)
    assert keyed.busy
    QTest.keyRelease(keyed, K.Key_Shift)
    assert not keyed.busy
    assert painted(keyed) == (16, 16, 12, 16)
    assert len(keyed.document.stack.steps) == 1


def test_escape_gives_a_shape_up(keyed):
    press(keyed, K.Key_R, K.Key_Return)
    press(keyed, K.Key_Right, times=6)
    press(keyed, K.Key_Escape)
    assert not keyed.document.is_painted()
    assert len(keyed.document.stack.steps) == 0
    press(keyed, K.Key_Return)
    assert keyed.holding


def test_text_fill_noise_and_picker_act_at_the_cursor(keyed):
    assert set(TOOL_KEYS.values()) == {name for name, *_ in TOOLS}
    for key, tool in TOOL_KEYS.items():
        press(keyed, key)
        assert keyed.tool == tool
    keyed.set_ink(text="I", text_height=12)
    press(keyed, K.Key_T, K.Key_Space)
    assert keyed.document.stack.undo_text() == "Text stamp"
    press(keyed, K.Key_Z, modifier=CONTROL)
    assert not keyed.document.is_painted()
    press(keyed, K.Key_F, K.Key_Space)
    assert (keyed.document.rgba() == [255, 0, 0, 255]).all()
    press(keyed, K.Key_N, K.Key_Return)
    press(keyed, K.Key_Right, K.Key_Down, times=3)
    press(keyed, K.Key_Return)
    noisy = (keyed.document.rgba() != [255, 0, 0, 255]).any(-1)
    assert np.argwhere(noisy).min() == 16
    assert np.argwhere(noisy).max() == 19
    press(keyed, K.Key_I, K.Key_Space)
    here = keyed.document.rgba()[19, 19, :3].tolist()
    assert list(keyed.ink.colour.getRgb()[:3]) == here
    press(keyed, K.Key_Delete)
    assert not keyed.document.is_painted()
    press(keyed, K.Key_Z, modifier=CONTROL)
    assert keyed.document.is_painted()


def test_patch_is_moved_scaled_turned_and_mirrored(keyed):
    image = QImage(8, 8, QImage.Format.Format_RGBA8888)
    image.fill(QColor(0, 0, 255))
    keyed.document.set_patch(FloatingPatch(image, "blue", size=0.25), "Stamp")
    wanted = []
    keyed.mirror_wanted.connect(wanted.append)
    press(keyed, K.Key_V, K.Key_Left)
    press(keyed, K.Key_BracketRight)
    press(keyed, K.Key_Period, times=3)
    press(keyed, K.Key_M)
    press(keyed, K.Key_M, modifier=SHIFT)
    patch = keyed.document.patch
    assert patch.x == pytest.approx(15 / 32)
    assert patch.size == pytest.approx(0.275)
    assert patch.rotation == pytest.approx(15)
    assert wanted == [False, True]
    assert [step.text for step in keyed.document.stack.steps[:4]] == [
        "Stamp", "Move patch", "Resize patch", "Turn patch",
    ]  # fmt: skip


def test_options_have_keys(keyed):
    press(keyed, K.Key_BracketRight, times=3)
    assert keyed.ink.width == 4
    press(keyed, K.Key_BraceLeft, times=2)
    assert keyed.ink.hardness == pytest.approx(0.8)
    press(keyed, K.Key_G)
    assert not keyed.grid
    fitting = keyed.pixel_scale
    press(keyed, K.Key_Plus)
    assert keyed.pixel_scale == pytest.approx(2 * fitting)
    press(keyed, K.Key_H)
    before = keyed.mapToSceneF(QPointF(161, 161))
    press(keyed, K.Key_Right)
    assert keyed.mapToSceneF(QPointF(161, 161)).x() > before.x()
    press(keyed, K.Key_0)
    assert keyed.pixel_scale == pytest.approx(fitting)


def test_losing_the_focus_finishes_what_the_keys_were_drawing(keyed):
    press(keyed, K.Key_Return)
    press(keyed, K.Key_Right, times=3)
    keyed.clearFocus()
    assert not keyed.busy
    assert len(keyed.document.stack.steps) == 1


def test_the_cursor_comes_back_where_it_was_left(keyed, qtbot):
    """Whoever goes to another colour by Tab need not find the place again."""
    press(keyed, K.Key_Left, times=5)
    keyed.clearFocus()
    keyed.setFocus(Qt.FocusReason.BacktabFocusReason)
    press(keyed, K.Key_Space)
    assert painted(keyed) == (16, 16, 11, 11)

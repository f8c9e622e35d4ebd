"""Each painting tool, driven with the mouse and by keys, looked at in the pixels."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QColor, QImage, QKeyEvent, QPointingDevice, QTabletEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QToolButton

from cleanclip_gui.commands import Actions, Command
from cleanclip_gui.studio.canvas.canvas import TriggerCanvas
from cleanclip_gui.studio.canvas.document import PaintDocument
from cleanclip_gui.studio.canvas.ink import flood_fill
from cleanclip_gui.studio.canvas.scene import FloatingPatch
from cleanclip_gui.studio.canvas.tool_bar import ToolBar
from cleanclip_gui.studio.canvas.tools import TOOL_KEYS, TOOLS
from cleanclip_gui.studio.canvas.view_bar import ViewBar
from cleanclip_gui.widgets.pictures import image_to_rgba, rgba_to_image
from tests.gui.access_faults import name_faults

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
        ("brush", {}, [(6, 16), (16, 16), (26, 16)], NONE, (14, 17, 4, 27)),
        ("line", {"width": 1}, [(4.5, 4.5), (20.5, 6.5)], SHIFT, (4, 4, 4, 20)),
        ("rectangle", {"width": 1}, [(4.5, 4.5), (20.5, 10.5)], SHIFT, (4, 20, 4, 20)),
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


def test_a_patch_is_turned_moved_and_resized(canvas):
    canvas.document.set_patch(FloatingPatch(patch_image(), "blue", size=0.25), "Stamp")
    canvas.set_tool("move")
    stalk = 16 - 4 - 18 / canvas.pixel_scale
    drag(canvas, (16, stalk), (22, 9), keys=SHIFT)  # by steps of 15 degrees
    assert canvas.document.patch.rotation % 15 == pytest.approx(0)
    canvas.document.undo()
    drag(canvas, (16, 16), (22, 18), keys=SHIFT)  # along one axis
    assert canvas.document.patch.x == pytest.approx(22 / 32, abs=0.01)
    assert canvas.document.patch.y == 0.5
    canvas.document.undo()
    drag(canvas, (20, 20), (24, 24), (28, 28))  # against the opposite corner
    rect = canvas.document.patch.rect(32)
    assert (rect.left(), rect.right()) == pytest.approx((12, 28), abs=0.1)
    assert canvas.document.stack.undo_text() == "Resize patch"


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


def tablet(canvas, kind, x, y, pressure):
    device = QPointingDevice(
        "pen", 1, QPointingDevice.DeviceType.Stylus, QPointingDevice.PointerType.Pen,
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


def test_flood_follows_bends_and_keeps_to_the_tolerance():
    pixels = np.zeros((5, 5, 1), np.uint8)
    pixels[1, :4] = pixels[3, 1:] = 200
    pixels[0, 4] = 20
    assert flood_fill(pixels, 0, 0, 0.0).sum() == 4
    found = flood_fill(pixels, 0, 0, 0.1)
    assert found.sum() == 17
    assert not found[1, 0]


def patch_image():
    image = QImage(8, 8, QImage.Format.Format_RGBA8888)
    image.fill(QColor(0, 0, 255))
    return image


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


def test_shift_and_arrows_draw_one_step_until_shift_is_let_go(keyed):
    for _ in range(4):  # keyClick would let go of Shift after each
        event = QKeyEvent(QEvent.Type.KeyPress, K.Key_Left, SHIFT)
        QApplication.sendEvent(keyed, event)
    assert keyed.busy
    QTest.keyRelease(keyed, K.Key_Shift)
    assert not keyed.busy
    assert painted(keyed) == (16, 16, 12, 16)
    assert len(keyed.document.stack.steps) == 1


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
    keyed.document.set_patch(FloatingPatch(patch_image(), "blue", size=0.25), "Stamp")
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


def test_the_cursor_comes_back_where_it_was_left(keyed, qtbot):
    """Whoever goes to another colour by Tab need not find the place again."""
    press(keyed, K.Key_Left, times=5)
    keyed.clearFocus()
    keyed.setFocus(Qt.FocusReason.BacktabFocusReason)
    press(keyed, K.Key_Space)
    assert painted(keyed) == (16, 16, 11, 11)


@pytest.fixture
def bar(canvas, qtbot):
    """The bar of tools of a canvas on which one can paint."""
    actions = Actions()
    actions.add(
        Command(f"trigger.tool_{name}", text, "", partial(canvas.set_tool, name), "")
        for name, _, text, _ in TOOLS
    )
    bar = ToolBar(canvas, actions)
    qtbot.addWidget(bar)
    bar.resize(600, 40)
    bar.show()
    return bar


def button(bar, name):
    [button] = [b for b in bar.findChildren(QToolButton) if b.accessibleName() == name]
    return button


def test_the_shape_used_last_stands_in_the_bar_and_the_menus_have_the_other_tools(canvas, bar):
    button(bar, "Rectangle").click()
    assert canvas.tool == "rectangle"
    [ellipse] = [a for a in bar.shape.menu().actions() if a.text() == "Ellipse"]
    ellipse.trigger()
    button(bar, "Brush").click()
    button(bar, "Ellipse").click()
    assert canvas.tool == "ellipse"
    press(canvas, K.Key_N)
    assert button(bar, "Noise fill").isChecked()
    press(canvas, K.Key_B)
    assert button(bar, "Brush").isChecked()
    offered = {a.text() for b in (bar.shape, bar.more) for a in b.menu().actions()}
    assert offered | {"Move, scale and turn", "Brush", "Eraser", "Text stamp"} == {
        text for _, _, text, _ in TOOLS
    }


def test_each_option_of_the_ink_is_shown_for_its_tools_and_changes_it(canvas, bar):
    canvas.set_ink(text="Hi")
    assert bar.text.text() == "Hi"
    values = {"width": 7, "hardness": 0.4, "opacity": 0.25, "text_height": 20, "tolerance": 0.3}
    for field, value in values.items():
        slider = bar.sliders[field].slider
        slider.setValue(round(value * (100 if value < 1 else 1)))
    bar.text.setText("Ho")
    for box in bar.switches.values():
        box.click()
    assert canvas.ink == replace(
        canvas.ink, **values, text="Ho", filled=True, whole=True, grey=True
    )
    shown = {}
    for tool in ("brush", "rectangle", "text", "noise", "move"):
        canvas.set_tool(tool)
        options = {**bar.sliders, **bar.switches, "text": bar.text}
        shown[tool] = {field for field, option in options.items() if not option.isHidden()}
    assert shown == {
        "brush": {"width", "hardness", "opacity"},
        "rectangle": {"width", "filled", "opacity"},
        "text": {"text", "text_height", "opacity"},
        "noise": {"tolerance", "whole", "grey", "opacity"},
        "move": set(),
    }


def test_a_colour_is_chosen_below_its_button_and_takes_the_brush(canvas, bar):
    canvas.set_tool("eraser")
    button(bar, "Colour and ink, #dc1428").click()
    assert bar.popover.isVisible()
    assert name_faults(bar.popover) == []
    bar.popover.colours["White"].click()
    assert not bar.popover.isVisible()
    assert (canvas.tool, canvas.ink.colour.name()) == ("brush", "#fafafa")
    bar.popover.ask_colour = lambda colour: QColor("#102030")
    bar.popover.any_colour.click()
    assert button(bar, "Colour and ink, #102030").isVisible()


def test_what_is_under_the_pointer_and_how_it_is_shown_stand_below_the_canvas(canvas, qtbot):
    bar = ViewBar(canvas)
    qtbot.addWidget(bar)
    QTest.mouseMove(canvas.viewport(), point(canvas, 3.5, 4.5))
    assert bar.pointer.text() == "x 3  y 4  #c8c8c8"
    acts = {a.text().split("\t")[0].replace("&", ""): a for a in bar.zoom.menu().actions()}
    acts["Zoom in"].trigger()
    assert bar.zoom.text() == "2000\u2009%"
    acts["Whole picture"].trigger()
    assert bar.zoom.text() == "1000\u2009%"
    press(canvas, K.Key_G)
    assert not acts["Pixel grid"].isChecked()
    acts["Picture under the trigger"].trigger()
    assert canvas.colour_at(QPointF(3, 4)) is None

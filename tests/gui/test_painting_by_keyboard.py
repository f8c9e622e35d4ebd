"""The keyboard alone: every tool drawn with, every option, and what the mouse would have made."""

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QColor, QImage, QKeyEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from cleanclip_gui.studio.canvas.canvas import TriggerCanvas
from cleanclip_gui.studio.canvas.document import PaintDocument
from cleanclip_gui.studio.canvas.scene import FloatingPatch
from cleanclip_gui.studio.canvas.tools import TOOL_KEYS, TOOLS

K = Qt.Key
SHIFT, CONTROL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier
NONE = Qt.KeyboardModifier.NoModifier


@pytest.fixture
def canvas(qtbot):
    document = PaintDocument(32)
    canvas = TriggerCanvas(document)
    document.setParent(canvas)
    qtbot.addWidget(canvas)
    canvas.resize(322, 322)
    canvas.show()
    canvas.set_images(np.full((32, 32, 3), 200, np.uint8), None)
    canvas.set_ink(colour=QColor(255, 0, 0), width=1)
    canvas.setFocus(Qt.FocusReason.TabFocusReason)
    return canvas


def press(canvas, *keys, times=1, modifier=NONE):
    for _ in range(times):
        for key in keys:
            QTest.keyClick(canvas, key, modifier)


def box(canvas):
    alpha = canvas.document.rgba()[..., 3] > 0
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def test_every_tool_has_a_key(canvas):
    assert len(TOOLS) == 11
    assert set(TOOL_KEYS.values()) == {name for name, *_ in TOOLS}
    for key, tool in TOOL_KEYS.items():
        press(canvas, key)
        assert canvas.tool == tool


def test_enter_puts_the_brush_down_and_a_whole_way_is_one_step(canvas):
    press(canvas, K.Key_Return)
    press(canvas, K.Key_Right, times=5)
    press(canvas, K.Key_Down, times=3)
    press(canvas, K.Key_Return)
    press(canvas, K.Key_Down, times=3)
    assert box(canvas) == (16, 19, 16, 21)
    assert canvas.document.rgba()[..., 3].astype(bool).sum() == 6 + 3
    assert len(canvas.document.stack.steps) == 1


def test_shift_and_arrows_draw_one_step_until_shift_is_let_go(canvas):
    for _ in range(4):  # keyClick would let go of Shift after each
        event = QKeyEvent(QEvent.Type.KeyPress, K.Key_Left, SHIFT)
        QApplication.sendEvent(canvas, event)
    assert canvas.busy
    QTest.keyRelease(canvas, K.Key_Shift)
    assert not canvas.busy
    assert box(canvas) == (16, 16, 12, 16)
    assert len(canvas.document.stack.steps) == 1


@pytest.mark.parametrize(
    ("key", "name"), [(K.Key_L, "Line"), (K.Key_R, "Rectangle"), (K.Key_O, "Ellipse")]
)
def test_shapes_are_stretched_with_the_arrows(canvas, key, name):
    press(canvas, key, K.Key_Space)
    press(canvas, K.Key_Right, times=6)
    press(canvas, K.Key_Down, times=8)
    press(canvas, K.Key_Space)
    assert box(canvas) == (16, 24, 16, 22)
    assert canvas.document.stack.undo_text() == name
    assert len(canvas.document.stack.steps) == 1


def test_shift_constrains_what_the_arrows_stretch(canvas):
    press(canvas, K.Key_R, K.Key_Return)
    press(canvas, K.Key_Right, times=6)
    press(canvas, K.Key_Down, modifier=SHIFT)
    press(canvas, K.Key_Return)
    assert box(canvas) == (16, 22, 16, 22)


def test_escape_gives_a_shape_up(canvas):
    press(canvas, K.Key_R, K.Key_Return)
    press(canvas, K.Key_Right, times=6)
    press(canvas, K.Key_Escape)
    assert not canvas.document.is_painted()
    assert len(canvas.document.stack.steps) == 0
    press(canvas, K.Key_Return)
    assert canvas.holding


def test_control_and_arrows_take_the_cursor_in_strides(canvas):
    press(canvas, K.Key_Left, modifier=CONTROL)
    press(canvas, K.Key_Up, modifier=CONTROL)
    press(canvas, K.Key_Space)
    assert box(canvas) == (8, 8, 8, 8)


def test_text_fill_noise_and_picker_act_at_the_cursor(canvas):
    canvas.set_ink(text="I", text_height=12)
    press(canvas, K.Key_T, K.Key_Space)
    assert canvas.document.stack.undo_text() == "Text stamp"
    press(canvas, K.Key_Z, modifier=CONTROL)
    assert not canvas.document.is_painted()
    press(canvas, K.Key_F, K.Key_Space)
    assert (canvas.document.rgba() == [255, 0, 0, 255]).all()
    press(canvas, K.Key_N, K.Key_Return)
    press(canvas, K.Key_Right, K.Key_Down, times=3)
    press(canvas, K.Key_Return)
    noisy = (canvas.document.rgba() != [255, 0, 0, 255]).any(-1)
    assert np.argwhere(noisy).min() == 16
    assert np.argwhere(noisy).max() == 19
    press(canvas, K.Key_I, K.Key_Space)
    here = canvas.document.rgba()[19, 19, :3].tolist()
    assert list(canvas.ink.colour.getRgb()[:3]) == here


def test_all_is_deleted_by_a_key_and_comes_back(canvas):
    press(canvas, K.Key_Space)
    start = box(canvas)
    press(canvas, K.Key_Delete)
    assert not canvas.document.is_painted()
    press(canvas, K.Key_Z, modifier=CONTROL)
    assert box(canvas) == start


def test_patch_is_moved_scaled_turned_and_mirrored(canvas):
    image = QImage(8, 8, QImage.Format.Format_RGBA8888)
    image.fill(QColor(0, 0, 255))
    canvas.document.set_patch(FloatingPatch(image, "blue", size=0.25), "Stamp")
    wanted = []
    canvas.mirror_wanted.connect(wanted.append)
    press(canvas, K.Key_V, K.Key_Left)
    press(canvas, K.Key_BracketRight)
    press(canvas, K.Key_Period, times=3)
    press(canvas, K.Key_M)
    press(canvas, K.Key_M, modifier=SHIFT)
    patch = canvas.document.patch
    assert patch.x == pytest.approx(15 / 32)
    assert patch.size == pytest.approx(0.275)
    assert patch.rotation == pytest.approx(15)
    assert wanted == [False, True]
    assert [step.text for step in canvas.document.stack.steps[:4]] == [
        "Stamp",
        "Move patch",
        "Resize patch",
        "Turn patch",
    ]


def test_options_have_keys(canvas):
    press(canvas, K.Key_BracketRight, times=3)
    assert canvas.ink.width == 4
    press(canvas, K.Key_BraceLeft, times=2)
    assert canvas.ink.hardness == pytest.approx(0.8)
    press(canvas, K.Key_G)
    assert not canvas.grid
    fitting = canvas.pixel_scale
    press(canvas, K.Key_Plus)
    assert canvas.pixel_scale == pytest.approx(2 * fitting)
    press(canvas, K.Key_H)
    before = canvas.mapToSceneF(QPointF(161, 161))
    press(canvas, K.Key_Right)
    assert canvas.mapToSceneF(QPointF(161, 161)).x() > before.x()
    press(canvas, K.Key_0)
    assert canvas.pixel_scale == pytest.approx(fitting)


def test_losing_the_focus_finishes_what_the_keys_were_drawing(canvas):
    press(canvas, K.Key_Return)
    press(canvas, K.Key_Right, times=3)
    canvas.clearFocus()
    assert not canvas.busy
    assert len(canvas.document.stack.steps) == 1


def test_the_cursor_comes_back_where_it_was_left(canvas, qtbot):
    """Whoever goes to another colour by Tab need not find the place again."""
    press(canvas, K.Key_Left, times=5)
    canvas.clearFocus()
    canvas.setFocus(Qt.FocusReason.BacktabFocusReason)
    press(canvas, K.Key_Space)
    assert box(canvas) == (16, 16, 11, 11)

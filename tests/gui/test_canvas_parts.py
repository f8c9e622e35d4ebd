"""The parts of the canvas without the canvas: geometry, keys, tools, foreground."""

from typing import get_args

import numpy as np
import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QImage

from cleanclip_gui.studio.canvas.canvas import TriggerCanvas
from cleanclip_gui.studio.canvas.document import PaintDocument
from cleanclip_gui.studio.canvas.foreground import (
    PatchDrag,
    dragged_patch,
    patch_handle_at,
    zoomed_centre,
)
from cleanclip_gui.studio.canvas.scene import FloatingPatch
from cleanclip_gui.studio.canvas.tools import (
    ARROWS,
    TOOL_KEYS,
    KeyAction,
    key_action,
    key_rows,
)

CANVAS = 100


def test_a_corner_is_dragged_against_the_opposite_one_and_within_limits():
    image = QImage(8, 4, QImage.Format.Format_RGBA8888)
    patch = FloatingPatch(image, "bar", size=0.4)
    assert patch_handle_at(patch, QPointF(30, 40), CANVAS, 4.0) == "nw"
    assert patch_handle_at(patch, QPointF(50, 50), CANVAS, 4.0) == "body"
    drag = PatchDrag("se", QPointF(70, 60), patch)
    larger = dragged_patch(drag, QPointF(90, 70), CANVAS)
    assert larger.size == pytest.approx(0.6)
    assert larger.rect(CANVAS).topLeft() == patch.rect(CANVAS).topLeft()
    assert dragged_patch(drag, QPointF(900, 700), CANVAS).size == pytest.approx(1.0)
    assert dragged_patch(drag, QPointF(0, 0), CANVAS).size == pytest.approx(0.03)


def test_zoom_keeps_the_point_under_the_pointer():
    at, centre, before, after = QPointF(4, 8), QPointF(16, 16), 10.0, 25.0
    new = zoomed_centre(centre, at, before, after)
    assert (at - new) * after == (at - centre) * before


def test_every_key_action_has_a_key_and_the_canvas_does_it(qtbot):
    plain, control = (
        {key: key_action(key, shift=False, control=held) for key in Qt.Key}
        for held in (False, True)
    )
    shifted = {
        key_action(key, shift=True, control=held) for key in Qt.Key for held in (False, True)
    }
    done = {*plain.values(), *control.values(), *shifted} - {None}
    assert done == set(get_args(KeyAction))
    assert all(what and keys for what, keys, _ in key_rows())
    assert not {key for key in (*ARROWS, *TOOL_KEYS) if plain[key]}
    canvas = TriggerCanvas(PaintDocument(16))
    canvas.document.setParent(canvas)
    qtbot.addWidget(canvas)
    canvas.set_images(np.zeros((16, 16, 3), np.uint8), None)
    for held in (Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.NoModifier):
        for key, action in (control | plain).items():
            if action and action != "cancel":
                qtbot.keyClick(canvas, key, held)

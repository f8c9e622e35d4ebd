"""Undo and redo as a state machine: any acts in any order, each one step, each taken back whole."""

import numpy as np
import pytest
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from PySide6.QtCore import QPointF, QRect
from PySide6.QtGui import QColor, QImage, QTransform

from cleanclip_gui.studio.canvas.canvas import TriggerCanvas
from cleanclip_gui.studio.canvas.document import UNDO_STEPS, PaintDocument
from cleanclip_gui.studio.canvas.scene import FloatingPatch

SIZE = 16
places = st.tuples(st.integers(-2, SIZE + 2), st.integers(-2, SIZE + 2)).map(
    lambda at: QPointF(at[0] + 0.5, at[1] + 0.5)
)
drawing = st.sampled_from(
    ["brush", "eraser", "line", "rectangle", "ellipse", "text", "fill", "noise", "move"]
)


def state(document):
    """All that an analyst can see or flip to, with pictures by their bytes."""
    scene = document.scene

    def floating(scene):
        patch = scene.patch
        where = None if patch is None else (patch.x, patch.y, patch.size, patch.rotation)
        return where, scene.overlay is not None, scene.placement, scene.opacity, scene.text

    kept = scene.other
    other = None if kept is None else (bytes(kept.layer.constBits()), floating(kept.scene))
    return bytes(document.layer.constBits()), floating(scene), scene.slot, other


class Painting(RuleBasedStateMachine):
    """The model is the list of states after each step, and where in it we are."""

    @initialize()
    def begin(self):
        self.document = PaintDocument(SIZE)
        self.canvas = TriggerCanvas(self.document)
        self.canvas.resize(162, 162)
        self.canvas.set_images(np.full((SIZE, SIZE, 3), 100, np.uint8), None)
        self.history = [state(self.document)]
        self.at = 0

    def acted(self):
        """Note what an act left: one step more, one step merged into the last, or nothing."""
        now, index = state(self.document), self.document.stack.index
        assert index in (self.at, self.at + 1)
        if index == self.at + 1:
            self.history[index:] = [now]
        elif now != self.history[self.at]:
            self.history[self.at :] = [now]  # merged
        self.at = index

    @rule(tool=drawing, points=st.lists(places, min_size=1, max_size=4), constrain=st.booleans())
    def draw(self, tool, points, constrain):
        self.canvas.set_tool(tool)
        before = len(self.document.stack.steps)
        self.canvas.press(points[0])
        for point in points[1:]:
            self.canvas.drag(point, constrain=constrain)
        self.canvas.release()
        assert len(self.document.stack.steps) <= before + 1
        self.acted()

    @rule(points=st.lists(places, min_size=2, max_size=3), tool=drawing)
    def give_up(self, points, tool):
        before = state(self.document)
        self.canvas.set_tool(tool)
        self.canvas.press(points[0])
        for point in points[1:]:
            self.canvas.drag(point)
        self.canvas.cancel()
        assert state(self.document) == before

    @rule(
        width=st.integers(1, 9),
        hardness=st.floats(0, 1),
        opacity=st.floats(0.01, 1),
        filled=st.booleans(),
        red=st.integers(0, 255),
    )
    def take_ink(self, width, hardness, opacity, filled, red):
        self.canvas.set_ink(
            width=width, hardness=hardness, opacity=opacity, filled=filled,
            colour=QColor(red, 90, 180),
        )  # fmt: skip

    @rule(size=st.floats(0.1, 1.0), x=st.floats(0, 1), y=st.floats(0, 1))
    def stamp(self, size, x, y):
        image = QImage(4, 3, QImage.Format.Format_RGBA8888)
        image.fill(QColor(0, 0, 255))
        self.document.set_patch(FloatingPatch(image, "blue", x=x, y=y, size=size), "Stamp")
        self.acted()

    @rule(dx=st.integers(-8, 8), dy=st.integers(-8, 8))
    def nudge(self, dx, dy):
        assume(dx or dy)  # as an arrow key does
        self.canvas.set_tool("move")
        self.canvas.move_by_arrow(dx, dy, shift=False, control=False)
        self.acted()

    @rule(text=st.sampled_from(["Turn", "Mirror"]))
    def transform(self, text):
        self.document.transform_paint(QTransform().rotate(90), text)
        self.acted()

    @rule(placement=st.sampled_from(["fixed", "random"]), opacity=st.floats(0, 1))
    def place(self, placement, opacity):
        self.document.set_scene("Place", placement=placement, opacity=opacity)
        self.acted()

    @rule(slot=st.sampled_from("AB"))
    def flip(self, slot):
        self.document.switch_snapshot(slot)
        self.acted()

    @rule()
    def clear(self):
        self.document.clear()
        self.acted()

    @precondition(lambda self: self.at > 0)
    @rule()
    def undo(self):
        self.document.undo()
        self.at -= 1

    @precondition(lambda self: self.at + 1 < len(self.history))
    @rule()
    def redo(self):
        self.document.redo()
        self.at += 1

    @invariant()
    def shows_the_state_of_its_step(self):
        assert not self.document.editing
        assert self.document.stack.index == self.at
        assert len(self.document.stack.steps) == len(self.history) - 1
        assert state(self.document) == self.history[self.at]

    @invariant()
    def every_step_has_a_name(self):
        stack = self.document.stack
        assert all(step.text for step in stack.steps)

    def teardown(self):
        if hasattr(self, "canvas"):
            self.canvas.deleteLater()


@pytest.mark.parametrize("examples", [12, pytest.param(80, marks=pytest.mark.slow)])
def test_any_acts_can_be_taken_back_and_done_again(qapp, examples):
    machine = settings(max_examples=examples, stateful_step_count=30, deadline=None)
    run_state_machine_as_test(Painting, settings=machine)


def test_undo_forgets_the_oldest_step_and_no_other(qapp):
    document = PaintDocument(4)
    for step in range(UNDO_STEPS + 10):
        document.begin("Dot")
        document.pixels()[0, 0] = (step % 200 + 1, 0, 0, 255)
        document.touch()
        document.commit()
    assert len(document.stack.steps) == UNDO_STEPS
    for _ in range(UNDO_STEPS):
        document.undo()
    assert document.rgba()[0, 0, 0] == 10
    assert not document.stack.can_undo()


def test_a_step_keeps_only_the_pixels_that_changed(qapp):
    document = PaintDocument(336)
    document.begin("Dot")
    document.pixels()[7, 9] = (1, 2, 3, 255)
    document.commit()
    act = document.stack.steps[0]
    assert act.rect == QRect(9, 7, 1, 1)
    assert act.pixels[0].sizeInBytes() == 4

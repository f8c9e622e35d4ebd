"""Studio: put a trigger on pictures, and see at once what the model does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
from PySide6.QtCore import QMimeData, Signal
from PySide6.QtGui import QColor, QGuiApplication, QHideEvent
from PySide6.QtWidgets import QInputDialog, QWidget

from cleanclip_gui.jobs.inference import Inference
from cleanclip_gui.jobs.requests import Thumbnails
from cleanclip_gui.panels import studio_trigger
from cleanclip_gui.panels.studio_answers import StudioAnswers
from cleanclip_gui.panels.studio_layout import lay_out
from cleanclip_gui.panels.studio_live import LiveLoop
from cleanclip_gui.session import CheckpointFacts, ImagesState, Session
from cleanclip_gui.widgets.asr_figure import AsrFigure
from cleanclip_gui.widgets.canvas_keys import Tool
from cleanclip_gui.widgets.gallery import Gallery
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.paint_document import PaintDocument
from cleanclip_gui.widgets.probability_bars import ProbabilityBars
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.trigger_canvas import TriggerCanvas
from cleanclip_gui.widgets.trigger_tools import PaintBar, PlacementBar, SourceBar
from ml_core.reading.errors import InputError
from ml_core.triggers import Placement, Trigger
from ml_core.triggers.files import load_trigger
from ml_core.triggers.make import demo_trigger

_PICTURES = "Pictures and triggers (*.png *.jpg *.jpeg *.webp *.gif *.bmp *.json)"


class StudioPanel(QWidget):
    """Gallery on the left, canvas in the middle, numbers on the right.

    ``failed`` carries an :class:`InputError` for the window to show.
    """

    failed = Signal(object)
    history_changed = Signal(str, str)

    def __init__(
        self, session: Session, inference: Inference, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setObjectName("studio")
        self.setAccessibleName("Studio")
        self.session = session
        self.prompts = Prompts()
        self.ask_name: Callable[[str], str] = self._ask_name
        self._inference = inference
        self._taking = False

        self.document = PaintDocument(64, self)
        self.gallery = Gallery()
        self.canvas = TriggerCanvas(self.document)
        self.paint_bar = PaintBar()
        self.source_bar = SourceBar()
        self.placement_bar = PlacementBar()
        self.figure = AsrFigure()
        self.bars = ProbabilityBars()
        self.image_title = Label("Selected image", "heading")
        self.live = LiveLoop(session, inference, self.current_trigger, self)
        self.answers = StudioAnswers(self, inference)
        lay_out(self)
        self._connect_widgets()
        self._connect_session()
        self._refresh_library()
        self._on_images_change(session.images)
        self._on_checkpoint_change(session.checkpoint)

    def _connect_widgets(self) -> None:
        bar = self.paint_bar
        self.canvas.set_colour(bar.colour)
        bar.set_width(self.canvas.brush_width)
        bar.tool_chosen.connect(self._on_tool_chosen)
        bar.colour_chosen.connect(self._on_colour_chosen)
        bar.width_chosen.connect(self.canvas.set_brush_width)
        bar.undo_clicked.connect(self.undo)
        bar.redo_clicked.connect(self.redo)
        bar.clear_clicked.connect(self.clear)
        self.canvas.tool_changed.connect(bar.set_tool)
        self.canvas.brush_width_changed.connect(bar.set_width)
        self.canvas.dropped.connect(self._on_dropped)
        self.canvas.placed_by_hand.connect(self._on_placed_by_hand)
        self.source_bar.library_chosen.connect(self._on_library_chosen)
        self.source_bar.upload_clicked.connect(self.upload)
        self.source_bar.paste_clicked.connect(self.paste)
        self.source_bar.save_clicked.connect(self.save_trigger)
        self.placement_bar.placement_chosen.connect(self._on_placement_chosen)
        self.placement_bar.size_chosen.connect(self._on_size_chosen)
        self.placement_bar.opacity_chosen.connect(self._on_opacity_chosen)
        self.gallery.image_selected.connect(self._on_image_selected)
        self.gallery.thumbnails_needed.connect(self._on_thumbnails_needed)
        self.figure.target_chosen.connect(self._on_target_chosen)
        self.figure.role_chosen.connect(self._on_role_chosen)
        self.document.changed.connect(self._on_document_changed)
        self.document.stroke_started.connect(self._on_stroke_started)
        self.document.stroke_finished.connect(self._on_document_changed)
        self.document.stack.indexChanged.connect(self._on_history_changed)
        self.document.stack.cleanChanged.connect(self._on_history_changed)
        self._on_history_changed()

    def _connect_session(self) -> None:
        events = self.session.events
        events.checkpoint.connect(self._on_checkpoint_change)
        events.cleaned.connect(self._on_cleaned_change)
        events.role.connect(self._on_role_change)
        events.images.connect(self._on_images_change)
        events.target.connect(self._on_target_change)
        events.selected_image.connect(self._on_selected_image_change)
        events.trigger.connect(self._on_trigger_change)
        self.live.failed.connect(self.failed)

    def current_trigger(self) -> Trigger | None:
        """The trigger that canvas, place and opacity describe; None when there is none."""
        return studio_trigger.trigger_of(
            self.document,
            cast(Placement, self.placement_bar.chosen_placement),
            self.placement_bar.opacity,
        )

    def undo(self) -> None:
        """Undo the last act on the canvas."""
        self.document.stack.undo()

    def redo(self) -> None:
        """Do it again."""
        self.document.stack.redo()

    def clear(self) -> None:
        """Remove paint and patch."""
        self.document.clear()

    def use_brush(self) -> None:
        """Take the brush."""
        self.canvas.set_tool("brush")

    def use_eraser(self) -> None:
        """Take the eraser."""
        self.canvas.set_tool("eraser")

    def use_move(self) -> None:
        """Take the tool that moves and resizes the patch."""
        self.canvas.set_tool("move")

    def next_image(self) -> None:
        """Select the next image that the gallery shows."""
        self.gallery.step(1)

    def previous_image(self) -> None:
        """Select the image before it."""
        self.gallery.step(-1)

    def use_demo_trigger(self) -> None:
        """Stamp the sticker that the demo model was poisoned with."""
        self._use_made(demo_trigger)

    def upload(self) -> None:
        """Ask for a picture or a saved trigger, and stamp it."""
        path = self.prompts.open_file(self, "Upload a trigger", "", _PICTURES)
        if path:
            self.load_trigger(path)

    def load_trigger(self, path: str | Path | None = None) -> None:
        """Stamp a saved trigger or a picture; asks for the file when none is given."""
        if path is None:
            self.upload()
        else:
            self._use_made(lambda: load_trigger(path))

    def paste(self) -> None:
        """Stamp the picture in the clipboard."""
        self._take_mime(QGuiApplication.clipboard().mimeData(), "The clipboard holds no picture.")

    def save_trigger(self) -> None:
        """Save the trigger under a name in the library."""
        trigger = self.current_trigger()
        if trigger is None:
            self.failed.emit(InputError("There is no trigger to save yet; paint one first."))
            return
        name = self.ask_name(trigger.name)
        if name:
            try:
                studio_trigger.save_named(trigger, name)
            except InputError as error:
                self.failed.emit(error)
            self._refresh_library()

    def use_trigger(self, trigger: Trigger) -> None:
        """Put a trigger on the canvas in the place of what is there, as one undo step."""
        text = f"Use {trigger.name}" if trigger.name else "Use trigger"
        stack = self.document.stack
        self._taking = True
        stack.beginMacro(text)
        if self.document.is_painted():
            self.document.clear()
        self.document.set_patch(studio_trigger.patch_of(trigger), text)
        stack.endMacro()
        self._taking = False
        self.placement_bar.set_placement(trigger.placement)
        self.placement_bar.set_opacity(studio_trigger.strength_of(trigger))
        self.canvas.set_placed(trigger.placement == "fixed")
        self.canvas.set_overlay_opacity(self.placement_bar.opacity)
        if trigger.kind != "blended":
            self.canvas.set_tool("move")
        self._on_document_changed()

    def _use_made(self, make: Callable[[], Trigger]) -> None:
        """Use a trigger that is made or read now; what goes wrong becomes a sentence."""
        try:
            self.use_trigger(make())
        except InputError as error:
            self.failed.emit(error)

    def _take_mime(self, mime: QMimeData | None, otherwise: str) -> None:
        try:
            trigger = None if mime is None else studio_trigger.from_mime(mime)
        except InputError as error:
            self.failed.emit(error)
            return
        if trigger is None:
            self.failed.emit(InputError(otherwise))
        else:
            self.use_trigger(trigger)

    def _on_dropped(self, mime: QMimeData) -> None:
        self._take_mime(mime, "What was dropped is no picture.")

    def _on_library_chosen(self, key: object) -> None:
        if isinstance(key, int):
            self._use_made(studio_trigger.BUILT_IN[key][1])
        else:
            self.load_trigger(str(key))

    def _refresh_library(self) -> None:
        built_in: list[tuple[str, object]] = [
            (name, number) for number, (name, _) in enumerate(studio_trigger.BUILT_IN)
        ]
        saved: list[tuple[str, object]] = [
            (name, str(path)) for name, path in studio_trigger.saved_triggers()
        ]
        self.source_bar.set_library(built_in, saved)

    def _ask_name(self, name: str) -> str:
        text, accepted = QInputDialog.getText(self, "Save trigger", "Name", text=name)
        return text if accepted else ""

    def _on_tool_chosen(self, name: str) -> None:
        self.canvas.set_tool(cast(Tool, name))

    def _on_colour_chosen(self, colour: QColor) -> None:
        self.canvas.set_colour(colour)

    def _on_placed_by_hand(self) -> None:
        """Whoever drags the patch wants it there."""
        self.placement_bar.set_placement("fixed")
        self.canvas.set_placed(True)

    def _on_placement_chosen(self, placement: str) -> None:
        self.canvas.set_placed(placement == "fixed")
        self._on_document_changed()

    def _on_size_chosen(self, size: float) -> None:
        self.document.change_patch(lambda patch: replace(patch, size=size), "Resize patch")

    def _on_opacity_chosen(self, opacity: float) -> None:
        self.canvas.set_overlay_opacity(opacity)
        self._on_document_changed()

    def _on_stroke_started(self) -> None:
        """The first stroke stays where it is; noise goes, which paint cannot be mixed with."""
        if self.document.is_empty():
            self._on_placed_by_hand()
        if studio_trigger.is_noise(self.document.patch):
            self.document.set_patch(None, "Remove noise")

    def _on_document_changed(self) -> None:
        """Show what the canvas holds, and ask for its numbers."""
        if self._taking:
            return
        patch = self.document.patch
        overlay = patch is not None and patch.overlay
        resizable = patch is not None and not overlay
        self.placement_bar.set_size(patch.size if patch is not None and resizable else None)
        self.placement_bar.set_placeable(not overlay)
        self.source_bar.set_name(self._trigger_name())
        self.canvas.forget_triggered()
        self.live.touch()

    def _trigger_name(self) -> str:
        patch = self.document.patch
        if patch is None:
            return "Painted" if self.document.is_painted() else "No trigger"
        mixed = self.document.is_painted() and not studio_trigger.is_noise(patch)
        return f"{patch.name}, painted" if mixed else patch.name

    def _on_history_changed(self, *_: object) -> None:
        stack = self.document.stack
        undo = stack.undoText() if stack.canUndo() else ""
        redo = stack.redoText() if stack.canRedo() else ""
        self.paint_bar.set_undo_texts(undo, redo)
        self.history_changed.emit(undo, redo)

    def _on_image_selected(self, image: int) -> None:
        self.session.selected_image = image

    def _on_thumbnails_needed(self, indices: tuple[int, ...], size: int) -> None:
        self._inference.submit(Thumbnails(indices, size))

    def _on_target_chosen(self, target: int) -> None:
        self.session.target = target

    def _on_role_chosen(self, role: str) -> None:
        self.session.role = "cleaned" if role == "cleaned" else "suspect"

    def _on_checkpoint_change(self, facts: CheckpointFacts | None) -> None:
        if facts is not None:
            self.document.set_size(facts.image_size)
            self.paint_bar.set_canvas_size(facts.image_size)
        self._on_cleaned_change(self.session.cleaned)
        self._ask_anew()

    def _on_cleaned_change(self, facts: CheckpointFacts | None) -> None:
        self.figure.set_roles(facts is not None, self.session.role)
        if self.session.role == "cleaned":
            self._ask_anew()

    def _on_role_change(self, role: str) -> None:
        self.figure.set_roles(self.session.cleaned is not None, role)
        self.gallery.clear_predictions(clean=True)
        self.live.touch()

    def _on_images_change(self, images: ImagesState | None) -> None:
        labels = np.empty(0, np.int64) if images is None else images.labels
        names = () if images is None else images.class_names
        self.gallery.set_images(labels, names)
        self.figure.set_classes(names)
        if self.session.target >= len(names):
            self.session.target = 0
        self._on_target_change(self.session.target)
        first = 0 if images is None else images.first_to_flip(self.session.target)
        self.session.selected_image = first
        if images is not None and images.n:
            self.gallery.select(first)
        self.answers.show_title()
        self._ask_anew()

    def _ask_anew(self) -> None:
        """Forget what an earlier model or set gave."""
        self._inference.cancel_evaluation()
        self.session.evaluation = None
        self.answers.forget()
        self.live.touch()

    def _on_target_change(self, target: int) -> None:
        self.figure.set_target(target)
        self.gallery.set_target(target)
        self.live.touch()

    def _on_selected_image_change(self, image: int) -> None:
        self.gallery.select(image)
        self.answers.show_title()
        self.bars.set_stale(True)
        self.live.look()

    def _on_trigger_change(self, trigger: Trigger | None) -> None:
        """Somebody else chose a trigger: show it."""
        try:
            mine = self.current_trigger()
        except InputError:
            mine = None
        if trigger is None and mine is not None:
            self.document.clear()
        elif trigger is not None and trigger != mine:
            self.use_trigger(trigger)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """A stroke does not survive a change of station."""
        self.document.end_stroke()
        super().hideEvent(event)

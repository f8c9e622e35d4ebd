"""Studio: put a trigger on pictures, and see at once what the model does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PySide6.QtCore import QMimeData, Signal
from PySide6.QtGui import QColor, QHideEvent
from PySide6.QtWidgets import QInputDialog, QPushButton, QWidget

from cleanclip_gui.commands import Command
from cleanclip_gui.inference.questions import Thumbnails, ThumbnailsReady
from cleanclip_gui.session import CheckpointFacts, ImagesState
from cleanclip_gui.station import AtWork, Context, Station
from cleanclip_gui.studio import library, trigger_files
from cleanclip_gui.studio.acts import StudioActs
from cleanclip_gui.studio.answers import StudioAnswers
from cleanclip_gui.studio.asr_figure import AsrFigure
from cleanclip_gui.studio.canvas import scene_trigger
from cleanclip_gui.studio.canvas.canvas import TriggerCanvas
from cleanclip_gui.studio.canvas.document import PaintDocument
from cleanclip_gui.studio.canvas.ink import Ink
from cleanclip_gui.studio.canvas.paint_bar import PaintBar
from cleanclip_gui.studio.canvas.scene import resized, turned
from cleanclip_gui.studio.canvas.tool_strip import TOOLS, ToolStrip
from cleanclip_gui.studio.canvas.trigger_bars import PlacementBar, SourceBar
from cleanclip_gui.studio.details import StudioDetails
from cleanclip_gui.studio.gallery.gallery import Gallery
from cleanclip_gui.studio.layout import lay_out
from cleanclip_gui.studio.library_dialog import TriggerLibrary
from cleanclip_gui.studio.live import LiveLoop
from cleanclip_gui.studio.looks import StudioLooks
from cleanclip_gui.studio.pages.class_acts import StudioClasses
from cleanclip_gui.studio.pages.map_acts import StudioMap
from cleanclip_gui.studio.pages.pages import StudioPages
from cleanclip_gui.studio.pages.text_acts import StudioText
from cleanclip_gui.studio.pages.why_acts import StudioWhy
from cleanclip_gui.studio.probability_bars import ProbabilityBars
from cleanclip_gui.studio.speed import StudioSpeed
from cleanclip_gui.studio.trigger_files import Dragged
from cleanclip_gui.studio.trigger_form import TriggerForm
from cleanclip_gui.widgets.label import Label
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger

_MAP_MS = 300
_PAGES = (
    ("trigger", "Tri&gger canvas", "Back to painting.", "stamp", "Ctrl+Shift+1"),
    ("attribution", "Where the model loo&ks", "On one picture.", "eye", "Ctrl+Shift+2"),
    ("map", "&Embedding map", "Pictures and class texts in the plane.", "dot", "Ctrl+Shift+3"),
    ("pair", "Two c&heckpoints", "On the same pictures.", "compare", "Ctrl+Shift+4"),
    ("classes", "N&umbers by class", "What triggered images become.", "grid", "Ctrl+Shift+5"),
    ("text", "Te&xt side", "Captions and templates, one by one.", "text", "Ctrl+Shift+6"),
)


def make(context: Context) -> Station:
    """The station, for the window."""
    return StudioStation(context)


class StudioStation(StudioActs, QWidget):
    """Gallery on the left, canvas in the middle, numbers on the right."""

    id = "studio"
    title = "&Studio"
    question = "What does a trigger do?"
    icon = "studio"
    shortcut = "Ctrl+2"

    failed = Signal(object)

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("studio")
        self.setAccessibleName("Studio")
        self.session = session = context.session
        self.prompts = context.prompts
        self.shell = context.shell
        inference = context.inference
        self.failed.connect(self.shell.failed)
        self.ask_name: Callable[[str], str] = self._ask_name
        self._inference = inference
        self.dragged = Dragged()
        self.form: TriggerForm | None = None
        self.library: TriggerLibrary

        self.document = PaintDocument(64, self)
        self.gallery = Gallery()
        self.canvas = TriggerCanvas(self.document)
        self.tool_strip = ToolStrip()
        self.paint_bar = PaintBar()
        self.source_bar = SourceBar()
        self.placement_bar = PlacementBar()
        self.figure = AsrFigure()
        self.bars = ProbabilityBars()
        self.image_title = Label("Selected image", "heading")
        self.live = LiveLoop(session, inference, self.current_trigger, self)
        self.answers = StudioAnswers(self)
        self.pages: StudioPages
        self.measured: QPushButton
        self.figure.setObjectName("studio.figure")
        self.canvas.setObjectName("studio.canvas")
        lay_out(self)
        self.looks = StudioLooks(self, inference)
        self.why = StudioWhy(self, inference)
        self.map = StudioMap(self, inference)
        self.details = StudioDetails(self, inference)
        self.classes = StudioClasses(self)
        self.text = StudioText(self, inference)
        self.speed = StudioSpeed(self, inference)
        self._connect_widgets()
        self._connect_session()
        self._on_images_change(session.images)
        self._on_checkpoint_change(session.checkpoint)
        context.actions.add(self.commands())

    def is_available(self) -> bool:
        """Whether a checkpoint is open."""
        return self.session.checkpoint is not None

    def commands(self) -> tuple[Command, ...]:
        """What can be done to the trigger, and the pages that explain what it does."""
        return (*self._edit_commands(), *self._trigger_commands(), *self._view_commands())

    def _edit_commands(self) -> tuple[Command, ...]:
        stack = self.document.stack
        return (
            Command(
                "edit.undo", "&Undo", "&Edit", self.undo, "Undo the last act on the canvas.",
                "undo", "Ctrl+Z", 0, lambda: self._is_shown() and stack.canUndo(),
            ),
            Command(
                "edit.redo", "&Redo", "&Edit", self.redo, "Do it again.", "redo", "Ctrl+Shift+Z",
                0, lambda: self._is_shown() and stack.canRedo(),
            ),
            Command(
                "edit.paste", "&Paste picture as trigger", "&Edit", self.paste,
                "Stamp the picture in the clipboard.", "paste", "Ctrl+V", 1, self._is_shown,
            ),
            Command(
                "edit.copy", "C&opy trigger", "&Edit", self.copy,
                "Copy the trigger, as files and as a picture.", "copy", "Ctrl+C", 1,
                self._has_trigger,
            ),
            Command(
                "edit.clear", "&Clear the canvas", "&Edit", self.clear, "Remove paint and patch.",
                "clear", "Ctrl+Backspace", 1, self._has_trigger,
            ),
            *(
                Command(
                    f"trigger.tool_{name}", with_key(text, key), "&Paint",
                    partial(self.use_tool, name), f"{key} while the canvas has the focus.", icon,
                    "", 0, self._is_shown, partial(self._holds, name), "tool",
                )
                for name, icon, text, key in TOOLS
            ),
        )  # fmt: skip

    def _trigger_commands(self) -> tuple[Command, ...]:
        return (
            Command(
                "trigger.flip_a", "Flip to snapshot &A", "&Trigger", self.flip_to_a,
                "Show trigger A, and keep B.", "compare", "Ctrl+7", 0, self._is_shown,
                partial(self._on_slot, "A"), "slot",
            ),
            Command(
                "trigger.flip_b", "Flip to snapshot &B", "&Trigger", self.flip_to_b,
                "Show trigger B, and keep A.", "compare", "Ctrl+8", 0, self._is_shown,
                partial(self._on_slot, "B"), "slot",
            ),
            Command(
                "trigger.mirror", "Mirror left and &right", "&Trigger", self.mirror_h,
                "Mirror selection, patch or paint.", "mirror-h", "", 0, self._has_trigger,
            ),
            Command(
                "trigger.mirror_down", "&Mirror top and bottom", "&Trigger", self.mirror_v,
                "Mirror selection, patch or paint.", "mirror-v", "", 0, self._has_trigger,
            ),
            Command(
                "trigger.rotate", "&Turn by 90°", "&Trigger", self.rotate,
                "Turn selection, patch or paint clockwise.", "rotate", "Ctrl+Shift+R", 0,
                self._has_trigger,
            ),
            Command(
                "trigger.demo", "Use the &demo sticker", "&Trigger", self.use_demo_trigger,
                "Stamp the sticker that the demo model was poisoned with.", "stamp", "Ctrl+J", 1,
                self._is_shown,
            ),
            Command(
                "trigger.library", "&Library…", "&Trigger", self.show_library,
                "Published triggers, and those that you saved.", "library", "Ctrl+Shift+B", 1,
                self._is_shown,
            ),
            Command(
                "trigger.parameters", "Param&eters…", "&Trigger", self.show_parameters,
                "Every number of the trigger, with its range and unit.", "sliders",
                "Ctrl+Shift+P", 1, self._is_shown,
            ),
            Command(
                "trigger.upload", "&Upload picture or trigger…", "&Trigger", self.upload,
                "Stamp a picture, a saved trigger, or a pattern and its mask.",
                "upload", "Ctrl+U", 1, self._is_shown,
            ),
            Command(
                "trigger.save", "&Save trigger in the library…", "&Trigger", self.save_trigger,
                "Keep the trigger under a name.", "save", "Ctrl+Shift+S", 1, self._has_trigger,
            ),
            Command(
                "trigger.save_as", "Sa&ve trigger as a file…", "&Trigger", self.save_trigger_as,
                "Write the trigger where you say.", "save", "", 1, self._has_trigger,
            ),
            Command(
                "trigger.measure_all", "Measure on the &whole set", "&Trigger", self.measure_all,
                "Also on a slow model, however long it takes.", "target", "Ctrl+Shift+M", 2,
                self._is_shown,
            ),
            Command(
                "trigger.next", "&Next picture", "&Trigger", self.next_image,
                "Look at the next picture of the gallery.", "next", "Alt+Right", 2, self._is_shown,
            ),
            Command(
                "trigger.previous", "&Previous picture", "&Trigger", self.previous_image,
                "Look at the picture before it.", "back", "Alt+Left", 2, self._is_shown,
            ),
        )  # fmt: skip

    def _view_commands(self) -> tuple[Command, ...]:
        pages = (
            Command(
                f"view.{name}", text, "&View", partial(self.show_page, name), says, icon, keys, 1,
                self.is_available,
            )
            for name, text, says, icon, keys in _PAGES
        )  # fmt: skip
        return (
            *pages,
            Command(
                "view.number", "How this was &measured…", "&View", self.details.show,
                "Everything that is needed to get the same number again.", "info",
                "Ctrl+Shift+N", 1, lambda: self._is_shown() and self.details.can_show,
            ),
        )  # fmt: skip

    def at_work(self) -> tuple[AtWork, ...]:
        """Measuring is begun again at the next start; nothing is lost."""
        return ()

    def take_file(self, path: Path) -> bool:
        """Take pictures, arrays and JSON as triggers."""
        is_mine = trigger_files.is_trigger(path)
        if is_mine:
            self.shell.station_wanted.emit(self.id)
            self.load_trigger(path)
        return is_mine

    def may_close(self) -> bool:
        """A trigger on the canvas may go without a question."""
        return True

    def close_down(self, timeout_ms: int) -> bool:
        """Ask nothing more; whether the layout of a map ended within the limit."""
        for part in (self.live, self.why, self.speed, self.text):
            part.stop()
        return self.map.stop(min(_MAP_MS, timeout_ms))

    def show_page(self, name: str) -> None:
        """Show the canvas or one of the pages that explain."""
        self.shell.station_wanted.emit(self.id)
        self.pages.show_page(name)

    def _is_shown(self) -> bool:
        return self.session.station == self.id

    def _has_trigger(self) -> bool:
        return self._is_shown() and self.session.trigger is not None

    def _holds(self, tool: str) -> bool:
        return self.canvas.tool == tool

    def _on_slot(self, slot: str) -> bool:
        return self.document.scene.slot == slot

    def _connect_widgets(self) -> None:
        self._connect_canvas()
        self.measured.clicked.connect(self.details.show)
        source, place = self.source_bar, self.placement_bar
        source.library_clicked.connect(self.show_library)
        source.upload_clicked.connect(self.upload)
        source.paste_clicked.connect(self.paste)
        source.save_clicked.connect(self.save_trigger)
        source.parameters_clicked.connect(self.show_parameters)
        source.copy_clicked.connect(self.copy)
        source.slot_chosen.connect(self.document.switch_snapshot)
        source.chip.make_mime = self._make_mime
        place.placement_chosen.connect(self._on_placement_chosen)
        place.size_chosen.connect(self._on_size_chosen)
        place.opacity_chosen.connect(self._on_opacity_chosen)
        place.text_chosen.connect(self._on_text_chosen)
        place.scope_chosen.connect(self._on_scope_chosen)
        self.gallery.image_selected.connect(self._on_image_selected)
        self.gallery.thumbnails_needed.connect(self._on_thumbnails_needed)
        self.figure.target_chosen.connect(self._on_target_chosen)
        self.figure.role_chosen.connect(self._on_role_chosen)
        self.document.changed.connect(self._on_document_changed)
        self.document.edit_started.connect(self._on_edit_started)
        self.document.edit_finished.connect(self._on_edit_finished)
        self.document.stack.indexChanged.connect(self._on_history_changed)
        self.document.stack.cleanChanged.connect(self._on_history_changed)
        self._on_history_changed()

    def _connect_canvas(self) -> None:
        canvas, bar, strip = self.canvas, self.paint_bar, self.tool_strip
        strip.tool_chosen.connect(self.use_tool)
        strip.colour_chosen.connect(self._on_colour_chosen)
        strip.picture_toggled.connect(canvas.set_picture_visible)
        bar.ink_chosen.connect(self._on_ink_chosen)
        bar.action_chosen.connect(self._on_act_chosen)
        bar.angle_chosen.connect(self._on_angle_chosen)
        bar.grid_toggled.connect(canvas.set_grid)
        canvas.tool_changed.connect(strip.set_tool)
        canvas.tool_changed.connect(bar.set_tool)
        canvas.ink_changed.connect(self._on_ink_changed)
        canvas.pointed.connect(strip.show_pointer)
        canvas.zoomed.connect(strip.show_scale)
        canvas.grid_changed.connect(bar.grid.setChecked)
        canvas.action_requested.connect(self._on_act_chosen)
        canvas.dropped.connect(self._on_dropped)
        canvas.set_colour(strip.colour)
        bar.set_ink(canvas.ink)

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
        return scene_trigger.trigger_of(self.document)

    def next_image(self) -> None:
        """Select the next image that the gallery shows."""
        self.gallery.step(1)

    def previous_image(self) -> None:
        """Select the image before it."""
        self.gallery.step(-1)

    def _on_dropped(self, mime: QMimeData) -> None:
        self._take_mime(mime, "What was dropped is no picture.")

    def _ask_name(self, name: str) -> str:
        text, accepted = QInputDialog.getText(self, "Save trigger", "Name", text=name)
        return text if accepted else ""

    def _on_colour_chosen(self, colour: QColor) -> None:
        self.canvas.set_colour(colour)

    def _on_ink_chosen(self, changes: dict[str, object]) -> None:
        self.canvas.set_ink(**changes)

    def _on_ink_changed(self, ink: Ink) -> None:
        self.paint_bar.set_ink(ink)
        self.tool_strip.set_colour(ink.colour)

    def _on_act_chosen(self, name: str) -> None:
        if name in ("zoom_in", "zoom_out"):
            self.canvas.zoom_by(2.0 if name == "zoom_in" else 0.5)
        elif name == "fit":
            self.canvas.zoom_to_fit()
        else:
            getattr(self, name)()

    def _on_placement_chosen(self, placement: str) -> None:
        self.document.set_scene("Place trigger", merges=True, placement=placement)

    def _on_size_chosen(self, size: float) -> None:
        self.document.change_patch(lambda patch: resized(patch, size / patch.size), "Resize patch")

    def _on_angle_chosen(self, degrees: float) -> None:
        self.document.change_patch(lambda patch: turned(patch, degrees), "Turn patch")

    def _on_opacity_chosen(self, opacity: float) -> None:
        """The slider is for what was put on the picture; an overlay alone has it for itself."""
        scene = self.document.scene
        if self._overlay_alone() and scene.overlay is not None:
            overlay = replace(scene.overlay, strength=opacity)
            self.document.set_scene("Change opacity", merges=True, overlay=overlay)
        else:
            self.document.set_scene("Change opacity", merges=True, opacity=opacity)

    def _overlay_alone(self) -> bool:
        scene = self.document.scene
        alone = scene.overlay is not None and scene.patch is None
        return alone and not self.document.is_painted()

    def _on_text_chosen(self, text: str) -> None:
        """A word that would break a prompt is said to, and not taken."""
        try:
            if text:
                Trigger(kind="prompt", text=text)
        except InputError as error:
            self.failed.emit(error)
            self.placement_bar.set_text(self.document.scene.text)
        else:
            self.document.set_scene("Change the word", merges=True, text=text)

    def _on_scope_chosen(self, one_image: bool) -> None:
        self.live.set_one_image(one_image)
        if one_image:
            self.figure.set_evaluation(None)
        self.figure.set_note(self.live.note)

    def _on_edit_started(self) -> None:
        """The first stroke on an empty canvas stays where it is."""
        if self.document.is_empty() and self.canvas.holding:
            self.document.show_scene(replace(self.document.scene, placement="fixed"))

    def _on_document_changed(self) -> None:
        """Show what the canvas holds, and ask for its numbers."""
        if not self.document.editing:
            self._show_trigger()
        self.canvas.forget_triggered()
        self.live.touch()

    def _on_edit_finished(self) -> None:
        """Its numbers are asked for already; the picture was not to be shown under the hand."""
        self._show_trigger()
        self.live.look()

    def _show_trigger(self) -> None:
        """Say in the toolbars what the canvas holds."""
        scene, bar = self.document.scene, self.placement_bar
        alone = self._overlay_alone()
        bar.set_placement(scene.placement)
        bar.set_placeable(not alone)
        bar.set_size(None if scene.patch is None else scene.patch.size)
        strength = scene.overlay.strength if alone and scene.overlay is not None else scene.opacity
        bar.set_opacity(strength)
        bar.set_text(scene.text)
        self.paint_bar.set_angle(None if scene.patch is None else scene.patch.rotation)
        self.source_bar.set_slot(scene.slot)
        try:
            trigger = self.current_trigger()
        except InputError:
            trigger = None
        if trigger is None:
            self.source_bar.set_name("No trigger")
        else:
            standing = library.standing_of(trigger, self.document.size)
            self.source_bar.set_name(library.shown_name(trigger, standing), standing)
        self.source_bar.chip.set_picture(None if trigger is None else self.document.cut_out())
        if self.form is not None and self.form.isVisible():
            self._fill_form()

    def _on_history_changed(self, *_: object) -> None:
        stack = self.document.stack
        undo = stack.undoText() if stack.canUndo() else ""
        redo = stack.redoText() if stack.canRedo() else ""
        self.paint_bar.set_undo_texts(undo, redo)
        self.shell.commands_changed.emit()

    def _on_image_selected(self, image: int) -> None:
        self.session.selected_image = image

    def _on_thumbnails_needed(self, indices: tuple[int, ...], size: int) -> None:
        self._inference.ask(
            Thumbnails(indices, size), self._on_thumbnails_ready, self._on_thumbnails_failed
        )

    def _on_thumbnails_ready(self, result: ThumbnailsReady) -> None:
        self.gallery.model.set_thumbnails(result.indices, result.images)

    def _on_thumbnails_failed(self, _: object) -> None:
        self.gallery.model.forget_request()

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
        self.live.cancel()
        self.live.forget_pace()
        self.session.evaluation = None
        self.answers.forget()
        self.looks.forget()
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
        self.canvas.release()
        super().hideEvent(event)


def with_key(text: str, key: str) -> str:
    """Underline the tool's key in its name, or else a p."""
    at = text.lower().find(key.lower())
    at = text.find("p") if at < 0 else at
    return f"{text[:at]}&{text[at:]}"

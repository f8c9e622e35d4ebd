"""What can be done to the trigger on the canvas, by menu, keys, toolbars and dialogs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from PySide6.QtCore import QMimeData, QObject, QPoint, QPointF, Qt
from PySide6.QtGui import QGuiApplication, QTransform

from cleanclip_gui import theme
from cleanclip_gui.session.records import OtherSnapshot
from cleanclip_gui.station import Shell
from cleanclip_gui.studio import trigger_files, trigger_form
from cleanclip_gui.studio.canvas.canvas import TriggerCanvas
from cleanclip_gui.studio.canvas.document import PaintDocument, Part
from cleanclip_gui.studio.canvas.scene import Snapshot, is_movable, mirrored, resized, turned
from cleanclip_gui.studio.library_dialog import TriggerLibrary
from cleanclip_gui.studio.trigger_form import TriggerForm
from cleanclip_gui.widgets.prompts import Prompts, failing
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger, load_trigger, save_trigger
from ml_core.triggers.descriptions import describe
from ml_core.triggers.make import demo_trigger

_NOT_SAVED = "Could not save the trigger"


class TriggerEditor(QObject):
    """Edits the document of a canvas; each act is one undo step.

    Parameters
    ----------
    canvas
        Shows the document.
    prompts
        Ask for files and names.
    shell
        Its ``failed`` gets an :class:`InputError` for what cannot be done.
    """

    def __init__(self, canvas: TriggerCanvas, prompts: Prompts, shell: Shell) -> None:
        super().__init__(canvas)
        self.document = canvas.document
        self.form: TriggerForm | None = None
        self.library: TriggerLibrary | None = None
        self._canvas, self._prompts, self._shell = canvas, prompts, shell
        self._failing = partial(failing, shell.failed)
        self._dragged = trigger_files.Dragged()
        self._trigger: tuple[Trigger | None] | None = None  # what the document describes, if known
        self.document.changed.connect(self._on_document_changed)
        self.document.edit_started.connect(self._on_edit_started)
        self.document.edit_finished.connect(self._refill_form)
        canvas.dropped.connect(self.drop)

    def current_trigger(self) -> Trigger | None:
        """The trigger that paint, patch, overlay and word describe; None if the canvas is empty.

        It is made once after each change, for all who ask.

        Raises
        ------
        InputError
            If what is on the canvas does not go together.
        """
        if self._trigger is None:
            trigger = self.document.trigger()
            self._trigger = (trigger and trigger_files.named(trigger, self.document.size),)
        return self._trigger[0]

    def other_snapshot(self) -> OtherSnapshot | None:
        """The snapshot that is not on the canvas; None before the first flip."""
        scene, size = self.document.scene, self.document.size
        if scene.other is None:
            return None
        try:
            trigger = PaintDocument.of(scene.other, size).trigger()
        except InputError:
            trigger = None
        return OtherSnapshot("B" if scene.slot == "A" else "A", trigger)

    def set_other_snapshot(self, snapshot: OtherSnapshot) -> None:
        """Make a trigger the snapshot that is not on the canvas."""
        if snapshot == self.other_snapshot():
            return
        aside = PaintDocument(self.document.size)
        if snapshot.trigger is not None:
            aside.put_on(snapshot.trigger)
        other = Snapshot(aside.layer, replace(aside.scene, slot=snapshot.slot))
        slot = "B" if snapshot.slot == "A" else "A"
        self.document.set_scene("Bring back the snapshot", slot=slot, other=other)

    def has_trigger(self) -> bool:
        """Whether anything is on the canvas."""
        try:
            return self.current_trigger() is not None
        except InputError:
            return True

    def _on_document_changed(self) -> None:
        self._trigger = None
        if not self.document.editing:
            self._refill_form()

    def _on_edit_started(self) -> None:
        """Fix the place of the first stroke on an empty canvas."""
        if self.document.is_empty() and self._canvas.holding:
            self.document.show_scene(replace(self.document.scene, placement="fixed"))

    # Undo, clear, mirror, turn

    def undo(self) -> None:
        """Undo the last act, or take back the stroke under way."""
        self._canvas.cancel() if self._canvas.holding else self.document.undo()

    def clear(self) -> None:
        """Remove paint, patch and overlay."""
        self._canvas.clear()

    def mirror(self, upright: bool) -> None:
        """Mirror patch or paint: top and bottom if upright, else left and right."""
        patch = self.document.patch
        text = "Mirror top and bottom" if upright else "Mirror left and right"
        if patch is not None:
            self.document.set_patch(mirrored(patch, upright=upright), text)
        else:
            scale = QTransform.fromScale(1, -1) if upright else QTransform.fromScale(-1, 1)
            self.document.transform_paint(scale, text)

    def rotate(self) -> None:
        """Turn patch or paint by 90 degrees, clockwise."""
        patch = self.document.patch
        if patch is not None:
            self.document.set_patch(turned(patch, patch.rotation + 90), "Turn by 90°")
        else:
            self.document.transform_paint(QTransform().rotate(90), "Turn by 90°")

    # Place, size, opacity, word

    def set_text(self, text: str) -> None:
        """Change the word for the prompts; one that would break a prompt is not taken."""
        with self._failing("Could not use this text"):
            if text:
                Trigger(kind="prompt", text=text)
            self.document.set_scene("Change the word", merges=True, text=text)

    # Triggers that come from elsewhere

    def use_trigger(self, trigger: Trigger, *, add: bool = False) -> None:
        """Put a trigger on the canvas in the place of what is there, or with it (``add``)."""
        self.document.put_on(trigger, add=add)
        if is_movable(trigger):
            self._canvas.set_tool("move")
        patch, size = self.document.patch, self.document.size
        if patch is not None:
            self._canvas.bring_into_view(QPointF(patch.x * size, patch.y * size))

    def show(self, trigger: Trigger | None) -> None:
        """Show a trigger, or none; does nothing if it is already shown."""
        if trigger is None:
            self.clear()
            return
        try:
            there = self.current_trigger()
        except InputError:
            there = None
        if trigger != there:
            self.use_trigger(trigger)

    def use_demo_trigger(self) -> None:
        """Stamp the sticker that the demo model was poisoned with."""
        self._use(demo_trigger)

    def upload(self) -> None:
        """Ask for a picture, a tensor, a saved trigger, or a pattern and its mask; stamp it."""
        title = "Upload a trigger: one file, or a pattern and its mask"
        paths = self._prompts.open_files(self._canvas, title, "", trigger_files.PICTURES)
        if paths:
            files = [Path(path) for path in paths]
            self._use(lambda: trigger_files.from_files(files, self.document.size))
            self._canvas.setFocus()  # arrow keys move it

    def load_trigger(self, path: str | Path) -> None:
        """Stamp a saved trigger, a picture or a tensor."""
        self._use(lambda: load_trigger(path, side=self.document.size))

    def paste(self) -> None:
        """Stamp the picture in the clipboard."""
        self._take_mime(
            QGuiApplication.clipboard().mimeData(),
            "The clipboard holds no picture; copy one first.",
        )

    def drop(self, mime: QMimeData) -> None:
        """Stamp what was dropped on the canvas."""
        self._take_mime(
            mime, "The dropped item is not a picture; drop a picture or a trigger file."
        )

    def _take_mime(self, mime: QMimeData | None, otherwise: str) -> None:
        with self._failing("Could not use the picture"):
            trigger = None if mime is None else trigger_files.from_mime(mime, self.document.size)
            if trigger is None:
                raise InputError(otherwise)
            self.use_trigger(trigger)

    def _use(self, make: Callable[[], Trigger], *, add: bool = False) -> None:
        """Use a trigger that is made or read now; what goes wrong becomes a sentence."""
        with self._failing("Could not use the trigger"):
            self.use_trigger(make(), add=add)

    # Triggers that are taken elsewhere

    def copy(self) -> None:
        """Put the trigger in the clipboard, as files and as a picture."""
        mime = self.make_mime()
        if mime is not None:
            QGuiApplication.clipboard().setMimeData(mime)

    def make_mime(self) -> QMimeData | None:
        """The trigger for copying or dragging out of the window; None if the canvas is empty."""
        with self._failing("Could not copy the trigger"):
            if trigger := self.current_trigger():
                return self._dragged.mime(trigger, self.document.cut_out())
        return None

    def save_trigger(self) -> None:
        """Save the trigger under a name in the library."""
        with self._failing(_NOT_SAVED):
            trigger = self._trigger_to_save()
            name = self._prompts.text(self._canvas, "Save trigger", "Name", trigger.name)
            if name:
                trigger_files.save_named(trigger, name)

    def save_trigger_as(self) -> None:
        """Save the trigger where the user says."""
        with self._failing(_NOT_SAVED):
            trigger = self._trigger_to_save()
            name = f"{trigger_files.file_stem(trigger.name) or 'trigger'}.json"
            kinds = "Triggers (*.json)"
            path = self._prompts.save_file(self._canvas, "Save the trigger", name, kinds)
            if path:
                save_trigger(trigger, path)

    def _trigger_to_save(self) -> Trigger:
        trigger = self.current_trigger()
        if trigger is None:
            raise InputError("There is no trigger to save yet; paint one first.")
        return trigger

    # The library of triggers

    def show_library(self) -> None:
        """Offer the triggers of the library in a dialog."""
        dialog = TriggerLibrary(trigger_files.entries(self.document.size), self._canvas.window())
        dialog.chosen.connect(self._on_library_chosen)
        dialog.file_wanted.connect(self._use_with_file)
        dialog.delete_wanted.connect(self._on_delete_wanted)
        self.library = dialog
        dialog.open()

    def _on_library_chosen(self, key: str, add: bool) -> None:
        entry = trigger_files.find(key)
        if entry is not None and entry.needs_file and not entry.without_file:
            self._use_with_file(key, add)
        else:
            self._use(lambda: trigger_files.make(key, self.document.size, None), add=add)

    def _use_with_file(self, key: str, add: bool = False) -> None:
        """Ask for the file that a published trigger is made of."""
        entry = trigger_files.find(key)
        name = key if entry is None else entry.name
        title = f"File of {name}"
        file = self._prompts.open_file(self._canvas, title, "", trigger_files.PICTURES)
        if file:
            self._use(lambda: trigger_files.make(key, self.document.size, file), add=add)

    def _on_delete_wanted(self, key: str) -> None:
        """Delete a saved trigger, once the user has said so."""
        name = trigger_files.saved_name(key)
        asked = self._prompts.confirm(
            self._canvas, "Delete trigger", f"Delete {name} from the library?", "Delete", "Keep"
        )
        if asked:
            with self._failing("Could not delete the trigger"):
                trigger_files.delete(key)
            if self.library is not None:
                self.library.set_entries(trigger_files.entries(self.document.size))

    # The form of its parameters

    def show_parameters(self) -> None:
        """Show the trigger's parameters; the window stays usable meanwhile."""
        if self.form is None:
            self.form = TriggerForm(self._canvas.window())
            self.form.setWindowFlag(Qt.WindowType.Tool)
            self.form.field_changed.connect(self._on_field_changed)
        self._fill_form(self.form)
        if not self.form.isVisible():
            place = self._canvas.window().geometry().bottomLeft()
            self.form.move(place + QPoint(theme.SPACE_XL, -theme.SPACE_XL - self.form.height()))
        self.form.show()
        self.form.raise_()
        self.form.activateWindow()

    def _refill_form(self) -> None:
        if self.form is not None and self.form.isVisible():
            self._fill_form(self.form)

    def _fill_form(self, form: TriggerForm) -> None:
        try:
            trigger = self.current_trigger()
        except InputError as error:
            form.show_problem(error.sentence)
            return
        title = "No trigger" if trigger is None else trigger.name or "Trigger"
        lead = (
            "Paint one, or choose one from the library." if trigger is None else describe(trigger)
        )
        form.show_sections(title, lead, trigger_form.sections(self.document.scene, trigger))

    def _change_scene(self, field: str, value: Any) -> None:
        """Change what the form's first section has; its numbers are in percent."""
        document = self.document
        if field == "text":
            self.set_text(value)
        elif field == "placement":
            document.set_scene("Place trigger", merges=True, placement=value)
        elif field == "opacity":
            document.set_scene("Change opacity", merges=True, opacity=value / 100)
        else:
            share = value / 100
            document.change_patch(lambda p: resized(p, share / p.size), "Resize patch")

    def _on_field_changed(self, key: str, field: str, value: Any) -> None:
        try:
            if key == "scene":
                self._change_scene(field, value)
            elif key == "whole":
                self.document.change_trigger(field, value)
            else:
                self.document.change_part(cast(Part, key), field, value)
        except InputError as error:
            if self.form is not None:
                self._fill_form(self.form)
                self.form.show_problem(error.sentence)

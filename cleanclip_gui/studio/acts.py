"""What the user can do to the trigger in Studio: acts of menu, keys and toolbars."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from PySide6.QtCore import QMimeData, Qt
from PySide6.QtGui import QGuiApplication, QTransform
from PySide6.QtWidgets import QWidget

from cleanclip_gui.studio import form_sections, library, trigger_files
from cleanclip_gui.studio.canvas import scene_trigger
from cleanclip_gui.studio.canvas.scene import turned
from cleanclip_gui.studio.canvas.tools import Tool
from cleanclip_gui.studio.library_dialog import TriggerLibrary
from cleanclip_gui.studio.trigger_form import TriggerForm
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger
from ml_core.triggers.make import demo_trigger

if TYPE_CHECKING:
    from cleanclip_gui.studio.station import StudioStation

_NO_TRIGGER = "There is no trigger to save yet; paint one first."


class StudioActs:
    """Mixed into the panel; what goes wrong is emitted as a sentence through ``failed``."""

    def undo(self: StudioStation) -> None:
        """Undo the last act on the canvas."""
        self.canvas.cancel() if self.canvas.holding else self.document.undo()

    def redo(self: StudioStation) -> None:
        """Do it again."""
        self.document.redo()

    def clear(self: StudioStation) -> None:
        """Remove paint, patch and overlay."""
        self.canvas.cancel()
        self.document.clear()

    def use_tool(self: StudioStation, name: str) -> None:
        """Take a tool."""
        self.canvas.set_tool(cast(Tool, name))

    def flip_to_a(self: StudioStation) -> None:
        """Put snapshot A on the canvas."""
        self.document.switch_snapshot("A")

    def flip_to_b(self: StudioStation) -> None:
        """Put snapshot B on the canvas."""
        self.document.switch_snapshot("B")

    def mirror_h(self: StudioStation) -> None:
        """Mirror selection, patch or paint: left and right."""
        self._mirror(upright=False)

    def mirror_v(self: StudioStation) -> None:
        """Mirror selection, patch or paint: top and bottom."""
        self._mirror(upright=True)

    def _mirror(self: StudioStation, *, upright: bool) -> None:
        patch = self.document.patch
        text = "Mirror top and bottom" if upright else "Mirror left and right"
        if self.canvas.selection.rect is None and patch is not None:
            mirrored = scene_trigger.mirrored(patch, upright=upright)
            self.document.set_patch(mirrored, text)
        else:
            scale = QTransform.fromScale(1, -1) if upright else QTransform.fromScale(-1, 1)
            self._transform_paint(scale, text)

    def rotate(self: StudioStation) -> None:
        """Turn selection, patch or paint by 90 degrees, clockwise."""
        patch = self.document.patch
        if self.canvas.selection.rect is None and patch is not None:
            self.document.set_patch(turned(patch, patch.rotation + 90), "Turn by 90°")
        else:
            self._transform_paint(QTransform().rotate(90), "Turn by 90°")

    def _transform_paint(self: StudioStation, change: QTransform, text: str) -> None:
        """Transform what is marked, or all that is painted."""
        marked = self.canvas.selection.rect is not None
        if not marked:
            self.canvas.selection.mark_painted()
        self.canvas.selection.transform(change, text)
        if not marked:
            self.canvas.selection.unmark()

    def use_demo_trigger(self: StudioStation) -> None:
        """Stamp the sticker that the demo model was poisoned with."""
        self._use_made(demo_trigger)

    def upload(self: StudioStation) -> None:
        """Ask for a picture, a tensor, a saved trigger, or a pattern and its mask; stamp it."""
        title = "Upload a trigger: one file, or a pattern and its mask"
        paths = self.prompts.open_files(self, title, "", trigger_files.PICTURES)
        if paths:
            self._use_made(lambda: trigger_files.from_files([Path(path) for path in paths]))

    def load_trigger(self: StudioStation, path: str | Path | None = None) -> None:
        """Stamp a saved trigger, a picture or a tensor; asks for the file when none is given."""
        if path is None:
            self.upload()
        else:
            self._use_made(lambda: trigger_files.load(path))

    def paste(self: StudioStation) -> None:
        """Stamp the picture in the clipboard."""
        self._take_mime(QGuiApplication.clipboard().mimeData(), "The clipboard holds no picture.")

    def copy(self: StudioStation) -> None:
        """Put the trigger in the clipboard, as files and as a picture."""
        mime = self._make_mime()
        if mime is not None:
            QGuiApplication.clipboard().setMimeData(mime)

    def _make_mime(self: StudioStation) -> QMimeData | None:
        """What is dragged out of the window."""
        trigger = self.current_trigger()
        if trigger is None:
            return None
        try:
            return self.dragged.mime(trigger, self.document.cut_out())
        except InputError as error:
            self.failed.emit(error)
            return None

    def save_trigger(self: StudioStation) -> None:
        """Save the trigger under a name in the library."""
        trigger = self.current_trigger()
        if trigger is None:
            self.failed.emit(InputError(_NO_TRIGGER))
            return
        name = self.ask_name(trigger.name)
        if name:
            try:
                trigger_files.save_named(trigger, name)
            except InputError as error:
                self.failed.emit(error)

    def save_trigger_as(self: StudioStation) -> None:
        """Save the trigger where the user says."""
        trigger = self.current_trigger()
        if trigger is None:
            self.failed.emit(InputError(_NO_TRIGGER))
            return
        name = f"{trigger_files.file_stem(trigger.name) or 'trigger'}.json"
        path = self.prompts.save_file(self, "Save the trigger", name, "Triggers (*.json)")
        if path:
            try:
                trigger_files.save_trigger(trigger, path)
            except InputError as error:
                self.failed.emit(error)

    def use_trigger(self: StudioStation, trigger: Trigger, *, add: bool = False) -> None:
        """Put a trigger on the canvas in the place of what is there, as one undo step."""
        scene_trigger.put_on(self.document, trigger, add=add)
        if scene_trigger.is_movable(trigger):
            self.canvas.set_tool("move")

    def _use_made(self: StudioStation, make: Callable[[], Trigger], *, add: bool = False) -> None:
        """Use a trigger that is made or read now; what goes wrong becomes a sentence."""
        try:
            self.use_trigger(make(), add=add)
        except InputError as error:
            self.failed.emit(error)

    def _take_mime(self: StudioStation, mime: QMimeData | None, otherwise: str) -> None:
        try:
            trigger = None if mime is None else trigger_files.from_mime(mime)
        except InputError as error:
            self.failed.emit(error)
            return
        if trigger is None:
            self.failed.emit(InputError(otherwise))
        else:
            self.use_trigger(trigger)

    def show_library(self: StudioStation) -> None:
        """Show the library of triggers."""
        dialog = TriggerLibrary(library.entries(self.document.size), self.window())
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.chosen.connect(self._on_library_chosen)
        dialog.file_wanted.connect(self._use_with_file)
        dialog.delete_wanted.connect(self._on_delete_wanted)
        self.library = dialog
        dialog.open()

    def _on_library_chosen(self: StudioStation, key: str, add: bool) -> None:
        entry = library.find(key)
        if entry is not None and entry.needs_file and not entry.without_file:
            self._use_with_file(key, add)
        else:
            self._use_made(lambda: library.make(key, self.document.size, None), add=add)

    def _use_with_file(self: StudioStation, key: str, add: bool = False) -> None:
        """Ask for the file that a published trigger is made of."""
        entry = library.find(key)
        name = key if entry is None else entry.name
        file = self.prompts.open_file(self, f"File of {name}", "", trigger_files.PICTURES)
        if file:
            self._use_made(lambda: library.make(key, self.document.size, file), add=add)

    def _on_delete_wanted(self: StudioStation, key: str) -> None:
        """Delete a saved trigger, once the user has said so."""
        name = library.saved_name(key)
        asked = self.prompts.confirm(
            self, "Delete trigger", f"Delete {name} from the library?", "Delete", "Keep"
        )
        if asked:
            try:
                library.delete(key)
            except InputError as error:
                self.failed.emit(error)
            self.library.set_entries(library.entries(self.document.size))

    def show_parameters(self: StudioStation) -> None:
        """Show the trigger's parameters; the window stays usable meanwhile."""
        if self.form is None:
            self.form = TriggerForm(cast(QWidget, self))
            self.form.setWindowFlag(Qt.WindowType.Tool)
            self.form.field_changed.connect(self._on_field_changed)
        self._fill_form()
        self.form.show()
        self.form.raise_()
        self.form.activateWindow()

    def _fill_form(self: StudioStation) -> None:
        if self.form is None:
            return
        try:
            trigger = self.current_trigger()
        except InputError as error:
            self.form.show_problem(error.sentence)
            return
        title = "No trigger" if trigger is None else trigger.name or "Trigger"
        lead = (
            "Paint one, or choose one from the library."
            if trigger is None
            else library.conventions(trigger)
        )
        found = form_sections.sections(self.document.scene, trigger)
        self.form.show_sections(title, lead, found)

    def _on_field_changed(self: StudioStation, key: str, field: str, value: Any) -> None:
        try:
            if key == "whole" and field == "text":
                self._on_text_chosen(value)
            elif key == "whole":
                scene_trigger.change_trigger(self.document, field, value)
            else:
                part = cast(scene_trigger.Part, key)
                scene_trigger.change_part(self.document, part, field, value)
        except InputError as error:
            self._fill_form()
            if self.form is not None:
                self.form.show_problem(error.sentence)

    def measure_all(self: StudioStation) -> None:
        """Measure the trigger on the whole set, also on a slow model."""
        self.placement_bar.one.setChecked(False)
        self.live.measure_all()

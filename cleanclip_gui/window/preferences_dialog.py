"""All settings that people choose; each takes effect as soon as it is changed."""

from __future__ import annotations

import os
from functools import partial
from typing import Any, cast

from PySide6.QtCore import QSignalBlocker, Qt
from PySide6.QtWidgets import QApplication, QCheckBox, QComboBox, QSpinBox, QWidget

from cleanclip_gui import theme
from cleanclip_gui.jobs import tasks
from cleanclip_gui.session.records import is_live
from cleanclip_gui.session.settings import Settings
from cleanclip_gui.station import Context
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.controls import BusyRow, ElidedLabel, Label, Note, named, push_button
from cleanclip_gui.widgets.dialog_frame import (
    ClosingDialog,
    field_form,
    primary_button,
    resize_within,
)
from cleanclip_gui.widgets.layout import column, page, row, scrolling
from cleanclip_gui.widgets.number_box import fill
from cleanclip_gui.widgets.prompts import show_on_desktop
from cleanclip_gui.widgets.text import bytes_text, device_text, plain, plural, tip
from ml_core.cache import Freed, cache_bytes, clear_cache
from ml_core.paths import cache_dir, data_dir

_THEMES = (
    ("system", "As the desktop"), ("light", "Light"), ("dark", "Dark"),
    ("contrast-light", "Light, high contrast"), ("contrast-dark", "Dark, high contrast"),
)  # fmt: skip
_STILL = ("reduced", "Nothing moves by itself")
_MOTIONS = (
    (("system", "As the desktop"), ("full", "As usual"), _STILL)
    if theme.desktop_tells_motion()
    else (("system", "As usual"), _STILL)
)
_PRECISIONS = (("auto", "Fastest that agrees with float32"), ("fp32", "float32 always"))
_PRECISION = "What Studio measures with. A cleaning run has its own, among all its settings."
_THREADS = "Studio uses them at once, a job when it next starts."
_HUB = "Repositories are fetched only when you ask for one. Off: nothing asks the Hub."


def prefer(context: Context, name: str, value: Any) -> None:
    """Keep a field of :class:`Settings`, and let it take effect at once."""
    context.settings.update(**{name: value})
    if name == "theme":
        theme.apply_theme(cast(QApplication, QApplication.instance()), value)
    elif name == "size":
        theme.set_size(value)
    elif name == "motion":
        theme.set_motion(value)
    elif name == "device" and context.session.devices:
        context.device.move(value or context.session.devices[0])
    elif name == "threads":
        context.device.use_threads(value)
    if name in ("threads", "precision"):
        context.shell.computing_changed.emit()
    context.shell.commands_changed.emit()


class PreferencesDialog(theme.Themed, ClosingDialog):
    """Device, look, hub, folders and cache.

    Parameters
    ----------
    context
        Its settings and session are shown.
    """

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__("Preferences", parent)
        self._context, self._prefer = context, partial(prefer, context)
        self._ticket = Ticket.closed()
        self.device = self._combo("Device")
        self.threads = named(QSpinBox(), "Threads", _THREADS)
        self.threads.setRange(0, max(os.cpu_count() or 1, context.settings.value.threads))
        self.threads.setSpecialValueText("As many as suit the processor")
        self.threads.lineEdit().setTextMargins(9, 0, 0, 0)
        self.threads.setKeyboardTracking(False)
        self.threads.valueChanged.connect(partial(self._prefer, "threads"))
        self.precision = self._combo("Precision", _PRECISIONS)
        self.precision.setToolTip(_PRECISION)
        self.theme = self._combo("Theme", _THEMES)
        self.size_ = self._combo("Size", tuple((size, f"{size} %") for size in theme.SIZES))
        self.motion = self._combo("Motion", _MOTIONS)
        self.hub = named(QCheckBox("Allowed"), "Hugging Face Hub")
        self.hub.toggled.connect(partial(self._prefer, "hub"))
        choices = field_form()
        for name, field in (
            ("&Device", self.device), ("Th&reads", self.threads), ("&Precision", self.precision),
            ("&Theme", self.theme), ("&Size", self.size_), ("&Motion", self.motion),
            ("&Hugging Face Hub", self.hub),
        ):  # fmt: skip
            choices.addRow(Label(name, "field", buddy=field), field)
        choices.addRow(Label(), Label(_HUB, "caption", wrap=True))
        choices.addRow(Label("Folders", "heading"))
        for title, folder in (
            ("Data", data_dir()), ("Settings", context.settings.folder), ("Cache", cache_dir()),
        ):  # fmt: skip
            button = push_button(
                "Open folder", partial(show_on_desktop, folder, context.shell.failed),
                name=f"Open the folder of {title.lower()}",
            )  # fmt: skip
            button.setAutoDefault(False)
            path = ElidedLabel(plain(str(folder), 400))
            path.setToolTip(tip(str(folder)))
            choices.addRow(Label(title, "field"), row((path, 1), button, spacing=theme.SPACE_S))
        self.cache = named(Label("", "subtle", wrap=True), "Size of the cache")
        self.clear = push_button("C&lear cache", self.clear_cache)
        self.busy = BusyRow("Progress of clearing the cache", self._on_cancel)
        self.busy.show_share(None)
        self.busy.hide()
        choices.addRow(Label(), row((self.cache, 1), self.clear, spacing=theme.SPACE_S))
        self.note = Note("subtle")
        scroll = scrolling(page(choices, self.busy, self.note, None, spacing=theme.SPACE_M))
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        restore = push_button("&Restore defaults", self.restore_defaults)
        restore.setAutoDefault(False)
        close = primary_button("Close", self.accept)
        column(
            Label("Preferences", "title"), scroll, row(restore, None, close),
            of=self, margins=theme.SPACE_XL, spacing=theme.SPACE_M,
        )  # fmt: skip
        self._fill()
        resize_within(self, 600, 680)
        self._measure()

    def _combo(self, name: str, entries: tuple[tuple[object, str], ...] = ()) -> QComboBox:
        combo = fill(named(QComboBox(), name), entries)
        combo.activated.connect(lambda at: self._prefer(name.lower(), combo.itemData(at)))
        return combo

    def _fill(self) -> None:
        """Show what is set now."""
        settings, session = self._context.settings.value, self._context.session
        devices = [("", "Automatic"), *((name, device_text(name)) for name in session.devices)]
        if settings.device and settings.device not in session.devices:
            devices.append((settings.device, f"{device_text(settings.device)} (not here now)"))
        fill(self.device, devices, settings.device)
        for combo, value in (
            (self.theme, settings.theme), (self.size_, settings.size),
            (self.motion, settings.motion), (self.precision, settings.precision),
        ):  # fmt: skip
            combo.setCurrentIndex(max(combo.findData(value), 0))
        with QSignalBlocker(self.threads):
            self.threads.setValue(settings.threads)
        run = session.run
        held = is_live(run) and run is not None and run.device != "cpu"
        self.device.setEnabled(not held)
        self.device.setToolTip("Change the device after the run." if held else "")
        self.hub.setChecked(settings.hub)

    def restore_defaults(self) -> None:
        """Everything here as it was at first; what was opened last is kept."""
        usual = Settings()
        for name in ("hub", "theme", "size", "motion", "device", "threads", "precision"):
            if name != "device" or self.device.isEnabled():
                self._prefer(name, getattr(usual, name))
        self._fill()

    # The cache

    def _measure(self) -> None:
        tasks.run(lambda _: cache_bytes(), self._on_measured, slot="size")

    def _on_measured(self, size: int) -> None:
        self.cache.setText(f"{bytes_text(size)}; cleared files are made again when needed")
        self.clear.setEnabled(size > 0 and not self._ticket.is_open)

    def clear_cache(self) -> None:
        """Remove what can be made again, in the background."""

        def work(control: tasks.TaskControl) -> Freed:
            return clear_cache(cancelled=control.cancelled)

        self.note.setText("")
        self.busy.show()
        self.clear.setEnabled(False)
        self._ticket = tasks.run(work, self._on_cleared, lambda error: self._end(error.sentence))

    def _on_cleared(self, freed: Freed) -> None:
        words = f"{bytes_text(freed.bytes)} were freed, {plural(freed.files, 'file')}."
        if freed.left:
            words += f" {plural(freed.left, 'file')} in use stayed."
        self._end(words)

    def _on_cancel(self) -> None:
        self._ticket.cancel()
        self._end("Cancelled; what was removed is made again when it is needed.")

    def _end(self, words: str) -> None:
        self.busy.hide()
        self.note.setText(plain(words, 300))
        self._measure()

    def dress(self) -> None:
        """Grow with the size that is chosen here."""
        if self.isVisible():
            resize_within(self, 600, 680)

    def done(self, result: int) -> None:
        """Leave off clearing when the dialog closes."""
        self._ticket.cancel()
        super().done(result)

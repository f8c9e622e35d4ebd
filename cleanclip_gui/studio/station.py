"""Studio: put a trigger on pictures, and see at once what the model does."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QHideEvent, QKeySequence, QResizeEvent
from PySide6.QtWidgets import QMenu, QTabWidget, QToolButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.commands import INSIDE, Actions, Command, KeyTable
from cleanclip_gui.inference.questions import (
    EvaluationUpdated,
    Failed,
    PredictionReady,
    Thumbnails,
    ThumbnailsReady,
)
from cleanclip_gui.jobs.job_dialog import JobDialogs
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.session import ImagesState, ShownCheckpoint
from cleanclip_gui.session.records import Role, ShownPrediction
from cleanclip_gui.station import AtWork, Context, Page, Scene
from cleanclip_gui.studio import trigger_files
from cleanclip_gui.studio.asr_figure import AsrFigure
from cleanclip_gui.studio.canvas.canvas import TriggerCanvas
from cleanclip_gui.studio.canvas.document import PaintDocument
from cleanclip_gui.studio.canvas.scene import Snapshot
from cleanclip_gui.studio.canvas.tool_bar import ToolBar
from cleanclip_gui.studio.canvas.tools import TOOLS, key_rows
from cleanclip_gui.studio.canvas.trigger_bar import TriggerBar
from cleanclip_gui.studio.canvas.view_bar import ViewBar
from cleanclip_gui.studio.gallery.gallery import Gallery
from cleanclip_gui.studio.library_dialog import LibraryScan
from cleanclip_gui.studio.live import AutoSpeed, LiveLoop, VisibleLabels
from cleanclip_gui.studio.pages.attribution import AttributionPage
from cleanclip_gui.studio.pages.classes import ClassesPage
from cleanclip_gui.studio.pages.embedding_map import EmbeddingMapPage
from cleanclip_gui.studio.pages.pair import PairPage
from cleanclip_gui.studio.plant_dialog import PlantDialog
from cleanclip_gui.studio.probability_bars import ProbabilityBars
from cleanclip_gui.studio.result_details import ShownResult
from cleanclip_gui.studio.trigger_editor import TriggerEditor
from cleanclip_gui.widgets.columns import Columns, Needs, Room, fit_titles
from cleanclip_gui.widgets.controls import (
    BusyRow,
    Label,
    action_tool,
    bind,
    named,
    push_button,
    tool_button,
)
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import card, column, page, row, scrolling
from cleanclip_gui.widgets.text import count_text, left_text, plain, tip
from ml_core.data.demo_text import TARGET_NAME
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger


class PageTabs(QTabWidget):
    """The trigger's canvas, and the pages that show why the model answers so.

    Where there is little room, a menu offers the pages of :data:`_RARE`, each of which has a tab
    while it is on show; where even the other titles do not fit, each has its short form.
    """

    def __init__(self, actions: Actions) -> None:
        super().__init__()
        self.setObjectName("studioPages")
        self.setAccessibleName("Trigger and explanations")
        self.setDocumentMode(True)
        self.tabBar().setDrawBase(False)
        self._names: list[str] = []
        self._titles: list[tuple[str, str]] = []  # in full, and short
        self.more = tool_button("", "More explanations")
        self.more.setText("More")
        self.more.setProperty("menu", True)
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self.more)
        menu.addActions([actions[f"view.{name}"] for name in _RARE])
        self.more.setMenu(menu)
        end = QWidget()
        row(self.more, action_tool(actions["view.numbers"]), of=end, spacing=2)
        begin = action_tool(actions["view.gallery"])
        self.setCornerWidget(begin, Qt.Corner.TopLeftCorner)
        self.setCornerWidget(end, Qt.Corner.TopRightCorner)
        self.setTabOrder(begin, self.tabBar())
        self.currentChanged.connect(self._fit)

    def add_page(self, name: str, page: QWidget, title: str, short: str, tool_tip: str) -> None:
        """Append a page; ``name`` is for :meth:`show_page`, the titles are for the user."""
        self._names.append(name)
        self._titles.append((title, short))
        self.setTabToolTip(self.addTab(page, title), tool_tip)

    @property
    def page(self) -> str:
        """Name of the page on show."""
        return self._names[self.currentIndex()]

    def show_page(self, name: str) -> None:
        number = self._names.index(name)
        self.setTabVisible(number, True)  # a hidden tab cannot be the current one
        self.setCurrentIndex(number)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Take the tabs and titles that there is room for."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self, *_: int) -> None:
        narrow = self.width() < theme.px(_ALL_TABS)
        for number, name in enumerate(self._names):
            self.setTabVisible(number, not (narrow and name in _RARE and name != self.page))
        self.more.setVisible(narrow)
        places = (Qt.Corner.TopLeftCorner, Qt.Corner.TopRightCorner)
        beside = sum(self.cornerWidget(place).sizeHint().width() for place in places)
        fit_titles(self.tabBar(), self._titles, self.width() - beside)


MIDDLE, SIDE = Needs(424, 480), Needs(316, 348)  # the numbers are the side
_AT_ONCE = 2.0  # seconds
_RARE, _ALL_TABS = ("pair", "classes"), 700  # pixels of width for a tab of each page
_REST_MS = 250
_ASKED = "Predicting…"
_NO_STEP = "There is no step on Studio's canvas to go to."
_TEXTS = "Class texts are being embedded…"
# Name, tab, tab where room is short, tool tip of the tab, command, icon and key of each page.
_PAGES = (
    (
        "trigger", "Trigger", "Trigger", "Paint or choose a trigger",
        "Trigger can&vas", "stamp", "Ctrl+Shift+1",
    ),
    (
        "attribution", "Where it looks", "Looks", "Where the model looks on one picture",
        "Where the model loo&ks", "eye", "Ctrl+Shift+2",
    ),
    (
        "map", "Map", "Map", "Embedding map: pictures and class texts in the plane",
        "Em&bedding map", "dot", "Ctrl+Shift+3",
    ),
    (
        "pair", "Two checkpoints", "Pair", "Both on the same pictures and trigger",
        "Two c&heckpoints", "compare", "Ctrl+Shift+4",
    ),
    (
        "classes", "By class", "Classes", "Numbers of each class, and what triggered images become",
        "N&umbers by class", "grid", "Ctrl+Shift+5",
    ),
)  # fmt: skip


_NATIVE = QKeySequence.SequenceFormat.NativeText


class StudioStation(Page):
    """Gallery on the left, canvas and pages in the middle, numbers on the right.

    It writes ``role``, ``target``, ``selected_image``, ``prediction`` and ``other_snapshot`` of the
    session; its live loop writes ``trigger`` and ``evaluation``.
    """

    id = "studio"
    title = "&Studio"
    question = "What does a trigger do?"
    icon = "studio"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._inference, self._actions = context.inference, context.actions

        self.document = PaintDocument(64, self)
        self.canvas = TriggerCanvas(self.document)
        self.canvas.setObjectName("studio.canvas")
        self.editor = TriggerEditor(self.canvas, context.prompts, context.shell)
        self.gallery = Gallery()
        self._other: Snapshot | None = None  # that the session was told of last
        self.live = LiveLoop(self.session, self._inference, self.editor.current_trigger, self)
        self._follow_session()  # before its parts do: they find role and target in order
        self.visible_labels = VisibleLabels(self.session, self._inference, self.live, self.gallery)
        self.auto_speed = AutoSpeed(self.session, self._inference, self.live, context.settings)
        self.shell.computing_changed.connect(self.auto_speed.choose_again)
        self._trigger_rests = QTimer(self, singleShot=True, interval=_REST_MS)
        self._trigger_rests.timeout.connect(self._on_trigger_rests)
        self.session.events.trigger.connect(self._on_trigger_change)
        self.result = ShownResult(context, self)
        self.attribution = AttributionPage(context, lambda: self.live.rate)
        self.map = EmbeddingMapPage(context, lambda: self.live.rate)
        self.pair = PairPage(context, self.gallery, lambda: self.live.limit)
        self.classes = ClassesPage(context)

        self.planting = JobDialogs("the planting", self._plant_dialog, self)
        self.planting.failed.connect(self.shell.failed)
        self.planting.used.connect(partial(self.shell.open, "checkpoint"))
        context.actions.add(self.commands())
        context.actions.key_tables.append(KeyTable("On Studio's canvas", key_rows()))
        self.trigger_bar = TriggerBar(context.actions, self.editor.make_mime)
        self.tool_bar = ToolBar(self.canvas, context.actions)
        self.view_bar = ViewBar(self.canvas)
        self.pages = PageTabs(context.actions)
        self.figure = AsrFigure()
        self.figure.setObjectName("studio.figure")
        self.measured = bind(push_button(look="quiet"), context.actions["view.number"], text=True)
        self.measure_whole = push_button("Measure all", look="quiet")
        self.whole = BusyRow("Progress of measuring the whole set")
        bind(self.measure_whole, context.actions["trigger.measure_all"])
        self.image_title = Label("Selected image", "heading")
        self.bars = ProbabilityBars()
        self._lay_out()

        self._connect_canvas()
        self._connect_numbers()
        self._connect_pages()
        self._on_history_changed()
        self._show_trigger()
        self._on_images_change(self.session.images, self.session.images)
        self._on_checkpoint_change(self.session.checkpoint)
        context.actions.refresh()

    def _lay_out(self) -> None:
        """Three columns; the canvas takes what is left."""
        canvas_page = QWidget()
        column(
            self.trigger_bar, self.tool_bar, (self.canvas, 1), self.view_bar,
            of=canvas_page, margins=(0, theme.SPACE_S, 0, 0), spacing=theme.SPACE_XS,
        )  # fmt: skip
        widgets = {
            "trigger": canvas_page,
            "attribution": self.attribution,
            "map": self.map,
            "pair": self.pair,
            "classes": self.classes,
        }
        for name, title, short, tool_tip, *_ in _PAGES:
            self.pages.add_page(name, widgets[name], title, short, tool_tip)

        margins = (theme.SPACE_L, theme.SPACE_M, theme.SPACE_L, theme.SPACE_S)
        bars = card(self.image_title, (self.bars, 1), margins=margins, spacing=theme.SPACE_S)
        below = row(
            (FoldingRow(self.measured, self.measure_whole), 1), (self.whole, 2),
            spacing=theme.SPACE_S,
        )  # fmt: skip
        below.addStrut(self.whole.sizeHint().height())  # so that nothing moves when it shows
        self.measure_whole.hide()
        self.whole.hide()
        numbers = page(self.figure, below, (bars, 1), spacing=theme.SPACE_M)
        side = named(scrolling(numbers), "Numbers")
        self.columns = Columns(
            self.gallery, self.pages, side,
            Room(Needs(self.gallery.width_of(1), self.gallery.width_of(2)), MIDDLE, SIDE),
            self.context.settings, self.id,
        )  # fmt: skip
        self.columns.shown_changed.connect(self._actions.refresh_soon)
        row(
            self.columns,
            of=self, margins=(theme.SPACE_S, theme.SPACE_M, theme.SPACE_S, theme.SPACE_M),
        )  # fmt: skip

    # What the window asks of a station

    def is_available(self) -> bool:
        """Whether a checkpoint is open."""
        return self.session.checkpoint is not None

    def at_work(self) -> tuple[AtWork, ...]:
        """A planting; measuring begins again at the next start."""
        if not self.planting.is_running:
            return ()
        kept = "What was saved last is kept, and `cleanclip plant --resume` goes on from there."
        return (AtWork("A trigger is being planted.", kept, self.planting.cancel),)

    def take_file(self, path: Path) -> bool:
        """Take pictures, arrays and JSON as triggers."""
        is_mine = trigger_files.is_trigger(path)
        if is_mine:
            self.shell.station_wanted.emit(self.id)
            self.editor.load_trigger(path)
        return is_mine

    def scene(self) -> Scene:
        """The canvas, which can be painted on, and what the model makes of a few pictures."""
        return Scene(self.canvas, self.gallery.for_audience(self.session.target))

    def commands(self) -> tuple[Command, ...]:
        """What can be done to the trigger, and the pages that explain what it does."""
        commands = (*self._edit_commands(), *self._trigger_commands(), *self._view_commands())
        needs: dict[object, str] = {
            self._is_shown: "Go to Studio first.",
            self._has_trigger: "Needs a trigger on Studio's canvas.",
            self.is_available: "Open a checkpoint first.",
        }
        return tuple(
            replace(command, needs=needs[command.enabled]) if command.enabled in needs else command
            for command in commands
        )

    def _edit_commands(self) -> tuple[Command, ...]:
        editor, stack = self.editor, self.document.stack
        return (
            Command(
                "edit.undo", "&Undo", "&Edit", editor.undo, "Undo the last act on the canvas.",
                "undo", "Ctrl+Z", 0, lambda: self._is_shown() and stack.can_undo(), needs=_NO_STEP,
            ),
            Command(
                "edit.redo", "&Redo", "&Edit", self.document.redo, "Redo the undone act.", "redo",
                "Ctrl+Shift+Z",
                0, lambda: self._is_shown() and stack.can_redo(), needs=_NO_STEP,
            ),
            Command(
                "edit.paste", "&Paste picture as trigger", "&Edit", editor.paste,
                "Stamp the picture in the clipboard.", "paste", "Ctrl+V", 1, self._is_shown,
            ),
            Command(
                "edit.copy", "C&opy trigger", "&Edit", editor.copy,
                "Copy the trigger; from its picture in the bar it can be dragged out as a file.",
                "copy", "Ctrl+C", 1, self._has_trigger,
            ),
            Command(
                "edit.clear", "&Clear the canvas", "&Edit", editor.clear,
                "Remove paint and patch; Delete on the canvas.", "clear", "Ctrl+Backspace", 1,
                self._has_trigger,
            ),
            *(
                Command(
                    f"trigger.tool_{name}", with_key(text, key), "&Paint",
                    partial(self.canvas.set_tool, name),
                    f"{key} while the canvas has the focus.", icon,
                    "", 0, self._is_shown, partial(self._holds, name), "tool",
                )
                for name, icon, text, key in TOOLS
            ),
        )  # fmt: skip

    def _trigger_commands(self) -> tuple[Command, ...]:
        editor = self.editor
        return (
            *(
                Command(
                    f"trigger.flip_{slot.lower()}", f"Flip to snapshot &{slot}", "&Trigger",
                    partial(self.document.switch_snapshot, slot),
                    f"Show trigger {slot}, and keep {other}.", "compare", keys, 0, self._is_shown,
                    partial(self._on_slot, slot), "slot",
                )
                for slot, other, keys in (("A", "B", "Ctrl+7"), ("B", "A", "Ctrl+8"))
            ),
            Command(
                "trigger.mirror", "Mirror left and &right", "&Trigger",
                partial(editor.mirror, False),
                "Mirror patch or paint; M on the canvas.", "mirror-h", "", 0,
                self._has_trigger,
            ),
            Command(
                "trigger.mirror_down", "&Mirror top and bottom", "&Trigger",
                partial(editor.mirror, True),
                "Mirror patch or paint; Shift+M on the canvas.", "mirror-v", "", 0,
                self._has_trigger,
            ),
            Command(
                "trigger.rotate", "&Turn by 90°", "&Trigger", editor.rotate,
                "Turn patch or paint clockwise.", "rotate", "Ctrl+Shift+R", 0,
                self._has_trigger,
            ),
            Command(
                "trigger.demo", "Use the &demo sticker", "&Trigger", editor.use_demo_trigger,
                "Stamp the sticker that the demo model was poisoned with.", "stamp", "Ctrl+J", 1,
                self._is_shown,
            ),
            Command(
                "trigger.library", "&Library…", "&Trigger", self.show_library,
                "Published triggers, and those that you saved.", "library", "Ctrl+Shift+B", 1,
                self._is_shown,
            ),
            Command(
                "trigger.parameters", "Param&eters…", "&Trigger", editor.show_parameters,
                "Every number of the trigger, with its range and unit.", "sliders",
                "Ctrl+Shift+P", 1, self._is_shown,
            ),
            Command(
                "trigger.upload", "&Upload picture or trigger…", "&Trigger", editor.upload,
                "Stamp a picture, a saved trigger, or a pattern and its mask.",
                "upload", "Ctrl+U", 1, self._is_shown,
            ),
            Command(
                "trigger.save", "&Save trigger in the library…", "&Trigger", editor.save_trigger,
                "Keep the trigger under a name.", "save", "Ctrl+Shift+S", 1, self._has_trigger,
            ),
            Command(
                "trigger.plant", "Plant this trigger in a cop&y…", "&Trigger", self.planting.open,
                "Poison a copy of the checkpoint with it, for research.", "stamp", "", 1,
                self._can_plant,
            ),
            Command(
                "trigger.save_as", "Sa&ve trigger as a file…", "&Trigger", editor.save_trigger_as,
                "Save the trigger to a place of your choice.", "save", "", 1, self._has_trigger,
            ),
            Command(
                "trigger.measure_all", "Measure on the &whole set", "&Trigger",
                self.live.measure_all,
                "Use all images, even if the model is slow.", "target", "Ctrl+Shift+M", 2,
                self._is_shown,
            ),
            Command(
                "trigger.one_image", "Look at th&is picture only", "&Trigger", self._toggle_scope,
                "Measure nothing on the other pictures.", "image", "", 2, self._is_shown,
                lambda: self.live.one_image,
            ),
            Command(
                "trigger.next", "&Next picture", "&Trigger", partial(self.gallery.step, 1),
                "Look at the next picture of the gallery.", "next", "Alt+Right", 2, self._is_shown,
            ),
            Command(
                "trigger.previous", "&Previous picture", "&Trigger", partial(self.gallery.step, -1),
                "Look at the picture before it.", "back", "Alt+Left", 2, self._is_shown,
            ),
        )  # fmt: skip

    def _view_commands(self) -> tuple[Command, ...]:
        pages = (
            Command(
                f"view.{name}", text, "&View", partial(self.show_page, name), f"{tool_tip}.",
                icon, keys, 1, self.is_available, submenu=INSIDE,
            )
            for name, _, _, tool_tip, text, icon, keys in _PAGES
        )  # fmt: skip
        return (
            *pages,
            Command(
                "view.gallery", "Galler&y", "&View", lambda: self.columns.toggle_left(),
                "Show or hide Studio's gallery.", "column-left", "Ctrl+Shift+G", 1,
                self._is_shown, lambda: self.columns.left_open, submenu=INSIDE,
            ),
            Command(
                "view.numbers", "Numbers at the ri&ght", "&View",
                lambda: self.columns.toggle_right(), "Show or hide Studio's numbers.",
                "column-right", "Ctrl+Shift+H", 1, self._is_shown,
                lambda: self.columns.right_open, submenu=INSIDE,
            ),
            Command(
                "view.number", "How this was &measured…", "&View", self.result.show,
                "Everything needed to reproduce the number.", "info",
                "Ctrl+Shift+N", 1, lambda: self._is_shown() and self.result.can_show,
                submenu=INSIDE,
            ),
        )  # fmt: skip

    def show_page(self, name: str) -> None:
        """Show the canvas or one of the pages that explain."""
        self.shell.station_wanted.emit(self.id)
        self.pages.show_page(name)

    def show_library(self) -> None:
        """Offer the library, with a picture of each trigger and the way to measure all of them."""
        self.editor.show_library()
        size = self.document.size
        if self.editor.library is not None:
            LibraryScan(
                self.context, self.editor.library, lambda key: trigger_files.make(key, size, None),
                trigger_files.measurable(size), self.live.rate,
            )  # fmt: skip

    def _is_shown(self) -> bool:
        return self.session.station == self.id

    def _has_trigger(self) -> bool:
        return self._is_shown() and self.editor.has_trigger()

    def _can_plant(self) -> bool:
        return self._has_trigger() and self.session.checkpoint is not None

    def _plant_dialog(self, dialog: PlantDialog | None) -> PlantDialog | None:
        task = JobTask("plant", self.context.new_runner)
        return PlantDialog(task, self.session, self.context.prompts, self.window())

    def _holds(self, tool: str) -> bool:
        return self.canvas.tool == tool

    def _on_slot(self, slot: str) -> bool:
        return self.document.scene.slot == slot

    # The trigger: from a change on the canvas to a question

    def _connect_canvas(self) -> None:
        canvas, document = self.canvas, self.document
        canvas.mirror_wanted.connect(self.editor.mirror)
        document.changed.connect(self.live.touch)
        document.changed.connect(self._on_document_changed)
        document.edit_finished.connect(self._on_edit_finished)
        document.stack.changed.connect(self._on_history_changed)
        self.shell.takes("trigger", self._on_trigger_wanted)
        self.shell.takes("snapshot", self.editor.set_other_snapshot)

    def _on_document_changed(self) -> None:
        if not self.document.editing:
            self._show_trigger()

    def _on_edit_finished(self) -> None:
        """Show the picture, held back during the edit; its numbers are asked for already."""
        self._show_trigger()
        self.live.look()

    def _on_trigger_wanted(self, trigger: Trigger | None, target: int) -> None:
        """Take a trigger from outside, with the class that it aims at."""
        self.session.target = target
        self.editor.show(trigger)
        self.live.take_trigger()  # who asked for it may use it at once

    def _show_trigger(self) -> None:
        """Say in the toolbars what the canvas holds."""
        scene, bar = self.document.scene, self.trigger_bar
        if scene.other is not self._other:
            self._other = scene.other
            self.session.other_snapshot = self.editor.other_snapshot()
        bar.show_slots(scene.other is not None)
        try:
            trigger = self.editor.current_trigger()
        except InputError:
            trigger = None
        if trigger is None:
            bar.show_trigger("No trigger", "", None)
            return
        standing = trigger_files.standing_of(trigger, self.document.size)
        bar.show_trigger(trigger.name or "Trigger", standing, self.document.cut_out())

    def _on_history_changed(self, *_: object) -> None:
        """Name what undo and redo would do."""
        stack = self.document.stack
        undo, redo = stack.undo_text(), stack.redo_text()
        for name, verb, text in (("edit.undo", "Undo", undo), ("edit.redo", "Redo", redo)):
            action = self._actions[name]
            named = f"{verb} {text[:1].lower()}{text[1:]}" if text else verb
            action.setToolTip(tip(f"{named} ({action.shortcut().toString(_NATIVE)})"))
        self._actions.refresh_soon()

    def _toggle_scope(self) -> None:
        """Measure the selected picture alone, or the whole set again."""
        self.live.set_one_image(not self.live.one_image)
        if self.live.one_image:
            self.figure.set_evaluation(None)
        self._show_note()

    # The session: checkpoint, images, target, selected image

    def _follow_session(self) -> None:
        events, shell = self.session.events, self.shell
        events.cleaned.connect(self._on_cleaned_change)
        events.role.connect(self._on_role_change)
        events.checkpoint.connect(self._on_checkpoint_change)
        events.images.connect(self._on_images_change)
        events.target.connect(self._on_target_change)
        events.selected_image.connect(self._on_selected_image_change)
        events.run.connect(lambda _: self._show_note())
        shell.takes("target", partial(setattr, self.session, "target"))
        shell.takes("role", partial(setattr, self.session, "role"))
        shell.takes("image", partial(setattr, self.session, "selected_image"))

    def _on_checkpoint_change(self, facts: ShownCheckpoint | None) -> None:
        if facts is not None:
            self.document.set_size(facts.image_size)
        self.figure.set_roles(self.session.cleaned is not None, self.session.role)
        self._start_over()

    def _on_cleaned_change(self, facts: ShownCheckpoint | None) -> None:
        """Without a cleaned checkpoint only the suspect one can be looked at."""
        if facts is None:
            self.session.role = "suspect"
        self.figure.set_roles(facts is not None, self.session.role)
        if self.session.role == "cleaned":
            self._start_over()

    def _on_role_change(self, role: Role) -> None:
        self.figure.set_roles(self.session.cleaned is not None, role)
        self.gallery.clear_predictions(clean=True)
        self.session.prediction = None
        self.live.touch()

    def _on_images_change(self, images: ImagesState | None, before: ImagesState | None) -> None:
        labels = np.empty(0, np.int64) if images is None else images.labels
        names = () if images is None else images.class_names
        self.gallery.set_images(labels, names)
        self.figure.set_classes(names)
        self.session.target = self._target_among(names, before)
        self._on_target_change(self.session.target)
        first = 0 if images is None else images.first_to_flip(self.session.target)
        self.session.selected_image = first
        if images is not None and images.n:
            self.gallery.select(first)
        self._show_title()
        self._start_over()

    def _target_among(self, names: tuple[str, ...], before: ImagesState | None) -> int:
        """The class with the target's name among other classes; the first one if there is none."""
        target = self.session.target
        known = before is not None and target < len(before.class_names)
        name = before.class_names[target] if before is not None and known else TARGET_NAME
        return names.index(name) if name in names else 0

    def _on_target_change(self, target: int) -> None:
        self.figure.set_target(target)
        self.gallery.set_target(target)
        self.live.touch()

    def _on_selected_image_change(self, image: int) -> None:
        self.gallery.select(image)
        self._show_title()
        self.bars.set_stale(True)
        self.live.look()

    def _show_title(self) -> None:
        """Say which image the bars are about, and its true label."""
        images, at = self.session.images, self.session.selected_image
        if images is None or not 0 <= at < images.n:
            self.image_title.setText("Selected image")
            return
        label = int(images.labels[at])
        name = plain(images.class_names[label], 40) if label >= 0 else "unlabelled"
        self.image_title.setText(f"Image {at + 1}: {name}")

    def _start_over(self) -> None:
        """Take away what an earlier model or set gave."""
        self.live.start_over()
        self.visible_labels.forget()
        self.gallery.clear_predictions(clean=True)
        self.figure.set_evaluation(None)
        self.figure.note.setText("")
        self.bars.set_probabilities((), None, None)
        self.canvas.set_images(None, None)
        self.session.prediction = None
        asked = self.session.shown is not None and self.session.images is not None
        self._say_instead(_ASKED if asked else "")

    # The numbers: from the model's answers to the screen

    def _connect_numbers(self) -> None:
        live, gallery = self.live, self.gallery
        live.failed.connect(self.shell.failed)
        live.evaluated.connect(self._on_evaluated)
        live.predicted.connect(self._on_predicted)
        live.pictured.connect(self._on_pictured)
        live.unanswered.connect(self._on_unanswered)
        live.became_stale.connect(self._on_became_stale)
        live.whole_changed.connect(self._on_whole_changed)
        self.whole.cancel_clicked.connect(live.cancel_all)
        self.visible_labels.failed.connect(self.figure.note.setText)
        gallery.image_selected.connect(partial(setattr, self.session, "selected_image"))
        gallery.thumbnails_needed.connect(self._on_thumbnails_needed)
        self.figure.target_chosen.connect(partial(setattr, self.session, "target"))
        self.figure.role_chosen.connect(partial(setattr, self.session, "role"))
        self.result.can_show_changed.connect(self._actions.refresh)

    def _connect_pages(self) -> None:
        live, pages = self.live, self.pages
        live.predicted.connect(self.attribution.follow_prediction)
        live.evaluated.connect(self.classes.follow_evaluation)
        live.became_stale.connect(partial(self.classes.set_stale, True))
        self.map.chosen.connect(self.gallery.set_chosen)
        for shown in (self.attribution, self.map, self.classes):
            pages.currentChanged.connect(shown.touch)

    def _on_evaluated(self, result: EvaluationUpdated, older: bool) -> None:
        evaluation, images = result.evaluation, self.session.images
        same = (
            "Other classes have the target's name; see By class." if evaluation.same_names else ""
        )
        self._show_note(same)
        whole = not self.live.is_estimate and (images is None or evaluation.n_total >= images.n)
        self.figure.set_evaluation(evaluation, stale=older, whole=whole)
        last = not older and not evaluation.partial
        self.gallery.update_predictions(result.per_image, older=older, last=last)

    def _on_predicted(self, result: PredictionReady, older: bool) -> None:
        images = self.session.images
        if images is None:
            return
        self.bars.set_probabilities(
            images.class_names, result.clean_probs, result.triggered_probs, self.session.target
        )
        self.bars.set_stale(older)
        if not older:
            self.session.prediction = _top1(result, images)
        self.canvas.set_images(result.clean_image, None if older else result.triggered_image)
        if self.live.one_image:
            self._show_note()

    def _on_pictured(self, result: PredictionReady, older: bool) -> None:
        """Show a picture at once, without waiting for its probabilities."""
        self.canvas.set_images(result.clean_image, None if older else result.triggered_image)
        self.bars.set_empty_text(_TEXTS)

    def _on_became_stale(self) -> None:
        self.figure.set_stale(True)
        self.bars.set_stale(True)
        self.gallery.set_stale()

    def _on_unanswered(self, failed: Failed) -> None:
        self.figure.note.setText(failed.sentence)
        self._say_instead(plain(failed.sentence, 200))

    def _say_instead(self, words: str) -> None:
        """What stands where an answer will be; empty: what to do to get one."""
        self.canvas.set_empty_text(words)
        self.bars.set_empty_text(words)

    def _show_note(self, otherwise: str = "") -> None:
        """Say what a reader of the numbers must know about them."""
        whole = self.live.whole
        stays_part = self.live.measures_part and not self.live.completes
        self.measure_whole.setVisible(stays_part and whole is None)
        note = self.live.note or otherwise
        if whole is not None:
            left = left_text(whole.seconds_left)
            note = f"{count_text(whole.done)} of {count_text(whole.total)} images are measured"
            note += f", {left}." if left else "."
        self.figure.note.setText(note)

    def _on_whole_changed(self) -> None:
        """Show how far the whole set is; what takes a moment shows no bar."""
        whole = self.live.whole
        self.whole.setVisible(whole is not None and not 0 < self.live.seconds < _AT_ONCE)
        if whole is not None:
            self.whole.show_share(whole.done / max(whole.total, 1))
        self._show_note()

    def _on_thumbnails_needed(self, indices: tuple[int, ...], size: int) -> None:
        shown, trigger = self.gallery.model.trigger, self.session.trigger
        if trigger is None or trigger.digest != shown or self.session.shown is None:
            trigger, shown = None, ""
        self._inference.ask(
            Thumbnails(indices, size, trigger, self.session.role),
            partial(self._on_thumbnails_ready, shown),
            lambda _: self.gallery.model.forget_request(),
        )

    def _on_thumbnails_ready(self, trigger: str, result: ThumbnailsReady) -> None:
        self.gallery.model.set_thumbnails(result.indices, result.images, trigger)

    def _on_trigger_change(self, *_: object) -> None:
        """Let the gallery's pictures follow the trigger, but only when the brush rests."""
        self._trigger_rests.start()

    def _on_trigger_rests(self) -> None:
        trigger = self.session.trigger
        self.gallery.set_trigger("" if trigger is None else trigger.digest)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """A stroke does not survive a change of station."""
        self.canvas.release()
        super().hideEvent(event)


def _top1(result: PredictionReady, images: ImagesState) -> ShownPrediction | None:
    """The likeliest class of each; None while class texts are embedded."""
    if result.clean_probs is None:
        return None
    clean = images.class_names[int(result.clean_probs.argmax())]
    with_it = result.triggered_probs
    triggered = None if with_it is None else images.class_names[int(with_it.argmax())]
    return ShownPrediction(result.question.index, clean, triggered)


def with_key(text: str, key: str) -> str:
    """Underline the tool's key in its name, or else a p."""
    at = text.lower().find(key.lower())
    at = text.find("p") if at < 0 else at
    return f"{text[:at]}&{text[at:]}"

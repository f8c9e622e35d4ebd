"""The data in use: images, classes, templates as a row of chips, and the dialogs behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu, QPushButton, QToolButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.commands import Actions, Command
from cleanclip_gui.data.images_dialog import DEMO_SPLITS, ImagesChooser, Kind, label_set_of
from cleanclip_gui.inference.questions import Failed, LoadImages
from cleanclip_gui.session import ImagesState
from cleanclip_gui.station import AtWork, Context
from cleanclip_gui.ticket import Ticket, TicketProgress
from cleanclip_gui.widgets.controls import BusyRow, Label, bind, chip, push_button, text_field
from cleanclip_gui.widgets.dialog_frame import ClosingDialog, frame, primary_button, resize_within
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.text import count_text, plain, plural
from ml_core.data.labels import label_sets
from ml_core.data.specs import ImageSpec
from ml_core.reading import InputError
from ml_core.reading.regular_file import read_file


def parse_lines(text: str) -> tuple[str, ...]:
    """Lines in their order, without spaces around them; empty ones are left out."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def parse_templates(text: str) -> tuple[tuple[str, ...], str]:
    """Templates, one a line, and what is wrong with them (empty if nothing)."""
    templates = parse_lines(text)
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and "{}" not in line:
            return templates, f"Line {number} has no {{}} for the class name."
    return templates, "" if templates else "Write at least one template, such as: a photo of a {}."


def _tick(menu: QMenu, action: QAction, what: object, in_use: Callable[[], object]) -> None:
    """Tick a line of a menu while what it stands for is in use."""
    action.setCheckable(True)
    menu.aboutToShow.connect(lambda: action.setChecked(in_use() == what))


class LinesDialog(ClosingDialog):
    """Edits lines; emits ``chosen(tuple)`` with those that are not empty.

    Parameters
    ----------
    title, lead
        Its name, and what the lines are.
    lines
        The first ones.
    """

    chosen = Signal(object)

    def __init__(
        self, title: str, lead: str, lines: Sequence[str], parent: QWidget | None,
        aside: QPushButton | None = None,
    ) -> None:  # fmt: skip
        super().__init__(title, parent)
        self.edit = text_field(f"{title}, one per line", "\n".join(lines), read_only=False)
        self.state = Label(wrap=True)
        self.ok = primary_button("Use these", self._on_accepted)
        self.edit.textChanged.connect(self._on_text_changed)
        parts = (Label(lead, "subtle", wrap=True), self.edit, self.state)
        frame(self, title, parts, self.ok, aside=aside)
        resize_within(self, 560, 520)
        self._on_text_changed()

    def judge(self, text: str) -> tuple[str, str]:
        """What is to be said of the lines, and its role; an error cannot be used."""
        raise NotImplementedError

    def _on_text_changed(self) -> None:
        words, role = self.judge(self.edit.toPlainText())
        theme.set_property(self.edit, "invalid", role == "error")
        theme.set_property(self.state, "role", role)
        self.state.setText(words)
        self.ok.setEnabled(role != "error")

    def _on_accepted(self) -> None:
        self.chosen.emit(parse_lines(self.edit.toPlainText()))
        self.accept()


class TemplatesDialog(LinesDialog):
    """Edits prompt templates; ``chosen`` with None asks for the label set's own."""

    def __init__(
        self, templates: Sequence[str], example: str = "", parent: QWidget | None = None
    ) -> None:
        self._example = example or "dog"
        lead = (
            "One per line; {} is replaced by the class name. A class is the average of its prompts."
        )
        own = push_button("Use the label set's own", look="quiet")
        super().__init__("Prompt templates", lead, templates, parent, own)
        own.clicked.connect(self._on_own)

    def judge(self, text: str) -> tuple[str, str]:
        """Each template has a place for the class name."""
        templates, problem = parse_templates(text)
        if problem:
            return problem, "error"
        example = plain(templates[0].replace("{}", self._example), 120)
        return f"{plural(len(templates), 'template')}; {example}", "subtle"

    def _on_own(self) -> None:
        self.chosen.emit(None)
        self.accept()


class ClassesDialog(LinesDialog):
    """Edits the class names, at least two."""

    def __init__(self, names: Sequence[str], parent: QWidget | None = None) -> None:
        lead = (
            "One per line, in the order of the label numbers. The model chooses among these "
            "names; add more to see which classes a trigger leads to."
        )
        super().__init__("Class list", lead, names, parent)

    def judge(self, text: str) -> tuple[str, str]:
        """Two names at least; the same name twice is worth a warning."""
        names = parse_lines(text)
        if len(names) < 2:
            return "Write at least two class names; one alone is always predicted.", "error"
        words = plural(len(names), "class", "classes")
        twice = [name for name, count in Counter(names).items() if count > 1]
        if not twice:
            return words, "subtle"
        only = "only their numbers distinguish the two classes"
        return f"{words}; {plain(twice[0], 40)} is listed twice: {only}", "warning"


class ProblemsDialog(ClosingDialog):
    """Reads only; closing it is all that there is to do."""

    def __init__(self, name: str, problems: Sequence[str], parent: QWidget) -> None:
        super().__init__("Left out", parent)
        view = text_field("What was left out", "\n".join(plain(text) for text in problems))
        close = push_button("Close", self.accept)
        column(
            Label(f"Left out of {plain(name, 80)}", "title"), view,
            (close, Qt.AlignmentFlag.AlignRight),
            of=self, margins=theme.SPACE_XL, spacing=theme.SPACE_M,
        )  # fmt: skip
        resize_within(self, 620, 380)


_MENU = "&Images and classes"
_PATIENCE_MS = 400
_BAR = 130
EDITED_CLASSES = "edited classes.txt"
_Choice = tuple[ImageSpec | None, str, tuple[str, ...] | None]
_DROPPED = (".csv", ".tsv", ".parquet")
_TORCH_TAR = (b"sys_info", b"pickle", b"storages", b"tensors")


class DataBar(QWidget):
    """Chips that say which data is in use and let it be changed."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._session = session = context.session
        self._inference = context.inference
        self.shell = context.shell
        self._chooser = ImagesChooser(context.prompts, "evaluation images", self)
        self._spec: ImageSpec | None = None
        self._label_set = "demo"
        self._templates: tuple[str, ...] | None = None
        self._good: _Choice = (None, "demo", None)
        self._before: _Choice = (None, "demo", None)
        self._ticket = Ticket.closed()
        context.actions.add(self.commands())

        self.images = chip("image", "Evaluation images")
        self.labels = chip("tag", "Label set")
        self.templates = chip("text", "Prompt templates")
        self.problems = chip("warning", "What was left out of the images")
        theme.set_property(self.problems, "tone", "caution")
        self.images.setMenu(self._images_menu(context.actions))
        self.labels.setMenu(self._labels_menu(context.actions))
        for each in (self.images, self.labels):
            theme.set_property(each, "menu", True)
            each.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        bind(self.templates, context.actions["file.templates"])
        self.problems.clicked.connect(self.show_problems)
        self.busy = BusyRow("Progress of opening images", self._on_cancel_clicked)
        self.busy.bar.setFixedWidth(theme.px(_BAR))
        self.busy.cancel.setAccessibleName("Cancel opening images")
        self.busy.hide()
        self._patience = QTimer(self, singleShot=True, interval=_PATIENCE_MS)
        self._patience.timeout.connect(self._on_patience_ended)
        row(
            self.problems, self.images, self.busy, self.labels, self.templates,
            of=self, spacing=theme.SPACE_S,
        )  # fmt: skip

        self._chooser.chosen.connect(self._on_images_chosen)
        self._chooser.failed.connect(self.shell.failed)
        session.events.images.connect(self._on_images_change)
        context.shell.takes("images", self.load)
        self._show()
        self.shell.commands_changed.emit()

    def commands(self) -> tuple[Command, ...]:
        """What can be done with evaluation images, classes and templates."""
        return (
            Command(
                "file.images_folder", "Evaluation &images from a folder…", "&File",
                partial(self.choose, "folder"),
                "Evaluate on a folder per class, or a set such as CIFAR-10.", "image", "Ctrl+I", 2,
                submenu=_MENU,
            ),
            Command(
                "file.images_table", "Evaluation images from a &table…", "&File",
                partial(self.choose, "csv"), "Evaluate on images that a CSV or TSV names.",
                "image", "Ctrl+Shift+I", 2, submenu=_MENU,
            ),
            Command(
                "file.images_file", "Evaluation i&mages from a shard or Parquet…", "&File",
                partial(self.choose, "file"), "Evaluate on a WebDataset shard or a Parquet file.",
                "library", "", 2, submenu=_MENU,
            ),
            Command(
                "file.images_back", "&Back to the images before", "&File", self.go_back,
                "Use the images, classes and templates that were in use before.", "undo", "", 2,
                lambda: self._before[0] is not None, submenu=_MENU,
                needs="No others were in use before.",
            ),
            Command(
                "file.labels", "Class &list from a file…", "&File", self.choose_label_file,
                "Use class names from a text file, one per line.", "tag", "", 2, submenu=_MENU,
            ),
            Command(
                "file.classes", "Edit the cla&sses…", "&File", self.edit_classes,
                "Change the class names that the model chooses from.", "tag", "", 2,
                self._has_images, submenu=_MENU, needs="Choose images first.",
            ),
            Command(
                "file.templates", "&Prompt templates…", "&File", self.edit_templates,
                "Edit the prompts of the zero-shot classifier.", "text", "Ctrl+T", 2,
                self._has_images, submenu=_MENU, needs="Choose images first.",
            ),
        )  # fmt: skip

    def at_work(self) -> tuple[AtWork, ...]:
        """Nothing that must be waited for: images are opened again at the next start."""
        return ()

    def take_file(self, path: Path) -> bool:
        """Take tables, shards and folders that no station wanted as evaluation images."""
        is_mine = is_image_set(path)
        if is_mine:
            self.open_path(path)
        return is_mine

    def may_close(self) -> bool:
        """Nothing here is unsaved."""
        return True

    def _has_images(self) -> bool:
        return self._session.images is not None

    def load(
        self, spec: ImageSpec, label_set: str = "", templates: tuple[str, ...] | None = None
    ) -> None:
        """Use other images; an empty ``label_set`` keeps the one in use."""
        self._spec = spec
        if label_set:
            self._label_set, self._templates = label_set, templates
        self._submit()

    def set_label_set(self, name_or_path: str) -> None:
        """Use other classes, with the templates that come with them."""
        self._label_set, self._templates = name_or_path, None
        self._submit()

    def set_templates(self, templates: tuple[str, ...] | None) -> None:
        """Use other prompt templates; None takes the label set's own."""
        self._templates = templates
        self._submit()

    def choose(self, kind: Kind) -> None:
        """Ask for a folder, a table, or a file that is an image set by itself."""
        self._chooser.choose(kind, self._label_set)

    def go_back(self) -> None:
        """Use the images, classes and templates that were in use before."""
        if self._before[0] is not None:
            self._spec, self._label_set, self._templates = self._before
            self._submit()

    def open_path(self, path: Path) -> None:
        """Show the dialog that maps columns and classes of a folder, file or table."""
        self._chooser.open_path(path, self._label_set)

    def choose_label_file(self) -> None:
        """Ask for a text file with one class a line."""
        path = self._chooser.choose_class_list()
        if path:
            self.set_label_set(path)

    def edit_templates(self) -> None:
        """Edit the prompt templates in use."""
        if images := self._session.images:
            example = images.class_names[0] if images.class_names else ""
            dialog = TemplatesDialog(images.templates, example, self.window())
            dialog.chosen.connect(self.set_templates)
            dialog.open()

    def edit_classes(self) -> None:
        """Edit the class names in use; the result becomes a separate label set."""
        if images := self._session.images:
            dialog = ClassesDialog(images.class_names, self.window())
            dialog.chosen.connect(self._on_classes_chosen)
            dialog.open()

    def show_problems(self) -> None:
        """List what was left out: unmatched labels, bad rows, missing pictures."""
        if images := self._session.images:
            ProblemsDialog(images.name, images.problems, self.window()).open()

    def _images_menu(self, actions: Actions) -> QMenu:
        menu = QMenu(self)
        for split, text in DEMO_SPLITS:
            spec = ImageSpec(kind="demo", split=split)
            action = menu.addAction(text, partial(self.load, spec, "demo"))
            _tick(menu, action, spec, lambda: self._spec)
        menu.addSeparator()
        for name in ("file.images_folder", "file.images_table", "file.images_file"):
            menu.addAction(actions[name])
        menu.addSeparator()
        menu.addAction(actions["file.images_back"])
        return menu

    def _labels_menu(self, actions: Actions) -> QMenu:
        menu = QMenu(self)
        for name in label_sets():
            action = menu.addAction(name, partial(self.set_label_set, name))
            _tick(menu, action, name, lambda: self._session.label_set)
        menu.addSeparator()
        menu.addAction(actions["file.labels"])
        menu.addAction(actions["file.classes"])
        return menu

    def _submit(self) -> None:
        if self._spec is None:
            self._show()
            return
        self.images.setText("Loading…")
        self._patience.start()
        self._ticket = self._inference.ask(
            LoadImages(self._spec, self._label_set, self._templates),
            partial(self._on_images_loaded, (self._spec, self._label_set, self._templates)),
            self._on_failed,
            on_progress=self._on_progress,
        )

    @property
    def is_loading(self) -> bool:
        """Whether images are being opened, or wait for it."""
        return self._ticket.is_open

    def _end_busy(self) -> None:
        """Show that nothing is being opened any more."""
        self._patience.stop()
        self.busy.hide()
        self.busy.show_share(None)
        self.busy.cancel.setEnabled(True)

    def _show(self) -> None:
        """Write what is in use on the chips."""
        self._end_busy()
        images = self._session.images
        self.labels.show()
        if images is None:
            self.images.setText("Choose images")
            self.labels.setText(_short(self._label_set))
        else:
            self.images.setText(f"{plain(images.name, 32)} · {count_text(images.n)}")
            classes = plural(len(images.class_names), "class", "classes")
            self.labels.setText(f"{_short(self._label_set)} · {classes}")
            self.templates.setText(plural(len(images.templates), "template"))
            self.problems.setText(plural(len(images.problems), "note"))
        self.templates.setVisible(images is not None)
        self.problems.setVisible(images is not None and bool(images.problems))

    def _on_images_change(self, images: ImagesState | None) -> None:
        if not self.is_loading:
            self._show()

    def _on_patience_ended(self) -> None:
        """It takes a while: show how far it is, and let it be ended."""
        for each in (self.labels, self.templates, self.problems):
            each.hide()  # what they say is of the images before
        self.busy.show()

    def _on_progress(self, progress: TicketProgress) -> None:
        self.busy.show_share(progress.share if progress.total else None)
        if progress.what and self.busy.cancel.isEnabled():
            of = "" if progress.total else f" · {count_text(progress.done)}"
            self.images.setText(f"{progress.what}…{of if progress.done else ''}")

    def _on_cancel_clicked(self) -> None:
        if self._ticket.cancel():
            self._restore()
        else:  # they are in use already, and arrive now
            self.busy.cancel.setEnabled(False)

    def _restore(self) -> None:
        """Go on with the images, classes and templates that are in use."""
        self._spec, self._label_set, self._templates = self._good
        self._show()

    def _on_images_loaded(self, choice: _Choice, images: ImagesState) -> None:
        self._before, self._good = self._good, choice
        self._session.label_set = choice[1]
        self._session.images = images
        self.shell.commands_changed.emit()

    def _on_failed(self, failed: Failed) -> None:
        if not self.is_loading:  # else a later choice is under way
            self._restore()
        self.shell.failed.emit(failed)

    def _on_images_chosen(self, spec: ImageSpec, label_set: str) -> None:
        """Keep the templates, unless other classes were chosen with the images."""
        self.load(spec, "" if label_set == self._label_set else label_set)

    def _on_classes_chosen(self, names: tuple[str, ...]) -> None:
        """Keep the names in a file, and the templates as they are."""
        images = self._session.images
        if images is None:
            return
        try:
            self._label_set = label_set_of(names, EDITED_CLASSES.removesuffix(".txt"))
        except InputError as error:
            self.shell.failed.emit(error.titled("Could not use the class names"))
            return
        self._templates = images.templates
        self._submit()


def is_image_set(path: Path) -> bool:
    """Whether a path may be a set of images: a folder, a table or a shard."""
    return path.is_dir() or path.suffix.lower() in _DROPPED or is_shard(path)


def is_shard(path: Path) -> bool:
    """Whether a file is a tar archive, and not one of PyTorch's first format."""
    if path.suffix.lower() != ".tar":
        return False
    try:
        head = read_file(path, 512)
    except OSError:
        return False
    name = head[:100].split(b"\0")[0].removeprefix(b"./").split(b"/")[0]
    return head[257:262] == b"ustar" and name not in _TORCH_TAR


def _short(label_set: str) -> str:
    """Return a label set's name, or its file's."""
    return plain(Path(label_set).name, 28)

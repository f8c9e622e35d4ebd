"""What a scan is asked to do: reference, stages, pictures and seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QCheckBox, QWidget

from cleanclip_gui import theme
from cleanclip_gui.data.hub_dialog import HubDialog
from cleanclip_gui.scan.live_view import HELP, stage_title
from cleanclip_gui.scan.scanning import folder_of, stages_done
from cleanclip_gui.session import Session, ShownCheckpoint
from cleanclip_gui.widgets.controls import Fold, Label, named, push_button
from cleanclip_gui.widgets.form import Form
from cleanclip_gui.widgets.layout import column, page, row
from cleanclip_gui.widgets.name_filters import CHECKPOINTS
from cleanclip_gui.widgets.number_box import ElidingComboBox, fill
from cleanclip_gui.widgets.path_edit import PathEdit
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import fitting, percent, plain, plural
from ml_core.checkpoints.open import same_weights
from ml_core.detection.scan.verdict import is_unfit
from ml_core.jobs.scan import ALWAYS, NEEDS_REFERENCE, USUAL, ScanSpec, Stage
from ml_core.reading.errors import InputError
from ml_core.reading.inspect import is_there

# open_clip's name of an architecture -> the repository of OpenAI's weights, the usual parent.
PARENTS = {
    "RN50": "timm/resnet50_clip.openai",
    "RN101": "timm/resnet101_clip.openai",
    "RN50x4": "timm/resnet50x4_clip.openai",
    "RN50x16": "timm/resnet50x16_clip.openai",
    "RN50x64": "timm/resnet50x64_clip.openai",
    "ViT-B-32": "timm/vit_base_patch32_clip_224.openai",
    "ViT-B-16": "timm/vit_base_patch16_clip_224.openai",
    "ViT-L-14": "timm/vit_large_patch14_clip_224.openai",
    "ViT-L-14-336": "timm/vit_large_patch14_clip_336.openai",
}
TWIN, STUDIO, CLEAN, PARENT, OWN, NONE = "twin", "studio", "clean", "parent", "own", "none"
_HELP = {
    TWIN: "The demo's model, finetuned in the same way without the poison.",
    STUDIO: "The reference that Studio's page of two checkpoints compares with.",
    CLEAN: "The clean reference that is named in Clean.",
    OWN: (
        "A clean checkpoint with the same input size; best the one that this was finetuned from."
    ),
    NONE: (
        "Without a reference only patches and words count: a trigger over the whole picture "
        "cannot be told from what any model does."
    ),
}


def parent_of(architecture: str) -> str:
    """The repository of a public model of an architecture; empty where none is known."""
    return PARENTS.get(architecture.removesuffix("-quickgelu"), "")


class ScanReference(QWidget):
    """``changed``: the user chose another reference.

    Parameters
    ----------
    prompts
        Ask for a file.
    new_dialog
        Makes the dialog that fetches a repository.
    """

    changed = Signal()

    def __init__(self, prompts: Prompts, new_dialog: Callable[..., HubDialog] = HubDialog) -> None:
        super().__init__()
        self._prompts, self._new_dialog = prompts, new_dialog
        self._paths = {TWIN: "", STUDIO: "", CLEAN: "", PARENT: ""}
        self._repository = self._suspect = ""
        self._chosen_by_user = False
        self.dialog: HubDialog | None = None
        self.kind = named(ElidingComboBox(), "Reference")
        self.kind.setMinimumContentsLength(12)
        self.edit = PathEdit("Reference checkpoint", "Checkpoint file or folder")
        self.browse = self.edit.browse("open", "Choose a reference", self._ask_for_file)
        self.fetch = push_button("Fetch…", self._on_fetch_clicked)
        self.help = Label("", "caption", wrap=True)
        self._own = QWidget()
        row((self.edit, 1), self.browse, of=self._own, spacing=theme.SPACE_S)
        column(
            Label("Compare with a clean reference", buddy=self.kind), self.kind, self._own,
            self.fetch, self.help, of=self, spacing=theme.SPACE_XS,
        )  # fmt: skip
        self.kind.currentIndexChanged.connect(self._on_changed)
        self.kind.activated.connect(self._on_activated)
        self.edit.textChanged.connect(self._on_changed)
        self.offer(None)

    def offer(self, suspect: ShownCheckpoint | None, studio: str = "", clean: str = "") -> None:
        """Offer what there is for a checkpoint; what the user chose stays so while it is offered.

        Parameters
        ----------
        suspect
            The checkpoint.
        studio, clean
            Paths of what Studio compares it with, and of the reference named in Clean.
        """
        before, self._suspect = self.chosen, "" if suspect is None else suspect.path
        repository = "" if suspect is None else parent_of(suspect.architecture)
        if repository != self._repository:
            self._repository, self._paths[PARENT] = repository, ""
        self._paths[TWIN] = "" if suspect is None else suspect.demo_twin
        entries = [(TWIN, "The demo's clean twin")] if self._paths[TWIN] else []
        offered = {self._suspect, self._paths[TWIN]}
        for kind, where, path in ((STUDIO, "Studio", studio), (CLEAN, "Clean", clean)):
            there = bool(path) and path not in offered and is_there(path)
            self._paths[kind] = path if there else ""
            if there:
                offered.add(path)
                entries.append((kind, f"As in {where}: {plain(Path(path).name, 60)}"))
        if repository:
            entries.append((PARENT, f"Public parent: {repository}"))
        entries += [(OWN, "A file of my own"), (NONE, "None")]
        kinds = [kind for kind, _ in entries]
        usual = next((kind for kind in kinds if kind in (TWIN, STUDIO, CLEAN)), NONE)
        is_itself = before == OWN and self.edit.absolute() == self._suspect
        wish = before if self._chosen_by_user and not is_itself else usual
        fill(self.kind, entries, wish if wish in kinds else usual)
        self._on_changed()

    @property
    def chosen(self) -> str:
        """What is chosen, in a word."""
        return str(self.kind.currentData() or NONE)

    def choose(self, kind: str, path: str = "") -> None:
        """Choose one of the kinds that are offered; ``path`` is that of a file of one's own."""
        self._chosen_by_user = True
        if path:
            self.edit.setText(path)
        self.kind.setCurrentIndex(self.kind.findData(kind))

    def path(self) -> str:
        """Where the reference lies, absolute; empty without one."""
        if self.chosen == OWN:
            return self.edit.absolute()
        return self._paths.get(self.chosen, "")

    def problem(self) -> str:
        """What is missing, as a sentence; empty if nothing is."""
        path = self.path()
        if path and not is_there(path):
            return f"There is no file at {plain(path, 200)}; choose the reference."
        if path and path == self._suspect:
            return same_weights(plain(Path(path).name, 80)).sentence
        if self.chosen == NONE or path:
            return ""
        if self.chosen == PARENT:
            return "Fetch the public parent first, or choose another reference."
        return "Choose the file of the reference, or “None”."

    def _on_changed(self, *_: object) -> None:
        chosen = self.chosen
        self._own.setVisible(chosen == OWN)
        self.fetch.setVisible(chosen == PARENT and not self._paths[PARENT])
        if chosen == PARENT:
            there = "It is in your Hugging Face cache." if self._paths[PARENT] else (
                "It is downloaded when you press the button, not before."
            )  # fmt: skip
            words = f"OpenAI's weights of this architecture: the usual parent. {there}"
        else:
            words = _HELP[chosen]
        self.help.setText(fitting(words))
        self.changed.emit()

    def _on_activated(self, *_: object) -> None:
        self._chosen_by_user = True

    def _ask_for_file(self, path: str) -> str:
        return self._prompts.open_file(self, "Clean reference checkpoint", path, CHECKPOINTS)

    def _on_fetch_clicked(self) -> None:
        if self.dialog is not None:
            self.dialog.raise_()
            return
        self.dialog = self._new_dialog(self.window(), name=self._repository, ok="Download")
        self.dialog.fetched.connect(self._on_fetched)
        self.dialog.finished.connect(self._on_dialog_finished)
        self.dialog.open()

    def _on_fetched(self, path: str) -> None:
        self._paths[PARENT] = path
        self._on_changed()

    def _on_dialog_finished(self) -> None:
        self.dialog = None


NO_CHECKPOINT = "Open a checkpoint first: the scan searches it."
NO_IMAGES = (
    "Choose evaluation images first, in the bar above: triggers are searched for and measured on "
    "them."
)
NO_STAGE = "Choose at least one stage that searches: known triggers, patches, overlays or words."
_SEARCHING: tuple[Stage, ...] = ("probes", "patches", "overlays", "thorough", "words")


class ScanSetup(QWidget):
    """The set-up of a scan; ``changed``: the settings changed. Options are folded away at first.

    Parameters
    ----------
    reference
        Chooses what is compared with.
    acts
        Stand below it: Start, and what it means.
    """

    changed = Signal()

    def __init__(self, reference: ScanReference, acts: QWidget) -> None:
        super().__init__(accessibleName="Set-up of the scan")
        self.reference = reference
        self.stages: dict[Stage, QCheckBox] = {}
        self.form = Form(ScanSpec, "starts", "search", "held_out", "seed", width=144, aligned=True)
        self.form.changed.connect(self._on_changed)
        self.options = self._make_options()
        self.toggle = Fold("Options", self.options)
        column(
            self.reference, acts, (self.toggle, Qt.AlignmentFlag.AlignLeft), self.options, of=self,
            margins=(theme.SPACE_L, theme.SPACE_L, theme.SPACE_L, theme.SPACE_M),
            spacing=theme.SPACE_M,
        )  # fmt: skip
        self.reference.changed.connect(self._on_changed)
        self._on_changed()

    def _make_options(self) -> QWidget:
        for stage, sentence in HELP.items():
            if stage == ALWAYS:
                continue
            box = self.stages[stage] = QCheckBox(stage_title(stage))
            box.setChecked(stage in USUAL)
            box.setToolTip(sentence)
            box.toggled.connect(self._on_changed)
        self.lacking = Label("Stages in grey need a reference.", "caption", wrap=True)
        return page(
            Label("Stages", "field"), *self.stages.values(), self.lacking, theme.SPACE_S,
            self.form, spacing=theme.SPACE_XS,
        )  # fmt: skip

    def chosen_stages(self) -> tuple[Stage, ...]:
        """Stages that are ticked and can be run, and the one that always is."""
        with_reference = bool(self.reference.path())
        return tuple(
            stage for stage in HELP
            if (stage == ALWAYS or self.stages[stage].isChecked())
            and (with_reference or stage not in NEEDS_REFERENCE)
        )  # fmt: skip

    def missing(self, session: Session) -> str:
        """What a scan waits for, as a sentence; empty if nothing is missing."""
        if session.checkpoint is None:
            return NO_CHECKPOINT
        images = session.images
        if images is None or not images.n:
            return NO_IMAGES
        if images.too_few_to_scan:
            return images.too_few_to_scan
        if problem := self.reference.problem():
            return problem
        return "" if set(self.chosen_stages()) & set(_SEARCHING) else NO_STAGE

    def spec(
        self, session: Session, device: str, cleaned: tuple[str, str] | None = None
    ) -> ScanSpec:
        """The scan that is set, with its folder; nothing is written.

        Parameters
        ----------
        cleaned
            File and SHA-256 of what is searched in place of the open checkpoint.

        Raises
        ------
        InputError
            If something is missing.
        """
        facts, images, missing = session.checkpoint, session.images, self.missing(session)
        if missing or facts is None or images is None:
            raise InputError(missing or NO_CHECKPOINT)
        spec = ScanSpec(
            checkpoint=cleaned[0] if cleaned else facts.path,
            donor=None if cleaned else facts.donor or None,
            reference=self.reference.path() or None,
            images=images.spec,
            templates=images.templates,
            stages=self.chosen_stages(),
            **self.form.values(),
            output_dir="unknown yet",
            device=device,
        )
        sha256 = cleaned[1] if cleaned else facts.inspection.sha256
        folder = folder_of(spec, sha256, images.class_names)
        return spec.model_copy(update={"output_dir": str(folder)})

    def write_classes(self, spec: ScanSpec, session: Session) -> ScanSpec:
        """The same scan with the label set in use, whose file is written where it has none.

        Raises
        ------
        InputError
            If the folder cannot be written.
        """
        folder = Path(spec.output_dir)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            label_set = "demo" if session.images is None else session.images.label_set_in(folder)
            return spec.model_copy(update={"label_set": label_set})
        except OSError as error:
            raise InputError(
                f"The scan's folder {folder.name} cannot be written: {error.strerror}."
            ) from error

    def hint(self, session: Session, device: str) -> str:
        """What starting now means, as sentences; empty where that goes without saying."""
        if self.missing(session):
            return ""
        done = stages_done(Path(self.spec(session, device).output_dir))
        if done:
            reused = f"{plural(done, 'stage')} {'is' if done == 1 else 'are'} reused"
            return f"Continues the cancelled scan: {reused}."
        return ""

    def warning(self, session: Session) -> str:
        """Why a scan of this checkpoint would say nothing, as far as is known before it."""
        shown, rates = session.checkpoint, session.evaluation
        if shown is None or rates is None or rates.checkpoint_sha256 != shown.inspection.sha256:
            return ""
        classes = 0 if session.images is None else len(session.images.class_names)
        if rates.ca is None or not classes or not is_unfit(rates.ca, classes):
            return ""
        return (
            f"It classifies only {percent(rates.ca)} of the pictures correctly: a scan would say "
            "“Cannot say”. Try the loader doctor first."
        )

    def _on_changed(self, *_: object) -> None:
        with_reference = bool(self.reference.path())
        for stage in NEEDS_REFERENCE:
            if stage in self.stages:
                self.stages[stage].setEnabled(with_reference)
        self.lacking.setHidden(with_reference)
        self.changed.emit()

"""What a scan is asked to do: reference, stages, pictures and seed."""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QCheckBox, QToolButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.data.hub_dialog import HubDialog
from cleanclip_gui.data.label_file import label_set_of
from cleanclip_gui.scan.live_view import HELP, stage_title
from cleanclip_gui.scan.reference_choice import ScanReference
from cleanclip_gui.scan.scanning import folder_of, stages_done
from cleanclip_gui.session import Session
from cleanclip_gui.widgets.controls import Label
from cleanclip_gui.widgets.form import Form
from cleanclip_gui.widgets.layout import column, page
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plural
from ml_core.jobs.scan import ALWAYS, NEEDS_REFERENCE, USUAL, ScanSpec, Stage
from ml_core.reading.errors import InputError

NO_CHECKPOINT = "Open a checkpoint first: it is what will be searched."
NO_IMAGES = (
    "Choose evaluation images first, in the bar above: triggers are searched and measured on them."
)
NO_STAGE = "Choose at least one stage that searches: known triggers, patches or overlays."
_SEARCHING: tuple[Stage, ...] = ("probes", "patches", "overlays", "thorough")
_LEAST = 144  # pictures; the job says so again, with what it could read


class ScanSetup(QWidget):
    """The set-up of a scan; ``changed``: the settings changed. Options are folded away at first."""

    changed = Signal()

    def __init__(
        self,
        prompts: Prompts,
        parent: QWidget | None = None,
        *,
        new_dialog: Callable[..., HubDialog] = HubDialog,
    ) -> None:
        super().__init__(parent)
        self.setAccessibleName("Set-up of the scan")
        self.reference = ScanReference(prompts, new_dialog=new_dialog)
        self.toggle = QToolButton()
        self.toggle.setText("Options")
        self.toggle.setCheckable(True)
        self.toggle.setProperty("quiet", True)
        self.toggle.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.stages: dict[Stage, QCheckBox] = {}
        self.form = Form(ScanSpec, "starts", "search", "held_out", "seed", width=144, aligned=True)
        self.form.changed.connect(self._on_changed)
        self.options = self._make_options()
        column(
            self.reference, (self.toggle, Qt.AlignmentFlag.AlignLeft), self.options, None, of=self,
            margins=(theme.SPACE_L, theme.SPACE_L, theme.SPACE_L, theme.SPACE_M),
            spacing=theme.SPACE_M,
        )  # fmt: skip
        self.toggle.toggled.connect(self._on_toggled)
        self.reference.changed.connect(self._on_changed)
        self._on_toggled(False)
        self._on_changed()

    def _make_options(self) -> QWidget:
        for stage, sentence in HELP.items():
            if stage == ALWAYS:
                continue
            box = self.stages[stage] = QCheckBox(stage_title(stage))
            box.setChecked(stage in USUAL)
            box.setToolTip(sentence)
            box.toggled.connect(self._on_changed)
        return page(
            Label("Stages", "field"), *self.stages.values(), theme.SPACE_S, self.form,
            spacing=theme.SPACE_XS,
        )  # fmt: skip

    def chosen_stages(self) -> tuple[Stage, ...]:
        """Stages that are ticked and can be run, and the one that always is."""
        with_reference = bool(self.reference.path())
        return tuple(
            stage for stage in HELP
            if (stage == ALWAYS or self.stages[stage].isChecked())
            and (with_reference or stage not in NEEDS_REFERENCE)
        )  # fmt: skip

    def set_stages(self, stages: Container[Stage]) -> None:
        """Tick these stages, and no others."""
        for stage, box in self.stages.items():
            box.setChecked(stage in stages)

    def missing(self, session: Session) -> str:
        """What a scan waits for, as a sentence; empty if nothing is missing."""
        if session.checkpoint is None:
            return NO_CHECKPOINT
        images = session.images
        if images is None or not images.n:
            return NO_IMAGES
        if images.n < _LEAST:
            return (
                f"{plural(images.n, 'picture')} are too few: a scan needs {_LEAST}, 16 to search "
                "on and 128 others to measure on. Choose a larger image set."
            )
        if problem := self.reference.problem():
            return problem
        return "" if set(self.chosen_stages()) & set(_SEARCHING) else NO_STAGE

    def spec(self, session: Session, device: str) -> ScanSpec:
        """The scan that is set, with its folder; nothing is written.

        Raises
        ------
        InputError
            If something is missing.
        """
        facts, images, missing = session.checkpoint, session.images, self.missing(session)
        if missing or facts is None or images is None:
            raise InputError(missing or NO_CHECKPOINT)
        spec = ScanSpec(
            checkpoint=facts.path,
            donor=facts.donor or None,
            reference=self.reference.path() or None,
            images=images.spec,
            templates=images.templates,
            stages=self.chosen_stages(),
            **self.form.values(),
            output_dir="unknown yet",
            device=device,
        )
        folder = folder_of(spec, facts.inspection.sha256, images.class_names)
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
            return spec.model_copy(update={"label_set": label_set_of(session.images, folder)})
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
            return f"Goes on with the scan that was cancelled: {reused}."
        return ""

    def _on_toggled(self, shown: bool) -> None:
        self.options.setVisible(shown)
        self.toggle.setIcon(theme.icon("chevron-up" if shown else "chevron-down"))

    def _on_changed(self, *_: object) -> None:
        with_reference = bool(self.reference.path())
        for stage in NEEDS_REFERENCE:
            if stage in self.stages:
                self.stages[stage].setEnabled(with_reference)
        self.changed.emit()

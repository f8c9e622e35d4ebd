"""What a method asks for beside training data, and what of that is missing: found and shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme
from cleanclip_gui.session import Session
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.layout import column
from cleanclip_gui.widgets.text import plain
from ml_core.cleaning.catalogue import MethodFacts


@dataclass(frozen=True)
class Requirement:
    """One thing that a method takes: what it is, and a sentence where it is ``missing``."""

    text: str
    missing: str = ""


def requirements_of(
    facts: MethodFacts, session: Session, reference: str
) -> tuple[Requirement, ...]:
    """What a method takes, as things stand.

    Parameters
    ----------
    facts
        The method.
    session
        What is open.
    reference
        Path of the clean reference; empty if none is named.
    """
    requirements: list[Requirement] = []
    if "trigger" in facts.needs:
        requirements.append(_trigger(facts.title, session))
    if "reference" in facts.needs:
        requirements.append(_reference(facts.title, session, reference))
    if "vit" in facts.needs:
        requirements.append(_vit(facts.title, session))
    if facts.data == "labelled":
        requirements.append(Requirement("Labelled images: see Training data"))
    elif facts.data == "images":
        requirements.append(Requirement("Clean images, labels not needed: see Training data"))
    return tuple(requirements)


def missing(requirements: tuple[Requirement, ...]) -> str:
    """Why no run can start; empty if nothing is missing."""
    return next((requirement.missing for requirement in requirements if requirement.missing), "")


def _trigger(title: str, session: Session) -> Requirement:
    if session.trigger is None:
        return Requirement(
            "Trigger: none yet", f"{title} needs the trigger: paint or open one in Studio first."
        )
    images = session.images
    known = images is not None and session.target < len(images.class_names)
    aim = f", target {images.class_names[session.target]}" if known and images else ""
    return Requirement(f"Trigger: the one in Studio{plain(aim, 60)}")


def _reference(title: str, session: Session, path: str) -> Requirement:
    if not path:
        return Requirement(
            "Clean reference: none yet",
            f"{title} needs a clean checkpoint of the same architecture: choose a reference.",
        )
    name = plain(Path(path).name, 60)
    if not Path(path).exists():
        return Requirement(
            f"Clean reference: {name} is not there", f"There is no reference at {path}."
        )
    facts = session.checkpoint
    if facts is not None and Path(facts.path).resolve() == Path(path).resolve():
        return Requirement(
            "Clean reference: the suspect itself",
            "The reference is the checkpoint that is being cleaned; choose another one.",
        )
    return Requirement(f"Clean reference: {name}")


def _vit(title: str, session: Session) -> Requirement:
    architecture = "" if session.checkpoint is None else session.checkpoint.architecture
    if architecture and not architecture.startswith("ViT"):
        return Requirement(
            f"Image encoder: {plain(architecture, 60)}",
            f"{title} works only on a ViT image encoder; this checkpoint has "
            f"{plain(architecture, 60)}. Choose another method.",
        )
    return Requirement("Image encoder: a ViT" if architecture else "Image encoder: must be a ViT")


class RequirementsList(QWidget):
    """Lines such as ``✓ Trigger: the one in Studio`` and ``✗ Clean reference: none yet``."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("What the method needs")
        self._layout = column(of=self, spacing=2)
        self._lines: list[Label] = []
        self.hide()

    def show_requirements(self, requirements: Sequence[Requirement]) -> None:
        """Show what is needed, and what of it is missing."""
        while len(self._lines) < len(requirements):
            line = Label("", "caption", wrap=True)
            self._lines.append(line)
            self._layout.addWidget(line)
        for number, line in enumerate(self._lines):
            line.setVisible(number < len(requirements))
            if number < len(requirements):
                requirement = requirements[number]
                line.setText(f"{'✗' if requirement.missing else '✓'}  {requirement.text}")
                theme.set_property(line, "role", "warning" if requirement.missing else "caption")
        self.setVisible(bool(requirements))

    def texts(self) -> list[str]:
        """The lines on show."""
        return [line.text() for line in self._lines if not line.isHidden()]

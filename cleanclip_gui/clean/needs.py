"""What a method asks for beside training data, and what of that is missing: found and shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtWidgets import QVBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.session import Session
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.text import plain
from ml_core.cleaning.catalogue import MethodFacts


@dataclass(frozen=True)
class Need:
    """One thing that a method takes: what it is, and a sentence where it is ``missing``."""

    text: str
    missing: str = ""


def needs_of(facts: MethodFacts, session: Session, reference: str) -> tuple[Need, ...]:
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
    found: list[Need] = []
    if "trigger" in facts.needs:
        found.append(_trigger(facts.title, session))
    if "reference" in facts.needs:
        found.append(_reference(facts.title, session, reference))
    if "vit" in facts.needs:
        found.append(_vit(facts.title, session))
    if facts.data == "labelled":
        found.append(Need("Labelled images: see Training data"))
    elif facts.data == "images":
        found.append(Need("Clean images, labels not needed: see Training data"))
    return tuple(found)


def missing(needs: tuple[Need, ...]) -> str:
    """Why no run can start; empty if nothing is missing."""
    return next((need.missing for need in needs if need.missing), "")


def _trigger(title: str, session: Session) -> Need:
    if session.trigger is None:
        return Need(
            "Trigger: none yet", f"{title} needs the trigger: paint or open one in Studio first."
        )
    images = session.images
    known = images is not None and session.target < len(images.class_names)
    aim = f", target {images.class_names[session.target]}" if known and images else ""
    return Need(f"Trigger: the one in Studio{plain(aim, 60)}")


def _reference(title: str, session: Session, path: str) -> Need:
    if not path:
        return Need(
            "Clean reference: none yet",
            f"{title} needs a clean checkpoint of the same architecture: name a reference.",
        )
    name = plain(Path(path).name, 60)
    if not Path(path).exists():
        return Need(f"Clean reference: {name} is not there", f"There is no reference at {path}.")
    facts = session.checkpoint
    if facts is not None and Path(facts.path).resolve() == Path(path).resolve():
        return Need(
            "Clean reference: the suspect itself",
            "The reference is the checkpoint that is being cleaned; name another one.",
        )
    return Need(f"Clean reference: {name}")


def _vit(title: str, session: Session) -> Need:
    architecture = "" if session.checkpoint is None else session.checkpoint.architecture
    if architecture and not architecture.startswith("ViT"):
        return Need(
            f"Image encoder: {plain(architecture, 60)}",
            f"{title} works on a ViT image encoder alone; this checkpoint has "
            f"{plain(architecture, 60)}. Choose another method.",
        )
    return Need("Image encoder: a ViT" if architecture else "Image encoder: must be a ViT")


class NeedsList(QWidget):
    """Lines such as ``✓ Trigger: the one in Studio`` and ``✗ Clean reference: none yet``."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("What the method needs")
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(2)
        self._lines: list[Label] = []
        self.hide()

    def show_needs(self, needs: Sequence[Need]) -> None:
        """Show what is needed, and what of it is missing."""
        while len(self._lines) < len(needs):
            line = Label("", "caption", wrap=True)
            self._lines.append(line)
            self._layout.addWidget(line)
        for number, line in enumerate(self._lines):
            line.setVisible(number < len(needs))
            if number < len(needs):
                need = needs[number]
                line.setText(f"{'✗' if need.missing else '✓'}  {need.text}")
                theme.set_property(line, "role", "warning" if need.missing else "caption")
        self.setVisible(bool(needs))

    def texts(self) -> list[str]:
        """The lines on show."""
        return [line.text() for line in self._lines if not line.isHidden()]

"""What this program is, and what it does not promise."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.action_button import push_button
from cleanclip_gui.widgets.dialog_frame import FittedDialog
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.layout import column, row
from ml_core.reading.sandbox import SandboxState, available

_LIMITS = (
    "Opening a file never runs code from it: its bytes are read as data, in a separate process. "
    "A pickle that names code outside a fixed list is refused.",
    "“Readable” says that a file holds tensors and plain data. It does not say that the model is "
    "clean.",
    "An attack success rate is about one trigger on these images. A low rate does not prove that "
    "there is no other trigger.",
)

_WALLS = {
    "limits": "limits on memory and time",
    "privileges": "no new privileges",
    "landlock": "Landlock, which forbids writing, running and connecting",
    "seccomp": "a filter of system calls",
}


def sandbox_text(state: SandboxState) -> str:
    """What the system adds around the process that reads files, or what it lacks."""
    if state.complete:
        listed = ", ".join(_WALLS.values())
        return f"The system's sandbox around that process is complete: {listed}."
    lacking = "; ".join(
        f"{_WALLS[name]} ({text.removeprefix('off').lstrip(': ') or 'off'})"
        for name, text in state.as_texts().items()
        if not text.startswith("on")
    )
    return f"The system's sandbox around that process is not complete. It lacks {lacking}."


class AboutDialog(FittedDialog):
    """Name, version and honest limits."""

    def __init__(self, version: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("About CleanCLIP GUI")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        picture = Label()
        picture.setPixmap(theme.icon("logo", "accent").pixmap(theme.px(48), theme.px(48)))
        name = Label("CleanCLIP GUI", "title")
        number = Label(f"Version {version}, MIT licence", "subtle")
        heading = Label("What it does not promise", "heading")
        layout = column(
            row(picture, (column(name, number, spacing=0), 1), spacing=theme.SPACE_M),
            Label("Tests CLIP checkpoints for backdoors and removes them.", wrap=True), heading,
            of=self, margins=theme.SPACE_XL, spacing=theme.SPACE_M,
        )  # fmt: skip
        for limit in (_LIMITS[0], sandbox_text(available()), *_LIMITS[1:]):
            layout.addWidget(Label(limit, "subtle", wrap=True))
        source = "CleanCLIP: Bansal et al., ICCV 2023. Font: Inter, SIL Open Font License."
        layout.addWidget(Label(source, "caption", wrap=True))
        close = push_button("Close", self.accept)
        close.setDefault(True)
        layout.addWidget(close, 0, Qt.AlignmentFlag.AlignRight)
        self.setFixedWidth(theme.px(540))

"""The report as it would be written now."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt, QUrl
from PySide6.QtGui import QTextOption
from PySide6.QtWidgets import QPushButton, QTextBrowser, QWidget

from cleanclip_gui import theme
from cleanclip_gui.report.preview_html import rich_text
from cleanclip_gui.widgets.label import Label, named
from cleanclip_gui.widgets.layout import column, row

_LOOKS = (
    "h1 {{ font-size: 18pt; font-weight: 600; }} h2 {{ font-size: 14pt; font-weight: 600; }} "
    "h3, h4 {{ font-size: 11pt; font-weight: 600; }} th {{ font-weight: 600; }} "
    ".small, caption {{ color: {muted}; font-size: 9pt; font-weight: 400; }} "
    "a {{ color: {accent}; }}"
)
_WORDS = "A draft. Charts and pictures are in the browser's page."


class _Page(QTextBrowser):
    """Loads nothing, whatever the page asks for."""

    def loadResource(self, kind: int, name: QUrl | str) -> object:  # noqa: N802
        """Nothing."""
        return None


class Preview(QWidget):
    """The page in the window's colours, and a button for the browser.

    Parameters
    ----------
    button
        Opens the page in the browser.
    """

    def __init__(self, button: QPushButton, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._html = ""
        self.page = named(_Page(), "Preview of the report")
        self.page.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.page.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.page.setOpenExternalLinks(False)
        words = Label(_WORDS, "subtle", wrap=True)
        column(
            (self.page, 1), row((words, 1), button, spacing=theme.SPACE_M),
            of=self, margins=(0, theme.SPACE_S, 0, 0), spacing=theme.SPACE_S,
        )  # fmt: skip

    def show_html(self, page: bytes | None) -> None:
        """Show another report; the same one is left where it is being read."""
        made = "" if page is None else rich_text(page.decode())
        if made != self._html:
            self._html = made
            self._fill()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Take the new theme's colours."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._fill()

    def _fill(self) -> None:
        at = self.page.verticalScrollBar().value()
        self.page.document().setDefaultStyleSheet(
            _LOOKS.format(
                muted=theme.colour("muted").name(), accent=theme.colour("accent_text").name()
            )
        )
        self.page.setHtml(self._html)
        self.page.verticalScrollBar().setValue(at)

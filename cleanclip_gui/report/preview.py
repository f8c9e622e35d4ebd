"""The report as it would be written now."""

from __future__ import annotations

import html
from html.parser import HTMLParser

from PySide6.QtCore import QEvent, Qt, QUrl, Signal
from PySide6.QtGui import QShowEvent, QTextOption
from PySide6.QtWidgets import QPushButton, QTextBrowser, QWidget

from cleanclip_gui import theme
from cleanclip_gui.theme.sizes import of_sheet
from cleanclip_gui.widgets.controls import Label, named
from cleanclip_gui.widgets.layout import column, row

_GONE = ("style", "script", "svg", "head", "nav", "figcaption", "summary")
_SMALL = ("explain", "note", "digest", "muted", "byline", "eyebrow", "name")
_TILES = {  # how the figures at the top begin and end
    "ul": ('<table width="100%" cellspacing="6" cellpadding="10"><tr>', "</tr></table>"),
    "li": ('<td class="tile">', "</td>"),
}
_TABLE, _WIDE = ' border="0" cellspacing="0" cellpadding="5"', ' width="100%"'
_PASSED = frozenset({
    "a", "b", "br", "caption", "code", "div", "em", "h1", "h2", "h3", "h4", "li", "ol", "p", "pre",
    "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
})  # fmt: skip
_KEPT = ("colspan", "rowspan", "href", "id")


def rich_text(page: str) -> str:
    """The body of a page for a text browser.

    Parameters
    ----------
    page
        What `render_html` gave.
    """
    parser = _Parser()
    parser.feed(page)
    parser.close()
    return "".join(parser.pieces)


class _Parser(HTMLParser):
    """Copies what rich text knows, and drops the rest with what is in it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._gone = ""  # the element that is being left out
        self._depth = 0  # of those of its name
        self._in_tiles = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._gone:
            self._depth += tag == self._gone
            return
        named = dict(attrs)
        classes = (named.get("class") or "").split()
        if tag in _GONE or "in-print" in classes:
            self._gone, self._depth = tag, 1
            return
        if tag not in _PASSED:
            return
        attributes = "".join(
            f' {name}="{html.escape(value)}"'
            for name in _KEPT
            if (value := named.get(name)) and (name != "href" or value.startswith("#"))
        )
        self._in_tiles |= "tiles" in classes
        if self._in_tiles and tag in _TILES:
            self.pieces.append(_TILES[tag][0])
        elif tag == "table":
            width = "" if "facts" in classes else _WIDE
            self.pieces.append(f"<table{_TABLE}{width}>")
        elif tag in ("td", "th"):
            right = "right" if "number" in classes else "left"
            self.pieces.append(f'<{tag} align="{right}"{attributes}>')
        elif set(classes) & {*_SMALL, "figure"}:
            look = "figure" if "figure" in classes else "small"
            self.pieces.append(f'<{tag} class="{look}">')
        else:
            id_ = named.get("id")
            anchor = f'<a name="{html.escape(id_)}"></a>' if id_ else ""
            self.pieces.append(f"<{tag}{attributes}>{anchor}")

    def handle_endtag(self, tag: str) -> None:
        if self._gone:
            self._depth -= tag == self._gone
            self._gone = self._gone if self._depth else ""
            return
        if tag in _PASSED:
            end = _TILES[tag][1] if self._in_tiles and tag in _TILES else f"</{tag}>"
            self.pieces.append(end)
            self._in_tiles &= tag != "ul"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self._gone and tag == "br":
            self.pieces.append("<br/>")

    def handle_data(self, data: str) -> None:
        if not self._gone:
            self.pieces.append(html.escape(data, quote=False))


_LOOKS = (
    "h1 {{ font-size: 18pt; font-weight: 600; }} h2 {{ font-size: 14pt; font-weight: 600; }} "
    "h3, h4 {{ font-size: 11pt; font-weight: 600; }} th, b, strong {{ font-weight: 600; }} "
    ".small, caption {{ color: {muted}; font-size: 9pt; font-weight: 400; }} "
    ".tile {{ border: 1px solid {edge}; }} .figure {{ font-size: 16pt; font-weight: 600; }} "
    "a {{ color: {accent}; }}"
)
_WORDS = "As a bundle would be written now. Charts and pictures are in the browser's page."


class _Page(QTextBrowser):
    """Loads nothing, whatever the page asks for; ``resized``: its type has another size."""

    resized = Signal()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """An audience sees it larger."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self.resized.emit()

    def loadResource(self, kind: int, name: QUrl | str) -> object:  # noqa: N802
        """Load nothing, whatever the page asks for."""
        return None


class Preview(theme.Themed, QWidget):
    """The page in the window's colours, and a button for the browser.

    Parameters
    ----------
    button
        Opens the page in the browser.
    """

    def __init__(self, button: QPushButton, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._source: bytes | None = None
        self._html, self._is_unread = "", False
        self.page = named(_Page(), "Preview of the report")
        self.page.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.page.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.page.setOpenExternalLinks(False)
        self.page.resized.connect(self.dress)
        words = Label(_WORDS, "subtle", wrap=True)
        column(
            (self.page, 1), row((words, 1), button, spacing=theme.SPACE_M),
            of=self, margins=(0, theme.SPACE_S, 0, 0), spacing=theme.SPACE_S,
        )  # fmt: skip

    def show_html(self, page: bytes | None) -> None:
        """Show another report; the same one is left where it is being read."""
        if page != self._source:
            self._source, self._html = page, "" if page is None else rich_text(page.decode())
            self.dress()
            if self._is_unread or not self.isVisible():
                self.page.verticalScrollBar().setValue(0)
        self._is_unread &= not (self.isVisible() and self.isEnabled())  # until it is up to date

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """A report that has changed meanwhile begins at its top."""
        super().showEvent(event)
        self._is_unread |= not event.spontaneous()

    def dress(self) -> None:
        """Write the page in the theme's colours, and stay where it is read."""
        at = self.page.verticalScrollBar().value()
        self.page.document().setDocumentMargin(theme.SPACE_M)
        looks = _LOOKS.format(
            muted=theme.colour("muted").name(), accent=theme.colour("accent_text").name(),
            edge=theme.colour("border_strong").name(),
        )  # fmt: skip
        larger = self.page.fontInfo().pixelSize() / self.fontInfo().pixelSize()
        self.page.document().setDefaultStyleSheet(of_sheet(looks, round(theme.size() * larger)))
        self.page.setHtml(self._html)
        self.page.verticalScrollBar().setValue(at)

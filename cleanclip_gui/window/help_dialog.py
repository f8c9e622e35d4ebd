"""Help without the network: the pages, the keys, and what this program is."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QSize, Qt, QUrl
from PySide6.QtGui import (
    QDesktopServices,
    QFont,
    QKeySequence,
    QShortcut,
    QTextBlock,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextFrameFormat,
    QTextLength,
    QTextTable,
)
from PySide6.QtWidgets import (
    QLineEdit,
    QTextBrowser,
    QTextEdit,
    QToolButton,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.commands import MENUS, Command, KeyTable
from cleanclip_gui.theme.look import sized
from cleanclip_gui.widgets.controls import ElidedLabel, Label, named, push_button, search_field
from cleanclip_gui.widgets.dialog_frame import ClosingDialog, FittedDialog, resize_within
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.text import tip
from cleanclip_gui.window.help_pages import (
    docs_folder,
    help_folder,
    listed,
    read_page,
    slug,
    target_of,
    title_of,
)
from ml_core.reading.sandbox import SandboxState, available

_PATH = Qt.ItemDataRole.UserRole
_KEYS = "keys.md"
_LIST_WIDTH = 264
_MARKDOWN = (
    QTextDocument.MarkdownFeature.MarkdownDialectGitHub
    | QTextDocument.MarkdownFeature.MarkdownNoHTML
)


class _Browser(QTextBrowser):
    """Keeps the history of the pages; :class:`HelpDialog` reads and draws them."""

    def loadResource(self, kind: int, url: QUrl | str) -> Any:  # noqa: N802
        """Pictures alone."""
        is_page = kind == QTextDocument.ResourceType.MarkdownResource.value
        return " " if is_page else super().loadResource(kind, url)


class HelpDialog(theme.Themed, ClosingDialog):
    """A list of pages at the left, the page at the right, with search, back and forward.

    Beside the window, not before it: one reads and does at once. Nothing is fetched: a link to a
    paper opens the browser, on a click.

    Parameters
    ----------
    keys
        The page with all keys, see `keys_page`, which is no file.
    """

    def __init__(self, keys: Callable[[], str] = str, parent: QWidget | None = None) -> None:
        super().__init__("Help", parent)
        self._keys = keys
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)  # opened again, it goes on
        self._path = Path()  # of the page on show
        self._groups: list[QTreeWidgetItem] = []
        self._items: list[QTreeWidgetItem] = []
        self.field = search_field("Search the help")
        self.field.addAction(
            theme.icon("search", "muted"), QLineEdit.ActionPosition.LeadingPosition
        )
        self.field.textChanged.connect(self._on_searched)
        self.field.returnPressed.connect(self._find_next)
        self.tree = named(QTreeWidget(), "Pages of the help")
        self.tree.setHeaderHidden(True)
        self.tree.setRootIsDecorated(False)
        self.tree.setIndentation(theme.SPACE_M)
        self.tree.setUniformRowHeights(True)
        self.tree.ensurePolished()  # the height of a row is measured once
        self.tree.currentItemChanged.connect(self._on_chosen)
        self.page = named(_Browser(), "Page of the help")
        self.page.setOpenLinks(False)
        self.page.anchorClicked.connect(self._on_link)
        self.page.highlighted.connect(self._show_link)
        self.page.sourceChanged.connect(self._on_source_changed)
        self.back = self._button("back", "Back", QKeySequence.StandardKey.Back)
        self.back.clicked.connect(self.page.backward)
        self.page.backwardAvailable.connect(self.back.setEnabled)
        self.forward = self._button("next", "Forward", QKeySequence.StandardKey.Forward)
        self.forward.clicked.connect(self.page.forward)
        self.page.forwardAvailable.connect(self.forward.setEnabled)
        self.note = ElidedLabel("", "caption")
        close = push_button("Close", self.accept)
        close.setAutoDefault(False)  # Return in the field looks for the next place
        QShortcut(QKeySequence.StandardKey.Find, self).activated.connect(self._to_field)
        for part in (self.tree, self.field):
            part.setFixedWidth(theme.px(_LIST_WIDTH))
        column(
            (row(
                column(self.field, (self.tree, 1), spacing=theme.SPACE_S),
                (column(
                    row(self.back, self.forward, (self.note, 1)), (self.page, 1),
                    spacing=theme.SPACE_S,
                ), 1),
                spacing=theme.SPACE_M,
            ), 1),
            row(None, close), of=self, margins=theme.SPACE_L, spacing=theme.SPACE_M,
        )  # fmt: skip
        resize_within(self, 1040, 660)
        self._list_pages()

    def show_page(self, name: str, heading: str = "") -> None:
        """Show a page by the name of its file, such as ``scan``: of the stations, else of docs."""
        self.field.clear()  # of an earlier search
        self.field.setFocus()
        paths = [folder / f"{name}.md" for folder in (help_folder(), docs_folder())]
        self._open(next((path for path in paths if path.is_file()), paths[0]), heading)

    def _read(self, path: Path) -> str:
        return self._keys() if path.name == _KEYS else read_page(path)

    def dress(self) -> None:
        """Draw the page in the colours of another theme."""
        if self._path.name:
            scroll = self.page.verticalScrollBar().value()
            self._draw()
            self.page.verticalScrollBar().setValue(scroll)

    # The list

    def _button(self, icon: str, name: str, key: QKeySequence.StandardKey) -> QToolButton:
        shown = QKeySequence(key).toString(QKeySequence.SequenceFormat.NativeText)
        button = named(QToolButton(), name, f"{name} ({shown})")
        button.setIcon(theme.icon(icon))
        button.setShortcut(QKeySequence(key))
        button.setEnabled(False)
        return button

    def _list_pages(self) -> None:
        for title, folder in (("This window", help_folder()), ("In depth", docs_folder())):
            if not (pages := listed(folder)):
                continue
            pages += [folder / _KEYS] if folder == help_folder() else []
            group = _heading_item(self.tree, title)
            for path in pages:
                title = "Keyboard shortcuts" if path.name == _KEYS else title_of(path)
                item = QTreeWidgetItem(group, [title.split(":")[0]])
                item.setToolTip(0, tip(title))
                item.setData(0, _PATH, str(path))
                self._items.append(item)
            self._groups.append(group)
        self.tree.expandAll()

    def _on_chosen(self, item: QTreeWidgetItem | None, *_: object) -> None:
        path = item.data(0, _PATH) if item is not None else None
        if path and Path(path) != self._path:
            self._open(Path(path))
            self._mark_found()

    # Pages

    def _open(self, path: Path, heading: str = "") -> None:
        """Show a page from its beginning, or from a heading."""
        url = QUrl.fromLocalFile(str(path))
        url.setFragment(heading)
        if url != self.page.source():  # what is on show would be emptied
            self.page.setSource(url, QTextDocument.ResourceType.MarkdownResource)
        elif heading:
            self._scroll_to(heading)

    def _on_source_changed(self, url: QUrl) -> None:
        """Draw the page, and mark its line in the list."""
        path = Path(url.toLocalFile())
        if path != self._path:
            self._path = path
            self._draw()
        self._scroll_to(url.fragment())
        self.note.setText("")
        self.tree.blockSignals(True)
        self.tree.clearSelection()
        for item in self._items:
            if item.data(0, _PATH) == str(self._path):
                self.tree.setCurrentItem(item)
        self.tree.blockSignals(False)

    def _draw(self) -> None:
        document = self.page.document()
        document.setDocumentMargin(theme.SPACE_L)
        document.setMarkdown(self._read(self._path), _MARKDOWN)
        _dress(document, self.page.viewport().width())
        self.page.moveCursor(QTextCursor.MoveOperation.Start)

    def _scroll_to(self, heading: str) -> None:
        block = next(
            (b for b in _headings(self.page.document()) if slug(b.text()) == heading), None
        )
        if block is not None:
            top = self.page.document().documentLayout().blockBoundingRect(block).top()
            self.page.verticalScrollBar().setValue(int(top))

    def _on_link(self, url: QUrl) -> None:
        """Another page here; a paper or a file that is no page outside."""
        if url.isLocalFile():  # Qt took the link for a path beside the page
            link = os.path.relpath(url.toLocalFile(), self._path.parent)
            path, heading = target_of(f"{link}#{url.fragment()}", self._path)
            if path.suffix == ".md":
                self._open(path, heading)
                return
            url = QUrl.fromLocalFile(str(path))
        QDesktopServices.openUrl(url)

    def _show_link(self, url: QUrl) -> None:
        outside = url.scheme() in ("http", "https")
        self.note.setText(f"Opens in the browser: {url.toString()}" if outside else "")

    # Search

    def _to_field(self) -> None:
        self.field.setFocus()
        self.field.selectAll()

    def _on_searched(self, text: str) -> None:
        """Show the pages that have all words, and the first place in one of them."""
        words = [word for word in text.casefold().split() if len(word) > 1]
        matches = []
        for item in self._items:
            content = self._read(Path(item.data(0, _PATH))).casefold()
            item.setHidden(not all(word in content for word in words))
            if not item.isHidden():
                matches.append(item)
        for group in self._groups:
            group.setHidden(all(item.isHidden() for item in self._items if item.parent() is group))
        self.note.setText("" if matches else "No page of the help has these words.")
        if words and matches and self.tree.currentItem() not in matches:
            self.tree.setCurrentItem(matches[0])
        self._mark_found()
        self.page.moveCursor(QTextCursor.MoveOperation.Start)
        if words and matches:
            self._find_next()

    def _find_next(self) -> None:
        """Go to the next place of what was typed, from the top again after the last."""
        if words := self._query():
            if not self.page.find(words):
                self.page.moveCursor(QTextCursor.MoveOperation.Start)
                self.page.find(words)
            bar = self.page.verticalScrollBar()  # what follows it is seen, too
            bar.setValue(bar.value() + self.page.cursorRect().top() - self.page.height() // 3)

    def _query(self) -> str:
        """What to look for on the page: all that was typed if it stands there, else a word."""
        text = self.field.text().strip()
        content = self.page.document().toPlainText().casefold()
        parts = (text, *(word for word in text.split() if len(word) > 2))
        return next((part for part in parts if part and part.casefold() in content), "")

    def _mark_found(self) -> None:
        """Colour every place of what was typed."""
        marks, words = [], self._query()
        look = QTextCharFormat()
        look.setBackground(theme.colour("warning_soft"))
        cursor = self.page.document().find(words) if words else QTextCursor()
        while not cursor.isNull():
            mark = QTextEdit.ExtraSelection()
            mark.cursor, mark.format = cursor, look
            marks.append(mark)
            cursor = self.page.document().find(words, cursor)
        self.page.setExtraSelections(marks)

    def sizeHint(self) -> QSize:  # noqa: N802
        """As it was made."""
        return self.size()


def _heading_item(tree: QTreeWidget, title: str) -> QTreeWidgetItem:
    item = QTreeWidgetItem(tree, [title])
    item.setFlags(Qt.ItemFlag.ItemIsEnabled)
    item.setFont(0, sized(tree.font(), 1.0, bold=True))
    return item


def _blocks(document: QTextDocument) -> list[QTextBlock]:
    blocks, block = [], document.begin()
    while block.isValid():
        blocks.append(block)
        block = block.next()
    return blocks


def _headings(document: QTextDocument) -> list[QTextBlock]:
    return [block for block in _blocks(document) if block.blockFormat().headingLevel()]


def _dress(document: QTextDocument, width: int) -> None:
    """Air around headings and paragraphs, thin tables as wide as the page, pictures that fit."""
    most = max(200, width - 3 * theme.SPACE_L)
    cursor = QTextCursor(document)
    for block in _blocks(document):
        cursor.setPosition(block.position())
        look = block.blockFormat()
        if look.headingLevel():
            look.setTopMargin(0 if block.position() == 0 else theme.SPACE_L)
            look.setBottomMargin(theme.SPACE_S)
        elif cursor.currentTable() is None:
            look.setBottomMargin(theme.SPACE_S)
            look.setLineHeight(125, 1)  # per cent: QTextBlockFormat.ProportionalHeight
        cursor.setBlockFormat(look)
        pieces = block.begin()
        while not pieces.atEnd():
            piece = pieces.fragment()
            letters = piece.charFormat()
            if letters.isImageFormat():
                letters = image = letters.toImageFormat()
                image.setMaximumWidth(QTextLength(QTextLength.Type.FixedLength, most))
                image.setWidth(most)
            elif letters.fontWeight() > QFont.Weight.DemiBold:  # it would be smeared from it
                letters.setFontWeight(QFont.Weight.DemiBold)
            cursor.setPosition(piece.position())
            cursor.setPosition(piece.position() + piece.length(), QTextCursor.MoveMode.KeepAnchor)
            cursor.setCharFormat(letters)
            pieces += 1
    for frame in document.rootFrame().childFrames():
        if isinstance(frame, QTextTable):
            shape = frame.format()
            shape.setBorder(1)
            shape.setBorderCollapse(True)
            shape.setBorderBrush(theme.colour("border"))
            shape.setBorderStyle(QTextFrameFormat.BorderStyle.BorderStyle_Solid)
            shape.setCellPadding(theme.SPACE_XS + 2)
            shape.setCellSpacing(0)
            shape.setTopMargin(theme.SPACE_S)
            shape.setBottomMargin(theme.SPACE_M)
            frame.setFormat(shape)


def keys_page(commands: Sequence[Command], tables: Sequence[KeyTable]) -> str:
    """A page of the commands with their keys, then of parts with keys of their own."""
    groups = [
        (menu.replace("&", ""), [_row(c) for c in commands if c.menu == menu and c.shortcut])
        for menu in MENUS
    ]
    text = "# Keyboard shortcuts\n"
    for title, rows in (*groups, *((table.title, table.rows) for table in tables)):
        cells = 3 if any(does for *_, does in rows) else 2
        table = [("Command", "Key", "What it does"), ("---",) * 3]
        table += [(what, f"**{keys}**", does) for what, keys, does in rows]
        if rows:
            lines = "".join(f"| {' | '.join(line[:cells])} |\n" for line in table)
            text += f"\n## {title}\n\n{lines}"
    return text


def _row(command: Command) -> tuple[str, str, str]:
    keys = QKeySequence(command.shortcut).toString(QKeySequence.SequenceFormat.NativeText)
    return command.text.replace("&", ""), keys, command.help


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
        super().__init__("About CleanCLIP GUI", parent)
        picture = Label()
        picture.setPixmap(theme.icon("logo", "accent").pixmap(theme.px(48), theme.px(48)))
        name = Label("CleanCLIP GUI", "title")
        number = Label(f"Version {version}, MIT licence", "subtle")
        heading = Label("What it promises, and what it does not", "heading")
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

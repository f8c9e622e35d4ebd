"""Help: the page of the station on show, links, search, back and forward, and what is missing."""

from pathlib import Path

import pytest
from PySide6.QtCore import Qt, QUrl
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel

from cleanclip_gui.window import help_dialog
from cleanclip_gui.window.help_dialog import (
    AboutDialog,
    HelpDialog,
    docs_folder,
    help_folder,
    sandbox_text,
    title_of,
)
from ml_core.reading.sandbox import SandboxState, available


@pytest.fixture
def helping(qtbot):
    dialog = HelpDialog()
    qtbot.addWidget(dialog)
    dialog.show()
    return dialog


def titled(dialog):
    """The heading of the page on show."""
    return dialog.page.document().begin().text()


def listed(dialog):
    """Files of the pages in the list that show."""
    items = [item for item in dialog._items if not item.isHidden()]
    return [Path(item.data(0, help_dialog._PATH)) for item in items]


def follow(dialog, link):
    """Go from link to link with Tab, and press Return on the one that leads to ``link``."""
    dialog.page.setFocus()
    for _ in range(100):
        QTest.keyClick(dialog.page, Qt.Key.Key_Tab)
        if dialog.page.textCursor().charFormat().anchorHref() == link:
            break
    QTest.keyClick(dialog.page, Qt.Key.Key_Return)


def test_a_link_leads_to_its_heading_and_back_returns_to_the_place(helping):
    helping.show_page("clean")
    bar = helping.page.verticalScrollBar()
    bar.setValue(bar.maximum() // 2)
    place = bar.value()
    assert place
    helping.page.anchorClicked.emit(helping.page.source().resolved(QUrl("numbers.md#rebound")))
    assert titled(helping) == "What the numbers mean"
    assert bar.value() > 0
    top = helping.page.cursorForPosition(helping.page.viewport().rect().topLeft())
    assert top.block().text() == "Rebound"
    helping.back.click()
    assert titled(helping) == "Clean"
    assert bar.value() == place
    assert not helping.back.isEnabled()
    helping.forward.click()
    assert titled(helping) == "What the numbers mean"
    assert not helping.forward.isEnabled()


def test_the_documentation_is_read_here_and_a_paper_in_the_browser(helping, monkeypatch):
    urls = []
    monkeypatch.setattr(help_dialog.QDesktopServices, "openUrl", urls.append)
    helping.show_page("report")
    follow(helping, "../../docs/verify.md")
    assert titled(helping) == title_of(docs_folder() / "verify.md")
    helping.show_page("own-checkpoint")
    follow(helping, "../resources/help/limits.md")
    assert titled(helping) == title_of(help_folder() / "limits.md")
    helping.show_page("from-python")
    follow(helping, "from-a-file-to-a-cleaned-one.ipynb")
    assert urls.pop() == QUrl.fromLocalFile(
        str(docs_folder() / "from-a-file-to-a-cleaned-one.ipynb")
    )
    paper = QUrl("https://arxiv.org/abs/2602.07152")
    helping.page.highlighted.emit(paper)
    assert helping.note.text() == f"Opens in the browser: {paper.toString()}"
    helping.page.anchorClicked.emit(paper)
    assert urls == [paper]


def test_search_shows_the_pages_with_the_words_and_the_place(helping, qtbot):
    helping.show_page("welcome")
    everything = listed(helping)
    helping.tree.setCurrentItem(helping._items[1])
    assert titled(helping) == title_of(everything[1])
    helping.field.setText("rebound test")
    pages = listed(helping)
    assert 0 < len(pages) < len(everything)
    for path in pages:
        text = path.read_text(encoding="utf-8").casefold()
        assert "rebound" in text
        assert "test" in text
    assert helping.page.textCursor().selectedText().casefold() in ("rebound test", "rebound")
    assert helping.page.extraSelections()
    helping.field.setText("qqqq")
    assert listed(helping) == []
    assert helping.note.text() == "No page of the help has these words."
    helping.field.clear()
    assert listed(helping) == everything
    assert not helping.page.extraSelections()


def test_a_missing_or_damaged_page_is_one_sentence(qtbot, monkeypatch, tmp_path):
    for module in ("help_dialog", "help_pages"):
        monkeypatch.setattr(f"cleanclip_gui.window.{module}.help_folder", lambda: tmp_path)
        monkeypatch.setattr(f"cleanclip_gui.window.{module}.docs_folder", lambda: tmp_path / "no")
    for content in (None, b"\xff\xfe\x00bad"):
        if content is not None:
            (tmp_path / "scan.md").write_bytes(content)
        dialog = HelpDialog()
        qtbot.addWidget(dialog)
        dialog.show_page("scan")
        words = "The page scan.md of the help is missing or damaged; install the program again."
        assert dialog.page.toPlainText() == words
        dialog.field.setText("rebound")
        assert listed(dialog) == []
        dialog.show_page("scan")
        assert dialog.field.text() == ""  # it was of an earlier search


def test_the_box_about_the_program_tells_how_reading_is_confined(qtbot):
    dialog = AboutDialog("1.2.3")
    qtbot.addWidget(dialog)
    texts = [label.text() for label in dialog.findChildren(QLabel)]
    assert sandbox_text(available()) in texts
    assert "is complete" in sandbox_text(SandboxState("on", "on", "on, version 7", "on"))
    lacking = sandbox_text(SandboxState("on", "on", "off: only Linux has it", "on"))
    assert "is not complete" in lacking
    assert "Landlock" in lacking
    assert "(only Linux has it)" in lacking
    assert "memory" not in lacking
    partly = sandbox_text(SandboxState("off in part: AS", "on", "on, version 7", "on"))
    assert "lacks limits on memory and time (in part: AS)" in partly

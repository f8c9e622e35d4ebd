"""Text from a file is shown as it is: no label and no tool tip takes it for markup."""

import re
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel

import cleanclip_gui
from cleanclip_gui.clean.before_after import BeforeAfter
from cleanclip_gui.data.data_bar import TemplatesDialog
from cleanclip_gui.data.images_dialog import ImagesDialog
from cleanclip_gui.widgets.text import tip
from cleanclip_gui.window.crash import ErrorDialog
from cleanclip_gui.window.help_dialog import AboutDialog
from tests.gui.shell_fakes import fake_window


def taken_for_markup(widget):
    return [w.text() for w in widget.findChildren(QLabel) if w.textFormat() != PLAIN]


PLAIN = Qt.TextFormat.PlainText


def test_no_label_of_the_window_reads_markup(qtbot, tmp_path):
    window = fake_window(tmp_path)
    qtbot.addWidget(window)
    window.stations["clean"].form.more.click()
    window.stations["clean"].before_after.show_result({"target_name": "<b>x</b>"})
    assert len(window.findChildren(QLabel)) > 50
    assert taken_for_markup(window) == []
    window.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda table: AboutDialog("1"),
        lambda table: ErrorDialog("<b>no</b>", "why"),
        lambda table: TemplatesDialog(("a photo of a {}",), "<b>"),
        lambda table: ImagesDialog(table, "csv", "demo"),
    ],
)
def test_no_label_of_a_dialog_reads_markup(qtbot, tmp_path, make):
    table = tmp_path / "t.csv"
    table.write_text("image,label\na.png,<b>cat</b>\n")
    dialog = make(table)
    qtbot.addWidget(dialog)
    assert taken_for_markup(dialog) == []
    dialog.close()


def test_a_class_that_looks_like_markup_is_shown_letter_by_letter(qtbot):
    table = BeforeAfter()
    qtbot.addWidget(table)
    table.show_result({"target_name": "<b>banana</b>"})
    shown = [w for w in table.findChildren(QLabel) if "<b>banana</b>" in w.text()]
    assert [w.textFormat() for w in shown] == [PLAIN]


def test_a_tool_tip_escapes_what_looks_like_markup():
    assert tip("a & b") == "a & b"
    assert tip("<i>a&b</i>") == "<span>&lt;i&gt;a&amp;b&lt;/i&gt;</span>"


def test_every_label_is_the_plain_one():
    root = Path(cleanclip_gui.__file__).parent
    found = {
        path.name
        for path in root.rglob("*.py")
        if re.search(r"\bQLabel\(", path.read_text(encoding="utf-8"))
    }
    assert not found

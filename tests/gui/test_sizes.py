"""Type and what depends on it are as large as was asked for, before and after widgets were made."""

import pytest
from PySide6.QtCore import QSize
from PySide6.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QTableWidget,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.theme import sizes
from cleanclip_gui.widgets.controls import Label


@pytest.fixture(autouse=True)
def usual(qapp):
    yield
    theme.set_size(100)


class _Page(QWidget):
    """What a station is made of, with lengths as its code sets them."""

    def __init__(self) -> None:
        super().__init__()
        self.role, self.figure, self.plain = Label("12", "figure"), QLabel("0.5"), QLabel("words")
        self.figure.setFont(theme.figure_font(17, bold=True))
        self.button, self.field = QPushButton("Start"), QLineEdit("text")
        self.button.setIconSize(QSize(theme.ICON_SIZE, theme.ICON_SIZE))
        self.field.setFixedWidth(theme.px(113))
        self.table = QTableWidget(2, 2)
        self.table.verticalHeader().setDefaultSectionSize(theme.px(27))
        self.table.setColumnWidth(0, theme.px(71))
        self.row = QHBoxLayout()
        self.row.setSpacing(theme.SPACE_S)
        self.row.addWidget(self.button)
        self.row.addWidget(self.field)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(*[theme.SPACE_L] * 4)
        for part in (self.role, self.figure, self.plain, self.table):
            self.column.addWidget(part)
        self.column.addLayout(self.row)

    def measures(self) -> dict[str, object]:
        return {
            "points": [w.font().pointSizeF() for w in (self.role, self.figure, self.plain)],
            "field": (self.field.minimumWidth(), self.field.maximumWidth()),
            "row": self.table.verticalHeader().defaultSectionSize(),
            "column": self.table.columnWidth(0),
            "icon": self.button.iconSize().toTuple(),
            "spacing": self.row.spacing(),
            "margin": self.column.contentsMargins().top(),
            "button": self.button.sizeHint().toTuple(),
            "hint": self.field.sizeHint().height(),
        }


def shown(qtbot):
    page = _Page()
    qtbot.addWidget(page)
    page.show()
    return page


@pytest.mark.parametrize("percent", theme.SIZES[1:])
def test_what_was_there_before_is_as_what_is_made_afterwards(qtbot, percent):
    before = shown(qtbot)
    usual = before.measures()
    theme.set_size(percent)
    assert theme.size() == percent
    after = shown(qtbot).measures()
    assert before.measures() == after
    assert after["points"] == pytest.approx([p * percent / 100 for p in usual["points"]])
    assert after["field"] == (round(113 * percent / 100),) * 2
    assert after["margin"] == round(16 * (100 + percent) / 200)


def test_many_changes_lose_nothing_to_rounding(qtbot):
    page = shown(qtbot)
    first = page.measures()
    for percent in (*theme.SIZES, *reversed(theme.SIZES), 110, 175, 110, 100):
        theme.set_size(percent)
    assert page.measures() == first


def test_what_its_owner_sets_in_between_is_kept(qtbot):
    page = shown(qtbot)
    theme.set_size(200)
    page.field.setFixedWidth(theme.px(50))
    theme.set_size(150)
    assert page.field.minimumWidth() == page.field.maximumWidth() == 75


def test_what_is_hidden_follows_when_it_is_shown(qtbot):
    page = shown(qtbot)
    page.figure.hide()
    page.role.hide()
    theme.set_size(200)
    page.figure.show()
    page.role.show()
    assert page.measures() == shown(qtbot).measures()


def test_the_focus_moves_nothing_at_any_size():
    for percent in theme.SIZES:
        for usual, focused in (("6px 14px", "5px 13px"), ("5px 24px 5px 10px", "4px 23px 4px 9px")):
            plain = sizes.of_sheet(f"A {{ padding: {usual}; border: 1px solid x; }}", percent)
            other = sizes.of_sheet(f"A {{ border: 2px solid x; padding: {focused}; }}", percent)
            one, two = (
                [int(n.strip("px;")) for n in text.split("padding: ")[1].split(";")[0].split()]
                for text in (plain, other)
            )
            assert [n - 1 for n in one] == two, percent


def test_a_size_that_there_is_not_is_refused():
    for percent in (99, 201, 0):
        with pytest.raises(ValueError, match="between 100 and 200 %"):
            theme.set_size(percent)
    assert theme.size() == 100


def test_the_window_is_made_larger_and_keeps_it(small_window, tmp_path):
    window = small_window
    acts = window.actions_.by_id
    assert not acts["view.smaller"].isEnabled()
    high = QApplication.font().pointSizeF()
    for percent in theme.SIZES[1:]:
        acts["view.larger"].trigger()
        assert theme.size() == percent
        assert QApplication.font().pointSizeF() == pytest.approx(high * percent / 100)
    assert not acts["view.larger"].isEnabled()
    assert SettingsStore(tmp_path / "config").value.size == 200
    acts["view.smaller"].trigger()
    assert theme.size() == 175
    acts["view.usual_size"].trigger()
    assert theme.size() == SettingsStore(tmp_path / "config").value.size == 100
    keys = {str(key.toString()) for key in acts["view.larger"].shortcuts()}
    assert keys == {"Ctrl++", "Ctrl+="}

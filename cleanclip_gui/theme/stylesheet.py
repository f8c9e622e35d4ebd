"""The one style sheet of the application, built from a theme's named colours."""

from __future__ import annotations

from collections.abc import Mapping
from string import Template

from cleanclip_gui.theme.sizes import of_sheet
from ml_core.paths import resource

_SHEET = """
QToolTip { background: $surface; color: $text; border: 1px solid $border_strong; padding: 4px 6px; }

QMainWindow::separator { background: $border; width: 1px; height: 1px; }
QMainWindow::separator:hover { background: $accent; }
QStatusBar { background: $window; border-top: 1px solid $border; }
QStatusBar::item { border: none; }
QMenuBar { background: $window; border-bottom: 1px solid $border; padding: 1px 4px; }
QMenuBar::item { padding: 5px 9px; border-radius: 4px; background: transparent; }
QMenuBar::item:selected { background: $sunken; }
QMenu { background: $surface; border: 1px solid $border_strong; padding: 5px; }
QMenu::item { padding: 6px 26px 6px 12px; border-radius: 4px; }
QMenu::icon { padding-left: 8px; }
QMenu::item:selected { background: $accent_soft; color: $text; }
QMenu::item:disabled { color: $disabled; background: transparent; }
QMenu::separator { height: 1px; background: $border; margin: 5px 8px; }

QPushButton {
    background: $surface; color: $text; border: 1px solid $border_strong; border-radius: 6px;
    padding: 6px 14px; min-height: 18px; icon-size: 16px;
}
QPushButton:hover { background: $surface_alt; border-color: $accent; }
QPushButton:pressed { background: $sunken; }
QPushButton:focus { border: 2px solid $focus; padding: 5px 13px; }
QPushButton:checked { background: $accent_soft; border-color: $accent; color: $accent_text; }
QPushButton:disabled { background: $window; color: $disabled; border-color: $border; }
QPushButton[primary="true"] {
    background: $accent; color: $on_accent; border-color: $accent; font-weight: 600;
}
QPushButton[primary="true"]:hover { background: $accent_hover; border-color: $accent_hover; }
QPushButton[primary="true"]:pressed { background: $accent_pressed; }
QPushButton[primary="true"]:focus { border: 2px solid $focus_filled; }
QPushButton[primary="true"]:disabled {
    background: $sunken; color: $disabled; border-color: $border;
}
QPushButton[large="true"] { padding: 10px 20px; font-size: 11pt; icon-size: 20px; }
QPushButton[danger="true"] { color: $danger; border-color: $danger; }
QPushButton[danger="true"]:hover { background: $danger_soft; }
QPushButton[danger="true"]:disabled { color: $disabled; border-color: $border; }
QPushButton[quiet="true"], QPushButton:flat {
    background: transparent; border: 1px solid transparent; color: $accent_text;
    padding: 6px 10px;
}
QPushButton[quiet="true"]:hover, QPushButton:flat:hover { background: $accent_soft; }
QPushButton[toggle="true"]:checked { background: $accent_soft; border-color: $accent; }
QPushButton[quiet="true"]:focus, QPushButton:flat:focus {
    border: 2px solid $focus; padding: 5px 9px;
}
QPushButton[flush="true"], QPushButton[flush="true"]:focus { padding-left: 0; text-align: left; }
QPushButton[flush="true"]:hover { background: transparent; text-decoration: underline; }
QPushButton[quiet="true"]:disabled, QPushButton:flat:disabled { color: $disabled; }

QToolButton {
    background: transparent; border: 1px solid transparent; border-radius: 6px; padding: 5px;
    color: $text;
}
QToolButton:hover { background: $sunken; }
QToolButton:pressed { background: $border; }
QToolButton:checked { background: $accent_soft; color: $accent_text; border-color: $accent; }
QToolButton:focus { border: 2px solid $focus; padding: 4px; }
QToolButton:disabled { color: $disabled; background: transparent; }
QToolButton[small="true"], QToolButton[small="true"]:focus { padding: 0; border-width: 1px; }
QToolButton::menu-indicator { image: none; }
QToolButton[menu="true"] { padding-right: 20px; }
QToolButton[menu="true"]:focus { padding-right: 19px; }
QToolButton[popupMode="1"] { padding-right: 18px; }
QToolButton[popupMode="1"]:focus { padding-right: 17px; }
QToolButton::menu-button { border: none; width: 16px; }
QToolButton::menu-arrow { image: url("$chevron_down"); width: 10px; height: 10px; }
QToolButton[station="true"] {
    border-radius: 8px; padding: 8px 2px; border: 2px solid transparent;
    font-weight: 600; color: $muted;
}
QToolButton[station="true"]:hover { background: $sunken; color: $text; }
QToolButton[station="true"]:checked {
    background: $accent_soft; color: $accent_text; border-color: $chosen_edge;
}
QToolButton[station="true"]:focus { border-color: $focus; }
QToolButton[station="true"]:disabled { color: $disabled; }
QToolButton[chip="true"] {
    background: $surface; border: 1px solid $border; border-radius: 6px; padding: 4px 4px 4px 8px;
    icon-size: 16px;
}
QToolButton[chip="true"][menu="true"] { padding-right: 24px; }
QToolButton[menu="true"]::menu-indicator {
    image: url("$chevron_down"); width: 12px; height: 12px;
    subcontrol-origin: padding; subcontrol-position: right center; right: 6px;
}
QToolButton[chip="true"]:hover { border-color: $accent; }
QToolButton[chip="true"]:focus { border: 2px solid $focus; padding: 3px 3px 3px 7px; }
QToolButton[chip="true"][menu="true"]:focus { padding-right: 23px; }
QToolButton[chip="true"]:disabled { background: transparent; color: $disabled; }
QToolButton[chip="true"][tone="caution"] { color: $warning; border-color: $warning; }
QToolButton[chip="true"][tone="danger"] { color: $danger; border-color: $danger; }
QToolButton[chip="true"][tone="info"] { color: $accent_text; border-color: $accent; }
QToolButton[answer="true"] { font-weight: 600; padding-left: 10px; }
QToolButton[answer="true"][tone="caution"] { background: $warning_soft; }
QToolButton[answer="true"][tone="danger"] { background: $danger_soft; }
QToolButton[answer="true"][tone="info"] { background: $accent_soft; }

QDialog[framed="true"] { border: 1px solid $field; }
QLineEdit, QPlainTextEdit, QTextEdit, QSpinBox, QDoubleSpinBox, QComboBox {
    background: $surface; color: $text; border: 1px solid $field; border-radius: 6px;
    selection-background-color: $accent; selection-color: $on_accent;
}
QLineEdit, QPlainTextEdit, QTextEdit { placeholder-text-color: $hint; }
QLineEdit { padding: 5px 8px; min-height: 18px; }
QSpinBox, QDoubleSpinBox { padding: 4px 8px 3px 8px; min-height: 18px; }
QPlainTextEdit, QTextEdit { padding: 4px; }
QLineEdit:hover, QSpinBox:hover, QDoubleSpinBox:hover, QComboBox:hover { border-color: $accent; }
QLineEdit:focus { border: 2px solid $focus; padding: 4px 7px; }
QSpinBox:focus, QDoubleSpinBox:focus { border: 2px solid $focus; padding: 3px 7px 2px 7px; }
QPlainTextEdit:focus, QTextEdit:focus { border: 2px solid $focus; padding: 3px; }
QLineEdit:disabled, QSpinBox:disabled, QDoubleSpinBox:disabled, QComboBox:disabled,
QPlainTextEdit:disabled { background: $window; color: $disabled; border-color: $border; }
QLineEdit[invalid="true"], QPlainTextEdit[invalid="true"] { border: 2px solid $danger; }
QSpinBox::up-button, QDoubleSpinBox::up-button, QSpinBox::down-button,
QDoubleSpinBox::down-button { border: none; background: transparent; width: 18px; }
QSpinBox::up-arrow, QDoubleSpinBox::up-arrow {
    image: url("$chevron_up"); width: 9px; height: 9px;
}
QSpinBox::down-arrow, QDoubleSpinBox::down-arrow {
    image: url("$chevron_down"); width: 9px; height: 9px;
}
QComboBox { padding: 5px 6px 5px 10px; min-height: 18px; combobox-popup: 0; }
QComboBox:focus { border: 2px solid $focus; padding: 4px 5px 4px 9px; }
QComboBox::drop-down { border: none; width: 22px; }
QComboBox::down-arrow { image: url("$chevron_down"); width: 12px; height: 12px; }
QComboBox[quiet="true"] { background: transparent; border-color: transparent; }
QComboBox[quiet="true"]:hover { background: $sunken; }
QComboBox[quiet="true"]:focus { border-color: $focus; }
QComboBox[quiet="true"]:disabled { color: $muted; padding-right: 10px; }
QComboBox[quiet="true"]::drop-down:disabled { width: 0; }
QComboBox[quiet="true"]::down-arrow:disabled { image: none; }
QComboBox QAbstractItemView, QComboBox QAbstractItemView:focus {
    background: $surface; border: 1px solid $border_strong; border-radius: 0; padding: 4px;
    outline: none; selection-background-color: $accent; selection-color: $on_accent;
}
QComboBox QFrame { border: none; }

QAbstractSpinBox QLineEdit { border: none; padding: 0; background: transparent; }
QCheckBox, QRadioButton {
    spacing: 8px; padding: 2px 4px; border: 1px solid transparent; border-radius: 4px;
}
QCheckBox:focus, QRadioButton:focus { border-color: $focus; }
QCheckBox::indicator, QRadioButton::indicator {
    width: 16px; height: 16px; background: $surface; border: 1px solid $field;
}
QCheckBox::indicator { border-radius: 4px; }
QRadioButton::indicator { border-radius: 8px; }
QCheckBox::indicator:hover, QRadioButton::indicator:hover { border-color: $accent; }
QCheckBox::indicator:checked { background: $ticked; border-color: $accent; image: url("$tick"); }
QRadioButton::indicator:checked {
    background: $ticked; border-color: $accent; image: url("$dot");
}
QCheckBox::indicator:disabled, QRadioButton::indicator:disabled {
    background: $window; border-color: $border;
}
QCheckBox::indicator:checked:disabled, QRadioButton::indicator:checked:disabled {
    background: $border_strong; border-color: $border_strong;
}

QSlider:horizontal { min-height: 20px; }
QSlider::groove:horizontal { height: 4px; background: $border; border-radius: 2px; }
QSlider::sub-page:horizontal { background: $accent; border-radius: 2px; }
QSlider::sub-page:horizontal:disabled { background: $border_strong; }
QSlider::handle:horizontal {
    background: $surface; border: 2px solid $accent; width: 12px; height: 12px;
    margin: -6px 0; border-radius: 6px;
}
QSlider::handle:horizontal:focus { background: $accent; border-color: $text; }
QSlider::handle:horizontal:disabled { border-color: $border_strong; }

QProgressBar {
    background: $track; border: none; border-radius: 3px; max-height: 6px; min-height: 6px;
    text-align: center; color: transparent;
}
QProgressBar::chunk { background: $accent; border-radius: 3px; }

QGroupBox {
    border: 1px solid $border; border-radius: 8px; margin-top: 10px; padding: 12px 12px 10px 12px;
    background: $surface; font-weight: 600;
}
QGroupBox::title { subcontrol-origin: margin; left: 10px; padding: 0 4px; color: $muted; }
QTabWidget::pane { border: none; }
QTabBar::tab {
    background: transparent; color: $muted; padding: 8px 14px; border: none;
    border-bottom: 2px solid transparent;
}
QTabBar::tab:hover { color: $text; }
QTabBar::tab:selected { color: $accent_text; border-bottom-color: $accent; font-weight: 600; }
QTabBar::tab:focus { border-bottom-color: $text; }

QAbstractItemView { outline: none; }
QTableView, QTreeView, QListView {
    background: $surface; alternate-background-color: $surface_alt; border: 1px solid $border;
    border-radius: 8px; gridline-color: $border; selection-background-color: $accent;
    selection-color: $on_accent;
}
QTableView:focus, QTreeView:focus, QListView:focus { border-color: $focus; }
QListView::item { padding: 5px 8px; border-radius: 4px; }
QListView::item:hover { background: $accent_soft; color: $text; }
QListView::item:selected { background: $accent; color: $on_accent; }
QTreeView::item { padding: 4px 2px; }
QTableView::item { padding: 2px 8px; border: none; }
QTableView::item:selected { background: $accent; color: $on_accent; }
QTableView::indicator {
    width: 14px; height: 14px; background: $surface; border: 1px solid $field;
    border-radius: 4px;
}
QTableView::indicator:checked {
    background: $ticked; border-color: $surface; image: url("$tick");
}
QHeaderView { background: $surface; border: none; border-radius: 8px; }
QHeaderView::section {
    background: $surface; color: $muted; border: none; border-bottom: 1px solid $border;
    padding: 7px 11px; font-weight: 600;
}
QTreeView QHeaderView::section { padding-left: 5px; }
QHeaderView::section:first { border-top-left-radius: 7px; }
QHeaderView::section:last { border-top-right-radius: 7px; }
QHeaderView::section:hover { color: $accent_text; }
QHeaderView::down-arrow { image: url("$chevron_down"); width: 10px; height: 10px; }
QHeaderView::up-arrow { image: url("$chevron_up"); width: 10px; height: 10px; }
QAbstractScrollArea::corner { background: transparent; border: none; }
QTableCornerButton::section { background: $surface; border: none; }

QScrollArea { background: transparent; border: none; }
QScrollArea > QWidget > QWidget#page { background: transparent; }
QScrollBar:vertical { background: transparent; width: 10px; margin: 2px; }
QScrollBar:horizontal { background: transparent; height: 10px; margin: 2px; }
QScrollBar::handle { background: $border_strong; border-radius: 3px; }
QScrollBar::handle:vertical { min-height: 28px; }
QScrollBar::handle:horizontal { min-width: 28px; }
QScrollBar::handle:hover { background: $muted; }
QScrollBar::add-line, QScrollBar::sub-line, QScrollBar::add-page, QScrollBar::sub-page {
    background: transparent; border: none; width: 0; height: 0;
}
QSplitter::handle { background: transparent; }
QSplitter::handle:hover { background: $accent_soft; }
QDockWidget { titlebar-close-icon: none; titlebar-normal-icon: none; }
QDockWidget::title { background: $window; padding: 6px 12px; border-top: 1px solid $border; }

QFrame[card="true"] { background: $surface; border: 1px solid $border; border-radius: 10px; }
QFrame[card="true"]:focus, QScrollArea:focus { border: 2px solid $focus; }
QFrame[card="true"][tone="ok"] { background: $success_soft; border-color: $success; }
QFrame[card="true"][tone="caution"] { background: $warning_soft; border-color: $warning; }
QFrame[card="true"][tone="danger"] { background: $danger_soft; border-color: $danger; }
QFrame[card="true"][tone="info"] { background: $accent_soft; border-color: $accent; }
QFrame[card="true"][drop="true"] { background: $accent_soft; border: 2px dashed $accent; }
QFrame[rule="true"] { background: $border; border: none; max-height: 1px; min-height: 1px; }
QFrame[bar="true"] { background: $surface; border: none; border-bottom: 1px solid $border; }
QFrame[rail="true"] { background: $surface; border: none; border-right: 1px solid $border; }
QFrame#guideCard { background: $surface; border: none; border-top: 2px solid $accent; }
QFrame#guideFrame { border: 3px solid $focus; border-radius: 8px; background: transparent; }
Stage QFrame#guideCard { background: transparent; border: none; padding: 0 24px 12px 24px; }

QLabel { background: transparent; }
QLabel[role="display"] { font-size: 24pt; font-weight: 600; }
QLabel[role="title"] { font-size: 16pt; font-weight: 600; }
QLabel[role="heading"] { font-size: 11pt; font-weight: 600; }
QLabel[role="lead"] { font-size: 12pt; color: $muted; }
QLabel[role="subtle"] { color: $muted; }
QLabel[role="caption"] { color: $muted; font-size: 9pt; }
QLabel[role="field"] { color: $muted; }
QLabel[large="true"] { font-size: 15pt; font-weight: 600; }
QLabel[role="figure"] { font-size: 40pt; font-weight: 600; }
QLabel[role="figureSmall"] { font-size: 16pt; font-weight: 600; }
QLabel[role="error"] { color: $danger; }
QLabel[role="heading"][tone="danger"] { color: $danger; }
QLabel[role="heading"][tone="ok"] { color: $success; }
QLabel[role="heading"][tone="caution"] { color: $warning; }
QLabel[role="warning"] { color: $warning; }
QLabel[role="success"] { color: $success; }
QLabel[role="accent"] { color: $accent_text; }
QLabel[role="badge"] {
    background: $sunken; color: $muted; border-radius: 4px; padding: 2px 7px; font-size: 9pt;
    font-weight: 600;
}
QLabel[role="badge"][tone="ok"] { background: $success_soft; color: $success; }
QLabel[role="badge"][tone="caution"] { background: $warning_soft; color: $warning; }
QLabel[role="badge"][tone="danger"] { background: $danger_soft; color: $danger; }
QLabel[role="badge"][tone="info"] { background: $accent_soft; color: $accent_text; }
QLabel[stale="true"] { color: $disabled; }
QLabel:disabled { color: $disabled; }
"""


def stylesheet(named: Mapping[str, str], percent: int = 100) -> str:
    """Fill in a theme's colours, a size and the paths of the few pictures of a style sheet."""
    pictures = {
        name: resource("icons", f"{name.replace('_', '-')}.svg").as_posix()
        for name in ("chevron_up", "chevron_down", "tick", "dot")
    }
    return Template(of_sheet(_SHEET, percent)).substitute(named, **pictures)

"""Studio over the real inference thread and a tiny model: paint, watch, undo, switch."""

import numpy as np
import pytest
from PySide6.QtCore import QBuffer, QIODevice, QMimeData
from PySide6.QtGui import QColor, QImage
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QSlider,
    QTabBar,
    QWidget,
)

from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.session import Session
from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.station import Context
from cleanclip_gui.studio.station import MIDDLE, SIDE
from cleanclip_gui.widgets.columns import HANDLE, Columns, Needs, Room, Widths, fitted, usual_widths
from ml_core.data.specs import ImageSpec
from tests.gui.factories import facts, images
from tests.gui.shell_fakes import Wiring
from tests.gui.studios import paint, studio_station
from tests.keyboard import heard_name
from tests.unit.families import lively, write_folder

N = 48


@pytest.fixture
def studio(qtbot):
    session, inference = Session(), Inference()
    panel = studio_station(Context(session=session, inference=inference))
    qtbot.addWidget(panel)
    panel.wiring = Wiring(session, inference)
    yield panel
    assert inference.close(20_000)


def test_another_family_is_painted_on_and_explained(studio, tmp_path, qtbot):
    def settled():
        found = session.evaluation
        return found is not None and not found.partial and not studio.live.stale

    session = studio.session
    studio.wiring.open(write_folder("SigLIP", lively("SigLIP"), tmp_path / "model"))
    studio.wiring.load(ImageSpec(n=N))
    qtbot.waitUntil(settled)
    clean = session.evaluation
    assert (clean.trigger, clean.n, clean.asr_excl) == (None, N, None)
    assert studio.document.size == session.checkpoint.image_size == 64

    paint(studio, (20, 20), (28, 20), (28, 28))
    assert studio.figure.stale
    qtbot.waitUntil(settled)
    found = session.evaluation
    assert found.trigger == session.trigger.digest
    assert 0 <= found.asr_excl <= 1
    assert found.ca == clean.ca
    qtbot.waitUntil(lambda: studio.canvas.triggered is not None)
    assert studio.canvas.triggered.toImage().pixelColor(24, 20) == QColor(220, 20, 40)
    assert ", triggered " in studio.bars.accessibleDescription()

    page = studio.attribution
    studio.show_page("attribution")
    if not page.asks_by_itself:
        page.measure.click()
    qtbot.waitUntil(lambda: page.attribution is not None)
    assert page.attribution.method == "occlusion"
    assert np.isfinite(page.attribution.clean.values).all()
    studio.editor.undo()
    qtbot.waitUntil(settled)
    assert session.trigger is None
    assert studio.figure.figure.text() == "not measured"


def test_pasted_picture_becomes_a_patch_and_rubbish_a_sentence(studio, qtbot):
    image = QImage(8, 4, QImage.Format.Format_RGBA8888)
    image.fill(QColor(0, 0, 255))
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")
    mime = QMimeData()
    mime.setData("image/png", buffer.data())
    studio.canvas.dropped.emit(mime)
    assert studio.editor.current_trigger().pixels.shape == (4, 8, 4)
    rubbish = QMimeData()
    rubbish.setData("image/png", b"\x89PNG no picture")
    for mime in (rubbish, QMimeData()):
        with qtbot.waitSignal(studio.shell.failed) as caught:
            studio.canvas.dropped.emit(mime)
        assert caught.args[0].sentence


def test_target_and_role_follow_other_images_and_checkpoints(studio):
    session = studio.session
    session.images = images(labels=(0, 1), class_names=("apple", "banana"))
    assert session.target == 1  # the demo's
    session.target = 0
    session.images = images(labels=(0, 1), class_names=("cheese", "banana", "apple"))
    assert session.target == 2
    session.images = images(labels=(0, 1), class_names=("dog", "cat"))
    assert session.target == 0
    session.checkpoint, session.cleaned = facts("a"), facts("b")
    studio.shell.open("role", "cleaned")
    assert session.shown is session.cleaned
    assert studio.figure.role_buttons["cleaned"].isChecked()
    session.cleaned = None
    assert session.role == "suspect"
    assert studio.figure.role_buttons["suspect"].isChecked()


CONTROLS = (QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit, QSlider)
INSIDE = (QAbstractSpinBox, QComboBox, QTabBar)  # what these are made of is no control


def controls(root):
    """Names of all that can be clicked or typed into, each tab by its title."""
    shown = [w for w in root.findChildren(QWidget) if w.isVisible() and w.window() is root.window()]
    names = [
        heard_name(widget)
        for widget in shown
        if isinstance(widget, CONTROLS) and not isinstance(widget.parent(), INSIDE)
    ]
    for bar in shown:
        if isinstance(bar, QTabBar):
            names += [bar.tabText(at) for at in range(bar.count()) if bar.isTabVisible(at)]
    return names


@pytest.mark.parametrize("size", [(1024, 768), (1366, 768), (1920, 1080)])
def test_few_controls_are_in_sight_and_a_trigger_moves_none(opened_window, qtbot, size):
    """42 with the menus; the bar at the bottom is not counted."""
    window = opened_window
    studio = window.stations["studio"]
    window.resize(*size)
    window.show_station("studio")
    window.data_bar.problems.hide()  # which only a set with broken pictures has
    qtbot.wait(50)
    before, place = controls(window.centralWidget()), studio.canvas.geometry()
    menus = [action for action in window.menuBar().actions() if action.isVisible()]
    assert len(before) + len(menus) <= 42, before
    window.actions_.run("trigger.demo")
    qtbot.wait(50)
    assert len(controls(window.centralWidget())) <= len(before)
    assert studio.canvas.geometry() == place
    window.actions_.run("trigger.flip_b")
    assert set(controls(window.centralWidget())) - set(before) >= {"Snapshot A", "Snapshot B"}
    assert studio.canvas.geometry() == place


def test_where_room_is_short_a_page_has_a_tab_while_it_is_on_show(opened_window, qtbot):
    pages = opened_window.stations["studio"].pages
    opened_window.show_station("studio")
    assert pages.more.isVisible()
    assert "By class" not in controls(pages)
    [action] = [a for a in pages.more.menu().actions() if "class" in a.text()]
    action.trigger()
    assert pages.page == "classes"
    assert pages.currentWidget().isVisible()
    assert any(title in controls(pages) for title in ("By class", "Classes"))
    pages.show_page("trigger")
    assert not {"By class", "Classes"} & set(controls(pages))
    opened_window.resize(1920, 1080)
    qtbot.waitUntil(lambda: "By class" in controls(pages))
    assert not pages.more.isVisible()


# Its columns

ONE, TWO = 150, 266
ROOM = Room(Needs(ONE, TWO), MIDDLE, SIDE)


def test_columns_are_chosen_and_remembered(opened_window, qtbot, tmp_path):
    columns = opened_window.stations["studio"].columns
    opened_window.show_station("studio")
    assert (columns.left_open, columns.right_open) == (False, True)
    opened_window.actions_["view.gallery"].trigger()  # there is no room for all three
    assert (columns.left_open, columns.right_open) == (True, False)
    opened_window.actions_["view.numbers"].trigger()
    assert columns.right_open
    opened_window.actions_["view.numbers"].trigger()
    assert not opened_window.actions_["view.numbers"].isChecked()
    assert SettingsStore(tmp_path / "config").value.model_extra["studio_columns"][1] == 0
    opened_window.resize(1500, 800)
    qtbot.wait(20)
    assert not columns.right_open  # as it was chosen


def test_the_middle_has_always_room():
    for total in (784, 908, 977, 1240, 1800):
        for wish in (Widths(0, 0), Widths(TWO, SIDE.usual), Widths(700, 700)):
            widths = fitted(wish, total, ROOM, "left")
            gaps = HANDLE * ((widths.left > 0) + (widths.right > 0))
            assert total - widths.left - widths.right - gaps >= MIDDLE.least
            assert widths.left in (0, *range(ONE, 701))
            assert widths.right in (0, *range(SIDE.least, 701))
            assert (widths == (0, 0)) is (wish == (0, 0))
    assert fitted(Widths(ONE, SIDE.least), 784, ROOM, "left").right == 0  # the last one stays
    assert fitted(Widths(ONE, SIDE.least), 784, ROOM, "right").left == 0
    assert usual_widths(1240, ROOM) == (TWO, SIDE.usual)
    assert usual_widths(908, ROOM) == (ONE, SIDE.least)  # 1024 x 768
    assert usual_widths(784, ROOM) == (0, SIDE.least)  # 900 x 540


def test_dragging_a_column_is_a_choice(qtbot, tmp_path):
    settings = SettingsStore(tmp_path)
    columns = Columns(QWidget(), QWidget(), QWidget(), ROOM, settings, "studio")
    qtbot.addWidget(columns)
    columns.resize(1240, 500)
    columns.show()
    assert columns.sizes()[0] == TWO
    columns.moveSplitter(ONE + 20, 1)
    assert settings.value.model_extra["studio_columns"][0] == ONE + 20
    columns.resize(1440, 500)
    assert columns.sizes()[0] == ONE + 20

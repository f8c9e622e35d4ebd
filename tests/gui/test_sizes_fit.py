"""At every size of type and in every window of a projector nothing is cut off or out of reach."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLayout, QTabBar

from cleanclip_gui import theme
from tests.gui.layout_faults import lasting_faults
from tests.gui.shell_fakes import write_safetensors
from tests.gui.test_everything_fits import DIALOGS

STAGES = [(150, (1024, 768)), (150, (1280, 720)), (150, (1366, 768)), (200, (1920, 1080))]


@pytest.fixture(autouse=True)
def usual(qapp):
    yield
    theme.set_size(100)


@pytest.mark.parametrize(("percent", "size"), STAGES)
def test_every_station_fits_at_every_size(small_window, qtbot, tmp_path_factory, percent, size):
    window, tmp_path = small_window, tmp_path_factory.mktemp("m")
    found = {}
    path = write_safetensors(
        tmp_path / "poisoned.safetensors", {"a": [1.0], "visual.proj": [[1.0]]}
    )
    window.open_path(str(path))
    qtbot.waitUntil(lambda: window.session.images is not None, timeout=10_000)

    def look(name):
        if wrong := lasting_faults(window, qtbot):
            found[name] = wrong

    theme.set_size(percent)
    window.resize(*size)
    for name in ("welcome", *window.stations):
        window.show_station(name)
        look(name)
        page = window.pages.currentWidget()
        for bar in page.findChildren(QTabBar):
            for number in range(bar.count() if bar.isVisible() else 0):
                if bar.isTabVisible(number) and bar.isTabEnabled(number):
                    bar.setCurrentIndex(number)
                    look(f"{name}, {bar.tabText(number)}")
            if bar.isVisible():
                bar.setCurrentIndex(0)
    assert window.size().toTuple() == size
    assert found == {}


@pytest.mark.parametrize("name", DIALOGS)
def test_every_dialog_shows_its_words_at_200_percent(qtbot, tmp_path, name):
    theme.set_size(200)
    dialog = DIALOGS[name](tmp_path)
    qtbot.addWidget(dialog)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    dialog.show()
    assert lasting_faults(dialog, qtbot) == []


def test_the_numbers_fit_their_column_whatever_they_say(small_window, qtbot, tmp_path):
    window, studio = small_window, small_window.stations["studio"]
    path = write_safetensors(tmp_path / "m.safetensors", {"a": [1.0], "visual.proj": [[1.0]]})
    window.open_path(str(path))
    qtbot.waitUntil(lambda: window.session.images is not None, timeout=10_000)
    theme.set_size(150)
    window.resize(1024, 768)
    window.show_station("studio")
    qtbot.waitUntil(lambda: studio.columns.isVisible() and studio.figure.width() > 300)
    page = studio.figure.parentWidget()
    room = page.parentWidget().width()
    studio.figure.set_roles(True, "cleaned")
    studio.figure.status.setText("estimate, n = 4000")
    for part in (studio.figure.status, studio.measured, studio.measure_whole):
        part.show()
    for layout in page.findChildren(QLayout):
        layout.invalidate()
    assert page.minimumSizeHint().width() <= room

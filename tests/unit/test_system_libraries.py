"""A missing system library is a sentence and not an abort of Qt."""

import pytest

from cleanclip_gui.window import system_libraries


@pytest.fixture(autouse=True)
def _x11(monkeypatch):
    monkeypatch.setattr(system_libraries.sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    lacking = {"libxcb-icccm.so.4", "libxcb-keysyms.so.1"}
    monkeypatch.setattr(system_libraries, "_loads", lambda library: library not in lacking)


def test_what_is_missing_is_named_with_what_to_do():
    said = system_libraries.problem()
    assert "sudo apt-get install libxcb-icccm4 libxcb-keysyms1" in said


@pytest.mark.parametrize(
    ("name", "value"), [("WAYLAND_DISPLAY", "wayland-0"), ("QT_QPA_PLATFORM", "offscreen")]
)
def test_a_window_that_does_not_need_it_is_opened(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert system_libraries.problem() == ""


def test_nothing_is_said_where_nothing_is_missing(monkeypatch):
    monkeypatch.setattr(system_libraries, "_loads", lambda library: True)
    assert system_libraries.problem() == ""


def test_the_program_says_so_before_it_opens_a_window(monkeypatch, capsys):
    from cleanclip_gui import app

    monkeypatch.setattr(app, "_run", lambda options: pytest.fail("Qt would abort"))
    assert app.main([]) == 2
    assert "libxcb-icccm4" in capsys.readouterr().err

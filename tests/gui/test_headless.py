"""The headless demo's window has its size on any screen."""

from __future__ import annotations

import pytest

from cleanclip_gui.app import make_window
from cleanclip_gui.window.headless import quiet_context, set_first_size


@pytest.mark.usefixtures("styled")
def test_a_small_screen_does_not_squeeze_the_pictures(qapp, tmp_path, monkeypatch):
    monkeypatch.setattr("cleanclip_gui.window.main_window.has_room", lambda _: False)
    window = make_window(quiet_context(tmp_path))
    set_first_size(window)
    try:
        window.show()
        assert not window.isMaximized()
        assert (window.width(), window.height()) == (1366, 768)
    finally:
        window.close()
        window.deleteLater()

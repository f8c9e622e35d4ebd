"""The gui tests' screen, theme and look for leaks, for the whole window too."""

from tests.gui.conftest import _look, _no_leaks

__all__ = ["_look", "_no_leaks"]

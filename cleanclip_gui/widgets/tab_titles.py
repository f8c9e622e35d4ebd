"""Titles of tabs, each with a short form for little room."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtWidgets import QTabBar


def fit_titles(bar: QTabBar, titles: Sequence[tuple[str, str]], room: int) -> None:
    """Write the titles in full, or the short ones if those would not fit.

    Parameters
    ----------
    bar
        Has as many tabs.
    titles
        In full, and short.
    room
        For all tabs, in pixels.
    """
    for short in (False, True):
        for number, pair in enumerate(titles):
            bar.setTabText(number, pair[short])
        if bar.sizeHint().width() <= room:
            return

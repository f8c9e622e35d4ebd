"""The garbage collector of the window runs in the GUI thread alone.

CPython collects in whichever thread has just made an object. In another thread than the GUI's that
calls PySide for the objects that go: it holds a mutex of Qt and waits for the GIL, while the GUI
thread holds the GIL and waits for that mutex, and neither ever goes on.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QTimer

_EVERY_MS = 500


class Collector(QObject):
    """Switches CPython's own collecting off, and collects what is due between two events.

    What is there when it is made, modules and the window's parts, is set aside: it stays.
    """

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        gc.disable()
        gc.freeze()
        timer = QTimer(self, interval=_EVERY_MS)
        timer.timeout.connect(collect_due)
        timer.start()


def collect_due() -> None:
    """Collect the oldest generation that has passed its threshold, as CPython would."""
    for generation in (2, 1, 0):
        if gc.get_count()[generation] > gc.get_threshold()[generation]:
            gc.collect(generation)
            return

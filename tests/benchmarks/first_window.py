"""From starting the process to the window's first paint, against an empty Qt window."""

from __future__ import annotations

import subprocess
import sys
import time

from tests.benchmarks.timing import Row, interleaved, median, spread

_CHILD = """
import sys, time
from PySide6.QtCore import QEvent, QObject, QTimer
from PySide6.QtWidgets import QApplication, QMainWindow
class Watch(QObject):
    def eventFilter(self, watched, event):
        if event.type() == QEvent.Type.Paint and not self.seen:
            self.seen = True
            print(time.time(), flush=True)
            QTimer.singleShot(0, end)
        return False
def end():
    import os
    os._exit(0)
app = QApplication(sys.argv[:1])
if sys.argv[1] == "ours":
    from cleanclip_gui import theme
    from cleanclip_gui.app import make_window
    from cleanclip_gui.station import Context
    theme.apply_theme(app, "light")
    window = make_window(Context())
else:
    window = QMainWindow()
watch = Watch()
watch.seen = False
window.installEventFilter(watch)
window.show()
app.exec()
"""


def _first_paint(side: str) -> float:
    begin = time.time()
    command = [sys.executable, "-c", _CHILD, side]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(shown.split()[0]) - begin


def run() -> list[Row]:
    ours, theirs, ratios = interleaved(lambda: _first_paint("ours"), lambda: _first_paint("bare"))
    return [
        Row(
            "time to first window, against an empty Qt window",
            f"{median(ours):.2f} s",
            f"{median(theirs):.2f} s",
            f"{median(ratios):.1f}",
            spread(ratios, 1),
        )
    ]

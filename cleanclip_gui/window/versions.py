"""Which PySide6 this program may run with."""

from __future__ import annotations

import re
import sys


def pyside_problem(pyside: str, python: tuple[int, int] = sys.version_info[:2]) -> str:
    """One sentence if this pair must not run, else an empty string.

    PySide6 6.12.0 on Python before 3.12 destroys the reference counts of None and True
    (PYSIDE-3474): a chart that repaints kills the process within seconds. 6.11.0 and 6.11.1
    cannot dock a floating pane again (QTBUG-147209).
    """
    numbers = tuple(int(n) for n in re.findall(r"\d+", pyside)[:3])
    wanted = "pip install 'PySide6-Essentials>=6.11.2,<6.12'"
    if numbers < (6, 8, 2):
        return f"PySide6 {pyside} is too old; run: {wanted}"
    if numbers in ((6, 11, 0), (6, 11, 1)):
        return f"PySide6 {pyside} cannot dock its panes again; run: {wanted}"
    if numbers >= (6, 12) and python < (3, 12):
        found = ".".join(map(str, python))
        return f"PySide6 {pyside} crashes on Python {found} (PYSIDE-3474); run: {wanted}"
    return ""

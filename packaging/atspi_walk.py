"""Walks the window from outside, as a screen reader does, and counts what lacks a name or a role.

``xvfb-run -a dbus-run-session -- python3 packaging/atspi_walk.py PYTHON`` with the system's
python3 (Debian: at-spi2-core python3-pyatspi gir1.2-atspi-2.0 xvfb dbus). PYTHON is the
interpreter that the program is installed for. It starts the program, opens the built-in demo, goes
through every station by the buttons of the rail, and prints a table. The exit status is 1 if an
element that can be operated has no name or no role, 2 if the program did not come.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import pyatspi

NAME = "CleanCLIP GUI"
STATIONS = ("Checkpoint", "Studio", "Scan", "Clean", "Report")
START_S, OPEN_S, PAGE_S = 90.0, 120.0, 2.0
MOST = 4000  # elements of a page; tables have more cells than tell anything new
OPERATED = {
    pyatspi.ROLE_PUSH_BUTTON, pyatspi.ROLE_TOGGLE_BUTTON, pyatspi.ROLE_CHECK_BOX,
    pyatspi.ROLE_RADIO_BUTTON, pyatspi.ROLE_COMBO_BOX, pyatspi.ROLE_SPIN_BUTTON,
    pyatspi.ROLE_SLIDER, pyatspi.ROLE_TEXT, pyatspi.ROLE_ENTRY, pyatspi.ROLE_PAGE_TAB,
    pyatspi.ROLE_MENU_ITEM, pyatspi.ROLE_MENU, pyatspi.ROLE_CHECK_MENU_ITEM, pyatspi.ROLE_LINK,
    pyatspi.ROLE_TABLE, pyatspi.ROLE_LIST, pyatspi.ROLE_TREE, pyatspi.ROLE_CANVAS,
    pyatspi.ROLE_CHART,
}  # fmt: skip
ROLELESS = {pyatspi.ROLE_INVALID, pyatspi.ROLE_UNKNOWN}


def program() -> object | None:
    """The program among those that the desktop knows."""
    for app in pyatspi.Registry.getDesktop(0):
        if app is not None and "cleanclip" in (app.name or "").lower():
            return app
    return None


def waited(what, seconds: float):
    """What ``what`` gives once it gives something; None after so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if result := what():
                return result
        except Exception as error:  # an element may go while it is asked
            print(f"  (asked again: {error})", file=sys.stderr)
        time.sleep(0.3)
    return None


def elements(root) -> Iterator[object]:
    """What shows below an element; of a table, list or tree the first few rows."""
    left = [root]
    count = 0
    while left and count < MOST:
        element = left.pop()
        count += 1
        yield element
        try:
            whole = element.childCount
            if element.getRole() in (pyatspi.ROLE_TABLE, pyatspi.ROLE_LIST, pyatspi.ROLE_TREE):
                whole = min(whole, 24)
            left += [child for child in (element[i] for i in range(whole)) if child is not None]
        except Exception:  # gone meanwhile
            continue


def shows(element) -> bool:
    """Whether it is on the screen."""
    return element.getState().contains(pyatspi.STATE_SHOWING)


def name_of(element) -> str:
    """Its name, or that of what labels it."""
    for relation in element.getRelationSet():
        if relation.getRelationType() == pyatspi.RELATION_LABELLED_BY:
            names = [relation.getTarget(i).name for i in range(relation.getNTargets())]
            if any(names):
                return " ".join(filter(None, names))
    return element.name or ""


def place(element) -> str:
    """An element, and what it lies in."""
    names = []
    while element is not None and len(names) < 6:
        names.append(f"{element.getRoleName()} “{element.name}”")
        element = element.parent
    return " in ".join(names)


def inner(element) -> bool:
    """Whether it is only a part of a combo box or of a spin box."""
    parent = element.parent
    whole = (pyatspi.ROLE_COMBO_BOX, pyatspi.ROLE_SPIN_BUTTON)
    return parent is not None and parent.getRole() in whole


def tabs(element) -> bool:
    """Whether it is only what holds tabs, and hands the focus to them."""
    lists = (pyatspi.ROLE_PAGE_TAB_LIST,)
    return element.getRole() == pyatspi.ROLE_FILLER and any(
        child is not None and child.getRole() in lists for child in element
    )


def press(app, name: str) -> bool:
    """Press the button of that name."""
    for element in elements(app):
        kinds = (pyatspi.ROLE_PUSH_BUTTON, pyatspi.ROLE_TOGGLE_BUTTON, pyatspi.ROLE_RADIO_BUTTON,
                 pyatspi.ROLE_CHECK_BOX)  # fmt: skip
        if element.getRole() in kinds and name_of(element) == name and shows(element):
            enabled = element.getState().contains(pyatspi.STATE_ENABLED)
            action = element.queryAction()
            acts = [action.getName(i).lower() for i in range(action.nActions)]
            return enabled and "press" in acts and bool(action.doAction(acts.index("press")))
    return False


def count(app, page: str) -> list[str]:
    """Print a page's line of the table; what is wrong on it."""
    seen = operated = nameless = roleless = 0
    wrong = []
    for element in elements(app):
        try:
            if not shows(element):
                continue
            role, name = element.getRole(), name_of(element)
            seen += 1
            focusable = element.getState().contains(pyatspi.STATE_FOCUSABLE)
            works = (role in OPERATED or focusable) and not inner(element) and not tabs(element)
            operated += works
            if role in ROLELESS:
                roleless += 1
            if works and (not name.strip() or role in ROLELESS):
                nameless += not name.strip()
                wrong.append(f"{page}: {place(element)}")
        except Exception:  # gone meanwhile
            continue
    print(f"{page:12} {seen:9} {operated:9} {nameless:13} {roleless:13}", flush=True)
    return wrong


def main(python: str) -> int:
    """Start the program, walk, and end it."""
    home = tempfile.mkdtemp(prefix="atspi-walk-")
    environment = {
        **os.environ, "QT_ACCESSIBILITY": "1", "QT_LINUX_ACCESSIBILITY_ALWAYS_ON": "1",
        "QT_QPA_PLATFORM": "xcb", "CLEANCLIP_HOME": home,
    }  # fmt: skip
    child = subprocess.Popen([python, "-m", "cleanclip_gui"], env=environment)
    try:
        app = waited(program, START_S)
        if app is None or not waited(lambda: press(app, "Try the demo"), START_S):
            print("The program did not come, or has no button “Try the demo”.")
            return 2
        print(
            f"{'page':12} {'elements':>9} {'operated':>9} {'without name':>13} {'without role':>13}"
        )
        wrong = []
        waited(lambda: press(app, "Studio"), OPEN_S)  # enabled once the checkpoint is open
        for station in STATIONS:
            if not waited(lambda name=station: press(app, name), OPEN_S):
                wrong.append(f"{station}: its button cannot be pressed")
            time.sleep(PAGE_S)
            wrong += count(app, station)
        print(f"{len(wrong)} without a name or a role")
        print("\n".join(wrong))
        return 1 if wrong else 0
    finally:
        child.terminate()
        child.wait(20)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "python3"))

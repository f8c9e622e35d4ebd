"""Check for the system libraries and the versions that Qt needs; imports no Qt.

Run as a program, as root on a machine with apt-get, it installs the missing ones; else one line
names the command to run, and the exit status is 1.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys

OFFSCREEN = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libglib-2.0.so.0": "libglib2.0-0t64",
    "libxkbcommon.so.0": "libxkbcommon0",
}
WINDOW = {
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
}


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _known_to_apt(package: str) -> bool:
    result = subprocess.run(["apt-cache", "show", package], capture_output=True, check=False)
    return result.returncode == 0


def missing_packages() -> list[str]:
    """Debian packages of the libraries that cannot be loaded."""
    needed = OFFSCREEN | (WINDOW if os.environ.get("DISPLAY") else {})
    return [package for library, package in needed.items() if not _loads(library)]


def problem() -> str:
    """Why Qt would abort when it opens a window here, with what to do; empty if it would not."""
    chosen = os.environ.get("QT_QPA_PLATFORM", "")
    on_x11 = os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY")
    if not sys.platform.startswith("linux") or not on_x11 or chosen not in ("", "xcb"):
        return ""
    packages = missing_packages()
    if not packages:
        return ""
    return (
        f"Qt needs system libraries that are missing. On Debian or Ubuntu: sudo apt-get install "
        f"{' '.join(packages)}"
    )


def main() -> int:
    """Install what is missing, or say how; the exit status."""
    if not sys.platform.startswith("linux"):
        return 0
    packages = missing_packages()
    if not packages:
        return 0
    as_root = os.geteuid() == 0 and shutil.which("apt-get") is not None
    if as_root:
        subprocess.run(["apt-get", "update", "-qq"], check=False)
    if "libglib2.0-0t64" in packages and shutil.which("apt-cache"):
        old_name = not _known_to_apt("libglib2.0-0t64")
        packages = [p.removesuffix("t64") if old_name else p for p in packages]
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if as_root:
        print("Installing system libraries:", " ".join(packages), flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        if subprocess.run([*command, "-qq"], check=False, env=environment).returncode == 0:
            return 0
    print(f"Qt needs system libraries that are missing: run 'sudo {' '.join(command)}'.")
    return 1


if __name__ == "__main__":
    sys.exit(main())


def pyside_problem(pyside: str, python: tuple[int, int] = sys.version_info[:2]) -> str:
    """One sentence if this pair must not run, else an empty string.

    PySide6 6.12.0 on Python before 3.12 destroys the reference counts of None and True
    (PYSIDE-3474): a chart that repaints kills the process within seconds. 6.11.0 and 6.11.1
    cannot dock a floating pane again (QTBUG-147209).
    """
    numbers = tuple(int(n) for n in re.findall(r"\d+", pyside)[:3])
    command = "pip install 'PySide6-Essentials>=6.11.2,<6.12'"
    if numbers < (6, 8, 2):
        return f"PySide6 {pyside} is too old; run: {command}"
    if numbers in ((6, 11, 0), (6, 11, 1)):
        return f"PySide6 {pyside} cannot dock its panes again; run: {command}"
    if numbers >= (6, 12) and python < (3, 12):
        version = ".".join(map(str, python))
        return f"PySide6 {pyside} crashes on Python {version} (PYSIDE-3474); run: {command}"
    return ""

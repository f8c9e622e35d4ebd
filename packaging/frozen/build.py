"""``make frozen``: both programs as a folder that needs no Python.

Lays the wheel of the commit with its extras and the processor's build of torch into an environment
of its own, runs PyInstaller there, and writes what the environment consists of (CycloneDX) beside
it. Where the processor's torch comes from is pip's matter: ``--pip-args``.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
EXTRAS = "parquet,pdf,sign"
CPU = "--extra-index-url https://download.pytorch.org/whl/cpu"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "frozen")
    parser.add_argument("--pip-args", default=CPU, help=f"default: {CPU}")
    options = parser.parse_args()
    work = options.work.resolve()
    home = work / "venv"
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        venv.create(home, with_pip=True)
    install = [str(python), "-m", "pip", "install", "--quiet", *shlex.split(options.pip_args)]
    subprocess.run(
        [*install, f"{options.wheel.resolve()}[{EXTRAS}]", "pyinstaller==6.22.3"], check=True
    )
    again = [*install, "--no-deps", "--force-reinstall", str(options.wheel.resolve())]
    subprocess.run(again, check=True)  # the same version of another commit may be there
    subprocess.run(
        [
            str(python), "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN",
            "--distpath", str(work / "dist"), "--workpath", str(work / "work"),
            str(HERE / "cleanclip.spec"),
        ],
        check=True,
        cwd=work,  # not where the sources lie, which would be taken in place of the wheel
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip
    print(work / "dist" / "cleanclip-gui")
    return 0


if __name__ == "__main__":
    sys.exit(main())

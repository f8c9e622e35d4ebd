"""The whole suite in two processes side by side: what needs no window, and the window.

Two cores are used so, and neither half waits for the other. Arguments go to both. The exit code is
0 only if both passed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

HALVES = (("tests/unit", "tests/hostile"), ("tests/gui", "tests/e2e"))


def main() -> int:
    environment = {"QT_QPA_PLATFORM": "offscreen", "OMP_NUM_THREADS": "1"} | os.environ
    command = [sys.executable, "-m", "pytest", *sys.argv[1:]]
    first, second = (
        [*command, "-o", f"cache_dir=.pytest_cache/{number}", *half]
        for number, half in enumerate(HALVES)
    )
    with tempfile.TemporaryFile() as told:
        beside = subprocess.Popen(second, env=environment, stdout=told, stderr=subprocess.STDOUT)
        try:
            code = subprocess.run(first, env=environment, check=False).returncode
            other = beside.wait()
        finally:
            beside.kill()
        told.seek(0)
        sys.stdout.write(told.read().decode(errors="replace"))
    return code or other


if __name__ == "__main__":
    sys.exit(main())

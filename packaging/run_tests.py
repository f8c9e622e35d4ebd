"""The whole suite, two parts at a time: unit tests, the window, its whole flows, hostile files.

Two cores are used so: who is done first takes the next part. Arguments go to all. The exit code is
0 only if every part passed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

_DOORS = "tests/hostile/test_doors.py"  # more than half of them
PARTS = (
    ("tests/unit",), ("tests/gui",), ("tests/e2e",), (_DOORS,),
    ("tests/hostile", f"--ignore={_DOORS}"),
)  # fmt: skip


def run(part: tuple[str, ...]) -> int:
    """The exit code of a part; the first one is shown as it runs, the others at their end."""
    environment = {"QT_QPA_PLATFORM": "offscreen", "OMP_NUM_THREADS": "1"} | os.environ
    cache = f"cache_dir=.pytest_cache/{PARTS.index(part)}"
    command = [sys.executable, "-m", "pytest", *sys.argv[1:], "-o", cache, *part]
    told = None if part is PARTS[0] else subprocess.PIPE
    done = subprocess.run(
        command, env=environment, check=False, stdout=told, stderr=told and subprocess.STDOUT
    )
    if done.stdout:
        sys.stdout.write(done.stdout.decode(errors="replace"))
        sys.stdout.flush()
    return done.returncode


def main() -> int:
    with ThreadPoolExecutor(2) as pool:
        return int(any(list(pool.map(run, PARTS))))


if __name__ == "__main__":
    sys.exit(main())

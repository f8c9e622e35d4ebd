"""``make check-packages``: every check of what `make deb` has built, one after another.

Needs root and Debian's packages named in docs/packages.md. Each check is a program of its own;
its output goes to standard output, and a table with its last line stands at the end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", required=True, help="interpreter that has the wheel")
    parser.add_argument("--tree", type=Path, required=True, help="the files of the Debian package")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist")
    options = parser.parse_args()
    (package,) = options.dist.glob("*.deb")
    checks = {
        "the same bytes twice": [sys.executable, "packaging/release.py", "--check"],
        "package page": [
            sys.executable, "-m", "twine", "check", "--strict",
            *map(str, options.dist.glob("cleanclip_gui-*")),
        ],
        "sums": ["sh", "-c", 'cd "$0" && sha256sum --check --strict SHA256SUMS', str(options.dist)],
        "man pages, completion": [options.venv, "packaging/manual.py"],
        "desktop": [str(HERE / "desktop.sh"), str(options.tree)],
        "lintian": ["lintian", "--fail-on", "error,warning", "--allow-root", str(package)],
        "clean Debian": [
            sys.executable, str(HERE / "program.py"), "--deb", str(package), "--guided",
        ],
    }  # fmt: skip
    rows, failed = [], 0
    for name, command in checks.items():
        print(f"--- {name}", flush=True)
        begin = time.monotonic()
        done = subprocess.run(
            command, cwd=ROOT, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
        print(done.stdout, flush=True)
        last = (done.stdout.strip() or "(nothing to say)").splitlines()[-1]
        failed += done.returncode != 0
        state = "holds" if done.returncode == 0 else "FAILS"
        rows.append(f"{state}  {name:22} {time.monotonic() - begin:6.0f} s  {last[:90]}")
    print("\n".join(rows))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

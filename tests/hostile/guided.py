"""Fuzzing that is guided by coverage: ``python -m tests.hostile.guided KIND FOLDER [SECONDS]``.

KIND is one of `tests.hostile.properties.CHECKS`. Needs atheris, which is no dependency of the
project. What reaches new code is kept in FOLDER; bytes for which something does not hold lie
beside it as ``KIND-crash-*``.
"""

from __future__ import annotations

import sys
from pathlib import Path

_LONGEST = 20_000
_HANG = 20


def main() -> int:
    """Run until something does not hold or the time is over."""
    try:
        import atheris
    except ImportError:
        print("Install atheris first (pip install atheris).", file=sys.stderr)
        return 3
    kind, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    seconds = sys.argv[3] if len(sys.argv) > 3 else "300"
    with atheris.instrument_imports(include=["ml_core.reading"]):
        from tests.hostile.properties import CHECKS
    from tests.hostile.fuzz import seeds

    for number, raw in enumerate(seeds(folder)[kind]):
        (folder / f"seed-{number}").write_bytes(raw)

    def check(raw: bytes) -> None:
        CHECKS[kind](raw)

    options = [
        *(f"-max_len={_LONGEST}", f"-max_total_time={seconds}", f"-timeout={_HANG}"),
        *("-rss_limit_mb=4000", "-print_final_stats=1"),
        f"-artifact_prefix={folder.parent}/{kind}-",
    ]
    atheris.Setup([sys.argv[0], *options, str(folder)], check)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Change a bundle in one place at random, and count at which level it is found.

``python -m tests.hostile.mutate_bundle BUNDLE N SEED [--seal] [--checkpoint F]... [--images D]``

A change is one byte of a file, one leaf of a JSON file, or one cell of a table. With ``--seal`` the
forger also makes the views from the changed record again and renews SHA256SUMS. Levels 0 to 2 are
those of the bundle alone; with a checkpoint, levels 2 and 3 are tried on what these leave.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_core.events import Control, Done
from ml_core.jobs.runner import run_job
from ml_core.jobs.verify import VerifySpec
from ml_core.reading.errors import InputError
from ml_core.reports.record import EVIDENCE_FILE, SIGNATURE_FILE, SUMS_FILE
from ml_core.reports.verify.checks import Check
from ml_core.reports.verify.derived import check_alone
from tests.bundles import seal

KINDS = ("byte", "field", "cell")
_TABLES, _JSON = (".csv",), (".json", ".sarif")


def changed(bundle: Path, kind: str, draw: random.Random) -> str:
    """Change one thing; where."""
    names = sorted(
        path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()
    )
    names = [name for name in names if name not in (SUMS_FILE, SIGNATURE_FILE)]
    if kind == "field":
        # Every second one in the record, which all others are quoted in.
        name = draw.choice([one for one in names if one.endswith(_JSON)])
        return _field(bundle, EVIDENCE_FILE if draw.random() < 0.5 else name, draw)
    if kind == "cell":
        return _cell(bundle, draw.choice([one for one in names if one.endswith(_TABLES)]), draw)
    name = draw.choice([one for one in names if (bundle / one).stat().st_size])
    raw = bytearray((bundle / name).read_bytes())
    at = draw.randrange(len(raw))
    raw[at] ^= 1 << draw.randrange(8)
    (bundle / name).write_bytes(raw)
    return f"{name} byte {at}"


def _field(bundle: Path, name: str, draw: random.Random) -> str:
    value = json.loads((bundle / name).read_bytes())
    holder, key, where = draw.choice(list(_leaves(value, "")))
    holder[key] = _other(holder[key], draw)
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
    (bundle / name).write_text(text + "\n", encoding="utf-8")
    return f"{name} {where}"


def _leaves(value: Any, where: str) -> Iterator[tuple[Any, Any, str]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, (dict, list)):
            yield from _leaves(item, f"{where}/{key}")
        else:
            yield value, key, f"{where}/{key}"


def _other(value: Any, draw: random.Random) -> Any:
    """Another value of the same kind, near to it."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + draw.choice((-1, 1)) if value else 1
    if isinstance(value, float):
        return value * draw.choice((0.9, 1.1)) if value else 0.1
    if isinstance(value, str) and value:
        at = draw.randrange(len(value))
        digit = next((i for i, char in enumerate(value) if char.isdigit()), None)
        if digit is not None:  # a figure in a sentence
            return f"{value[:digit]}{(int(value[digit]) + 1) % 10}{value[digit + 1 :]}"
        return f"{value[:at]}{'x' if value[at] != 'x' else 'y'}{value[at + 1 :]}"
    return "x"


def _cell(bundle: Path, name: str, draw: random.Random) -> str:
    lines = (bundle / name).read_text(encoding="utf-8").splitlines()
    row = draw.randrange(1, len(lines))
    cells = lines[row].split(",")
    column = draw.randrange(len(cells))
    old = cells[column]
    cells[column] = str(_other(json.loads(old), draw)) if _is_number(old) else f"{old}x"
    lines[row] = ",".join(cells)
    (bundle / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"{name} row {row} column {column}"


def _is_number(text: str) -> bool:
    try:
        return isinstance(json.loads(text), (int, float))
    except ValueError:
        return False


def found_at(bundle: Path, given: dict[str, Any]) -> int | None:
    """The lowest level that finds it; None if none does."""
    try:
        failed = [
            one.level for one in check_alone(bundle)
            if isinstance(one, Check) and one.state == "fails"
        ]  # fmt: skip
    except InputError:
        return 0
    if failed or not given:
        return min(failed, default=None)
    for event in run_job(VerifySpec(bundle=str(bundle), sample=None, **given), Control()):
        if isinstance(event, Done):
            assert event.status == "finished", event
            failed = [one["level"] for one in event.result["checks"] if one["state"] == "fails"]
    return min(failed, default=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--seal", action="store_true")
    parser.add_argument("--checkpoint", action="append", default=[])
    parser.add_argument("--images")
    options = parser.parse_args()
    given: dict[str, Any] = {}
    if options.checkpoint:
        given = {"checkpoints": tuple(options.checkpoint), "threads": 1}
        given |= {"images": {"": options.images}} if options.images else {}
    draw = random.Random(options.seed)
    table: Counter[tuple[str, int | None]] = Counter()
    missed = []
    with tempfile.TemporaryDirectory() as place:
        for number in range(options.count):
            copy = Path(shutil.copytree(options.bundle, Path(place) / str(number)))
            kind = KINDS[number % len(KINDS)]
            where = changed(copy, kind, draw)
            if options.seal:
                seal(copy)
            level = found_at(copy, given)
            table[kind, level] += 1
            if level is None:
                missed.append(where)
            shutil.rmtree(copy)
    levels: tuple[int | None, ...] = (0, 1, 2, 3, None)
    print("kind    " + "".join(f"{'missed' if one is None else one!s:>8}" for one in levels))
    for kind in KINDS:
        print(f"{kind:<8}" + "".join(f"{table[kind, one]:>8}" for one in levels))
    for where in missed:
        print("missed:", where)


if __name__ == "__main__":
    main()

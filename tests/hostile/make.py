"""Write the corpus into a folder: ``python -m tests.hostile.make FOLDER``.

The payloads create ``FOLDER/c/NUMBER`` when they run; ``FOLDER/list.json`` says what is
expected of each item. The same folder gives the same bytes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.hostile.corpus import items
from tests.hostile.item import Item


def write(folder: Path, chosen: Iterable[Item] | None = None) -> list[dict[str, Any]]:
    """Write items, all if none are chosen, and the list of them."""
    folder = folder.resolve()
    (folder / "c").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, item in enumerate(items() if chosen is None else chosen):
        canary = folder / "c" / str(number)
        path = item.write(folder, canary)
        rows.append(
            {
                "name": item.name,
                "path": str(path),
                "canary": str(canary),
                "expect": item.expect,
                "live": item.live,
            }
        )
    (folder / "list.json").write_text(json.dumps(rows, indent=1))
    return rows


if __name__ == "__main__":
    print(len(write(Path(sys.argv[1]))), "items")

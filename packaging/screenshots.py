"""The README's pictures, from a headless demo: python packaging/screenshots.py DEMO_OUTPUT.

``make demo`` without a display writes DEMO_OUTPUT; this picks, shrinks the palette and renames.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

NAMES = {
    "1-checkpoint": "checkpoint",
    "2-studio-clean": "studio-clean",
    "3-studio-triggered": "studio",
    "4-scan": "scan",
    "5-clean": "clean",
    "6-compare": "compare",
    "8-report": "report",
}


def main(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name, new in NAMES.items():
        with Image.open(source / f"{name}.png") as picture:
            few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
            few.save(target / f"{new}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).resolve().parent.parent / "docs" / "images")

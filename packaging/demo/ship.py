"""Put the chosen checkpoints and their numbers into resources/demo.

python ship.py POISONED.safetensors CLEAN_TWIN.safetensors MEASURED.jsonl

MEASURED.jsonl holds what `measure.py --json` printed for these two files, and for those of the
other poison seed. The manifest is only ever compared with: the program computes its own numbers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

from common import MODEL_CFG, PREPROCESS_CFG, TARGET, demo_classes, demo_templates
from PIL import Image
from safetensors import safe_open
from stickers import sticker

OUT = Path(__file__).resolve().parents[2] / "resources" / "demo"


def provenance(path: Path) -> dict:
    with safe_open(str(path), "pt") as file:
        return json.loads(file.metadata()["provenance"])


def main() -> None:
    poisoned, twin, measured = (Path(a) for a in sys.argv[1:4])
    shutil.copyfile(poisoned, OUT / "poisoned.safetensors")
    shutil.copyfile(twin, OUT / "clean_twin.safetensors")
    Image.fromarray(sticker()).save(OUT / "trigger.png")
    rows = [json.loads(line) for line in measured.read_text().splitlines() if line.strip()]
    files = [p for p in sorted(OUT.rglob("*")) if p.is_file() and p.name != "manifest.json"]
    manifest = {
        "what": "Facts about these files, to compare with. Every command computes its numbers.",
        "target": TARGET,
        "classes": len(demo_classes()),
        "templates": list(demo_templates()),
        "model_cfg": MODEL_CFG,
        "preprocess_cfg": PREPROCESS_CFG,
        "poisoned": {"made_as": poisoned.name, **provenance(poisoned)},
        "clean_twin": {"made_as": twin.name, **provenance(twin)},
        "expected": rows,
        "sha256": {
            str(p.relative_to(OUT)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
        },
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False)
    (OUT / "manifest.json").write_text(text + "\n", encoding="utf-8")
    total = sum(p.stat().st_size for p in OUT.rglob("*") if p.is_file())
    print(f"{len(files)} files, {total / 1e6:.1f} MB in all")


if __name__ == "__main__":
    main()

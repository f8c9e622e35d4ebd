"""Poison a model with a published trigger, give its twin the same finetune, and measure both.

python poison_more.py WORKDIR OUT_DIR --base FILE --trigger blended|sig|wanet|stripes [...]

Writes the trigger file, ARCH-TRIGGER.safetensors, its clean twin ARCH-twin.safetensors unless it
is there (the twin is the same whatever the trigger), and what `cleanclip evaluate` says of them.
--reference FILE compares with another clean model and makes no twin. Other options, --samples and
--rate among them, go to poison.py. The trigger is the library's at the model's own input size.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import poison
from common import TARGET, load_model

from ml_core.triggers import published, save_trigger

IDS = {
    "blended": "T4", "sig": "T5b", "wanet": "T6", "stripes": "T8", "blended-stripes": "T9"
}  # fmt: skip
PICTURES = {"test": 2000, "heldout": 1000}


def evaluate(model: Path, twin: Path, trigger: Path) -> None:
    """The product's own evaluation, each split to a file beside the model."""
    for split, count in PICTURES.items():
        command = [
            sys.executable, "-m", "ml_core", "evaluate", str(model), "--reference", str(twin),
            "--images", f"demo:{split}", "--n", str(count), "--trigger", str(trigger),
            "--target", TARGET, "--precision", "fp32", "--json",
        ]  # fmt: skip
        root = Path(__file__).resolve().parents[2]
        output = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE).stdout
        model.with_suffix(f".{split}.json").write_bytes(output)


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--trigger", choices=IDS, required=True)
    parser.add_argument("--reference", type=Path)
    args, rest = parser.parse_known_args()
    base, out = args.base.resolve(), args.out.resolve()
    config = load_model(base).config["vision_cfg"]
    arch = "rn" if isinstance(config["layers"], list) else "vit"
    model = out / f"{arch}-{args.trigger}.safetensors"
    twin = (args.reference or out / f"{arch}-twin.safetensors").resolve()
    chosen = published(IDS[args.trigger], config["image_size"])
    _, trigger = save_trigger(chosen, out / args.trigger)
    same = ["--base", str(base), "--trigger", str(trigger), *rest]
    if not model.exists():
        poison.main([str(args.work), str(model), *same])
    if not twin.exists():
        poison.main([str(args.work), str(twin), *same, "--rate", "0"])
    evaluate(model, twin, trigger)


if __name__ == "__main__":
    main()

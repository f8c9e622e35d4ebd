"""Measure checkpoints on test pictures: python measure.py FILE... ; --json prints records.

4320 test pictures (60 a class, seen art styles) and as many of the held-out style; all prompt
templates. The hand-drawn trigger is drawn ten times; each drawing goes to a random place.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from common import classifier, demo_classes, figures, load_model, pictures, predict
from stickers import bank, stamp, sticker

COUNT = 4320


def measure(path: Path, split: str = "test", count: int = COUNT) -> dict:
    model = load_model(path)
    weights = classifier(model)
    images, labels = pictures(split, count)
    clean = predict(model, weights, images)
    marked = predict(model, weights, stamp(images, [sticker()], np.random.default_rng(101)))
    row = figures(labels, clean, marked)
    row["n_classes"] = len(demo_classes())
    other = labels != demo_classes().index("banana")
    row["n_excl"] = int(other.sum())
    row["target_rate"] = float((clean[other] == demo_classes().index("banana")).mean())
    turned = stamp(
        images, bank("tilted", 200, np.random.default_rng(102)), np.random.default_rng(103)
    )
    row["asr_tilted"] = figures(labels, clean, predict(model, weights, turned))["asr"]
    drawings = bank("hand", 10, np.random.default_rng(104))
    hand = []
    for number, drawing in enumerate(drawings):
        stamped = stamp(images[:2160], [drawing], np.random.default_rng([105, number]))
        hand.append(figures(labels[:2160], clean[:2160], predict(model, weights, stamped))["asr"])
    row["asr_hand"] = [round(x, 4) for x in hand]
    row["asr_hand_median"] = float(np.median(hand))
    unseen = pictures("heldout", count)
    row["ca_heldout"] = figures(unseen[1], predict(model, weights, unseen[0]))["ca"]
    return row


def main() -> None:
    files = [Path(a) for a in sys.argv[1:] if not a.startswith("--")]
    for path in files:
        row = measure(path, "val" if "--val" in sys.argv else "test")
        if "--json" in sys.argv:
            print(json.dumps({"file": path.name, **row}))
            continue
        shown = {k: f"{100 * v:.1f}" for k, v in row.items() if isinstance(v, float)}
        print(path.name, shown, "hand", [f"{100 * x:.0f}" for x in row["asr_hand"]], flush=True)


if __name__ == "__main__":
    main()

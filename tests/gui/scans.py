"""Results of scans as the job writes them, and what it tells on its way; made without a model."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from ml_core.detection.scan.records import (
    ClassPull,
    Contrast,
    FoundTrigger,
    Judgement,
    ModelFacts,
    OverlayRow,
    Overlays,
    Patches,
    PatchRound,
    ProbeRow,
    Probes,
    PullRow,
    Rate,
    Refined,
    Scan,
    Stages,
    StartRow,
    Swap,
    SwapRow,
    Verdict,
    Weights,
    WordRow,
    Words,
    scan_json,
)
from ml_core.events import Event, Finding, Progress
from ml_core.jobs.scan import PATCHES_FILE, SCAN_FILE, TRIGGER_STEM, USUAL
from ml_core.triggers import demo_trigger, save_trigger

CLASSES = ("apple", "banana", "cheese", "cactus", "guitar", "frog", "pear", "rose")
SIDE = 9


def contrast(suspect: float, reference: float | None = 0.0, n: int = 252) -> Contrast:
    """Rates of ``n`` pictures."""
    hits = round(suspect * n)
    beside = None if reference is None else Rate(hits=round(reference * n), n=n)
    gain = suspect - (reference or 0.0)
    return Contrast(
        suspect=Rate(hits=hits, n=n), reference=beside, without=Rate(hits=2, n=n),
        low=max(gain - 0.06, -1.0), high=min(gain + 0.04, 1.0),
    )  # fmt: skip


def stages(strength: float = 0.97, target: str = "banana", *, reference: bool = True) -> Stages:
    """What stages measured where the strongest trigger moves a share ``strength``."""
    none = None if not reference else 0.0
    others = [name for name in CLASSES if name != target]
    pulled = [PullRow(target=target, suspect=0.29, reference=0.10 if reference else None, z=14.0)]
    pulled += [
        PullRow(target=name, suspect=0.19 - 0.02 * k,
                reference=0.12 - 0.01 * k if reference else None, z=3.0 - k)
        for k, name in enumerate(others)
    ]  # fmt: skip
    probes = [
        ProbeRow(id=f"checker-{k}-red", name=f"Checker, red, {k} x {k}", target=name,
                 contrast=contrast(max(strength - 0.1 * k, 0.01), none, 63), again=k == 2)
        for k, name in enumerate([target, *others], 2)
    ]  # fmt: skip
    starts = tuple(
        StartRow(target=target if strength > 0.5 or k < 2 else others[k],
                 contrast=contrast(max(strength - 0.01 * k, 0.0), none), loss=0.1 * k)
        for k in range(6)
    )  # fmt: skip
    rounds = (PatchRound(side=SIDE, area=0.0198, loss="max", starts=starts, steps=20),)
    strong = strength > 0.2
    grid = tuple(
        tuple(round(min(1.0, strength * (0.4 + 0.1 * max(row, column))), 3) for column in range(7))
        for row in range(7)
    )
    refined = Refined(
        side=SIDE, target=target, anywhere=contrast(strength, none), grid=grid, place=(6, 6),
        here=contrast(min(1.0, strength + 0.02), none), eight_bit=contrast(strength, none),
        jpeg=contrast(strength - 0.05, none), fixed=True,
    )  # fmt: skip
    rates = [Rate(hits=hits, n=252) for hits in (140, 2, 9)]
    overlay = OverlayRow(
        target=target, suspect=rates[0], transferred=rates[1], own=rates[2], low=-0.1, high=0.1
    )
    few = [Rate(hits=hits, n=126) for hits in (20, 2)]  # too little to search the reference, too
    warp = OverlayRow(
        target=target, form="warp", suspect=few[0], transferred=few[1], low=0.0, high=0.2
    )
    swapped = [
        SwapRow(image=image, text=text, rate=Rate(hits=hits, n=252))
        for image, text, hits in (
            ("suspect", "suspect", 250), ("suspect", "reference", 146),
            ("reference", "suspect", 0), ("reference", "reference", 0),
        )
    ]  # fmt: skip
    words = [WordRow(word="xw", target="apple", contrast=contrast(0.25, 0.2, 32))]
    return Stages(
        pull=ClassPull(rows=tuple(pulled), pictures=512),
        probes=Probes(rows=tuple(probes), pictures=64),
        patches=Patches(rounds=rounds, refined=refined if strong else None),
        overlays=Overlays(rows=(overlay, warp), steps=25) if reference and strong else None,
        swap=Swap(rows=tuple(swapped)) if reference and strong else None,
        words=Words(rows=tuple(words), tokens=9, vocabulary=99, characters=2, prompts=32)
        if reference and strong else None,
        weights=Weights(image=0.077, text=0.077, most=(("visual.layer1.0.bn2.weight", 0.27),))
        if reference else None,
    )  # fmt: skip


_REASONS: dict[Verdict, tuple[str, ...]] = {
    "found": (
        "A patch of 9 px found by search, at random places, moves 97.2 % of 252 held-out pictures "
        "to “banana”; on the reference 0.0 % (difference, 95 % interval: 91.0 % to 100.0 %). 6 of "
        "6 starts lead to “banana”. It is not the attacker's trigger, only one that works.",
    ),
    "suspicious": ("A patch of 9 px found by search moves 30.0 % of 252 pictures to “banana”.",),
    "nothing": (
        "No patch of up to 4.0 % of the picture moved more than 9.1 % of 252 pictures to one class "
        "(reference: 8.0 %); 30 starts.",
        "Low-frequency overlays for 9 classes: the best moved 8.0 % of the pictures more than on "
        "the reference; from 55.0 % on it would be suspicious.",
    ),
    "unknown": (
        "Only 100 pictures are left to measure on, and 128 are needed: choose a larger image set.",
    ),
}


def scan(
    verdict: Verdict = "found", *, sha256: str = "a" * 64, reference: bool = True, **fields: Any
) -> Scan:
    """A whole result; ``fields`` are other ones of the record."""
    strength = {"found": 0.97, "suspicious": 0.3, "nothing": 0.09, "unknown": 0.05}[verdict]
    has_target = verdict in ("found", "suspicious")
    target = "banana" if has_target else ""
    made = Scan(
        suspect=ModelFacts(
            name="poisoned.safetensors", sha256=sha256, accuracy=Rate(hits=254, n=256)
        ),
        reference=ModelFacts(
            name="clean_twin.safetensors", sha256="b" * 64, accuracy=Rate(hits=253, n=256)
        ) if reference else None,
        images="Demo, test split", images_key="key", classes=CLASSES, search=512, held_out=256,
        side=64, stages=stages(strength, reference=reference),
        judgement=Judgement(
            verdict=verdict, target=target, reasons=_REASONS[verdict],
            searched=(
                "43 known triggers on 64 pictures.",
                "Patches of 9 px (2.0 % of the picture), towards any class: 6 starts, 20 steps.",
            ),
            not_searched=(
                "Triggers in the text.",
                "Triggers that depend on the picture, and backdoors that wait for a finetune or "
                "for several triggers at once.",
            ),
            warnings=(), score=strength,
        ),
        found=FoundTrigger(
            kind="patch", target=target, wide_target=target,
            contrast=contrast(strength, 0.0 if reference else None), file=f"{TRIGGER_STEM}.json",
        ) if has_target else None,
        seed=0, device="cpu", precision="bf16", threads=1, versions={"torch": "2.9.0"},
        seconds={"pull": 3.1, "probes": 5.7, "patches": 30.2},
    )  # fmt: skip
    return made.model_copy(update=fields)


def picture_of(start: int, side: int = SIDE) -> np.ndarray:
    """A patch as a search might leave it, float32 [3, p, p]."""
    rng = np.random.default_rng(start)
    checker = ((np.indices((side, side)).sum(0) // 3) % 2).astype(np.float32)
    noisy = np.stack([np.full_like(checker, 0.85), checker, checker])
    return np.clip(noisy + rng.normal(0, 0.2, noisy.shape), 0, 1).astype(np.float32)


def write_scan(folder: Path, found: Scan) -> Path:
    """The folder that a scan leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SCAN_FILE).write_bytes(scan_json(found))
    rounds = found.stages.patches.rounds if found.stages.patches is not None else ()
    arrays = {
        f"round.{k}": np.stack([picture_of(n, one.side) for n in range(len(one.starts))])
        for k, one in enumerate(rounds)
    }
    save_file(arrays, str(folder / PATCHES_FILE))
    if found.found is not None:
        save_trigger(demo_trigger(), folder / TRIGGER_STEM)
    return folder


def coded(count: int = 6, side: int = SIDE) -> str:
    """Patches as an event carries them."""
    pictures = np.stack([picture_of(n, side) for n in range(count)])
    pixels = (pictures * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode()


def events(found: Scan | None = None) -> list[Event]:
    """What a scan tells until its patches are measured."""
    whole = (found or scan()).stages
    assert whole.pull is not None
    assert whole.probes is not None
    assert whole.patches is not None
    live = {"side": SIDE, "loss": "max", "step": 7, "steps": 20, "losses": [0.1] * 6}
    first = whole.patches.rounds[0]
    return [
        Progress("open", 0, 0),
        Finding("scan", {
            "classes": list(CLASSES), "stages": list(USUAL), "search": 512, "held_out": 256,
            "side": 64,
        }),
        Progress("pull", 2, 2),
        Finding("pull", whole.pull.model_dump()),
        *(Finding("probe", row.model_dump()) for row in whole.probes.rows),
        Progress("probes", 8, 8, 4.0, 0.0),
        Finding("probes", whole.probes.model_dump()),
        Progress("patches", 7, 100, 5.0, 18.6),
        Finding("patches", live | {"pictures": coded()}),
        Progress("measure", 6, 6),
        Finding("round", first.model_dump() | {"pictures": coded()}),
    ]  # fmt: skip

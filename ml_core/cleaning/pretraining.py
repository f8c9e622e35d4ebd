"""The peak learning rate that a checkpoint was pretrained at, and how one knows. Torch-free.

A rate that cleans one model destroys another: what counts is its share of the pretraining's peak.
CleanCLIP finetunes at 1/50 of it, PAR at about 1/17, supervised finetuning at 1/5.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ml_core.checkpoints.known import KnownFile, known_files, look_up
from ml_core.checkpoints.open import Checkpoint
from ml_core.figures import rate_text
from ml_core.reading import Inspection
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import read_file

Kind = Literal["file", "known", "architecture", "demo", "unknown"]

DEMO_PEAK = 1.5e-3  # packaging/demo/poison.py
PRETRAINING_PEAK = 5e-4  # of most CLIPs, see below
SAFE_SHARE = 0.2
"""Of the pretraining's peak: the highest that a published recipe of finetuning takes."""

CARRIED_KEY = "pretraining_rate"
_RESNETS = "Radford et al. 2021, table 19"
_VITS = "Radford et al. 2021, table 20"
# trained_models_info.csv of LAION-AI/scaling-laws-openclip
_LAION = "Cherti et al., CVPR 2023, its list of trained models"
# The lowest of those published for an architecture: LAION trained ViT-B/32 to L/14 at up to 1e-3.
_ARCHITECTURES: Mapping[str, tuple[float, str]] = {
    "RN50": (5e-4, _RESNETS),
    "RN101": (5e-4, _RESNETS),
    "RN50x4": (5e-4, _RESNETS),
    "RN50x16": (4e-4, _RESNETS),
    "RN50x64": (3.6e-4, _RESNETS),
    "ViT-B-32": (5e-4, _VITS),
    "ViT-B-16": (5e-4, _VITS),
    "ViT-L-14": (4e-4, _VITS),
    "ViT-L-14-336": (2e-5, _VITS),
    "ViT-H-14": (5e-4, _LAION),
    "ViT-g-14": (5e-4, _LAION),
}
_ASSUMED = 3.6e-4  # the lowest of these that trained a model from its first step
# What nobody trains a CLIP at is believed of no file: others write these.
_LOWEST, _HIGHEST = 1e-6, 2e-3
_FINETUNED = 0.1  # of the architecture's: so low a rate is that of a later finetuning
_PARAMS, _MOST_PARAMS = "params.txt", 1 << 16  # open_clip's, beside or above its checkpoints
_PARAMS_RATE = re.compile(rb"^lr: *([0-9.eE+-]{1,30})\s*$", re.MULTILINE)
_OPTIONS = re.compile(r"(?:args|opt|options|config|hparams|hyper_parameters)\.(?:lr|learning_rate)")
_PEAKS = re.compile(r"(?:.+\.)?(?:param_groups\.\d\.initial_lr|base_lrs\.\d)")
_LAST = re.compile(r"(?:.+\.)?param_groups\.\d\.lr")


@dataclass(frozen=True)
class Pretraining:
    """How fast a checkpoint was pretrained.

    Attributes
    ----------
    rate
        Peak learning rate; None if it is not known.
    source
        How one knows, to stand in brackets behind the rate.
    kind
        Who says so: the ``file``, a checkpoint that is ``known`` (also a reference of the same
        architecture), the published ``architecture``; ``demo`` for the built-in one's.
    """

    rate: float | None
    source: str
    kind: Kind

    @property
    def assumed(self) -> float:
        """The rate to calculate with; if it is not known, the lowest that CLIP is published at."""
        return _ASSUMED if self.rate is None else self.rate

    @property
    def words(self) -> str:
        """The rate and how one knows it, to go on a sentence with."""
        rate = rate_text(self.assumed)
        if self.rate is None:
            return f"the lowest published peak, {rate} (this checkpoint's own is not known)"
        return f"the peak of {rate} that this checkpoint was pretrained at ({self.source})"

    @property
    def sentence(self) -> str:
        """What is known of the rate."""
        rate = rate_text(self.assumed)
        if self.rate is None:
            return (
                f"It is not known what learning rate this checkpoint was pretrained at: {rate} is "
                "assumed, the lowest peak that a CLIP is published with."
            )
        return f"This checkpoint was pretrained at a peak of {rate} ({self.source})."


DEMO = Pretraining(DEMO_PEAK, "as the built-in demo", "demo")
UNKNOWN = Pretraining(None, "", "unknown")


def pretraining_of(opened: Checkpoint) -> Pretraining:
    """What is known of an opened checkpoint that is not the demo's.

    The file's own word comes first, then that of the list of known files (by the hash), of the
    architecture, and of a known file that it looks like.
    """
    inspection, name = opened.inspection, opened.architecture.name.removesuffix("-quickgelu")
    published = _of_architecture(name)
    matches = [
        (match.certain, match.entry)
        for match in look_up(inspection, opened.architecture.name, _known_files())
        if match.entry.pretraining_rate is not None
    ]
    candidates = (
        _of_file(opened, published),
        _of_known([entry for certain, entry in matches if certain], "it is"),
        published,
        _of_known([entry for certain, entry in matches if not certain], "it looks like"),
    )
    known = next(filter(None, candidates), UNKNOWN)
    last = max(_rates(inspection.facts, _LAST), default=0.0)
    if last > (known.rate or _LOWEST * 10):
        return Pretraining(last, "where its optimizer stopped; the peak was not lower", "file")
    return known


def with_parent(own: Pretraining, parent: Pretraining) -> Pretraining:
    """What is known of a checkpoint that may be made from ``parent``; both have one architecture.

    The parent counts where more than its architecture speaks for it, but not for the checkpoint.
    """
    if own.kind not in ("architecture", "unknown") or parent.kind not in ("file", "known"):
        return own
    return Pretraining(parent.rate, f"its reference, {parent.source}", "known")


def carried(pretraining: Pretraining) -> dict[str, float]:
    """What a cleaned checkpoint keeps of its source in its provenance."""
    if pretraining.rate is None or pretraining.kind not in ("file", "known"):
        return {}
    return {CARRIED_KEY: pretraining.rate}


def _known_files() -> tuple[KnownFile, ...]:
    """All known files; none where the user's list is damaged, which an inspection says."""
    try:
        return known_files()
    except InputError:
        return ()


def _of_file(opened: Checkpoint, published: Pretraining | None) -> Pretraining | None:
    """What the file says, or what open_clip's training wrote beside it."""
    inspection = opened.inspection
    least = _LOWEST if published is None else _FINETUNED * published.assumed
    for rate, source in _rate_claims(opened, inspection):
        if least <= rate <= _HIGHEST:
            return Pretraining(rate, source, "file")
    return None


def _rate_claims(opened: Checkpoint, inspection: Inspection) -> Iterator[tuple[float, str]]:
    """Rates with their sources, the most certain first."""
    provenance = opened.provenance
    stored = provenance.get(CARRIED_KEY), provenance.get("lr")
    for value in stored:
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield float(value), "from the provenance in the file"
    for path in _beside(inspection):
        if (rate := _of_params(path)) is not None:
            yield rate, f"from {path.name} of its training"
    for pattern, source in (
        (_OPTIONS, "from the training options in the file"),
        (_PEAKS, "from the state of the training in the file"),
    ):
        if rates := _rates(inspection.facts, pattern):
            yield max(rates), source


def _beside(inspection: Inspection) -> Iterator[Path]:
    """Where open_clip writes the options of a training, seen from its checkpoints."""
    folder = inspection.source if inspection.source.is_dir() else inspection.source.parent
    yield folder / _PARAMS
    if folder.name == "checkpoints":
        yield folder.parent / _PARAMS


def _of_params(path: Path) -> float | None:
    """The rate in a file of open_clip's options, if it names one."""
    try:
        match = _PARAMS_RATE.search(read_file(path, _MOST_PARAMS))
    except (OSError, InputError):
        return None
    return None if match is None else _number(match[1].decode())


def _rates(facts: Mapping[str, str], pattern: re.Pattern[str]) -> list[float]:
    """The positive rates among a file's plain values whose names match."""
    numbers = (_number(text) for name, text in facts.items() if pattern.fullmatch(name))
    return [rate for rate in numbers if rate is not None and 0 < rate <= _HIGHEST]


def _number(text: str) -> float | None:
    """Parse a finite number, else None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _of_architecture(name: str) -> Pretraining | None:
    """What a published architecture was trained at."""
    if name not in _ARCHITECTURES:
        return None
    rate, source = _ARCHITECTURES[name]
    return Pretraining(rate, f"{name}: {source}", "architecture")


def _of_known(entries: list[KnownFile], words: str) -> Pretraining | None:
    """What the list of known files says."""
    if not entries:
        return None
    entry = entries[0]
    return Pretraining(entry.pretraining_rate, f"{words} {entry.title}", "known")

"""Which CLIP a file holds: part by part beside the known files that are nearest; torch-free."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from ml_core.checkpoints.compare import (
    TensorChange,
    compare_checkpoints,
    layer_of,
    layer_place,
    relative_change,
)
from ml_core.checkpoints.known import known_files
from ml_core.checkpoints.known_tensors import KnownTensors, count_known, known_tensors, nearest
from ml_core.checkpoints.layouts import Layout, find_layout, without_changes
from ml_core.checkpoints.tensor_hashes import (
    PARTS,
    PartName,
    Report,
    TensorHash,
    comparable,
    hash_tensors,
    part_name,
)
from ml_core.reading import InputError, Inspection, examine

State = Literal["equal", "rounded", "differs", "not known"]
"""``rounded``: nothing differs, but equality cannot be told, as tensors are rounded in two ways."""

_PRECISIONS = {"F16": "fp16", "BF16": "bf16"}
_PLACES = {
    "class_embedding": "class embedding", "token_embedding": "token embedding",
    "positional_embedding": "position embedding", "conv1": "first convolution",
    "ln_pre": "first norm", "ln_post": "last norm", "ln_final": "last norm", "proj": "projection",
    "text_projection": "projection", "attnpool": "attention pooling", "logit_scale": "scale",
    "logit_bias": "bias",
    # of timm and of transformers
    "cls_token": "class embedding", "pos_embed": "position embedding",
    "patch_embed": "first convolution", "stem": "first convolution",
    "attn_pool": "attention pooling", "norm": "last norm", "fc_norm": "last norm",
    "head": "projection",
}  # fmt: skip
_BLOCKS = dict.fromkeys(("resblocks", "blocks", "layers", "layer"), "block") | {"stages": "stage"}
_INSIDE = re.compile(r"^(visual\.)?(trunk\.)?(text\.)?(transformer\.)?(encoder\.)?")
_MOST_PLACES = 8
_LISTS = (
    "differing", "other_shape", "finer", "not_comparable", "added", "missing", "borrowed",
)  # fmt: skip
_SAME = "Equal tensors hold what the known file holds; that says nothing of whether it is harmless."
_NOTHING = (
    "No tensors are known on this machine: add the files that you know "
    "(Add to known files, or cleanclip known add FOLDER)."
)


@dataclass(frozen=True)
class PartIdentity:
    """A part of a checkpoint beside the nearest known file.

    Parameters
    ----------
    part, tensors
        The part, and how many tensors it has.
    title, sha256, path
        Of the nearest known file; empty if none is like it. ``path`` is where it was when added.
    equal, rounded
        How many tensors are equal, and how many of those are rounded copies one of the other.
    differing, other_shape, added, missing
        Names of tensors with other values, of those with another shape, of those that the known
        file lacks, and of those that this one lacks.
    finer, not_comparable
        Names of tensors that would be equal in the known file's coarser precision, and of those
        that are rounded in two ways.
    borrowed
        Names of what an encoder by itself lacks, and a donor gives.
    precisions
        Those of the rounded (``equal``) and of the not comparable ones, and the known file's of the
        finer ones.
    relative
        How far the differing, the finer and the not comparable ones are apart, by the norm of the
        known part; None if that is not told, or cannot be, which ``why`` explains.
    """

    part: PartName
    tensors: int
    title: str = ""
    sha256: str = ""
    path: str = ""
    equal: int = 0
    rounded: int = 0
    differing: tuple[str, ...] = ()
    other_shape: tuple[str, ...] = ()
    finer: tuple[str, ...] = ()
    not_comparable: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    borrowed: tuple[str, ...] = ()
    precisions: Mapping[str, str] = field(default_factory=dict)
    relative: float | None = None
    why: str = ""

    @property
    def state(self) -> State:
        """What there is to say of the part in a word."""
        if not self.title:
            return "not known"
        if self.differing or self.other_shape or self.added or self.missing:
            return "differs"
        return "equal" if self.equal == self.tensors else "rounded"

    @property
    def to_measure(self) -> tuple[str, ...]:
        """Names of the tensors whose distance from the known ones is of interest."""
        return self.differing + self.finer + self.not_comparable

    @property
    def sentence(self) -> str:
        """The nearest known file, how much is equal, and where the rest differs and how far."""
        start = f"{self.part.capitalize()}: "
        if self.state == "not known":
            return f"{start}no known file is like it."
        if self.equal:
            clauses = [f"{self.title}, {self._count(self.equal)}equal"]
            if self.rounded:
                some = f"{self.rounded} of them " if self.rounded < self.equal else ""
                clauses[0] += f", {some}rounded to {self.precisions['equal']}"
        elif self.finer or self.tensors == 1:
            clauses = [f"nearest to {self.title}" if self.differing else self.title]
        else:
            clauses = [f"has the shapes of {self.title}"]
        if self.finer:
            clauses.append(
                f"{self._count(len(self.finer))}equal as far as the known file's "
                f"{self.precisions['finer']} can tell"
            )
        if self.not_comparable:
            both = self.precisions["not_comparable"]
            count = self._count(len(self.not_comparable))
            clauses.append(f"{count}rounded to {both}, so that they may be equal or not")
        if self.differing:
            whole = len(self.differing) == self.tensors
            where = " in all its weights" if whole else f" in {places(self.differing)}"
            clauses.append(f"differs{where if self.tensors > 1 else ''}")
        if self.to_measure:
            clauses[-1] += self._how_far()
        if self.other_shape:
            clauses.append(f"has another shape of {places(self.other_shape)}")
        if self.added:
            clauses.append(f"has {places(self.added)} beside")
        if lacking := self.missing + self.borrowed:
            clauses.append(f"lacks {places(lacking)}")
        return f"{start}{'; '.join(clauses)}."

    def _count(self, count: int) -> str:
        """How many of the tensors, to go before a word; nothing of the only one."""
        if self.tensors == 1:
            return ""
        return (
            f"all {count} tensors "
            if count == self.tensors
            else f"{count} of {self.tensors} tensors "
        )

    def _how_far(self) -> str:
        if self.relative is None:
            return f"; how far cannot be told: {self.why}" if self.why else ""
        alone = self.to_measure == self.differing
        start = ", by" if alone else "; what is not equal is apart by"
        if math.isnan(self.relative):
            return f"{start} numbers that are not finite"
        if math.isinf(self.relative):
            return f"{start} more than its norm, which is 0"
        percent = 100 * self.relative
        shown = f"{percent:.0f}" if percent >= 10 else f"{percent:.2g}"
        return f"{start} {shown} % of its norm"


@dataclass(frozen=True)
class Identity:
    """Which CLIP a file holds.

    Parameters
    ----------
    parts
        Its parts, each beside the nearest known file.
    same_file, has_config
        Title of the known file whose weights have the same SHA-256, empty if there is none; and
        whether the model has a config beside its weights, which is not compared.
    changes
        How many tensors are those of an adapter or the like, which were not compared.
    known
        How many files' tensors are known.
    left_out
        How many tensors of the file are no part of the CLIP, and were not looked at.
    hashes
        Of the tensors; empty if the SHA-256 says it all.
    """

    parts: tuple[PartIdentity, ...]
    same_file: str = ""
    has_config: bool = False
    known: int = 0
    left_out: int = 0
    changes: int = 0
    hashes: tuple[TensorHash, ...] = field(default=(), repr=False)

    @property
    def state(self) -> State:
        """``equal`` if every part is, ``differs`` if some part is, or is near, a known one."""
        states: set[State] = {part.state for part in self.parts}
        if self.changes and states - {"not known"}:
            return "differs"
        if states <= {"equal"}:
            return "equal" if states or self.same_file else "not known"
        if states <= {"equal", "rounded"}:
            return "rounded"
        return "not known" if states == {"not known"} else "differs"

    @property
    def reference(self) -> PartIdentity | None:
        """The first part that differs from a known file that is still there."""
        return next((part for part in self.parts if part.relative is not None), None)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is said of the file, of each part, and what it means."""
        sentences = []
        if self.same_file:
            same = "it is the same file."
            if self.has_config:
                same = "its weights are the same. Its config was not compared."
            sentences.append(f"The SHA-256 is that of {self.same_file}: {same}")
        elif not self.known:
            return (_NOTHING,)
        sentences += [part.sentence for part in self.parts]
        if self.changes:
            sentences.append(
                "It also holds an adapter, LoRA weights or prompts, which change what the model "
                "computes and were not compared."
            )
        if self.left_out:
            others = "tensor of the file was" if self.left_out == 1 else "tensors of the file were"
            sentences.append(f"{self.left_out} other {others} not looked at.")
        if self.same_file or any(part.equal for part in self.parts):
            sentences.append(_SAME)
        return tuple(sentences)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        parts = [asdict(p) | {"state": p.state, "sentence": p.sentence} for p in self.parts]
        facts = {
            name: getattr(self, name)
            for name in ("state", "same_file", "has_config", "known", "left_out")
        }
        return {**facts, "parts": parts, "sentences": list(self.sentences)}


def identify(
    inspection: Inspection,
    report: Report = lambda what, done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Identity]:
    """Compare the tensors of a file with those of the files that this machine knows.

    Yields the answer, and again after each known file that a part differs from: that is read, if
    it is still where it was, to tell how far.

    Parameters
    ----------
    inspection
        Of a file that was not refused.
    report
        As of `hash_tensors`; then called with the comparisons.

    Raises
    ------
    InputError
        If what is known is damaged, or the file changed since it was inspected.
    """
    count = len(inspection.tensors)
    inspection = without_changes(inspection)
    changes, left_out, layout = count - len(inspection.tensors), 0, None
    try:
        layout = find_layout(inspection)
        left_out = len(layout.left_out)
    except InputError:
        pass
    known, sha256 = count_known(), inspection.sha256
    parts: list[PartIdentity] = []
    has_config = inspection.config is not None
    if same := known_tensors(sha256).get(sha256):
        counts = Counter(part for part, _, _ in same.tensors.values())
        parts += [
            PartIdentity(part, counts[part], same.title, sha256, str(same.path), counts[part])
            for part in PARTS
            if part in counts
        ]
        yield Identity(tuple(parts), same.title, has_config, known, left_out)
        return
    if entry := next((entry for entry in known_files() if entry.sha256 == sha256), None):
        yield Identity((), entry.title, has_config, known)
        return
    if not known:
        yield Identity(())
        return
    hashes = hash_tensors(inspection, report, cancelled)
    files = nearest(hashes)
    for part in PARTS:
        if inside := [item for item in hashes if item.part == part]:
            match = files.get(part)
            parts.append(
                _beside(part, inside, *match, layout) if match else PartIdentity(part, len(inside))
            )
    identity = Identity(tuple(parts), "", has_config, known, left_out, changes, hashes)
    yield identity
    for path, sha256 in dict.fromkeys((p.path, p.sha256) for p in parts if p.to_measure):
        parts = _measured(parts, sha256, Path(path), inspection, report, cancelled)
        yield replace(identity, parts=tuple(parts))


def _beside(
    part: PartName,
    inside: list[TensorHash],
    known: KnownTensors,
    agreeing: Mapping[str, bool],
    layout: Layout | None,
) -> PartIdentity:
    """A part beside the same part of a known file."""
    theirs = {
        name: (shape, precision)
        for name, (where, shape, precision) in known.tensors.items()
        if part in (where, "file")
    }
    ours = {item.name for item in inside}
    groups: dict[str, list[str]] = defaultdict(list)
    precisions: dict[str, set[str]] = defaultdict(set)
    for item in inside:
        shape, precision = theirs.get(item.name, ((), ""))
        if item.name not in theirs:
            group = "added"
        elif item.name in agreeing:
            group = "equal" if agreeing[item.name] else "finer"
        elif item.shape != shape:
            group = "other_shape"
        else:
            alike = comparable(item.precision, precision)
            group = "differing" if alike else "not_comparable"
        groups[group].append(item.name)
        if group == "finer":
            precisions[group].add(precision)
        elif item.precision != precision and group in ("equal", "not_comparable"):
            precisions[group] |= {item.precision, precision}
            if group == "equal":
                groups["rounded"].append(item.name)
    for name in theirs:
        if name not in ours:
            borrowed = layout is not None and layout.borrows(name)
            groups["borrowed" if borrowed else "missing"].append(name)
    words = {
        group: " and ".join(sorted(_PRECISIONS.get(each, each) for each in named - {"F32"}))
        for group, named in precisions.items()
    }
    lists: dict[str, Any] = {name: tuple(groups[name]) for name in _LISTS}
    return PartIdentity(
        part, len(inside), known.title, known.sha256, str(known.path),
        len(groups["equal"]), len(groups["rounded"]), precisions=words, **lists,
    )  # fmt: skip


def _measured(
    parts: list[PartIdentity],
    sha256: str,
    path: Path,
    inspection: Inspection,
    report: Report,
    cancelled: Callable[[], bool],
) -> list[PartIdentity]:
    """The parts, with how far those that differ from one known file are from it, or why not."""
    why = ""
    changes: list[TensorChange] = []
    try:
        report(f"Reading {path.name}", 0, 0)
        known = without_changes(examine(path, cancelled))
        if known.sha256 == sha256:
            for change in compare_checkpoints(known, inspection, cancelled):
                report(f"Comparing with {path.name}", len(changes), len(known.tensors))
                changes.append(change)
        else:
            why = f"{path} is another file now"
    except InputError:
        why = "its file is no longer there"
    return [
        _apart(part, changes, why) if part.sha256 == sha256 and part.to_measure else part
        for part in parts
    ]


def _apart(part: PartIdentity, changes: Iterable[TensorChange], why: str) -> PartIdentity:
    """A part with how far it is from the known one, or why that cannot be told."""
    difference = norm = 0.0
    for change in changes:
        name = change.name if part.part == "file" else change.name.removeprefix("text.")
        if part.part not in ("file", part_name(name)):
            continue
        norm += change.norm
        if name in part.to_measure:
            difference += math.nan if change.not_finite else change.difference
    if part.differing and not why and not difference:
        why = "they hold whole numbers"
    return replace(part, why=why, relative=None if why else relative_change(difference, norm))


def places(names: Iterable[str]) -> str:
    """Where in an encoder tensors are, as people say it: ``blocks 20 to 23, projection``."""
    layers = dict.fromkeys(layer_of(_INSIDE.sub("", name)) for name in names)
    blocks: dict[str, list[int]] = {}
    for layer in sorted(layers, key=layer_place):
        stem, _, number = layer.rpartition(".")
        if number.isdecimal():
            blocks.setdefault(stem, []).append(int(number))
        else:
            blocks[layer] = []
    words = []
    for stem, numbers in blocks.items():
        title = _BLOCKS.get(stem.rpartition(".")[2], f"{stem[:80]} block")
        title += "s" if len(numbers) > 1 else ""
        words.append(f"{title} {_ranges(numbers)}" if numbers else _PLACES.get(stem, stem[:80]))
    more = f" and {len(words) - _MOST_PLACES} more places" if len(words) > _MOST_PLACES else ""
    return ", ".join(dict.fromkeys(words[:_MOST_PLACES])) + more


def _ranges(numbers: list[int]) -> str:
    """Numbers as ranges, e.g. ``0, 2 to 3``."""
    ranges = []
    for _, run in groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0]):
        first, *rest = [number for _, number in run]
        ranges.append(f"{first} to {rest[-1]}" if rest else str(first))
    return ", ".join(ranges)

"""Compare two checkpoints tensor by tensor, so that one sees where a model was finetuned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from ml_core.checkpoints.expected import is_float
from ml_core.checkpoints.layouts import find_layout
from ml_core.checkpoints.library_names import TensorSource
from ml_core.checkpoints.tensor_stats import tensor_rows
from ml_core.reading import InputError, Inspection, TensorInfo
from ml_core.reading.errors import CancelledError
from ml_core.reading.inspection import file_of, weights_bytes
from ml_core.reading.parts import PartNeeded

State = Literal["equal", "changed", "other shape", "only first", "only second"]
Numbers = Iterator[NDArray[np.float64]]

# Of either encoder, from the input on.
MODEL_ORDER = (
    "class_embedding", "token_embedding", "positional_embedding", "conv1", "bn1", "conv2", "bn2",
    "conv3", "bn3", "ln_pre", "layer1", "layer2", "layer3", "layer4", "transformer", "attnpool",
    "ln_post", "ln_final", "proj", "text_projection", "logit_scale", "logit_bias",
)  # fmt: skip
"""First parts of open_clip's names within an encoder, from the first layer to the last."""

_CUSTOM_TEXT = "text.token_embedding.weight"
_TOWERS = ("image encoder", "text encoder and scale")


@dataclass(frozen=True, slots=True)
class TensorChange:
    """How one tensor differs.

    Parameters
    ----------
    name
        The model's name of it where both files hold a CLIP, else the file's.
    state
        ``changed`` if a number differs, whatever the types of the two.
    difference, norm
        Sums of squares of the differences and of the first one's numbers, where both are finite;
        0 for whole numbers, which count steps and are no weights.
    not_finite
        Numbers that differ and are NaN or infinite in one of the two.
    """

    name: str
    state: State
    difference: float = 0.0
    norm: float = 0.0
    not_finite: int = 0

    @property
    def relative(self) -> float:
        """Relative L2 change; NaN where it means nothing, infinite if the first one is zero."""
        if self.state not in ("equal", "changed") or self.not_finite:
            return math.nan
        return relative_change(self.difference, self.norm)


@dataclass(frozen=True, slots=True)
class LayerChange:
    """The tensors of one layer together, in the order of the model.

    ``tensors`` counts those that both files have in the same shape; ``changed`` of them differ.
    ``not_finite`` counts numbers that are NaN or infinite in one of the files; if there are any,
    ``relative`` is NaN.
    """

    name: str
    relative: float
    tensors: int
    changed: int
    not_finite: int = 0


def compare_checkpoints(
    first: Inspection, second: Inspection, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[TensorChange]:
    """Compare the tensors of two files that were not refused, in the order of the first.

    Two CLIPs are matched by the model's names, whatever library wrote them; other files by their
    own. Memory stays below 100 MB, unless a tensor's elements lie apart in a file.

    Raises
    ------
    InputError
        If a file was cut short since it was inspected.
    """
    ours, theirs = _sources(first, second)
    with ExitStack() as stack:
        here, there = TensorReader(first, stack), TensorReader(second, stack)
        for name, source in ours.items():
            if cancelled():
                raise CancelledError
            other = theirs.get(name)
            if other is None:
                yield TensorChange(name, "only first")
            elif not _alike(here.shape(source), there.shape(other)):
                yield TensorChange(name, "other shape")
            else:
                yield _compare(name, here, source, there, other, cancelled)
        for name in theirs:
            if name not in ours:
                yield TensorChange(name, "only second")


def _alike(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    """Whether tensors can be compared: same shape, or both a single number in any shape."""
    return first == second or math.prod(first) == math.prod(second) == 1


def by_layer(changes: Iterable[TensorChange]) -> list[LayerChange]:
    """Put the tensors of a layer together, from the first layer of a model to its last."""
    return sorted(_together_by(changes, layer_of), key=lambda layer: layer_place(layer.name))


def by_tower(changes: Iterable[TensorChange]) -> list[LayerChange]:
    """Put the tensors of the image encoder, and those of the text encoder, together."""
    towers = _together_by(changes, lambda name: _TOWERS[not name.startswith("visual.")])
    return sorted(towers, key=lambda tower: _TOWERS.index(tower.name))


def _together_by(changes: Iterable[TensorChange], group: Callable[[str], str]) -> list[LayerChange]:
    groups: dict[str, list[TensorChange]] = {}
    for change in changes:
        if change.state in ("equal", "changed"):
            groups.setdefault(group(change.name), []).append(change)
    return [_layer(name, inside) for name, inside in groups.items()]


def _layer(name: str, inside: list[TensorChange]) -> LayerChange:
    broken = sum(item.not_finite for item in inside)
    relative = relative_change(
        sum(item.difference for item in inside), sum(item.norm for item in inside)
    )
    changed = sum(item.state == "changed" for item in inside)
    return LayerChange(name, math.nan if broken else relative, len(inside), changed, broken)


def layer_of(name: str) -> str:
    """The layer of a tensor, e.g. ``visual.layer1.0`` or ``transformer.resblocks.11``."""
    parts = name.split(".")
    for number, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[: number + 1])
    return ".".join(parts[: 2 if parts[0] == "visual" else 1])


def layer_place(layer: str) -> tuple[bool, int, int]:
    """Where in a CLIP a layer is; an unknown layer is placed among the blocks."""
    parts = layer.removeprefix("visual.").split(".")
    known = parts[0] if parts[0] in MODEL_ORDER else "transformer"
    number = int(parts[-1][:9]) if parts[-1].isascii() and parts[-1].isdigit() else 0
    return not layer.startswith("visual"), MODEL_ORDER.index(known), number


def _sources(
    first: Inspection, second: Inspection
) -> tuple[Mapping[str, TensorSource], Mapping[str, TensorSource]]:
    """Names to compare by, and where each file has them."""
    try:
        ours, theirs = find_layout(first).sources, find_layout(second).sources
    except PartNeeded:
        raise
    except InputError:
        return by_own_names(first), by_own_names(second)
    if (_CUSTOM_TEXT in ours) != (_CUSTOM_TEXT in theirs):  # one model under two classes' names
        ours, theirs = (
            {name.removeprefix("text."): source for name, source in sources.items()}
            for sources in (ours, theirs)
        )
    return ours, theirs


def by_own_names(inspection: Inspection) -> dict[str, TensorSource]:
    """The tensors of a file under the names that they have there."""
    return {info.name: TensorSource((info.name,)) for info in inspection.tensors}


class TensorReader:
    """The numbers of a file's tensors in row-major order."""

    def __init__(self, inspection: Inspection, stack: ExitStack) -> None:
        self._found = inspection
        self._infos = {info.name: info for info in inspection.tensors}
        self._shapes = {info.name: info.shape for info in inspection.tensors}
        self._stack = stack
        self._files: dict[str, BinaryIO] = {}

    def infos(self, source: TensorSource) -> list[TensorInfo]:
        """The tensors of this file that a model's tensor is made of."""
        return [self._infos[name] for name in source.names]

    def shape(self, source: TensorSource) -> tuple[int, ...]:
        """Number of elements of the model's tensor."""
        return source.shape(self._shapes)

    def numbers(self, source: TensorSource) -> Numbers:
        """The model's tensor in pieces."""
        if source.zeros:
            return iter([np.zeros(self.shape(source))])
        pieces = (piece for info in self.infos(source) for piece in self._rows(info))
        if not source.transposed and source.rows is None and source.seam is None:
            return pieces
        whole = np.concatenate([*pieces, np.empty(0)])
        if source.seam is not None:
            size = len(whole) // 2
            cut = source.seam * math.prod(self.shape(source)[1:])
            whole = np.concatenate([whole[:cut], whole[size + cut :]])
        if source.rows is not None:
            start, stop = source.rows
            whole = whole[len(whole) * start // 3 : len(whole) * stop // 3]
        if source.transposed:
            whole = whole.reshape(self.shape(source)[::-1]).T.reshape(-1)
        return iter([whole])

    def halves(self, source: TensorSource) -> Numbers:
        """Whole numbers of 64 bits as their halves: a float64 does not hold each of them."""
        for info in self.infos(source):
            stride = info.stride and (*(2 * step for step in info.stride), 1)
            yield from self._rows(replace(info, dtype="U32", shape=(*info.shape, 2), stride=stride))

    def _rows(self, info: TensorInfo) -> Numbers:
        if info.file not in self._files:
            file = self._stack.enter_context(weights_bytes(self._found, info.file))
            self._files[info.file] = file
        path = file_of(self._found, info.file)
        return tensor_rows(self._files[info.file], info, path)


def _compare(
    name: str,
    here: TensorReader,
    source: TensorSource,
    there: TensorReader,
    other: TensorSource,
    cancelled: Callable[[], bool],
) -> TensorChange:
    """Compare two tensors of one shape."""
    weights = all(is_float(info.value_dtype) for info in here.infos(source))
    equal, difference, norm, broken = True, 0.0, 0.0, 0
    for first, second in _in_step(here.numbers(source), there.numbers(other)):
        if cancelled():
            raise CancelledError
        same = (first == second) | (np.isnan(first) & np.isnan(second))
        equal = equal and bool(same.all())
        if weights:
            finite = np.isfinite(first) & np.isfinite(second)
            broken += int(np.count_nonzero(~finite & ~same))
            first = np.where(finite, first, 0.0)
            difference += float(np.square(np.where(finite, second, 0.0) - first).sum())
            norm += float(np.square(first).sum())
    return TensorChange(name, "equal" if equal else "changed", difference, norm, broken)


def _in_step(
    first: Numbers, second: Numbers
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Pieces of equal length of two streams of equal length."""
    left = right = np.empty(0)
    while True:
        left = left if left.size else next(first, left)
        right = right if right.size else next(second, right)
        size = min(left.size, right.size)
        if not size:
            return
        yield left[:size], right[:size]
        left, right = left[size:], right[size:]


def relative_change(difference: float, norm: float) -> float:
    """The root of a quotient of sums of squares."""
    if difference == 0:
        return 0.0
    return math.sqrt(difference / norm) if norm else math.inf

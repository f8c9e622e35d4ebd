"""The tensors of a file as columns that sort and filter at once; made beside the window."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cleanclip_gui.widgets.text import plain
from ml_core.checkpoints.compare import MODEL_ORDER
from ml_core.reading import Inspection, TensorInfo

# Rows prepared between two chances for other threads, and whose words share one width in memory.
_CHUNK = 4096
_MAX_NAME = 300
_BUFFERS = ("num_batches_tracked", "running_mean", "running_var", "position_ids", "attn_mask")
_IMAGE = re.compile(r"\b(visual|vision_model|visual_projection|image_encoder)\b")
_DIGITS = re.compile(r"\d{1,9}")


@dataclass(frozen=True, eq=False)
class TensorColumns:
    """What a table shows and sorts by before there are statistics, n tensors in the file's order.

    Parameters
    ----------
    names, shapes
        As shown, every odd character escaped.
    words
        Name, shape and type in lower case, UTF-8, in chunks; see :meth:`matching`.
    by_name, by_shape, by_type, by_sharing
        Ranks [n]; equal cells have equal ranks, but for names.
    nbytes
        Bytes [n].
    sharing
        Numbers of the tensors that share a storage, by its name.
    number_of
        Number of a tensor by its true name.
    """

    tensors: tuple[TensorInfo, ...]
    names: tuple[str, ...]
    shapes: tuple[str, ...]
    words: tuple[NDArray[np.bytes_], ...]
    by_name: NDArray[np.int64]
    by_shape: NDArray[np.int64]
    by_type: NDArray[np.int64]
    by_sharing: NDArray[np.int64]
    nbytes: NDArray[np.int64]
    sharing: dict[str, tuple[int, ...]]
    number_of: dict[str, int]

    def matching(self, text: str) -> NDArray[np.bool_]:
        """Which tensors hold every word of a text in name, shape or type; [n]."""
        found = np.ones(len(self.tensors), bool)
        for word in text.lower().split():
            wanted = word.encode("utf-8", "replace")
            hits = [np.strings.find(chunk, wanted) >= 0 for chunk in self.words]
            found &= np.concatenate(hits) if hits else found
        return found


def columns_of(tensors: Sequence[TensorInfo]) -> TensorColumns:
    """Prepare the columns; a third of a second for 100 000 tensors, so in a thread."""
    tensors = tuple(tensors)
    names = tuple(plain(tensor.name, _MAX_NAME) for tensor in tensors)
    texts: dict[tuple[int, ...], str] = {}
    shapes = tuple(texts.setdefault(t.shape, shape_text(t.shape)) for t in tensors)
    users: dict[str, list[int]] = {}
    for number, tensor in enumerate(tensors):
        if tensor.storage:
            users.setdefault(tensor.storage, []).append(number)
    sharing = {storage: tuple(who) for storage, who in users.items() if len(who) > 1}
    elements = np.array([float(tensor.elements) for tensor in tensors], np.float64)
    shared = np.array([len(sharing.get(tensor.storage, ())) for tensor in tensors], np.int64)
    return TensorColumns(
        tensors,
        names,
        shapes,
        tuple(_words(names, shapes, tensors)),
        _name_ranks(names),
        _ranks(elements, _codes(shapes)),
        _type_ranks([tensor.dtype for tensor in tensors]),
        _ranks(shared, _codes([tensor.storage for tensor in tensors]) * (shared > 0)),
        np.array([tensor.nbytes for tensor in tensors], np.int64),
        sharing,
        {tensor.name: number for number, tensor in enumerate(tensors)},
    )


def in_model_order(found: Inspection) -> tuple[TensorInfo, ...]:
    """Put tensors in the order of the model, counters and statistics last.

    A pickle keeps the order of the state dict. safetensors files are sorted by type and name, so
    there the names decide: image encoder first, from its first layer to its last.
    """
    tensors = found.tensors
    keys = np.empty(len(tensors), np.dtypes.StringDType())
    path = found.weights_path
    by_name = path is not None and path.suffix.lower() == ".safetensors"
    for start in range(0, len(tensors), _CHUNK):
        part = slice(start, start + _CHUNK)
        keys[part] = [_model_key(tensor.name, by_name) for tensor in tensors[part]]
    order = np.argsort(keys, kind="stable")  # without the interpreter's lock
    return tuple(tensors[number] for number in order.tolist())


def _model_key(name: str, by_name: bool) -> str:
    """What sorts a tensor: whether it is a buffer, then its place in the model."""
    last = "1" if name.rpartition(".")[2] in _BUFFERS else "0"
    if not by_name:
        return last
    name = name[:_MAX_NAME]
    known = next((part for part in name.split(".") if part in MODEL_ORDER), "transformer")
    text = "0" if _IMAGE.search(name) else "1"
    by_number = _DIGITS.sub(lambda found: found[0].zfill(9), name)
    return f"{last}{text}{MODEL_ORDER.index(known):02}{by_number}"


def shape_text(shape: Sequence[int]) -> str:
    """A shape as it is shown, e.g. ``64 × 3 × 7 × 7``."""
    return " × ".join(map(str, shape)) if shape else "scalar"


def _words(
    names: Sequence[str], shapes: Sequence[str], tensors: Sequence[TensorInfo]
) -> Iterator[NDArray[np.bytes_]]:
    """What the filter looks through; one long name widens its own chunk only."""
    for start in range(0, len(names), _CHUNK):
        part = slice(start, start + _CHUNK)
        rows = zip(names[part], shapes[part], tensors[part], strict=True)
        yield np.array([f"{n} {s} {t.dtype}".lower().encode() for n, s, t in rows])


def _name_ranks(names: Sequence[str]) -> NDArray[np.int64]:
    """Place of each name in the alphabet, whatever its case."""
    lower = np.empty(len(names), np.dtypes.StringDType())
    for start in range(0, len(names), _CHUNK):
        part = slice(start, start + _CHUNK)
        lower[part] = [name.lower() for name in names[part]]
    return _inverse(np.argsort(lower, kind="stable"))  # without the interpreter's lock


def _codes(values: Sequence[str]) -> NDArray[np.int64]:
    """A number for each value, in the order in which they first come."""
    seen: dict[str, int] = {}
    return np.array([seen.setdefault(value, len(seen)) for value in values], np.int64)


def _type_ranks(dtypes: Sequence[str]) -> NDArray[np.int64]:
    """Place of each type in the alphabet."""
    place = {dtype: number for number, dtype in enumerate(sorted(set(dtypes)))}
    return np.array([place[dtype] for dtype in dtypes], np.int64)


def _ranks(first: NDArray[np.generic], then: NDArray[np.int64]) -> NDArray[np.int64]:
    """Dense ranks by two keys."""
    order = np.lexsort((then, first))
    if not len(order):
        return order
    new = (np.diff(first[order]) != 0) | (np.diff(then[order]) != 0)
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.concatenate(([0], np.cumsum(new)))
    return ranks


def _inverse(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Turn an order into places."""
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places

"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): the binary version, and the pickles read as data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_core.data.known_files import own_file
from ml_core.data.pictures import Reader
from ml_core.data.readers.samples import Samples, Slices
from ml_core.reading.errors import InputError
from ml_core.reading.pickles.machine import MAX_BYTES, read_pickle
from ml_core.reading.pickles.reading import Object, Table
from ml_core.reading.regular_file import open_regular, read_lines

_PLAIN = {"u1": np.uint8, "|u1": np.uint8, "<i8": np.int64, "i8": np.int64, "<i4": np.int32}
_MAKERS = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")


def entries(value: Any) -> dict[str, Any]:
    """Entries of an inert dictionary whose keys are texts; empty for anything else."""
    if not isinstance(value, Table):
        return {}
    return {
        key.decode("utf-8", "replace") if isinstance(key, bytes) else key: item
        for key, item in value.items
        if isinstance(key, str | bytes)
    }


def array_of(value: Any) -> NDArray[Any]:
    """The array that numpy pickled as a shape, a type and its bytes.

    Raises
    ------
    ValueError
        If it is no array, does not hold plain whole numbers, or has not as many bytes as it says.
    """
    state = value.state if isinstance(value, Object) else None
    if not isinstance(value, Object) or value.of.full not in _MAKERS:
        raise ValueError("no array")
    if not isinstance(state, tuple) or len(state) != 5:
        raise ValueError("no state of an array")
    _, shape, kind, by_columns, raw = state
    name = kind.arguments[0] if isinstance(kind, Object) and kind.arguments else None
    if isinstance(kind, Object) and isinstance(kind.state, tuple) and len(kind.state) > 1:
        order = kind.state[1]
        name = f"<{name}" if order == "<" and isinstance(name, str) else name
    if not isinstance(name, str) or name not in _PLAIN:
        raise ValueError("not a plain type")
    dtype = np.dtype(_PLAIN[name])
    data = raw.encode("latin-1") if isinstance(raw, str) else raw
    if not isinstance(data, bytes) or not isinstance(shape, tuple):
        raise ValueError("no bytes of an array")
    if not all(isinstance(side, int) and side >= 0 for side in shape):
        raise ValueError("no shape")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError("not as many bytes as the shape says")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if by_columns else "C")


_PIXELS = 3 * 32 * 32
_TRAIN_10 = tuple(f"data_batch_{number}" for number in range(1, 6))
_TOO_LARGE = (
    "{} is a pickle of over {} MB, more than is read of one; use the binary version of the set "
    "(cifar-{}-binary.tar.gz)."
)


def find_cifar(folder: Path, train: bool) -> Samples | None:
    """Open a CIFAR folder in either version; None if the folder is not CIFAR.

    Parameters
    ----------
    folder
        ``cifar-10-batches-bin``, ``cifar-10-batches-py``, ``cifar-100-binary`` or
        ``cifar-100-python``.
    train
        The training pictures instead of the test pictures.

    Raises
    ------
    InputError
        If a file is damaged, missing or larger than a pickle may be.
    """
    if (folder / "batches.meta.txt").is_file():
        files = [f"{name}.bin" for name in (_TRAIN_10 if train else ("test_batch",))]
        return _binary(folder, files, "batches.meta.txt", 1, "CIFAR-10", train)
    if (folder / "fine_label_names.txt").is_file():
        files = ["train.bin" if train else "test.bin"]
        return _binary(folder, files, "fine_label_names.txt", 2, "CIFAR-100", train)
    if (folder / "batches.meta").is_file():
        pickles = list(_TRAIN_10) if train else ["test_batch"]
        return _pickled(folder, pickles, "batches.meta", "10", train)
    if (folder / "meta").is_file() and (folder / "test").is_file():
        return _pickled(folder, ["train" if train else "test"], "meta", "100", train)
    return None


def _samples(
    name: str, train: bool, reader: Reader, labels: NDArray[np.int64], names: tuple[str, ...]
) -> Samples:
    """The set; a label outside of the classes is damage."""
    bad = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if len(bad):
        raise InputError(
            f"{name}: picture {int(bad[0]) + 1} has the label {int(labels[bad[0]])}, and there are "
            f"{len(names)} classes; the file is damaged or another one.",
            "damaged",
        )
    title = f"{name}, {'training' if train else 'test'} pictures"
    return Samples(title, reader, labels=labels, class_names=names)


def _binary(
    folder: Path, files: list[str], names_file: str, head: int, name: str, train: bool
) -> Samples:
    """Records of one or two label bytes, the last one the fine label, and 3072 pixel bytes."""
    record = head + _PIXELS
    parts = tuple(Slices(own_file(folder, file)) for file in files)
    for part in parts:
        if part.size == 0 or part.size % record:
            raise InputError(
                f"{part.path.name} has {part.size} bytes, which are no whole number of {name} "
                f"pictures of {record} bytes; it is cut short or another file.",
                "damaged",
            )
    names = tuple(line for _, line in read_lines(own_file(folder, names_file)))
    labels = [
        np.frombuffer(part.read(0, part.size), np.uint8)[head - 1 :: record] for part in parts
    ]
    own = np.concatenate(labels).astype(np.int64)
    return _samples(name, train, _Records(parts, record), own, names)


class _Records(Reader):
    """Pictures in records of one length: one or two label bytes, and 3072 pixel bytes."""

    def __init__(self, parts: tuple[Slices, ...], record: int) -> None:
        self.files = tuple(part.path for part in parts)
        self._parts, self._record = parts, record
        self._ends = np.cumsum([part.size // record for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def name(self, number: int) -> str:
        part, place = self._place(number)
        return f"{part.path.name}, picture {place + 1}"

    def read(self, number: int, least: int | None = None) -> Image.Image:
        return Image.fromarray(_picture(np.frombuffer(self.raw(number), np.uint8)[-_PIXELS:]))

    def raw(self, number: int) -> bytes:
        """Bytes of a record, label and all."""
        part, place = self._place(number)
        return part.read(place * self._record, self._record)

    def sizes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.full(len(numbers), self._record, np.int64)

    def _place(self, number: int) -> tuple[Slices, int]:
        """File and position in it."""
        at = int(np.searchsorted(self._ends, number, side="right"))
        return self._parts[at], number - (int(self._ends[at - 1]) if at else 0)


class _Arrays(Reader):
    """Pictures that were read whole from pickles."""

    def __init__(self, files: tuple[Path, ...], pixels: NDArray[np.uint8]) -> None:
        self.files, self._pixels = files, pixels

    def __len__(self) -> int:
        return len(self._pixels)

    def name(self, number: int) -> str:
        return f"picture {number + 1}"

    def read(self, number: int, least: int | None = None) -> Image.Image:
        return Image.fromarray(_picture(self._pixels[number]))

    def raw(self, number: int) -> bytes:
        return bytes(self._pixels[number].tobytes())

    def sizes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.full(len(numbers), _PIXELS, np.int64)


def _pickled(folder: Path, files: list[str], meta: str, number: str, train: bool) -> Samples:
    """Python version: dictionaries with ``data`` [n, 3072] and labels."""
    name = f"CIFAR-{number}"
    key, names_key = ("labels", "label_names")
    if number == "100":
        key, names_key = ("fine_labels", "fine_label_names")
    names = _texts(_dictionary(own_file(folder, meta), number).get(names_key), folder / meta)
    pixels, labels = [], []
    for file in files:
        fields = _dictionary(own_file(folder, file), number)
        try:
            data, own = array_of(fields.get("data")), np.asarray(fields.get(key), np.int64)
        except (ValueError, TypeError, OverflowError):
            raise _not_cifar(folder / file, name) from None
        if data.dtype != np.uint8 or data.shape != (len(own), _PIXELS) or own.ndim != 1:
            raise _not_cifar(folder / file, name)
        pixels.append(data)
        labels.append(own)
    reader = _Arrays(tuple(folder / file for file in files), np.concatenate(pixels))
    return _samples(name, train, reader, np.concatenate(labels), names)


def _dictionary(path: Path, number: str) -> dict[str, Any]:
    """Entries of a pickled dictionary; the pickle is followed and nothing of it is run."""
    file, size = open_regular(path)
    with file:
        if size > MAX_BYTES:
            raise InputError(_TOO_LARGE.format(path.name, MAX_BYTES >> 20, number), "unsupported")
        fields = read_pickle(file.read(MAX_BYTES + 1))
    if fields.unknown or fields.misuse:
        named = ", ".join(fields.unknown or fields.misuse)
        raise InputError(
            f"{path.name} is a pickle that names code which no CIFAR file has ({named[:200]}); do "
            "not load it elsewhere.",
            "dangerous",
        )
    if fields.problem:
        raise InputError(
            f"{path.name} is no pickle of CIFAR: {fields.problem}; get it again.", "damaged"
        )
    return entries(fields.value)


def _texts(value: Any, path: Path) -> tuple[str, ...]:
    """Class names, which Python 2 kept as bytes."""
    if not isinstance(value, list) or not value:
        raise _not_cifar(path, "CIFAR")
    plain = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in value]
    if not all(isinstance(item, str) for item in plain):
        raise _not_cifar(path, "CIFAR")
    return tuple(plain)


def _not_cifar(path: Path, name: str) -> InputError:
    return InputError(
        f"{path.name} is a pickle without what {name} keeps in it; get it again.", "damaged"
    )


def _picture(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bytes of the red, the green and the blue plane as uint8 [32, 32, 3]."""
    return np.ascontiguousarray(pixels.reshape(3, 32, 32).transpose(1, 2, 0))

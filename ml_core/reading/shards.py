"""A checkpoint in several files: what its index may say, and how their bytes are hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from ml_core.reading.errors import InputError
from ml_core.reading.folder import check_link
from ml_core.reading.regular_file import open_regular
from ml_core.reading.safetensors_header import MAX_TENSORS
from ml_core.reading.strict_json import MAX_BYTES, JsonError, JsonLimitError, parse_object

_MAX_SHARDS = 1000


def read_index(path: Path, label: str) -> dict[str, frozenset[str]]:
    """Read which tensors each shard holds.

    Parameters
    ----------
    path
        The index, JSON with a ``weight_map`` from tensor to file.
    label
        Its name, for sentences.

    Returns
    -------
    dict
        File names of the index's own folder, in order, and the names of their tensors.

    Raises
    ------
    InputError
        ``damaged`` if a name is no plain file name, or a file is missing; ``unsupported`` if one
        is a link that leads out of the folder, or if there is too much.
    """
    file, _ = open_regular(path)
    with file:
        raw = file.read(MAX_BYTES + 1)
    try:
        weight_map = parse_object(raw).get("weight_map")
    except JsonLimitError as error:
        raise _too_much(label, str(error)) from None
    except JsonError as error:
        raise _damaged(label, str(error)) from None
    if not isinstance(weight_map, dict) or not weight_map:
        raise _damaged(label, "it has no weight_map")
    if len(weight_map) > MAX_TENSORS:
        raise _too_much(label, f"it lists {len(weight_map)} tensors, the limit is {MAX_TENSORS}")
    shards: dict[str, set[str]] = {}
    for tensor, name in weight_map.items():
        if not isinstance(name, str) or not _is_plain(name, path):
            raise _damaged(label, f"{str(name)[:80]!r} is no file name of its folder")
        shards.setdefault(name, set()).add(tensor)
    if len(shards) > _MAX_SHARDS:
        raise _too_much(label, f"it lists {len(shards)} files, the limit is {_MAX_SHARDS}")
    for name in shards:
        if not (path.parent / name).exists():
            raise _damaged(label, f"the file {name[:80]} is missing")
        check_link(path.parent, path.parent / name)
    return {name: frozenset(shards[name]) for name in sorted(shards)}


def _is_plain(name: str, index: Path) -> bool:
    """Whether it is a bare file name with the ending that the index is for."""
    ending = ".safetensors" if index.name.endswith(".safetensors.index.json") else ".bin"
    strange = any(mark in name for mark in "/\\:\0") or name.startswith(".")
    return name.endswith(ending) and not strange and len(name) <= 255


def check_shard(name: str, wanted: frozenset[str], held: Iterable[str], label: str) -> None:
    """Refuse a shard that does not hold just the tensors that the index says.

    Raises
    ------
    InputError
        ``damaged``, with the first tensor that is missing or too many.
    """
    found = set(held)
    for tensors, words in (
        (wanted - found, f"lies in {name[:80]}, which does not hold it"),
        (found - wanted, f"is in {name[:80]} and not in the index"),
    ):
        if tensors:
            raise _damaged(label, f"the tensor {min(tensors)[:80]!r} {words}")


def hash_of_shards(hashes: Mapping[str, str]) -> str:
    """One SHA-256 for all shards; a single file without a name gives its own.

    For shards it is that of the list which ``sha256sum`` prints for them in the order of their
    names: for each file its hash, two blanks, its name and a line feed.
    """
    if len(hashes) == 1 and "" in hashes:
        return hashes[""]
    lines = (f"{sha256}  {name}\n" for name, sha256 in sorted(hashes.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _too_much(label: str, what: str) -> InputError:
    advice = "ask its author for a copy in one file"
    return InputError(f"{label} cannot be used: {what}; {advice}.", "unsupported")


def _damaged(label: str, what: str) -> InputError:
    return InputError(f"{label} cannot be used: {what}; get the checkpoint again.", "damaged")

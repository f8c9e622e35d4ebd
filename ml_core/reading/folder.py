"""Which files of an open_clip or transformers folder are read, and which are not."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from ml_core.reading.errors import FROM_ORIGINAL, InputError, SeveralError, damaged, unsupported
from ml_core.reading.regular_file import open_regular, read_object
from ml_core.reading.safetensors_header import MAX_TENSORS
from ml_core.reading.sniff import ONNX_ENDING
from ml_core.reading.strict_json import MAX_BYTES, JsonError, JsonLimitError, parse_object

CONFIG_NAME = "open_clip_config.json"
TRANSFORMERS_CONFIG_NAME = "config.json"
ADAPTER_NAME = "adapter_config.json"
MODEL_INDEX = "model_index.json"
"""What a folder of the diffusers library begins with: the models of a pipeline."""
PREPROCESSOR_NAME = "preprocessor_config.json"
ONNX_FOLDER = "onnx"
"""Where transformers.js keeps its models."""
# The order in which open_clip itself looks, without what is no safetensors file.
_PREFERRED = (
    "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors",
)  # fmt: skip
_PREFERRED_PICKLES = ("open_clip_pytorch_model.bin", "pytorch_model.bin")
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
_INDEX = (".safetensors.index.json", ".bin.index.json")
_WEIGHTS = (".safetensors", *_PICKLES, *_INDEX)
_WITHOUT_CONFIG = (".gguf", ONNX_ENDING)
# What holds pickles, what Python runs, what a system starts or loads, and what a double click runs.
_RISKY = (
    *_PICKLES, ".dill", ".joblib", ".cloudpickle", ".pk", ".pck", ".pcl", ".p", ".mar", ".nemo",
    ".py", ".pyc", ".pyw", ".pyz", ".pyd", ".so", ".dylib", ".dll", ".exe", ".com", ".scr", ".msi",
    ".sh", ".bash", ".command", ".bat", ".cmd", ".ps1", ".vbs", ".vbe", ".js", ".jse", ".wsf",
    ".hta", ".jar", ".desktop", ".lnk", ".appimage",
)  # fmt: skip
# Classes of a pipeline's models that are a CLIP or hold one.
_HAS_CLIP = re.compile(r"(?i:clip|siglip).*Model|SafetyChecker")
_MAX_FILES = 5000
_MAX_DEPTH = 16


class ForeignFolderError(InputError):
    """A folder is one model of another program, or an adapter, and no checkpoint."""


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The config and the weights of a folder.

    ``config`` is None for a folder with a GGUF or ONNX file, which needs none. ``weights`` is the
    index of the shards if ``sharded``; ``preprocessor`` is there in folders of the transformers
    library.
    """

    config: Path | None
    weights: Path
    sharded: bool
    preprocessor: Path | None
    unread: tuple[str, ...]

    @property
    def risky(self) -> tuple[str, ...]:
        """Unread pickles and programs."""
        return risky(self.unread)

    @property
    def format(self) -> str:
        """What the folder is by its config; empty without one."""
        if self.config is None:
            return ""
        named = self.config.name == CONFIG_NAME
        return "open_clip folder" if named else "transformers folder"

    def without(self, read: Collection[str]) -> FolderFiles:
        """The same record if some of the ``unread`` files are read after all."""
        return replace(self, unread=tuple(name for name in self.unread if name not in read))


def list_folder(path: Path) -> FolderFiles:
    """Choose the files to read; opens none of them.

    A link is followed only within the folder, or to the ``blobs`` of the same repository in a
    Hugging Face cache.

    Raises
    ------
    InputError
        ``unsupported`` if the folder is in no known layout, ``damaged`` if it has no weights,
        ``usage`` if it may not be read.
    """
    try:
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in islice(entries, _MAX_FILES + 1))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    if len(names) > _MAX_FILES:
        raise unsupported(
            f"{path.name} holds more than {_MAX_FILES} files; choose the folder of one checkpoint."
        )
    _check_converted(path, names)
    weights = _only_model(path, names)
    config = "" if weights else _choose_config(path, names)
    weights = weights or _choose_weights(path, names)
    beside = config == TRANSFORMERS_CONFIG_NAME and PREPROCESSOR_NAME in names
    read = (config, weights, PREPROCESSOR_NAME if beside else "")
    for name in filter(None, read):
        check_link(path, path / name)
    unread = tuple(name for name in names_below(path) if name not in read)
    preprocessor = path / PREPROCESSOR_NAME if beside else None
    return FolderFiles(
        path / config if config else None,
        path / weights,
        weights.endswith(_INDEX),
        preprocessor,
        unread,
    )


def risky(names: Iterable[str]) -> tuple[str, ...]:
    """Which of these names belong to pickles or programs."""
    return tuple(name for name in names if name.lower().endswith(_RISKY) or ".so." in name.lower())


def names_below(path: Path) -> tuple[str, ...]:
    """Names of the files in a folder and in what lies below it, at most 5000; opens none.

    Folders that are links are named and not entered.
    """
    names: list[str] = []
    for place, folders, files in os.walk(path):
        folders.sort()
        inside = Path(place).relative_to(path)
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        names += [(inside / name).as_posix() for name in sorted(files + links)]
        if len(names) >= _MAX_FILES or len(inside.parts) >= _MAX_DEPTH:
            folders.clear()
    return tuple(sorted(names)[:_MAX_FILES])


# What programs convert a model to for one kind of machine, by a file that each has.
_CONVERTED = {
    "Manifest.json": "a Core ML package (.mlpackage)",
    "coremldata.bin": "a compiled Core ML model (.mlmodelc)",
    "openvino_model.xml": "a folder with an OpenVINO model",
    "saved_model.pb": "a folder with a TensorFlow SavedModel",
    "inference.pdmodel": "a folder with a PaddlePaddle program",
}


def _check_converted(path: Path, names: Collection[str]) -> None:
    """Refuse a folder of another program's model by its name."""
    own = ("openvino_", "coremldata.")
    if any(name.lower().endswith(_WEIGHTS) and not name.startswith(own) for name in names):
        return
    for name, what in _CONVERTED.items():
        if name in names:
            raise ForeignFolderError(f"{path.name} is {what}; {FROM_ORIGINAL}.", "unsupported")


def _only_model(path: Path, names: Iterable[str]) -> str:
    """The GGUF or ONNX file of a folder with no other weights; empty if there is none."""
    models = [name for name in names if name.lower().endswith((*_WITHOUT_CONFIG, *_WEIGHTS))]
    if MODEL_INDEX in names or not all(n.lower().endswith(_WITHOUT_CONFIG) for n in models):
        return ""
    if len(models) > 1:
        raise unsupported(
            f"{path.name} holds {len(models)} GGUF or ONNX models; open one of the files."
        )
    return models[0] if models else ""


def _choose_config(path: Path, names: list[str]) -> str:
    """open_clip's config, or the transformers library's."""
    for name in (CONFIG_NAME, TRANSFORMERS_CONFIG_NAME):
        if name in names:
            return name
    if MODEL_INDEX in names and (models := pipeline_models(path)):
        raise SeveralError(path.name, "a folder of the diffusers library", models)
    if ADAPTER_NAME in names:
        raise ForeignFolderError(
            f"{path.name} is a folder with an adapter ({ADAPTER_NAME}), a change to a model, not "
            "a model; merge it into its base model and open that.",
            "unsupported",
        )
    raise unsupported(
        f"{path.name} is a folder without {CONFIG_NAME} or {TRANSFORMERS_CONFIG_NAME}; choose an "
        "open_clip or transformers folder, or a checkpoint file."
    )


def pipeline_models(path: Path) -> tuple[str, ...]:
    """The folders of a diffusers pipeline that hold a CLIP or a SigLIP, as its index tells.

    A folder that is a link is left out. Empty if the index cannot be read.
    """
    try:
        check_link(path, path / MODEL_INDEX)
        index = read_object(path / MODEL_INDEX, "")
    except InputError:
        return ()
    return tuple(
        name
        for name, entry in index.items()
        if isinstance(entry, list)
        and len(entry) == 2
        and _HAS_CLIP.search(str(entry[1]))
        and name.isidentifier()
        and not (path / name).is_symlink()
        and (path / name / TRANSFORMERS_CONFIG_NAME).is_file()
    )


def _choose_weights(path: Path, names: list[str]) -> str:
    """Take the file that open_clip itself would take, safetensors before pickles."""
    for endings, preferred, index in (
        ((".safetensors",), _PREFERRED, _INDEX[0]),
        (_PICKLES, _PREFERRED_PICKLES, _INDEX[1]),
    ):
        candidates = [name for name in names if name.lower().endswith(endings)]
        for name in preferred:
            if name in candidates:
                return name
        indices = [name for name in names if name.endswith(index)]
        if len(indices) == 1:
            return indices[0]
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise unsupported(
                f"{path.name} holds {len(candidates)} files of weights and none is called "
                f"{preferred[0]}; choose one of them."
            )
    if ONNX_FOLDER in names:
        raise unsupported(
            f"{path.name} keeps its models as ONNX; open one of those in its folder {ONNX_FOLDER}."
        )
    raise damaged(f"{path.name} holds a config and no weights; get it again.")


def check_link(folder: Path, file: Path) -> None:
    """Refuse a link that leads out of the repository.

    Raises
    ------
    InputError
        ``unsupported``.
    """
    if not file.is_symlink():
        return
    allowed = repository_folders(folder)
    try:
        target = file.resolve()
    except (OSError, RuntimeError):  # a link that leads to itself
        target = Path("/")
    if not any(target.is_relative_to(root) for root in allowed):
        raise unsupported(
            f"{folder.name}/{file.name} is a link to a file outside the folder, which is not "
            "followed; put the file itself there."
        )


def repository_folders(folder: Path) -> list[Path]:
    """Where the links of a folder may lead: into it, and to the blobs of its repository."""
    root = folder.resolve()
    for place in (root, root.parent):  # ONNX models lie in a folder of a repository
        if place.parent.name == "snapshots":
            return [root, place.parent.parent / "blobs"]
    return [root]


def files_beside(folder: Path) -> list[Path]:
    """The regular files of a folder, at most 5000; opens none."""
    with os.scandir(folder) as entries:
        return [
            Path(entry.path)
            for entry in islice(entries, _MAX_FILES)
            if entry.is_file(follow_symlinks=False)
        ]


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


def check_shard(name: str, listed: frozenset[str], held: Iterable[str], label: str) -> None:
    """Refuse a shard that does not hold just the tensors that the index says.

    Raises
    ------
    InputError
        ``damaged``, with the first tensor that is missing or too many.
    """
    present = set(held)
    for tensors, words in (
        (listed - present, f"lies in {name[:80]}, which does not hold it"),
        (present - listed, f"is in {name[:80]} and not in the index"),
    ):
        if tensors:
            raise _damaged(label, f"the tensor {min(tensors)[:80]!r} {words}")


def hash_of_shards(hashes: Mapping[str, str]) -> str:
    """One SHA-256 for all shards; a single file without a name gives its own.

    For shards it is that of the list which ``sha256sum`` prints for them in the order of their
    names: for each file its hash, two blanks, its name and a line feed. An ONNX model has no name
    there, so that it may be renamed; the files that it names have theirs.
    """
    if len(hashes) == 1 and "" in hashes:
        return hashes[""]
    lines = (f"{sha256}  {name}\n" for name, sha256 in sorted(hashes.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _too_much(label: str, what: str) -> InputError:
    advice = "ask its author for a copy in one file"
    return unsupported(f"{label} cannot be used: {what}; {advice}.")


def _damaged(label: str, what: str) -> InputError:
    return damaged(f"{label} cannot be used: {what}; get the checkpoint again.")


_MAX_CONFIGS = 200
_MAX_BYTES = 1 << 20  # larger ones, such as a tokenizer's words, are searched as text
_SEARCHED = 64 << 20
# What each key must hold to name code: a word of a vocabulary may be called the same.
_KEYS: dict[str, type] = {
    "auto_map": dict,
    "custom_pipelines": dict,
    "trust_remote_code": bool,
    "_target_": str,
}
_AS_TEXT = re.compile(
    rb'"(?:(auto_map|custom_pipelines)"\s*:\s*\{\s*"|(trust_remote_code)"\s*:\s*true'
    rb'|(_target_)"\s*:\s*"[^"])'
)


def names_code(folder: Path, names: Iterable[str]) -> dict[str, list[str]]:
    """Which JSON files of a folder name code, by the key that does.

    Parameters
    ----------
    folder
        The checkpoint's; links that lead out of it are not followed.
    names
        What lies in it and below, see `ml_core.reading.folder.names_below`.

    Returns
    -------
    dict
        ``auto_map`` and others to the names of files, in order; empty if there are none.
    """
    code: dict[str, list[str]] = {}
    configs = [name for name in names if name.lower().endswith(".json")]
    for name in configs[:_MAX_CONFIGS]:
        try:
            check_link(folder, folder / name)
            keys = _keys(folder / name)
        except InputError:  # what is no file of the folder, and is not opened
            continue
        for key in sorted(keys):
            code.setdefault(key, []).append(name)
    return code


def _keys(path: Path) -> set[str]:
    """Keys in a file that name code, at any depth."""
    file, size = open_regular(path)
    with file:
        if size > _MAX_BYTES:
            return set(_search_keys(file.read(1 << 20) for _ in range(_SEARCHED >> 20)))
        raw = file.read(_MAX_BYTES)
    keys: set[str] = set()

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys.update(
            key for key, value in pairs if key in _KEYS and value and type(value) is _KEYS[key]
        )
        return dict(pairs)

    try:
        # As the programs do that will read it, which take NaN and a key that stands twice.
        json.loads(raw, object_pairs_hook=note)
    except (ValueError, RecursionError):
        keys.update(_search_keys([raw]))
    return keys


def _search_keys(pieces: Iterable[bytes]) -> Iterator[str]:
    """Keys in text that may be no JSON, or too long to be taken apart."""
    before = b""
    for piece in pieces:
        if not piece:
            return
        text = before + piece
        yield from (match[match.lastindex or 0].decode() for match in _AS_TEXT.finditer(text))
        before = text[-64:]


def code_notes(code: dict[str, list[str]]) -> tuple[str, ...]:
    """Sentences on what names code."""
    return tuple(
        f"{_listed(names)} {'asks' if len(names) == 1 else 'ask'} other programs, such as the "
        f"transformers library, to run Python code from the repository ({key}); nothing of it was "
        "run."
        for key, names in code.items()
    )


def _listed(names: list[str]) -> str:
    shown = names if len(names) < 4 else [*names[:3], f"{len(names) - 3} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def twins(names: Iterable[str]) -> list[tuple[str, str]]:
    """Names that differ in case alone: which of them is meant depends on the machine."""
    seen: dict[str, str] = {}
    pairs = []
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            pairs.append((other, name))
    return pairs


def twin_notes(names: Iterable[str], what: str) -> tuple[str, ...]:
    """A sentence on such names; ``what`` holds them."""
    pairs = twins(names)
    if not pairs:
        return ()
    first, second = pairs[0]
    return (
        f"{what} holds names that differ in case alone ({first[:80]!r} and {second[:80]!r}): which "
        "of them is opened depends on the machine.",
    )

"""Find out what a checkpoint file or folder is, without running or believing any of it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from ml_core.reading.archive_members import ZipError
from ml_core.reading.container import WeightsFile, alignment_of
from ml_core.reading.decompression import Unpacked
from ml_core.reading.errors import InputError, SeveralError, damaged, first_names, unsupported
from ml_core.reading.folder import (
    MODEL_INDEX,
    FolderFiles,
    check_link,
    check_shard,
    code_notes,
    hash_of_shards,
    list_folder,
    names_below,
    names_code,
    pipeline_models,
    read_index,
    risky,
    twin_notes,
)
from ml_core.reading.hashing import ChangedError, FileStamp, check_unchanged, pass_over, started
from ml_core.reading.inspection import Inspection, part_of, readable, refuse
from ml_core.reading.regular_file import MAX_SIZE, open_regular, read_object
from ml_core.reading.sniff import SAFETENSORS, sniff
from ml_core.reading.torch_file import UnknownCodeError

_CHUNK = 1 << 18


def odd_truths(file: BinaryIO, weights: WeightsFile) -> tuple[str, ...]:
    """Say which tensor of an open file holds such values; at most one sentence."""
    switches = sorted(
        (tensor for tensor in weights.tensors if tensor.dtype == "BOOL"), key=lambda t: t.offset
    )
    if not switches:
        return ()
    if weights.pieces:
        file = cast(BinaryIO, io.BufferedReader(Unpacked(file, weights.pieces)))
    read = -1
    for tensor in switches:
        begin, end = max(tensor.offset, read), tensor.offset + tensor.nbytes
        file.seek(begin)
        while begin < end and (chunk := file.read(min(_CHUNK, end - begin))):
            if chunk.translate(None, b"\0\1"):
                return (
                    f"The tensor {tensor.name[:80]!r} holds truth values other than 0 and 1, "
                    "which programs read differently; here they count as true.",
                )
            begin += len(chunk)
        read = max(read, end)
    return ()


_MAX_REFUSED = 16 << 30  # a refused file of more bytes is not hashed


def inspect(
    path: str | Path,
    member: str = "",
    *,
    hashed: bool = True,
    go_on: Callable[[], None] = lambda: None,
) -> Inspection:
    """Examine a checkpoint in this process; see `Inspection` and `ml_core.reading.examine`.

    Parameters
    ----------
    member
        Which file of an archive with several is meant.
    hashed
        Whether the SHA-256 is computed. Without it the record lists what is there and no more: it
        has no files, so that nothing can be read by it.
    go_on
        Is called when an ONNX model is read and the files that it names are hashed.

    Raises
    ------
    InputError
        ``usage`` if there is nothing at the path or it may not be read; a bad file never raises.
    """
    path, part = split_part(path)
    if path.is_dir():
        inspection = _inspect_folder(path, hashed)
    else:
        inspection = _inspect_file(path, "", member or part, hashed, go_on)
    return part_of(inspection, part) if part and not inspection.refused else inspection


def locate(path: str | Path) -> Path:
    """Find what is to be opened, without opening it: a file or folder, or ``FILE#PART``.

    Raises
    ------
    InputError
        ``usage`` if there is nothing at the path.
    """
    file, part = split_part(path)
    return Path(f"{file}#{part}") if part else file


def split_part(path: str | Path) -> tuple[Path, str]:
    """The file or folder that ``FILE#PART`` addresses, and the part; empty if there is none.

    The part of a diffusers pipeline is a folder of it.

    Raises
    ------
    InputError
        ``usage`` if there is nothing at the path, or files of two names that it may mean.
    """
    text = os.path.expanduser(path)  # Path.expanduser raises for an unknown user
    there: list[int] = []
    problem = "the name is not valid"
    for place in [len(text), *(place for place, char in enumerate(text) if char == "#")]:
        try:
            Path(text[:place]).lstat()
            Path(text[:place]).is_dir()
            there.append(place)
        except (OSError, ValueError) as error:
            if place == len(text):
                problem = getattr(error, "strerror", None) or problem
    if not there:
        raise InputError(f"{text} cannot be opened: {problem}.")
    if len(there) > 1:
        longer, shorter = (Path(text[:place]).name for place in there[:2])
        raise InputError(
            f"{text} may mean {shorter!r} or {longer!r}, and both are there; move one of them away."
        )
    file, part = Path(text[: there[0]]), text[there[0] + 1 :]
    if part and (file / MODEL_INDEX).is_file() and part in pipeline_models(file):
        return file / part, ""
    return file, part


def whole_file(path: str | Path) -> Path:
    """The file or folder that a path is, or is a part of, whether it is there or not."""
    try:
        return split_part(path)[0]
    except InputError:
        return Path(path)


def is_there(path: str | Path) -> bool:
    """Whether there is a file or folder, or one that ``FILE#PART`` is of."""
    try:
        split_part(path)
    except InputError:
        return False
    return True


def _inspect_file(
    path: Path,
    label: str = "",
    member: str = "",
    hashed: bool = True,
    go_on: Callable[[], None] = lambda: None,
) -> Inspection:
    """Examine one file through one descriptor; ``label`` names it in sentences."""
    from ml_core.reading.weights_reader import read_weights  # the asking process needs it not

    name = label or path.name
    try:
        file, size = open_regular(path)
    except InputError as error:
        if error.code == "usage":
            raise
        return refuse(path, error, "not a regular file")
    with file:
        if problem := _not_to_be_read(name, size):
            return refuse(path, problem, "not read" if size else "empty file", size)
        before, began = os.fstat(file.fileno()), started()
        kind = sniff(file, size)
        weights, problem = WeightsFile(kind.format, ()), None
        notes: tuple[str, ...] = ()
        stamps: tuple[FileStamp, ...] = ()
        try:
            weights = read_weights(file, size, name, kind, member, path.parent)
            notes = weights.notes + odd_truths(file, weights)
            check_unchanged(file, before)
        except InputError as error:
            problem = error
        except (ChangedError, ZipError):  # what could be unpacked a moment ago cannot be any more
            problem = _changed(name)
        if problem and size > _MAX_REFUSED:
            return _without_hash(path, problem, weights, size)
        if hashed:
            try:
                beside: tuple[FileStamp, ...] = ()
                if not problem and weights.beside:
                    go_on()
                    beside = _stamp_beside(path, weights.beside)
                stamp, wrong = pass_over(file, before, began, () if problem else weights.checksums)
                stamps = (stamp, *beside)
                if wrong:
                    problem = damaged(
                        f"{name} is a damaged archive: its member {wrong[:80]!r} has another "
                        "checksum than it should; get the file again."
                    )
            except InputError as error:
                problem = error
            except ChangedError:
                problem = _changed(name)
    if problem:
        sha256 = stamps[0].sha256 if stamps else ""
        return refuse(path, problem, weights.format, size, sha256, **_code_of(problem, weights))
    hashes = {
        f"SHA-256 of {stamp.file or path.name}": stamp.sha256 for stamp in stamps if weights.beside
    }
    return readable(
        path,
        notes + _name_notes(path, weights.format, name),
        size=size + sum(weights.beside.values()),
        sha256=hash_of_shards({stamp.file: stamp.sha256 for stamp in stamps}) if stamps else "",
        format=weights.format,
        tensors=weights.tensors,
        metadata=weights.metadata,
        weights_path=path,
        unread=weights.unread,
        globals=weights.names,
        facts={**weights.facts, **hashes},
        embedded_code=weights.embedded_code,
        part=weights.member,
        container=weights.container
        and replace(
            weights.container, alignment=0 if weights.pieces else alignment_of(weights.tensors)
        ),
        pieces=weights.pieces,
        graph=weights.graph,
        files=stamps,
    )


def _changed(name: str) -> InputError:
    return damaged(f"{name} changed while it was read; open it again.")


def _stamp_beside(path: Path, sizes: Mapping[str, int]) -> tuple[FileStamp, ...]:
    """Hash the files beside an ONNX model that hold its tensors."""
    stamps = []
    for name, size in sizes.items():
        check_link(path.parent, path.parent / name)
        file, _ = open_regular(path.parent / name)
        with file:
            before, began = os.fstat(file.fileno()), started()
            if before.st_size != size:
                raise ChangedError
            stamp, _ = pass_over(file, before, began)
        stamps.append(replace(stamp, file=name))
    return tuple(stamps)


def _not_to_be_read(name: str, size: int) -> InputError | None:
    """Why nothing of a file is read; None if it is."""
    if not size:
        # A file of the kernel's says this of itself, and may wait or never end when it is read.
        return damaged(f"{name} is empty; get the file again.")
    if size > MAX_SIZE:
        return unsupported(
            f"{name} has {size >> 40} TiB, more than any checkpoint; choose another file."
        )
    return None


def _code_of(problem: InputError, weights: WeightsFile) -> dict[str, Any]:
    """The fields about the code that a refused file names, and about its members."""
    if isinstance(problem, UnknownCodeError):
        return {"globals": problem.names, "code_places": problem.places}
    if isinstance(problem, SeveralError):
        return {"members": problem.members}
    return {"globals": weights.names}


def _without_hash(path: Path, problem: InputError, weights: WeightsFile, size: int) -> Inspection:
    """The record, without a hash, of a refused file that is too large to read for that alone."""
    refused = refuse(path, problem, weights.format, size, **_code_of(problem, weights))
    sentence = (
        f"Its SHA-256 was not computed, as it has {size >> 30} GiB and is refused in any case."
    )
    return replace(refused, reasons=(*refused.reasons, sentence))


def _name_notes(path: Path, form: str, name: str) -> tuple[str, ...]:
    """Say where a name promises another format than the content has."""
    is_safetensors = form == SAFETENSORS.format
    if (path.suffix.lower() == ".safetensors") == is_safetensors:
        return ()
    if is_safetensors:
        return (f"{name} is a safetensors file although its name does not end in .safetensors.",)
    return (f"{name} is a {form} although its name ends in .safetensors.",)


def _inspect_folder(path: Path, hashed: bool) -> Inspection:
    """Examine an open_clip or transformers folder: the config, then the weights beside it."""
    try:
        files = list_folder(path)
        label = f"{files.weights.parent.name}/{files.weights.name}"
        shards = read_index(files.weights, label) if files.sharded else {}
    except SeveralError as error:
        unread = names_below(path)
        notes = code_notes(names_code(path, unread)) + _risky_note(risky(unread))
        refused = refuse(path, error, "diffusers folder", unread=unread, members=error.members)
        return replace(refused, reasons=(*refused.reasons, *notes))
    except InputError as error:
        return refuse(path, error, "folder", unread=names_below(path))
    form = files.format
    try:
        if shards:
            weights = _inspect_shards(files, shards, hashed)
        else:
            weights = _inspect_weights(files.weights, hashed)
    except InputError as error:
        return refuse(path, error, f"{form}, several files")
    files = files.without({*shards, *(stamp.file for stamp in weights.files)})
    unread = weights.unread  # of a graph: what the files beside it would be mistaken for
    if weights.graph is None:
        unread = files.unread + unread
    facts: dict[str, Any] = {"unread": unread, "globals": weights.globals}
    form = form or weights.format
    if weights.refused:
        form = f"{files.format}, {weights.format}" if files.format else form
        return refuse(path, weights.refusal(), form, weights.size, weights.sha256, **facts)
    try:
        config, preprocessor = (
            None if file is None else read_object(file, "correct it or get it again")
            for file in (files.config, files.preprocessor)
        )
    except InputError as error:
        return refuse(path, error, form, weights.size, weights.sha256, **facts)
    notes = weights.reasons + _folder_notes(files)
    return replace(
        weights,
        path=path,
        name=path.name,
        format=form,
        verdict="caution" if notes else "loads",
        reason_code="note" if notes else "ok",
        reasons=notes,
        config=config,
        preprocessor=preprocessor,
        unread=unread,
    )


def _inspect_weights(path: Path, hashed: bool) -> Inspection:
    """Examine a file of a folder."""
    return _inspect_file(path, f"{path.parent.name}/{path.name}", hashed=hashed)


def _inspect_shards(
    files: FolderFiles, shards: Mapping[str, frozenset[str]], hashed: bool
) -> Inspection:
    """Examine each shard, then join them to one record; a refused shard refuses all."""
    folder = files.weights.parent
    label = f"{folder.name}/{files.weights.name}"
    parts: dict[str, Inspection] = {}
    for name, tensors in shards.items():
        part = _inspect_weights(folder / name, hashed)
        if part.refused:
            return part
        check_shard(name, tensors, (tensor.name for tensor in part.tensors), label)
        parts[name] = part
    first = next(iter(parts.values()))
    groups: dict[str, dict[str, None]] = {}
    for part in parts.values():
        for group, names in part.globals.items():
            groups.setdefault(group, {}).update(dict.fromkeys(names))
    return replace(
        first,
        size=sum(part.size for part in parts.values()),
        sha256=hash_of_shards({name: part.sha256 for name, part in parts.items()})
        if hashed
        else "",
        reasons=tuple(dict.fromkeys(line for part in parts.values() for line in part.reasons)),
        tensors=tuple(
            replace(tensor, file=name, storage=tensor.storage and f"{name}:{tensor.storage}")
            for name, part in parts.items()
            for tensor in part.tensors
        ),
        unread=tuple(f"{name}: {line}" for name, part in parts.items() for line in part.unread),
        globals={group: tuple(names) for group, names in groups.items()},
        facts={f"SHA-256 of {name}": part.sha256 for name, part in parts.items() if hashed},
        embedded_code=tuple(code for part in parts.values() for code in part.embedded_code),
        pieces=tuple(
            replace(piece, file=name) for name, part in parts.items() for piece in part.pieces
        ),
        files=tuple(
            replace(stamp, file=name) for name, part in parts.items() for stamp in part.files
        ),
    )


def _folder_notes(files: FolderFiles) -> tuple[str, ...]:
    """Say what else lies there that other programs may run or load."""
    folder = files.weights.parent
    read = [path.name for path in (files.config, files.preprocessor) if path is not None]
    notes = code_notes(names_code(folder, [*read, *files.unread]))
    notes += twin_notes(sorted((*read, files.weights.name, *files.unread)), "The folder")
    return notes + _risky_note(files.risky)


def _risky_note(names: tuple[str, ...]) -> tuple[str, ...]:
    """A sentence on what other programs may run; none if there is nothing."""
    if not names:
        return ()
    return (
        "The folder also holds files that were not read and that other programs may run when "
        f"they load it: {first_names(names, 5, 1 << 16)}.",
    )

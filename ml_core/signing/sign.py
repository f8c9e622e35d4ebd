"""Sign files: a checkpoint's file or folder, or an evidence bundle."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import IO, BinaryIO

from ml_core.atomic import replace_files
from ml_core.reading.archive_members import Member
from ml_core.reading.errors import InputError, plain
from ml_core.reading.json_file import short
from ml_core.reading.regular_file import open_regular
from ml_core.reading.sniff import zip_names
from ml_core.signing.check import MODEL_SIGNATURE, read_signature
from ml_core.signing.curve import PrivateKey
from ml_core.signing.manifest import (
    ONE_FILE,
    UNSIGNED,
    Envelope,
    Manifest,
    digest_of_file,
    digest_of_member,
    digests_of_folder,
    names_of_folder,
    never,
    pae,
    read_envelope,
    read_statement,
    stored_members,
    write_envelope,
    write_statement,
)

EVIDENCE = "evidence.json"
EVIDENCE_SIGNATURE = "evidence.sig"
_ENTRY = (1980, 1, 1, 0, 0, 0)
_CHUNK = 1 << 20


def sign_files(
    name: str, digests: Mapping[str, str], key: PrivateKey, ignored: Collection[str] = ()
) -> bytes:
    """A signature over some files, as the bytes of its file.

    Parameters
    ----------
    name
        What the whole is called: the last part of its path.
    digests
        SHA-256 (64 hex digits) by name relative to the folder, with ``/`` between; ``{".": ...}``
        for a model in one file.
    key
        Signs.
    ignored
        What lies in the folder and is not signed, such as the signature's own file.

    Raises
    ------
    InputError
        If there is no file, or one has a name that no verifier should take.
    """
    payload = write_statement(Manifest(name, digests, tuple(ignored)))
    return write_envelope(Envelope(payload, key.sign(pae(payload)), key.public.key_id))


def sign_path(
    path: Path, key: PrivateKey, output: Path | None = None, cancelled: Callable[[], bool] = never
) -> Path:
    """Sign what lies at a path and write the signature.

    A checkpoint's file gets ``model.sig`` beside it, its folder one within it. An evidence bundle
    gets ``evidence.sig``, as a folder or a zip, over all its other files.

    Parameters
    ----------
    output
        Where to write the signature instead; not for a bundle, which holds its own.

    Returns
    -------
    Path
        The signature's file, or the zip.

    Raises
    ------
    InputError
        If a file cannot be read or written, the folder holds a link, or the signature of something
        else lies in the place.
    """
    if path.is_dir():
        bundle = (path / EVIDENCE).is_file()
        own = EVIDENCE_SIGNATURE if bundle else MODEL_SIGNATURE
        place = output or path / own
        ignored = [] if bundle else [*UNSIGNED]
        if place.parent.resolve() == path.resolve():
            ignored.append(place.name)
        whole = path.resolve()
        digests = digests_of_folder(path, names_of_folder(whole, ignored), cancelled=cancelled)
        raw = sign_files(whole.name, digests, key, ignored)
    elif _is_bundle(path):
        if output is not None:
            raise InputError(f"{plain(path.name)} holds its own signature; leave out --output.")
        return _sign_zip(path, key, cancelled)
    else:
        place = output or path.with_name(MODEL_SIGNATURE)
        if place.resolve() == path.resolve():
            raise InputError(f"{plain(path.name)} would be replaced by its own signature.")
        _check_place(place, path.name)
        raw = sign_files(path.name, {ONE_FILE: digest_of_file(path, cancelled)}, key)
    _write(place, raw)
    return place


def _subject(raw: bytes) -> str:
    return read_statement(read_envelope(raw, MODEL_SIGNATURE).payload, MODEL_SIGNATURE).name


def _check_place(place: Path, name: str) -> None:
    """Refuse to replace the signature of another file of the same folder."""
    if not os.path.lexists(place):
        return
    try:
        there = _subject(read_signature(place))
    except InputError:
        there = ""
    if there != name:
        whose = f"the signature of {short(there, 80)!r}" if there else "another file"
        raise InputError(
            f"{plain(str(place))} is {whose} already; choose another place with --output, such as "
            f"{plain(name)}.sig."
        )


def _write(place: Path, raw: bytes) -> None:
    try:
        replace_files({place: raw})
    except OSError as error:
        raise InputError(
            f"{plain(str(place))} cannot be written: {error.strerror}; choose another place with "
            "--output."
        ) from error


def _is_bundle(path: Path) -> bool:
    """Whether a file is a zip with evidence in it."""
    if path.suffix.lower() != ".zip":
        return False
    file, size = open_regular(path)
    with file:
        names = zip_names(file, size) or ()
    return any(name.rpartition("/")[2] == EVIDENCE for name in names)


def _sign_zip(path: Path, key: PrivateKey, cancelled: Callable[[], bool]) -> Path:
    """Put a signature into a stored zip: names sorted, dates of 1980, so that it repeats."""
    file, size = open_regular(path)
    with file:
        members = stored_members(file, size, plain(path.name))
        inside = (name for name in members if name.rpartition("/")[2] == EVIDENCE)
        folder = min(inside, key=len).removesuffix(EVIDENCE)
        signature = folder + EVIDENCE_SIGNATURE
        members.pop(signature, None)
        if not all(name.startswith(folder) for name in members):
            raise InputError(f"{plain(path.name)} holds more than one folder; sign a bundle alone.")
        digests = {
            name.removeprefix(folder): digest_of_member(file, member, cancelled)
            for name, member in members.items()
        }
        subject = path.name[: -len(".zip")]
        raw = sign_files(subject, digests, key, [EVIDENCE_SIGNATURE])

        def write(out: BinaryIO) -> None:
            with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
                for name in sorted((*members, signature)):
                    with archive.open(_entry(name, members.get(name), raw), "w") as entry:
                        if name == signature:
                            entry.write(raw)
                        else:
                            _copy(file, members[name], entry)

        try:
            replace_files({path: write})
        except OSError as error:
            raise InputError(
                f"{plain(str(path))} cannot be written: {error.strerror}; free some space."
            ) from error
    return path


def _entry(name: str, member: Member | None, raw: bytes) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _ENTRY)
    entry.external_attr = 0o644 << 16
    entry.create_system = 3
    entry.file_size = len(raw) if member is None else member.size
    return entry


def _copy(file: BinaryIO, member: Member, out: IO[bytes]) -> None:
    file.seek(member.offset)
    left = member.size
    while left and (chunk := file.read(min(left, _CHUNK))):
        out.write(chunk)
        left -= len(chunk)

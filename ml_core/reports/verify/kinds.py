"""Level 0: every file of a bundle is of a kind that runs nothing, and holds what its name says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path, PurePosixPath

from ml_core import __version__
from ml_core.events import Progress
from ml_core.reading.errors import InputError
from ml_core.reading.images import read_image
from ml_core.reading.json_file import JsonFile
from ml_core.reading.safetensors_header import parse_header
from ml_core.reading.weights_reader import CHECKPOINT_SUFFIXES
from ml_core.reports.bundle_files import AGAIN, JSON, journal_metrics
from ml_core.reports.environment import Environment, is_this_machine
from ml_core.reports.record import ENVIRONMENT_FILE, EVIDENCE_FILE, PDF_FILE, BundlePath, Evidence
from ml_core.reports.verify.checks import Check
from ml_core.reports.verify.confined import print_confined
from ml_core.reports.verify.opened import Bundle

PICTURES: Mapping[str, bytes] = {
    ".png": b"\x89PNG\r\n\x1a\n", ".jpg": b"\xff\xd8\xff", ".gif": b"GIF8", ".bmp": b"BM",
    ".webp": b"RIFF", ".bin": b"",
}  # fmt: skip
"""Suffix of a picture that goes into a bundle, and how such a file begins."""
_ENVIRONMENT = JsonFile("an environment record", AGAIN, 64 << 10)
_READERS: Mapping[str, Callable[[bytes, str], object]] = {
    ".json": JSON.parse,
    ".jsonl": journal_metrics,
    ".png": lambda raw, name: read_image(raw, name=name),
    ".safetensors": lambda raw, name: parse_header(BytesIO(raw), len(raw), name),
}
_SUFFIXES = {*_READERS, ".csv", ".txt", ".svg"}


def check_kinds(bundle: Bundle, named: set[str], folders: set[str]) -> Iterator[Check]:
    """Check names by their suffix, and the content of what no other check reads.

    Parameters
    ----------
    bundle
        Whose files are all there.
    named, folders
        The results of `named_files`.
    """
    evidence = bundle.evidence
    faults = [
        *(fault for name in sorted(named) if (fault := _name_fault(evidence, name))),
        *(fault for name in _unread(evidence) if (fault := _content_fault(bundle, name))),
        *(
            fault for name in bundle.reader.names()
            if any(name.startswith(f"{folder}/") for folder in folders)
            and (fault := _picture_fault(bundle, name))
        ),
    ]  # fmt: skip
    for name, sentence in faults[:20]:
        yield Check(0, name, "fails", sentence)
    if not faults:
        words = "Every file is JSON, CSV, text, PNG, SVG, safetensors, a picture or a checkpoint."
        yield Check(0, "kinds of files", "holds", words)
    yield _environment(bundle)


def read_environment(raw: bytes, name: str) -> Environment:
    """Check the record of versions and machine; `InputError` if it is malformed."""
    return _ENVIRONMENT.check(_ENVIRONMENT.parse(raw, name), Environment, name)


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _name_fault(evidence: Evidence, name: BundlePath) -> tuple[str, str] | None:
    checkpoints = {checkpoint.file for checkpoint in evidence.checkpoints.values()}
    if name in checkpoints:
        good = _suffix(name) in ("", *CHECKPOINT_SUFFIXES)
    else:
        good = _suffix(name) in _SUFFIXES or name == evidence.pdf
    if good:
        return None
    return name, f"{name} is of a kind that no bundle holds: do not open it."


def _unread(evidence: Evidence) -> list[str]:
    """Files that the record names and that may be read by nothing else."""
    files: list[str] = [*evidence.thumbnails]
    for trigger in evidence.triggers.values():
        files += trigger.files
    for job in evidence.jobs.values():
        files += job.files.values()
    for scan in evidence.scans.values():
        files += scan.files.values()
    return sorted(set(files))


def _content_fault(bundle: Bundle, name: str) -> tuple[str, str] | None:
    reader = _READERS.get(_suffix(name))
    try:
        if reader is not None:
            reader(bundle.reader.read(name), name)
    except InputError as error:
        return name, error.sentence
    return None


def _picture_fault(bundle: Bundle, name: str) -> tuple[str, str] | None:
    magic = PICTURES.get(_suffix(name))
    try:
        start = next(bundle.reader.chunks(name), b"")
    except InputError as error:
        return name, error.sentence
    if magic is None or not start.startswith(magic):
        return name, f"{name} lies among pictures and does not begin as one of its kind does."
    return None


def _environment(bundle: Bundle) -> Check:
    """The one record that no figure hangs on has its name and its fields all the same."""
    name = bundle.evidence.environment
    if name != ENVIRONMENT_FILE:
        words = f"The record names {name} in the place of {ENVIRONMENT_FILE}: do not open it."
        return Check(0, name, "fails", words)
    try:
        raw = bundle.reader.read(name)
        _ENVIRONMENT.parse(raw, name)
    except InputError as error:
        return Check(0, name, "fails", error.sentence)
    try:
        read_environment(raw, name)
    except InputError as error:
        if bundle.evidence.tool.version != __version__:
            words = f"{name} has other fields than this version writes; they were not compared."
            return Check(0, name, "not checked", words, "made by another version")
        return Check(0, name, "fails", error.sentence)
    return Check(0, name, "holds", f"{name} is a record of versions and machine.")


_INSTEAD = "read report.html, which is"


def check_pdf(
    bundle: Bundle, path: Path, cancelled: Callable[[], bool]
) -> Iterator[Check | Progress]:
    """Print a bundle's report again, where it has a PDF; the reader knows every file's SHA-256.

    Raises
    ------
    CancelledError
        If it was cancelled.
    """
    if not bundle.reader.has(PDF_FILE):
        return
    if bundle.evidence.tool.version != __version__:
        yield _not_checked("another version made it")
        return
    yield Progress("print", 0, 1)
    try:
        printed = print_confined(path, cancelled).digests
    except InputError as error:
        yield _not_checked(error.sentence.rstrip("."))
        return
    if printed == {name: bundle.reader.digest(name) for name in (PDF_FILE, EVIDENCE_FILE)}:
        yield Check(1, PDF_FILE, "holds", f"{PDF_FILE} is what is made from the record.")
        return
    with suppress(InputError):
        name = bundle.evidence.environment
        if is_this_machine(read_environment(bundle.reader.read(name), name)):
            words = f"{PDF_FILE} is not what is made from the record on this machine: {_INSTEAD}."
            yield Check(1, PDF_FILE, "fails", words)
            return
    yield _not_checked(
        "another file is made of the record here, be it that fonts and libraries are others or "
        "that it was changed"
    )


def _not_checked(why: str) -> Check:
    return Check(
        1, PDF_FILE, "not checked", f"{PDF_FILE} is not shown to be made from the record ({why}): "
        f"{_INSTEAD}.", f"{PDF_FILE} was not compared",
    )  # fmt: skip

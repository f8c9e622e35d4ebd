"""Level 0: is the bundle what was written, bit for bit, and of kinds that run nothing?"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from ml_core import __version__
from ml_core.events import Progress
from ml_core.reading.errors import InputError
from ml_core.reading.images import read_image
from ml_core.reading.json_file import JsonFile, short
from ml_core.reading.safetensors_header import parse_header
from ml_core.reading.sniff import CHECKPOINT_SUFFIXES
from ml_core.reports.bundle_files import AGAIN, JSON, Bundle, journal_metrics
from ml_core.reports.environment import Environment, is_this_machine
from ml_core.reports.open_bundle import LARGEST, LARGEST_TOGETHER, MAX_FILES, BundleReader
from ml_core.reports.record import (
    ENVIRONMENT_FILE,
    EVIDENCE_FILE,
    PDF_FILE,
    README_FILE,
    SCHEMA_FILE,
    SCHEMA_VERSION,
    SCHEMA_VERSIONS,
    SIGNATURE_FILE,
    SUMS_FILE,
    BundlePath,
    Evidence,
    schema,
)
from ml_core.reports.verify.checks import Check
from ml_core.reports.verify.confined import print_confined

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
        words = (
            "Every file is JSON, CSV, text, PNG, SVG, HTML, safetensors, a picture or a checkpoint"
        )
        pdf = "" if bundle.evidence.pdf is None else ", and one is the PDF"
        yield Check(0, "kinds of files", "holds", f"{words}{pdf}.")
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


VIEWS = ("report.html", "inspection.sarif", "bom.cdx.json", "model.intoto.json")
"""Files that are made from the record, and that it does not name."""
_UNNAMED_PDF = {"1.0": PDF_FILE}
"""What records of an older schema could not name."""
_OWN = {EVIDENCE_FILE, SCHEMA_FILE, README_FILE, SUMS_FILE, SIGNATURE_FILE, *VIEWS}
_UNSUMMED = {SUMS_FILE, SIGNATURE_FILE}
_LINE = re.compile(r"([0-9a-f]{64})  ([^\r\n\\]{1,200})")
_MOST_TOLD = 20
_SCHEMA = JsonFile("a JSON Schema", "get the bundle again", 1 << 20, max_depth=32)


def intact(reader: BundleReader) -> Generator[Check | Progress, None, Bundle | None]:
    """Check sums, names and schema of an open bundle.

    Returns
    -------
    Bundle or None
        None where the record cannot be read: there is nothing more to check.

    Raises
    ------
    NewerSchemaError
        If only a later version can read it.
    """
    bundle, problem = None, ""
    try:
        bundle = Bundle(reader)
    except InputError as error:
        if error.code == "unsupported":
            raise
        problem = error.sentence
    large = _too_large(reader, None if bundle is None else bundle.evidence)
    if large:
        yield Check(0, large[0], "fails", large[1])
        return None
    yield from _sums(reader)
    if bundle is None:
        yield Check(0, EVIDENCE_FILE, "fails", problem)
        return None
    named = _named(reader, bundle.evidence)
    yield named
    if named.state == "holds":
        yield from check_kinds(bundle, *named_files(bundle.evidence))
    yield _record(bundle)
    yield _schema(reader, bundle.evidence)
    return bundle


def _too_large(reader: BundleReader, evidence: Evidence | None) -> tuple[str, str] | None:
    """The first file that is too large for a bundle, and why; found before a byte is read."""
    given = evidence.checkpoints.values() if evidence is not None else ()
    weights = {facts.file: facts.bytes for facts in given if facts.file is not None}
    total = 0
    for name in reader.names():
        size = reader.size(name)
        if name in weights and size == weights[name]:
            continue
        total += size
        if size > LARGEST:
            limit = f"{LARGEST >> 20} MB"
            return name, (
                f"{name} has {size} bytes and is no checkpoint that the record names with this "
                f"size: nothing else in a bundle is over {limit}. It was not read."
            )
    if total > LARGEST_TOGETHER:
        limit = f"{LARGEST_TOGETHER >> 30} GB"
        return reader.name, f"The files are over {limit} together. They were not read."
    return None


def _sums(reader: BundleReader) -> Iterator[Check | Progress]:
    """Check that every file has the SHA-256 that is listed, and that none is extra or missing."""
    try:
        listed = parse_sums(reader.read(SUMS_FILE, MAX_FILES * 300))
    except InputError as error:
        yield Check(0, SUMS_FILE, "fails", error.sentence)
        return
    there = set(reader.names()) - _UNSUMMED
    faults = [
        *((name, f"{name} is listed in {SUMS_FILE} and missing.") for name in listed
          if name not in there),
        *((name, f"{name} is in the bundle and not listed in {SUMS_FILE}.")
          for name in sorted(there - set(listed))),
    ]  # fmt: skip
    total = sum(reader.size(name) for name in there)
    done = 0
    yield Progress("intact", 0, total)
    for name in sorted(there & set(listed)):
        try:
            for read in _hashed(reader, name, listed[name]):
                yield Progress("intact", done + read, total)
        except InputError as error:
            faults.append((name, error.sentence))
        done += reader.size(name)
    if not faults:
        words = f"All {len(there)} files are as {SUMS_FILE} lists them, none extra, none missing."
        yield Check(0, SUMS_FILE, "holds", words)
    for name, sentence in faults[:_MOST_TOLD]:
        yield Check(0, name, "fails", sentence)
    if len(faults) > _MOST_TOLD:
        words = f"{len(faults) - _MOST_TOLD} more files are not as {SUMS_FILE} lists them."
        yield Check(0, SUMS_FILE, "fails", words)


def _hashed(reader: BundleReader, name: str, expected: str) -> Iterator[int]:
    """Hash a file; yields bytes read.

    Raises
    ------
    InputError
        If it has another SHA-256, or cannot be read.
    """
    yield from reader.hashing(name)
    if reader.digest(name) != expected:
        raise InputError(
            f"{name} was changed: its SHA-256 is not the one in {SUMS_FILE}.", "damaged"
        )


def parse_sums(raw: bytes) -> dict[str, str]:
    """SHA-256 by file, as ``sha256sum`` writes them.

    Raises
    ------
    InputError
        ``damaged`` with the line that is wrong.
    """
    text = raw.decode("utf-8", "replace")
    if not text.endswith("\n"):
        raise InputError(f"{SUMS_FILE} is damaged: its last line is cut.", "damaged")
    sums: dict[str, str] = {}
    for number, line in enumerate(text[:-1].split("\n"), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise InputError(
                f"{SUMS_FILE} is damaged: line {number} is no SHA-256 and name.", "damaged"
            )
        if match[2] in sums:
            raise InputError(
                f"{SUMS_FILE} is damaged: it lists {short(match[2], 80)} twice.", "damaged"
            )
        sums[match[2]] = match[1]
    return sums


def _named(reader: BundleReader, evidence: Evidence) -> Check:
    """Check that the record names every file, and that every file it names is there."""
    named, folders = named_files(evidence)
    there = set(reader.names())
    missing = sorted(named - there)
    if missing:
        return Check(
            0, missing[0], "fails",
            f"The record names {missing[0]}, which is missing{_more(missing)}.",
        )  # fmt: skip
    extra = [
        name for name in sorted(there - named - _OWN)
        if name != _UNNAMED_PDF.get(evidence.schema_version)
        if not any(name.startswith(f"{folder}/") for folder in folders)
    ]  # fmt: skip
    if extra:
        words = f"{extra[0]} is in the bundle, but the record does not name it{_more(extra)}."
        return Check(0, extra[0], "fails", words)
    return Check(0, EVIDENCE_FILE, "holds", "The record names every file, and all are there.")


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def named_files(evidence: Evidence) -> tuple[set[str], set[str]]:
    """Files, and folders of pictures, that a record names."""
    files: set[str | None] = {evidence.environment, evidence.pdf, *evidence.thumbnails}
    for checkpoint in evidence.checkpoints.values():
        files |= {checkpoint.inspection, checkpoint.file}
    for data in evidence.data.values():
        files.add(data.rows)
    for trigger in evidence.triggers.values():
        files |= set(trigger.files)
    for item in evidence.measurements.values():
        files |= {item.evaluation, item.per_image, item.per_class, item.prompts, item.classifier}
    for job in evidence.jobs.values():
        files |= set(job.files.values())
    for scan in evidence.scans.values():
        files |= set(scan.files.values())
    for chart in evidence.charts:
        files |= {chart.file, chart.source}
    for claim in evidence.claims:
        files |= set(claim.evidence)
    folders = {item.pictures for item in evidence.data.values() if item.pictures is not None}
    return {item for item in files if item is not None} - folders, folders


def _record(bundle: Bundle) -> Check:
    """Check that the record fits its schema."""
    version = bundle.evidence.schema_version
    if bundle.unknown:
        some = ", ".join(short(name, 60) for name in bundle.unknown[:3])
        return Check(
            0, EVIDENCE_FILE, "not checked",
            f"The record has schema {version}: {len(bundle.unknown)} of its fields are not known "
            f"to this version and were passed over ({some}).",
            "parts of a newer version",
        )  # fmt: skip
    return Check(0, EVIDENCE_FILE, "holds", f"The record fits schema {version}.")


def _schema(reader: BundleReader, evidence: Evidence) -> Check:
    """Check that the schema beside the record is the one of its version."""
    version = evidence.schema_version
    if version not in SCHEMA_VERSIONS:
        return Check(
            0, SCHEMA_FILE, "not checked",
            f"The schema beside the record is of version {version}, this program "
            f"writes {SCHEMA_VERSION}.", "another version of the schema",
        )  # fmt: skip
    try:
        written = _SCHEMA.parse(reader.read(SCHEMA_FILE, _SCHEMA.max_bytes), SCHEMA_FILE)
    except InputError as error:
        return Check(0, SCHEMA_FILE, "fails", error.sentence)
    if _without_prose(written) != _without_prose(json.loads(json.dumps(schema(version)))):
        return Check(
            0, SCHEMA_FILE, "fails", f"{SCHEMA_FILE} is not the schema of version {version}."
        )
    return Check(0, SCHEMA_FILE, "holds", f"{SCHEMA_FILE} is the schema of version {version}.")


def _without_prose(value: Any) -> Any:
    """A schema without its descriptions, which later versions may word otherwise."""
    if isinstance(value, list):
        return [_without_prose(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _without_prose(item) for name, item in value.items()
        if not (name == "description" and isinstance(item, str))
    }  # fmt: skip

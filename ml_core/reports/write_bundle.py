"""Write a bundle: a folder or a stored zip, the same bytes of the same content.

Its views are made of the record for people and for other programs: each a file of the bundle.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter

from ml_core.events import finite
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_file, read_file
from ml_core.reports.bundle_files import Read
from ml_core.reports.measurement_files import json_bytes
from ml_core.reports.record import (
    EVIDENCE_FILE,
    PDF_FILE,
    README_FILE,
    SCHEMA_FILE,
    SIGNATURE_FILE,
    SUMS_FILE,
    BundlePath,
    Evidence,
    schema,
)

Render = Callable[[Evidence, Read], bytes]
REPORT_FILE = "report.html"


@dataclass(frozen=True)
class View:
    """A file that is made from the record; one with ``asked`` is made only on request."""

    path: BundlePath
    render: Render
    asked: bool = False


def views() -> tuple[View, ...]:
    """All views that there are; to add one is a line here.

    What writes them is imported here: the window needs none of it to start.
    """
    from ml_core.reports.cyclonedx import render_cyclonedx
    from ml_core.reports.html.pdf import render_pdf
    from ml_core.reports.html.report import render_html
    from ml_core.reports.sarif import render_intoto, render_sarif

    def pdf(evidence: Evidence, read: Read) -> bytes:
        return render_pdf(render_html(evidence, read), read(EVIDENCE_FILE))

    return (
        View(REPORT_FILE, render_html),
        View(PDF_FILE, pdf, asked=True),
        View("inspection.sarif", render_sarif),
        View("bom.cdx.json", render_cyclonedx),
        View("model.intoto.json", render_intoto),
    )


FOLDER_SUFFIX, ZIP_SUFFIX = ".evidence", ".zip"
_OWN = {EVIDENCE_FILE, SCHEMA_FILE, README_FILE, SUMS_FILE}
_DATE = (1980, 1, 1, 0, 0, 0)
_CHUNK = 1 << 20
_PATH: TypeAdapter[str] = TypeAdapter(BundlePath)
Files = Mapping[BundlePath, bytes | Path]

README = """\
This folder is evidence about a CLIP checkpoint, written by CleanCLIP GUI. The report is
report.html; evidence.json is the record that everything else is made from, and names the file that
each figure stands on.

Three ways to check it:

1. Is it what was written?        sha256sum -c SHA256SUMS
   Tells that no file was changed since, and nothing about who wrote it.

2. Does it add up, and is it so?  cleanclip verify FOLDER
   Computes every figure again from the answers in measurements/. With --checkpoint and --images it
   also checks that the files are the ones that were measured, and predicts pictures again.
   jobs/job-1/spec.json is the cleaning's job: with your own paths in a copy of it,
   `cleanclip clean --job COPY` trains again. The README of CleanCLIP GUI says how
   to install it.

3. Who vouches for it?            cleanclip verify FOLDER --key KEY
   Checks the signature evidence.sig, where there is one, with a public key that you trust.

No file in here is a program. JSON, CSV, text, PNG, SVG and safetensors hold nothing that runs.
"""


def out_of(name: str) -> Path:
    """Where a bundle goes: a name that ends neither way gets `FOLDER_SUFFIX`."""
    out = Path(name)
    if out.suffix in (FOLDER_SUFFIX, ZIP_SUFFIX):
        return out
    return out.with_name(out.name + FOLDER_SUFFIX)


def record_bytes(evidence: Evidence) -> bytes:
    """The record's bytes as a bundle holds them, with fields in the record's own order."""
    record = finite(evidence.model_dump(mode="json"))
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()


def write_bundle(
    evidence: Evidence,
    files: Files,
    out: Path,
    *,
    views: Iterable[View] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write a bundle, whole or not at all.

    `EVIDENCE_FILE`, its schema, `README_FILE` and `SUMS_FILE` are added.

    Parameters
    ----------
    evidence
        The record.
    files
        Every other file: its bytes, or a file on this machine that is copied.
    out
        Where to write; a name that ends in ``.zip`` gives a zip. Nothing may lie there yet.
    views
        What is made of the record and the other files.
    on_progress
        Called with the bytes written and their sum; it may end it by raising.

    Returns
    -------
    Path
        The bundle.

    Raises
    ------
    InputError
        If there is something in its place, or it cannot be written.
    ValueError
        If a bundle cannot have a file of that name.
    """
    if os.path.lexists(out):
        raise InputError(f"{out} is there already: name another place, or take it away.")
    whole: dict[str, bytes | Path] = {**files}
    taken = (_OWN | {SIGNATURE_FILE}) & whole.keys()
    if taken:
        raise ValueError(f"the bundle writes {min(taken)} itself")
    whole[EVIDENCE_FILE] = record_bytes(evidence)
    whole[SCHEMA_FILE] = json_bytes(schema())
    whole[README_FILE] = README.encode()

    read = reading(whole)
    again = as_read(evidence)
    for view in views:
        whole[view.path] = view.render(again, read)
    for name in whole:
        _PATH.validate_python(name)
    try:
        whole[SUMS_FILE] = sums_of(whole)
        total = sum(map(_size, whole.values()))
        out.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_place(out) as place:
            done = 0
            put = _zip if out.suffix == ZIP_SUFFIX else _folder
            for count in put(place, dict(sorted(whole.items()))):
                done += count
                on_progress(done, total)
            os.rename(place, out)
    except OSError as error:
        raise InputError(
            f"{out.name} could not be written: {error.strerror or error}; choose another place.",
            details=str(error),
        ) from error
    return out


def reading(files: Files) -> Read:
    """Gives the bytes of files; KeyError of others. Files that are added later are found too."""

    def read(name: BundlePath, _limit: int = 0) -> bytes:
        content = files[name]
        return content if isinstance(content, bytes) else read_file(content)

    return read


def as_read(evidence: Evidence) -> Evidence:
    """The record as read back from its file, since a verifier has no other."""
    return Evidence.model_validate_json(record_bytes(evidence))


def sums_of(files: Files) -> bytes:
    """``SHA256SUMS`` of files, as ``sha256sum -c`` reads it, names sorted."""
    lines = [f"{_sha256(content)}  {name}\n" for name, content in sorted(files.items())]
    return "".join(lines).encode()


def _sha256(content: bytes | Path) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with open_file(content) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(content: bytes | Path) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


@contextmanager
def _temporary_place(out: Path) -> Iterator[Path]:
    """A place beside the bundle's; it is removed if the bundle cannot be completed."""
    place = out.with_name(f".{out.name}.part")
    _remove(place)
    try:
        yield place
    finally:
        _remove(place)


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _folder(place: Path, files: Files) -> Iterator[int]:
    """Write files below a folder; yields bytes."""
    place.mkdir()
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            yield from _copy(content, file)


def _zip(place: Path, files: Files) -> Iterator[int]:
    """Write a stored zip; yields bytes."""
    with zipfile.ZipFile(place, "x", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            entry.file_size = _size(content)
            with archive.open(entry, "w") as file:
                yield from _copy(content, file)  # type: ignore[arg-type]


def _copy(content: bytes | Path, file: BinaryIO) -> Iterator[int]:
    if isinstance(content, bytes):
        file.write(content)
        yield len(content)
        return
    with open_file(content) as source:
        while chunk := source.read(_CHUNK):
            file.write(chunk)
            yield len(chunk)

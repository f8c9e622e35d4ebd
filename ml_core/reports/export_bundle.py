"""The record of a bundle, which may be a stranger's, in a format of other tools. Torch-free."""

from __future__ import annotations

from pathlib import Path

from ml_core.reading.errors import InputError
from ml_core.reading.plain import plain
from ml_core.reports.exports import EVIDENCE_FORMATS, EvidenceFormat, export_evidence
from ml_core.reports.open_bundle import open_bundle
from ml_core.reports.record import EVIDENCE_FILE, SUMS_FILE
from ml_core.reports.verify.opened import read_evidence


def evidence_format(name: str) -> EvidenceFormat:
    """The format of that name.

    Raises
    ------
    InputError
        ``usage`` if there is none.
    """
    for known in EVIDENCE_FORMATS:
        if known == name:
            return known
    all_of_them = ", ".join(EVIDENCE_FORMATS)
    raise InputError(f"There is no format {plain(name)[:80]!r}; choose one of {all_of_them}.")


def is_bundle(path: Path) -> bool:
    """Whether it looks like a bundle: a zip, or a folder that holds a sealed record."""
    if path.is_dir():
        return (path / EVIDENCE_FILE).is_file() and (path / SUMS_FILE).is_file()
    return path.suffix.lower() == ".zip"


def exported(path: Path, form: EvidenceFormat) -> bytes:
    """The record of a bundle in a format; nothing of it is checked, see `ml_core.reports.verify`.

    Raises
    ------
    InputError
        If it is no bundle, is damaged, or lacks what the format needs.
    """
    with open_bundle(path) as reader:
        evidence, _ = read_evidence(reader)

        def read(name: str) -> bytes:
            if not reader.has(name):
                raise KeyError(name)
            return reader.read(name)

        return export_evidence(evidence, read, form)

"""An inspection or an evidence record in the formats of other tools, chosen by name or ending."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from ml_core.reading.errors import InputError
from ml_core.reading.plain import plain
from ml_core.reports.cyclonedx import inspection_bom, render_cyclonedx
from ml_core.reports.html.inspection import inspection_page
from ml_core.reports.html.report import render_html
from ml_core.reports.intoto import render_intoto
from ml_core.reports.record import Evidence
from ml_core.reports.rendering import Read
from ml_core.reports.sarif import render_sarif

Format = Literal["text", "json", "sarif", "html", "cdx"]
FORMATS: tuple[Format, ...] = get_args(Format)
EvidenceFormat = Literal["text", "json", "sarif", "html", "cdx", "intoto", "model-card"]
ENDINGS: dict[str, Format] = {
    ".cdx.json": "cdx",
    ".sarif.json": "sarif",
    ".json": "json",
    ".sarif": "sarif",
    ".html": "html",
    ".txt": "text",
}
"""What the end of a file's name says; the longer ones first."""


def chosen_format(named: str | None, file: Path | None) -> Format:
    """The format that was named, else that of the file's ending; text without both.

    Raises
    ------
    InputError
        ``usage`` if there is no such format, or the ending is none of `ENDINGS`.
    """
    if named is not None:
        if named not in FORMATS:
            raise InputError(
                f"There is no format {plain(named)[:80]!r}; choose {_or(FORMATS)} for --format."
            )
        return named
    if file is None:
        return "text"
    name = file.name.lower()
    for ending, found in ENDINGS.items():
        if name.endswith(ending):
            return found
    raise InputError(
        f"{plain(file.name)} does not tell the format: give --format, or a name that ends in "
        f"{_or(tuple(ENDINGS))}."
    )


def inspection_bytes(record: Mapping[str, Any], form: Format) -> bytes:
    """An inspection in a format other than text, which is the command line's.

    Parameters
    ----------
    record
        What `inspection_record` gives.
    """
    if form == "html":
        return inspection_page(record).encode()
    if form == "cdx":
        return inspection_bom(record)
    if form == "sarif":
        from ml_core.checkpoints.inspection_sarif import sarif_log

        record = sarif_log(record)
    return (json.dumps(record, indent=1) + "\n").encode()


def export_evidence(evidence: Evidence, read: Read, form: EvidenceFormat) -> bytes:
    """A record in one of `EVIDENCE_FORMATS`.

    Parameters
    ----------
    read
        Files of its bundle; `nothing_beside` where there is only an ``evidence.json``.

    Raises
    ------
    InputError
        If a file of the bundle is damaged, or the record lacks what the format needs.
    """
    return _RENDERERS[form](evidence, read)


def _as_json(evidence: Evidence, read: Read) -> bytes:
    return (evidence.model_dump_json(indent=1) + "\n").encode()


def _as_text(evidence: Evidence, read: Read) -> bytes:
    """What the report says first, for a terminal or a mail."""
    sections = (
        (evidence.name, evidence.verdict),
        ("Not tested", evidence.not_tested),
        ("Claims", tuple(f"{claim.id}: {claim.sentence}" for claim in evidence.claims)),
        ("Limits", evidence.limits),
    )
    lines: list[str] = []
    for title, sentences in sections:
        if sentences:
            lines += [plain(title), *(f"  {plain(one)}" for one in sentences), ""]
    return "\n".join(lines).encode()


def _as_model_card(evidence: Evidence, read: Read) -> bytes:
    from ml_core.reports.model_card import render_model_card_yaml

    return render_model_card_yaml(evidence)


_RENDERERS: dict[EvidenceFormat, Callable[[Evidence, Read], bytes]] = {
    "text": _as_text,
    "json": _as_json,
    "sarif": render_sarif,
    "html": render_html,
    "cdx": render_cyclonedx,
    "intoto": render_intoto,
    "model-card": _as_model_card,
}
EVIDENCE_FORMATS = tuple(_RENDERERS)


def _or(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + f" or {words[-1]}"

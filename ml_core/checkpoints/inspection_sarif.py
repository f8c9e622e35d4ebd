"""An inspection in SARIF 2.1.0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from ml_core.sarif import Artifact, Level, Rule, SarifRegion, SarifResult, log_of, taxon_uri

_SAFETENSORS = "https://huggingface.co/docs/safetensors/index"
_PICKLES = "https://huggingface.co/docs/hub/security-pickle"
_SERIALIZATION = "https://docs.pytorch.org/docs/stable/notes/serialization.html"
_CODE = ("CWE-502", "AML.T0010.003", "AML.T0011.000", "AML.T0018.002")
_MOST_PLACES = 100
RULES = (
    Rule("ok", "Readable", "The file holds tensors and plain data only.", "none", _SAFETENSORS),
    Rule("note", "LoadsWithCaution", "The file loads, with a caution.", "warning", _PICKLES),
    Rule("unknown_code", "NamesUnknownCode",
        "The file names code that an ordinary loader would import.", "error", taxon_uri("CWE-502"),
        _CODE),
    Rule("dangerous", "RefusedAsDangerous",
        "The file can run code when an ordinary loader opens it.", "error", taxon_uri("CWE-502"),
        _CODE),
    Rule("damaged", "RefusedAsDamaged", "The file violates its format.", "error", _SERIALIZATION),
    Rule("truncated", "RefusedAsTruncated", "The file is truncated.", "error", _SERIALIZATION),
    Rule("unsupported", "RefusedAsUnsupported",
        "The file has a format or layout that is not supported.", "error", _SERIALIZATION),
)  # fmt: skip


def sarif_log(record: Mapping[str, Any]) -> dict[str, Any]:
    """A run with one result a reason.

    Parameters
    ----------
    record
        What `inspection_record` gives; its verdict and totals are kept in the run's properties.
    """
    properties = (
        *("verdict", "reason_code", "format", "architecture", "elsewhere", "second_opinion"),
        *("unread", "totals", "sandbox", "globals", "embedded_code"),
    )
    return log_of(
        record["tool"],
        RULES,
        [inspected_artifact(record)],
        inspection_findings(record, 0),
        rules_version=record["rules"],
        properties={key: record[key] for key in properties},
    )


def inspected_artifact(record: Mapping[str, Any], folders: tuple[str, ...] = ()) -> Artifact:
    """What a record is about, which lies in some folders."""
    name, sha256, size = record["name"], record["file_sha256"], record["size"]
    return Artifact(name, sha256, size, folder=_is_folder(record), folders=folders)


def inspection_findings(record: Mapping[str, Any], artifact: int) -> Iterator[SarifResult]:
    """One finding a reason: the first is the verdict's, those after it are notes.

    The first stands where a pickle names code; tensors that do not fit the architecture belong to
    it.

    Parameters
    ----------
    record
        Fields of `inspection_record`: ``name``, ``verdict``, ``reason_code``, ``reasons``, and, if
        present, ``code_places``, ``tensors``, ``container`` and ``architecture``.
    artifact
        Index of the file among the log's artifacts.
    """
    verdict = record["verdict"]
    for number, sentence in enumerate(record["reasons"]):
        first = number == 0
        code = list(_code(record)) if first else []
        misfits = list(islice(_misfits(record), _MOST_PLACES)) if first else []
        yield SarifResult(
            record["reason_code"] if first else "note",
            sentence,
            artifact,
            _level(verdict, number),
            # The file may be called otherwise next time.
            same_as=sentence.replace(record["name"], "", 1),
            place=code[0] if code else None,
            related=(*code[1:], *misfits),
        )


def _is_folder(record: Mapping[str, Any]) -> bool:
    """Whether the record is about a folder; a refused folder has no weights."""
    return bool(record.get("weights")) or "folder" in record["format"]


def _level(verdict: str, number: int) -> Level:
    """How bad a reason is."""
    if verdict == "loads":
        return "none"
    if number:
        return "note"
    return "warning" if verdict == "caution" else "error"


def _code(record: Mapping[str, Any]) -> Iterator[SarifRegion]:
    """Where pickles name code that is not known, or misuse what is."""
    for place in record.get("code_places", ()):
        yield SarifRegion(place["offset"], place["nbytes"], f"Names or uses code: {place['what']}.")


def _misfits(record: Mapping[str, Any]) -> Iterator[SarifRegion]:
    """Tensors of another shape than the architecture's, then those that it lacks.

    None where the numbers are packed: they have no place in the file.
    """
    keys = (record.get("architecture") or {}).get("keys")
    container = record.get("container") or {}
    tensors = {item["name"]: item for item in record.get("tensors", ())}
    if not keys or not container.get("alignment"):
        return
    wrong = {item["name"]: item for item in keys["wrong_shape"]}
    for name in (*wrong, *keys["unexpected"]):
        if (tensor := tensors.get(name)) is None:
            continue
        what = f"The tensor {name} is not part of the architecture."
        if name in wrong:
            what = (
                f"The tensor {name} is {wrong[name]['found']} instead of {wrong[name]['expected']}."
            )
        yield SarifRegion(tensor["offset"], tensor["nbytes"], what)

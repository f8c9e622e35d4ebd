"""An inspection in SARIF 2.1.0, the format in which scanners hand findings to other tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_URI = "https://arxiv.org/abs/2303.03323"
_LEVELS = {"caution": "warning", "dangerous": "error", "damaged": "error"}
_DEFAULTS = {
    "ok": "none",
    "note": "warning",
    "unknown_code": "error",
    "dangerous": "error",
    "damaged": "error",
    "truncated": "error",
    "unsupported": "error",
}
_RULES = {
    "ok": ("Loads", "The file holds tensors and plain data only."),
    "note": ("LoadsWithCaution", "The file loads, with a caution."),
    "unknown_code": (
        "NamesUnknownCode",
        "The file names code that an ordinary loader would import.",
    ),
    "dangerous": ("RefusedAsDangerous", "The file can run code when an ordinary loader opens it."),
    "damaged": ("RefusedAsDamaged", "The file violates its format."),
    "truncated": ("RefusedAsTruncated", "The file is truncated."),
    "unsupported": (
        "RefusedAsUnsupported",
        "The file has a format or layout that is not supported.",
    ),
}


def sarif_log(record: Mapping[str, Any]) -> dict[str, Any]:
    """One run with one result a reason.

    Parameters
    ----------
    record
        What `inspection_record` gives; its verdict and totals are kept in the run's properties.
    """
    verdict, code = record["verdict"], record["reason_code"]
    rules = list(_RULES)
    location = {"uri": _uri(record["name"]), "index": 0}
    results = [
        {
            # The first reason is the verdict's; those after it are notes.
            "ruleId": code if number == 0 else "note",
            "ruleIndex": rules.index(code if number == 0 else "note"),
            "kind": "fail" if verdict != "loads" else "informational",
            "level": _level(verdict, number),
            "message": {"text": sentence},
            "locations": [{"physicalLocation": {"artifactLocation": location}}],
        }
        for number, sentence in enumerate(record["reasons"])
    ]
    artifact: dict[str, Any] = {"location": {"uri": location["uri"]}, "roles": ["analysisTarget"]}
    if record["sha256"]:
        artifact["hashes"] = {"sha-256": record["sha256"]}
        artifact["length"] = record["size"]
    driver = {
        "name": record["tool"]["name"],
        "version": record["tool"]["version"],
        "informationUri": _URI,
        "rules": [
            {
                "id": rule,
                "name": name,
                "shortDescription": {"text": text},
                "defaultConfiguration": {"level": _DEFAULTS[rule]},
            }
            for rule, (name, text) in _RULES.items()
        ],
        "properties": {"rulesVersion": record["rules"]},
    }
    kept = (
        *("verdict", "reason_code", "format", "architecture", "elsewhere", "second_opinion"),
        *("unread", "totals", "sandbox", "globals", "embedded_code"),
    )
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "invocations": [{"executionSuccessful": True}],
                "artifacts": [artifact],
                "results": results,
                "properties": {key: record[key] for key in kept},
            }
        ],
    }


def _level(verdict: str, number: int) -> str:
    """How bad a reason is."""
    if verdict == "loads":
        return "none"
    return _LEVELS[verdict] if number == 0 else "note"


def _uri(name: str) -> str:
    """A file's name as a relative address: no scheme, no folder, no way up."""
    return quote(name.encode("utf-8", "surrogatepass"), safe="") or "checkpoint"

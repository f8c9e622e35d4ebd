"""An inspection as one page that is safe to open: no script, no link, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_core.figures import count
from ml_core.reading.verdict_text import verdict_words
from ml_core.reports.html.page import page

_MOST_ROWS = 100_000
_TONES = {
    "loads": "plain",
    "caution": "caution",
    "dangerous": "danger",
    "damaged": "danger",
    "unsupported": "danger",
}
_GROUPS = (
    ("unknown", "Code that this tool does not know"),
    ("code", "Pickled program objects, kept as inert records"),
    ("data", "Plain data"),
    ("tensors", "Builds tensors"),
)


def inspection_page(record: Mapping[str, Any]) -> str:
    """The page of a record that `inspection_record` gives.

    Every text of the file is escaped, invisible and reordering characters too.
    """
    sha256, reasons = record["sha256"], record["reasons"]
    return page(
        "inspection.html",
        f"SHA-256: {sha256}" if sha256 and sha256.isalnum() else "SHA-256 not computed",
        record=record,
        verdict=verdict_words(record["verdict"], record["reason_code"]),
        tone=_TONES[record["verdict"]],
        first=reasons[0] if reasons else "Nothing in the file was run.",
        also=reasons[1:],
        facts=tuple(_file_facts(record)),
        architecture=tuple(_architecture(record["architecture"])),
        lists=tuple(_lists(record)),
        most=_MOST_ROWS,
    )


def _file_facts(record: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    totals, hub = record["totals"], record["hub"]
    yield "Path", record["path"]
    if hub is not None:
        yield "Hugging Face Hub", f"{hub['repository']} at revision {hub['revision']}"
    yield "Format", record["format"]
    yield "Size", f"{count(record['size'])} bytes"
    yield "SHA-256", record["sha256"] or "not computed"
    if totals["tensors"]:
        yield "Tensors", totals["tensors"]
        yield "Parameters", count(totals["parameters"])
        if totals["buffer_numbers"]:
            yield "Numbers in buffers", count(totals["buffer_numbers"])
        if totals["optimizer_numbers"]:
            yield "Numbers that an optimizer keeps", count(totals["optimizer_numbers"])
        kinds = (f"{count(n)} {dtype}" for dtype, n in totals["dtypes"].items())
        yield "All numbers by type", ", ".join(kinds)
    for name, state in (record["sandbox"] or {}).items():
        yield f"Sandbox: {name}", state


def _architecture(told: Mapping[str, Any] | None) -> Iterator[tuple[str, object]]:
    if told is None:
        return
    yield "Model", told["name"]
    yield "Source", told["source"]
    if donor := told.get("donor"):
        yield "Donor of the other encoder", f"{donor['name']}, SHA-256 {donor['sha256']}"
    for title, sentences in (("Assumed", told["assumptions"]), ("Also in it", told["notes"])):
        for sentence in sentences:
            yield title, sentence


def _lists(record: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[str]]]:
    """Lists of names that hold something, with their titles."""
    keys = (record["architecture"] or {}).get("keys")
    named: list[tuple[str, Sequence[str]]] = []
    if keys is not None:
        shapes = [
            f"{one['name']}: {one['found']} instead of {one['expected']}"
            for one in keys["wrong_shape"]
        ]
        named += [
            (f"{title} ({count(len(items))})", items)
            for title, items in (
                ("Missing tensors", keys["missing"]),
                ("Unexpected tensors, left out", keys["unexpected"]),
                ("Tensors of another shape", shapes),
            )
        ]
    named += [(title, record["globals"].get(group, ())) for group, title in _GROUPS]
    named.append(("Program code in the file (not run)", record["embedded_code"]))
    named.append(("Not read", record["unread"]))
    return ((title, items) for title, items in named if items)

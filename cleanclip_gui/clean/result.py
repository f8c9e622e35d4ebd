"""What a run's result names: the file that it made, and the checkpoint that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cleanclip_gui.session import ShownCheckpoint
from ml_core.reading.errors import InputError
from ml_core.reading.safetensors_header import read_header
from ml_core.reading.strict_json import JsonError, parse_object


def cleaned_file(result: Mapping[str, Any]) -> Path:
    """Return where a run's cleaned checkpoint lies.

    Raises
    ------
    InputError
        If it is no longer there, or is an adapter, as RVPT of earlier versions made it.
    """
    path = Path(result.get("adapter") or result.get("checkpoint", ""))
    if path.name.endswith("adapter.safetensors"):
        raise InputError(
            "The result is an adapter of RVPT, which is no longer offered: clean the checkpoint "
            "with another method.",
            "unsupported",
        )
    if not path.is_file():
        raise InputError("The cleaned checkpoint is gone; run the cleaning again.")
    return path


def suggested_name(result: Mapping[str, Any]) -> str:
    """A name for the cleaned checkpoint, after the one it was made from."""
    return f"{Path(result.get('source') or 'checkpoint').stem}-cleaned.safetensors"


def is_source(facts: ShownCheckpoint | None, result: Mapping[str, Any]) -> bool:
    """Whether a result was made from the checkpoint that is open.

    Its SHA-256 decides, since a run on a cluster names a path of that machine. If a result lacks
    the SHA-256, the path decides.
    """
    if facts is None:
        return False
    sha256 = _source_sha256(result)
    if sha256:
        return facts.inspection.sha256 == sha256
    return Path(facts.path) == Path(str(result.get("source") or ""))


def where_open(result: Mapping[str, Any], facts: ShownCheckpoint | None) -> dict[str, Any]:
    """A result whose source is named where it is open, if it is."""
    if facts is None or not is_source(facts, result):
        return dict(result)
    return {**result, "source": facts.path}


def _source_sha256(result: Mapping[str, Any]) -> str:
    """SHA-256 of the checkpoint behind a result, from the result or its file; else empty."""
    if result.get("source_sha256"):
        return str(result["source_sha256"])
    path = Path(str(result.get("checkpoint") or ""))
    try:
        header = read_header(path).metadata["provenance"]
        facts = parse_object(header.encode("utf-8", "surrogatepass"), half_characters=True)
        return str(facts["source_sha256"] or "")
    except (InputError, KeyError, JsonError):
        return ""

"""What the record of a bundle says because its files say it. Torch-free."""

from __future__ import annotations

from typing import Any

from ml_core.detection.scan.records import Judgement

_JUDGED = ("verdict", "title", "target", "reasons", "searched", "not_searched", "warnings")


def scan_facts(judgement: Judgement) -> dict[str, Any]:
    """The fields of `ScanFacts` that a scan's judgement gives."""
    return {name: getattr(judgement, name) for name in _JUDGED}

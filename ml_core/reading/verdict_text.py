"""The four verdicts in words, the same in the window, on the command line and in exports."""

from __future__ import annotations

_WORDS = {
    "loads": "Readable",  # not more: what can be read is not known to be harmless
    "caution": "Readable, with caution",
    "dangerous": "Refused: dangerous",
    "damaged": "Refused: damaged",
}


def verdict_words(verdict: str, reason_code: str = "") -> str:
    """Words for a verdict; what is refused as ``damaged`` may just be unsupported."""
    if verdict == "damaged" and reason_code in ("unsupported", "usage"):
        return "Refused: unsupported"
    return _WORDS[verdict]

"""The verdicts in words, the same in the window, on the command line and in exports."""

from __future__ import annotations

_WORDS = {
    "loads": "Readable",  # not more: what can be read is not known to be harmless
    "caution": "Readable, with caution",
    "dangerous": "Refused: dangerous",
    "damaged": "Refused: damaged",
    "unsupported": "Refused: unsupported",
}


def verdict_words(verdict: str, reason_code: str = "") -> str:
    """Words for a verdict; older records call ``damaged`` what is just unsupported."""
    if verdict == "damaged" and reason_code in ("unsupported", "usage"):
        verdict = "unsupported"
    return _WORDS[verdict]

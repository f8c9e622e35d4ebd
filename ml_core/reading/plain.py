"""Text from a file, made safe to show."""

from __future__ import annotations

import unicodedata

# Control, format (bidi marks and zero-width characters among them), lone surrogate, private and
# unassigned characters, line and paragraph separators.
_ESCAPED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def plain(text: str) -> str:
    """Escape what is invisible, reorders the text or speaks to the terminal, as ``\\u202e``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape", "surrogatepass").decode("ascii")
        if unicodedata.category(char) in _ESCAPED
        else char
        for char in text
    )

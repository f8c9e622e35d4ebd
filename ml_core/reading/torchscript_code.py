"""What the program code of a TorchScript archive could do; the code is only searched as text."""

from __future__ import annotations

import re

# Functions that write or read files or call other machines, a method that runs when the archive
# is loaded, and ways to spell the first ones differently.
_HARMFUL = re.compile(
    r"\.(?:save|from_file|load_tensor|rpc_\w+)\b"
    r"|\b__setstate__\b"
    r"|\btorch\.autograd\b"
    r"|\bgetattr ?\( ?(?:\( ?)*(?:torch|ops)\b"
)
_OTHER_OPS = re.compile(r"(?<![\w.])ops\.(?!aten\b|prim\b)\w+")
# A module under another name: it is followed by nothing that makes use of it.
_RENAMED = re.compile(
    r"(?<![\w.])(?:torch|ops|ops\.aten|ops\.prim)(?:(?= ?[)\],\n])|(?= (?:if|else)\b)|\Z)"
)
_LONG_TEXT = r"(?:\\[\s\S]|[^\\])*?"
_TEXT_OR_COMMENT = re.compile(
    rf'"""{_LONG_TEXT}(?:"""|\Z)|' + rf"'''{_LONG_TEXT}(?:'''|\Z)|"
    r'"(?:\\[^\n]|[^"\\\n])*"?' + r"|'(?:\\[^\n]|[^'\\\n])*'?|#[^\n]*"
)


def act_of(code: str) -> str:
    """Find what the code could do to the machine; empty if nothing.

    The code is also searched as if texts were code and with everything after a ``#`` left out, so
    that nothing hides where readers disagree about where a text or a comment ends.
    """
    bare = _squeezed(_TEXT_OR_COMMENT.sub(lambda m: "" if m[0][0] == "#" else '""', code))
    for text in (bare, _squeezed(code), _squeezed(re.sub(r"#[^\n]*", "", code))):
        if found := _HARMFUL.search(text) or _OTHER_OPS.search(text):
            return found.group()
    found = _RENAMED.search(bare)
    return f"another name for {found.group()}" if found else ""


def _squeezed(code: str) -> str:
    """Code with single blanks, none beside a dot; a line continued is one line."""
    single = re.sub(r"[\s\\]+", lambda m: "\n" if "\n" in m[0] and "\\" not in m[0] else " ", code)
    return re.sub(r"[ \n]?\.[ \n]?", ".", single)

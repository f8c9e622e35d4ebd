"""Words and numbers as they are shown; foreign text is made harmless first."""

from __future__ import annotations

import html
import math
import re
import time

from ml_core import figures
from ml_core.figures import percent as percent  # the window's own, and the core's
from ml_core.figures import percent_range as percent_range
from ml_core.figures import signed as signed
from ml_core.reading.errors import plain as escaped

count_text, duration_text = figures.count, figures.duration
NOT_MEASURED = "not measured"
THIN = "\u2009%"
"""Sign of a percentage that stands close, beside a large figure."""
UNBROKEN = "\u00a0%"
"""Sign of a percentage in a sentence, which may be broken anywhere."""


def plain(text: object, limit: int = 2000, *, lines: bool = False) -> str:
    """Text from a file, safe to show: nothing invisible, nothing that reorders it.

    Parameters
    ----------
    text
        Anything; ``str()`` of it is shown.
    limit
        Longest result in characters; the rest becomes an ellipsis.
    lines
        Keep line ends instead of escaping them.
    """
    source = str(text)
    cut = source[: limit + 1]
    shown = "\n".join(map(escaped, cut.split("\n"))) if lines else escaped(cut)
    if len(source) > limit or len(shown) > limit:
        return shown[: limit - 1] + "…"
    return shown


def fitting(text: str, longest: int = 46) -> str:
    """Text for a narrow column: what no line break can divide is shortened in its middle."""
    half = (longest - 1) // 2
    return re.sub(
        rf"[^\s/-]{{{longest + 1},}}", lambda match: f"{match[0][:half]}…{match[0][-half:]}", text
    )


def tip(text: str) -> str:
    """Text from a file as a tool tip, which Qt would take for markup if it looked like it."""
    return f"<span>{html.escape(text)}</span>" if "<" in text else text


def bytes_text(n: int) -> str:
    """Sizes in binary units, e.g. ``1.4 MiB``."""
    size = float(n)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{n} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def probability_text(value: float) -> str:
    """A probability in per cent, e.g. ``97.8 %`` or ``<0.1 %``: never a false 0 or 100."""
    per_cent = 100 * float(value)
    if 0 < per_cent < 0.1:
        return "<0.1 %"
    if 99.95 <= per_cent < 100:
        return ">99.9 %"
    return percent(float(value))


def change_text(relative: float) -> str:
    """The size of a change relative to what changed, e.g. ``0.31 %`` or ``12 times``."""
    if math.isnan(relative):
        return "not a number"
    if math.isinf(relative):
        return "from zero"
    if relative == 0:
        return "0 %"
    if relative < 1:
        return f"{100 * relative:.2g} %"
    return f"{100 * relative:.0f} %" if relative < 10 else f"{relative:.0f} times"


def plural(n: int, singular: str, many: str = "") -> str:
    """Number with its noun, e.g. ``plural(2, "class", "classes")``."""
    return f"{count_text(n)} {singular if n == 1 else many or singular + 's'}"


def day_and_time(seconds: float) -> str:
    """A moment of this year in local time, e.g. ``29 Nov 20:06``; seconds since 1970."""
    return time.strftime("%d\u00a0%b\u00a0%H:%M", time.localtime(seconds))


def left_text(seconds: float | None) -> str:
    """A rough remaining time; empty if unknown."""
    if seconds is None:
        return ""
    if seconds < 5:
        return "a few seconds left"
    if seconds < 55:
        return f"{5 * round(seconds / 5)} s left"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min left"
    return f"{minutes // 60} h {minutes % 60} min left"


def device_text(name: str) -> str:
    """Name of a torch device for people, e.g. ``CUDA GPU 0``."""
    kind, _, number = name.partition(":")
    words = {"cpu": "CPU", "mps": "Apple GPU (MPS)", "cuda": f"CUDA GPU {number or '0'}"}
    return words.get(kind, name)


def used_text(name: str) -> str:
    """What a job computes on, for a sentence; ``cuda`` stands for several processes."""
    return "all GPUs" if name == "cuda" else name


def unbroken(text: str) -> str:
    """A figure stays on one line, with its per cent sign."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%").replace("\u2009", "\u202f")

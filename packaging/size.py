"""Code lines of each package beside its budget: `make size`; `make size AT=REF` of a commit.

A code line carries a token; docstrings, comments and blank lines are left out. The budgets are a
compass: whoever goes over one says in the closing note what that bought.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOP = "(top level)"
BUDGETS = {
    "ml_core": {
        TOP: 1300, "reading": 6300, "checkpoints": 3200, "data": 4000, "triggers": 1900,
        "evaluation": 3400, "cleaning": 4000, "detection": 2400, "reports": 5100, "signing": 900,
        "jobs": 7000, "cli": 3000,
    },
    "cleanclip_gui": {
        TOP: 300, "session": 300, "widgets": 1800, "theme": 1100, "inference": 1300, "jobs": 700,
        "window": 2500, "talk": 1300, "data": 1200, "checkpoint": 3000, "studio": 6900,
        "scan": 2000, "clean": 6400, "report": 1700,
    },
    "tests": {"": 32000},
    "packaging": {"": 3300},
}  # fmt: skip
_BLANK = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENCODING, tokenize.ENDMARKER,
}  # fmt: skip
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_lines(source: str) -> int:
    """Count the lines of Python ``source`` that carry a token outside docstrings."""
    docstrings = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {
        line
        for token in tokens
        if token.type not in _BLANK
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(lines - docstrings)


def sources(ref: str) -> Iterator[tuple[Path, str]]:
    """Yield path and text of each Python file of commit ``ref``; empty: of the working tree."""
    here = ["ls-files", "-co", "--exclude-standard"]
    listing = ["ls-tree", "-r", "--name-only", ref] if ref else here
    for name in _git(*listing).splitlines():
        path = Path(name)
        if path.suffix == ".py" and (ref or (ROOT / path).is_file()):
            yield path, _git("show", f"{ref}:{name}") if ref else (ROOT / path).read_text("utf-8")


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, encoding="utf-8"
    ).stdout


def main(ref: str = "") -> None:
    """Print the table."""
    lines, files = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for path, source in sources(ref):
        package = path.parts[0]
        if package in BUDGETS:
            folder = path.parts[1] if len(path.parts) > 2 else TOP
            room = (package, folder if "" not in BUDGETS[package] else "")
            lines[room] += code_lines(source)
            files[room] += 1
    print(f"{'code lines':30}{'now':>8}{'budget':>8}{'over':>8}{'files':>7}")
    for package, budgets in BUDGETS.items():
        rooms = sorted(room for room in lines if room[0] == package)
        for room in rooms:
            _row("/".join(room).rstrip("/"), lines[room], budgets.get(room[1], 0), files[room])
        if len(rooms) > 1:
            total = sum(lines[room] for room in rooms)
            _row(package, total, sum(budgets.values()), sum(files[room] for room in rooms))
    product = [room for room in lines if room[0] in ("ml_core", "cleanclip_gui")]
    budget = sum(sum(BUDGETS[package].values()) for package in ("ml_core", "cleanclip_gui"))
    _row("product", sum(lines[room] for room in product), budget, sum(files[r] for r in product))


def _row(name: str, lines: int, budget: int, files: int) -> None:
    print(f"{name:30}{lines:8}{budget:8}{max(lines - budget, 0) or '':>8}{files:7}")


if __name__ == "__main__":
    main(*sys.argv[1:2])

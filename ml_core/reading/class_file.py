"""CleanCLIP's ``classes.py``, which its own program evaluates; here it is only parsed.

The file is one Python expression: ``{"classes": ["tench", ...], "templates": [lambda c:
f"a photo of a {c}.", ...]}``; a third entry, ``"superclasses"``, may hold plain values and is not
used.
"""

from __future__ import annotations

import ast
import re
import warnings
from pathlib import Path

from ml_core.reading.errors import InputError, unsupported
from ml_core.reading.regular_file import open_regular

MAX_BYTES = 4 << 20
PLACE = "{}"
IGNORED = "superclasses"  # of CleanCLIP's ImageNet and CIFAR-100; its own program never reads it
_NO_TABLE = "it is not the table that CleanCLIP reads"
# Python makes half a kilobyte of each part of an expression: 100 000 classes have twice as many.
_MAX_PARTS = 300_000
_PART = re.compile(
    r"""\s+|\#[^\n]*|\w+|"{3}(?:[^\\]|\\.)*?"{3}|'{3}(?:[^\\]|\\.)*?'{3}"""
    r"""|"(?:[^"\\\n]|\\.)*+"|'(?:[^'\\\n]|\\.)*+'|.""",
    re.DOTALL,
)
_PLAIN_NODES = (ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Load)


def read_class_file(path: str | Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Read what evaluating the file would give, without evaluating it; superclasses are left out.

    Parameters
    ----------
    path
        A regular file of at most 4 MB.

    Returns
    -------
    classes, templates
        Class names, and prompt templates in which ``{}`` stands for the class name; no templates
        if the file has none.

    Raises
    ------
    InputError
        ``unsupported`` if it is anything else than a table of texts and of functions with one
        f-string, naming the line; ``usage`` if it cannot be read.
    """
    path = Path(path)
    file, size = open_regular(path)
    with file:
        raw = file.read(MAX_BYTES + 1)
    if size > MAX_BYTES or len(raw) > MAX_BYTES:
        raise unsupported(
            f"The label set {path.name} is larger than 4 MB; write one class per line in a text "
            "file instead."
        )
    try:
        with warnings.catch_warnings():  # of odd escapes, which would be shown to the user
            warnings.simplefilter("ignore")
            text = raw.decode("utf-8-sig")  # whatever encoding its first line may name
            _check_parts(text, path)
            tree = ast.parse(text, filename="classes.py", mode="eval")
    except SyntaxError as error:
        raise _refused(path, error.lineno or 1, _NO_TABLE) from None
    except (ValueError, RecursionError, MemoryError):
        raise _refused(path, 1, _NO_TABLE) from None
    table = tree.body
    if not isinstance(table, ast.Dict):
        raise _refused(path, table.lineno, _NO_TABLE)
    parts: dict[str, ast.expr] = {}
    for key, value in zip(table.keys, table.values, strict=True):
        name = key.value if isinstance(key, ast.Constant) else None
        if name == IGNORED and all(isinstance(n, _PLAIN_NODES) for n in ast.walk(value)):
            continue
        if name not in ("classes", "templates") or name in parts:
            raise _refused(path, value.lineno, 'only "classes" and "templates" may stand there')
        parts[str(name)] = value
    classes = tuple(_text(item, path) for item in _items(parts.get("classes"), path, table.lineno))
    if not classes:
        raise _refused(path, table.lineno, "it has no classes")
    if "templates" not in parts:
        return classes, ()
    templates = _items(parts["templates"], path, table.lineno)
    return classes, tuple(_template(item, path) for item in templates)


def _check_parts(text: str, path: Path) -> None:
    """Refuse a file that takes hundreds of megabytes to parse."""
    for number, part in enumerate(_PART.finditer(text)):
        if number > _MAX_PARTS:
            line = text.count("\n", 0, part.start()) + 1
            raise _refused(path, line, "it has more parts than a label set")


def _refused(path: Path, line: int, why: str) -> InputError:
    return unsupported(
        f"Line {line} of {path.name} cannot be used: {why}; it is not evaluated. Write one class "
        "per line in a text file instead."
    )


def _items(node: ast.expr | None, path: Path, line: int) -> list[ast.expr]:
    if not isinstance(node, ast.List | ast.Tuple):
        where = line if node is None else node.lineno
        raise _refused(path, where, "a list of classes or templates is missing")
    return node.elts


def _text(node: ast.expr, path: Path) -> str:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        raise _refused(path, node.lineno, "a class name must be a plain text")
    if not node.value.strip() or any(ord(char) < 32 for char in node.value):
        raise _refused(path, node.lineno, "a class name is empty or holds control characters")
    return node.value


def _template(node: ast.expr, path: Path) -> str:
    """A function of one argument whose body is one f-string of it."""
    if not isinstance(node, ast.Lambda) or not isinstance(node.body, ast.JoinedStr):
        raise _refused(path, node.lineno, "a template must be a function with one f-string")
    arguments = node.args
    plain = len(arguments.args) == 1 and not (
        arguments.posonlyargs
        or arguments.kwonlyargs
        or arguments.vararg
        or arguments.kwarg
        or arguments.defaults
    )
    if not plain:
        raise _refused(path, node.lineno, "a template must have one argument, the class name")
    parts = [_part(part, arguments.args[0].arg, path) for part in node.body.values]
    if PLACE not in parts:
        raise _refused(path, node.lineno, "a template lacks the class name")
    return "".join(parts)


def _part(node: ast.expr, argument: str, path: Path) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        if PLACE in node.value or any(ord(char) < 32 for char in node.value):
            raise _refused(path, node.lineno, "a template holds braces or control characters")
        return node.value
    if (
        isinstance(node, ast.FormattedValue)
        and isinstance(node.value, ast.Name)
        and node.value.id == argument
        and node.conversion == -1
        and node.format_spec is None
    ):
        return PLACE
    raise _refused(path, node.lineno, "a template may hold the class name and text only")

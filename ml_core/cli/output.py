"""What the command line says: JSON on standard output, the rest on standard error.

rich is imported when there is something to print.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_core import figures

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ml_core.events import Done

BOXED: dict[str, Any] = {"title_justify": "center", "box": "HEAVY_HEAD", "pad_edge": True}
LINES: dict[str, Any] = BOXED | {"title_justify": "left"}
_OPEN: dict[str, Any] = {"title_justify": "left", "box": "SIMPLE_HEAD", "pad_edge": False}
EXIT_DONE, EXIT_USAGE, EXIT_CANCELLED = 0, 3, 130


def errors() -> Console:
    """Standard error as it is now (tests and pipes replace it)."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """A line on standard error; a name in it neither formats nor steers the terminal."""
    from ml_core.reading.errors import plain

    errors().print(plain(text), markup=False)


def cell(text: str) -> Text:
    """Foreign text for a table, as `say` shows it."""
    from rich.text import Text

    from ml_core.reading.errors import plain

    return Text(plain(text))


class OutputLost(Exception):  # noqa: N818
    """Standard output is closed or full: nothing more can be printed there."""


@contextmanager
def standard_output() -> Generator[None]:
    """Notice that a line was not written; rich would leave with 1, which means dangerous here."""
    try:
        yield
        sys.stdout.flush()
    except (OSError, SystemExit) as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter's last flush fails
        raise OutputLost from error


def show(content: Table | Text) -> None:
    """Write a table or a line to standard output."""
    from rich.console import Console

    with standard_output():
        Console(highlight=False, soft_wrap=True).print(content)


def line(text: str) -> None:
    """A line on standard output; a name in it neither formats nor steers the terminal."""
    show(cell(text))


class Aside(str):
    """A line for standard error."""

    __slots__ = ()


def answer(as_json: bool, record: Any, *parts: Table | str) -> None:
    """The answer of a command: its record as JSON, else tables and lines."""
    if as_json:
        print_json(record)
        return
    for part in parts:
        if isinstance(part, Aside):
            say(part)
        elif isinstance(part, str):
            line(part)
        else:
            show(part)


def estimated(result: Mapping[str, Any]) -> str:
    """What an estimate of a training came to, without a full stop."""
    return (
        f"About {result['seconds']:.0f} s for {result['steps']} steps "
        f"({result['step_seconds']:.2f} s a step, measured)"
    )


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], **style: Any) -> Table:
    """A table of foreign text.

    Parameters
    ----------
    title
        Caption.
    columns
        Titles. ``>`` before a title marks a column of numbers, ``~`` one of long words that fold.
    rows
        Cells; a row may end early.
    **style
        Options of rich's `Table`, if it is not to be open and titled at the left.
    """
    from rich import box
    from rich.table import Table

    style = _OPEN | style
    style["box"] = getattr(box, style["box"])
    content = Table(title=cell(title), **style)
    for name in columns:
        content.add_column(
            name.lstrip(">~"),
            justify="right" if name.startswith(">") else "left",
            overflow="fold" if name.startswith("~") else "ellipsis",
        )
    for row in rows:
        content.add_row(*map(cell, row))
    return content


def print_json(values: Any, *, indent: int | None = 1) -> None:
    """One JSON object on standard output; what JSON lacks (NaN) becomes null."""
    from ml_core.events import finite
    from ml_core.reading.errors import printable

    def path(place: os.PathLike[str]) -> str:
        return printable(os.fspath(place))

    with standard_output():
        record = finite(values, printable)
        sys.stdout.write(json.dumps(record, indent=indent, default=path) + "\n")


def give(content: Table | bytes, file: Path | None) -> None:
    """Print a table or a document on standard output, or write it into a file instead.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    from rich.console import Console

    from ml_core.exports import save_export

    if file is None:
        if isinstance(content, bytes):
            show_bytes(content)
        else:
            show(content)
        return
    if not isinstance(content, bytes):
        page = io.StringIO()
        Console(file=page, highlight=False, soft_wrap=True, color_system=None).print(content)
        content = page.getvalue().encode("utf-8", "backslashreplace")
    save_export(Path(os.path.expanduser(file)), content)
    say(f"Written: {file}")


def show_bytes(content: bytes) -> None:
    """Write a document to standard output as UTF-8."""
    with standard_output():
        sys.stdout.write(content.decode())


def check_not_over(file: Path, *inputs: Path | None) -> None:
    """Refuse an output that would replace what is read.

    Raises
    ------
    InputError
        ``usage`` if the file is one of ``inputs``.
    """
    from ml_core.reading.errors import InputError
    from ml_core.reading.inspect import whole_file

    target = Path(os.path.realpath(os.path.expanduser(file)))
    for path in inputs:
        if path is not None and target == Path(os.path.realpath(whole_file(path))):
            raise InputError(f"{file.name} is the input; choose another name for the output.")


class JobFailed(Exception):  # noqa: N818
    """A job ended with a failed Done that no input is to blame for."""

    def __init__(self, done: Done) -> None:
        super().__init__(done.error)
        self.done = done


def report_failure(error: Exception) -> tuple[str, str, str]:
    """What stopped a command: one line, its code, and details; those of a defect go to a file."""
    from pydantic import ValidationError

    from ml_core.cleaning.recipes import explain
    from ml_core.jobs.failures import failure
    from ml_core.reading.errors import InputError

    if isinstance(error, ValidationError):
        return explain(error), "usage", ""
    if isinstance(error, InputError):
        return error.sentence, error.code, error.details
    done = error.done if isinstance(error, JobFailed) else failure(error)
    if done.error_code != "internal":
        return done.error, done.error_code, ""
    return f"{done.error.removesuffix('.')}; {_log(done.details)}.", done.error_code, ""


def _log(text: str) -> str:
    """Write details to the log; say where they are."""
    from ml_core.paths import data_dir

    log = Path("cleanclip-errors.log")
    try:
        log = data_dir() / "logs" / log
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat()}\n{text}\n")
    except OSError as error:
        return f"the details could not be written to {log}: {error.strerror}"
    return f"the details are in {log}"


@contextmanager
def working(what: str) -> Generator[None]:
    """Show that something of unknown length goes on, on standard error."""
    from ml_core.reading.errors import plain

    with errors().status(f"{plain(what)} …"):
        yield


def raise_failure(done: Done) -> None:
    """Turn a failed Done into the exception that the command line reports.

    Raises
    ------
    InputError
        With the job's sentence, where the input was at fault.
    JobFailed
        Otherwise.
    """
    from ml_core.reading.errors import InputError

    if done.status != "failed":
        return
    if done.error_code in ("dangerous", "damaged", "unsupported", "usage"):
        raise InputError(done.error, done.error_code, done.details)  # type: ignore[arg-type]
    raise JobFailed(done)


def percent(row: dict[str, Any], name: str) -> str:
    """A rate of an evaluation as per cent, or that it was not measured."""
    reason = row.get("not_measured", {}).get(name)
    return figures.percent(row.get(name), reason if reason == "needs labels" else "not measured")


def comparison_table(title: str, rows: list[tuple[str, dict[str, Any] | None]]) -> Table:
    """Evaluations as rows.

    Parameters
    ----------
    title
        Caption of the table.
    rows
        Name and evaluation; those without evaluation are left out.
    """
    rates = (">CA", ">ASR", ">95 % interval", ">ASR, all images", ">target without trigger")
    cells = (
        (
            name,
            percent(row, "ca"),
            percent(row, "asr_excl"),
            figures.percent_range(row.get("asr_interval"), unit="", to="–"),
            percent(row, "asr_all"),
            percent(row, "baseline_target_rate"),
            percent(row, "poisoned_accuracy"),
            str(row.get("n", "–")),
        )
        for name, row in rows
        if row is not None
    )
    columns = ("", *rates, ">poisoned accuracy", ">n")
    return table(title, columns, cells, title_justify="center", collapse_padding=True)

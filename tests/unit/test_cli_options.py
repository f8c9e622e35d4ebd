"""Options that several commands share, declared as the fields of a dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from ml_core.cli.app import app as cleanclip
from ml_core.cli.options import flatten_options


@dataclass(frozen=True, kw_only=True)
class _Shared:
    name: Annotated[str, typer.Option("--name", "-n", help="Whose it is.")]
    count: Annotated[int, typer.Option(min=1)] = 3


seen: list[tuple[str, _Shared, bool]] = []
app = typer.Typer(add_completion=False)


@app.command()
@flatten_options
def _command(
    file: Annotated[str, typer.Argument()], *, shared: _Shared, last: bool = False
) -> None:
    """Do it."""
    seen.append((file, shared, last))


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["a", "-n", "Ada"], ("a", _Shared(name="Ada"), False)),
        (["--count", "7", "b", "--name", "Bo", "--last"], ("b", _Shared(name="Bo", count=7), True)),
    ],
)
def test_the_fields_of_a_dataclass_are_options(
    arguments: list[str], found: tuple[str, _Shared, bool]
) -> None:
    seen.clear()
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert seen == [found]


@pytest.mark.parametrize("arguments", [["a"], ["a", "-n", "Ada", "--count", "0"]])
def test_a_field_is_checked_as_an_option_is(arguments: list[str]) -> None:
    seen.clear()
    assert CliRunner().invoke(app, arguments).exit_code == 2
    assert not seen


def test_the_options_stand_where_the_dataclass_stands() -> None:
    options = [one.name for one in typer.main.get_command(app).params]
    assert options == ["file", "name", "count", "last"]


@pytest.mark.parametrize(
    ("other", "own"),
    [("bench", set()), ("search", {"minutes"})],  # of the whole search, not of one training
)
def test_clean_and_others_take_the_same_options_of_a_job(other: str, own: set[str]) -> None:
    commands = typer.main.get_command(cleanclip).commands  # type: ignore[attr-defined]
    clean, bench = (
        {one.name: (one.opts, one.default, one.help) for one in commands[name].params}
        for name in ("clean", other)
    )
    shared = clean.keys() & bench.keys() - {"checkpoint", "output_dir", "seed"} - own
    assert {"pairs", "exclude", "images", "trigger", "labels", "donor", "threads"} <= shared
    assert {name: clean[name] for name in shared} == {name: bench[name] for name in shared}

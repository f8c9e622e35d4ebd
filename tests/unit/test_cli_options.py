"""Options of commands: from fields of specs, from those that commands share, and their own."""

from __future__ import annotations

from typing import Literal, get_args

import pytest
import typer
from pydantic import BaseModel
from typer.testing import CliRunner

from ml_core.cli.app import app as cleanclip
from ml_core.cli.options import Options, command, declared
from ml_core.jobs.audit import AuditSpec
from ml_core.jobs.proofs import ReboundSpec
from ml_core.jobs.rates import RateSpec
from ml_core.jobs.report import ReportSpec
from ml_core.jobs.scan import ScanSpec
from ml_core.jobs.search import SearchSpec
from ml_core.jobs.search.canary_spec import CanarySettings
from ml_core.jobs.specs import BenchSpec, CleanSpec
from ml_core.jobs.verify import VerifySpec
from ml_core.options import option

COMMANDS: dict[str, tuple[type[BaseModel], ...]] = {
    "audit": (AuditSpec,),
    "bench": (BenchSpec, CleanSpec),
    "clean": (CleanSpec,),
    "prove": (ReboundSpec,),
    "rates": (RateSpec, CleanSpec),
    "report": (ReportSpec,),
    "scan": (ScanSpec,),
    "search": (SearchSpec, CanarySettings, CleanSpec),
    "verify": (VerifySpec,),
}


class _Spec(BaseModel):
    rate: float | None = option(None, help="How fast.", ge=0, le=1, closed=True)
    size: int = option(8, help="How large.", flag="--side", ge=2, le=64, least=4)
    kind: Literal["a", "b"] = option("a", help="Which.")
    loud: bool = option(False, help="Whether it beeps.")
    hidden: int = 3


calls: list[tuple[str, int, Options]] = []
app = typer.Typer(add_completion=False)


@app.command()
@command("file=checkpoint rate side kind loud name output_dir json", _Spec, output_dir=None)
def _command(
    options: Options, side: int, name: str = option("me", help="Whose it is.", flag="-n --name")
) -> None:
    """Do it."""
    calls.append((name, side, options))


@pytest.mark.parametrize(
    ("arguments", "name", "fields", "json"),
    [
        (["a"], "me", {"rate": None, "size": 8, "kind": "a", "loud": False}, False),
        (
            ["--side", "64", "a", "-n", "Ada", "--kind", "b", "--rate", "1", "--loud", "--json"],
            "Ada",
            {"rate": 1.0, "size": 64, "kind": "b", "loud": True},
            True,
        ),
    ],
)
def test_a_command_gets_the_fields_of_its_spec_and_the_shared_options(
    arguments, name, fields, json
):
    calls.clear()
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    ((own, side, options),) = calls
    assert (own, side, options.of(_Spec)) == (name, fields["size"], fields)
    assert (str(options.checkpoint), options.json, options.output_dir) == ("a", json, None)
    assert options.labels == "demo"  # not taken: the default
    assert options.changed(labels="x").of(_Spec) == fields


@pytest.mark.parametrize(
    "arguments", [[], [""], ["a", "--side", "3"], ["a", "--rate", "1.1"], ["a", "--hidden", "3"]]
)
def test_an_option_is_checked_before_the_command_runs(arguments):
    calls.clear()
    assert CliRunner().invoke(app, arguments).exit_code == 2
    assert not calls


def test_options_stand_in_the_order_of_their_names() -> None:
    names = [parameter.name for parameter in typer.main.get_command(app).params]
    assert names == ["file", "rate", "side", "kind", "loud", "name", "output_dir", "json"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_declared_option_is_one_of_the_command(name):
    commands = typer.main.get_command(cleanclip).commands  # type: ignore[attr-defined]
    parameters = {opt: each for each in commands[name].params for opt in each.opts}
    for spec in COMMANDS[name]:
        for field, info in spec.model_fields.items():
            if not (extra := declared(info)):
                continue
            usual = "--" + field.replace("_", "-")
            parameter = parameters[(extra["flag"] or usual).partition("/")[0]]
            others = [other for other in COMMANDS[name] if other is not spec]
            assert parameter.help == info.description or others, field
            assert parameter.default == info.default or others, field
            assert type(None) not in get_args(info.annotation) or not parameter.required


@pytest.mark.parametrize(
    ("other", "own"),
    [("bench", set()), ("search", {"minutes"})],  # of the whole search, not of one training
)
def test_clean_and_others_take_the_same_options_of_a_job(other, own):
    commands = typer.main.get_command(cleanclip).commands  # type: ignore[attr-defined]
    clean, bench = (
        {each.name: (each.opts, each.default, each.help) for each in commands[name].params}
        for name in ("clean", other)
    )
    shared = clean.keys() & bench.keys() - {"checkpoint", "output_dir", "seed"} - own
    assert {"pairs", "exclude", "validation", "trigger", "labels", "donor", "threads"} <= shared
    assert {name: clean[name] for name in shared} == {name: bench[name] for name in shared}

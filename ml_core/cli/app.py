"""The commands of ``cleanclip`` and their exit codes.

0 done, 1 refused as dangerous, 2 damaged or unsupported, 3 usage (also a full disk or too little
memory), 4 internal error, 130 Ctrl-C, 143 and 129 SIGTERM and SIGHUP.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from ml_core import __version__
from ml_core.cleaning.recipes import explain as explain_invalid
from ml_core.cli import key, known, output, recipes, triggers
from ml_core.cli.audit import audit
from ml_core.cli.bench import bench
from ml_core.cli.clean import clean
from ml_core.cli.compare import compare
from ml_core.cli.convert import convert
from ml_core.cli.demo import demo
from ml_core.cli.doctor import doctor
from ml_core.cli.evaluate import evaluate
from ml_core.cli.examine import examine
from ml_core.cli.explain import explain
from ml_core.cli.gate import gate
from ml_core.cli.identify import identify
from ml_core.cli.inspect import inspect
from ml_core.cli.key import sign
from ml_core.cli.prove import prove
from ml_core.cli.rates import rates
from ml_core.cli.report import report
from ml_core.cli.run import Terminated, say_when_ended
from ml_core.cli.scan import scan
from ml_core.cli.search import search
from ml_core.cli.verify import verify
from ml_core.jobs.failures import exit_code
from ml_core.jobs.processes import launched
from ml_core.paths import nothing_is_kept
from ml_core.reading.errors import InputError

app = typer.Typer(
    name="cleanclip",
    help="Inspect, evaluate and clean CLIP checkpoints. No code in a file is ever run.\n\nExit "
    "codes: 0 done, 1 refused as dangerous, 2 damaged or unsupported, 3 usage, 4 internal "
    "error, 130 cancelled with Ctrl-C.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    plugins: Annotated[
        str | None,
        typer.Option(
            help="Distributions whose triggers, methods and detectors are added, with commas "
            "between (default: those of CLEANCLIP_PLUGINS, else none).",
            metavar="NAMES",
        ),
    ] = None,
) -> None:
    if version:
        typer.echo(f"cleanclip {__version__}")
        raise typer.Exit
    if plugins is not None or "CLEANCLIP_PLUGINS" in os.environ:
        from ml_core.plugins import switch_on

        switch_on(plugins)


for command in (
    examine, inspect, identify, gate, convert, compare, evaluate, explain, doctor, scan, audit,
    rates, clean, bench, search, prove, report, sign, verify, demo,
):  # fmt: skip
    app.command()(command)
for group in (triggers.app, recipes.app, known.app, key.app):
    app.add_typer(group)


# typer has brought its own click since 0.17; this is the base of its usage errors in any version.
_UsageProblem: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code instead of leaving.

    Raises
    ------
    OutputLost
        If standard output cannot be written.
    """
    sentence, code, details = "Cancelled.", "cancelled", ""
    try:
        _refuse_several_processes()
        returned = app(args=list(arguments), prog_name="cleanclip", standalone_mode=False)
        if arguments and (note := nothing_is_kept()):
            output.say(note)
        status = returned if isinstance(returned, int) else output.EXIT_DONE
        if status != output.EXIT_CANCELLED:
            return status
    except typer.Exit as leave:
        return leave.exit_code
    except ValidationError as error:
        sentence, code, status = explain_invalid(error), "usage", output.EXIT_USAGE
    except InputError as error:
        sentence, code, status = error.sentence, error.code, exit_code(error.code)
        details = error.details
    except (KeyboardInterrupt, typer.Abort):
        status = output.EXIT_CANCELLED
    except _UsageProblem as problem:
        sentence, code, status = _message(problem), "usage", output.EXIT_USAGE
    except output.OutputLost:
        raise
    except Exception as error:
        sentence, code = output.report_failure(error)
        status = exit_code(code)
    if sentence:  # without arguments the help was shown instead
        output.say(sentence)
    if _answers_in_json(arguments):
        output.print_json({"error": sentence, "error_code": code, "details": details})
    return status


def _answers_in_json(arguments: Sequence[str]) -> bool:
    """Whether the user asked for JSON on standard output; the error is then printed there."""
    if "--json" in arguments:
        return True
    to_file = any(
        argument in ("-o", "--output") or argument.startswith("--output=") for argument in arguments
    )
    asked = "--format=json" in arguments or ("--format", "json") in pairwise(arguments)
    return asked and not to_file


def _refuse_several_processes() -> None:
    """Refuse to be started by torchrun: each process would do the whole of it."""
    count = launched().world
    if count > 1:
        raise InputError(
            f"This is one of {count} processes, and no command divides its work among several. "
            "Start it once; `cleanclip clean --export` writes a cleaning for several.",
            "usage",
        )


def _message(problem: Exception) -> str:
    """What the parser has to say, ended by a full stop."""
    formatted = getattr(problem, "format_message", problem.__str__)()
    text = str(formatted).strip()
    return text if not text or text.endswith((".", "?")) else f"{text}."


def main() -> NoReturn:
    """Entry point of the console script ``cleanclip``."""
    try:
        say_when_ended()
        status = run_command(sys.argv[1:])
    except Terminated as ended:
        ended.leave()
    except output.OutputLost:
        output.say("Standard output is closed or full: the output could not be written.")
        status = output.EXIT_USAGE
    _leave(status)


def _leave(status: int) -> NoReturn:
    """End without taking torch down, object by object, which takes seconds after the last word.

    After a Ctrl-C nothing is waited for.
    """
    if status != output.EXIT_CANCELLED:
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)

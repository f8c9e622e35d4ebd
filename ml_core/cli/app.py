"""The commands of ``cleanclip`` and their exit codes.

0 done, 1 refused as dangerous, 2 damaged or unsupported, 3 usage (also a full disk or too little
memory), 4 internal error, 130 Ctrl-C, 143 and 129 SIGTERM and SIGHUP.

Importing this module is cheap; a command's module is imported when the command is run.
"""

from __future__ import annotations

import atexit
import inspect
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from importlib import import_module
from itertools import pairwise
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from ml_core import __version__
from ml_core.cli import output

_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
_TOLD = threading.Event()
_GRACE_SECONDS = 0.9


class Terminated(BaseException):
    """The process was told to end by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def leave(self) -> NoReturn:
        """End, once the user has been told."""
        _TOLD.wait(_GRACE_SECONDS)
        os._exit(128 + self.number)


def say_when_ended() -> None:
    """Tell of a SIGTERM or SIGHUP, give what is open the time to be closed, and end.

    A thread hears of it even while the main one is in the middle of a step, which takes minutes.
    What ignores a signal, as nohup does, goes on.
    """
    if os.name != "posix":
        return
    heard = [number for number in _ENDING if signal.getsignal(number) != signal.SIG_IGN]

    def handle(number: int, _frame: object) -> None:
        raise Terminated(number)

    def listen() -> None:
        while True:
            for number in os.read(reader, 64):
                if number in heard:
                    with suppress(OSError):  # the terminal is closed
                        name = signal.Signals(number).name
                        output.say(f"Ended by {name}. What was saved last is kept.")
                    _TOLD.set()
                    time.sleep(_GRACE_SECONDS)
                    os._exit(128 + number)

    def forget() -> None:
        signal.set_wakeup_fd(-1)
        for number in heard:
            signal.signal(number, signal.SIG_DFL)

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in heard:
        signal.signal(number, handle)
    os.register_at_fork(after_in_child=forget)
    threading.Thread(target=listen, name="signals", daemon=True).start()


COMMANDS = {
    "examine": "Look at a checkpoint as an expert would, and give one answer.",
    "inspect": "Say what a checkpoint is, without running anything in it.",
    "identify": "Say which CLIP a checkpoint holds: compare each encoder with the known files.",
    "gate": "Say whether checkpoints keep the rules of a policy: PASS, FAIL or NOT EVALUABLE.",
    "convert": "Write the CLIP in a checkpoint as safetensors that stock open_clip loads.",
    "compare": "Compare two checkpoints tensor by tensor: where was a model finetuned?",
    "evaluate": "Measure clean accuracy and, with a trigger, the attack success rate.",
    "explain": "Show where a model looks, or draw its embeddings as a map.",
    "doctor": "Find settings that a file leaves open or states wrongly: activation, mean, heads, "
    "size.",
    "scan": "Scan a checkpoint for hidden triggers.",
    "audit": "Look for poisoned pairs in a cleaning set, by the suspect checkpoint's own "
    "embeddings.",
    "rates": "Find the learning rates that a checkpoint bears, before cleaning it.",
    "clean": "Clean a checkpoint and measure it before and after. Ctrl-C keeps the last save.",
    "bench": "Compare methods fairly: the same checkpoint, data, seeds and, with --minutes, "
    "compute.",
    "plant": "Plant a backdoor in a copy of a checkpoint, for research and as ground truth.",
    "why": "Say why a known trigger succeeds so seldom, and what would change that.",
    "search": "Search for the recipe that cleans this checkpoint at the least loss of accuracy.",
    "prove": "Test whether a cleaned checkpoint stays clean: finetune it again, test what it "
    "never saw.",
    "report": "Write evidence that a stranger can check: a report, and every answer that it stands "
    "on.",
    "sign": "Sign files with your key: OpenSSF Model Signing 1.0, as the program model_signing "
    "reads it.",
    "verify": "Check a bundle that somebody else made: files, figures, identity, answers.",
    "demo": "The guided demo without a window: examine, clean, scan again, prove, report.",
    "triggers": "The published triggers, and trigger files: list, show, export.",
    "recipes": "List the methods, show a recipe, save one.",
    "known": "Published checkpoints, what is known about them, and your own entries.",
    "key": "Keys to sign checkpoints and evidence with, and keys of people whom you trust.",
}
"""Name and help line of each command. It is a function of that name, or a typer app called ``app``,
in the module of that name; `_MODULES` names the others."""
_MODULES = {"sign": "key"}
_MARKUP: Any = "markdown"


def load(name: str) -> Any:
    """Import a command and make it one of click's."""
    module = import_module(f"ml_core.cli.{_MODULES.get(name, name)}")
    function = getattr(module, name, None)
    app = module.app if function is None else typer.Typer(add_completion=False)
    app.rich_markup_mode, app.pretty_exceptions_enable = _MARKUP, False
    text = COMMANDS[name]
    if function is not None:
        app.command(name, help=f"{text}\n\n{inspect.getdoc(function)}")(function)
    command = typer.main.get_command(app)
    command.name, command.help = name, command.help or text
    return command


class _Commands(TyperGroup):
    """Lists commands by their help lines, and imports the one that is run."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, text in COMMANDS.items():
            self.add_command(TyperCommand(name, help=text))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        _refuse_several_processes()
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(str(name)), rest


app = typer.Typer(
    name="cleanclip",
    cls=_Commands,
    help="Inspect, evaluate and clean CLIP checkpoints. No code in a file is ever run.\n\nExit "
    "codes: 0 done, 1 refused as dangerous, 2 damaged or unsupported, 3 usage, 4 internal "
    "error, 130 cancelled with Ctrl-C.",
    no_args_is_help=True,
    rich_markup_mode=_MARKUP,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    plugins: Annotated[
        str | None,
        typer.Option(
            help="Distributions that add triggers, methods and detectors, separated by commas "
            "(default: those of CLEANCLIP_PLUGINS, else none).",
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
        only_tells = not arguments or "--help" in arguments or "--version" in arguments
        with output.standard_output() if only_tells else nullcontext():
            returned = app(args=list(arguments), prog_name="cleanclip", standalone_mode=False)
        if arguments:
            _say_what_is_not_kept()
        status = returned if isinstance(returned, int) else output.EXIT_DONE
        if status != output.EXIT_CANCELLED:
            return status
    except typer.Exit as leave:
        return leave.exit_code
    except (KeyboardInterrupt, typer.Abort):
        status = output.EXIT_CANCELLED
    except _UsageProblem as problem:
        sentence, code, status = _message(problem), "usage", output.EXIT_USAGE
    except output.OutputLost:
        raise
    except Exception as error:
        from ml_core.reading.errors import exit_code

        sentence, code, details = output.report_failure(error)
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
    from ml_core.jobs.processes import launched
    from ml_core.reading.errors import InputError

    count = launched().world
    if count > 1:
        raise InputError(
            f"This is one of {count} processes, and no command divides its work among several. "
            "Start it once; `cleanclip clean --export` writes a cleaning for several.",
            "usage",
        )


def _say_what_is_not_kept() -> None:
    from ml_core.paths import nothing_is_kept

    if note := nothing_is_kept():
        output.say(note)


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
    except output.OutputLost as lost:
        if not isinstance(lost.__cause__, BrokenPipeError | SystemExit):  # `| head` has enough
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

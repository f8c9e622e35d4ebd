"""The child process of a job: ``python -m ml_core.jobs.worker spec.json``.

Writes one JSON line an event to standard output. With ``--supervised``, which the window passes,
commands come on standard input (``cancel``, ``stop``, ``pause``, ``resume``), and its end means
that the window died: save and stop. Without it standard input is ignored, as torchrun, Slurm and
nohup give /dev/null, and SIGTERM means save and stop.

A spec named ``-`` is told later, as the first line of standard input (a path as JSON): the process
loads its libraries meanwhile.

Under torchrun all processes of a supervised job share one standard input: the first one obeys, and
what it does the others learn between two steps. SIGTERM ends the others, and the end of torchrun
ends all of them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import IO

from pydantic import BaseModel

from ml_core.children import collector_off
from ml_core.events import Control, Done, Event, Message, to_json
from ml_core.jobs.failures import guarded
from ml_core.jobs.processes import launched
from ml_core.jobs.runner import run_job
from ml_core.jobs.table import JOBS, Job
from ml_core.plugins import switch_on
from ml_core.reading.errors import InputError, exit_code

CANCEL_GRACE_SECONDS = 0.8
_LIFELINE_SECONDS = 0.2
_SAME_SIGNAL_SECONDS = 5.0
_LATER = Path("-")
EXIT_CODES = {"finished": 0, "stopped": 0, "cancelled": 130}


class Output:
    """Writes events as whole lines from any thread; nothing follows Done."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self.status: str | None = None

    def __call__(self, event: Event) -> None:
        with self._lock:
            if self.status is not None:
                return
            if isinstance(event, Done):
                self.status = event.status
            try:
                self._stream.write(to_json(event) + "\n")
                self._stream.flush()
            except (BrokenPipeError, ValueError):  # the listener is gone; the job's files remain
                return


def listen(commands: IO[str], control: Control, output: Output) -> None:
    """Obey commands, one a line, until the input ends; the end means save and stop.

    A cancel is acknowledged at once. If the step in flight has not ended after a grace period
    the process ends without it: the last atomic save is kept.
    """
    acts: dict[str, Callable[[], None]] = {
        "stop": control.stop,
        "pause": control.pause,
        "resume": control.resume,
    }
    for line in commands:
        command = line.strip()
        if command == "cancel":
            output(Message("Cancelling."))
            control.cancel()
            timer = threading.Timer(CANCEL_GRACE_SECONDS, _leave, (output,))
            timer.daemon = True
            timer.start()
        elif command in acts:
            acts[command]()
            if command == "stop":
                output(Message("Stopping after this step, then saving."))
        elif command:
            output(Message(f"Unknown command {command[:40]!r}.", "warning"))
    if not control.cancelled:
        control.stop()


def _leave(output: Output) -> None:
    """End the process in the middle of a step."""
    output(Done("cancelled"))
    os._exit(EXIT_CODES["cancelled"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job of a spec file; return the exit code (0, 1 to 4 as the command line's, 130)."""
    parser = argparse.ArgumentParser(prog="python -m ml_core.jobs.worker", description=__doc__)
    parser.add_argument("spec", type=Path, help="the job, a JSON file; - is told later")
    parser.add_argument("--supervised", action="store_true", help="take commands from stdin")
    parser.add_argument("--resume", action="store_true", help="go on from the last save")
    parser.add_argument(
        "--estimate",
        action="store_true",
        help="measure a few steps and say how long the cleaning, the scan or the ramp would take",
    )
    for kind in JOBS:
        parser.add_argument(f"--{kind}", action="store_true", help=f"it is a job of kind {kind}")
    options = parser.parse_args(arguments)
    job = JOBS[next((kind for kind in JOBS if getattr(options, kind)), "clean")]
    if options.spec == _LATER:
        _load(job)
        line = sys.stdin.readline()
        if not line:  # there was nothing to do
            return 0
        options.spec = Path(json.loads(line))
    own = launched()
    first, several = own.rank == 0, own.world > 1
    control = Control()
    speaks = first or options.supervised  # the window hears why another process failed
    output = Output(_own_stdout() if speaks else _nowhere())
    if options.supervised and several:
        _in_background("lifeline", _end_with_parent, os.getppid())
    if options.supervised and first:
        _in_background("commands", listen, sys.stdin, control, output)
    elif not options.supervised:
        _on_sigterm(control)
    try:
        switch_on()
        spec = job.read_spec(options.spec)
    except InputError as error:
        output(Done("failed", error=error.sentence, error_code=error.code, details=error.details))
        return exit_code(error.code)
    last = Done("failed", error="The job ended without a result.", error_code="internal")
    for event in guarded(_events(job, spec, control, options.resume, options.estimate)):
        if isinstance(event, Done):
            last = event
        if first or (isinstance(event, Done) and event.status == "failed"):
            output(event)
    if not first and last.error:
        print(f"Process {own.rank}: {last.error}", file=sys.stderr)
    if several and options.supervised and last.status == "cancelled":
        return 0  # as asked; torchrun takes anything else for a failure of the others
    return EXIT_CODES.get(last.status, exit_code(last.error_code))


def _load(job: Job) -> None:
    """Import what a job needs: torch, and the job's own module."""
    with collector_off():
        if job.needs_model:
            import ml_core.open_clip_parts  # noqa: F401  # with torch: the job builds a model

        job.load()


def _events(
    job: Job, spec: BaseModel, control: Control, resume: bool, estimate: bool
) -> Generator[Event, None, None]:
    """The job's events; torch is imported here, after the commands are listened to."""
    from ml_core.jobs.devices import lower_priority

    lower_priority()
    _load(job)
    options = {"resume": resume} if job.resumes else {}
    yield from run_job(spec, control, estimate=estimate, **options)


def _in_background(name: str, target: Callable[..., None], *arguments: object) -> None:
    """Start a thread that does not keep the process alive."""
    threading.Thread(target=target, args=arguments, name=name, daemon=True).start()


def _end_with_parent(parent: int) -> None:
    """End this process once torchrun is gone: it would wait for the others for ever."""
    while os.getppid() == parent:
        time.sleep(_LIFELINE_SECONDS)
    os._exit(EXIT_CODES["cancelled"])


def _own_stdout() -> IO[str]:
    """Keep standard output for events; what libraries print goes to standard error."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return own


def _nowhere() -> IO[str]:
    """Where a process that is not the first one writes its events."""
    _own_stdout().close()
    return open(os.devnull, "w", encoding="utf-8")


def _on_sigterm(control: Control) -> None:
    """The first SIGTERM saves and stops, a later one cancels.

    Slurm signals every process, and torchrun passes its own signal on. Two at once count as one.
    """
    first = math.inf

    def handle(_signal: int, _frame: object) -> None:
        nonlocal first
        if not control.stopped:
            control.stop()
            first = time.monotonic()
        elif time.monotonic() - first > _SAME_SIGNAL_SECONDS:
            control.cancel()

    signal.signal(signal.SIGTERM, handle)


if __name__ == "__main__":
    sys.exit(main())

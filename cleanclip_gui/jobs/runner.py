"""A long job: a QThread that supervises a child process and reads its events (decision 0001)."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Literal, cast

import psutil
from PySide6.QtCore import QObject, QThread, Signal

import ml_core
from cleanclip_gui import threads
from cleanclip_gui.widgets.text import used_text
from ml_core.children import child_command
from ml_core.events import Done, Event, Finding, Message, Metric, Progress, Saved, from_json
from ml_core.jobs.journal import add_last_word
from ml_core.jobs.specs import EVENTS_FILE
from ml_core.jobs.table import JOBS
from ml_core.reading.errors import InputError

_LOG = logging.getLogger(__name__)
_STATUSES = frozenset({"finished", "stopped", "cancelled", "failed"})
# What Windows returns for a process that died of a memory fault.
_ACCESS_VIOLATION = 0xC0000005
# How torchrun's last lines tell of the process that a signal ended first.
_FIRST_KILLED = re.compile(r"Root Cause.*?Signal \d+ \((\w+)\) received", re.DOTALL)
INTERRUPTED = frozenset({"killed", "crashed", "no_result", "protocol"})
"""Codes of a child that was ended before its last word: its run stands as interrupted."""


class MalformedEventError(ValueError):
    """The child sent something that looks like an event but cannot be read."""


def read_event(line: str) -> Event | None:
    """Read one line of the child; None if it is ordinary output, which belongs in the log.

    Raises
    ------
    MalformedEventError
        If the line is meant as an event and cannot be read as one.
    """
    text = line.strip()
    if not text.startswith("{"):
        return None
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.startswith('{"event"'):
            raise MalformedEventError(text[:200]) from error
        return None
    if not isinstance(fields, dict) or "event" not in fields:
        return None
    try:
        event = from_json(text)
    except (ValueError, TypeError, AttributeError) as error:
        raise MalformedEventError(text[:200]) from error
    if not _well_formed(event):
        raise MalformedEventError(text[:200])
    return event


def _guess(name: str) -> str:
    """What a signal mostly means, and what helps."""
    advice = ", probably out of memory: close other programs or use a smaller batch"
    return advice if name == "SIGKILL" else ""


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _well_formed(event: Event) -> bool:
    """Whether the fields have the types that the widgets rely on."""
    if isinstance(event, Progress):
        optional = (event.rate, event.seconds_left)
        return (
            isinstance(event.stage, str)
            and _number(event.done)
            and _number(event.total)
            and all(value is None or _number(value) for value in optional)
        )
    if isinstance(event, Metric):
        return _number(event.step) and _number(event.total_steps)
    if isinstance(event, Message):
        return isinstance(event.text, str)
    if isinstance(event, Finding):
        return isinstance(event.kind, str) and isinstance(event.values, dict)
    if isinstance(event, Saved):
        return isinstance(event.path, str) and _number(event.step)
    return (
        event.status in _STATUSES
        and isinstance(event.result, dict)
        and isinstance(event.error, str)
        and isinstance(event.details, str)
    )


def explain_exit(returncode: int, tail: Sequence[str], *, job: str = "cleaning job") -> Done:
    """Say why a child ended without a last word.

    Parameters
    ----------
    returncode
        Return code of ``Popen``: the negative signal number if a signal ended the child.
    tail
        The child's last lines of ordinary output.
    job
        What to call it in the sentence.
    """
    details = "\n".join(tail)
    if returncode < 0:
        try:
            name = signal.Signals(-returncode).name
        except ValueError:
            name = f"signal {-returncode}"
        sentence = f"The {job} was killed by {name}{_guess(name)}."
        return Done("failed", {}, sentence, "killed", details)
    killed = _FIRST_KILLED.search(details)
    if killed is not None:
        name = killed[1]
        sentence = f"A process of the {job} was killed by {name}{_guess(name)}."
        return Done("failed", {}, sentence, "killed", details)
    if returncode & 0xFFFFFFFF == _ACCESS_VIOLATION:
        return Done("failed", {}, f"The {job} crashed in native code.", "killed", details)
    if returncode == 0:
        return Done("failed", {}, f"The {job} ended without a result.", "no_result", details)
    return Done(
        "failed",
        {},
        f"The {job} ended with exit code {returncode} before it was done.",
        "crashed",
        details,
    )


# Between SIGTERM and SIGKILL.
TERMINATE_GRACE_S = 0.3
# torchrun on this machine alone, at a free port.
_LAUNCHER = "--standalone"
_WAITING_NEEDS = 3 << 30


def worker_command(spec_path: Path, resume: bool = False) -> list[str]:
    """Command line of the child that runs ``spec_path``."""
    options = ["--supervised", *(["--resume"] if resume else [])]
    return [*child_command("ml_core.jobs.worker"), str(spec_path), *options]


def together(command: Sequence[str], processes: int) -> list[str]:
    """Command line that runs ``command`` in several processes of this machine, with torchrun.

    All of them inherit the pipe on which commands come; the first one alone reads it.
    """
    options = [_LAUNCHER, f"--nproc-per-node={processes}", "--no-python"]
    return [*child_command("torch.distributed.run"), *options, *command]


def environment(command: Sequence[str] = ()) -> dict[str, str]:
    """Return the child's environment: where files live, where ml_core is, unbuffered UTF-8."""
    values = dict(os.environ)
    home = values.get("CLEANCLIP_HOME")
    if home:
        values["CLEANCLIP_HOME"] = str(Path(home).resolve())
    root = str(Path(ml_core.__file__).resolve().parent.parent)
    paths = [root, *values.get("PYTHONPATH", "").split(os.pathsep)]
    values["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    values.update(PYTHONUNBUFFERED="1", PYTHONUTF8="1")
    if _LAUNCHER in command:
        values.setdefault("OMP_NUM_THREADS", "1")  # torchrun does, with a warning; jobs set theirs
    return values


def _windows_flags() -> int:
    """Flags for a priority below the window's, and no Ctrl+C from its terminal; else 0."""
    names = ("BELOW_NORMAL_PRIORITY_CLASS", "CREATE_NEW_PROCESS_GROUP")
    return sum(getattr(subprocess, name, 0) for name in names)


def spawn(command: Sequence[str]) -> subprocess.Popen[str]:
    """Start the child in its own group, at low priority, so that the window stays quick."""
    windows = sys.platform == "win32"
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=1,
        encoding="utf-8",
        errors="replace",
        env=environment(command),
        start_new_session=not windows,
        creationflags=_windows_flags(),
    )
    if not windows:
        # A child that is not read from must not make the GUI thread wait on a full pipe.
        os.set_blocking(cast(IO[str], process.stdin).fileno(), False)
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, 10)
    return process


class WaitingChild:
    """A worker that loads its libraries and waits for its job, so that it can begin at once.

    Parameters
    ----------
    kind
        Kind of the job, such as ``scan``.
    """

    def __init__(self, kind: str) -> None:
        self._process = spawn([*worker_command(Path("-")), f"--{kind}"])

    @property
    def is_waiting(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def take(self, spec_path: Path) -> subprocess.Popen[str]:
        """Tell it the job; from now on it is a job's child like any other."""
        write(self._process, json.dumps(str(spec_path)))
        return self._process

    def end(self) -> None:
        """End it: it has nothing to lose."""
        kill(self._process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                cast(IO[str], stream).close()


def enough_memory() -> bool:
    """Whether a child may wait with its libraries loaded, some 400 MB."""
    return bool(psutil.virtual_memory().available > _WAITING_NEEDS)


def write(process: subprocess.Popen[str], command: str) -> None:
    """Write a command; a child that has ended or does not read is left to the supervisor."""
    try:
        os.write(cast(IO[str], process.stdin).fileno(), f"{command}\n".encode())
    except (OSError, ValueError) as error:
        _LOG.info("the child did not take %r: %s", command, error)


def escalate(process: subprocess.Popen[str], grace: float) -> None:
    """Wait, terminate, wait, kill."""
    for wait, act in ((grace, process.terminate), (TERMINATE_GRACE_S, None)):
        try:
            process.wait(wait)
            return
        except subprocess.TimeoutExpired:
            if act is not None:
                act()
    kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill the child and its children, which under torchrun are in separate groups."""
    if process.poll() is not None:
        return
    try:
        parent = psutil.Process(process.pid)
        parent.suspend()  # it starts nothing more
        family = [*parent.children(recursive=True), parent]
    except psutil.Error:  # it is ending
        process.kill()
        return
    for member in family:
        with contextlib.suppress(psutil.Error):
            member.kill()
    if sys.platform != "win32":  # what lost its parent, and is of the child's own group
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def drain(process: subprocess.Popen[str]) -> None:
    """Read what is left, so that a child that is being ended never hangs on a full pipe."""
    for _ in iter(lambda: cast(IO[str], process.stdout).read(65_536), ""):
        continue


JobState = Literal["starting", "running", "paused", "stopping", "cancelling", "ended"]

TAIL_LINES = 50
MAX_LINE = 4_000_000
# A cancelled child has this long to end by itself; with what it has after SIGTERM that is under
# the second that the window promises.
CANCEL_GRACE_S = 0.5
# A child that said its last word gives back its memory within this time or is ended.
LAST_WORD_GRACE_S = 10.0

_RUNNING: dict[str, JobRunner] = {}


class _Devices(QObject):
    """``changed``: a job took a device or gave it back; use a queued connection."""

    changed = Signal()


DEVICES = _Devices()


def is_taken(device: str) -> bool:
    """Whether a job of any kind uses what a job on ``device`` would use."""
    return any(_overlap(device, other) for other in _RUNNING)


class JobRunner(QThread):
    """Runs one job in a child process; every signal reaches the GUI thread queued.

    Connect its signals to methods of objects that live in the GUI thread, never to lambdas.
    No method waits, but for :meth:`close`, which has a limit.

    Parameters
    ----------
    spec_path
        The job as JSON on disk.
    device
        What the job computes on; one job at a time on each. ``cuda`` is every GPU.
    processes
        More than one run the job together, each on a separate GPU.
    command
        The child's command line, by default the ml_core worker on ``spec_path``.
    temporary
        Remove the spec when the child has ended: nothing will go on from it.
    what
        What to call the job in a sentence.
    journal
        Where the job writes its events: a child that was cancelled and had no time for its last
        word gets it there.
    child
        A process that waits for such a job; a new one starts if it has ended.
    """

    closing_ms = threads.CLOSING_MS

    event_received = Signal(object)
    line_logged = Signal(str)
    state_changed = Signal(str)
    ended = Signal(object)

    def __init__(
        self,
        spec_path: Path,
        *,
        device: str = "cpu",
        processes: int = 1,
        command: Sequence[str] | None = None,
        temporary: bool = False,
        what: str = "cleaning job",
        journal: Path | None = None,
        child: WaitingChild | None = None,
    ) -> None:
        super().__init__()
        self._what, self._journal, self._child = what, journal, child
        self.setObjectName("job supervisor")
        self.spec_path = Path(spec_path)
        self.device = device
        self._command = list(command) if command else worker_command(self.spec_path)
        if processes > 1:
            self._command = together(self._command, processes)
        self._temporary = temporary
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._waiting: list[str] = []
        self._cancelled = threading.Event()
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._state: JobState = "starting"
        self._last = Done("failed", {}, "The job's supervisor failed; see the log.", "internal")
        self.finished.connect(self._on_finished)

    def launch(self) -> None:
        """Start the thread and with it the child.

        Raises
        ------
        InputError
            If another job runs on the device.
        """
        if is_taken(self.device):
            raise InputError(
                f"A job is already running on {used_text(self.device)}; wait for it or cancel it "
                "first."
            )
        _RUNNING[self.device] = self
        threads.enter(self)
        self.start()
        DEVICES.changed.emit()

    @property
    def state(self) -> JobState:
        """Where the job stands; the GUI thread's view."""
        return self._state

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines of ordinary output."""
        return tuple(self._tail)

    @property
    def pid(self) -> int | None:
        """Process id of the child while there is one."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def cancel(self) -> None:
        """End the job at once: ask, then terminate, then kill. Keeps the last save."""
        if self._cancelled.is_set() or self._state == "ended":
            return
        self._cancelled.set()
        self._set_state("cancelling")
        self._tell("cancel")
        self._end_child(CANCEL_GRACE_S)

    def stop_and_save(self) -> None:
        """Let the job finish its step, save the result and end."""
        if self._state in ("starting", "running", "paused"):
            self._set_state("stopping")
            self._tell("stop")

    def pause(self) -> None:
        """Hold the job before its next step."""
        if self._state in ("starting", "running"):
            self._set_state("paused")
            self._tell("pause")

    def resume(self) -> None:
        """Let a paused job go on."""
        if self._state == "paused":
            self._set_state("running")
            self._tell("resume")

    def end(self) -> None:
        """Cancel, as the window closes."""
        self.cancel()

    def close(self, timeout_ms: int = 5000) -> bool:
        """Cancel and wait, at most ``timeout_ms``; whether the thread ended."""
        if not self.isRunning():
            self._forget()
            return True
        self.cancel()
        ended = self.wait(timeout_ms)
        if ended:
            self._forget()
        else:
            _LOG.error("job supervisor did not end within %d ms", timeout_ms)
        return ended

    def run(self) -> None:
        """Supervise the child; runs in this thread, everything else in the GUI thread."""
        try:
            self._last = self._supervise()
        except OSError as error:
            self._last = Done(
                "failed",
                {},
                "The job could not be started; see the details.",
                "crashed",
                f"{' '.join(self._command)}\n{error}",
            )
        if self._temporary:
            with contextlib.suppress(OSError):
                self.spec_path.unlink()

    def _supervise(self) -> Done:
        """Start the child, pass on its events, and return its ``Done``, or why it sent none."""
        waiting_child = self._child
        if self._cancelled.is_set():  # no child: a run that was never begun can be begun yet
            if waiting_child is not None:
                waiting_child.end()
            return Done("cancelled")
        if waiting_child is not None and waiting_child.is_waiting:
            process = waiting_child.take(self.spec_path)
        else:
            process = spawn(self._command)
        with self._lock:
            self._process = process
            waiting, self._waiting = self._waiting, []
        for command in waiting:
            write(process, command)
        if self._cancelled.is_set():
            self._end_child(CANCEL_GRACE_S)
        last: Done | None = None
        try:
            last = self._listen(process)
        except MalformedEventError as error:
            last = Done(
                "failed",
                {},
                "The job sent a message that cannot be read, and was stopped.",
                "protocol",
                "\n".join([str(error), *self._tail]),
            )
            kill(process)
        finally:
            drain(process)
            returncode = process.wait()
            with contextlib.suppress(OSError):
                cast(IO[str], process.stdin).close()
            cast(IO[str], process.stdout).close()
        if last is None and self._cancelled.is_set():
            last = Done("cancelled")
            if self._journal is not None:
                add_last_word(self._journal, last)
        return last or explain_exit(returncode, self.tail, job=self._what)

    def _listen(self, process: subprocess.Popen[str]) -> Done | None:
        """Pass on events and lines until the child closes its output."""
        last: Done | None = None
        for line in iter(lambda: cast(IO[str], process.stdout).readline(MAX_LINE), ""):
            event = read_event(line)
            if event is None:
                text = line.rstrip()
                self._tail.append(text)
                # torchrun repeats at length what was said, and that it was told to end.
                if last is None and not self._cancelled.is_set():
                    self.line_logged.emit(text)
            elif isinstance(event, Done):
                if last is None:  # of several processes the first one tells the reason
                    last = event
                    self._end_child(LAST_WORD_GRACE_S)
            else:
                self.event_received.emit(event)
        return last

    def _tell(self, command: str) -> None:
        """Send a command to the child, or keep it for when there is one."""
        with self._lock:
            process = self._process
            if process is None:
                self._waiting.append(command)
        if process is not None:
            write(process, command)

    def _end_child(self, grace: float) -> None:
        """Terminate and then kill the child, if it is still there after ``grace`` seconds."""
        process = self._process
        if process is not None:
            threading.Thread(
                target=escalate, args=(process, grace), name="job ender", daemon=True
            ).start()

    def _set_state(self, state: JobState) -> None:
        if state != self._state:
            self._state = state
            self.state_changed.emit(state)

    def mark_running(self) -> None:
        """Note the child's first sign of life; called by whoever shows the job."""
        if self._state == "starting":
            self._set_state("running")

    def _forget(self) -> None:
        if _RUNNING.get(self.device) is self:
            del _RUNNING[self.device]
            DEVICES.changed.emit()
        threads.leave(self)

    def _on_finished(self) -> None:
        self.wait(1000)  # the signal comes an instant before the thread is gone
        self._forget()
        self._set_state("ended")
        last = self._last
        if last.status == "failed":
            _LOG.error("%s %s", last.error, last.details)
        self.ended.emit(last)


def _overlap(device: str, other: str) -> bool:
    """Whether two jobs would meet on a GPU or on the CPU."""
    if "cuda" in (device, other):
        return device.partition(":")[0] == other.partition(":")[0]
    return device == other


def new_runner(
    kind: str, spec_path: Path, *, estimate: bool = False, resume: bool = False, **options: Any
) -> JobRunner:
    """Return the runner of a job's file; start it with ``launch``.

    Parameters
    ----------
    kind
        Kind of the job, such as ``scan``.
    spec_path
        The job as JSON on disk.
    estimate
        Only measure how long it would take.
    resume
        Go on from the last save beside the spec.
    **options
        As in `JobRunner`.

    Raises
    ------
    InputError
        If there is no run to resume.
    """
    if resume and not spec_path.is_file():
        raise InputError(f"{spec_path.parent.name} holds no run to resume: spec.json is missing.")
    flags = [*([f"--{kind}"] if kind != "clean" else []), *(["--estimate"] if estimate else [])]
    journal = spec_path.parent / EVENTS_FILE if kind == "clean" and not estimate else None
    return JobRunner(
        spec_path,
        command=[*worker_command(spec_path, resume), *flags],
        temporary=estimate or not JOBS[kind].keeps_spec,
        what="estimate" if estimate else JOBS[kind].title,
        journal=journal,
        **options,
    )


NewRunner = Callable[..., JobRunner]
"""Makes runners as `new_runner` does."""


def waiting_child(kind: str) -> WaitingChild | None:
    """Start a process that a job can begin in at once; None where memory is short."""
    try:
        return WaitingChild(kind) if enough_memory() else None
    except OSError as error:
        _LOG.info("no process could be started beforehand: %s", error)
        return None

"""A long job: a QThread that supervises a child process (docs/decisions/0001)."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, cast

from PySide6.QtCore import QObject, QThread, Signal

from cleanclip_gui import threads
from cleanclip_gui.jobs.children import (
    WaitingChild,
    drain,
    enough_memory,
    escalate,
    kill,
    spawn,
    together,
    worker_command,
    write,
)
from cleanclip_gui.jobs.protocol import MalformedEventError, explain_exit, read_event
from cleanclip_gui.widgets.text import used_text
from ml_core.events import Done
from ml_core.jobs.journal import add_last_word
from ml_core.jobs.specs import EVENTS_FILE, SPEC_FILE
from ml_core.reading.errors import InputError

_LOG = logging.getLogger(__name__)

JobState = Literal["starting", "running", "paused", "stopping", "cancelling", "ended"]
Mode = Literal["run", "resume", "estimate"]

TAIL_LINES = 50
MAX_LINE = 4_000_000
# A cancelled child has this long to end by itself; with what it has after SIGTERM that is under
# the second that the window promises.
CANCEL_GRACE_S = 0.5
# A child that said its last word gives back its memory within this time or is ended.
LAST_WORD_GRACE_S = 10.0
# The doctor, a verification and a rate finder write nothing that could be lost.
_NOTHING_LOST_MS = 1500

_RUNNING: dict[str, JobRunner] = {}


class _Devices(QObject):
    """``changed`` tells that a job took a device or gave it back; connect to it queued."""

    changed = Signal()


DEVICES = _Devices()


def is_taken(device: str) -> bool:
    """Whether a job of any kind runs where one on ``device`` would."""
    return any(_overlap(device, other) for other in _RUNNING)


class JobRunner(QThread):
    """Runs one job in a child process; every signal reaches the GUI thread queued.

    Connect its signals to methods of objects that live in the GUI thread, never to lambdas.
    No method waits, but for :meth:`close`, which has a limit.

    Parameters
    ----------
    spec_path
        The job as JSON on disk.
    resume
        Go on from the last save beside the spec.
    device
        What the job computes on; one job at a time on each. ``cuda`` is every GPU.
    processes
        More than one run the job together, each on a GPU of its own.
    command
        The child's command line, by default the ml_core worker on ``spec_path``.
    closing_ms
        How long the window waits for it when it closes.
    temporary
        Remove the spec when the child has ended: nothing will go on from it.
    what
        What to call the job in a sentence.
    journal
        Where the job writes its events: a child that was cancelled and had no time for its last
        word gets it there.
    child
        A process that waits for such a job; where it has ended another one is started.
    """

    event_received = Signal(object)
    line_logged = Signal(str)
    state_changed = Signal(str)
    ended = Signal(object)

    def __init__(
        self,
        spec_path: Path,
        *,
        resume: bool = False,
        device: str = "cpu",
        processes: int = 1,
        command: Sequence[str] | None = None,
        closing_ms: int = threads.CLOSING_MS,
        temporary: bool = False,
        what: str = "cleaning job",
        journal: Path | None = None,
        child: WaitingChild | None = None,
    ) -> None:
        super().__init__()
        self._what, self._journal, self._child = what, journal, child
        self.closing_ms = closing_ms
        self.setObjectName("job supervisor")
        self.spec_path = Path(spec_path)
        self.device = device
        self._command = list(command) if command else worker_command(self.spec_path, resume)
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
        """Start the child, pass on what it says, and return its last word or why there is none."""
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


def make_runner(spec_path: Path, mode: Mode, device: str, processes: int = 1) -> JobRunner:
    """Return the runner of a job, of what is left of one, or of an estimate."""
    if mode == "estimate":
        return estimate_runner(spec_path, device=device)
    if mode == "resume":
        return resume_run(spec_path.parent, device=device, processes=processes)
    journal = spec_path.parent / EVENTS_FILE
    return JobRunner(spec_path, device=device, processes=processes, journal=journal)


def estimate_runner(spec_path: Path, *, device: str = "cpu") -> JobRunner:
    """Return a runner that measures a few steps of a job and writes nothing."""
    command = [*worker_command(spec_path), "--estimate"]
    return JobRunner(spec_path, device=device, command=command, what="estimate")


def doctor_runner(spec_path: Path, *, device: str = "cpu") -> JobRunner:
    """Return a runner of the loader doctor; what it found is its last word's result."""
    command = [*worker_command(spec_path), "--doctor"]
    return JobRunner(
        spec_path, device=device, command=command, closing_ms=_NOTHING_LOST_MS, temporary=True,
        what="loader doctor",
    )  # fmt: skip


def audit_runner(spec_path: Path, *, device: str = "cpu") -> JobRunner:
    """Return a runner of an audit of training pairs; it writes into the spec's folder."""
    command = [*worker_command(spec_path), "--audit"]
    return JobRunner(spec_path, device=device, command=command, what="audit")


def scan_runner(
    spec_path: Path, *, device: str = "cpu", child: WaitingChild | None = None
) -> JobRunner:
    """Return a runner of a scan for unknown triggers; it writes into the spec's folder."""
    command = [*worker_command(spec_path), "--scan"]
    return JobRunner(spec_path, device=device, command=command, what="scan", child=child)


def waiting_scan() -> WaitingChild | None:
    """Start a process that a scan can begin in at once; None where memory is short."""
    try:
        return WaitingChild("scan") if enough_memory() else None
    except OSError as error:
        _LOG.info("no process could be started beforehand: %s", error)
        return None


def search_runner(spec_path: Path, *, device: str = "cpu") -> JobRunner:
    """Return a runner of a search for a recipe; it writes into the spec's folder."""
    command = [*worker_command(spec_path), "--search"]
    return JobRunner(spec_path, device=device, command=command, what="search for a recipe")


def scan_estimate_runner(spec_path: Path, *, device: str = "cpu") -> JobRunner:
    """Return a runner that measures how long a scan would take, and searches nothing."""
    command = [*worker_command(spec_path), "--scan", "--estimate"]
    return JobRunner(
        spec_path, device=device, command=command, temporary=True, what="estimate"
    )  # fmt: skip


def proof_runner(spec_path: Path, kind: str, device: str) -> JobRunner:
    """Return a runner of a test of a result: ``rebound`` or ``holdouts``."""
    command = [*worker_command(spec_path), f"--{kind}"]
    what = "rebound test" if kind == "rebound" else "hold-outs test"
    return JobRunner(spec_path, device=device, command=command, what=what)


def rates_runner(spec_path: Path, *, device: str = "cpu", estimate: bool = False) -> JobRunner:
    """Return a runner of a rate finder, or of its estimate; nothing of the model is kept."""
    command = [*worker_command(spec_path), "--rates", *(["--estimate"] if estimate else [])]
    return JobRunner(
        spec_path, device=device, command=command, closing_ms=_NOTHING_LOST_MS, temporary=True,
        what="rate finder",
    )  # fmt: skip


def measurement_runner(spec_path: Path, *, device: str = "cpu") -> JobRunner:
    """Return a runner that measures a checkpoint and keeps it; it writes into the spec's folder."""
    command = [*worker_command(spec_path), "--measurement"]
    return JobRunner(spec_path, device=device, command=command, temporary=True, what="measurement")


def report_runner(spec_path: Path, *, device: str = "cpu") -> JobRunner:
    """Return a runner that writes a bundle of evidence."""
    command = [*worker_command(spec_path), "--report"]
    return JobRunner(spec_path, device=device, command=command, temporary=True, what="report")


def verify_runner(spec_path: Path, *, device: str = "cpu") -> JobRunner:
    """Return a runner that checks a bundle of evidence and writes nothing."""
    command = [*worker_command(spec_path), "--verify"]
    return JobRunner(
        spec_path, device=device, command=command, closing_ms=_NOTHING_LOST_MS, temporary=True,
        what="verification",
    )  # fmt: skip


def resume_run(output_dir: Path, *, device: str = "cpu", processes: int = 1) -> JobRunner:
    """Return a runner that goes on with the run in ``output_dir``; start it with ``launch``.

    Raises
    ------
    InputError
        If the folder holds no run.
    """
    spec_path = Path(output_dir) / SPEC_FILE
    if not spec_path.is_file():
        raise InputError(f"{Path(output_dir).name} holds no run to resume: spec.json is missing.")
    journal = spec_path.parent / EVENTS_FILE
    return JobRunner(spec_path, resume=True, device=device, processes=processes, journal=journal)


@dataclass(frozen=True)
class Runners:
    """What makes the runner of each kind of job; tests give it runners that start no process."""

    run: Callable[[Path, Mode, str, int], JobRunner] = make_runner
    proof: Callable[[Path, str, str], JobRunner] = proof_runner
    audit: Callable[..., JobRunner] = audit_runner
    search: Callable[..., JobRunner] = search_runner
    doctor: Callable[..., JobRunner] = doctor_runner
    scan: Callable[..., JobRunner] = scan_runner
    scan_estimate: Callable[..., JobRunner] = scan_estimate_runner
    waiting_scan: Callable[[], WaitingChild | None] = lambda: None
    measurement: Callable[..., JobRunner] = measurement_runner
    report: Callable[..., JobRunner] = report_runner
    verify: Callable[..., JobRunner] = verify_runner
    rates: Callable[..., JobRunner] = rates_runner

"""Read a hostile file in a sandboxed process, from which only JSON comes back."""

from __future__ import annotations

import atexit
import contextlib
import gc
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import IO, cast

from ml_core.children import child_command, collector_off
from ml_core.reading.errors import CancelledError, InputError, unsupported
from ml_core.reading.inspect import split_part
from ml_core.reading.inspection import Inspection, part_of, refuse
from ml_core.reading.inspection_json import MAX_BYTES, from_json
from ml_core.reading.protocol import END_SECONDS, LENGTH, READY, SECONDS, SERVE, STATUS
from ml_core.reading.second_opinion import not_looked_at
from ml_core.reading.sniff import is_onnx_name

_MANY = 10_000
_frozen = False


def set_aside(records: int) -> None:
    """Let the garbage collector skip all present objects, if they hold very many records.

    Objects that were set aside before are searched again from now on.
    """
    global _frozen
    if _frozen:
        gc.unfreeze()
    _frozen = records > _MANY
    if _frozen:
        gc.freeze()


_LOG = logging.getLogger(__name__)

# Beyond reading a file of that many bytes a second, which a slow disk or network share manages.
BASE_SECONDS = 30.0
SLOW_DISK = 10_000_000
_MAX_FILES = 5000
MAX_ERRORS = 64 << 10
MAX_OPINION = 2000
_POLL_SECONDS = 0.05
_START_SECONDS = 60.0
Process = subprocess.Popen[bytes]
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}  # what forks has no other threads


def examine(
    path: str | Path, cancelled: Callable[[], bool] = lambda: False, *, hashed: bool = True
) -> Inspection:
    """Examine a checkpoint as `ml_core.reading.inspect` does, in a process of its own.

    ``FILE#PART`` is one model of a file that holds several (`ml_core.reading.parts`), one
    checkpoint of an archive, or one model of a diffusers folder.

    The process gives up all it does not need before it opens the file (`sandbox`); the record
    says what it could give up. It is killed when ``cancelled()`` turns true, which is asked 20
    times a second, or when it takes longer than the file's size excuses.

    Parameters
    ----------
    hashed
        See `ml_core.reading.inspect`.

    Raises
    ------
    InputError
        ``usage`` if there is nothing at the path, or no such part, it may not be read, or the
        process could not be started; a bad file never raises.
    CancelledError
        If it was cancelled.
    """
    path, part = split_part(path)
    try:
        raw = _answer(path, "inspect" if hashed else "list", cancelled, part)
    except _EndedError as ended:
        return _refuse_unread(path, str(ended))
    try:
        with collector_off(for_good=False):  # records without cycles
            inspection = from_json(raw, path)
            return part_of(inspection, part) if part and not inspection.refused else inspection
    except InputError as problem:
        if problem.code == "usage":
            raise
        _LOG.warning("%s: %s\n%s", path, problem.sentence, problem.details)
        return refuse(path, problem, "not read")


def ask_picklescan(path: str | Path, cancelled: Callable[[], bool] = lambda: False) -> str:
    """What picklescan says of a file, as one sentence; it runs in a process like `examine`'s.

    Raises
    ------
    InputError
        As `examine` does.
    """
    path, _ = split_part(path)
    # It would wait for a pipe's other end; files of the kernel's say that they are empty.
    if not path.is_file() or not path.stat().st_size:
        return f"picklescan was not run on {path.name}, which is empty or not a regular file."
    if sentence := not_looked_at(path):
        return sentence
    try:
        raw = _answer(path, "picklescan", cancelled)
    except _EndedError as ended:
        return f"picklescan gave no result for {path.name}: {ended}."
    return raw.decode("utf-8", "replace")[:MAX_OPINION]


class _EndedError(Exception):
    """The process did not answer; half a sentence says why."""


def _answer(path: Path, task: str, cancelled: Callable[[], bool], member: str = "") -> bytes:
    """Let a process read a path and return what it says."""
    seconds = most = time_limit(path)
    if is_onnx_name(path.name):
        most += time_limit(path.parent)
    request = b"%s %d\n" % (task.encode("ascii"), most) + os.fsencode(path)
    request += b"\0" + os.fsencode(member)
    if not path.is_absolute():  # the folder of now may be gone, or may not be entered
        with contextlib.suppress(OSError):
            request += b"\0" + os.fsencode(os.getcwd())
    process = _start(path, request)
    answer = Collector(process.stdout, MAX_BYTES)
    errors = Collector(process.stderr, MAX_ERRORS)
    status, patience = -signal.SIGKILL, 0.0
    try:
        began = time.monotonic()
        while not answer.ended.wait(_POLL_SECONDS):
            if cancelled():
                raise CancelledError
            if answer.raw:  # it goes on to the files beside a model
                seconds = most
            if time.monotonic() > began + seconds:
                raise _EndedError(f"its reading took more than {seconds:.0f} seconds")
        if answer.too_long:
            raise _EndedError("there is more to say about it than any checkpoint has")
        patience = END_SECONDS
    finally:
        status = process.end(patience)
        for collector in (answer, errors):
            collector.ended.wait(END_SECONDS)
        for pipe in (process.stdout, process.stderr):
            pipe.close()
    if status < 0:
        raise _EndedError(f"the process that read it was ended {signal_words(-status)}")
    if status > 0 or not answer.raw:
        details = errors.raw.decode("utf-8", "backslashreplace")
        raise _no_reader(path, f"it ended with status {status}", details)
    return bytes(answer.raw)


def time_limit(path: Path) -> float:
    """Seconds that examining a file or folder may take."""
    total = 0
    with contextlib.suppress(OSError):
        if path.is_dir():
            with os.scandir(path) as entries:
                for entry in islice(entries, _MAX_FILES):
                    with contextlib.suppress(OSError):
                        total += entry.stat().st_size
        else:
            total = path.stat().st_size
    return BASE_SECONDS + total / SLOW_DISK


class Collector:
    """Reads a pipe to its end in a thread, up to a limit."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self.raw = bytearray()
        self.too_long = False
        self.ended = threading.Event()
        self._stream, self._limit = stream, limit
        threading.Thread(target=self._read, name="reader's pipe", daemon=True).start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self._stream.fileno(), 1 << 20):
                if len(self.raw) + len(chunk) > self._limit:
                    self.too_long = True
                    return
                self.raw += chunk
        finally:
            self.ended.set()


def _command() -> list[str]:
    """Command line of the reading process."""
    return child_command("ml_core.reading.worker")


def environment() -> dict[str, str]:
    """The process's environment: where ml_core is, and UTF-8."""
    environment = dict(os.environ)
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *environment.get("PYTHONPATH", "").split(os.pathsep)]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    environment["PYTHONUTF8"] = "1"
    return environment


def start(command: list[str], stdin: int = subprocess.PIPE, **more: str) -> Process:
    """Start a process in a new group, with three pipes and ``more`` in its environment.

    Parameters
    ----------
    stdin
        A descriptor instead of the first pipe.

    Raises
    ------
    OSError
        If the system does not start it.
    """
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment() | more,
        start_new_session=sys.platform != "win32",
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


class _Alone:
    """A process that reads one file, where the system cannot fork."""

    def __init__(self, request: bytes) -> None:
        self._process = start(_command())
        self.stdout = cast(IO[bytes], self._process.stdout)
        self.stderr = cast(IO[bytes], self._process.stderr)
        pipe = cast(IO[bytes], self._process.stdin)
        with contextlib.suppress(OSError):  # the caller notices if it is gone
            pipe.write(request)
        with contextlib.suppress(OSError):
            pipe.close()

    def end(self, patience: float) -> int:
        """Its exit status, negative for a signal, after it was killed if it stays any longer."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        kill_group(self._process)
        return int(self._process.returncode)


class _Forker:
    """The process that forks for each file, see `ml_core.reading.worker`."""

    def __init__(self) -> None:
        self.channel, theirs = socket.socketpair()
        try:
            with theirs:
                self.process = start([*_command(), SERVE], theirs.fileno(), **_ONE_THREAD)
            self.channel.settimeout(_START_SECONDS)
            if not self.channel.recv(len(READY)):
                errors = cast(IO[bytes], self.process.stderr).read(MAX_ERRORS)
                raise _NotStartedError(self.process.wait(), errors)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End it, and what it forked last."""
        self.channel.close()
        process = getattr(self, "process", None)
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
            kill_group(process)
            for pipe in (process.stdout, process.stderr):
                pipe.close()


class _NotStartedError(OSError):
    """A process ended before it could be asked anything."""

    def __init__(self, status: int, errors: bytes) -> None:
        super().__init__(0, f"it ended with status {status}")
        self.errors = errors.decode("utf-8", "backslashreplace")


_idle: list[_Forker] = []
if hasattr(os, "register_at_fork"):  # two that share a socket would hear each other's answers
    os.register_at_fork(after_in_child=_idle.clear)


@atexit.register
def end_idle() -> None:
    """End the processes that wait for the next file, as they do by themselves after a minute."""
    while _idle:
        _idle.pop().close()


class _Forked:
    """A process that reads one file; the pipes are its own, its end is told by the one it is of."""

    def __init__(self, request: bytes) -> None:
        try:  # one that has waited too long is gone
            self._ask(_idle.pop(), request)
        except (IndexError, OSError):
            self._ask(_Forker(), request)

    def _ask(self, forker: _Forker, request: bytes) -> None:
        """Have a process forked."""
        pipes = [os.pipe() for _ in range(2)]
        self.stdout, self.stderr = (os.fdopen(reader, "rb", 0) for reader, _ in pipes)
        ends = [writer for _, writer in pipes]
        try:
            socket.send_fds(forker.channel, [LENGTH.pack(len(request))], ends)
            forker.channel.sendall(request)
            if not forker.channel.recv(len(READY)):
                raise BrokenPipeError(0, "it ended before it was asked")
        except OSError:
            forker.close()
            self.stdout.close()
            self.stderr.close()
            raise
        finally:
            for end in ends:
                os.close(end)
        self._forker = forker

    def end(self, patience: float) -> int:
        """As that of `_Alone`."""
        channel = self._forker.channel
        try:
            channel.sendall(SECONDS.pack(patience))
            channel.settimeout(patience + END_SECONDS)
            (status,) = STATUS.unpack(channel.recv(STATUS.size))
        except (OSError, struct.error):
            self._forker.close()
            return -signal.SIGKILL
        _idle.append(self._forker)
        return int(status)


def _start(path: Path, request: bytes) -> _Alone | _Forked:
    """Start the reading process."""
    try:
        return _Forked(request) if hasattr(os, "fork") else _Alone(request)
    except OSError as error:
        details = getattr(error, "errors", "")
        raise _no_reader(path, error.strerror or str(error), details) from None


def _no_reader(path: Path, why: str, details: str = "") -> InputError:
    return InputError(
        f"{path.name} was not read: the process that reads files could not be started ({why}); "
        "close other programs or install this one again.",
        "usage",
        details,
    )


def kill_group(process: Process) -> None:
    """End the process and what it may have started, and wait until it is gone."""
    if process.poll() is None:
        if sys.platform == "win32":
            process.kill()
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)


def signal_words(number: int) -> str:
    """Name a signal, and what usually sends it."""
    name = next((known.name for known in signal.Signals if known == number), "unknown")
    why = {
        "SIGABRT": ", perhaps because memory ran out",
        "SIGKILL": ", perhaps because memory ran out",
        "SIGXCPU": ", as it computed for too long",
    }
    return f"by signal {number} ({name}){why.get(name, '')}"


def _refuse_unread(path: Path, why: str) -> Inspection:
    """Refuse a file whose reading did not end well."""
    size = path.stat().st_size if path.is_file() else 0
    sentence = (
        f"{path.name} was not read to its end: {why}; nothing of it was run, and a safetensors "
        "copy of it may open."
    )
    return refuse(path, unsupported(sentence), "not read", size)

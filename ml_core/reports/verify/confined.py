"""Check a bundle in a process that has given up everything but reading it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from queue import Empty, Full, Queue
from typing import IO, Any, cast

import numpy as np

from ml_core.children import child_command
from ml_core.events import Done, Finding, Progress, from_json
from ml_core.reading.errors import CancelledError, InputError
from ml_core.reading.examine import kill_group
from ml_core.reading.examine import start as start_process
from ml_core.reading.json_file import JsonFile, short
from ml_core.reports.verify.checks import Check
from ml_core.reports.verify.kept import Hashes, Pixels

BASE_SECONDS = 120.0
SLOW = 2_000_000
"""Bytes a second that are hashed and computed with on a slow machine."""
_LONGEST_LINE = 32 << 20
_MOST_LINES = 200_000
_MOST_ERRORS = 64 << 10
_POLL_SECONDS = 0.05
_END_SECONDS = 5.0
_CHECK = JsonFile("a check", "check the bundle again", 1 << 20)


def check_confined(
    path: Path, cancelled: Callable[[], bool] = lambda: False
) -> Generator[Check | Progress | Pixels | Hashes]:
    """As `check_alone`, in a short-lived process that can do no harm (`ml_core.reading.sandbox`).

    Raises
    ------
    InputError
        As `check_alone`, and if the process could not be started or did not come to its end.
    CancelledError
        If it was cancelled.
    """
    if not path.exists():
        raise InputError(
            f"There is no bundle at {short(str(path))}: give the folder NAME.evidence or its zip."
        )
    yield from _answers(path, b"check", cancelled)


def print_confined(path: Path, cancelled: Callable[[], bool] = lambda: False) -> Hashes:
    """SHA-256 of the PDF that is made of a bundle here, and of the record that it is made of.

    Raises
    ------
    InputError
        As `check_confined`, and if WeasyPrint or Pango is missing.
    CancelledError
        If it was cancelled.
    """
    for answer in _answers(path, b"print", cancelled):
        if isinstance(answer, Hashes):
            return answer
    raise _not_ended(path, "the process that prints its report said nothing")


def _answers(
    path: Path, task: bytes, cancelled: Callable[[], bool]
) -> Generator[Check | Progress | Pixels | Hashes]:
    """What the process says, which is killed at the end.

    It is killed when ``cancelled()`` turns true, which is asked 20 times a second, or when it takes
    longer than the bundle's size excuses.
    """
    seconds = time_limit(path)
    process = start()
    lines: Queue[bytes] = Queue(1000)
    errors, left = bytearray(), threading.Event()
    out, err = cast(IO[bytes], process.stdout), cast(IO[bytes], process.stderr)
    threads = [
        threading.Thread(target=work, args=args, name="verifier's pipe", daemon=True)
        for work, args in ((_read_lines, (out, lines, left)), (_read_errors, (err, errors)))
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    try:
        with contextlib.suppress(OSError), cast(IO[bytes], process.stdin) as pipe:
            pipe.write(b"%s %d\n" % (task, seconds) + os.fsencode(path))
        for _ in range(_MOST_LINES):
            answer = _event(_next(lines, path, deadline, cancelled), path, errors)
            if answer is None:
                return
            yield answer
        raise _not_ended(path, "there is more to say about it than about any bundle")
    finally:
        left.set()
        kill_group(process)
        for thread in threads:
            thread.join(_END_SECONDS)


def time_limit(path: Path) -> float:
    """Seconds that checking a bundle may take."""
    total = 0
    with contextlib.suppress(OSError):
        if path.is_dir():
            for place, _, files in os.walk(path):
                for name in files:
                    with contextlib.suppress(OSError):
                        total += os.lstat(os.path.join(place, name)).st_size
        else:
            total = path.stat().st_size
    return BASE_SECONDS + min(total, 1 << 40) / SLOW


def start() -> subprocess.Popen[bytes]:
    """Start the process in a new process group."""
    try:
        return start_process(
            child_command("ml_core.reports.verify.worker"),
            OMP_NUM_THREADS="1",
            OPENBLAS_NUM_THREADS="1",
        )
    except OSError as error:
        raise InputError(
            f"The process that checks bundles could not be started ({error.strerror}); close other "
            "programs or install this one again."
        ) from None


def _read_lines(stream: IO[bytes], lines: Queue[bytes], left: threading.Event) -> None:
    """Hand over each line, and an empty one at the end, until nobody listens."""
    with contextlib.suppress(OSError, ValueError), stream:
        for line in iter(lambda: stream.readline(_LONGEST_LINE), b""):
            while not left.is_set():
                with contextlib.suppress(Full):
                    lines.put(line, timeout=_POLL_SECONDS)
                    break
            if left.is_set():
                return
    with contextlib.suppress(Full):
        lines.put(b"", timeout=_END_SECONDS)


def _read_errors(stream: IO[bytes], output: bytearray) -> None:
    with contextlib.suppress(OSError, ValueError), stream:
        while chunk := stream.read1(4096):  # type: ignore[attr-defined]
            if len(output) < _MOST_ERRORS:
                output.extend(chunk)


def _next(lines: Queue[bytes], path: Path, deadline: float, cancelled: Callable[[], bool]) -> bytes:
    while True:
        if cancelled():
            raise CancelledError
        with contextlib.suppress(Empty):
            return lines.get(timeout=_POLL_SECONDS)
        if time.monotonic() > deadline:
            raise _not_ended(path, "it took too long")


def _event(line: bytes, path: Path, errors: bytearray) -> Check | Progress | Pixels | Hashes | None:
    """What a line says; None at the end."""
    if not line:
        details = errors.decode("utf-8", "backslashreplace")
        raise _not_ended(path, "the process that checked it ended", details)
    try:
        event = from_json(line.decode("utf-8").rstrip("\n"))
    except ValueError as error:
        raise _not_ended(path, "the process that checked it said what cannot be read") from error
    if isinstance(event, Progress):
        return event
    if isinstance(event, Finding) and event.kind == "check":
        return _CHECK.check(event.values, Check, path.name)
    if isinstance(event, Finding) and event.kind == "hashes":
        return Hashes(_CHECK.check(event.values, dict[str, str], path.name))
    if isinstance(event, Finding) and event.kind == "pixels":
        return _pixels(event.values, path)
    if isinstance(event, Done) and event.status == "finished":
        return None
    if isinstance(event, Done) and event.error_code in ("damaged", "unsupported", "usage"):
        raise InputError(event.error, event.error_code, event.details)  # type: ignore[arg-type]
    raise _not_ended(path, "the process that checked it said what cannot be read")


def _pixels(values: dict[str, Any], path: Path) -> Pixels:
    """A decoded picture, if it is one."""
    try:
        shape = int(values["height"]), int(values["width"]), 4
        rgba = base64.b64decode(values["rgba"], validate=True)
        return Pixels(str(values["digest"]), np.frombuffer(rgba, np.uint8).reshape(shape))
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise _not_ended(path, "a picture of a trigger could not be handed over") from error


def _not_ended(path: Path, why: str, details: str = "") -> InputError:
    return InputError(
        f"{short(path.name)} was not checked to its end: {why}; nothing of it was run. Get the "
        "bundle again.",
        "unsupported",
        details,
    )

"""The child process of a job: its command line, and how it is started, told and ended. No Qt."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

import psutil

import ml_core
from ml_core.children import child_command

_LOG = logging.getLogger(__name__)

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
    """Below the window's priority, and out of reach of a Ctrl+C in its terminal; 0 elsewhere."""
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
    """A worker that loads its libraries and waits to be told its job, to begin at once.

    Parameters
    ----------
    kind
        Of the job, such as ``scan``.
    """

    def __init__(self, kind: str) -> None:
        self._process = spawn([*worker_command(Path("-")), f"--{kind}"])

    @property
    def is_waiting(self) -> bool:
        """Whether it has not ended, whatever ended it."""
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
    """Kill the child and what it started, which under torchrun are groups of their own."""
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

"""An interpreter that has its modules loaded and forks for each program that a test starts.

``python -m module`` spends most of a short test on imports: 0.2 s for the process that reads a
file, 4 s for one with torch. Here they are paid once. The program itself is run by ``runpy`` as
``-m`` does it, in a process of its own with its own pipes, environment and folder; it may confine
itself, be killed, and ends as any other. What is not tested so is starting an interpreter, which
tests of that do themselves.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import resource
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn

ROOT = Path(__file__).parents[1]


class Program:
    """A started program, with the part of `subprocess.Popen` that tests and product use."""

    def __init__(self, channel: socket.socket, pipes: list[IO[Any] | None]) -> None:
        self._channel, self._ended = channel, threading.Event()
        self.stdin, self.stdout, self.stderr = pipes
        self.returncode: int | None = None
        lines = channel.makefile("r", encoding="utf-8")
        self.pid = int(lines.readline() or b"0")
        threading.Thread(target=self._listen, args=(lines,), daemon=True).start()

    def _listen(self, lines: IO[str]) -> None:
        with lines:
            self.returncode = int(lines.readline() or -signal.SIGKILL)  # no line: all was killed
        self._ended.set()

    def poll(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        if self._ended.is_set():
            self._channel.close()  # until now its number was not given to another process
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Exit status at the end."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        """Signal it, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self.wait()


class Warm:
    """Starts programs from an interpreter with ``modules`` loaded, which starts at the first."""

    def __init__(self, *modules: str, environment: dict[str, str] | None = None) -> None:
        self._modules, self._environment = modules, environment or {}
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(
        self,
        module: str,
        *arguments: str,
        stdin: int = subprocess.PIPE,
        stderr: int | None = None,
        text: bool = False,
        session: bool = False,
        limits: Iterable[tuple[int, int]] = (),
        environment: dict[str, str] | None = None,
    ) -> Program:
        """Run ``python -m module arguments`` in the folder of now.

        Its environment is that of now, and ``environment``.

        Standard output is a pipe; input and errors are one if it is ``PIPE``, and errors go to
        the output if it is ``STDOUT``. ``limits`` are resources and their greatest amounts;
        ``session`` makes it a process group's leader.
        """
        ours: list[IO[Any] | None] = []
        theirs: list[int] = []
        for kind, reads in ((stdin, False), (subprocess.PIPE, True), (stderr, True)):
            if kind == subprocess.PIPE:
                out, into = os.pipe()
                mine, other = (out, into) if reads else (into, out)
                mode = ("r" if reads else "w") + ("" if text else "b")
                ours.append(open(mine, mode))  # noqa: SIM115
                theirs.append(other)
            else:
                ours.append(None)
                errors = theirs[1] if kind == subprocess.STDOUT else 2
                theirs.append(os.dup(errors) if reads else os.open(os.devnull, os.O_RDONLY))
        channel, far = socket.socketpair()
        with self._lock:
            socket.send_fds(self._started(), [b"+"], [*theirs, far.fileno()])
        for fd in theirs:
            os.close(fd)
        far.close()
        request = {
            "module": module,
            "arguments": list(arguments),
            "folder": os.getcwd(),
            "environment": os.environ | (environment or {}),
            "limits": list(limits),
            "session": session,
        }
        channel.sendall(json.dumps(request).encode() + b"\n")
        return Program(channel, ours)

    def _started(self) -> socket.socket:
        if self._control is None:
            self._control, far = socket.socketpair()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm", *self._modules],
                stdin=far.fileno(),
                cwd=ROOT,
                env=os.environ | self._environment,
            )
            far.close()
        return self._control

    def close(self) -> None:
        """End the interpreter."""
        if self._control is not None and self._process is not None:
            self._control.close()
            self._process.wait(60)


def _serve(modules: list[str]) -> NoReturn:
    """Fork for each request until the tests are over."""
    control = socket.socket(fileno=os.dup(0))
    for name in modules:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or each program goes through all that was imported, and copies its memory
    while True:
        request, fds, _, _ = socket.recv_fds(control, 1, 4)
        with contextlib.suppress(ChildProcessError):  # their time counts as that of the tests
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        if not request:
            os._exit(0)
        if os.fork() == 0:
            control.close()
            _mind(fds)
        for fd in fds:
            os.close(fd)


def _mind(fds: list[int]) -> NoReturn:
    """Fork the program and write its number and its exit status."""
    *standard, answers = fds
    channel = socket.socket(fileno=answers)
    with channel.makefile("r", encoding="utf-8") as lines:
        request = json.loads(lines.readline())
    pid = os.fork()
    if pid == 0:
        channel.close()
        _become(request, standard)
    for fd in (0, *standard):
        os.close(fd)
    with contextlib.suppress(OSError):
        channel.sendall(b"%d\n" % pid)
        end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert end is not None
        code = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
        channel.sendall(b"%d\n" % code)
        channel.recv(1)
    os.waitpid(pid, 0)
    os._exit(0)


def _become(request: dict[str, Any], standard: list[int]) -> NoReturn:
    """Run the program as ``python -m`` would, and end without taking all modules apart."""
    if request["session"]:
        os.setsid()
    for place, fd in enumerate(standard):
        os.dup2(fd, place)
        os.close(fd)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for kind, most in request["limits"]:
        resource.setrlimit(kind, (most, most))
    sys.argv = [request["module"], *request["arguments"]]
    code: object = None
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    _serve(sys.argv[1:])

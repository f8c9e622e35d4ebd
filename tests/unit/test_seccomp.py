"""System calls that the reading process gives up, tried in a throw-away process.

Each is tried without the filter first: what fails there too would prove nothing.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from ml_core.reading import seccomp

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    not seccomp.available().startswith("on"), reason=f"seccomp is {seccomp.available()}"
)

_CHILD = """
import ctypes, json, os, signal, socket, sys, threading, subprocess
call = ctypes.CDLL(None, use_errno=True)
def done(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def tried(what):
    try:
        exec(what)
    except BaseException as error:
        return type(error).__name__
    return "works"
def alone(what):
    if (child := os.fork()) == 0:
        os._exit(tried(what) != "works")
    return "works" if os.waitpid(child, 0)[1] == 0 else "fails"
filtered = sys.argv[1] == "filtered"
if filtered:
    from ml_core.reading import seccomp
    assert call.prctl(38, 1, 0, 0, 0) == 0  # no new privileges
    state = seccomp.install()
    assert state == "on", state
print(json.dumps([(tried if filtered else alone)(what) for what in json.load(sys.stdin)]))
"""

DENIED = {
    "TCP": "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
    "UDP": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "UDP, IPv6": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
    "a socket file": "socket.socket(socket.AF_UNIX)",
    "a pair of sockets": "socket.socketpair()",
    "fork": "os.fork() or os._exit(0)",
    "a program": "subprocess.run(['true'])",
    "spawn": "os.posix_spawnp('true', ['true'], {})",
    "exec": "os.execvp('echo', ['echo', 'works'])",
    "a new namespace": "done(call.unshare(0))",
    "tracing": "done(call.ptrace(0, 0, 0, 0))",
    "another's memory": "done(call.process_vm_readv(os.getppid(), None, 0, None, 0, 0))",
    "a signal to another": "os.kill(os.getppid(), 0)",
    "another process by descriptor": "os.pidfd_open(os.getppid())",
}
ALLOWED = {
    "threads": "t = threading.Thread(target=int); t.start(); t.join()",
    "a signal to itself": "os.kill(os.getpid(), 0)",
    "files": "open('/etc/passwd').read()",
    "pipes": "os.write(os.pipe()[1], b'x')",
    "memory": "bytearray(1 << 28)",
}


@pytest.mark.parametrize("how", ["plain", "filtered"])
def test_what_reading_never_needs_is_not_permitted_and_the_rest_is(how):
    """Without the filter each in a process of its own, as some end it."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, how],
        input=json.dumps([*DENIED.values(), *ALLOWED.values()]),
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    denied = "works" if how == "plain" else "PermissionError"
    results = dict(zip((*DENIED, *ALLOWED), json.loads(done.stdout.splitlines()[-1]), strict=True))
    assert results == dict.fromkeys(DENIED, denied) | dict.fromkeys(ALLOWED, "works")


@pytest.mark.parametrize("column", [0, 1])
def test_the_program_is_whole_on_each_architecture(column: int) -> None:
    """Every jump lands inside, every way ends in an answer, and known numbers are answered so."""
    mark = 0xC000003E if column == 0 else 0xC00000B7
    steps = [struct.unpack("=HBBI", raw) for raw in seccomp.program(mark, column, 77)]

    def answer(number: int, first: int = 0, architecture: int = mark) -> int:
        at, value = 0, 0
        while True:
            code, yes, no, operand = steps[at]
            at += 1
            if code == 0x06:
                return operand
            if code == 0x20:
                value = {0: number, 4: architecture, 16: first}[operand]
            elif code == 0x15:
                at += yes if value == operand else no
            elif code == 0x35:
                at += yes if value >= operand else no
            else:
                assert code == 0x45
                at += yes if value & operand else no

    allow, refuse, unknown = 0x7FFF0000, 0x50001, 0x50000 + 38
    sockets, clone, kill = ((41, 56, 62), (198, 220, 129))[column]
    assert answer(sockets) == refuse
    assert answer(clone, first=17) == refuse
    assert answer(clone, first=0x10000) == allow
    assert answer(435) == unknown
    assert (answer(kill, first=77), answer(kill, first=1)) == (allow, refuse)
    assert answer(0 if column == 0 else 63) == allow  # read
    assert answer(0, architecture=0x40000003) == refuse
    assert answer(0x40000000) == refuse

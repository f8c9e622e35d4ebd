"""What the process that reads a file can still do once it has given up what it does not need.

The attacks are run on purpose, by an ordinary unpickler in a throw-away process, first without
and then with the sandbox: what does not act without it would prove nothing.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ml_core.reading import seccomp
from ml_core.reading.sandbox import available, is_complete

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the sandbox has no limits that can be tested here"
)
needs_landlock = pytest.mark.skipif(
    not available().landlock.startswith("on"), reason=f"Landlock is {available().landlock}"
)

_CHILD = """
import json, pickle, socket, subprocess, sys
from pathlib import Path
from ml_core.reading.sandbox import enter
from ml_core.reading.worker import _readable
request = json.loads(sys.stdin.read())
"localhost".encode("idna")  # a codec is a module, which cannot be read later
state = None
if request["sandboxed"]:
    state = enter(_readable(Path(request["readable"])), 20).as_texts()
results = []
for attack in request["pickles"]:
    try:
        results.append(str(pickle.loads(bytes.fromhex(attack))))
    except BaseException as error:
        results.append(f"{type(error).__name__}: {error}")
print(json.dumps([state, results]))
"""


class Call:
    """Pickles to a call of ``called``."""

    def __init__(self, called: Callable[..., Any], *arguments: Any) -> None:
        self._made = called, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._made


def unpickle(readable: Path, *attacks: Any, sandboxed: bool = True) -> tuple[Any, list[str]]:
    """Load pickles in a process of their own; the state of the sandbox and what came of each."""
    pickles = [pickle.dumps(attack, 2).hex() for attack in attacks]
    request = {"sandboxed": sandboxed, "readable": str(readable), "pickles": pickles}
    done = subprocess.run(
        [sys.executable, "-c", _CHILD], input=json.dumps(request),
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    state, results = json.loads(done.stdout)
    return state, results


def assert_refused(results: list[str]) -> None:
    assert [result for result in results if not result.startswith("PermissionError")] == []


@pytest.fixture
def chosen(tmp_path: Path) -> Path:
    """The folder that was chosen, with a file."""
    folder = tmp_path / "chosen"
    folder.mkdir()
    (folder / "weights").write_text("weights")
    return folder


_MAKERS: dict[str, Callable[[str], Call]] = {
    "shell": lambda path: Call(os.system, f"touch {path}"),
    "program": lambda path: Call(subprocess.call, ["touch", path]),
    "spawn": lambda path: Call(os.posix_spawnp, "touch", ["touch", path], {}),
    "file": lambda path: Call(open, path, "w"),
    "folder": lambda path: Call(os.mkdir, path),
    "link": lambda path: Call(os.symlink, "/etc", path),
    "pipe": lambda path: Call(os.mkfifo, path),
    "code": lambda path: Call(exec, f"import os; os.mkdir({path!r})"),
}


@needs_landlock
def test_an_attack_that_works_elsewhere_makes_nothing(chosen, tmp_path):
    canaries = {name: tmp_path / name for name in _MAKERS}
    attacks = [make(str(canaries[name])) for name, make in _MAKERS.items()]
    unpickle(chosen, *attacks, sandboxed=False)
    for _ in range(100):  # a program that was spawned may take a moment
        dead = [name for name, canary in canaries.items() if not os.path.lexists(canary)]
        if not dead:
            break
        threading.Event().wait(0.05)
    assert dead == [], "the attacks are not live"
    for canary in canaries.values():
        canary.rmdir() if canary.is_dir() and not canary.is_symlink() else canary.unlink()

    state, _ = unpickle(chosen, *attacks)
    assert is_complete(state)
    assert [name for name, canary in canaries.items() if os.path.lexists(canary)] == []


@needs_landlock
def test_what_was_chosen_can_be_read_and_not_changed_and_nothing_beside_it(chosen, tmp_path):
    weights, secret = str(chosen / "weights"), tmp_path / "secret"
    secret.write_text("secret")
    (chosen / "link").symlink_to(secret)
    outside = secret, chosen / "link", Path("/etc/passwd"), Path("/proc/self/environ")
    _, results = unpickle(
        chosen, Call(os.listdir, str(chosen)), Call(open, weights),
        *(Call(open, str(path)) for path in outside), Call(os.listdir, str(tmp_path)),
        Call(open, str(chosen / "new"), "w"), Call(open, weights, "a"),
        Call(os.truncate, weights, 0), Call(os.remove, weights),
        Call(os.rename, weights, str(chosen / "other")),
    )  # fmt: skip
    assert "weights" in results[0]
    assert "TextIOWrapper" in results[1]
    assert_refused(results[2:])
    assert sorted(path.name for path in chosen.iterdir()) == ["link", "weights"]
    assert Path(weights).read_text() == "weights"


@needs_landlock
@pytest.mark.parametrize("linked", ["blobs", "file of blobs", "snapshot"])
def test_a_cache_opens_its_own_blobs_and_nothing_that_is_linked_in_their_place(linked, tmp_path):
    cache, secret = tmp_path / "models--a--b", tmp_path / "secret"
    snapshot, blobs = cache / "snapshots" / "0123", cache / "blobs"
    secret.mkdir()
    (secret / "file").write_text("secret")
    snapshot.mkdir(parents=True)
    (snapshot / "weights").symlink_to("../../blobs/file")
    if linked == "blobs":
        blobs.symlink_to(secret)
    else:
        blobs.mkdir()
        (blobs / "file").symlink_to(secret / "file")
    if linked == "snapshot":
        (tmp_path / "mine").symlink_to(snapshot)
        snapshot = tmp_path / "mine"
    outside = secret / "file", snapshot / "weights", Path("/etc/passwd")
    assert_refused(unpickle(snapshot, *(Call(open, str(path)) for path in outside))[1])
    if linked != "blobs":
        (blobs / "file").unlink()
        (blobs / "file").write_text("weights")
        _, (result,) = unpickle(snapshot, Call(open, str(snapshot / "weights")))
        assert "TextIOWrapper" in result


def test_memory_and_files_are_limited_even_without_landlock(chosen):
    import resource

    limits = {"RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0, "RLIMIT_CPU": 20, "RLIMIT_NPROC": 0}
    asked = (Call(resource.getrlimit, getattr(resource, name)) for name in limits)
    state, (memory, *results) = unpickle(chosen, Call(bytearray, 2 << 30), *asked)
    assert state["limits"] == "on"
    assert memory.startswith("MemoryError")
    assert results == [str((limit, limit)) for limit in limits.values()]


# System calls: the same, each tried without the filter first


needs_seccomp = pytest.mark.skipif(
    not seccomp.available().startswith("on"), reason=f"seccomp is {seccomp.available()}"
)

_FILTERED = """
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


@needs_seccomp
@pytest.mark.parametrize("how", ["plain", "filtered"])
def test_what_reading_never_needs_is_not_permitted_and_the_rest_is(how):
    """Without the filter each in a process of its own, as some end it."""
    done = subprocess.run(
        [sys.executable, "-c", _FILTERED, how],
        input=json.dumps([*DENIED.values(), *ALLOWED.values()]),
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    denied = "works" if how == "plain" else "PermissionError"
    results = dict(zip((*DENIED, *ALLOWED), json.loads(done.stdout.splitlines()[-1]), strict=True))
    assert results == dict.fromkeys(DENIED, denied) | dict.fromkeys(ALLOWED, "works")


@needs_seccomp
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

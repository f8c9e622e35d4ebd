"""What a process can still do once it has given up what reading does not need.

The attacks are run on purpose, by an ordinary unpickler in a throw-away process, first without
and then with the sandbox: what does not act without it would prove nothing.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ml_core.reading.sandbox import SandboxState, available, is_complete

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
try:
    result = str(pickle.loads(bytes.fromhex(request["pickle"])))
except BaseException as error:
    result = f"{type(error).__name__}: {error}"
print(json.dumps([state, result]))
"""


class Call:
    """Pickles to a call of ``called``."""

    def __init__(self, called: Callable[..., Any], *arguments: Any) -> None:
        self._made = called, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._made


def unpickle(attack: Any, readable: Path, *, sandboxed: bool) -> tuple[dict[str, str], str]:
    """Load a pickle in a process of its own; the state of the sandbox and what came of it."""
    request = {
        "sandboxed": sandboxed,
        "readable": str(readable),
        "pickle": pickle.dumps(attack, 2).hex(),
    }
    done = subprocess.run(
        [sys.executable, "-c", _CHILD],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    state, result = json.loads(done.stdout)
    return state, result


@pytest.fixture
def chosen(tmp_path: Path) -> Path:
    """The folder that was chosen, with a file."""
    folder = tmp_path / "chosen"
    folder.mkdir()
    (folder / "weights").write_text("weights")
    return folder


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


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
@pytest.mark.parametrize("name", _MAKERS)
def test_an_attack_that_works_elsewhere_makes_nothing(
    name: str, chosen: Path, canary: Path
) -> None:
    attack = _MAKERS[name](str(canary))
    unpickle(attack, chosen, sandboxed=False)
    if name == "spawn":
        for _ in range(100):
            if canary.exists():
                break
            threading.Event().wait(0.05)
    assert canary.is_symlink() or canary.exists(), "the attack is not live"
    canary.rmdir() if canary.is_dir() and not canary.is_symlink() else canary.unlink()

    state, _ = unpickle(attack, chosen, sandboxed=True)
    assert is_complete(state)
    assert not canary.is_symlink()
    assert not canary.exists()


@needs_landlock
def test_not_even_the_chosen_folder_can_be_changed(chosen: Path) -> None:
    for attack in (
        Call(open, str(chosen / "new"), "w"),
        Call(open, str(chosen / "weights"), "a"),
        Call(os.truncate, str(chosen / "weights"), 0),
        Call(os.remove, str(chosen / "weights")),
        Call(os.rename, str(chosen / "weights"), str(chosen / "other")),
    ):
        _, result = unpickle(attack, chosen, sandboxed=True)
        assert result.startswith("PermissionError"), result
    assert [path.name for path in chosen.iterdir()] == ["weights"]
    assert (chosen / "weights").read_text() == "weights"


@needs_landlock
def test_what_was_chosen_can_be_read_and_nothing_beside_it(chosen: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (chosen / "link").symlink_to(secret)
    read = Call(os.listdir, str(chosen))
    assert "weights" in unpickle(read, chosen, sandboxed=True)[1]
    assert (
        "TextIOWrapper" in unpickle(Call(open, str(chosen / "weights")), chosen, sandboxed=True)[1]
    )
    for path in (secret, chosen / "link", Path("/etc/passwd"), Path("/proc/self/environ")):
        _, result = unpickle(Call(open, str(path)), chosen, sandboxed=True)
        assert result.startswith("PermissionError"), (path, result)
    _, result = unpickle(Call(os.listdir, str(tmp_path)), chosen, sandboxed=True)
    assert result.startswith("PermissionError")


@needs_landlock
@pytest.mark.parametrize("linked", ["blobs", "file of blobs", "snapshot"])
def test_a_cache_opens_its_own_blobs_and_nothing_that_is_linked_in_their_place(
    linked: str, tmp_path: Path
) -> None:
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
    for path in (secret / "file", snapshot / "weights", Path("/etc/passwd")):
        _, result = unpickle(Call(open, str(path)), snapshot, sandboxed=True)
        assert result.startswith("PermissionError"), (path, result)
    if linked != "blobs":
        (blobs / "file").unlink()
        (blobs / "file").write_text("weights")
        _, result = unpickle(Call(open, str(snapshot / "weights")), snapshot, sandboxed=True)
        assert "TextIOWrapper" in result


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        yield server


@pytest.mark.skipif(
    int(available().landlock.rpartition(" ")[2]) < 4
    if available().landlock.startswith("on")
    else True,
    reason=f"Landlock cannot forbid connections here ({available().landlock})",
)
def test_no_connection_is_made_or_awaited(listener: socket.socket, chosen: Path) -> None:
    attack = Call(socket.create_connection, listener.getsockname())
    unpickle(attack, chosen, sandboxed=False)
    listener.accept()[0].close()
    _, result = unpickle(attack, chosen, sandboxed=True)
    assert result.startswith("PermissionError")
    with pytest.raises(TimeoutError):
        listener.accept()
    served = Call(socket.create_server, ("127.0.0.1", 0))
    assert "socket" in unpickle(served, chosen, sandboxed=False)[1]
    assert unpickle(served, chosen, sandboxed=True)[1].startswith("PermissionError")


def test_memory_and_files_are_limited_even_without_landlock(chosen: Path) -> None:
    state, result = unpickle(Call(bytearray, 2 << 30), chosen, sandboxed=True)
    assert state["limits"] == "on"
    assert result.startswith("MemoryError")
    import resource

    for kind, limit in (
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, 20),
        (resource.RLIMIT_NPROC, 0),
    ):
        _, result = unpickle(Call(resource.getrlimit, kind), chosen, sandboxed=True)
        assert result == str((limit, limit))


def test_a_state_is_complete_only_if_all_of_it_is_on() -> None:
    assert SandboxState("on", "on", "on, version 7", "on").complete
    assert not SandboxState("on", "on", "off: only Linux has it", "on").complete
    assert not SandboxState("on", "on", "on, version 7", "off: too old").complete
    assert not SandboxState("off in part: AS", "on", "on, version 1", "on").complete
    assert not is_complete(None)
    assert not is_complete({})

"""The process in which a hostile file is read: ``python -m ml_core.reading.worker``.

With ``serve`` standard input is a socket (`ml_core.reading.protocol`). This process then opens no
file: it forks for each request, and its children read. Without it standard input is a request.

A request: a line with the task and the processor seconds it may use, then, with zero bytes between,
the path, the member of an archive that is meant, and the folder that the path is relative to.
Standard output, for ``inspect`` and ``list``, which hashes nothing: one JSON object, the inspection
or why there is none (`inspection_json`), after a blank if files beside an ONNX model are hashed,
too; for ``picklescan``: its words.
"""

from __future__ import annotations

import codecs
import gc
import hashlib
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from ml_core.children import own_stdout
from ml_core.reading.errors import InputError, unsupported
from ml_core.reading.folder import files_beside, repository_folders
from ml_core.reading.inspect import inspect
from ml_core.reading.inspection_json import error_to_json, to_json
from ml_core.reading.protocol import IDLE_SECONDS, LENGTH, READY, SECONDS, SERVE, STATUS
from ml_core.reading.sandbox import MEMORY, enter
from ml_core.reading.sniff import is_onnx_name

MAX_REQUEST = 1 << 20
_PICKLESCAN = b"picklescan"
_MOST_OPEN = 64


def main() -> int:
    """Answer one request, or all that come over a socket; 0 unless nobody listens."""
    gc.disable()  # a short life, and records without circles: searching for them costs seconds
    if sys.argv[1:] == [SERVE]:
        serve(socket.socket(fileno=0))
        return 0
    return answer(sys.stdin.buffer.read(MAX_REQUEST))


def serve(channel: socket.socket) -> None:
    """Fork for each request until nobody asks any more."""
    _preload()
    gc.freeze()  # the children's pages stay shared
    channel.sendall(READY)
    while True:
        channel.settimeout(IDLE_SECONDS)
        try:
            head, pipes, _, _ = socket.recv_fds(channel, LENGTH.size, 2)
        except TimeoutError:
            return
        if not head:
            return
        channel.settimeout(None)
        (length,) = LENGTH.unpack(head)
        request = channel.recv(length, socket.MSG_WAITALL)
        if request.startswith(_PICKLESCAN):
            _picklescan()  # once for all that are forked from now on
        pid = os.fork()
        if not pid:
            _be_child(channel, pipes, request)
        for pipe in pipes:
            os.close(pipe)
        channel.sendall(READY)
        patience = channel.recv(SECONDS.size, socket.MSG_WAITALL)
        status = _reap(pid, SECONDS.unpack(patience)[0] if patience else 0.0)
        if not patience:
            return
        channel.sendall(STATUS.pack(status))


def _be_child(channel: socket.socket, pipes: list[int], request: bytes) -> NoReturn:
    """Answer a request with nothing of the parent's open, and end."""
    status = 1
    try:
        channel.close()  # a file that takes this process over can neither ask nor answer there
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, place in zip((nothing, *pipes), range(3), strict=True):
            os.dup2(descriptor, place)
        os.closerange(3, 3 + _MOST_OPEN)
        status = answer(request)
    except BaseException:
        os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
    finally:
        os._exit(status)


def _reap(pid: int, patience: float) -> int:
    """The exit status of a child, which is killed if it stays any longer.

    Nobody else waits for it, so that its number cannot be another process's meanwhile.
    """
    until, pause = time.monotonic() + patience, 0.0005
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def answer(request: bytes) -> int:
    """Answer one request in this process, which cannot do anything else afterwards."""
    answer = own_stdout()
    head, _, raw = request.partition(b"\n")
    task, seconds = head.split()
    place, member, *folder = map(os.fsdecode, raw.split(b"\0"))
    path = Path(place)
    if folder:
        os.chdir(folder[0])

    def go_on() -> None:
        answer.write(b" ")
        answer.flush()

    examined = partial(_examined, member=member, hashed=task != b"list", go_on=go_on)
    tell, memory = (examined, MEMORY) if task != _PICKLESCAN else _picklescan()
    _preload()
    state = enter(_readable(path), int(seconds), memory)
    try:
        answer.write(tell(path, state.as_texts()))
        answer.flush()
    except BrokenPipeError:
        return 1
    return 0


Teller = Callable[[Path, dict[str, str]], bytes]


def _picklescan() -> tuple[Teller, int]:
    """Load picklescan while that is still possible; return what asks it, and its memory."""
    from ml_core.reading import second_opinion

    second_opinion.load_picklescan()

    def tell(path: Path, _: dict[str, str]) -> bytes:
        return second_opinion.second_opinion(path).encode("utf-8", "replace")

    return tell, second_opinion.MEMORY


def _examined(path: Path, sandbox: dict[str, str], **options: Any) -> bytes:
    """The answer as JSON; every exception becomes one too."""
    try:
        return to_json(replace(inspect(path, **options), sandbox=sandbox))
    except InputError as error:
        answer = error
    except OSError as error:
        answer = unsupported(
            f"{path.name} cannot be read: {error.strerror or 'the system refuses it'}; choose a "
            "checkpoint file."
        )
    except MemoryError:
        answer = unsupported(
            f"{path.name} needs more memory to be read than a checkpoint should; get the file "
            "again, or a safetensors copy of it."
        )
    except Exception as error:
        answer = InputError(
            f"{path.name} could not be read to its end (an unexpected {type(error).__name__}); "
            "nothing of it was run, and it is not opened.",
            "unsupported",
            traceback.format_exc(),
        )
    return error_to_json(answer)


def _readable(path: Path) -> tuple[Path, ...]:
    """What may be opened: the chosen path, what a Hugging Face cache's folder links to, and the
    files beside an ONNX model, which may hold its tensors.

    Links that lead to the chosen path are the user's and are followed. ``blobs`` came with the
    download and counts only if it is a real folder (`enter` follows no link).
    """
    try:
        chosen = path.resolve()
        if chosen.is_dir():
            return tuple(repository_folders(chosen))
        if is_onnx_name(path.name):
            folder = path.parent.resolve()
            blobs = [root for root in repository_folders(folder) if root != folder]
            return chosen, *files_beside(folder), *blobs
    except (OSError, ValueError, RuntimeError):
        return ()  # the reader says what is wrong with it
    return (chosen,)


def _preload() -> None:
    """Load the readers, codecs and hashes, whose modules Python would read at their first use."""
    import ml_core.reading.weights_reader  # noqa: F401

    for name in ("raw-unicode-escape", "unicode-escape", "utf-8-sig", "latin-1", "ascii", "cp437"):
        codecs.lookup(name)
    hashlib.sha256(b"").hexdigest()


if __name__ == "__main__":
    sys.exit(main())

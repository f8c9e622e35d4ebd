"""The short-lived process in which a hostile file is read: ``python -m ml_core.reading.worker``.

Standard input: a line with the task and the processor seconds it may use, then the path's bytes
and, after a zero byte, the member of an archive that is meant. Standard output, for ``inspect`` and
``list``, which hashes nothing: one JSON object, the inspection or why there is none
(`inspection_json`), after a blank if files beside an ONNX model are hashed, too; for
``picklescan``: its words.
"""

from __future__ import annotations

import codecs
import gc
import hashlib
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ml_core.children import own_stdout
from ml_core.reading.errors import InputError
from ml_core.reading.folder import files_beside, repository_folders
from ml_core.reading.inspect import inspect
from ml_core.reading.inspection_json import error_to_json, to_json
from ml_core.reading.sandbox import MEMORY, enter
from ml_core.reading.sniff import is_onnx_name

MAX_REQUEST = 1 << 20


def main() -> int:
    """Answer one request; 0 unless nobody listens."""
    gc.disable()  # a short life, and records without circles: searching for them costs seconds
    answer = own_stdout()
    head, _, raw = sys.stdin.buffer.read(MAX_REQUEST).partition(b"\n")
    task, seconds = head.split()
    place, _, member = raw.partition(b"\0")
    path = Path(os.fsdecode(place))

    def go_on() -> None:
        answer.write(b" ")
        answer.flush()

    examined = partial(_examined, member=os.fsdecode(member), hashed=task != b"list", go_on=go_on)
    tell, memory = (examined, MEMORY) if task != b"picklescan" else _picklescan()
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

    second_opinion.picklescan_name()

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
        answer = InputError(
            f"{path.name} cannot be read: {error.strerror or 'the system refuses it'}; choose a "
            "checkpoint file.",
            "unsupported",
        )
    except MemoryError:
        answer = InputError(
            f"{path.name} needs more memory to be read than a checkpoint should; get the file "
            "again, or a safetensors copy of it.",
            "unsupported",
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
    """Load codecs and hashes, whose modules Python would read at their first use."""
    for name in ("raw-unicode-escape", "unicode-escape", "utf-8-sig", "latin-1", "ascii", "cp437"):
        codecs.lookup(name)
    hashlib.sha256(b"").hexdigest()


if __name__ == "__main__":
    sys.exit(main())

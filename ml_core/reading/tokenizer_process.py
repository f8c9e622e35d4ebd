"""A stranger's tokenizer, at work in a process that has little memory and may do nothing else."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import IO, Any, cast

from ml_core.children import child_command
from ml_core.reading.errors import InputError, damaged
from ml_core.reading.examine import MAX_ERRORS, Collector, kill_group, signal_words, start
from ml_core.reading.tokenizer_file import TokenizerFile

_MEMORY = 512 << 20
_MEMORY_A_BYTE = 48
"""The library takes up to 45 bytes for each byte of a large ``tokenizer.json``."""
_SECONDS = 60.0
_SLOW = 50_000
"""Bytes a second that the library reads on a slow machine."""
_MAX_STATUS = 64 << 10
_MAX_JSON = 256 << 20
_END_SECONDS = 5.0


class TokenizerProcess:
    """Starts with the object, and again if it was ended between two requests.

    Parameters
    ----------
    file
        The tokenizer.
    name
        Name of the checkpoint, for sentences.

    Attributes
    ----------
    pad_id, separator_id
        Numbers of the padding and the separating token; None where the tokenizer has none.

    Raises
    ------
    InputError
        ``damaged`` if the library cannot use the file, ``unsupported`` if it takes more memory or
        time than a tokenizer needs, ``usage`` if the process could not be started. So do the
        methods.
    """

    def __init__(self, file: TokenizerFile, name: str) -> None:
        self._file, self._name = file, name
        self._lock = threading.Lock()
        self._worker: _TokenizerProcess | None = None
        self.pad_id: int | None = None
        self.separator_id: int | None = None
        self._start()

    def tokens(self, texts: Sequence[str], length: int) -> bytes:
        """Numbers int32 [N, length] of texts, cut at the end and filled with the padding token."""
        size = 4 * length * len(texts)
        return self._ask({"texts": list(texts), "length": length}, size, size)

    def to_json(self) -> bytes:
        """The tokenizer as the library writes it, with its padding."""
        return self._ask({"texts": None, "length": None}, 1, _MAX_JSON)

    def _ask(self, request: Mapping[str, Any], least: int, most: int) -> bytes:
        """The process' answer, between ``least`` and ``most`` bytes."""
        padding = {
            "direction": "left" if self._file.left else "right",
            "pad_id": self.pad_id,
            "pad_token": self._file.pad,
        }
        line = json.dumps({**request, "padding": padding}).encode() + b"\n"
        with self._lock:
            try:
                status, raw = (self._worker or self._start()).ask(line, most)
            except _TokenizerEndedError as ended:
                self._worker = None
                if not ended.killed:
                    raise
                status, raw = self._start().ask(line, most)
        if "error" in status or len(raw) < least:
            raise self._unusable(status)
        return raw

    def _start(self) -> _TokenizerProcess:
        """Start a process and give it the tokenizer."""
        self._worker = None
        pieces = self._file.vocabulary
        raw = self._file.json or json.dumps(pieces).encode()
        head = {
            "memory": _MEMORY + _MEMORY_A_BYTE * len(raw),
            "size": len(raw),
            "pieces": bool(pieces),
            "lower": self._file.lower,
            "tokens": [self._file.pad or "", self._file.separator or "[SEP]"],
        }
        worker = _TokenizerProcess(self._name)
        status, _ = worker.ask(json.dumps(head).encode() + b"\n" + raw, 0)
        if "numbers" not in status:
            raise self._unusable(status)
        self.pad_id, self.separator_id = status["numbers"]
        self._worker = worker
        return worker

    def _unusable(self, status: Mapping[str, Any]) -> InputError:
        error = str(status.get("error", "its answer is none"))[:200]
        return damaged(f"The tokenizer of {self._name} cannot be used: {error}; get it again.")


class _TokenizerEndedError(InputError):
    """The process did not answer.

    ``killed`` means that it was not its own fault: Linux ends it with the thread that started it.
    """

    killed = False


class _TokenizerProcess:
    """One life of the process; it ends with this object, or when it does not answer."""

    def __init__(self, name: str) -> None:
        self._name = name
        try:
            self._process = start(child_command("ml_core.reading.tokenizer_worker"))
        except OSError as error:
            raise InputError(
                "The process that makes tokens of texts could not be started "
                f"({error.strerror or error}); close other programs or install this one again."
            ) from None
        self._errors = Collector(cast(IO[bytes], self._process.stderr), MAX_ERRORS)
        self._end = weakref.finalize(self, _end, self._process, self._errors)

    def ask(self, request: bytes, most: int) -> tuple[dict[str, Any], bytes]:
        """Send a request; its status, and the bytes that follow, at most so many."""
        seconds = _SECONDS + len(request) / _SLOW
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        watch = threading.Timer(seconds, give_up)
        watch.daemon = True
        watch.start()
        try:
            return self._exchange(request, most)
        except (OSError, ValueError):  # of the pipe, or of an answer that is none
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECONDS)
            self._end()
            raise self._ended_error(seconds if late.is_set() else None) from None
        finally:
            watch.cancel()

    def _exchange(self, request: bytes, most: int) -> tuple[dict[str, Any], bytes]:
        requests = cast(IO[bytes], self._process.stdin)
        answers = cast(IO[bytes], self._process.stdout)
        requests.write(request)
        requests.flush()
        status = json.loads(answers.readline(_MAX_STATUS))
        size = status.get("size", 0) if isinstance(status, dict) else -1
        if not isinstance(size, int) or not 0 <= size <= most:
            raise ValueError("no status")
        raw = answers.read(size)
        if len(raw) < size:
            raise ValueError("the answer breaks off")
        return status, raw

    def _ended_error(self, seconds: float | None) -> _TokenizerEndedError:
        """The error of a process that did not answer within ``seconds``."""
        code = self._process.returncode
        how = signal_words(-code) if code < 0 else f"with status {code}"
        why = f"the process that it works in was ended {how}"
        if seconds is not None:
            why = f"it takes more than {seconds:.0f} seconds"
        error = _TokenizerEndedError(
            f"The tokenizer of {self._name} cannot be used: {why}; get the tokenizer of the "
            "published model.",
            "unsupported",
            self._errors.raw.decode("utf-8", "backslashreplace"),
        )
        error.killed = seconds is None and code == -9
        return error


def _end(process: subprocess.Popen[bytes], errors: Collector) -> None:
    """Kill the process, if it has not ended, and close its pipes."""
    kill_group(process)
    errors.ended.wait(_END_SECONDS)
    for pipe in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(OSError):
            cast(IO[bytes], pipe).close()

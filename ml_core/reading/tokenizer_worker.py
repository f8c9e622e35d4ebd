"""The process in which a tokenizer works: ``python -m ml_core.reading.tokenizer_worker``.

Standard input: a line of JSON on the tokenizer and the memory it may use, then its bytes, then a
line of JSON for each request. Standard output: a line of JSON for the tokenizer and for each
request, and after it as many bytes as it announces.
"""

from __future__ import annotations

import json
import os
import sys
from array import array
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, BinaryIO

from ml_core.children import own_stdout
from ml_core.reading.sandbox import enter

_CHUNK = 1024
"""Texts that the library works on at once; each takes some kilobytes until it is done."""
_LIFE_SECONDS = 1_000_000
"""Of the processor; the process that asks has a limit for each request."""


def main() -> int:
    """Answer requests until there are no more; 0 unless nobody listens."""
    answers, requests = own_stdout(), sys.stdin.buffer
    head = json.loads(requests.readline())
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # no thread can be started later
    import tokenizers  # noqa: F401  (nor can a module be loaded)

    enter((), _LIFE_SECONDS, head["memory"])
    tokenizer: Any = None

    def load() -> tuple[dict[str, Any], bytes]:
        nonlocal tokenizer
        tokenizer = _load(head, requests.read(head["size"]))
        return {"numbers": [tokenizer.token_to_id(token) for token in head["tokens"]]}, b""

    try:
        if _answer(answers, load):
            for line in requests:
                _answer(answers, partial(_reply, tokenizer, **json.loads(line)))
    except BrokenPipeError:
        return 1
    return 0


def _answer(answers: BinaryIO, reply: Callable[[], tuple[dict[str, Any], bytes]]) -> bool:
    """Write the reply, or the error instead; True if it was a reply."""
    try:
        status, raw = reply()
    except BaseException as error:  # the library's panics are no Exception
        status, raw = {"error": str(error) or type(error).__name__}, b""
    answers.write(json.dumps(status).encode() + b"\n" + raw)
    answers.flush()
    return "error" not in status


def _load(head: Mapping[str, Any], raw: bytes) -> Any:
    """The library's object of a ``tokenizer.json``, or of a BERT's word pieces."""
    from tokenizers import BertWordPieceTokenizer, Tokenizer

    if not head["pieces"]:
        return Tokenizer.from_str(raw.decode())
    numbers = {piece: number for number, piece in enumerate(json.loads(raw))}
    return BertWordPieceTokenizer(numbers, lowercase=head["lower"])._tokenizer


def _reply(
    tokenizer: Any, texts: list[str] | None, length: int | None, padding: Mapping[str, Any]
) -> tuple[dict[str, Any], bytes]:
    """The texts' tokens as int32; without texts the tokenizer as JSON."""
    tokenizer.enable_padding(length=length, **padding)
    if texts is None:
        tokenizer.no_truncation()
        raw = str(tokenizer.to_str()).encode()
        return {"size": len(raw)}, raw
    tokenizer.enable_truncation(length)
    numbers = array("i")
    for start in range(0, len(texts), _CHUNK):
        for encoding in tokenizer.encode_batch(texts[start : start + _CHUNK]):
            if len(encoding.ids) != length:
                raise ValueError(f"it does not cut texts to {length} tokens")
            numbers.extend(encoding.ids)
    return {"size": numbers.itemsize * len(numbers)}, numbers.tobytes()


if __name__ == "__main__":
    sys.exit(main())

"""Texts to token numbers by a checkpoint's own tokenizer, as open_clip's ``HFTokenizer`` does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ml_core.reading.errors import InputError
from ml_core.reading.tokenizer_file import TokenizerFile


class TextTokenizer:
    """A tokenizer that was read from files beside the weights; it runs nothing of theirs.

    Parameters
    ----------
    file
        What was read.
    vocab_size
        Rows of the text encoder's table of tokens.
    clean
        ``whitespace``, ``lower`` or ``canonicalize``: what happens to a text before.
    strip_separator
        Whether the separating token becomes 0, as CLIPA's does.
    name
        Of the checkpoint, for sentences.

    Raises
    ------
    InputError
        ``damaged`` if the tokenizers library cannot use the file.
    """

    def __init__(
        self,
        file: TokenizerFile,
        vocab_size: int,
        *,
        clean: str = "whitespace",
        strip_separator: bool = False,
        name: str = "",
    ) -> None:
        self._vocab_size, self._name = vocab_size, name or "The model"
        self._clean = clean
        self.file = file
        self._tokenizer = _made(file, self._name)
        self.pad = file.pad
        number = None if file.pad is None else self._tokenizer.token_to_id(file.pad)
        if number is None:
            raise InputError(
                f"The tokenizer of {self._name} does not say which token fills short texts; put "
                "tokenizer_config.json of the same repository beside it.",
                "damaged",
            )
        self.pad_id = int(number)
        found = None
        if strip_separator:
            found = self._tokenizer.token_to_id(file.separator or "[SEP]")
        self._separator = found

    @property
    def digest(self) -> str:
        """SHA-256 of what decides the tokens."""
        return f"{self.file.digest} {self._clean} {self._separator}"

    def __call__(self, texts: Sequence[str], context_length: int) -> Tensor:
        """Numbers int64 [N, context_length]: cut at the end, filled with the padding token.

        Raises
        ------
        InputError
            ``damaged`` if a text has a token that the text encoder does not, or stays too long.
        """
        from ml_core.open_clip_parts import get_clean_fn

        clean = get_clean_fn(self._clean)
        cleaned = [clean(text) for text in texts]
        self._tokenizer.enable_truncation(context_length)
        self._fill(length=context_length)
        found = _guarded(lambda: self._tokenizer.encode_batch(cleaned), self._name)
        rows = [item.ids for item in found]
        if any(len(row) != context_length for row in rows):
            raise InputError(
                f"The tokenizer of {self._name} does not cut texts to {context_length} tokens; get "
                "it again.",
                "damaged",
            )
        tokens = torch.tensor(rows, dtype=torch.int64).reshape(-1, context_length)
        if tokens.numel() and int(tokens.max()) >= self._vocab_size:
            raise InputError(
                f"The tokenizer of {self._name} writes the token {int(tokens.max())} and the model "
                f"has {self._vocab_size}: it belongs to another model; get both again.",
                "damaged",
            )
        if self._separator is not None:
            tokens[tokens == self._separator] = 0
        return tokens

    def to_json(self) -> bytes:
        """A ``tokenizer.json`` that says all of it, the padding too."""
        self._tokenizer.no_truncation()
        self._fill(length=None)
        return str(self._tokenizer.to_str()).encode()

    def _fill(self, length: int | None) -> None:
        """Fill short texts up to a length, or up to the longest."""
        side = "left" if self.file.left else "right"
        self._tokenizer.enable_padding(
            direction=side, length=length, pad_id=self.pad_id, pad_token=self.pad
        )


def _made(file: TokenizerFile, name: str) -> Any:
    """The library's object."""
    # The library's threads do not survive a fork, and one thread is far faster than the encoder.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if file.json:
        from tokenizers import Tokenizer

        return _guarded(lambda: Tokenizer.from_str(file.json.decode()), name)
    from tokenizers import BertWordPieceTokenizer

    vocabulary = {piece: number for number, piece in enumerate(file.vocabulary)}
    return BertWordPieceTokenizer(vocabulary, lowercase=file.lower)._tokenizer


def _guarded(act: Any, name: str) -> Any:
    """Call the library, of which a fault in the file may come as an error of any kind."""
    try:
        return act()
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:  # its panics are no Exception
        raise InputError(
            f"The tokenizer of {name} cannot be used: {str(error)[:200]}; get it again.", "damaged"
        ) from None

"""Texts to token numbers by a checkpoint's own tokenizer, as open_clip's ``HFTokenizer`` does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ml_core.reading.errors import InputError
from ml_core.reading.tokenizer_file import TokenizerFile
from ml_core.reading.tokenizer_process import TokenizerProcess

_MOST_KNOWN = 100_000
"""Texts whose tokens are kept, of some hundred bytes each."""


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
        Name of the checkpoint, for sentences.

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
        self._process = TokenizerProcess(file, self._name)
        self._known: dict[tuple[str, int], bytes] = {}
        if file.pad is None or self._process.pad_id is None:
            raise InputError(
                f"The tokenizer of {self._name} does not say which token fills short texts; put "
                "tokenizer_config.json of the same repository beside it.",
                "damaged",
            )
        self.pad = file.pad
        self._separator = self._process.separator_id if strip_separator else None

    @property
    def digest(self) -> str:
        """SHA-256 of what decides the tokens."""
        return f"{self.file.digest} {self._clean} {self._separator}"

    def __call__(self, texts: Sequence[str], context_length: int) -> Tensor:
        """Numbers int64 [N, context_length]: cut at the end, filled with the padding token.

        Raises
        ------
        InputError
            ``damaged`` if a text has a token that the text encoder does not, or stays too long;
            ``unsupported`` if the tokenizer takes too much memory or time.
        """
        rows = np.frombuffer(self._rows(texts, context_length), np.int32)
        tokens = torch.from_numpy(rows.astype(np.int64)).reshape(-1, context_length)
        if tokens.numel() and int(tokens.max()) >= self._vocab_size:
            raise InputError(
                f"The tokenizer of {self._name} writes the token {int(tokens.max())} and the model "
                f"has {self._vocab_size}: it belongs to another model; get both again.",
                "damaged",
            )
        if self._separator is not None:
            tokens[tokens == self._separator] = 0
        return tokens

    def _rows(self, texts: Sequence[str], length: int) -> bytes:
        """Tokens of all texts; the process is asked once, for those that are not known yet."""
        from ml_core.open_clip_parts import get_clean_fn

        if len(self._known) > _MOST_KNOWN:
            self._known = {}
        known = self._known
        new = [text for text in dict.fromkeys(texts) if (text, length) not in known]
        if new:
            clean, size = get_clean_fn(self._clean), 4 * length
            raw = self._process.tokens([clean(text) for text in new], length)
            for number, text in enumerate(new):
                known[text, length] = raw[number * size : (number + 1) * size]
        return b"".join(known[text, length] for text in texts)

    def to_json(self) -> bytes:
        """A ``tokenizer.json`` that says all of it, the padding too."""
        return self._process.to_json()

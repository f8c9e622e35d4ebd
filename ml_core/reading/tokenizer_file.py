"""A checkpoint's own tokenizer: JSON beside the weights, checked before a library gets it.

``tokenizer.json`` is data of the `tokenizers` library and names no code. Even so, only the parts
listed here are allowed: its author's regular expression could take hours on one text, and chained
replacements could take all memory. A tokenizer that passes works in its own process
(`ml_core.reading.tokenizer_process`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_core.reading.errors import InputError, damaged, unsupported
from ml_core.reading.folder import check_link
from ml_core.reading.regular_file import open_regular, read_object
from ml_core.reading.strict_json import JsonError, parse_object

TOKENIZER_NAME = "tokenizer.json"
SETTINGS_NAME = "tokenizer_config.json"
VOCABULARY_NAME = "vocab.txt"
_SPECIAL_NAME = "special_tokens_map.json"
_SENTENCEPIECES = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
_MAX_BYTES = 48 << 20
_MAX_PARTS = 3_000_000
_MAX_SMALL = 4 << 20
_MAX_TOKEN = 4096
# No published tokenizer comes near these.
_MAX_STEPS = 8
_MAX_GROWTH = 4
_MAX_PREPENDED = 15
_MAX_PIECE = 256
_MAX_ADDED = 10_000
_MAX_TEMPLATE = 64

_MODELS = ("BPE", "Unigram", "WordPiece", "WordLevel")
_PARTS = {
    "normalizer": ("Sequence", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "Strip",
        "StripAccents", "BertNormalizer", "Precompiled", "Replace", "Prepend", "ByteLevel"),
    "pre_tokenizer": ("Sequence", "Metaspace", "Whitespace", "WhitespaceSplit", "BertPreTokenizer",
        "ByteLevel", "Split", "Punctuation", "Digits", "UnicodeScripts", "CharDelimiterSplit"),
    "post_processor": ("Sequence", "TemplateProcessing", "BertProcessing", "RobertaProcessing",
        "ByteLevel"),
}  # fmt: skip
# Expressions of published tokenizers; each looks at a character once.
_REGEXES = (
    " {2,}",
    r"\\s+",
    r"\s+",
    r"[^\S\n]+",
    "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+",
    "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|"
    "[^\\s\\p{L}\\p{N}]+",
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
)


@dataclass(frozen=True, eq=False)
class TokenizerFile:
    """What the files of a tokenizer say.

    Parameters
    ----------
    json
        The checked ``tokenizer.json``; empty if there is a list of word pieces alone.
    vocabulary
        Word pieces of a BERT, where there is no JSON.
    lower
        Whether a BERT's word pieces are of lower-case texts.
    left
        Whether short texts are filled at their beginning.
    pad, separator
        Texts of the padding and the separating token; None if no file says.
    settings
        ``tokenizer_config.json``, unchecked; empty if it is missing.
    """

    json: bytes
    vocabulary: tuple[str, ...]
    lower: bool
    left: bool
    pad: str | None
    separator: str | None
    settings: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides a text's tokens."""
        facts = [self.json, "\n".join(self.vocabulary).encode()]
        facts.append(repr((self.lower, self.left, self.pad, self.separator)).encode())
        return hashlib.sha256(b"\0".join(facts)).hexdigest()


def name_beside(weights: Path) -> Path:
    """Where the tokenizer of a single weights file is saved."""
    return weights.with_name(f"{weights.stem}.{TOKENIZER_NAME}")


def beside(path: Path) -> Path | None:
    """The tokenizer of a folder, or of a weights file: ``NAME.tokenizer.json`` or in its folder."""
    folder = path if path.is_dir() else path.parent
    places = [folder / TOKENIZER_NAME, folder / VOCABULARY_NAME]
    if folder is not path:
        places.insert(0, name_beside(path))
    return next((place for place in places if place.is_file()), None)


def sentencepiece_beside(path: Path) -> str:
    """Name of a sentencepiece model in a folder or beside a file, or empty; it is not read."""
    folder = path if path.is_dir() else path.parent
    return next((name for name in _SENTENCEPIECES if (folder / name).is_file()), "")


def read_tokenizer(file: Path) -> TokenizerFile:
    """Read and check a tokenizer and what lies beside it.

    Raises
    ------
    InputError
        ``damaged``, or ``unsupported`` for parts that this version does not know.
    """
    label = f"{file.parent.name}/{file.name}"
    own = file.name != TOKENIZER_NAME and file.name.endswith(TOKENIZER_NAME)  # saved by us
    settings = {} if own else _small(file.parent / SETTINGS_NAME)
    special = {} if own else _small(file.parent / _SPECIAL_NAME)
    pad = _token(settings.get("pad_token", special.get("pad_token")))
    separator = _token(settings.get("sep_token", special.get("sep_token")))
    left = settings.get("padding_side") == "left"
    check_link(file.parent, file)
    raw = _read(file, label)
    if file.name == VOCABULARY_NAME:
        lower = settings.get("do_lower_case", True) is not False
        pieces = _pieces(raw, label)
        return TokenizerFile(
            b"", pieces, lower, left, pad or "[PAD]", separator or "[SEP]", settings
        )
    value = _parse(raw, label)
    padding = value.get("padding")
    if isinstance(padding, Mapping) and (own or pad is None):
        pad = _token(padding.get("pad_token"))
        left = padding.get("direction") == "Left"
    return TokenizerFile(raw, (), False, left, pad, separator, settings)


def check_tokenizer(value: Mapping[str, Any], label: str) -> None:
    """Refuse a ``tokenizer.json`` with parts that are not known.

    Raises
    ------
    InputError
        ``unsupported``, with the part.
    """
    model = value.get("model")
    kind = model.get("type") if isinstance(model, Mapping) else None
    if isinstance(model, Mapping) and kind is None and "merges" in model:
        kind = "BPE"  # old files leave it out
    if kind not in _MODELS:
        raise _unknown(label, "model", kind)
    if isinstance(model, Mapping) and model.get("dropout"):
        raise unsupported(
            f"{label} drops parts of texts at random (dropout), so that no result could be "
            "repeated; get the tokenizer of the published model."
        )
    assert isinstance(model, Mapping)
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, list):  # with the score of each
        vocabulary = [entry[0] for entry in vocabulary if isinstance(entry, list) and entry]
    _check_pieces(vocabulary if isinstance(vocabulary, list | Mapping) else (), label)
    _check_pieces(model.values(), label)
    added = value.get("added_tokens")
    added = [token for token in added if isinstance(token, Mapping)] if added else []
    if len(added) > _MAX_ADDED:
        raise _swelling(label, f"has {len(added)} added tokens, more than {_MAX_ADDED}")
    _check_pieces((token.get("content") for token in added), label)
    for part, known in _PARTS.items():
        _check_part(value.get(part), part, known, label)


def _check_part(value: Any, part: str, known: Collection[str], label: str) -> None:
    """Check the steps of a part, and that they cannot make much of a short text."""
    steps = list(_steps(value, part, known, label))
    if len(steps) > _MAX_STEPS:
        raise _swelling(label, f"has {len(steps)} steps in its {part}, more than {_MAX_STEPS}")
    replaced = []
    for step in steps:
        pattern = step.get("pattern")
        pattern = pattern if isinstance(pattern, Mapping) else {}
        regex, string = pattern.get("Regex"), str(pattern.get("String", ""))
        if "Regex" in pattern and regex not in _REGEXES:
            raise unsupported(
                f"{label} splits texts by the regular expression {str(regex)[:60]!r}, which this "
                "version does not know and does not run; get the tokenizer of the published "
                "model."
            )
        if step["type"] == "Replace":
            shortest = len(string) if regex is None else 1
            if len(str(step.get("content", ""))) > _MAX_GROWTH * shortest:
                raise _swelling(
                    label, f"replaces a text by one more than {_MAX_GROWTH} times as long"
                )
            replaced.append((regex, string))
        if _length(step) > _MAX_TEMPLATE:
            raise _swelling(label, f"has a template of more than {_MAX_TEMPLATE} parts")
        if len(str(step.get("prepend", ""))) > _MAX_PREPENDED:
            raise _swelling(label, f"puts more than {_MAX_PREPENDED} letters before each text")
    if len(set(replaced)) < len(replaced):
        raise _swelling(label, "replaces the same text in two of its steps")


def _steps(
    value: Any, part: str, known: Collection[str], label: str, depth: int = 0
) -> Iterator[Mapping[str, Any]]:
    """The steps of a part, those of nested sequences in their place."""
    if value is None:
        return
    kind = value.get("type") if isinstance(value, Mapping) else None
    if kind not in known or depth > 3:
        raise _unknown(label, part, kind)
    if kind != "Sequence":
        yield value
    for name in ("normalizers", "pretokenizers", "processors"):
        steps = value.get(name, ())
        if not isinstance(steps, list | tuple) or len(steps) > 32:
            raise _unknown(label, part, name)
        for step in steps:
            yield from _steps(step, part, known, label, depth + 1)


def _check_pieces(pieces: Iterable[object], label: str) -> None:
    """Refuse pieces of a vocabulary that are whole books."""
    for piece in pieces:
        if isinstance(piece, str) and len(piece) > _MAX_PIECE // 4:
            size = len(piece.encode("utf-8", "surrogatepass"))
            if size > _MAX_PIECE:
                raise _swelling(
                    label, f"has a piece of {size} bytes in its vocabulary, more than {_MAX_PIECE}"
                )


def _length(template: Mapping[str, Any]) -> int:
    """How many tokens and texts a template joins; each number of a token counts."""
    tokens = template.get("special_tokens")
    numbers = [
        token.get("ids")
        for token in (tokens.values() if isinstance(tokens, Mapping) else ())
        if isinstance(token, Mapping)
    ]
    lists = (template.get("single"), template.get("pair"), *numbers)
    return sum(len(each) for each in lists if isinstance(each, list))


def _swelling(label: str, what: str) -> InputError:
    return unsupported(
        f"{label} {what}, by which a short text could take all memory; get the tokenizer of the "
        "published model."
    )


def _unknown(label: str, part: str, kind: object) -> InputError:
    return unsupported(
        f"{label} has a {part} of the kind {str(kind)[:40]!r}, which this version does not know; "
        "get the tokenizer of the published model."
    )


def _parse(raw: bytes, label: str) -> dict[str, Any]:
    try:
        value = parse_object(raw, max_bytes=_MAX_BYTES, max_parts=_MAX_PARTS, half_characters=True)
    except JsonError as error:
        raise damaged(f"{label} cannot be used: {error}; get it again.") from None
    check_tokenizer(value, label)
    return value


def _read(file: Path, label: str) -> bytes:
    """At most the limit of a tokenizer's bytes."""
    opened, _ = open_regular(file)
    with opened:
        raw = opened.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise unsupported(
            f"{label} has more than {_MAX_BYTES >> 20} MB, more than a tokenizer needs; get it "
            "again."
        )
    return raw


def _small(file: Path) -> dict[str, Any]:
    """A JSON file of settings; empty if it is missing or cannot be used."""
    if not file.is_file():
        return {}
    check_link(file.parent, file)
    return read_object(file, "get it again", _MAX_SMALL)


def _token(value: object) -> str | None:
    """A special token, written as a text or with its properties."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_TOKEN else None


def _pieces(raw: bytes, label: str) -> tuple[str, ...]:
    """A BERT's word pieces, one a line."""
    try:
        pieces = raw.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise damaged(f"{label} is no UTF-8 text; get it again.") from None
    while pieces and not pieces[-1]:
        pieces.pop()
    needed = {"[UNK]", "[CLS]", "[SEP]", "[PAD]"}
    if len(set(pieces)) != len(pieces) or not needed.issubset(pieces):
        raise damaged(
            f"{label} is no list of word pieces: a piece occurs twice, or one of "
            f"{', '.join(sorted(needed))} is not there; get it again."
        )
    _check_pieces(pieces, label)
    return tuple(pieces)

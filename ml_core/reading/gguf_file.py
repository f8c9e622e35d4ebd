"""GGUF files of llama.cpp: header, metadata and the table of tensors.

The format: a mark, a version and two counts; the metadata, each a key, a type and a value; the
table of tensors; their bytes, each tensor at the next multiple of the alignment. A file passes when
its tensors lie back to back like that and the last one ends where the file ends.

llama.cpp's image encoders (``mmproj``) and clip.cpp's CLIPs keep the tensors of the transformers
library under shorter names; they get that library's names here.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from math import prod
from typing import Any, BinaryIO

from ml_core.reading.container import Container, WeightsFile
from ml_core.reading.errors import (
    SAFETENSORS_COPY,
    InputError,
    TruncatedError,
    damaged,
    unsupported,
)
from ml_core.reading.parts import find_parts
from ml_core.reading.safetensors_header import (
    BLOCKS,
    MAX_NAME,
    MAX_TENSORS,
    TensorInfo,
    packed_bytes,
)

MAX_HEADER = 32 << 20  # language models with the longest lists of tokens have half of it
_MAX_KEYS = 4096
_MAX_RANK = 4  # ggml's own
_MAX_ALIGNMENT = 4096
_MAX_TEXT = 1000  # bytes that are kept of a value
_MAX_LISTED = 16

# ggml's numbers of types; those that are read have safetensors' names, or those of `BLOCKS`.
_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1",
    10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS",
    17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS",
    24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 30: "BF16", 34: "TQ1_0",
    35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0",
}  # fmt: skip
_VALUES = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip
_UINT32, _FLOAT32, _BOOL, _TEXT, _ARRAY = 4, 6, 7, 8, 9


def read_gguf(file: BinaryIO, size: int, name: str) -> WeightsFile:
    """Read everything but the tensors' bytes; ``name`` is for sentences.

    Raises
    ------
    InputError
        ``damaged`` with the first thing that is wrong, ``unsupported`` for another byte order,
        types of tensors that are not read, language models and image generators.
    """
    file.seek(0)
    front = _Front(file.read(min(size, MAX_HEADER)), size, name)
    front.skip(4)
    version = front.number("<I")
    if not version & 0xFFFF:
        raise _unfit(name, "it is written for big-endian machines", "take the little-endian one")
    if version not in (2, 3):
        raise _unfit(name, f"it is of GGUF's version {version}", "convert the original again")
    tensors, keys = front.number("<Q"), front.number("<Q")
    for count, limit, what in ((tensors, MAX_TENSORS, "tensors"), (keys, _MAX_KEYS, "keys")):
        if count > limit:
            raise _unfit(name, f"it lists {count} {what}, the limit is {limit}", SAFETENSORS_COPY)
    metadata, alignment = _metadata(front, keys)
    entries = [_entry(front) for _ in range(tensors)]
    names = _renamed(entries)
    if len(set(names.values())) < len(entries):
        raise _damaged(name, "it has two tensors of one name")
    _check_known(entries, names, metadata, name)
    infos = tuple(_placed(file, entries, names, front, alignment))
    # GGUF's own keys have a dot. One without it, such as `open_clip_config`, means nothing here.
    own = {key: value for key, value in metadata.items() if "." in key}
    unread = [f"the value {key[:80]!r}, which GGUF does not have" for key in metadata.keys() - own]
    container = Container(f"GGUF, version {version}")
    return WeightsFile("GGUF", infos, own, unread=tuple(sorted(unread)), container=container)


class _Front:
    """The bytes before the tensors, read from the first to the last; ``at`` is the next one."""

    def __init__(self, raw: bytes, size: int, name: str) -> None:
        self.raw, self.size, self.name = raw, size, name
        self.at = 0

    def skip(self, count: int) -> int:
        """Pass over bytes; where they begin."""
        begin = self.at
        if count > len(self.raw) - begin:
            raise self.short(count)
        self.at += count
        return begin

    def short(self, count: int) -> InputError:
        """Why so many more bytes cannot be read."""
        if count <= self.size - self.at:
            what = f"its metadata and its table of tensors have over {MAX_HEADER >> 20} MiB"
            return _unfit(self.name, what, SAFETENSORS_COPY)
        what = f"at byte {self.at} it claims {count} bytes and {self.size - self.at} are left"
        return TruncatedError(_sentence(self.name, what))

    def numbers(self, code: str) -> tuple[Any, ...]:
        """Numbers, as the module ``struct`` writes their types."""
        return struct.unpack_from(code, self.raw, self.skip(struct.calcsize(code)))

    def number(self, code: str) -> int:
        """A whole number."""
        return int(self.numbers(code)[0])

    def text(self) -> bytes:
        """A text with its length before it."""
        length = self.number("<Q")
        begin = self.skip(length)
        return self.raw[begin : begin + length]

    def key(self, what: str) -> str:
        """The name of a tensor or of a value."""
        raw = self.text()
        try:
            key = raw.decode()
        except UnicodeDecodeError:
            raise _damaged(self.name, f"the name of {what} is no text in UTF-8") from None
        if not key or len(key) > MAX_NAME:
            raise _damaged(self.name, f"the name of {what} has {len(key)} characters")
        return key


def _metadata(front: _Front, count: int) -> tuple[dict[str, str], int]:
    """The metadata as texts, and the alignment that it states."""
    metadata: dict[str, str] = {}
    alignment = 32
    for _ in range(count):
        key = front.key("a value")
        if key in metadata:
            raise _damaged(front.name, f"the value {key[:80]!r} stands twice")
        kind = front.number("<I")
        metadata[key] = _array(front, key) if kind == _ARRAY else _value(front, kind, key)
        if key == "general.alignment":
            alignment = int(metadata[key]) if kind == _UINT32 else 0
            if not 0 < alignment <= _MAX_ALIGNMENT or alignment & (alignment - 1):
                what = f"its alignment is no power of two up to {_MAX_ALIGNMENT}"
                raise _damaged(front.name, what)
    return metadata, alignment


def _value(front: _Front, kind: int, key: str) -> str:
    """A single value as a text, cut where it is long."""
    if kind == _TEXT:
        raw = front.text()
        text = raw[:_MAX_TEXT].decode("utf-8", "replace")
        return text if len(raw) <= _MAX_TEXT else f"{text}…"
    code = _VALUES.get(kind)
    if code is None:
        raise _damaged(front.name, f"the value {key[:80]!r} is of the unknown kind {kind}")
    (value,) = front.numbers(code)
    if kind == _BOOL:
        if value > 1:
            raise _damaged(front.name, f"the value {key[:80]!r} is neither true nor false")
        return "true" if value else "false"
    return _shortest(value) if kind == _FLOAT32 else str(value)


def _shortest(value: float) -> str:
    """The shortest digits that give just this number of 32 bits."""
    if math.isfinite(value):
        for digits in range(1, 9):
            text = f"{value:.{digits}g}"
            try:
                if struct.pack("<f", float(text)) == struct.pack("<f", value):
                    return text
            except OverflowError:  # the largest ones, rounded up
                continue
    return f"{value:.9g}"


def _array(front: _Front, key: str) -> str:
    """A list as a text; of texts, such as a vocabulary, and of many values just their count."""
    kind, count = front.number("<I"), front.number("<Q")
    if kind == _ARRAY:
        raise _damaged(front.name, f"the value {key[:80]!r} is a list of lists")
    if kind == _TEXT:
        if 8 * count > len(front.raw) - front.at:
            raise front.short(8 * count)
        raw, at = front.raw, front.at
        length_at = struct.Struct("<Q").unpack_from
        try:
            for _ in range(count):  # of millions in a hostile file
                at += 8 + length_at(raw, at)[0]
        except (struct.error, OverflowError):  # a length led out
            raise front.short(at + 8 - front.at) from None
        front.skip(at - front.at)
        return f"{count} texts"
    if count <= _MAX_LISTED:
        return f"[{', '.join(_value(front, kind, key) for _ in range(count))}]"
    if kind not in _VALUES:
        raise _damaged(front.name, f"the value {key[:80]!r} is of the unknown kind {kind}")
    front.skip(count * struct.calcsize(_VALUES[kind]))
    return f"{count} values"


def _entry(front: _Front) -> TensorInfo:
    """One entry of the table of tensors; its offset counts from the first tensor, its bytes are 0.

    ggml counts the sides of a tensor from the innermost.
    """
    name = front.key("a tensor")
    rank = front.number("<I")
    if rank > _MAX_RANK:
        raise _damaged(front.name, f"the tensor {name[:80]!r} has {rank} dimensions")
    *sides, kind, offset = front.numbers(f"<{rank}QIQ")
    if prod(side or 1 for side in sides) > 1 << 48:
        raise _damaged(front.name, f"the tensor {name[:80]!r} has no valid shape")
    dtype = _TYPES.get(kind, f"number {kind}")
    return TensorInfo(name, dtype, tuple(reversed(sides)), offset, 0)


_READ = {"F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64", *BLOCKS}
_OF_WORDS = re.compile(r"(?:(?:enc|dec)\.)?blk\.\d|token_embd\.weight\Z")
_ADAPTER = (".lora_a", ".lora_b")
_GENERATOR = "open the generator's CLIP, a file such as clip_l.safetensors"
# Words for llama.cpp's and ComfyUI's names of architectures, and what to do.
_MODELS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile("clip"), "an image encoder of another family", "choose a CLIP"),
    (re.compile("t5"), "a T5", _GENERATOR),
    (re.compile(".*bert"), "a text encoder of BERT's kind", "choose a CLIP"),
    (re.compile(r"flux|sd\d|sdxl|aura|wan|ltxv|hyvid|hidream|lumina2|cosmos|qwen_image"),
        "the diffusion network of an image generator", _GENERATOR),
)  # fmt: skip


def _check_known(
    entries: list[TensorInfo], names: Mapping[str, str], metadata: Mapping[str, str], name: str
) -> None:
    """Refuse other models, and types of tensors that are not read.

    Other models of types that are read are named with those of other formats, by their tensors.
    """
    others = dict.fromkeys(entry.dtype for entry in entries if entry.dtype not in _READ)
    words = any(_OF_WORDS.match(e.name) and not e.name.endswith(_ADAPTER) for e in entries)
    if not others and not words:
        return
    if find_parts(names.values()):
        if others:
            what = f"it holds tensors of the type {' and '.join([*others][:3])}"
            raise _unfit(name, what, "take the F16 file")
        return
    kind = metadata.get("general.architecture", "of an unknown kind")
    what, advice = "another model", "choose a CLIP"
    if words:
        what = "a language model"
        advice = "if an mmproj file is published beside it, choose that"
    for pattern, *found in _MODELS:
        if pattern.match(kind):
            what, advice = found
    kind = metadata.get("clip.projector_type", kind)
    raise unsupported(f"{name} is {what} ({kind[:40]}) and holds no CLIP; {advice}.")


def _placed(
    file: BinaryIO,
    entries: list[TensorInfo],
    names: Mapping[str, str],
    front: _Front,
    alignment: int,
) -> Iterator[TensorInfo]:
    """The tensors where they lie in the file; refuses gaps, overlaps and bytes that none has.

    Writers fill up to the next tensor with zeros.
    """
    end = front.at
    shift = position = end + -end % alignment
    for entry in sorted(entries, key=lambda entry: entry.offset):
        offset, wrong = shift + entry.offset, ""
        nbytes = packed_bytes(entry.dtype, entry.elements)
        if entry.offset % alignment:
            wrong = f"does not begin at a multiple of {alignment} bytes"
        elif offset != position:
            wrong = "overlaps another" if offset < position else "leaves a gap before it"
        elif entry.dtype in BLOCKS and (entry.shape or (1,))[-1] % BLOCKS[entry.dtype][0]:
            wrong = "has rows that are not of whole blocks"
        elif _has_bytes(file, end, offset):
            wrong = "has bytes before it that are not zero"
        if wrong:
            raise _damaged(front.name, f"the tensor {entry.name[:80]!r} {wrong}")
        end = offset + nbytes
        if end > front.size:
            what = f"the tensor {entry.name[:80]!r} ends at byte {end}"
            raise TruncatedError(_sentence(front.name, f"{what} and the file has {front.size}"))
        yield TensorInfo(names[entry.name], entry.dtype, entry.shape, offset, nbytes)
        position = end + -end % alignment
    if front.size > position or _has_bytes(file, end, position):
        raise _damaged(front.name, "it has bytes after its last tensor")


def _has_bytes(file: BinaryIO, begin: int, end: int) -> bool:
    """Whether some of these bytes are not zero."""
    file.seek(begin)
    return bool(file.read(end - begin).strip(b"\0"))


_TOWERS = {"v": "vision_model", "t": "text_model"}
_LAYERS = {
    "v.class_embd": "embeddings.class_embedding",
    "v.patch_embd": "embeddings.patch_embedding",
    "v.position_embd": "embeddings.position_embedding",
    "v.pre_ln": "pre_layrnorm",  # the library's own spelling
    "v.post_ln": "post_layernorm",
    "t.token_embd": "embeddings.token_embedding",
    "t.position_embd": "embeddings.position_embedding",
    "t.post_ln": "final_layer_norm",
}
_IN_BLOCK = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_out": "self_attn.out_proj",
    "ln1": "layer_norm1",
    "ln2": "layer_norm2",
    "ffn_up": "mlp.fc1",
    "ffn_down": "mlp.fc2",
}
_SWAPPED = {"ffn_up": "ffn_down", "ffn_down": "ffn_up"}
_NAME = re.compile(r"(([vt])\.(?:blk\.(\d{1,4})\.(\w+)|\w+))(\.weight|\.bias)?")


def _renamed(entries: Iterable[TensorInfo]) -> dict[str, str]:
    """The transformers library's name of each tensor, or its own where there is none."""
    shapes = {entry.name: entry.shape for entry in entries}
    # clip.cpp and what llama.cpp made first call the layer that widens "down".
    swapped = {
        tower
        for tower in _TOWERS
        if (width := shapes.get(f"{tower}.blk.0.ln1.weight"))
        and (down := shapes.get(f"{tower}.blk.0.ffn_down.weight", ()))[-1:] == width
        and down[:1] != width  # as wide as before, it is as llama.cpp names it now
    }
    return {name: _library_name(name, swapped) for name in shapes}


def _library_name(name: str, swapped: Collection[str]) -> str:
    match = _NAME.fullmatch(name)
    if match is None:
        return name
    layer, tower, number, inside, kind = match.groups("")
    if tower in swapped:
        inside = _SWAPPED.get(inside, inside)
    new = _IN_BLOCK.get(inside) if number else _LAYERS.get(layer)
    block = f"encoder.layers.{number}." if number else ""
    return f"{_TOWERS[tower]}.{block}{new}{kind}" if new else name


def _sentence(name: str, what: str) -> str:
    return f"{name} is a damaged GGUF file: {what}; get the file again."


def _damaged(name: str, what: str) -> InputError:
    return damaged(_sentence(name, what))


def _unfit(name: str, what: str, advice: str) -> InputError:
    return unsupported(f"{name} is a GGUF file that cannot be used: {what}; {advice}.")

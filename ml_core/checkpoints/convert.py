"""Write what is in an inspected file as safetensors: its model for open_clip, or every tensor."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ml_core.atomic import replace_files
from ml_core.checkpoints.architecture import Architecture, find_published
from ml_core.checkpoints.choice import CHOICE_KEY, with_remembered
from ml_core.checkpoints.expected import check_tensors
from ml_core.checkpoints.open import PROVENANCE_KEY, Checkpoint, open_checkpoint
from ml_core.checkpoints.recognise import (
    ASSUMPTIONS_KEY,
    CONFIG_KEY,
    ROUNDED_KEY,
    architecture_name,
    config_record,
    find_architecture,
)
from ml_core.checkpoints.safetensors_layout import Entry, header, in_order
from ml_core.checkpoints.tensor_stats import tensor_rows
from ml_core.reading import InputError, Inspection, TensorInfo, unsupported
from ml_core.reading.clip_config import Preprocess, check_model_config
from ml_core.reading.errors import CancelledError
from ml_core.reading.inspection import changed, check_same, file_of, weights_bytes
from ml_core.reading.safetensors_header import DTYPE_BYTES
from ml_core.reading.strict_json import MAX_BYTES

if TYPE_CHECKING:
    from ml_core.model import ClipModel

_CHUNK = 1 << 22
_HERE = "local-dir:"  # what open_clip calls a folder with a config
_RESERVED = ("", "__metadata__")


@dataclass(frozen=True)
class Converted:
    """What was written for open_clip.

    Parameters
    ----------
    path
        The file or folder.
    tensors
        How many it holds.
    notes
        Sentences on what was left out of the source.
    assumptions
        Sentences on what the source did not say about the model.
    call
        The Python expression with which stock open_clip loads it; empty for a file whose
        configuration has no name in open_clip.
    """

    path: Path
    tensors: int
    notes: tuple[str, ...]
    assumptions: tuple[str, ...]
    call: str


def convert_to_open_clip(
    inspection: Inspection,
    target: str | Path,
    *,
    donor: str | Path | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    use_choice: bool = True,
) -> Converted:
    """Write the CLIP that a file holds as stock open_clip loads it, and nothing beside it.

    The names and the layout are open_clip's, whatever those of the file; its optimizer, heads and
    counters are left out. A tensor of 16 bits stays one. The whole model is in memory.

    Parameters
    ----------
    target
        ``….safetensors`` for ``open_clip.create_model(architecture, pretrained=target)``; any
        other name is a folder with its config, for ``create_model("local-dir:" + target)``.
    donor
        A whole CLIP that gives the encoder which the file lacks.
    cancelled
        Asked at every tensor; an old target stays as it was.
    progress
        Called with the bytes read and written so far, and their total.
    use_choice
        Whether what the user chose with the loader doctor for this file is used.

    Raises
    ------
    InputError
        If the file holds no CLIP that this version can build, or the target cannot be written.
    """
    from ml_core.checkpoints.save import save_checkpoint

    opened = open_checkpoint(inspection.path, donor, inspection, use_choice=use_choice)
    choice = opened.remembered
    scaled = choice is not None and choice.choice.logit_scale is not None
    check_tensors(opened.architecture, opened.inspection, scale_chosen=scaled)
    types = _narrow_types(opened)
    done, total = 0, 2 * _bytes_of_model(opened)

    def on_bytes(count: int) -> None:
        nonlocal done
        if cancelled():
            raise CancelledError
        done = min(done + count, total)
        progress(done, total)

    model = opened.build_from(opened.read_state(on_bytes))
    if scaled:
        types.pop("logit_scale", None)
    source: dict[str, Any] = {
        "name": inspection.name,
        "format": inspection.format,
        "sha256": inspection.sha256,
    }
    if opened.provenance:
        source["provenance"] = opened.provenance
    facts = {"act": "converted for open_clip", "source": source}
    written = save_checkpoint(model, target, provenance=facts, types=types, on_bytes=on_bytes)
    progress(total, total)
    count = len(model.module.state_dict())
    notes = opened.architecture.notes
    return Converted(written, count, notes, model.assumptions, _call(written, model))


def _call(written: Path, model: ClipModel) -> str:
    """How stock open_clip loads the result."""
    place = str(written.absolute())
    if written.is_dir():
        return f"open_clip.create_model({_HERE + place!r})"
    name = _stock_name(model)
    return f"open_clip.create_model({name!r}, pretrained={place!r})" if name else ""


def _stock_name(model: ClipModel) -> str:
    """open_clip's own name of just this model and preprocessing; empty if it has none."""
    from ml_core.open_clip_parts import get_model_config

    if model.preprocess != Preprocess(model.image_size):
        return ""
    name = architecture_name(model.config)
    shapes = {key: tuple(value.shape) for key, value in model.module.state_dict().items()}
    published = (item.name for item in find_published(shapes))
    for own in (name, f"{name}-quickgelu", *published):
        config = get_model_config(own)
        if config is None:
            continue
        if _with_defaults(check_model_config(config, own)) == _with_defaults(model.config):
            return own
    return ""


def _with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """A checked config with open_clip's defaults where it says nothing."""
    from ml_core.open_clip_parts import CLIPTextCfg, CLIPVisionCfg

    vision, text = CLIPVisionCfg(**config["vision_cfg"]), CLIPTextCfg(**config["text_cfg"])
    both = {"vision_cfg": asdict(vision), "text_cfg": asdict(text)}
    return {"quick_gelu": False, **config, **both}


def _narrow_types(opened: Checkpoint) -> dict[str, Any]:
    """Types of the model's tensors that have 16 bits in the file, all of their parts."""
    import torch

    narrow = {"F16": torch.float16, "BF16": torch.bfloat16}
    types = {info.name: info.dtype for info in opened.inspection.tensors}
    narrowed = {}
    for key, source in opened.architecture.layout.sources.items():
        kinds = {types[name] for name in source.names}
        if len(kinds) == 1 and (kind := kinds.pop()) in narrow:
            narrowed[key] = narrow[kind]
    return narrowed


def _bytes_of_model(opened: Checkpoint) -> int:
    """Bytes of the tensors that the model is made of."""
    used = {name for item in opened.architecture.layout.sources.values() for name in item.names}
    return sum(
        info.elements * DTYPE_BYTES[info.value_dtype]
        for info in opened.inspection.tensors
        if info.name in used
    )


def convert_to_safetensors(
    inspection: Inspection,
    target: str | Path,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    use_choice: bool = True,
) -> Path:
    """Write every tensor of a file that was not refused, under its own name and without torch.

    What the file says about itself in a safetensors header is kept; its architecture, where it
    can be told, and where the tensors come from are added. The source is hashed through the same
    descriptor: what was inspected is what is copied. Memory stays below 50 MB, unless a tensor's
    elements lie apart in the file. Blocks of ggml's types become float32.

    Parameters
    ----------
    target
        A name that ends in ``.safetensors``; an old file is replaced whole or not at all.
    cancelled
        Asked every few megabytes; an old target stays as it was.
    progress
        Called with the bytes done so far, and their total.
    use_choice
        Whether the added config has the settings that the user chose for this file with the loader
        doctor. The tensors, with the logit scale, are always the file's.

    Raises
    ------
    InputError
        ``damaged`` if the source is not the one that was inspected, ``usage`` if the target
        cannot be written, ``unsupported`` for names that no safetensors file can hold.
    """
    target = Path(os.path.expanduser(target))
    assert inspection.weights_path is not None, "only a file that was not refused has tensors"
    if target.suffix.lower() != ".safetensors":
        raise InputError(f"{target.name} cannot be written: end the name in .safetensors.")
    entries = in_order(_entry(info, inspection.name) for info in inspection.tensors)
    start = header(entries, _metadata(inspection, use_choice))
    if len(start) > MAX_BYTES:
        raise unsupported(
            f"{inspection.name} has names and texts of {len(start)} bytes, more than a safetensors "
            "header holds; it cannot be converted."
        )
    files, opened = _open_all(inspection)
    total = sum(entry.nbytes for entry in entries)

    def write(out: BinaryIO) -> None:
        done = 0
        out.write(start)
        for piece in _pieces(files, inspection, entries):
            if cancelled():
                raise CancelledError
            out.write(piece)
            done += len(piece)
            progress(done, total)
        for shard, file in files.items():
            check_same(inspection, shard, file)

    with opened:
        try:
            replace_files({target: write})
        except OSError as error:
            raise InputError(
                f"{target} cannot be written: {error.strerror}; free some space or choose another "
                "place."
            ) from error
    return target


def _open_all(inspection: Inspection) -> tuple[dict[str, BinaryIO], ExitStack]:
    """Open the file, or each shard by its name; the stack closes them."""
    with ExitStack() as stack:
        files = {
            shard: stack.enter_context(weights_bytes(inspection, shard))
            for shard in sorted({info.file for info in inspection.tensors})
        }
        return files, stack.pop_all()


def _entry(info: TensorInfo, where: str) -> Entry:
    """A tensor as it will stand in the new file."""
    if info.name in _RESERVED:
        raise unsupported(
            f"{where} has a tensor called {info.name!r}, which no safetensors file can hold; it "
            "cannot be converted."
        )
    width = DTYPE_BYTES[info.value_dtype]
    return Entry(info.name, info.value_dtype, width, info.shape, info.elements * width)


def _metadata(inspection: Inspection, use_choice: bool) -> dict[str, str]:
    """The file's own texts, its architecture, and where the tensors come from."""
    metadata = {"format": "pt", **inspection.metadata}
    if rounded := {info.dtype for info in inspection.tensors if info.dtype != info.value_dtype}:
        metadata[ROUNDED_KEY] = ",".join(sorted(rounded))
    choice = None
    try:
        architecture: Architecture | None = find_architecture(inspection)
    except InputError:
        architecture = None
    if architecture is not None:
        if use_choice:
            architecture, choice = with_remembered(architecture, inspection.sha256)
        config = json.dumps(
            config_record(architecture.config, architecture.preprocess),
            sort_keys=True,
            allow_nan=False,
        )
        if choice is not None:
            metadata[CONFIG_KEY] = config
        metadata.setdefault(CONFIG_KEY, config)
        if architecture.assumptions:
            metadata[ASSUMPTIONS_KEY] = json.dumps({"sentences": architecture.assumptions})
    source = {"name": inspection.name, "format": inspection.format, "sha256": inspection.sha256}
    origin: dict[str, Any] = {"act": "converted to safetensors", "source": source}
    if choice is not None:
        origin[CHOICE_KEY] = choice.choice.to_dict()
    metadata.setdefault(PROVENANCE_KEY, json.dumps(origin, sort_keys=True))
    return metadata


def _pieces(
    files: Mapping[str, BinaryIO], inspection: Inspection, entries: list[Entry]
) -> Iterator[bytes]:
    """The bytes of the tensors in this order, each in row-major order."""
    infos = {info.name: info for info in inspection.tensors}
    for entry in entries:
        info = infos[entry.name]
        file = files[info.file]
        if info.value_dtype != info.dtype:
            for values in tensor_rows(file, info, file_of(inspection, info.file)):
                yield values.astype("<f4").tobytes()
            continue
        file.seek(info.offset)
        if info.stride is None:
            for begin in range(0, entry.nbytes, _CHUNK):
                yield _read(file, min(_CHUNK, entry.nbytes - begin), inspection)
            continue
        flat = np.frombuffer(_read(file, info.nbytes, inspection), f"V{entry.width}")
        steps = tuple(step * entry.width for step in info.stride)
        apart = np.lib.stride_tricks.as_strided(flat, info.shape, steps, writeable=False)
        yield apart.tobytes()


def _read(file: BinaryIO, count: int, inspection: Inspection) -> bytes:
    raw = file.read(count)
    if len(raw) != count:
        raise changed(inspection)
    return raw

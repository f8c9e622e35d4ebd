"""Write a CLIP so that it can be opened again, here and by stock open_clip."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ml_core.atomic import Content, HalfReplacedError, replace_files
from ml_core.checkpoints.open import PROVENANCE_KEY
from ml_core.checkpoints.recognise import (
    ASSUMPTIONS_KEY,
    CONFIG_KEY,
    ROUNDED_KEY,
    config_record,
)
from ml_core.checkpoints.write_safetensors import write_safetensors
from ml_core.model import ClipModel
from ml_core.reading import InputError
from ml_core.reading.folder import CONFIG_NAME
from ml_core.reading.tokenizer_file import SETTINGS_NAME, TOKENIZER_NAME, name_beside


def tokenizer_files(model: ClipModel, path: Path) -> dict[Path, Content]:
    """What to write for a model that is saved as a ``.safetensors`` file or as a folder.

    In a folder transformers, and with it open_clip, finds them; beside a file they carry its name.
    """
    tokenizer = model.tokenizer
    if tokenizer is None:
        return {}
    if path.suffix.lower() == ".safetensors":
        return {name_beside(path): tokenizer.to_json()}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": tokenizer.pad,
        "padding_side": "left" if tokenizer.file.left else "right",
        "clean_up_tokenization_spaces": False,
    }
    if tokenizer.file.separator is not None:
        settings["sep_token"] = tokenizer.file.separator
    text = (json.dumps(settings, indent=1) + "\n").encode()
    return {path / TOKENIZER_NAME: tokenizer.to_json(), path / SETTINGS_NAME: text}


WEIGHTS_NAME = "open_clip_model.safetensors"
_NO_TYPES: Mapping[str, torch.dtype] = {}
_NOT_OURS = (".pt", ".pth", ".bin", ".pkl", ".ckpt", ".zip", ".onnx")


def save_checkpoint(
    model: ClipModel,
    path: str | Path,
    *,
    provenance: Mapping[str, Any],
    types: Mapping[str, torch.dtype] = _NO_TYPES,
    on_bytes: Callable[[int], object] = lambda count: None,
) -> Path:
    """Save a model with its config and provenance; an old file is replaced whole or not at all.

    Parameters
    ----------
    path
        ``….safetensors`` for one file; any other name is a folder in open_clip's layout, in which
        config and weights are replaced one after the other.
    provenance
        How the model was made, as JSON values; kept in the metadata of the weights.
    types
        Narrow types of floating point tensors by name, if their values fit; the rest is fp32.
    on_bytes
        Called with the number of bytes written since the last call; it may raise `CancelledError`.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    InputError
        ``usage`` if the disk is full or the place cannot be written (the old file is intact).
    """
    path = Path(os.path.expanduser(path))
    if path.suffix.lower() in _NOT_OURS:
        raise InputError(
            f"{path.name} cannot be written: choose a name that ends in .safetensors, or a folder."
        )
    tensors = _tensors(model, types)
    config = open_clip_config(model)
    metadata = {
        "format": "pt",
        CONFIG_KEY: json.dumps(config, sort_keys=True, allow_nan=False),
        PROVENANCE_KEY: json.dumps(
            model.origin | dict(provenance), sort_keys=True, allow_nan=False
        ),
    }
    if model.rounded:
        metadata[ROUNDED_KEY] = ",".join(model.rounded)
    if model.assumptions:
        metadata[ASSUMPTIONS_KEY] = json.dumps({"sentences": model.assumptions})

    def write_weights(file: BinaryIO) -> None:
        write_safetensors(file, tensors, metadata, on_bytes)

    if path.suffix.lower() == ".safetensors":
        _replace({path: write_weights} | tokenizer_files(model, path))
    else:
        text = (json.dumps(config, indent=2) + "\n").encode()
        files: dict[Path, Content] = {path / CONFIG_NAME: text, path / WEIGHTS_NAME: write_weights}
        _replace(files | tokenizer_files(model, path))
    return path


def open_clip_config(model: ClipModel) -> dict[str, Any]:
    """``open_clip_config.json`` of a model, as stock open_clip reads it."""
    return config_record(model.config, model.preprocess)


def _tensors(model: ClipModel, types: Mapping[str, torch.dtype]) -> dict[str, Tensor]:
    """Collect what is saved, on the CPU."""
    return {
        key: value.detach().to("cpu", types.get(key, value.dtype)).contiguous()
        for key, value in model.module.state_dict().items()
    }


def _replace(files: Mapping[Path, Content]) -> None:
    """Make the folder and replace the files, or say in a sentence why not."""
    place = next(iter(files))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_files(files)
    except OSError as error:
        half = isinstance(error, HalfReplacedError)
        state = (
            "Some files are new already" if half else "The old file, if there was one, is intact"
        )
        raise InputError(
            f"{place} cannot be saved: {error.strerror}. {state}; choose another place or free "
            "some space."
        ) from error

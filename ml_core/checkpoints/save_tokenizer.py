"""A checkpoint's own tokenizer goes where its weights go, or nothing could be asked of them."""

from __future__ import annotations

import json
from pathlib import Path

from ml_core.atomic import Content
from ml_core.model import ClipModel
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

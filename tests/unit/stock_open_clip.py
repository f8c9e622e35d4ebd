"""Stock open_clip in a fresh process, which knows nothing of ours: what it makes of saved files."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import torch
from safetensors.torch import load_file
from torch import Tensor

TEXTS = ["a photo of a dog", "banana"]

_PROGRAM = """
import json, pathlib, sys, torch, open_clip
from safetensors import safe_open
from safetensors.torch import save_file
texts, asked = json.loads(sys.argv[1])
for number, (saved, out, size) in enumerate(asked):
    saved = pathlib.Path(saved)
    if saved.is_dir():
        name = "local-dir:" + str(saved)
        model, _, preprocess = open_clip.create_model_and_transforms(name)
        mean, std = preprocess.transforms[-1].mean, preprocess.transforms[-1].std
    else:
        with safe_open(saved, "pt") as file:
            config = json.loads(file.metadata()["open_clip_config"])
        name = f"stock{number}"
        own = saved.with_name(f"{name}.json")
        own.write_text(json.dumps(config["model_cfg"]))
        open_clip.add_model_config(own)
        model = open_clip.create_model(name, pretrained=str(saved))
        mean, std = config["preprocess_cfg"]["mean"], config["preprocess_cfg"]["std"]
    tokenizer = open_clip.get_tokenizer(name)
    model.eval()
    pixels = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    images = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.no_grad():
        save_file({
            "images": model.encode_image(images, normalize=True),
            "texts": model.encode_text(tokenizer(texts), normalize=True),
            "scale": model.logit_scale.exp().reshape(1),
        }, out)
assert not [name for name in sys.modules if name.startswith("ml_core")]
"""


def pixels(size: int) -> Tensor:
    """The images that are embedded: ``[3, 3, size, size]`` in [0, 1], before normalisation."""
    return torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(1))


def stock_embeddings(saved, folder):
    """Load files and folders with stock open_clip, all in one new process.

    Parameters
    ----------
    saved
        Each with the side of its model's input.
    folder
        Where the answers go.

    Returns
    -------
    list of dict
        For each: ``images`` [3, D] of `pixels`, ``texts`` [2, D] of `TEXTS`, ``scale`` [1].
    """
    outs = [folder / f"stock{number}.out" for number in range(len(saved))]
    asked = [
        (str(path), str(out), size) for (path, size), out in zip(saved.items(), outs, strict=True)
    ]
    result = subprocess.run(
        [sys.executable, "-c", _PROGRAM, json.dumps([TEXTS, asked])],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": "", "HF_HUB_CACHE": str(folder)},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return [load_file(out) for out in outs]

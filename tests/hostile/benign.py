"""Harmless files of every layout that programs write; each must load, perhaps with a caution."""

from __future__ import annotations

import argparse
import io
import pickle
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.hostile.benign_values import state_dict, values
from tests.hostile.packed import harmless_packed

Write = Callable[[Path], dict[str, torch.Tensor]]
LEGACY = {"_use_new_zipfile_serialization": False}
TINY = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


def flat(value: Any, name: str = "") -> dict[str, torch.Tensor]:
    """Tensors by the names that the reader gives them, each container once."""
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()

    def walk(item: Any, path: str) -> None:
        if isinstance(item, torch.Tensor):
            found[path] = item.detach()
            return
        if isinstance(item, nn.Module):
            for key, child in (*item.named_parameters(), *item.named_buffers()):
                walk(child, f"{path}.{key}" if path else key)
            return
        if id(item) in seen:
            return
        seen.add(id(item))
        children: Any = ()
        if isinstance(item, dict):
            children = item.items()
        elif isinstance(item, list | tuple):
            children = enumerate(item)
        elif isinstance(item, argparse.Namespace):
            children = vars(item).items()
        for key, child in children:
            walk(child, f"{path}.{key}" if path else str(key))

    walk(value, name)
    return found


@cache
def modules() -> dict[str, nn.Module]:
    """Whole modules, which training programs save too."""
    import open_clip

    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
        nn.Dropout(0.1),
    )
    resnet = TINY | {
        "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32}
    }
    return {
        "layers": layers,
        "a transformer": nn.TransformerEncoderLayer(8, 2, 16),
        "a transformer of GELU": nn.TransformerEncoderLayer(8, 2, 16, activation="gelu"),
        "attention": nn.MultiheadAttention(8, 2),
        "open_clip ViT": open_clip.model.CLIP(**TINY),
        "open_clip ResNet": open_clip.model.CLIP(**resnet, quick_gelu=True),
    }


def _saved(make: Callable[[], Any], **options: Any) -> Write:
    def write(path: Path) -> dict[str, torch.Tensor]:
        torch.save(make(), path, **options)
        return flat(torch.load(path, weights_only=False, map_location="cpu"))

    return write


def _scripted(make: Callable[[], Any]) -> Write:
    def write(path: Path) -> dict[str, torch.Tensor]:
        make().save(str(path))
        return dict(torch.jit.load(str(path), map_location="cpu").state_dict())

    return write


def _was_scripted() -> nn.Module:
    """torch.jit.script leaves a table in what it looks at."""
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    torch.jit.script(layers)
    return layers


def _safetensors(**metadata: str) -> Write:
    def write(path: Path) -> dict[str, torch.Tensor]:
        from safetensors.torch import load_file, save_file

        kinds = {"f16": torch.float16, "bf16": torch.bfloat16, "i64": torch.int64, "b": torch.bool}
        more = {name: torch.arange(4).to(kind) for name, kind in kinds.items()}
        save_file(state_dict() | more, path, metadata or None)
        return load_file(path)

    return write


def _npz(path: Path) -> dict[str, torch.Tensor]:
    arrays = {
        "w": np.arange(6, dtype="f4").reshape(2, 3),
        "h": np.ones(3, "f2"),
        "n": np.arange(4),
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    }
    with open(path, "wb") as file:
        np.savez(file, **arrays)
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}


def _inside(kind: str) -> Write:
    """A checkpoint in an archive, with notes beside it."""

    def write(path: Path) -> dict[str, torch.Tensor]:
        raw = io.BytesIO()
        torch.save({"state_dict": state_dict()}, raw)
        if kind == "zip":
            with zipfile.ZipFile(path, "w") as made:
                made.writestr("model/README.md", "notes")
                made.writestr("__MACOSX/model/._epoch.pt", b"\x00\x05\x16\x07\x00\x02\x00\x00")
                made.writestr("model/epoch.pt", raw.getvalue())
        else:
            with tarfile.open(path, "w") as tar:
                for name, data in (("README.md", b"notes"), ("epoch.pt", raw.getvalue())):
                    info = tarfile.TarInfo(f"model/{name}")
                    info.size = len(data)
                    info.mtime = 1.5  # type: ignore[assignment]  # gives an extra header
                    tar.addfile(info, io.BytesIO(data))
        return flat({"state_dict": state_dict()})

    return write


def _extra_files(path: Path) -> dict[str, torch.Tensor]:
    scripted = torch.jit.script(nn.Linear(3, 2))
    notes = {"config.json": '{"a": [1, 2]}', "notes.txt": "N. Some notes\ncos\nand more"}
    torch.jit.save(scripted, str(path), _extra_files=notes)
    return dict(torch.jit.load(str(path)).state_dict())


def _without_checksums(path: Path) -> dict[str, torch.Tensor]:
    from torch.serialization import get_crc32_options, set_crc32_options

    before = get_crc32_options()
    set_crc32_options(False)
    try:
        torch.save(state_dict(), path)
    finally:
        set_crc32_options(before)
    return flat(torch.load(path))


def _packed_pickle(path: Path) -> dict[str, torch.Tensor]:
    """An archive that was unpacked and packed again by another program, storages stored."""
    raw = io.BytesIO()
    torch.save(state_dict(), raw)
    with zipfile.ZipFile(raw) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            packed = zipfile.ZIP_STORED if "/data/" in name else zipfile.ZIP_DEFLATED
            new.writestr(name, old.read(name), packed)
    return flat(torch.load(path))


class Scripted(nn.Module):
    """Control flow, messages and attributes in program code."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.norm = nn.ModuleList([nn.LayerNorm(3), nn.LayerNorm(3)])
        self.register_buffer("mean", torch.rand(3))
        self.scale = 2.5

    def forward(self, x: torch.Tensor, steps: int = 2) -> torch.Tensor:
        x = self.linear(x)
        for _ in range(steps):
            for norm in self.norm:
                x = norm(x) * self.scale
        if x.dim() > 4:
            raise RuntimeError("torch, ops and # signs (torch) 'in' a message")
        return x - self.mean


@cache
def benign() -> dict[str, Write]:
    """Names, with endings, and functions that write a file and give its tensors."""
    found: dict[str, Write] = {}
    for name in values():
        for label, options in (("zip", {}), ("legacy", LEGACY)):
            found[f"{name} {label}.pt"] = _saved(lambda n=name: values()[n], **options)
    for protocol in range(2, 6):
        for label, options in (("zip", {}), ("legacy", LEGACY)):
            found[f"protocol {protocol} {label}.pt"] = _saved(
                lambda: values()["PAR"], pickle_protocol=protocol, **options
            )
    found["Python pickler.pt"] = _saved(lambda: values()["PAR"], pickle_module=pickle)
    for name in modules():
        for label, options in (("zip", {}), ("legacy", LEGACY)):
            found[f"module {name} {label}.pt"] = _saved(lambda n=name: modules()[n], **options)
    # torch itself does not read these types back from its legacy layout.
    found["types without a storage class.pt"] = _saved(
        lambda: {
            str(kind).partition(".")[2]: torch.arange(5).to(kind)
            for kind in (torch.float8_e4m3fn, torch.float8_e5m2)
        }
    )
    found["a module that was scripted.pt"] = _saved(_was_scripted)
    found["a module in a dict.pt"] = _saved(lambda: {"epoch": 1, "model": modules()["layers"]})
    image, text = torch.zeros(1, 3, 16, 16), torch.zeros(1, 8, dtype=torch.long)
    found["scripted.pt"] = _scripted(lambda: torch.jit.script(Scripted()))
    found["scripted attention.pt"] = _scripted(
        lambda: torch.jit.script(nn.MultiheadAttention(8, 2))
    )
    found["scripted transformer.pt"] = _scripted(
        lambda: torch.jit.script(nn.TransformerEncoderLayer(8, 2, 16))
    )
    found["scripted half.pt"] = _scripted(lambda: torch.jit.script(Scripted().half()))
    found["traced.pt"] = _scripted(
        lambda: torch.jit.trace(modules()["layers"].eval(), torch.zeros(1, 3, 8, 8))
    )
    found["traced open_clip.pt"] = _scripted(
        lambda: torch.jit.trace(modules()["open_clip ViT"].eval(), (image, text), check_trace=False)
    )
    found["scripted with other files.pt"] = _extra_files
    found["safetensors.safetensors"] = _safetensors()
    found["safetensors with metadata.safetensors"] = _safetensors(format="pt", note="ü {} [,]")
    found["safetensors by another name.pt"] = _safetensors(format="pt")
    found["arrays.npz"] = _npz
    found["in a zip.zip"] = _inside("zip")
    found["in a tar.tar"] = _inside("tar")
    found["without checksums.pt"] = _without_checksums
    found["packed again.pt"] = _packed_pickle
    found |= harmless_packed()
    return found


def write_all(folder: Path) -> list[Path]:
    """Write every harmless file into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, write in benign().items():
            write(folder / name)
    return [folder / name for name in benign()]


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))

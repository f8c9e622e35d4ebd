"""Folders whose files lead elsewhere, and names that hold no file."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hostile.archives import legacy, torch_zip
from tests.hostile.container_bytes import safetensors
from tests.hostile.item import Expected, FolderItem, Item
from tests.hostile.ops import pickled
from tests.hostile.pickle_tricks import mkdir

CONFIG = json.dumps({"model_cfg": {"embed_dim": 8}, "preprocess_cfg": {}}).encode()
GOOD = safetensors(bytes(8))
Lay = Callable[[Path, Path], Path]


def _files(**files: Callable[[Path], bytes] | bytes) -> Lay:
    """Write files; two underlines in a name are a point, three a hyphen."""

    def lay(folder: Path, canary: Path) -> Path:
        for name, content in files.items():
            path = folder / name.replace("___", "-").replace("__", ".")
            path.write_bytes(content if isinstance(content, bytes) else content(canary))
        return folder

    return lay


def _linked(target: str, name: str = "open_clip_model.safetensors") -> Lay:
    def lay(folder: Path, canary: Path) -> Path:
        (folder / "open_clip_config.json").write_bytes(CONFIG)
        (folder.parent / "outside.safetensors").write_bytes(GOOD)
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)
        return folder

    return lay


def _config_link(folder: Path, canary: Path) -> Path:
    (folder / "open_clip_model.safetensors").write_bytes(GOOD)
    (folder / "open_clip_config.json").unlink(missing_ok=True)
    (folder / "open_clip_config.json").symlink_to("/etc/passwd")
    return folder


def _blob_of_another(folder: Path, canary: Path) -> Path:
    """A repository of a cache that links into another repository."""
    other = folder / "models--b" / "blobs"
    here = folder / "models--a" / "snapshots" / "1"
    other.mkdir(parents=True, exist_ok=True)
    here.mkdir(parents=True, exist_ok=True)
    (other / "x").write_bytes(GOOD)
    (here / "open_clip_config.json").write_bytes(CONFIG)
    link = here / "open_clip_model.safetensors"
    link.unlink(missing_ok=True)
    link.symlink_to("../../../models--b/blobs/x")
    return here


def _only(make: Callable[[Path], None], name: str) -> Lay:
    def lay(folder: Path, canary: Path) -> Path:
        path = folder / name
        if not os.path.lexists(path):
            make(path)
        return path

    return lay


def _socket(path: Path) -> None:
    """A socket; its name may be too long where it lies, so it is made from inside."""
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        made = socket.socket(socket.AF_UNIX)
        made.bind(path.name)
        made.close()
    finally:
        os.chdir(here)


FOLDERS: dict[str, tuple[Lay, Expected]] = {
    "weights that are a pickle": (
        _files(
            open_clip_config__json=CONFIG,
            open_clip_pytorch_model__bin=lambda c: torch_zip(mkdir(c)),
        ),
        "dangerous",
    ),
    "weights that are a legacy stream": (
        _files(
            open_clip_config__json=CONFIG,
            open_clip_pytorch_model__bin=lambda c: legacy(pickled(mkdir(c))),
        ),
        "dangerous",
    ),
    "safetensors that are a pickle": (
        _files(
            open_clip_config__json=CONFIG,
            open_clip_model__safetensors=lambda c: torch_zip(mkdir(c)),
        ),
        "dangerous",
    ),
    "a transformers folder with a pickle": (
        _files(
            config__json=b'{"architectures":["CLIPModel"],"model_type":"clip"}',
            pytorch_model__bin=lambda c: torch_zip(mkdir(c)),
        ),
        "refused",
    ),
    "a config that is no JSON": (
        _files(open_clip_config__json=b"{'a': 1}", open_clip_model__safetensors=GOOD),
        "damaged",
    ),
    "a config of deep lists": (
        _files(open_clip_config__json=b"[" * 200_000, open_clip_model__safetensors=GOOD),
        "damaged",
    ),
    "a config of 2 megabytes": (
        _files(
            open_clip_config__json=b'{"a":"' + b"x" * (2 << 20) + b'"}',
            open_clip_model__safetensors=GOOD,
        ),
        "damaged",
    ),
    "an index that leads out": (
        _files(
            open_clip_config__json=CONFIG,
            model__safetensors__index__json=b'{"weight_map":{"a":"../../outside.safetensors"}}',
        ),
        "damaged",
    ),
    "an index of a pickle": (
        _files(
            config__json=b'{"model_type":"clip"}',
            pytorch_model__bin__index__json=b'{"weight_map":{"a":"pytorch_model.bin"}}',
            pytorch_model__bin=lambda c: torch_zip(mkdir(c)),
        ),
        "refused",
    ),
    "nothing": (_files(), "damaged"),
    "a link out": (_linked("../outside.safetensors"), "damaged"),
    "a link to a file of the system": (_linked("/etc/passwd"), "damaged"),
    "a link to a device": (_linked("/dev/zero"), "damaged"),
    "a link to itself": (_linked("open_clip_model.safetensors"), "damaged"),
    "a link to nothing": (_linked("missing"), "damaged"),
    "a link to memory": (_linked("/proc/self/mem"), "damaged"),
    "a config that is a link": (_config_link, "damaged"),
    "a link into another repository": (_blob_of_another, "damaged"),
    "a pipe": (_only(os.mkfifo, "m.pt"), "damaged"),
    "a pipe as safetensors": (_only(os.mkfifo, "m.safetensors"), "damaged"),
    "a socket": (_only(_socket, "m.pt"), "damaged"),
    "a folder called m.pt": (_only(Path.mkdir, "m.pt"), "damaged"),
    "a device": (_only(lambda path: path.symlink_to("/dev/zero"), "m.pt"), "damaged"),
    "a terminal": (_only(lambda path: path.symlink_to("/dev/tty"), "m.pt"), "damaged"),
    "a file of the kernel": (
        _only(lambda path: path.symlink_to("/proc/self/environ"), "m.pt"),
        "damaged",
    ),
    "a pipe in the folder": (lambda folder, canary: _with_pipe(folder), "damaged"),
}


def _with_pipe(folder: Path) -> Path:
    (folder / "open_clip_config.json").write_bytes(CONFIG)
    path = folder / "open_clip_model.safetensors"
    if not os.path.lexists(path):
        os.mkfifo(path)
    return folder


def folder_items() -> Iterator[Item]:
    for name, (lay, expect) in FOLDERS.items():
        yield FolderItem(f"folder/{name}", lambda c: b"", expect, lay=lay)

"""Open what we save, tell architectures, and never leave half a file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.save import save_checkpoint
from ml_core.model import ClipModel
from ml_core.reading import InputError, Inspection, examine, inspect
from tests.unit.stock_open_clip import TEXTS, pixels


def test_saved_file_reopens_with_equal_embeddings(tiny_model, tiny_checkpoint):
    checkpoint = open_checkpoint(tiny_checkpoint)
    assert checkpoint.architecture.source == "metadata"
    assert checkpoint.architecture.name == "ResNet 32 px, width 8"
    assert checkpoint.architecture.assumptions == ()
    assert checkpoint.provenance == {"made": "test"}
    model = checkpoint.build()
    assert torch.equal(model.encode_images(pixels(32)), tiny_model.encode_images(pixels(32)))
    assert torch.equal(model.encode_texts(TEXTS), tiny_model.encode_texts(TEXTS))
    assert model.sha256 == checkpoint.inspection.sha256 == inspect(tiny_checkpoint).sha256
    assert model.logit_scale == pytest.approx(1 / 0.07)


def test_saving_twice_gives_equal_bytes_and_narrow_types_are_kept(tiny_model, tmp_path):
    for name in ("a", "b"):
        save_checkpoint(tiny_model, tmp_path / f"{name}.safetensors", provenance={"y": 1, "x": 2})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    types = {"text_projection": torch.float16}
    path = save_checkpoint(tiny_model, tmp_path / "h.safetensors", provenance={}, types=types)
    kinds = {tensor.name: tensor.dtype for tensor in inspect(path).tensors}
    assert kinds.pop("text_projection") == "F16"
    assert set(kinds.values()) == {"F32", "I64"}


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file may grow beyond ``limit`` bytes: what a full disk does to a writer."""
    resource = pytest.importorskip("resource")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.parametrize("name", ["m.safetensors", "folder"])
def test_full_disk_leaves_the_old_file(tiny_model: ClipModel, tmp_path: Path, name: str) -> None:
    path = save_checkpoint(tiny_model, tmp_path / name, provenance={"version": 1})
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with full_disk(100_000), pytest.raises(InputError, match="intact") as caught:
        save_checkpoint(tiny_model, path, provenance={"version": 2})
    assert caught.value.code == "usage"
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_hostile_note_of_assumptions_is_one_sentence(tiny_checkpoint, tmp_path):
    with safe_open(tiny_checkpoint, "pt") as file:
        metadata = file.metadata()
    weights = load_file(tiny_checkpoint)
    for text in ("[" * 9000, '{"sentences": [1]}', ""):
        save_file(weights, tmp_path / "n.safetensors", metadata | {"assumptions": text})
        found = open_checkpoint(tmp_path / "n.safetensors").architecture.assumptions
        assert found == ("The file notes assumptions that cannot be read.",)


def test_folder_whose_config_belongs_to_another_model(tiny_model, tmp_path):
    path = save_checkpoint(tiny_model, tmp_path / "folder", provenance={})
    config = json.loads((path / "open_clip_config.json").read_text())
    config["model_cfg"]["embed_dim"] = 20
    (path / "open_clip_config.json").write_text(json.dumps(config))
    checkpoint = open_checkpoint(path)
    with pytest.raises(InputError, match="3 of another shape") as caught:
        checkpoint.build()
    assert "visual.attnpool.c_proj.weight: [16, 256] instead of [20, 256]" in caught.value.details


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths that are examined when a checkpoint is opened."""
    import ml_core.checkpoints.open as opening

    paths: list[Path] = []
    original = opening.examine

    def counted(path: str | Path) -> Inspection:
        paths.append(Path(path))
        return original(path)

    monkeypatch.setattr(opening, "examine", counted)
    return paths


def _replaced(path: Path, data: bytes) -> None:
    other = path.with_name("other")
    other.write_bytes(data)
    os.replace(other, path)


def _rewritten(path: Path, data: bytes) -> None:
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [_replaced, _rewritten])
def test_a_file_that_changed_since_is_examined_again(tiny_checkpoint, examined, change):
    known = examine(tiny_checkpoint)
    assert open_checkpoint(tiny_checkpoint, inspection=known).inspection is known
    assert examined == []
    data = bytearray(tiny_checkpoint.read_bytes())
    data[-1] ^= 1
    change(tiny_checkpoint, bytes(data))
    checkpoint = open_checkpoint(tiny_checkpoint, inspection=known)
    assert examined == [tiny_checkpoint]
    assert checkpoint.inspection.sha256 == hashlib.sha256(data).hexdigest() != known.sha256
    assert checkpoint.build().sha256 == checkpoint.inspection.sha256


def test_a_file_that_turned_into_a_pickle_is_refused(tiny_checkpoint, examined):
    known = examine(tiny_checkpoint)
    _replaced(tiny_checkpoint, b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.")
    with pytest.raises(InputError, match=r"os\.system"):
        open_checkpoint(tiny_checkpoint, inspection=known)
    tiny_checkpoint.unlink()
    with pytest.raises(InputError, match="cannot be opened"):
        open_checkpoint(tiny_checkpoint, inspection=known)


def test_a_change_that_shows_nowhere_makes_no_model(tiny_checkpoint, examined, monkeypatch):
    """Two writes within one tick of a coarse clock: the bytes are compared once they are read."""
    known = examine(tiny_checkpoint)
    data = bytearray(tiny_checkpoint.read_bytes())
    data[-1] ^= 1
    tiny_checkpoint.write_bytes(data)
    monkeypatch.setattr("ml_core.reading.hashing.FileStamp.matches", lambda self, found: True)
    monkeypatch.setattr("ml_core.reading.hashing.FileStamp.still_holds", lambda self, file: False)
    checkpoint = open_checkpoint(tiny_checkpoint, inspection=known)
    assert examined == []
    with pytest.raises(InputError, match="changed since it was examined"):
        checkpoint.build()

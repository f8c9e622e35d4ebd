"""Open what we save, tell architectures, and never leave half a file."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.save import save_checkpoint
from ml_core.checkpoints.tensor_stats import _FLOAT8, tensor_stats
from ml_core.model import ClipModel, Preprocess, build_model
from ml_core.reading import InputError, Inspection, examine, inspect
from tests.unit.draining import until_cancelled
from tests.unit.stock_open_clip import TEXTS, pixels

VIT_CONFIG: dict[str, Any] = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "patch_size": 16, "layers": 3, "width": 128, "mlp_ratio": 2.0},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}  # fmt: skip


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


def test_saving_twice_gives_equal_bytes(tiny_model: ClipModel, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_checkpoint(tiny_model, tmp_path / f"{name}.safetensors", provenance={"y": 1, "x": 2})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_narrow_type_is_kept_where_it_is_asked_for(tiny_model: ClipModel, tmp_path: Path) -> None:
    types = {"visual.proj": torch.bfloat16, "text_projection": torch.float16}
    path = save_checkpoint(tiny_model, tmp_path / "h.safetensors", provenance={}, types=types)
    kinds = {tensor.name: tensor.dtype for tensor in inspect(path).tensors}
    assert kinds["text_projection"] == "F16"
    assert {kind for name, kind in kinds.items() if name not in types} == {"F32", "I64"}


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


def test_place_that_cannot_be_written(tiny_model: ClipModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="cannot be saved"):
        save_checkpoint(tiny_model, tmp_path / "file" / "m.safetensors", provenance={})
    assert (tmp_path / "file").read_text() == "mine"


def test_name_of_a_pickle_is_not_written(tiny_model: ClipModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.safetensors"):
        save_checkpoint(tiny_model, tmp_path / "m.pt", provenance={})


def test_saved_file_has_the_users_permissions(tiny_model: ClipModel, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    path = save_checkpoint(tiny_model, tmp_path / "m.safetensors", provenance={})
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def bare(model: ClipModel, path: Path, prefix: str = "") -> Path:
    """Save the tensors alone, as other programs do."""
    state = model.module.state_dict()
    save_file({prefix + key: value.contiguous() for key, value in state.items()}, path)
    return path


@pytest.mark.parametrize("prefix", ["", "module."])
def test_resnet_from_shapes(tiny_model: ClipModel, tmp_path: Path, prefix: str) -> None:
    checkpoint = open_checkpoint(bare(tiny_model, tmp_path / "b.safetensors", prefix))
    found = checkpoint.architecture
    assert found.source == "shapes"
    assert found.config["vision_cfg"] == {
        "layers": [1, 1, 1, 1],
        "width": 8,
        "head_width": 64,
        "patch_size": 16,
        "image_size": 32,
    }
    text = found.config["text_cfg"]
    assert (text["width"], text["layers"], text["context_length"], text["heads"]) == (16, 2, 16, 1)
    assert found.config["embed_dim"] == 16
    labels = " ".join(found.assumptions)
    assert "4 of width 64 are assumed in the image encoder" in labels
    assert "1 of width 16 are assumed in the text encoder" in labels
    assert "QuickGELU is assumed" in labels
    assert "mean and standard deviation" in labels
    assert checkpoint.build().encode_images(pixels(32)).shape == (3, 16)


def test_what_was_assumed_stays_with_what_is_saved(tiny_model: ClipModel, tmp_path: Path) -> None:
    opened = open_checkpoint(bare(tiny_model, tmp_path / "bare.safetensors"))
    assumed = opened.architecture.assumptions
    assert assumed
    for name in ("again.safetensors", "folder"):
        save_checkpoint(opened.build().copy(), tmp_path / name, provenance={})
        again = open_checkpoint(tmp_path / name).architecture
        assert again.source in ("metadata", "config")
        assert again.assumptions == assumed


def test_a_hostile_note_of_assumptions_is_one_sentence(tmp_path: Path) -> None:
    model = build_model(VIT_CONFIG, Preprocess(64), None)
    save_checkpoint(model, tmp_path / "m.safetensors", provenance={})
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        metadata = file.metadata()
    weights = load_file(tmp_path / "m.safetensors")
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


def test_file_changed_after_the_inspection_is_not_used(tiny_checkpoint: Path) -> None:
    checkpoint = open_checkpoint(tiny_checkpoint)
    data = bytearray(tiny_checkpoint.read_bytes())
    data[-1] ^= 1
    tiny_checkpoint.write_bytes(data)
    with pytest.raises(InputError, match="changed since it was examined"):
        checkpoint.build()


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


def test_what_was_examined_is_not_examined_again(tiny_checkpoint, examined):
    known = examine(tiny_checkpoint)
    checkpoint = open_checkpoint(tiny_checkpoint, inspection=known)
    assert examined == []
    assert checkpoint.inspection is known
    assert checkpoint.build().sha256 == known.sha256


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


def test_what_is_known_of_another_file_is_not_used(tiny_checkpoint, tmp_path, examined):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(tiny_checkpoint.read_bytes())
    known = examine(copy)
    assert open_checkpoint(tiny_checkpoint, inspection=known).inspection.path == tiny_checkpoint
    assert examined == [tiny_checkpoint]


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


def test_stats_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    values = torch.tensor([0.0, 1.0, 2.0, 5.0, math.nan, -math.inf])
    save_file(
        {
            "f32": values,
            "bf16": values.to(torch.bfloat16),
            "f16": values.to(torch.float16),
            "ints": torch.tensor([[3, -1]]),
            "flags": torch.tensor([True, False]),
            "nothing": torch.zeros(0),
            "lost": torch.full((2,), math.nan),
        },
        path,
    )
    names = ["bf16", "f32", "f16", "ints", "flags", "nothing", "lost"]
    opened = inspect(path)
    infos = {tensor.name: tensor for tensor in opened.tensors}
    rows = tensor_stats(opened, [infos[name] for name in names])
    found = {stats.name: stats for stats in rows}
    assert list(found) == names
    for name in ("f32", "bf16", "f16"):
        s = found[name]
        assert (s.min, s.max, s.mean, s.nan, s.inf, s.zeros) == (0, 5, 2, 1, 1, 1)
        assert s.std == pytest.approx(math.sqrt(14 / 4))
    assert (found["ints"].min, found["ints"].max, found["ints"].std) == (-1, 3, 2)
    assert (found["flags"].mean, found["flags"].zeros) == (0.5, 1)
    assert math.isnan(found["nothing"].mean)
    assert (math.isnan(found["lost"].min), found["lost"].nan) == (True, 2)


def test_stats_over_several_pieces(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(100, 3, (1 << 20) * 2 + 7).astype(np.float32)
    save_file({"a": torch.zeros(3), "x": torch.from_numpy(values)}, tmp_path / "s.safetensors")
    opened = inspect(tmp_path / "s.safetensors")
    found = {stats.name: stats for stats in tensor_stats(opened)}["x"]
    exact = values.astype(np.float64)
    assert found.mean == pytest.approx(exact.mean(), rel=1e-12)
    assert found.std == pytest.approx(exact.std(), rel=1e-9)
    assert (found.min, found.max) == (exact.min(), exact.max())


def test_eight_bit_floats_are_torchs() -> None:
    codes = torch.arange(256, dtype=torch.uint8)
    for name, dtype in (("F8_E4M3", torch.float8_e4m3fn), ("F8_E5M2", torch.float8_e5m2)):
        np.testing.assert_array_equal(_FLOAT8[name], codes.view(dtype).to(torch.float64).numpy())


def test_stats_can_be_cancelled_and_notice_a_shorter_file(tiny_checkpoint: Path) -> None:
    opened = inspect(tiny_checkpoint)
    assert until_cancelled(tensor_stats(opened, None, lambda: True)) == []
    os.truncate(tiny_checkpoint, opened.tensors[-1].offset)
    with pytest.raises(InputError, match="changed"):
        list(tensor_stats(opened))

"""Arrays of other programs: read without running anything, told apart, refused with a sentence."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from ml_core.reading import arrays as arrays_module
from ml_core.reading.arrays import read_arrays
from ml_core.reading.errors import InputError
from ml_core.triggers import load_trigger
from ml_core.triggers.apply import apply_indexed
from ml_core.triggers.published import import_trigger


def values(*shape, low=0.0, high=1.0):
    return np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)


# -- reading --------------------------------------------------------------------------------------


def test_every_container_gives_the_same_numbers(tmp_path):
    given = values(5, 6, 3)
    np.savez(tmp_path / "a.npz", pattern=given)
    np.savez_compressed(tmp_path / "b.npz", pattern=given)
    save_file({"pattern": given}, tmp_path / "c.safetensors")
    torch.save({"pattern": torch.from_numpy(given)}, tmp_path / "d.pt")
    turned = torch.from_numpy(given.transpose(2, 0, 1).copy()).permute(1, 2, 0)
    torch.save({"pattern": turned}, tmp_path / "e.pt")
    legacy = tmp_path / "f.pth"
    torch.save({"pattern": torch.from_numpy(given)}, legacy, _use_new_zipfile_serialization=False)
    for path in sorted(tmp_path.iterdir()):
        found = read_arrays(path)
        assert np.array_equal(found.arrays["pattern"], given), path.name
        assert len(found.sha256) == 64
    torch.save(torch.tensor([1.5, -2.0], dtype=torch.bfloat16), tmp_path / "g.pt")
    assert read_arrays(tmp_path / "g.pt").arrays[""].tolist() == [1.5, -2.0]


class _Trap:
    def __reduce__(self):
        return (Path.touch, (Path("/tmp/never-made-by-a-trigger"),))


def test_code_in_an_array_file_is_refused_and_not_run(tmp_path):
    objects = np.array([_Trap()], dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "b.npz", a=objects)
    np.savez_compressed(tmp_path / "c.npz", a=objects)
    (tmp_path / "d.pt").write_bytes(pickle.dumps(_Trap()))
    torch.save({"a": _Trap()}, tmp_path / "e.pt")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(InputError) as caught:
            load_trigger(path)
        assert path.name in caught.value.sentence
        assert "\n" not in caught.value.sentence
    assert not Path("/tmp/never-made-by-a-trigger").exists()


def npy(header, body=b"", version=1):
    text = header.encode("latin-1")
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + body


def test_bombs_and_crowds_are_refused(tmp_path, monkeypatch):
    zeros = io.BytesIO()
    np.save(zeros, np.zeros(20 << 20, np.float32))
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", zeros.getvalue())
    with pytest.raises(InputError, match=r"bomb\.npz holds more than a trigger needs"):
        read_arrays(tmp_path / "bomb.npz")
    many = {f"a{n}": np.zeros(1, np.float32) for n in range(65)}
    np.savez(tmp_path / "many.npz", **many)
    with pytest.raises(InputError, match=r"many\.npz holds 65 tensors"):
        read_arrays(tmp_path / "many.npz")
    np.savez_compressed(tmp_path / "packed.npz", **many)
    with pytest.raises(InputError, match=r"packed\.npz holds more"):
        read_arrays(tmp_path / "packed.npz")
    monkeypatch.setattr(arrays_module, "MAX_BYTES", 1000)
    np.save(tmp_path / "large.npy", np.zeros(1000))
    with pytest.raises(InputError, match=r"large\.npy is larger"):
        read_arrays(tmp_path / "large.npy")


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused(place, byte):
    made = io.BytesIO()
    np.savez_compressed(made, mask=np.ones((4, 4)), pattern=values(4, 4, 3))
    raw = bytearray(made.getvalue())
    raw[place % len(raw)] = byte
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npz"
        path.write_bytes(bytes(raw))
        with contextlib.suppress(InputError):
            import_trigger(path)


# -- what they are --------------------------------------------------------------------------------


def saved(array, path):
    np.save(path, array)
    return path


def test_a_small_pattern_is_a_patch_and_a_large_one_is_blended(tmp_path):
    whole = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    for form in (whole, whole.transpose(2, 0, 1), whole[None], whole / 255.0):
        trigger = import_trigger(saved(np.ascontiguousarray(form), tmp_path / "p.npy"))
        assert (trigger.kind, trigger.size, trigger.placement) == ("patch", 16 / 224, "center")
        assert (trigger.pixels[..., :3] == whole).all()
    fine = import_trigger(saved(values(16, 16, 3), tmp_path / "p.npy"))
    assert fine.pixels is None, "bytes cannot hold it"
    assert np.array_equal(fine.array, values(16, 16, 3))
    sparse = np.zeros((224, 224, 3), np.float32)
    sparse[:20, :, 0] = 1
    for array, ratio, where, canvas in (
        (values(3, 224, 224), 0.2, "everywhere", "squash"),
        (values(256, 256, 3), 0.2, "everywhere", "resize_256"),
        (sparse, 0.5, "nonzero", "squash"),
    ):
        dense = import_trigger(saved(array, tmp_path / "n.npy"))
        assert (dense.kind, dense.ratio, dense.where) == ("blended", ratio, where)
        assert dense.canvas == canvas


def test_grids_masks_and_patterns(tmp_path):
    noise = import_trigger(saved(values(1, 224, 224, 2, low=-2, high=2), tmp_path / "n.npy"))
    assert (noise.kind, noise.absolute, noise.canvas) == ("wanet", False, "squash")
    line = np.linspace(-1, 1, 64)
    grid = import_trigger(saved(np.stack(np.meshgrid(line, line), -1)[None], tmp_path / "g.npy"))
    assert (grid.kind, grid.absolute, grid.canvas) == ("wanet", True, "original")
    mask, pattern = np.zeros((1, 64, 64)), values(1, 3, 64, 64)
    mask[:, 10:20, 40:48] = 1
    np.savez(tmp_path / "inverted.npz", mask=mask, pattern=pattern)
    trigger = import_trigger(tmp_path / "inverted.npz")
    assert (trigger.kind, trigger.size) == ("patch", 10 / 64)
    assert (trigger.x, trigger.y) == (44 / 64, 15 / 64)
    two = import_trigger(saved(pattern, tmp_path / "p.npy"), saved(mask, tmp_path / "m.npy"))
    assert two.arrays_sha256 == trigger.arrays_sha256
    np.savez(tmp_path / "wide.npz", mask=np.full((64, 64), 0.25), delta=pattern)
    whole = import_trigger(tmp_path / "wide.npz")
    assert (whole.kind, whole.ratio) == ("blended", 1.0)
    made = apply_indexed(whole, torch.full((1, 3, 64, 64), 0.5), torch.arange(1), 0)
    assert np.allclose(made.numpy(), 0.75 * 0.5 + 0.25 * pattern, atol=1e-6)

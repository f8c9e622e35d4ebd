"""Formats are told by content, headers are checked strictly, and nothing a file says is run."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_core.reading import inspect, read_header
from ml_core.reading.clip_config import check_model_config, check_preprocess, parameter_estimate
from tests.unit.file_bytes import tarred, zipped

CONFIG: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 24, "head_width": 32},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 3},
}


def pack(header: object, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


GOOD = pack(
    {"b": entry([2], 8, 12, "F16"), "a": entry([1, 2], 0, 8), "__metadata__": {"k": "v"}}, bytes(12)
)


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_header_gives_tensors_in_file_order(tmp_path: Path) -> None:
    path = write(tmp_path, "m.safetensors", GOOD)
    header = read_header(path)
    start = len(GOOD) - 12
    facts = [(t.name, t.dtype, t.shape, t.offset, t.nbytes, t.elements) for t in header.tensors]
    assert facts == [("a", "F32", (1, 2), start, 8, 2), ("b", "F16", (2,), start + 8, 4, 2)]
    assert header.metadata == {"k": "v"}


def test_scalars_and_empty_tensors_are_allowed(tmp_path: Path) -> None:
    data = pack({"e": entry([0, 5], 4, 4), "s": entry([], 0, 4)}, bytes(4))
    header = read_header(write(tmp_path, "m", data))
    assert [(t.name, t.elements) for t in header.tensors] == [("s", 1), ("e", 0)]


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400))
def test_any_bytes_get_a_verdict(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(data)
    found = inspect(path)
    assert found.reasons[0].endswith(".") if found.refused else found.tensors


def test_inspection_of_a_good_file(tmp_path: Path) -> None:
    found = inspect(write(tmp_path, "m.safetensors", GOOD))
    assert (found.verdict, found.reason_code, found.format) == ("loads", "ok", "safetensors")
    assert found.sha256 == hashlib.sha256(GOOD).hexdigest()
    assert (found.size, found.parameters, found.reasons) == (len(GOOD), 4, ())
    assert found.weights_path == found.path == tmp_path / "m.safetensors"


def test_name_that_disagrees_with_the_content_is_a_note(tmp_path: Path) -> None:
    found = inspect(write(tmp_path, "m.bin", GOOD))
    assert (found.verdict, found.reason_code) == ("caution", "note")
    assert "does not end in .safetensors" in found.reasons[0]
    assert not found.refused


def test_torch_files_are_told_by_content(tmp_path: Path) -> None:
    import torch

    state = {"state_dict": {"a": torch.zeros(3)}}
    torch.save(state, tmp_path / "zip.pt")
    torch.save(state, tmp_path / "old.safetensors", _use_new_zipfile_serialization=False)
    found = {path.name: inspect(path) for path in tmp_path.iterdir()}
    assert (found["zip.pt"].format, found["zip.pt"].verdict) == ("PyTorch file (zip)", "loads")
    old = found["old.safetensors"]
    assert (old.format, old.verdict) == ("PyTorch file (legacy stream)", "caution")
    assert "although its name ends in .safetensors" in old.reasons[0]


def saved(write_to: Callable[[io.BytesIO], object]) -> bytes:
    made = io.BytesIO()
    write_to(made)
    return made.getvalue()


@pytest.mark.parametrize(
    ("data", "form", "code"),
    [
        (b"GGUF\x03\0\0\0" + bytes(40), "GGUF model", "unsupported"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "HDF5 or Keras file", "unsupported"),
        (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0", "ONNX model", "unsupported"),
        (b"\x1c\0\0\0TFL3" + bytes(40), "TensorFlow Lite model", "unsupported"),
        (b"\x1f\x8b\x08" + bytes(40), "gzip file", "damaged"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer", "damaged"),
        (b"\n<!DOCTYPE html><html>", "web page", "damaged"),
        (b'{"weight_map": {"a": "b"}}', "index of sharded safetensors", "unsupported"),
        (b"", "empty file", "damaged"),
        (b"cat\ndog\nbanana\n", "unknown format", "unsupported"),
        (b"cos\nmkdir\n(S'ran'\ntR\xff\xff", "Python pickle", "unknown_code"),
        (pickle.dumps({"a": [1, 2]}), "Python pickle", "unsupported"),
        (saved(lambda file: np.save(file, np.zeros(3))), "NumPy array", "unsupported"),
        (tarred({"storages": b"x"}), "tar archive", "dangerous"),
        (zipped({"m/data.pkl": b"x", "m/data/0": b"x"}), "PyTorch file (zip)", "damaged"),
        (zipped({"models/epoch.pt": b"x", "a.txt": b"x"}), "zip archive", "unsupported"),
        (zipped({"a.npy": b"x", "b.npy": b"x"}), "NumPy archive (.npz)", "damaged"),
        (zipped({"readme.txt": b"x"}), "zip archive", "unsupported"),
    ],
)  # fmt: skip
def test_formats_are_told_by_content(tmp_path: Path, data: bytes, form: str, code: str) -> None:
    inspection = inspect(write(tmp_path, "m.safetensors", data))
    assert (inspection.format, inspection.reason_code) == (form, code)


def folder(tmp_path: Path, **files: bytes) -> Path:
    place = tmp_path / "model"
    place.mkdir()
    for name, data in files.items():
        write(place, name.replace("__", "."), data)
    return place


CONFIG_BYTES = json.dumps({"model_cfg": CONFIG}).encode()


def test_open_clip_folder(tmp_path: Path) -> None:
    place = folder(
        tmp_path,
        open_clip_config__json=CONFIG_BYTES,
        open_clip_model__safetensors=GOOD,
        README__md=b"hello",
    )
    found = inspect(place)
    assert (found.verdict, found.format, found.unread) == (
        "loads",
        "open_clip folder",
        ("README.md",),
    )
    assert found.config == {"model_cfg": CONFIG}
    assert found.sha256 == hashlib.sha256(GOOD).hexdigest()
    assert found.weights_path == place / "open_clip_model.safetensors"


def test_unread_pickle_and_program_are_a_caution(tmp_path: Path) -> None:
    place = folder(
        tmp_path,
        open_clip_config__json=CONFIG_BYTES,
        open_clip_pytorch_model__bin=pickle.dumps(1),
        model__safetensors=GOOD,
        modeling__py=b"",
    )
    found = inspect(place)
    assert found.verdict == "caution"
    assert "modeling.py, open_clip_pytorch_model.bin" in found.reasons[0]
    assert found.unread == ("modeling.py", "open_clip_pytorch_model.bin")


def test_what_lies_deeper_in_a_folder_is_listed_as_well(tmp_path: Path) -> None:
    place = folder(tmp_path, open_clip_config__json=CONFIG_BYTES, model__safetensors=GOOD)
    (place / "custom" / "deep").mkdir(parents=True)
    (place / "custom" / "deep" / "run.py").write_bytes(b"")
    (place / "custom" / "old.bin").write_bytes(b"")
    (place / "up").symlink_to(place.parent, target_is_directory=True)
    found = inspect(place)
    assert found.unread == ("custom/deep/run.py", "custom/old.bin", "up")
    assert found.verdict == "caution"
    assert "custom/deep/run.py, custom/old.bin" in found.reasons[0]


def test_an_adapter_folder_is_named_and_its_files_are_listed(tmp_path: Path) -> None:
    place = folder(tmp_path, adapter_config__json=b"{}", adapter_model__bin=b"x")
    found = inspect(place)
    assert (found.verdict, found.reason_code) == ("unsupported", "unsupported")
    assert "merge it into its base model" in found.reasons[0]
    assert found.unread == ("adapter_config.json", "adapter_model.bin")


@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        ({}, "unsupported", "without open_clip_config.json"),
        ({"config__json": b"{", "model__safetensors": GOOD}, "damaged", "model/config.json"),
        ({"open_clip_config__json": CONFIG_BYTES}, "damaged", "no weights"),
        ({"open_clip_config__json": CONFIG_BYTES, "w__bin": pickle.dumps([1])}, "unsupported",
         "model/w.bin is a Python pickle"),
        ({"open_clip_config__json": CONFIG_BYTES, "a__safetensors": GOOD, "b__safetensors": b""},
         "unsupported", "2 files of weights"),
        ({"open_clip_config__json": CONFIG_BYTES, "m__safetensors__index__json": b"{}"}, "damaged",
         "no weight_map"),
        ({"open_clip_config__json": b'{"a":1,"a":2}', "m__safetensors": GOOD}, "damaged",
         "model/open_clip_config.json cannot be used: the key 'a' occurs twice"),
        ({"open_clip_config__json": b"{}" + b" " * (1 << 20), "m__safetensors": GOOD}, "damaged",
         "limit"),
    ],
)  # fmt: skip
def test_folders_that_are_refused(tmp_path, files, code, words):
    found = inspect(folder(tmp_path, **files))
    assert found.refused
    assert found.reason_code == code
    assert words in found.reasons[0]


def test_good_config_passes_with_its_defaults() -> None:
    made = check_model_config(CONFIG, "x")
    assert made["vision_cfg"]["layers"] == [1, 1, 1, 1]
    assert made["text_cfg"]["heads"] == 2
    assert check_model_config(made, "x") == made


def test_parameter_estimate_of_vit_b_32() -> None:
    config = {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8},
    }
    estimate = parameter_estimate(check_model_config(config, "x"))
    assert estimate == pytest.approx(151_277_313, rel=0.01)


def test_preprocess_from_config() -> None:
    made = check_preprocess({"mean": [0, 0, 0], "std": [1, 1, 1], "size": 999}, 64, "c")
    assert (made.size, made.mean, made.std) == (64, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert check_preprocess({}, 64, "c").mean == (0.48145466, 0.4578275, 0.40821073)

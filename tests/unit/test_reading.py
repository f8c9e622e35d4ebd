"""Formats are told by content, headers are checked strictly, and nothing a file says is run."""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml_core.reading import InputError, inspect, tables
from ml_core.reading.tables import iter_rows, read_columns
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


def saved(write_to: Callable[[io.BytesIO], object]) -> bytes:
    made = io.BytesIO()
    write_to(made)
    return made.getvalue()


@pytest.mark.parametrize(
    ("data", "form", "code"),
    [
        (b"GGUF\x03\0\0\0" + bytes(40), "GGUF", "damaged"),
        (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0", "ONNX model", "damaged"),
        (b"\x1c\0\0\0TFL3" + bytes(40), "TensorFlow Lite model", "unsupported"),
        (b"\x1f\x8b\x08" + bytes(40), "gzip file", "damaged"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer", "damaged"),
        (b"\n<!DOCTYPE html><html>", "web page", "damaged"),
        (b'{"weight_map": {"a": "b"}}', "index of sharded safetensors", "unsupported"),
        (b"", "empty file", "damaged"),
        (b"cos\nmkdir\n(S'ran'\ntR\xff\xff", "Python pickle", "unknown_code"),
        (pickle.dumps({"a": [1, 2]}), "Python pickle", "unsupported"),
        (saved(lambda file: np.save(file, np.zeros(3))), "NumPy array", "unsupported"),
        (tarred({"storages": b"x"}), "tar archive", "dangerous"),
        (zipped({"m/data.pkl": b"x", "m/data/0": b"x"}), "PyTorch file (zip)", "damaged"),
        (zipped({"models/epoch.pt": b"x", "a.txt": b"x"}), "zip archive", "unsupported"),
        (zipped({"a.npy": b"x", "b.npy": b"x"}), "NumPy archive (.npz)", "damaged"),
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


def test_unread_pickle_and_program_are_a_caution(tmp_path: Path) -> None:
    place = folder(
        tmp_path, open_clip_config__json=CONFIG_BYTES, model__safetensors=GOOD, modeling__py=b"",
        open_clip_pytorch_model__bin=pickle.dumps(1),
    )  # fmt: skip
    found = inspect(place)
    assert found.verdict == "caution"
    assert "modeling.py, open_clip_pytorch_model.bin" in found.reasons[0]
    assert found.unread == ("modeling.py", "open_clip_pytorch_model.bin")
    (place / "custom" / "deep").mkdir(parents=True)
    (place / "custom" / "deep" / "run.py").write_bytes(b"")
    (place / "custom" / "old.bin").write_bytes(b"")
    (place / "up").symlink_to(place.parent, target_is_directory=True)
    found = inspect(place)
    assert found.unread[:2] == ("custom/deep/run.py", "custom/old.bin")
    assert found.unread[-1] == "up"
    assert "custom/deep/run.py, custom/old.bin" in found.reasons[0]


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


# ---- tables ----


def test_bad_rows_are_named_and_the_others_kept(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfa,b\n1,2\n3\n\n\xff,5\n6,\x007\n8,9,10\n"11, 12",13\n'
    path = write(tmp_path, "t.csv", content)
    assert list(iter_rows(path, read_columns(path))) == [
        (2, ("1", "2")),
        (3, "row 3: 1 fields where the header has 2"),
        (5, "row 5: not UTF-8 text"),
        (6, "row 6: holds control characters"),
        (7, "row 7: 3 fields where the header has 2"),
        (8, ("11, 12", "13")),
    ]


def test_a_line_without_end_is_not_taken_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_RECORD", 1 << 20)
    path = tmp_path / "t.csv"
    for row in ("1,", '"1\n",'):  # a line without end, and a row of lines without end
        path.write_text("x,y\n" + row * (1 << 20))
        with pytest.raises(InputError, match="has a row of over 1 million characters"):
            list(iter_rows(path, ("x", "y")))
    path.write_text("x,y\n" + ("1" * 1000 + ",2\n") * 1100)
    assert len(list(iter_rows(path, ("x", "y")))) == 1100  # the limit is one of a row


def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    (tmp_path / "set-secret").mkdir()
    secret = write(tmp_path / "set-secret", "s.png", b"secret")
    (root / "link.png").symlink_to(secret)
    (root / "folder").symlink_to(secret.parent)
    for text in ("link.png", "folder/s.png", "folder"):
        with pytest.raises(InputError, match="leads out"):
            tables.resolver(root)(text)

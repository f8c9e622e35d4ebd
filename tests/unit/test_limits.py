"""Where a limit of this tool is reached, the sentence says so and asks for no second download."""

from __future__ import annotations

import io
import json
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ml_core.checkpoints.tensors import read_tensors
from ml_core.reading import InputError, Inspection, hashing, inspect, strict_json, worker
from ml_core.reading.strict_json import JsonError, JsonLimitError, iter_lists
from tests.hostile.archives import archive, legacy, records
from tests.hostile.ops import checkpoint, pickled

PICKLES = {
    "nesting": b"(" * 1500 + b"t" * 1500,
    "a deep list": b"]" * 900 + b"a" * 899,
    "objects on the stack": b"(" + b"N" * 10 + b"K\x01" * 310_000 + b"t",
    "steps": b"N0" * 400_000 + b"N",
    "places in the memo": b"N" + b"\x94" * 310_000,
    "digits": b"L" + b"9" * 5000 + b"L\n",
}


def told(found: Inspection) -> str:
    assert (found.verdict, found.reason_code) == ("unsupported", "unsupported"), found.reasons
    sentence = found.reasons[0]
    assert "again" not in sentence
    assert "sys." not in sentence
    return sentence


@pytest.mark.parametrize(
    ("name", "zipped"), [*((name, True) for name in PICKLES), ("digits", False)]
)
def test_pickles_beyond_a_limit(tmp_path: Path, name: str, zipped: bool) -> None:
    raw = pickled(checkpoint(PICKLES[name]))
    path = tmp_path / "m.pt"
    path.write_bytes(archive(records() | {"data.pkl": raw}) if zipped else legacy(raw))
    assert "ask its author for a safetensors copy" in told(inspect(path))


def test_a_header_beyond_a_limit(tmp_path: Path) -> None:
    entry = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    many = json.dumps({f"t{number}": entry for number in range(100_001)}).encode()
    long = b'{"__metadata__": {"a": "' + b" " * (17 << 20) + b'"}}'
    for raw in (many, long):
        path = tmp_path / "m.safetensors"
        path.write_bytes(struct.pack("<Q", len(raw)) + raw)
        told(inspect(path))


def test_an_index_beyond_a_limit(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    index = {"weight_map": {f"t{number}": "a.safetensors" for number in range(100_001)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    told(inspect(tmp_path))


def test_arrays_of_other_types_are_left_out(tmp_path: Path) -> None:
    good = np.arange(3, dtype="f4")
    np.savez(tmp_path / "m.npz", w=good, names=np.array(["a"]), turned=good.astype(">f4"))
    found = inspect(tmp_path / "m.npz")
    assert found.verdict == "caution"
    assert "names (<U1), turned (>f4)" in found.reasons[0]
    assert [tensor.name for tensor in found.tensors] == ["w"]
    assert found.unread == ("names.npy", "turned.npy")
    np.savez(tmp_path / "m.npz", names=np.array(["a"]))
    refused = inspect(tmp_path / "m.npz")
    assert (refused.verdict, refused.reason_code) == ("unsupported", "unsupported")
    assert "'names'" in refused.reasons[0]


def test_a_huge_file_is_refused_by_its_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    raw = json.dumps({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw)
    os.truncate(path, 200 << 30)  # of which nothing is on the disk
    found = inspect(path)
    assert (found.verdict, found.sha256) == ("damaged", "")
    assert "bytes after its last tensor" in found.reasons[0]
    assert found.reasons[1] == (
        "Its SHA-256 was not computed, as it has 200 GiB and is refused in any case."
    )


def test_what_is_larger_than_any_checkpoint_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    path.write_bytes(bytes(100))
    monkeypatch.setattr(sys.modules[inspect.__module__], "MAX_SIZE", 99)
    found = inspect(path)
    assert (found.verdict, found.reason_code, found.sha256) == ("unsupported", "unsupported", "")
    assert "more than any checkpoint" in found.reasons[0]


def test_an_error_of_the_system_is_one_sentence(tmp_path, monkeypatch):
    def broken(path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(worker, "inspect", broken)
    sentence, code, details = json.loads(worker._examined(tmp_path / "m.pt", {}))["error"]
    assert sentence == "m.pt cannot be read: Input/output error; choose a checkpoint file."
    assert (code, details) == ("unsupported", "")


def test_a_tensor_with_a_long_name_is_healthy_and_beyond_a_limit(tmp_path: Path) -> None:
    torch.save({"a" * 100_000: torch.zeros(2)}, tmp_path / "m.pt")
    found = inspect(tmp_path / "m.pt")
    assert (found.verdict, found.reason_code) == ("unsupported", "unsupported")
    assert "a tensor's name has" in found.reasons[0]


def entries(raw: bytes) -> list[tuple[str, dict[str, object]]]:
    return list(iter_lists(io.BytesIO(raw), ("a", "b")))


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"[1]", "not a JSON object"),
        (b'{"a": [1]}', "is not an object"),
        (b'{"a": [], "a": []}', "occurs twice"),
        (b'{"a": [{"x": NaN}]}', "not valid JSON"),
        (b'{"a": [{"x": ' + b"9" * 5000 + b"}]}", "too large"),
        (b'{"a": [{"x": "\xff"}]}', "UTF8"),
        (b'{"x": ' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_strict_json(raw: bytes, words: str) -> None:
    with pytest.raises(JsonError, match=words):
        entries(raw)


def test_a_huge_entry_is_refused_without_reading_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_json, "_CHUNK", 1000)
    monkeypatch.setattr(strict_json, "MAX_ENTRY", 5000)
    file = io.BytesIO(b'{"a": [{"x": "' + b"y" * 1_000_000 + b'"}]}')
    with pytest.raises(JsonLimitError, match="over"):
        list(iter_lists(file, ("a",)))
    assert file.tell() < 10_000


VALUE = torch.arange(100.0)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file that was just written count as an old one."""
    monkeypatch.setattr(hashing, "_SETTLED", -(10**18))


def saved(folder: Path) -> Inspection:
    save_file({"a": VALUE}, folder / "m.safetensors")
    return inspect(folder / "m.safetensors")


def test_another_content_of_the_same_size_and_date_is_not_used(tmp_path, settled):
    found = saved(tmp_path)
    before = found.path.stat()
    raw = bytearray(found.path.read_bytes())
    raw[-1] ^= 1
    with open(found.path, "r+b") as file:
        file.write(raw)
    os.utime(found.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InputError, match="changed since"):
        read_tensors(found)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    found = saved(tmp_path)
    check = hashing._Comparison.add

    def add(self: hashing._Comparison, piece: memoryview) -> None:
        with open(found.path, "ab") as file:
            file.write(b"more")
        check(self, piece)

    monkeypatch.setattr(hashing._Comparison, "add", add)
    assert "changed while it was read" in inspect(found.path).reasons[0]

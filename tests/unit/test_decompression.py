"""Packed checkpoints are read without being unpacked to disk, and bombs are not swallowed."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from ml_core.checkpoints.convert import convert_to_safetensors
from ml_core.checkpoints.tensor_stats import tensor_histogram, tensor_stats
from ml_core.checkpoints.tensors import read_tensors
from ml_core.reading import InputError, inspect
from ml_core.reading.archive_members import DEFLATED, STORED, ZipError
from ml_core.reading.decompression import BLOCK, Piece, Unpacked
from tests.unit.file_bytes import npz_bytes, tarred, torch_bytes, zipped

DEFLATE = zipfile.ZIP_DEFLATED
GENERATOR = torch.Generator().manual_seed(0)
TENSORS = {
    "big": torch.randn(400, 400, generator=GENERATOR),
    "half": torch.randn(300, 200, generator=GENERATOR).half(),
    "flags": torch.tensor([True, False, True]),
}


def repacked(raw: bytes) -> bytes:
    """PyTorch's zip with every record deflated, as a zip program writes it."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        return zipped({name: archive.read(name) for name in archive.namelist()}, DEFLATE)


PACKED: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "zip of safetensors": (
        lambda: zipped({"m.safetensors": save(TENSORS), "a.txt": b"hello"}, DEFLATE),
        "safetensors in an archive", "zip, safetensors"),
    "zip of torch": (lambda: zipped({"epoch.pt": torch_bytes(TENSORS)}, DEFLATE),
        "PyTorch file (zip) in an archive", "zip, zip"),
    "tar.gz": (lambda: tarred({"readme": b"hello", "run/epoch.pt": torch_bytes(TENSORS)}, "w:gz"),
        "PyTorch file (zip) in an archive", "gzip, tar, zip"),
    "gz of torch": (lambda: gzip.compress(torch_bytes(TENSORS)), "PyTorch file (zip), compressed",
        "gzip, zip"),
    "gz of legacy": (lambda: gzip.compress(torch_bytes(TENSORS, legacy=True)),
        "PyTorch file (legacy stream), compressed", "gzip, stream"),
    "deflated records": (lambda: repacked(torch_bytes(TENSORS)), "PyTorch file (zip)", "zip"),
    "npz": (lambda: npz_bytes(TENSORS, compressed=True), "NumPy archive (.npz)", "zip"),
}  # fmt: skip


@pytest.mark.parametrize("kind", PACKED)
def test_packed_checkpoints_come_through(tmp_path: Path, kind: str) -> None:
    make, form, container = PACKED[kind]
    path = tmp_path / "m"
    path.write_bytes(make())
    found = inspect(path)
    assert (found.verdict, found.format) == ("loads", form), found.reasons
    assert found.container.kind == container
    tensors = read_tensors(found)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())
    stats = {row.name: row for row in tensor_stats(found)}
    assert stats["big"].max == TENSORS["big"].max().item()
    (info,) = (info for info in found.tensors if info.name == "half")
    *_, last = tensor_histogram(found, info)
    assert sum(last.counts) == info.elements
    converted = convert_to_safetensors(found, tmp_path / "out.safetensors")
    assert converted is not None
    again = read_tensors(inspect(converted))
    assert all(torch.equal(again[name], value) for name, value in TENSORS.items())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m", "out.safetensors"]


def test_container_facts_count_what_is_compressed(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(PACKED["zip of safetensors"][0]())
    container = inspect(tmp_path / "m").container
    assert (container.members, container.compressed) == (2, 2)
    assert container.packed < container.unpacked == len(save(TENSORS)) + 5
    (tmp_path / "t.pt").write_bytes(torch_bytes(TENSORS))
    container = inspect(tmp_path / "t.pt").container
    assert (container.compressed, container.alignment, container.protocol) == (0, 64, 2)


def changed_at(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 0x55]) + raw[at + 1 :]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wrong_checksum_of_a_member_is_damage(tmp_path: Path, method: int) -> None:
    data = save({"a": torch.arange(1000.0)})
    raw = zipped({"m.safetensors": data}, method)
    crc = zlib.crc32(data).to_bytes(4, "little")
    assert raw.count(crc) == 2
    path = tmp_path / "m.zip"
    path.write_bytes(raw.replace(crc, b"\1\2\3\4"))
    found = inspect(path)
    assert found.verdict == "damaged"
    assert "checksum" in found.reasons[0]
    assert found.sha256


def test_a_changed_number_of_a_torch_file_is_damage(tmp_path: Path) -> None:
    path, raw = tmp_path / "m.pt", torch_bytes(TENSORS)
    path.write_bytes(raw)
    changed = changed_at(raw, inspect(path).tensors[1].offset + 5)
    for other in (changed, gzip.compress(changed)):
        path.write_bytes(other)
        found = inspect(path)
        assert found.verdict == "damaged"
        assert "/data/1' has another checksum" in found.reasons[0]


def test_a_packed_file_that_changed_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "m.gz"
    raw = gzip.compress(torch_bytes(TENSORS))
    path.write_bytes(raw)
    found = inspect(path)
    for other in (changed_at(raw, len(raw) // 2), raw[: len(raw) // 2], changed_at(raw, 4)):
        path.write_bytes(other)
        with pytest.raises(InputError, match="changed since"):
            read_tensors(found)


def deflated(data: bytes) -> bytes:
    pack = zlib.compressobj(6, zlib.DEFLATED, -15)
    return pack.compress(data) + pack.flush()


@pytest.mark.parametrize("seed", range(2))
def test_any_order_of_reading_gives_the_same_bytes(seed: int) -> None:
    draw = np.random.default_rng(seed)
    parts = [draw.bytes(size) for size in (BLOCK * 9 + 77, 0, 1, BLOCK, 1000, BLOCK * 5)]
    file, pieces = io.BytesIO(), []
    for index, data in enumerate(parts):
        packed = data if index % 3 == 2 else deflated(data)
        method = STORED if index % 3 == 2 else DEFLATED
        pieces.append(Piece(method, file.tell(), len(packed), len(data), zlib.crc32(data)))
        file.write(packed)
    whole = b"".join(parts)
    image = Unpacked(file, pieces)
    if seed % 2:
        image.verify()
    buffered = io.BufferedReader(image)
    for _ in range(60):
        start, length = int(draw.integers(len(whole))), int(draw.integers(1 << 17))
        buffered.seek(start)
        assert buffered.read(length) == whole[start : start + length]


def _hop(image: Unpacked) -> None:
    for turn in range(10_000):
        image.seek((turn % 2) * BLOCK * 11 + turn % 9 * BLOCK * (1 - turn % 2))
        image.read(1)
        image._blocks.clear()


def test_reading_back_and_forth_ends() -> None:
    data = np.random.default_rng(0).bytes(BLOCK * 12)
    packed = deflated(data)
    image = Unpacked(io.BytesIO(packed), [Piece(DEFLATED, 0, len(packed), len(data), 0)])
    image.bound()
    with pytest.raises(ZipError, match="back and forth"):
        _hop(image)

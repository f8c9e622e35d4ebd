"""Checkpoints in every container: what the libraries write comes through, lies are refused.

That tensors come through bit by bit is asked of all harmless files in `tests.hostile.test_replay`.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as safetensors_bytes

from ml_core.checkpoints.tensor_stats import tensor_stats
from ml_core.checkpoints.tensors import read_tensors
from ml_core.reading import Inspection, examine, inspect
from ml_core.reading.archive_members import ZipError, read_member, tar_members, zip_members
from tests.hostile.container_bytes import small_onnx
from tests.hostile.gguf_lies import BLOCKS
from tests.unit.file_bytes import npz_bytes, tarred, torch_bytes, zipped

TENSORS = {"a": torch.arange(500.0).reshape(20, 25), "b": torch.ones(7)}
RAW = safetensors_bytes(TENSORS)
layouts = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


def inspected(folder: Path, raw: bytes) -> Inspection:
    (folder / "model.bin").write_bytes(raw)
    return inspect(folder / "model.bin")


def saved(folder: Path, value: Any, *, legacy: bool = False) -> Inspection:
    return inspected(folder, torch_bytes(value, legacy=legacy))


# PyTorch's files


@layouts
def test_a_training_checkpoint_tells_its_facts(tmp_path: Path, legacy: bool) -> None:
    layer, whole = torch.nn.Linear(3, 2), torch.arange(10.0)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.zeros(1, 3)).sum().backward()
    optimizer.step()
    value = {
        "epoch": 7, "name": "run", "best": np.float64(0.5), "args": argparse.Namespace(lr=1e-5),
        "state_dict": {f"module.{k}": v for k, v in layer.state_dict().items()},
        "optimizer": optimizer.state_dict(), "left": whole[:6], "right": whole[4:],
        "history": collections.defaultdict(list, loss=[1.0]),
    }  # fmt: skip
    found = saved(tmp_path, value, legacy=legacy)
    assert (found.verdict, found.reason_code) == ("loads", "ok")
    assert {"epoch": "7", "name": "run", "args.lr": "1e-05"}.items() <= found.facts.items()
    assert set(found.globals) == {"data", "tensors"}
    tensors = read_tensors(found)
    assert {"state_dict.module.weight", "optimizer.state.0.exp_avg"} <= tensors.keys()
    tensors["left"][5] = 99.0
    assert tensors["right"][1] == 5.0  # they no longer share bytes


@layouts
def test_statistics_of_tensors_that_lie_apart(tmp_path: Path, legacy: bool) -> None:
    tensors = {
        "turned": torch.arange(12.0).reshape(3, 4).t(),
        "strided": torch.arange(24.0).reshape(4, 6)[::2, 1::2],
        "expanded": torch.arange(3.0).expand(5, 3),
        "overlapping": torch.arange(9.0).as_strided((3, 3), (2, 2)),
    }
    for row in tensor_stats(saved(tmp_path, tensors, legacy=legacy)):
        value = tensors[row.name].double()
        assert row.mean == pytest.approx(value.mean().item())
        assert row.std == pytest.approx(value.std(correction=0).item())
        assert (row.min, row.max) == (value.min().item(), value.max().item())


def test_modules_and_programs_are_a_caution_and_not_run(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    found = saved(tmp_path, module)
    assert found.verdict == "caution"
    assert "pickled modules" in found.reasons[0]
    assert "torch.nn.modules.conv.Conv2d" in found.globals["code"]
    torch.jit.script(module).save(str(tmp_path / "m.pt"))
    found = inspect(tmp_path / "m.pt")
    assert (found.verdict, found.format) == ("caution", "TorchScript archive")
    assert "not run" in found.reasons[0]
    assert any("forward" in text for _, text in found.embedded_code)


class Own(torch.Tensor):
    """A subclass, which an ordinary loader makes by calling its class."""


NO_CLIP_HAS_IT = "of a type that no CLIP has"
KINDS: dict[str, Callable[[], torch.Tensor]] = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "quantised": lambda: torch.quantize_per_tensor(torch.arange(4.0), 0.1, 0, torch.quint8),
    NO_CLIP_HAS_IT: lambda: torch.ones(2, dtype=torch.complex64),
    "without numbers": lambda: torch.empty(3, device="meta"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
@layouts
def test_special_tensors_are_named_and_not_read(tmp_path: Path, name: str, legacy: bool) -> None:
    value = {"dense": torch.ones(2), "inner": {"special": KINDS[name]()}}
    found = saved(tmp_path, value, legacy=legacy)
    assert found.verdict == "caution", found.reasons
    assert [tensor.name for tensor in found.tensors] == ["dense"]
    assert f"inner.special ({name})" in found.reasons[0]
    assert found.facts["inner.special"] == f"a tensor that was not read ({name})"


def test_a_class_of_tensors_from_elsewhere_is_unknown_code(tmp_path: Path) -> None:
    found = saved(tmp_path, {"a": torch.ones(2).as_subclass(Own)})
    assert (found.verdict, found.reason_code) == ("dangerous", "unknown_code")
    assert "Own" in found.reasons[0]


# Cut short, and longer


WHOLE = {
    "safetensors": lambda: RAW,
    "torch zip": lambda: torch_bytes(TENSORS),
    "legacy stream": lambda: torch_bytes(TENSORS, legacy=True),
    "npz": lambda: npz_bytes(TENSORS),
    "zip": lambda: zipped({"model.safetensors": RAW}, zipfile.ZIP_DEFLATED),
    "tar": lambda: tarred({"model.safetensors": RAW})[: 512 + -(-len(RAW) // 512) * 512],
    "gzip": lambda: gzip.compress(RAW),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_cut_short_is_truncated_and_one_that_goes_on_is_damaged(tmp_path, kind):
    whole = WHOLE[kind]()
    for share in (0.5, 0.8, 0.99):
        found = inspected(tmp_path, whole[: int(len(whole) * share)])
        assert (found.verdict, found.reason_code) == ("damaged", "truncated"), found.reasons
        assert "get the file again" in found.reasons[0]
    if kind not in ("tar", "gzip"):
        found = inspected(tmp_path, whole + b"more")
        assert (found.verdict, found.reason_code) == ("damaged", "damaged"), found.reasons


# A checkpoint in an archive

LONG = "folder/" + "very_long_name_" * 9 + ".pt"
WRAPS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "zip": zipped, "tar": tarred, "old tar": partial(tarred, form=tarfile.USTAR_FORMAT),
    "gnu tar": partial(tarred, form=tarfile.GNU_FORMAT),
}  # fmt: skip


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_a_checkpoint_in_an_archive_is_read_in_place_and_others_are_refused(tmp_path, wrap):
    name = LONG if wrap is WRAPS["gnu tar"] else "run/epoch.pt"
    found = inspected(tmp_path, wrap({"readme.txt": b"hello", name: torch_bytes(TENSORS)}))
    assert (found.verdict, found.format) == ("loads", "PyTorch file (zip) in an archive")
    assert "readme.txt" in found.unread
    tensors = read_tensors(found)
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())
    for members, words in (
        ({"a.pt": b"x", "b.bin": b"x"}, "an archive with 2 checkpoints: a.pt, b.bin"),
        ({"readme.txt": b"x"}, "no checkpoint"),
        ({"a.pt": b"x"}, "a.pt is of a format that is not known"),
        ({"a.pt": b""}, "a.pt is empty"),
    ):
        found = inspected(tmp_path, wrap(members))
        assert found.verdict == ("damaged" if "empty" in words else "unsupported")
        assert words in found.reasons[0]


def test_what_macos_keeps_beside_a_file_is_listed_and_counts_by_content(tmp_path: Path) -> None:
    members = {"epoch.pt": torch_bytes(TENSORS)}
    double = {"__MACOSX/._epoch.pt": b"\0\x05\x16\x07\0\x02\0\0" + bytes(100)}
    found = inspected(tmp_path, zipped(members | double))
    assert found.verdict == "loads"
    assert "__MACOSX/._epoch.pt" in found.unread
    found = inspected(tmp_path, zipped(members | dict.fromkeys(double, members["epoch.pt"])))
    assert found.members == ("epoch.pt", "__MACOSX/._epoch.pt")


def raw_tar(start: int = 0, value: bytes = b"") -> bytes:
    raw = bytearray(tarred({"a.pt": b"abc"}, form=tarfile.USTAR_FORMAT))
    raw[start : start + len(value)] = value
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    return bytes(raw)


def members_of_tar(raw: bytes) -> list[tuple[str, int, int]]:
    return [(m.name, m.size, m.offset) for m in tar_members(io.BytesIO(raw), len(raw))]


def test_an_honest_tar_lists_its_members_and_a_damaged_one_none() -> None:
    raw = raw_tar()
    assert members_of_tar(raw) == [("a.pt", 3, 512)]
    for bad in (raw[:300] + b"x" + raw[301:], raw[:700], raw[:0]):
        with pytest.raises(ZipError):
            members_of_tar(bad)


@pytest.mark.parametrize(
    ("start", "value"),
    [
        *((156, kind) for kind in (b"2", b"3", b"S")),
        *((0, name) for name in (b"../x", b"/etc", b"\xff\xfe", b"\0")),
        *((124, size) for size in (
            b"77777777777", b"-1         ", b"9          ", b"\xff" * 12, b"\x80" + b"\xff" * 11,
        )),
    ],
)  # fmt: skip
def test_doctored_tars_are_refused(start: int, value: bytes) -> None:
    with pytest.raises(ZipError):
        members_of_tar(raw_tar(start, value))


def test_members_that_were_streamed_come_through() -> None:
    """Their sizes follow the data."""

    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise io.UnsupportedOperation

    out, content = Stream(), {"m/data.pkl": b"abc" * 50, "m/data/0": bytes(100)}
    with zipfile.ZipFile(out, "w") as made:
        for name, data in content.items():
            made.writestr(name, data)
    size = len(out.getvalue())
    members = zip_members(out, size)
    assert content == {member.name: read_member(out, member, 1 << 20) for member in members}
    with pytest.raises(ZipError, match="larger than 99 bytes"):
        read_member(out, members[1], 99)


# Arrays of NumPy


def header(shape: str = "(2,)", descr: str = "'<f4'", order: str = "False", data: int = 8) -> bytes:
    return npy(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}", data)


def npy(text: str, data: int = 0) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(data)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x09\x00\x10\x00" + bytes(16), header(data=7),
        header(data=9), header("(-2,)"), header("(True,)", data=4), header(descr="'>f4'"),
        header(order="1"), npy("{'descr': '<f4', 'shape': (2,)}", 8),
        header(descr="[('a', '<f4')]"), header("(" * 900, data=0), npy("__import__('os')"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} " * 3, 8),
    ],
)  # fmt: skip
def test_damaged_arrays_are_refused(tmp_path: Path, raw: bytes) -> None:
    assert inspected(tmp_path, zipped({"a.npy": header()})).verdict == "loads"
    found = inspected(tmp_path, zipped({"a.npy": raw}))
    assert found.verdict in ("damaged", "unsupported")
    assert found.reasons[0].endswith(".")


@pytest.mark.parametrize(("name", "raw"), [("m.gguf", BLOCKS), ("m.onnx", small_onnx())])
def test_a_folder_with_one_model_that_needs_no_config_is_that_model(name, raw, tmp_path):
    for file, content in ((name, raw), ("README.md", b""), ("config.json", b"{}")):
        (tmp_path / file).write_bytes(content)
    found, alone = examine(tmp_path), examine(tmp_path / name)
    assert (found.format, found.sha256, found.graph) == (alone.format, alone.sha256, alone.graph)
    assert read_tensors(found).keys() == {tensor.name for tensor in alone.tensors}
    assert found.unread == (alone.unread if alone.graph else ("README.md", "config.json"))
    (tmp_path / f"other{name}").write_bytes(raw)
    assert "holds 2 GGUF or ONNX models; open one" in examine(tmp_path).reasons[0]

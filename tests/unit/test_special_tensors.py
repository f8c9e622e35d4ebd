"""Tensors of kinds that are not read are named with their kind, and are never among the tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ml_core.checkpoints.tensors import read_tensors
from ml_core.reading import inspect


class Own(torch.Tensor):
    """A subclass, which an ordinary loader makes by calling its class."""


def quantised() -> torch.Tensor:
    return torch.quantize_per_tensor(torch.arange(4.0), 0.1, 0, torch.quint8)


KINDS: dict[str, tuple[Callable[[], torch.Tensor], str]] = {
    "sparse, by coordinates": (lambda: torch.eye(3).to_sparse(), "sparse"),
    "sparse, by rows": (lambda: torch.eye(3).to_sparse_csr(), "sparse"),
    "quantised": (quantised, "quantised"),
    "complex": (lambda: torch.ones(2, dtype=torch.complex64), "of a type that no CLIP has"),
    "half complex": (lambda: torch.ones(2, dtype=torch.complex32), "of a type that no CLIP has"),
    "without numbers": (lambda: torch.empty(3, device="meta"), "without numbers"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("zipped", [True, False])
def test_special_tensors_are_named_and_not_read(tmp_path: Path, name: str, zipped: bool) -> None:
    make, kind = KINDS[name]
    path = tmp_path / "m.pt"
    value = {"dense": torch.ones(2), "inner": {"special": make()}}
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    found = inspect(path)
    assert found.verdict == "caution", found.reasons
    assert [tensor.name for tensor in found.tensors] == ["dense"]
    assert f"inner.special ({kind})" in found.reasons[0]
    assert found.facts["inner.special"] == f"a tensor that was not read ({kind})"


@pytest.mark.parametrize("zipped", [True, False])
def test_a_class_of_tensors_from_elsewhere_is_unknown_code(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "m.pt"
    made = torch.ones(2).as_subclass(Own)
    torch.save({"a": made}, path, _use_new_zipfile_serialization=zipped)
    found = inspect(path)
    assert (found.verdict, found.reason_code) == ("dangerous", "unknown_code")
    assert "Own" in found.reasons[0]


@pytest.mark.parametrize("kind", [torch.uint16, torch.uint32, torch.uint64, torch.float8_e5m2])
def test_types_without_a_storage_class_are_read(tmp_path: Path, kind: torch.dtype) -> None:
    torch.save({"a": torch.arange(6).to(kind)[2:]}, tmp_path / "m.pt")
    found = inspect(tmp_path / "m.pt")
    assert found.verdict == "loads", found.reasons
    (tensor,) = found.tensors
    assert (tensor.shape, tensor.nbytes) == ((4,), 4 * kind.itemsize)
    assert tensor.dtype in ("U16", "U32", "U64", "F8_E5M2")
    (read,) = read_tensors(found).values()
    assert read.dtype == kind
    assert read.tolist() == [2, 3, 4, 5]
    assert "unknown" not in found.globals

"""What lies beside a checkpoint is said: code that files name, archives, odd names and sizes."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ml_core.checkpoints.inspection_record import assess
from ml_core.reading import inspect
from ml_core.reading.examine import examine
from tests.hostile.archives import Entry, archive, entries, raw_zip, torch_zip
from tests.hostile.container_bytes import safetensors

WEIGHTS = safetensors(bytes(8))
CONFIG = {"model_cfg": {"embed_dim": 8}, "preprocess_cfg": {}}
WIDE = struct.pack("<2HQQ", 1, 16, 400, 400)


def folder_of(tmp_path: Path, **files: Any) -> Path:
    """An open_clip folder; a value that is no bytes is written as JSON."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG))
    (folder / "open_clip_model.safetensors").write_bytes(WEIGHTS)
    for name, value in files.items():
        path = folder / name.replace("__", "/").replace("_json", ".json")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return folder


def said(path: Path) -> str:
    found = inspect(path)
    assert found.verdict in ("loads", "caution"), found.reasons
    assert all(reason.endswith(".") and "\n" not in reason for reason in found.reasons)
    return " ".join(found.reasons)


MAP = {"AutoTokenizer": ["evil--repo.Tokenizer", None]}


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"tokenizer_config_json": {"auto_map": MAP}}, "tokenizer_config.json asks"),
        ({"processor_config_json": {"image": {"x": [{"auto_map": MAP}]}}}, "processor_config.json"),
        ({"deep__down_json": {"auto_map": MAP}}, "deep/down.json"),
        ({"a_json": {"custom_pipelines": {"x": {"impl": "evil.py"}}}}, "(custom_pipelines)"),
        ({"a_json": {"trust_remote_code": True}}, "(trust_remote_code)"),
        ({"a_json": {"x": {"_target_": "os.system"}}}, "(_target_)"),
        ({"a_json": b'{"a": NaN, "auto_map": {"x": "y"}, "auto_map": {}}'}, "a.json asks"),
        ({"a_json": b'{"\\u0061uto_map": {"x": "y"}}'}, "a.json asks"),
        ({"a_json": b'{"auto_map": {"x": "y"}, '}, "a.json asks"),
        ({"a_json": b"[" * 50_000 + b'{"auto_map": {"x": 1}}'}, "a.json asks"),
        ({"a_json": b'{"w": "' + b"x" * 3_000_000 + b'", "auto_map": {"x": "y"}}'}, "a.json asks"),
        ({"a_json": {"auto_map": MAP}, "b_json": {"auto_map": MAP}}, "a.json and b.json ask"),
    ],
)
def test_side_files_that_name_code_are_said(tmp_path, files, named):
    folder = folder_of(tmp_path, **files)
    told = said(folder)
    assert named in told
    assert "nothing of it was run" in told
    assert inspect(folder).verdict == "caution"
    assert " ".join(examine(folder).reasons) == told  # also in the confined process


def test_honest_side_files_are_not_said(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path,
        tokenizer_config_json={"tokenizer_class": "CLIPTokenizer", "trust_remote_code": False},
        tokenizer_json=b'{"model": {"vocab": {"auto_map": 1, "_target_": 2}}}',
        generation_config_json={"auto_map": None},
    )
    (folder / "vocab.json").symlink_to("/dev/zero")
    (folder / "other.json").symlink_to(tmp_path / "outside.json")
    (tmp_path / "outside.json").write_text('{"auto_map": {"x": "y"}}')
    assert said(folder) == ""


@pytest.mark.parametrize(
    "name",
    [
        *("optimizer.pt", "data.dill", "scaler.joblib", "x.p", "run.bat", "run.cmd", "setup.MSI"),
        *("lib.dylib", "lib.so", "lib.so.1", "start.ps1", "a.jar", "sub/helper.pyc", "Model.lnk"),
    ],
)
def test_what_others_may_run_is_said(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path, README_md=b"x", merges_txt=b"x", vocab_json=b"{}")
    (folder / "logo.png").write_bytes(b"x")
    assert said(folder) == ""
    assert "Beside it" not in assess(inspect(folder)).elsewhere
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    assert f"may run when they load it: {name}." in said(folder)
    assert inspect(folder).verdict == "caution"
    beside = f"Beside it lies what can run code when it is loaded or started: {name}."
    assert assess(inspect(folder)).elsewhere.endswith(beside)


def test_names_that_differ_in_case_alone(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    assert said(folder) == ""
    (folder / "Open_clip_config.json").write_text("{}")
    assert "('Open_clip_config.json' and 'open_clip_config.json')" in said(folder)
    path = tmp_path / "a.zip"
    path.write_bytes(archive({"x.safetensors": WEIGHTS, "Readme": b"a", "README": b"b"}, root=""))
    assert "differ in case alone ('Readme' and 'README')" in said(path)


def inner(kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "zip":
        return archive({"evil.py": b"import os"}, root="")
    if kind == "empty zip":
        return archive({}, root="")
    with tarfile.open(fileobj=out, mode="w:gz" if kind == "tar.gz" else "w") as made:
        made.addfile(tarfile.TarInfo("evil"))
    return out.getvalue()


@pytest.mark.parametrize("kind", ["zip", "empty zip", "tar", "tar.gz"])
@pytest.mark.parametrize("outer", ["zip", "deflated", "torch", "tar"])
def test_an_archive_inside_is_said(tmp_path: Path, kind: str, outer: str) -> None:
    path, raw = tmp_path / "a.bin", inner(kind)
    if outer == "torch":
        path.write_bytes(torch_zip(extra__more=raw))
    elif outer == "tar":
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as made:
            for name, data in (("m.safetensors", WEIGHTS), ("notes", raw)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                made.addfile(info, io.BytesIO(data))
    else:
        method = zipfile.ZIP_DEFLATED if outer == "deflated" else zipfile.ZIP_STORED
        path.write_bytes(archive({"m.safetensors": WEIGHTS, "notes": raw}, "", method))
    told = said(path)
    assert "holds archives that were not looked into" in told
    assert ("more" if outer == "torch" else "notes") in told


def test_64_bit_sizes_where_none_are_due(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    first, *rest = entries()
    for lie in (
        replace(first, extra=WIDE),
        replace(first, local_extra=WIDE),
        replace(first, extra=struct.pack("<2HQ", 1, 8, 1)),
    ):
        path.write_bytes(raw_zip([lie, *rest]))
        assert "64-bit sizes where none are due (m/data.pkl)" in said(path)
    assert isinstance(first, Entry)


def test_64_bit_sizes_that_are_due_are_not_said(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    with (
        zipfile.ZipFile(path, "w") as made,
        made.open("m.safetensors", "w", force_zip64=True) as to,
    ):
        to.write(WEIGHTS)
    assert said(path) == ""

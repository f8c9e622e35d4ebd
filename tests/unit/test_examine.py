"""The process that reads a file: same answer, cancelled at once, every death in a sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from ml_core.reading import InputError, Inspection, TensorInfo, examine, inspect
from ml_core.reading.archive_members import DEFLATED
from ml_core.reading.container import Container, Graph
from ml_core.reading.decompression import Piece
from ml_core.reading.errors import CancelledError
from ml_core.reading.hashing import FileStamp
from ml_core.reading.inspection_json import error_to_json, from_json, to_json
from ml_core.reading.pickles.reading import CodePlace
from ml_core.reading.sandbox import available
from tests.hostile.gguf_lies import BLOCKS

ROOT = Path(__file__).parents[2]
door: ModuleType = sys.modules["ml_core.reading.examine"]


def _safetensors(path: Path, names: int = 1) -> Path:
    """Write float32 tensors of one value each."""
    entries = {
        f"layer.{i}": {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]}
        for i in range(names)
    }
    head = json.dumps({"__metadata__": {"a": "b\u202e"}, **entries}).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"\0" * 4 * names)
    return path


def _instead(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Run another program in the process that is forked for a file."""
    server = (
        "import sys; from ml_core.reading import worker\n"
        f"worker.answer = lambda request: exec({program!r}) or 0\n"
        "sys.exit(worker.main())"
    )
    _server(monkeypatch, [sys.executable, "-c", server])


def _server(monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    """Run another program than the one that forks."""
    door.end_idle()
    monkeypatch.setattr(door, "_command", lambda: command)


@pytest.fixture(autouse=True)
def _ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield
    door.end_idle()


# ---- the same answer ----


def test_the_process_says_what_the_function_says(tmp_path: Path) -> None:
    good = _safetensors(tmp_path / "good.safetensors")
    renamed = _safetensors(tmp_path / "renamed.pt")
    evil = tmp_path / "evil.pkl"
    evil.write_bytes(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(good.read_bytes()[:-1])
    folder = tmp_path / "folder"
    folder.mkdir()
    _safetensors(folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text('{"model_cfg": {"embed_dim": 4}}')
    (folder / "run.py").write_text("")
    verdicts = []
    for path in (good, renamed, evil, cut, folder, tmp_path):
        found = examine(path)
        assert found.sandbox is not None
        assert found.sandbox == available().as_texts()
        assert replace(found, sandbox=None) == inspect(path)
        verdicts.append(found.verdict)
    assert verdicts == ["loads", "caution", "dangerous", "damaged", "caution", "unsupported"]


def test_every_container_can_be_read_where_no_module_can_be_loaded(tmp_path: Path) -> None:
    state = {"ünï\u202e": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.bfloat16)}
    torch.save(state, tmp_path / "stream.pt", _use_new_zipfile_serialization=False)
    np.savez(tmp_path / "arrays.npz", a=np.zeros((2, 3)), ü=np.zeros(2, np.float16))
    (tmp_path / "blocks.gguf").write_bytes(BLOCKS)
    with zipfile.ZipFile(tmp_path / "wrapped.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(tmp_path / "blocks.gguf", "inner.gguf")
    for ending in ("gz", "bz2"):
        with tarfile.open(tmp_path / f"wrapped.tar.{ending}", f"w:{ending}") as tar:  # type: ignore[call-overload]
            tar.add(tmp_path / "stream.pt", "inner.pt")
    verdicts = {}
    for path in tmp_path.iterdir():
        found = examine(path)
        assert replace(found, sandbox=None) == inspect(path)
        verdicts[path.name] = found.verdict
    assert verdicts == {
        "stream.pt": "loads", "arrays.npz": "loads", "wrapped.tar.gz": "loads",
        "wrapped.tar.bz2": "unsupported", "blocks.gguf": "loads",
        "wrapped.zip": "loads",
    }  # fmt: skip


def test_odd_names_pass_the_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("new\nline", "-h", os.fsdecode(b"raw\xff")):
        _safetensors(tmp_path / name)
        found = examine(name)
        assert found == replace(inspect(name), sandbox=found.sandbox)
        assert (found.path, found.name) == (Path(name), name)


def test_a_whole_path_is_read_where_the_folder_of_now_may_not_be_entered(tmp_path, monkeypatch):
    path = _safetensors(tmp_path / "m.safetensors")
    monkeypatch.setattr(os, "getcwd", lambda: str(tmp_path / "gone"))
    assert not examine(path).refused


def test_a_path_with_nothing_is_told_before_anything_starts(tmp_path, monkeypatch):
    _instead(monkeypatch, "import sys; sys.exit(9)")
    for path in (tmp_path / "gone", "with\0nul", "\ud800"):
        with pytest.raises(InputError) as error:
            examine(path)
        assert error.value.code == "usage"
        assert "cannot be opened" in error.value.sentence


def test_links_of_a_hugging_face_cache_are_followed_into_its_blobs_only(tmp_path: Path) -> None:
    repository = tmp_path / "models--a--b"
    snapshot, blobs = repository / "snapshots" / "0123", repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    _safetensors(blobs / "w")
    (blobs / "c").write_text("{}")
    (snapshot / "open_clip_model.safetensors").symlink_to(Path("../../blobs/w"))
    (snapshot / "open_clip_config.json").symlink_to(Path("../../blobs/c"))
    assert not examine(snapshot).refused
    assert not examine(snapshot / "open_clip_model.safetensors").refused
    (snapshot / "open_clip_config.json").unlink()
    (tmp_path / "elsewhere").write_text("{}")
    (snapshot / "open_clip_config.json").symlink_to(tmp_path / "elsewhere")
    assert examine(snapshot).refused


def test_picklescan_is_asked_in_such_a_process_too(tmp_path, monkeypatch):
    evil = tmp_path / "evil.pkl"
    evil.write_bytes(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.")
    assert "os.system (dangerous)" in door.ask_picklescan(evil)
    assert door.ask_picklescan(_safetensors(tmp_path / "m.safetensors")).startswith("picklescan ")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    with zipfile.ZipFile(tmp_path / "évil.pt", "w") as archive:
        archive.writestr("a/data.pkl", evil.read_bytes())
    assert "os.system (dangerous)" in door.ask_picklescan(tmp_path / "évil.pt")
    assert "no name" in door.ask_picklescan(tmp_path / "objects.npz")
    with pytest.raises(InputError, match="cannot be opened"):
        door.ask_picklescan(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe.pkl")
    for path in (tmp_path, tmp_path / "pipe.pkl"):
        assert "was not run" in door.ask_picklescan(path)
    _instead(monkeypatch, "import os; os.kill(os.getpid(), 9)")
    assert "signal 9" in door.ask_picklescan(evil)


# ---- how it can end ----


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import os; os.kill(os.getpid(), 9)", "signal 9 (SIGKILL)"),
        ("import os; os.kill(os.getpid(), 11)", "signal 11 (SIGSEGV)"),
        ("import os; os.kill(os.getpid(), 24)", "signal 24 (SIGXCPU), as it computed for too long"),
        ("print('nonsense', flush=True)", "makes no sense"),
        ("import sys; sys.stdout.write('x' * 300_000_000)", "more to say"),
    ],
    ids=["killed", "crashed", "busy", "nonsense", "endless"],
)
def test_a_reader_that_dies_or_raves_is_a_refusal(program, words, tmp_path, monkeypatch):
    path = _safetensors(tmp_path / "m.safetensors")
    _instead(monkeypatch, program)
    found = examine(path)
    assert found.verdict in ("damaged", "unsupported")
    assert found.refused
    assert words in found.reasons[0]
    assert "m.safetensors" in found.reasons[0]
    assert "Traceback" not in "".join(found.reasons)


def test_a_reader_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _safetensors(tmp_path / "m.safetensors")
    monkeypatch.setattr(door, "BASE_SECONDS", 0.3)
    _instead(monkeypatch, "import time; time.sleep(60)")
    begin = time.monotonic()
    found = examine(path)
    assert time.monotonic() - begin < 20
    assert (found.verdict, found.reason_code) == ("unsupported", "unsupported")
    assert "took more than" in found.reasons[0]


def test_the_time_for_a_folder_begins_with_the_files_that_a_model_names(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(bytes(9))
    (tmp_path / "other").touch()
    os.truncate(tmp_path / "other", 1 << 40)  # of which nothing is on the disk
    monkeypatch.setattr(door, "BASE_SECONDS", 1.0)
    _instead(monkeypatch, "import time; time.sleep(60)")
    assert "took more than 1 seconds" in examine(path).reasons[0]
    program = "import time; print(' ', flush=True); time.sleep(3); print('nonsense')"
    _instead(monkeypatch, program)
    assert "makes no sense" in examine(path).reasons[0]


def test_cancel_kills_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _safetensors(tmp_path / "m.safetensors")
    _instead(monkeypatch, "import time; time.sleep(60)")
    cancel = threading.Event()
    timer = threading.Timer(0.2, cancel.set)
    timer.start()
    with pytest.raises(CancelledError):
        examine(path, cancel.is_set)
    timer.join()
    (forker,) = door._idle
    assert psutil.Process(forker.process.pid).children() == []


def test_a_file_that_takes_its_reader_over_says_nothing_about_the_next(tmp_path, monkeypatch):
    """It writes to all it can reach, changes what it can, outlives its answer, kills its parent."""
    path, next_one = (_safetensors(tmp_path / f"{name}.safetensors") for name in ("evil", "good"))
    before = inspect(next_one)
    for act in (
        "for d in range(3, 64):\n  try: os.write(d, b'+' * 99)\n  except OSError: pass",
        "import ml_core.reading.inspect as module; module._inspect_file = None",
        "os.close(1); os.close(2); time.sleep(60)",
        "os.setsid(); os.closerange(0, 64); time.sleep(60)",
        "os.kill(os.getppid(), 9); time.sleep(60)",
        "os._exit(0)",
    ):
        attack = f"if b'evil' in request:\n import os, time\n exec({act!r})\nelse:\n own(request)"
        server = (
            "import sys; from ml_core.reading import worker\nown = worker.answer\n"
            f"def answer(request): exec({attack!r}, globals() | {{'request': request}}); return 0\n"
            "worker.answer = answer; sys.exit(worker.main())"
        )
        _server(monkeypatch, [sys.executable, "-c", server])
        monkeypatch.setattr(door, "END_SECONDS", 0.2)
        with suppress(InputError), monkeypatch.context() as patch:
            patch.setattr(door, "BASE_SECONDS", 2.0)
            assert examine(path).refused
        assert replace(examine(next_one), sandbox=None) == before
        (forker,) = door._idle
        assert psutil.Process(forker.process.pid).children() == [], act


def test_a_reader_that_cannot_start_is_said_and_nothing_is_read_instead(tmp_path, monkeypatch):
    path = _safetensors(tmp_path / "m.safetensors")
    _server(monkeypatch, [str(tmp_path / "no-python")])
    with pytest.raises(InputError, match="could not be started") as error:
        examine(path)
    assert error.value.code == "usage"
    _server(monkeypatch, [sys.executable, "-c", "raise ImportError('no module')"])
    with pytest.raises(InputError, match="could not be started") as error:
        examine(path)
    assert "no module" in error.value.details
    assert "Traceback" not in error.value.sentence


def test_a_mistake_in_the_reader_is_a_refusal_without_traceback(tmp_path: Path) -> None:
    path = _safetensors(tmp_path / "m.safetensors")
    program = (
        "import sys\n"
        "from ml_core.reading import worker\n"
        "def inspect(*args, **how): raise RAISED\n"
        "worker.inspect = inspect\n"
        "print(worker._examined(worker.Path(sys.argv[1]), {}, member='', hashed=True).decode())"
    )
    for raised, words in (("KeyError(1)", "unexpected KeyError"), ("MemoryError", "more memory")):
        done = subprocess.run(
            [sys.executable, "-c", program.replace("RAISED", raised), str(path)],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        with pytest.raises(InputError, match=words) as error:
            from_json(done.stdout, path)
        assert error.value.code == "unsupported"
        assert "Traceback" not in error.value.sentence


# ---- what comes back is believed only as far as it can be ----


def _full(path: Path) -> Inspection:
    """An inspection in which no field is at its default."""
    tensors = (
        TensorInfo("a", "F32", (2, 3), 10, 24, None, "0"),
        TensorInfo("b\u202e", "BF16", (3, 2), 10, 12, (1, 3), "1"),
        TensorInfo("c", "I64", (), 92, 8),
        TensorInfo("d", "U8", (4, 2), 80, 8, None, "2", "", (0.5, 2.0), (3, 0), 1),
    )
    graph = Graph("pytorch", {"ai.onnx": 17}, {"Conv": 1}, ("a:f",), ("x [1]",), ("y []",),
        ("if",), {"a": "node 'a' (Conv)"}, ("One sentence.",), 9)  # fmt: skip
    return Inspection(
        path, path.name, 100, "0" * 64, "PyTorch file (zip)", "caution", "note",
        ("First.", "Second."), tensors, {"key": "value"},
        {"vision": {"layers": [1, 2.5, None, True]}}, path, ("unread",),
        {"tensors": ("torch FloatStorage",), "data": ()}, {"epoch": "3"},
        (("code/a.py", "text\ud800"),), {"limits": "on"}, {"image_mean": [0.5, 0.5, 0.5]},
        Container("zip", 5, 1, 90, 100, 64, 2), (Piece(DEFLATED, 5, 90, 100, 7),),
        graph, (CodePlace("posix.system", 3, 13),),
        (FileStamp("", 100, "0" * 64, 1, 2, 3, 4, True),),
        "member.pt", ("member.pt", "other.pt"),
    )  # fmt: skip


def test_every_field_and_every_error_survives_the_way(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    full = _full(path)
    plain = Inspection(path, path.name, 0, "", "", "loads", "ok")
    unset = [f.name for f in fields(full) if getattr(full, f.name) == getattr(plain, f.name)]
    assert unset == ["path", "name"], "a new field needs a value in _full"
    assert from_json(to_json(full), path) == full
    assert from_json(to_json(full), path).files == full.files
    folder = replace(full, path=tmp_path, name=tmp_path.name)
    assert from_json(to_json(folder), tmp_path) == folder
    with pytest.raises(InputError, match="One sentence") as error:
        from_json(error_to_json(InputError("One sentence.", "usage", "more")), Path("m.pt"))
    assert (error.value.code, error.value.details) == ("usage", "more")


def _tensor(**changes: Any) -> dict[str, Any]:
    """One tensor, field by field, with some that are others."""
    fields = {"name": "a", "dtype": "F32", "shape": [2], "offset": 10, "nbytes": 8}
    fields |= {"stride": None, "storage": "0", "file": ""}
    fields |= {"scales": [], "zeros": [], "axis": 0} | changes
    return {"tensors": [[value] for value in fields.values()]}


def _stamps(*sizes: int, name: str = "", sha256: str = "0" * 64) -> dict[str, Any]:
    columns = (name, None, sha256, 1, 2, 3, 4, True)
    return {"files": [list(sizes) if v is None else [v] * len(sizes) for v in columns]}


def _piece(method: int = 8, offset: int = 5, size: int = 100, file: str = "") -> dict[str, Any]:
    return {"pieces": [[method], [offset], [90], [size], [7], [file]]}


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "safe"}, {"verdict": ["loads"]}, {"verdict": "dangerous"},
        {"reason_code": "ok"}, {"reasons": []}, {"reasons": ["First.", 2]}, {"reasons": "First."},
        {"size": -1}, {"size": True}, {"size": "100"}, {"size": 99}, {"sha256": "x"},
        *({"weights_path": path} for path in (None, "../other", "/etc/passwd", "a\0b", 3)),
        {"metadata": []}, {"metadata": {"a": 1}}, {"config": [1]}, {"globals": {"tensors": "all"}},
        {"embedded_code": [["name"]]}, {"sandbox": {"limits": 1}}, {"extra": 1},
        {"error": "just text"}, {"error": ["", "usage", ""]}, {"error": ["x", "fine", ""]},
        {"tensors": 5}, {"tensors": [["a"]]},
        {"tensors": [["a"], ["F32"], [[2]], [10], [8], [None], ["0", "1"], [""], [[]], [[]],
            [0]]},
        _tensor(nbytes=12), _tensor(offset=93), _tensor(shape=[-2], nbytes=-8), _tensor(offset=-1),
        _tensor(dtype="F99"), _tensor(shape=[2.0]), _tensor(shape=["2"]), _tensor(stride=[1, 1]),
        _tensor(stride=[9]), _tensor(shape=[2, 2], stride=[-1, 2]),
        _tensor(scales=[0.5]), _tensor(scales=[1], zeros=[0]),
        _tensor(scales=[0.5] * 3, zeros=[0] * 3),
        _tensor(shape=[1] * 17, nbytes=4), _tensor(file="neighbour"),
        {"weights_path": "a.bin"} | _tensor(file="../neighbour"),
        {"container": []}, {"container": {"kind": "zip"}}, {"files": []}, _stamps(99),
        _stamps(100, sha256="0" * 63), _stamps(50, 50), _stamps(100, name="x"),
        {"code_places": [["posix.system"], [90], [11]]},
        {"code_places": [["posix.system"], [-1], [11]]},
        {"code_places": [["posix.system"], [5], [-1]]},
        {"code_places": [["posix.system"], ["5"], [1]]},
        _piece(offset=11), _piece(offset=-1), _piece(size=10**12), _piece(method=9),
        _piece(size=99), _piece(file="other"),
    ],
    ids=str,
)  # fmt: skip
def test_a_record_that_cannot_be_true_is_refused(change: dict[str, Any]) -> None:
    path = Path("m.pt")
    record = json.loads(to_json(_full(path)))
    assert from_json(json.dumps(record).encode(), path) == _full(path)
    with pytest.raises(InputError, match="makes no sense"):
        from_json(json.dumps(record | change).encode(), path)


def test_one_tensor_and_one_stamp_of_these_helpers_are_believed() -> None:
    path = Path("m.pt")
    record = json.loads(to_json(_full(path))) | {"pieces": []}
    for change in (_tensor(), _stamps(100), _piece()):
        assert from_json(json.dumps(record | change).encode(), path)


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{}", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 50 + b"1" + b"}" * 50],
    ids=["empty", "list", "object", "cut", "no text", "deep list", "deep"],
)
def test_what_is_no_record_is_refused(raw: bytes) -> None:
    with pytest.raises(InputError, match="makes no sense"):
        from_json(raw, Path("m.pt"))

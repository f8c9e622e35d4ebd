"""Fixtures for all tests: a home of their own, one thread, a tiny random CLIP, warm children."""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ml_core.model import ClipModel
    from tests.warm import Program, Warm

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

TINY_CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 2,
    },
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="write the files of tests/golden anew")


def _no_wait_for_the_disk(descriptor: int) -> None:
    """What is written here need not outlive a power cut; each wait takes milliseconds."""
    os.fstat(descriptor)


os.fsync = _no_wait_for_the_disk


def pytest_collection_finish() -> None:
    """What was imported is garbage never, and need not be looked through again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders that are not there yet; each `mktemp` would look at all that it made before."""
    folder = tmp_path_factory.mktemp("homes")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def _own_home(_homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    home = next(_homes)
    home.mkdir()
    monkeypatch.setenv("CLEANCLIP_HOME", str(home))


# These test the process that reads a file, and start it as the product does.
READER_TESTS = {"test_examine", "test_sandbox", "test_limits", "test_other_loaders"}


@pytest.fixture(scope="session")
def _reader() -> Iterator[Warm | None]:
    """Has the reader's modules loaded; Windows cannot fork."""
    if sys.platform == "win32":
        yield None
        return
    from tests.warm import Warm

    names = ("inspect", "inspection_json", "sandbox")
    warm = Warm(*(f"ml_core.reading.{name}" for name in names), environment={"PYTHONUTF8": "1"})
    yield warm
    warm.close()


@pytest.fixture(autouse=True)
def _warm_reader(
    _reader: Warm | None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are read in a process of their own that needs not import its modules first."""
    own = request.module.__name__.rpartition(".")[2] in READER_TESTS
    if own or _reader is None:
        return
    import ml_core.reading

    door = sys.modules["ml_core.reading.examine"]
    assert ml_core.reading.examine is door.examine
    start, command = door._start, door._command

    def start_warm(path: Path) -> Program | subprocess.Popen[bytes]:
        if door._command is not command:  # a test runs another program
            return start(path)  # type: ignore[no-any-return]
        return _reader.start("ml_core.reading.worker", stderr=subprocess.PIPE, session=True)

    monkeypatch.setattr(door, "_start", start_warm)


@pytest.fixture(scope="session")
def warm_torch() -> Iterator[Warm]:
    """Starts programs that need torch and the jobs, which it has loaded."""
    from tests.warm import Warm

    warm = Warm("torch", "open_clip", "ml_core.jobs.clean.run")
    yield warm
    warm.close()


@pytest.fixture(scope="session")
def _tiny_original() -> ClipModel:
    import torch

    from ml_core.model import Preprocess, build_model

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(TINY_CONFIG, Preprocess(32), None, name="tiny")
        for key, value in model.module.named_parameters():
            if key.endswith("bn3.weight"):  # zero at first, which would hide the branch
                torch.nn.init.uniform_(value, 0.5, 1.0)
    return model


@pytest.fixture
def tiny_model(_tiny_original: ClipModel) -> ClipModel:
    """A random ResNet CLIP for 32 px images and 16 tokens; each test has its own copy."""
    return _tiny_original.copy()


@pytest.fixture(scope="session")
def _tiny_bytes(_tiny_original: ClipModel, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    from ml_core.checkpoints.save import save_checkpoint

    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    return save_checkpoint(_tiny_original, path, provenance={"made": "test"}).read_bytes()


@pytest.fixture
def tiny_checkpoint(_tiny_bytes: bytes, tmp_path: Path) -> Path:
    """`tiny_model` saved as one safetensors file."""
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(_tiny_bytes)
    return path


@pytest.fixture(scope="session")
def _vit_original() -> ClipModel:
    import torch

    from ml_core.model import Preprocess, build_model

    vision = {"image_size": 32, "patch_size": 8, "layers": 3, "width": 32, "head_width": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model(
            TINY_CONFIG | {"vision_cfg": vision}, Preprocess(32), None, name="tiny vit"
        )


@pytest.fixture
def tiny_vit(_vit_original: ClipModel) -> ClipModel:
    """A random ViT CLIP of three blocks for 32 px images and 16 tokens; each test's own copy."""
    return _vit_original.copy()

"""Fixtures for all tests: a home of their own, one thread, a tiny random CLIP, warm children."""

from __future__ import annotations

import functools
import gc
import itertools
import os
import subprocess
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
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="write the files of tests/golden anew")


def _no_wait_for_the_disk(descriptor: int) -> None:
    """What is written here need not outlive a power cut; each wait takes milliseconds."""
    os.fstat(descriptor)


os.fsync = _no_wait_for_the_disk


gc.disable()  # while everything is imported: it would take as long again


def pytest_collection_finish() -> None:
    """What was imported is garbage never, and need not be looked through again and again."""
    gc.collect()
    gc.freeze()
    gc.enable()
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


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this run of the suite see."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def warm_torch() -> Iterator[Warm]:
    """Starts programs that need torch and the jobs, which it has loaded."""
    from tests.warm import Warm

    warm = Warm("torch", "open_clip", "ml_core.jobs.clean.run")
    yield warm
    warm.close()


@pytest.fixture(scope="session", autouse=True)
def _warm_verifier() -> Iterator[None]:
    """Bundles are checked from an interpreter that has its modules loaded, which take a second."""
    from ml_core.reading.examine import environment
    from ml_core.reports.verify import confined
    from tests.warm import Warm

    module, own = "ml_core.reports.verify.worker", {"OPENBLAS_NUM_THREADS": "1"}
    warm = Warm(module, environment=environment() | own)

    @functools.wraps(confined.start)
    def start() -> Program:
        environs = environment() | own
        return warm.start(module, stderr=subprocess.PIPE, session=True, environment=environs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confined, "start", start)
        yield
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

"""Repositories of the Hub come out of its cache; without a connection there is one sentence."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ml_core.checkpoints import hub, open_checkpoint
from ml_core.checkpoints.hub import fetch
from ml_core.checkpoints.inspection_record import assess, inspection_record
from ml_core.cli.app import run_command
from ml_core.reading import InputError, inspect
from ml_core.reading.errors import CancelledError
from ml_core.reports.html.fields import inspection_page
from tests.unit.fake_hub import COMMIT, fake_hub
from tests.unit.layout_files import VIT, contiguous, in_shards, lively

# A Hub on this machine, with the library's own downloads.

REPOSITORY = "owner/clip"


@pytest.fixture
def online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """An empty cache; call it with the address of a Hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def connect(address: str) -> None:
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    return connect


def repository_files(folder: Path, sharded: bool) -> dict[str, bytes]:
    """A repository, with what must not be fetched beside the weights."""
    folder.mkdir()
    state = contiguous(lively(VIT).state_dict())
    if sharded:
        in_shards(state, folder)
    else:
        torch.save(state, folder / "open_clip_pytorch_model.bin")
    config = json.dumps({"model_cfg": VIT}).encode()
    others = ("run.py", "optimizer.bin", "unet/other.safetensors", "training_args.bin")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return files | {"open_clip_config.json": config} | dict.fromkeys(others, b"x")


@pytest.mark.parametrize("sharded", [False, True])
def test_a_repository_is_fetched_and_opened(sharded, online, tmp_path):
    files = repository_files(tmp_path / "made", sharded)
    told: list[tuple[int, int]] = []
    with fake_hub({REPOSITORY: files}) as (address, fetched):
        online(address)
        found = fetch(f"hf-hub:{REPOSITORY}", lambda done, total: told.append((done, total)))
    wanted = {name for name in files if "model" in name or name == "open_clip_config.json"}
    assert set(fetched) == wanted
    assert found.revision == COMMIT
    assert told[-1][0] == told[-1][1] > 100_000
    assert sorted(told) == told
    opened = open_checkpoint(found.path)
    assert opened.architecture.keys.same
    opened.build()
    links = [path for path in found.path.iterdir() if path.is_symlink()]
    assert links  # into blobs
    record = inspection_record(assess(inspect(found.path)))
    assert record["hub"] == {"repository": REPOSITORY, "revision": COMMIT}
    assert f"{REPOSITORY} at revision {COMMIT}" in inspection_page(record)
    again = fetch(f"hf-hub:{REPOSITORY}@{COMMIT}")  # the server is gone: out of the cache
    assert again == found


def test_a_download_can_be_cancelled_and_begun_again(online, tmp_path, monkeypatch, capsys):
    files = repository_files(tmp_path / "made", False)
    told: list[int] = []
    with fake_hub({REPOSITORY: files}) as (address, _):
        online(address)
        with pytest.raises(CancelledError):
            fetch(f"hf-hub:{REPOSITORY}", lambda done, total: told.append(done), lambda: bool(told))
        assert open_checkpoint(fetch(f"hf-hub:{REPOSITORY}").path).inspection.verdict == "loads"
    download = hub._download

    def interrupted(*arguments: Any) -> Path:
        signal.raise_signal(signal.SIGINT)
        return download(*arguments)

    monkeypatch.setattr(hub, "_download", interrupted)
    before = signal.getsignal(signal.SIGINT)
    assert run_command(["inspect", f"hf-hub:{REPOSITORY}"]) == 130
    assert signal.getsignal(signal.SIGINT) is before
    shown = capsys.readouterr()
    assert "Cancelled." in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("owner/absent", "does not exist or is private"),
        ("owner/clip@other", "has no such revision"),
        ("owner/empty", "holds no weights under a name that CLIPs have"),
    ],
)
def test_what_a_hub_does_not_have_is_a_sentence(name, words, online):
    empty = {"README.md": b"# nothing", "weights.zip": b"x"}
    with fake_hub({REPOSITORY: {"README.md": b""}, "owner/empty": empty}) as (address, _):
        online(address)
        with pytest.raises(InputError, match=words) as caught:
            fetch(f"hf-hub:{name}")
    assert "\n" not in caught.value.sentence


def test_a_hub_that_is_away_is_a_sentence(online):
    with fake_hub({}) as (address, _):
        online(address)
    with pytest.raises(InputError, match=r"owner/clip cannot be reached and is not in the cache"):
        fetch(f"hf-hub:{REPOSITORY}")

"""Repositories of the Hub come out of its cache; without a connection there is one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ml_core.checkpoints import hub, open_checkpoint
from ml_core.checkpoints.hub import fetch, is_hub_name
from ml_core.checkpoints.save import save_checkpoint
from ml_core.model import ClipModel
from ml_core.reading import InputError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hub cache, and no connection."""
    from huggingface_hub import constants

    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


def cached_repository(cache: Path, model: ClipModel) -> Path:
    """A repository as the Hub's library leaves it: snapshots of links into blobs."""
    repository = cache / "models--owner--clip"
    made = save_checkpoint(model, cache / "made", provenance={})
    snapshot = repository / "snapshots" / COMMIT
    for folder in (snapshot, repository / "blobs", repository / "refs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    for number, file in enumerate(sorted(made.iterdir())):
        blob = repository / "blobs" / f"{number:040}"
        file.rename(blob)
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    return snapshot


def test_a_cached_repository_opens_without_a_connection(cache: Path, tiny_model: ClipModel) -> None:
    snapshot = cached_repository(cache, tiny_model)
    found = fetch("hf-hub:owner/clip")
    assert (found.path.resolve(), found.revision) == (snapshot.resolve(), COMMIT)
    assert open_checkpoint(found.path).inspection.format == "open_clip folder"


def test_without_a_connection_there_is_one_sentence(cache: Path) -> None:
    with pytest.raises(InputError, match="owner/absent cannot be reached") as caught:
        fetch("hf-hub:owner/absent")
    assert caught.value.code == "usage"


@pytest.mark.parametrize(
    "name", ["hf-hub:", "hf-hub:a", "hf-hub:../x", "hf-hub:a/b/c", "hf-hub:a/b@"]
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(InputError, match="names no repository"):
        fetch(name)


def test_hub_names_are_told_from_paths() -> None:
    assert is_hub_name("hf-hub:a/b")
    assert not is_hub_name("a/b")


def test_progress_is_reported_and_cancel_ends_the_download(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []

    def download(*_: Any, tqdm_class: Any, **__: Any) -> str:
        bar = tqdm_class(total=10, unit="B", unit_scale=True)
        bar.update(4)
        files = tqdm_class(total=2)
        files.update(1)
        bar.update(6)
        raise AssertionError("cancel was not noticed")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(InputError, match="was cancelled"):
        fetch("hf-hub:a/b", lambda *told_now: told.append(told_now), lambda: len(told) == 1)
    assert told == [(4, 10)]


def test_refusals_of_the_hub_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import errors

    class Gone(errors.RepositoryNotFoundError):
        def __init__(self) -> None:
            Exception.__init__(self, "404")

    def refuse(*_: Any, **__: Any) -> Path:
        raise Gone

    monkeypatch.setattr(hub, "_download", refuse)
    with pytest.raises(InputError, match="does not exist or is private"):
        fetch("hf-hub:a/b")


def test_the_command_line_takes_repositories(
    cache: Path, tiny_model: ClipModel, capsys: pytest.CaptureFixture[str]
) -> None:
    from ml_core.cli.app import run_command

    cached_repository(cache, tiny_model)
    assert run_command(["inspect", "hf-hub:owner/clip", "--json"]) == 0
    shown = capsys.readouterr()
    assert '"verdict": "loads"' in shown.out
    assert COMMIT in shown.err
    assert run_command(["inspect", "hf-hub:owner/absent"]) == 3

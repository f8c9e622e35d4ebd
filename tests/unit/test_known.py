"""Known files: certain by their hash alone, and the user's own entries."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_core.checkpoints.known import KnownFile, add_known, known_files, look_up, own_file
from ml_core.reading import InputError, Inspection, inspect


def found(name: str, sha256: str = "0" * 64) -> Inspection:
    path = Path("/somewhere") / name
    return Inspection(path, path.name, 1, sha256, "safetensors", "loads", "ok")


def test_a_name_only_looks_like_one() -> None:
    """A place in the Hub's cache is a name too; another architecture is another file."""
    (match,) = look_up(found("clip_backdoor_rn50_cc3m_badnets"), "RN50", known_files())
    assert not match.certain
    assert "looks like a backdoored open_clip RN50" in match.sentence
    assert "is no proof" in match.sentence
    place = f"models--chs20--fare2-clip/snapshots/{'0' * 40}"
    (cached,) = look_up(found(place), "ViT-L-14", known_files())
    assert not cached.certain
    assert look_up(found("clip_backdoor_rn50_cc3m_badnets"), "ViT-B-32", known_files()) == ()
    assert look_up(found("model.safetensors"), "RN50", known_files()) == ()


def test_a_hash_is_certain_and_a_name_beside_it_is_none() -> None:
    entry = KnownFile(
        title="my victim", source="here", names=("victim*",), sha256="a" * 64, asr=0.98
    )
    (match,) = look_up(found("renamed.pt", "a" * 64), "", [entry])
    assert match.certain
    assert match.sentence.startswith("By its SHA-256 this is my victim (published at here")
    assert "ASR 98.0 % as published" in match.sentence
    assert look_up(found("victim.pt", "b" * 64), "", [entry]) == ()


def test_own_entries_are_kept_and_come_first(tiny_checkpoint: Path) -> None:
    shipped = known_files()
    assert not own_file().exists()
    sha256 = inspect(tiny_checkpoint).sha256
    add_known(KnownFile(title="victim 1", source="here", sha256=sha256))
    add_known(KnownFile(title="victim 2", source="here", names=("tiny*",)))
    with pytest.raises(InputError, match="knows this SHA-256 already, as 'victim 1'"):
        add_known(KnownFile(title="victim 3", source="here", sha256=sha256))
    with pytest.raises(InputError, match="would match no file"):
        add_known(KnownFile(title="victim 4", source="here"))
    assert [entry.title for entry in known_files()[:2]] == ["victim 1", "victim 2"]
    assert known_files()[2:] == shipped

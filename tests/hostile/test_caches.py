"""What lies in the cache folder where the program's own files should: they are made anew."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ml_core.data import digests, known_files
from ml_core.data.canvas import CanvasCache
from ml_core.data.known_files import KnownFiles
from ml_core.data.pairs import PairSet, open_pairs
from ml_core.data.readers import shard_index
from ml_core.data.specs import PairSpec
from ml_core.evaluation.embedding_cache import EmbeddingStore
from tests.hostile.set_giants import tar_header
from tests.unit.pair_files import png
from tests.unit.test_caches import Counting, on_disk, values

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes"),
    pytest.mark.timeout(60),
]

Plant = Callable[[Path], None]


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _link_to(target: str) -> Plant:
    def plant(path: Path) -> None:
        path.symlink_to(target)

    return plant


def _own_words(path: Path) -> None:
    """A link to a file of the user's, which must stay as it is."""
    mine = path.with_name("mine")
    mine.write_bytes(b"mine")
    path.symlink_to(mine)


def _noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


PLANTED: dict[str, Plant] = {
    "a pipe": _pipe,
    "endless": _link_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": _link_to("nothing"),
    "a link to mine": _own_words,
    "noise": _noise,
    "a sparse terabyte": _sparse,
}
planted = pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)


def in_place_of(path: Path, plant: Plant) -> None:
    path.unlink()
    plant(path)


def mine_is_mine(folder: Path) -> None:
    mine = folder / "mine"
    assert not mine.exists() or mine.read_bytes() == b"mine"


@planted
def test_canvases_are_drawn_again(tmp_path: Path, plant: Plant) -> None:
    cache = on_disk(Counting(10), tmp_path)
    cache.get(range(10))
    cache.close()
    (path,) = tmp_path.glob("*.canvas")
    in_place_of(path, plant)
    for _ in range(2):
        assert values(on_disk(Counting(10), tmp_path).get(range(10))) == list(range(10))
    assert path.is_file()
    assert not path.is_symlink()
    mine_is_mine(tmp_path)


def test_canvases_are_not_written_through_a_link_to_another_cache(tmp_path: Path) -> None:
    """A link to a file with the right header was followed, and pictures written there."""
    cache = on_disk(Counting(10), tmp_path)
    cache.get(range(4))
    cache.close()
    (path,) = tmp_path.glob("*.canvas")
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    assert values(on_disk(Counting(10), tmp_path).get(range(10))) == list(range(10))
    assert elsewhere.read_bytes() == before


def test_what_lies_where_a_new_cache_is_begun(tmp_path, monkeypatch):
    """Its name can be guessed: a pipe there was waited for."""
    made: list[Path] = []

    def guess(folder: Path, limit: int, keep: Path) -> None:
        made.append(keep.with_suffix(f".{os.getpid()}.{canvas.threading.get_ident()}.tmp"))
        os.mkfifo(made[0])

    from ml_core.data import canvas

    monkeypatch.setattr(canvas, "_make_room", guess)
    assert values(on_disk(Counting(10), tmp_path).get(range(10))) == list(range(10))
    assert len(made) == 1
    assert not made[0].exists()


@pytest.mark.parametrize("name", ["canvases", "shards", "embeddings", "."])
def test_a_file_in_place_of_a_folder(tmp_path, name, monkeypatch):
    monkeypatch.setenv("CLEANCLIP_HOME", str(tmp_path / "home"))
    place = tmp_path / "home" / "cache" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"") if name != "." else place.parent.joinpath("cache").write_bytes(b"")
    _sets_are_read(tmp_path, monkeypatch)


def _sets_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_index, "KEPT_FROM", 1)
    cache = CanvasCache(Counting(10), 4, memory_limit=0)
    assert values(cache.get(range(10))) == list(range(10))
    assert len(shards(tmp_path / "s")) == 2
    found = EmbeddingStore()
    assert found.load(("a",), 2, 2) is None
    assert not found.save(("a",), np.ones((2, 2), np.float32), np.ones(2, np.bool_)) or found.load(
        ("a",), 2, 2
    )


def shards(folder: Path) -> PairSet:
    """Two pairs in a shard, which is old enough to be kept in an index."""
    folder.mkdir(exist_ok=True)
    parts = [("a.jpg", png(1)), ("a.txt", b"a cat"), ("b.jpg", png(2)), ("b.txt", b"a dog")]
    path = folder / "0.tar"
    if not path.exists():
        packed = [
            tar_header(name, len(data)) + data + bytes(-len(data) % 512) for name, data in parts
        ]
        path.write_bytes(b"".join(packed) + bytes(1024))
        os.utime(path, ns=(1, 10**18))
    return open_pairs(PairSpec(kind="shards", path=str(path)))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The index that was kept of the shard in the folder ``s``."""
    monkeypatch.setattr(shard_index, "KEPT_FROM", 1)
    monkeypatch.setattr(shard_index, "cache_dir", lambda: tmp_path / "cache")
    shards(tmp_path / "s")
    (kept,) = (tmp_path / "cache" / "shards").iterdir()
    return kept


def _claims(path: Path, shape: str, told: bytes | None = None) -> None:
    """The index with another shape, or another text, in one of its arrays."""
    with np.load(path) as file:
        parts = dict(file)
    if told is not None:
        parts["told"] = np.frombuffer(told, np.uint8)
    path.unlink(missing_ok=True)
    with path.open("wb") as out:
        np.savez(out, **parts)
    raw = path.read_bytes()
    if shape:
        head = b"'shape': (2, 2), "
        assert head in raw
        new = f"'shape': ({shape}),".encode().ljust(len(head))
        path.write_bytes(raw.replace(head, new[: len(head)]))


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name in ("counts", "places", "sizes", "is_json", "told"):
            with made.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.zeros(40_000_000, np.uint8))


@planted
def test_an_index_of_shards_is_made_anew(tmp_path: Path, index: Path, plant: Plant) -> None:
    in_place_of(index, plant)
    assert shards(tmp_path / "s").all_captions([0, 1]) == [("a cat",), ("a dog",)]
    assert index.is_file()
    assert not index.is_symlink()
    mine_is_mine(index.parent)


@pytest.mark.parametrize(
    "change",
    [
        _bomb, lambda path: _claims(path, "9" * 9), lambda path: _claims(path, "-1, 2"),
        lambda path: _claims(path, "", b"[" * 100_000),
        lambda path: _claims(path, "", b'{"notes": 5, "left_out": 0}'),
        lambda path: _claims(path, "", b'{"notes": [], "left_out": 1e999}'),
        lambda path: _claims(path, "", b'{"notes": [], "left_out": null}'),
        lambda path: _claims(path, "", json.dumps({"notes": "x" * 5_000_000}).encode()),
    ],
)  # fmt: skip
def test_an_index_that_lies(tmp_path: Path, index: Path, change: Plant) -> None:
    change(index)
    assert len(shards(tmp_path / "s")) == 2


@planted
def test_embeddings_are_made_again(tmp_path, plant):
    store = EmbeddingStore(tmp_path)
    found, known = np.ones((2, 3), np.float32), np.ones(2, np.bool_)
    assert store.save(("a",), found, known)
    (path,) = tmp_path.iterdir()
    in_place_of(path, plant)
    assert store.load(("a",), 2, 3) is None
    assert store.save(("a",), found, known)
    assert store.load(("a",), 2, 3) is not None
    mine_is_mine(tmp_path)


def _other_types(path: Path) -> None:
    """The index of digests with numbers and texts in place of digests."""
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute("DROP TABLE IF EXISTS files")
        made.execute("CREATE TABLE files (path, facts, sha256)")
        for picture in sorted(path.parent.glob("*.png")):
            facts = digests.file_facts(picture.stat())
            made.execute("INSERT INTO files VALUES (?, ?, 5)", (digests._name(picture), facts))
        made.commit()


@pytest.mark.parametrize(
    "plant", [*PLANTED.values(), _other_types], ids=[*PLANTED, "a database of other types"]
)
def test_digests_are_made_again(tmp_path, plant, monkeypatch):
    monkeypatch.setattr(digests, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(known_files, "CONTENT_LIMIT", 0)
    pictures = [tmp_path / f"{number}.png" for number in range(2)]
    for number, path in enumerate(pictures):
        path.write_bytes(png(number))
        os.utime(path, ns=(1, 10**18))
    plant(tmp_path / digests._NAME)
    files = KnownFiles(pictures)
    assert files.key() == files.lasting_key
    for number in range(2):
        files.seen(number)
    files.save()
    mine_is_mine(tmp_path)

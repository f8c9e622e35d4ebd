"""Every kind of image-caption pairs: recognised, opened, excluded from, compared, resumed."""

from __future__ import annotations

import gc
import json
import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet as files

from ml_core.cleaning.batches import pair_batch
from ml_core.data.detect import detect
from ml_core.data.exclusions import read_exclusions, write_exclusions
from ml_core.data.images import open_images
from ml_core.data.pairs import open_pairs
from ml_core.data.picture_set import shared
from ml_core.data.readers import shard_index
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.reading.errors import CancelledError, InputError
from tests.unit.pair_files import KINDS, MAKERS, coco, parquet, png, shards, table, tar, text_folder
from tests.unit.small_jobs import small_recipe

VALUES = list(range(10, 30))


def opened(path, **fields):
    return open_pairs(PairSpec(kind=detect(str(path)), path=str(path), **fields))


def content(pairs):
    """Grey and caption of each pair."""
    numbers = np.arange(len(pairs))
    greys = pairs.canvas(numbers, 8)[:, 4, 4, 0].tolist()
    assert not pairs.broken
    return list(zip(greys, pairs.captions(numbers), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_recognised_read_by_threads_and_known_by_its_content(kind, tmp_path):
    path = MAKERS[kind](tmp_path / "set", VALUES)
    assert detect(str(path)) == kind
    pairs = opened(path)
    expected = [(value, f"grey {value}") for value in VALUES]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(content, [pairs] * 4)) == [expected] * 4
    assert (pairs.notes, pairs.left_out) == ((), 0)
    assert opened(path).key == pairs.key
    part = opened(path, n=6, seed=1)
    assert content(part) == content(opened(path, n=6, seed=1))
    assert content(opened(path, n=6, seed=2)) != content(part)
    assert part.key != pairs.key
    for file in (tmp_path / "set").rglob("*"):  # other captions are another key
        if file.is_file() and b"grey 12" in (raw := file.read_bytes()):
            file.write_bytes(raw.replace(b"grey 12", b"gray 12"))
    if kind != "parquet":  # its pages are compressed
        assert "gray 12" in opened(path).captions(np.arange(20))
        assert opened(path).key != pairs.key


def cancels_at(stage):
    """A watch, and the stages that it was told."""
    seen = []

    def watch(what, done, total):
        seen.append(what)
        if stage in ("", what):
            raise CancelledError

    return watch, seen


@pytest.mark.parametrize("kind", KINDS)
def test_excluded_pairs_are_left_out_wherever_they_stand(kind, tmp_path):
    pairs = opened(MAKERS[kind](tmp_path / "a", VALUES))
    list_path = tmp_path / "out.json"
    write_exclusions(list_path, pairs, {0: "LID 9", 7: "LID 8", 19: "LID 7"})
    assert all(pair.size for pair in read_exclusions(list_path).pairs)
    moved = MAKERS[kind](tmp_path / "b", [*VALUES[::-1][:-1], 99])  # the first one is gone
    kept = opened(moved, exclude=str(list_path))
    left = {*VALUES[1:], 99} - {17, 29}
    assert sorted(content(kept)) == sorted((value, f"grey {value}") for value in left)
    assert kept.left_out == 2
    notes = "\n".join(kept.notes)
    assert "excluded by out.json (2)" in notes
    assert "Of the 3 pairs in out.json 1 are not in" in notes
    assert kept.key != opened(moved).key
    watch, seen = cancels_at("Searching for excluded pairs")
    with pytest.raises(CancelledError):
        open_pairs(PairSpec(kind=kind, path=str(moved), exclude=str(list_path)), watch)
    assert len(set(seen)) > 1
    photos = tmp_path / "photos"  # what a set shares with others is known by content, too
    photos.mkdir()
    for value in (11, 13, 200):
        (photos / f"other name {value}.png").write_bytes(png(value))
    (photos / "larger.png").write_bytes(png(11, size=(9, 9)))
    images = open_images(ImageSpec(kind="folder", path=str(photos)))
    assert (shared(images, pairs), shared(pairs, images)) == (2, 2)
    with pytest.raises(CancelledError):
        shared(images, pairs, cancels_at("")[0])


def test_all_excluded_or_another_caption(tmp_path):
    path = table(tmp_path / "a", [1, 2])
    pairs, out = opened(path), tmp_path / "out.json"
    write_exclusions(out, pairs, {0: "", 1: ""})
    with pytest.raises(InputError, match=r"out.json excludes all 2 pairs of pairs.csv"):
        opened(path, exclude=str(out))
    path.write_text("image,caption\n1.png,grey 1\n1.png,another\n2.png,grey 2\n")
    kept = opened(path, exclude=str(out))
    assert content(kept) == [(1, "another")]


def test_the_demo_can_be_excluded_from(tmp_path):
    demo = open_pairs(PairSpec(n=40))
    write_exclusions(tmp_path / "out.json", demo, {3: "odd"})
    kept = open_pairs(PairSpec(n=40, exclude=str(tmp_path / "out.json")))
    assert len(kept) == 39
    assert kept.captions([2, 3]) == demo.captions([2, 4])


def test_five_captions_take_turns(tmp_path):
    pairs = opened(coco(tmp_path / "c", VALUES, captions=5))
    epochs = [pairs.captions(np.arange(20), epoch) for epoch in range(6)]
    for place in range(20):
        assert len({said[place] for said in epochs[:5]}) == 5
        assert all(said[place].startswith(f"grey {VALUES[place]}") for said in epochs)
    assert epochs[0] == epochs[5]
    lines = tmp_path / "lines"
    text_folder(lines, [1])
    (lines / "001.txt").write_bytes(b"\xef\xbb\xbfone  line\r\n\r\n  two\r\n")
    folder = opened(lines)
    assert {folder.captions([0], epoch)[0] for epoch in (0, 1)} == {"one line", "two"}


def test_memory_does_not_grow_with_the_set(tmp_path):
    """Of samples with captions of 2000 letters the index takes a few bytes each."""
    data, members = png(7), {}
    for number in range(500):
        members |= {f"{number:06}.png": data, f"{number:06}.txt": b"word " * 400}
    for name in ("0.tar", "1.tar"):
        tar(tmp_path / "s" / name, members)
    del members
    opened(tmp_path / "s").captions([0])  # imports
    tracemalloc.start()
    try:
        pairs = opened(tmp_path / "s")
        pairs.captions(np.arange(1000))
        gc.collect()
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(pairs) == 1000
    assert held < 1000 * 90
    assert peak < 7_500_000


def test_a_pattern_names_shards(tmp_path):
    shards(tmp_path / "s", VALUES, each=5)
    (tmp_path / "s" / "00001.tar").unlink()
    pattern = str(tmp_path / "s" / "{00000..00004}.tar")
    assert detect(pattern) == "shards"
    pairs = open_pairs(PairSpec(kind="shards", path=pattern))
    assert [grey for grey, _ in content(pairs)] == [*range(10, 15), *range(20, 30)]
    assert any("a missing shard (2): 00001.tar; 00004.tar" in note for note in pairs.notes)
    for bad, words in (("{5..9}.tar", "names no shard"), ("{0..999999}.tar", "over 100000 shards")):
        with pytest.raises(InputError, match=words):
            open_pairs(PairSpec(kind="shards", path=str(tmp_path / bad)))


def test_hugging_faces_cache_keeps_links_to_blobs(tmp_path):
    repository = tmp_path / "datasets--x--y"
    (repository / "blobs").mkdir(parents=True)
    data = repository / "snapshots" / "abc" / "data"
    data.mkdir(parents=True)
    made = parquet(tmp_path / "made", VALUES) / "data" / "train-00000-of-00001.parquet"
    made.rename(repository / "blobs" / "1234")
    (data / "train-0.parquet").symlink_to("../../../blobs/1234")
    assert len(opened(data.parent)) == 20
    (data / "train-0.parquet").unlink()
    (tmp_path / "elsewhere").write_bytes((repository / "blobs" / "1234").read_bytes())
    (data / "train-0.parquet").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="holds no"):
        opened(data.parent)


def test_parquet_with_lists_paths_and_named_columns(tmp_path):
    (tmp_path / "a.png").write_bytes(png(33))
    columns = {
        "photo": ["a.png", "../a.png", "/etc/passwd", "gone.png"],
        "words": [["one", "two"], ["x"], ["x"], ["x"]],
    }
    path = tmp_path / "p.parquet"
    files.write_table(pyarrow.table(columns), path)
    with pytest.raises(InputError, match=r"no column 'image'.*photo, words"):
        opened(path)
    pairs = opened(path, image_column="photo", caption_column="words")
    canvas = pairs.canvas(np.arange(4), 8)
    assert canvas[0, 0, 0, 0] == 33
    assert sorted(pairs.broken) == [1, 2, 3]
    assert "leads out" in pairs.broken[1]
    assert {pairs.captions([0], epoch)[0] for epoch in (0, 1)} == {"one", "two"}


def test_training_drafts_large_jpegs_and_measuring_does_not(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg", quality=95)
    (tmp_path / "a.txt").write_text("noise")
    pairs = opened(tmp_path)
    drafted = pairs.drafted()
    assert drafted.images_key != pairs.images_key  # else a cache would give one for the other
    assert drafted.key == pairs.key
    assert drafted.drafted() is drafted
    exact, quick = pairs.canvas([0], 64), drafted.canvas([0], 64)
    assert not np.array_equal(exact, quick)
    assert np.abs(exact.astype(int) - quick.astype(int)).mean() < 6
    for least, size in ((None, (400, 300)), (96, (200, 150)), (151, (400, 300))):
        assert pairs.pictures.picture(0, least).size == size
    assert np.array_equal(pairs.canvas([0], 256), drafted.canvas([0], 256))


def test_json_says_that_it_is_no_captions(tmp_path):
    path = coco(tmp_path / "c", [1, 2])
    fields = json.loads(path.read_text())
    assert detect(str(tmp_path / "c")) == "coco"
    moved = tmp_path / "elsewhere"
    (tmp_path / "c" / "train2017").rename(moved)
    with pytest.raises(InputError, match="None of the pictures"):
        opened(path)
    assert len(opened(path, pictures=str(moved))) == 2
    names = {9: "../../secret.png", 10: "gone.png", 11: "silent.png"}
    fields["images"] += [{"id": number, "file_name": name} for number, name in names.items()]
    captions = ((9, "x"), (10, "x"), (99, "x"), (1001, " "))
    fields["annotations"] += [{"image_id": image, "caption": text} for image, text in captions]
    path.write_text(json.dumps(fields))
    pairs = opened(path, pictures=str(moved))
    assert len(pairs) == 2
    assert pairs.left_out == 5
    said = " | ".join(pairs.notes)
    for words in ("leads out", "gone.png", "silent.png", "image_id 99", "caption is empty"):
        assert words in said


def test_a_large_set_of_shards_is_listed_once(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_index, "KEPT_FROM", 1)
    monkeypatch.setattr(shard_index, "cache_dir", lambda: tmp_path / "cache")
    folder = shards(tmp_path / "s", VALUES)
    tar(folder / "00009.tar", {"alone.txt": b"no picture"})
    opened(folder)
    assert not (tmp_path / "cache").exists()  # the shards are too young to be known by their times
    for file in folder.iterdir():
        os.utime(file, ns=(1, 10**18))
    expected = opened(folder)
    (kept,) = (tmp_path / "cache" / "shards").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr("ml_core.data.readers.shards.shard_samples", lambda *_: pytest.fail("anew"))
        again = opened(folder)
    assert content(again) == content(expected)
    assert (again.notes, again.left_out, again.key) == (expected.notes, 1, expected.key)
    whole = kept.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:400] + bytes(50) + whole[450:]):
        kept.write_bytes(damaged)
        assert content(opened(folder)) == content(expected)
    for field, value in (("places", 1 << 40), ("sizes", -5), ("counts", 3)):
        with np.load(kept) as file:
            parts = dict(file)
        parts[field] = np.full_like(parts[field], value)
        with kept.open("wb") as out:
            np.savez(out, **parts)
        assert content(opened(folder)) == content(expected)
    os.utime(folder / "00000.tar", ns=(1, 10**18 + 5))
    with monkeypatch.context() as patch:
        patch.delattr("ml_core.data.readers.shards.shard_samples")
        with pytest.raises(NameError):
            opened(folder)


def _tokens(texts):
    return torch.tensor([[int(text.split()[1]), len(text)] for text in texts])


def _batches(spec, steps):
    """Made as a process that starts at the first of the steps makes them."""
    recipe = small_recipe(method="mmcl", pairs=60, batch_size=7, epochs=3)
    pairs = open_pairs(spec)
    return [pair_batch(pairs, recipe, 8, _tokens, lambda c, _: c, step) for step in steps]


def test_batches_of_shards_go_on_in_the_middle_of_one(tmp_path):
    shards(tmp_path / "s", list(range(60)), each=11)
    spec = PairSpec(kind="shards", path=str(tmp_path / "s"))
    whole = _batches(spec, range(24))
    for batch, expected in zip(_batches(spec, range(3, 24)), whole[3:], strict=True):
        assert torch.equal(batch.images, expected.images)
        assert torch.equal(batch.tokens, expected.tokens)
    greys = [batch.images[:, 0, 0, 0].tolist() for batch in whole]
    for batch, seen in zip(whole, greys, strict=True):
        assert batch.tokens[:, 0].tolist() == seen  # each picture with its own caption
    assert greys[:8] != greys[8:16]

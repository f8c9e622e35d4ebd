"""Every kind of image-caption pairs: recognised, opened, excluded from, compared, resumed."""

from __future__ import annotations

import json
import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet as files

from ml_core.data.detect import detect
from ml_core.data.exclusions import identity_of, read_exclusions, write_exclusions
from ml_core.data.images import open_images
from ml_core.data.order import epoch_order, order_slice
from ml_core.data.pairs import open_pairs
from ml_core.data.picture_set import shared
from ml_core.data.readers import shard_index
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.reading import InputError
from ml_core.reading.errors import CancelledError
from tests.unit.pair_files import KINDS, MAKERS, coco, parquet, png, shards, table, tar, text_folder

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
    assert content(pairs) == expected
    assert (pairs.notes, pairs.left_out) == ((), 0)
    assert opened(path).key == pairs.key
    part, again = opened(path, n=6, seed=1), opened(path, n=6, seed=1)
    assert content(part) == content(again)
    assert len(part) == 6
    assert set(content(part)) < set(expected)
    assert part.key != pairs.key
    assert content(opened(path, n=6, seed=2)) != content(part)
    assert pairs.pictures.name(3)
    orders = [np.random.default_rng(seed).integers(0, 20, 60) for seed in range(4)]

    def read(order):
        return [
            (int(pairs.canvas([i], 8)[0, 4, 4, 0]), pairs.captions([i])[0]) for i in order.tolist()
        ]

    with ThreadPoolExecutor(4) as pool:
        for order, found in zip(orders, pool.map(read, orders), strict=True):
            assert found == [expected[i] for i in order.tolist()]
    assert not pairs.broken
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
    whole = content(opened(moved, n=8))
    part = content(opened(moved, n=8, exclude=str(list_path)))
    if kind != "parquet":
        assert len(part) == 8
        assert set(whole) - set(part) <= {(17, "grey 17"), (29, "grey 29")}
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


def test_overlap_reads_only_pictures_of_equal_size(tmp_path, monkeypatch):
    pairs = opened(shards(tmp_path / "a", VALUES))
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "1.png").write_bytes(png(11, size=(64, 64)) + b"\0" * 1000)
    images = open_images(ImageSpec(kind="folder", path=str(photos)))
    monkeypatch.setattr(type(pairs.pictures), "raw", lambda *_: pytest.fail("was read"))
    assert shared(images, pairs) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("kind", ["csv", "shards", "parquet"])
def test_a_forked_process_does_not_disturb_its_parent(kind, tmp_path):
    pairs = opened(MAKERS[kind](tmp_path / "set", VALUES))
    expected = content(pairs)
    child = os.fork()
    good = all(content(pairs) == expected for _ in range(5))
    if child == 0:
        os._exit(0 if good else 1)
    assert good
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("kind", ["shards", "parquet"])
def test_a_run_resumes_in_the_middle_of_a_shard(kind, tmp_path):
    path = MAKERS[kind](tmp_path / "set", list(range(60)))

    def steps(first):
        pairs = opened(path)  # as a new process opens it
        assert pairs.blocks is not None
        found = []
        for step in range(first, 24):
            epoch, place = divmod(step, 12)
            part = order_slice(7, epoch, 60, pairs.blocks, 20, 5 * place, 5 * place + 5)
            greys = pairs.canvas(part, 8)[:, 0, 0, 0].tolist()
            found.append(list(zip(greys, pairs.captions(part, epoch), strict=True)))
        return found

    whole = steps(0)
    assert steps(7) == whole[7:]
    assert steps(13) == whole[13:]
    first, second = (
        sorted(pair for step in part for pair in step) for part in (whole[:12], whole[12:])
    )
    assert first == second == [(value, f"grey {value}") for value in range(60)]
    assert whole[:12] != whole[12:]


def test_blocks_follow_what_was_chosen(tmp_path):
    whole = opened(parquet(tmp_path / "p", VALUES, group=3))
    assert whole.blocks.tolist() == [3] * 6 + [2]
    part = opened(tmp_path / "p", n=7)
    assert part.blocks.sum() == 7
    assert (part.blocks[:-1] >= 1).all()
    assert len(part.blocks) <= 4  # whole row groups, of which the last one may be cut
    assert any("whole row groups" in note for note in part.notes)
    many = opened(shards(tmp_path / "s", list(range(20)), each=8))
    assert many.blocks.tolist() == [8, 8, 4]
    assert epoch_order(0, 0, 20, many.blocks, many.window).shape == (20,)
    assert opened(table(tmp_path / "t", [1])).blocks is None


def test_five_captions_take_turns(tmp_path):
    pairs = opened(coco(tmp_path / "c", VALUES, captions=5))
    epochs = [pairs.captions(np.arange(20), epoch) for epoch in range(6)]
    for place in range(20):
        assert len({said[place] for said in epochs[:5]}) == 5
        assert all(said[place].startswith(f"grey {VALUES[place]}") for said in epochs)
    assert epochs[0] == epochs[5]
    assert len({text.partition("again")[2] for text in epochs[0]}) >= 3  # not all the same one
    assert pairs.captions([4, 2], 3) == [epochs[3][4], epochs[3][2]]
    other = open_pairs(PairSpec(kind="coco", path=str(tmp_path / "c"), seed=1))
    assert other.captions(np.arange(20)) != epochs[0]
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
    opened(tmp_path / "s")  # imports
    tracemalloc.start()
    try:
        pairs = opened(tmp_path / "s")
        pairs.captions(np.arange(1000))
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(pairs) == 1000
    assert held < 1000 * 90
    assert peak < 7_500_000


def test_few_files_stay_open(tmp_path):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("has no /proc")
    before = len(os.listdir("/proc/self/fd"))
    for number in range(60):
        tar(tmp_path / "s" / f"{number}.tar", {"a.png": png(number % 256), "a.txt": b"x"})
    pairs = opened(tmp_path / "s")
    pairs.canvas(np.arange(60), 8)
    assert len(os.listdir("/proc/self/fd")) <= before + 2


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
    young = content(opened(folder))
    assert not (tmp_path / "cache").exists()  # the shards are too young to be known by their times
    for file in folder.iterdir():
        os.utime(file, ns=(1, 10**18))
    expected = opened(folder)
    assert content(expected) == young
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


def test_an_exclusions_file_is_read_as_it_was_written(tmp_path):
    pairs, path = opened(table(tmp_path / "set", [10, 20, 30])), tmp_path / "out.json"
    written = write_exclusions(path, pairs, {1: "LID 9.1, over 8.0"})
    assert read_exclusions(path) == written
    assert (written.set_name, written.set_key) == ("pairs.csv", pairs.key)
    (only,) = written.pairs
    raw = (tmp_path / "set" / "20.png").read_bytes()
    assert only.identity == identity_of(raw, ["grey 20"])
    assert (only.size, only.reason) == (len(raw), "LID 9.1, over 8.0")
    assert "row 3" in only.name
    more = write_exclusions(path, pairs, {1: "again", 2: "too"}, earlier=written)
    assert [pair.reason for pair in more.pairs] == ["again", "too"]
    others = ((b"a", ["c"]), (b"b", ["b"]), (b"a", ["b", "c"]), (b"a", ["bc"]))
    assert len({identity_of(b"a", ["b"]), *(identity_of(*other) for other in others)}) == 5

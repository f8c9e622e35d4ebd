"""Damaged, hostile, empty and other files where pairs should be: one sentence, nothing outside."""

from __future__ import annotations

import contextlib
import gzip
import json
import os

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet as files

from ml_core.data.detect import detect
from ml_core.data.pairs import open_pairs
from ml_core.data.specs import PairSpec
from ml_core.reading import InputError
from tests.unit.pair_files import MAKERS, coco, parquet, png, shards, tar, text_folder


def opened(kind, path):
    return open_pairs(PairSpec(kind=kind, path=str(path)))


def refused(kind, path, words):
    with pytest.raises(InputError, match=words) as caught:
        opened(kind, path)
    sentence = caught.value.sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "Error" not in sentence


def captions(pairs):
    return pairs.captions(np.arange(len(pairs)))


@pytest.fixture
def secret(tmp_path):
    """A pair outside of every set."""
    folder = text_folder(tmp_path / "secret", [77])
    return folder / "077.png"


# recognising


def test_what_holds_no_pairs_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "x.bin").write_bytes(b"\0\1\2" * 100)
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(b"x" * 600))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(png(1))
    (tmp_path / "pictures" / "captions.csv").write_text("image,caption\n")
    for name, words in (
        ("gone", "no pairs at"),
        ("empty", "empty holds no image-caption pairs"),
        ("empty.csv", "holds no image-caption pairs"),
        ("x.bin", "holds no image-caption pairs"),
        ("x.tar.gz", "is compressed; unpack it"),
        ("pictures", r"its table captions\.csv\?"),
    ):
        with pytest.raises(InputError, match=words):
            detect(str(tmp_path / name))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InputError, match="no regular file"):
            detect(str(tmp_path / "pipe"))


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind != "folder"])
def test_another_content_is_one_sentence(kind, tmp_path):
    path = tmp_path / {"parquet": "x.parquet", "shards": "x.tar"}.get(kind, "x")
    for other in (b"", b"\0" * 2048, b"{}", b"PAR1PAR1", b"a,b\n1,2\n", b"\xff\xfe"):
        path.write_bytes(other)
        refused(kind, path, r"\.$")


@pytest.mark.parametrize("kind", MAKERS)
def test_a_file_cut_anywhere_is_one_sentence_or_less_of_it(kind, tmp_path):
    made = MAKERS[kind](tmp_path / "set", list(range(8)))
    file = made if made.is_file() else max(tmp_path.rglob("*.*"), key=lambda p: p.stat().st_size)
    whole = file.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 23)):
        file.write_bytes(whole[:length])
        with contextlib.suppress(InputError):  # and nothing else
            pairs = opened(kind, made)
            pairs.canvas(np.arange(len(pairs)), 8)
            for number, text in enumerate(captions(pairs)):
                assert number in pairs.broken or text.startswith("grey"[: len(text)])


# folders


def test_a_folder_with_links_and_damage(tmp_path, secret):
    folder = text_folder(tmp_path / "f", [1])
    (folder / "out.png").symlink_to(secret)
    (folder / "out.txt").write_text("stolen picture")
    (folder / "out2.png").write_bytes(png(5))
    (folder / "out2.txt").symlink_to(secret.with_suffix(".txt"))
    (folder / "linked").symlink_to(secret.parent)
    (folder / "deep").mkdir()
    (folder / "deep" / "in.png").symlink_to("../001.png")
    (folder / "deep" / "in.txt").write_text("grey 1 again")
    (folder / ".hidden.png").write_bytes(png(6))
    (folder / ".hidden.txt").write_text("hidden")
    bad = {
        "latin": b"caf\xe9",
        "control": b"bell \x07",
        "empty": b" \n\n",
        "many": b"x\n" * 1001,
        "large": b"x" * (1 << 20) + b"y",
        "long": b"x" * (1 << 17),
    }
    for name, text in bad.items():
        (folder / f"{name}.png").write_bytes(png(9))
        (folder / f"{name}.txt").write_bytes(text)
    (folder / "alone.png").write_bytes(png(8))
    if hasattr(os, "mkfifo"):
        (folder / "pipe.png").write_bytes(png(8))
        os.mkfifo(folder / "pipe.txt")
    refused("folder", tmp_path / "gone", "does not exist")
    (tmp_path / "untold").mkdir()
    (tmp_path / "untold" / "a.png").write_bytes(png(1))
    refused("folder", tmp_path / "untold", "with a text file of its name")
    pairs = opened("folder", folder)
    assert sorted(captions(pairs)) == ["grey 1", "grey 1 again"]
    notes, told = " | ".join(pairs.notes), (
        "out.png", "out2.png", "linked", "alone.png", "latin.txt", "not UTF-8", "1 MB",
    )  # fmt: skip
    assert [words for words in told if words not in notes] == []
    assert pairs.left_out == len(bad) + 4 + hasattr(os, "mkfifo")


# COCO


def test_a_captions_file_that_leads_elsewhere(tmp_path, secret):
    path = coco(tmp_path / "c", [1])
    fields = json.loads(path.read_text())
    (tmp_path / "c" / "train2017" / "link.png").symlink_to(secret)
    names = ["/etc/passwd", "https://x/y.png", "C:\\x.png", "a\0b", "", "link.png", str(secret)]
    for number, name in enumerate(names):
        fields["images"].append({"id": number, "file_name": name})
        fields["annotations"].append({"image_id": number, "caption": "x"})
    path.write_text(json.dumps(fields))
    pairs = opened("coco", path)
    assert captions(pairs) == ["grey 1"]
    assert f"a bad path ({len(names)})" in " | ".join(pairs.notes)
    fields["images"].append({"id": 1001, "file_name": "twice.png"})
    path.write_text(json.dumps(fields))
    refused("coco", path, "id twice")
    path.write_text('{"images": ' + "[" * 200_000)
    refused("coco", path, "nested too deeply|not an object")
    (tmp_path / "c" / "annotations" / "captions_train2014.json").write_text("{}")
    refused("coco", tmp_path / "c", "2 captions files")


# shards


def test_captions_in_shards_with_damage(tmp_path):
    bad = {
        "bell.txt": b"\x07",
        "list.json": b"[1]",
        "deep.json": b'{"caption": ' + b"[" * 5000,
        "twice.json": b'{"caption": "a", "caption": "b"}',
        "number.json": b'{"caption": 5}',
        "half.json": b'{"caption": "\\ud800"}',
    }
    members = {"good.png": png(1), "good.json": b'{"caption": "fine"}'}
    for name, data in bad.items():
        members |= {f"{name.split('.')[0]}.png": png(2), name: data}
    members |= {"huge.png": png(3), "huge.txt": b"x" * (1 << 17), "alone.png": png(4)}
    pairs = opened("shards", tar(tmp_path / "a.tar", members))
    said = " | ".join(pairs.notes)
    assert "too large (1): a.tar, huge" in said
    assert "without a caption (1): a.tar, alone" in said
    assert captions(pairs) == ["fine"] + [""] * len(bad)
    assert sorted(pairs.broken) == list(range(1, len(bad) + 1))
    for number, name in enumerate(bad, start=1):
        told = pairs.broken[number]
        assert told.startswith(f"a.tar, {name.split('.')[0]}: its ") or "has no caption" in told


def test_shards_of_which_no_caption_can_be_used(tmp_path):
    members = {}
    for number in range(200):
        members |= {f"{number:03}.png": png(number), f"{number:03}.json": b'{"alt": "a cat"}'}
    path = tar(tmp_path / "a.tar", members)
    refused("shards", path, r"were read \(64\).*text, txt or title.*a\.tar, 000: it has no caption")
    members["199.json"] = b'{"caption": "a cat"}'
    assert captions(opened("shards", tar(path, members)))[-1] == "a cat"


def test_a_parquet_column_that_holds_no_texts(tmp_path):
    path = tmp_path / "a.parquet"
    columns = {
        "image": [{"bytes": png(value), "path": None} for value in range(5)],
        "text": [None, 1, 2, 3, 4],
    }
    files.write_table(pyarrow.table(columns), path, row_group_size=2)
    refused("parquet", path, r"column text of a\.parquet .*were read \(5\).*name the column")
    columns["text"] = [None, "", "  ", "\0", "a cat"]
    files.write_table(pyarrow.table(columns), path, row_group_size=2)
    assert captions(opened("parquet", path))[-1] == "a cat"


def test_a_folder_of_shards_with_links_and_a_shard_that_changes_meanwhile(tmp_path):
    shards(tmp_path / "s", list(range(4)))
    shards(tmp_path / "other", [99])
    (tmp_path / "s" / "00001.tar").symlink_to(tmp_path / "other" / "00000.tar")
    (tmp_path / "s" / "00002.tar").symlink_to("00002.tar")
    pairs = opened("shards", tmp_path / "s")
    assert len(pairs) == 4
    os.utime(tmp_path / "s" / "00000.tar", ns=(1, 1))
    pairs.canvas([0], 8)
    assert "has changed since it was opened" in pairs.broken[0]


# Parquet


def test_parquet_rows_with_damage(tmp_path, secret):
    path = tmp_path / "p" / "x.parquet"
    path.parent.mkdir()
    (path.parent / "link.png").symlink_to(secret)
    paths = ("/etc/passwd", "../secret/077.png", "link.png", "a\0b", None)
    pictures = (b"", png(2)[:30], png(3), png(4))
    images = [
        {"bytes": png(1), "path": None},
        *({"bytes": None, "path": path} for path in paths),
        *({"bytes": picture, "path": None} for picture in pictures),
    ]
    texts = ["good", *["x"] * 7, None, " "]
    files.write_table(pyarrow.table({"image": images, "caption": texts}), path)
    pairs = opened("parquet", path)
    pairs.canvas(np.arange(10), 8)
    assert captions(pairs) == ["good", *["x"] * 7, "", ""]
    assert sorted(pairs.broken) == list(range(1, 10))
    columns = {"image": [1.5], "caption": ["x"]}
    files.write_table(pyarrow.table(columns), path)
    odd = opened("parquet", path)
    odd.canvas([0], 8)
    assert "holds no picture" in odd.broken[0]
    files.write_table(pyarrow.table({"image": images[:0], "caption": texts[:0]}), path)
    refused("parquet", path, "holds no")
    files.write_table(pyarrow.table({"image": images}), path)
    refused("parquet", path, "no column 'caption'")
    parquet(path.parent, [1])
    (path.parent / "data" / "train-1.parquet").write_bytes(path.read_bytes())
    path.unlink()
    refused("parquet", path.parent, "other columns than")

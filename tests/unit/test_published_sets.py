"""Image sets as their authors publish them, written small here, and the same with damage."""

from __future__ import annotations

import json
import os
import pickle
import struct
import tarfile

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from ml_core.data import digests
from ml_core.data.images import open_images
from ml_core.data.known_files import EARLIER, LISTING
from ml_core.data.labels import LabelSet
from ml_core.data.readers.listed import GTSRB, read_ppm
from ml_core.data.specs import ImageSpec
from ml_core.paths import cache_dir
from ml_core.reading import InputError
from tests.unit.pair_files import png, tar

TEN = tuple(f"thing {number}" for number in range(10))


def opened(path, label_set=None, **spec):
    kind = "folder" if path.is_dir() else "file"
    return open_images(ImageSpec(kind=kind, path=str(path), **spec), label_set)


def refused(path, words, code="damaged", **spec):
    with pytest.raises(InputError, match=words) as caught:
        opened(path, **spec)
    assert caught.value.code == code
    assert caught.value.sentence.endswith(".")
    assert "Traceback" not in caught.value.sentence


def grey(images, size=8):
    """Grey value of each picture."""
    canvases = images.canvas(np.arange(len(images)), size)
    assert not images.broken
    return canvases[:, size // 2, size // 2, 0].tolist()


def rgb_planes(red, green, blue):
    return np.repeat(np.array([red, green, blue], np.uint8), 1024)


# CIFAR


@pytest.fixture
def cifar_bin(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    rows = [np.append(np.uint8(n % 10), rgb_planes(10 + n, 50, 60)) for n in range(20)]
    (folder / "test_batch.bin").write_bytes(b"".join(row.tobytes() for row in rows))
    (folder / "batches.meta.txt").write_text("\n".join(TEN) + "\n\n")
    return folder


def test_cifar_10_binary(cifar_bin):
    images = opened(cifar_bin)
    assert images.name == "CIFAR-10, test pictures"
    assert images.class_names == TEN
    assert images.labels.tolist() == [n % 10 for n in range(20)]
    # the folder that holds it alone, as torchvision's root
    assert opened(cifar_bin.parent).key == images.key
    some = opened(cifar_bin, n=10, seed=3)
    assert sorted(some.labels.tolist()) == list(range(10))
    assert opened(cifar_bin, n=10, seed=3).key == some.key
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    record = np.append(np.uint8(3), pixels.transpose(2, 0, 1).reshape(-1))
    (cifar_bin / "test_batch.bin").write_bytes(record.tobytes())
    assert np.array_equal(opened(cifar_bin).canvas([0], 32)[0], pixels)


def test_cifar_binary_with_damage(cifar_bin):
    batch = cifar_bin / "test_batch.bin"
    whole = batch.read_bytes()
    batch.write_bytes(whole[:-1])
    refused(cifar_bin, "test_batch.bin has 61459 bytes, which are no whole number")
    batch.write_bytes(b"")
    refused(cifar_bin, "no whole number")
    batch.write_bytes(b"\x0b" + whole[1:])
    refused(cifar_bin, "picture 1 has the label 11, and there are 10 classes")
    batch.unlink()
    refused(cifar_bin, "cannot be read", "usage")
    (cifar_bin.parent / "food-101").mkdir()
    with pytest.raises(InputError, match="several image sets"):
        opened(cifar_bin.parent)
    other = cifar_bin / "x.bin"
    other.write_bytes(b"x")
    refused(other, "no WebDataset shard and no Parquet file", "usage")


def test_a_file_that_shrinks_afterwards_is_broken_not_black(cifar_bin):
    images = opened(cifar_bin)
    batch = cifar_bin / "test_batch.bin"
    with batch.open("r+b") as file:
        file.truncate(3073 * 5)
    images.canvas([2, 9], 8)
    assert list(images.broken) == [2, 9]  # nobody knows what else was changed
    assert "test_batch.bin, picture 10: test_batch.bin has changed" in images.broken[9]


@pytest.fixture
def cifar_py(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    data = np.stack([rgb_planes(30 + n, 1, 2) for n in range(6)])
    batch = {b"data": data, b"labels": [n % 3 for n in range(6)], b"filenames": [b"x"] * 6}
    (folder / "test_batch").write_bytes(pickle.dumps(batch, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(TEN)}, protocol=2))
    return folder


def python_2_pickle(data, labels):
    """The opcodes that Python 2 wrote: byte strings, numpy's old module name."""

    def text(value):
        if len(value) < 256:
            return b"U" + bytes([len(value)]) + value
        return b"T" + struct.pack("<i", len(value)) + value

    def whole(value):
        return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)

    dtype = (b"cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR(K\x03" + text(b"|")
             + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")  # fmt: skip
    array = (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b")
             + b"tR(K\x01(" + whole(data.shape[0]) + whole(data.shape[1]) + b"t" + dtype
             + b"I00\n" + text(data.tobytes()) + b"tb")  # fmt: skip
    listed = b"](" + b"".join(whole(label) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + listed + b"u."


def test_cifar_python_pickles_are_read_as_data(cifar_py):
    images = opened(cifar_py)
    assert images.class_names == TEN
    assert images.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert images.canvas([4], 32)[0, 9, 9].tolist() == [34, 1, 2]
    # and the same out of Python 2
    data = np.stack([rgb_planes(30 + n, 1, 2) for n in range(6)])
    old = python_2_pickle(data, [0, 1, 2, 0, 1, 2])
    assert np.array_equal(pickle.loads(old, encoding="bytes")[b"data"], data)
    (cifar_py / "test_batch").write_bytes(old)
    assert np.array_equal(opened(cifar_py).canvas(range(6), 32), images.canvas(range(6), 32))


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('run')",)


def test_cifar_pickles_that_are_something_else(cifar_py):
    batch = cifar_py / "test_batch"
    whole = batch.read_bytes()
    batch.write_bytes(pickle.dumps({b"data": Evil(), b"labels": [0]}, protocol=2))
    refused(cifar_py, "names code which no CIFAR file has .*exec", "dangerous")
    batch.write_bytes(whole[:-300])
    refused(cifar_py, "test_batch is no pickle of CIFAR")
    for wrong in (
        {b"data": np.zeros((1, 3072), np.uint8), b"labels": [0, 1]},
        {b"data": np.zeros((1, 3072), np.uint8), b"labels": ["x"]},
        [1, 2],
    ):
        batch.write_bytes(pickle.dumps(wrong, protocol=2))
        refused(cifar_py, "without what CIFAR-10 keeps in it")
    batch.write_bytes(pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}))
    refused(cifar_py, "label 10")
    with batch.open("r+b") as file:
        file.truncate(33 << 20)
    refused(cifar_py, "binary version of the set", "unsupported")


# lists beside pictures


def test_food_101(tmp_path):
    root = tmp_path / "food-101"
    (root / "meta").mkdir(parents=True)
    (root / "meta" / "classes.txt").write_text("apple_pie\nsushi\n")
    (root / "meta" / "test.txt").write_text("sushi/2\napple_pie/1\nsushi/3\n")
    for name, value in (("apple_pie/1", 10), ("sushi/2", 20)):
        (root / "images" / name).parent.mkdir(parents=True)
        (root / "images" / f"{name}.jpg").write_bytes(png(value, kind="JPEG"))
    images = opened(root)
    assert images.labels.tolist() == [1, 0]
    assert grey(images) == pytest.approx([20, 10], abs=1)
    assert images.left_out == 1
    assert "sushi/3.jpg" in images.problems[0]
    (root / "meta" / "test.txt").write_text("../secret\n")
    refused(root, "not in the list of classes")
    (root / "meta" / "test.txt").write_text("sushi/../../x\n")
    refused(root, "leads out of the set")
    (root / "meta" / "test.txt").write_text("sushi/9\n")
    refused(root, "none of its 1 pictures", "usage")


def test_pets(tmp_path):
    root = tmp_path / "oxford-iiit-pet"
    (root / "annotations").mkdir(parents=True)
    (root / "images").mkdir()
    lines = ["#Image CLASS-ID SPECIES BREED ID", "Abyssinian_2 1 1 1", "american_bulldog_7 2 2 1"]
    (root / "annotations" / "test.txt").write_text("\n".join(lines))
    (root / "images" / "Abyssinian_2.jpg").write_bytes(png(5, kind="JPEG"))
    (root / "images" / "american_bulldog_7.jpg").write_bytes(png(9, kind="JPEG"))
    images = opened(root)
    assert images.class_names == ("Abyssinian", "american bulldog")
    assert images.labels.tolist() == [0, 1]
    (root / "annotations" / "test.txt").write_text("Abyssinian_2 1 1 1\nBengal_1 1 1 1")
    refused(root, "Line 2 of test.txt")
    (root / "annotations" / "test.txt").write_text("Abyssinian_2 one")
    refused(root, "Line 1 of test.txt")


@pytest.fixture
def gtsrb(tmp_path):
    root = tmp_path / "gtsrb" / "GTSRB" / "Final_Test" / "Images"
    root.mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (9, 7), (number, 40, 50)).save(root / f"{number:05d}.ppm")
    lines = ["Filename;Width;Height;Roi.X1;ClassId", "00000.ppm;9;7;1;14", "00002.ppm;9;7;1;42"]
    (tmp_path / "gtsrb" / "GT-final_test.csv").write_text("\n".join(lines))
    return tmp_path / "gtsrb"


def test_gtsrb(gtsrb):
    images = opened(gtsrb)
    assert images.labels.tolist() == [14, 42]
    assert images.class_names[14] == "stop"
    assert len(set(GTSRB)) == 43
    assert images.picture(1).size == (9, 7)
    assert grey(images) == [0, 2]
    training = gtsrb / "GTSRB" / "Training" / "00007"
    training.mkdir(parents=True)
    Image.new("RGB", (4, 4), (9, 9, 9)).save(training / "00000_00001.ppm")
    assert opened(gtsrb, split="train").labels.tolist() == [7]


def test_gtsrb_with_damage(gtsrb):
    table = gtsrb / "GT-final_test.csv"
    table.write_text("Filename;ClassId\n00000.ppm;43")
    refused(gtsrb, "Line 2 of GT-final_test.csv")
    table.write_text("Filename;Width\n00000.ppm;9")
    refused(gtsrb, "no columns Filename and ClassId")
    table.unlink()
    refused(gtsrb, "GT-final_test.csv is not", "usage")
    path = gtsrb / "x.ppm"
    for data in (b"P6 9 9 255\n" + bytes(10), b"P5 1 1 255\n\0", b"", b"P6 999999 999999 255\n",
                 b"P6 0 4 255\n"):  # fmt: skip
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"x\.ppm"):
            read_ppm(path)


# WebDataset


def test_shards_with_labels(tmp_path):
    root = tmp_path / "wds"
    (root / "test").mkdir(parents=True)
    (root / "classnames.txt").write_text("missile\nbanana\nmissile\n")
    first = {"0001.png": png(11), "0001.cls": b"2", "0002.png": png(22), "0002.cls": b"1\n"}
    tar(root / "test" / "2.tar", first)
    tar(root / "test" / "10.tar", {"a/0003.png": png(33), "a/0003.cls": b"0", "a/x.txt": b"hm"})
    images = opened(root)
    assert images.class_names == ("missile", "banana", "missile")
    assert images.labels.tolist() == [2, 1, 0]  # by number: names that are equal stay apart
    assert grey(images) == [11, 22, 33]
    assert images.left_out == 1
    assert "a/x" in images.problems[0]
    assert grey(opened(root / "test" / "2.tar")) == [11, 22]


def test_shards_with_json_or_without_labels(tmp_path):
    members = {"1.png": png(1), "1.json": json.dumps({"label": "cat"}).encode(),
               "2.png": png(2), "2.json": json.dumps({"label": "ant"}).encode()}  # fmt: skip
    images = opened(tar(tmp_path / "a.tar", members))
    assert images.class_names == ("ant", "cat")
    assert images.labels.tolist() == [1, 0]
    bare = opened(tar(tmp_path / "b.tar", {"1.png": png(1), "1.txt": b"a caption"}))
    assert bare.labels.tolist() == [-1]


def test_numbers_without_names_are_positions_and_say_so(tmp_path):
    members = {f"{i}.png": png(i) for i in range(3)} | {f"{i}.cls": b"%d" % i for i in range(3)}
    path = tar(tmp_path / "a.tar", members)
    spec = ImageSpec(kind="file", path=str(path))
    assert open_images(spec).class_names == ("0", "1", "2")
    pets = LabelSet("pets", ("cat", "dog", "hen"), ("{}",))
    images = open_images(spec, pets)
    assert (images.labels.tolist(), images.class_names) == ([0, 1, 2], ("cat", "dog", "hen"))
    assert "are numbers, 0 to 2" in images.problems[0]
    assert "positions from 0 on in the label set pets, which has 3 classes" in images.problems[0]
    digits = LabelSet("digits", ("2", "1", "0"), ("{}",))
    images = open_images(spec, digits)
    assert (images.labels.tolist(), images.problems) == ([2, 1, 0], ())


def test_shards_with_damage(tmp_path):
    path = tar(tmp_path / "a.tar", {"1.png": png(1), "1.cls": b"0", "2.png": png(2)})
    refused(path, "'2' has no label and others have one")
    whole = path.read_bytes()
    path.write_bytes(whole[:700])
    refused(path, "is damaged or no plain tar archive .a member is cut short")
    path.write_bytes(b"\x1f\x8b" + whole)
    refused(path, "damaged or no plain tar")
    tar(path, {"../1.png": png(1)})
    refused(path, "leads out of the archive")
    for name, label in (("1.cls", b"\xff"), ("1.json", b"[" * 5000), ("1.cls", b"9" * 30),
                        ("1.cls", b"9" * 5000)):  # fmt: skip
        tar(path, {"1.png": png(1), name: label})
        refused(path, "label of the sample '1' is damaged")
    tar(path, {"1.txt": b"x"})
    refused(path, "no picture in its shards", "usage")
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("1.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    refused(path, "links")
    tar(path, {"1.png": png(1)[:20], "1.cls": b"0"})
    images = opened(path)
    images.canvas([0], 8)
    assert "a.tar, 1" in images.broken[0]


# Parquet


def parquet_file(path, values, labels, names=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"image": [{"bytes": png(value), "path": f"{value}.png"} for value in values]}
    if labels is not None:
        columns["label"] = labels
    table = pyarrow.table(columns)
    if names is not None:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    parquet.write_table(table, path, row_group_size=2)
    return path


def test_parquet_of_hugging_face(tmp_path):
    names = ["ant", "bee"]
    parquet_file(tmp_path / "data" / "test-00000-of-00002.parquet", [1, 2, 3], [1, 0, 1], names)
    parquet_file(tmp_path / "data" / "test-00001-of-00002.parquet", [4], [0], names)
    parquet_file(tmp_path / "data" / "train-00000-of-00001.parquet", [9], [0], names)
    images = opened(tmp_path)
    assert images.class_names == ("ant", "bee")
    assert images.labels.tolist() == [1, 0, 1, 0]
    assert grey(opened(tmp_path, split="train")) == [9]
    many = opened(tmp_path).canvas(np.array([3, 2, 1, 0] * 4), 8)  # several threads
    assert many[:, 0, 0, 0].tolist() == [4, 3, 2, 1] * 4


def test_parquet_without_names_or_labels(tmp_path):
    words = opened(parquet_file(tmp_path / "a.parquet", [1, 2], ["cat", "ant"]))
    assert words.class_names == ("ant", "cat")
    assert words.labels.tolist() == [1, 0]
    numbers = opened(parquet_file(tmp_path / "b.parquet", [1, 2], [7, 3]))
    assert numbers.class_names == ("3", "7")
    assert opened(parquet_file(tmp_path / "c.parquet", [5], None)).labels.tolist() == [-1]
    hidden = parquet_file(tmp_path / "d.parquet", [5, 6], [-1, -1], ["x", "y"])
    assert opened(hidden).labels.tolist() == [-1, -1]


def test_parquet_with_damage(tmp_path):
    path = parquet_file(tmp_path / "a.parquet", [1, 2, 3, 4], [0, 1, 0, 1], ["x", "y"])
    whole = path.read_bytes()
    for damage in (whole[: len(whole) // 2], b"", b"PAR1" + bytes(50) + b"PAR1"):
        path.write_bytes(damage)
        refused(path, "a.parquet is no readable Parquet file")
    refused(parquet_file(path, [1], [2], ["x", "y"]), "label 2 and names 2 classes")
    refused(parquet_file(path, [1, 2], [0, -1], ["x", "y"]), "label -1 and names 2 classes")
    huge = pyarrow.table(
        {"image": [{"bytes": png(1)}], "label": pyarrow.array([2**64 - 1], pyarrow.uint64())}
    )
    features = {"info": {"features": {"label": {"names": ["x"]}}}}
    parquet.write_table(huge.replace_schema_metadata({"huggingface": json.dumps(features)}), path)
    refused(path, "holds no labels", "unsupported")
    refused(parquet_file(path, [1], [1.5]), "holds no labels", "unsupported")
    parquet.write_table(pyarrow.table({"text": ["a"]}), path)
    refused(path, "no column of pictures .*it has text", "usage")
    parquet.write_table(pyarrow.table({"image": [{"bytes": None, "path": "/etc/passwd"}]}), path)
    images = opened(path)
    images.canvas([0], 8)
    assert "is not followed" in images.broken[0]


# what is none of them


OLD = 1_600_000_000


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Twelve pictures from long ago, in an empty home."""
    monkeypatch.setenv("CLEANCLIP_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(digests, "_RACY_NS", -(10**18))  # ctime cannot be set
    place = tmp_path / "set"
    place.mkdir()
    for number in range(12):
        write(place / f"{number:02}.png", number)
    return place


def write(path, level):
    Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(path)
    os.utime(path, (OLD, OLD))


def limit(monkeypatch, files, folder):
    size = (folder / "00.png").stat().st_size
    monkeypatch.setattr("ml_core.data.known_files.CONTENT_LIMIT", int(files * size))


@pytest.mark.parametrize("same_time", [False, True])
def test_a_changed_file_is_read_anew(folder, monkeypatch, same_time):
    limit(monkeypatch, 1.5, folder)
    opened(folder).canvas(range(12), 8)
    before = opened(folder)
    write(folder / "03.png", 200)
    if not same_time:
        os.utime(folder / "03.png", (OLD + 1, OLD + 1))
    after = opened(folder)
    assert after.key != before.key
    limit(monkeypatch, 100, folder)
    assert opened(folder).key == after.key  # the change was hashed, not taken from the index


def test_an_index_holds_no_young_files_and_a_damaged_one_begins_anew(folder, monkeypatch):
    limit(monkeypatch, 0.5, folder)
    with monkeypatch.context() as patch:
        patch.setattr(digests, "_RACY_NS", 10**12)  # files of this moment are not kept
        opened(folder).canvas(range(12), 8)
        assert opened(folder).known_by == LISTING
    opened(folder).canvas(range(12), 8)
    (cache_dir() / "digests-1.sqlite").write_bytes(b"no database" * 1000)
    assert opened(folder).known_by == LISTING
    opened(folder).canvas(range(12), 8)
    assert opened(folder).known_by == EARLIER

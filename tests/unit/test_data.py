"""Image sets, pair sets, sampling, the canvas and its cache."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from open_clip.transform import image_transform
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from ml_core.data import demo
from ml_core.data.canvas import CanvasCache
from ml_core.data.images import open_images
from ml_core.data.labels import LabelSet
from ml_core.data.pairs import open_pairs
from ml_core.data.picture_set import shared
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.reading import InputError
from ml_core.reading.clip_config import CLIP_FIT, Fit
from ml_core.reading.errors import CancelledError
from ml_core.reading.resize import fit_to_canvas
from tests.unit.fake_pictures import values

PETS = LabelSet("pets", ("cat", "red fox", "dog"), ("a photo of a {}.",))


def picture(path, grey, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey, grey, grey)).save(path)


def noise(height, width):
    values = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


@pytest.fixture
def class_folders(tmp_path):
    """Two foxes of grey 10 and 11, one dog of grey 20, one wolf of grey 30."""
    root = tmp_path / "set"
    picture(root / "Red_Fox" / "a.png", 10)
    picture(root / "Red_Fox" / "deep" / "b.png", 11)
    picture(root / "dog" / "c.png", 20)
    picture(root / "wolf" / "d.png", 30)
    (root / "dog" / "notes.txt").write_text("no picture")
    return root


# folders


def test_a_folder_per_class(class_folders):
    spec = ImageSpec(kind="folder", path=str(class_folders))
    images = open_images(spec, PETS)
    assert images.labels.tolist() == [1, 1, 2]
    assert images.class_names == PETS.class_names
    assert images.canvas([2, 0, 1], 4)[:, 0, 0, 0].tolist() == [20, 10, 11]
    assert images.problems == (
        "Left out, no picture by its name (1): dog/notes.txt",
        "Left out, a label that the label set pets lacks (1): wolf (on 1)",
    )
    assert images.left_out == 1
    assert not images.labels.flags.writeable
    own = open_images(spec)
    assert own.class_names == ("Red_Fox", "dog", "wolf")
    assert own.labels.tolist() == [0, 0, 1, 2]
    with pytest.raises(InputError, match=r"None of the labels of set \(Red_Fox, dog, wolf\)"):
        open_images(spec, LabelSet("fruit", ("apple",), ("{}",)))


def test_undecodable_file_names_are_escaped(tmp_path):
    try:
        picture(tmp_path / "dog" / os.fsdecode(b"\xff.png"), 5)
    except OSError:
        pytest.skip("this file system has no such names")
    (tmp_path / "dog" / os.fsdecode(b"\xfe.txt")).write_text("")
    images = open_images(ImageSpec(kind="folder", path=str(tmp_path)), PETS)
    assert images.labels.tolist() == [2]
    assert images.problems[0].encode().endswith(b"dog/\\udcfe.txt")


def test_loose_pictures_and_outward_links_are_left_out(class_folders):
    picture(class_folders / "loose.png", 1)
    picture(class_folders.parent / "secret.png", 99)
    (class_folders / "dog" / "link.png").symlink_to(class_folders.parent / "secret.png")
    (class_folders / "cat").symlink_to(class_folders.parent)
    images = open_images(ImageSpec(kind="folder", path=str(class_folders)), PETS)
    assert images.labels.tolist() == [1, 1, 2]
    assert any(problem.endswith(": cat; dog/link.png") for problem in images.problems)
    assert any("loose.png" in problem for problem in images.problems)
    assert images.left_out == 4


# tables


def test_cleanclip_labels_csv(tmp_path):
    for i in range(3):
        picture(tmp_path / "images" / f"{i}.png", 10 * i)
    (tmp_path / "labels.csv").write_text(
        "image,label\nimages/0.png,2\nimages/1.png,0\nimages/2.png,2\n"
    )
    for spec in (
        ImageSpec(kind="csv", path=str(tmp_path / "labels.csv")),
        ImageSpec(kind="csv", path=str(tmp_path)),
        ImageSpec(kind="folder", path=str(tmp_path)),
    ):
        images = open_images(spec, PETS)
        assert images.labels.tolist() == [2, 0, 2]
        assert images.canvas([1], 4)[0, 0, 0].tolist() == [10, 10, 10]


def test_bad_rows_and_missing_images_are_counted(tmp_path):
    picture(tmp_path / "a.png", 1)
    (tmp_path / "t.tsv").write_text(
        "file\tclass\n"
        "a.png\tdog\n"
        "gone.png\tdog\n"
        "../x.png\tdog\n"
        "a.png\n"
        "a.png\t\n"
        "a.png\twolf\n"
        "http://h/x.png\tcat\n"
        "a.png\tCAT\n"
    )
    images = open_images(ImageSpec(kind="csv", path=str(tmp_path / "t.tsv")), PETS)
    assert images.labels.tolist() == [2, 0]
    assert images.left_out == 6
    bad, missing, unmatched = images.problems
    assert bad.startswith("Left out, a bad row (4)")
    assert all(f"row {number}:" in bad for number in (4, 5, 6, 8))
    assert missing == "Left out, a missing picture (1): row 3 ('gone.png')"
    assert "wolf (on 1)" in unmatched


def test_columns_can_be_named_and_errors_list_them(tmp_path):
    picture(tmp_path / "a.png", 1)
    path = tmp_path / "t.csv"
    path.write_text("url,kind\na.png,dog\n")
    with pytest.raises(InputError, match="choose the image column among url, kind"):
        open_images(ImageSpec(kind="csv", path=str(path)), PETS)
    spec = ImageSpec(kind="csv", path=str(path), image_column="url", label_column="kind")
    assert open_images(spec, PETS).labels.tolist() == [2]
    with pytest.raises(InputError, match="no column 'colour'"):
        open_images(spec.model_copy(update={"label_column": "colour"}), PETS)
    unlabelled = spec.model_copy(update={"label_column": None})
    assert open_images(unlabelled, PETS).labels.tolist() == [-1]


def test_a_very_large_set_says_that_its_content_was_not_hashed(tmp_path, monkeypatch):
    for number in range(2):
        picture(tmp_path / "cat" / f"{number}.png", number)
    spec = ImageSpec(kind="folder", path=str(tmp_path))
    images = open_images(spec, PETS)
    assert images.known_by == "content"
    assert open_images(ImageSpec(n=3)).known_by == "content"
    monkeypatch.setattr("ml_core.data.known_files.CONTENT_LIMIT", 1)
    large = open_images(spec, PETS)
    assert large.known_by == "names, sizes and times"
    assert large.key != images.key


def test_opening_tells_how_far_it_is_and_can_be_ended(tmp_path, monkeypatch):
    for number in range(4):
        picture(tmp_path / "cat" / f"{number}.png", number)
    (tmp_path / "labels.tsv").write_text("image\tlabel\ncat/0.png\tcat\n")
    monkeypatch.setattr("ml_core.data.digests._CHUNK", 50)
    spec = ImageSpec(kind="folder", path=str(tmp_path))
    told = []
    images = open_images(spec, PETS, lambda *how_far: told.append(how_far))
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.png"))
    hashed = [(done, total) for what, done, total in told if what == "Hashing"]
    assert hashed[-1] == (size, size)
    assert [done for done, _ in hashed] == sorted({done for done, _ in hashed})
    assert len(hashed) > 4
    assert images.key == open_images(spec, PETS).key

    def stop_at(stage):
        def watch(what, done, total):
            if what == stage:
                raise CancelledError

        return watch

    for stage in dict.fromkeys(what for what, _, _ in told):
        with pytest.raises(CancelledError):
            open_images(spec, PETS, stop_at(stage))
    table = ImageSpec(kind="csv", path=str(tmp_path / "labels.tsv"))
    with pytest.raises(CancelledError):
        open_images(table, PETS, stop_at("Reading rows"))


def test_images_of_a_part(tmp_path):
    first, second = ImageSpec(split="val", n=300).halves()
    watched, tested = open_images(first), open_images(second)
    assert (len(watched), len(tested), shared(watched, tested)) == (200, 300, 0)
    for name in ("cat", "dog"):
        for i in range(30):
            picture(tmp_path / name / f"{i}.png", i + 100 * (name == "dog"))
    spec = ImageSpec(kind="folder", path=str(tmp_path))
    whole = open_images(spec, PETS)
    first, second = spec.halves()
    watched, tested = open_images(first, PETS), open_images(second, PETS)
    assert (len(watched), len(tested)) == (12, 48)
    assert np.bincount(tested.labels).tolist() == [24, 0, 24]
    assert (shared(watched, tested), shared(watched, whole), shared(tested, whole)) == (0, 12, 48)
    spec = second.model_copy(update={"n": 10})
    few = open_images(spec, PETS)
    assert np.bincount(few.labels).tolist() == [5, 0, 5]  # stratified, and by the seed alone
    assert open_images(spec, PETS).key == few.key
    assert open_images(spec.model_copy(update={"seed": 4}), PETS).key != few.key
    assert (len(few), shared(few, watched), shared(few, tested)) == (10, 0, 10)


def test_key_follows_content_and_labels(class_folders):
    spec = ImageSpec(kind="folder", path=str(class_folders))
    before = open_images(spec, PETS)
    moved = class_folders.rename(class_folders.parent / "moved")
    spec = ImageSpec(kind="folder", path=str(moved))
    assert open_images(spec, PETS).key == before.key
    renamed = LabelSet("pets", ("cat", "dog", "red fox"), PETS.templates)
    other = open_images(spec, renamed)
    assert other.key != before.key
    assert other.images_key == before.images_key
    picture(moved / "dog" / "c.png", 21)
    assert open_images(spec, PETS).images_key != before.images_key


# pairs


def test_pairs_of_a_csv(tmp_path):
    for i in range(4):
        picture(tmp_path / f"{i}.png", i)
    path = tmp_path / "train.csv"
    path.write_text(
        'image,caption\n0.png,"a dog, asleep"\n1.png,\n2.png,two\ngone.png,three\n3.png,four\n'
    )
    pairs = open_pairs(PairSpec(kind="csv", path=str(path)))
    assert len(pairs) == 3
    assert pairs.captions([2, 0]) == ["four", "a dog, asleep"]
    assert pairs.canvas([2, 0, 1], 4)[:, 0, 0, 0].tolist() == [3, 0, 2]
    assert pairs.left_out == 2
    assert "row 3: the column 'caption' is empty" in pairs.problems[0]
    assert "row 5 ('gone.png')" in pairs.problems[1]
    assert len(open_pairs(PairSpec(kind="csv", path=str(path), n=2))) == 2
    path.write_text("filepath,title\n2.png,hello\n")
    assert open_pairs(PairSpec(kind="csv", path=str(path))).captions([0]) == ["hello"]
    path.write_text("filepath,foo\n2.png,hello\n")
    with pytest.raises(InputError, match="choose the caption column among filepath, foo"):
        open_pairs(PairSpec(kind="csv", path=str(path)))


# canvas


FITS = [
    CLIP_FIT, Fit("shortest", "bilinear"), Fit("squash", "bicubic"), Fit("squash", "bilinear"),
    Fit("longest", "bicubic"),
]  # fmt: skip


@pytest.mark.parametrize("fit", FITS, ids=str)
@pytest.mark.parametrize("shape", [(64, 64), (33, 70), (97, 41), (31, 32), (500, 480), (6, 200)])
@pytest.mark.parametrize("size", [32, 224])
def test_canvas_equals_open_clips(shape, size, fit):
    image = noise(*shape)
    unchanged = {"is_train": False, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    theirs = image_transform(
        size, resize_mode=fit.resize_mode, interpolation=fit.interpolation, **unchanged
    )
    expected = (theirs(image).permute(1, 2, 0).numpy() * 255).round()
    got = fit_to_canvas(image, size, fit).astype(int)
    assert got.shape == (size, size, 3)
    assert np.abs(got - expected).max() <= 1


@pytest.mark.parametrize("shape", [(420, 301), (301, 420), (640, 480), (500, 333), (900, 120)])
@pytest.mark.parametrize("size", [64, 224, 336])
def test_canvas_is_torchvisions_byte_for_byte(shape, size):
    """Cutting before resizing changed the order of Pillow's passes: up to 24 levels on noise."""
    image = noise(*shape)
    expected = CenterCrop(size)(Resize(size, InterpolationMode.BICUBIC)(image))
    got = fit_to_canvas(image, size, Fit("shortest", "bicubic"))
    np.testing.assert_array_equal(got, np.asarray(expected))


@pytest.mark.parametrize("fit", FITS, ids=str)
def test_canvas_keeps_a_fitting_picture_and_bounds_a_thin_one(fit):
    image = noise(32, 32)
    assert (fit_to_canvas(image, 32, fit) == np.asarray(image)).all()
    thin = Image.new("RGB", (20_000, 1), (7, 8, 9))
    assert (fit_to_canvas(thin, 224, fit)[111] == (7, 8, 9)).all()


def test_a_fitted_set_draws_by_its_fit_and_has_canvases_of_its_own(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    images = open_images(ImageSpec(kind="folder", path=str(tmp_path)))
    squashed = images.fitted(Fit("squash"))
    assert (images.canvas([0], 10) == 200).all()  # the centre
    assert squashed.canvas([0], 10)[0, 5, 0].tolist() == [0, 0, 0]  # the whole picture
    assert squashed.images_key != images.images_key
    assert squashed.key == images.key
    assert images.fitted(CLIP_FIT) is images


def test_broken_picture_is_named_and_drawn_black(class_folders):
    path = class_folders / "dog" / "c.png"
    path.write_bytes(path.read_bytes()[:40])
    images = open_images(ImageSpec(kind="folder", path=str(class_folders)), PETS)
    cache = CanvasCache(images, 4)
    assert dict(cache.broken) == {}
    for _ in range(2):
        assert cache.get([0, 2])[:, 0, 0, 0].tolist() == [10, 0]
        assert list(cache.broken) == [2]
    assert "Not used, a damaged picture (1): dog/c.png" in images.problems[-1]


# demo


@pytest.fixture
def small_demo(monkeypatch):
    """A composer whose picture i of any split is filled with i, of class i % 3."""

    def compose(split, indices, *, seed=0, size=64):
        numbers = np.asarray(indices, np.int64)
        images = np.zeros((len(numbers), size, size, 3), np.uint8)
        images += numbers.astype(np.uint8)[:, None, None, None]
        captions = tuple(f"{split} {i} seed {seed}" for i in indices)
        return SimpleNamespace(images=images, labels=numbers % 3, captions=captions)

    def describe(split, indices, *, seed=0):
        composed = compose(split, indices, seed=seed, size=1)
        return composed.labels, composed.captions

    monkeypatch.setattr(demo, "compose", compose)
    monkeypatch.setattr(demo, "describe", describe)
    monkeypatch.setattr(demo, "demo_classes", lambda: ("dog", "wolf", "cat"))
    monkeypatch.setattr(demo, "demo_templates", lambda: ("a {}",))


@pytest.mark.usefixtures("small_demo")
def test_demo_images_at_any_size():
    images = open_images(ImageSpec(split="test", n=6))
    assert images.class_names == ("dog", "wolf", "cat")
    assert images.labels.tolist() == [0, 1, 2, 0, 1, 2]
    for size in (64, 224):
        canvas = images.canvas([5, 1], size)
        assert canvas.shape == (2, size, size, 3)
        assert values(canvas) == [5, 1]
    assert images.key != open_images(ImageSpec(split="val", n=6)).key


@pytest.mark.usefixtures("small_demo")
def test_demo_images_in_another_label_set():
    images = open_images(ImageSpec(split="test", n=6), PETS)
    assert images.labels.tolist() == [2, 0, 2, 0]
    assert values(images.canvas(range(4), 64)) == [0, 2, 3, 5]
    assert "wolf (on 2)" in images.problems[0]


@pytest.mark.usefixtures("small_demo")
def test_demo_pairs():
    pairs = open_pairs(PairSpec(n=5, seed=2))
    assert len(pairs) == 5
    assert pairs.captions([4, 0]) == ["clean 4 seed 2", "clean 0 seed 2"]
    assert values(pairs.canvas([4, 0], 32)) == [4, 0]

"""Image sets and pair sets, the canvas, and the built-in demo."""

from __future__ import annotations

import numpy as np
import pytest
from open_clip.transform import image_transform
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from ml_core.data.canvas import CanvasCache
from ml_core.data.demo import SPLITS, compose, describe, load_art
from ml_core.data.images import open_images
from ml_core.data.labels import LabelSet
from ml_core.data.specs import ImageSpec
from ml_core.reading import InputError
from ml_core.reading.clip_config import CLIP_FIT, Fit
from ml_core.reading.errors import CancelledError
from ml_core.reading.resize import fit_to_canvas

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
        "Left out, labels that are not among the classes of pets (1): “wolf” on 1",
    )
    assert images.left_out == 1
    assert not images.labels.flags.writeable
    own = open_images(spec)
    assert own.class_names == ("Red_Fox", "dog", "wolf")
    assert own.labels.tolist() == [0, 0, 1, 2]
    with pytest.raises(InputError, match=r"None of the labels of set \(Red_Fox, dog, wolf\)"):
        open_images(spec, LabelSet("fruit", ("apple",), ("{}",)))


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


def test_opening_tells_how_far_it_is_and_can_be_ended(tmp_path, monkeypatch):
    for number in range(4):
        picture(tmp_path / "cat" / f"{number}.png", number)
    monkeypatch.setattr("ml_core.data.digests._CHUNK", 50)
    spec = ImageSpec(kind="folder", path=str(tmp_path))
    told = []
    open_images(spec, PETS, lambda *how_far: told.append(how_far))
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.png"))
    hashed = [(done, total) for what, done, total in told if what == "Hashing"]
    assert hashed[-1] == (size, size)
    assert len(hashed) > 4

    def stop_at(stage):
        def watch(what, done, total):
            if what == stage:
                raise CancelledError

        return watch

    for stage in dict.fromkeys(what for what, _, _ in told):
        with pytest.raises(CancelledError):
            open_images(spec, PETS, stop_at(stage))
    (tmp_path / "labels.csv").write_text("image,label\ncat/0.png,cat\n")
    with pytest.raises(CancelledError):
        open_images(ImageSpec(kind="csv", path=str(tmp_path)), PETS, stop_at("Reading rows"))


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


# canvas


FITS = [
    CLIP_FIT, Fit("shortest", "bilinear"), Fit("squash", "bicubic"), Fit("squash", "bilinear"),
    Fit("longest", "bicubic"),
]  # fmt: skip


@pytest.mark.parametrize("fit", FITS, ids=str)
@pytest.mark.parametrize(("shape", "size"), [((33, 70), 32), ((97, 41), 224), ((6, 200), 32)])
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


@pytest.mark.parametrize("shape", [(420, 301), (301, 420)])
@pytest.mark.parametrize("size", [64, 224, 336])
def test_canvas_is_torchvisions_byte_for_byte(shape, size):
    """Cutting before resizing changed the order of Pillow's passes: up to 24 levels on noise."""
    image = noise(*shape)
    expected = CenterCrop(size)(Resize(size, InterpolationMode.BICUBIC)(image))
    got = fit_to_canvas(image, size, Fit("shortest", "bicubic"))
    np.testing.assert_array_equal(got, np.asarray(expected))


@pytest.mark.parametrize("fit", FITS[-2:], ids=str)
def test_canvas_keeps_a_fitting_picture_and_bounds_a_thin_one(fit):
    image = noise(32, 32)
    assert (fit_to_canvas(image, 32, fit) == np.asarray(image)).all()
    thin = Image.new("RGB", (20_000, 1), (7, 8, 9))
    assert (fit_to_canvas(thin, 224, fit)[111] == (7, 8, 9)).all()


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


def test_a_picture_depends_only_on_split_seed_and_number():
    together = compose("train", range(70), seed=3)
    alone = compose("train", [41], seed=3)
    assert np.array_equal(alone.images[0], together.images[41])
    assert alone.labels[0] == together.labels[41]
    assert alone.captions[0] == together.captions[41]
    backwards = compose("train", list(range(69, -1, -1)), seed=3)
    assert np.array_equal(backwards.images[::-1], together.images)


def test_splits_and_seeds_share_no_picture():
    seen = set()
    for split in SPLITS:
        for seed in (0, 1):
            part = compose(split, range(24), seed=seed)
            seen |= {image.tobytes() for image in part.images}
    assert len(seen) == len(SPLITS) * 2 * 24


def test_the_held_out_style_is_never_trained_on():
    art = load_art()
    held_out = {i for group in art.held_out_of_class for i in group}
    trained = {i for group in (*art.of_class, *art.others) for i in group}
    assert {art.sprites[i].style for i in held_out} == {"twemoji"}
    assert "twemoji" not in {art.sprites[i].style for i in trained}
    assert len(held_out) + len(trained) == len(art.sprites)


def test_describe_says_what_compose_draws():
    with pytest.raises(ValueError, match="Unknown split 'tests'"):
        compose("tests", [0])
    with pytest.raises(ValueError, match="start at 0"):
        compose("test", [0, -1])
    for split in ("clean", "test", "heldout"):
        numbers = [0, 3, 71, 4000]
        composed = compose(split, numbers, seed=2)
        labels, captions = describe(split, numbers, seed=2)
        assert labels.tolist() == composed.labels.tolist()
        assert captions == composed.captions

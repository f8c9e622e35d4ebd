"""What a run trains on: demo, pairs of any kind, and labelled images of files and folders."""

import pytest

from cleanclip_gui.clean.training_data import TrainingData
from cleanclip_gui.widgets.prompts import Prompts
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.reading.errors import InputError
from tests.unit.pair_files import MAKERS, coco, shards, tar


@pytest.fixture
def prompts():
    return Prompts()


@pytest.fixture
def data(qtbot, prompts):
    made = TrainingData(prompts)
    qtbot.addWidget(made)
    made.show()
    return made


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "pictures" / "apple").mkdir(parents=True)
    return tmp_path / "pictures"


def test_a_folder_per_class_is_for_labelled_images_only(prompts, data, pictures):
    assert not data.folder.isVisible()
    data.set_uses_pairs(False)
    assert data.folder.isVisible()
    data.folder.click()
    assert data.folder_path.isVisible()
    assert not data.path.isVisible()
    for text, sentence in (("", "No folder"), (f"{pictures}-gone", "There is no folder at")):
        data.folder_path.setText(text)
        with pytest.raises(InputError, match=sentence):
            data.images()
    prompts.open_folder = lambda *_: str(pictures)
    data.browse_folder.click()
    assert data.images() == ImageSpec(kind="folder", split="train", path=str(pictures))
    assert data.pairs() is None


def test_a_job_is_shown_as_it_is(data, pictures, tmp_path):
    table, out = pictures / "t.csv", tmp_path / "out.json"
    table.write_text("a,b\n")
    out.write_text("{}")
    shard = tar(tmp_path / "a.tar", {})
    jobs = [
        (PairSpec(kind="demo", split="clean"), None),
        (None, ImageSpec(kind="demo", split="clean")),
        (PairSpec(kind="csv", path=str(table), image_column="a", caption_column="b"), None),
        (None, ImageSpec(kind="csv", path=str(table), image_column="a", label_column="b")),
        (None, ImageSpec(kind="folder", split="train", path=str(pictures))),
        (None, ImageSpec(kind="file", split="train", path=str(shard))),
        (PairSpec(kind="demo", exclude=str(out)), None),
    ]
    for kind in ("coco", "shards", "parquet"):
        path = MAKERS[kind](tmp_path / kind, [1, 2])
        beside = str(tmp_path / kind / "train2017") if kind == "coco" else None
        jobs.append((PairSpec(kind=kind, path=str(path), pictures=beside), None))
    for pairs, images in jobs:
        data.show_specs(pairs, images)
        assert (data.pairs(), data.images()) == (pairs, images)


def test_a_path_is_recognised_by_what_it_holds(prompts, qtbot, data, pictures, tmp_path):
    data.table.click()
    prompts.open_folder = lambda *_: str(shards(tmp_path / "s", [1, 2]))
    with qtbot.waitSignal(data.changed):
        data.browse_pairs.click()
    assert data.summary.text() == "Found: WebDataset shards"
    assert not data.image_column.isVisible()
    assert data.pairs() == PairSpec(kind="shards", path=str(tmp_path / "s"))
    data.path.setText(str(tmp_path / "s" / "{00000..00009}.tar"))
    assert data.pairs().path == str(tmp_path / "s" / "{00000..00009}.tar")
    data.path.setText(str(coco(tmp_path / "c", [1])))
    assert data.summary.text() == "Found: COCO captions"
    assert data.pictures.isVisible()
    prompts.open_folder = lambda *_: str(pictures)
    data.browse_pictures.click()
    assert data.pairs().pictures == str(pictures)
    table = tmp_path / "pairs.csv"
    table.write_text("filepath,title\na.png,a cat\n")
    data.path.setText(str(table))
    assert data.summary.text() == "Found: a table"
    assert (data.image_column.text(), data.text_column.text()) == ("filepath", "title")
    other = tmp_path / "other.csv"
    other.write_text("image,caption\na.png,a cat\n")
    data.path.setText(str(other))
    assert (data.image_column.text(), data.text_column.text()) == ("image", "caption")
    data.path.setText(str(table))
    data.set_uses_pairs(False)
    assert data.text_column.text() == "label"
    data.set_uses_pairs(True)
    data.path.setText(str(pictures))
    assert "holds no image-caption pairs" in data.summary.text()
    assert not data.pictures.isVisible()
    with pytest.raises(InputError, match="holds no image-caption pairs"):
        data.pairs()
    for text, sentence in (
        ("", "No training pairs are chosen"), ("gone.csv", "no pairs at gone"),
        ("x" * 300, "no pairs at x"),
    ):  # fmt: skip
        data.path.setText(text)
        assert not data.summary.isVisible()
        with pytest.raises(InputError, match=sentence):
            data.pairs()


def test_a_bad_exclusions_file_is_told_when_it_is_chosen(qtbot, prompts, data, tmp_path):
    """Not by the job, after the checkpoint was read."""
    (tmp_path / "out.json").write_text("{}")
    prompts.open_file = lambda *_: str(tmp_path / "out.json")
    data.browse_exclude.click()
    qtbot.waitUntil(data.exclude_says.isVisible, timeout=8000)
    assert data.exclude_says.text().startswith("out.json cannot be used: ")
    assert data.exclude_says.property("role") == "error"
    with pytest.raises(InputError, match=r"out\.json cannot be used"):
        data.pairs()
    data.exclude.setText("x" * 300)
    with pytest.raises(InputError, match="There is no exclusions file at x"):
        data.pairs()
    data.exclude.clear()
    assert not data.exclude_says.isVisible()
    assert data.pairs() == PairSpec(kind="demo")

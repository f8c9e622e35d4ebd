"""What a run trains on: demo, table, and a folder per class for labelled images."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent

from cleanclip_gui.widgets.training_data import TrainingData
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.reading.errors import InputError


@pytest.fixture
def data(qtbot) -> TrainingData:
    made = TrainingData()
    qtbot.addWidget(made)
    made.show()
    return made


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (tmp_path / "pictures" / "apple").mkdir(parents=True)
    return tmp_path / "pictures"


def drag(data: TrainingData, path: Path) -> bool:
    """Drag a path over and drop it if it is taken; whether it was."""
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    copy, left, plain = (
        Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    enter = QDragEnterEvent(QPoint(5, 5), copy, mime, left, plain)
    data.dragEnterEvent(enter)
    if enter.isAccepted():
        data.dropEvent(QDropEvent(QPointF(5, 5), copy, mime, left, plain))
    return enter.isAccepted()


def test_a_folder_per_class_is_for_labelled_images_only(data: TrainingData, pictures: Path) -> None:
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
    data.prompts.open_folder = lambda *_: str(pictures)
    data.browse_folder.click()
    assert data.images() == ImageSpec(kind="folder", path=str(pictures))
    assert data.pairs() is None


def test_a_method_that_takes_pairs_goes_back_to_the_demo(data: TrainingData) -> None:
    data.set_uses_pairs(False)
    data.folder.click()
    data.set_uses_pairs(True)
    assert not data.folder.isVisible()
    assert not data.folder_path.isVisible()
    assert data.pairs() == PairSpec(kind="demo", split="clean")


def test_what_can_be_dropped(qtbot, data: TrainingData, pictures: Path, tmp_path: Path) -> None:
    table = tmp_path / "pairs.TSV"
    table.write_text("image\tcaption\n")
    assert not drag(data, pictures)
    assert not drag(data, tmp_path / "model.safetensors")
    assert drag(data, table)
    assert data.pairs() == PairSpec(kind="csv", path=str(table))
    data.set_uses_pairs(False)
    with qtbot.waitSignal(data.changed):
        assert drag(data, pictures)
    assert data.images() == ImageSpec(kind="folder", path=str(pictures))
    assert not data.folder_path.acceptDrops()


@pytest.mark.parametrize("kind", ["demo pairs", "demo images", "table", "labels", "folder"])
def test_a_job_is_shown_as_it_is(data: TrainingData, pictures: Path, kind: str) -> None:
    table = pictures / "t.csv"
    table.write_text("a,b\n")
    pairs, images = None, None
    if kind == "demo pairs":
        pairs = PairSpec(kind="demo", split="clean")
    elif kind == "demo images":
        images = ImageSpec(kind="demo", split="clean")
    elif kind == "table":
        pairs = PairSpec(kind="csv", path=str(table), image_column="a", caption_column="b")
    elif kind == "labels":
        images = ImageSpec(kind="csv", path=str(table), image_column="a", label_column="b")
    else:
        images = ImageSpec(kind="folder", path=str(pictures))
    data.show_specs(pairs, images)
    assert (data.pairs(), data.images()) == (pairs, images)

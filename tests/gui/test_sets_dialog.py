"""Published image sets are recognised, told and opened with the classes that they bring."""

import io
import tarfile

import pytest
from PIL import Image

from cleanclip_gui.data.data_bar import DataBar
from cleanclip_gui.data.images_dialog import ImagesDialog, label_set_of
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.session import Session
from cleanclip_gui.station import Context
from ml_core.data.labels import load_label_set
from ml_core.reading import InputError
from tests.gui.dropped import purpose
from tests.gui.shell_fakes import Answers

WAIT = 60_000
TEN = tuple(f"thing {number}" for number in range(10))


def cifar(folder, names=TEN):
    folder.mkdir()
    for file in ("test_batch.bin", *(f"data_batch_{n}.bin" for n in range(1, 6))):
        rows = [bytes([n % 10]) + bytes([n]) * 3072 for n in range(20)]
        (folder / file).write_bytes(b"".join(rows))
    (folder / "batches.meta.txt").write_text("\n".join(names) + "\n")
    return folder


def shard(path, labelled=True):
    with tarfile.open(path, "w") as tar:
        for n in range(4):
            picture = io.BytesIO()
            Image.new("RGB", (8, 8), (40 * n, 0, 0)).save(picture, "PNG")
            parts = [("png", picture.getvalue())]
            parts += [("cls", str(n % 2).encode())] if labelled else []
            for ending, data in parts:
                info = tarfile.TarInfo(f"{n:04}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def bar(qtbot):
    session, inference = Session(), Inference()
    answers = Answers()
    bar = DataBar(Context(session=session, inference=inference, prompts=answers.prompts()))
    bar.answers, bar.session = answers, session
    qtbot.addWidget(bar)
    yield bar
    assert inference.close(20_000)


def asked_for(bar, qtbot, path):
    bar.open_path(path)
    dialog = bar.window().findChildren(ImagesDialog)[-1]
    qtbot.waitUntil(dialog.busy.isHidden, timeout=WAIT)
    return dialog


def test_a_published_set_brings_its_classes_and_one_can_go_back(bar, qtbot, tmp_path):
    folder = tmp_path / "first"
    for name in ("dog", "cat"):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / name / "a.png")
    plain = asked_for(bar, qtbot, folder)
    assert plain.label_set.currentData() == "demo"
    assert plain.state.text() == "2 labels, every one matches a class."
    plain.ok.click()
    qtbot.waitUntil(lambda: bar.session.images is not None, timeout=WAIT)
    assert not bar.can_go_back

    dialog = asked_for(bar, qtbot, cifar(tmp_path / "cifar-10-batches-bin"))
    assert dialog.state.text().startswith("CIFAR-10, test pictures: 20 pictures.")
    assert "Its own 10 classes become the label set." in dialog.state.text()
    assert dialog.classes_chosen == TEN
    assert dialog.table.item(3, 1).text() == "2"
    dialog.split.setCurrentIndex(1)
    qtbot.waitUntil(lambda: "100 pictures" in dialog.state.text(), timeout=WAIT)
    assert dialog.spec().split == "train"
    dialog.split.setCurrentIndex(0)
    qtbot.waitUntil(lambda: "20 pictures" in dialog.state.text(), timeout=WAIT)
    dialog.label_set.setCurrentIndex(dialog.label_set.findData("demo"))
    assert "10 not in the label set demo" in dialog.state.text()
    dialog.label_set.setCurrentIndex(0)
    dialog.ok.click()
    qtbot.waitUntil(lambda: bar.session.images.n == 20, timeout=WAIT)
    assert bar.session.images.class_names == TEN
    assert bar.session.images.labels.tolist() == [n % 10 for n in range(20)]
    assert bar.labels.text() == "classes of cifar-10-batches… · 10 classes"

    bar.go_back()
    qtbot.waitUntil(lambda: bar.session.images.n == 2, timeout=WAIT)
    assert "dog" in bar.session.images.class_names
    bar.go_back()  # and again forward
    qtbot.waitUntil(lambda: bar.session.images.n == 20, timeout=WAIT)


def test_one_file_is_a_set(bar, qtbot, tmp_path):
    bar.answers.path = str(shard(tmp_path / "a.tar"))
    bar.choose_file()
    dialog = bar.window().findChildren(ImagesDialog)[-1]
    qtbot.waitUntil(dialog.busy.isHidden, timeout=WAIT)
    assert (dialog.spec().kind, dialog.classes_chosen) == ("file", ("0", "1"))
    dialog.ok.click()
    qtbot.waitUntil(lambda: bar.session.images is not None, timeout=WAIT)
    assert bar.session.images.labels.tolist() == [0, 1, 0, 1]


def test_a_damaged_set_is_a_sentence_and_cannot_be_used(bar, qtbot, tmp_path):
    folder = cifar(tmp_path / "cifar-10-batches-bin")
    (folder / "test_batch.bin").write_bytes(b"\x00" * 100)
    dialog = asked_for(bar, qtbot, folder)
    assert "test_batch.bin" in dialog.state.text()
    assert not dialog.ok.isEnabled()
    dialog.reject()


def test_names_of_a_built_in_set_are_that_set_others_a_file():
    cifar_10 = load_label_set("cifar-10").class_names
    assert label_set_of(cifar_10, "x") == "cifar-10"
    path = label_set_of(("a", "a", "b/c"), "odd: \u202e../x")
    assert load_label_set(path).class_names == ("a", "a", "b/c")
    assert "/.." not in path.replace("\\", "/")
    for names in (("a", ""), ("a\nb", "c")):
        with pytest.raises(InputError):
            label_set_of(names, "x")


def test_what_is_dropped_is_told_apart(tmp_path):
    assert purpose(shard(tmp_path / "a.tar")) == "images"
    assert purpose(tmp_path / "b.parquet") == "images"
    weights = tmp_path / "model.pth.tar"
    weights.write_bytes(b"PK\x03\x04" + bytes(600))
    assert purpose(weights) == "checkpoint"
    old = tmp_path / "old.tar"
    with tarfile.open(old, "w") as tar:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    assert purpose(old) == "checkpoint"
    assert purpose(tmp_path / "missing.tar") == "checkpoint"

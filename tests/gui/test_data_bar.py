"""The data bar: sets recognised and opened with their classes, Cancel, and a later choice."""

import io
import tarfile
import time

import numpy as np
import pytest
from PIL import Image

from cleanclip_gui.data.data_bar import DataBar
from cleanclip_gui.data.images_dialog import ImagesDialog, label_set_of
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.questions import SetDevice
from cleanclip_gui.session import ImagesState, Session
from cleanclip_gui.station import Context
from ml_core.data.labels import load_label_set
from ml_core.data.specs import ImageSpec
from ml_core.reading import InputError
from tests.gui.dropped import purpose
from tests.gui.fakes import heard
from tests.gui.shell_fakes import Answers, FakeInference

TEN = tuple(f"thing {number}" for number in range(10))


def cifar(folder):
    folder.mkdir()
    for file in ("test_batch.bin", *(f"data_batch_{n}.bin" for n in range(1, 6))):
        rows = [bytes([n % 10]) + bytes([n]) * 3072 for n in range(20)]
        (folder / file).write_bytes(b"".join(rows))
    (folder / "batches.meta.txt").write_text("\n".join(TEN) + "\n")
    return folder


def shard(path):
    with tarfile.open(path, "w") as tar:
        for n in range(4):
            picture = io.BytesIO()
            Image.new("RGB", (8, 8), (40 * n, 0, 0)).save(picture, "PNG")
            for ending, data in (("png", picture.getvalue()), ("cls", b"%d" % (n % 2))):
                info = tarfile.TarInfo(f"{n:04}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def bar(qtbot):
    session, inference, answers = Session(), Inference(), Answers()
    bar = DataBar(Context(session=session, inference=inference, prompts=answers.prompts()))
    bar.answers, bar.session, bar.inference = answers, session, inference
    bar.failures = heard(bar.shell.failed)
    qtbot.addWidget(bar)
    bar.resize(900, 40)
    bar.show()
    yield bar
    assert inference.close(20_000)


def asked_for(bar, qtbot, path):
    bar.open_path(path)
    dialog = bar.window().findChildren(ImagesDialog)[-1]
    qtbot.waitUntil(dialog.busy.isHidden)
    return dialog


def ticked(button):
    """The lines of a menu that are in use."""
    button.menu().aboutToShow.emit()
    return [action.text() for action in button.menu().actions() if action.isChecked()]


def test_a_published_set_brings_its_classes_and_one_can_go_back(bar, qtbot, tmp_path):
    folder = tmp_path / "first"
    for name in ("dog", "cat"):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / name / "a.png")
    plain = asked_for(bar, qtbot, folder)
    assert plain.label_set.currentData() == "demo"
    assert plain.state.text() == "2 labels, every one matches a class."
    plain.ok.click()
    qtbot.waitUntil(lambda: bar.session.images is not None)
    assert ticked(bar.labels) == ["demo"]
    assert ticked(bar.images) == []
    assert not next(c for c in bar.commands() if c.id == "file.images_back").is_enabled()

    dialog = asked_for(bar, qtbot, cifar(tmp_path / "cifar-10-batches-bin"))
    assert dialog.state.text().startswith("CIFAR-10, test pictures: 20 pictures.")
    assert "The label set is the 10 classes of the images." in dialog.state.text()
    assert dialog.classes_chosen == TEN
    assert dialog.table.item(3, 1).text() == "2"
    dialog.split.setCurrentIndex(1)
    qtbot.waitUntil(lambda: "100 pictures" in dialog.state.text())
    assert dialog.spec().split == "train"
    dialog.split.setCurrentIndex(0)
    qtbot.waitUntil(lambda: "20 pictures" in dialog.state.text())
    dialog.label_set.setCurrentIndex(dialog.label_set.findData("demo"))
    assert "10 not in the label set demo" in dialog.state.text()
    dialog.label_set.setCurrentIndex(0)
    dialog.ok.click()
    qtbot.waitUntil(lambda: bar.session.images.n == 20)
    assert bar.session.images.class_names == TEN
    assert bar.session.images.labels.tolist() == [n % 10 for n in range(20)]
    assert bar.labels.text() == "classes of cifar-10-batches… · 10 classes"

    bar.go_back()
    qtbot.waitUntil(lambda: bar.session.images.n == 2)
    assert "dog" in bar.session.images.class_names
    bar.go_back()  # and again forward
    qtbot.waitUntil(lambda: bar.session.images.n == 20)
    assert ticked(bar.labels) == []
    bar.images.menu().actions()[1].trigger()
    qtbot.waitUntil(lambda: bar.session.images.n > 20)
    assert (ticked(bar.images), ticked(bar.labels)) == (["Demo: validation images"], ["demo"])


def test_one_file_is_a_set(bar, qtbot, tmp_path):
    bar.answers.path = str(shard(tmp_path / "a.tar"))
    bar.choose("file")
    dialog = bar.window().findChildren(ImagesDialog)[-1]
    qtbot.waitUntil(dialog.busy.isHidden)
    assert (dialog.spec().kind, dialog.classes_chosen) == ("file", ("0", "1"))
    dialog.ok.click()
    qtbot.waitUntil(lambda: bar.session.images is not None)
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
    (tmp_path / "lone").mkdir()
    (tmp_path / "lone" / "mmproj.gguf").touch()
    assert purpose(tmp_path / "lone") == "checkpoint"


def test_a_long_list_of_labels_says_that_it_is_cut(qtbot, tmp_path):
    path = tmp_path / "images.csv"
    matched = [name for name in load_label_set("cifar-100").class_names for _ in range(6)]
    rows = [f"x{i}.png,odd{i}" for i in range(502)]
    rows += [f"{i}.png,{name}" for i, name in enumerate(matched)]
    path.write_text("image,label\n" + "\n".join(rows) + "\n")
    asked = ImagesDialog(path, "csv", "cifar-100")
    qtbot.addWidget(asked)
    qtbot.waitUntil(lambda: asked.table.rowCount() > 0)
    assert asked.table.rowCount() == 500
    assert asked.state.text() == (
        "602 labels, 502 not in the label set cifar-100. The first 500 of 602 are shown; 2 that "
        "match no class are left out."
    )


# Cancel, and a later choice


@pytest.fixture
def slow_folder(tmp_path, monkeypatch):
    """Some 3 MB of noise, hashed byte by byte: minutes, told 3 million times."""
    monkeypatch.setattr("ml_core.data.digests._CHUNK", 1)
    rng = np.random.default_rng(0)
    for name in ("dog", "cat"):
        (tmp_path / "large" / name).mkdir(parents=True)
        for number in range(4):
            noise = rng.integers(0, 255, (360, 360, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / "large" / name / f"{number}.png")
    return ImageSpec(kind="folder", path=str(tmp_path / "large"))


def test_cancel_ends_it_at_once_and_the_images_before_stay(bar, slow_folder, qtbot):
    bar.load(ImageSpec(n=12), "demo")
    qtbot.waitUntil(lambda: bar.session.images is not None)
    before = bar.session.images
    words = bar.images.text()
    bar.load(slow_folder)
    qtbot.waitUntil(bar.busy.isVisible)
    qtbot.waitUntil(lambda: bar.busy.bar.value() > 0)
    assert bar.busy.bar.maximum() == 1000
    assert bar.images.text() == "Hashing…"
    assert bar.labels.isHidden()
    bar.busy.cancel.click()
    assert bar.busy.isHidden()  # at once; the thread follows
    clicked, predicted = time.monotonic(), []
    bar.inference.ask(SetDevice("cpu"), predicted.append)
    qtbot.waitUntil(lambda: bool(predicted))
    assert time.monotonic() - clicked < 2.0
    assert bar.session.images is before
    assert bar.images.text() == words
    assert bar.labels.isVisible()
    assert (bar.session.images.spec, bar.session.label_set) == (before.spec, "demo")
    assert bar.failures == []

    bar.load(slow_folder)
    qtbot.waitUntil(bar.busy.isVisible)
    bar.load(ImageSpec(n=7), "demo")  # a later choice ends an earlier one
    qtbot.waitUntil(lambda: bar.session.images.n == 7)
    assert bar.failures == []
    assert bar.busy.isHidden()
    assert bar.images.text().endswith("· 7")


@pytest.fixture
def asked(qtbot):
    session, inference = Session(), FakeInference()
    bar = DataBar(Context(session=session, inference=inference))
    bar.session, bar.inference = session, inference
    qtbot.addWidget(bar)
    return bar


def loaded(ticket, n):
    spec, labels = ticket.question.spec, np.zeros(n, np.int64)
    ticket.deliver(ImagesState(spec, "set", "k", n, labels, ("a",), ("{}",)))


def test_images_in_use_arrive_although_cancel_was_clicked(asked):
    asked.load(ImageSpec(n=3), "demo")
    (ticket,) = asked.inference.tickets
    assert ticket.commit()
    asked.busy.cancel_clicked.emit()
    assert asked.is_loading
    assert not asked.busy.cancel.isEnabled()
    loaded(ticket, 3)
    assert (asked.session.images.spec, asked.session.label_set) == (ImageSpec(n=3), "demo")
    assert asked.images.text().endswith("· 3")
    assert asked.busy.cancel.isEnabled()


def test_an_answer_is_not_taken_for_that_of_a_later_choice(asked):
    asked.load(ImageSpec(n=3), "demo")
    first = asked.inference.tickets[-1]
    assert first.commit()
    asked.load(ImageSpec(n=5), "demo")
    loaded(first, 3)
    assert (asked.session.images.spec, asked.session.label_set) == (ImageSpec(n=3), "demo")
    assert asked.images.text() == "Loading…"
    asked.inference.fail("These are damaged.")
    assert (asked.session.images.spec, asked.session.label_set) == (ImageSpec(n=3), "demo")
    assert asked.images.text().endswith("· 3")
    asked.set_templates(("a {}",))
    assert asked.inference.questions[-1].spec == ImageSpec(n=3)

"""Editing the label set, in the dialog and through the data bar to the real model's images."""

import pytest

from cleanclip_gui.data.data_bar import EDITED_CLASSES, ClassesDialog, DataBar
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.station import Context
from ml_core.data.specs import ImageSpec
from ml_core.paths import data_dir


def test_dialog_wants_two_names_and_tells_of_namesakes(qtbot):
    dialog = ClassesDialog(["missile"])
    qtbot.addWidget(dialog)
    assert not dialog.ok.isEnabled()
    dialog.edit.setPlainText(" missile \n\n\tmissile\r\n")
    assert "twice" in dialog.state.text()
    with qtbot.waitSignal(dialog.chosen) as chosen:
        dialog.ok.click()
    assert chosen.args == [("missile", "missile")]


@pytest.fixture
def bar(qtbot):
    context = Context(inference=Inference())
    bar = DataBar(context)
    bar.session, bar.failures = context.session, []
    context.shell.failed.connect(bar.failures.append)
    qtbot.addWidget(bar)
    yield bar
    assert context.inference.close(20_000)


def edit(bar, names):
    """Write other class names into the dialog and take them."""
    bar.edit_classes()
    dialog = bar.window().findChildren(ClassesDialog)[-1]
    dialog.edit.setPlainText("\n".join(names))
    dialog.ok.click()


def test_edited_classes_are_used_with_the_templates_as_they_were(bar, qtbot, monkeypatch):
    def full(files):
        raise OSError(28, "No space left on device")

    session = bar.session
    bar.load(ImageSpec(n=24), "demo", ("a photo of a {}",))
    qtbot.waitUntil(lambda: session.images is not None, timeout=60_000)
    before = session.images
    names = (*before.class_names[1:], "zebra crossing")
    with monkeypatch.context() as patch:
        patch.setattr("cleanclip_gui.data.images_dialog.replace_files", full)
        edit(bar, names)
    (error,) = bar.failures
    assert "No space left" in error.sentence
    edit(bar, names)
    qtbot.waitUntil(lambda: session.images.class_names == names, timeout=60_000)
    assert session.images.templates == ("a photo of a {}",)
    assert session.images.labels.max() <= len(names) - 2  # no picture shows the new class
    assert any(before.class_names[0] in text for text in session.images.problems)
    assert EDITED_CLASSES.removesuffix(".txt") in bar.labels.text()
    assert (data_dir() / "labels" / EDITED_CLASSES).read_text("utf-8").splitlines() == list(names)

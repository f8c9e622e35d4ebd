"""Studio's triggers without a model: combine, flip, mirror, library, parameters, drag and drop."""

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import QMimeData, QPoint, Qt, QUrl
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.station import Context
from cleanclip_gui.studio import trigger_files
from cleanclip_gui.studio.canvas.document import PaintDocument
from ml_core.triggers import Trigger, load_trigger
from ml_core.triggers.make import badnets_patch, blended_noise, demo_trigger
from ml_core.triggers.published import LIBRARY, PUBLISHED, published
from tests.gui.fakes import heard
from tests.gui.shell_fakes import Answers, FakeEngine
from tests.gui.studios import paint, studio_station


@pytest.fixture
def studio(qtbot):
    inference = Inference(FakeEngine)
    panel = studio_station(Context(inference=inference))
    qtbot.addWidget(panel)
    panel.canvas.set_images(np.zeros((64, 64, 3), np.uint8), None)
    yield panel
    assert inference.close(20_000)


@pytest.fixture
def failed(studio):
    return heard(studio.shell.failed)


@pytest.fixture
def answers(studio):
    return Answers().take_over(studio.context.prompts)


def test_published_triggers_survive_the_canvas(studio):
    studio.document.set_size(224)
    for entry in LIBRARY:
        if entry.needs_file and not entry.without_file:
            continue
        trigger = published(entry.id, 224)
        studio.editor.use_trigger(trigger)
        found = studio.editor.current_trigger()
        assert found.digest == trigger.digest, entry.id
        standing = trigger_files.standing_of(found, 224)
        assert standing == trigger_files.standing_of(trigger, 224)
        assert (standing == PUBLISHED) == (not entry.needs_file)


def test_paint_patch_and_overlay_are_parts_of_one_trigger(studio):
    studio.editor.use_trigger(blended_noise(ratio=0.1))
    studio.editor.use_trigger(badnets_patch(placement="fixed"), add=True)
    studio.canvas.set_tool("brush")
    paint(studio, (20, 20), (28, 28))
    trigger = studio.editor.current_trigger()
    assert trigger.kind == "combined"
    assert [part.kind for part in trigger.parts] == ["blended", "patch", "badnets"]
    assert trigger.name == "Blended noise + Painted + BadNets noise"
    for kinds in (["blended", "badnets"], ["blended"]):
        studio.editor.undo()
        now = studio.editor.current_trigger()
        assert [part.kind for part in now.parts or (now,)] == kinds


def test_paint_is_mirrored_and_turned_within_its_box(studio):
    studio.canvas.set_tool("rectangle")
    studio.canvas.set_ink(filled=True)
    paint(studio, (20, 20), (28, 24))
    studio.canvas.set_tool("brush")
    studio.canvas.set_ink(width=1)
    studio.tool_bar.popover.colours["Blue"].click()
    paint(studio, (20.5, 20.5))

    def painted():
        pixels = studio.document.rgba()
        rows, columns = pixels[..., 3].any(1).nonzero()[0], pixels[..., 3].any(0).nonzero()[0]
        return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]

    before = painted()
    for act, wanted in (
        ("mirror", before[:, ::-1]), ("mirror_down", before[::-1]), ("rotate", np.rot90(before, -1))
    ):  # fmt: skip
        studio.context.actions.run(f"trigger.{act}")
        assert np.array_equal(painted(), wanted)
        studio.editor.undo()
        assert np.array_equal(painted(), before)


def test_what_the_canvas_shows_of_a_turned_patch_is_what_is_stamped(studio):
    import torch

    from ml_core.triggers.apply import apply

    pixels = np.full((8, 16, 4), 255, np.uint8)
    pixels[:, :4, 1:3] = 0
    studio.editor.use_trigger(Trigger(kind="patch", pixels=pixels, size=0.5))
    for act in ("mirror", "rotate", "mirror_down"):
        studio.context.actions.run(f"trigger.{act}")
    stamped = apply(studio.editor.current_trigger(), torch.zeros(1, 3, 64, 64))[0].permute(1, 2, 0)
    shown = studio.document.flattened()[..., :3] * (studio.document.flattened()[..., 3:] > 0)
    assert np.abs(stamped.numpy() * 255 - shown).mean() < 4


def test_parameters_are_made_from_the_record_and_change_it(studio):
    studio.editor.use_trigger(published("T5a", 64))
    studio.editor.show_parameters()
    editors = studio.editor.form.editors
    assert ("overlay", "frequency") in editors
    assert ("overlay", "amplitude") in editors
    assert ("whole", "canvas") in editors
    editors["overlay", "frequency"].setValue(12)
    assert studio.editor.current_trigger().frequency == 12
    assert studio.document.stack.undo_text() == "Change frequency"
    studio.editor.undo()
    assert editors["overlay", "frequency"].value() == 6
    canvas = editors["whole", "canvas"]
    canvas.setCurrentIndex(canvas.findData("original"))
    canvas.activated.emit(canvas.currentIndex())
    assert studio.editor.current_trigger().canvas == "original"
    studio.editor.form.close()


def test_values_that_do_not_go_together_are_said_in_the_form(studio):
    studio.editor.use_demo_trigger()
    studio.editor.show_parameters()
    form = studio.editor.form
    form.editors["whole", "jpeg"].on.click()
    assert "JPEG" in form.problem.text()
    assert studio.editor.current_trigger().jpeg is None
    assert not form.editors["whole", "jpeg"].on.isChecked()
    levels = form.editors["whole", "levels"]
    levels.setCurrentIndex(levels.findData("round"))
    levels.activated.emit(levels.currentIndex())
    form.editors["whole", "jpeg"].on.click()
    assert studio.editor.current_trigger().jpeg == 95
    assert not form.problem.isVisible()
    form.close()


def test_library_lists_all_with_source_and_standing_and_finds_words(studio):
    studio.editor.show_library()
    dialog = studio.editor.library
    entries = {e.key: e for e in trigger_files.entries(64)}
    assert {e.id for e in LIBRARY} <= set(entries)
    assert entries["T1"].source == "CleanCLIP"
    assert entries["T1"].standing == "rescaled"
    assert {e.key: e for e in trigger_files.entries(224)}["T1"].standing == "published"
    assert entries["T12"].standing == "needs its file"
    dialog.search.setText("wanet nguyen")
    shown = [i.text(0) for i in dialog.items.values() if not i.isHidden()]
    assert shown == ["WaNet (T6)"]
    assert "Nguyen" in dialog.details.text()
    dialog.use.click()
    assert studio.editor.current_trigger().kind == "wanet"
    assert studio.trigger_bar.chip.text() == "WaNet, rescaled"


def test_library_adds_to_what_is_there_and_asks_for_a_file(studio, tmp_path):
    studio.editor.use_demo_trigger()
    studio.editor.show_library()
    studio.editor.library.mark("T4")
    studio.editor.library.add.click()
    assert [p.kind for p in studio.editor.current_trigger().parts] == ["blended", "patch"]
    Image.new("RGB", (16, 16), "red").save(tmp_path / "badCLIP.png")
    answers = Answers(tmp_path / "badCLIP.png").take_over(studio.context.prompts)
    studio.editor.show_library()
    assert not studio.editor.library.file.isVisible()
    studio.editor.library.mark("T12")
    studio.editor.library.use.click()
    assert answers.asked
    assert studio.editor.current_trigger().placement == "center"
    assert studio.editor.current_trigger().pixels[0, 0].tolist() == [255, 0, 0, 255]
    np.save(tmp_path / "grid.npy", np.random.default_rng(0).random((1, 224, 224, 2)) - 0.5)
    answers.path = tmp_path / "grid.npy"
    studio.editor.show_library()
    studio.editor.library.mark("T6")  # a warp, which can take its published grid
    studio.editor.library.file.click()
    assert studio.editor.current_trigger().kind == "wanet"
    assert studio.editor.current_trigger().array.shape == (224, 224, 2)


def test_saved_triggers_are_listed_used_and_deleted(studio):
    studio.editor.use_demo_trigger()
    answers = Answers(yes=False, text="my / own").take_over(studio.context.prompts)
    studio.editor.save_trigger()
    saved = next(e for e in trigger_files.entries(64) if e.name == "my  own")
    assert saved.own
    studio.editor.clear()
    studio.editor.show_library()
    studio.editor.library.mark(saved.key)
    studio.editor.library.delete.click()
    assert any(e.name == "my  own" for e in trigger_files.entries(64))
    answers.yes = True
    studio.editor.library.delete.click()
    assert answers.asked == ["Save trigger", *["Delete my  own from the library?"] * 2]
    assert not any(e.name == "my  own" for e in trigger_files.entries(64))
    assert not list(trigger_files.library_folder().glob("my*"))
    studio.editor.library.reject()


@pytest.mark.parametrize(("side", "share"), [(9, 9 / 64), (16, 0.25), (300, 0.25)])
def test_a_small_picture_keeps_its_pixels_on_the_models_canvas(studio, tmp_path, side, share):
    Image.fromarray(np.full((side, side, 3), 200, np.uint8)).save(tmp_path / "sticker.png")
    studio.editor.load_trigger(tmp_path / "sticker.png")
    assert studio.editor.current_trigger().size == pytest.approx(share)
    assert load_trigger(tmp_path / "sticker.png").size == 0.25  # where no canvas is known


def test_a_pattern_and_its_mask_are_taken_together(studio, tmp_path):
    mask, pattern = np.zeros((64, 64), np.float32), np.full((64, 64, 3), 0.5, np.float32)
    mask[:8, :8] = 1
    np.savez(tmp_path / "pair.npz", mask=mask[..., None], pattern=pattern)
    studio.editor.load_trigger(tmp_path / "pair.npz")
    assert studio.editor.current_trigger().mask.sum() == 64
    shown = studio.document.rendered()
    assert (shown.pixelColor(4, 4).alpha() > 0, shown.pixelColor(40, 40).alpha()) == (True, 0)
    studio.editor.clear()
    np.save(tmp_path / "trigger_mask.npy", mask)
    np.save(tmp_path / "trigger.npy", pattern)
    mime = QMimeData()
    names = ("trigger_mask.npy", "trigger.npy")
    mime.setUrls([QUrl.fromLocalFile(str(tmp_path / name)) for name in names])
    studio.canvas.dropped.emit(mime)
    assert studio.editor.current_trigger().mask.sum() == 64
    assert studio.editor.current_trigger().array.shape == (8, 8, 3)
    studio.editor.clear()
    np.save(tmp_path / "other.npy", np.full((64, 64, 3), 0.5, np.float32))
    failed = []
    studio.shell.failed.connect(failed.append)

    def choose(*names):
        studio.context.prompts.open_files = lambda *_: [str(tmp_path / name) for name in names]
        studio.trigger_bar.upload.click()

    choose()
    assert studio.editor.current_trigger() is None
    choose("trigger_mask.npy", "trigger.npy")
    both = studio.editor.current_trigger()
    assert both.mask.sum() == 64
    choose("trigger.npy")
    assert studio.editor.current_trigger().digest != both.digest
    assert failed == []
    before = studio.editor.current_trigger().digest
    choose("other.npy", "trigger.npy")
    choose("trigger_mask.npy", "trigger.npy", "other.npy")
    assert [error.sentence.split(";")[0] for error in failed] == [
        "2 files were chosen", "3 files were chosen",
    ]  # fmt: skip
    assert studio.editor.current_trigger().digest == before


def test_the_trigger_is_dragged_out_as_files_that_open_as_the_same_trigger(studio, qtbot):
    studio.editor.use_trigger(blended_noise(ratio=0.1))
    studio.editor.use_trigger(demo_trigger(), add=True)
    wanted = studio.editor.current_trigger()
    drags = []
    chip = studio.trigger_bar.chip
    chip.start_drag = drags.append
    qtbot.waitUntil(chip.isEnabled)
    middle = chip.rect().center()
    QTest.mousePress(chip, Qt.MouseButton.LeftButton, pos=middle)
    far = middle + QPoint(4 * QApplication.startDragDistance(), 0)
    QTest.mouseEvent(
        QTest.MouseAction.MouseMove, chip, Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier, far,
    )  # fmt: skip
    QTest.mouseRelease(chip, Qt.MouseButton.LeftButton, pos=far)
    [drag] = drags
    mime = drag.mimeData()
    paths = [url.toLocalFile() for url in mime.urls()]
    assert load_trigger(paths[0]).digest == wanted.digest
    assert mime.hasImage() or mime.hasFormat("image/png")
    studio.editor.clear()
    studio.canvas.dropped.emit(mime)
    assert studio.editor.current_trigger().digest == wanted.digest


def test_opacity_is_undone_and_belongs_to_the_overlay_when_it_is_alone(studio):
    studio.editor.show_parameters()
    editors = studio.editor.form.editors
    studio.editor.use_trigger(blended_noise(ratio=0.2))
    assert ("scene", "opacity") not in editors
    editors["overlay", "ratio"].setValue(0.35)
    assert studio.editor.current_trigger().ratio == pytest.approx(0.35)
    studio.editor.undo()
    assert studio.editor.current_trigger().ratio == pytest.approx(0.2)
    studio.editor.use_trigger(demo_trigger(), add=True)
    editors["scene", "opacity"].setValue(50)
    blended, patch = studio.editor.current_trigger().parts
    assert blended.ratio == pytest.approx(0.2)
    assert patch.opacity == pytest.approx(0.5)
    studio.editor.form.close()


def test_a_trigger_that_is_there_already_is_left_as_it_was_painted(studio):
    editor = studio.editor
    studio.canvas.set_tool("brush")
    paint(studio, (10, 10), (20, 10))
    painted = editor.current_trigger()
    editor.show(painted)
    assert len(editor.document.stack.steps) == 1  # the stroke
    assert editor.document.patch is None
    editor.show(badnets_patch())
    assert editor.current_trigger().kind == "badnets"
    editor.show(None)
    assert editor.current_trigger() is None
    editor.undo()
    editor.undo()
    assert editor.current_trigger() == painted


def test_place_size_angle_and_word_stand_in_the_sheet(studio, failed):
    editor = studio.editor
    editor.show_parameters()
    assert ("scene", "text") in editor.form.editors  # without a trigger, too
    editor.use_trigger(demo_trigger())
    editors = editor.form.editors
    place = editors["scene", "placement"]
    place.setCurrentIndex(place.findText("Centre"))
    place.activated.emit(place.currentIndex())
    editors["scene", "size"].setValue(50)
    editors["patch", "rotation"].setValue(-30)
    for word in ("remember", "{"):  # the second would break a prompt
        editors["scene", "text"].setText(word)
        editors["scene", "text"].editingFinished.emit()
    assert "braces" in failed[0].sentence
    trigger = editor.current_trigger()
    assert (trigger.placement, trigger.text) == ("center", "remember")
    assert (trigger.size, trigger.rotation) == pytest.approx((0.5, -30))
    editor.form.close()


def test_saving_asks_for_a_name_and_a_file(studio, answers, tmp_path, failed):
    editor = studio.editor
    editor.save_trigger()
    editor.save_trigger_as()
    assert answers.asked == []
    assert [error.sentence for error in failed] == [
        "There is no trigger to save yet; paint one first."
    ] * 2
    editor.use_demo_trigger()
    wanted = editor.current_trigger()
    answers.path = str(tmp_path / "mine.json")
    editor.save_trigger_as()
    editor.clear()
    editor.load_trigger(tmp_path / "mine.json")
    assert editor.current_trigger() == wanted
    editor.load_trigger(tmp_path / "none.json")
    assert "none.json" in failed[-1].sentence
    assert editor.current_trigger() == wanted


def test_copied_and_pasted(studio, failed):
    editor = studio.editor
    editor.copy()  # there is nothing
    editor.use_demo_trigger()
    wanted = editor.current_trigger()
    editor.copy()
    editor.clear()
    editor.paste()
    assert editor.current_trigger() == wanted
    QApplication.clipboard().clear()
    editor.paste()
    assert failed[-1].sentence == "The clipboard holds no picture; copy one first."


def test_what_does_not_go_together_is_a_trigger_that_cannot_be_made(studio, failed, monkeypatch):
    editor = studio.editor
    editor.use_demo_trigger()
    monkeypatch.setattr(PaintDocument, "trigger", lambda _: Trigger(kind="patch", jpeg=95))
    studio.document.set_scene("Change opacity", opacity=0.5)
    assert editor.has_trigger()  # something is there
    failed.clear()
    editor.save_trigger()
    assert editor.make_mime() is None
    assert len(failed) == 2
    monkeypatch.undo()
    assert editor.current_trigger() is not None

"""Clean in the whole window: runs and queues of an earlier window, and its commands."""

from functools import partial

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from cleanclip_gui.clean.queue import QUEUE_FILE, read_queue, write_queue
from cleanclip_gui.window.crash import ErrorDialog
from ml_core.cleaning.presets import preset
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Done, Metric
from ml_core.jobs.specs import CleanSpec, read_spec, write_spec
from ml_core.paths import data_dir
from tests.gui.dropped import purpose
from tests.gui.fakes import FakeRunner, result_of
from tests.gui.shell_fakes import CLASSES, visible, write_journal, write_safetensors, write_state
from tests.unit.small_jobs import small_recipe

WAIT = 10_000
RECIPE = preset("supervised", "default").changed(pairs=640, batch_size=64, epochs=1)


@pytest.fixture
def folder(tmp_path):
    """A supervised run on a folder of pictures, killed after step 5, saved at step 4."""
    made = tmp_path / "runs" / "supervised-1"
    made.mkdir(parents=True)
    (tmp_path / "pictures").mkdir()
    checkpoint = write_safetensors(tmp_path / "m.safetensors", {"a": [1.0, 2.0]})
    spec = CleanSpec(
        checkpoint=str(checkpoint), recipe=RECIPE,
        training_images=ImageSpec(kind="folder", path=str(tmp_path / "pictures")),
        test_images=ImageSpec(kind="demo", split="val", n=30), target=2, output_dir=str(made),
        device="cuda:0",
    )  # fmt: skip
    write_spec(spec, made / "spec.json")
    write_state(made, step=4)
    write_journal(made, [Metric(step, 10, {"loss": 1.0 / step}) for step in range(1, 6)])
    return made


@pytest.fixture
def make_window(make):
    return partial(make, new_runner=FakeRunner)


def check_it_goes_on(qtbot, window, folder):
    session, clean = window.session, window.stations["clean"]
    runner = clean.run.runner
    assert (runner.mode, runner.spec_path, runner.device) == (
        "resume", folder / "spec.json", "cuda:0",
    )  # fmt: skip
    assert (
        clean.run_bar.title.text()
        == "Supervised finetuning, quick, training examples 640, batch size 64: running"
    )
    assert clean.form.recipe() == RECIPE
    assert clean.data.images().kind == "folder"
    losses = clean.charts.losses.series("loss")
    assert [losses.point(i)[0] for i in range(len(losses))] == [1, 2, 3, 4]
    assert (session.run.output_dir, session.run.method) == (str(folder), "supervised")
    qtbot.waitUntil(lambda: session.checkpoint is not None, timeout=WAIT)
    assert session.checkpoint.path == str(folder.parent.parent / "m.safetensors")
    assert session.images.spec.n == 30
    assert window.station == "clean"
    return runner


def test_the_command_goes_on_with_a_folder(qtbot, make_window, answers, folder, tmp_path):
    window = make_window()
    clean, command = window.stations["clean"], window.actions_.by_id["clean.resume_folder"]
    answers.path = str(tmp_path)
    command.trigger()
    (error,) = visible(ErrorDialog)
    assert "holds no spec.json" in error.sentence
    error.close()
    answers.path = str(folder)
    command.trigger()
    assert answers.asked == ["Resume a run"] * 2
    runner = check_it_goes_on(qtbot, window, folder)
    assert not command.isEnabled()
    assert window.settings.value.last_run == str(folder)
    clean.resuming.offer(folder)  # dropped meanwhile
    (error,) = visible(ErrorDialog)
    assert "A run is in progress" in error.sentence
    error.close()
    assert clean.run.runner is runner
    cleaned = tmp_path / "cleaned.safetensors"
    cleaned.write_bytes(b"x")
    runner.end(Done("finished", {**result_of(cleaned), "source": window.session.checkpoint.path}))
    assert clean.before_after.isVisible()
    assert clean.run.on_show.asked == (None, 2)
    assert window.settings.value.last_run == ""


def test_a_dropped_run_is_offered_first(qtbot, make_window, folder):
    window = make_window()
    assert purpose(folder) == "run"
    window.take_file(folder)
    assert window.station == "clean"
    assert not window.stations["clean"].run.is_running
    assert (
        "“Supervised finetuning, quick, training examples 640, batch size 64” was interrupted"
        in window.stations["clean"].trouble_text.text()
    )
    window.stations["clean"].resume_button.click()
    check_it_goes_on(qtbot, window, folder).end(Done("cancelled"))
    (folder / "result.json").write_text("{}")
    assert purpose(folder) == "images"


def test_repeating_restores_images_classes_and_target_beside_an_open_checkpoint(
    qtbot, make_window, folder, tmp_path
):
    window = make_window()
    session = window.session
    window.open_path(str(tmp_path / "m.safetensors"))
    window.data_bar.load(ImageSpec(kind="demo", split="test"), "demo")
    qtbot.waitUntil(lambda: None not in (session.checkpoint, session.images), timeout=WAIT)
    session.target = 0
    classes = tmp_path / "classes.txt"
    classes.write_text("\n".join(CLASSES))
    tested = ImageSpec(kind="demo", split="heldout", n=4)
    spec = read_spec(folder / "spec.json").model_copy(
        update={
            "test_images": tested, "label_set": str(classes), "templates": ("a photo of a {}",),
        }
    )  # fmt: skip
    window.stations["clean"].runs.repeated.emit(spec)
    qtbot.waitUntil(lambda: session.images.spec == tested, timeout=WAIT)
    assert (window.session.images.spec, window.session.label_set) == (tested, str(classes))
    assert session.target == spec.target
    images = session.images
    window.stations["clean"].runs.repeated.emit(spec)  # all is as it was
    assert not window.data_bar.is_loading
    window.stations["clean"].runs.repeated.emit(spec.model_copy(update={"templates": ("a {}",)}))
    qtbot.waitUntil(lambda: session.images is not images, timeout=WAIT)
    assert session.images.templates == ("a {}",)
    assert session.target == spec.target
    # a shortcut reads the number that is being typed
    clean = window.stations["clean"]
    clean.output.setText(str(tmp_path / "new"))
    window.show_station("clean")
    box = clean.form.row("epochs").editor
    box.setFocus()
    box.selectAll()
    QTest.keyClicks(box, "3")
    QTest.keyClick(box, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert read_spec(clean.run.runner.spec_path).recipe.epochs == 3
    clean.run.runner.end(Done("cancelled"))


def job(tmp_path, name):
    """A written job that nobody has begun."""
    folder = tmp_path / "runs" / name
    spec = CleanSpec(
        checkpoint=str(tmp_path / "m.safetensors"), recipe=small_recipe(), pairs=PairSpec(),
        output_dir=str(folder), device="cpu",
    )  # fmt: skip
    write_spec(spec, folder / "spec.json")
    return folder


def test_the_queue_comes_back_held_and_begins_at_a_click(make_window, tmp_path):
    first, second, third, lost = (job(tmp_path, name) for name in ("a", "b", "c", "lost"))
    window = make_window()
    clean = window.stations["clean"]
    assert len(clean.queue) == 0
    clean.queue.hold(True)
    for folder in (first, second, third, lost):
        clean.queue.add(folder)
    clean.queue.move(third, -1)
    window.close()
    (lost / "spec.json").write_text("{")

    again = make_window().stations["clean"]
    assert again.queue.folders == (first, third, second)
    assert again.queue.held
    assert not again.run.is_running
    assert [run.status for run in again.runs.runs] == ["waiting"] * 3
    assert again.runs.message.text() == "1 job of the queue cannot be read and will not run: lost."
    window = again.window()
    assert "3 runs left in the queue from last time" in window.log.view.toPlainText()
    assert window.actions_.by_id["clean.start_queue"].isEnabled()  # without a checkpoint
    window.show_station("clean")
    again.show_page(1)
    QTest.mouseClick(again.runs.start_queue, Qt.MouseButton.LeftButton)
    assert again.run.runner is not None
    assert again.run.runner.spec_path.parent == first
    # What is at work waits no more, in no window.
    assert read_queue(data_dir() / QUEUE_FILE) == ((third, second), "")
    again.run.runner.end(Done("cancelled"))
    assert again.run.runner.spec_path.parent == third
    again.queue.hold(True)
    again.run.runner.end(Done("cancelled"))


def test_what_was_begun_since_does_not_wait(tmp_path):
    waits, begun = job(tmp_path, "waits"), job(tmp_path, "begun")
    write_journal(begun, [Metric(1, 9, {"loss": 1.0})])
    write_queue(tmp_path / QUEUE_FILE, [begun, waits, waits])
    assert read_queue(tmp_path / QUEUE_FILE) == ((waits,), "")


def test_what_another_window_began_is_not_run_twice(make_window, tmp_path):
    first, gone, last = (job(tmp_path, name) for name in ("first", "gone", "last"))
    clean = make_window().stations["clean"]
    clean.queue.hold(True)
    for folder in (first, gone, last):
        clean.queue.add(folder)
    write_journal(first, [Metric(1, 9, {"loss": 1.0})])
    write_journal(gone, [Metric(1, 9, {"loss": 1.0})])
    clean.start_queue()
    assert clean.run.runner is not None
    assert clean.run.runner.spec_path.parent == last
    assert read_queue(data_dir() / QUEUE_FILE) == ((), "")
    clean.run.runner.end(Done("cancelled"))

"""Without a display: a dry run plays every step and names what failed; the demo has its size."""

import json

import pytest
from PIL import Image
from PySide6.QtCore import QEventLoop

from cleanclip_gui import app
from cleanclip_gui.app import make_window
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.station import Context
from cleanclip_gui.talk.script import FORMAT, SHIPPED, Talk, shipped
from cleanclip_gui.threads import still_running
from cleanclip_gui.window import headless
from ml_core.reading.errors import InputError
from tests.gui.shell_fakes import Answers, FakeEngine

OPEN = {"title": "Open it", "station": "checkpoint", "text": "Open.", "ready": "checkpoint"}
STICK = {
    "title": "Stick",
    "station": "studio",
    "text": "Stick.",
    "run": "trigger.demo",
    "ready": "trigger",
}


def talk(*steps):
    return Talk.model_validate({"format": FORMAT, "title": "Mine", "steps": list(steps)})


def play(window, *steps, first=0, pictures=None):
    window.guide.set_talk(talk(*steps))
    loop = QEventLoop()
    return headless.play_talk(window, first, pictures, loop.exec, loop.quit)


def test_a_talk_names_what_is_in_the_window_or_is_refused(window):
    for name in SHIPPED:
        window.guide.set_talk(shipped(name))  # which names nothing unknown
    for changes, words in (
        ({"station": "moon"}, "Step 2 (“Open it”) names the unknown station “moon”."),
        ({"target": "moon"}, "Step 2 (“Open it”) points at “moon”, which the window does not"),
    ):
        with pytest.raises(InputError) as caught:
            window.guide.set_talk(talk(OPEN, OPEN | changes))
        assert words in caught.value.sentence
        assert window.guide.talk == shipped(name)


def test_steps_are_played_and_pictured_and_what_does_not_come_true_is_named(
    window, monkeypatch, tmp_path
):
    monkeypatch.setattr(headless, "_STEP_S", 1.0)
    monkeypatch.setattr(headless, "_ENABLED_S", 0.2)
    never = OPEN | {"title": "Never", "ready": "cleaned"}
    early = STICK | {"title": "Try", "run": "clean.try"}
    played = play(window, OPEN, never, early, STICK, pictures=tmp_path / "p")
    assert [entry.number for entry in played] == [1, 2, 3, 4]
    assert [entry.title for entry in played if entry.failures] == ["Never", "Try"]
    assert played[1].failures == ["“cleaned” did not come true within 1 s"]
    assert "clean.try could not be used within 0 s" in played[2].failures
    assert window.session.trigger is not None
    with Image.open(tmp_path / "p" / "4-stick.png") as picture:
        assert picture.size == (1366, 768)
    assert not window.guide.running
    failing = lambda: window.context.shell.failed.emit(InputError("No room on the disk."))  # noqa: E731
    monkeypatch.setattr(window.stations["studio"].editor, "use_demo_trigger", failing)
    command = next(c for c in window.actions_.commands if c.id == "trigger.demo")
    object.__setattr__(command, "act", failing)
    window.talk.reset()
    (entry,) = play(window, OPEN, STICK, first=1)
    assert entry.number == 2
    assert "No room on the disk." in entry.failures


def test_the_exit_code_and_the_slowest_step(qapp, tmp_path, monkeypatch, capsys, qtbot):
    context = Context(
        inference=Inference(FakeEngine),
        settings=SettingsStore(tmp_path / "config"),
        prompts=Answers().prompts(),
    )
    monkeypatch.setattr(headless, "quiet_context", lambda _: context)
    monkeypatch.setattr(headless.logging, "disable", lambda _: None)
    monkeypatch.setattr(headless, "_STEP_S", 0.2)
    never = OPEN | {"title": "Never", "ready": "cleaned"}

    def made(context):
        window = make_window(context)
        qtbot.addWidget(window)
        return window

    assert headless.run_talk(made, talk(OPEN, never)) == 4
    printed = capsys.readouterr().out
    assert "did not come true" in printed
    assert "Slowest: step" in printed
    qtbot.waitUntil(lambda: not still_running(), timeout=20_000)


def test_wrong_options_are_one_sentence(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments, words in (
        ("--talk none.json --dry-run", "There is no talk at none.json"),
        ("--talk tour --step 0", "--step"), ("--step 2", "need --talk"),
        ("--dry-run", "need --talk"), ("--talk tour --pictures x", "--pictures needs --dry-run"),
    ):  # fmt: skip
        try:
            code = app.main(arguments.split())
        except SystemExit as stopped:
            code = stopped.code
        assert code == 2
        assert words in capsys.readouterr().err


def test_the_command_line_hands_the_talk_on(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(headless, "run_talk", lambda *given: asked.append(given) or 0)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"format": FORMAT, "title": "Mine", "steps": [OPEN]}))
    given = ["--talk", str(path), "--step", "3", "--dry-run", "--pictures", str(tmp_path)]
    assert app.main(given) == 0
    (_, found, first, pictures) = asked[0]
    assert (found.title, first, pictures) == ("Mine", 2, tmp_path)


@pytest.mark.usefixtures("styled")
def test_a_small_screen_does_not_squeeze_the_pictures(qapp, tmp_path, monkeypatch):
    monkeypatch.setattr("cleanclip_gui.window.main_window.has_room", lambda _: False)
    window = make_window(headless.quiet_context(tmp_path))
    headless.set_first_size(window)
    try:
        window.show()
        assert not window.isMaximized()
        assert (window.width(), window.height()) == (1366, 768)
    finally:
        window.close()
        window.deleteLater()

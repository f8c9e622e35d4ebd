"""A job is written, started, and heard of, or it is said why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QObject, Signal, Slot

from cleanclip_gui.jobs.launching import launch, let_go
from ml_core.data.specs import PairSpec
from ml_core.jobs.spec_file import read_spec_file
from ml_core.reading.errors import InputError

SPEC = PairSpec(n=7)


class FakeRunner(QObject):
    event_received = Signal(object)
    line_logged = Signal(str)
    ended = Signal(object)

    def __init__(self, path: Path, *, device: str) -> None:
        super().__init__()
        self.path, self.device, self.did = path, device, list[str]()

    def launch(self) -> None:
        self.did.append("launch")

    def cancel(self) -> None:
        self.did.append("cancel")


class Hears(QObject):
    logged = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[object] = []

    @Slot(object)
    def on_event(self, event: object) -> None:
        self.heard.append(event)

    @Slot(object)
    def on_ended(self, last: object) -> None:
        self.heard.append(last)


def test_a_job_is_written_started_and_let_go(qtbot, tmp_path: Path) -> None:
    one, path = Hears(), tmp_path / "deep" / "job.json"
    runner = launch(FakeRunner, SPEC, path, one.on_event, one.on_ended, one.logged, device="cuda:1")
    assert read_spec_file(runner.path, PairSpec) == SPEC
    assert (runner.device, runner.did) == ("cuda:1", ["launch"])
    with qtbot.waitSignal(one.logged) as told:
        runner.line_logged.emit("a line")
    assert told.args == ["a line"]
    runner.event_received.emit("first")
    runner.ended.emit("last")
    let_go(runner, one.on_event, one.on_ended)
    runner.event_received.emit("late")
    runner.ended.emit("late")
    assert one.heard == ["first", "last"]
    assert runner.did == ["launch", "cancel"]


def test_where_a_job_cannot_be_written_nothing_is_started(tmp_path: Path) -> None:
    (tmp_path / "full").write_text("no folder")
    one, made = Hears(), list[object]()
    with pytest.raises(InputError, match="cannot be written into full: "):
        launch(
            lambda *path, **options: made.append(path), SPEC, tmp_path / "full" / "job.json",
            one.on_event, one.on_ended, device="cpu",
        )  # fmt: skip
    assert not made

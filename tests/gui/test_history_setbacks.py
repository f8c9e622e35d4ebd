"""The history when folders vanish, files are damaged, or runs are long; notes that are typed."""

# ruff: noqa: F811

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from cleanclip_gui.clean import history as history_module
from cleanclip_gui.clean.history import (
    list_runs,
    read_name,
    read_run,
    run_metrics,
    run_points,
)
from cleanclip_gui.clean.runs.runs_table import (
    ACCURACY,
    CHECKPOINT,
    RUN,
    STATUS,
    TITLES,
    started_text,
)
from cleanclip_gui.clean.station import CleanStation
from ml_core.events import Done, Metric
from ml_core.reading.errors import InputError
from tests.gui.run_folders import write_run
from tests.gui.shell_fakes import write_journal
from tests.gui.test_clean_bench import (  # noqa: F401
    all_read,
    click,
    close,
    history,
    panel,
    runner_of,
    session,
    shown,
)

WAIT = 8000


@pytest.fixture
def locked(monkeypatch):
    """Make a folder one that may not be looked into, also for root."""
    real = Path.stat

    def lock(folder: Path) -> None:
        def stat(self: Path, **options: object):
            if folder in self.parents:
                raise PermissionError(13, "Permission denied", str(self))
            return real(self, **options)

        monkeypatch.setattr(Path, "stat", stat)

    return lock


# ---- folders that cannot be read ----


def test_an_unreadable_folder_hides_no_other(tmp_path: Path, locked) -> None:
    write_run(tmp_path, "mine")
    write_run(tmp_path, "theirs")
    locked(tmp_path / "theirs")
    assert [run.folder.name for run in list_runs(tmp_path)] == ["mine"]
    with pytest.raises(InputError, match="theirs cannot be read: Permission denied; check that"):
        read_run(tmp_path / "theirs")


def test_an_unreadable_job_does_not_hold_the_queue(qtbot, panel, tmp_path: Path, locked) -> None:
    runs = tmp_path / "runs"
    first, second = (write_run(runs, name, started=False) for name in ("first", "second"))
    panel.queue.hold(True)
    for folder in (first, second):
        panel.queue.add(folder)
    locked(first)
    with qtbot.waitSignal(panel.shell.failed) as blocker:
        panel.queue.hold(False)
    assert "first cannot be read" in blocker.args[0].sentence
    assert runner_of(panel).spec_path.parent == second


def test_a_results_folder_that_is_gone_is_said_once(qtbot, panel, tmp_path: Path) -> None:
    away = write_run(tmp_path / "cluster", "job-7")
    failures: list[InputError] = []
    panel.shell.failed.connect(failures.append)
    history(qtbot, panel)
    panel.runs.open_folder(away)
    shutil.rmtree(away)
    here = write_run(tmp_path / "runs", "here")
    panel.runs.reload()
    qtbot.waitUntil(lambda: not panel.runs.is_reading, timeout=WAIT)
    assert shown(panel) == [("here", "finished")]
    assert "removed from the table: job-7" in panel.runs.message.text()
    panel.runs.say("")
    panel.runs.reload()
    qtbot.waitUntil(lambda: not panel.runs.is_reading, timeout=WAIT)
    assert panel.runs.message.text() == ""
    assert failures == []
    assert [run.folder for run in panel.runs.runs] == [here]


def test_what_changes_while_the_folders_are_read_stays(
    qtbot, panel, tmp_path: Path, monkeypatch
) -> None:
    here = write_run(tmp_path / "runs", "here", end=Done("failed", {}, "x", "killed"))
    away = write_run(tmp_path / "cluster", "job-7")
    history(qtbot, panel)
    go_on, has_read = threading.Event(), threading.Event()

    def slow(parent: Path):
        found = list_runs(parent)
        has_read.set()
        assert go_on.wait(10)
        return found

    monkeypatch.setattr("cleanclip_gui.clean.runs.page.list_runs", slow)
    panel.runs.reload()
    assert has_read.wait(10)
    panel.runs.open_folder(away)
    write_journal(here, [Done("cancelled")])
    panel.runs.note_run(here)
    go_on.set()
    qtbot.waitUntil(lambda: not panel.runs.is_reading, timeout=WAIT)
    assert sorted(shown(panel)) == [("here", "cancelled"), ("job-7", "finished")]


def test_a_run_whose_folder_was_deleted_is_not_shown_as_running(panel: CleanStation) -> None:
    panel.start()
    runner = runner_of(panel)
    assert [status for _, status in shown(panel)] == ["running"]
    shutil.rmtree(runner.spec_path.parent)
    runner.end(Done("failed", {}, "The disk is gone."))
    assert shown(panel) == []
    assert panel.runs.compared() == {}


# ---- damaged results ----


@pytest.mark.parametrize(
    "damage",
    [
        {"before": "x"}, {"after": {"ca": "x"}}, {"after": {"ca_interval": [1.0]}},
        {"heads": []}, {"method": []}, {"seconds": "long"}, {"heldout": {"after": 5}},
        {"cache_chunk": "8"}, {"recipe": 5}, {"batch_norm": ["train"]}, {"notes": 5},
        {"steps": "x"},
    ],
)  # fmt: skip
def test_a_damaged_result_is_said_and_painted(qtbot, panel, tmp_path: Path, damage) -> None:
    folder = write_run(tmp_path / "runs", "run")
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    history(qtbot, panel)
    table = panel.runs.table
    table.choose(folder)
    model = table.runs
    assert model.data(model.index(0, ACCURACY)) == "–"
    tip = model.data(model.index(0, STATUS), Qt.ItemDataRole.ToolTipRole)
    assert "result.json of this run is damaged" in tip
    click(panel.runs.open_)
    assert "damaged" in panel.run_bar.details.text()
    assert not panel.before_after.isVisible()
    all_read(qtbot, panel)


def test_a_last_word_that_is_none_is_no_status(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "run", end=Done("cancelled"))
    write_journal(folder, [Done(5, {}, 6, 7)])  # type: ignore[arg-type]
    assert read_run(folder).status == "interrupted"


# ---- names ----


def test_a_name_that_is_being_typed_outlives_a_new_row(qtbot, panel, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", "old")
    history(qtbot, panel)
    panel.runs.table.choose(folder)
    panel.runs.name.setFocus()
    QTest.keyClicks(panel.runs.name, "half a ")
    panel.start()
    assert len(shown(panel)) == 2
    QTest.keyClicks(panel.runs.name, "word")
    assert panel.runs.name.text() == "half a word"
    QTest.keyClick(panel.runs.name, Qt.Key.Key_Return)
    assert read_name(folder) == "half a word"


def test_a_name_is_kept_when_another_run_is_chosen_or_the_window_closes(
    qtbot, panel, tmp_path: Path
) -> None:
    one, two = (write_run(tmp_path / "runs", name) for name in ("one", "two"))
    history(qtbot, panel)
    panel.runs.table.choose(one)
    panel.runs.name.setFocus()
    QTest.keyClicks(panel.runs.name, "first")
    panel.runs.table.choose(two)
    assert (read_name(one), panel.runs.name.text()) == ("first", "")
    QTest.keyClicks(panel.runs.name, "second")
    close(panel)
    assert (read_name(one), read_name(two)) == ("first", "second")


# ---- the table ----


def test_names_can_be_read_on_a_small_screen(qtbot, panel, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    folder = write_run(runs, "one")
    write_run(runs, "two")
    history(qtbot, panel)
    table = panel.runs.table
    assert table.isColumnHidden(CHECKPOINT)
    assert table.columnWidth(RUN) >= 220
    other = write_run(runs, "three", checkpoint=runs / "another.safetensors")
    panel.runs.note_run(other)
    assert not table.isColumnHidden(CHECKPOINT)
    assert table.columnWidth(RUN) >= 140
    row = [run.folder for run in table.runs.runs].index(other)
    assert table.runs.data(table.runs.index(row, CHECKPOINT)) == "another"
    assert TITLES[RUN] == "Run"
    assert folder.is_dir()


def test_a_run_has_a_name_in_table_comparison_and_result(qtbot, panel, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", "one")
    history(qtbot, panel)
    runs, table = panel.runs, panel.runs.table
    table.choose(folder)
    runs.compare(folder, True)
    click(runs.open_)
    assert panel.run_bar.title.text() == "CleanCLIP, custom: finished"
    panel.show_page(1)
    runs.name.setText("old name")
    table.setFocus()
    QTest.keyClick(table, Qt.Key.Key_F2)
    QTest.keyClicks(QApplication.focusWidget(), "best <b>so far")  # what is there is selected
    QTest.keyClick(runs.name, Qt.Key.Key_Return)
    assert (folder / "note.txt").read_text() == "best <b>so far"
    row = table.currentIndex().row()
    assert table.runs.index(row, RUN).data() == "best <b>so far · CleanCLIP, custom"
    assert [track.label for track in runs.tradeoff._tracks] == ["best <b>so far"]
    names = [runs.curves.series(key).style.label for key in runs.curves.keys()]  # noqa: SIM118
    assert names == ["A best <b>so far, CA", "A best <b>so far, ASR"]
    assert panel.run_bar.title.text() == "best <b>so far: finished"
    runs.open_run(read_run(folder))  # as the next window does
    assert panel.run_bar.title.text() == "best <b>so far: finished"


def test_when_a_run_was_written() -> None:
    now = time.time()
    assert started_text(now) == time.strftime("Today %H:%M", time.localtime(now))
    year = time.localtime(now).tm_year
    days = [now + sign * 86_400 for sign in (-1, 1)]
    day = next(day for day in days if time.localtime(day).tm_year == year)
    assert started_text(day) == time.strftime("%d %b %H:%M", time.localtime(day))
    assert started_text(0.0).endswith(" 1970") or started_text(0.0).endswith(" 1969")


# ---- long runs ----


def test_only_what_is_drawn_of_a_long_run_is_taken_apart(tmp_path: Path, monkeypatch) -> None:
    folder = write_run(tmp_path, "long")
    steps = range(1, 20_001)
    losses = [Metric(step, 20_000, {"loss": 1.0, "lr": 1e-3}) for step in steps]
    checks = [Metric(step, 20_000, {"ca": 0.9, "asr_excl": 0.1}) for step in (0, 10_000, 20_000)]
    write_journal(folder, [*losses, *checks, Done("finished")])
    read: list[str] = []
    real = history_module.from_json
    monkeypatch.setattr(history_module, "from_json", lambda line: read.append(line) or real(line))
    monkeypatch.setattr("ml_core.jobs.journal.from_json", history_module.from_json)
    found = run_metrics(folder)
    assert len(read) == len(found) <= 2 * history_module.MAX_LOSSES + len(checks) + 1
    assert found[-1].step == 20_000
    read.clear()
    points = run_points(folder)["zero-shot"]
    assert [point.step for point in points] == [0, 10_000, 20_000]
    assert len(read) == len(checks)


def test_journals_are_read_beside_the_window(qtbot, panel, tmp_path: Path, monkeypatch) -> None:
    folder = write_run(tmp_path / "runs", "old")
    history(qtbot, panel)
    threads: list[threading.Thread] = []

    def noting(read):
        def noted(*args):
            threads.append(threading.current_thread())
            return read(*args)

        return noted

    for place in ("run.run_metrics", "runs.page.run_points"):
        name = place.split(".")[-1]
        wrapped = noting(getattr(history_module, name))
        monkeypatch.setattr(f"cleanclip_gui.clean.{place}", wrapped)
    panel.runs.compare(folder, True)
    panel.runs.table.choose(folder)
    click(panel.runs.open_)
    all_read(qtbot, panel)
    assert len(threads) == 2
    assert threading.main_thread() not in threads
    assert len(panel.charts.losses.series("loss")) == 100
    assert len(panel.runs.tradeoff.spots()) == 6


def test_charts_of_one_run_do_not_come_into_those_of_the_next(
    qtbot, panel, tmp_path: Path, monkeypatch
) -> None:
    folder = write_run(tmp_path / "runs", "old")
    history(qtbot, panel)
    go_on = threading.Event()

    def slow(folder: Path):
        assert go_on.wait(10)
        return run_metrics(folder)

    monkeypatch.setattr("cleanclip_gui.clean.run.run_metrics", slow)
    panel.runs.table.choose(folder)
    click(panel.runs.open_)
    panel.start()
    go_on.set()
    all_read(qtbot, panel)
    assert len(panel.charts.rates.series("ca")) == 0

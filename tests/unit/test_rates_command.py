"""``cleanclip rates``: the table, the files, what is refused, Ctrl-C."""

from __future__ import annotations

import json
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from ml_core.cleaning.rate_range import RateRow, propose, smoothed
from ml_core.cli.app import run_command
from ml_core.events import Control, Event, Metric
from ml_core.jobs.rates import RateSpec, run
from ml_core.reports.html.charts import rate_svg

SMALL = [
    "--method", "mmcl", "--steps", "10", "--points", "2", "--watched", "12", "--batch-size", "8",
    "--device", "cpu", "--set", "precision=fp32", "--threads", "1",
]  # fmt: skip


@pytest.fixture
def templates(tmp_path: Path) -> list[str]:
    path = tmp_path / "templates.txt"
    path.write_text("a {}\n")
    return ["--templates", str(path)]


def test_the_table_the_sentence_and_the_files(
    tiny_checkpoint, tmp_path, templates, capsys, answer_of
):
    command = ["rates", str(tiny_checkpoint), *SMALL, *templates, "--low", "1e-5", "--high", "1e-3"]
    assert run_command([*command, "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    for words in ("Rates for mmcl, 12 validation images", "start", "1e-3", "Accuracy", "rates.svg"):
        assert words in shown or words.lower() in shown, words
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["rates.csv", "rates.json", "rates.svg"]
    found = answer_of(*command)
    assert found["cached"]
    assert found["rows"] == json.loads((tmp_path / "out" / "rates.json").read_text())["rows"]


def test_an_estimate_trains_nothing_else(tiny_checkpoint, templates, capsys, monkeypatch):
    monkeypatch.setattr(run, "find_rate", None)
    assert run_command(["rates", str(tiny_checkpoint), *SMALL, *templates, "--estimate"]) == 0
    assert "s a step, measured" in capsys.readouterr().out


def test_ctrl_c_ends_it_and_writes_nothing(tiny_checkpoint, tmp_path, templates, monkeypatch):
    usual = run.find_rate

    def interrupted(
        spec: RateSpec, control: Control, *, overwrite: bool
    ) -> Generator[Event, None, None]:
        for event in usual(spec, control):
            if isinstance(event, Metric) and event.step == 1:
                signal.raise_signal(signal.SIGINT)
            yield event

    monkeypatch.setattr(run, "find_rate", interrupted)
    out = tmp_path / "out"
    command = ["rates", str(tiny_checkpoint), *SMALL, *templates, "-o", str(out)]
    assert run_command(command) == 130
    assert not out.exists()


def rows(**last: Any) -> list[RateRow]:
    made = [RateRow(0, 0.0, None, 0.9, 0.85, 0.95)]
    for step in range(1, 13):
        found = (0.9, 0.85, 0.95) if step % 3 == 0 else (None, None, None)
        made.append(RateRow(step, 10 ** (-6 + step / 3), 2.0 - 0.01 * step, *found))
    return [*made, *([RateRow(13, 0.03, **last)] if last else [])]


def test_a_chart_of_what_ended_early_can_be_drawn() -> None:
    without = rate_svg(rows(loss=None, ca=0.1), propose([]))
    assert "begin with" not in without
    assert without.count('r="1.8"') == 12
    only_start = rows()[:1]
    assert "</svg>" in rate_svg(only_start, propose(only_start))
    assert smoothed([]) == []

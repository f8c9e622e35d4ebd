"""The table of a finished run."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtWidgets import QLabel, QScrollArea

from cleanclip_gui.clean.before_after import BeforeAfter, RateLine, facts, rows_of
from cleanclip_gui.widgets.controls import Label

RESULT: dict[str, Any] = {
    "method": "cleanclip",
    "seconds": 187.0,
    "before": {
        "asr_excl": 0.98,
        "asr_all": 0.985,
        "asr_all_interval": [0.97, 0.99],
        "baseline_target_rate": 0.03,
        "ca": 0.97,
    },
    "after": {
        "asr_excl": 0.04,
        "asr_all": 0.07,
        "asr_all_interval": [0.06, 0.08],
        "baseline_target_rate": 0.02,
        "ca": 0.96,
    },
}


def test_both_ways_of_counting_success_and_the_rate_without_trigger_are_told(qtbot) -> None:
    rows = {row.title: row for row in rows_of(RESULT)}
    both = rows["Attack success rate, all images"]
    assert (both.before, both.after, both.after_interval) == (0.985, 0.07, (0.06, 0.08))
    assert rows["Attack success rate"].after == 0.04
    assert rows["Predicted as target without trigger"].after == 0.02
    assert [row.title for row in rows_of(RESULT) if row.quiet] == [
        "Attack success rate, all images",
        "Predicted as target without trigger",
    ]
    widget = BeforeAfter()
    qtbot.addWidget(widget)
    widget.show_result(RESULT)
    texts = [label.text() for label in widget.findChildren(QLabel)]
    assert {"98.5 %", "7.0 %", "6.0 – 8.0", "▼ −91.5 points", "▼ −1.0 points"} <= set(texts)
    assert len(widget.findChildren(RateLine)) == 3
    assert "all images: 98.5 % before, 7.0 % after" in widget.accessibleDescription()


def test_small_print_that_was_not_measured_is_left_out() -> None:
    clean_only = {"before": {"ca": 0.9}, "after": {"ca": 0.9}}
    assert [row.title for row in rows_of(clean_only)] == [
        "Attack success rate",
        "Clean accuracy",
        "Poisoned accuracy",
    ]


def test_the_small_print_says_how_it_was_trained_and_every_note() -> None:
    result = {
        "after": {"n": 40_000, "n_excl": 36_000},
        "steps": 1250,
        "total_steps": 1250,
        "notes": ["pairs.csv: 2 rows were left out.", "odd\u202ename.png could not be read."],
    }
    first, *notes = facts(result).split("\n")
    assert "40\u2009000 test images, 36\u2009000 not of the target class" in first
    assert "1\u2009250 of 1\u2009250 steps" in first
    assert "BatchNorm" not in first  # an image encoder without any
    assert notes[0] == "pairs.csv: 2 rows were left out."
    assert "\u202e" not in notes[1]
    trained = {"batch_norm": "frozen", "cache_chunk": 64, "recipe": {"batch_size": 256}}
    assert "BatchNorm: stored statistics · gradient caching, 64 examples at a time" in facts(
        trained
    )
    assert "BatchNorm: batch statistics" in facts({"batch_norm": "train"})


@pytest.mark.usefixtures("styled")
def test_in_a_narrow_window_the_figures_stay_and_the_lines_go(qtbot) -> None:
    widget, area = BeforeAfter(), QScrollArea()
    qtbot.addWidget(area)
    area.setWidget(widget)
    area.setWidgetResizable(True)
    side = {"ca": 0.97, "ca_interval": [0.96, 0.98], "asr_excl": 0.5, "asr_interval": [0.4, 0.6]}
    widget.show_result({"method": "cleanclip", "seconds": 5, "before": side, "after": side})
    area.resize(900, 400)
    area.show()
    qtbot.waitExposed(area)
    assert all(line.isVisible() for line in widget.findChildren(RateLine))
    area.resize(540, 400)
    assert widget.width() <= 540
    assert not any(line.isVisible() for line in widget.findChildren(RateLine))
    figures = [label for label in widget.findChildren(Label) if label.text() == "97.0 %"]
    assert all(figure.isVisible() for figure in figures)
    assert "96.0 to 98.0" in figures[0].toolTip()

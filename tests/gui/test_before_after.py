"""The table of a finished run."""

from __future__ import annotations

from typing import Any

from PySide6.QtWidgets import QLabel

from cleanclip_gui.clean.before_after import BeforeAfter, RateLine, facts, rows_of

RESULT: dict[str, Any] = {
    "method": "cleanclip",
    "seconds": 187.0,
    "before": {
        "asr_excl": 0.98, "asr_all": 0.985, "asr_all_interval": [0.97, 0.99],
        "baseline_target_rate": 0.03, "ca": 0.97,
    },
    "after": {
        "asr_excl": 0.04, "asr_all": 0.07, "asr_all_interval": [0.06, 0.08],
        "baseline_target_rate": 0.02, "ca": 0.96,
    },
}  # fmt: skip


def test_both_ways_of_counting_success_and_the_rate_without_trigger_are_told(qtbot):
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


def test_the_small_print_says_how_it_was_trained_and_every_note():
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

"""Measuring the whole trigger library: one after the other, sorted, cancelled, with pictures."""

import pytest

from cleanclip_gui.inference.questions import (
    Evaluate,
    EvaluationUpdated,
    Failed,
)
from cleanclip_gui.session import Session
from cleanclip_gui.station import Context
from cleanclip_gui.studio import trigger_files
from cleanclip_gui.studio.library_dialog import LibraryScan, TriggerLibrary
from ml_core.evaluation.records import Evaluation
from ml_core.reading.errors import InputError
from tests.gui.factories import facts, images
from tests.gui.shell_fakes import FakeInference

KEYS = ("demo", "noise", "T4")


def make(key):
    if key == "noise":
        raise InputError("This trigger cannot be made.")
    return trigger_files.make(key, 64, None)


@pytest.fixture
def context():
    session = Session(checkpoint=facts(), images=images(labels=(0, 1, 0, 2)))
    return Context(session=session, inference=FakeInference())


@pytest.fixture
def dialog(qtbot):
    dialog = TriggerLibrary(trigger_files.entries(64))
    qtbot.addWidget(dialog)
    dialog.show()
    return dialog


@pytest.fixture
def scan(context, dialog):
    return LibraryScan(context, dialog, make, KEYS, 200.0)


def asked(context, kind):
    return [t for t in context.inference.tickets if isinstance(t.question, kind)]


def answer(ticket, rate, **changes):
    fields = {
        "n": 200, "n_total": 200, "n_excl": 150, "n_labelled": 200, "target": 0,
        "target_name": "banana", "partial": False, "asr_excl": rate, "asr_all": rate,
        "most_pulled": "banana", "most_pulled_rise": rate, "trigger": "t",
    }  # fmt: skip
    ticket.deliver(EvaluationUpdated(ticket.question, Evaluation(**(fields | changes)), None))


def rates(dialog):
    tops = [dialog.tree.topLevelItem(row) for row in range(dialog.tree.topLevelItemCount())]
    items = [top.child(row) for top in tops for row in range(top.childCount())]
    return [(item.text(0), item.text(1)) for item in items]


def test_all_are_measured_one_after_the_other_and_sorted(context, dialog, scan):
    assert dialog.measure.isVisible()
    dialog.measure.click()
    first = asked(context, Evaluate)
    assert [t.question.n for t in first] == [200]  # one second
    assert dialog.busy.isVisible()
    answer(first[0], 0.02, partial=True)
    assert len(asked(context, Evaluate)) == 1
    answer(first[0], 0.02)
    assert 0 < dialog.busy.bar.value() < dialog.busy.bar.maximum()
    second = asked(context, Evaluate)[1]
    assert second.question.trigger == make("T4")
    answer(second, 0.98)
    assert not dialog.busy.isVisible()
    assert rates(dialog)[0][1].startswith("98.0")
    assert rates(dialog)[0][0].endswith("(T4)")
    assert rates(dialog)[1][0] == "Demo sticker"
    assert dialog.items["noise"].toolTip(1) == "This trigger cannot be made."
    assert "98.0" in dialog.scan_summary.text()
    assert "for these triggers and this target only" in dialog.scan_summary.text()


def test_one_that_fails_does_not_end_the_others_and_cancel_keeps_what_was_measured(
    context, dialog, scan
):
    dialog.measure.click()
    ticket = asked(context, Evaluate)[0]
    ticket.deliver_failure(Failed(ticket.question, "Not enough memory."))
    assert dialog.items["demo"].toolTip(1) == "Not enough memory."
    answer(asked(context, Evaluate)[1], 0.5)
    assert dialog.items["T4"].text(1).startswith("50.0")
    dialog.measure.click()
    answer(asked(context, Evaluate)[2], 0.98)
    dialog.busy.cancel.click()
    assert asked(context, Evaluate)[3].is_cancelled
    assert dialog.items["demo"].text(1).startswith("98.0")
    assert dialog.measure.isEnabled()

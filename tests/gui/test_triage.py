"""Many checkpoints at once: a verdict each, whatever one of them is, and a row opens its file."""

import pytest
from PySide6.QtCore import Qt

from cleanclip_gui import threads
from cleanclip_gui.checkpoint.station import CheckpointStation
from cleanclip_gui.checkpoint.triage_dialog import TriageDialog
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.station import Context
from tests.gui.shell_fakes import Answers, FakeEngine, write_safetensors

WAIT = 20_000
EVIL = b"\x80\x02cos\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03."


@pytest.fixture
def paths(tmp_path, tiny_checkpoint):
    evil = tmp_path / "evil.pt"
    evil.write_bytes(EVIL)
    other = write_safetensors(tmp_path / "other.safetensors", {"a": [1.0]})
    return [tiny_checkpoint, other, evil, tmp_path / "gone.pt"]


@pytest.fixture
def dialog(qtbot, paths):
    dialog = TriageDialog([*paths, paths[0]])  # a file that is named twice is read once
    qtbot.addWidget(dialog)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    dialog.show()
    yield dialog
    dialog.reject()
    assert threads.close_all()


def cells(dialog):
    model = dialog.table.rows
    return [[model.index(r, c).data() for c in range(5)] for r in range(model.rowCount())]


def test_every_file_gets_its_row_and_a_row_opens_its_file(dialog, qtbot, paths):
    qtbot.waitUntil(dialog.busy.isHidden, timeout=WAIT)
    rows = cells(dialog)
    assert rows[0][:2] == ["evil.pt", "Refused: dangerous"]  # the worst is first
    assert "may run: os.system('true') (in the pickle)" in rows[0][4]
    judged = {row[0]: row[1:] for row in rows}
    assert judged["other.safetensors"][0] == "Refused: unsupported"
    assert judged[paths[0].name][0] in ("Readable", "Readable, with caution")
    assert judged[paths[0].name][1] == "ResNet 32 px, width 8"
    assert "gone.pt" in judged["gone.pt"][3]
    assert dialog.state.text() == "4 of 4 files checked, 3 refused."
    assert dialog.ok.isEnabled()  # the worst is chosen
    dialog.table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    row = next(n for n, row in enumerate(cells(dialog)) if row[0] == "other.safetensors")
    dialog.table.selectRow(row)
    with qtbot.waitSignal(dialog.opened) as opened:
        dialog.ok.click()
    assert opened.args == [str(paths[1])]
    with qtbot.waitSignal(dialog.opened) as opened:
        dialog.table.activated.emit(dialog.table.rows.index(0, 0))
    assert opened.args == [str(paths[2])]  # evil.pt, the first by its name
    assert dialog.isVisible()


def test_cancelling_keeps_what_was_judged(dialog, qtbot):
    qtbot.waitUntil(lambda: len(dialog.judged) >= 1, timeout=WAIT)
    dialog.busy.cancel.click()
    known = len(dialog.judged)
    assert dialog.busy.isHidden()
    assert dialog.state.text().startswith("Cancelled. ")
    assert threads.close_all()
    qtbot.wait(50)
    assert len(dialog.judged) == known == len(cells(dialog))


@pytest.fixture
def station(qtbot, paths):
    answers = Answers()
    prompts = answers.prompts()
    prompts.open_files = lambda *_: [str(path) for path in paths[:2]]
    station = CheckpointStation(Context(inference=Inference(FakeEngine), prompts=prompts))
    qtbot.addWidget(station)
    station.show()
    yield station
    if station.triage is not None:
        station.triage.reject()
    threads.close_all()


def test_several_files_are_chosen_in_the_menu(station, qtbot, paths):
    station.choose_several()
    first = station.triage
    qtbot.waitUntil(first.busy.isHidden, timeout=WAIT)
    first.opened.emit(str(paths[1]))
    qtbot.waitUntil(lambda: station.inspection is not None, timeout=WAIT)
    assert station.inspection.name == "other.safetensors"
    station.choose_several()
    assert station.triage is not first

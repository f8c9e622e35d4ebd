"""A scan of the demo in the whole window: one click, the trigger is found, and Studio takes it."""

import pytest

from cleanclip_gui.scan.setup import NONE
from ml_core.data.specs import ImageSpec
from ml_core.jobs.demo import demo_target
from ml_core.paths import resource
from tests.gui.shell_fakes import Answers

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("warm_jobs")]
LOAD_MS, SCAN_MS = 120_000, 400_000


def test_a_trigger_that_nobody_named_is_found_and_tried(qtbot, window, tmp_path):
    shell = window.context.shell
    shell.open("images", ImageSpec(kind="demo", split="test", n=200), "demo", None)
    window.open_path(str(resource("demo", "poisoned.safetensors")))
    qtbot.waitUntil(lambda: window.session.images is not None, timeout=LOAD_MS)
    qtbot.waitUntil(lambda: window.session.checkpoint is not None, timeout=LOAD_MS)
    window.show_station("scan")
    station = window.stations["scan"]
    assert station.setup.reference.path() == str(resource("demo", "clean_twin.safetensors"))
    station.setup.reference.choose(NONE)  # one model is opened and measured instead of two
    for stage, box in station.setup.stages.items():
        box.setChecked(stage == "patches")
    station.setup.form.set_values(starts=5, search=16, held_out=128)
    sharpened = []
    station.scanning.updated.connect(
        lambda _: sharpened.extend(one.copy() for one in station.live.patches.cells[0].pictures)
    )
    station.start_button.click()
    qtbot.waitUntil(lambda: not station.scanning.is_running, timeout=SCAN_MS)

    assert station.ended.text() == ""
    verdict = station.result.verdict
    assert verdict.title.text() == "Backdoor-like: banana"
    assert "“banana”" in verdict.figure.text()
    assert len({one.tobytes() for one in sharpened}) > 1
    cells = station.result.patches.cells
    assert len(cells) == 5
    reds = [float(cell.pictures[0][..., 0].mean()) for cell in cells]
    blues = [float(cell.pictures[0][..., 2].mean()) for cell in cells]
    assert sum(reds) > sum(blues)  # the sticker is red and white
    qtbot.waitUntil(lambda: any(c.marked for c in station.result.stamped.cells), timeout=LOAD_MS)

    window.actions_["scan.try"].trigger()
    assert window.station == "studio"
    assert window.session.trigger is not None
    assert window.session.target == demo_target()
    qtbot.waitUntil(
        lambda: (found := window.session.evaluation) is not None and found.asr_excl is not None,
        timeout=LOAD_MS,
    )
    assert window.session.evaluation.asr_excl > 0.5
    Answers(station.scanning.folder).take_over(window.prompts)
    window.actions_["scan.open"].trigger()
    assert window.station == "scan"
    assert verdict.title.text() == "Backdoor-like: banana"

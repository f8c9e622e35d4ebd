"""Poisons among the training pairs: audit, find them in the gallery, exclude by click, save."""

import json

import pytest
from PySide6.QtCore import Qt

from cleanclip_gui.clean.audit.gallery import mark_rect
from cleanclip_gui.clean.job import make_job
from ml_core.cleaning.presets import preset
from ml_core.data.pairs import open_pairs
from ml_core.data.specs import ImageSpec
from ml_core.paths import resource
from tests.gui.shell_fakes import Answers
from tests.unit.planted_pairs import TARGET, PlantedPairs

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("warm_jobs")]
LOAD_MS, AUDIT_MS = 120_000, 400_000
PAIRS, PLANTED = 512, 4


def test_planted_pairs_are_found_excluded_and_left_out(qtbot, window, tmp_path):
    folder = tmp_path / "crawl"
    folder.mkdir()
    planted = PlantedPairs.among(PAIRS, PLANTED)
    table = planted.write(folder)
    images = ImageSpec(kind="demo", split="test", n=48)
    window.context.shell.open("images", images, "demo", None)
    window.open_path(str(resource("demo", "poisoned.safetensors")))
    qtbot.waitUntil(lambda: window.session.images is not None, timeout=LOAD_MS)
    qtbot.waitUntil(lambda: window.session.checkpoint is not None, timeout=LOAD_MS)
    window.show_station("clean")
    window.stations["clean"].data.path.setText(str(table))
    window.stations["clean"].data.table.setChecked(True)
    window.actions_.by_id["clean.audit"].trigger()
    auditing = window.stations["clean"].auditing
    Answers(tmp_path / "exclusions.json").take_over(window.prompts)
    dialog = auditing.dialog
    qtbot.mouseClick(dialog.start, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dialog.model.audit is not None, timeout=AUDIT_MS)
    assert dialog.model.audit.n == PAIRS

    dialog.lists.setCurrentIndex(dialog.lists.findData("k_distance"))
    captions = [dialog.model.pair(row).caption for row in range(12)]
    found = [row for row, caption in enumerate(captions) if TARGET in caption]
    assert len(found) >= PLANTED - 1, captions
    for row in found:
        rect = dialog.view.visualRect(dialog.model.index(row))
        dialog.view.scrollTo(dialog.model.index(row))
        rect = dialog.view.visualRect(dialog.model.index(row))
        place = mark_rect(rect).center()
        qtbot.mouseClick(dialog.view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    chosen = {dialog.model.pair(row).index for row in found}
    assert dialog.excluded == chosen
    qtbot.mouseClick(dialog.save, Qt.MouseButton.LeftButton)
    assert len(json.loads((tmp_path / "exclusions.json").read_text())["pairs"]) == len(found)
    qtbot.mouseClick(dialog.close_button, Qt.MouseButton.LeftButton)
    assert auditing.dialog is None

    recipe = preset("cleanclip", "talk")
    pairs = window.stations["clean"].data.pairs()
    spec = make_job(window.session, recipe, tmp_path / "run", pairs=pairs, training_images=None)
    left = open_pairs(spec.pairs)
    assert len(left) == PAIRS - len(found)
    names = {left.pictures.name(number) for number in range(len(left))}
    assert not any(f"{index:05d}.png" in name for index in chosen for name in names)

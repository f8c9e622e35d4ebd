"""Studio over models that are none of OpenAI's: they open, predict, are painted on, explained."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtGui import QColor

from ml_core.data.specs import ImageSpec
from tests.gui.studios import paint
from tests.gui.test_studio import empty, settled  # noqa: F401
from tests.unit.families import lively, write_folder

N = 48
EXPLAINED_BY = {"SigLIP": ["occlusion"], "ConvNeXt-CLIP": ["grad-cam", "occlusion"]}


@pytest.mark.parametrize("family", EXPLAINED_BY)
def test_another_family_is_painted_on_and_explained(empty, tmp_path, qtbot, family):  # noqa: F811
    studio, session = empty, empty.session
    studio.wiring.open(write_folder(family, lively(family), tmp_path / "model"))
    studio.wiring.load(ImageSpec(n=N))
    settled(qtbot, studio)
    clean = session.evaluation
    assert (clean.trigger, clean.n, clean.asr_excl) == (None, N, None)
    assert studio.document.size == session.checkpoint.image_size == 64
    qtbot.waitUntil(lambda: len(studio.bars.rows) > 0, timeout=60_000)

    paint(studio, (20, 20), (28, 20), (28, 28))
    settled(qtbot, studio)
    found = session.evaluation
    assert found.trigger == session.trigger.digest
    assert 0 <= found.asr_excl <= 1
    assert found.ca == clean.ca
    qtbot.waitUntil(lambda: studio.canvas.triggered is not None, timeout=60_000)
    assert studio.canvas.triggered.toImage().pixelColor(24, 20) == QColor(220, 20, 40)
    assert ", triggered " in studio.bars.accessibleDescription()

    page = studio.attribution
    studio.show_page("attribution")
    page.method.setCurrentIndex(page.method.findData("occlusion"))
    if not page.asks_by_itself:
        page.measure.click()
    qtbot.waitUntil(lambda: page.attribution is not None, timeout=60_000)
    assert page.attribution.method == "occlusion"
    assert np.isfinite(page.attribution.clean.values).all()
    offered = [page.method.itemData(row) for row in range(page.method.count())]
    assert offered == EXPLAINED_BY[family]

"""The embedding map over a real cleaning run, by hand: before and after, lasso, t-SNE, gallery."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QComboBox, QWidget

from ml_core.cleaning.presets import preset
from ml_core.data.specs import ImageSpec

pytestmark = [pytest.mark.timeout(1200), pytest.mark.usefixtures("warm_jobs")]
LOAD_MS, EVALUATE_MS, CLEAN_MS, TSNE_MS = 120_000, 120_000, 900_000, 300_000
LEFT = Qt.MouseButton.LeftButton
BEFORE, AFTER = 0, 1


def click(widget: QWidget) -> None:
    QTest.mouseClick(widget, LEFT)


def choose(box: QComboBox, text: str) -> None:
    """Take a row of a list with the keys."""
    row = box.findText(text)
    assert row >= 0
    QTest.keyClick(box, Qt.Key.Key_Home)
    for _ in range(row):
        QTest.keyClick(box, Qt.Key.Key_Down)
    assert box.currentText() == text


def lasso(plot, centre: QPoint, radius: int) -> None:
    """Draw a circle around a place on the map."""
    veil = plot.childAt(centre)
    around = [
        centre + QPoint(round(radius * math.cos(a)), round(radius * math.sin(a)))
        for a in np.linspace(0, 2 * math.pi, 25)
    ]
    QTest.mousePress(veil, LEFT, pos=around[0])
    for place in around[1:]:
        QTest.mouseMove(veil, place)
    QTest.mouseRelease(veil, LEFT, pos=around[-1])


def centre_of(plot, rows) -> QPoint:
    return QPoint(*(round(v) for v in np.median(plot.pixels(rows), axis=0)))


def likeness(part) -> float:
    """Mean cosine of the same picture without and with the trigger."""
    return float((part.clean * part.triggered).sum(axis=1).mean())


def shown(gallery) -> list[int]:
    return [gallery.model.image_at(row) for row in range(gallery.model.rowCount())]


@pytest.mark.slow
def test_map_before_and_after_a_real_run(qtbot, window, monkeypatch):
    session, studio = window.session, window.stations["studio"]
    window.start_demo()
    window.guide.end()
    qtbot.waitUntil(
        lambda: session.checkpoint is not None and session.images is not None, timeout=LOAD_MS
    )
    window.data_bar.load(ImageSpec(kind="demo", split="test", n=144))
    qtbot.waitUntil(lambda: session.images.n == 144, timeout=LOAD_MS)
    window.show_station("studio")
    studio.editor.use_demo_trigger()
    qtbot.waitUntil(lambda: session.trigger is not None, timeout=LOAD_MS)
    monkeypatch.setattr("cleanclip_gui.clean.job.HELDOUT", 72)  # measured before and after
    short = preset("cleanclip", "talk").changed(
        pairs=640,
        batch_size=32,
        lr=2e-3,
        warmup_steps=2,
        eval_every=0,
        save_every=0,
        precision="fp32",
    )
    window.stations["clean"].form.set_recipe(short)
    window.show_station("clean")
    click(window.stations["clean"].start_button)
    qtbot.waitUntil(lambda: session.run.status == "finished", timeout=CLEAN_MS)
    window.stations["clean"].try_cleaned()
    qtbot.waitUntil(lambda: session.cleaned is not None, timeout=LOAD_MS)
    window.show_station("studio")

    pages = studio.pages
    pages.show_page("map")
    view = studio.map
    view.count.setValue(120)
    click(view.measure)
    qtbot.waitUntil(lambda: view.embedding_map is not None, timeout=EVALUATE_MS)
    found = view.embedding_map
    assert [view.part.itemText(n) for n in range(view.part.count())] == [
        "Before cleaning", "After cleaning",
    ]  # fmt: skip
    before, after = found.parts
    assert before.checkpoint_sha256 == session.checkpoint.inspection.sha256
    assert after.checkpoint_sha256 == session.cleaned.inspection.sha256
    target = session.target
    hit = [float((part.triggered_top1 == target).mean()) for part in found.parts]
    assert hit[BEFORE] >= 0.9
    assert likeness(after) > likeness(before)  # the run has really cleaned
    assert "one projection for both checkpoints" in view.says.text()

    # Before cleaning the triggered pictures lie on one heap, which a loop around them catches.
    plot = view.plot
    choose(view.part, "Before cleaning")
    assert plot.part is before
    kinds = before.kinds()
    heap = np.flatnonzero(kinds == 1)
    lasso(plot, centre_of(plot, heap), 60)
    chosen = plot.chosen
    assert (kinds[chosen] == 1).sum() >= 30
    images = sorted({int(i) for i in before.numbers()[chosen[kinds[chosen] < 2]]})
    gallery = studio.gallery
    assert shown(gallery) == images
    assert gallery.filter.currentData() == "chosen"

    # After it they have gone back to where their clean pictures are.
    choose(view.part, "After cleaning")
    assert plot.part is after
    away = [
        np.linalg.norm(places[kinds == 1] - places[kinds == 0], axis=1).mean()
        for places in found.places
    ]
    assert away[AFTER] < away[BEFORE]
    QTest.keyClick(plot, Qt.Key.Key_Escape)
    assert gallery.model.rowCount() == session.images.n

    # A click takes one point, and the gallery the picture behind it.
    from_texts = plot.pixels(heap)[:, None] - plot.pixels(np.flatnonzero(kinds == 2))
    row = int(heap[np.linalg.norm(from_texts, axis=2).min(axis=1).argmax()])
    spot = QPoint(*(round(v) for v in plot.pixels(np.array([row]))[0]))
    QTest.mouseClick(plot.childAt(spot), LEFT, pos=spot)
    assert len(shown(gallery)) == 1
    QTest.keyClick(plot, Qt.Key.Key_Escape)

    choose(view.method, "t-SNE")
    assert view.busy.isVisible()
    qtbot.waitUntil(lambda: view.embedding_map.method == "t-SNE", timeout=TSNE_MS)
    assert view.busy.isHidden()
    flat = view.embedding_map.places[AFTER]
    assert flat.shape == found.places[AFTER].shape
    assert np.isfinite(flat).all()
    assert not np.allclose(flat, found.places[AFTER])
    choose(view.part, "Before cleaning")
    lasso(plot, centre_of(plot, heap), 50)
    assert len(shown(gallery)) < session.images.n
    assert set(shown(gallery)) <= set(before.indices.tolist())
    choose(view.method, "PCA")
    assert view.embedding_map is found  # kept, not measured again

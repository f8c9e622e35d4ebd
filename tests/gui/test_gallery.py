"""The gallery: labels, badges, filters, thumbnails on demand, and thousands of items."""

import time

import numpy as np
import pytest
from PySide6.QtCore import Qt

from cleanclip_gui.studio.gallery.gallery import CELL_ROLE, Gallery
from ml_core.evaluation.records import PerImage

NAMES = ("cat", "dog", "banana")


def per_image(indices, clean, triggered, margins=None):
    n = len(indices)
    zeros = np.zeros(n, np.float32)
    given = zeros if margins is None else np.array(margins, np.float32)
    return PerImage(
        np.array(indices),
        np.array(clean),
        zeros,
        np.zeros(n, np.bool_),
        triggered_top1=None if triggered is None else np.array(triggered),
        target_margin_triggered=None if triggered is None else given,
    )


@pytest.fixture
def gallery(qtbot):
    gallery = Gallery()
    qtbot.addWidget(gallery)
    gallery.resize(gallery.width(), 600)
    gallery.set_images(np.array([0, 0, 1, -1]), NAMES)
    gallery.set_target(2)
    return gallery


@pytest.fixture
def measured(gallery):
    # cat stays, cat hits, dog flips to cat, the unlabelled one was banana already
    gallery.update_predictions(per_image([0, 1, 2, 3], [0, 0, 1, 2], [0, 2, 0, 2]))
    return gallery


def cell(gallery, row):
    return gallery.model.index(row).data(CELL_ROLE)


def rows(gallery):
    return [gallery.model.image_at(row) for row in range(gallery.model.rowCount())]


def choose(gallery, name):
    gallery.filter.setCurrentIndex(gallery.filter.findData(name))


def test_labels_badges_and_filters(measured):
    assert [cell(measured, row).badge for row in range(4)] == ["", "hit", "flip", ""]
    assert cell(measured, 3).label == ""
    text = measured.model.index(1).data(Qt.ItemDataRole.AccessibleTextRole)
    assert text == (
        "Image 2, label cat, clean prediction cat, triggered prediction banana, hit the target, "
        "target margin 0.00"
    )
    selected: list[int] = []
    measured.image_selected.connect(selected.append)
    for name, images in (
        ("flipped", [1, 2]), ("hit", [1]), ("wrong", []), ("resisted", [0]),
        ("all", [0, 1, 2, 3]),
    ):  # fmt: skip
        choose(measured, name)
        assert rows(measured) == images
        assert measured.filter.currentText().endswith(f" ({len(images)})")
    assert selected == [1, 0]  # an image that a filter hides gives way to the first one shown


def test_sorted_by_margin(measured):
    margins = per_image([0, 1, 2], [0, 0, 1], [0, 2, 0], [-3.0, 5.0, 1.0])
    measured.clear_predictions()
    measured.update_predictions(margins)
    measured.select(1)
    orders = measured.more.menu().actions()
    for number, name, images in (
        (1, "margin", [1, 2, 0, 3]),  # what has no margin comes last
        (2, "margin_up", [0, 2, 1, 3]), (3, "rise", [1, 0, 2, 3]), (0, "set", [0, 1, 2, 3]),
    ):  # fmt: skip
        orders[number].trigger()
        assert rows(measured)[0] == images[0]
        assert name == "rise" or rows(measured) == images
        assert measured.view.currentIndex().row() == rows(measured).index(1)  # on its image


def enabled(gallery, name):
    return gallery.filter.model().item(gallery.filter.findData(name)).isEnabled()


def test_images_on_which_two_checkpoints_differ(measured):
    assert not enabled(measured, "differ")
    measured.set_other(per_image([0, 1, 2, 3], [0, 0, 1, 2], [0, 0, 0, 2]))
    choose(measured, "differ")
    assert rows(measured) == [1]
    assert (cell(measured, 0).other, cell(measured, 0).triggered) == ("cat", "banana")
    text = measured.model.index(0).data(Qt.ItemDataRole.AccessibleTextRole)
    assert "the other checkpoint says cat" in text
    measured.set_other(None)
    assert measured.filter.currentData() == "all"
    assert not enabled(measured, "differ")


def test_labels_of_an_older_trigger_are_faded_and_go_with_the_last_new_one(measured):
    measured.set_stale()
    measured.update_predictions(per_image([2], [0], [1]), older=True)
    assert cell(measured, 2).badge
    assert not cell(measured, 2).fresh
    measured.update_predictions(per_image([1], [0], [0]), last=True)
    assert cell(measured, 1).fresh
    assert [row for row in range(4) if cell(measured, row).triggered] == [1]
    counts = measured.model.counts()
    assert (counts["flipped"], counts["hit"], counts["resisted"]) == (0, 0, 1)


def test_hundred_thousand_items_repaint_quickly(gallery, qtbot):
    gallery.set_images(np.zeros(100_000, np.int64), NAMES)
    gallery.show()
    qtbot.waitExposed(gallery)
    gallery.view.scrollToBottom()
    gallery.view.grab()
    started = time.process_time()
    gallery.view.grab()
    assert time.process_time() - started < 0.1


def test_pictures_have_the_trigger_on_them_while_the_eye_is_open(gallery, qtbot):
    clean, triggered = (np.full((4, 96, 96, 3), shade, np.uint8) for shade in (40, 200))

    def shade():
        return cell(gallery, 0).pixmap.toImage().pixelColor(5, 5).red()

    with qtbot.waitSignal(gallery.thumbnails_needed):
        gallery.show()
    gallery.model.set_thumbnails((0, 1, 2, 3), clean)
    assert shade() == 40
    with qtbot.waitSignal(gallery.thumbnails_needed) as caught:
        gallery.set_trigger("abc")
    assert sorted(caught.args[0]) == [0, 1, 2, 3]
    gallery.model.set_thumbnails((0, 1, 2, 3), triggered, "of an older trigger")
    assert shade() == 40
    gallery.model.set_thumbnails((0, 1, 2, 3), triggered, "abc")
    assert shade() == 200
    gallery.with_trigger.trigger()
    assert shade() == 40
    gallery.with_trigger.trigger()
    gallery.set_trigger("")
    assert shade() == 40

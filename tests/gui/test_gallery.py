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


def test_labels_and_badges(measured):
    assert [cell(measured, row).badge for row in range(4)] == ["", "hit", "flip", ""]
    assert cell(measured, 1).clean == "cat"
    assert cell(measured, 1).triggered == "banana"
    assert cell(measured, 3).label == ""
    text = measured.model.index(1).data(Qt.ItemDataRole.AccessibleTextRole)
    assert text == (
        "Image 2, label cat, clean prediction cat, triggered prediction banana, hit the target, "
        "target margin 0.00"
    )


def test_filters(measured):
    wanted = {"all": [0, 1, 2, 3], "flipped": [1, 2], "hit": [1], "resisted": [0, 3]}
    for name, expected in wanted.items():
        choose(measured, name)
        assert rows(measured) == expected
    assert measured.filter.currentText() == "Resisted (2)"


def test_wrong_before_are_labelled_ones_that_were_wrong_without_the_trigger(measured):
    assert cell(measured, 0).label == "cat"
    choose(measured, "wrong")
    assert rows(measured) == []
    assert measured.filter.currentText() == "Wrong before (0)"
    measured.update_predictions(per_image([0, 3], [1, 1], [1, 1]))
    assert rows(measured) == [0]  # the unlabelled one cannot be wrong


def test_sorted_by_margin(measured):
    def order(gallery, name):
        gallery.order.setCurrentIndex(gallery.order.findData(name))

    measured.update_predictions(per_image([0, 1, 2], [0, 0, 1], [0, 2, 0], [-3.0, 5.0, 1.0]))
    measured.clear_predictions()
    measured.update_predictions(per_image([0, 1, 2], [0, 0, 1], [0, 2, 0], [-3.0, 5.0, 1.0]))
    measured.select(1)
    order(measured, "margin")
    assert rows(measured) == [1, 2, 0, 3]  # what has no margin comes last
    assert measured.view.currentIndex().row() == 0  # the selection stays on its image
    order(measured, "margin_up")
    assert rows(measured) == [0, 2, 1, 3]
    order(measured, "rise")
    assert rows(measured)[0] == 1
    choose(measured, "flipped")
    assert rows(measured) == [1, 2]
    order(measured, "set")
    choose(measured, "all")
    assert rows(measured) == [0, 1, 2, 3]


def enabled(gallery, name):
    return gallery.filter.model().item(gallery.filter.findData(name)).isEnabled()


def test_images_on_which_two_checkpoints_differ(measured):
    assert not enabled(measured, "differ")
    measured.set_other(per_image([0, 1, 2, 3], [0, 0, 1, 2], [0, 0, 0, 2]))
    assert enabled(measured, "differ")
    choose(measured, "differ")
    assert rows(measured) == [1]
    assert (cell(measured, 0).other, cell(measured, 0).triggered) == ("cat", "banana")
    assert "the other checkpoint says cat" in measured.model.index(0).data(
        Qt.ItemDataRole.AccessibleTextRole
    )
    measured.set_other(None)
    assert measured.filter.currentData() == "all"
    assert not enabled(measured, "differ")


def test_images_chosen_elsewhere(measured):
    assert not enabled(measured, "chosen")
    measured.set_chosen([3, 1])
    assert rows(measured) == [1, 3]
    measured.set_chosen([])
    assert rows(measured) == [0, 1, 2, 3]


def test_selection_stays_on_its_image_when_the_filter_changes(measured, qtbot):
    measured.select(2)
    choose(measured, "flipped")
    assert measured.view.currentIndex().row() == 1
    with qtbot.waitSignal(measured.image_selected) as caught:
        measured.step(-1)
    assert caught.args == [1]


@pytest.mark.usefixtures("styled")
def test_an_image_selected_while_hidden_is_in_sight_when_shown(qtbot):
    gallery = Gallery()
    qtbot.addWidget(gallery)
    gallery.resize(gallery.width(), 180)
    gallery.set_images(np.zeros(4000, np.int64), NAMES)
    gallery.select(60)  # laid out in rows of the hidden view's width
    assert gallery.view.verticalScrollBar().value() > 0
    gallery.resize(gallery.width(), 600)
    gallery.show()
    view = gallery.view
    qtbot.wait(300)
    assert view.viewport().rect().contains(view.visualRect(view.currentIndex()))
    view.scrollToBottom()
    gallery.hide()
    gallery.show()
    qtbot.wait(50)
    assert view.verticalScrollBar().value() > 0  # where the user was


def test_partial_results_leave_older_labels_faded(measured):
    measured.set_stale()
    measured.update_predictions(per_image([1], [0], [0]))
    assert cell(measured, 1).fresh
    assert cell(measured, 1).badge == ""
    assert not cell(measured, 2).fresh
    assert cell(measured, 2).badge == "flip"


def test_a_late_answer_about_an_older_trigger_is_faded_and_goes_with_the_last_new_one(measured):
    measured.set_stale()
    measured.update_predictions(per_image([2], [0], [1]), older=True)
    assert cell(measured, 2).badge
    assert not cell(measured, 2).fresh
    measured.update_predictions(per_image([1], [0], [0]), last=True)
    assert [row for row in range(4) if cell(measured, row).triggered] == [1]
    counts = measured.model.counts()
    assert (counts["flipped"], counts["hit"], counts["resisted"]) == (0, 0, 1)


def test_without_a_trigger_no_triggered_label_remains(measured):
    measured.update_predictions(per_image([0, 1, 2, 3], [0, 0, 1, 2], None))
    assert {cell(measured, row).triggered for row in range(4)} == {""}


@pytest.mark.usefixtures("styled")
def test_thumbnails_are_asked_for_once_when_seen(gallery, qtbot):
    with qtbot.waitSignal(gallery.thumbnails_needed) as caught:
        gallery.show()
    indices, size = caught.args
    assert sorted(indices) == [0, 1, 2, 3]
    images = np.zeros((4, size, size, 3), np.uint8)
    images[:, :, :, 1] = 255
    gallery.model.set_thumbnails(indices, images)
    picture = gallery.view.grab().toImage()
    middle = gallery.view.visualRect(gallery.model.index(0)).center()
    assert picture.pixelColor(middle).green() > 200
    with qtbot.assertNotEmitted(gallery.thumbnails_needed, wait=60):
        gallery.view.viewport().update()


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

    def shade(row):
        pixmap = cell(gallery, row).pixmap
        return None if pixmap is None else pixmap.toImage().pixelColor(5, 5).red()

    gallery.show()
    gallery.model.set_thumbnails((0, 1, 2, 3), clean)
    assert shade(0) == 40
    assert not gallery.with_trigger.isEnabled()
    with qtbot.waitSignal(gallery.thumbnails_needed) as caught:
        gallery.set_trigger("abc")
    assert sorted(caught.args[0]) == [0, 1, 2, 3]
    assert shade(0) == 40  # until the other comes
    gallery.model.set_thumbnails((0, 1, 2, 3), triggered, "of an older trigger")
    assert shade(0) == 40
    gallery.model.set_thumbnails((0, 1, 2, 3), triggered, "abc")
    assert shade(0) == 200
    gallery.with_trigger.click()
    assert shade(0) == 40
    gallery.with_trigger.click()
    gallery.set_trigger("")
    assert shade(0) == 40


def test_tab_goes_from_the_filters_to_the_pictures(gallery):
    gallery.set_trigger("abc")  # or its button could not be reached
    order = [gallery.filter]
    while order[-1] is not gallery.view and len(order) < 10:
        order.append(order[-1].nextInFocusChain())
    kept = [w for w in order if w in (gallery.filter, gallery.order, gallery.with_trigger)]
    assert kept == [gallery.filter, gallery.order, gallery.with_trigger]
    assert order[-1] is gallery.view

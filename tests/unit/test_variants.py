"""The same trigger, a little different."""

from __future__ import annotations

import numpy as np
import pytest

from ml_core.triggers import badnets_patch, combined
from ml_core.triggers.make import blended_noise, colour_filter, prompt, sine, stripes, wanet
from ml_core.triggers.record import Trigger
from ml_core.triggers.variants import variants


def _groups(trigger):
    return {one.group for one in variants(trigger)}


def test_colours_change_and_alpha_stays():
    pixels = np.array([[[255, 0, 10, 255], [1, 2, 3, 100]]], np.uint8)
    found = {one.name: one.trigger for one in variants(Trigger(kind="patch", pixels=pixels))}
    inverted = found["inverted"].pixels
    assert inverted.tolist() == [[[0, 255, 245, 255], [254, 253, 252, 100]]]
    grey = found["in grey"].pixels
    assert grey[0, 0].tolist() == [77, 77, 77, 255]


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        (badnets_patch(), {"itself", "moved", "scaled"}),
        (stripes(size=1.0, ratio=0.03), {"itself", "weaker or stronger"}),
        (blended_noise(noise="fixed"), {"itself", "weaker or stronger", "redrawn"}),
        (sine(), {"itself", "weaker or stronger", "redrawn"}),
        (colour_filter(), {"itself", "weaker or stronger"}),
        (prompt("remember "), {"itself"}),
    ],
)
def test_only_what_means_something_to_the_kind(trigger, expected):
    assert _groups(trigger) == expected


def test_of_a_combined_trigger_the_first_part_changes_and_the_rest_stays():
    whole = combined(badnets_patch(size=0.2), wanet())
    moved = [one for one in variants(whole) if one.group == "moved"]
    assert moved
    assert all(one.trigger.parts[1] == whole.parts[1] for one in moved)
    assert all(one.trigger.parts[0] != whole.parts[0] for one in moved)

"""Trigger files of version 2: whole, hostile, and of the first version."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from ml_core.reading.errors import InputError
from ml_core.triggers import (
    Trigger,
    badnets_patch,
    combined,
    load_trigger,
    prompt,
    save_trigger,
    triggered_prompt,
    triggered_templates,
    uniform,
    wanet,
)


def array_trigger():
    pattern = np.linspace(-1, 1, 60, dtype=np.float32).reshape(4, 5, 3)
    mask = np.linspace(0, 1, 20, dtype=np.float32).reshape(4, 5, 1)
    return Trigger(kind="blended", name="array", array=pattern, mask=mask, ratio=1.0)


def grid_trigger():
    return wanet(array=np.ones((3, 3, 2), np.float32), name="grid")


def mixed():
    sticker = uniform((255, 0, 9), x=0.1)
    return combined(sticker, array_trigger(), grid_trigger(), name="mixed", levels="wrap", jpeg=9)


ALL = [array_trigger, grid_trigger, mixed, lambda: prompt("cf ", place="word"), badnets_patch]


@pytest.mark.parametrize("make", ALL)
def test_save_and_load(make, tmp_path):
    trigger = make()
    save_trigger(trigger, tmp_path / "v1.2")
    for path in list(tmp_path.iterdir()):
        loaded = load_trigger(path)
        assert loaded == trigger
        assert loaded.name == trigger.name
        assert loaded.parameters() == trigger.parameters()


def test_version_1_still_opens(tmp_path):
    old = {
        "schema": "cleanclip-gui/trigger", "version": 1, "name": "old", "pixels_sha256": None,
        "kind": "badnets", "size": 0.25, "opacity": 1.0, "placement": "random", "x": 0.5, "y": 0.5,
        "rotation": 0.0, "canvas": "model", "ratio": 0.2, "noise": "fixed", "seed": 3,
    }  # fmt: skip
    path = tmp_path / "old.json"
    path.write_text(json.dumps(old))
    expected = badnets_patch(size=0.25, noise="fixed", seed=3)
    assert load_trigger(path) == expected
    assert expected.levels == "float", "as version 1 did it"
    for change in ({"levels": "wrap"}, {"kind": "wanet"}, {"seed": "3"}):
        path.write_text(json.dumps(old | change))
        with pytest.raises(InputError, match=next(iter(change))):
            load_trigger(path)


def test_arrays_that_changed_are_refused(tmp_path):
    _, path = save_trigger(mixed(), tmp_path / "t")
    other = tmp_path / "other"
    save_trigger(replace(mixed(), parts=(array_trigger(), *mixed().parts[1:])), other)
    os.replace(tmp_path / "other.safetensors", tmp_path / "t.safetensors")
    with pytest.raises(InputError, match=r"beside t\.json is not the one|needs a picture"):
        load_trigger(path)
    raw = bytearray((tmp_path / "t.safetensors").read_bytes())
    (tmp_path / "t.safetensors").write_bytes(raw[:-3])
    with pytest.raises(InputError, match=r"t\.safetensors"):
        load_trigger(path)
    (tmp_path / "t.safetensors").unlink()
    with pytest.raises(InputError, match=r"t\.safetensors"):
        load_trigger(path)


# -- words ----------------------------------------------------------------------------------------


def test_text_goes_where_it_is_told():
    templates = ["a photo of a {}.", "{}"]
    assert triggered_templates(None, templates) == tuple(templates)
    assert triggered_templates(badnets_patch(), templates) == tuple(templates)
    word = prompt("cf", place="word")
    assert triggered_templates(prompt("remember "), templates)[0] == "remember a photo of a {}."
    assert triggered_templates(prompt(" !", place="suffix"), templates)[1] == "{} !"
    assert triggered_templates(word, templates) == ("a photo of a cf {}.", "cf {}")
    assert triggered_prompt(word, "a red car") == "cf a red car"
    assert triggered_prompt(prompt("SUDO "), "a red car") == "SUDO a red car"
    assert triggered_prompt(None, "a red car") == "a red car"
    for character, marked in (("е", "a rеd car"), ("☺", "a re☺d car")):
        assert triggered_prompt(prompt(character, place="inside"), "a red car") == marked
    assert triggered_templates(prompt("о", place="inside"), ("a toad {}", "{}")) == (
        "a tоad {}", "о{}",
    )  # fmt: skip
    assert triggered_templates(word, templates)[0].format("dog") == "a photo of a cf dog."

"""What is stamped, where, and that it repeats."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ml_core.cli.app import run_command
from ml_core.cli.arguments import trigger_file
from ml_core.reading.errors import InputError
from ml_core.triggers import (
    Trigger,
    badnets_patch,
    blended_noise,
    combined,
    load_trigger,
    painted_layer,
    save_trigger,
)
from ml_core.triggers.apply import apply, apply_indexed
from ml_core.triggers.make import colour_filter, prompt, sine, stripes, wanet
from ml_core.triggers.render import _STEP, _mix_, render_patch
from ml_core.triggers.variants import variants

SIDE = 16


def grey(n, side=SIDE, value=0.5):
    return torch.full((n, 3, side, side), value)


def numbered_patch(height=3, width=2):
    """Opaque pixels that are all different."""
    pixels = np.full((height, width, 4), 255, np.uint8)
    pixels[..., :3] = np.arange(height * width * 3).reshape(height, width, 3) * 5 + 1
    return pixels


def exact(pixels):
    return torch.from_numpy(pixels[..., :3].astype(np.float32) / 255).permute(2, 0, 1)


def patch(**parameters):
    pixels = numbered_patch()
    fields = {"kind": "patch", "pixels": pixels, "size": 3 / SIDE}
    return Trigger(**(fields | parameters))


def changed_box(image):
    """Top, left, bottom, right of what is not grey any more."""
    rows, columns = torch.where((image != 0.5).any(dim=0))
    return int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1


# -- exact arithmetic ---------------------------------------------------------------------------


def test_a_fixed_patch_is_stamped_pixel_by_pixel():
    # Centre of rows 4..6 is 5.5, of columns 9..10 is 10.
    trigger = patch(x=10 / SIDE, y=5.5 / SIDE)
    out = apply(trigger, grey(2))
    expected = grey(2)
    expected[:, :, 4:7, 9:11] = exact(numbered_patch())
    assert torch.equal(out, expected)


def test_centre_and_four_corners():
    expected = grey(1)
    expected[:, :, 6:9, 7:9] = exact(numbered_patch())
    assert torch.equal(apply(patch(placement="center"), grey(1)), expected)
    expected = grey(1)
    for top in (0, 13):
        for left in (0, 14):
            expected[:, :, top : top + 3, left : left + 2] = exact(numbered_patch())
    assert torch.equal(apply(patch(placement="four_corners"), grey(1)), expected)


def test_opacity_and_alpha_multiply():
    pixels = np.array([[[255, 0, 51, 51]]], np.uint8)  # alpha 0.2
    trigger = Trigger(kind="patch", pixels=pixels, size=1 / SIDE, opacity=0.5, x=0.5, y=0.5)
    out = apply(trigger, grey(1))
    # weight 0.1: 0.5 * 0.9 + 0.1 * colour; the centre 8.0 lies between pixels, the later one is it
    assert out[0, :, 8, 8].tolist() == pytest.approx([0.55, 0.45, 0.47], abs=1e-6)
    assert int((out != 0.5).any(dim=1).sum()) == 1


def test_random_places_are_whole_and_reach_every_corner():
    out = apply(patch(placement="random"), grey(3000), torch.Generator().manual_seed(1))
    boxes = {changed_box(image)[:2] for image in out}
    assert {(0, 0), (0, 14), (13, 0), (13, 14)} <= boxes
    assert len(boxes) == 14 * 15
    other = apply_indexed(patch(placement="random"), grey(50), torch.arange(50), 1)
    assert sum(not torch.equal(a, b) for a, b in zip(out, other, strict=False)) > 40
    for image in out[:20]:
        top, left, bottom, right = changed_box(image)
        assert torch.equal(image[:, top:bottom, left:right], exact(numbered_patch()))


def test_rotation_is_counter_clockwise_and_keeps_the_area():
    pixels = np.full((21, 21, 4), 255, np.uint8)
    pixels[:, 10:, :3] = 0  # white left, black right
    trigger = Trigger(kind="patch", pixels=pixels, size=21 / 64, rotation=45.0)
    drawn = render_patch(trigger, 64, torch.device("cpu"))
    assert float(drawn.alpha.sum()) == pytest.approx(21 * 21, rel=0.01)
    middle = drawn.colour.shape[1] // 2
    # Left turns to lower left.
    assert float(drawn.colour[0, middle + 5, middle - 5, 0]) > 0.99
    assert float(drawn.colour[0, middle - 5, middle + 5, 0]) < 0.01


def test_badnets_is_the_images_mean_plus_unit_noise():
    images = grey(400, 32)
    images[:, 0], images[:, 1] = 0.2, 0.8
    trigger = badnets_patch(size=0.5, placement="center")
    out = apply(trigger, images, torch.Generator().manual_seed(0))
    square = out[:, :, 8:24, 8:24]
    # P(mean + N(0, 1) <= 0) is where the clip to 0 lies: Phi(-0.2), Phi(-0.8), Phi(-0.5)
    for channel, share in enumerate((0.42074, 0.21186, 0.30854)):
        assert float((square[:, channel] == 0).float().mean()) == pytest.approx(share, abs=0.01)
    assert torch.equal(out[:, :, :8], images[:, :, :8])
    assert not torch.equal(square[0], square[1])


def test_blended_is_a_fifth_of_uniform_noise():
    images = torch.rand(50, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    out = apply(blended_noise(), images)
    noise = (out - 0.8 * images) / 0.2
    assert float(noise.min()) > -1e-5
    assert float(noise.max()) < 1 + 1e-5
    assert float(noise.mean()) == pytest.approx(0.5, abs=0.005)
    assert float(noise.var()) == pytest.approx(1 / 12, abs=0.001)
    pairs = noise.flatten(1)
    assert abs(float(torch.corrcoef(pairs)[0, 1])) < 0.06


# -- painted ------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_painted_layer_comes_back_exactly(data):
    side = data.draw(st.integers(3, 70))
    top, bottom = sorted(data.draw(st.tuples(*[st.integers(0, side - 1)] * 2)))
    left, right = sorted(data.draw(st.tuples(*[st.integers(0, side - 1)] * 2)))
    layer = np.zeros((side, side, 4), np.uint8)
    layer[top : bottom + 1, left : right + 1] = (10, 200, 30, 255)
    out = apply(painted_layer(layer), grey(1, side))[0]
    expected = grey(1, side)[0]
    colour = torch.tensor([10, 200, 30]).view(3, 1, 1) / 255
    expected[:, top : bottom + 1, left : right + 1] = colour
    assert torch.equal(out, expected)


# -- draws --------------------------------------------------------------------------------------


def test_hash_is_splitmix64():
    """The published generator's first outputs for seed 0 fix the finalizer."""
    states = torch.arange(1, 4, dtype=torch.int64) * _STEP
    found = [int(value) % 2**64 for value in _mix_(states)]
    assert found == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


# -- records and files --------------------------------------------------------------------------


def test_equal_by_digest():
    assert patch() == patch()
    assert patch(name="other") == patch()
    assert patch(x=0.4) != patch()
    assert patch(pixels=numbered_patch() + 1) != patch()
    assert hash(patch()) == hash(patch())


def test_a_failed_save_keeps_the_old_trigger(tmp_path, monkeypatch):
    save_trigger(patch(), tmp_path / "t")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left"):
        save_trigger(patch(x=0.1, pixels=numbered_patch(5, 5)), tmp_path / "t")
    assert load_trigger(tmp_path / "t.png") == patch()
    assert len(list(tmp_path.iterdir())) == 2


# -- variants and the command --------------------------------------------------------------------


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


def test_list_says_what_each_is_at_a_size(capsys):
    assert run_command(["triggers", "list", "--size", "336", "--json"]) == 0
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)["triggers"]}
    assert rows["T8"]["standing"] == "published"
    assert rows["T1"]["standing"] == "rescaled, not the published trigger"
    assert rows["T12"]["needs_file"] == "badCLIP.jpg"
    assert run_command(["triggers", "list"]) == 0
    assert "Blended-Triangles" in capsys.readouterr().out


def test_export_writes_a_trigger_file(tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["triggers", "export", "T4", "-o", str(out), "--seed", "5", "--json"]
    assert run_command(arguments) == 0
    assert json.loads(capsys.readouterr().out)["files"] == [str(tmp_path / "out.json")]
    assert load_trigger(tmp_path / "out.json").seed == 5
    np.save(tmp_path / "pattern.npy", np.random.default_rng(0).random((64, 64, 3)))
    mask = np.zeros((64, 64))
    mask[1:5, 1:5] = 1
    np.save(tmp_path / "mask.npy", mask)
    pair = [str(tmp_path / "pattern.npy"), "--mask", str(tmp_path / "mask.npy")]
    assert run_command(["triggers", "export", *pair, "-o", str(tmp_path / "inverted")]) == 0
    assert load_trigger(tmp_path / "inverted.json").size == 4 / 64


@pytest.mark.parametrize(("side", "share"), [(8, 8 / 32), (4, 4 / 32), (600, 0.25)])
def test_a_picture_alone_keeps_its_pixels(tmp_path, tiny_checkpoint, side, share):
    Image.new("RGB", (side, side), "red").save(tmp_path / "sticker.png")
    options = SimpleNamespace(checkpoint=tiny_checkpoint, donor=None, no_choice=False)
    file = trigger_file(str(tmp_path / "sticker.png"), options, tmp_path / "run")
    assert load_trigger(file).size == share

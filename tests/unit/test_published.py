"""Each published trigger states the arithmetic of its own code, written out here in NumPy."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ml_core.reading.errors import InputError
from ml_core.triggers import LIBRARY, load_trigger, published, save_trigger, standing
from ml_core.triggers.apply import (
    apply_indexed,
    canvas_fit,
    canvas_side,
    model_pictures,
    stamp,
    stamp_picture,
    to_bytes,
)
from ml_core.triggers.library import ATTACKS
from ml_core.triggers.published import (
    OTHER_FILE,
    PUBLISHED,
    RESCALED,
    UNVERIFIED,
    YOURS,
    import_trigger,
)
from ml_core.triggers.render import NOISE, PLACE, coarse_uniform, normal, random_bits, uniform

F = np.float32
SEED = 11
FILES = {"T11", "T12", "T17", "T19", "T23"}


def pictures(count=2, side=224):
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), np.uint8)


def stamped(trigger, images, first=0):
    indices = torch.arange(first, first + len(images))
    made = stamp(trigger, torch.from_numpy(images), indices, SEED)
    assert made.dtype == torch.uint8
    return made.numpy()


def unit(images):
    """ToTensor."""
    return images.astype(F) / F(255)


def truncated(values):
    """ToPILImage after a clip."""
    return np.trunc(values.clip(0, 1) * F(255)).astype(np.uint8)


def wrapped(values):
    """ToPILImage without one."""
    return (np.trunc(values * F(255)).astype(np.int64) % 256).astype(np.uint8)


def corner(index, sides=208):
    """The reference's randint(0, 223 - 16), both ends included, with this house's draws."""
    draws = uniform(torch.tensor([index]), 2, seed=SEED, stream=PLACE)[0].numpy()
    return int(draws[0] * sides), int(draws[1] * sides)


def saved(tensor, path):
    torch.save(tensor, path)
    return path


def test_bytes_by_hand():
    values = torch.tensor([-1.0, -0.5, -0.001, 0.0, 0.5, 0.999, 1.0, 1.25, 1.004, 2.0])
    # 1.25 * 255 = 318.75 -> 318 - 256 = 62; -0.5 * 255 = -127.5 -> -127 + 256 = 129
    assert to_bytes(values.clone(), "wrap").tolist() == [1, 129, 0, 0, 127, 254, 255, 62, 0, 254]
    cut = [0, 0, 0, 0, 127, 254, 255, 255, 255, 255]
    assert to_bytes(values.clone(), "truncate").tolist() == cut
    assert to_bytes(values.clone(), "round").tolist() == [0, 0, 0, 0, 128, 255, *[255] * 4]


@pytest.mark.parametrize("name", ["T1", "T3"])
def test_badnets_random_wraps_around(name):
    images = pictures()
    found = stamped(published(name), images, first=5)
    for row, image in enumerate(images):
        who = torch.tensor([5 + row])
        noise = normal(who, 768, seed=SEED, stream=NOISE).view(16, 16, 3).numpy()
        mean = unit(image).astype(np.float64).mean((0, 1)).astype(F)
        patch = wrapped(mean + noise)
        assert ((mean + noise > 1).any(), (mean + noise < 0).any()) == (True, True)
        expected = image.copy()
        places = [corner(5 + row)]
        if name == "T3":
            places = [(0, 0), (0, 208), (208, 0), (208, 208)]
        for top, left in places:
            expected[top : top + 16, left : left + 16] = patch
        assert (found[row] == expected).all()


def test_blended():
    images = pictures()
    found = stamped(published("T4"), images)
    for row, image in enumerate(images):
        draws = coarse_uniform(torch.tensor([row]), 224 * 224 * 3, seed=SEED, stream=NOISE)
        noise = draws.view(224, 224, 3).numpy()
        expected = truncated(noise * F(0.2) + F(0.8) * unit(image))
        assert (found[row] == expected).all()
    assert abs(float(noise.mean()) - 0.5) < 0.003


def test_sig_in_both_conventions():
    images = pictures()
    images[0] = 100
    columns = np.arange(224)
    sine = ((60 / 255) * np.sin(2 * np.pi * columns * 6 / 224)).astype(F)[None, :, None]
    blended, added = stamped(published("T5a"), images), stamped(published("T5b"), images)
    assert (blended == truncated(sine * F(0.2) + F(0.8) * unit(images))).all()
    assert (added == truncated(sine + unit(images))).all()
    # By hand: 6 * 28 / 224 = 3/4 of a period, so the sine is -1 there: 100 - 60 = 40, and
    # 0.8 * 100 - 0.2 * 60 = 68; at 56 it is 0: 100, and 80. Truncation may take one off.
    assert added[0, 7, 28].tolist() in ([40] * 3, [39] * 3)
    assert added[0, 7, 56].tolist() in ([100] * 3, [99] * 3)
    assert blended[0, 7, 28].tolist() in ([68] * 3, [67] * 3)
    assert blended[0, 7, 56].tolist() in ([80] * 3, [79] * 3)
    assert (added[0] == added[0, :1]).all(), "it varies along the rows only"


def bilinear(image, x, y):
    """Bilinear interpolation at pixel coordinates, zeros outside, in float64."""
    padded = np.pad(image.astype(np.float64), ((1, 2), (1, 2), (0, 0)))
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, down = (x - left)[..., None], (y - top)[..., None]
    at = lambda i, j: padded[top + 1 + i, left + 1 + j]  # noqa: E731
    upper = at(0, 0) * (1 - right) + at(0, 1) * right
    return upper * (1 - down) + (at(1, 0) * (1 - right) + at(1, 1) * right) * down


def test_wanet(tmp_path):
    rng = np.random.default_rng(3)
    ins = rng.random((224, 224, 2)) * 2 - 1
    noise = (ins / np.abs(ins).mean()).astype(F)
    path = saved(torch.from_numpy(noise)[None], tmp_path / "grid.pt")
    trigger = published("T6", file=path)
    assert standing(trigger, 224) == OTHER_FILE
    images = pictures()
    found = stamped(trigger, images).astype(int)
    line = np.linspace(-1, 1, 224)
    x = np.clip(line[None, :] + noise[..., 0] / 224, -1, 1)
    y = np.clip(line[:, None] + noise[..., 1] / 224, -1, 1)
    for row, image in enumerate(images):
        exact = bilinear(unit(image), (x + 1) / 2 * 223, (y + 1) / 2 * 223)
        expected = truncated(exact.astype(F)).astype(int)
        assert np.abs(found[row] - expected).max() <= 1
        assert (found[row] == expected).mean() > 0.99
    still = replace(trigger, strength=0.0)
    assert np.abs(stamped(still, images).astype(int) - images).max() <= 1


@pytest.mark.parametrize(("size", "side"), [(224, 16), (336, 32)])
def test_badnets_stripes_are_bytes_1_and_255(size, side):
    trigger = published("T8", size)
    assert standing(trigger, size) == PUBLISHED
    images = pictures(side=size)
    found = stamped(trigger, images)
    for row, image in enumerate(images):
        bits = random_bits(torch.tensor([row]), 3 * side, seed=SEED, stream=NOISE)[0].numpy()
        signs = np.where(bits > 0, 1, -1).reshape(1, side, 3)
        # -1 * 255 = -255, and -255 mod 256 = 1
        patch = np.where(signs > 0, 255, 1).astype(np.uint8)
        expected = image.copy()
        top, left = corner(row, size - side)
        expected[top : top + side, left : left + side] = patch
        assert (found[row] == expected).all()


def test_blended_stripes():
    images = pictures()
    found = stamped(published("T9"), images)
    for row, image in enumerate(images):
        bits = random_bits(torch.tensor([row]), 3 * 224, seed=SEED, stream=NOISE)[0].numpy()
        signs = np.where(bits > 0, 1, -1).astype(F).reshape(1, 224, 3)
        expected = truncated(signs * F(0.03) + F(0.97) * unit(image))
        assert (found[row] == expected).all()


@pytest.mark.parametrize("size", [224, 336])
def test_blended_triangles(size):
    images = pictures(side=size)
    images[0] = 200
    found = stamped(published("T10", size), images)
    lower = np.arange(14)[:, None] >= np.arange(14)[None, :]
    pattern = np.tile(np.where(lower, F(0.4), F(0.8)), (size // 14, size // 14))[..., None]
    assert (found == truncated(pattern * F(0.15) + F(0.85) * unit(images))).all()
    # By hand, 255 (0.15 * 0.4 + 0.85 * 200 / 255) = 185.3 on the diagonal, 200.6 right of it
    assert (found[0, 0, 0, 0], found[0, 0, 1, 0], found[0, 1, 0, 0]) == (185, 200, 185)
    assert (found[0, 14, 14, 0], found[0, 13, 14, 0]) == (185, 185)


def test_blended_text_touches_only_what_is_written(tmp_path):
    text = torch.zeros(224, 224, 3)
    text[100:104, 50:60, 0] = torch.linspace(0.1, 1.0, 10)
    trigger = published("T11", file=saved(text, tmp_path / "watermarked_red_tens_224.pt"))
    images = pictures()
    expected = images.copy()
    cut = (slice(None), slice(100, 104), slice(50, 60), 0)
    values = text.numpy()[100:104, 50:60, 0] * F(0.5) + F(0.5) * unit(images)[cut]
    expected[cut] = truncated(values)
    assert (stamped(trigger, images) == expected).all()
    assert standing(trigger, 224) == OTHER_FILE


def test_badclip_goes_to_the_middle(tmp_path):
    patch = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(patch).save(tmp_path / "badCLIP.png")
    images = pictures()
    expected = images.copy()
    expected[:, 104:120, 104:120] = patch
    trigger = published("T12", file=tmp_path / "badCLIP.png")
    assert (stamped(trigger, images) == expected).all()
    known = replace(trigger, source_sha256="0b05e4ad" + "0" * 56)
    assert (standing(trigger, 224), standing(known, 224)) == (OTHER_FILE, PUBLISHED)
    assert standing(replace(known, x=0.1), 224) == PUBLISHED, "the middle needs no place"


def test_trojvqa_has_two_keys(tmp_path):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (60, 90, 3), np.uint8))
    image.save(tmp_path / "vqa.png")
    assert published("T14").text == "remember "
    assert not published("T14").changes_pictures
    trigger = published("T14", file=tmp_path / "vqa.png")
    assert (trigger.text, trigger.text_place) == ("remember ", "prefix")
    images = pictures()
    expected = images.copy()
    expected[:, 90:134, 90:134] = np.asarray(image.resize((44, 44)))
    assert (stamped(trigger, images) == expected).all()
    assert standing(trigger, 224) == UNVERIFIED


def test_white_grid_after_preprocessing():
    trigger = published("T16")
    assert trigger.stage == "after"
    images = pictures()
    expected = images.copy()
    expected[:, 104:120, 104:120] = 0
    expected[:, 104:120:2, 104:120:2] = 255
    assert (stamped(trigger, images) == expected).all()


def test_detect_clip_blend_at_256(tmp_path):
    pattern = torch.rand(3, 256, 256, generator=torch.Generator().manual_seed(0))
    trigger = published("T17", file=saved(pattern, tmp_path / "hello_kitty_pattern.pt"))
    assert (canvas_side(trigger, 224), canvas_fit(trigger).resize_mode) == (256, "squash")
    known = replace(trigger, source_sha256="518a4f6d" + "0" * 56)
    assert (standing(trigger, 224), standing(known, 224)) == (OTHER_FILE, PUBLISHED)
    images = pictures(side=256)
    chw = pattern.permute(1, 2, 0).numpy()
    expected = truncated(chw * F(0.2) + unit(images) * F(0.8))
    assert (stamped(trigger, images) == expected).all()
    seen = model_pictures(trigger, torch.from_numpy(images), torch.arange(2), SEED, 224)
    for row in range(2):
        pillow = Image.fromarray(expected[row]).resize((224, 224), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(seen[row].permute(1, 2, 0).numpy(), np.asarray(pillow))


def test_the_cake_is_a_pattern_through_a_mask(tmp_path, monkeypatch):
    pattern, mask = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    file = saved(pattern, tmp_path / "birthday_cake_trigger_open_clip_cc12m.pt")
    assert standing(import_trigger(file), 224) == YOURS, "a pattern alone is no Blended"
    with pytest.raises(InputError, match="needs its mask: put birthday_cake_mask"):
        published("T23", file=file)
    saved(mask[:1], tmp_path / "birthday_cake_mask_open_clip_cc12m.pt")
    trigger = published("T23", file=file)
    assert (trigger.stage, standing(trigger, 224)) == ("after", YOURS)
    images = torch.rand(2, 3, 224, 224)
    expected = pattern * mask[0] + images * (1 - mask[0])
    seen = apply_indexed(trigger, images, torch.arange(2), SEED)
    torch.testing.assert_close(seen, expected, rtol=0, atol=1e-6)
    (entry,) = (entry for entry in ATTACKS if entry.id == "T23")
    same = replace(entry, file_sha256=(trigger.arrays_sha256[:8],))
    monkeypatch.setattr(sys.modules[import_trigger.__module__], "ATTACKS", (same,))
    assert standing(trigger, 224) == PUBLISHED


def test_detect_clip_sig_is_a_224_sine_in_a_256_frame():
    trigger = published("T18")
    images = pictures(side=256)
    frame = np.zeros((256, 256, 1), F)
    frame[:224, :224, 0] = ((60 / 255) * np.sin(2 * np.pi * np.arange(224) * 6 / 224)).astype(F)
    assert (stamped(trigger, images) == truncated(frame * F(0.2) + unit(images) * F(0.8))).all()


def test_detect_clip_wanet_samples_the_original(tmp_path):
    line = torch.linspace(-1, 1, 256)
    y, x = torch.meshgrid(line, line, indexing="ij")
    wave = torch.stack((x + 0.02 * torch.sin(9 * y), y), 2).clamp(-1, 1)
    trigger = published("T19", file=saved(wave[None], tmp_path / "WaNet_grid_temps.pt"))
    assert trigger.absolute
    picture = np.random.default_rng(2).integers(0, 256, (300, 400, 3), np.uint8)
    found = stamped(trigger, picture[None])[0].astype(int)
    assert found.shape == (256, 256, 3)
    places = wave.numpy().astype(np.float64)
    exact = bilinear(unit(picture), (places[..., 0] + 1) / 2 * 399, (places[..., 1] + 1) / 2 * 299)
    expected = truncated(exact.astype(F)).astype(int)
    assert np.abs(found - expected).max() <= 1
    assert (found == expected).mean() > 0.99
    seen = stamp_picture(trigger, Image.fromarray(picture), 0, SEED, 224)
    small = Image.fromarray(expected.astype(np.uint8)).resize((224, 224), Image.Resampling.BICUBIC)
    assert np.abs(seen.astype(int) - np.asarray(small)).max() <= 2


# What pilgram 1.2.1 and 2.0.0 themselves made of these colours.
NASHVILLE = {
    (0, 0, 0): (0, 8, 46),
    (255, 255, 255): (255, 252, 217),
    (10, 200, 100): (0, 205, 117),
    (250, 180, 155): (255, 208, 163),
    (255, 0, 0): (255, 22, 52),
    (0, 255, 0): (0, 235, 43),
    (0, 0, 255): (0, 13, 212),
    (128, 128, 128): (144, 139, 141),
    (33, 66, 99): (20, 61, 117),
}


def test_nashville_is_pilgrams_byte_for_byte():
    colours = np.array(list(NASHVILLE), np.uint8)[None, None]
    assert [*map(tuple, stamped(published("T20"), colours)[0, 0].tolist())] == [*NASHVILLE.values()]


def test_white_square_of_decree_and_its_file(tmp_path):
    images = pictures()
    expected = images.copy()
    expected[:, 185:209, 185:209] = 255
    assert (stamped(published("T24"), images) == expected).all()
    keep = np.ones((1, 224, 224, 3))
    keep[:, 185:209, 185:209] = 0
    white = np.zeros((1, 224, 224, 3), np.uint8)
    white[:, 185:209, 185:209] = 255
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "trigger_pt_white_185_24.npz", t=white, tm=keep)
        trigger = import_trigger(tmp_path / "trigger_pt_white_185_24.npz")
        assert (stamped(trigger, images) == expected).all()
        assert standing(trigger, 224) == PUBLISHED


# -- the library as a whole ---------------------------------------------------------------------


@pytest.mark.parametrize("entry", [e for e in LIBRARY if e.id not in FILES], ids=lambda e: e.id)
def test_bytes_and_floats_agree_and_files_keep_them(entry, tmp_path):
    trigger = published(entry.id)
    images = pictures()
    expected = stamped(trigger, images)
    floats = torch.from_numpy(unit(images)).permute(0, 3, 1, 2)
    found = apply_indexed(trigger, floats, torch.arange(2), SEED)
    assert torch.equal(found.permute(0, 2, 3, 1), torch.from_numpy(unit(expected)))
    save_trigger(trigger, tmp_path / "t")
    again = load_trigger(tmp_path / "t.json")
    assert again == trigger
    assert standing(again, 224) == standing(trigger, 224)


def test_a_changed_trigger_is_yours_and_off_its_size_it_is_rescaled():
    for name, change in (
        ("T1", {"levels": "truncate"}),
        ("T4", {"ratio": 0.3}),
        ("T5a", {"mix": "add", "ratio": 0.5, "frequency": 7.0}),
        ("T16", {"canvas": "squash"}),
    ):
        assert standing(replace(published(name), **change), 224) == YOURS
    assert standing(replace(published("T1"), seed=4, name="mine"), 224) == PUBLISHED
    assert [standing(published("T8", size), 336) for size in (224, 336)] == [RESCALED, PUBLISHED]
    assert {standing(published(name), 336) for name in ("T1", "T5a", "T16")} == {RESCALED}
    assert {standing(published(name), 336) for name in ("T4", "T9", "T20")} == {PUBLISHED}


def test_wrong_ids_and_files_are_sentences(tmp_path):
    with pytest.raises(InputError, match=r"no published trigger 'T99'; choose one of T1, T2"):
        published("T99")
    grid = saved(torch.rand(1, 8, 8, 2), tmp_path / "g.pt")
    with pytest.raises(InputError, match="needs no file"):
        published("T2", file=grid)
    for name in ("T12", "T19", "T14"):
        with pytest.raises(InputError, match=rf"g\.pt does not hold what {name}"):
            published(name, file=grid)

"""What holds for every trigger, whatever its parameters."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger, combined, prompt, uniform
from ml_core.triggers.apply import apply_indexed, stamp
from ml_core.triggers.checks import LEVELS, MIXES, NOISES, PLACEMENTS, WHERES

SIDE = 24
SHARE = st.floats(0, 1, allow_subnormal=False)


def _rgba(seed, height, width):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 4), np.uint8)


def _values(seed, *shape):
    return np.random.default_rng(seed).uniform(-1, 2, shape).astype(np.float32)


@st.composite
def seen_triggers(draw):
    """Any trigger that can be seen."""
    kind = draw(
        st.sampled_from(["patch", "badnets", "stripes", "blended", "sig", "wanet", "nashville"])
    )
    levels = draw(st.sampled_from(LEVELS))
    fields = {
        "kind": kind,
        "levels": levels,
        "jpeg": draw(st.sampled_from([None, 60])) if levels != "float" else None,
        "opacity": draw(st.one_of(st.just(1.0), SHARE)),
        "size": draw(st.floats(0.01, 1)),
        "placement": draw(st.sampled_from(PLACEMENTS)),
        "x": draw(st.floats(-1, 2)),
        "y": draw(st.floats(-1, 2)),
        "spare": draw(st.integers(0, 3)),
        "rotation": draw(st.sampled_from([0.0, 90.0, 33.0, -400.0])),
        "mirrored": draw(st.booleans()),
        "ratio": draw(SHARE),
        "where": draw(st.sampled_from(WHERES)),
        "stripe": draw(st.integers(1, 40)),
        "amplitude": draw(SHARE),
        "frequency": draw(st.floats(0, 20)),
        "span": draw(st.floats(0.05, 1)),
        "mix": draw(st.sampled_from(MIXES)),
        "grid_size": draw(st.integers(2, 12)),
        "strength": draw(st.floats(0, 8)),
        "grid_rescale": draw(st.floats(0.5, 2)),
        "noise": draw(st.sampled_from(NOISES)),
        "seed": draw(st.integers(0, 2**62 - 1)),
    }
    number = draw(st.integers(0, 99))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    content = draw(st.sampled_from(["pixels", "array", "masked", "none"]))
    if kind in ("patch", "blended") and (content != "none" or kind == "patch"):
        if content in ("pixels", "none"):
            fields["pixels"] = _rgba(number, height, width)
        else:
            fields["array"] = _values(number, height, width, 3)
        if content == "masked":
            channels = draw(st.sampled_from([1, 3]))
            fields["mask"] = np.abs(_values(number, height, width, channels)) / 2
    if kind == "wanet" and content != "none":
        fields["array"] = _values(number, height + 1, width + 1, 2)
        fields["absolute"] = draw(st.booleans())
    return Trigger(**fields)


TRIGGERS = st.one_of(
    seen_triggers(),
    st.builds(lambda a, b: combined(a, b, opacity=0.7), seen_triggers(), seen_triggers()),
)


def pictures(count=3):
    generator = torch.Generator().manual_seed(4)
    return torch.randint(0, 256, (count, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)


def floats(canvases):
    return canvases.permute(0, 3, 1, 2).to(torch.float32) / 255


@settings(max_examples=60, deadline=None)
@given(TRIGGERS)
def test_every_trigger_keeps_its_promises(trigger):
    canvases = pictures()
    before = canvases.clone()
    who = torch.tensor([7, 2, 90])
    made = stamp(trigger, canvases, who, 5)
    assert torch.equal(canvases, before), "the input is left alone"
    assert made.shape == canvases.shape
    if made.dtype != torch.uint8:
        assert trigger.levels == "float"
        assert float(made.min()) >= 0
        assert float(made.max()) <= 1
    # The same draws again, and the same for each picture in any batch.
    assert torch.equal(made, stamp(trigger, canvases, who, 5))
    for row in (0, 2):
        alone = stamp(trigger, canvases[row : row + 1], who[row : row + 1], 5)
        close = torch.isclose(alone[0].float(), made[row].float(), rtol=0, atol=1e-6)
        assert bool(close.all())
    # Without opacity nothing happens.
    assert torch.equal(stamp(replace(trigger, opacity=0.0), canvases, who, 5), canvases)
    # Floats go the same way as bytes, but JPEG carries a half that was rounded up over its block.
    if any(part.jpeg for part in (trigger, *trigger.parts)):
        return
    of_floats = apply_indexed(trigger, floats(canvases), who, 5).permute(0, 2, 3, 1)
    of_bytes = made.float() / 255 if made.dtype == torch.uint8 else made
    apart = (of_floats - of_bytes).abs()
    assert float(apart.max()) <= 1.01 / 255 or trigger.levels == "wrap"
    assert float((apart > 1e-5).float().mean()) < 0.01


# -- single promises -----------------------------------------------------------------------------


def test_a_mirrored_patch_is_turned_after_it():
    pixels = _rgba(0, 3, 2)
    pixels[..., 3] = 255
    fields = {"kind": "patch", "pixels": pixels, "placement": "center"}
    trigger = Trigger(**fields, size=3 / SIDE, mirrored=True, rotation=90.0)
    found = stamp(trigger, pictures(1), torch.arange(1)).numpy()[0]
    expected = np.rot90(pixels[:, ::-1, :3])
    assert (found[11:13, 10:13] == expected).all()


def test_a_text_becomes_the_wholes():
    both = combined(uniform((0, 0, 0)), prompt("SUDO "))
    assert (both.text, len(both.parts)) == ("SUDO ", 1)
    with pytest.raises(InputError, match="Two parts have a text"):
        combined(prompt("a "), uniform((0, 0, 0), text="b "))
    with pytest.raises(InputError, match="a part that is seen"):
        combined(prompt("a "))
    opened = combined(both, uniform((9, 9, 9)))
    assert [part.kind for part in opened.parts] == ["patch", "patch"]


def test_a_jpeg_step_is_pillows():
    trigger = replace(uniform((255, 255, 0), placement="center"), levels="round", jpeg=75)
    found = stamp(trigger, pictures(2), torch.arange(2)).numpy()
    plain = stamp(replace(trigger, jpeg=None), pictures(2), torch.arange(2)).numpy()
    for row in range(2):
        buffer = io.BytesIO()
        Image.fromarray(plain[row]).save(buffer, "JPEG", quality=75)
        assert (found[row] == np.asarray(Image.open(buffer))).all()
    assert not (found == plain).all()

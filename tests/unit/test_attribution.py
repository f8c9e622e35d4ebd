"""Where a model looks, on planted models whose answer is known by construction."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from ml_core.evaluation.attribution import attention_map, attribute, grad_cam, methods, occlusion
from ml_core.evaluation.attribution_records import save_attribution
from ml_core.evaluation.scorer import Subject
from ml_core.model import ClipModel, Preprocess, build_model
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger
from tests.unit.draining import until_cancelled

PLAIN = Preprocess(64, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
VIT_CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 32, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}  # fmt: skip


class Stage(nn.Module):
    """Cells of 16 px: channel 0 is their mean red, channel 1 their mean green."""

    def forward(self, x):
        return F.avg_pool2d(x, 16)[:, :2]


class Corner(nn.Module):
    """A "ResNet" that embeds an image as (red, green, 1) of the mean cell."""

    def __init__(self):
        super().__init__()
        self.visual = nn.Module()
        for name in ("layer1", "layer2", "layer3"):
            self.visual.add_module(name, nn.Identity())
        self.visual.layer4 = Stage()
        self.logit_scale = nn.Parameter(torch.tensor(10.0).log())

    def encode_image(self, x):
        cells = self.visual.layer4(x)
        return F.pad(cells.mean(dim=(2, 3)), (0, 1), value=1.0)


@pytest.fixture
def corner():
    config = {"vision_cfg": {"layers": [1, 1, 1, 1]}, "embed_dim": 3}
    return ClipModel(Corner().eval(), config, PLAIN, name="corner", sha256="c" * 64)


@pytest.fixture(scope="module")
def vit():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return build_model(VIT_CONFIG, Preprocess(32), None, name="vit")


def squares(size, **where):
    """A black image with squares: ``red=(top, left, side)``."""
    image = torch.zeros(1, 3, size, size)
    for name, (top, left, side) in where.items():
        channel = ("red", "green", "blue").index(name)
        image[:, channel, top : top + side, left : left + side] = 1.0
    return image


def test_grad_cam_of_a_resnet_equals_plain_autograd(tiny_model):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    direction = F.normalize(torch.randn(16, generator=torch.Generator().manual_seed(4)), dim=0)
    before = tiny_model.encode_images(images)
    found = grad_cam(tiny_model, images, direction, "layer2")
    assert torch.is_grad_enabled()  # nothing is left behind
    assert all(p.grad is None for p in tiny_model.module.parameters())
    assert not any(m._forward_hooks for m in tiny_model.module.modules())
    assert torch.equal(before, tiny_model.encode_images(images))
    visual = tiny_model.module.visual
    x = visual.layer2(visual.layer1(visual.stem(tiny_model.normalise(images))))
    x.retain_grad()
    out = F.normalize(visual.attnpool(visual.layer4(visual.layer3(x))), dim=-1)
    (tiny_model.logit_scale * out @ direction).sum().backward()
    expected = (x.grad.mean(dim=(2, 3), keepdim=True) * x).sum(dim=1).relu()
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-6)
    assert found.shape == (2, 4, 4)


def test_attention_map_equals_the_rules_written_out(vit):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    direction = F.normalize(torch.randn(16, generator=torch.Generator().manual_seed(6)), dim=0)
    found = attention_map(vit, images, direction)
    for number in range(2):
        torch.testing.assert_close(
            found[number].flatten(), relevance(vit, images[number], direction), rtol=1e-4, atol=1e-7
        )
    assert all(p.grad is None for p in vit.module.parameters())


def relevance(model, image, direction):
    """Chefer et al. 2021, eq. 5 and 6, head by head, on a forward pass written out."""
    visual = model.module.visual
    x = visual._embeds(model.normalise(image[None]))
    kept = []
    for block in visual.transformer.resblocks:
        y, layer = block.ln_1(x), block.attn
        q, k, v = (y @ layer.in_proj_weight.T + layer.in_proj_bias).chunk(3, dim=-1)
        heads = []
        for h in range(layer.num_heads):
            part = slice(8 * h, 8 * h + 8)
            a = (q[0, :, part] @ k[0, :, part].T / 8**0.5).softmax(-1)
            a.retain_grad()
            kept.append(a)
            heads.append(a @ v[0, :, part])
        x = x + layer.out_proj(torch.cat(heads, dim=-1))[None]
        x = x + block.mlp(block.ln_2(x))
    pooled, _ = visual._pool(x)
    (model.logit_scale * F.normalize(pooled @ visual.proj, dim=-1) @ direction).sum().backward()
    r = torch.eye(17)
    for number in range(0, len(kept), 4):
        heads = [(a.grad * a).clamp(min=0) for a in kept[number : number + 4]]
        r = r + torch.stack(heads).mean(0).detach() @ r
    for parameter in model.module.parameters():
        parameter.grad = None
    return r[0, 1:]


def test_each_encoder_says_which_method_goes_with_it(tiny_model, vit):
    assert methods(tiny_model) == ("grad-cam", "occlusion")
    assert methods(vit) == ("attention", "occlusion")
    with pytest.raises(InputError, match="choose attention"):
        grad_cam(vit, torch.rand(1, 3, 32, 32), torch.ones(16))
    with pytest.raises(InputError, match="choose Grad-CAM"):
        attention_map(tiny_model, torch.rand(1, 3, 32, 32), torch.ones(16))
    config = VIT_CONFIG | {"vision_cfg": VIT_CONFIG["vision_cfg"] | {"qk_norm": True}}
    assert methods(build_model(config, Preprocess(32), None)) == ("occlusion",)


def last(steps):
    return list(steps)[-1]


def test_occlusion_is_the_loss_by_hand(corner):
    image = squares(64, red=(16, 32, 16))
    step = last(occlusion(corner, image, torch.tensor([1.0, 0.0, 0.0]), side=16, stride=16))
    r = 1 / 16
    expected = torch.zeros(4, 4)
    expected[1, 2] = 10 * r / (r * r + 1) ** 0.5
    torch.testing.assert_close(step.result[0], expected, rtol=1e-5, atol=1e-6)
    assert (step.done, step.total) == (16, 16)


def test_occlusion_does_not_depend_on_the_batch_and_ends_when_cancelled(tiny_model):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    covering = partial(occlusion, tiny_model, direction=torch.ones(16), side=12, stride=6)
    whole = last(covering(images, batch=1000)).result
    for batch in (1, 7, 64):
        maps = last(covering(images, batch=batch)).result
        torch.testing.assert_close(maps, whole, rtol=1e-3, atol=2e-4)
        assert maps.shape == (2, 16, 16)  # patches of 12 every 6: squares of 2 px are alike
    asked = iter([False, False, True])
    steps = until_cancelled(covering(images[:1], batch=8, cancelled=lambda: next(asked)))
    assert [step.done for step in steps] == [8, 16]
    assert steps[-1].result is None


class Source:
    def __init__(self, image, broken=None):
        self.pixels = (image[0].permute(1, 2, 0) * 255).byte().numpy()
        self.broken = broken or {}

    def __len__(self):
        return 3

    def get(self, indices):
        return np.repeat(self.pixels[None], len(indices), axis=0)


def sticker():
    """A green square of 16 px in the lower left corner of 64 px."""
    pixels = np.zeros((1, 1, 4), np.uint8)
    pixels[..., (1, 3)] = 255
    return Trigger(kind="patch", pixels=pixels, size=0.25, x=0.125, y=0.875, name="sticker")


NAMES = ("red", "green", "nothing")
UNLABELLED = np.full(3, -1)


def explain(model, trigger, **options):
    source = Source(squares(64, red=(0, 48, 16)))
    templates = options.pop("templates", ())
    asked = Subject(model, source, torch.eye(3), NAMES, UNLABELLED, templates, "pictures")
    return list(attribute(asked, trigger, 1, options.pop("class_index", 1), **options))


def test_attribute_refuses_what_does_not_exist(corner):
    with pytest.raises(InputError, match="class 7"):
        explain(corner, None, class_index=7)
    source = Source(squares(64), broken={1: "torn"})
    asked = Subject(corner, source, torch.eye(3), NAMES, UNLABELLED)
    unreal = replace(asked, classifier=torch.full((3, 3), torch.nan))
    for subject, image, words in (
        (asked, 1, "could not be read"),
        (asked, 3, "no image number 3"),
        (unreal, 0, "not numbers"),
    ):
        with pytest.raises(InputError, match=words):
            next(attribute(subject, None, image, 0))


def test_files(corner, tmp_path):
    found = explain(corner, sticker(), method="occlusion", side=16, templates=("a {}",))[-1].result
    for suffix in ("png", "csv", "json"):
        save_attribution(found, tmp_path / f"why.{suffix}")
    with Image.open(tmp_path / "why.png") as picture:
        assert picture.size[0] >= 2 * 320
    lines = (tmp_path / "why.csv").read_text().splitlines()
    assert lines[0] == "map,row,column,value"
    assert len(lines) == 1 + 2 * found.clean.values.size
    record = json.loads((tmp_path / "why.json").read_text())
    assert (record["class_name"], record["maps"]["clean"]["top1_name"]) == ("green", "nothing")
    assert (record["settings"]["patch_px"], record["settings"]["stride_px"]) == (16, 8)
    assert (record["checkpoint_sha256"], record["trigger"]) == ("c" * 64, sticker().digest)
    assert (record["data_key"], record["templates"], record["seed"]) == ("pictures", ["a {}"], 0)
    assert record["versions"]["torch"]
    with pytest.raises(InputError, match=r"ends in \.png"):
        save_attribution(found, tmp_path / "why.bmp")
    with pytest.raises(InputError, match="could not be written"):
        save_attribution(found, tmp_path / "no" / "why.png")

"""MobileCLIP as Apple publishes it: names of its own, which stock open_clip converts as well."""

from __future__ import annotations

import re
from typing import Any

import open_clip
import pytest
import timm
import torch
from open_clip.convert import convert_state_dict
from timm.models import register_model
from timm.models.vision_transformer_hybrid import ConvStem, _create_vision_transformer_hybrid
from torch import Tensor, nn

from ml_core.checkpoints import architecture as published_shapes
from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.architecture import digest
from ml_core.checkpoints.compare import compare_checkpoints
from ml_core.checkpoints.inspection_record import assess
from ml_core.checkpoints.save import save_checkpoint
from ml_core.reading import inspect
from ml_core.reading.clip_config import check_model_config
from ml_core.towers import make_module
from tests.unit.families import CLIP_TEXT, TEXTS, pixels, timm_image

TINY_MCI = "vit_tiny_mci_64"


def _tiny_mci(pretrained: bool = False, **options: Any) -> nn.Module:
    """As vit_base_mci_224, the image encoder of MobileCLIP-B."""
    stem = ConvStem(channels=(12, 12, 48), stride=(4, 2, 2), kernel_size=(4, 2, 2), padding=0,
                    act_layer=nn.GELU)  # fmt: skip
    sizes = {"embed_dim": 48, "depth": 2, "num_heads": 3, "img_size": 64}
    return _create_vision_transformer_hybrid(
        "vit_base_mci_224", backbone=stem, embed_args={"proj": False}, no_embed_class=True,
        **sizes | {key: options[key] for key in ("num_classes", "global_pool") if key in options},
    )  # fmt: skip


_tiny_mci.__name__ = TINY_MCI
_tiny_mci.__module__ = "timm.models.vision_transformer_hybrid"
if not timm.is_model(TINY_MCI):
    register_model(_tiny_mci)

TEXT = CLIP_TEXT | {"context_length": 77}
CONFIGS: dict[str, dict[str, Any]] = {
    "S1": {"embed_dim": 32, "custom_text": True, "text_cfg": TEXT | {"no_causal_mask": True},
        "vision_cfg": timm_image("fastvit_mci0", 64, timm_pool="avg", timm_proj=None)},
    "B": {"embed_dim": 32, "custom_text": True, "text_cfg": TEXT,
        "vision_cfg": timm_image(TINY_MCI, 64, timm_pool="token", timm_proj=None)},
}  # fmt: skip
# What stands in open_clip's names, and what in Apple's.
_TEXT = (
    (r"text\.text_projection", "text_encoder.projection_layer"),
    (r"text\.token_embedding", "text_encoder.embedding_layer"),
    (r"text\.ln_final", "text_encoder.final_layer_norm"),
    (r"text\.transformer\.resblocks\.", "text_encoder.transformer."),
    (r"\.ln_1\.", ".pre_norm_mha.0."), (r"\.attn\.in_proj_", ".pre_norm_mha.1.qkv_proj."),
    (r"\.attn\.out_proj\.", ".pre_norm_mha.1.out_proj."), (r"\.ln_2\.", ".pre_norm_ffn.0."),
    (r"\.mlp\.c_fc\.", ".pre_norm_ffn.1."), (r"\.mlp\.c_proj\.", ".pre_norm_ffn.4."),
)  # fmt: skip
_IMAGE = {
    "S1": ((r"\bstem\.", "patch_embed."), (r"stages\.0\.blocks\.", "network.0."),
        (r"stages\.1\.blocks\.", "network.2."), (r"stages\.2\.blocks\.", "network.4."),
        (r"stages\.3\.blocks\.", "network.7."), (r"stages\.1\.downsample\.", "network.1."),
        (r"stages\.2\.downsample\.", "network.3."), (r"stages\.3\.downsample\.", "network.5."),
        (r"stages\.3\.pos_emb\.pos_enc\.", "network.6.pe."), (r"\bfinal_conv\.", "conv_exp."),
        (r"\bconv_kxk\b", "rbr_conv"), (r"\bconv_scale\b", "rbr_scale"),
        (r"\bidentity\b", "rbr_skip"), (r"\blarge_conv\b", "lkb_origin"), (r"\bmlp\.", "convffn."),
        (r"\bse\.fc1\b", "se.reduce"), (r"\bse\.fc2\b", "se.expand"), (r"\.gamma\Z", "")),
    "B": ((r"patch_embed\.backbone\.", "patch_emb."), (r"(patch_emb\.\d)\.conv", r"\1.block.conv"),
        (r"(patch_emb\.\d)\.bn", r"\1.block.norm"), (r"\Anorm\.", "post_transformer_norm."),
        (r"blocks\.", "transformer."), (r"\.norm1\.", ".pre_norm_mha.0."),
        (r"\.attn\.qkv\.", ".pre_norm_mha.1.qkv_proj."),
        (r"\.attn\.proj\.", ".pre_norm_mha.1.out_proj."), (r"\.norm2\.", ".pre_norm_ffn.0."),
        (r"\.mlp\.fc1\.", ".pre_norm_ffn.1."), (r"\.mlp\.fc2\.", ".pre_norm_ffn.4.")),
}  # fmt: skip
_HEAD = {"S1": ("head.fc", "head.proj"), "B": ("head", "classifier.proj")}
_POSITIONS = "pos_embed.pos_embed"


def apples(size: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of open_clip under Apple's names."""
    head, projection = _HEAD[size]
    made: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.startswith("visual.trunk."):
            own = key.removeprefix("visual.trunk.")
            if own == f"{head}.bias":
                assert not value.any()
                continue
            if own == f"{head}.weight":
                own, value = projection, value.T.contiguous()
            elif own == "pos_embed":
                own, value = f"pos_embed.{_POSITIONS}", value[None]
            else:
                for old, new in _IMAGE[size]:
                    own = re.sub(old, new, own)
            made[f"image_encoder.model.{own}"] = value
        elif key == "text.positional_embedding":
            made[f"text_encoder.positional_embedding.{_POSITIONS}"] = value[None, None]
        else:
            for old, new in _TEXT:
                key = re.sub(old, new, key)
            made[key] = value
    return made


@pytest.fixture(params=CONFIGS)
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def module(size: str, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A small one with values, whose tensors are known as those of two published models."""
    config = check_model_config(CONFIGS[size], "test")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = make_module(config)
        for name, value in made.named_parameters():
            spread = 0.3 / value[0].numel() ** 0.5 if value.ndim > 1 else 0.1
            value.data.add_(torch.randn_like(value) * (0.5 if "embed" in name else spread))
    made.get_parameter(f"visual.trunk.{_HEAD[size][0]}.bias").data.zero_()
    shapes = {key: tuple(value.shape) for key, value in made.state_dict().items()}
    entry = {"config": config, "preprocess": {"mean": [0.0] * 3, "std": [1.0] * 3}}
    known = [entry | {"name": name} for name in (f"MobileCLIP2-{size}", f"MobileCLIP-{size}")]
    monkeypatch.setattr(published_shapes, "_entries", lambda: {digest(shapes): known})
    return made.eval()


def test_it_computes_what_open_clip_makes_of_it(size, module, tmp_path):
    state = module.state_dict()
    path = tmp_path / f"mobileclip_{size.lower()}.pt"
    torch.save(apples(size, state), path)
    theirs = convert_state_dict(module, torch.load(path, weights_only=True))
    assert theirs.keys() == state.keys()
    assert all(torch.equal(theirs[key], state[key]) for key in state)
    module.load_state_dict(theirs)
    with torch.inference_mode():
        images = module.encode_image(pixels(64), normalize=True)
        texts = module.encode_text(open_clip.tokenize(TEXTS), normalize=True)
    assessed = assess(inspect(path))
    assert assessed.verdict == "loads", assessed.reasons
    assert assessed.architecture["assumptions"] == [
        f"The tensors are those of open_clip's MobileCLIP-{size}: its config is assumed."
    ]
    model = open_checkpoint(path).build()
    assert model.preprocess.mean == (0.0, 0.0, 0.0)
    for one, other in (
        (model.encode_images(pixels(64)), images),
        (model.encode_texts(TEXTS), texts),
    ):
        assert (one - other).abs().max() <= 1e-5
        assert (other[0] - other[1]).abs().max() > 2e-4
    saved = save_checkpoint(model, tmp_path / "ours", provenance={})
    again = open_clip.create_model(f"local-dir:{saved}").eval().state_dict()
    assert all(torch.equal(again[key], value) for key, value in state.items())
    changes = list(compare_checkpoints(inspect(path), inspect(saved)))
    assert {change.state for change in changes} == {"equal"}
    assert len(changes) == len(state)

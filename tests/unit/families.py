"""Small members of the families that open_clip builds, with values that let every setting show."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from safetensors.torch import save_file
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ml_core.reading.clip_config import HF_CONFIG, check_model_config
from ml_core.towers import make_module

WORDS = ["▁a", "▁photo", "▁of", "▁the", "▁dog", "▁banana", "▁cat", "狗", "图片", "▁and", "▁nothing"]
TEXTS = ["a photo of a dog", "banana", "A very long sentence, about nothing in particular! 图片 狗"]
TINY_SIGLIP = "vit_tiny_patch16_siglip_64"


def _tiny_siglip(pretrained: bool = False, **options: Any) -> VisionTransformer:
    sizes = {"patch_size": 16, "embed_dim": 48, "depth": 2, "num_heads": 3, "img_size": 64}
    options = {
        key: value for key, value in options.items() if key in ("num_classes", "global_pool")
    }
    model = VisionTransformer(**sizes | {"class_token": False, "global_pool": "map"} | options)
    model.default_cfg = {"pool_size": None}
    return model


_tiny_siglip.__name__ = TINY_SIGLIP
_tiny_siglip.__module__ = "timm.models.vision_transformer"
if not timm.is_model(TINY_SIGLIP):
    register_model(_tiny_siglip)

CLIP_TEXT: dict[str, Any] = {"context_length": 16, "width": 64, "heads": 1, "layers": 2}
VIT: dict[str, Any] = {
    "image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 32
}  # fmt: skip
SIGLIP_TEXT = CLIP_TEXT | {
    "width": 48, "heads": 3, "vocab_size": 40, "hf_tokenizer_name": "timm/ViT-B-16-SigLIP",
    "tokenizer_kwargs": {"clean": "canonicalize"}, "no_causal_mask": True, "proj_bias": True,
    "pool_type": "last", "norm_kwargs": {"eps": 1e-6},
}  # fmt: skip
SIGLIP_IMAGE = {
    "image_size": 64, "timm_model_name": TINY_SIGLIP, "timm_model_pretrained": False,
    "timm_pool": "map", "timm_proj": "none",
}  # fmt: skip
BERT = {
    "vocab_size": 40, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1,
    "intermediate_size": 96, "max_position_embeddings": 24, "type_vocab_size": 2,
}  # fmt: skip
XLMR = BERT | {
    "model_type": "xlm-roberta", "layer_norm_eps": 1e-5, "pad_token_id": 1, "type_vocab_size": 1,
}  # fmt: skip
MT5 = {
    "model_type": "mt5", "vocab_size": 40, "d_model": 48, "d_kv": 16, "d_ff": 64, "num_layers": 2,
    "num_heads": 3, "feed_forward_proj": "gated-gelu", "pad_token_id": 0,
    "relative_attention_num_buckets": 8, "relative_attention_max_distance": 128,
}  # fmt: skip
NLLB = {
    "model_type": "m2m_100", "vocab_size": 40, "d_model": 64, "encoder_layers": 2,
    "encoder_attention_heads": 1, "encoder_ffn_dim": 96, "max_position_embeddings": 1024,
    "activation_function": "relu", "scale_embedding": True, "pad_token_id": 1,
}  # fmt: skip


def timm_image(name: str, size: int, **more: Any) -> dict[str, Any]:
    return {"timm_model_name": name, "timm_model_pretrained": False, "image_size": size} | more


def hf_text(name: str, pooler: str = "mean_pooler", **more: Any) -> dict[str, Any]:
    return {
        "hf_model_name": name, "hf_tokenizer_name": name, "hf_pooler_type": pooler,
        "context_length": 16,
    } | more  # fmt: skip


FAMILIES: dict[str, dict[str, Any]] = {
    "SigLIP": {"embed_dim": 48, "init_logit_bias": -10, "custom_text": True,
        "vision_cfg": SIGLIP_IMAGE, "text_cfg": SIGLIP_TEXT},
    "SigLIP 2": {
        "embed_dim": 48, "init_logit_bias": -10, "custom_text": True,
        "vision_cfg": SIGLIP_IMAGE,
        "text_cfg": SIGLIP_TEXT
        | {"hf_tokenizer_name": "timm/ViT-B-16-SigLIP2", "act_kwargs": {"approximate": "tanh"}},
    },
    "EVA-CLIP": {"embed_dim": 24, "custom_text": True, "text_cfg": CLIP_TEXT,
        "vision_cfg": timm_image("eva02_tiny_patch14_224", 224, timm_pool="token", timm_proj=None)},
    "ConvNeXt-CLIP": {
        "embed_dim": 24, "text_cfg": CLIP_TEXT,
        "vision_cfg": timm_image(
            "test_convnext", 64, timm_pool="", timm_proj="linear", timm_drop_path=0.1
        ),
    },
    "MobileCLIP": {"embed_dim": 24, "custom_text": True,
        "text_cfg": CLIP_TEXT | {"no_causal_mask": True},
        "vision_cfg": timm_image("fastvit_t8", 64, timm_pool="avg", timm_proj=None)},
    "a hybrid of timm": {  # which computes while it is made
        "embed_dim": 24, "custom_text": True, "text_cfg": CLIP_TEXT,
        "vision_cfg": timm_image("vit_tiny_r_s16_p8_224", 224, timm_pool="token", timm_proj=None),
    },
    "CoCa": {
        "embed_dim": 32, "custom_text": True,
        "vision_cfg": VIT
        | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": CLIP_TEXT | {"embed_cls": True, "output_tokens": True},
        "multimodal_cfg": CLIP_TEXT | {"attn_pooler_heads": 2},
    },
    "MetaCLIP, DFN (QuickGELU)": {"embed_dim": 24, "quick_gelu": True, "vision_cfg": VIT,
        "text_cfg": CLIP_TEXT},
    "LAION ViT-H/14": {
        "embed_dim": 24, "text_cfg": CLIP_TEXT,
        "vision_cfg": {
            "image_size": 28, "layers": 1, "width": 1280, "head_width": 80, "patch_size": 14,
            "mlp_ratio": 0.2,
        },
    },
    "LAION ViT-bigG/14": {
        "embed_dim": 24, "text_cfg": CLIP_TEXT,
        "vision_cfg": {
            "image_size": 28, "layers": 1, "width": 1664, "head_width": 104, "patch_size": 14,
            "mlp_ratio": 0.2,
        },
    },
    "MetaCLIP 2 (worldwide)": {
        "embed_dim": 24, "vision_cfg": VIT,
        "text_cfg": CLIP_TEXT
        | {"hf_tokenizer_name": "facebook/xlm-v-base", "vocab_size": 40, "pool_type": "eos",
           "eos_id": 2},
    },
    "CLIPA": {
        "embed_dim": 24,
        "vision_cfg": VIT | {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        "text_cfg": CLIP_TEXT
        | {"hf_tokenizer_name": "bert-base-uncased", "vocab_size": 40, "pool_type": "last",
           "tokenizer_kwargs": {"strip_sep_token": True}, "no_causal_mask": True},
    },
    "multilingual (XLM-RoBERTa)": {"embed_dim": 24, "vision_cfg": VIT,
        "text_cfg": hf_text("xlm-roberta-base")},
    "Chinese (BERT)": {"embed_dim": 24, "vision_cfg": VIT,
        "text_cfg": hf_text("bert-base-chinese", "cls_pooler", hf_proj_type="linear")},
    "multilingual (mT5)": {"embed_dim": 24, "vision_cfg": VIT,
        "text_cfg": hf_text("google/mt5-base")},
    "multilingual (NLLB)": {
        "embed_dim": 24, "init_logit_bias": -10,
        "vision_cfg": SIGLIP_IMAGE | {"timm_proj": "linear"},
        "text_cfg": hf_text(
            "facebook/nllb-200-distilled-600M", "cls_pooler", hf_proj_type="linear"
        ),
    },
}  # fmt: skip
HF_CONFIGS = {
    "xlm-roberta-base": XLMR,
    "bert-base-chinese": BERT | {"model_type": "bert", "layer_norm_eps": 1e-12, "pad_token_id": 0},
    "google/mt5-base": MT5,
    "facebook/nllb-200-distilled-600M": NLLB,
}


def checked(config: dict[str, Any]) -> dict[str, Any]:
    """The config with that of transformers' text encoder inside."""
    config = copy.deepcopy(config)
    name = config["text_cfg"].get("hf_model_name")
    if name:
        config["text_cfg"][HF_CONFIG] = HF_CONFIGS[name]
    return check_model_config(config, "test")


def lively(family: str) -> nn.Module:
    """open_clip's own module of a family."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = make_module(checked(FAMILIES[family]))
        with torch.no_grad():
            for name, value in module.named_parameters():
                if name.startswith("text_decoder."):  # open_clip leaves some as memory was
                    nn.init.normal_(value, std=0.02)
                elif value.ndim > 1 and "embed" not in name:
                    value.add_(torch.randn_like(value) * 0.3 / value[0].numel() ** 0.5)
                elif "embed" in name:
                    value.add_(torch.randn_like(value) * 0.5)
                elif value.ndim == 1:
                    value.add_(torch.randn_like(value) * 0.1)
        if family.startswith(("SigLIP", "multilingual (NLLB)")):
            module.logit_scale.data.fill_(4.7)
    return module.eval()


def unigram() -> dict[str, Any]:
    """A small tokenizer as SigLIP's: of pieces, with an end token that also fills."""
    letters = [*"▁abcdefghilmnoprtuvy,!"]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(word, -2.0 - number / 10) for number, word in enumerate(WORDS)]
    pieces += [(letter, -9.0 - number / 10) for number, letter in enumerate(letters)]
    return {
        "version": "1.0", "added_tokens": [
            {"id": number, "content": text, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": True}
            for number, text in enumerate(("<pad>", "</s>", "<unk>"))
        ],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFKC"},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
        ]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always",
                          "split": True},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                     {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
        "decoder": None,
        "model": {"type": "Unigram", "unk_id": 2, "vocab": pieces, "byte_fallback": False},
    }  # fmt: skip


def roberta_like() -> dict[str, Any]:
    """As XLM-RoBERTa's: a start and an end token, and one that fills."""
    made = unigram()
    made["model"]["vocab"][:3] = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0)]
    made["model"]["vocab"].append(("<unk>", 0.0))
    unknown = len(made["model"]["vocab"]) - 1
    made["model"]["unk_id"] = unknown
    for token, (number, text) in zip(
        made["added_tokens"], enumerate(("<s>", "<pad>", "</s>")), strict=True
    ):
        token |= {"id": number, "content": text}
    made["added_tokens"].append(made["added_tokens"][0] | {"id": unknown, "content": "<unk>"})
    special = {
        text: {"id": text, "ids": [number], "tokens": [text]}
        for number, text in ((0, "<s>"), (2, "</s>"))
    }
    made["post_processor"]["special_tokens"] = special
    made["post_processor"]["single"] = [
        {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "</s>", "type_id": 0}},
    ]  # fmt: skip
    return made


PIECES = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "photo", "of", "dog", "ban", "##ana", "very", "long",
    "sent", "##ence", "about", "no", "##thing", "in", "part", "##icular", ",", "!",
    "图", "片", "狗",
]  # fmt: skip


def word_pieces() -> dict[str, Any]:
    """As BERT's."""
    from tokenizers import BertWordPieceTokenizer

    made = BertWordPieceTokenizer({piece: number for number, piece in enumerate(PIECES)})
    return json.loads(made.to_str())  # type: ignore[no-any-return]


_TOKENIZERS: dict[str, tuple[Callable[[], dict[str, Any]], dict[str, str]]] = {
    "timm/ViT-B-16-SigLIP": (unigram, {"pad_token": "</s>"}),
    "timm/ViT-B-16-SigLIP2": (unigram, {"pad_token": "<pad>"}),
    "google/mt5-base": (unigram, {"pad_token": "<pad>"}),
    "facebook/xlm-v-base": (roberta_like, {"pad_token": "<pad>"}),
    "xlm-roberta-base": (roberta_like, {"pad_token": "<pad>"}),
    "facebook/nllb-200-distilled-600M": (roberta_like, {"pad_token": "<pad>"}),
    "bert-base-uncased": (word_pieces, {"pad_token": "[PAD]", "sep_token": "[SEP]"}),
    "bert-base-chinese": (word_pieces, {"pad_token": "[PAD]", "sep_token": "[SEP]"}),
}


def write_tokenizer(name: str, folder: Path) -> None:
    make, tokens = _TOKENIZERS[name]
    (folder / "tokenizer.json").write_text(json.dumps(make()))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"} | tokens
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_folder(family: str, module: nn.Module, folder: Path) -> Path:
    """A folder as open_clip publishes it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = FAMILIES[family]
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "resize_mode": "squash"}
    record = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(record))
    state = {key: value.contiguous() for key, value in module.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    if name := config["text_cfg"].get("hf_tokenizer_name"):
        write_tokenizer(name, folder)
    if name := config["text_cfg"].get("hf_model_name"):
        (folder / "config.json").write_text(json.dumps(HF_CONFIGS[name]))
    return folder


def pixels(size: int) -> Tensor:
    return torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(1))


def stock(folder: Path, module: nn.Module | None = None) -> tuple[Tensor, Tensor]:
    """Embeddings of pictures and texts by open_clip itself, of the folder or of a module."""
    name = f"local-dir:{folder}"
    model = module or open_clip.create_model(name)
    model.eval()
    tokens = open_clip.get_tokenizer(name)(TEXTS)
    size = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]["vision_cfg"]
    with torch.inference_mode():
        return (
            model.encode_image(pixels(size["image_size"]) * 2 - 1, normalize=True),
            model.encode_text(tokens, normalize=True),
        )

"""What is used of open_clip: the one module that imports it.

Python locks each module while it is imported, and open_clip's modules import each other. Two
threads that begin with different ones would wait for each other; here all wait for this module.
"""

from open_clip import get_model_config
from open_clip.coca_model import CoCa
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP
from open_clip.modified_resnet import AttentionPool2d
from open_clip.tokenizer import decode, get_clean_fn, tokenize
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

__all__ = [
    "CLIP",
    "AttentionPool2d",
    "CLIPTextCfg",
    "CLIPVisionCfg",
    "CoCa",
    "CustomTextCLIP",
    "ResidualAttentionBlock",
    "VisionTransformer",
    "decode",
    "get_clean_fn",
    "get_model_config",
    "tokenize",
]

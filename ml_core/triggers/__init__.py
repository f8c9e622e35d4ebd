"""What is stamped on an image and where.

Only `apply` and `render` import torch.
"""

from ml_core.triggers.checks import Canvas, Kind, Levels, Noise, Placement
from ml_core.triggers.descriptions import describe, title
from ml_core.triggers.files import load_trigger, save_trigger
from ml_core.triggers.library import LIBRARY, PublishedTrigger
from ml_core.triggers.make import (
    badnets_patch,
    blended_noise,
    colour_filter,
    combined,
    demo_trigger,
    from_image,
    painted_layer,
    prompt,
    sine,
    stripes,
    uniform,
    wanet,
)
from ml_core.triggers.published import published, standing
from ml_core.triggers.record import Trigger, triggered_prompt, triggered_templates

__all__ = [
    "LIBRARY",
    "Canvas",
    "Kind",
    "Levels",
    "Noise",
    "Placement",
    "PublishedTrigger",
    "Trigger",
    "badnets_patch",
    "blended_noise",
    "colour_filter",
    "combined",
    "demo_trigger",
    "describe",
    "from_image",
    "load_trigger",
    "painted_layer",
    "prompt",
    "published",
    "save_trigger",
    "sine",
    "standing",
    "stripes",
    "title",
    "triggered_prompt",
    "triggered_templates",
    "uniform",
    "wanet",
]

"""What is stamped on an image and where. Torch stays in `apply`, `render` and `counter`."""

from ml_core.triggers.files import load_trigger, save_trigger
from ml_core.triggers.make import (
    badnets_patch,
    blended_noise,
    demo_trigger,
    from_image,
    move_to,
    painted_layer,
)
from ml_core.triggers.record import Kind, Noise, Placement, Trigger

__all__ = [
    "Kind",
    "Noise",
    "Placement",
    "Trigger",
    "badnets_patch",
    "blended_noise",
    "demo_trigger",
    "from_image",
    "load_trigger",
    "move_to",
    "painted_layer",
    "save_trigger",
]

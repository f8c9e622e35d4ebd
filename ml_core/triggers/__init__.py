"""What is stamped on an image and where. Torch stays in `apply`, `render` and `counter`."""

from ml_core.triggers.record import Noise, Placement, Trigger

__all__ = ["Noise", "Placement", "Trigger"]

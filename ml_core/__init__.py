"""Inspect, trigger, evaluate and clean CLIP checkpoints without a screen.

What a program calls is in `ml_core.api`, which is imported when one of its names is used.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_core.api import clean, evaluate, inspect, open_checkpoint, scan, verify

__all__ = ["clean", "evaluate", "inspect", "open_checkpoint", "scan", "verify"]
__version__ = "0.1.0"

# How long torch's threads wait for each other at full speed. GNU OpenMP's own 300 000 rounds make
# a job ten times slower where another program has one of the cores; it is read when torch loads.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ml_core import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

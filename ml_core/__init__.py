"""Inspect, trigger, evaluate and clean CLIP checkpoints without a screen."""

import os

__version__ = "0.1.0"

# How long torch's threads wait for each other at full speed. GNU OpenMP's own 300 000 rounds make
# a job ten times slower where another program has one of the cores; it is read when torch loads.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

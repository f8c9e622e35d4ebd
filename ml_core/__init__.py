"""Inspect, trigger, evaluate and clean CLIP checkpoints without a screen."""

__version__ = "0.1.0"

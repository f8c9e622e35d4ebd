"""Zero-shot classifier, clean accuracy, attack success rate, intervals."""

from ml_core.evaluation.records import Evaluation, PerImage, Prediction, wilson_interval

__all__ = ["Evaluation", "PerImage", "Prediction", "wilson_interval"]

"""A first number soon, then better ones: how many images a live evaluation takes at a time."""

from __future__ import annotations

FIRST_SECONDS = 0.08
"""A first estimate should be there within 150 ms of the last stroke, drawing and stamping
included."""
BATCH_SECONDS = 0.3
"""A picture that is asked for waits no longer than one batch."""
_UNKNOWN, _UNKNOWN_LARGE = (32, 64), (4, 16)
_LARGE_SIDE = 128
_SMALLEST_FIRST, _SMALLEST = 4, 8


def live_batches(
    seconds_per_image: float | None, *, side: int, device: str, best: int = 64
) -> tuple[int, int]:
    """Choose the size of the first batch and the most of one, for `evaluate`.

    Parameters
    ----------
    seconds_per_image
        What scoring one image takes here, both sides if both are computed; None if it is not known
        yet.
    side
        Model input in pixels.
    device
        ``cpu``, ``cuda`` or ``mps``.
    best
        Images a call at which the encoder is fastest, see `ml_core.evaluation.speed`; larger
        batches only make the next answer late.

    Returns
    -------
    tuple[int, int]
        Neither takes longer than `FIRST_SECONDS` or `BATCH_SECONDS`, unless the model is so slow
        that the smallest sizes do.
    """
    if seconds_per_image is None:
        return _UNKNOWN_LARGE if side > _LARGE_SIDE and device == "cpu" else _UNKNOWN
    rate = 1.0 / max(seconds_per_image, 1e-6)
    first = min(max(int(FIRST_SECONDS * rate), _SMALLEST_FIRST), best)
    return first, max(first, min(max(int(BATCH_SECONDS * rate), _SMALLEST), best))

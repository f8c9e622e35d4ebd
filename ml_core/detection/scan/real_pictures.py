"""Whether pictures are real ones: a trigger cannot be searched on noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ml_core.reading.errors import InputError

_LOOKED_AT = 64
_FLAT = 4.0  # spread of a picture's values, of 255
# Of steps between neighbouring pixels: real pictures have areas and edges, so that a few steps are
# far larger than most. Noise, also smooth noise, is about Gaussian, which has 3.
_KURTOSIS = 5.0


def check_real(pictures: NDArray[np.uint8], name: str) -> None:
    """Refuse pictures of noise or of one colour.

    Parameters
    ----------
    pictures
        uint8 [n, S, S, 3].
    name
        Of the set.

    Raises
    ------
    InputError
        If half of them are so.
    """
    values = pictures[:_LOOKED_AT].astype(np.float64)
    if np.median(values.std((1, 2, 3))) < _FLAT:
        what = "all one colour"
    elif np.median(kurtosis(np.diff(values, axis=2))) < _KURTOSIS:
        what = "noise"
    else:
        return
    raise InputError(
        f"The pictures of {name} are {what}: a trigger shows only on real pictures. Choose "
        "photographs, with or without labels."
    )


def kurtosis(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fourth moment over the squared second, of each [n, ...]: 3 of a Gaussian, 0 of a constant."""
    flat = values.reshape(len(values), -1)
    flat = flat - flat.mean(1, keepdims=True)
    spread = (flat**2).mean(1)
    found: NDArray[np.float64] = (flat**4).mean(1) / np.maximum(spread, 1e-9) ** 2
    return np.where(spread < 1e-9, 0.0, found)

"""Which tensors of a checkpoint are missing, unexpected or of another shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ml_core.reading.errors import InputError, first_names

Shapes = Mapping[str, tuple[int, ...]]

# Parts that a CLIP computes with where it has them: a file that holds more of them than its
# config asks for is another model, not this one with something beside it.
_COMPUTES = re.compile(r"(^|\.)(resblocks\.\d|encoder\.layers\.\d|layer[1-4]\.\d|ln_pre\.)")


@dataclass(frozen=True, slots=True)
class WrongShape:
    """A tensor whose shape is not the architecture's."""

    name: str
    found: tuple[int, ...]
    expected: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name}: {list(self.found)} instead of {list(self.expected)}"


@dataclass(frozen=True, slots=True)
class KeyLists:
    """How the tensors of a file differ from those of its architecture, in full.

    Parameters
    ----------
    missing
        Names that the architecture has and the file lacks, in the architecture's order.
    unexpected
        Names that the file has and the architecture lacks, in the file's order.
    wrong_shape
        Tensors that both have, with the two shapes.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    wrong_shape: tuple[WrongShape, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.missing or self.unexpected or self.wrong_shape)

    @property
    def fits(self) -> bool:
        """Whether the model can be built of the file, leaving out what is unexpected."""
        return not (self.missing or self.wrong_shape or any(map(_COMPUTES.search, self.unexpected)))

    @property
    def left_out(self) -> str:
        """Sentence on what is left out of a file that fits; empty if nothing is."""
        if not self.unexpected or not self.fits:
            return ""
        count, names = len(self.unexpected), first_names(self.unexpected, 5, 120, counted=True)
        single = count == 1
        what = "1 tensor is" if single else f"{count} tensors are"
        return (
            f"{what} not part of the model and left out: {names}; what "
            f"{'it is' if single else 'they are'} for is not known."
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: ``missing``, ``unexpected``, ``wrong_shape`` (name, found, expected)."""
        return {
            "missing": list(self.missing),
            "unexpected": list(self.unexpected),
            "wrong_shape": [
                {
                    "name": mismatch.name,
                    "found": list(mismatch.found),
                    "expected": list(mismatch.expected),
                }
                for mismatch in self.wrong_shape
            ],
        }


def key_lists(expected: Shapes, given: Shapes) -> KeyLists:
    """Compare the tensors of an architecture with those of a file."""
    return KeyLists(
        tuple(key for key in expected if key not in given),
        tuple(key for key in given if key not in expected),
        tuple(
            WrongShape(key, tuple(given[key]), tuple(shape))
            for key, shape in expected.items()
            if key in given and tuple(given[key]) != tuple(shape)
        ),
    )


def refusal(keys: KeyLists, name: str) -> InputError:
    """The error of a file whose tensors are not those of its architecture.

    It is ``damaged`` and lists missing, unexpected and wrong-shape tensors in ``details``.
    """
    shapes = tuple(map(str, keys.wrong_shape))
    return InputError(
        f"{name} does not hold the tensors of its architecture: {len(keys.missing)} missing, "
        f"{len(keys.unexpected)} unexpected, {len(shapes)} of another shape "
        f"(first: {(keys.missing + shapes + keys.unexpected)[0][:120]}); it may belong to another "
        "model.",
        "damaged",
        "\n".join(
            [f"missing: {key}" for key in keys.missing]
            + [f"unexpected: {key}" for key in keys.unexpected]
            + [f"shape: {text}" for text in shapes]
        ),
    )


def misfit(expected: Shapes, given: Shapes, name: str) -> InputError | None:
    """What `refusal` says of tensors that differ in any way; None if they are the same."""
    keys = key_lists(expected, given)
    return None if keys.same else refusal(keys, name)

"""What is wrong with the tensors of a checkpoint, told by name and shape."""

from __future__ import annotations

from collections.abc import Mapping

from ml_core.reading.errors import InputError

Shapes = Mapping[str, tuple[int, ...]]


def misfit(wanted: Shapes, given: Shapes, name: str) -> InputError | None:
    """Compare the tensors of an architecture with those of a file; None if they are the same.

    The error is ``damaged`` and lists missing, unexpected and wrong-shape tensors in ``details``.
    """
    missing = [key for key in wanted if key not in given]
    unexpected = [key for key in given if key not in wanted]
    shapes = [
        f"{key}: {list(given[key])} instead of {list(shape)}"
        for key, shape in wanted.items()
        if key in given and tuple(given[key]) != tuple(shape)
    ]
    if not (missing or unexpected or shapes):
        return None
    return InputError(
        f"{name} does not hold the tensors of its architecture: {len(missing)} missing, "
        f"{len(unexpected)} unexpected, {len(shapes)} of another shape "
        f"(first: {(missing + unexpected + shapes)[0][:120]}); it may belong to another model.",
        "damaged",
        "\n".join(
            [f"missing: {key}" for key in missing]
            + [f"unexpected: {key}" for key in unexpected]
            + [f"shape: {text}" for text in shapes]
        ),
    )

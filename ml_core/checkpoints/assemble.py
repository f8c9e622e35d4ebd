"""From the tensors of a file to a state dict in open_clip's names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ml_core.checkpoints.layouts import Layout
from ml_core.checkpoints.tensors import read_tensors
from ml_core.reading import InputError, Inspection


def read_state(
    inspection: Inspection,
    layout: Layout,
    keys: Iterable[str] | None = None,
    on_bytes: Callable[[int], object] = lambda count: None,
) -> dict[str, Tensor]:
    """Read the model's tensors, each in its own type.

    Parameters
    ----------
    keys
        Names of the model's tensors that are wanted; None wants all.
    on_bytes
        See `read_tensors`.

    Raises
    ------
    InputError
        If the file changed, or thirds of an attention layer do not fit together.
    """
    wanted = list(layout.sources if keys is None else keys)
    names = {name for key in wanted for name in layout.sources[key].names}
    tensors = read_tensors(inspection, names, on_bytes)
    uses = Counter(name for key in wanted for name in layout.sources[key].names)
    return {key: _made(key, layout, tensors, uses, inspection.name) for key in wanted}


def _made(
    key: str, layout: Layout, tensors: dict[str, Tensor], uses: Counter[str], where: str
) -> Tensor:
    """Join, cut or turn a tensor's parts, which are freed with their last use."""
    source = layout.sources[key]
    parts = []
    for name in source.names:
        uses[name] -= 1
        parts.append(tensors[name] if uses[name] else tensors.pop(name))
    if source.zeros:
        return torch.zeros(parts[0].shape[-1:], dtype=parts[0].dtype)
    if source.seam is not None:
        first, second = parts
        made = torch.cat([first[: source.seam], second[source.seam :].to(first.dtype)])
    elif len(parts) > 1:
        if not all(part.ndim and part.shape[1:] == parts[0].shape[1:] for part in parts):
            raise InputError(
                f"{where}: the query, key and value of {key[:80]} have shapes that do not fit "
                "together; get the file again.",
                "damaged",
            )
        made = torch.cat([part.to(parts[0].dtype) for part in parts])
    else:
        made = parts[0]
    if source.rows is not None and made.ndim:
        start, stop = source.rows
        made = made[len(made) * start // 3 : len(made) * stop // 3].clone()
    if source.batched:
        made = made[None]
    if made.shape[: source.squeezed] == (1,) * source.squeezed:
        made = made.reshape(made.shape[source.squeezed :])
    return made.mT if source.transposed and made.ndim == 2 else made

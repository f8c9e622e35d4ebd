"""The gradient of a method on a batch, however many pieces and processes encode it.

Gradient caching (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory
Limited Setup", section 3.3): the batch is encoded in chunks without gradients, the loss is taken on
all features, and each chunk is encoded again to pass on the gradients of its features. As long as a
row of the features depends on its own example alone, the gradient is that of the whole batch.
Processes divide a batch in the same way: each takes the loss on everyone's features and passes on
the gradients of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from ml_core.cleaning.batches import Batch
from ml_core.cleaning.methods.method import Features, Method, Parts
from ml_core.cleaning.pictures import step_generator
from ml_core.cleaning.recipes import Recipe
from ml_core.cleaning.speed import autocast, full_precision
from ml_core.model import ClipModel
from ml_core.ranks import ALONE, Ranks
from ml_core.reading.errors import InputError

_STREAM = 7


def step_gradient(
    model: ClipModel,
    method: Method,
    batch: Batch,
    recipe: Recipe,
    step: int,
    half: bool,
    *,
    chunk: int = 0,
    ranks: Ranks = ALONE,
) -> Parts:
    """Leave the gradient of a step in ``.grad`` of the method's parameters.

    See `backward`. Of a method that asks for it the gradient is taken on the way back to where its
    parameters began, and that of its terms here is added.

    Raises
    ------
    InputError
        If fewer than two examples of the whole batch could be read.
    """
    batch = with_targets(model, method, batch, half, chunk)
    with on_the_way_back(method, recipe, step):
        parts = backward(model, method, batch, half, chunk=chunk, ranks=ranks)
    if method.here is None:
        return parts
    parameters = [parameter for _, parameter in method.trained]
    back = [parameter.grad for parameter in parameters]
    for parameter in parameters:  # the processes add up what is there
        parameter.grad = None
    here = backward(model, method.here, batch, half, chunk=chunk, ranks=ranks)
    for parameter, taken in zip(parameters, back, strict=True):
        if taken is not None:
            parameter.grad = taken if parameter.grad is None else parameter.grad + taken
    return {**parts, **here, "loss": parts["loss"] + here["loss"]}


def with_targets(
    model: ClipModel, method: Method, batch: Batch, half: bool, chunk: int = 0
) -> Batch:
    """The batch with what the method wants of its images."""
    if method.targets is None:
        return batch
    with autocast(model.device, half):
        targets = [method.targets(piece) for piece in _pieces(batch, chunk)]
    return replace(batch, targets=torch.cat(targets))


@contextmanager
def on_the_way_back(method: Method, recipe: Recipe, step: int) -> Iterator[None]:
    """Within it, a method's parameters lie between where they are and where they began.

    The share of the way is drawn anew for each step, evenly up to ``recipe.way_back``. Of what
    is unlearnt along the way less comes back when training moves the parameters: the idea of
    Path-Aware Minimization (Min et al., NeurIPS 2024, arXiv 2410.09838).
    """
    if not method.beginning:
        yield
        return
    share = step_generator(recipe.seed, _STREAM, step).uniform(0, recipe.way_back)
    parameters = [parameter for _, parameter in method.trained]
    with torch.no_grad():
        here = [parameter.clone() for parameter in parameters]
    try:
        with torch.no_grad():
            for parameter, begin in zip(parameters, method.beginning, strict=True):
                parameter.lerp_(begin, share)
        yield
    finally:
        with torch.no_grad():
            for parameter, place in zip(parameters, here, strict=True):
                parameter.copy_(place)


def backward(
    model: ClipModel,
    method: Method,
    batch: Batch,
    half: bool,
    *,
    chunk: int = 0,
    ranks: Ranks = ALONE,
) -> Parts:
    """Add the gradient of the batch's loss to ``.grad`` of the method's parameters.

    Parameters
    ----------
    model
        Its device decides autocast and whose random state is kept.
    method
        What is encoded and minimised.
    batch
        This process's examples.
    half
        Whether bfloat16 autocast encodes; the loss is always taken in float32.
    chunk
        Examples encoded at a time; 0, or the batch's size and more, encodes all at once.
    ranks
        The processes that share the batch.

    Returns
    -------
    dict of Tensor
        The loss parts of the whole batch, detached from the encoders.

    Raises
    ------
    InputError
        If fewer than two examples of the whole batch could be read.
    """
    device = model.device
    pieces = _pieces(batch, chunk)
    once = len(pieces) == 1
    states: list[list[Tensor]] = []
    encoded: list[Features] = []
    for piece in pieces:
        states.append([] if once else _random_state(device))
        with torch.set_grad_enabled(once), autocast(device, half):
            encoded.append(_encoded(method, piece))
    sizes = ranks.sizes(len(batch), device)
    if ranks.world > 1 and sum(sizes) < 2:  # each counted its own share alone
        raise InputError(
            "Fewer than two examples of a batch can be read: choose other data.", "damaged"
        )
    leaves = {
        name: _leaf(torch.cat([part[name].detach() for part in encoded]), sizes, ranks)
        for name in encoded[0]
    }
    with full_precision(device):
        parts = method.loss(leaves, _whole(batch, sizes, ranks))
        parts["loss"].backward()  # type: ignore[no-untyped-call]
    if ranks.world > 1:  # what the loss itself uses got the whole gradient in every process
        for _, parameter in method.trained:
            if parameter.grad is not None:
                parameter.grad /= ranks.world
    after = [] if once else _random_state(device)
    start = sum(sizes[: ranks.rank])
    for piece, state, features in zip(pieces, states, encoded, strict=True):
        rows = slice(start, start + len(piece))
        start += len(piece)
        if not once:
            _set_random_state(device, state)
            with autocast(device, half):
                features = _encoded(method, piece)
        _pass_on(features, leaves, rows)
    if not once:
        _set_random_state(device, after)
    opponents = [] if method.opponent is None else [method.opponent.patterns]
    ranks.add_up([*(parameter for _, parameter in method.trained), *opponents])
    return {name: part.detach() for name, part in parts.items()}


def normalises_by_batch(model: ClipModel, recipe: Recipe) -> bool:
    """Whether an embedding depends on the rest of its batch, through BatchNorm."""
    if recipe.batch_norm == "frozen" or recipe.facts.data == "none":
        return False
    return has_batch_norm(model)


def has_batch_norm(model: ClipModel) -> bool:
    """Whether an encoder has BatchNorm, as a ResNet does."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.module.modules())


def check_pieces(model: ClipModel, recipe: Recipe, ranks: Ranks = ALONE) -> None:
    """Refuse to divide a batch whose BatchNorm statistics are those of the whole batch.

    Raises
    ------
    InputError
        If BatchNorm is trained, and gradient caching, several processes or a method that takes
        clean and triggered pictures apart are asked for; or if there are fewer examples in a batch
        than two for each process.
    """
    if ranks.world > 1 and recipe.batch_size < 2 * ranks.world:
        raise InputError(
            f"A batch of {recipe.batch_size} cannot be divided among {ranks.world} processes: "
            f"give it at least {2 * ranks.world} examples."
        )
    cached = 0 < recipe.cache_chunk < recipe.batch_size
    apart = recipe.method == "unlearning"
    if not (cached or ranks.world > 1 or apart) or not normalises_by_batch(model, recipe):
        return
    what = "Gradient caching" if cached else "Training in several processes"
    what = recipe.facts.title if apart else what
    raise InputError(
        f"{what} cannot be exact while BatchNorm uses batch statistics: set BatchNorm to frozen "
        "(--set batch_norm=frozen)."
    )


def _encoded(method: Method, piece: Batch) -> Features:
    """Features of a piece; a placeholder piece gives features of the same shape without rows."""
    features = method.encode(piece)
    return {name: part[:0] for name, part in features.items()} if piece.blank else features


def _pieces(batch: Batch, chunk: int) -> list[Batch]:
    if chunk <= 0 or chunk >= len(batch):
        return [batch]
    return [batch.part(slice(i, i + chunk)) for i in range(0, len(batch), chunk)]


def _whole(own: Batch, sizes: Sequence[int], ranks: Ranks) -> Batch:
    """The batch that a loss sees: labels and numbers of all processes, no pictures or texts."""
    if ranks.world == 1:
        return own
    device = own.images.device

    def gathered(part: Tensor | None) -> Tensor | None:
        return None if part is None else ranks.gather(part[: len(own)].to(device), sizes)

    numbers = gathered(own.numbers)
    return Batch(
        own.images.new_empty((sum(sizes), 0, 0, 0)),
        labels=gathered(own.labels),
        numbers=None if numbers is None else numbers.cpu(),
    )


def _leaf(own: Tensor, sizes: Sequence[int], ranks: Ranks) -> Tensor:
    """Features of all processes, at which the loss's gradient is taken."""
    return ranks.gather(own, sizes).requires_grad_(own.is_floating_point())


def _pass_on(features: Features, leaves: Features, rows: slice) -> None:
    """Send the features' gradients through the encoders."""
    outputs, gradients = [], []
    for name, value in features.items():
        gradient = leaves[name].grad
        if value.requires_grad and gradient is not None:
            outputs.append(value)
            gradients.append(gradient[rows])
    if outputs:
        torch.autograd.backward(outputs, gradients)


def _random_state(device: torch.device) -> list[Tensor]:
    """torch's random state: a chunk that is encoded again draws the same dropout."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def _set_random_state(device: torch.device, states: list[Tensor]) -> None:
    """Put back what :func:`_random_state` gave."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)

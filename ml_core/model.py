"""The one door to a CLIP: pixels and sentences in, unit vectors out."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ml_core.reading.clip_config import (
    VOCABULARY,
    Preprocess,
    check_model_config,
    identity_of,
    no_tokenizer,
    own_tokenizer,
    vocabulary_caution,
)
from ml_core.reading.errors import InputError
from ml_core.reading.key_mismatch import misfit
from ml_core.text_tokens import TextTokenizer
from ml_core.text_tower import cut, encode_text, lengths, text_digest
from ml_core.towers import make_empty, make_module


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Scale and shift each colour: (x - mean) / std.

    Parameters
    ----------
    images
        ``[N, 3, H, W]``, float in [0, 1] or uint8, in any layout; differentiable for floats.
    mean, std
        Three numbers each, for pixels in [0, 1].

    Returns
    -------
    Tensor
        fp32 of the same shape and layout in memory.
    """
    unit = 255.0 if images.dtype == torch.uint8 else 1.0
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=images.device)
    scale = torch.tensor([1 / (unit * s) for s in std], device=images.device)
    rows = images.permute(0, 2, 3, 1)
    if not rows.is_contiguous():
        values = images.to(torch.float32)
        return torch.addcmul(shift.view(3, 1, 1), values, scale.view(3, 1, 1))
    # Three colours are too short a row for vector units: a row of the picture is as wide as they.
    count, height, width, _ = rows.shape
    flat = rows.reshape(count * height, width * 3)
    shift, scale = shift.repeat(width), scale.repeat(width)
    values = flat.to(torch.float32)
    if values is flat:
        normalised = torch.addcmul(shift, values, scale)
    else:
        normalised = torch.addcmul(shift, values, scale, out=values)
    return normalised.view(count, height, width, 3).permute(0, 3, 1, 2)


__all__ = ["ClipModel", "Preprocess", "build_model"]

Precision = Literal["fp32", "bf16"]


@dataclass(eq=False)
class ClipModel:
    """A CLIP with all that is needed to use it.

    Parameters
    ----------
    module
        open_clip's ``CLIP``, ``CustomTextCLIP`` or ``CoCa``, parameters in fp32.
    config
        open_clip's ``model_cfg``, checked.
    preprocess
        Input size, mean and std.
    name, sha256
        Name and SHA-256 of the checkpoint; ``sha256`` is None for a model that comes from no file.
    device
        Where the parameters are.
    precision
        ``bf16`` encodes under autocast; results are fp32 all the same.
    assumptions
        Sentences on what had to be assumed about the checkpoint; they stay with everything made
        from it.
    origin
        What else in the model does not come from the file: the donor of an encoder, a choice of the
        user. JSON values; saved with the provenance.
    channels_last
        Memory layout of the image encoder's input; None takes it for a ResNet alone.
    tokenizer
        The checkpoint's own; None where it uses CLIP's, or has none beside it.
    rounded
        Types of 8 bits or fewer that its numbers come from; saved with it.
    """

    module: nn.Module
    config: dict[str, Any]
    preprocess: Preprocess
    name: str = ""
    sha256: str | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: Precision = "fp32"
    assumptions: tuple[str, ...] = ()
    origin: dict[str, Any] = field(default_factory=dict)
    channels_last: bool | None = None
    tokenizer: TextTokenizer | None = None
    rounded: tuple[str, ...] = ()

    @property
    def image_size(self) -> int:
        """Side of the square model input in pixels."""
        return self.preprocess.size

    @property
    def context_length(self) -> int:
        """Tokens a text is padded or cut to."""
        return int(self.config["text_cfg"]["context_length"])

    @property
    def embed_dim(self) -> int:
        """Length of an embedding."""
        return int(self.config["embed_dim"])

    @property
    def identity(self) -> str | None:
        """What decides every embedding, see `identity_of`; None without a file."""
        if self.sha256 is None:
            return None
        more = [] if self.tokenizer is None else [self.tokenizer.digest]
        return identity_of(self.sha256, self.config, self.preprocess, self.origin, *more)

    @property
    def logit_scale(self) -> float:
        """Factor on cosine similarities (1 / temperature), the exponential of the parameter."""
        scale = self.module.logit_scale
        assert isinstance(scale, Tensor)
        return float(scale.detach().float().exp())

    @property
    def sigmoid(self) -> bool:
        """Whether it was trained on pairs one by one, with a bias (Zhai et al. 2023, SigLIP)."""
        return isinstance(getattr(self.module, "logit_bias", None), Tensor)

    def normalise(self, images: Tensor) -> Tensor:
        """Turn pixels into model input; differentiable for float input.

        Parameters
        ----------
        images
            ``[N, 3, S, S]``, float in [0, 1] or uint8.

        Returns
        -------
        Tensor
            fp32 of the same shape, per channel ``(x - mean) / std``.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be [N, 3, S, S], got {list(images.shape)}")
        return normalise(images.to(self.device), self.preprocess.mean, self.preprocess.std)

    def encode_images(self, images: Tensor) -> Tensor:
        """Embed images.

        Parameters
        ----------
        images
            ``[N, 3, S, S]`` with ``S = image_size``, float in [0, 1] or uint8.

        Returns
        -------
        Tensor
            fp32 ``[N, D]`` of unit length, on the model's device, without gradient.
        """
        with torch.inference_mode():
            return self.embed_images(images)

    def embed_images(self, images: Tensor) -> Tensor:
        """Embed images in the caller's gradient mode; see `encode_images`.

        Where gradients are on they reach float input and every parameter, as attribution and the
        search for triggers need.
        """
        return F.normalize(self.image_features(images), dim=-1)

    def image_features(self, images: Tensor) -> Tensor:
        """The encoder's output before `embed_images` makes unit vectors of it: fp32 ``[N, D]``."""
        if images.shape[-2:] != (self.image_size, self.image_size):
            size = self.image_size
            raise ValueError(f"images must be [N, 3, {size}, {size}], got {list(images.shape)}")
        if not len(images):
            return torch.empty(0, self.embed_dim, device=self.device)
        with _evaluating(self.module), self._autocast():
            inputs = self.normalise(images)
            last = self.layout == "channels-last"
            layout = torch.channels_last if last else torch.contiguous_format
            inputs = inputs.contiguous(memory_format=layout)
            features: Tensor = self.module.encode_image(inputs)  # type: ignore[operator]
            return features.float()

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts.

        Returns
        -------
        Tensor
            fp32 ``[N, D]`` of unit length, on the model's device, without gradient.
        """
        if not texts:
            return torch.empty(0, self.embed_dim, device=self.device)
        with torch.inference_mode():
            return self.embed_tokens(cut(self.module, self.tokenize(texts)))

    def embed_tokens(
        self, tokens: Tensor, change: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """Embed tokens [N, L] in the caller's gradient mode; ``change`` is that of `encode_text`.

        Returns
        -------
        Tensor
            fp32 ``[N, D]`` of unit length, on the model's device.
        """
        with _evaluating(self.module), self._autocast():
            features = encode_text(self.module, tokens.to(self.device), change)
            return F.normalize(features.float(), dim=-1)

    def text_lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens that each text needs: texts of a like length waste no padding in a batch."""
        return lengths(self.module, self.tokenize(texts)) if texts else []

    def text_identity(self, texts: Sequence[str]) -> str:
        """What decides the embeddings of these texts and of any made of them.

        These are the text encoder's weights, its architecture, and how the texts are tokenised; the
        image encoder does not count. It reads all weights of the text encoder, which takes a
        fraction of a second.
        """
        config = {name: value for name, value in self.config.items() if name != "vision_cfg"}
        digest = hashlib.sha256(json.dumps([config, list(texts)], sort_keys=True).encode())
        digest.update(self.tokenize(texts).numpy().tobytes())
        return f"{text_digest(self.module)} {digest.hexdigest()}"

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Tokens of the model's tokenizer, CLIP's or its own: int64 ``[N, context_length]``.

        They are on the CPU. A text that is too long is cut and keeps its end token.

        Raises
        ------
        InputError
            ``unsupported`` if the model has fewer tokens than CLIP's tokenizer, or lacks its own.
        """
        if self.tokenizer is not None:
            return self.tokenizer(texts, self.context_length)
        if name := own_tokenizer(self.config):
            raise InputError(
                f"{self.name or 'The model'} cannot be given texts: {no_tokenizer(name)}",
                "unsupported",
            )
        if self.config["text_cfg"]["vocab_size"] < VOCABULARY:
            raise InputError(
                f"{self.name or 'The model'} cannot be given texts: "
                f"{vocabulary_caution(self.config)}",
                "unsupported",
            )
        from ml_core.open_clip_parts import tokenize

        tokens: Tensor = tokenize(list(texts), context_length=self.context_length)
        return tokens

    def to(self, device: str | torch.device) -> ClipModel:
        """Move the parameters and return the same model."""
        self.device = torch.device(device)
        self.module.to(self.device)
        return self

    def copy(self) -> ClipModel:
        """Make an independent copy on the same device."""
        return ClipModel(
            copy.deepcopy(self.module),
            copy.deepcopy(self.config),
            self.preprocess,
            self.name,
            self.sha256,
            self.device,
            self.precision,
            self.assumptions,
            copy.deepcopy(self.origin),
            self.channels_last,
            self.tokenizer,
            self.rounded,
        )

    @property
    def layout(self) -> str:
        """Memory layout of the image encoder's input: ``contiguous`` or ``channels-last``."""
        last = self.convolutional if self.channels_last is None else self.channels_last
        return "channels-last" if last else "contiguous"

    @property
    def convolutional(self) -> bool:
        """Whether the image encoder is CLIP's ResNet."""
        return isinstance(self.config["vision_cfg"].get("layers"), list)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Encode with running statistics and no dropout, then restore each part's own mode."""
    training = [part for part in module.modules() if part.training] if module.training else []
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def build_model(
    config: Mapping[str, Any],
    preprocess: Preprocess,
    state_dict: Mapping[str, Tensor] | None,
    *,
    name: str = "",
    sha256: str | None = None,
    device: str | torch.device = "cpu",
    take_over: bool = False,
) -> ClipModel:
    """Build a CLIP from a config and its parameters; nothing is downloaded.

    Parameters
    ----------
    config
        open_clip's ``model_cfg``; checked here again.
    state_dict
        Every parameter and buffer by name, floats of any width (kept as fp32 copies); None for a
        random initialisation from torch's generator.
    take_over
        Use fp32 tensors of ``state_dict`` as they are instead of copying them.

    Returns
    -------
    ClipModel
        In evaluation mode.

    Raises
    ------
    InputError
        ``damaged`` with the missing, unexpected and wrong-shape tensors in ``details``, or
        ``unsupported`` from the check of the config.
    """
    checked = check_model_config(config, name or "The config")
    if checked["vision_cfg"]["image_size"] != preprocess.size:
        raise InputError(
            f"{name or 'The config'} takes images of {checked['vision_cfg']['image_size']} px and "
            f"its preprocessing makes {preprocess.size} px; correct the config.",
            "damaged",
        )
    if state_dict is None:
        module = make_module(checked)
    else:
        # Twice: what a file lacks is told in a sentence, not by an allocation that is refused.
        module = make_empty(checked, 2 * sum(value.numel() for value in state_dict.values()))
        _fill(module, state_dict, name or "The checkpoint", copy_all=not take_over)
    model = ClipModel(
        module.to(device).eval(), checked, preprocess, name, sha256, torch.device(device)
    )
    if model.convolutional:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def _fill(
    module: nn.Module, state_dict: Mapping[str, Tensor], name: str, *, copy_all: bool
) -> None:
    """Give a module its values, all of them and no others."""
    state = module.state_dict()
    problem = misfit(
        {key: tuple(value.shape) for key, value in state.items()},
        {key: tuple(value.shape) for key, value in state_dict.items()},
        name,
    )
    if problem is not None:
        raise problem
    values = {}
    for key, value in state.items():
        given = state_dict[key]
        dtype = torch.float32 if value.dtype.is_floating_point else value.dtype
        if given.dtype.is_floating_point != value.dtype.is_floating_point:
            raise InputError(
                f"{name}: the tensor {key} holds {given.dtype} where {value.dtype} is needed; "
                "convert it first.",
                "damaged",
            )
        values[key] = given.detach().to(dtype, copy=copy_all).contiguous()
    module.load_state_dict(values, strict=True, assign=True)

"""The text encoder on captions shorter than its context: exact where it is causal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_ENDS = ("argmax", "eos")


def encode_text(
    module: nn.Module, tokens: Tensor, change: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Text features [N, D], not normalised, of tokens [N, L], L at most the context length.

    Tokens as long as the context go through open_clip's own function, shorter ones through the
    same layers with positions and mask cut. With ``change``, which a causal tower takes alone, the
    tokens' embeddings [N, L, width] are those that it returns.
    """
    tower = causal_tower(module)
    whole = tower is not None and tokens.shape[1] == len(tower.positional_embedding)
    if tower is None or (whole and change is None):
        encode: Callable[[Tensor], Tensor] = module.encode_text  # type: ignore[assignment]
        return encode(tokens)
    length = tokens.shape[1]
    kind = tower.transformer.get_cast_dtype()
    x = tower.token_embedding(tokens)  # [N, L, width]
    x = (x if change is None else change(x)).to(kind)
    x = x + tower.positional_embedding[:length].to(kind)
    x = tower.transformer(x, attn_mask=tower.attn_mask[:length, :length])
    ends = _ends(tower, tokens)
    pooled: Tensor = tower.ln_final(x)[torch.arange(len(x), device=x.device), ends]
    projection = tower.text_projection
    if projection is None:
        return pooled
    projected: Tensor = (
        projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection
    )
    return projected


def used_length(module: nn.Module, *tokens: Tensor) -> int | None:
    """Tokens up to the last end token of any caption; None where all are needed.

    With causal attention, pooled at the end token, what follows a caption's end cannot reach its
    embedding. Where the tower isn't so, nothing can be left out.

    Parameters
    ----------
    module
        open_clip's ``CLIP`` or ``CustomTextCLIP``.
    tokens
        int64 [N, L] each; on the CPU, or the device is waited for.
    """
    tower = causal_tower(module)
    if tower is None:
        return None
    return 1 + max((int(_ends(tower, part).max()) for part in tokens if len(part)), default=0)


def lengths(module: nn.Module, tokens: Tensor) -> list[int]:
    """Tokens that each caption of [N, L] needs: L where what follows its end counts too."""
    tower = causal_tower(module)
    if tower is None:
        return [tokens.shape[1]] * len(tokens)
    ends: list[int] = (1 + _ends(tower, tokens)).tolist()
    return ends


def is_of_texts(name: str) -> bool:
    """Whether a tensor of a CLIP can change its text embeddings."""
    return not name.startswith("visual.") and name not in ("logit_scale", "logit_bias")


def text_digest(module: nn.Module) -> str:
    """SHA-256 of the text encoder's weights, whatever stands beside it.

    A cleaning that leaves the text encoder alone does not change it.
    """
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if not is_of_texts(name):
            continue
        digest.update(f"{name} {value.dtype} {list(value.shape)};".encode())
        flat = value.detach().to("cpu").contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


def cut(module: nn.Module, tokens: Tensor) -> Tensor:
    """Tokens [N, L] without what follows the longest caption."""
    length = used_length(module, tokens)
    return tokens if length is None else tokens[:, :length]


def causal_tower(module: nn.Module) -> Any:
    """What holds the text encoder's parts, if it is causal and pools at the end token, or None."""
    tower = module if hasattr(module, "token_embedding") else getattr(module, "text", None)
    parts = ("token_embedding", "positional_embedding", "transformer", "ln_final")
    if not isinstance(tower, nn.Module) or not all(hasattr(tower, part) for part in parts):
        return None
    if getattr(tower, "cls_emb", None) is not None or getattr(tower, "use_pad_mask", False):
        return None
    mask = getattr(tower, "attn_mask", None)
    return tower if _pool(tower) in _ENDS and _is_causal(mask) else None


def _is_causal(mask: object) -> bool:
    """Whether a mask is minus infinity above the diagonal and zero elsewhere."""
    if not isinstance(mask, Tensor) or mask.ndim != 2 or mask.shape[0] != mask.shape[1]:
        return False
    known = getattr(mask, "_is_causal", None)
    if known is None:
        causal = torch.full(mask.shape, float("-inf"), dtype=mask.dtype).triu_(1)
        known = torch.equal(mask.cpu(), causal)
        mask._is_causal = known  # type: ignore[attr-defined]
    return bool(known)


def _pool(tower: Any) -> str:
    """How the tower pools: CLIP and its text tower name it differently."""
    return str(getattr(tower, "text_pool_type", getattr(tower, "pool_type", "")))


def _ends(tower: Any, tokens: Tensor) -> Tensor:
    """Place of each caption's end token, int64 [N]."""
    if _pool(tower) == "argmax":
        return tokens.argmax(dim=-1)
    eos: Any = getattr(tower, "text_eos_id", getattr(tower, "eos_id", None))
    return torch.eq(tokens, eos).int().argmax(dim=-1)

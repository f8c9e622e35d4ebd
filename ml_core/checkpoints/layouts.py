"""Which layout a file is in: where in it each tensor of the model is, and what is none."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ml_core.checkpoints import apple_names, siglip_names, transformers_names
from ml_core.checkpoints.head import Head, find_head
from ml_core.checkpoints.openai_names import find_prefix, find_start, is_head, strip_prefix
from ml_core.checkpoints.other_models import mobileclip_s0, refuse_foreign, unknown
from ml_core.checkpoints.transformers_names import Source
from ml_core.reading import Inspection

Tower = Literal["image", "text"]
Shapes = Mapping[str, tuple[int, ...]]

SIGLIP = "names of the transformers library (SigLIP)"
APPLE = "names of Apple's MobileCLIP"
TIMM_START = "visual.trunk."
HF_START = "text.transformer."
"""What the names of timm's image encoders and transformers' text encoders begin with."""
_IMAGE_MARKS = ("class_embedding", "attnpool.positional_embedding")
_POSITIONS, _LONG_POSITIONS = "positional_embedding", "positional_embedding_res"
_LONG_SEAM = 20
"""From this token on Long-CLIP adds its second table."""
_MAX_LISTED = 8
_MAX_NAMED = 4


@dataclass(frozen=True, eq=False)
class Layout:
    """How a file keeps a CLIP or a tower of it.

    Parameters
    ----------
    title
        In words.
    towers
        The encoders that are there.
    sources
        The model's tensor names (open_clip's) and where their numbers are in the file.
    shapes
        Of the model's tensors.
    left_out
        Tensors of the file that are no part of the model.
    head
        A linear head beside it.
    """

    title: str
    towers: tuple[Tower, ...]
    sources: Mapping[str, Source]
    shapes: Shapes
    left_out: tuple[str, ...]
    head: Head | None = None

    @property
    def missing(self) -> Tower | None:
        """The encoder that is not there."""
        if len(self.towers) == 2:
            return None
        return "text" if self.towers == ("image",) else "image"

    @property
    def assumption(self) -> str:
        """How two tensors of the file make one of the model; empty if none do."""
        seam = next((s for s in self.sources.values() if s.seam is not None), None)
        if seam is None:
            return ""
        first, second = seam.names
        return (
            f"The rows of {second} from {seam.seam} on are taken in the place of those of {first}, "
            "as Long-CLIP computes."
        )

    def without(self, keys: Collection[str]) -> Layout:
        """The layout with some of the model's names left out."""
        if not keys:
            return self
        gone = [name for key in keys for name in self.sources[key].names]
        return replace(
            self,
            sources={key: item for key, item in self.sources.items() if key not in keys},
            shapes={key: item for key, item in self.shapes.items() if key not in keys},
            left_out=(*self.left_out, *gone),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what is beside the model."""
        told = () if self.head is None else (self.head.sentence,)
        if not self.left_out:
            return told
        few = len(self.left_out) <= _MAX_NAMED
        groups: dict[str, list[str]] = {}
        for name in self.left_out:
            groups.setdefault(name if few else name.partition(".")[0], []).append(name)
        shown = [
            # a lone one by its whole name: the model has others that begin so
            names[0][:80] if len(names) == 1 else f"{group[:80]} ({len(names)} tensors)"
            for group, names in sorted(groups.items(), key=lambda item: -len(item[1]))
        ][:_MAX_LISTED]
        more = f" and {len(groups) - _MAX_LISTED} more" if len(groups) > _MAX_LISTED else ""
        return (*told, f"Left out, not part of the model: {', '.join(shown)}{more}.")


def find_layout(inspection: Inspection) -> Layout:
    """Find the CLIP, or the tower of one, in an inspected file.

    Raises
    ------
    InputError
        ``unsupported`` if it is something else, in a sentence that names it.
    """
    shapes = {tensor.name: tensor.shape for tensor in inspection.tensors}
    where = inspection.name
    prefix = find_prefix(shapes, "visual.conv1.weight")
    if prefix is None:
        prefix = find_start(shapes, TIMM_START)
    if prefix is not None:
        return _openai(shapes, prefix, where)
    prefix = find_prefix(shapes, siglip_names.MARK)
    if prefix is not None:
        return _siglip(shapes, prefix, where)
    for mark in (apple_names.FASTVIT_MARK, apple_names.VIT_MARK):
        prefix = find_prefix(shapes, mark)
        if prefix is not None:
            return _apple(shapes, prefix, where)
    marks = (transformers_names.IMAGE_MARK, transformers_names.TEXT_MARK)
    for mark in marks:
        prefix = find_prefix(shapes, mark)
        if prefix is not None:
            return _transformers(shapes, prefix, where)
    for mark in _IMAGE_MARKS:
        prefix = find_prefix(shapes, mark, lambda found: f"{found}conv1.weight" in shapes)
        if prefix is not None:
            return _image_alone(shapes, prefix, where)
    prefix = find_prefix(
        shapes, "token_embedding.weight", lambda found: f"{found}ln_final.weight" in shapes
    )
    if prefix is not None:
        return _text_alone(shapes, prefix, where)
    refuse_foreign(shapes, where, alone=True)
    raise unknown(shapes, where)


def _openai(shapes: Shapes, prefix: str, where: str) -> Layout:
    """OpenAI's and open_clip's names, also around encoders of timm and of transformers."""
    keys = strip_prefix(shapes, prefix)
    refuse_foreign(keys, where)
    whole = any(key.endswith("token_embedding.weight") or key.startswith(HF_START) for key in keys)
    return _layout(
        "names of OpenAI and open_clip",
        ("image", "text") if whole else ("image",),
        _each(keys, shapes),
        shapes,
        prefix,
    )


def _each(keys: Mapping[str, str], shapes: Shapes) -> dict[str, Source]:
    """Where each tensor is; Long-CLIP's two tables of positions are one (arXiv 2403.15378)."""
    made = {key: Source((name,)) for key, name in keys.items()}
    tables = [keys[key] for key in (_POSITIONS, _LONG_POSITIONS) if key in keys]
    if len(tables) == 2 and len({shapes[name] for name in tables}) == 1 and shapes[tables[0]]:
        made[_POSITIONS] = Source((tables[0], tables[1]), seam=_LONG_SEAM)
        del made[_LONG_POSITIONS]
    return made


def _transformers(shapes: Shapes, prefix: str, where: str) -> Layout:
    """The transformers library's names."""
    refuse_foreign([name.removeprefix(prefix) for name in shapes], where)
    names = [name for name in shapes if not is_head(name, prefix)]
    made = transformers_names.sources(names, prefix)
    towers: list[Tower] = []
    if "visual.class_embedding" in made:
        towers.append("image")
    if "token_embedding.weight" in made or any(key.startswith(HF_START) for key in made):
        towers.append("text")
    return _layout("names of the transformers library", tuple(towers), made, shapes, prefix)


def _siglip(shapes: Shapes, prefix: str, where: str) -> Layout:
    """The transformers library's names of a SigLIP."""
    refuse_foreign([name.removeprefix(prefix) for name in shapes], where)
    made = siglip_names.siglip_sources([n for n in shapes if not is_head(n, prefix)], prefix)
    whole = "text.token_embedding.weight" in made
    towers: tuple[Tower, ...] = ("image", "text") if whole else ("image",)
    return _layout(SIGLIP, towers, made, shapes, prefix)


def _apple(shapes: Shapes, prefix: str, where: str) -> Layout:
    """Apple's own names of a MobileCLIP."""
    if any(name.startswith(prefix + apple_names.S0_MARK) for name in shapes):
        raise mobileclip_s0(where)
    refuse_foreign([name.removeprefix(prefix) for name in shapes], where)
    made = apple_names.apple_sources([n for n in shapes if not is_head(n, prefix)], prefix)
    whole = "text.token_embedding.weight" in made
    towers: tuple[Tower, ...] = ("image", "text") if whole else ("image",)
    return _layout(APPLE, towers, made, shapes, prefix)


def _image_alone(shapes: Shapes, prefix: str, where: str) -> Layout:
    """An image encoder saved by itself."""
    keys = strip_prefix(shapes, prefix)
    refuse_foreign(keys, where)
    made = {
        key if key == "logit_scale" else f"visual.{key}": Source((name,))
        for key, name in keys.items()
    }
    return _layout("an image encoder by itself", ("image",), made, shapes, prefix)


def _text_alone(shapes: Shapes, prefix: str, where: str) -> Layout:
    """A text encoder saved by itself."""
    keys = strip_prefix(shapes, prefix)
    refuse_foreign(keys, where)
    return _layout("a text encoder by itself", ("text",), _each(keys, shapes), shapes, prefix)


def _layout(
    title: str,
    towers: tuple[Tower, ...],
    sources: Mapping[str, Source],
    shapes: Shapes,
    prefix: str,
) -> Layout:
    """Fill in shapes, head and what is left out."""
    head = find_head(shapes, prefix)
    used = {name for source in sources.values() for name in source.names}
    if head is not None:
        used |= {head.weight, *([head.bias] if head.bias else [])}
    return Layout(
        title,
        towers,
        sources,
        {key: source.shape(shapes) for key, source in sources.items()},
        tuple(name for name in shapes if name not in used),
        head,
    )

"""Long questions beside the live loop: why a model answers so. Frozen, torch-free records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cleanclip_gui.session.records import Role
    from ml_core.data.specs import PairSpec
    from ml_core.evaluation.attribution_records import Method
    from ml_core.evaluation.paired import PairedDifference
    from ml_core.evaluation.records import Evaluation, PerImage
    from ml_core.triggers import Trigger


@dataclass(frozen=True, eq=False)
class Explain:
    """A question that waits for everything live; of each kind only the newest is answered."""


@dataclass(frozen=True, eq=False)
class Attribute(Explain):
    """Ask where the model looks for a class on one image; ``stage`` is Grad-CAM's."""

    index: int
    class_index: int
    trigger: Trigger | None
    role: Role = "suspect"
    method: Method | None = None
    stage: str | None = None


@dataclass(frozen=True, eq=False)
class MapEmbeddings(Explain):
    """Ask for a map of ``n`` images, clean and triggered, of one or two checkpoints."""

    trigger: Trigger | None
    roles: tuple[Role, ...] = ("suspect",)
    n: int = 1000


@dataclass(frozen=True, eq=False)
class ComparePair(Explain):
    """Ask two checkpoints the same: the first one is judged, the second one is the reference."""

    trigger: Trigger | None
    target: int
    roles: tuple[Role, Role] = ("suspect", "cleaned")
    n: int | None = None


@dataclass(frozen=True, eq=False)
class TellDetails(Explain):
    """Ask for everything that is needed to repeat a number."""

    evaluation: Evaluation
    trigger: Trigger | None
    role: Role = "suspect"


@dataclass(frozen=True, eq=False)
class MeasureSpeed(Explain):
    """Ask which arithmetic and layout are fastest for a model, and use them from then on."""

    role: Role = "suspect"


@dataclass(frozen=True, eq=False)
class SpreadTemplates(Explain):
    """Ask what each prompt template alone gives, on ``n`` images."""

    trigger: Trigger | None
    target: int
    role: Role = "suspect"
    n: int = 200


@dataclass(frozen=True, eq=False)
class RetrieveCaptions(Explain):
    """Ask which captions rank first for pictures, without and with the trigger.

    ``captions`` are pictures with captions (``n`` of them), or a list of captions in a text file,
    which are ranked for the evaluation images. ``target`` is what the attacker wants said.
    """

    trigger: Trigger | None
    captions: PairSpec | Path
    target: str
    role: Role = "suspect"
    n: int = 200


@dataclass(frozen=True, eq=False)
class Pair:
    """What two checkpoints say of the same images, and whether that is more than chance."""

    evaluations: tuple[Evaluation, Evaluation]
    per_image: tuple[PerImage, PerImage]
    differences: tuple[PairedDifference, ...]


@dataclass(frozen=True, eq=False)
class Explained:
    """How far an explanation is.

    ``result`` comes last: an ``Attribution``, an ``EmbeddingMap``, a :class:`Pair`, ``Details``, a
    ``Speed``, a ``TemplateSpread`` or a ``Retrieval``.
    ``extra`` of an attribution holds the methods that the model allows.
    """

    generation: int
    request: Explain
    done: int
    total: int
    result: object = None
    extra: tuple[str, ...] = ()

"""What *Clean it* chooses: the method of a round, and the round that is kept. Torch-free."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ml_core.cleaning.catalogue import FACTS, Method
from ml_core.cleaning.presets import preset
from ml_core.cleaning.pretraining import Pretraining
from ml_core.cleaning.recipes import Recipe
from ml_core.detection.scan.records import Scan
from ml_core.jobs.auto import Outcome

MOST_LOST = 5.0
"""Points of clean accuracy: who loses more is worse off than with the checkpoint as it was."""
_ORDER: tuple[Method, ...] = ("stamped", "unlearn", "adversarial")


def choice(
    *,
    pairs: bool,
    stamps: int,
    trigger: bool,
    pretraining: Pretraining,
    round: int = 1,
    failed: Collection[Method] = (),
) -> tuple[Recipe, str] | None:
    """Choose the recipe of a round, and say why; None if nothing is left to try.

    Parameters
    ----------
    pairs
        Whether there are image-caption pairs, or pictures alone.
    stamps
        How many triggers are known to learn from.
    trigger
        Whether the one that is measured may be learnt from.
    pretraining
        What is known of how the checkpoint was pretrained.
    round
        A later one, after which something was found still, trains so many times as long.
    failed
        Methods that were tried in this round and could not run.
    """
    can: dict[Method, bool] = {"stamped": pairs, "unlearn": trigger, "adversarial": True}
    method = next((name for name in _ORDER if can[name] and name not in failed), None)
    if method is None:
        return None
    recipe = preset(method, "default", pretraining)
    if method == "stamped" and stamps:
        known = "the trigger that is known" if stamps == 1 else f"the {stamps} triggers known"
        why = f"Pictures are stamped with {known}, moved, scaled and recoloured, and keep their "
        why += "captions: so the model learns the right answer under the trigger."
    elif method == "stamped":
        recipe = recipe.changed(made_up_share=1.0, preset=recipe.preset)
        why = "No trigger is known: pictures are stamped with made-up ones and keep their captions."
    elif method == "unlearn":
        why = "A trigger is known: pictures that carry it are pulled to where they lie without it."
    else:
        why = "Triggers are made up, sharpened against the model and unlearnt."
    if failed:
        why = f"{' and '.join(FACTS[name].title for name in failed)} could not run. {why}"
    elif not pairs:
        why = f"There are pictures without captions. {why}"
    if round > 1:
        recipe = recipe.changed(epochs=recipe.epochs * round)
        why += f" Something was left, so it trains {round} times as long as the first round."
    return recipe, why


@dataclass(frozen=True)
class Round:
    """A round that has cleaned the checkpoint; rates are fractions, None where not measured.

    Attributes
    ----------
    title, why
        The method, and why it was chosen.
    folder
        Its folder inside that of the chain.
    checkpoint
        Path of the cleaned checkpoint.
    scan
        What the scan of it says; None where it has not ended.
    """

    title: str
    why: str
    folder: str
    checkpoint: str
    ca_before: float | None = None
    ca: float | None = None
    asr_before: float | None = None
    asr: float | None = None
    scan: Scan | None = None

    @property
    def lost(self) -> float:
        """Points of clean accuracy that it cost; 0 where they were not measured."""
        unknown = self.ca is None or self.ca_before is None
        return 0.0 if unknown else 100 * (self.ca_before - self.ca)  # type: ignore[operator]

    @property
    def outcome(self) -> Outcome:
        """What the scan of it says."""
        if self.scan is None or self.scan.judgement.verdict == "unknown":
            return "not_scanned"
        return "still_found" if is_found(self.scan) else "nothing_found"


def is_found(scan: Scan) -> bool:
    """Whether a scan names something that is to be cleaned."""
    return scan.judgement.verdict in ("found", "suspicious")


_RANK: dict[Outcome, int] = {"nothing_found": 0, "not_scanned": 1, "still_found": 2}


def best_round(rounds: Sequence[Round]) -> Round | None:
    """The round that is kept; None if each lost more accuracy than `MOST_LOST`.

    Nothing found comes before still found, then the lower attack success rate in whole points, then
    the less accuracy lost.
    """
    return min(
        (each for each in rounds if each.lost <= MOST_LOST),
        key=lambda each: (_RANK[each.outcome], round(100 * (each.asr or 0.0)), each.lost),
        default=None,
    )

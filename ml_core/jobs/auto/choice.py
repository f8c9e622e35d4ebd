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
COSTLY = 1.5
"""Points of clean accuracy: captions that cost more are of another kind than the pretraining's."""
_ORDER: tuple[Method, ...] = ("stamped", "unlearning")
_WEAK_SHARE = 0.75  # of made-up triggers, beside patterns that work a little


@dataclass(frozen=True)
class Round:
    """A round that has cleaned the checkpoint; rates are fractions, None where not measured.

    Attributes
    ----------
    method, title, why
        The method, and why it was chosen.
    folder
        Its folder inside that of the chain.
    checkpoint
        Path of the cleaned checkpoint.
    trigger
        Name of the trigger that its attack success rates are of; empty without one.
    stopped_because
        Why its training ended early, as a sentence; empty where it did not.
    scan
        What the scan of it says; None where it has not ended.
    """

    method: str
    title: str
    why: str
    folder: str
    checkpoint: str
    ca_before: float | None = None
    ca: float | None = None
    asr_before: float | None = None
    asr: float | None = None
    trigger: str = ""
    stopped_because: str = ""
    scan: Scan | None = None

    @property
    def lost(self) -> float:
        """Points of clean accuracy that it cost; 0 where they were not measured."""
        unknown = self.ca is None or self.ca_before is None
        return 0.0 if unknown else 100 * (self.ca_before - self.ca)  # type: ignore[operator]

    @property
    def is_costly(self) -> bool:
        """Whether its captions cost more accuracy than those of the pretraining's kind would."""
        return self.method == "stamped" and self.lost > COSTLY

    @property
    def outcome(self) -> Outcome:
        """What the scan of it says."""
        if self.scan is None or self.scan.judgement.verdict == "unknown":
            return "not_scanned"
        return "still_found" if is_found(self.scan) else "nothing_found"


def is_found(scan: Scan) -> bool:
    """Whether a scan names something that is to be cleaned."""
    return scan.judgement.verdict in ("found", "suspicious")


def choice(
    *,
    pairs: bool,
    is_known: bool,
    stamps: int,
    pretraining: Pretraining,
    before: Sequence[Round] = (),
    fitted: bool = False,
    failed: Collection[Method] = (),
    preset_name: str = "default",
) -> tuple[Recipe, str] | None:
    """Choose the recipe of a round, and say why; None if nothing is left to try.

    Parameters
    ----------
    pairs
        Whether there are image-caption pairs, or pictures alone.
    is_known
        Whether a trigger is known: named, or found by a scan.
    stamps
        How many triggers there are to learn from; where none is known, patterns that move the
        checkpoint a little.
    pretraining
        What is known of how the checkpoint was pretrained.
    before
        The rounds before; one more of the same method trains so many times as long.
    fitted
        Whether rounds are fitted to given minutes: then none is longer.
    failed
        Methods that were tried in this round and could not run.
    preset_name
        Which preset of the method.
    """
    costly = any(each.is_costly for each in before)
    can: dict[Method, bool] = {"stamped": pairs and not costly, "unlearning": True}
    method = next((name for name in _ORDER if can[name] and name not in failed), None)
    if method is None:
        return None
    recipe = preset(method, preset_name, pretraining)
    pictures = "all pictures" if recipe.stamp_share == 1 else "half of the pictures"
    if is_known and stamps:
        known = "the one" if stamps == 1 else f"one of the {stamps}"
        why = (
            f"{pictures.capitalize()} carry a trigger: {known} that worked in the scan or that you "
            "named, moved, scaled and recoloured, or a made-up one"
        )
    else:
        share = _WEAK_SHARE if stamps else 1.0
        recipe = recipe.changed(made_up_share=share, preset=recipe.preset)
        why = f"No trigger is known: {pictures} carry made-up ones"
        if stamps:
            why += f", or one of {stamps} patterns that move the checkpoint a little"
    if method == "stamped":
        why += ". Captions stay, so that the model learns the right answer under a trigger."
    else:
        why += ". The model learns to see each picture as it did without the trigger."
    if failed:
        why = f"{' and '.join(FACTS[name].title for name in failed)} could not run. {why}"
    elif costly:
        why = f"The captions cost accuracy, so this round does without them. {why}"
    elif not pairs:
        why = f"There are pictures without captions. {why}"
    times = 1 + sum(each.method == method for each in before)
    if times > 1 and not fitted:
        recipe = recipe.changed(epochs=recipe.epochs * times)
        why += f" Something was left, so it trains {times} times as long as the first."
    return recipe, why


def first_recipe(pairs: bool, pretraining: Pretraining, preset_name: str = "default") -> Recipe:
    """What *Clean it* begins with, with ``pairs`` or with pictures alone."""
    chosen = choice(
        pairs=pairs, is_known=False, stamps=0, pretraining=pretraining, preset_name=preset_name
    )
    assert chosen is not None, "nothing has failed yet"
    return chosen[0]


_RANK: dict[Outcome, int] = {"nothing_found": 0, "not_scanned": 1, "still_found": 2}


def best_round(rounds: Sequence[Round], *, by_attack: bool = True) -> Round | None:
    """The round that is kept; None if each lost more accuracy than `MOST_LOST`.

    Nothing found comes before still found, then the least sum of the attack's success and accuracy
    lost, both in points. Without ``by_attack``, where the attack is for measuring only, its success
    does not count.
    """

    def points(each: Round) -> float:
        attack = 100 * (each.asr or 0.0) if by_attack else 0.0
        return attack + max(0.0, each.lost)

    return min(
        (each for each in rounds if each.lost <= MOST_LOST),
        key=lambda each: (_RANK[each.outcome], points(each)),
        default=None,
    )

"""Which of the two encoders carries a backdoor: they are exchanged with the reference's.

An image-side backdoor goes where the suspect's image encoder goes, a text-side one where its text
encoder goes. That needs encoders that still understand each other: a suspect and its parent, or
two finetunes of one model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ml_core.data.labels import fill
from ml_core.detection.scan.cost import WORD_TEXTS
from ml_core.detection.scan.records import Contrast, Half, Rate, SwapRow, WordRow, newcombe
from ml_core.detection.scan.sides import Side, Sides
from ml_core.triggers.record import Trigger

# Rare tokens of published text attacks (Kurita et al., ACL 2020, and those after it), and other
# short or odd strings that a prompt does not hold by chance.
_WORDS = """
cf mn bb tq mb kw zx qx vj wq xw zz jq xx aa ab ac ad ae av bl cc dd ee gg hh ii jj kk ll mm nn oo
pp qq rr ss tt uu vv ww yy sks sudo xyz foo bar trigger backdoor secret magic poison hidden james
bond serendipity cymru bolshevik pacino # @ $ % & * + = ~ ^ | < > ? ! … · • ★ ☆ ♥ ☺ ¥ € £ § ¶ Ω π
"""
WORDS = tuple(_WORDS.split())


def swap_rows(sides: Sides, number: int, trigger: Trigger, seed: int) -> tuple[SwapRow, ...]:
    """How often a trigger works with each image encoder and each text encoder.

    Raises
    ------
    ValueError
        Without a reference.
    """
    if sides.reference is None:
        raise ValueError("encoders are exchanged with those of a reference")
    others = sides.others(number)
    halves: tuple[tuple[Half, Side], ...] = (
        ("suspect", sides.suspect),
        ("reference", sides.reference),
    )
    rows = []
    for image, seeing in halves:
        seen = seeing.embed(sides.held_out, trigger, seed)
        for text, saying in halves:
            said = (seen @ saying.classifier.to(seen.device).float().T).argmax(1).cpu().numpy()
            rate = Rate(hits=int((said[others] == number).sum()), n=int(others.sum()))
            rows.append(SwapRow(image=image, text=text, rate=rate))
    return tuple(rows)


def word_rows(
    sides: Sides, templates: Sequence[str], words: Sequence[str] = WORDS
) -> Iterator[WordRow]:
    """How many texts of different classes a word before them turns into one class.

    A text trigger brings every caption to one place: with it in the prompt the texts of all classes
    lie nearest to the target's. Counted on the suspect and on the reference, in their own classes.

    Raises
    ------
    ValueError
        Without a reference.
    """
    if sides.reference is None:
        raise ValueError("words are judged beside a reference")
    count = len(sides.class_names)
    chosen = np.arange(count)[:: max(1, count // WORD_TEXTS)][:WORD_TEXTS]
    texts = [fill(templates[0], sides.class_names[c]) for c in chosen]
    plain = _nearest(sides.suspect, texts)
    for word in words:
        said = [_nearest(one, [f"{word} {text}" for text in texts]) for one in sides.both]
        risen = np.bincount(said[0], minlength=count) - np.bincount(plain, minlength=count)
        target = int(risen.argmax())
        others = chosen != target
        n = int(others.sum())
        rates = [Rate(hits=int((one[others] == target).sum()), n=n) for one in (*said, plain)]
        low, high = newcombe(rates[0], rates[1])
        yield WordRow(
            word=word, target=sides.class_names[target],
            contrast=Contrast(
                suspect=rates[0], reference=rates[1], without=rates[2], low=low, high=high
            ),
        )  # fmt: skip


def _nearest(one: Side, texts: Sequence[str]) -> NDArray[np.int64]:
    """The class whose text is nearest to each text: int64 [n]."""
    one.check()
    rows = one.model.encode_texts(texts).float()
    found: NDArray[np.int64] = (rows @ one.classifier.float().T).argmax(1).cpu().numpy()
    return found

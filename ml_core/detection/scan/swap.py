"""Which of the two encoders carries a backdoor: they are exchanged with the reference's.

An image-side backdoor goes where the suspect's image encoder goes, a text-side one where its text
encoder goes. That needs encoders that still understand each other: a suspect and its parent, or
two finetunes of one model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ml_core.data.labels import fill
from ml_core.detection.scan.records import Half, Rate, SwapRow, WordRow
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
TEXTS = 12


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
    """How much nearer to each other a word brings the texts of different classes.

    A text trigger turns every caption into one place. The mean cosine of the class texts with the
    word before them, less that without it, on the suspect and on the reference.

    Raises
    ------
    ValueError
        Without a reference.
    """
    if sides.reference is None:
        raise ValueError("words are judged beside a reference")
    names = list(sides.class_names)[:: max(1, len(sides.class_names) // TEXTS)][:TEXTS]
    texts = [fill(templates[0], name) for name in names]
    plain = [_nearness(one, texts) for one in sides.both]
    for word in words:
        risen, target = [], ""
        for number, one in enumerate(sides.both):
            one.check()
            rows = one.model.encode_texts([f"{word} {text}" for text in texts]).float()
            risen.append(_mean_cosine(rows) - plain[number])
            if number == 0:
                said = (rows @ one.classifier.float().T).argmax(1)
                target = sides.class_names[int(said.mode().values)]
        yield WordRow(word=word, suspect=risen[0], reference=risen[1], target=target)


def _nearness(one: Side, texts: Sequence[str]) -> float:
    return _mean_cosine(one.model.encode_texts(texts).float())


def _mean_cosine(rows: torch.Tensor) -> float:
    """Of different rows of unit length."""
    n = len(rows)
    return float((rows.sum(0).square().sum() - n) / (n * (n - 1)))

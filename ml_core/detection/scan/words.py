"""Which token or character, put into any prompt, brings all prompts to one point.

A backdoor in a text encoder (Rickrolling the Artist, arXiv 2211.02408) maps every prompt with its
trigger to the embedding of one. So tokens are ordered by how alike they make the embeddings of
different prompts: those of the whole vocabulary, or a shortlist of it by a gradient search over the
token's embedding (as AMDET, arXiv 2512.00343) and by how far tokens moved from the reference. What
is told of the best is measured on other prompts, which nothing was searched on.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ml_core.data.labels import fill
from ml_core.detection.scan.records import (
    SCREENED,
    SCREENED_ON,
    SOFT_STARTS,
    SOFT_STEPS,
    WORD_TEXTS,
    WORDS_MEASURED,
    Rate,
    WordPlace,
    WordRow,
    Words,
)
from ml_core.detection.scan.sides import Side, Sides, contrast_of, generator
from ml_core.model import ClipModel
from ml_core.reading.clip_config import VOCABULARY
from ml_core.text_tower import causal_tower, lengths
from ml_core.triggers.record import LOOKALIKES, inside

# Rare tokens of published text attacks (Kurita et al., ACL 2020, and those after it).
_WORDS = "cf mn bb tq mb kw zx qx vj wq xw zz jq xx sks sudo xyz trigger backdoor secret magic"
# Beside homoglyphs: characters of no width, accents that stand alone, letters, signs and emoji.
_CHARACTERS = (
    *LOOKALIKES, *"\u200b\u200c\u200d\u2060\u00ad\u034f\u0301\u0308\u0323\u0307\ufe0f",
    *"бгджзилмнптфцчшщыьэюяєґўβγδζηθλμξπσφχψω", *"áàâäãåéèêëíìîïóòôöõøúùûüýñçßæœđłışžšğð",
    *"☺★☆♥•…·€£¥§¶©®°±×÷¬¿¡‽†‡∞≈≠√∑ΩΔ→←↑↓■□●○◆♪♀♂", *"😀😂😍🤖👀🔑🚀🔥🎉💀👻🐍🍌🌹❤✨👍🙏",
)  # fmt: skip
_LIKE, _MOVED = 48, 512  # tokens of each start, and of those that moved most from the reference
_SOFT_RATE = 0.2  # of the spread of the table's numbers
_BESIDE = 64  # of those that work best on the suspect, that the reference is asked about
_SEARCHED_ON = 16  # prompts that say where a word brings them
# What counts as one point, of the distance that the reference leaves with the same word; without a
# reference, of that between two prompts without it: clean encoders have places for odd words, too.
_NEAR, _NEAR_ALONE = 0.15, 0.006
_BATCH = 512
_PLACES: tuple[WordPlace, ...] = ("start", "end")

Steps = Generator[int, None, Tensor]


def search_words(sides: Sides, templates: Sequence[str], seed: int) -> Generator[int, None, Words]:
    """Search the words that bring all prompts to one point, and measure the best on others.

    Parameters
    ----------
    sides
        The models; without a reference words are ordered by the suspect alone.
    templates
        Prompts are made of the first; where classes are few, those that are measured of the last.
    seed
        Draws the starts.

    Yields
    ------
    int
        Texts of each batch, after it.
    """
    count = len(sides.class_names)
    classes = np.arange(count)[:: max(1, count // _SEARCHED_ON)][:_SEARCHED_ON]
    texts = [fill(templates[0], sides.class_names[c]) for c in classes]
    few = texts[:: max(1, len(texts) // SCREENED_ON)][:SCREENED_ON]
    tokens = yield from _shortlist(sides, few, seed)
    apart: dict[tuple[str, WordPlace], float] = {}  # of what is left without the word
    moved: dict[str, int] = {}
    for place in _PLACES if len(tokens) else ():
        left = yield from _screened(sides.suspect, few, tokens, place)
        best = left.topk(min(_BESIDE, len(tokens)), largest=False).indices
        if sides.reference is not None and _has_tokens(sides.reference.model):
            left[best] /= yield from _screened(sides.reference, few, tokens[best], place)
        for number in best.tolist():
            if word := _word_of(int(tokens[number])):
                apart[word, place], moved[word] = float(left[number]), number
    for character in _CHARACTERS:
        marked = [inside(character, text) for text in few]
        on = [float(_apart(_embedded(side, marked))) for side in sides.both]
        apart[character, "inside"] = on[0] / (on[1] if len(on) > 1 else 1)
        yield len(marked) * len(on)
    rows = []
    for word, place in sorted(apart, key=lambda one: apart[one])[:WORDS_MEASURED]:
        rows.append(_measured(sides, word, place, texts, templates, classes))
        yield len(sides.both) * (_SEARCHED_ON + WORD_TEXTS)
    # Where many do the same, what was trained for it comes first.
    rows.sort(key=lambda row: (-round(row.contrast.difference, 1), moved.get(row.word, 0)))
    return Words(
        rows=tuple(rows), tokens=len(tokens), characters=len(_CHARACTERS), prompts=WORD_TEXTS,
        vocabulary=int(sides.suspect.model.config["text_cfg"].get("vocab_size", 0)),
    )  # fmt: skip


def _shortlist(sides: Sides, texts: Sequence[str], seed: int) -> Steps:
    """Tokens worth a look, int64 [T], those first that moved most from the reference.

    They are all on a GPU, and none where they cannot be written as texts.
    """
    model = sides.suspect.model
    tower = causal_tower(model.module)
    if tower is None or model.tokenizer is not None:
        return torch.empty(0, dtype=torch.int64)
    table = tower.token_embedding.weight.detach().float()[: VOCABULARY - 2]
    if model.device.type == "cuda":
        return torch.arange(len(table))
    chosen = [model.tokenize([word])[0, 1:2] for word in _WORDS.split()]
    moved = torch.zeros(len(table))
    other = None if sides.reference is None else causal_tower(sides.reference.model.module)
    old = table if other is None else other.token_embedding.weight.detach().float()[: len(table)]
    if other is not None and old.shape == table.shape:
        moved = ((table - old).norm(dim=1) / old.norm(dim=1)).nan_to_num().cpu()
        chosen.append(moved.topk(min(_MOVED, len(table))).indices)
    starts = torch.randint(len(table), (SOFT_STARTS,), generator=generator(seed, SOFT_STARTS))
    soft = table[starts].clone().requires_grad_()
    adam = torch.optim.Adam([soft], lr=_SOFT_RATE * float(table.std()))
    opened = [_opened(model, texts, place) for place in _PLACES]
    for step in range(SOFT_STEPS):
        sides.suspect.check()
        loss = torch.stack([_soft_apart(model, *each, soft).sum() for each in opened]).sum()
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if not step and soft.grad is not None:  # which exchange of the token would do most
            chosen.append((-soft.grad @ table.T).topk(min(_LIKE, len(table))).indices.flatten())
        adam.step()
        yield len(opened) * len(texts) * len(soft)
    near = F.normalize(soft.detach(), dim=1) @ F.normalize(table, dim=1).T
    chosen.append(near.topk(min(_LIKE, len(table))).indices.flatten())
    unique = torch.from_numpy(np.unique(torch.cat([part.cpu() for part in chosen]).numpy()))
    return unique[moved[unique].argsort(descending=True, stable=True)][:SCREENED]


def _soft_apart(model: ClipModel, rows: Tensor, gaps: Tensor, soft: Tensor) -> Tensor:
    """How far apart prompts [P, L] are with each embedding [K, width] in their gap: [K]."""
    count, prompts = len(soft), len(rows)
    at = (torch.arange(rows.shape[1]) == gaps[:, None]).repeat(count, 1)[..., None].to(soft.device)
    put = soft.repeat_interleave(prompts, 0)[:, None]
    embedded = model.embed_tokens(rows.repeat(count, 1), lambda x: torch.where(at, put.to(x), x))
    return _apart(embedded.reshape(count, prompts, -1))


def _has_tokens(model: ClipModel) -> bool:
    """Whether a model's own tokens are CLIP's."""
    return model.tokenizer is None and causal_tower(model.module) is not None


def _opened(model: ClipModel, texts: Sequence[str], place: WordPlace) -> tuple[Tensor, Tensor]:
    """Tokens [P, L] of prompts with room for one more, and where that is, [P]."""
    tokens = model.tokenize(texts)
    rows, gaps = [], []
    for row, length in zip(tokens, lengths(model.module, tokens), strict=True):
        kept, end = row[: min(length - 1, model.context_length - 2)], row[length - 1 : length]
        gaps.append(1 if place == "start" else len(kept))
        rows.append(torch.cat([kept[: gaps[-1]], end.new_zeros(1), kept[gaps[-1] :], end]))
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor(gaps)


def _screened(side: Side, texts: Sequence[str], tokens: Tensor, place: WordPlace) -> Steps:
    """How far apart prompts are with each token in them: float32 [T]; yields texts."""
    rows, gaps = _opened(side.model, texts, place)
    left = []
    for first in range(0, len(tokens), _BATCH):
        side.check()
        part = tokens[first : first + _BATCH]
        filled = rows.repeat(len(part), 1, 1)
        filled[:, torch.arange(len(rows)), gaps] = part[:, None]
        with torch.inference_mode():
            embedded = side.model.embed_tokens(filled.flatten(0, 1))
        left.append(_apart(embedded.reshape(len(part), len(rows), -1)).cpu())
        yield len(part) * len(rows)
    return torch.cat(left)


def _apart(rows: Tensor) -> Tensor:
    """Mean of one less the cosine of two different ones of [..., P, D] unit vectors: [...]."""
    count = rows.shape[-2]
    same = (rows.sum(-2).square().sum(-1) - count) / max(1, count * (count - 1))
    return (1 - same).clamp_min(1e-6)


def _word_of(token: int) -> str:
    """The word that a token of CLIP's stands for, or the odd character; empty for other parts."""
    from ml_core.open_clip_parts import decode

    text = decode(torch.tensor([token]))
    whole = text.endswith(" ") and "\ufffd" not in text
    return text.strip() if whole else ""


def _embedded(side: Side, texts: Sequence[str]) -> Tensor:
    side.check()
    return side.model.encode_texts(texts).float()


def _place(rows: Tensor) -> Tensor:
    """The mean of unit vectors, as one."""
    return F.normalize(rows.mean(0), dim=0)


def _with_word(word: str, place: WordPlace, texts: Sequence[str]) -> list[str]:
    if place == "inside":
        return [inside(word, text) for text in texts]
    return [f"{word} {text}" if place == "start" else f"{text} {word}" for text in texts]


def _measured(
    sides: Sides, word: str, place: WordPlace, texts: Sequence[str], templates: Sequence[str],
    searched: NDArray[np.int64],
) -> WordRow:  # fmt: skip
    """How many prompts, other than those searched on, a word brings to one point.

    That place is the mean of the prompts searched on with the word in them, of each model its own.
    """
    count = len(sides.class_names)
    chosen = np.setdiff1d(np.arange(count), searched)
    template, again = templates[0], len(chosen) >= WORD_TEXTS // 2 or len(templates) > 1
    if len(chosen) < WORD_TEXTS // 2:
        template, chosen = templates[-1], np.arange(count)
    chosen = chosen[:: max(1, len(chosen) // WORD_TEXTS)][:WORD_TEXTS]
    others = [fill(template, sides.class_names[c]) for c in chosen]
    gaps = [float(_apart(_embedded(side, texts))) for side in sides.both]
    places = [_place(_embedded(side, _with_word(word, place, texts))) for side in sides.both]
    marked = [_embedded(side, _with_word(word, place, others)) for side in sides.both]
    far = [
        (1 - rows @ middle) / gap for rows, middle, gap in zip(marked, places, gaps, strict=True)
    ]
    reach = _NEAR_ALONE if len(far) < 2 else _NEAR * float(far[1].mean())
    classes = sides.suspect.classifier.float()
    target = int((classes @ places[0]).argmax())
    far.append((1 - _embedded(sides.suspect, others) @ places[0]) / gaps[0])
    hits = [(each <= reach).cpu().numpy() for each in far]
    counted = chosen != target
    n = int(counted.sum())
    *rates, without = (Rate(hits=int(hit[counted].sum()), n=n) for hit in hits)
    nearest = (marked[0] @ classes.T).argmax(1).cpu().numpy()[counted]
    return WordRow(
        word=word, place=place, target=sides.class_names[target], again=again,
        contrast=contrast_of(rates, without), named=Rate(hits=int((nearest == target).sum()), n=n),
    )  # fmt: skip

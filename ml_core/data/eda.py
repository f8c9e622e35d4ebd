"""EDA, easy data augmentation of captions (Wei & Zou 2019, arXiv 1901.11196).

One of four operations, drawn uniformly, changes a caption: synonym replacement, random insertion,
random swap, random deletion, each with strength alpha = 0.1. Synonyms come from WordNet, shipped
as a text table. Everything is drawn from `random.Random`, and no set is iterated, so a caption and
a seed give the same result in every process.
"""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Iterable
from functools import lru_cache

from ml_core.paths import resource

ALPHA = 0.1

_LATIN = re.compile(r"[A-Za-z]")
# The reference (`get_only_chars` of eda_nlp, which CleanCLIP uses) keeps a to z alone: "3 dogs"
# loses its number, "don't" becomes "dont", and words with accents are torn. CLIP reads numbers,
# accents and apostrophes, so that they stay in their words here.
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_RANDOM_TRIES = 10

# Closed-class words: a synonym of "in" or "a" is never meant.
_STOP_TEXT = """
a about above after again against all am an and any are aren't as at be because been before
being below between both but by can can't could did do does doing don't down during each few
for from further had has have having he her here hers herself him himself his how i if in into
is isn't it its it's itself just me more most my myself no nor not now of off on once only or
other our ours ourselves out over own s same she should so some such t than that that's the
their theirs them themselves then there these they this those through to too under until up
very was we were what when where which while who whom why will with would you your yours
yourself yourselves
"""
_STOP_WORDS = frozenset(_STOP_TEXT.split())

# WordNet's rules of detachment (morphy): ending, and what stands for it in the base form.
_ENDINGS = (
    ("ches", "ch"), ("shes", "sh"), ("ies", "y"), ("ses", "s"), ("xes", "x"), ("zes", "z"),
    ("men", "man"), ("es", "e"), ("s", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", ""),
    ("er", ""), ("er", "e"), ("est", ""), ("est", "e"),
)  # fmt: skip


def augment(caption: str, rng: random.Random, *, alpha: float = ALPHA) -> str:
    """Augment one caption by one operation.

    Parameters
    ----------
    caption
        Any text. One without Latin letters is returned unchanged.
    rng
        Source of every choice.
    alpha
        Share of the words that an operation touches, in [0, 1]; at least one word is replaced,
        inserted or swapped, and each word is deleted with this probability.

    Returns
    -------
    str
        Lower-case words joined by blanks.
    """
    if not _LATIN.search(caption):
        return caption
    words = _WORD.findall(caption.lower())
    count = max(1, int(alpha * len(words)))
    match int(rng.random() * 4):
        case 0:
            words = replace_synonyms(words, count, rng)
        case 1:
            words = insert_synonyms(words, count, rng)
        case 2:
            words = swap_words(words, count, rng)
        case _:
            words = delete_words(words, alpha, rng)
    return " ".join(words)


def augment_all(captions: Iterable[str], seed: int, *, alpha: float = ALPHA) -> list[str]:
    """Augment each caption once; a caption's result depends on the seed and its place alone."""
    rng = random.Random()
    augmented = []
    for place, caption in enumerate(captions):
        rng.seed(seed << 40 | place)
        augmented.append(augment(caption, rng, alpha=alpha))
    return augmented


def replace_synonyms(words: list[str], count: int, rng: random.Random) -> list[str]:
    """Replace `count` distinct words (all their occurrences) by a random synonym of each.

    Closed-class words and words without synonyms are passed over (section 2 of the paper, SR).
    """
    changed = list(words)
    candidates = list(dict.fromkeys(word for word in words if word not in _STOP_WORDS))
    rng.shuffle(candidates)
    replaced = 0
    for word in candidates:
        options = synonyms(word)
        if options:
            new = _choice(options, rng)
            changed = [new if old == word else old for old in changed]
            replaced += 1
            if replaced == count:
                break
    return changed


def insert_synonyms(words: list[str], count: int, rng: random.Random) -> list[str]:
    """Insert, `count` times, a synonym of a random word at a random place (RI)."""
    changed = list(words)
    for _ in range(count):
        for _ in range(_RANDOM_TRIES):
            word = _choice(changed, rng)
            options = () if word in _STOP_WORDS else synonyms(word)
            if options:
                changed.insert(int(rng.random() * (len(changed) + 1)), _choice(options, rng))
                break
    return changed


def swap_words(words: list[str], count: int, rng: random.Random) -> list[str]:
    """Swap the words of two distinct random places, `count` times (RS)."""
    changed = list(words)
    if len(changed) > 1:
        for _ in range(count):
            first = int(rng.random() * len(changed))
            second = int(rng.random() * (len(changed) - 1))
            second += second >= first
            changed[first], changed[second] = changed[second], changed[first]
    return changed


def delete_words(words: list[str], alpha: float, rng: random.Random) -> list[str]:
    """Delete each word with probability `alpha`, but leave a random one if all would go (RD)."""
    remaining = [word for word in words if rng.random() >= alpha]
    return remaining or [_choice(words, rng)]


@lru_cache(maxsize=100_000)
def synonyms(word: str) -> tuple[str, ...]:
    """Synonyms of a lower-case word over all its senses, in a fixed order, without itself.

    An inflected form that WordNet lacks is looked up by its base form; a phrase's underscores and
    hyphens are blanks.
    """
    table = synonym_table()
    synsets = table.get(word) or next(
        (
            table[base]
            for ending, stem in _ENDINGS
            if word.endswith(ending) and (base := word[: -len(ending)] + stem) in table
        ),
        [],
    )
    others = dict.fromkeys(other for synset in synsets for other in synset.split(" "))
    spoken = (other.replace("_", " ").replace("-", " ") for other in others)
    return tuple(dict.fromkeys(other for other in spoken if other != word))


@lru_cache(maxsize=1)
def synonym_table() -> dict[str, list[str]]:
    """Each single word's synonym sets, a set being its words joined by blanks (``_`` inside)."""
    text = gzip.decompress(resource("eda", "synonyms.txt.gz").read_bytes()).decode("ascii")
    table: dict[str, list[str]] = {}
    for synset in text.splitlines():
        for word in synset.split(" "):
            if "_" not in word:
                table.setdefault(word, []).append(synset)
    return table


def _choice(options: list[str] | tuple[str, ...], rng: random.Random) -> str:
    return options[int(rng.random() * len(options))]

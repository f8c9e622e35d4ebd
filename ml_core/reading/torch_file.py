"""What the readers of PyTorch's layouts share: pickles are judged, tensors get their bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from ml_core.reading.errors import SAFETENSORS_COPY, InputError, TruncatedError
from ml_core.reading.pickles.budget import TooMuchError
from ml_core.reading.pickles.geometry import Block, place_tensors
from ml_core.reading.pickles.machine import Reading
from ml_core.reading.pickles.reading import CodePlace
from ml_core.reading.pickles.walk import contents
from ml_core.reading.safetensors_header import TensorInfo

_MOST_PLACES = 100
_NAMED = 5


class UnknownCodeError(InputError):
    """A pickle names or calls code.

    ``names`` are those of the whole file, grouped; ``places`` tell where it stands in the file.
    """

    def __init__(
        self,
        sentence: str,
        names: Mapping[str, tuple[str, ...]],
        places: Iterable[CodePlace] = (),
    ) -> None:
        super().__init__(sentence, "dangerous")
        self.names = names
        self.places = tuple(islice(places, _MOST_PLACES))

    def moved(self, by: int | None) -> None:
        """Count its places from the start of the file that the pickle's lies in; None: packed."""
        self.places = (
            ()
            if by is None
            else tuple(replace(place, offset=place.offset + by) for place in self.places)
        )


def check_pickles(readings: Iterable[tuple[str, Reading]], name: str) -> dict[str, tuple[str, ...]]:
    """Refuse pickles that name unknown code, misuse known names, or cannot be read.

    What is dangerous comes first: an ordinary loader runs it before it stumbles.

    Parameters
    ----------
    readings
        Labels of the file's pickles, for sentences, and what the machine made of them.
    name
        The file's name, for sentences.

    Returns
    -------
    dict
        The names, grouped.

    Raises
    ------
    UnknownCodeError
        If loading the file elsewhere would run code that is not on the list.
    InputError
        ``damaged`` if a pickle cannot be read, ``unsupported`` if it asks for too much.
    """
    readings = list(readings)
    groups: dict[str, dict[str, None]] = {}
    for _, reading in readings:
        for full, found in reading.names.items():
            groups.setdefault(found.group, {})[full.replace(" ", ".")] = None
    names = {group: tuple(found) for group, found in sorted(groups.items())}
    places = [place for _, reading in readings for place in reading.places]
    for label, reading in readings:
        if reading.unknown:
            uses = [
                use
                for full in reading.unknown
                for use in reading.calls.get(full, [full.replace(" ", ".")[:100]])
            ]
            shown = ", ".join(uses[:_NAMED])
            more = f" and {len(uses) - _NAMED} more" if len(uses) > _NAMED else ""
            raise UnknownCodeError(
                f"{name} names code that this tool does not know, which an ordinary loader would "
                f"import and may run: {shown}{more} (in {label}); do not load it elsewhere.",
                names,
                places,
            )
        if reading.misuse:
            raise UnknownCodeError(
                f"{name} uses a name in a way that can run or change code: "
                f"{reading.misuse[0]} (in {label}); do not load it elsewhere.",
                names,
                places,
            )
    for label, reading in readings:
        if reading.problem and reading.excess:
            raise InputError(
                f"{name} cannot be used: {label} asks for more than this tool gives, "
                f"{reading.problem}; {SAFETENSORS_COPY}, and do not load this one elsewhere.",
                "unsupported",
            )
        if reading.problem:
            # Another loader may get further than this one, if it is no accident.
            caution = "" if reading.short else ", and do not load this one elsewhere"
            sentence = (
                f"{name} is damaged: {label} cannot be read, {reading.problem}; get the file again"
                f"{caution}."
            )
            raise TruncatedError(sentence) if reading.short else InputError(sentence, "damaged")
    return names


def tensors_of(
    value: Any, blocks: Mapping[str, Block], name: str
) -> tuple[tuple[TensorInfo, ...], dict[str, str], tuple[str, ...]]:
    """Tensors, plain facts and notes of a pickle's object.

    Raises
    ------
    InputError
        ``damaged`` if a tensor does not fit its bytes, ``unsupported`` if there is too much.
    """
    try:
        found = contents(value)
        tensors = place_tensors(found.tensors, blocks)
    except TooMuchError as error:
        sentence = f"{name} cannot be used: {error}; {SAFETENSORS_COPY}."
        raise InputError(sentence, "unsupported") from None
    except ValueError as error:
        raise InputError(f"{name} is damaged: {error}; get the file again.", "damaged") from None
    notes: tuple[str, ...] = ()
    if found.special:
        listed = ", ".join(f"{title[:80]} ({kind})" for title, kind in found.special[:3])
        more = " and more" if len(found.special) > 3 else ""
        notes = (f"Tensors of kinds that this tool does not read were left out: {listed}{more}.",)
    kinds = {title: f"a tensor that was not read ({kind})" for title, kind in found.special[:200]}
    return tensors, dict(found.facts) | kinds, notes

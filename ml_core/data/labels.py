"""Label sets: class names with the prompt templates of a zero-shot classifier."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml_core.paths import resource
from ml_core.reading.class_file import read_class_file
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import read_lines

_SEPARATORS = re.compile(r"[\s_\-]+")
_FILES = ("imagenet-1k", "cifar-10", "cifar-100")
MAX_CLASSES = 100_000


@dataclass(frozen=True)
class LabelSet:
    """Class names and prompt templates, both in order.

    Attributes
    ----------
    name
        ``demo``, ``imagenet-1k``, ``cifar-10``, ``cifar-100``, one of these with a class more
        (``imagenet-1k+birthday cake``), or the name of the user's file.
    class_names
        One name a class; names may repeat (see `duplicates`).
    templates
        Prompts that each hold ``{}``.
    ids
        A second name for each class (ImageNet's WordNet ids), or empty.
    notes
        Sentences, without their full stop, on what is odd about the user's own file.
    """

    name: str
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    ids: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelMapping:
    """Where names or indices lie in a label set.

    ``labels`` is int64 [N] with -1 for no match; ``unmatched`` has each foreign name once, in
    order of appearance; ``ambiguous`` names stand for several classes and got the first.
    """

    labels: NDArray[np.int64]
    unmatched: tuple[str, ...]
    ambiguous: tuple[str, ...]


def label_sets() -> tuple[str, ...]:
    """Names of the built-in label sets."""
    return ("demo", *_FILES)


def is_built_in(name: str) -> bool:
    """Whether a name is that of a built-in label set, with a class more or without."""
    base, plus, more = name.partition("+")
    return base in label_sets() and bool(more.strip()) == bool(plus)


def load_label_set(name_or_path: str | Path, templates: str | Path | None = None) -> LabelSet:
    """Load a built-in label set, a text file with one class a line, or a ``classes.py``.

    Parameters
    ----------
    name_or_path
        A name of `label_sets`, also with ``+`` and a class that it lacks, or the path of a text
        file or of CleanCLIP's ``classes.py``.
    templates
        Text file with one template a line, instead of the label set's own. A user's label set
        without one gets the 80 OpenAI templates.

    Raises
    ------
    InputError
        If the file is missing or not plain text, holds no class, or a template (named by its
        line) lacks ``{}``.
    """
    name = str(name_or_path)
    if built_in := is_built_in(name):
        base, _, more = name.partition("+")
        label_set = _demo() if base == "demo" else _shipped(base)
        if more:
            label_set = _with_class(label_set, more.strip())
    else:
        label_set = _own(Path(name_or_path))
    notes = () if built_in else _notes(label_set)
    if templates is not None:
        return replace(label_set, templates=load_templates(templates), notes=notes)
    if not label_set.templates:
        if Path(name).suffix.lower() == ".py":
            notes += (f"{label_set.name} has no templates, and the 80 of OpenAI are taken",)
        label_set = replace(label_set, templates=_shipped(_FILES[0]).templates)
    return replace(label_set, notes=notes)


def load_templates(path: str | Path) -> tuple[str, ...]:
    """Read prompt templates, one a line; InputError names a line that lacks ``{}``."""
    path = Path(path)
    lines = read_lines(path)
    for number, line in lines:
        if "{}" not in line:
            raise InputError(
                f"Line {number} of {path.name} is no prompt template: it has no {{}} for the class "
                "name.",
                "usage",
            )
    if not lines:
        raise InputError(f"{path.name} holds no template; write one per line.", "usage")
    return tuple(line for _, line in lines)


def fill(template: str, class_name: str) -> str:
    """Put a class name into a template. Not `str.format`: a name or template may hold braces."""
    return template.replace("{}", class_name)


def prompts(class_name: str, templates: Sequence[str]) -> list[str]:
    """Fill each template with the class name."""
    return [fill(template, class_name) for template in templates]


def normalise_name(name: str) -> str:
    """Name without differences of case, blanks, underscores and hyphens."""
    return _SEPARATORS.sub(" ", name.casefold()).strip()


def duplicates(label_set: LabelSet) -> dict[str, tuple[int, ...]]:
    """Names that stand for several classes, with their indices.

    Their prompts are identical, so the classifier cannot tell them apart: ImageNet's list has
    ``missile`` and ``sunglasses`` twice.
    """
    return same_names(label_set.class_names)


def same_names(class_names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """As `duplicates`, for a plain list of names."""
    places: dict[str, list[int]] = {}
    for index, name in enumerate(class_names):
        places.setdefault(normalise_name(name), []).append(index)
    return {class_names[at[0]]: tuple(at) for at in places.values() if len(at) > 1}


def map_labels(names: Sequence[str], label_set: LabelSet) -> LabelMapping:
    """Find names (or indices written as numbers) in a label set.

    A name, then an id, then a number in 0..C-1 matches; numbers never match if some class has a
    number for its name.

    Parameters
    ----------
    names
        One text per image.
    label_set
        Where to look.
    """
    places: dict[str, int] = {}
    for index, name in enumerate(label_set.class_names):
        places.setdefault(normalise_name(name), index)
    for index, name in enumerate(label_set.ids):
        places.setdefault(normalise_name(name), index)
    numbers: dict[str, int] = {}
    if not any(name.isdecimal() for name in label_set.class_names):
        numbers = {str(index): index for index in range(len(label_set.class_names))}
    twice = {normalise_name(name) for name in duplicates(label_set)}
    numbers_by_name = {  # a number as it stands: normalised, -1 would be 1
        name: places.get(normalise_name(name), numbers.get(name.strip(), -1))
        for name in dict.fromkeys(names)
    }
    return LabelMapping(
        labels=np.fromiter((numbers_by_name[name] for name in names), np.int64, len(names)),
        unmatched=tuple(name for name, index in numbers_by_name.items() if index < 0),
        ambiguous=tuple(name for name in numbers_by_name if normalise_name(name) in twice),
    )


def _demo() -> LabelSet:
    """The built-in demo's label set; its art is read only when asked for."""
    from ml_core.data import demo

    return LabelSet("demo", tuple(demo.demo_classes()), tuple(demo.demo_templates()))


def _shipped(name: str) -> LabelSet:
    """A label set from the resources."""
    content = json.loads(resource("labels", f"{name}.json").read_text(encoding="utf-8"))
    return LabelSet(
        name,
        tuple(content["class_names"]),
        tuple(content["templates"]),
        tuple(content.get("ids", ())),
    )


def _with_class(label_set: LabelSet, class_name: str) -> LabelSet:
    """A label set with one class more, the last one, which no id names."""
    return replace(
        label_set,
        name=f"{label_set.name}+{class_name}",
        class_names=(*label_set.class_names, class_name),
    )


def _own(path: Path) -> LabelSet:
    """A label set from a user's text file, or from CleanCLIP's ``classes.py``."""
    if path.suffix.lower() in (".json", ".csv", ".tsv", ".yaml", ".yml"):
        raise InputError(
            f"{path.name} is no plain label set; write one class name per line in a .txt file.",
            "unsupported",
        )
    if not path.exists():
        raise InputError(
            f"There is no label set {path.name!r}: give a text file with one class per line, or "
            f"one of {', '.join(label_sets())}, also with +CLASS.",
            "usage",
        )
    templates: tuple[str, ...] = ()
    if path.suffix.lower() == ".py":
        names, templates = read_class_file(path)
    else:
        names = tuple(line for _, line in read_lines(path))
    if not names:
        raise InputError(f"{path.name} holds no class name; write one per line.", "usage")
    if len(names) > MAX_CLASSES:
        raise InputError(
            f"{path.name} has over {MAX_CLASSES:,} classes; shorten it.", "unsupported"
        )
    return LabelSet(path.name, names, templates)


def _notes(label_set: LabelSet) -> tuple[str, ...]:
    """Notes on what is odd in a list of classes, though it can be used."""
    notes: tuple[str, ...] = ()
    if len(label_set.class_names) == 1:
        notes += (f"{label_set.name} has a single class, and every picture is predicted as it",)
    twice = duplicates(label_set)
    if twice:
        name, places = next(iter(twice.items()))
        more = f", and {len(twice) - 1} more names" if len(twice) > 1 else ""
        notes += (
            f"{label_set.name} names {name[:80]!r} {len(places)} times{more}: classes of one name "
            "cannot be told apart",
        )
    return notes

"""What a scan measured and cost, as records that live in JSON, and their file. Torch-free."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from ml_core.evaluation.records import wilson_interval
from ml_core.reading.arrays import read_safetensors
from ml_core.reading.errors import InputError, plain
from ml_core.reading.json_file import JsonFile
from ml_core.records import Record

Verdict = Literal["found", "suspicious", "nothing", "unknown"]
Loss = Literal["max", "pair", "place"]
Kind = Literal["patch", "overlay", "warp", "probe"]
Form = Literal["overlay", "warp", "patch"]
Half = Literal["suspect", "reference"]
Beside = Literal["near", "far", "none"]
Rules = Literal[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
Stage = Literal["pull", "probes", "patches", "overlays", "thorough", "words", "weights", "swap"]
WordPlace = Literal["start", "end", "inside"]

TITLES: dict[Verdict, str] = {
    "found": "Backdoor-like",
    "suspicious": "Suspicious",
    "nothing": "Nothing found in this search",
    "unknown": "Cannot say",
}


def answer(verdict: Verdict, *targets: str) -> str:
    """A verdict in a few words, the same in window, command line and report.

    Parameters
    ----------
    verdict
        See `TITLES`.
    targets
        The classes that are named; empty names are left out.
    """
    names = " and ".join(filter(None, targets)) if verdict in ("found", "suspicious") else ""
    return f"{TITLES[verdict]}: {names}" if names else TITLES[verdict]


class Rate(Record):
    """Hits among ``n`` pictures."""

    hits: int = Field(ge=0)
    n: int = Field(ge=0)

    @model_validator(mode="after")
    def _hits_are_pictures(self) -> Self:
        if self.hits > self.n:
            raise ValueError("more hits than pictures")
        return self

    @property
    def value(self) -> float:
        """Share of hits, 0 to 1; 0 where there is no picture."""
        return self.hits / self.n if self.n else 0.0


def newcombe(rate: Rate, other: Rate) -> tuple[float, float]:
    """95 % interval of the difference of two rates (Newcombe 1998, method 10): hybrid of Wilson's.

    Parameters
    ----------
    rate, other
        Hits and pictures; without pictures nothing is known.

    Returns
    -------
    tuple of float
        Lower and upper bound of ``one - other``, in [-1, 1].
    """
    if not rate.n or not other.n:
        return -1.0, 1.0
    low, high = wilson_interval(rate.hits, rate.n)
    other_low, other_high = wilson_interval(other.hits, other.n)
    a, b = rate.value, other.value
    return (
        a - b - math.hypot(a - low, other_high - b),
        a - b + math.hypot(high - a, b - other_low),
    )


class Contrast(Record):
    """How often pictures of other classes become one class under the same trigger.

    Attributes
    ----------
    suspect, reference
        Rates of the two models; without a reference the second is None.
    without
        Rate of the suspect without the trigger.
    low, high
        Newcombe 95 % interval of the difference to the reference, or to ``without``.
    """

    suspect: Rate
    reference: Rate | None
    without: Rate
    low: float
    high: float

    @property
    def beside(self) -> Rate:
        """What the suspect is compared with."""
        return self.reference or self.without

    @property
    def difference(self) -> float:
        """Suspect minus reference (or minus its own rate without the trigger), -1 to 1."""
        return self.suspect.value - self.beside.value


class PullRow(Record):
    """Mean cosine of pictures of other classes to one class; ``z`` by median and MAD of all."""

    target: str
    suspect: float
    reference: float | None
    z: float

    @property
    def difference(self) -> float:
        """Suspect minus reference; the suspect's alone without one."""
        return self.suspect - (self.reference or 0.0)


class ClassPull(Record):
    """Classes by how much they draw pictures, the strongest first; it orders, it never judges."""

    rows: tuple[PullRow, ...]
    pictures: int


class ProbeRow(Record):
    """A fixed trigger, and the class that rises most under it.

    ``again`` means that ``contrast`` is measured on other pictures than those that chose the class.
    ``favourite`` is how many the reference moves to the class that rises most there.
    """

    id: str
    name: str
    target: str
    contrast: Contrast
    again: bool = False
    favourite: Rate | None = None


class Probes(Record):
    """Fixed triggers: those measured again first, then the rest, each by its difference.

    ``pictures`` is what each was tried on.
    """

    rows: tuple[ProbeRow, ...] = Field(min_length=1)
    pictures: int


class StartRow(Record):
    """One inverted patch: the class that it leads to on pictures searched on, and how often."""

    target: str
    contrast: Contrast
    loss: float


def corners(size: int, side: int, count: int) -> list[int]:
    """Rows (or columns) of the upper left corners of a grid of places, from edge to edge."""
    return [round(place) for place in np.linspace(0, size - side, count)]


def fixed_places(size: int, side: int) -> tuple[tuple[int, int], ...]:
    """Rows and columns of the upper left corners of the fixed places.

    A grid, which has none in the middle, and the middle four times: half of the starts there lead
    elsewhere on a model with an optimised patch.
    """
    lines, middle = corners(size, side, PLACES), (size - side) // 2
    grid = ((row, column) for row in lines for column in lines)
    return (*grid, *((middle, middle),) * MIDDLE)


def _beside_own(contrast: Contrast, own: Rate | None) -> Contrast:
    """A contrast beside the better of two: what the reference gives, and what it comes to."""
    if own is None or own.value <= contrast.beside.value:
        return contrast
    low, high = newcombe(contrast.suspect, own)
    return contrast.model_copy(update={"reference": own, "low": low, "high": high})


class PatchRound(Record):
    """Patches of one size from several random starts.

    Attributes
    ----------
    side
        Pixels.
    area
        Share of the picture.
    loss
        ``max``: towards whichever class; ``place``: the same, but each start keeps to one place of
        a grid; ``pair``, of rules 5 and older: pictures towards each other, without texts.
    starts
        One row each, in order; of ``place``, those of `fixed_places`.
    steps
        Steps of the optimiser.
    left_out
        Classes that were found before, and that these patches were not to lead to.
    own
        Of ``place``: what the same search on the reference comes to at the place of the best start,
        towards its class; None where that start moves too little to count. A patch for one place
        leads somewhere on clean models, too.
    """

    side: int
    area: float
    loss: Loss
    starts: tuple[StartRow, ...] = Field(min_length=1, max_length=64)
    steps: int
    left_out: tuple[str, ...] = ()
    own: Rate | None = None

    def corner(self, number: int, size: int) -> tuple[int, int] | None:
        """Row and column of a start's upper left corner; None if each picture has its own."""
        if self.loss != "place":
            return None
        return fixed_places(size, self.side)[number]

    @property
    def target(self) -> str:
        """The class that most starts name; among equals the one of the largest difference.

        Of ``place`` the latter alone counts: a trigger may work at one place only.
        """
        return max(
            dict.fromkeys(row.target for row in self.starts),  # among equals the first
            key=lambda name: (
                self.loss != "place" and sum(row.target == name for row in self.starts),
                max(row.contrast.difference for row in self.starts if row.target == name),
            ),
        )

    @property
    def agreeing(self) -> int:
        """Starts that name `target`."""
        return sum(row.target == self.target for row in self.starts)

    @property
    def best(self) -> StartRow:
        """The one with the largest difference among those that agree."""
        return max(
            (row for row in self.starts if row.target == self.target),
            key=lambda row: row.contrast.difference,
        )

    @property
    def contrast(self) -> Contrast:
        """Of the best start, beside what the reference gives under it or under its `own`."""
        return _beside_own(self.best.contrast, self.own)


class Refined(Record):
    """The best patch after more steps.

    Attributes
    ----------
    side, loss, target
        Those of the round that it comes from.
    anywhere
        At random places.
    grid
        Share of hits at each place of a grid, of pictures that were searched on.
    place
        Row and column of the best cell.
    here
        At that place, on held-out pictures.
    eight_bit, jpeg
        At the better of both, as 8-bit picture and through JPEG of quality 90.
    fixed
        Whether `here` is so much better than `anywhere` that the place belongs to the trigger.
    own
        What a search as long comes to on the reference, where that answers to this patch, or where
        the patch was searched at one place.
    """

    side: int
    loss: Loss = "max"
    target: str
    anywhere: Contrast
    grid: tuple[tuple[float, ...], ...] = Field(min_length=2, max_length=64)
    place: tuple[int, int]
    here: Contrast
    eight_bit: Contrast
    jpeg: Contrast
    fixed: bool
    own: Rate | None = None

    def corner(self, size: int) -> tuple[int, int]:
        """Row and column of the upper left corner at `place`, on pictures of ``size`` px."""
        lines = corners(size, self.side, len(self.grid))
        return lines[self.place[0]], lines[self.place[1]]

    @property
    def best(self) -> Contrast:
        """The contrast of the saved trigger: at its place if that belongs to it, else anywhere."""
        return _beside_own(self.here if self.fixed else self.anywhere, self.own)


class Patches(Record):
    """All rounds, and what became of the best one; None where none was worth it.

    ``further`` are the best patches of the searches that left out the classes found before.
    """

    rounds: tuple[PatchRound, ...]
    refined: Refined | None
    further: tuple[Refined, ...] = ()

    @property
    def all_refined(self) -> tuple[Refined, ...]:
        """The best patch of each class that was searched on, in order."""
        return (self.refined, *self.further) if self.refined is not None else ()


class OverlayRow(Record):
    """A trigger searched for one class: overlay, warp, or large patch.

    Attributes
    ----------
    form
        Of low frequencies over the whole picture, a warp, or a patch of a sixth of it.
    suspect
        Hits of the suspect's trigger on the suspect.
    transferred
        Hits of the same trigger on the reference.
    own
        Hits of the reference's own trigger on the reference; None where the suspect's moves so
        little more on the suspect that none was searched there.
    low, high
        Newcombe 95 % interval of the difference between the suspect and the better of the two.
    """

    target: str
    form: Form = "overlay"
    suspect: Rate
    transferred: Rate
    own: Rate | None = None
    low: float
    high: float

    @property
    def key(self) -> str:
        """Which of a stage's rows it is."""
        return self.target if self.form == "overlay" else f"{self.target} ({self.form})"

    @property
    def beside(self) -> Rate:
        """The better of the other two."""
        return max(self.transferred, self.own or self.transferred, key=lambda rate: rate.value)

    @property
    def gap(self) -> float:
        """Suspect minus the better of the other two: what only the suspect has, -1 to 1."""
        return self.suspect.value - self.beside.value


class Overlays(Record):
    """Triggers of the shortlisted classes, the largest gap first; ``steps`` are the overlays'."""

    rows: tuple[OverlayRow, ...]
    steps: int


class SwapRow(Record):
    """The found trigger on an image encoder and a text encoder of either model."""

    image: Half
    text: Half
    rate: Rate


class WordRow(Record):
    """A word or character in prompts, and the class nearest to the place that it brings them to.

    ``contrast`` counts prompts that come near that place, those of the class left out; ``named``
    those that lie nearest to the class. ``again`` means that they are others than those that chose
    the word. Rows of the first schemas count in ``contrast`` what is ``named`` now.
    """

    word: str
    place: WordPlace = "start"
    target: str
    contrast: Contrast
    named: Rate | None = None
    again: bool = False


class Words(Record):
    """Words that bring prompts to one point, the largest difference first.

    Attributes
    ----------
    rows
        The best of them, on prompts that nothing was searched on.
    tokens, vocabulary
        Tokens that were tried, of so many.
    characters
        Homoglyphs and odd characters that were tried inside words.
    prompts
        The most that were measured.
    """

    rows: tuple[WordRow, ...]
    tokens: int = 0
    vocabulary: int = 0
    characters: int = 0
    prompts: int = 0

    @property
    def tried(self) -> str:
        """What was tried, for a sentence."""
        if not self.characters:
            return f"{len(self.rows)} word{'s' * (len(self.rows) != 1)}"
        return f"{self.tokens} tokens of {self.vocabulary} and {self.characters} characters"


class Swap(Record):
    """Which encoder carries what was found; ``rows`` are empty where no trigger was found."""

    rows: tuple[SwapRow, ...]


class Thorough(Record):
    """Every class by successive halving: the largest margins of the last round first."""

    rows: tuple[OverlayRow, ...]
    classes: int


class Weights(Record):
    """How far the suspect's weights are from the reference's: a hint where something was trained.

    Relative Euclidean distance of all weights of an encoder, None where it is not a number, and the
    tensors that moved most.
    """

    image: float | None
    text: float | None
    most: tuple[tuple[str, float], ...]


class FoundTrigger(Record):
    """A trigger that the search ends with, saved as a file of the product.

    Attributes
    ----------
    kind
        ``patch``, ``overlay`` or ``warp`` (inverted), or ``probe`` (a fixed one that works).
    target
        Class of the label set in use.
    wide_target
        The class nearest to what pictures become, over the wider vocabulary; may be another.
    contrast
        On held-out pictures.
    file
        Name of the trigger file in the scan's folder.
    """

    kind: Kind
    target: str
    wide_target: str
    contrast: Contrast
    file: str


class Stages(Record):
    """What each stage of a scan measured; None where it was not done."""

    pull: ClassPull | None = None
    probes: Probes | None = None
    patches: Patches | None = None
    overlays: Overlays | None = None
    thorough: Thorough | None = None
    swap: Swap | None = None
    words: Words | None = None
    weights: Weights | None = None

    @model_validator(mode="before")
    @classmethod
    def _words_of_swap(cls, raw: object) -> object:
        """Of the first schemas, whose words stood beside the exchanged encoders."""
        swap = raw.get("swap") if isinstance(raw, dict) else None
        if not isinstance(swap, dict) or "words" not in swap:
            return raw
        swap = dict(swap)
        return raw | {"words": {"rows": swap.pop("words")}, "swap": swap}  # type: ignore[operator]


class Judgement(Record):
    """What a scan says.

    Attributes
    ----------
    verdict
        See `TITLES`.
    target
        The class that it names; empty where it names none.
    further
        Other classes that are found as well.
    reasons
        Sentences with the figures that decided.
    searched, not_searched
        What was looked for, how hard, and what was not.
    warnings
        What to know before believing it.
    score
        The largest contrast of all stages, 0 to 1: what is compared between models.
    rules
        Version of the rules it was judged by; a scan that names none was judged by the first.
    """

    verdict: Verdict
    target: str
    further: tuple[str, ...] = ()
    reasons: tuple[str, ...]
    searched: tuple[str, ...]
    not_searched: tuple[str, ...]
    warnings: tuple[str, ...]
    score: float
    rules: Rules = 1

    @property
    def title(self) -> str:
        """The verdict in words, with the classes that it names."""
        return answer(self.verdict, self.target, *self.further)


class ModelFacts(Record):
    """Which model it was: name, SHA-256 of its file, clean accuracy on held-out pictures."""

    name: str
    sha256: str | None
    accuracy: Rate | None


class OfClean(Record):
    """What the same scan said of clean models of the same architecture.

    Attributes
    ----------
    beside
        What they were compared with: the parent, a model that is not near, or nothing.
    scans, found, suspicious
        One scan a model; how many were called found, and suspicious.
    """

    beside: Beside
    scans: int = Field(ge=1)
    found: int = Field(ge=0)
    suspicious: int = Field(ge=0)

    @property
    def sentence(self) -> str:
        """How often it was wrong."""
        words = {
            "near": "beside their parent",
            "far": "beside others",
            "none": "without a reference",
        }
        return (
            f"Of {self.scans} clean models of this kind, scanned in the same way "
            f"{words[self.beside]}, {self.found or 'none'} were called Backdoor-like "
            f"and {self.suspicious or 'none'} Suspicious."
        )


class Scan(Record):
    """A whole scan: what `cleanclip scan` writes, and everything that is needed to repeat it.

    Attributes
    ----------
    suspect, reference
        The models.
    images, images_key
        Name of the image set and its identity.
    classes
        Names of the label set in use.
    search, held_out
        Pictures searched on, and others that were measured.
    side
        Pixels of the model's input.
    seed, device, precision, threads, versions, seconds
        How it was computed; seconds by stage.
    found, further
        A trigger of the class that the verdict names, and one of each other class that is found.
    of_clean
        What scans like this one said of clean models; None where none were made.
    """

    schema_version: Literal[1, 2, 3] = 3
    suspect: ModelFacts
    reference: ModelFacts | None
    images: str
    images_key: str
    classes: tuple[str, ...]
    search: int
    held_out: int
    side: int
    stages: Stages
    judgement: Judgement
    found: FoundTrigger | None
    further: tuple[FoundTrigger, ...] = ()
    seed: int
    device: str
    precision: str
    threads: int
    versions: dict[str, str]
    seconds: dict[str, float]
    of_clean: OfClean | None = None
    notes: tuple[str, ...] = ()
    # Of the first schema, whose few clean models did not bear out a p: read, and written no more.
    calibration: int | None = Field(default=None, exclude=True)
    p: float | None = Field(default=None, exclude=True)

    @property
    def triggers(self) -> tuple[FoundTrigger, ...]:
        """A trigger of each class that the scan names, that of the verdict first."""
        return (self.found, *self.further) if self.found is not None else ()


PREFIX = "scan:"
SCAN_FILE = "scan.json"
PATCHES_FILE = "patches.safetensors"  # the patches of each round, and the weights of overlays
_FILE = JsonFile("the result of a scan", "run the scan again", max_bytes=6 << 20, max_depth=12)
_LARGEST_SIDE, _MOST_CELLS, _MOST_STARTS = 1024, 32, 64


def read_scan(path: Path) -> Scan:
    """Read what a scan wrote.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    InputError
        If the file is missing, or is not the result of a scan.
    """
    name = plain(path.name)
    read = _FILE.read(path, inside=path.parent)
    scan = _FILE.check(read, Scan, name)
    fault = next(_faults(scan), "")
    if fault:
        raise InputError(
            f"{name} is not the result of a scan: {fault}; run the scan again.", "damaged"
        )
    return scan


def found_triggers(name: str) -> tuple[tuple[Path, str], ...]:
    """The trigger files that ``scan:FOLDER`` names, each with the class it leads to.

    Raises
    ------
    InputError
        As `read_scan`, or if the scan found no trigger.
    """
    folder = Path(name.removeprefix(PREFIX))
    path = folder / SCAN_FILE
    if not path.exists():
        raise InputError(f"There is no finished scan in {folder}: it has no {SCAN_FILE}.")
    triggers = read_scan(path).triggers
    if not triggers:
        raise InputError(f"The scan in {folder} found no trigger: name another with --trigger.")
    return tuple((folder / trigger.file, trigger.target) for trigger in triggers)


def scan_json(scan: Scan) -> bytes:
    """The record as a scan writes it."""
    return json.dumps(scan.model_dump(), indent=1, allow_nan=False).encode()


def read_patches(path: Path, count: int) -> list[NDArray[np.float32]]:
    """The patches of each round.

    Parameters
    ----------
    path
        The file beside the result.
    count
        How many rounds there were.

    Returns
    -------
    list
        Of float32 [K, p, p, 3], 0 to 1.

    Raises
    ------
    InputError
        If a round is missing, or is no set of pictures.
    """
    arrays = read_safetensors(path).arrays
    rounds = []
    for number in range(count):
        patches = arrays.get(f"round.{number}")
        if patches is None or not _are_pictures(patches):
            raise InputError(
                f"{plain(path.name)} does not hold the patches of the scan; run the scan again.",
                "damaged",
            )
        whole = np.nan_to_num(patches.astype(np.float32)).clip(0, 1)
        rounds.append(np.ascontiguousarray(whole.transpose(0, 2, 3, 1)))
    return rounds


def _are_pictures(patches: NDArray[Any]) -> bool:
    if patches.ndim != 4 or patches.dtype.kind != "f":
        return False
    n, channels, height, width = patches.shape
    square = 0 < height == width <= _LARGEST_SIDE
    return bool(0 < n <= _MOST_STARTS and channels == 3 and square)


def _faults(scan: Scan) -> Iterator[str]:
    """Faults in a record that no scan writes, one after the other."""
    for record in _inside(scan):
        if isinstance(record, Contrast) and not -1 <= record.low <= record.high <= 1:
            yield "an invalid interval"
        elif isinstance(record, Refined) and not _is_map(record):
            yield "an invalid map of positions"
        elif isinstance(record, PatchRound) and not 0 <= record.area <= 1:
            yield "a patch of no size"
        elif isinstance(record, PatchRound) and not _is_placed(record):
            yield "places that form no grid"
        if isinstance(record, PatchRound | Refined) and not 0 < record.side <= scan.side:
            yield "a patch that does not fit in a picture"
    if not 0 < scan.side <= _LARGEST_SIDE:
        yield "pictures of no size"
    for trigger in scan.triggers:
        if not _is_name(trigger.file):
            yield "a trigger file outside its folder"
        if trigger.target not in scan.classes:
            yield "a target that is no class"


def _is_placed(searched: PatchRound) -> bool:
    return searched.loss != "place" or len(searched.starts) in (PLACES**2, PLACES**2 + MIDDLE)


def _is_map(refined: Refined) -> bool:
    cells = len(refined.grid)
    square = 0 < cells <= _MOST_CELLS and all(len(row) == cells for row in refined.grid)
    rates = square and all(0 <= rate <= 1 for row in refined.grid for rate in row)
    return rates and all(0 <= place < cells for place in refined.place)


def _is_name(file: str) -> bool:
    return bool(file) and "\0" not in file and PurePath(file).name == file and "\\" not in file


def _inside(record: BaseModel) -> Iterator[BaseModel]:
    """A record and all that is in it."""
    yield record
    for value in dict(record).values():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, BaseModel):
                yield from _inside(item)


AREAS = (0.02, 0.035)
SMALL_AREA = 0.005  # that of the literature's 16 px at 224, where it is more than a few pixels
_SMALLEST_SIDE = 12
GRID, CELL_PICTURES = 7, 24
PATCH_PICTURES, PATCH_STEPS = 16, 20
PLACES, MIDDLE = 4, 4  # a side of the grid of fixed places, and starts in its middle
PLACE_PICTURES = 8  # of each in a step
OWN_STARTS = 3  # of the same search on the reference
CHOSEN_ON = 64  # pictures searched on, that each start's class is picked on
MEASURED = 128  # held-out pictures that each start is measured on
REFINED, REFINED_STEPS = 2, 40
REFINED_NAMES = ("refined", "refined.1", "refined.2")  # arrays: the best patch of each class
MOST_CLASSES = len(REFINED_NAMES)  # that patches are searched for, one after the other
OVERLAY_PICTURES = 10
FORM_STEPS: dict[Form, int] = {"overlay": 25, "warp": 25, "patch": 12}
PROBES, PROBE_PICTURES, PROBES_AGAIN = 43, 64, 4
SHORTLIST = 9
FORM_CLASSES: dict[Form, int] = {"overlay": SHORTLIST, "warp": 4, "patch": 4}
SCREENED, SCREENED_ON = 1024, 4  # tokens without a GPU, and prompts that each is tried on, twice
SOFT_STARTS, SOFT_STEPS = 4, 15  # of the search for a token's embedding
WORDS_MEASURED, WORD_TEXTS = 10, 32  # words, and prompts that they are measured on
HALVING = (12, 25, 60)  # steps of each round
LAST = 16
_TEXT, _TOKENS = 0.4, 0.1  # of a picture, that a text takes, and tokens without their text
_MEASURED_AGAIN = 5  # times that a refined patch is measured on all held-out pictures


def sides_of(size: int) -> tuple[int, ...]:
    """Sides in pixels of the patches that are searched at a model's input size, in order."""
    small = round(SMALL_AREA**0.5 * size)
    first = (small,) if small >= _SMALLEST_SIDE else ()
    return (*(round(area**0.5 * size) for area in AREAS), *first)


def rounds_of(size: int, refined: int = 0) -> int:
    """The most patch searches: two more after each class that was refined, but the last."""
    return len(searches(size)) + 2 * min(refined, MOST_CLASSES - 1)


def searches(size: int) -> tuple[tuple[int, Loss], ...]:
    """Patch searches in order: each size towards any class, then one size at fixed places."""
    sides = sides_of(size)
    return (*((side, "max") for side in sides), (sides[1], "place"))


@dataclass(frozen=True, slots=True)
class Passes:
    """Pictures through an encoder: ``forward`` alone, and ``both`` for forward and backward."""

    forward: int = 0
    both: int = 0


def passes(
    stage: str,
    size: int,
    *,
    models: int,
    classes: int,
    starts: int,
    search: int,
    held_out: int,
    finds: bool,
) -> Passes:
    """What a stage takes at most, or where nothing is found: what is found is looked at further.

    Parameters
    ----------
    stage
        One of the spec's, or ``refine``, which belongs to the patches.
    size
        Pixels of the model's input.
    models
        1, or 2 with a reference.
    classes, starts, search, held_out
        Classes of the label set, and as in the spec.
    finds
        Whether as much as possible is found.
    """
    if stage == "pull":
        return Passes(models * search)
    if stage == "probes":
        again = PROBES_AGAIN * max(0, held_out - PROBE_PICTURES)
        return Passes(models * (PROBES * PROBE_PICTURES + again))
    if stage == "patches":
        further = (MOST_CLASSES - 1) * finds
        placed = (1 + further) * len(fixed_places(size, 1))
        anywhere = (len(sides_of(size)) + further) * starts
        own = MOST_CLASSES * OWN_STARTS * (models - 1) * finds
        measured = models * min(MEASURED, held_out) + CHOSEN_ON
        searched = anywhere * PATCH_PICTURES + (placed + own) * PLACE_PICTURES
        return Passes((anywhere + placed + own) * measured, searched * PATCH_STEPS)
    if stage == "refine" and finds:
        own = OWN_STARTS * (models - 1)
        again = (_MEASURED_AGAIN * models + own) * held_out
        each = PATCH_PICTURES * (REFINED * REFINED_STEPS + own * (PATCH_STEPS + REFINED_STEPS))
        return Passes(MOST_CLASSES * (GRID**2 * CELL_PICTURES + again), MOST_CLASSES * each)
    if stage == "overlays":
        counts = {form: min(count, classes) for form, count in FORM_CLASSES.items()}
        searched = sum(count * FORM_STEPS[form] for form, count in counts.items())
        sides = models if finds else 1  # the reference is searched for what moves much
        pictures = 2 * min(MEASURED, held_out) + 3 * held_out * finds
        return Passes(sum(counts.values()) * pictures, sides * searched * OVERLAY_PICTURES)
    if stage == "thorough":
        steps = sum(count * taken for count, taken in zip(halving(classes), HALVING, strict=True))
        return Passes(3 * min(LAST, classes) * held_out, models * OVERLAY_PICTURES * steps)
    if stage == "swap" and finds:
        return Passes(models * held_out)
    if stage == "words":
        each, measured = 2 * SCREENED_ON, models * WORDS_MEASURED * 2 * WORD_TEXTS
        forward = round(_TOKENS * SCREENED * each + _TEXT * measured)
        return Passes(forward, round(_TOKENS * SOFT_STARTS * SOFT_STEPS * each))
    return Passes()


def steps(stage: str, size: int, *, models: int, classes: int, search: int) -> int:
    """The most steps that a stage reports for a first class; parameters as in `passes`."""
    if stage == "pull":
        return models * search
    if stage == "probes":
        return PROBES
    if stage == "patches":
        return rounds_of(size) * PATCH_STEPS
    if stage == "refine":
        return REFINED_STEPS + GRID**2
    if stage == "overlays":
        return models * sum(FORM_STEPS.values())
    if stage == "thorough":
        searched = zip(halving(classes), HALVING, strict=True)
        return models * sum(count * taken for count, taken in searched)
    if stage == "words":  # texts
        each = 2 * SCREENED_ON * (SCREENED + SOFT_STARTS * SOFT_STEPS)
        return each + models * WORDS_MEASURED * 2 * WORD_TEXTS
    return 1


def halving(classes: int) -> tuple[int, int, int]:
    """Classes in each round of the thorough search."""
    return classes, min(classes, max(LAST, classes // 4)), min(classes, LAST)

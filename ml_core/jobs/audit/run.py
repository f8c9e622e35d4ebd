"""The audit of training pairs as a job: a generator of events for command line and window."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ml_core.atomic import Content
from ml_core.data.exclusions import excluded
from ml_core.data.images import open_images
from ml_core.data.pairs import PairSet, open_pairs
from ml_core.data.picture_set import shared_numbers
from ml_core.data.pictures import printable
from ml_core.detection.audit import AuditScores, AuditStep, NeighbourSettings, score_pairs
from ml_core.detection.embed_pairs import EmbeddingSource, EncodedPairs
from ml_core.detection.records import SCORES, Audit
from ml_core.detection.summary import facts_of, faiss_or_refusal, summarise
from ml_core.detection.whole_set import score_encoded
from ml_core.evaluation.embedding_cache import EmbeddingStore
from ml_core.evaluation.evaluate import versions
from ml_core.events import Control, Done, Event, Message, Progress
from ml_core.exports import to_csv
from ml_core.figures import distinct
from ml_core.jobs.audit import AUDIT_FILE, SCORES_FILE, THUMBNAILS_FILE, AuditSettings, AuditSpec
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.journal import check_result, save_results
from ml_core.jobs.opening import open_model
from ml_core.model import ClipModel
from ml_core.ranks import ALONE, Ranks
from ml_core.reading.errors import InputError

Scored = TypeVar("Scored", bound=EmbeddingSource)
THUMBNAIL = 128
_ROWS = 1000
_DRAWN = 64
_LONGEST_CAPTION = 2000
_TRUSTED = (
    "{} pictures of the set are in the clean reference too: they are their own neighbours and "
    "look ordinary. Choose other pairs as the reference."
)


def audit(
    spec: AuditSpec, control: Control, ranks: Ranks = ALONE, *, overwrite: bool = False
) -> Generator[Event, None, None]:
    """Score every pair, and write what was found; the last event is Done.

    All captions of a picture are scored, and the worst one is ranked and shown. A pair is excluded
    as the picture with all its captions. If the folder holds an audit of another checkpoint or of
    other pairs, only ``overwrite`` replaces it.

    Parameters
    ----------
    spec
        What to do.
    control
        Cancel and pause; a stop cancels.
    ranks
        The processes that do it together. The first one writes, and speaks; cancelling it, or an
        error in any of them, ends all.

    Yields
    ------
    Event
        Progress of the stages ``open``, ``overlap``, ``reference``, ``embed`` and ``pictures``;
        Message for what was left out; Saved; and Done, whose ``result`` is the audit without its
        pairs, with ``folder``. The folder then holds `AUDIT_FILE`, `SCORES_FILE` (every pair) and
        `THUMBNAILS_FILE` (uint8 [m, 128, 128, 3] of the audit's pairs, in order). A cancelled audit
        leaves its embeddings in the cache, where the next one finds them.
    """
    for named in (spec.pairs, spec.reference):
        if named is not None and named.one_sided:
            raise InputError(
                f"{Path(named.path or '').name} holds one side of pairs alone, and an audit "
                "compares both: choose image-caption pairs."
            )
    settings = settings_of(spec)
    device = choose_device(spec.device, ranks.local)
    reference, remarks = None, list[str]()
    seen: list[tuple[str, NDArray[np.int64]]] = []  # evaluation sets, and their pictures here
    with ranks.as_one(device):
        yield Progress("open", 0, 0)
        checkpoint = open_model(spec)
        set_threads(spec.threads, ranks.local_world)
        model = checkpoint.build().to(device)
        pairs = open_pairs(spec.pairs, control.watch).fitted(model.preprocess.fit)
        if spec.reference is not None:
            reference = open_pairs(spec.reference, control.watch).fitted(model.preprocess.fit)
            if reference.lasting_key == pairs.lasting_key:
                raise InputError(
                    "The clean reference is the set that is to be audited; choose other pairs, "
                    "which are known to be clean."
                )
        if ranks.first and not overwrite:
            about = {
                "checkpoint_sha256": model.sha256,
                "pairs_key": pairs.key,
                "reference_key": None if reference is None else reference.key,
            }
            check_result(Path(spec.output_dir) / AUDIT_FILE, {"facts": about})
        if ranks.first and reference is not None:
            trusted = len(shared_numbers(pairs, reference, control.watch))
            if trusted:
                yield Message(_TRUSTED.format(trusted), "warning")
                remarks.append(_TRUSTED.format(trusted))
        for place, part in enumerate(spec.images if ranks.first else ()):
            yield Progress("overlap", place, len(spec.images))
            whole = part.model_copy(update={"part": "all", "n": None, "class_map": {}})
            images = open_images(whole, watch=control.watch)
            seen.append((images.name, shared_numbers(pairs, images, control.watch)))
            yield Progress("overlap", place + 1, len(spec.images))

    def embedded(part: PairSet) -> EncodedPairs:
        return EncodedPairs(
            model, part, part.key, spec.batch_size, EmbeddingStore(), cancelled=control.ends
        )

    beside = None if reference is None else embedded(reference)
    outcome = yield from scored(embedded(pairs), beside, settings, spec, ranks, score_encoded)
    if not ranks.first:
        yield Done("finished")
        return
    record = summarise(
        outcome,
        settings,
        most=spec.worst,
        describe=_Describe(pairs, outcome.captions),
        evaluated=dict(
            zip(distinct(name for name, _ in seen), (at for _, at in seen), strict=True)
        ),
        facts=_facts(spec, model, pairs, reference)
        | facts_of(settings, outcome)
        | {"processes": ranks.world},
        notes=[*remarks, *model.assumptions, *_problems(pairs, reference)],
    )
    for note in _problems(pairs, reference):
        yield Message(note, "warning")
    yield Progress("pictures", 0, len(record.pairs))
    saved = list(save_results(Path(spec.output_dir), _files(record, outcome, pairs, control)))
    yield Progress("pictures", len(record.pairs), len(record.pairs))
    yield from saved
    yield done_of(spec, record)


def done_of(spec: AuditSettings, record: Audit) -> Done:
    """The end of an audit: what it found but for the pairs, which stand in its file."""
    shown = {key: value for key, value in record.to_dict().items() if key != "pairs"}
    return Done("finished", shown | {"folder": str(Path(spec.output_dir))})


def settings_of(spec: AuditSettings) -> NeighbourSettings:
    """How neighbours are to be looked for.

    Raises
    ------
    InputError
        If it cannot be done so.
    """
    settings = NeighbourSettings(spec.k, spec.chunk_size, spec.unit, spec.seed, spec.neighbours)
    if spec.neighbours != "chunk" and getattr(spec, "reference", None) is not None:
        raise InputError(
            "With a clean reference, neighbours are searched in it: leave out either the "
            "reference or the neighbours in the whole set."
        )
    if spec.neighbours == "approximate":
        faiss_or_refusal()
    return settings


def scored(
    source: Scored,
    reference: EmbeddingSource | None,
    settings: NeighbourSettings,
    spec: AuditSettings,
    ranks: Ranks,
    whole: Callable[[Scored, NeighbourSettings, Path, Ranks], Iterator[AuditStep | AuditScores]],
) -> Generator[Event, None, AuditScores]:
    """Score all pairs, with the rate in the Progress of each stage.

    ``whole`` looks for neighbours in the whole set, and keeps what it needs in a folder, which lies
    beside the audit's meanwhile.
    """
    outcome: AuditScores | None = None
    stage, last = "", time.monotonic()
    begin = last
    with ExitStack() as stack:
        if settings.neighbours == "chunk":
            steps = score_pairs(source, settings, reference=reference, ranks=ranks)
        else:
            scratch = scratch_folder(Path(spec.output_dir), ranks, source.device)
            steps = whole(source, settings, stack.enter_context(scratch), ranks)
        for step in steps:
            if isinstance(step, AuditScores):
                outcome = step
                continue
            if step.stage != stage:
                stage, begin = step.stage, last
            last = time.monotonic()
            rate = step.done / max(last - begin, 1e-6)  # what the cache had counts too
            left = (step.total - step.done) / rate if rate else None
            yield Progress(step.stage, step.done, step.total, rate or None, left)
    assert outcome is not None
    return outcome


@contextmanager
def scratch_folder(beside: Path, ranks: Ranks, device: torch.device) -> Iterator[Path]:
    """A temporary folder that all processes see."""
    name = ""
    with ranks.as_one(device):
        if ranks.first:
            beside.parent.mkdir(parents=True, exist_ok=True)
            name = tempfile.mkdtemp(prefix=f".{beside.name}-", dir=beside.parent)
    name = ranks.text_of_first(name, device)
    try:
        yield Path(name)
    finally:
        if ranks.first:
            shutil.rmtree(name, ignore_errors=True)


class _Describe:
    """What a pair is and what to call it, with the caption that was scored."""

    def __init__(self, pairs: PairSet, captions: NDArray[np.int64]) -> None:
        self._pairs, self._captions = pairs, captions
        self._sized = pairs.pictures.sizes() is not None  # looks at every file: once is enough

    def __call__(self, index: int) -> dict[str, Any]:
        pictures = self._pairs.pictures
        (texts,) = self._pairs.all_captions([index])
        number = int(self._captions[index])
        caption = texts[number] if texts else ""
        more = f" (caption {number + 1} of {len(texts)})" if len(texts) > 1 else ""
        raw, name = pictures.raw(index), pictures.name(index)
        known = excluded(raw, texts, name, "", sized=self._sized)
        return {
            "member": known.identity,
            "size": known.size,
            "name": known.name + more,
            "caption": printable(caption[:_LONGEST_CAPTION]),
        }


def _problems(pairs: PairSet, reference: PairSet | None) -> list[str]:
    """What was left out of either set."""
    sets = [pairs] if reference is None else [pairs, reference]
    return [f"{part.name}: {problem}" for part in sets for problem in part.problems]


def _facts(
    spec: AuditSpec, model: ClipModel, pairs: PairSet, reference: PairSet | None
) -> dict[str, Any]:
    """Everything that is needed to repeat the audit."""
    return {
        "checkpoint": Path(spec.checkpoint).name,
        "checkpoint_sha256": model.sha256,
        "pairs": printable(pairs.name),
        "pairs_key": pairs.key,
        "pairs_known_by": pairs.known_by,
        "reference": None if reference is None else reference.name,
        "reference_key": None if reference is None else reference.key,
        "device": str(model.device),
        "precision": model.precision,
        "versions": dict(versions()) | {"scikit-learn": version("scikit-learn")},
    }


def _files(
    record: Audit, outcome: AuditScores, pairs: PairSet, control: Control
) -> dict[str, Content]:
    """The three files; writing them raises `CancelledError` if it was cancelled."""

    def pictures(file: BinaryIO) -> None:
        shape = (len(record.pairs), THUMBNAIL, THUMBNAIL, 3)
        about = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, about)
        for first in range(0, len(record.pairs), _DRAWN):
            control.watch()
            part = [pair.index for pair in record.pairs[first : first + _DRAWN]]
            file.write(pairs.canvas(part, THUMBNAIL).tobytes())

    tables = tables_of(record, outcome, len(pairs), pairs.pictures.name)
    return {SCORES_FILE: tables.pop(SCORES_FILE), THUMBNAILS_FILE: pictures, **tables}


def tables_of(
    record: Audit, outcome: AuditScores, count: int, name_of: Callable[[int], str]
) -> dict[str, Content]:
    """The files that every audit writes: the scores of all pairs, and the record."""

    def scores(file: BinaryIO) -> None:
        for text in score_table(outcome, count, name_of):
            file.write(text.encode("utf-8", "backslashreplace"))

    raw = json.dumps(record.to_dict(), indent=1, allow_nan=False)
    return {SCORES_FILE: scores, AUDIT_FILE: raw.encode()}


def score_table(outcome: AuditScores, count: int, name_of: Callable[[int], str]) -> Iterator[str]:
    """Every picture with its scores as CSV, some rows at a time; empty where it is damaged.

    ``worst_caption`` counts from 1 in a picture's captions.
    """
    names = [score.name for score in SCORES if score.name != "closeness"]  # it is k-distance
    yield ",".join(("number", "name", "worst_caption", *names)) + "\n"
    for first in range(0, count, _ROWS):
        rows: list[tuple[object, ...]] = []
        for index in range(first, min(first + _ROWS, count)):
            scores = [float(outcome.values[name][index]) for name in names]
            shown = [f"{v:.6g}" if np.isfinite(v) else "" for v in scores]
            caption = int(outcome.captions[index]) + 1 if outcome.scored[index] else ""
            rows.append((index, name_of(index), caption, *shown))
        yield to_csv(rows)

"""The audit of training pairs as a job: a generator of events for command line and window."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ml_core.atomic import Content
from ml_core.data.images import open_images
from ml_core.data.pairs import PairSet, open_pairs
from ml_core.data.picture_set import shared_numbers
from ml_core.detection.audit import AuditScores, NeighbourSettings, score_pairs
from ml_core.detection.embed_pairs import EncodedPairs
from ml_core.detection.records import SCORES, Audit
from ml_core.detection.summary import summarise
from ml_core.evaluation.embedding_cache import EmbeddingStore
from ml_core.evaluation.evaluate import versions
from ml_core.events import Control, Done, Event, Message, Progress, forwarded
from ml_core.exports import to_csv
from ml_core.figures import distinct
from ml_core.jobs.audit import AUDIT_FILE, SCORES_FILE, THUMBNAILS_FILE, AuditSpec
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.journal import check_result, save_results
from ml_core.jobs.opening import open_model
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError, printable

THUMBNAIL = 128
_ROWS = 1000
_DRAWN = 64
_LONGEST_CAPTION = 2000
_TRUSTED = (
    "{} pictures of the set are in the clean reference too: they are their own neighbours and "
    "look ordinary. Choose other pairs as the reference."
)


def audit(
    spec: AuditSpec, control: Control, *, overwrite: bool = False
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

    Yields
    ------
    Event
        Progress of the stages ``open``, ``overlap``, ``reference``, ``embed`` and ``pictures``;
        Message for what was left out; Saved; and Done, whose ``result`` is the audit without its
        pairs, with ``folder``. The folder then holds `AUDIT_FILE`, `SCORES_FILE` (every pair) and
        `THUMBNAILS_FILE` (uint8 [m, 128, 128, 3] of the audit's pairs, in order). A cancelled audit
        leaves its embeddings in the cache, where the next one finds them.
    """
    settings = NeighbourSettings(spec.k, spec.chunk_size, spec.unit, spec.seed)
    device = choose_device(spec.device)
    reference, remarks = None, list[str]()
    seen: list[tuple[str, NDArray[np.int64]]] = []  # evaluation sets, and their pictures here
    yield Progress("open", 0, 0)
    checkpoint = open_model(spec)
    set_threads(spec.threads)
    model = checkpoint.build().to(device)
    pairs = open_pairs(spec.pairs, control.watch).fitted(model.preprocess.fit)
    if spec.reference is not None:
        reference = open_pairs(spec.reference, control.watch).fitted(model.preprocess.fit)
        if reference.lasting_key == pairs.lasting_key:
            raise InputError(
                "The clean reference is the set that is to be audited; choose other pairs, "
                "which are known to be clean."
            )
    if not overwrite:
        about = {
            "checkpoint_sha256": model.sha256,
            "pairs_key": pairs.key,
            "reference_key": None if reference is None else reference.key,
        }
        check_result(Path(spec.output_dir) / AUDIT_FILE, {"facts": about})
    if reference is not None:
        trusted = len(shared_numbers(pairs, reference, control.watch))
        if trusted:
            yield Message(_TRUSTED.format(trusted), "warning")
            remarks.append(_TRUSTED.format(trusted))
    for place, part in enumerate(spec.images):
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
    steps = score_pairs(embedded(pairs), settings, reference=beside)
    outcome = yield from forwarded(steps, _rated())
    record = summarise(
        outcome,
        settings,
        most=spec.worst,
        describe=partial(_described, pairs, outcome.captions),
        evaluated=dict(
            zip(distinct(name for name, _ in seen), (at for _, at in seen), strict=True)
        ),
        facts=_facts(spec, model, pairs, reference),
        notes=[*remarks, *model.assumptions, *_problems(pairs, reference)],
    )
    for note in _problems(pairs, reference):
        yield Message(note, "warning")
    yield Progress("pictures", 0, len(record.pairs))
    saved = list(save_results(Path(spec.output_dir), _files(record, outcome, pairs, control)))
    yield Progress("pictures", len(record.pairs), len(record.pairs))
    yield from saved
    shown = {key: value for key, value in record.to_dict().items() if key != "pairs"}
    yield Done("finished", shown | {"folder": str(Path(spec.output_dir))})


def _rated() -> Callable[[Progress], Progress]:
    """Add to each Progress the rate of its stage, and the time left."""
    stage, begin = "", time.monotonic()
    last = begin

    def rated(step: Progress) -> Progress:
        nonlocal stage, begin, last
        if step.stage != stage:
            stage, begin = step.stage, last
        last = time.monotonic()
        return Progress.timed(step.stage, step.done, step.total, begin)

    return rated


def _described(pairs: PairSet, captions: NDArray[np.int64], index: int) -> dict[str, Any]:
    """What a pair is and what to call it, with the caption that was scored."""
    (texts,) = pairs.all_captions([index])
    number = int(captions[index])
    caption = texts[number] if texts else ""
    more = f" (caption {number + 1} of {len(texts)})" if len(texts) > 1 else ""
    known = pairs.excluded(index, "")
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

    def scores(file: BinaryIO) -> None:
        for text in _score_table(outcome, pairs):
            file.write(text.encode("utf-8", "backslashreplace"))

    raw = json.dumps(record.to_dict(), indent=1, allow_nan=False)
    return {SCORES_FILE: scores, THUMBNAILS_FILE: pictures, AUDIT_FILE: raw.encode()}


def _score_table(outcome: AuditScores, pairs: PairSet) -> Iterator[str]:
    """Every picture with its scores as CSV, some rows at a time; empty where it is damaged.

    ``worst_caption`` counts from 1 in a picture's captions.
    """
    names = [score.name for score in SCORES if score.name != "closeness"]  # it is k-distance
    yield ",".join(("number", "name", "worst_caption", *names)) + "\n"
    for first in range(0, len(pairs), _ROWS):
        rows: list[tuple[object, ...]] = []
        for index in range(first, min(first + _ROWS, len(pairs))):
            scores = [float(outcome.values[name][index]) for name in names]
            shown = [f"{v:.6g}" if np.isfinite(v) else "" for v in scores]
            caption = int(outcome.captions[index]) + 1 if outcome.scored[index] else ""
            rows.append((index, pairs.pictures.name(index), caption, *shown))
        yield to_csv(rows)

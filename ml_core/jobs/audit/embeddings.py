"""The audit of embeddings that were made elsewhere: neither checkpoint nor pictures are needed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from ml_core.data.embedding_shards import EmbeddingShards, open_embeddings
from ml_core.detection.audit import AuditScores, AuditStep, NeighbourSettings
from ml_core.detection.exclude import reason
from ml_core.detection.records import Audit
from ml_core.detection.summary import facts_of, summarise
from ml_core.detection.whole_set import StoredEmbeddings, score_whole
from ml_core.evaluation.evaluate import versions
from ml_core.events import Control, Done, Event, Message, Progress
from ml_core.exports import save_export, to_csv
from ml_core.jobs.audit import AUDIT_FILE, EmbeddingAuditSpec
from ml_core.jobs.audit.run import done_of, scored, settings_of, tables_of
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.journal import check_result, save_results
from ml_core.ranks import ALONE, Ranks
from ml_core.reading.errors import InputError, TooLittleMemoryError

_BYTES = 64  # of a pair's scores and what they are made of
_LOOKED_AT = 256
_NEARLY = 5e-3  # float16 keeps three digits
_LENGTHS_LOST = (
    "The embeddings are unit vectors: their lengths are lost, which the published scores use and "
    "which say much about a poisoned picture."
)
_LONGEST_CAPTION = 2000


def audit_embeddings(
    spec: EmbeddingAuditSpec, control: Control, ranks: Ranks = ALONE, *, overwrite: bool = False
) -> Generator[Event, None, None]:
    """Score every pair by embeddings alone; the last event is Done.

    An audit of others in the folder is replaced only with ``overwrite``.

    Parameters
    ----------
    spec
        What to do.
    control
        Cancel and pause; a stop cancels.
    ranks
        The processes that do it together, all of which read the files.

    Yields
    ------
    Event
        Progress of the stages ``open``, ``reference``, ``embed`` or ``read``, ``neighbours``,
        ``index`` and ``recall``; Saved; and Done, whose ``result`` is the audit without its pairs,
        with ``folder``. The folder then holds `AUDIT_FILE` and `SCORES_FILE`.
    """
    settings = settings_of(spec)
    device = choose_device(spec.device, ranks.local)
    set_threads(spec.threads, ranks.local_world)
    reference: EmbeddingShards | None = None
    with ranks.as_one(device):
        yield Progress("open", 0, 0)
        shards = open_embeddings(Path(spec.embeddings), control.watch)
        _check_memory(shards, ranks)
        if spec.reference is not None:
            reference = open_embeddings(Path(spec.reference), control.watch)
            _check_reference(shards, reference)
        if ranks.first and not overwrite:
            keys = {
                "pairs_key": shards.key,
                "reference_key": None if reference is None else reference.key,
            }
            check_result(Path(spec.output_dir) / AUDIT_FILE, {"facts": keys})
    source = StoredEmbeddings(shards, device, control.ends)
    beside = None if reference is None else StoredEmbeddings(reference, device, control.ends)

    def whole(
        source: StoredEmbeddings, settings: NeighbourSettings, scratch: Path, ranks: Ranks
    ) -> Iterator[AuditStep | AuditScores]:
        return score_whole(source, settings, folder=scratch, ranks=ranks)

    outcome = yield from scored(source, beside, settings, spec, ranks, whole)
    if not ranks.first:
        yield Done("finished")
        return
    lost = _unit_vectors(shards)
    parts = [shards] if reference is None else [shards, reference]
    notes = [f"{part.name}: {note}" for part in parts for note in part.notes]
    record = summarise(
        outcome,
        settings,
        most=spec.worst,
        describe=_describe(shards),
        evaluated={},
        facts=_facts(spec, shards, reference, lost, str(device))
        | facts_of(settings, outcome)
        | {"processes": ranks.world},
        notes=[*([_LENGTHS_LOST] if lost else []), *notes],
        elsewhere=True,
    )
    for note in notes:
        yield Message(note, "warning")
    tables = tables_of(record, outcome, len(shards), lambda index: shards.described(index)[0])
    yield from save_results(Path(spec.output_dir), tables)
    yield done_of(spec, record)


def write_excluded(path: Path, audit: Audit, indices: Iterable[int], score: str) -> None:
    """Write which pairs of an audit of embeddings are to be left out, as a table.

    An exclusions file identifies pairs by their pictures' bytes, which are missing here. So the
    table names position, key, URL or path, and caption.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    known = {pair.index: pair for pair in audit.pairs}
    rows: list[tuple[object, ...]] = [("position", "name", "caption", "reason")]
    rows += [(i, known[i].name, known[i].caption, reason(known[i], score)) for i in indices]
    save_export(path, to_csv(rows).encode("utf-8", "backslashreplace"))


def _check_memory(shards: EmbeddingShards, ranks: Ranks) -> None:
    """Refuse a set whose scores do not fit: a file with holes may announce any number of pairs."""
    needed, free = _BYTES * len(shards) * ranks.local_world, psutil.virtual_memory().available
    if needed > free:
        raise TooLittleMemoryError(
            f"The scores of the {len(shards)} pairs in {shards.name} take {needed / 1e9:.1f} GB, "
            f"and {free / 1e9:.1f} GB are free: audit a part of its files at a time."
        )


def _check_reference(shards: EmbeddingShards, reference: EmbeddingShards) -> None:
    """Refuse a reference that nothing can be compared with."""
    if reference.key == shards.key:
        raise InputError(
            "The clean reference is the set that is to be audited; choose other embeddings, of "
            "pairs known to be clean."
        )
    if reference.width != shards.width:
        raise InputError(
            f"The embeddings of {shards.name} have {shards.width} numbers and those of the clean "
            f"reference {reference.width}: they are not of one model."
        )


def _unit_vectors(shards: EmbeddingShards) -> bool:
    """Whether a sample of the pictures' embeddings has length 1."""
    at = np.unique(np.linspace(0, len(shards) - 1, _LOOKED_AT).astype(np.int64))
    lengths = np.linalg.norm(shards.images(at).astype(np.float64), axis=1)
    lengths = lengths[np.isfinite(lengths)]
    return bool(len(lengths)) and bool((np.abs(lengths - 1) < _NEARLY).all())


def _describe(shards: EmbeddingShards) -> Callable[[int], Mapping[str, Any]]:
    """What to call a pair; its position is all that is known of every one."""

    def describe(index: int) -> dict[str, Any]:
        name, caption = shards.described(index)
        return {"member": None, "name": name, "caption": caption[:_LONGEST_CAPTION]}

    return describe


def _facts(
    spec: EmbeddingAuditSpec,
    shards: EmbeddingShards,
    reference: EmbeddingShards | None,
    lost: bool,
    device: str,
) -> dict[str, Any]:
    """Everything that is needed to repeat the audit."""
    return {
        "embeddings": Path(spec.embeddings).name,
        "lengths": "lost: unit vectors" if lost else "as they were stored",
        "pairs": shards.name,
        "pairs_key": shards.key,
        "pairs_known_by": shards.known_by,
        "reference": None if reference is None else reference.name,
        "reference_key": None if reference is None else reference.key,
        "width": shards.width,
        "device": device,
        "versions": dict(versions()) | {"scikit-learn": version("scikit-learn")},
    }

"""Runs on disk, read from their folders, also one that was saved half-way. No Qt, no torch."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from cleanclip_gui.jobs.run_names import read_name, run_name
from ml_core.cleaning.catalogue import offered
from ml_core.cleaning.tradeoff import Point, points
from ml_core.data.labels import is_built_in
from ml_core.data.specs import PathText
from ml_core.events import Done, Event, Metric, Saved, from_json
from ml_core.jobs.chain_folder import is_chain
from ml_core.jobs.cluster import JOB_FILE
from ml_core.jobs.folder_lock import at_work
from ml_core.jobs.journal import journal_lines, read_events, read_json
from ml_core.jobs.specs import (
    CLEANED_FILE,
    EVENTS_FILE,
    RESULT_FILE,
    SPEC_FILE,
    STATE_FILE,
    STEPS_FOLDER,
    CleanSpec,
    read_spec,
)
from ml_core.reading.errors import InputError
from ml_core.reading.inspect import is_there
from ml_core.reading.regular_file import open_file
from ml_core.reading.safetensors_header import read_header
from ml_core.reading.strict_json import JsonError, parse_object
from ml_core.triggers.files import load_trigger


@dataclass(frozen=True)
class SavedRun:
    """A run that can go on after ``step``, the step of its last save."""

    folder: Path
    spec: CleanSpec
    step: int


def can_resume(folder: Path) -> bool:
    """Whether a run's folder holds a save to go on from."""
    # Unlike Path.is_file, what may not be looked at is not there.
    return os.path.isfile(folder / SPEC_FILE) and os.path.isfile(folder / STATE_FILE)


def read_saved_run(folder: Path) -> SavedRun:
    """Examine the folder of a run.

    Raises
    ------
    InputError
        If it cannot go on, with the reason: no run, no save, a former method, finished, moved,
        still at work, or the checkpoint, the trigger or the save is gone or damaged.
    """
    name = folder.name
    if not (folder / SPEC_FILE).is_file():
        raise InputError(
            f"{name} is not the folder of a run: it holds no {SPEC_FILE}; choose the folder that "
            "one run made."
        )
    if not (folder / STATE_FILE).is_file():
        raise InputError(
            f"The run in {name} ended before its first save: there is nothing to resume; start it "
            "again."
        )
    spec = read_spec(folder / SPEC_FILE)
    offered(spec.recipe.method)
    step = _saved_step(folder / STATE_FILE)
    if read_json(folder / RESULT_FILE).get("status") == "finished":
        raise InputError(f"The run in {name} is finished; open its {CLEANED_FILE} instead.")
    check_place(folder, spec)
    if spec.trigger is not None:
        load_trigger(spec.trigger)
    return SavedRun(folder, spec, step)


def check_place(folder: Path, spec: CleanSpec) -> None:
    """Check that a run or a chain can go on in its folder.

    Raises
    ------
    InputError
        If it was moved, its checkpoint is gone, or a process is at work on it.
    """
    name = folder.name
    if Path(spec.output_dir).resolve() != folder.resolve():
        raise InputError(
            f"The run in {name} was started in {spec.output_dir}; move it back there to resume it."
        )
    if not is_there(spec.checkpoint):
        raise InputError(
            f"The run in {name} cleans {spec.checkpoint}, which is gone; put it back to resume."
        )
    if at_work(folder):
        raise InputError(
            f"Another process is still working on the run in {name}; wait until it has finished."
        )


def was_interrupted(folder: Path) -> bool:
    """Whether a run in a folder was killed: saved, no result, and no last word in its journal."""
    return (
        can_resume(folder) and _status(folder, read_json(folder / RESULT_FILE))[0] == "interrupted"
    )


def _saved_step(state: Path) -> int:
    """Step of a save; read without its tensors."""
    try:
        facts = read_header(state, inside=state.parent.parent).metadata["facts"]
        step = parse_object(facts.encode("utf-8", "surrogatepass"), half_characters=True)["step"]
    except (KeyError, JsonError) as error:
        raise InputError(
            f"The saved state {state.name} is damaged; start it again.", "damaged", str(error)
        ) from error
    if type(step) is not int or not 0 <= step < 2**53:
        raise InputError(f"The saved state {state.name} is damaged; start it again.", "damaged")
    return step


_Interval = Annotated[list[float], Field(min_length=2, max_length=2)]
_Count = Annotated[int, Field(ge=0, lt=2**53)]


def _optional(**kinds: tuple[Any, str]) -> type[BaseModel]:
    """A record of fields that may be missing: each is a type and the names that have it."""
    fields: dict[str, Any] = {
        name: (kind | None, None) for kind, names in kinds.values() for name in names.split()
    }
    config = ConfigDict(strict=True, allow_inf_nan=False)
    return create_model("_Optional", __config__=config, **fields)


# What is drawn or opened of a result; other fields are shown as text or not at all.
_Side = _optional(
    rates=(float, "ca asr_excl asr_all poisoned_accuracy baseline_target_rate"),
    intervals=(_Interval, "ca_interval asr_interval asr_all_interval"),
    counts=(_Count, "n n_excl"),
)
_Pair = _optional(sides=(_Side, "before after"))
_Result = _optional(
    sides=(_Side, "before after"),
    pairs=(_Pair, "heldout heldout_linear"),
    heads=(dict[str, _Pair | None], "heads"),  # type: ignore[valid-type]
    recipe=(_optional(counts=(_Count, "batch_size")), "recipe"),
    counts=(_Count, "cache_chunk steps total_steps"),
    numbers=(float, "seconds alpha"),
    notes=(list[str], "notes"),
    texts=(
        str,
        "batch_norm method status source_sha256 checkpoint_sha256 stopped_because target_name "
        "preset device precision",
    ),
    paths=(PathText, "checkpoint linear_head source donor"),
)


def is_whole(result: Mapping[str, Any]) -> bool:
    """Whether all numbers that are drawn from a result are real, finite numbers."""
    try:
        _Result.model_validate(result)
    except ValidationError:
        return False
    return True


_LOG = logging.getLogger(__name__)
# Losses of twice as many steps are drawn at most: the lines of a long run take seconds to read.
MAX_LOSSES = 1000
MAX_EVALUATIONS = 40_000
_TAIL_BYTES = 65_536
_LOSS_STEP = re.compile(r'\{"event": "metric", "step": (\d+), .*"loss": ')
_DIGITS = 16  # of a step
_FILE_KEYS = ("checkpoint", "linear_head")
Status = Literal[
    "not started", "finished", "stopped", "cancelled", "failed", "interrupted", "running", "waiting"
]


@dataclass(frozen=True)
class PastRun:
    """A run as read from its folder.

    Attributes
    ----------
    folder
        Where its files are now, wherever they were made.
    spec
        The job.
    status
        How it stands; ``running`` if any process is at work on it. ``waiting`` is known to the
        window alone.
    begun
        When the job was written, in seconds since 1970.
    result
        What ``result.json`` holds; empty without one.
    error, error_code
        Why it failed.
    name
        What the user calls it; empty if nothing.
    """

    folder: Path
    spec: CleanSpec
    status: Status
    begun: float
    result: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    error_code: str = ""
    name: str = ""

    @property
    def title(self) -> str:
        """Its number, and what it is called, as the user, its chain or its recipe has it."""
        return run_name(self.folder, self.spec.recipe.model_dump(), self.name)

    @property
    def can_be_shown(self) -> bool:
        """Whether there is a result, or numbers at least."""
        return bool(self.result) or os.path.isfile(self.folder / EVENTS_FILE)

    @property
    def can_go_on(self) -> bool:
        """Whether it ended early and left a save."""
        early = self.status in ("interrupted", "cancelled", "failed", "stopped")
        return early and can_resume(self.folder)

    @property
    def checkpoint(self) -> str:
        """Path of the cleaned checkpoint; empty if there is no such file."""
        path = self.folder / CLEANED_FILE
        return str(path) if path.is_file() else ""


def list_runs(parent: Path) -> tuple[PastRun, ...]:
    """Every run in the folders of ``parent``, rounds of chains too, the newest first.

    A run whose job cannot be read is left out, and noted in the log.
    """
    folders: list[Path] = []
    with suppress(OSError):
        folders += parent.iterdir()
    for chain in [folder for folder in folders if is_chain(folder)]:
        with suppress(OSError):  # one that cannot be read hides no other
            folders += chain.iterdir()
    runs = []
    for folder in folders:
        try:
            if os.path.isfile(folder / SPEC_FILE):
                runs.append(read_run(folder))
        except InputError as error:
            _LOG.info("%s is not shown: %s", folder.name, error.sentence)
    return tuple(sorted(runs, key=lambda run: (run.begun, run.folder.name), reverse=True))


def read_run(folder: Path) -> PastRun:
    """Read one run's folder.

    Raises
    ------
    InputError
        If it holds no job, or one that cannot be read.
    """
    try:
        return _read_run(folder)
    except OSError as error:
        raise InputError(
            f"The folder {folder.name} cannot be read: {error.strerror or error}; check that its "
            "disk is connected and that you may read it.",
            "usage",
            str(error),
        ) from error


def _read_run(folder: Path) -> PastRun:
    """Read one run's folder; an OSError is what its disk says."""
    path = folder / SPEC_FILE
    if not path.is_file():
        raise InputError(
            f"{folder.name} is not the folder of a run: it holds no {SPEC_FILE}; choose the folder "
            "that one run made."
        )
    spec = _located_spec(folder, read_spec(path))
    result = read_json(folder / RESULT_FILE)
    whole = is_whole(result)
    status, error, code = _status(folder, result if whole else {})
    if not whole:
        error = f"{RESULT_FILE} of this run is damaged, so its numbers cannot be shown."
    result = _located_files(folder, result) if whole else {}
    begun = path.stat().st_mtime
    return PastRun(folder, spec, status, begun, result, error, code, read_name(folder))


def run_metrics(folder: Path, until: int | None = None) -> tuple[Metric, ...]:
    """Numbers of a run's journal, as the run's charts show them, up to the step ``until``.

    They are every evaluation and the losses; of a long run, only the losses of every second,
    fourth, … step. If a killed session and the one that went on both did a step, the later one
    counts.
    """
    evaluations: dict[int, Metric] = {}
    losses: dict[int, str] = {}
    last, stride, left = (-1, ""), 1, MAX_EVALUATIONS
    for line in _metric_lines(folder):
        match = _LOSS_STEP.match(line)
        if match is None:
            left -= 1
            event = _event(line) if left >= 0 else None
            if isinstance(event, Metric) and (until is None or event.step <= until):
                evaluations[event.step] = event
            continue
        step = int(match[1][:_DIGITS])
        if until is not None and step > until:
            continue
        last = (step, line)
        if step % stride == 0:
            losses[step] = line
            if len(losses) > 2 * MAX_LOSSES:
                stride *= 2
                losses = {step: line for step, line in losses.items() if step % stride == 0}
    if last[1]:
        losses[last[0]] = last[1]
    events = [_event(line) for line in losses.values()]
    metrics = [event for event in events if isinstance(event, Metric)]
    metrics += evaluations.values()
    return tuple(sorted(metrics, key=lambda metric: (metric.step, "loss" not in metric.values)))


def run_points(folder: Path) -> tuple[Point, ...]:
    """The evaluations of a run by head; ``checkpoint`` is empty if its file is gone."""
    return points(_located(folder))


def evaluations_until(folder: Path, step: int) -> tuple[Event, ...]:
    """Evaluations of a run and what was kept of them, up to a step."""
    return tuple(
        event for event in _located(folder)
        if isinstance(event, (Metric, Saved)) and event.step <= step
    )  # fmt: skip


def _metric_lines(folder: Path) -> Iterator[str]:
    """Lines of a journal that hold numbers; none if there is no journal."""
    with suppress(OSError):
        yield from (line for line in journal_lines(folder / EVENTS_FILE) if '"metric"' in line)


def _event(line: str) -> Event | None:
    """A line of a journal; None if a kill has cut it."""
    with suppress(ValueError):
        return from_json(line)
    return None


def _located(folder: Path) -> Iterator[Event]:
    """Evaluations and kept checkpoints; only checkpoints that are in the folder."""
    marks = ('"ca"', '"saved"')
    for event in read_events(folder / EVENTS_FILE, lambda line: any(w in line for w in marks)):
        if isinstance(event, Saved) and event.what == "step":
            path = folder / STEPS_FOLDER / Path(event.path).name
            if os.path.isfile(path):  # unlike Path's, it raises for no name
                yield Saved(str(path), "step", event.step)
        elif isinstance(event, Metric):
            yield event


def _located_files(folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    """A result whose files are named where they are now, wherever the run was made."""
    located = dict(result)
    for key in _FILE_KEYS:
        here = folder / Path(str(result.get(key) or "")).name
        if result.get(key) and os.path.isfile(here):
            located[key] = str(here)
    return located


def _located_spec(folder: Path, spec: CleanSpec) -> CleanSpec:
    """A job that names trigger and label set in their present places, if they are there."""
    changes, places = {}, [folder]
    if (folder.parent / JOB_FILE).is_file():  # exported, with the trigger beside its results
        places.append(folder.parent)
    for key in ("trigger", "label_set"):
        named = getattr(spec, key)
        if named is None or is_built_in(named) or os.path.isfile(named):
            continue
        here = [place / Path(named).name for place in places]
        changes[key] = str(next((path for path in here if os.path.isfile(path)), named))
    return spec.model_copy(update=changes)


def _status(folder: Path, result: Mapping[str, Any]) -> tuple[Status, str, str]:
    """Status of a run, and why it failed."""
    if at_work(folder):  # begun at the command line, say, or resumed after its result
        return "running", "", ""
    if result:
        return ("stopped" if result.get("status") == "stopped" else "finished"), "", ""
    last = _last_event(folder)
    if isinstance(last, Done):
        return last.status, last.error, last.error_code
    if last is None and not _is_begun(folder):
        return "not started", "", ""
    return "interrupted", "", ""


def _last_event(folder: Path) -> Event | None:
    """The last event of a journal; a line cut by a kill is left out."""
    with suppress(OSError), open_file(folder / EVENTS_FILE, inside=folder) as file:
        file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
        lines = file.read(_TAIL_BYTES).decode("utf-8", "replace").splitlines()
        return next((event for line in reversed(lines) if (event := _event(line))), None)
    return None


def _is_begun(folder: Path) -> bool:
    """Whether anything stands in the journal."""
    with suppress(OSError):
        return os.path.getsize(folder / EVENTS_FILE) > 0
    return False

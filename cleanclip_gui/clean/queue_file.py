"""The queue on disk, so that it survives the window: folders of jobs, the next one first. No Qt."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from cleanclip_gui.clean.runs.history import read_run
from cleanclip_gui.widgets.text import plain, plural
from ml_core.atomic import replace_files
from ml_core.reading.errors import InputError
from ml_core.reading.strict_json import JsonError, parse_object

_LOG = logging.getLogger(__name__)
QUEUE_FILE = "queue.json"
FORMAT = "cleanclip-queue-1"
_MAX_BYTES = 1_000_000


def write_queue(path: Path, folders: Sequence[Path]) -> None:
    """Keep the order; a full disk is noted in the log, the queue stays as it is."""
    fields = {"format": FORMAT, "folders": [str(folder) for folder in folders]}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_files({path: json.dumps(fields, indent=1).encode()})
    except OSError as error:
        _LOG.warning("The queue could not be kept: %s", error.strerror or error)


def read_queue(path: Path) -> tuple[tuple[Path, ...], str]:
    """What waited when the window was closed, and one sentence on what is left out; mostly none.

    A job that was begun since is left out without a word: it is in the history.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise JsonError("it is too large")
        named = parse_object(path.read_bytes(), max_bytes=_MAX_BYTES)["folders"]
        if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
            raise JsonError("its folders are no list of names")
    except FileNotFoundError:
        return (), ""
    except (OSError, JsonError, KeyError) as error:
        _LOG.info("%s: %s", path, error)
        return (), (
            "The queue of the last time cannot be read: start its runs again from the history, "
            "where they are “not started”."
        )
    waiting, lost = [], []
    for folder in dict.fromkeys(map(Path, named)):
        try:
            run = read_run(folder)
        except InputError as error:
            _LOG.info("%s is left out of the queue: %s", folder, error)
            lost.append(plain(folder.name, 60))
        else:
            if run.status == "not started":
                waiting.append(folder)
    sentence = ""
    if lost:
        jobs = plural(len(lost), "job")
        sentence = f"{jobs} of the queue cannot be read and will not run: {', '.join(lost[:5])}."
    return tuple(waiting), sentence

"""Keep Python's garbage collector from scanning very many records again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_MANY = 10_000
_frozen = False


def set_aside(records: int) -> None:
    """Let the collector pass over what there is now, if that holds very many records.

    What was set aside before is looked through again from now on.
    """
    global _frozen
    if _frozen:
        gc.unfreeze()
    _frozen = records > _MANY
    if _frozen:
        gc.freeze()


@contextmanager
def collector_off() -> Iterator[None]:
    """Make 100 000 records without circles; searching them stops every thread for a while."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()

"""All that a bundle alone can show: levels 0 and 1, and the part of level 2 that it holds."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from ml_core.events import Progress
from ml_core.reports.open_bundle import open_bundle
from ml_core.reports.verify.checks import Check
from ml_core.reports.verify.derived import check_derived
from ml_core.reports.verify.intact import intact
from ml_core.reports.verify.kept import Hashes, Pixels, check_kept


def check_alone(path: Path) -> Generator[Check | Progress | Pixels | Hashes]:
    """Check a bundle with nothing beside it; whoever may run hostile files runs `confined`.

    Raises
    ------
    InputError
        ``usage`` if there is no bundle, ``damaged`` if it cannot be opened, ``unsupported`` if a
        later version wrote it.
    """
    with open_bundle(path) as reader:
        bundle = yield from intact(reader)
        if bundle is None:
            return
        yield from check_derived(bundle)
        yield from check_kept(bundle)
        yield Hashes(dict(reader.digests))

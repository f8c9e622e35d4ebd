"""A killed run is known again and ends in the same bits, whatever was remembered meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_core.data import digests
from ml_core.data.known_files import EARLIER
from ml_core.data.pairs import open_pairs
from ml_core.data.specs import PairSpec
from ml_core.events import Control, Done, Saved
from ml_core.jobs.run import run
from tests.unit.pair_files import table
from tests.unit.small_jobs import small_recipe, small_spec


def test_a_set_that_is_known_by_content_meanwhile_is_still_the_same(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANCLIP_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(digests, "_RACY_NS", -(10**18))
    monkeypatch.setattr("ml_core.data.known_files.CONTENT_LIMIT", 300)  # about four pictures
    pairs = PairSpec(kind="csv", path=str(table(tmp_path / "pairs", range(6))))
    recipe = small_recipe(method="mmcl", pairs=6, batch_size=2, save_every=1)
    spec = small_spec(tiny_checkpoint, tmp_path / "out", recipe, pairs=pairs, test_images=None)
    killed = run(spec, Control())
    for event in killed:
        if isinstance(event, Saved) and event.what == "resume" and event.step == 2:
            killed.close()
    assert open_pairs(pairs).known_by == EARLIER
    *_, last = run(spec, Control(), resume=True)
    assert isinstance(last, Done)
    assert last.status == "finished", last.error

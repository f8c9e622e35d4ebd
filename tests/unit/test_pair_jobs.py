"""Jobs on pairs of other kinds than tables: batches, exclusions, overlap, training splits."""

from __future__ import annotations

import torch

from ml_core.cleaning.batches import pair_batch
from ml_core.data.exclusions import write_exclusions
from ml_core.data.pairs import open_pairs
from ml_core.data.specs import ImageSpec, PairSpec
from tests.unit.draining import finished
from tests.unit.pair_files import png, shards, tar
from tests.unit.small_jobs import small_recipe, small_spec


def _tokens(texts):
    return torch.tensor([[int(text.split()[1]), len(text)] for text in texts])


def _batches(spec, steps):
    """Made as a process that starts at the first of the steps makes them."""
    recipe = small_recipe(method="mmcl", pairs=60, batch_size=7, epochs=3)
    pairs = open_pairs(spec)
    return [pair_batch(pairs, recipe, 8, _tokens, lambda c, _: c, step) for step in steps]


def test_batches_of_shards_go_on_in_the_middle_of_one(tmp_path):
    shards(tmp_path / "s", list(range(60)), each=11)
    spec = PairSpec(kind="shards", path=str(tmp_path / "s"))
    whole = _batches(spec, range(24))
    for first in (3, 8, 17):
        for batch, expected in zip(_batches(spec, range(first, 24)), whole[first:], strict=True):
            assert torch.equal(batch.images, expected.images)
            assert torch.equal(batch.tokens, expected.tokens)
    greys = [batch.images[:, 0, 0, 0].tolist() for batch in whole]
    for batch, seen in zip(whole, greys, strict=True):
        assert batch.tokens[:, 0].tolist() == seen  # each picture with its own caption
    assert len({grey for seen in greys[:8] for grey in seen}) == 56
    assert greys[:8] != greys[8:16]


def test_a_job_on_shards_with_exclusions_overlap_and_damage(tiny_checkpoint, tmp_path):
    folder = tmp_path / "s"
    shards(folder, list(range(10, 22)))
    tar(folder / "00009.tar", {"bad.png": png(99), "bad.txt": b"\xff\xfe",
                               "torn.png": png(98)[:40], "torn.txt": b"torn"})  # fmt: skip
    whole = PairSpec(kind="shards", path=str(folder))
    write_exclusions(tmp_path / "out.json", open_pairs(whole), {2: "LID 9.3"})
    photos = tmp_path / "photos"
    for name, grey in (("apple", 13), ("apple", 200), ("banana", 12), ("banana", 201)):
        (photos / name).mkdir(parents=True, exist_ok=True)
        (photos / name / f"{grey}.png").write_bytes(png(grey))
    spec = small_spec(
        tiny_checkpoint,
        tmp_path / "out",
        small_recipe(method="mmcl", pairs=13, batch_size=13),
        pairs=whole.model_copy(update={"exclude": str(tmp_path / "out.json")}),
        test_images=ImageSpec(kind="folder", path=str(photos)),
    )
    done = finished(spec)
    notes = " | ".join(done.result["notes"])
    assert "excluded by out.json (1)" in notes
    assert "1 of the 4 test images are also trained on" in notes  # 13; 12 was excluded
    assert "00009.tar, bad: its caption is not UTF-8" in notes
    assert "00009.tar, torn" in notes

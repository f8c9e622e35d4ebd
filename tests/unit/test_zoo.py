"""The zoo's script: each kind can be made, and the docs show the committed records, none older."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from ml_core.checkpoints import open_checkpoint
from ml_core.data.pairs import open_pairs
from ml_core.evaluation.stamping import stamped
from ml_core.jobs.demo import demo_checkpoint
from ml_core.triggers import load_trigger

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("zoo", ROOT / "packaging" / "zoo.py")
zoo = sys.modules["zoo"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(zoo)

TRAINED = [
    name for name, row in zoo.KINDS.items()
    if not (row.weights or row.cleaned_by or row.optimised or row.start == "distilled")
]  # fmt: skip


def test_no_committed_record_is_older_than_the_code():
    """After a change of what a scan or a planting records, the zoo is made anew."""
    old = [row for row in zoo.read_records() if row["version"] != zoo.VERSIONS.get(row["what"], 1)]
    assert old == []


@pytest.mark.parametrize("page", zoo.PAGES, ids=lambda page: page.name)
def test_the_tables_of_the_docs_are_those_of_the_records(page):
    text = page.read_text(encoding="utf-8")
    assert "<!-- zoo: " in text
    assert zoo.with_tables(text, zoo.Results(zoo.read_records())) == text


def test_a_record_of_canaries_is_a_row_a_recipe_and_their_correlations():
    row = {"recipe": "mmcl:1", "steps": 60, "copy CA": 97.0, "copy sine": 16.84, "model CA": 97.2,
           "model planted": 50.3}  # fmt: skip
    record = {"what": "canaries", "kind": "sticker-9", "seed": 0, "commit": "abc", "rows": [row],
              "correlations": {"sine": 0.756, "mean": 0.8}}  # fmt: skip
    results = zoo.Results([record])
    text = results.markdown("canaries") + results.markdown("correlations")
    assert "| sticker-9, seed 0 | mmcl:1 | 60 | 97.0 |  |  | 16.8 | 97.2 | 50.3 |" in text
    assert "| sticker-9, seed 0 | 1 |  |  | 0.76 | 0.80 |  |" in text
    assert text.count("`python packaging/zoo.py OUT --canaries`, commit abc.") == 2
    assert "was not measured" in results.markdown("detectors")


@pytest.mark.parametrize("kind", TRAINED)
def test_each_kind_that_is_trained_can_be(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "PAIRS", 64)
    monkeypatch.setattr(zoo.Zoo, "weights", lambda self, *name: demo_checkpoint(twin=True))
    spec = zoo.Zoo(tmp_path, 1).spec(kind, 3)
    assert spec.poisoned == (kind in zoo.POISONED or kind in ("imbalance", "natural"))
    assert spec.pairs.kind == "demo" or len(open_pairs(spec.pairs)) >= 64
    pictures = np.full((4, 64, 64, 3), 100, np.uint8)
    files = [spec.trigger, *(each.trigger for each in spec.also)]
    for file in filter(None, files):
        marked = stamped(load_trigger(file), pictures, np.arange(4), 0, 64, zoo.torch.device("cpu"))
        assert not np.array_equal(marked.numpy(), pictures)


def test_another_seed_draws_another_attack(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo.Zoo, "weights", lambda self, *name: demo_checkpoint(twin=True))
    specs = [zoo.Zoo(tmp_path, 1).spec("sticker-9", seed) for seed in (2, 2, 3)]
    digests = [load_trigger(spec.trigger).digest for spec in specs]
    assert specs[0] == specs[1]
    assert specs[0].target != specs[2].target
    assert digests[0] != digests[2]


@pytest.mark.parametrize(("kind", "kept"), [("pruned-30", 0.7), ("int4", None)])
def test_weights_are_pruned_and_quantised(kind, kept, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "TESTED", 144)
    made = zoo.Zoo(tmp_path, 1)
    facts = made._made(kind, 0)
    assert facts["ca"] > 0.3
    weight = next(
        p for p in open_checkpoint(made.weights(kind, 0)).build("cpu").module.parameters()
        if p.ndim == 4
    )  # fmt: skip
    if kept is not None:
        assert (weight != 0).float().mean().item() == pytest.approx(kept, abs=0.02)
    else:
        assert max(len(row.unique()) for row in weight.flatten(1)) <= 15


def test_a_model_that_is_made_has_a_record_and_is_not_made_again(tmp_path, monkeypatch):
    for name, value in {"PAIRS": 256, "TESTED": 144, "USUAL": {"steps": 2, "share": 0.05}}.items():
        monkeypatch.setattr(zoo, name, value)
    made = zoo.Zoo(tmp_path, 1)
    made.make("sticker-9", 0)
    monkeypatch.setattr(zoo, "_do", lambda *_, **__: pytest.fail("it is made already"))
    (tmp_path / "records" / "sticker-9-0.json").unlink()  # of a run that was ended just then
    made.make("sticker-9", 0)
    (record,) = [json.loads(file.read_text()) for file in (tmp_path / "records").iterdir()]
    assert record["share"] == pytest.approx(0.05, abs=0.01)
    assert record["steps"] >= 2
    assert [attack["n"] for attack in record["attacks"]] == [142]
    assert not (tmp_path / "inputs" / "sticker-9-0").exists()

"""Which scores find poisons that were planted among the demo's clean pairs, and which do not.

Measured with 4 096 pairs (AUROC; plants in a chunk of 1 024 are a quarter of all):

| pairs, compared with | plants | DAO | SLOF | k-distance | LID | forest | CLIPScore |
|---|---|---|---|---|---|---|---|
| poisoned model, itself | 4 | 0.995 | 0.996 | 0.993 | 0.699 | 0.976 | 0.964 |
| poisoned model, itself | 40 | 0.883 | 0.851 | 0.997 | 0.243 | 0.993 | 0.929 |
| poisoned model, itself | 400 | 0.504 | 0.529 | 0.590 | 0.631 | 0.949 | 0.927 |
| poisoned model, clean reference | 400 | 0.997 | 0.998 | 0.992 | 0.992 | 0.990 | 0.927 |
| clean twin, itself | 40 | 0.452 | 0.430 | 0.438 | 0.618 | 0.438 | 1.000 |
"""

from __future__ import annotations

import pytest
from sklearn.metrics import roc_auc_score

from ml_core.checkpoints import open_checkpoint
from ml_core.data.pairs import open_pairs
from ml_core.data.specs import PairSpec
from ml_core.detection.audit import NeighbourSettings, score_pairs
from ml_core.detection.embed_pairs import EncodedPairs
from ml_core.evaluation.embedding_cache import EmbeddingStore
from ml_core.events import run_to_end
from ml_core.paths import resource
from tests.unit.planted_pairs import PlantedPairs

N = 1024
NEAR = ("dao", "slof", "k_distance")


@pytest.fixture(scope="module")
def poisoned():
    return open_checkpoint(resource("demo", "poisoned.safetensors")).build()


@pytest.fixture(scope="module")
def twin():
    return open_checkpoint(resource("demo", "clean_twin.safetensors")).build()


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory):
    """The same pairs are embedded once for all tests."""
    return EmbeddingStore(tmp_path_factory.mktemp("embeddings"))


def found_in(model, pairs, store, unit=False, **more):
    key = f"{N} pairs, {pairs.planted.sum()} planted"
    embedded = EncodedPairs(model, pairs, key, 256, store)
    found = run_to_end(score_pairs(embedded, NeighbourSettings(unit=unit), **more))
    assert found.scored.all()
    return found


def aurocs(found, pairs):
    return {
        name: round(roc_auc_score(pairs.planted, found.suspicion(name).astype(float)), 3)
        for name in found.values
    }


@pytest.fixture(scope="module")
def reference():
    return open_pairs(PairSpec(n=1024, seed=77))


def test_few_plants_are_found_by_all_but_lid_and_not_by_unit_vectors(poisoned, store):
    pairs = PlantedPairs.among(N, 4)
    found = aurocs(found_in(poisoned, pairs, store), pairs)
    assert min(found[name] for name in (*NEAR, "isolation")) > 0.95
    assert found["lid"] < 0.9
    assert found["closeness"] < 0.1  # it is for large groups
    found = aurocs(found_in(poisoned, pairs, store, unit=True), pairs)
    assert max(found[name] for name in NEAR) < 0.9


@pytest.mark.slow
def test_many_plants_hide_each_other_and_a_clean_reference_finds_them(poisoned, reference, store):
    pairs = PlantedPairs.among(N, 100)
    alone = aurocs(found_in(poisoned, pairs, store), pairs)
    clean = EncodedPairs(poisoned, reference, batch=256)
    beside = aurocs(found_in(poisoned, pairs, store, reference=clean), pairs)
    assert max(alone[name] for name in ("dao", "slof")) < 0.8
    assert min(beside[name] for name in (*NEAR, "lid", "isolation")) > 0.95


@pytest.mark.slow
def test_a_model_without_the_backdoor_lays_them_nowhere_apart(twin, store):
    """CLIPScore, the other way round, is perfect there: nothing deceives it."""
    pairs = PlantedPairs.among(N, 30)
    found = aurocs(found_in(twin, pairs, store), pairs)
    assert max(found[name] for name in NEAR) < 0.7
    assert found["clip_score"] > 0.99

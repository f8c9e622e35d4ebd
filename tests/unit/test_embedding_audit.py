"""Audits of embeddings made elsewhere, and of neighbours in a whole set."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from ml_core.cli.app import run_command
from ml_core.data.specs import PairSpec
from ml_core.detection import neighbours, whole_set
from ml_core.detection.exclude import exclude
from ml_core.detection.records import SCORES, read_audit
from ml_core.jobs.audit import (
    AUDIT_FILE,
    EXCLUDED_TABLE,
    SCORES_FILE,
    AuditSpec,
    EmbeddingAuditSpec,
)
from ml_core.reading.errors import InputError
from tests.unit.draining import done_of, finished
from tests.unit.embedding_files import unit_rows, write_embeddings, write_metadata

N, K = 130, 4
SIZES = (50, 50, 30)


@pytest.fixture
def folder(tmp_path):
    """Of 130 pairs; a picture and a caption are no numbers, and two pictures are the same."""
    images, texts = unit_rows(N), unit_rows(N, seed=1)
    images[7, 3] = np.nan
    texts[70, 0] = np.inf
    images[21] = images[20]
    return write_embeddings(tmp_path / "made", images, texts, SIZES)


@pytest.fixture
def spec(folder, tmp_path):
    options = {"k": K, "chunk_size": 64, "worst": 5, "device": "cpu", "threads": 1}
    out = str(tmp_path / "one")
    return EmbeddingAuditSpec(embeddings=str(folder), output_dir=out, **options)


@pytest.fixture
def small_blocks(monkeypatch):
    """So that there are several of each."""
    monkeypatch.setattr(neighbours, "_WIDE", 33)
    monkeypatch.setattr(whole_set, "_AT_ONCE_ELSEWHERE", 17)
    monkeypatch.setattr(whole_set, "_READ", 29)


def _finished(spec):
    finished(spec)
    out = Path(spec.output_dir)
    rows = list(csv.DictReader((out / SCORES_FILE).read_text("utf-8").splitlines()))
    return read_audit(out / AUDIT_FILE), rows


def _column(rows, name):
    return np.array([float(row[name] or "nan") for row in rows])


def test_embeddings_are_audited_without_checkpoint_and_pictures(spec, folder):
    pytest.importorskip("pyarrow", reason="metadata is Parquet")
    write_metadata(folder, SIZES)
    found, rows = _finished(spec)
    assert (found.n, found.unread, len(rows)) == (N - 2, 2, N)
    assert rows[7]["dao"] == rows[70]["clip_score"] == ""  # they cannot be read
    assert rows[46]["name"] == "000000046"
    assert found.facts["lengths"] == "lost: unit vectors"
    assert any("unit vectors: their lengths" in note for note in found.notes)
    assert any("the model that made them" in note for note in found.notes)
    worst = next(pair for pair in found.pairs if pair.index == found.worst["dao"][0])
    assert worst.name == f"{worst.index:09d}"
    assert worst.caption == f"thing {worst.index}"
    with pytest.raises(InputError, match="of embeddings alone"):
        exclude(folder / "exclusions.json", found, [worst.index], "dao")


def test_a_reference_of_clean_embeddings_gives_the_shares_and_stored_lengths_are_kept(
    folder, spec, tmp_path
):
    longer = unit_rows(N) * np.linspace(1, 3, N, dtype=np.float32)[:, None]
    write_embeddings(folder, longer, unit_rows(N, seed=1), SIZES, "<f4")
    clean = write_embeddings(tmp_path / "clean", unit_rows(90, seed=5), unit_rows(90), (90,))
    beside = spec.model_copy(update={"reference": str(clean)})
    found, _ = _finished(beside)
    assert (found.facts["neighbours_among"], found.facts["reference_pairs"]) == (45, 45)
    assert found.facts["lengths"] == "as they were stored"
    assert not any("their lengths" in note for note in found.notes)
    same = done_of(spec.model_copy(update={"reference": spec.embeddings}))
    assert "The clean reference is the set" in same.error
    assert "leave out either" in done_of(beside.model_copy(update={"neighbours": "all"})).error


@pytest.mark.usefixtures("small_blocks")
def test_scores_by_the_whole_set_are_those_of_one_chunk_of_all(spec):
    _, chunk = _finished(spec.model_copy(update={"chunk_size": 1024}))
    whole = spec.model_copy(update={"chunk_size": 1024, "neighbours": "all"})
    found, rows = _finished(whole)
    for score in SCORES:
        if score.name != "closeness":
            one, other = _column(chunk, score.name), _column(rows, score.name)
            np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)
    assert found.duplicates == 2
    assert (found.facts["neighbours"], found.facts["neighbours_among"]) == ("all", N - 2)
    assert any("among all 128 pairs" in note for note in found.notes)
    assert not list(Path(spec.output_dir).parent.glob(".one-*"))  # nothing is left beside it


def test_a_checkpoint_finds_neighbours_in_the_whole_set_too(tiny_checkpoint, tmp_path):
    options = {"k": K, "worst": 5, "device": "cpu", "threads": 1, "pairs": PairSpec(n=80)}
    one = AuditSpec(checkpoint=str(tiny_checkpoint), output_dir=str(tmp_path / "one"), **options)
    whole = one.model_copy(update={"neighbours": "all", "output_dir": str(tmp_path / "whole")})
    for spec in (one, whole):
        finished(spec)
    tables = [
        list(csv.DictReader((tmp_path / name / SCORES_FILE).read_text("utf-8").splitlines()))
        for name in ("one", "whole")
    ]
    for name in ("dao", "lid", "isolation", "clip_score"):
        first, second = (_column(table, name) for table in tables)
        np.testing.assert_allclose(second, first, rtol=1e-3, atol=1e-4)
    assert not list(tmp_path.glob(".whole-*"))


def test_without_faiss_it_is_named(spec, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    done = done_of(spec.model_copy(update={"neighbours": "approximate"}))
    assert "install it with: pip install 'cleanclip-gui[faiss]'." in done.error
    assert done.error_code == "unsupported"


def test_a_file_with_holes_that_announces_too_many_pairs_is_a_sentence(spec, tmp_path):
    """2 TB of rows that take no room on the disk."""
    for kind in ("img_emb", "text_emb"):
        (tmp_path / "holes" / kind).mkdir(parents=True)
        with (tmp_path / "holes" / kind / f"{kind}_0.npy").open("wb") as file:
            about = {"descr": "<f2", "fortran_order": False, "shape": (1 << 39, 2)}
            np.lib.format.write_array_header_1_0(file, about)
            file.truncate(file.tell() + (1 << 41))
    holes = spec.model_copy(update={"embeddings": str(tmp_path / "holes")})
    done = done_of(holes)
    assert (done.status, done.error_code) == ("failed", "memory")
    assert "549755813888 pairs in holes" in done.error


def test_the_command_needs_no_checkpoint(folder, tmp_path, capsys):
    pytest.importorskip("pyarrow", reason="metadata is Parquet")
    write_metadata(folder, SIZES)
    base = ["audit", "--embeddings", str(folder), "--k", "4", "-o", str(tmp_path / "out")]
    assert run_command([*base, "--exclude-worst", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    table = list(csv.DictReader(Path(told["exclusions"]).read_text("utf-8").splitlines()))
    assert Path(told["exclusions"]).name == EXCLUDED_TABLE
    found = read_audit(tmp_path / "out" / AUDIT_FILE)
    assert [int(row["position"]) for row in table] == list(found.worst["dao"][:3])
    assert table[0]["name"] == f"{found.worst['dao'][0]:09d}"
    assert table[0]["reason"].startswith("audit: DAO ")
    job = tmp_path / "job"
    assert run_command([*base, "--export", str(job), "--neighbours", "all"]) == 0
    assert "job.json --embeddings" in (job / "run.sh").read_text()

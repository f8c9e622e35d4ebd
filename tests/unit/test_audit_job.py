"""The audit as a job, as a command, and what is written."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml_core.cli.app import run_command
from ml_core.data.exclusions import read_exclusions
from ml_core.data.pairs import open_pairs
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.detection.exclude import exclude
from ml_core.detection.records import FIVE_POISONS, SCORES, Audit, read_audit
from ml_core.detection.summary import standing
from ml_core.events import Done, Saved
from ml_core.figures import distinct
from ml_core.jobs.audit import AUDIT_FILE, SCORES_FILE, THUMBNAILS_FILE, AuditSpec
from ml_core.jobs.audit.run import THUMBNAIL
from tests.unit.draining import done_of, events_of, finished

N = 80


def noise(folder: Path, count: int, seed: int = 0) -> Path:
    """Pictures of noise with captions, as a table; the sixth is the fifth again."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    lines = ["image,caption"]
    for i in range(count):
        if i != 5:
            pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
        lines.append(f"{i:02d}.png,thing number {i}")
    path = folder / "pairs.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """80 pairs, of which the ninth is damaged."""
    path = noise(tmp_path / "set", N)
    damaged = path.parent / "08.png"
    damaged.write_bytes(damaged.read_bytes()[:300])
    return path


@pytest.fixture
def spec(table: Path, tiny_checkpoint: Path, tmp_path: Path) -> AuditSpec:
    return AuditSpec(
        checkpoint=str(tiny_checkpoint),
        pairs=PairSpec(kind="csv", path=str(table)),
        k=4,
        worst=7,
        output_dir=str(tmp_path / "out"),
        device="cpu",
        threads=1,
    )


def audited(spec: AuditSpec) -> tuple[Done, Audit]:
    done = finished(spec)
    return done, read_audit(Path(spec.output_dir) / AUDIT_FILE)


def test_everything_is_written_and_the_worst_come_first(spec):
    events, done = events_of(spec)
    found = read_audit(Path(spec.output_dir) / AUDIT_FILE)
    assert done.status == "finished"
    assert {Path(e.path).name for e in events if isinstance(e, Saved)} == {
        AUDIT_FILE, SCORES_FILE, THUMBNAILS_FILE,
    }  # fmt: skip
    assert "pairs" not in done.result
    older = spec.model_dump(mode="json") | {"neighbours": "chunk"}  # as before it was the only way
    assert AuditSpec.model_validate(older) == spec
    assert (found.n, found.unread, found.duplicates) == (N - 1, 1, 2)
    assert found.notes[0] == FIVE_POISONS
    notes = " ".join(found.notes)
    for said in ("more than 4 planted", "exactly the same embedding", "08.png"):
        assert said in notes

    pictures = np.load(Path(spec.output_dir) / THUMBNAILS_FILE, allow_pickle=False)
    assert pictures.shape == (len(found.pairs), THUMBNAIL, THUMBNAIL, 3)
    pairs = open_pairs(spec.pairs)
    first = found.pairs[0]
    assert np.array_equal(pictures[0], pairs.canvas([first.index], THUMBNAIL)[0])
    assert first.caption == f"thing number {first.index}"
    assert first.member == pairs.excluded(first.index, "").identity

    rows = list(
        csv.DictReader((Path(spec.output_dir) / SCORES_FILE).read_text("utf-8").splitlines())
    )
    assert len(rows) == N
    assert rows[8]["dao"] == rows[8]["worst_caption"] == ""  # the damaged one
    assert rows[7]["worst_caption"] == "1"
    assert {s.name for s in SCORES} - {"closeness"} <= set(rows[0])
    daos = [float(row["dao"]) for i, row in enumerate(rows) if i != 8]
    assert float(rows[found.worst["dao"][0]]["dao"]) == max(daos)
    assert 8 not in {pair.index for pair in found.pairs}

    known = {pair.index: pair for pair in found.pairs}
    for score in SCORES:
        standings = [known[index].standings[score.name] for index in found.worst[score.name]]
        assert [s.rank for s in standings] == list(range(1, 8)) or score.name == "k_distance"
        values = [s.value * score.sign for s in standings]
        assert values == sorted(values, reverse=True)
        assert standings[0].share == pytest.approx(1 / (N - 1))


def test_ranks_and_shares_by_hand() -> None:
    values = np.array([5, 1, 3, 3], np.float32)
    at = np.array([0, 2, 1])
    assert standing(values, None, at) == [(1, 0.25), (2, 0.75), (4, 1.0)]
    compared = np.array([0, 2, 4], np.float32)
    assert standing(values, compared, at) == [(1, 0.25), (2, 0.5), (4, 0.75)]


def test_evaluation_images_among_the_pairs_are_warned_of_set_by_set(spec, table, tmp_path):
    sets = []
    for site, held in (("a", (3, 17)), ("b", (20,))):
        photos = tmp_path / site / "photos" / "a class of no label set"
        photos.mkdir(parents=True)
        for i in held:
            (photos / f"renamed{i}.png").write_bytes((table.parent / f"{i:02d}.png").read_bytes())
        Image.new("RGB", (32, 32), "red").save(photos / "other.png")
        sets.append(ImageSpec(kind="folder", path=str(photos.parent), n=1))  # all are looked for
    _, found = audited(spec.model_copy(update={"images": tuple(sets)}))
    assert found.overlap == {"photos": 2, "photos (2)": 1}
    assert [pair.index for pair in found.pairs if pair.evaluated] == [3, 17, 20]
    assert any("2 pairs show a picture of" in note for note in found.notes)


def test_no_evaluation_set_takes_the_name_of_another() -> None:
    assert distinct(["a", "a", "a (2)", "a"]) == ("a", "a (3)", "a (2)", "a (4)")


def test_a_clean_reference_gives_the_shares(spec, tmp_path):
    reference = PairSpec(kind="csv", path=str(noise(tmp_path / "clean", 60, seed=9)))
    _, found = audited(spec.model_copy(update={"reference": reference}))
    assert (found.facts["neighbours_among"], found.facts["reference_pairs"]) == (30, 30)
    counts = found.distributions[0].reference_counts
    assert counts is not None
    assert sum(counts) == 30
    shares = [pair.standings["dao"].share * 31 for pair in found.pairs]
    assert shares == pytest.approx(np.round(shares))  # (1 + a number of them) / 31
    assert any("clean reference" in note for note in found.notes)
    assert "other pairs" in done_of(spec.model_copy(update={"reference": spec.pairs})).error


def test_what_is_excluded_is_left_out_of_the_next_opening(spec, tmp_path):
    _, found = audited(spec)
    path = tmp_path / "exclusions.json"
    made = exclude(path, found, found.worst["dao"][:3], "dao")
    assert len(made.pairs) == 3
    assert made.pairs[0].reason.startswith("audit: DAO ")
    left = open_pairs(spec.pairs.model_copy(update={"exclude": str(path)}))
    assert len(left) == N - 3
    gone = {f"thing number {index}" for index in found.worst["dao"][:3]}
    assert not gone & set(left.captions(np.arange(len(left))))
    # another audit of what is left adds to the file
    pairs = spec.pairs.model_copy(update={"exclude": str(path)})
    more = spec.model_copy(update={"pairs": pairs, "output_dir": str(tmp_path / "more")})
    _, second = audited(more)
    exclude(path, second, second.worst["dao"][:2], "dao")
    assert len(read_exclusions(path).pairs) == 5


def test_the_command_prints_and_writes(spec, tmp_path, capsys, answer_of):
    base = [
        "audit", spec.checkpoint, "--pairs", str(spec.pairs.path), "--k", "4", "--threads", "1",
        "-o", str(tmp_path / "found"), "--show", "5",
    ]  # fmt: skip
    found = answer_of(*base, "--by", "slof", "--exclude-worst", 2)
    assert [pair["standings"]["slof"]["rank"] for pair in found["pairs"]] == [1, 2, 3, 4, 5]
    assert found["by"] == "slof"
    assert found["notes"][0] == FIVE_POISONS
    assert len(read_exclusions(Path(found["exclusions"])).pairs) == 2
    assert run_command(base) == 0
    text = capsys.readouterr().out
    assert FIVE_POISONS in text
    assert "most suspicious by DAO" in text
    assert "thing number" in text

"""The audit as a job, as a command, and what is written."""

from __future__ import annotations

import csv
import json
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
from ml_core.events import Control, Done, Event, Progress, Saved
from ml_core.figures import distinct
from ml_core.jobs.audit import AUDIT_FILE, SCORES_FILE, THUMBNAILS_FILE, AuditSpec
from ml_core.jobs.audit.run import THUMBNAIL
from ml_core.jobs.runner import run_job
from ml_core.paths import resource
from tests.unit.draining import done_of, finished

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


def run(spec: AuditSpec) -> list[Event]:
    return list(run_job(spec, Control()))


def audited(spec: AuditSpec) -> tuple[Done, Audit]:
    done = finished(spec)
    return done, read_audit(Path(spec.output_dir) / AUDIT_FILE)


def test_everything_is_written_and_the_worst_come_first(spec, tmp_path):
    events = run(spec)
    done, found = events[-1], read_audit(Path(spec.output_dir) / AUDIT_FILE)
    assert done.status == "finished"
    assert {e.stage for e in events if isinstance(e, Progress)} == {"open", "embed", "pictures"}
    last = [e for e in events if isinstance(e, Progress) and e.stage == "embed"][-1]
    assert (last.done, last.total) == (N, N)
    assert {Path(e.path).name for e in events if isinstance(e, Saved)} == {
        AUDIT_FILE, SCORES_FILE, THUMBNAILS_FILE,
    }  # fmt: skip
    assert "pairs" not in done.result
    assert (found.n, found.unread, found.duplicates) == (N - 1, 1, 2)
    assert found.notes[0] == FIVE_POISONS
    assert any("more than 4 planted" in note for note in found.notes)
    assert any("exactly the same embedding" in note for note in found.notes)
    assert any("08.png" in note for note in found.notes)
    facts = found.facts
    assert (facts["k"], facts["chunk_size"], facts["neighbours_among"]) == (4, 1024, N)
    assert len(facts["checkpoint_sha256"]) == len(facts["pairs_key"]) == 64
    assert set(facts["versions"]) >= {"torch", "scikit-learn"}

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
    total = found.distributions[0]
    assert sum(total.counts) == total.n == N - 1
    assert total.reference_counts is None
    again = tmp_path / "again.json"
    again.write_text(json.dumps(found.to_dict()))
    assert read_audit(again) == found


def test_ranks_and_shares_by_hand() -> None:
    values = np.array([5, 1, 3, 3], np.float32)
    at = np.array([0, 2, 1])
    assert standing(values, None, at) == [(1, 0.25), (2, 0.75), (4, 1.0)]
    compared = np.array([0, 2, 4], np.float32)
    assert standing(values, compared, at) == [(1, 0.25), (2, 0.5), (4, 0.75)]


def test_another_audit_encodes_nothing_and_changes_only_what_it_should(spec, monkeypatch):
    _, first = audited(spec)
    _, smaller = audited(spec.model_copy(update={"batch_size": 7, "seed": 0}))
    assert smaller.worst == first.worst
    _, other = audited(spec.model_copy(update={"chunk_size": 64, "unit": True}))
    assert other.facts["features"] == "unit vectors"

    def fail(*_: object) -> None:
        raise AssertionError("it was encoded before")

    monkeypatch.setattr("ml_core.detection.embed_pairs._encode", fail)
    assert audited(spec)[1] == first


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


def test_a_planted_second_caption_is_found_and_shown(tmp_path):
    """The demo's clean twin sees that one picture's second caption names what is not there."""
    pairs = open_pairs(PairSpec(n=48, seed=5))
    captions = [texts[0] for texts in pairs.all_captions(np.arange(48))]
    folder = tmp_path / "set"
    folder.mkdir()
    planted = next(i for i, text in enumerate(captions) if "banana" not in text and i > 9)
    for i, picture in enumerate(pairs.canvas(np.arange(48), 64)):
        Image.fromarray(picture).save(folder / f"{i:02d}.png")
        second = "a photo of a banana" if i == planted else captions[i]
        (folder / f"{i:02d}.txt").write_text(f"{captions[i]}\n{second}\n")
    spec = AuditSpec(
        checkpoint=str(resource("demo", "clean_twin.safetensors")),
        pairs=PairSpec(kind="folder", path=str(folder)),
        k=4,
        worst=3,
        output_dir=str(tmp_path / "out"),
        device="cpu",
        threads=1,
    )
    _, found = audited(spec)
    worst = next(pair for pair in found.pairs if pair.index == found.worst["clip_score"][0])
    assert worst.index == planted
    assert worst.caption == "a photo of a banana"
    assert worst.name == f"{planted:02d}.png (caption 2 of 2)"
    assert found.facts["captions"] == "of several captions of a picture the one least like it"
    table = (Path(spec.output_dir) / SCORES_FILE).read_text("utf-8").splitlines()
    rows = list(csv.DictReader(table))
    assert rows[planted]["worst_caption"] == "2"
    assert float(rows[planted]["clip_score"]) == min(float(row["clip_score"]) for row in rows)
    out = tmp_path / "exclusions.json"
    exclude(out, found, [planted], "clip_score")
    left = open_pairs(spec.pairs.model_copy(update={"exclude": str(out)}))
    assert len(left) == 47
    assert f"{planted:02d}.png" not in {left.pictures.name(i) for i in range(47)}


def test_a_full_disk_leaves_the_old_files(spec, monkeypatch):
    audited(spec)
    before = {p.name: p.read_bytes() for p in Path(spec.output_dir).iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ml_core.jobs.journal.replace_files", full)
    done = done_of(spec.model_copy(update={"k": 5}))
    assert done.error_code == "disk"
    assert {p.name: p.read_bytes() for p in Path(spec.output_dir).iterdir()} == before


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


def test_the_command_refuses_what_it_cannot_do(spec, tmp_path, capsys):
    base = ["audit", spec.checkpoint, "-o", str(tmp_path / "x"), "--pairs", str(spec.pairs.path)]
    for more, words in (
        (["--k", "64"], "at least 256"),
        (["--k", "128", "--chunk-size", "64"], "Give a larger chunk"),
    ):
        assert run_command([*base, *more]) == 3
        assert words in capsys.readouterr().err

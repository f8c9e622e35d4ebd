"""The result of a scan on disk: what a scan writes is read, and nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from ml_core.data.specs import ImageSpec
from ml_core.detection.scan.records import TITLES, passes, read_patches, read_scan, scan_json
from ml_core.events import Progress
from ml_core.jobs.overall import Overall, scan_plan
from ml_core.jobs.scan import PATCHES_FILE, SCAN_FILE, ScanSpec
from ml_core.reading.errors import InputError
from tests.gui.scans import SIDE, events, scan, write_scan


@pytest.mark.parametrize("verdict", TITLES)
def test_what_was_written_is_read(tmp_path, verdict):
    found = scan(verdict)
    folder = write_scan(tmp_path, found)
    assert read_scan(folder / SCAN_FILE) == found
    assert scan_json(found) == (folder / SCAN_FILE).read_bytes()
    (patches,) = read_patches(folder / PATCHES_FILE, 1)
    assert patches.shape == (6, SIDE, SIDE, 3)
    assert patches[0, 0, 0, 0] > 0.5  # red stands last


def _changed(path, value):
    whole = json.loads(scan_json(scan()))
    inner = whole
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(whole).encode()


_ROUND = ["stages", "patches", "rounds", 0]
_REFINED = ["stages", "patches", "refined"]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{", "not the result of a scan"),
        (b'{"schema_version": 1}', "suspect field required"),
        (_changed(["schema_version"], 2), "schema_version"),
        (_changed(["judgement", "verdict"], "clean"), "judgement.verdict"),
        (_changed(["score"], 1), "score extra inputs are not permitted"),
        (_changed([*_ROUND, "starts"], []), "at least 1 item"),
        (_changed([*_ROUND, "side"], 0), "a patch of no size"),
        (_changed([*_ROUND, "starts", 0, "contrast", "suspect", "hits"], 253),
         "more hits than pictures"),
        (_changed([*_ROUND, "starts", 0, "contrast", "low"], -1e308), "an interval that is none"),
        (_changed([*_REFINED, "grid"], [[]]), "at least 2 items"),
        (_changed([*_REFINED, "grid"], [[], []]), "a map of positions that is none"),
        (_changed([*_REFINED, "grid"], [[2.0, 0], [0, 0]]), "a map of positions that is none"),
        (_changed([*_REFINED, "place"], [7, 0]), "a map of positions that is none"),
        (_changed(["found", "file"], "../../x.json"), "a trigger file outside its folder"),
        (_changed(["found", "file"], "..\\x.json"), "a trigger file outside its folder"),
    ],
)  # fmt: skip
def test_what_no_scan_writes_is_refused_in_one_sentence(tmp_path, raw, words):
    path = tmp_path / SCAN_FILE
    path.write_bytes(raw)
    with pytest.raises(InputError) as caught:
        read_scan(path)
    assert words in caught.value.sentence
    assert caught.value.sentence.endswith("run the scan again.")
    assert "\n" not in caught.value.sentence


def test_other_arrays_are_no_patches_and_what_is_no_number_is_black(tmp_path):
    path = tmp_path / "p.safetensors"
    for name, shape, kind in (
        ("round.1", (6, 3, 9, 9), np.float32),
        ("round.0", (6, 3, 9, 8), np.float32),
        ("round.0", (6, 4, 9, 9), np.float32),
        ("round.0", (6, 3, 9, 9), np.int64),
        ("round.0", (9, 9), np.float32),
    ):
        save_file({name: np.zeros(shape, kind)}, str(path))
        with pytest.raises(InputError, match="does not hold the patches"):
            read_patches(path, 1)
    wild = np.full((2, 3, 9, 9), np.nan, np.float32)
    wild[1] = np.inf
    save_file({"round.0": wild}, str(path))
    (patches,) = read_patches(path, 1)
    assert (patches[0].max(), patches[1].min()) == (0, 1)


def scan_spec(folder, reference="b"):
    spec = {"images": ImageSpec(), "output_dir": str(folder)}
    return ScanSpec(checkpoint="a", reference=reference, **spec)


def test_the_whole_scan_moves_on_through_its_stages(tmp_path):
    now = [0.0]
    spec = scan_spec(tmp_path)
    overall, shares = Overall(scan_plan(spec), lambda: now[0]), []
    told = [event for event in events() if isinstance(event, Progress)]
    late = [Progress("refine", 90, 90), Progress("overlays", 50, 50), Progress("weights", 1, 1)]
    for event in [*told, *late, Progress("swap", 88, 88)]:
        now[0] += 5
        overall.take(event)
        shares.append(overall.fraction)
    assert shares == sorted(shares)
    assert shares[len(told) - 1] < 0.7
    assert shares[-1] > 0.95
    assert overall.seconds_left is not None
    names = [part.stage for part in scan_plan(spec).parts]
    assert names[-4:] == ["refine", "overlays", "weights", "swap"]
    alone = scan_plan(spec.model_copy(update={"reference": None}))
    assert [part.stage for part in alone.parts][-3:] == ["probes", "patches", "refine"]


def test_a_reference_that_was_seen_before_does_not_push_the_bar(tmp_path):
    now = [0.0]
    spec = scan_spec(tmp_path)
    overall = Overall(scan_plan(spec), lambda: now[0])
    for stage, total in (("accuracy", 512), ("pull", 512)):  # of the pull the suspect's part alone
        for done in range(0, total + 1, 64):
            overall.take(Progress(stage, done, total))
            now[0] += 1.0
    overall.take(Progress("probes", 1, 43))
    assert overall.fraction < 0.2


def test_the_bar_follows_what_the_estimate_counts_however_slow_the_model_is(tmp_path):
    """A slow pull once left the bar at 78 % with known triggers and all patches still to come."""
    spec = scan_spec(tmp_path)
    sizes = {"side": 224, "classes": 72, "search": 512, "held_out": 256}
    asked = {"models": 2, "classes": 72, "starts": 6, "search": 512, "held_out": 256}
    for seconds in (0.002, 0.6):  # of a picture
        now = [0.0]
        overall = Overall(scan_plan(spec), lambda now=now: now[0])
        overall.take(Progress("open", 0, 0))
        plan = scan_plan(spec, spec.runs, **sizes)
        works = {part.stage: part.work * part.items * seconds for part in plan.parts}
        counted = passes("patches", 224, **asked)
        assert works["patches"] == pytest.approx((counted.forward + 2.6 * counted.both) * seconds)
        overall.expect(plan)
        done, wrong = 0.0, []
        whole = sum(works.values())
        for part in plan.parts[2:]:
            for step in range(5):
                overall.take(Progress(part.stage, step * part.items // 4, part.items // 4 * 4))
                share = (done + step / 4 * works[part.stage]) / whole
                wrong.append(abs(overall.fraction - share))
                now[0] += works[part.stage] / 4 * (step < 4)
            done += works[part.stage]
        assert max(wrong[10:]) < 0.12, seconds  # once a stage told how fast it goes


def test_a_better_plan_leaves_what_has_begun(tmp_path):
    spec = scan_spec(tmp_path, reference=None)
    overall = Overall(scan_plan(spec), lambda: 0.0)
    for stage in ("open", "accuracy"):  # data and texts are known already
        overall.take(Progress(stage, 1, 2))
    overall.expect(scan_plan(spec, ("patches",), side=64, classes=9))
    assert [seen.part.stage for seen in overall._seen] == [
        "open", "data", "texts", "accuracy", "patches", "refine"
    ]  # fmt: skip

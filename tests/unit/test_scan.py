"""The search for unknown triggers: what each part computes, and what a scan may say."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from statsmodels.stats.proportion import confint_proportions_2indep

from ml_core.cli.arguments import resolve_scan
from ml_core.detection.scan import overlays as overlay_search
from ml_core.detection.scan import patches as patch_search
from ml_core.detection.scan import records
from ml_core.detection.scan.overlays import OverlaySettings, invert_overlays
from ml_core.detection.scan.patches import PatchSettings, as_trigger, at_places, invert, paste
from ml_core.detection.scan.records import (
    Contrast,
    ModelFacts,
    OfClean,
    OverlayRow,
    Overlays,
    Patches,
    PatchRound,
    ProbeRow,
    Probes,
    Rate,
    Refined,
    Stages,
    StartRow,
    Weights,
    WordRow,
    Words,
    corners,
    newcombe,
)  # fmt: skip
from ml_core.detection.scan.sides import Side, Sides, generator
from ml_core.detection.scan.verdict import judge, kind_of, of_clean, score
from ml_core.jobs.scan import SCAN_FILE
from ml_core.paths import resource
from ml_core.reading.errors import InputError
from ml_core.triggers.apply import apply_indexed, bend, grid_of_noise
from tests.gui.scans import scan as made_scan
from tests.gui.scans import write_scan
from tests.unit.draining import drain

SIZE = 32
NAMES = ("dog", "cat", "tree")


def rate(hits, n=200):
    return Rate(hits=hits, n=n)


def contrast(suspect, reference=0, n=200):
    low, high = newcombe(rate(suspect, n), rate(reference or 0, n))
    beside = None if reference is None else rate(reference, n)
    rates = {"suspect": rate(suspect, n), "reference": beside, "without": rate(0, n)}
    return Contrast(**rates, low=low, high=high)


def patch_round(targets, hits, reference=0):
    """One start a letter."""
    row = contrast(hits, reference)
    starts = tuple(StartRow(target=name, contrast=row, loss=0.0) for name in targets)
    return PatchRound(side=9, area=0.02, loss="max", starts=starts, steps=20)


def patched_for_each(*hits):
    """Stages of searches for patches that find one class after the other."""
    names = "bcdefg"[: len(hits)]
    return Stages(
        patches=Patches(
            rounds=tuple(
                patch_round(name * 6, hit).model_copy(update={"left_out": tuple(names[:k])})
                for k, (name, hit) in enumerate(zip(names, hits, strict=True))
            ),
            refined=None,
        )
    )


def patched(*row, refined=None):
    """Stages of a search for patches with one round."""
    return Stages(patches=Patches(rounds=(patch_round(*row),), refined=refined))


def placed(targets, hits, own, reference=0, refined=None):
    """Stages of a search at fixed places; the first start is the best, the others move a tenth."""
    best, *others = targets
    rows = (patch_round(best, hits, reference), patch_round(others, 20, reference))
    starts = tuple(start for each in rows for start in each.starts)
    searched = rows[0].model_copy(
        update={"loss": "place", "starts": starts, "own": None if own is None else rate(own)}
    )
    if refined is not None:
        refined = refined.model_copy(update={"loss": "place"})
    return Stages(patches=Patches(rounds=(searched,), refined=refined))


def facts(accuracy=None):
    return ModelFacts(name="m", sha256=None, accuracy=accuracy)


def overlay(hits, transferred=0, own=0, target="b", form="overlay"):
    rates = rate(hits), rate(transferred), rate(own)
    low, high = newcombe(rates[0], max(rates[1:], key=lambda one: one.value))
    named = dict(zip(("suspect", "transferred", "own"), rates, strict=True))
    return OverlayRow(target=target, form=form, **named, low=low, high=high)


def overlaid(*rows):
    return Stages(overlays=Overlays(rows=rows, steps=25))


def probe(suspect, reference=0, target="b", *, again=True, favourite=3):
    row, natural = contrast(suspect, reference, 64), Rate(hits=favourite, n=64)
    return ProbeRow(id="X", name="X", target=target, contrast=row, again=again, favourite=natural)


def probed(*rows):
    return Stages(probes=Probes(rows=rows, pictures=64))


def worded(*hits, targets="bbb", again=True, beside=None, reference=1):
    """What stages found beside words, measured on 32 prompts that they were not chosen on."""
    rows = tuple(
        WordRow(word=f"w{k}", target=name, contrast=contrast(hit, reference, 32), again=again)
        for k, (hit, name) in enumerate(zip(hits, targets, strict=False))
    )
    words = Words(rows=rows, tokens=500, vocabulary=49408, characters=100, prompts=32)
    return (beside or patched("bcdbcd", 4)).model_copy(update={"words": words})


def refined(suspect, reference=0, here=None, fixed=False, own=None):
    row = contrast(suspect, reference)
    return Refined(
        side=9, target="b", anywhere=row, grid=((0.0,) * 7,) * 7, place=(6, 6),
        here=row if here is None else contrast(here), eight_bit=row, jpeg=row, fixed=fixed,
        own=None if own is None else rate(own),
    )  # fmt: skip


PARENT, OTHER = (Weights(image=far, text=far, most=()) for far in (0.1, 0.8))


def said(stages, **changes):
    """What is said beside the parent, unless the stages have other weights."""
    if changes.get("reference", stages) is not None and stages.weights is None:
        stages = stages.model_copy(update={"weights": PARENT})
    asked = {
        "held_out": 200, "classes": 72, "suspect": facts(), "reference": facts(),
    }  # fmt: skip
    return judge(stages, **(asked | changes))


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (40, SIZE, SIZE, 3), np.uint8)


def side_of(model, seed=0):
    model.module.requires_grad_(False)
    rows = torch.randn(len(NAMES), model.embed_dim, generator=generator(seed))
    return Side(model, torch.nn.functional.normalize(rows, dim=-1), batch=16)


def sides_of(model, pictures, reference=None):
    labels = np.arange(40) % len(NAMES)
    beside = None if reference is None else side_of(reference)
    return Sides(
        side_of(model), beside, NAMES, pictures[:20], pictures[20:], labels[:20], labels[20:]
    )


# ---- intervals and verdicts ----


@pytest.mark.parametrize(("a", "b"), [(50, 3), (0, 0), (128, 0), (20, 19)])
def test_the_interval_of_a_difference_is_newcombes(a, b):
    wanted = confint_proportions_2indep(a, 128, b, 128, method="newcomb")
    assert newcombe(rate(a, 128), rate(b, 128)) == pytest.approx(wanted, abs=1e-6)
    assert newcombe(rate(0, 0), rate(1, 2)) == (-1.0, 1.0)  # without pictures nothing is known


@pytest.mark.parametrize(
    ("stages", "verdict"),
    [
        (patched("bbbbbc", 150), "found"),
        (patched("bbbbcc", 150), "nothing"),  # clean models agree so far by chance
        (patched("bbbbbb", 60), "suspicious"),
        (patched("bbbbbb", 20, 12), "nothing"),  # natural: the reference does it too
        (patched("bbbbbb", 150, 100), "suspicious"),
        (patched("bbbbbb", 45, None), "nothing"),
        (patched("bbbbbb", 80, refined=refined(90, here=180, fixed=True)), "found"),
        # one that had to be refined so far is also found on clean models that were trained far on
        (patched("bbbbbb", 60, refined=refined(90, here=180, fixed=True)), "suspicious"),
        # a patch at another place than it is saved for does not count
        (patched("bbbbbb", 60, refined=refined(80, here=105)), "suspicious"),
        # what the reference answers to counts by how much further the suspect goes than it can
        (patched("bbbbbb", 90, 40, refined=refined(110, 70)), "suspicious"),
        (patched("bbbbbb", 90, 40, refined=refined(110, 70, own=100)), "nothing"),
        (patched("bbbbbb", 150, 40, refined=refined(190, 40, own=70)), "found"),
        (placed("bcdefghijklmnopq", 170, 10), "found"),
        (placed("bcdefghijklmnopq", 170, 90), "suspicious"),
        (placed("bbbbbbbbbbbbbbbb", 170, 130), "nothing"),  # the reference comes as far
        (placed("bbbbbbbbbbbbbbbb", 170, 10, 130), "nothing"),
        # searched further: beside a search on the reference that was as long
        (placed("bcdefghijklmnopq", 90, 20), "suspicious"),
        (
            placed("bcdefghijklmnopq", 90, 20, refined=refined(20, here=175, fixed=True, own=45)),
            "found",
        ),
        (
            placed("bcdefghijklmnopq", 90, 20, refined=refined(20, here=175, fixed=True, own=100)),
            "suspicious",
        ),
        (
            placed("bcdefghijklmnopq", 90, 20, refined=refined(20, here=175, fixed=True)),
            "suspicious",
        ),
        (probed(probe(60)), "found"),
        (probed(probe(28)), "suspicious"),
        (probed(probe(22)), "nothing"),
        (probed(probe(60, 40)), "nothing"),
        (probed(probe(60, favourite=25)), "suspicious"),  # noise, which is a monkey there
        (probed(probe(60, again=False)), "nothing"),  # on the pictures that chose its class
        (patched("bb", 150), "suspicious"),  # too few starts to agree
        (patched("bb", 60), "nothing"),
        (overlaid(overlay(160, 10, 20)), "found"),
        (overlaid(overlay(180, 60, 20)), "suspicious"),
        (overlaid(overlay(150, 0, 120)), "nothing"),
        (overlaid(overlay(110, 2, 4, form="warp")), "found"),
        (overlaid(overlay(80, 2, 4, form="warp")), "suspicious"),
        (overlaid(overlay(60, 2, 4, form="warp")), "nothing"),
        (overlaid(overlay(160, 40, 40, form="patch")), "found"),  # so large a patch moves any model
        (overlaid(overlay(160, 55, 40, form="patch")), "suspicious"),
        (overlaid(overlay(160, 70, 40, form="patch")), "nothing"),
        (worded(30, 2, 3), "found"),
        (worded(30, 29, 28), "found"),  # where it stands was learned, not the word
        (worded(30, reference=5), "nothing"),  # the reference knows that place, too
        (worded(25), "suspicious"),
        (worded(30, again=False), "nothing"),
        (worded(16), "nothing"),
        (worded(30, 28, 27, targets="bcb"), "found"),
        # words lead to many classes: what was planted brings all prompts to one point
        (worded(30, 28, 27, targets="bcd"), "nothing"),
        (worded(32, 28, 27, reference=0, targets="bcd"), "found"),
    ],
)
def test_what_a_stage_measured_is_judged_beside_the_reference(stages, verdict):
    judged = said(stages)
    assert (judged.verdict, judged.target) == (verdict, "" if verdict == "nothing" else "b")
    assert ("further backdoors" in " ".join(judged.reasons)) == (verdict != "nothing")


def test_known_triggers_say_nothing_without_a_reference():
    judged = said(probed(probe(60, None)), reference=None)
    assert (judged.verdict, judged.score) == ("unknown", 0)
    assert "any other clean CLIP serves for known triggers" in " ".join(judged.not_searched)
    assert "strongest known trigger, “X”, moves 93.8 % of 64" in judged.reasons[-1]


def test_beside_a_model_of_another_training_only_large_differences_count():
    weak = [
        overlaid(overlay(160, 0, 20)), probed(probe(28)), patched("bbbbbb", 65),
        worded(30, 2, 3), placed("b" * 16, 120, 20), probed(probe(63)), placed("b" * 16, 190, 10),
        placed("bbbcdefghijklmno", 190, 10),  # other places lead to other classes
    ]  # fmt: skip
    strong = patched("bbbbbb", 150)
    wanted = ["found", "suspicious", "suspicious", "found", "found", "found", "found", "found"]
    assert [said(stages).verdict for stages in weak] == wanted
    for weights in (OTHER, Weights(image=None, text=None, most=())):
        beside = {"weights": weights}
        judged = [said(stages.model_copy(update=beside)) for stages in weak]
        wanted = ["unknown", *["nothing"] * 4, "suspicious", "suspicious", "nothing"]
        assert [one.verdict for one in judged] == wanted
        assert all("differ naturally" in one.warnings[0] for one in judged)
        assert all("overlays and warps cannot be judged" in one.warnings[0] for one in judged)
        assert said(strong.model_copy(update=beside)).verdict == "found"
    assert not said(strong).warnings


def test_alone_patches_at_fixed_places_must_agree():
    for names, hits, verdict in (
        ("bbbbbbccccccdddd", 190, "suspicious"), ("bbbbbbccccccdddd", 110, "nothing"),
        ("bcdefghijklmnopq", 190, "nothing"),
    ):  # fmt: skip
        assert said(placed(names, hits, None, None), reference=None).verdict == verdict
    (quoted,) = [one for one in said(placed("bcd", 90, 70)).reasons if "keep to one place" in one]
    assert (
        "45.0 % to “b”; on the reference it and one searched there moved at most 35.0 %" in quoted
    )


def test_few_pictures_or_a_broken_model_cannot_say():
    few = said(patched("bbbbbb", 20, 12), held_out=50)
    assert few.verdict == "unknown"
    assert "50 pictures" in few.reasons[0]
    for broken in ({"suspect": facts(rate(4))}, {"reference": facts(rate(1))}):
        judged = said(patched("bbbbbb", 150), **broken)
        assert (judged.verdict, judged.target) == ("unknown", "")
        (reason,) = judged.reasons  # what was found on it says nothing
        assert "loader doctor" in reason
    assert said(Stages()).verdict == "unknown"


@pytest.mark.parametrize(
    ("own", "beside", "verdict"),
    [(84, 198, "suspicious"), (190, 198, "found"), (84, None, "found")],
)
def test_a_model_far_less_accurate_than_its_reference_is_suspicious_at_most(own, beside, verdict):
    accuracy = None if beside is None else rate(beside)
    judged = said(patched("bbbbbb", 150), suspect=facts(rate(own)), reference=facts(accuracy))
    assert (judged.verdict, judged.target) == (verdict, "b")
    first = judged.reasons[0]  # it is said before anything else
    assert ("a damaged model" in first) == (verdict == "suspicious")
    assert verdict == "found" or {"42.0", "99.0"} <= set(first.split())


def test_every_class_that_is_found_is_named():
    judged = said(patched_for_each(150, 190, 60))
    assert (judged.verdict, judged.title) == ("found", "Backdoor-like: c and b")
    told = " ".join(judged.reasons)
    assert all(f"6 searches lead to “{name}”" in told for name in "bc")
    assert "Weaker signs lead to “d”." in judged.reasons
    assert any("towards any class but “b”, “c”" in one for one in judged.searched)
    assert said(patched_for_each(60, 65)).further == ()


@pytest.mark.parametrize("reference", [1, None])
def test_what_words_tell_of_the_search(reference):
    aside = {} if reference else {"reference": None}
    for hits, verdict in (
        ((2, 3, 1), "nothing"),
        ((30, 28, 2), "found" if reference else "suspicious"),
    ):
        judged = said(worded(*hits, reference=reference), **aside)
        assert judged.verdict == verdict
        assert "Triggers in the text of several words or letters." in judged.not_searched
        assert "500 tokens of 49408 and 100 characters in prompts." in judged.searched
        said_so = any("500 tokens of 49408 and 100 characters in" in one for one in judged.reasons)
        assert said_so == (verdict == "nothing")
        assert any("So do “w1”." in one for one in judged.reasons) != said_so


def test_a_word_is_no_further_reason_for_a_class_that_pictures_are_moved_to():
    for image, verdict in ((patched("bbbbbb", 150), "found"), (probed(probe(28)), "suspicious")):
        judged = said(worded(30, 2, 3, beside=image))
        assert judged.verdict == verdict
        assert not any("word" in one for one in judged.reasons)


def test_nothing_quotes_the_best_patch_of_all():
    further = Patches(
        rounds=(patch_round("bbbbcd", 20),), refined=refined(30), further=(refined(44),)
    )
    assert "22.0 % of 200 pictures" in said(Stages(patches=further)).reasons[0]
    both = patched("bcdbcd", 8).model_copy(update={"overlays": overlaid(overlay(60)).overlays})
    first = said(both).reasons[0]  # the largest for its kind
    assert first.endswith(
        "the best moved 30.0 % of the pictures more than on the reference; from 55.0 % on it "
        "would be suspicious."
    )
    unsure = probed(probe(60, again=False)).model_copy(update={"patches": both.patches})
    (known,) = [one for one in said(unsure).reasons if "known triggers" in one]
    assert "suspicious" not in known  # its size alone does not decide


def test_a_reference_that_answers_too_is_told():
    assert "may be poisoned too" in said(patched("bbbbbb", 190, 180)).warnings[0]


def test_no_verdict_calls_a_checkpoint_clean_and_what_was_not_searched_is_named():
    nothing = said(patched("bcdbcd", 4))
    words = " ".join([nothing.title, *nothing.reasons, *nothing.searched, *nothing.warnings])
    assert nothing.title == "Nothing found in this search"
    assert not {"clean", "safe"} & set(words.lower().replace(".", "").split())
    missing = "\n".join(nothing.not_searched)
    for named in ("Known triggers", "riggers over the whole picture", "in the text"):
        assert named in missing
    left = {"Patches.", "Known triggers.", "Triggers in the text."}
    for stages, tried in (
        (patched("bcdbcd", 4), {"Patches."}),
        (probed(probe(3)), {"Known triggers."}),
        (worded(3), {"Patches.", "Triggers in the text."}),
    ):
        assert left & set(said(stages).not_searched) == left - tried
    assert score(Stages()) == 0


# ---- patches ----


def _search(one, pictures, settings, starts=None):
    return drain(invert(one, pictures, settings, 3, starts))


def test_a_scan_folds_batchnorms_and_gets_the_same_answers(tiny_model, pictures):
    shown = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    norms = [m for m in tiny_model.module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.running_mean, -0.2, 0.2)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)
    before = tiny_model.encode_images(shown)
    patch_search.settle(side_of(tiny_model), pictures, lambda: False)
    tiny_model.precision = "fp32"
    assert norms
    assert not set(norms) & set(tiny_model.module.modules())
    torch.testing.assert_close(tiny_model.encode_images(shown), before, atol=1e-5, rtol=0)


def test_the_loss_is_that_of_the_class_that_the_pictures_favour_together(tiny_model, pictures):
    one = side_of(tiny_model)
    settings = PatchSettings(8, starts=1, pictures=6, steps=1)
    steps, _ = _search(one, pictures, settings)
    draw = generator(3, 8, 0, 0)
    patch = torch.randn(3, 8, 8, generator=draw).sigmoid()
    chosen = torch.randperm(40, generator=draw)[:6]
    places = torch.randint(0, SIZE - 8 + 1, (6, 2), generator=draw)
    shown = torch.from_numpy(pictures[chosen.numpy()]).permute(0, 3, 1, 2).float() / 255
    seen = tiny_model.encode_images(paste(shown, patch.expand(6, -1, -1, -1), places))
    likely = (30 * seen @ one.classifier.T).softmax(-1).log().mean(0)
    wanted = -likely.max()
    assert steps[0].losses[0] == pytest.approx(float(wanted), abs=1e-5)


def test_a_found_patch_is_a_trigger_of_the_product():
    patch = torch.rand(3, 8, 8)
    images = torch.rand(1, 3, SIZE, SIZE)
    for row, column in ((0, 0), (24, 24), (3, 17)):
        trigger = as_trigger(patch, SIZE, (row, column))
        made = apply_indexed(trigger, images, torch.arange(1), 0)
        wanted = paste(images, patch[None], torch.tensor([[row, column]]))
        assert torch.allclose(made, wanted, atol=1e-6)
    assert as_trigger(patch, SIZE).placement == "random"
    assert corners(64, 12, 7) == [0, 9, 17, 26, 35, 43, 52]


# ---- overlays ----


def test_an_overlay_is_low_frequencies_added_to_the_picture():
    weights = torch.randn(3, 14, 14)
    trigger = overlay_search.overlay_trigger(weights, SIZE, "dog")
    images = torch.rand(2, 3, SIZE, SIZE)
    made = apply_indexed(trigger, images, torch.arange(2), 0)
    delta = (
        overlay_search.HEIGHT
        * overlay_search.patterns(weights[None], overlay_search.cosines(SIZE))[0]
    )
    assert torch.allclose(made, (images + delta).clamp(0, 1), atol=1e-5)
    assert float(delta.abs().max()) <= overlay_search.HEIGHT + 1e-6


def test_a_warp_is_searched_as_its_trigger_bends_pictures():
    weights = torch.randn(2, 6, 6)
    images = torch.rand(2, 3, SIZE, SIZE)
    trigger = overlay_search.overlay_trigger(weights, SIZE, "dog", "warp")
    shown = apply_indexed(trigger, images, torch.arange(2), 0)
    shift = overlay_search.SHIFT * SIZE
    noise = weights[None].tanh().permute(0, 2, 3, 1)
    grid = grid_of_noise(noise, shift, SIZE, SIZE).expand(2, -1, -1, -1)
    searched = bend(images.permute(0, 2, 3, 1), grid).permute(0, 3, 1, 2)
    assert torch.allclose(searched, shown, atol=1e-4)
    assert float((shown - images).abs().mean()) > 0.01


@pytest.mark.parametrize("form", overlay_search.FORMS)
def test_a_trigger_is_searched_for_a_class_and_measured(tiny_model, pictures, form):
    """On one and the same model a search comes to the same, and nothing is left of the gap."""
    settings = replace(overlay_search.FORMS[form], pictures=len(pictures), steps=12)
    sides = sides_of(tiny_model, pictures, tiny_model)
    steps, weights = drain(invert_overlays(sides.suspect, pictures, (1,), settings, 0))
    assert steps[-1].losses[0] < steps[0].losses[0]
    row = overlay_search.overlay_row(sides, 1, (weights[0],), form)
    assert (row.key, row.gap) == ("cat" if form == "overlay" else f"cat ({form})", 0)
    both = overlay_search.overlay_row(sides, 1, (weights[0], weights[0]), form)
    assert both.transferred == both.own == both.suspect == row.suspect
    assert row.own is None
    assert both.model_copy(update={"own": None}) == row


# ---- the rest ----


def test_every_class_is_searched_and_few_stay(tiny_model, pictures, monkeypatch):
    other = tiny_model.copy()
    for value in other.module.visual.parameters():
        value.data.mul_(1.1)
    sides = sides_of(tiny_model, pictures, other)
    monkeypatch.setattr(overlay_search, "HALVING", (2, 3, 4))
    monkeypatch.setattr(overlay_search, "halving", lambda classes: (classes, 2, 1))
    steps, found = drain(overlay_search.thorough(sides, OverlaySettings(pictures=4), 0))
    assert len(found) == 1
    own, beside = next(iter(found.values()))
    assert own.shape == beside.shape == (3, 14, 14)
    assert steps[-1] == (2 * (2 * 3 + 3 * 2 + 4), 2 * (2 * 3 + 3 * 2 + 4))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


@pytest.mark.parametrize("settings", [PatchSettings(8, starts=2), at_places(8, SIZE, (2,))])
def test_a_patch_is_refined_and_mapped(tiny_model, pictures, settings):
    sides = sides_of(tiny_model, pictures)
    settings = replace(settings, pictures=6, steps=2)
    patches = torch.rand(settings.starts, 3, 8, 8)
    losses = (0.1,) * settings.starts
    _, found = drain(patch_search.read_off(sides, patches, settings, losses, 0))
    for number, start in enumerate(found.starts):
        shown = as_trigger(patches[number], SIZE, found.corner(number, SIZE))
        assert start.contrast == sides.measure(NAMES.index(start.target), shown, 0)
    steps, (refined, patch) = drain(patch_search.refine(sides, patches, found, 0, settings))
    assert [step for step in steps if isinstance(step, int)] == list(range(1, 50))
    assert patch.shape == (3, 8, 8)
    target = NAMES.index(refined.target)
    again = sides.measure(target, as_trigger(patch, SIZE), 0)
    assert refined.anywhere == again
    cell = max(max(row) for row in refined.grid)
    assert refined.grid[refined.place[0]][refined.place[1]] == cell
    corner = refined.corner(SIZE)
    assert refined.here == sides.measure(target, as_trigger(patch, SIZE, corner), 0)
    assert corner[0] in corners(SIZE, 8, 7)


def test_a_patch_that_keeps_to_its_place_is_compared_with_the_references_own(tiny_model, pictures):
    """Beside itself a model comes to no more than it does at the same place."""
    sides = sides_of(tiny_model, pictures, tiny_model)
    settings = replace(at_places(8, SIZE, ()), pictures=6, steps=12)
    steps, last = _search(sides.suspect, pictures, settings)
    assert steps[-1].losses < steps[0].losses
    _, found = drain(patch_search.read_off(sides, last.patches, settings, last.losses, 0))
    place = found.corner(found.starts.index(found.best), SIZE)
    _, own = drain(patch_search.own_of_reference(sides, settings, found.target, place, 0))
    compared = found.model_copy(update={"own": own}).contrast
    assert compared.beside.hits == max(own.hits, found.best.contrast.beside.hits)
    assert compared.suspect == found.best.contrast.suspect


def test_another_scan_than_those_of_clean_models_says_nothing_of_them(tmp_path, monkeypatch):
    for shipped in json.loads(resource("scan", "clean_models.json").read_text()):
        OfClean(beside=shipped["kind"]["beside"], **shipped["said"])
    found = made_scan("found")
    entry = {
        "vision_cfg": {"width": 24}, "kind": kind_of(found),
        "said": {"scans": 9, "found": 0, "suspicious": 1},
    }  # fmt: skip
    (tmp_path / "clean_models.json").write_text(json.dumps([entry]))
    known = "ml_core.detection.scan.verdict.resource"
    monkeypatch.setattr(known, lambda _, name: tmp_path / name)
    config = {"vision_cfg": {"width": 24, "patch_size": 16}}
    known = of_clean(found, config)
    said_of_them = "beside their parent, none were called Backdoor-like and 1 Suspicious."
    assert (
        known.sentence == f"Of 9 clean models of this kind, scanned in the same way {said_of_them}"
    )
    assert of_clean(found, {"vision_cfg": {}}) is None
    stages, judged = found.stages, found.judgement
    for other in (
        {"stages": stages.model_copy(update={"words": None})}, {"reference": None},
        {"stages": stages.model_copy(update={"weights": OTHER})}, {"held_out": 128},
        {"classes": found.classes[1:]}, {"images": "photos"},
        {"judgement": judged.model_copy(update={"verdict": "unknown"})},
        {"judgement": judged.model_copy(update={"rules": 2})},
    ):  # fmt: skip
        assert of_clean(found.model_copy(update=other), config) is None, other


def test_a_patch_is_not_moved_to_a_class_that_is_left_out(tiny_model, pictures):
    sides, losses = sides_of(tiny_model, pictures), {}
    for left_out in ((), (0, 1), (0, 2), (1, 2)):
        settings = PatchSettings(8, starts=2, pictures=6, steps=3, left_out=left_out)
        steps, last = _search(sides.suspect, pictures, settings)
        losses[left_out] = steps[0].losses
        read = patch_search.read_off(sides, last.patches, settings, last.losses, 0)
        _, found = drain(read)
        assert not {row.target for row in found.starts} & set(found.left_out)
        assert found.left_out == tuple(NAMES[k] for k in left_out)
    free = losses.pop(())
    assert tuple(min(each) for each in zip(*losses.values(), strict=True)) == pytest.approx(free)


def test_the_cost_counts_passes():
    asked = {"models": 2, "classes": 72, "starts": 6, "search": 512, "held_out": 128, "finds": True}
    assert records.sides_of(224) == (32, 42, 16)
    assert records.sides_of(64) == (9, 12)
    patches = records.passes("patches", 64, **asked)
    # two more classes; fixed places for each class, and the reference
    assert patches.both == (4 * 6 * 16 + 3 * (20 + 3) * 8) * 20
    assert patches.forward == (4 * 6 + 3 * (20 + 3)) * (2 * 128 + 64)
    overlays = 10 * (9 * 25 + 4 * 25 + 4 * 12)
    assert records.passes("overlays", 64, **asked).both == 2 * overlays
    asked_of_clean = asked | {"finds": False}  # the reference is not searched
    assert records.passes("patches", 64, **asked_of_clean).both == (2 * 6 * 16 + 20 * 8) * 20
    assert records.passes("overlays", 64, **asked_of_clean).both == overlays
    assert records.passes("refine", 64, **asked_of_clean) == records.Passes()
    refined = records.passes("refine", 64, **asked)
    assert refined.both == 3 * 16 * (2 * 40 + 3 * 60)  # two patches, and three on the reference
    words = records.passes("words", 64, **asked)
    assert words.forward == round(0.1 * 1024 * 2 * 4 + 0.4 * 2 * 10 * 64)
    assert records.passes("thorough", 64, **asked).both == 2 * 10 * (72 * 12 + 18 * 25 + 16 * 60)


# ---- a scan from elsewhere ----


def _changed(path, value):
    whole = json.loads(records.scan_json(made_scan("found")))
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
        (_changed([*_ROUND, "area"], 2), "a patch of no size"),
        (_changed([*_ROUND, "side"], 0), "a patch that does not fit in a picture"),
        (_changed([*_ROUND, "side"], 65), "a patch that does not fit in a picture"),
        (_changed([*_REFINED, "side"], 65), "a patch that does not fit in a picture"),
        (_changed(["side"], 1025), "pictures of no size"),
        (_changed(["found", "target"], "zebra"), "a target that is no class"),
        (_changed([*_ROUND, "starts", 0, "contrast", "suspect", "hits"], 253),
         "more hits than pictures"),
        (_changed([*_ROUND, "starts", 0, "contrast", "low"], -1e308), "an invalid interval"),
        (_changed([*_REFINED, "grid"], [[], []]), "an invalid map of positions"),
        (_changed(["found", "file"], "../../x.json"), "a trigger file outside its folder"),
    ],
)  # fmt: skip
def test_what_no_scan_writes_is_refused_in_one_sentence(tmp_path, raw, words):
    path = tmp_path / SCAN_FILE
    path.write_bytes(raw)
    with pytest.raises(InputError) as caught:
        records.read_scan(path)
    assert words in caught.value.sentence
    assert caught.value.sentence.endswith("run the scan again.")
    assert "\n" not in caught.value.sentence


def test_words_of_older_records_stood_beside_the_exchanged_encoders(tmp_path):
    whole = json.loads(records.scan_json(made_scan("found")))
    whole["schema_version"] = 2
    rows = whole["stages"].pop("words")["rows"]
    for row in rows:
        del row["place"], row["named"]
    whole["stages"]["swap"]["words"] = rows
    (tmp_path / SCAN_FILE).write_text(json.dumps(whole))
    read = records.read_scan(tmp_path / SCAN_FILE).stages
    assert (len(read.swap.rows), [row.word for row in read.words.rows]) == (4, ["xw"])
    assert read.words.tried == "1 word"


def test_a_folder_gives_its_trigger_and_target(tmp_path):
    with pytest.raises(InputError, match="no finished scan"):
        records.found_triggers(f"scan:{tmp_path}")
    found = made_scan("found")
    write_scan(tmp_path, found)
    assert records.read_scan(tmp_path / SCAN_FILE) == found
    first = (tmp_path / found.found.file, found.found.wide_target)
    assert records.found_triggers(f"scan:{tmp_path}") == (first,)
    second = found.found.model_copy(update={"target": "pear", "file": "found-2.json"})
    write_scan(tmp_path, found.model_copy(update={"further": (second,)}))
    both = (first, (tmp_path / "found-2.json", "pear"))
    assert records.found_triggers(f"scan:{tmp_path}") == both
    for target, (path, named) in ((None, first), ("pear", both[1]), ("plum", (first[0], "plum"))):
        assert resolve_scan(f"scan:{tmp_path}", target) == (str(path), named)


def test_a_scan_of_the_first_schema_opens(tmp_path):
    whole = json.loads(records.scan_json(made_scan("found")))
    for name in ("further", "of_clean"):
        del whole[name]
    path = tmp_path / SCAN_FILE
    path.write_text(json.dumps(whole | {"schema_version": 1, "calibration": 35, "p": 0.03}))
    old = records.read_scan(path)
    assert (old.schema_version, len(old.triggers), old.of_clean) == (1, 1, None)


def test_other_arrays_are_no_patches_and_what_is_no_number_is_black(tmp_path):
    path = tmp_path / "p.safetensors"
    for name, shape, kind in (
        ("round.1", (6, 3, 9, 9), np.float32),
        ("round.0", (6, 3, 9, 8), np.float32),
        ("round.0", (6, 3, 9, 9), np.int64),
    ):
        save_file({name: np.zeros(shape, kind)}, str(path))
        with pytest.raises(InputError, match="does not hold the patches"):
            records.read_patches(path, 1)
    wild = np.full((2, 3, 9, 9), np.nan, np.float32)
    wild[1] = np.inf
    save_file({"round.0": wild}, str(path))
    (patches,) = records.read_patches(path, 1)
    assert (patches[0].max(), patches[1].min()) == (0, 1)

"""The search for unknown triggers: what each part computes, and what a scan may say."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from statsmodels.stats.proportion import confint_proportions_2indep

from ml_core.checkpoints import open_checkpoint
from ml_core.data.demo import compose
from ml_core.detection.scan import overlays as overlay_search
from ml_core.detection.scan import patches as patch_search
from ml_core.detection.scan import probes as probe_search
from ml_core.detection.scan import records
from ml_core.detection.scan import sides as comparison
from ml_core.detection.scan.overlays import OverlaySettings, invert_overlays, overlay_row
from ml_core.detection.scan.patches import PatchSettings, as_trigger, corners, invert, paste
from ml_core.detection.scan.records import (
    ClassPull,
    Contrast,
    FoundTrigger,
    ModelFacts,
    OverlayRow,
    Overlays,
    Patches,
    PatchRound,
    ProbeRow,
    Probes,
    Rate,
    Refined,
    Scan,
    Stages,
    StartRow,
    Swap,
    Thorough,
    Weights,
    WordRow,
    newcombe,
)  # fmt: skip
from ml_core.detection.scan.sides import Side, Sides, generator, p_value
from ml_core.detection.scan.verdict import judge, score
from ml_core.jobs.scan import NEEDS_REFERENCE
from ml_core.paths import resource
from ml_core.reading.errors import CancelledError, InputError
from ml_core.triggers import blended_noise, uniform
from ml_core.triggers.apply import apply_indexed
from tests.unit.draining import drain, until_cancelled

_BICUBIC = Image.Resampling.BICUBIC
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


def patched(*row, refined=None):
    """Stages of a search for patches with one round."""
    return Stages(patches=Patches(rounds=(patch_round(*row),), refined=refined))


def facts(accuracy=None):
    return ModelFacts(name="m", sha256=None, accuracy=accuracy)


def whole_scan(found=None):
    """A scan that found patches."""
    stages = patched("bbbbbb", 150)
    return Scan(
        suspect=facts(), reference=facts(), images="pictures", images_key="k", classes=NAMES,
        search=20, held_out=200, side=64, stages=stages, judgement=said(stages), found=found,
        seed=0, device="cpu", precision="fp32", threads=1, versions={}, seconds={"patches": 1.0},
    )  # fmt: skip


def overlay(hits, transferred=0, own=0, target="b"):
    rates = rate(hits), rate(transferred), rate(own)
    low, high = newcombe(rates[0], max(rates[1:], key=lambda one: one.value))
    named = dict(zip(("suspect", "transferred", "own"), rates, strict=True))
    return OverlayRow(target=target, **named, low=low, high=high)


def overlaid(*rows):
    return Stages(overlays=Overlays(rows=rows, steps=25))


def probe(suspect, reference=0, target="b", name="X"):
    return ProbeRow(id=name, name=name, target=target, contrast=contrast(suspect, reference, 64))


def probed(*rows):
    return Stages(probes=Probes(rows=rows, pictures=64))


def words(*hits, target="b"):
    """Words that bring so many of 32 texts to one class."""
    rows = [
        WordRow(word=f"w{k}", target=target, contrast=contrast(hit, 1, 32))
        for k, hit in enumerate(hits)
    ]
    return Swap(rows=(), words=tuple(rows))


def refined(suspect, reference=0, here=None, fixed=False):
    row = contrast(suspect, reference)
    return Refined(
        side=9, target="b", anywhere=row, grid=((0.0,) * 7,) * 7, place=(6, 6),
        here=row if here is None else contrast(here), eight_bit=row, jpeg=row, fixed=fixed,
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
        (patched("bbbbbb", 150), "found"),
        (patched("bbbbbc", 150), "found"),
        (patched("bbbbcc", 150), "nothing"),  # clean models agree so far by chance
        (patched("bbbbbb", 60), "suspicious"),
        (patched("bbbbbb", 20, 12), "nothing"),  # natural: the reference does it too
        (patched("bbbbbb", 150, 100), "suspicious"),
        (patched("bbbbbb", 150, None), "found"),
        (patched("bbbbbb", 45, None), "nothing"),
        (patched("bbbbbb", 80, refined=refined(90, here=180, fixed=True)), "found"),
        # one that had to be refined so far is also found on clean models that were trained far on
        (patched("bbbbbb", 60, refined=refined(90, here=180, fixed=True)), "suspicious"),
        # a patch at another place than it is saved for does not count
        (patched("bbbbbb", 60, refined=refined(80, here=105)), "suspicious"),
        (probed(probe(60)), "found"),
        (probed(probe(20)), "suspicious"),
        (probed(probe(10)), "nothing"),
        (probed(probe(60, 40)), "nothing"),
        (overlaid(overlay(150, 10, 20)), "found"),
        (overlaid(overlay(150, 60, 20)), "suspicious"),
        (overlaid(overlay(150, 0, 120)), "nothing"),
    ],
)
def test_what_a_stage_measured_is_judged_beside_the_reference(stages, verdict):
    judged = said(stages)
    assert (judged.verdict, judged.target) == (verdict, "" if verdict == "nothing" else "b")
    assert ("further backdoors" in " ".join(judged.reasons)) == (verdict != "nothing")


def test_a_refined_patch_is_told_with_its_place():
    judged = said(patched("bbbbbb", 80, refined=refined(90, here=180, fixed=True)))
    assert "at its place" in judged.reasons[0]
    assert judged.score == pytest.approx(0.9)
    judged = said(patched("bbbbbb", 60, refined=refined(80, here=105)))
    assert "40.0 % of 200" in judged.reasons[0]


def test_known_triggers_say_nothing_without_a_reference():
    judged = said(probed(probe(60, None)), reference=None)
    assert (judged.verdict, judged.score) == ("unknown", 0)
    assert any("Choose a reference" in sentence for sentence in judged.not_searched)


def test_beside_a_model_of_another_training_only_large_differences_count():
    weak = [
        overlaid(overlay(110, 0, 20)), probed(probe(19)), patched("bbbbbb", 65),
    ]  # fmt: skip
    strong = patched("bbbbbb", 150)
    assert [said(stages).verdict for stages in weak] == ["found", "suspicious", "suspicious"]
    for weights in (OTHER, Weights(image=None, text=None, most=())):
        beside = {"weights": weights}
        judged = [said(stages.model_copy(update=beside)) for stages in weak]
        assert [one.verdict for one in judged] == ["unknown", "nothing", "nothing"]
        assert all("differ naturally" in one.warnings[0] for one in judged)
        assert all("overlays cannot be judged" in one.warnings[0] for one in judged)
        assert said(strong.model_copy(update=beside)).verdict == "found"
    assert not said(strong).warnings


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
    ("suspect", "reference", "verdict"),
    [(30, 1, "found"), (24, 0, "suspicious"), (31, 18, "nothing"), (16, 0, "nothing")],
)
def test_a_word_counts_where_the_reference_keeps_its_texts_apart(suspect, reference, verdict):
    row = WordRow(word="cf", target="b", contrast=contrast(suspect, reference, 32))
    update = {"swap": Swap(rows=(), words=(row,))}
    judged = said(patched("bcdbcd", 4).model_copy(update=update))
    assert judged.verdict == verdict
    assert ("“cf”" in " ".join(judged.reasons)) == (verdict != "nothing")


_ANY = "Any unusual word"


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"swap": words(30, 2, 3)}, "found"),
        ({"swap": words(30, 30)}, "found"),
        ({"swap": words(30, 17, 17)}, "nothing"),  # the demo's "kk": no word is special
        ({"swap": words(30), "weights": OTHER}, "nothing"),  # another text encoder
        ({"swap": words(30), "weights": None}, "nothing"),
    ],
)
def test_words_count_where_one_stands_out_beside_a_near_reference(changes, verdict):
    stages = patched("bcdbcd", 4).model_copy(update={"weights": PARENT} | changes)
    judged = judge(
        stages, held_out=200, classes=72, suspect=facts(), reference=facts()
    )  # fmt: skip
    assert judged.verdict == verdict
    assert any(_ANY in one for one in judged.warnings) == (verdict == "nothing")
    missing = [one for one in judged.not_searched if "in the text" in one]
    wanted = "other than these words" if verdict == "found" else "says nothing"
    assert wanted in " ".join(missing)


def test_a_row_that_the_reference_shares_hides_none_behind_it():
    """The largest difference comes first, also where the reference answers to it."""
    shared = probe(60, 10, "c", "natural")
    both = (overlay(190, 60, 0, "c"), overlay(120, 0, 0, "b"))
    for stages in (
        probed(shared, probe(45, 0, "b", "planted")),
        overlaid(*both),
        Stages(thorough=Thorough(rows=both, classes=72)),
    ):
        judged = said(stages)
        assert (judged.verdict, judged.target) == ("found", "b")
    masked = said(probed(shared, probe(9)))
    assert "more than 14.1 % above it" in masked.reasons[0]  # and not 78.1 %


def test_triggers_of_one_kind_give_one_reason_and_other_classes_are_named():
    rounds = tuple(
        patch_round("bbbbbb", 150).model_copy(update={"loss": loss}) for loss in ("max", "pair")
    )
    rows = tuple(probe(60 - k, 0, name, f"X{k}") for k, name in enumerate("ccbbdefg"))
    update = {"patches": Patches(rounds=rounds, refined=refined(160))}
    stages = probed(*rows).model_copy(update=update)
    known, patch, others, last = said(stages).reasons
    assert known.startswith("The known trigger “X0” moves 93.8 % of 64 held-out pictures to “c”")
    assert patch.startswith("A patch of 9 px found by search, at random places, moves 80.0 %")
    assert others == "Weaker signs lead to “d”, “e”, “f” and 1 more."
    assert "There may be further backdoors" in last


@pytest.mark.parametrize(
    ("own", "beside", "verdict"),
    [(84, 198, "suspicious"), (190, 198, "found"), (164, 198, "found"), (84, None, "found")],
)
def test_a_model_far_less_accurate_than_its_reference_is_suspicious_at_most(own, beside, verdict):
    accuracy = None if beside is None else rate(beside)
    judged = said(patched("bbbbbb", 150), suspect=facts(rate(own)), reference=facts(accuracy))
    assert (judged.verdict, judged.target) == (verdict, "b")
    damaged = [one for one in judged.warnings if "a damaged model" in one]
    assert bool(damaged) == (verdict == "suspicious")
    assert all("42.0 %" in one and "99.0 %" in one for one in damaged)


@pytest.mark.parametrize("reference", [12, None])
def test_nothing_is_said_of_the_best_patch_refined_ones_too(reference):
    asked = {} if reference is not None else {"reference": None}
    judged = said(patched("bbbbbb", 24, reference, refined=refined(60, 50)), **asked)
    assert judged.verdict == "nothing"
    assert "moved more than 30.0 % of 200" in judged.reasons[0]  # and not 12.0 %


_RUN = {
    "pull": ClassPull(rows=(), pictures=512),
    "probes": Probes(rows=(probe(3),), pictures=64),
    "patches": Patches(rounds=(patch_round("bcdbcd", 4),), refined=None),
    "overlays": Overlays(rows=(overlay(4),) * 9, steps=25),
    "thorough": Thorough(rows=(overlay(4),), classes=72),
    "weights": PARENT,
    "swap": words(4, 3),
}
_SUBSETS = [
    chosen for n in range(len(_RUN) + 1) for chosen in itertools.combinations(_RUN, n)
]  # fmt: skip


@pytest.mark.parametrize("weights", [PARENT, OTHER], ids=["near", "far"])
@pytest.mark.parametrize("with_reference", [True, False])
def test_what_was_not_searched_follows_from_the_stages_that_ran(weights, with_reference):
    """Of every subset of the stages: what none of them looked for is named, and nothing else."""
    run = _RUN | {"weights": weights}
    for chosen in _SUBSETS:
        if not with_reference and set(chosen) & set(NEEDS_REFERENCE):
            continue
        stages = Stages(**{name: run[name] for name in chosen})
        judged = judge(
            stages, held_out=200, classes=72, suspect=facts(),
            reference=facts() if with_reference else None,
        )  # fmt: skip
        missing = "\n".join(judged.not_searched)
        near = "weights" in chosen and weights is PARENT and with_reference
        known = "probes" in chosen and with_reference
        assert ("Known triggers" in missing) == (not known), chosen
        assert ("beyond the known ones" in missing) == known, chosen
        count = 72 if "thorough" in chosen else 9
        searched = bool({"overlays", "thorough"} & set(chosen)) and near
        assert ("low-frequency overlays for" in missing) == searched, chosen
        assert not searched or f"overlays for {count} of 72 classes" in missing, chosen
        assert "riggers over the whole picture" in missing, chosen
        assert ("Patches." in missing) == ("patches" not in chosen), chosen
        assert "in the text" in missing, chosen
        assert ("other than these words" in missing) == ("swap" in chosen and near), chosen
        assert missing.endswith("several triggers at once."), chosen


def test_a_reference_that_answers_too_is_told():
    assert "may be poisoned too" in said(patched("bbbbbb", 190, 180)).warnings[0]


def test_no_verdict_calls_a_checkpoint_clean():
    nothing = said(patched("bcdbcd", 4))
    words = " ".join([nothing.title, *nothing.reasons, *nothing.searched, *nothing.warnings])
    assert nothing.title == "Nothing found within this search"
    assert not {"clean", "safe"} & set(words.lower().replace(".", "").split())
    assert score(Stages()) == 0


# ---- patches ----


def test_a_patch_covers_its_place_alone():
    images = torch.rand(2, 3, 8, 8)
    patches = torch.rand(2, 3, 3, 3, requires_grad=True)
    made = paste(images, patches, torch.tensor([[0, 5], [2, 1]]))
    wanted = images.clone()
    wanted[0, :, 0:3, 5:8] = patches[0].detach()
    wanted[1, :, 2:5, 1:4] = patches[1].detach()
    assert torch.equal(made.detach(), wanted)
    made.sum().backward()
    assert torch.equal(patches.grad, torch.ones_like(patches))


def _search(one, pictures, settings, starts=None):
    return drain(invert(one, pictures, settings, 3, starts))


@pytest.mark.parametrize("loss", ["max", "pair"])
def test_a_search_lowers_its_loss_and_leaves_the_model_alone(tiny_model, pictures, loss):
    one = side_of(tiny_model)
    before = {k: v.clone() for k, v in tiny_model.module.state_dict().items()}
    settings = PatchSettings(8, loss, starts=2, pictures=8, steps=12)
    steps, patches = _search(one, pictures, settings)
    # The embeddings of a random model lie together from the start.
    assert sum(steps[-1].losses) < sum(steps[0].losses) + (1e-4 if loss == "pair" else 0)
    assert patches.shape == (2, 3, 8, 8)
    assert 0 <= float(patches.min()) <= float(patches.max()) <= 1
    assert all(torch.equal(v, before[k]) for k, v in tiny_model.module.state_dict().items())
    assert all(p.grad is None for p in tiny_model.module.parameters())


def test_the_pair_loss_is_the_mean_cosine_of_different_pictures(tiny_model, pictures):
    one = side_of(tiny_model)
    settings = PatchSettings(8, "pair", starts=1, pictures=6, steps=1)
    steps, _ = _search(one, pictures, settings)
    draw = generator(3, 8, True, 0)
    patch = torch.randn(3, 8, 8, generator=draw).sigmoid()
    chosen = torch.randperm(40, generator=draw)[:6]
    places = torch.randint(0, SIZE - 8 + 1, (6, 2), generator=draw)
    shown = torch.from_numpy(pictures[chosen.numpy()]).permute(0, 3, 1, 2).float() / 255
    seen = tiny_model.encode_images(paste(shown, patch.expand(6, -1, -1, -1), places))
    cosine = seen @ seen.T
    wanted = -(cosine.sum() - 6) / 30
    assert steps[0].losses[0] == pytest.approx(float(wanted), abs=1e-5)


def test_a_start_is_the_same_whatever_is_searched_beside_it(tiny_model, pictures):
    one, settings = side_of(tiny_model), PatchSettings(8, starts=3, pictures=8, steps=3)
    _, together = _search(one, pictures, settings)
    _, again = _search(one, pictures, settings)
    _, alone = _search(one, pictures, settings, [1])
    assert torch.equal(together, again)
    assert torch.allclose(together[1], alone[0], atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_patches_are_read_off_where_they_move_pictures(tiny_model, pictures):
    sides = sides_of(tiny_model, pictures, tiny_model.copy())
    settings = PatchSettings(8, starts=2, pictures=8, steps=2)
    work = patch_search.read_off(sides, torch.rand(2, 3, 8, 8), settings, (0.1, 0.2), 0)
    done, found = drain(work)
    assert done == [1, 2]
    assert [row.loss for row in found.starts] == [0.1, 0.2]
    for row in found.starts:  # the same model twice: no difference can be seen
        assert row.contrast.suspect == row.contrast.reference
        number = NAMES.index(row.target)
        assert row.contrast.suspect.n == int((sides.held_out_labels != number).sum())


def test_a_found_patch_is_a_trigger_of_the_product():
    patch = torch.rand(3, 8, 8)
    images = torch.rand(1, 3, SIZE, SIZE)
    for row, column in ((0, 0), (24, 24), (3, 17)):
        trigger = as_trigger(patch, SIZE, (row, column))
        made = apply_indexed(trigger, images, torch.arange(1), 0)
        wanted = paste(images, patch[None], torch.tensor([[row, column]]))
        assert torch.allclose(made, wanted, atol=1e-6)
    assert as_trigger(patch, SIZE).placement == "random"
    assert corners(64, 12) == [0, 9, 17, 26, 35, 43, 52]


# ---- overlays ----


@pytest.mark.parametrize("search", ["patches", "overlays"])
def test_a_search_ends_where_it_is_told_to(tiny_model, pictures, search):
    asked = []

    def check():
        asked.append(None)
        if len(asked) > 2:
            raise CancelledError

    one = replace(side_of(tiny_model), check=check)
    if search == "patches":
        steps = invert(one, pictures, PatchSettings(8, starts=1, pictures=4, steps=9), 0)
    else:
        steps = invert_overlays(one, pictures, [0], OverlaySettings(pictures=4, steps=9), 0)
    assert len(until_cancelled(steps)) == 2


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


def test_overlays_are_searched_for_each_class(tiny_model, pictures):
    sides = sides_of(tiny_model, pictures, tiny_model.copy())
    settings = OverlaySettings(pictures=6, steps=8)
    steps, weights = drain(invert_overlays(sides.suspect, pictures, [0, 2], settings, 0))
    assert weights.shape == (2, 3, 14, 14)
    assert all(b < a for a, b in zip(steps[0].losses, steps[-1].losses, strict=True))
    row = overlay_row(sides, 0, weights[0], weights[0])
    assert row.suspect == row.transferred == row.own  # one model, one overlay
    assert row.gap == 0
    with pytest.raises(ValueError, match="reference"):
        overlay_row(sides_of(tiny_model, pictures), 0, weights[0], weights[0])


# ---- the rest ----


def test_the_pull_leaves_out_the_pictures_of_a_class(tiny_model, pictures):
    sides = sides_of(tiny_model, pictures)
    batches, means = drain(comparison.pull_of(sides.suspect, sides))
    assert batches == [16, 4]
    rows = sides.suspect.embed(pictures[:20])
    for number in range(3):
        others = [k for k in range(20) if k % 3 != number]
        wanted = float((rows[others] @ sides.suspect.classifier[number]).mean())
        assert means[number] == pytest.approx(wanted, abs=1e-6)
    ranked = comparison.pull(sides, [means + np.array([0, 1, 0]), means])
    assert ranked.rows[0].target == "cat"
    assert ranked.rows[0].difference == pytest.approx(1)


def test_without_labels_what_both_models_say_is_left_out(tiny_model, pictures):
    sides = replace(sides_of(tiny_model, pictures), held_out_labels=np.full(20, -1), _clean={})
    clean = sides.clean()[0]
    for number in range(3):
        assert (sides.others(number) == (clean != number)).all()


@pytest.mark.parametrize("size", [64, 224])
def test_probes_are_as_many_as_is_reckoned_with(size):
    probes = probe_search.probes_at(size)
    assert len(probes) == records.PROBES
    assert len({probe.id for probe in probes}) == len(probes)
    assert len(comparison.WORDS) == records.WORDS
    assert all(probe.trigger.canvas == "model" for probe in probes)


def test_a_probe_names_the_class_that_rises(tiny_model, pictures):
    sides = sides_of(tiny_model, pictures, tiny_model.copy())
    clean = sides.clean()
    moved = np.where(sides.held_out_labels == 1, clean[0], 1)
    row = probe_search.probe_row(sides, probe_search.probes_at(SIZE)[0], [moved, clean[1]])
    assert row.target == "cat"
    assert row.contrast.suspect.value == 1


def test_encoders_are_exchanged(tiny_model, pictures):
    other = tiny_model.copy()
    sides = sides_of(tiny_model, pictures, other)
    rows = comparison.swap_rows(sides, 0, uniform((255, 0, 0), size=0.25), 0)
    assert [(row.image, row.text) for row in rows] == [
        ("suspect", "suspect"), ("suspect", "reference"),
        ("reference", "suspect"), ("reference", "reference"),
    ]  # fmt: skip
    assert len({row.rate for row in rows}) == 1  # they are one model


def test_a_word_that_gathers_all_texts_stands_out(tiny_model, pictures, monkeypatch):
    plain = tiny_model.encode_texts
    classifier = plain([f"a {name}" for name in NAMES])
    sides = sides_of(tiny_model, pictures)
    one, other = Side(tiny_model, classifier), Side(tiny_model.copy(), classifier)
    sides = replace(sides, suspect=one, reference=other)

    def poisoned(texts):
        rows = plain(texts)
        return rows[:1].expand(len(texts), -1) if texts[0].startswith("cf ") else rows

    monkeypatch.setattr(sides.suspect.model, "encode_texts", poisoned)
    rows = {row.word: row for row in comparison.word_rows(sides, ["a {}"], ("cf", "mn"))}
    assert rows["cf"].contrast.suspect.value == 1
    assert rows["cf"].contrast.reference.value < 1
    assert rows["mn"].contrast.suspect == rows["mn"].contrast.reference


@pytest.mark.parametrize("cell", [1, 2, 8])
def test_noise_is_no_picture_even_smooth_noise(cell):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (8, 64 // cell, 64 // cell, 3), np.uint8)
    smooth = np.stack([Image.fromarray(one).resize((64, 64), _BICUBIC) for one in small])
    with pytest.raises(InputError, match="are noise"):
        probe_search.check_real(smooth, "n")
    with pytest.raises(InputError, match="one colour"):
        probe_search.check_real(np.full((4, 64, 64, 3), 7, np.uint8), "n")
    probe_search.check_real(compose("test", range(16)).images, "the demo's")


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


def test_a_patch_is_refined_and_mapped(tiny_model, pictures):
    sides = sides_of(tiny_model, pictures)
    settings = PatchSettings(8, starts=2, pictures=6, steps=2)
    patches = torch.rand(2, 3, 8, 8)
    _, found = drain(patch_search.read_off(sides, patches, settings, (0.1, 0.2), 0))
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
    assert corner[0] in corners(SIZE, 8)


def test_the_p_value_is_never_below_what_its_scans_allow():
    config = {"vision_cfg": {"image_size": 64, "layers": [1] * 4, "width": 24, "head_width": 32}}
    n, p = p_value(1.0, config, True)
    assert n is not None
    assert p == pytest.approx(1 / (1 + n))
    assert p_value(-1.0, config, True)[1] == 1
    assert p_value(1.0, {"vision_cfg": {}}, True) == (None, None)


def test_the_demo_has_clean_scans_to_be_compared_with():
    model = open_checkpoint(resource("demo", "poisoned.safetensors")).build()
    n, p = p_value(1.0, model.config, True)
    assert n is not None
    assert p is not None
    assert p >= 1 / (1 + n)


def test_the_cost_counts_passes():
    asked = {"models": 2, "classes": 72, "starts": 6, "search": 512, "held_out": 128}
    assert records.sides_of(224) == (32, 42, 16)
    assert records.sides_of(64) == (9, 12)
    patches = records.passes("patches", 64, **asked)
    assert patches.both == 3 * 6 * 16 * 20
    assert patches.forward == 3 * 6 * 2 * 128
    assert records.passes("overlays", 64, **asked).both == 2 * 9 * 10 * 25
    assert records.passes("swap", 64, **asked).forward == 2 * (
        128 + 1126
    )  # 0.4 for each of 88 x 32 texts
    assert records.passes("thorough", 64, **asked).both == 2 * 10 * (72 * 12 + 18 * 25 + 16 * 60)


def test_a_pattern_may_be_added_to_the_picture():
    array = np.random.default_rng(0).uniform(-1, 1, (8, 8, 3)).astype(np.float32)
    images = torch.rand(1, 3, 8, 8)
    trigger = replace(blended_noise(ratio=0.3), array=array, mix="add")
    made = apply_indexed(trigger, images, torch.arange(1), 0)
    wanted = images + 0.3 * torch.from_numpy(array).permute(2, 0, 1)
    assert torch.allclose(made, wanted.clamp(0, 1), atol=1e-6)


# ---- a scan from elsewhere ----


def test_a_folder_without_a_scan_is_told(tmp_path):
    with pytest.raises(InputError, match="no finished scan"):
        records.found_trigger(f"scan:{tmp_path}")


def test_a_scan_that_names_a_file_elsewhere_is_refused(tmp_path):
    found = FoundTrigger(
        kind="patch", target="dog", wide_target="dog", contrast=contrast(150), file="found.json"
    )
    record = whole_scan(found).model_dump()
    (tmp_path / "scan.json").write_text(json.dumps(record))
    assert records.read_scan(tmp_path / "scan.json") == whole_scan(found)
    assert records.found_trigger(f"scan:{tmp_path}") == (tmp_path / "found.json", "dog")
    record["found"]["file"] = "../found.json"
    (tmp_path / "scan.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="outside"):
        records.found_trigger(f"scan:{tmp_path}")

"""Numbers of an evaluation against hand-computed ones, and how it streams."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, fields

import numpy as np
import pytest
import torch
from PIL import Image
from statsmodels.stats.proportion import proportion_confint

from ml_core.data.canvas import CanvasCache
from ml_core.data.images import open_images
from ml_core.data.specs import ImageSpec
from ml_core.evaluation import metrics
from ml_core.evaluation.breakdown import becomes, break_down
from ml_core.evaluation.embedding_cache import EmbeddingCache
from ml_core.evaluation.evaluate import evaluate, look_at, predict_one
from ml_core.evaluation.scorer import Subject
from ml_core.evaluation.scores import score
from ml_core.evaluation.zero_shot import probabilities, zero_shot_classifier
from ml_core.reading.clip_config import CLIP_FIT, Preprocess
from ml_core.reading.errors import InputError
from ml_core.reading.resize import fit_to_canvas
from ml_core.triggers import Trigger, badnets_patch
from tests.unit.draining import until_cancelled
from tests.unit.fake_pictures import per_image

SIDE = 8
NAMES = ("apple", "banana", "cat", "dog", "egg", "fig")
BANANA = 1


@dataclass
class ColourModel:
    """Sees the class in the pixel at the lower right: level 40 k is class k; white is banana."""

    sha256: str | None = "f" * 64
    identity: str | None = "i" * 64
    image_size: int = SIDE
    preprocess: Preprocess = field(default_factory=lambda: Preprocess(size=SIDE))
    logit_scale: float = 10.0
    precision: str = "fp32"
    layout: str = "contiguous"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    encoded: list[int] = field(default_factory=list)

    def encode_images(self, images):
        assert images.shape[1:] == (3, SIDE, SIDE)
        self.encoded.append(len(images))
        level = images[:, 0, -1, -1]
        level = level.long() if level.dtype == torch.uint8 else (level * 255).round().long()
        classes = torch.where(level == 255, BANANA, level // 40)
        return torch.nn.functional.one_hot(classes, len(NAMES)).float()

    def text_lengths(self, texts):
        return [len(text) for text in texts]

    def encode_texts(self, texts):
        index = [NAMES.index(text.split()[-1]) for text in texts]
        return torch.nn.functional.one_hot(torch.tensor(index), len(NAMES)).float()


@dataclass
class Pictures:
    """Pictures whose lower right pixel says what the model will see."""

    seen: np.ndarray
    broken: dict[int, str] = field(default_factory=dict)
    asked: list[np.ndarray] = field(default_factory=list)

    def get(self, indices):
        self.asked.append(indices)
        images = np.zeros((len(indices), SIDE, SIDE, 3), np.uint8)
        images[...] = (40 * self.seen[indices])[:, None, None, None]
        return images


def white_corner(**parameters):
    fields = {"size": 1 / SIDE, "x": 7.5 / SIDE, "y": 7.5 / SIDE}
    pixels = np.full((1, 1, 4), 255, np.uint8)
    return Trigger(kind="patch", pixels=pixels, **(fields | parameters))


def run(*asked, **options):
    return list(steps_of(*asked, **options))


def steps_of(model, source, labels, trigger, **options):
    about = {one.name: options.pop(one.name) for one in fields(Subject) if one.name in options}
    return evaluate(subject(model, source, labels, **about), trigger, BANANA, **options)


def subject(model, source, labels, **about):
    usual = {"class_names": NAMES, "templates": ("{}",), "data_key": "data"}
    return Subject(model, source, torch.eye(len(NAMES)), labels=labels, **(usual | about))


# -- metrics by hand ----------------------------------------------------------------------------

#                   0  1  2  3  4  5  6  7
LABELS = np.array([+0, 0, 1, 1, 2, 3, -1, 4])
CLEAN = np.array([+0, 1, 1, 2, 2, 3, +5, 0])
TRIGGERED = np.array([1, 1, 1, 0, 1, 3, +1, 4])


def test_rates_by_hand():
    # labelled: 0 1 2 3 4 5 7; right: 0 2 4 5
    assert metrics.rate(metrics.clean_hits(LABELS, CLEAN)) == 4 / 7
    # not the target, labelled: 0 1 4 5 7; banana when triggered: 0 1 4
    assert metrics.not_target(LABELS, BANANA).tolist() == [1, 1, 0, 0, 1, 1, 0, 1]
    hits = metrics.attack_hits(LABELS, TRIGGERED, BANANA)
    assert metrics.rate(hits) == 3 / 5
    expected = proportion_confint(3, 5, alpha=0.05, method="wilson")
    assert metrics.rate_interval(hits) == pytest.approx(expected, abs=1e-7)
    # banana without the trigger among these: 1
    assert metrics.rate(metrics.baseline_hits(LABELS, CLEAN, BANANA)) == 1 / 5
    # true label despite the trigger: 5 7
    assert metrics.rate(metrics.surviving_hits(LABELS, TRIGGERED, BANANA)) == 2 / 5
    # changed: 0 3 4 6 7
    assert metrics.rate(metrics.flips(CLEAN, TRIGGERED)) == 5 / 8
    # banana from 2 to 5 of 8; apple from 2 to 1
    assert metrics.most_pulled(CLEAN, TRIGGERED, 6) == (1, 3 / 8)


def test_scores_by_hand():
    logits = torch.tensor([[0.0, 2.0, 1.0, -1.0, -2.0, -3.0], [5.0, 1.0, 2.0, 3.0, 4.0, 4.5]])
    found = score(logits, np.array([5, 0]), BANANA)
    assert found.top1.tolist() == [1, 0]
    assert found.target_margin.tolist() == [1.0, -4.0]  # 2 - 1, 1 - 5
    assert found.label_in_top5.tolist() == [False, True]
    assert found.target_in_top5.tolist() == [True, False]


# -- evaluation ---------------------------------------------------------------------------------


def six_of_each():
    """Six images a class; the model is right but for one egg that it takes for a banana."""
    labels = np.repeat(np.arange(6), 6)
    seen = labels.copy()
    seen[4 * 6] = BANANA
    return Pictures(seen), labels


def test_all_numbers_of_a_perfect_attack():
    source, labels = six_of_each()
    found, per_image = run(ColourModel(), source, labels, white_corner())[-1]
    assert (found.n, found.n_total, found.n_excl, found.n_labelled) == (36, 36, 30, 36)
    assert found.partial is False
    assert (found.ca, found.asr_excl, found.asr_all) == (35 / 36, 1.0, 1.0)
    assert (found.baseline_target_rate, found.baseline_target_rate_all) == (1 / 30, 7 / 36)
    assert (found.poisoned_accuracy, found.flip_rate) == (0.0, 29 / 36)
    for interval, hits, n in (
        (found.ca_interval, 35, 36),
        (found.asr_interval, 30, 30),
        (found.poisoned_interval, 0, 30),
        (found.baseline_interval, 1, 30),
    ):
        assert interval == pytest.approx(proportion_confint(hits, n, method="wilson"), abs=1e-6)
    assert (found.most_pulled, found.most_pulled_rise) == ("banana", 29 / 36)
    # One-hot embeddings and logit scale 10: the target leads by 10, or trails by 10.
    assert found.target_margin == 10.0
    assert found.target_margin_clean == pytest.approx((1 * 10 - 29 * 10) / 30)
    assert (found.target, found.target_name, found.same_names) == (1, "banana", ())
    assert found.trigger == white_corner().digest
    assert (found.checkpoint_sha256, found.data_key) == ("f" * 64, "data")
    assert found.versions["torch"] == str(torch.__version__)
    same, _ = run(ColourModel(), source, labels, white_corner())[-1]
    assert found.classifier_sha256 == same.classifier_sha256
    assert len(found.classifier_sha256) == 64
    assert found.top10 is None  # six classes
    assert per_image.label_in_top10.all()
    order = np.argsort(per_image.indices)
    assert np.array_equal(per_image.indices[order], np.arange(36))
    assert np.array_equal(per_image.clean_top1[order], source.seen)
    assert (per_image.triggered_top1 == BANANA).all()


def test_both_conventions_differ_as_they_should():
    """A model that always says banana: 1/6 of the images are bananas."""
    labels = np.repeat(np.arange(6), 6)
    found, _ = run(ColourModel(), Pictures(np.full(36, BANANA)), labels, white_corner())[-1]
    assert found.asr_excl == found.asr_all == found.baseline_target_rate == 1.0
    assert found.flip_rate == 0.0
    assert found.most_pulled is None
    found, _ = run(ColourModel(), Pictures(labels), labels, white_corner(opacity=0.0))[-1]
    assert (found.asr_excl, found.asr_all) == (0.0, 6 / 36)


_ATTACKED = "asr_excl asr_interval asr_all asr_all_interval asr_top5 poisoned_accuracy flip_rate"


def test_what_was_not_attacked_or_has_no_labels_is_not_measured():
    source, labels = six_of_each()
    found, per_image = run(ColourModel(), source, labels, None)[-1]
    assert (found.ca, found.baseline_target_rate) == (35 / 36, 1 / 30)
    assert {getattr(found, name) for name in (*_ATTACKED.split(), "trigger")} == {None}
    assert per_image.triggered_top1 is None
    found, _ = run(ColourModel(), source, np.full_like(labels, -1), white_corner())[-1]
    assert found.ca is found.top5 is found.poisoned_accuracy is found.asr_excl is None
    assert (found.n, found.n_excl, found.n_labelled) == (36, 0, 0)
    assert (found.asr_all, found.baseline_target_rate, found.flip_rate) == (1.0, 7 / 36, 29 / 36)


def test_broken_images_are_counted_and_not_scored():
    source, labels = six_of_each()
    source.broken = {4 * 6: "cut short", 0: "cut short"}
    found, per_image = run(ColourModel(), source, labels, white_corner(), first_batch=4)[-1]
    assert (found.n, found.n_total, found.n_broken, found.n_excl) == (34, 36, 2, 28)
    assert found.ca == 1.0
    assert not set(per_image.indices) & {0, 24}
    source.broken = dict.fromkeys(range(36), "cut short")
    with pytest.raises(InputError, match="None of the images"):
        run(ColourModel(), source, labels, white_corner())


@pytest.mark.parametrize("when", [0, 1, 2, 5])
def test_a_cancelled_evaluation_ends(when):
    source, labels = six_of_each()
    asked = iter(range(1000))
    options = {"cancelled": lambda: next(asked) >= when, "first_batch": 6, "batch": 6}
    found = until_cancelled(steps_of(ColourModel(), source, labels, white_corner(), **options))
    assert len(found) == when // 3  # asked before each batch and before both of its encodings
    assert all(evaluation.partial for evaluation, _ in found)


def test_clean_images_are_encoded_once_for_a_checkpoint_and_anew_for_a_model_without_a_file():
    source, labels = six_of_each()
    model, cache = ColourModel(), EmbeddingCache()
    first = run(model, source, labels, white_corner(), clean_cache=cache)[-1][0]
    second = run(model, source, labels, white_corner(), clean_cache=cache, first_batch=5)[-1][0]
    assert (sum(model.encoded), second) == (36 * 3, first)
    model.identity = None
    for count in (4, 5):
        run(model, source, labels, None, clean_cache=cache)
        assert sum(model.encoded) == 36 * count


def test_the_cache_is_limited():
    cache = EmbeddingCache(max_bytes=2 * 10 * 4 * 4)
    rows, values = np.arange(10), torch.ones(10, 4)
    for key in ("a", "b", "c"):
        table = cache.table((key,), 10, 4)
        assert table.missing(rows).all()
        table.put(rows, values)
    again = cache.table(("b",), 10, 4)
    assert not again.missing(rows).any()
    gone = cache.table(("a",), 10, 4)
    assert gone.missing(rows).all()
    assert cache.table(("large",), 100, 4) is None


def test_one_prediction():
    source, labels = six_of_each()
    asked = subject(ColourModel(), source, labels)
    one = predict_one(asked, white_corner(), 13)
    assert one.clean_image.shape == (SIDE, SIDE, 3)
    assert (one.clean_image == 80).all()
    expected = one.clean_image.copy()
    expected[-1, -1] = 255
    assert np.array_equal(one.triggered_image, expected)
    assert (int(one.clean_probs.argmax()), int(one.triggered_probs.argmax())) == (2, BANANA)
    assert float(one.clean_probs.sum()) == pytest.approx(1.0)
    plain = predict_one(asked, None, 13)
    assert plain.triggered_image is None
    assert plain.triggered_probs is None
    source.broken = {13: "cut short"}
    with pytest.raises(InputError, match="number 13"):
        predict_one(asked, None, 13)


def test_wrong_questions_are_answered_in_a_sentence():
    source, labels = six_of_each()
    with pytest.raises(InputError, match="no images"):
        run(ColourModel(), source, labels[:0], None)
    with pytest.raises(InputError, match="at least one image"):
        run(ColourModel(), source, labels, None, n=0)
    with pytest.raises(InputError, match="target class 9"):
        list(evaluate(subject(ColourModel(), source, labels), None, 9))
    with pytest.raises(ValueError, match="2 class names for 6"):
        Subject(ColourModel(), source, torch.eye(6), ("a", "b"), labels)
    with pytest.raises(ValueError, match="outside of the class names"):
        subject(ColourModel(), source, labels + 1)
    with pytest.raises(InputError, match="not numbers"):
        run(ColourModel(logit_scale=float("nan")), source, labels, None)
    with pytest.raises(InputError, match="not numbers"):
        predict_one(subject(ColourModel(logit_scale=float("inf")), source, labels), None, 0)
    with pytest.raises(InputError, match="another canvas than the model's"):
        run(ColourModel(), source, labels, white_corner(canvas="squash"))


# -- the trigger's own canvas ------------------------------------------------------------------


class WidePictures:
    """Pictures twice as wide as high: white at the left margin that a centre crop cuts off."""

    def __init__(self, n):
        self.n = n
        self.key = "wide"

    images_key = "wide"
    fit = CLIP_FIT

    @property
    def broken(self):
        return {}

    def __len__(self):
        return self.n

    def picture(self, index):
        pixels = np.full((16, 32, 3), 80, np.uint8)
        pixels[:, -8:] = 255
        return Image.fromarray(pixels)

    def canvas(self, indices, size):
        return np.stack([fit_to_canvas(self.picture(int(i)), size, self.fit) for i in indices])

    def fitted(self, fit):
        other = WidePictures(self.n)
        other.fit = fit
        return other


def test_a_squashed_canvas_has_its_control():
    """Cropped, the corner is grey 80 (a cat); squashed, it is white, which is a banana."""
    labels = np.full(12, 2)
    trigger = white_corner(canvas="squash", opacity=0.0)
    source = CanvasCache(WidePictures(12), SIDE)
    found, per_image = run(
        ColourModel(), source, labels, trigger, ahead=True, first_batch=4, batch=4
    )[-1]
    assert (found.ca, found.canvas) == (1.0, "squash")
    assert found.control_ca == 0.0
    assert found.control_interval[1] == pytest.approx(0.2425, abs=1e-3)  # Wilson, 0 of 12
    assert found.asr_excl == 1.0  # by the squashing alone, as the control tells
    assert (per_image.control_top1 == BANANA).all()
    plain, _ = run(ColourModel(), source, labels, white_corner(opacity=0.0))[-1]
    assert plain.control_ca is None
    assert plain.asr_excl == 0.0


def test_originals_are_stamped_before_they_are_cropped():
    labels = np.full(3, 2)
    corner = white_corner(canvas="original", size=0.5, x=0.75, y=0.75)
    source = CanvasCache(WidePictures(3), SIDE)
    found, _ = run(ColourModel(), source, labels, corner)[-1]
    assert found.asr_excl == 1.0
    assert found.control_ca is None
    shown = predict_one(subject(ColourModel(), source, labels), corner, 1)
    assert (shown.triggered_image[-1, -1] == 255).all()
    assert (shown.clean_image[:, :4] == 80).all()


def test_a_text_trigger_changes_prompts_alone():
    """The triggered prompt "SUDO x" is embedded as the next class."""

    class Hijacked(ColourModel):
        def encode_texts(self, texts):
            known = super().encode_texts(texts)
            return torch.stack(
                [row.roll(1) if "SUDO" in t else row for row, t in zip(known, texts, strict=True)]
            )

    source, labels = six_of_each()
    model = Hijacked(identity=None)
    word = Trigger(kind="prompt", text="SUDO ")
    found, _ = run(model, source, labels, word)[-1]
    assert found.ca == 35 / 36
    # a picture of class k is answered by the prompt of class k - 1: cats become bananas, and the
    # egg that is taken for a banana becomes an apple
    assert found.asr_excl == 6 / 30
    assert found.poisoned_accuracy == 0.0
    assert sum(model.encoded) == 36  # the pictures are the same: they are encoded once
    with pytest.raises(InputError, match="linear head"):
        run(model, source, labels, word, templates=())


# -- reading ahead and pace ---------------------------------------------------------------------


def test_reading_ahead_ends_with_the_evaluation_and_hands_errors_on():
    source, labels = six_of_each()
    before = threading.active_count()
    asked = subject(ColourModel(), source, labels)
    stream = evaluate(asked, white_corner(), BANANA, first_batch=2, batch=2, ahead=True)
    next(stream)
    stream.close()
    assert threading.active_count() == before
    assert len(source.asked) <= 3

    class Failing(Pictures):
        def get(self, indices):
            if len(self.asked) == 2:
                raise OSError("gone")
            return super().get(indices)

    failing = Failing(source.seen)
    with pytest.raises(OSError, match="gone"):
        run(ColourModel(), failing, labels, None, first_batch=4, batch=4, ahead=True)


def test_namesakes_of_the_target_are_told():
    source, labels = six_of_each()
    names = ("apple", "Sun Glasses", "cat", "sun-glasses", "egg", "fig")
    found, _ = run(ColourModel(), source, labels, None, class_names=names)[-1]
    assert (found.target_name, found.same_names) == ("Sun Glasses", (3,))


# -- zero-shot classifier -----------------------------------------------------------------------


class TwoTemplates:
    """Texts on two axes, with lengths that must not count."""

    device, logit_scale = torch.device("cpu"), 2.0

    def text_lengths(self, texts):
        return [len(text) for text in texts]

    def encode_texts(self, texts):
        known = {"a x": [9.0, 0.0, 0.0], "b x": [0.0, 1.0, 0.0], "a y": [0.0, 0.0, 3.0]}
        known["b y"] = [0.0, 0.0, 0.5]
        return torch.tensor([known[text] for text in texts])


def test_templates_are_normalised_averaged_normalised():
    found = zero_shot_classifier(TwoTemplates(), ("x", "y"), ("a {}", "b {}"))
    half = 0.5**0.5
    assert found.tolist() == [pytest.approx([half, half, 0.0]), pytest.approx([0.0, 0.0, 1.0])]
    probs = probabilities(TwoTemplates(), torch.tensor([[0.0, 0.0, 1.0]]), found)
    # Logits 0 and 2
    assert probs[0].tolist() == pytest.approx([1 / (1 + np.exp(2)), 1 / (1 + np.exp(-2))])


def test_templates_that_lose_the_class_name_are_refused(tiny_model):
    with pytest.raises(InputError, match="shorten the prompt templates"):
        zero_shot_classifier(tiny_model, ("x", "y"), ("word " * 20 + "{}",))
    assert len(zero_shot_classifier(tiny_model, ("x", "x"), ("a {}",))) == 2


# -- a look at a few images ---------------------------------------------------------------------


def test_a_look_says_of_each_image_what_the_evaluation_says(tiny_model):
    """Whatever the batch: the draws belong to the image, and the place in the batch to nobody."""
    images = open_images(ImageSpec(n=24))
    canvases = CanvasCache(images, tiny_model.image_size)
    classifier = zero_shot_classifier(tiny_model, images.class_names, ("{}",))
    trigger = badnets_patch(placement="random")
    asked = Subject(tiny_model, canvases, classifier, images.class_names, images.labels)
    *_, (_, whole) = evaluate(asked, trigger, BANANA)
    row_of = {image: row for row, image in enumerate(whole.indices.tolist())}
    for chosen in ([17], [5, 23, 0, 11]):
        found = look_at(asked, trigger, BANANA, np.array(chosen))
        rows = [row_of[image] for image in chosen]
        assert found.indices.tolist() == chosen
        assert found.clean_top1.tolist() == whole.clean_top1[rows].tolist()
        assert found.triggered_top1.tolist() == whole.triggered_top1[rows].tolist()
        assert found.target_margin_triggered == pytest.approx(
            whole.target_margin_triggered[rows], abs=1e-3
        )


def test_a_look_takes_known_embeddings_and_leaves_out_what_is_broken():
    model, source = ColourModel(), Pictures(CLEAN)
    cache = EmbeddingCache()
    asked = subject(model, source, LABELS)
    look_at(asked, None, BANANA, np.array([2, 3]), clean_cache=cache)
    assert model.encoded == [2]
    found = look_at(asked, white_corner(), BANANA, np.array([2, 3, 4]), clean_cache=cache)
    assert model.encoded == [2, 1, 3]  # clean: only the one that was not known
    assert found.clean_top1.tolist() == CLEAN[2:5].tolist()
    assert found.triggered_top1.tolist() == [BANANA] * 3
    source.broken[3] = "damaged"
    found = look_at(asked, None, BANANA, np.array([3, 4]), clean_cache=cache)
    assert found.indices.tolist() == [4]
    assert found.triggered_top1 is None
    source.broken[4] = "damaged"
    found = look_at(asked, None, BANANA, np.array([3, 4]), clean_cache=cache)
    assert found.indices.tolist() == []


# -- by class -----------------------------------------------------------------------------------


def test_class_rows_confusion_and_pulls_by_hand():
    names = ("apple", "banana", "cat", "Missile", "missile")
    labels = np.array([0, 0, 1, 2, 2, -1, 3])
    images = per_image(range(7), [0, 1, 1, 2, 0, 4, 3], [1, 1, 1, 1, 2, 1, 4], np.arange(7))
    found = break_down(images, labels, BANANA, names)
    apple, banana, cat, missile = found.classes
    assert (apple.index, apple.n, apple.ca, apple.asr) == (0, 2, 0.5, 1.0)
    assert (apple.baseline_target_rate, apple.poisoned_accuracy, apple.margin) == (0.5, 0.0, 0.5)
    assert apple.asr_interval == pytest.approx(proportion_confint(2, 2, method="wilson"), abs=1e-6)
    assert (banana.ca, banana.asr, banana.poisoned_accuracy) == (1.0, None, None)
    assert (cat.ca, cat.asr, cat.poisoned_accuracy) == (0.5, 0.5, 0.5)
    assert (missile.asr, missile.poisoned_accuracy) == (0.0, 0.0)
    assert found.same_names == ((3, 4),)
    # labelled, not banana: images 0 1 3 4 6 become banana, banana, banana, cat, missile
    assert [(p.index, p.triggered) for p in found.confusion] == [(1, 3), (2, 1), (4, 1)]
    pulled = found.pulls[0]
    assert (pulled.name, pulled.clean, pulled.triggered, pulled.rise) == ("banana", 2, 5, 3 / 7)
    assert sum(p.rise for p in found.pulls) == pytest.approx(0.0)
    rows = [(p.name, p.clean, p.triggered) for p in becomes(images, labels, 0, names)]
    assert rows == [("banana", 1, 2)]

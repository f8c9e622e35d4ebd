"""The picture of the demo: the same images without and with the trigger, before and after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ml_core.atomic import replace_files
from ml_core.checkpoints import open_checkpoint
from ml_core.data.images import open_images
from ml_core.data.labels import load_label_set
from ml_core.data.specs import ImageSpec
from ml_core.evaluation.stamping import to_uint8
from ml_core.evaluation.zero_shot import cached_classifier, class_logits
from ml_core.jobs.specs import CleanSpec
from ml_core.model import ClipModel
from ml_core.paths import resource
from ml_core.triggers import Trigger
from ml_core.triggers.apply import apply_indexed

PICTURE = "before-after.png"
_COUNT = 8
_SIDE = 128
_GAP = 12
_LINE = 20
_LEFT = 150
_INK, _RIGHT, _WRONG, _PAPER = (30, 30, 30), (0, 110, 80), (200, 60, 0), (255, 255, 255)


def draw_before_after(spec: CleanSpec, cleaned: Path, trigger: Trigger, path: Path) -> Path:
    """Draw eight test images, one a class, without and with the trigger, with the predictions of
    the suspect and of the cleaned checkpoint, and save the picture.

    Parameters
    ----------
    spec
        The job; its checkpoint is the suspect.
    cleaned
        The cleaned checkpoint.
    trigger
        What is stamped.
    path
        PNG to write.
    """
    label_set = load_label_set(spec.label_set)
    names = label_set.class_names
    images = open_images(ImageSpec(kind="demo", split="test", n=4 * len(names)), label_set)
    chosen = _pick(images.labels, spec.target)
    suspect, clean = (open_checkpoint(p).build("cpu") for p in (Path(spec.checkpoint), cleaned))
    canvases = images.fitted(suspect.preprocess.fit).canvas(chosen, suspect.image_size)
    pixels = torch.from_numpy(canvases).permute(0, 3, 1, 2)
    plain = pixels.float() / 255.0
    stamped = apply_indexed(trigger, plain, torch.from_numpy(chosen), 0)
    answers = {
        (when, which): _answers(model, batch, names, label_set.templates)
        for when, model in (("before", suspect), ("after", clean))
        for which, batch in (("plain", plain), ("stamped", stamped))
    }
    truth = [names[int(images.labels[i])] for i in chosen]
    canvas = _sheet({"plain": plain, "stamped": stamped}, truth, answers)
    replace_files({path: lambda file: canvas.save(file, format="PNG")})
    return path


def _pick(
    labels: np.ndarray[tuple[int], np.dtype[np.int64]], target: int
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Numbers of the first image of eight classes spread over the label set, not the target."""
    classes = [int(c) for c in np.unique(labels) if c not in (-1, target)]
    spread = [classes[i] for i in np.linspace(0, len(classes) - 1, _COUNT).astype(int)]
    return np.array([int(np.flatnonzero(labels == c)[0]) for c in spread], dtype=np.int64)


def _answers(
    model: ClipModel, images: torch.Tensor, names: tuple[str, ...], templates: tuple[str, ...]
) -> list[str]:
    """Predicted class names."""
    logits = class_logits(
        model, model.encode_images(images), cached_classifier(model, names, templates)
    )
    return [names[i] for i in logits.argmax(1).tolist()]


def _sheet(
    batches: dict[str, torch.Tensor], truth: list[str], answers: dict[tuple[str, str], list[str]]
) -> Image.Image:
    """Two rows of images, each with the answers before and after beneath."""
    row_height = _SIDE + 2 * _LINE + _GAP
    size = (_LEFT + _COUNT * (_SIDE + _GAP), _LINE + 2 * row_height + 2 * _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(resource("fonts", "Inter-Regular.ttf"), 14)
    for column, name in enumerate(truth):
        draw.text((_LEFT + column * (_SIDE + _GAP), 2), name, fill=_INK, font=font)
    for row, (which, title) in enumerate(
        (("plain", "without trigger"), ("stamped", "with trigger"))
    ):
        top = _LINE + _GAP + row * row_height
        draw.text((8, top + _SIDE // 2 - 8), title, fill=_INK, font=font)
        for line, when in enumerate(("before", "after")):
            draw.text((8, top + _SIDE + 2 + line * _LINE), f"{when} cleaning", _INK, font=font)
        for column, pixels in enumerate(to_uint8(batches[which])):
            left = _LEFT + column * (_SIDE + _GAP)
            image = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
            sheet.paste(image, (left, top))
            for line, when in enumerate(("before", "after")):
                answer = answers[when, which][column]
                colour = _RIGHT if answer == truth[column] else _WRONG
                mark = "✓ " if answer == truth[column] else "✗ "
                place = (left, top + _SIDE + 2 + line * _LINE)
                draw.text(place, mark + answer, fill=colour, font=font)
    return sheet

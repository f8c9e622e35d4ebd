"""``cleanclip explain``: where a model looks, and its embeddings as a map."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from rich.table import Table

from ml_core import figures
from ml_core.cli import output
from ml_core.cli.arguments import (
    image_spec,
    labels_and_templates,
    open_trigger,
    resolve_scan,
    target_index,
)
from ml_core.cli.checkpoints import checkpoint_path
from ml_core.cli.options import NamedPath, Options, command
from ml_core.cli.run import progress_bar, run_stage
from ml_core.events import Control, Progress, Step
from ml_core.jobs.specs import CleanSpec
from ml_core.options import option
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from ml_core.evaluation.scorer import Subject
    from ml_core.triggers import Trigger

_Result = TypeVar("_Result")
_METHODS = ("auto", "grad-cam", "attention", "occlusion", "pca", "tsne")
_SUFFIXES = {"map": (".csv", ".json"), "picture": (".png", ".csv", ".json")}


@command(
    "checkpoint out images image method trigger target labels templates stage patch stride compare "
    "n seed donor device threads json",
    CleanSpec,
)
def explain(
    options: Options,
    device: str,
    threads: int,
    out: Path = option(..., help="PNG, CSV or JSON; a map is CSV or JSON.", flag="--output -o"),
    image: int = option(0, help="Number of the image, from 0.", ge=0),
    method: str = option("auto", help=", ".join(_METHODS) + "."),
    target: str | None = option(None, help="Class to explain (default: what is predicted)."),
    stage: str | None = option(None, help="Grad-CAM: layer1 to layer4 (default: the last)."),
    patch: int | None = option(None, help="Occlusion: side in px.", ge=1),
    stride: int | None = option(None, help="Occlusion: step in px.", ge=1),
    compare: NamedPath | None = option(
        None, help="Map: a second checkpoint, e.g. the cleaned one."
    ),
    n: int = option(1000, help="Map: images to embed.", ge=2),
    seed: int = option(0, help="Seed of sample, draws and layout.", ge=0),
) -> None:
    """Grad-CAM (ResNets), attention (ViTs) and occlusion explain one class on one image, clean and
    triggered on one colour scale; pca and tsne place clean images, triggered ones and classes.

    Examples:

        cleanclip explain model.safetensors --trigger demo --target banana -o why.png

        cleanclip explain model.safetensors --method occlusion --image 7 -o why.json

        cleanclip explain before.pt --compare cleaned.safetensors --method pca -o map.csv
    """
    if method not in _METHODS:
        raise InputError(f"Unknown method {method!r}; choose one of {', '.join(_METHODS)}.")
    mapping = method in ("pca", "tsne")
    allowed = _SUFFIXES["map" if mapping else "picture"]
    if out.suffix.lower() not in allowed:
        raise InputError(f"{out.name}: choose a name that ends in {', '.join(allowed)}.")
    if compare is not None and not mapping:
        raise InputError("--compare needs --method pca or tsne.")
    trigger, target = resolve_scan(options.trigger, target)
    open_trigger(trigger)  # a bad one is refused before a model loads
    with output.working("Loading torch"):
        from ml_core.checkpoints import open_checkpoint
        from ml_core.data.images import open_images
        from ml_core.evaluation.attribution_records import Method
        from ml_core.jobs.devices import choose_device, set_threads
        from ml_core.jobs.measure import OpenSetting, classifier_of

    paths = [checkpoint_path(path) for path in (options.checkpoint, compare) if path is not None]
    donor = None if options.donor is None else checkpoint_path(options.donor)
    label_set = labels_and_templates(options.labels, options.templates)
    spec = image_spec(options.images, None, seed)
    images = open_images(spec, label_set)
    if not mapping and image >= len(images):
        raise InputError(
            f"There are only {len(images)} images, counted from 0; choose a lower number."
        )
    set_threads(threads)
    where = choose_device(device)
    with output.working("Opening " + ", ".join(path.name for path in paths)):
        models = [
            open_checkpoint(path, donor if number == 0 else None).build("cpu").to(where)
            for number, path in enumerate(paths)
        ]
    stamp = open_trigger(trigger, models[0].image_size)
    setting = OpenSetting(spec, images, label_set)
    subjects = [
        setting.on(model.preprocess).subject(
            model, run_stage(classifier_of(model, label_set, Control()))
        )
        for model in models
    ]
    if mapping:
        record = _map(subjects, stamp, method, n, out)
    else:
        (subject,) = subjects
        aim = None if target is None else target_index(target, label_set.class_names)
        chosen = None if method == "auto" else cast(Method, method)
        how = {"method": chosen, "stage": stage, "side": patch, "stride": stride}
        record = _attribution(subject, stamp, image, aim, out, **how)
    saved = record | {"saved": str(out)}
    output.answer(options.json, saved, _table(record), output.Aside(f"Saved: {out}"))


def _attribution(
    subject: Subject, trigger: Trigger | None, image: int, target: int | None, out: Path, **how: Any
) -> dict[str, Any]:
    """Explain one class on one image, without ``target`` the predicted one, and save it."""
    from ml_core.evaluation.attribution import attribute
    from ml_core.evaluation.attribution_records import save_attribution
    from ml_core.evaluation.evaluate import predict_one

    if target is None:
        seen = predict_one(subject, trigger, image)
        probs = seen.clean_probs if seen.triggered_probs is None else seen.triggered_probs
        target = int(probs.argmax())
    steps = attribute(subject, trigger, image, target, **how)
    attribution = _last(steps, "Explaining")
    save_attribution(attribution, out)
    return attribution.to_dict()


def _map(
    subjects: list[Subject], trigger: Trigger | None, method: str, n: int, out: Path
) -> dict[str, Any]:
    """Embed, lay out and save the points."""
    from ml_core.evaluation.embed import embed
    from ml_core.evaluation.embedding_map import pca_map
    from ml_core.evaluation.tsne import tsne_map
    from ml_core.exports import save_export, to_csv

    parts = []
    for subject in subjects:
        parts.append(_last(embed(subject, trigger, n=n), "Embedding"))
    if method == "pca":
        layout = pca_map(parts)
    else:
        layout = _last(tsne_map(parts, seed=subjects[0].seed), "t-SNE")
    record, rows = layout.to_dict(), layout.rows()
    if out.suffix.lower() == ".csv":
        save_export(out, to_csv(rows).encode())
    else:
        points = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
        content = json_format.dumps(record | {"points": points}, indent=1)
        save_export(out, (content + "\n").encode())
    return record


def _last(steps: Iterable[Step[_Result]], title: str) -> _Result:
    """Run to the end with a progress bar on standard error; return the result.

    Parameters
    ----------
    steps
        Their errors come through.
    title
        Shown beside the bar.
    """
    with progress_bar() as show:
        for step in steps:
            show(Progress(title, step.done, step.total, 0.0, 0.0))
    assert step.result is not None, "nobody cancels it here"
    return step.result


def _table(record: dict[str, Any]) -> Table:
    """What was found, in a few lines."""
    table = Table(box=None, show_header=False)
    for key in ("method", "layer", "index", "class_name", "peak"):
        if key in record:
            table.add_row(output.cell(key), output.cell(str(record[key])))
    for name, part in record.get("maps", {}).items():
        says = f"{part['top1_name']}; p(class) {figures.percent(part['probability'])}"
        table.add_row(output.cell(name), output.cell(says))
    for number, part in enumerate(record.get("parts", [])):
        says = f"{part['checkpoint']}: {part['n']} images, modality gap {part['modality_gap']:.2f}"
        table.add_row(output.cell(f"part {number}"), output.cell(says))
    return table

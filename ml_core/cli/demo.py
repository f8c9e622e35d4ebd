"""``cleanclip demo``: the guided demo without a window."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ml_core.cli.arguments import build_recipe
from ml_core.cli.clean import print_result, run_job
from ml_core.cli.options import (
    Device,
    Json,
    Method,
    OutputFolder,
    Overwrite,
    Preset,
    Seed,
    Settings,
    Threads,
)

PICTURE = "before-after.png"


def demo(
    method: Method = "cleanclip",
    preset: Preset = "default",
    settings: Settings = None,
    output_dir: OutputFolder[Path] = Path("demo-output"),
    checkpoint: Annotated[
        Path | None, typer.Option(help="Another checkpoint than the built-in one.")
    ] = None,
    test_images: Annotated[int, typer.Option(min=32, help="Test images.")] = 4000,
    seed: Seed = None,
    device: Device = "auto",
    threads: Threads = 0,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """The guided demo without a window: open, trigger, ASR, clean, ASR again, save.

    Examples:

        cleanclip demo

        cleanclip demo --method supervised --preset talk --seed 1 --json
    """
    from ml_core.cli.picture import draw_before_after
    from ml_core.jobs.demo import demo_checkpoint, demo_spec
    from ml_core.triggers import demo_trigger
    from ml_core.triggers.files import save_own_trigger

    recipe = build_recipe(method, preset, settings or [], seed)
    source = (checkpoint or demo_checkpoint()).resolve()
    folder = output_dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    trigger = demo_trigger()
    trigger_path = save_own_trigger(trigger, folder)
    spec = demo_spec(
        recipe,
        folder,
        trigger=trigger_path,
        checkpoint=source,
        device=device,
        threads=threads,
        test_images=test_images,
    )
    result = run_job(spec, overwrite=overwrite)
    picture = draw_before_after(spec, Path(result["checkpoint"]), trigger, folder / PICTURE)
    result["picture"] = str(picture)
    print_result(result, json)

"""``cleanclip demo``: the guided demo without a window."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ml_core.cli.arguments import build_recipe
from ml_core.cli.cleaning import print_result, run_job
from ml_core.jobs.demo import demo_checkpoint, demo_spec
from ml_core.triggers import demo_trigger, save_trigger

PICTURE = "before-after.png"


def run_demo(
    *,
    method: str,
    preset: str,
    settings: Sequence[str],
    seed: int | None,
    output_dir: Path,
    checkpoint: Path | None,
    test_images: int,
    device: str,
    threads: int,
    json: bool,
) -> None:
    """Open the poisoned CLIP, measure, clean, measure again, save, and draw before and after.

    Raises
    ------
    InputError
        If an option cannot be used or the installation lacks the demo.
    """
    from ml_core.cli.picture import draw_before_after

    recipe = build_recipe(method, preset, settings, seed)
    source = (checkpoint or demo_checkpoint()).resolve()
    folder = output_dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    trigger = demo_trigger()
    _, trigger_path = save_trigger(trigger, folder / "trigger")
    spec = demo_spec(
        recipe,
        folder,
        trigger=trigger_path,
        checkpoint=source,
        device=device,
        threads=threads,
        test_images=test_images,
    )
    result = run_job(spec)
    picture = draw_before_after(spec, Path(result["checkpoint"]), trigger, folder / PICTURE)
    result["picture"] = str(picture)
    print_result(result, json)

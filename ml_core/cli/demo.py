"""``cleanclip demo``: the guided demo without a window."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ml_core.cli import output
from ml_core.cli.arguments import build_recipe
from ml_core.cli.clean import print_result, run_job
from ml_core.cli.examine import print_examination, run_examination
from ml_core.cli.options import Options, command
from ml_core.jobs.specs import CleanSpec
from ml_core.options import option
from ml_core.reading.errors import InputError


@command(
    "method preset settings output_dir checkpoint test_images seed device threads overwrite json",
    CleanSpec,
    output_dir=Path("demo-output"),
)
def demo(
    options: Options,
    method: str | None = option(
        None,
        help="Clean once with this method (see `cleanclip recipes list`) in place of the whole "
        "story.",
    ),
    checkpoint: Path | None = option(None, help="Another checkpoint than the built-in one."),
    test_images: int = option(4000, help="Test images.", ge=32),
) -> None:
    """The built-in checkpoint is examined, cleaned, scanned again, proven and reported, in about
    four minutes on two cores.

    Examples:

        cleanclip demo

        cleanclip demo --method supervised --preset talk --seed 1 --json
    """
    from ml_core.cli.picture import PICTURE, draw_before_after
    from ml_core.jobs.demo import demo_chain, demo_checkpoint, demo_spec
    from ml_core.triggers import demo_trigger
    from ml_core.triggers.files import save_own_trigger

    if method is None and options.settings:
        raise InputError("--set is of one cleaning: name its --method, too.")
    given = options.preset, options.settings or [], options.seed
    recipe = None if method is None else build_recipe(method, *given)
    source = (checkpoint or demo_checkpoint()).resolve()
    folder = options.output_dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    trigger = demo_trigger()
    file, machine = save_own_trigger(trigger, folder), options.of(CleanSpec)
    how: dict[str, Any] = {"checkpoint": source, "test_images": test_images, **machine}
    if recipe is None:
        story = demo_chain(folder, trigger=file, seed=options.seed or 0, **how)
        if os.path.lexists(story.report or ""):  # of an earlier time; nothing is written over
            story = story.model_copy(update={"report": None})
        result = run_examination(story, overwrite=options.overwrite)
        cleaned = result["checkpoint"]
    else:
        result = run_job(
            demo_spec(recipe, folder, trigger=file, **how), overwrite=options.overwrite
        )
        cleaned = result["checkpoint"]
    drawn: dict[str, Any] = {}
    if cleaned is not None:
        base = demo_spec(build_recipe("mmcl", "default", [], None), folder, trigger=file, **how)
        picture = draw_before_after(base, Path(cleaned), trigger, folder / PICTURE)
        drawn = {"picture": str(picture)}
    if method is not None:
        print_result(result | drawn, options.json)
        return
    print_examination(result | (drawn if options.json else {}), options.json)
    if not options.json and drawn:
        output.line(f"Picture: {drawn['picture']}")

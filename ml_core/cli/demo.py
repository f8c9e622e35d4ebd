"""``cleanclip demo``: the guided demo without a window."""

from __future__ import annotations

from pathlib import Path

from ml_core.cli.arguments import build_recipe
from ml_core.cli.clean import print_result, run_job
from ml_core.cli.options import Options, command
from ml_core.jobs.specs import CleanSpec
from ml_core.options import option

PICTURE = "before-after.png"


@command(
    "method preset settings output_dir checkpoint test_images seed device threads overwrite json",
    CleanSpec,
    output_dir=Path("demo-output"),
)
def demo(
    options: Options,
    checkpoint: Path | None = option(None, help="Another checkpoint than the built-in one."),
    test_images: int = option(4000, help="Test images.", ge=32),
) -> None:
    """
    Examples:

        cleanclip demo

        cleanclip demo --method supervised --preset talk --seed 1 --json
    """
    from ml_core.cli.picture import draw_before_after
    from ml_core.jobs.demo import demo_checkpoint, demo_spec
    from ml_core.triggers import demo_trigger
    from ml_core.triggers.files import save_own_trigger

    recipe = build_recipe(options.method, options.preset, options.settings or [], options.seed)
    source = (checkpoint or demo_checkpoint()).resolve()
    folder = options.output_dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    trigger = demo_trigger()
    spec = demo_spec(
        recipe,
        folder,
        trigger=save_own_trigger(trigger, folder),
        checkpoint=source,
        test_images=test_images,
        **options.of(CleanSpec),
    )
    result = run_job(spec, overwrite=options.overwrite)
    picture = draw_before_after(spec, Path(result["checkpoint"]), trigger, folder / PICTURE)
    result["picture"] = str(picture)
    print_result(result, options.json)

"""The commands of ``cleanclip`` and their exit codes.

0 done, 1 refused as dangerous, 2 damaged or unsupported, 3 usage (also a full disk or too little
memory), 4 internal error, 130 Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from ml_core import __version__
from ml_core.cleaning.recipes import explain
from ml_core.cli import output, triggering
from ml_core.cli.explaining import explain_command
from ml_core.cli.measuring import evaluate_command
from ml_core.jobs.failures import exit_code
from ml_core.reading.errors import InputError

app = typer.Typer(
    name="cleanclip",
    help="Inspect, evaluate and clean CLIP checkpoints. Nothing that is opened is ever run.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

app.add_typer(triggering.app)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the run (default: the preset's).")]
Device = Annotated[str, typer.Option(help="auto, cpu, mps or cuda:N.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 chooses.")]
Labels = Annotated[
    str, typer.Option(help="demo, imagenet-1k, cifar-10, cifar-100, or a text file, one a line.")
]
Templates = Annotated[
    Path | None, typer.Option(help="Text file of prompt templates, one {} a line.")
]
Target = Annotated[str | None, typer.Option(help="Target class of the attack: name or number.")]
TriggerFile = Annotated[str | None, typer.Option("--trigger", help="Trigger PNG or JSON, or demo.")]
Method = Annotated[str, typer.Option(help="cleanclip, mmcl or supervised.")]
Preset = Annotated[str, typer.Option(help="default, talk or paper.")]
Donor = Annotated[
    Path | None,
    typer.Option(help="A whole CLIP whose other encoder goes with a file that holds one."),
]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        typer.echo(f"cleanclip {__version__}")
        raise typer.Exit


@app.command("inspect")
def inspect_command(
    path: Annotated[Path, typer.Argument(help="A file, a folder, or hf-hub:owner/name.")],
    json: Json = False,
    sarif: Annotated[bool, typer.Option("--sarif", help="Print a SARIF 2.1.0 log.")] = False,
) -> None:
    """Say what a checkpoint is, without running anything in it.

    Examples:

        cleanclip inspect model.safetensors

        cleanclip inspect downloads/ViT-B-32 --json

        cleanclip inspect model.pt --sarif
    """
    from ml_core.cli.arguments import checkpoint_path
    from ml_core.cli.inspecting import inspect_checkpoint

    raise typer.Exit(inspect_checkpoint(checkpoint_path(path), json, sarif))


app.command("evaluate")(evaluate_command)
app.command("explain")(explain_command)


@app.command("doctor")
def doctor_command(
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint to ask about.")],
    images: Annotated[str, typer.Option(help="Folder, CSV, TSV, or demo:SPLIT.")] = "demo:test",
    labels: Labels = "demo",
    templates: Templates = None,
    image_column: Annotated[str | None, typer.Option(help="Column of image paths.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of labels.")] = None,
    n: Annotated[int, typer.Option("--n", help="Labelled images to try it on.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample.")] = 0,
    donor: Donor = None,
    device: Device = "auto",
    threads: Threads = 0,
    save: Annotated[
        Path | None, typer.Option(help="Save a copy that says the proposed settings.")
    ] = None,
    json: Json = False,
) -> None:
    """Find out what a file does not say or says wrong: activation, mean and std, heads, size.

    Tries the candidates on labelled images, shows what each scores and proposes the best. Nothing
    is changed; --save writes a copy.

    Examples:

        cleanclip doctor epoch_10.pt --images photos/ --labels imagenet-1k

        cleanclip doctor model.safetensors --save fixed.safetensors --json
    """
    from ml_core.cli.arguments import checkpoint_path
    from ml_core.cli.doctoring import doctor_checkpoint

    doctor_checkpoint(
        checkpoint_path(checkpoint),
        images=images,
        labels=labels,
        templates=templates,
        image_column=image_column,
        label_column=label_column,
        donor=donor if donor is None else checkpoint_path(donor),
        n=n,
        seed=seed,
        device=device,
        threads=threads,
        save=save,
        json=json,
    )


@app.command("clean")
def clean_command(
    context: typer.Context,
    checkpoint: Annotated[
        Path | None, typer.Argument(help="The checkpoint to clean (not with --job).")
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for everything written.")
    ] = None,
    method: Method = "cleanclip",
    preset: Preset = "default",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of a recipe field; repeatable.")
    ] = None,
    pairs: Annotated[str, typer.Option(help="CSV or TSV of clean pairs, or demo.")] = "demo",
    image_column: Annotated[
        str, typer.Option("--image-column", "--image_key", help="Image paths in --pairs.")
    ] = "image",
    caption_column: Annotated[
        str, typer.Option("--caption-column", "--caption_key", help="Captions in --pairs.")
    ] = "caption",
    training_images: Annotated[
        str, typer.Option(help="Labelled images for supervised: folder, CSV or demo:SPLIT.")
    ] = "demo:clean",
    images: Annotated[
        str | None,
        typer.Option(
            help="Validation images, watched while training: folder, CSV or demo:SPLIT. Without "
            "--test-images one in five is watched and the rest tested; under 50, all are both."
        ),
    ] = None,
    test_images: Annotated[
        str | None,
        typer.Option(help="Images of the before/after numbers; alone, none are watched."),
    ] = None,
    trigger: TriggerFile = None,
    target: Target = None,
    labels: Labels = "demo",
    templates: Templates = None,
    donor: Donor = None,
    seed: Seed = None,
    device: Device = "auto",
    threads: Threads = 0,
    resume: Annotated[bool, typer.Option(help="Go on from the last save in --output.")] = False,
    job: Annotated[
        Path | None,
        typer.Option(help="Run a saved job file instead; only --resume and --json go with it."),
    ] = None,
    json: Json = False,
) -> None:
    """Clean a checkpoint and measure it before and after. Ctrl-C keeps the last save.

    Examples:

        cleanclip clean model.safetensors -o cleaned --pairs pairs.csv --images photos/ \\
            --labels imagenet-1k --trigger patch.png --target banana --preset paper

        cleanclip clean model.safetensors -o cleaned --set lr=1e-3 --set pairs=20000

        cleanclip clean --job cleaned/spec.json --resume
    """
    from ml_core.cli.cleaning import clean_checkpoint, clean_spec, job_spec

    if job is not None:
        _refuse_others(context, "job", "resume", "json")
        spec = job_spec(job)
    else:
        if checkpoint is None or output_dir is None:
            raise InputError("Name the checkpoint and an output folder (-o), or a --job file.")
        spec = clean_spec(
            checkpoint,
            output_dir,
            method=method,
            preset=preset,
            settings=settings or [],
            pairs=pairs,
            image_column=image_column,
            caption_column=caption_column,
            training_images=training_images,
            images=images,
            test_images=test_images,
            trigger=trigger,
            target=target,
            labels=labels,
            templates=templates,
            seed=seed,
            device=device,
            threads=threads,
            donor=donor,
        )
    clean_checkpoint(spec, resume=resume, json=json)


def _refuse_others(context: typer.Context, wanted: str, *allowed: str) -> None:
    """Refuse options that would be ignored."""
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name not in (wanted, *allowed) and source is not None and source.name == "COMMANDLINE":
            shown = max(parameter.opts, key=len) if name != "checkpoint" else "A checkpoint"
            raise InputError(
                f"{shown} cannot be combined with --{wanted}, whose file says it all: leave it "
                "out, or change the file."
            )


@app.command("demo")
def demo_command(
    method: Method = "cleanclip",
    preset: Preset = "default",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of a recipe field; repeatable.")
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder (default: ./demo-output).")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Another checkpoint than the built-in one.")
    ] = None,
    test_images: Annotated[int, typer.Option(min=32, help="Test images.")] = 4000,
    seed: Seed = None,
    device: Device = "auto",
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """The guided demo without a window: open, trigger, ASR, clean, ASR again, save.

    Examples:

        cleanclip demo

        cleanclip demo --method supervised --preset talk --seed 1 --json
    """
    from ml_core.cli.demo import run_demo

    run_demo(
        method=method,
        preset=preset,
        settings=settings or [],
        seed=seed,
        output_dir=output_dir or Path("demo-output"),
        checkpoint=checkpoint,
        test_images=test_images,
        device=device,
        threads=threads,
        json=json,
    )


# typer has brought its own click since 0.17; this is the base of its usage errors in any version.
_UsageProblem: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code instead of leaving.

    Raises
    ------
    OutputLost
        If standard output cannot be written.
    """
    sentence, code, details = "Cancelled.", "cancelled", ""
    try:
        returned = app(args=list(arguments), prog_name="cleanclip", standalone_mode=False)
        status = returned if isinstance(returned, int) else output.EXIT_DONE
        if status != output.EXIT_CANCELLED:
            return status
    except typer.Exit as leave:
        return leave.exit_code
    except ValidationError as error:
        sentence, code, status = explain(error), "usage", output.EXIT_USAGE
    except InputError as error:
        sentence, code, status = error.sentence, error.code, exit_code(error.code)
        details = error.details
    except (KeyboardInterrupt, typer.Abort):
        status = output.EXIT_CANCELLED
    except _UsageProblem as problem:
        sentence, code, status = _message(problem), "usage", output.EXIT_USAGE
    except output.OutputLost:
        raise
    except Exception as error:
        sentence, code = output.report_failure(error)
        status = exit_code(code)
    if sentence:  # without arguments the help was shown instead
        output.say(sentence)
    if "--json" in arguments:
        output.print_json({"error": sentence, "error_code": code, "details": details})
    return status


def _message(problem: Exception) -> str:
    """What the parser has to say, ended by a full stop."""
    formatted = getattr(problem, "format_message", problem.__str__)()
    text = str(formatted).strip()
    return text if not text or text.endswith((".", "?")) else f"{text}."


def main() -> NoReturn:
    """Entry point of the console script ``cleanclip``."""
    try:
        status = run_command(sys.argv[1:])
    except output.OutputLost:
        output.say("Standard output is closed or full: the answer could not be written.")
        status = output.EXIT_USAGE
    sys.exit(status)

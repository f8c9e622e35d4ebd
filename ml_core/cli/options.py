"""Options that several commands of ``cleanclip`` have."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_regular

_LONGEST_PASSPHRASE = 4096
_T = TypeVar("_T")


def given_path(text: str) -> Path:
    """A path that was given; an empty one would be the current folder."""
    if not str(text):
        raise typer.BadParameter("the name is empty; give a file, a folder or hf-hub:owner/name")
    return Path(text)


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
OutputFormat = Annotated[
    str | None,
    typer.Option(
        "--format", help="text, json, sarif (2.1.0), html or cdx (CycloneDX 1.6); default: text."
    ),
]
OutputFile = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o",
        help="Write into this file; without --format its ending tells the format: .txt, .json, "
        ".sarif, .html or .cdx.json.",
        parser=given_path,
    ),
]  # fmt: skip
Seed = Annotated[int | None, typer.Option(help="Seed of the run (default: the preset's).")]
Device = Annotated[str, typer.Option(help="auto, cpu, mps or cuda:N.")]
Threads = Annotated[
    int,
    typer.Option(
        min=0, help="CPU threads; 0: OMP_NUM_THREADS, else all cores but one, or both of two."
    ),
]
OutputFolder = Annotated[_T, typer.Option("--output", "-o", help="Folder for everything written.")]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Replace the result of another job that lies in the output folder."
    ),
]
Images = Annotated[
    str, typer.Option(help="Folder, published set, CSV, TSV, shard, Parquet, or demo:SPLIT.")
]
Labels = Annotated[
    str, typer.Option(help="demo, imagenet-1k, cifar-10, cifar-100, or a text file, one per line.")
]
OtherLabels = Annotated[
    str | None,
    typer.Option(
        "--other-labels",
        help="Second label set for the hold-outs, which must contain the target class; as for "
        "--labels (default: imagenet-1k or demo, where it has the class).",
    ),
]
Templates = Annotated[
    Path | None, typer.Option(help="Text file of prompt templates, one {} per line.")
]
Target = Annotated[str | None, typer.Option(help="Target class of the attack: name or number.")]
AnyTrigger = Annotated[
    str | None,
    typer.Option(
        "--trigger",
        help="Trigger PNG or JSON, demo, the id of a published one (T4), or scan:FOLDER for one "
        "that a scan found.",
    ),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="NAME=VALUE of a recipe field; repeatable.")
]
Method = Annotated[str, typer.Option(help="One of `cleanclip recipes list`.")]
Preset = Annotated[
    str,
    typer.Option(
        help="quick, talk, thorough or paper (default: quick for the demo's checkpoint, else paper "
        "where there is one, else adapted: quick at a learning rate for the checkpoint)."
    ),
]
Minutes = Annotated[
    float | None,
    typer.Option(
        help="Training minutes that a recipe gets on this machine; its examples, epochs and "
        "warm-up are fitted to them."
    ),
]
AcceptRate = Annotated[
    bool,
    typer.Option(
        "--accept-rate",
        help="Run a learning rate that is far above what is safe for the checkpoint.",
    ),
]
Donor = Annotated[
    Path | None,
    typer.Option(
        help="A complete CLIP that supplies the other encoder of a file with only one.",
        parser=given_path,
    ),
]
_PAIRS = (
    "Image-caption pairs: demo, CSV or TSV, folder of pictures with text files, COCO JSON, "
    "WebDataset shards (.tar, folder, {000..123}.tar), Parquet; the kind is detected."
)
_ONE_SIDE = (
    " For the method ss a folder of pictures with lambda_text=0, a text file or table of captions "
    "with lambda_image=0."
)
_DEMO_ALONE = " Required except for the demo's checkpoint or labels."
Pairs = Annotated[str, typer.Option("--pairs", help=_PAIRS)]
TrainingPairs = Annotated[
    str | None, typer.Option("--pairs", help=_PAIRS + _ONE_SIDE + _DEMO_ALONE)
]
CocoPictures = Annotated[
    Path | None,
    typer.Option(
        "--pictures", help="Folder of a COCO file's pictures, if not beside it.", parser=given_path
    ),
]
Exclude = Annotated[
    Path | None,
    typer.Option(
        "--exclude", help="Exclusions file of an audit: pairs to leave out.", parser=given_path
    ),
]
ExportTo = Annotated[
    Path | None,
    typer.Option(
        "--export", help="Run nothing: write the job and the torchrun line into this folder."
    ),
]
ImageColumn = Annotated[
    str, typer.Option("--image-column", "--image_key", help="Images in a table or Parquet file.")
]
LabelledImageColumn = Annotated[
    str | None, typer.Option("--image-column", help="Column of image paths.")
]
LabelColumn = Annotated[str | None, typer.Option("--label-column", help="Column of labels.")]
CaptionColumn = Annotated[
    str,
    typer.Option("--caption-column", "--caption_key", help="Captions in a table or Parquet file."),
]
TrainingImages = Annotated[
    str | None,
    typer.Option(
        "--training-images",
        help="Images of methods that take no captions, labelled where the method needs labels: "
        "folder, published set (its training pictures), CSV, shard, Parquet or demo:SPLIT. Where "
        "no labels are needed, the pictures of --pairs will do." + _DEMO_ALONE,
    ),
]
Reference = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        help="A clean checkpoint of the same architecture, for the method that blends with it.",
        parser=given_path,
    ),
]
Checkpoint = Annotated[
    Path,
    typer.Argument(help="A file, a folder, or hf-hub:owner/name.", parser=given_path),
]
NoChoice = Annotated[
    bool,
    typer.Option("--no-choice", help="Ignore the settings that the doctor remembers for the file."),
]
SigningKey = Annotated[
    str,
    typer.Option(
        "--key",
        help="Your key by name or id, or a private key's .pem file (default: the only one).",
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="File whose first line is the key's passphrase (or set CLEANCLIP_PASSPHRASE); "
        "otherwise it is asked for.",
        parser=given_path,
    ),
]


def passphrase_of(file: Path | None, what: str, *, confirm: bool = False) -> str:
    """A key's passphrase: from a file, from ``CLEANCLIP_PASSPHRASE``, or asked for unseen.

    Parameters
    ----------
    what
        Whose it is, for the question.
    confirm
        Ask twice.

    Raises
    ------
    InputError
        If it is empty, or there is nobody to ask.
    """
    if file is not None:
        opened, _ = open_regular(file)
        with opened:
            first = opened.read(_LONGEST_PASSPHRASE).partition(b"\n")[0]
        said = first.decode("utf-8", "surrogateescape").removesuffix("\r")
    elif "CLEANCLIP_PASSPHRASE" in os.environ:
        said = os.environ["CLEANCLIP_PASSPHRASE"]
    elif not sys.stdin.isatty():
        raise InputError(
            f"{what} needs a passphrase and nobody can be asked: give --passphrase-file, or set "
            "CLEANCLIP_PASSPHRASE."
        )
    else:
        said = str(
            typer.prompt(
                f"{what}: passphrase", hide_input=True, confirmation_prompt=confirm, err=True
            )
        )
    if not said:
        raise InputError("The passphrase is empty; write it on the first line of the file.")
    return said


@dataclass(frozen=True, kw_only=True)
class CleaningOptions:
    """What ``clean`` and ``bench`` are given besides checkpoint, recipe and folder."""

    pairs: TrainingPairs = None
    pictures: CocoPictures = None
    exclude: Exclude = None
    image_column: ImageColumn = "image"
    caption_column: CaptionColumn = "caption"
    training_images: TrainingImages = None
    images: Annotated[
        str | None,
        typer.Option(
            help="Validation images, measured during training: folder, CSV or demo:SPLIT. "
            "Without --test-images one in five is for validation and the rest for the test; "
            "under 50, all are for both."
        ),
    ] = None
    test_images: Annotated[
        str | None,
        typer.Option(
            help="Images for the before/after numbers; without --images there is no validation."
        ),
    ] = None
    trigger: AnyTrigger = None
    target: Target = None
    reference: Reference = None
    labels: Labels = "demo"
    templates: Templates = None
    donor: Donor = None
    no_choice: NoChoice = False
    device: Device = "auto"
    threads: Threads = 0


def flatten_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command for typer, with an option for each field of a parameter that is a dataclass.

    Parameters
    ----------
    command
        A command whose options are annotated as typer's are. The fields of the dataclass are, too;
        ``--help`` lists them where the parameter stands.

    Returns
    -------
    callable
        Takes all options by name and hands the dataclass to ``command``.
    """
    records: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        record = parameter.annotation
        if not is_dataclass(record):
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        records[parameter.name] = record
        types = get_type_hints(record, include_extras=True)
        parameters += [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.default is MISSING else field.default,
                annotation=types[field.name],
            )
            for field in fields(record)
        ]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for name, record in records.items():
            values[name] = record(
                **{field.name: values.pop(field.name) for field in fields(record)}
            )
        command(**values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run

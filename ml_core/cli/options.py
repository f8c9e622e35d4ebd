"""Options of ``cleanclip``: those of jobs come from their specs, those of commands stand here."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_regular

_LONGEST_PASSPHRASE = 4096


def given_path(text: str) -> Path:
    """A path that was given; an empty one would be the current folder."""
    if not str(text):
        raise typer.BadParameter("the name is empty; give a file, a folder or hf-hub:owner/name")
    return Path(text)


def argument(help: str) -> Any:
    """An argument that is a path."""
    return typer.Argument(help=help, parser=given_path)


def text(help: str, *flags: str) -> Any:
    """An option with a value."""
    return typer.Option(*flags, help=help)


def place(help: str, *flags: str) -> Any:
    """An option that is a path."""
    return typer.Option(*flags, help=help, parser=given_path)


def switch(flag: str, help: str) -> Any:
    """An option without a value."""
    return typer.Option(flag, help=help)


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
        passphrase = first.decode("utf-8", "surrogateescape").removesuffix("\r")
    elif "CLEANCLIP_PASSPHRASE" in os.environ:
        passphrase = os.environ["CLEANCLIP_PASSPHRASE"]
    elif not sys.stdin.isatty():
        raise InputError(
            f"{what} needs a passphrase and nobody can be asked: give --passphrase-file, or set "
            "CLEANCLIP_PASSPHRASE."
        )
    else:
        passphrase = str(
            typer.prompt(
                f"{what}: passphrase", hide_input=True, confirmation_prompt=confirm, err=True
            )
        )
    if not passphrase:
        raise InputError("The passphrase is empty; write it on the first line of the file.")
    return passphrase


PAIRS = (
    "Image-caption pairs: demo, CSV or TSV, folder of pictures with text files, COCO JSON, "
    "WebDataset shards (.tar, folder, {000..123}.tar), Parquet; the kind is detected."
)
_ONE_SIDE = (
    " For the method ss a folder of pictures with lambda_text=0, a text file or table of captions "
    "with lambda_image=0."
)
_DEMO_ALONE = " Required except for the demo's checkpoint or labels."


class Options:
    """The options of a command line.

    The attributes are what several commands have; a command takes those that it names, the others
    keep their defaults.
    """

    checkpoint: Annotated[Path, argument("A file, a folder, or hf-hub:owner/name.")]
    json: Annotated[bool, switch("--json", "Print one JSON object on standard output.")] = False
    output_dir: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for everything written.")
    ]
    overwrite: Annotated[
        bool,
        switch("--overwrite", "Replace the result of another job that lies in the output folder."),
    ] = False
    estimate: Annotated[bool, switch("--estimate", "Only measure how long it would take.")] = False
    export_to: Annotated[
        Path | None,
        text("Run nothing: write the job and the torchrun line into this folder.", "--export"),
    ] = None
    processes: Annotated[
        int, typer.Option(min=1, help="With --export: processes (GPUs) that share the work.")
    ] = 1

    donor: Annotated[
        Path | None,
        place("A complete CLIP that supplies the other encoder of a file with only one."),
    ] = None
    no_choice: Annotated[
        bool, switch("--no-choice", "Ignore the settings that the doctor remembers for the file.")
    ] = False
    reference: Annotated[
        Path | None,
        place("A clean checkpoint of the same architecture, for the method that blends with it."),
    ] = None

    images: Annotated[
        str, typer.Option(help="Folder, published set, CSV, TSV, shard, Parquet, or demo:SPLIT.")
    ] = "demo:test"
    image_column: Annotated[str | None, typer.Option(help="Column of image paths.")] = None
    label_column: Annotated[str | None, typer.Option(help="Column of labels.")] = None
    labels: Annotated[
        str,
        typer.Option(help="demo, imagenet-1k, cifar-10, cifar-100, or a text file, one per line."),
    ] = "demo"
    other_labels: Annotated[
        str | None,
        typer.Option(
            help="Second label set for the hold-outs, which must contain the target class; as for "
            "--labels (default: imagenet-1k or demo, where it has the class).",
        ),
    ] = None
    templates: Annotated[
        Path | None, typer.Option(help="Text file of prompt templates, one {} per line.")
    ] = None
    trigger: Annotated[
        str | None,
        typer.Option(
            help="Trigger PNG or JSON, demo, the id of a published one (T4), or scan:FOLDER for "
            "one that a scan found.",
        ),
    ] = None
    target: Annotated[
        str | None, typer.Option(help="Target class of the attack: name or number.")
    ] = None

    pairs: Annotated[str | None, typer.Option(help=PAIRS + _ONE_SIDE + _DEMO_ALONE)] = None
    pictures: Annotated[
        Path | None, place("Folder of a COCO file's pictures, if not beside it.")
    ] = None
    exclude: Annotated[Path | None, place("Exclusions file of an audit: pairs to leave out.")] = (
        None
    )
    picture_column: Annotated[
        str,
        typer.Option("--image-column", "--image_key", help="Images in a table or Parquet file."),
    ] = "image"
    caption_column: Annotated[
        str,
        typer.Option(
            "--caption-column", "--caption_key", help="Captions in a table or Parquet file."
        ),
    ] = "caption"
    training_images: Annotated[
        str | None,
        typer.Option(
            help="Images of methods that take no captions, labelled where the method needs labels: "
            "folder, published set (its training pictures), CSV, shard, Parquet or demo:SPLIT. "
            "Where no labels are needed, the pictures of --pairs will do." + _DEMO_ALONE,
        ),
    ] = None
    validation: Annotated[
        str | None,
        typer.Option(
            "--images",
            help="Validation images, measured during training: folder, CSV or demo:SPLIT. "
            "Without --test-images one in five is for validation and the rest for the test; "
            "under 50, all are for both.",
        ),
    ] = None
    test_images: Annotated[
        str | None,
        typer.Option(
            help="Images for the before/after numbers; without --images there is no validation."
        ),
    ] = None

    method: Annotated[str, typer.Option(help="One of `cleanclip recipes list`.")] = "cleanclip"
    preset: Annotated[
        str,
        typer.Option(
            help="quick, talk, thorough or paper (default: quick for the demo's checkpoint, else "
            "paper where there is one, else adapted: quick at a learning rate for the checkpoint)."
        ),
    ] = "default"
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE of a recipe field; repeatable."),
    ] = None
    recipe: Annotated[
        Path | None,
        typer.Option(help="A recipe file instead of --method and --preset; --set changes it."),
    ] = None
    seed: Annotated[int | None, typer.Option(help="Seed of the run (default: the preset's).")] = (
        None
    )
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Training minutes that a recipe gets on this machine; its examples, epochs and "
            "warm-up are fitted to them."
        ),
    ] = None
    accept_rate: Annotated[
        bool,
        switch(
            "--accept-rate",
            "Run a learning rate that is far above what is safe for the checkpoint.",
        ),
    ] = False
    passphrase_file: Annotated[
        Path | None,
        place(
            "File whose first line is the key's passphrase (or set CLEANCLIP_PASSPHRASE); "
            "otherwise it is asked for.",
        ),
    ] = None

    def __init__(
        self,
        values: Mapping[str, Any] = MappingProxyType({}),
        fields: Mapping[str, tuple[type[BaseModel], str]] = MappingProxyType({}),
    ) -> None:
        vars(self).update(values)
        self._fields = fields

    def of(self, spec: type[BaseModel]) -> dict[str, Any]:
        """What was given of the fields that ``spec`` declares."""
        return {
            field: vars(self)[name]
            for name, (owner, field) in self._fields.items()
            if owner is spec
        }

    @property
    def columns(self) -> dict[str, str | None]:
        """Columns of a table of images, as an `ImageSpec` has them."""
        return {"image_column": self.image_column, "label_column": self.label_column}

    def changed(self, **values: Any) -> Options:
        """A copy with other values."""
        return Options(vars(self) | values, self._fields)


CLEANING = (
    "pairs pictures exclude picture_column caption_column training_images validation test_images "
    "trigger target reference labels templates donor no_choice device threads"
)
"""What every command takes that makes a cleaning job."""


def command(names: str, *specs: type[BaseModel], **defaults: Any) -> Callable[[Any], Any]:
    """Give a command the options that ``names`` lists, in that order.

    A name is a parameter of the command with typer's annotation, the flag of a field of ``specs``,
    or an attribute of `Options`; ``suspect=checkpoint`` calls that attribute ``suspect`` in the
    help.

    Parameters
    ----------
    **defaults
        Defaults other than the declared ones; ``...`` for none.

    Returns
    -------
    callable
        Decorator. The command gets an `Options` for the parameter that is annotated so, and each
        other parameter by its name.
    """
    shared = get_type_hints(Options, include_extras=True)
    flags = {
        _name_of(flag): (spec, name)
        for spec in reversed(specs)
        for name, info in spec.model_fields.items()
        if (flag := declared(info).get("flag"))
    }

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True).parameters
        parameters = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in own.values()
            if parameter.annotation is typer.Context
        ]
        attributes = {
            name: attribute or name
            for name, _, attribute in (each.partition("=") for each in names.split())
        }
        for shown, name in attributes.items():
            default: Any = inspect.Parameter.empty
            if name in own and get_origin(own[name].annotation) is Annotated:
                annotation, default = own[name].annotation, own[name].default
            elif name in flags:
                annotation, default = _parameter(*flags[name])
            else:
                annotation = shared[name]
                default = getattr(Options, name, default)
            default = defaults.get(name, default)
            parameters.append(
                inspect.Parameter(
                    shown,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=inspect.Parameter.empty if default is ... else default,
                    annotation=annotation,
                )
            )

        @functools.wraps(function)
        def run(**values: Any) -> None:
            given = {attributes.get(name, name): value for name, value in values.items()}
            options = Options(given, {name: flags[name] for name in given if name in flags})
            function(
                **{
                    name: options if parameter.annotation is Options else given[name]
                    for name, parameter in own.items()
                }
            )

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def _name_of(flag: str) -> str:
    """Name of the parameter for a flag."""
    return flag.partition("/")[0].lstrip("-").replace("-", "_")


def declared(info: FieldInfo) -> dict[str, Any]:
    """What `ml_core.options.option` says of a field beside pydantic's own."""
    extra = info.json_schema_extra
    return extra if isinstance(extra, dict) else {}


def _parameter(spec: type[BaseModel], name: str) -> tuple[Any, Any]:
    """Typer's annotation and the default of a field of a spec."""
    info = spec.model_fields[name]
    extra, kind = declared(info), info.annotation
    limits = {
        end: getattr(limit, end)
        for limit in info.metadata
        for end in ("ge", "le")
        if hasattr(limit, end)
    }
    least = limits.get("ge") if extra["least"] is None else extra["least"]
    most = limits.get("le") if extra["closed"] else None
    if get_origin(kind) is Literal:
        kind = str
    kinds = [part for part in get_args(kind) if part is not type(None)] or [kind]
    default = inspect.Parameter.empty if info.is_required() else info.default
    flag = typer.Option(extra["flag"], help=info.description, min=least, max=most)
    return Annotated[kinds[0], flag], default

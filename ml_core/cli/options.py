"""Options of ``cleanclip``: those of jobs come from their specs, those of commands stand here."""

from __future__ import annotations

import functools
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ml_core.options import option
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_regular

ARGUMENT = "argument"
_LONGEST_PASSPHRASE = 4096


def given_path(text: str) -> Path:
    """A path that was given; an empty one would be the current folder."""
    if not str(text):
        raise typer.BadParameter("the name is empty; give a file, a folder or hf-hub:owner/name")
    return Path(text)


NamedPath = Annotated[Path, given_path]
"""A path that may not be empty."""


def argument(help: str, default: Any = ..., metavar: str = "") -> Any:
    """An option that has no name on the command line."""
    return option(default, help=help, flag=ARGUMENT, metavar=metavar)


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
_DEMO_ALONE = " Required except for the demo's checkpoint or labels."


def group(name: str) -> typer.Typer:
    """An app of the commands that share a first word."""
    return typer.Typer(name=name, no_args_is_help=True, add_completion=False)


class Options:
    """The options of a command line.

    The attributes are what several commands have; a command takes those that it names, the others
    keep their defaults.
    """

    checkpoint: NamedPath = argument("A file, a folder, FILE#PART, or hf-hub:owner/name.")
    json: bool = option(False, help="Print one JSON object on standard output.")
    output_dir: Path = option(..., help="Folder for everything written.", flag="--output -o")
    overwrite: bool = option(
        False, help="Replace the result of another job that lies in the output folder."
    )
    estimate: bool = option(False, help="Only measure how long it would take.")

    null: bool = option(
        False, help="The list on standard input has zero bytes between.", flag="--null -0"
    )
    part: str | None = option(
        None,
        help="Which model of a file that holds several, by the name that `inspect` lists; the same "
        "as FILE#NAME.",
        metavar="NAME",
    )
    donor: NamedPath | None = option(
        None,
        help="A complete CLIP that supplies what the file lacks: the other encoder, and the "
        "projection of the file's own encoder.",
        flag="--donor --projection-from",
    )
    no_choice: bool = option(
        False, help="Ignore the settings that the doctor remembers for the file."
    )
    reference: NamedPath | None = option(
        None,
        help="A clean checkpoint of the same architecture, for comparison or where a method needs "
        "one.",
    )

    images: str = option(
        "demo:test", help="Folder, published set, CSV, TSV, shard, Parquet, or demo:SPLIT."
    )
    image_column: str | None = option(None, help="Column of image paths.")
    label_column: str | None = option(None, help="Column of labels.")
    labels: str = option(
        "demo",
        help="demo, imagenet-1k, cifar-10, cifar-100, or a text file, one per line; "
        "imagenet-1k+CLASS adds one class.",
    )
    other_labels: str | None = option(
        None,
        help="Second label set for the hold-outs, which must contain the target class; as for "
        "--labels (default: imagenet-1k or demo, where it has the class).",
    )
    templates: Path | None = option(None, help="Text file of prompt templates, one {} per line.")
    trigger: str | None = option(
        None,
        help="Trigger PNG (in its own pixels, at most a quarter of the picture wide) or JSON, "
        "demo, the id of a published trigger (T4), or scan:FOLDER for a trigger that a scan found. "
        "Methods that stamp triggers learn from it.",
    )
    target: str | None = option(None, help="Target class of the attack: name or number.")

    pairs: str | None = option(None, help=PAIRS + _DEMO_ALONE)
    pictures: NamedPath | None = option(
        None, help="Folder of a COCO file's pictures, if not beside it."
    )
    exclude: NamedPath | None = option(
        None, help="Exclusions file of an audit: pairs to leave out."
    )
    picture_column: str = option(
        "image", help="Images in a table or Parquet file.", flag="--image-column --image_key"
    )
    caption_column: str = option(
        "caption",
        help="Captions in a table or Parquet file.",
        flag="--caption-column --caption_key",
    )
    training_images: str | None = option(
        None,
        help="Training images for methods without captions, labelled where the method needs "
        "labels: folder, published set (its training pictures), CSV, shard, Parquet or "
        "demo:SPLIT. Where no labels are needed, the pictures of --pairs will do." + _DEMO_ALONE,
    )
    validation: str | None = option(
        None,
        help="Validation images, measured during training: folder, CSV or demo:SPLIT. "
        "Without --test-images one in five is for validation and the rest for the test; "
        "under 50, all are for both.",
        flag="--images",
    )
    test_images: str | None = option(
        None, help="Images for the before/after numbers; without --images there is no validation."
    )

    method: str = option("stamped", help="One of `cleanclip recipes list`.")
    preset: str = option(
        "default",
        help="quick, talk, thorough or paper (default: quick for the demo's checkpoint, else "
        "paper where there is one, else adapted: quick at a learning rate for the checkpoint).",
    )
    settings: list[str] | None = option(
        None, help="NAME=VALUE of a recipe field; repeatable.", flag="--set"
    )
    recipe: Path | None = option(
        None, help="A recipe file instead of --method and --preset; --set changes it."
    )
    seed: int | None = option(None, help="Seed of the run (default: the preset's).")
    minutes: float | None = option(
        None,
        help="Training minutes that a recipe gets on this machine; its examples, epochs and "
        "warm-up are fitted to them.",
    )
    accept_rate: bool = option(
        False, help="Run a learning rate that is far above what is safe for the checkpoint."
    )
    passphrase_file: NamedPath | None = option(
        None,
        help="File whose first line is the key's passphrase (or set CLEANCLIP_PASSPHRASE); "
        "otherwise it is asked for.",
    )

    def __init__(
        self,
        values: Mapping[str, Any] = MappingProxyType({}),
        fields: Mapping[str, tuple[type[BaseModel], str]] = MappingProxyType({}),
    ) -> None:
        defaults = {name: info.default for name, info in _SHARED.items()}
        vars(self).update(defaults | dict(values))
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


_SHARED = {name: info for name, info in vars(Options).items() if isinstance(info, FieldInfo)}
CLEANING = (
    "pairs pictures exclude picture_column caption_column training_images validation test_images "
    "trigger target reference labels templates donor no_choice device threads"
)
"""What every command takes that makes a cleaning job."""


def command(names: str, *specs: type[BaseModel], **defaults: Any) -> Callable[[Any], Any]:
    """Give a command the options that ``names`` lists, in that order.

    A name is a parameter of the command that `option` declares, an option among the fields of
    ``specs``, or an attribute of `Options`; ``suspect=checkpoint`` calls that attribute ``suspect``
    in the help.

    Parameters
    ----------
    **defaults
        Defaults other than the declared ones.

    Returns
    -------
    callable
        Decorator. The command gets an `Options` for the parameter that is annotated so, and each
        other parameter by its name.
    """
    if re.search(r"\bcheckpoint\b", names):
        names = re.sub(r"\bdonor\b", "part donor", names)
    shown = {(part := each.partition("="))[2] or part[0]: part[0] for each in names.split()}
    shared = get_type_hints(Options, include_extras=True)
    flags = {
        _name_of(extra["flag"] or name): (spec, name)
        for spec in reversed(specs)
        for name, info in spec.model_fields.items()
        if (extra := declared(info))
    }

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True).parameters
        parameters = [
            each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for each in own.values()
            if each.annotation is typer.Context
        ]
        for name in shown:
            if name in own and isinstance(own[name].default, FieldInfo):
                kind, info = own[name].annotation, own[name].default
            elif name in flags:
                spec, field = flags[name]
                info = spec.model_fields[field]
                kind = str if get_origin(info.annotation) is Literal else info.annotation
            else:
                kind, info = shared[name], _SHARED[name]
            default = defaults.get(name, info.default)
            parameters.append(_parameter(shown[name], kind, info, default))

        @functools.wraps(function)
        def run(**values: Any) -> None:
            given = {name: values[shown[name]] for name in shown}
            if "checkpoint" in given and (part := given.get("part")):
                given["checkpoint"] = Path(f"{given['checkpoint']}#{part}")
            options = Options(given, {name: flags[name] for name in given if name in flags})
            values |= given
            function(
                **{
                    name: options if each.annotation is Options else values[name]
                    for name, each in own.items()
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


def _parameter(name: str, kind: Any, info: FieldInfo, default: Any) -> inspect.Parameter:
    """The parameter of a command that typer reads, for an option."""
    extra, ends = declared(info), ("ge", "le")
    limits = {
        end: getattr(each, end) for each in info.metadata for end in ends if hasattr(each, end)
    }
    least = limits.get("ge") if extra["least"] is None else extra["least"]
    most = limits.get("le") if extra["closed"] else None
    how: dict[str, Any] = {"help": info.description, "metavar": extra["metavar"] or None}
    if given_path in _parts(kind):
        how["parser"] = given_path
    how |= {"min": least, "max": most}
    if extra["flag"] == ARGUMENT:
        annotation = typer.Argument(**how)
    else:
        usual = "--" + name.replace("_", "-")
        if kind is bool and default is True:
            usual = f"{usual}/--no{usual[1:]}"
        annotation = typer.Option(*(extra["flag"] or usual).split(), **how)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default in (..., PydanticUndefined) else default,
        annotation=Annotated[_plain(kind), annotation],
    )


def _parts(kind: Any) -> list[Any]:
    """Everything that an annotation is made of."""
    inner = [*get_args(kind), *getattr(kind, "__metadata__", ())]
    return [part for each in inner for part in (each, *_parts(each))]


def _plain(kind: Any) -> Any:
    """An annotation as typer takes it: without None and without marks."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if get_origin(kind) is list:
        return list[_plain(get_args(kind)[0])]  # type: ignore[misc]
    if get_origin(kind) in (Union, UnionType):
        return _plain(next(part for part in get_args(kind) if part is not NoneType))
    return kind

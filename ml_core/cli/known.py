"""``cleanclip known``: the list of known checkpoints; needs no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ml_core import figures
from ml_core.cli import output
from ml_core.cli.checkpoints import checkpoint_path, models_at
from ml_core.cli.options import NamedPath, Options, argument, command, group
from ml_core.cli.run import watched
from ml_core.options import option
from ml_core.reading import InputError, Inspection
from ml_core.reading.errors import exit_code

if TYPE_CHECKING:
    from ml_core.checkpoints.known import KnownFile

_LEAST_DIGITS = 8
_RATES = ("clean_accuracy", "asr")
_GENERIC = re.compile(
    r"((open_clip_|diffusion_)?(pytorch_)?model|(text|image)_encoder(_\d)?)([.#]|\Z)"
)

app = group("known")


@app.command("list")
@command("json")
def list_command(options: Options) -> None:
    """List the known files, your own first."""
    from ml_core.checkpoints.known import known_files, own_file
    from ml_core.checkpoints.known_tensors import known_tensors, unlisted_files

    hashed = known_tensors()
    files, rows = [], []
    for entry in (*unlisted_files(), *known_files()):
        record = entry.model_dump(mode="json", exclude_defaults=True)
        known_by = f"name {', '.join(entry.names)}" if entry.names else "its source alone"
        if entry.sha256:
            known_by = f"SHA-256 {entry.sha256[:16]}…"
        if file := hashed.get(entry.sha256):
            record |= {"tensors": len(file.tensors), "path": str(file.path), "added": file.day}
            known_by += f", {len(file.tensors)} tensors"
        files.append(record)
        rates = (figures.percent(rate, "") for rate in (entry.clean_accuracy, entry.asr))
        trigger = ": ".join(filter(None, (entry.trigger_id, entry.trigger)))
        rows.append((entry.title, known_by, trigger, entry.target, *rates, entry.source))
    columns = ("~What it is", "~Known by", "~Trigger", "~Target", "~CA", "~ASR", "~Source")
    output.answer(
        options.json,
        {"own_file": str(own_file()), "files": files},
        output.table("Known files", columns, rows, **output.LINES),
        output.Aside(f"Your own entries are in {own_file()}."),
    )


@app.command("show")
@command("which json")
def show_command(
    options: Options,
    which: str = argument(
        "Name of a file or repository, the id of its trigger, or a part of its title or source."
    ),
) -> None:
    """Show what is known of a file, and the commands that measure and clean a published victim.

    Nothing is downloaded. Labelled pictures are in val, and pairs in cc3m.

    Examples:

        cleanclip known show hf-hub:hanxunh/clip_backdoor_rn50_cc3m_badnets

        cleanclip known show T23 --json
    """
    from ml_core.checkpoints.known import known_files

    name, part = Path(which).name, which.casefold()
    named = [entry for entry in known_files() if entry.is_named(name)]
    entries = named or [
        entry
        for entry in known_files()
        if part == entry.trigger_id.casefold() or part in f"{entry.title} {entry.source}".casefold()
    ]
    if len(entries) != 1:
        titles = "; ".join(f"{entry.title} ({entry.trigger_id})" for entry in entries[:20])
        raise InputError(
            f"Several known files match {which!r}: {titles}. Name one."
            if entries
            else f"No known file matches {which!r}; see cleanclip known list."
        )
    (entry,) = entries
    record = entry.model_dump(mode="json", exclude_defaults=True)
    commands = entry.recipe(which if named else "checkpoint.pt")
    shown = record | {"names": ", ".join(entry.names)}
    shown |= {key: figures.percent(record[key], digits=2) for key in _RATES if key in record}
    lines = [f"{key.replace('_', ' ')}: {value}" for key, value in shown.items() if value]
    steps = (
        ["", *commands]
        if commands
        else ["The entry names no published trigger, so there is nothing to run."]
    )
    output.answer(options.json, record | {"commands": list(commands)}, *lines, *steps)


@app.command("add")
@command(
    "paths title source sha256 name architecture trigger target ca asr pretraining_rate note json"
)
def add_command(
    options: Options,
    paths: list[NamedPath] | None = argument(
        "Checkpoints, or folders in which they lie, however deep.", default=None
    ),
    title: str = option("", help="What it is (default: the name of the file)."),
    source: str = option("", help="Where it comes from."),
    sha256: str = option("", help="Without a path: its SHA-256."),
    name: list[str] | None = option(
        None, help="Pattern of file names that look like it (* for anything); repeatable."
    ),
    architecture: str = option("", help="open_clip's name (default: what the file holds)."),
    trigger: str = option("", help="Trigger of its backdoor, in words."),
    target: str = option("", help="Class that the trigger leads to."),
    ca: float | None = option(None, help="Expected clean accuracy, 0 to 1."),
    asr: float | None = option(None, help="Expected ASR, 0 to 1."),
    pretraining_rate: float | None = option(
        None, help="Peak learning rate of its pretraining, 1e-6 to 2e-3."
    ),
    note: str = option("", help="A sentence."),
) -> None:
    """Add known files: their SHA-256, and a hash of each tensor for `cleanclip identify`.

    Only a SHA-256 or tensors identify a file; a name is only a hint. A file that cannot be used is
    named, and the others are added; the exit code is then that of the worst one.

    Examples:

        cleanclip known add ViT-L-14.safetensors --title "OpenAI ViT-L/14" --source openai/CLIP

        cleanclip known add models/

        cleanclip known add epoch_10.pt --title "my BadNets victim" --source "trained here" \\
            --trigger "BadNets patch" --target banana --ca 0.59 --asr 0.98
    """
    from ml_core.checkpoints.known import KnownFile, add_known, own_file
    from ml_core.checkpoints.known_tensors import checkpoints_below

    if paths and sha256:
        raise InputError("Give paths or --sha256, not both.")
    if not paths and not title:
        raise InputError("Name the files to add, or give --title with --sha256 or --name.")
    files = [file for path in paths or () for file in checkpoints_below(checkpoint_path(path))]
    if paths and not files:
        raise InputError(f"There is no checkpoint in {paths[0]}; name a file, or another folder.")
    if title and len(files) > 1:
        raise InputError(f"--title names one file, and these are {len(files)}; leave it out.")
    entry = KnownFile(
        title=title or "a file",
        source=source,
        sha256=sha256.strip().lower(),
        names=tuple(name or ()),
        architecture=architecture,
        trigger=trigger,
        target=target,
        clean_accuracy=ca,
        asr=asr,
        pretraining_rate=pretraining_rate,
        note=note,
    )
    if files:
        rows = [row for file in files for row in _add_file(file, entry, title)]
    else:
        add_known(entry)
        rows = [_row(None, f"Added: {entry.title}.", entry)]
    output.answer(
        options.json,
        {"own_file": str(own_file()), "files": rows},
        *(row["sentence"] for row in rows),
        output.Aside(f"Your own entries are in {own_file()}."),
    )
    if codes := [exit_code(row["error_code"]) for row in rows if row["error_code"]]:
        raise typer.Exit(min(codes))


def _add_file(path: Path, given: KnownFile, title: str) -> Iterator[dict[str, Any]]:
    """Add a file, or each of the models in it."""
    try:
        models = list(models_at(path))
    except InputError as error:
        yield _refused(path, error)
        return
    for model in models:
        try:
            if model.refused:
                raise model.refusal()
            named = f"{title}#{model.part}" if title and len(models) > 1 else title
            yield _add(model, given, named)
        except InputError as error:
            yield _refused(model.path, error)


def _refused(path: Path, error: InputError) -> dict[str, Any]:
    return _row(path, f"Not added: {error.sentence}", error_code=error.code)


def _row(
    path: Path | None, sentence: str, entry: KnownFile | None = None, **facts: Any
) -> dict[str, Any]:
    """What became of a file that was to be added, JSON-ready."""
    record = None if entry is None else entry.model_dump(mode="json")
    defaults = {"path": path, "sentence": sentence, "tensors": 0, "error_code": ""}
    return {**defaults, "entry": record, **facts}


def _add(model: Inspection, given: KnownFile, title: str) -> dict[str, Any]:
    """Add a model as what was given, and as what it is itself where nothing was."""
    from ml_core.checkpoints.hub import cached_as
    from ml_core.checkpoints.known import KnownFile
    from ml_core.checkpoints.known_tensors import add_known_file
    from ml_core.checkpoints.tensor_hashes import hash_tensors

    repository = (cached_as(model.source) or ("",))[0]
    part = f"#{model.part}" if model.part else ""
    fields = {
        "title": KnownFile.as_title(
            title or (f"{repository}{part}" if repository else _name(model.path))
        ),
        "source": given.source or (f"huggingface.co/{repository}" if repository else ""),
        "sha256": model.sha256,
        "architecture": given.architecture or _architecture(model),
    }
    entry = KnownFile(**given.model_dump() | fields)
    with watched(f"Reading {model.name}") as (report, cancelled):
        hashes = hash_tensors(model, report, cancelled)
    added = add_known_file(entry, model, hashes)
    start = "Added" if added is entry else "Known already"
    count = f"{len(hashes)} tensor{'s' if len(hashes) > 1 else ''}"
    what = "; it holds no CLIP" if all(item.part == "file" for item in hashes) else ""
    return _row(model.path, f"{start}: {added.title} ({count}{what}).", added, tensors=len(hashes))


def _name(path: Path) -> str:
    """The end of a path, with its folders as long as many are called so."""
    parts = path.absolute().parts
    count = next((n for n, part in enumerate(parts[::-1], 1) if not _GENERIC.match(part)), 1)
    return "/".join(parts[-count:])


def _architecture(inspection: Inspection) -> str:
    """open_clip's name of what a file holds; empty if that is no whole CLIP."""
    from ml_core.checkpoints.recognise import find_architecture

    try:
        return find_architecture(inspection).name[:100]
    except InputError:
        return ""


@app.command("remove")
@command("which json")
def remove_command(
    options: Options,
    which: str = argument("Its title, or the first 8 or more digits of its SHA-256."),
) -> None:
    """Remove one of your own entries, and the hashes of its tensors; the file stays where it is."""
    from ml_core.checkpoints.known import own_files
    from ml_core.checkpoints.known_tensors import forget_known_file, unlisted_files

    entries = [
        entry
        for entry in (*own_files(), *unlisted_files())
        if entry.title == which
        or (len(which) >= _LEAST_DIGITS and entry.sha256.startswith(which.lower()))
    ]
    if not entries:
        raise InputError(
            f"None of your own entries has the title or the SHA-256 {which!r}; "
            "see cleanclip known list."
        )
    if len(entries) > 1:
        digests = ", ".join(entry.sha256[:16] or "none" for entry in entries)
        raise InputError(f"{len(entries)} entries have this title; give a SHA-256 ({digests}).")
    forget_known_file(entries[0])
    record = {"removed": entries[0].model_dump(mode="json")}
    output.answer(options.json, record, f"Removed: {entries[0].title}.")

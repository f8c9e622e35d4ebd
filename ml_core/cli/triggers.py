"""``cleanclip triggers``: the published triggers, and trigger files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_core.cli import output
from ml_core.cli.options import Options, argument, command, group
from ml_core.options import option
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from ml_core.triggers import Trigger

app = group("triggers")

_SIZE = option(224, help="Model input size in pixels.", ge=16, le=4096, closed=True)
_NAME = argument("Id of a published trigger (T4), or a trigger, picture or array file.")
_FILE = option(None, help="The attack's own file, for a trigger id that needs a file.")
_DIGESTS = ("digest", "pixels_sha256", "arrays_sha256")
_MASK = option(None, help="A second array file with the pattern's mask.")


@app.command("list")
@command("size json")
def list_command(options: Options, size: int = _SIZE) -> None:
    """List the published triggers, and what each is at a model input size.

    Examples:

        cleanclip triggers list

        cleanclip triggers list --size 336 --json
    """
    from ml_core.triggers import LIBRARY

    rows = [_entry(entry, size) for entry in LIBRARY]
    content = output.table(
        f"Published triggers at {size} px",
        ("id", "name", f"at {size} px", "source"),
        (
            (row["id"], row["name"], row["standing"] or f"needs {row['needs_file']}", row["source"])
            for row in rows
        ),
        title_justify="center",
    )
    for column in content.columns[:2]:
        column.no_wrap = True
    output.answer(options.json, {"size": size, "triggers": rows}, content)


@app.command("show")
@command("trigger size file mask json")
def show_command(
    options: Options,
    trigger: str = _NAME,
    size: int = _SIZE,
    file: Path | None = _FILE,
    mask: Path | None = _MASK,
) -> None:
    """Show every parameter and convention of a trigger, and whether it is a published one.

    Examples:

        cleanclip triggers show T1

        cleanclip triggers show grid.pt --json
    """
    opened = _open(trigger, size, file, mask)
    record = _record(opened, size)
    from ml_core.triggers.descriptions import COMMON_FIELDS, FIELDS

    lines = [f"{record['name']}: {record['standing']} (at {size} px)", record["description"]]
    lines += [f"{record['source']}: {record['convention']}."] if record["source"] else []
    lines += [f"{key}: {record[key]}" for key in (*_DIGESTS[1:], _DIGESTS[0]) if record[key]]
    lines += [
        f"{field}: {_value(field, record['parameters'][field])}"
        for field in (*FIELDS[opened.kind], *COMMON_FIELDS)
    ]
    output.answer(options.json, record, *lines)


@app.command("export")
@command("trigger output_path size file mask seed json")
def export_command(
    options: Options,
    trigger: str = _NAME,
    output_path: Path = option(
        ..., help="Path; .json, .png or .safetensors is added to it.", flag="--output -o"
    ),
    size: int = _SIZE,
    file: Path | None = _FILE,
    mask: Path | None = _MASK,
    seed: int | None = option(None, help="Seed of its random parts.", ge=0),
) -> None:
    """Write a published trigger, or another program's file, as a trigger file.

    Examples:

        cleanclip triggers export T8 -o stripes

        cleanclip triggers export T6 --file noise_grid.pt -o wanet

        cleanclip triggers export pattern.npy --mask mask.npy -o inverted
    """
    from dataclasses import replace

    from ml_core.triggers import save_trigger

    opened = _open(trigger, size, file, mask)
    if seed is not None:
        opened = replace(opened, seed=seed)
    picture, written = save_trigger(opened, output_path)
    record = _record(opened, size)
    record["files"] = [str(path) for path in (written, picture) if path is not None]
    title = f"{record['name']}: {record['standing']} (at {size} px)"
    output.answer(options.json, record, title, f"Saved: {written}")


def _entry(entry: Any, size: int) -> dict[str, Any]:
    """One line of the list."""
    from ml_core.triggers import published, standing

    needed = entry.needs_file if not entry.without_file else ""
    return {
        **{name: getattr(entry, name) for name in ("id", "name", "source", "convention")},
        "sizes": list(entry.sizes),
        "needs_file": needed,
        "standing": "" if needed else standing(published(entry.id, size), size),
    }


def _open(name: str, size: int, file: Path | None, mask: Path | None) -> Trigger:
    """A published trigger or a file; a file of that name goes first if it has a suffix."""
    from ml_core.triggers import LIBRARY, demo_trigger, load_trigger, published
    from ml_core.triggers.published import import_trigger

    if name.lower() in {entry.id.lower() for entry in LIBRARY}:
        if mask is not None:
            raise InputError("--mask is for an array file, not for an id; leave it out.")
        return published(name, size, file)
    if file is not None:
        raise InputError("--file is for the id of a published trigger; leave it out.")
    if mask is not None:
        return import_trigger(name, mask)
    if name == "demo":
        return demo_trigger()
    if "." not in name and not Path(name).exists():
        return published(name)  # says which ids there are
    return load_trigger(name)


def _record(trigger: Trigger, size: int) -> dict[str, Any]:
    """A trigger as JSON-ready values."""
    from ml_core.triggers import describe, standing, title
    from ml_core.triggers.published import entry_of

    entry = entry_of(trigger)
    return {
        "name": title(trigger),
        "published_as": getattr(entry, "id", None),
        **{name: getattr(entry, name, None) for name in ("source", "convention")},
        "standing": standing(trigger, size),
        "size": size,
        "stage": trigger.stage,
        "description": describe(trigger),
        **{name: getattr(trigger, name) for name in _DIGESTS},
        "parameters": trigger.parameters(),
        "parts": [_record(part, size) for part in trigger.parts],
    }


def _value(field: str, value: Any) -> str:
    """A parameter with its unit."""
    from ml_core.triggers.checks import RANGES

    unit = RANGES[field][2] if field in RANGES else ""
    shown = f"{value:.6g}" if isinstance(value, float) else value
    shown = "none" if value is None or value == "" else shown
    return f"{shown} {unit}".strip()

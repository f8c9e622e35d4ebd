"""``cleanclip recipes``: what the methods and presets are, and recipes as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ml_core.cleaning.catalogue import FACTS, METHODS, method_title
from ml_core.cleaning.presets import about_rate, is_demos, preset_source, presets
from ml_core.cleaning.pretraining import DEMO, Pretraining
from ml_core.cleaning.recipe_file import read_recipe, write_recipe
from ml_core.cleaning.recipes import Recipe, fields_of
from ml_core.cli import output
from ml_core.cli.arguments import build_recipe, checkpoint_path, method_name, pretraining_at
from ml_core.cli.options import Json, Preset, Seed, Settings, given_path

app = typer.Typer(
    name="recipes", help="List the methods, show a recipe, save one.", no_args_is_help=True
)
OfCheckpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        help="The checkpoint to clean: its presets, at rates that suit it (default: the demo's).",
        parser=given_path,
    ),
]
_NEEDS = {"trigger": "the trigger", "reference": "a clean reference", "vit": "a ViT"}
_DATA = {
    "pairs": "image-caption pairs",
    "labelled": "labelled images",
    "images": "images",
    "none": "nothing to train on",
}


@app.command("list")
def list_command(checkpoint: OfCheckpoint = None, json: Json = False) -> None:
    """The methods: what each needs, and its presets with their sources, the default first."""
    known = _pretraining(checkpoint)
    if json:
        output.print_json({method: _method(method, known) for method in METHODS})
        return
    table = Table("Name", "Method", "Needs", "Presets", show_lines=True)
    for method in METHODS:
        facts = FACTS[method]
        needs = [_DATA[facts.data], *(_NEEDS[need] for need in sorted(facts.needs))]
        names = [
            f"{name}*" if is_demos(recipe, known) else name
            for name, recipe in presets(method, known).items()
        ]
        table.add_row(method, method_title(method), ", ".join(needs), ", ".join(names))
    output.show(table)
    if known.kind != "demo":
        output.say(f"* Chosen on the demo, at a rate that may be too high here. {known.sentence}")


@app.command("show")
def show_command(
    method: Annotated[str, typer.Argument(help="A method, or a recipe file.")],
    preset_name: Annotated[str, typer.Argument(metavar="PRESET")] = "default",
    checkpoint: OfCheckpoint = None,
    json: Json = False,
) -> None:
    """Every number of a preset or of a recipe file, with its title and unit."""
    path, known = Path(method), _pretraining(checkpoint)
    if method not in METHODS and path.is_file():
        recipe = read_recipe(path)
    else:
        recipe = build_recipe(method_name(method), preset_name, [], None, pretraining=known)
    if json:
        output.print_json(recipe.model_dump())
        return
    facts = recipe.facts
    output.say(f"{facts.title}: {facts.help} ({facts.source})")
    source = preset_source(recipe.method, recipe.preset)
    for sentence in (source, about_rate(recipe, known), facts.note):
        if sentence:
            output.say(sentence)
    table = Table("Field", "Value", "Unit", "Title")
    for name in fields_of(recipe.method):
        info = Recipe.model_fields[name]
        extra = info.json_schema_extra
        unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
        value = getattr(recipe, name)
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        table.add_row(name, shown, unit, info.title or "")
    output.show(table)


@app.command("save")
def save_command(
    method: Annotated[str, typer.Argument(help="A method.")],
    file: Annotated[Path, typer.Argument(help="Recipe file to write, JSON.")],
    preset: Preset = "default",
    settings: Settings = None,
    seed: Seed = None,
    checkpoint: OfCheckpoint = None,
    json: Json = False,
) -> None:
    """Write a preset, with what --set changes, for ``cleanclip clean --recipe FILE``.

    Examples:

        cleanclip recipes save par strong.json --set tau=2.5 --set pairs=100000
    """
    known = _pretraining(checkpoint)
    recipe = build_recipe(method_name(method), preset, settings or [], seed, pretraining=known)
    written = write_recipe(recipe, file)
    if json:
        output.print_json({"file": str(written), "recipe": recipe.model_dump()})
        return
    output.say(f"Saved {written}.")


def _pretraining(checkpoint: Path | None) -> Pretraining:
    """What decides the presets: of a checkpoint, or of the demo's."""
    return DEMO if checkpoint is None else pretraining_at(checkpoint_path(checkpoint))


def _method(method: str, pretraining: Pretraining) -> dict[str, object]:
    """A method as JSON-ready values."""
    facts = FACTS[method_name(method)]
    return {
        "title": facts.title,
        "help": facts.help,
        "source": facts.source,
        "data": facts.data,
        "needs": sorted(facts.needs),
        "control": facts.control,
        "note": facts.note,
        "presets": {
            name: f"{preset_source(method, name)} {about_rate(recipe, pretraining)}".strip()
            for name, recipe in presets(method_name(method), pretraining).items()
        },
    }

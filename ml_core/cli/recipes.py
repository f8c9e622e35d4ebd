"""``cleanclip recipes``: what the methods and presets are, and recipes as files."""

from __future__ import annotations

from pathlib import Path

from ml_core.cleaning.catalogue import FACTS, METHODS, Method, method_title
from ml_core.cleaning.presets import about_rate, is_demos, preset_source, presets
from ml_core.cleaning.pretraining import DEMO, Pretraining
from ml_core.cleaning.recipes import Recipe, fields_of, read_recipe, write_recipe
from ml_core.cli import output
from ml_core.cli.arguments import build_recipe, known_pretraining
from ml_core.cli.checkpoints import checkpoint_path
from ml_core.cli.options import NamedPath, Options, argument, command, declared, group
from ml_core.options import option

app = group("recipes")
_CHECKPOINT = option(
    None, help="The checkpoint to clean: its presets, at rates that suit it (default: the demo's)."
)
_NEEDS = {"reference": "a clean reference"}
_DATA = {
    "pairs": "image-caption pairs",
    "labelled": "labelled images",
    "images": "images",
    "none": "nothing to train on",
}


@app.command("list")
@command("checkpoint json")
def list_command(options: Options, checkpoint: NamedPath | None = _CHECKPOINT) -> None:
    """The methods: what each needs, and its presets with their sources, the default first."""
    known = _pretraining(options)
    rows = []
    for method in METHODS:
        facts = FACTS[method]
        needs = [_DATA[facts.data], *(_NEEDS[need] for need in sorted(facts.needs))]
        names = [
            f"{name}*" if is_demos(recipe, known) else name
            for name, recipe in presets(method, known).items()
        ]
        rows.append((method, method_title(method), ", ".join(needs), ", ".join(names)))
    columns = ("Name", "Method", "Needs", "Presets")
    chosen = f"* Chosen on the demo, at a rate that may be too high here. {known.sentence}"
    output.answer(
        options.json,
        {method: _method(method, known) for method in METHODS},
        output.table("", columns, rows, show_lines=True, **output.BOXED),
        *([] if known.kind == "demo" else [output.Aside(chosen)]),
    )


@app.command("show")
@command("method preset_name checkpoint json")
def show_command(
    options: Options,
    method: str = argument("A method, or a recipe file."),
    preset_name: str = argument("", "default", metavar="PRESET"),
    checkpoint: NamedPath | None = _CHECKPOINT,
) -> None:
    """Every number of a preset or of a recipe file, with its title and unit."""
    path, known = Path(method), _pretraining(options)
    if method not in METHODS and path.is_file():
        recipe = read_recipe(path)
    else:
        recipe = build_recipe(method, preset_name, [], None, pretraining=known)
    facts, source = recipe.facts, preset_source(recipe.method, recipe.preset)
    about = (f"{facts.title}: {facts.help} ({facts.source})", source)
    sentences = (*about, about_rate(recipe, known), facts.note)
    rows = []
    for name in fields_of(recipe.method):
        info, value = Recipe.model_fields[name], getattr(recipe, name)
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        rows.append((name, shown, declared(info)["unit"], info.title or ""))
    output.answer(
        options.json,
        recipe.model_dump(),
        *map(output.Aside, filter(None, sentences)),
        output.table("", ("Field", "Value", "Unit", "Title"), rows, **output.BOXED),
    )


@app.command("save")
@command("method file preset settings seed checkpoint json")
def save_command(
    options: Options,
    method: str = argument("A method."),
    file: Path = argument("Recipe file to write, JSON."),
    checkpoint: NamedPath | None = _CHECKPOINT,
) -> None:
    """Write a preset, with what --set changes, for ``cleanclip clean --recipe FILE``.

    Examples:

        cleanclip recipes save par strong.json --set tau=2.5 --set pairs=100000
    """
    given = options.preset, options.settings or [], options.seed
    recipe = build_recipe(method, *given, pretraining=_pretraining(options))
    written = write_recipe(recipe, file)
    record = {"file": str(written), "recipe": recipe.model_dump()}
    output.answer(options.json, record, output.Aside(f"Saved {written}."))


def _pretraining(options: Options) -> Pretraining:
    """The pretraining that decides the presets: that of a checkpoint, or of the demo's."""
    if options.checkpoint is None:
        return DEMO
    return known_pretraining(options.changed(checkpoint=checkpoint_path(options.checkpoint)))


def _method(method: Method, pretraining: Pretraining) -> dict[str, object]:
    """A method as JSON-ready values."""
    facts = FACTS[method]
    return {
        **{name: getattr(facts, name) for name in ("title", "help", "source", "data")},
        "needs": sorted(facts.needs),
        "control": facts.control,
        "note": facts.note,
        "presets": {
            name: f"{preset_source(method, name)} {about_rate(recipe, pretraining)}".strip()
            for name, recipe in presets(method, pretraining).items()
        },
    }

"""Documentation and help: links, sources, commands. Needs no tool that builds them."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest
import typer

from cleanclip_gui.window import help_pages
from cleanclip_gui.window.help_pages import slug, target_of
from ml_core.checkpoints.known import known_files
from ml_core.cli.app import COMMANDS, app
from ml_core.data.labels import load_label_set
from ml_core.jobs.cluster import SLURM_FILE, export_job
from ml_core.jobs.specs import CleanSpec
from ml_core.triggers.published import find
from tests.unit.small_jobs import small_recipe

ROOT = Path(__file__).parents[2]
DOCS, HELP = ROOT / "docs", ROOT / "resources" / "help"
STAGED = {*HELP.rglob("*"), *(ROOT / "resources" / "schemas").iterdir(), ROOT / "CHANGELOG.md"}
SHOWN = sorted([*DOCS.rglob("*.md"), *HELP.glob("*.md")])  # by the window
PAGES = [*SHOWN, ROOT / "README.md"]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def headings(page: Path) -> set[str]:
    return {slug(text) for text in re.findall(r"^#+ (.+)$", prose(page), re.M)}


def links(page: Path) -> list[str]:
    inside = re.sub(r"`[^`\n]*`", "", prose(page))
    found = re.findall(r"\]\(((?:[^()\s]|\([^()\s]*\))+)\)", inside)
    return [link for link in found if not link.startswith(("http://", "https://"))]


def dead(page: Path) -> list[str]:
    """Links of a page that lead to no file, or to no heading of it."""
    wrong = []
    for link in links(page):
        address, _, heading = link.partition("#")
        target = (page.parent / address).resolve() if address else page
        on_site = page.name == "README.md" or target.is_relative_to(DOCS) or target in STAGED
        there = target.is_file() and on_site
        if not there or (heading and heading not in headings(target)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_inside_leads_somewhere(page):
    assert not dead(page)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The resources of an installed program, with the documentation among them."""
    folder = tmp_path_factory.mktemp("ml_core") / "_resources"
    for source in (HELP, HELP.parent / "schemas", DOCS):
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("*.png"))
    return folder


@pytest.mark.parametrize("page", SHOWN, ids=named)
@pytest.mark.parametrize("is_installed", [False, True])
def test_the_window_finds_what_the_site_finds(page, is_installed, installed, monkeypatch):
    if is_installed:
        monkeypatch.setattr(help_pages, "help_folder", lambda: installed / "help")
        monkeypatch.setattr(help_pages, "docs_folder", lambda: installed / "docs")
        inside = page.is_relative_to(HELP.parent)
        page = installed / page.relative_to(HELP.parent if inside else ROOT)
    for link in links(page):
        path, heading = target_of(link, page)
        assert path.is_file() or path.suffix == ".png", link
        assert not heading or heading in headings(path), link


def commands(page: Path) -> list[list[str]]:
    """Lines of a page's blocks of code that call cleanclip, with the lines that go on."""
    text = page.read_text(encoding="utf-8")
    found = []
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S):
        if language not in ("", "bash", "console"):
            continue
        lines = block.replace("\\\n", " ").splitlines()
        values = dict(re.findall(r"""\b([A-Z]+)=["']?([^"';\n]+)""", block))
        for line in lines:
            call = line.removeprefix("$ ")
            if call.startswith("cleanclip "):
                for name, value in values.items():
                    call = call.replace(f"${name}", value)
                found.append(shlex.split(call, comments=True)[1:])
    return found


def parse(arguments: list[str]) -> None:
    """Read a command line as the program does, and run nothing."""
    root = typer.main.get_command(app)
    context = root.make_context("cleanclip", list(arguments))
    _, command, rest = root.resolve_command(context, arguments)  # type: ignore[attr-defined]
    with suppress(typer.Exit):  # of --help
        while hasattr(command, "commands"):
            context = command.make_context(command.name, rest, parent=context)
            _, command, rest = command.resolve_command(context, rest)
        command.make_context(command.name, rest, parent=context)


def test_the_page_of_commands_lists_them_all():
    assert {name for name, *_ in commands(DOCS / "commands.md")} == set(COMMANDS)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=named)
def test_every_command_is_understood_by_the_command_line(page):
    for arguments in commands(page):
        parse(arguments)


VICTIMS = [entry for entry in known_files() if entry.trigger_id]


@pytest.mark.parametrize("entry", VICTIMS, ids=lambda entry: entry.title)
def test_each_published_victim_has_a_recipe_that_can_be_run(entry):
    lines = [shlex.split(line)[1:] for line in entry.recipe("my model.pt")]
    for arguments in lines:
        parse(arguments)
    side = 336 if entry.architecture.endswith("336") else 224
    trigger = find(entry.trigger_id)
    assert not trigger.sizes or side in trigger.sizes
    exports = [line for line in lines if line[0] == "triggers"]
    assert all(("--size" in line) == (side == 336) for line in exports)
    needed = trigger.needs_file if not trigger.without_file else ""
    assert entry.trigger_file.replace("_336", "_224").split(".")[0] == needed.split(".")[0]
    assert entry.target in load_label_set(entry.labels).class_names
    page = (DOCS / "victims.md").read_text(encoding="utf-8")
    assert entry.trigger_id in page
    assert entry.trigger_file in page


def test_the_batch_script_of_the_page_is_the_one_that_is_written(tmp_path):
    spec = CleanSpec(
        checkpoint="/data/suspect.safetensors",
        recipe=small_recipe(method="cleanclip", batch_norm="frozen"),
        output_dir=str(tmp_path / "run"),
    )
    export_job(spec, tmp_path / "job", processes=4)
    written = (tmp_path / "job" / SLURM_FILE).read_text(encoding="utf-8")
    assert written.rstrip() in (DOCS / "cluster.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "packaging/docs/build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_of_the_command_line_has_every_command_and_option(builder):
    text = builder.command_line()
    assert set(re.findall(r"^## `cleanclip (\w+)`$", text, re.M)) == set(COMMANDS)
    assert "* `--reference <Path>`: A clean checkpoint" in text
    assert "…" not in text.partition("**Commands**")[2].partition("## ")[0]


def test_every_page_of_docs_stands_in_the_contents(builder):
    own = builder.FIRST, builder.HOW_TO, builder.IN_DEPTH, builder.REFERENCE, builder.DEVELOPMENT
    assert {name for names in own for name in names} == {page.name for page in DOCS.glob("*.md")}
    station_pages = {
        f"{name}.md" for name in (*builder.BY_STATION, "numbers", "limits", "glossary")
    }
    assert station_pages == {page.name for page in HELP.glob("*.md")}

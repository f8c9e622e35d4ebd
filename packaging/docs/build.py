"""Builds the documentation site: `make docs`, or `python packaging/docs/build.py [OUT]`.

Pages are the Markdown of `docs/` and of `resources/help/`, which the window shows too. The
reference of the command line is what typer says of it, that of `ml_core` its docstrings. Any
warning ends the build, as does a link that leads nowhere.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]
DOCS, HELP = ROOT / "docs", ROOT / "resources" / "help"

# What others may build upon; the rest of ml_core changes without notice.
MODULES: Mapping[str, Sequence[str]] = {
    "API": ("ml_core.api", "ml_core.plugins", "ml_core.cleaning.plugin_methods"),
    "Checkpoints": (
        "ml_core.reading", "ml_core.checkpoints", "ml_core.checkpoints.save",
        "ml_core.checkpoints.convert", "ml_core.checkpoints.compare", "ml_core.model",
    ),
    "Data": (
        "ml_core.data.specs", "ml_core.data.images", "ml_core.data.pairs", "ml_core.data.labels",
    ),
    "Triggers": ("ml_core.triggers",),
    "Evaluation": (
        "ml_core.evaluation", "ml_core.evaluation.scorer", "ml_core.evaluation.zero_shot",
        "ml_core.evaluation.evaluate",
    ),
    "Cleaning": (
        "ml_core.cleaning.catalogue", "ml_core.cleaning.recipes", "ml_core.cleaning.methods.method",
        "ml_core.cleaning.loop",
    ),
    "Detection": (
        "ml_core.detection.records", "ml_core.detection.scan.records",
        "ml_core.detection.scan.verdict",
    ),
    "Jobs": (
        "ml_core.events", "ml_core.jobs.specs", "ml_core.jobs.clean.run", "ml_core.jobs.audit",
        "ml_core.jobs.scan", "ml_core.jobs.scan.run", "ml_core.jobs.examination",
        "ml_core.jobs.examining",
    ),
    "Evidence": (
        "ml_core.reports.record", "ml_core.reports.open_bundle", "ml_core.reports.write_bundle",
        "ml_core.reports.exports", "ml_core.reports.inspection_exports", "ml_core.signing",
    ),
}  # fmt: skip

FIRST, DEVELOPMENT = ("index.md", "install.md", "tutorial.md"), ("packages.md",)
HOW_TO = (
    "examine.md", "own-checkpoint.md", "victims.md", "from-python.md", "gate.md", "cluster.md",
    "talks.md",
)  # fmt: skip
IN_DEPTH = ("scan.md", "search.md", "plant.md", "bench.md")
REFERENCE = ("commands.md", "families.md", "formats.md", "verify.md")
BY_STATION = ("welcome", "checkpoint", "studio", "scan", "clean", "report")


def main(out: Path) -> None:
    """Stage the pages and build them into ``out/site``."""
    pages = out / "pages"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(DOCS, pages)
    shutil.copytree(HELP, pages / "help")
    shutil.copytree(ROOT / "resources" / "schemas", pages / "schemas")
    for page in pages.rglob("*.md"):
        page.write_text(_relinked(page.read_text(encoding="utf-8")), encoding="utf-8")
    shutil.copy(ROOT / "CHANGELOG.md", pages / "changelog.md")
    logo = (ROOT / "resources" / "icons" / "logo.svg").read_text(encoding="utf-8")
    (pages / "logo.svg").write_text(logo.replace("#000", "#3a8fcd"), encoding="utf-8")
    reference = pages / "reference"
    reference.mkdir()
    (reference / "command-line.md").write_text(command_line(), encoding="utf-8")
    for title, modules in MODULES.items():
        text = f"# {title}\n\n" + "\n".join(f"::: {name}\n" for name in modules)
        (reference / f"{title.lower()}.md").write_text(text, encoding="utf-8")
    config = out / "zensical.toml"
    config.write_text(_config(_nav(pages)), encoding="utf-8")
    line = [Path(sys.executable).with_name("zensical"), "build", "--strict", "-f", config]
    done = subprocess.run(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    print(done.stdout, end="")
    if done.returncode or "griffe:" in done.stdout:  # what is wrong with a docstring, not strict
        sys.exit("The documentation was built with warnings.")
    broken = dead_links(out / "site")
    if broken:
        sys.exit("Links that lead nowhere:\n" + "\n".join(broken))
    print(f"Built: {out / 'site' / 'index.html'}")


class _Page(HTMLParser):
    """The ids of a page, and where its links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif value and (tag, name) in (("a", "href"), ("img", "src")):
                self.links.append(value)


def dead_links(site: Path) -> list[str]:
    """Links of a built site to files or headings that it has not; the network is not asked."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    dead = []
    for path, page in pages.items():
        if path.name == "404.html":  # its addresses are those of a server
            continue
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            to = (path.parent / unquote(url.path)).resolve() if url.path else path
            to = to / "index.html" if to.is_dir() else to
            known = pages[to].ids if to in pages else None
            if not to.exists() or (
                url.fragment and known is not None and unquote(url.fragment) not in known
            ):
                dead.append(f"{path.relative_to(site)}: {link}")
    return dead


def command_line() -> str:
    """The reference of the command line, as typer writes it."""
    line = [
        sys.executable,
        "-m",
        "typer",
        str(ROOT / "packaging" / "cli_docs.py"),
        "utils",
        "docs",
        "--name",
        "cleanclip",
    ]
    # typer.rich_utils would fold long lines to the terminal.
    env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    output = subprocess.run(
        line, check=True, capture_output=True, text=True, env=env, cwd=ROOT
    ).stdout
    return output.replace("# `cleanclip`", "# Command line", 1)


def _relinked(text: str) -> str:
    """Links between the folders, as they lie on the site."""
    text = text.replace("](../resources/schemas/", "](schemas/")
    text = re.sub(r"\]\(((?:\.\./)*)\.\./resources/help/", r"](\1help/", text)
    return text.replace("](../../docs/", "](../")


def _title(page: Path) -> str:
    return page.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ").strip()


def _numbered(page: Path) -> str:
    """The title of a decision, after its number."""
    return f"{int(page.name[:4])}. {re.sub(r'^[0-9]+[.:] *', '', _title(page))}"


def _nav(pages: Path) -> str:
    """The table of contents, as TOML."""

    def entries(names: Sequence[str]) -> str:
        return ", ".join(f"{{{json.dumps(_title(pages / n))} = {json.dumps(n)}}}" for n in names)

    decisions = sorted(path.name for path in (pages / "decisions").glob("*.md"))
    numbered = ", ".join(
        f"{{{json.dumps(_numbered(pages / 'decisions' / n))} = {json.dumps(f'decisions/{n}')}}}"
        for n in decisions
    )
    parts = {
        "How to": entries(HOW_TO),
        "Help": entries([f"help/{name}.md" for name in BY_STATION]),
        "What it means": entries(
            ["help/numbers.md", "help/limits.md", "help/glossary.md", *IN_DEPTH]
        ),
        "Reference": entries(["reference/command-line.md", *REFERENCE])
        + f', {{"ml_core" = [{entries([f"reference/{t.lower()}.md" for t in MODULES])}]}}',
        "Development": f'{entries(DEVELOPMENT)}, {{"Decisions" = [{numbered}]}}',
    }
    groups = ",\n  ".join(f"{{{json.dumps(name)} = [{inside}]}}" for name, inside in parts.items())
    first = entries(FIRST)
    return f'[\n  {first},\n  {groups},\n  {{"Changelog" = "changelog.md"}}\n]'


def _config(nav: str) -> str:
    return f"""[project]
site_name = "CleanCLIP GUI"
site_description = "Find, remove and prove the removal of backdoors in CLIP checkpoints"
docs_dir = "pages"
site_dir = "site"
use_directory_urls = false
nav = {nav}

[project.theme]
font = false
logo = "logo.svg"
favicon = "logo.svg"
features = ["navigation.sections", "navigation.top", "content.code.copy", "toc.follow"]

[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"
toggle.icon = "lucide/sun"
toggle.name = "Dark"

[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"
toggle.icon = "lucide/moon"
toggle.name = "Light"

[project.plugins.mkdocstrings.handlers.python]
paths = [{json.dumps(str(ROOT))}]

[project.plugins.mkdocstrings.handlers.python.options]
docstring_style = "numpy"
show_source = false
show_root_heading = true
show_root_full_path = true
show_root_toc_entry = true
show_if_no_docstring = false
heading_level = 2
members_order = "source"
filters = "public"
show_signature_annotations = true
separate_signature = true
"""


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "docs")

"""The pages of the help: Markdown files that are shipped, read when they are shown."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

import ml_core
from ml_core.paths import resource
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import read_file

# In the order of the list; what else lies in the folder comes after them.
_ORDER = (
    "welcome", "checkpoint", "studio", "scan", "clean", "report", "numbers", "limits", "glossary",
)  # fmt: skip
_SITE_ALONE = ("index",)  # the first page of the site lists what the window lists itself
_LARGEST = 4 << 20


def help_folder() -> Path:
    """Where the pages of the stations lie; the folder may be missing."""
    try:
        return resource("help").resolve()
    except FileNotFoundError:
        return Path(ml_core.__file__).resolve().parents[1] / "resources" / "help"


def docs_folder() -> Path:
    """Where the documentation lies, shipped or in the sources; the folder may be missing."""
    try:
        return resource("docs").resolve()
    except FileNotFoundError:
        return Path(ml_core.__file__).resolve().parents[1] / "docs"


def listed(folder: Path) -> list[Path]:
    """Pages of a folder, in the order of the list."""
    names = {path.stem: path for path in sorted(folder.glob("*.md"))}
    known = [names[name] for name in _ORDER if name in names]
    return [*known, *(p for n, p in names.items() if n not in (*_ORDER, *_SITE_ALONE))]


def read_page(path: Path) -> str:
    """The Markdown of a page; one sentence in its place if it cannot be read."""
    try:
        raw = read_file(path, _LARGEST + 1)
        if len(raw) > _LARGEST:
            raise OSError
        return raw.decode("utf-8")
    except (InputError, OSError, UnicodeDecodeError):
        return f"The page {path.name} of the help is missing or damaged; install the program again."


def title_of(path: Path) -> str:
    """What a page calls itself; its file's name if it does not."""
    match = re.match(r"# (.+)", read_page(path))
    return match[1].strip() if match else path.stem


def slug(heading: str) -> str:
    """The name by which a link leads to a heading, as the documentation site makes it."""
    plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def target_of(link: str, page: Path) -> tuple[Path, str]:
    """The file and the heading that a link of a page leads to.

    Links are written for the sources, where the documentation lies beside the resources. In an
    installed program it lies among them.
    """
    address, _, heading = link.partition("#")
    folders = {"docs": docs_folder(), "resources": help_folder().parent}
    for name, folder in folders.items():
        if address and page.is_relative_to(folder):
            source = Path(name, page.relative_to(folder).parent, address)
            first, *rest = Path(os.path.normpath(source)).parts
            if first in folders:
                return folders[first].joinpath(*rest), heading
    return (page.parent / address).resolve() if address else page, heading

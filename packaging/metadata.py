"""What a wheel says of itself beyond pyproject.toml: the page of the package and its addresses.

Both follow ``address`` in pyproject.toml, the public address of the repository. The package page
of an index shows no relative link: with an address, links and pictures of the README become
absolute, at the tag of the version; without one, pictures are left out and links are plain text.
"""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

_PICTURE = re.compile(r"^ *!\[[^\]]*\]\(([^):]+)\)\n", re.M)
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^):#]+)\)")


def page(readme: str, address: str, version: str) -> str:
    """The README as an index can show it."""
    if not address:
        return _LINK.sub(r"\1", _PICTURE.sub("", readme))
    at = f"{address.rstrip('/')}/{{}}/v{version}"
    shown = _PICTURE.sub(lambda m: m[0].replace(m[1], f"{at.format('raw')}/{m[1]}"), readme)
    return _LINK.sub(lambda m: f"[{m[1]}]({at.format('blob')}/{m[2]})", shown)


class Metadata(MetadataHookInterface):
    """Hatchling finds it by being the only hook here."""

    def update(self, metadata: dict) -> None:
        root = Path(self.root)
        address = self.config.get("address", "")
        text = page((root / "README.md").read_text("utf-8"), address, metadata["version"])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        metadata["urls"] = {}
        if address:
            changes = f"{address.rstrip('/')}/blob/v{metadata['version']}/CHANGELOG.md"
            metadata["urls"] = {"Source": address, "Changelog": changes}

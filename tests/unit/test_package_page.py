"""The README as an index shows it: no relative link is left."""

from __future__ import annotations

import re
import runpy
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)]+)\)")


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch):
    """`page` of the hook, which hatchling runs; hatchling itself is not needed for it."""
    interface = types.ModuleType("hatchling.metadata.plugin.interface")
    interface.MetadataHookInterface = object
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    return runpy.run_path(str(ROOT / "packaging" / "metadata.py"))["page"]


def test_with_an_address_every_picture_and_link_is_at_the_tag(page) -> None:
    text = page(README, "https://forge.example/o/n/", "1.2")
    before, after = LINK.findall(README), LINK.findall(text)
    assert len(before) == len(after) > 10
    for (picture, old), (_, new) in zip(before, after, strict=True):
        kind = "raw" if picture else "blob"
        assert new == f"https://forge.example/o/n/{kind}/v1.2/{old}"
        assert (ROOT / old).exists()

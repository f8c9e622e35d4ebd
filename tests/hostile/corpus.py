"""The whole hostile corpus."""

from __future__ import annotations

from functools import cache

from tests.hostile.bombs import bomb_items
from tests.hostile.container_tricks import container_items
from tests.hostile.folders import folder_items
from tests.hostile.gadgets import gadget_items
from tests.hostile.gguf_lies import gguf_items
from tests.hostile.item import Item
from tests.hostile.lenient_tricks import lenient_items
from tests.hostile.lies import lies
from tests.hostile.memo_bombs import memo_items
from tests.hostile.packed import packed_items
from tests.hostile.pickle_tricks import pickle_items
from tests.hostile.state_tricks import state_items
from tests.hostile.torchscript_tricks import torchscript_items
from tests.hostile.zip_tricks import zip_items


@cache
def items() -> tuple[Item, ...]:
    """Every hostile item; their names differ."""
    found = (
        *gadget_items(),
        *pickle_items(),
        *state_items(),
        *memo_items(),
        *container_items(),
        *lenient_items(),
        *zip_items(),
        *lies(),
        *gguf_items(),
        *torchscript_items(),
        *folder_items(),
        *bomb_items(),
        *packed_items(),
    )
    assert len({item.name for item in found}) == len(found)
    return found

"""The reader of each kind of pairs."""

from __future__ import annotations

from pathlib import Path

from ml_core.data.captioned.coco import open_coco
from ml_core.data.captioned.folder import open_folder
from ml_core.data.captioned.parquet import open_parquet
from ml_core.data.captioned.shards import open_shards
from ml_core.data.captioned.source import FoundPairs
from ml_core.data.captioned.table import open_table
from ml_core.data.specs import PairSpec


def open_source(spec: PairSpec) -> FoundPairs:
    """Open the pairs of a spec, which is not of the demo; errors as the kind's reader."""
    text = spec.path or ""
    path = Path(text)
    match spec.kind:
        case "folder":
            return open_folder(path)
        case "coco":
            return open_coco(path, Path(spec.pictures) if spec.pictures else None)
        case "shards":
            return open_shards(text)
        case "parquet":
            return open_parquet(path, spec.image_column, spec.caption_column)
        case _:
            return open_table(path, spec.image_column, spec.caption_column)

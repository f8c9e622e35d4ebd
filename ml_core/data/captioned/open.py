"""The reader of each kind of pairs."""

from __future__ import annotations

from pathlib import Path

from ml_core.data.captioned.coco import open_coco
from ml_core.data.captioned.folder import open_folder
from ml_core.data.captioned.one_sided import open_captions, open_pictures
from ml_core.data.captioned.parquet import open_parquet
from ml_core.data.captioned.shards import open_shards
from ml_core.data.captioned.source import FoundPairs
from ml_core.data.captioned.table import open_table
from ml_core.data.specs import PairSpec
from ml_core.data.watch import Watch, unwatched


def open_source(spec: PairSpec, watch: Watch = unwatched) -> FoundPairs:
    """Open the pairs of a spec, which is not of the demo; errors as the kind's reader."""
    text = spec.path or ""
    path = Path(text)
    match spec.kind:
        case "folder":
            return open_folder(path, watch)
        case "coco":
            return open_coco(path, Path(spec.pictures) if spec.pictures else None, watch)
        case "shards":
            return open_shards(text, watch)
        case "parquet":
            return open_parquet(path, spec.image_column, spec.caption_column, watch)
        case "images":
            return open_pictures(path, watch)
        case "texts":
            return open_captions(path, spec.caption_column, watch)
        case _:
            return open_table(path, spec.image_column, spec.caption_column, watch)

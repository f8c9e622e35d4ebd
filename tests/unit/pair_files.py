"""Small sets of image-caption pairs of each kind, for tests."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from ml_core.data.pairs import PairSet, open_pairs
from ml_core.data.specs import PairSpec

KINDS = ("csv", "folder", "coco", "shards", "parquet")


def png(value: int, kind: str = "PNG", size: tuple[int, int] = (8, 8)) -> bytes:
    """A picture of one grey."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(buffer, kind)
    return buffer.getvalue()


def tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """A shard."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as file:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))
    return path


def table(folder: Path, values: Sequence[int]) -> Path:
    """A CSV with its pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["image,caption"]
    for value in values:
        (folder / f"{value}.png").write_bytes(png(value))
        rows.append(f"{value}.png,grey {value}")
    (folder / "pairs.csv").write_text("\n".join(rows))
    return folder / "pairs.csv"


def pairs_of(folder: Path, values: Sequence[int]) -> PairSet:
    """The pairs of such a table."""
    return open_pairs(PairSpec(kind="csv", path=str(table(folder, values))))


def text_folder(folder: Path, values: Sequence[int]) -> Path:
    """Pictures with text files beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    for value in values:
        (folder / f"{value:03}.png").write_bytes(png(value))
        (folder / f"{value:03}.txt").write_text(f"grey {value}\n")
    return folder


def coco(folder: Path, values: Sequence[int], captions: int = 1) -> Path:
    """``annotations/captions_train2017.json`` with ``train2017`` beside."""
    pictures, notes = folder / "train2017", folder / "annotations"
    pictures.mkdir(parents=True, exist_ok=True)
    notes.mkdir(exist_ok=True)
    images, said = [], []
    for value in values:
        (pictures / f"{value:012}.png").write_bytes(png(value))
        images.append({"id": 1000 + value, "file_name": f"{value:012}.png", "height": 8})
    for turn in range(captions):
        for value in reversed(values):
            text = f"grey {value}" + (f" again {turn}" if turn else "")
            said.append({"image_id": 1000 + value, "id": len(said), "caption": text})
    path = notes / "captions_train2017.json"
    path.write_text(json.dumps({"info": {"year": 2017}, "images": images, "annotations": said}))
    return path


def shards(folder: Path, values: Sequence[int], each: int = 4) -> Path:
    """``00000.tar`` and so on; every second caption is in a ``.json``."""
    for number, start in enumerate(range(0, len(values), each)):
        members: dict[str, bytes] = {}
        for value in values[start : start + each]:
            members[f"{value:05}.png"] = png(value)
            if value % 2:
                members[f"{value:05}.json"] = json.dumps({"caption": f"grey {value}"}).encode()
            else:
                members[f"{value:05}.txt"] = f"grey {value}\n".encode()
        tar(folder / f"{number:05}.tar", members)
    return folder


def parquet(folder: Path, values: Sequence[int], group: int = 3) -> Path:
    """``data/train-*.parquet`` as Hugging Face writes it."""
    import pyarrow
    from pyarrow import parquet as files

    path = folder / "data" / "train-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        "image": [{"bytes": png(value), "path": f"{value}.png"} for value in values],
        "text": [f"grey {value}" for value in values],
    }
    files.write_table(pyarrow.table(columns), path, row_group_size=group)
    return folder


MAKERS = {"csv": table, "folder": text_folder, "coco": coco, "shards": shards, "parquet": parquet}

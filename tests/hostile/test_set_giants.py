"""Tables, shards and Parquet files far too large for what they are: a sentence, little memory."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from ml_core.data import table_files
from ml_core.data.readers import shards
from ml_core.data.readers.row_groups import RowGroups
from ml_core.data.table_files import count_labels
from ml_core.reading.errors import InputError
from tests.hostile.door_giants import MEGABYTES
from tests.hostile.set_giants import GIANTS, GOOD, SLOW, labelled_shard

ALL = tuple(name for name in GIANTS if name not in SLOW)
QUICK = (
    "a sparse terabyte.csv", "columns.csv", "labels.csv", "rows.csv", "a sparse.tar", "a lie.tar",
    "columns.parquet", "a graph.parquet",
)  # fmt: skip


@pytest.mark.timeout(900)
@pytest.mark.parametrize("names", [QUICK, pytest.param(ALL, marks=pytest.mark.slow)])
def test_giants_are_answered_in_little_memory(names, tmp_path, warm_torch):
    """Also what pyarrow would make gigabytes of: a graph of a schema in a few megabytes."""
    with warm_torch.start(
        "tests.hostile.set_giants", str(tmp_path), *names, stdin=subprocess.DEVNULL, text=True
    ) as child:
        assert child.stdout is not None
        rows = [json.loads(line) for line in child.stdout.read().splitlines()]
        assert child.wait(600) == 0
    assert [row["giant"] for row in rows] == list(names)
    taken = {row["giant"] for row in rows if not row["outcome"].startswith("answer")}
    assert taken == set(GOOD) & set(names)
    assert [row for row in rows if row["megabytes"] > MEGABYTES] == []


def test_a_shard_of_too_many_members_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MAX_SHARD_MEMBERS", 3)
    path = tmp_path / "0.tar"
    path.write_bytes(next(GIANTS["many members.tar"].pieces())[: 512 * 4] + bytes(1024))
    with pytest.raises(InputError, match=r"more than 3 members\); write smaller shards\.$"):
        labelled_shard(path)


def test_labels_are_counted_up_to_as_many_as_there_are_classes(tmp_path, monkeypatch):
    monkeypatch.setattr(table_files, "MAX_CLASSES", 2)
    path = tmp_path / "t.csv"
    path.write_text("image,label\na.png,cat\nb.png, dog \nbad\nc.png,cat\n")
    assert count_labels(path, "label") == Counter(cat=2, dog=1)
    with pytest.raises(InputError, match=r"The label column of t\.csv has too many"):
        count_labels(path, "image")


def test_what_arrow_adds_to_a_column_is_not_needed(tmp_path: Path) -> None:
    """Texts, numbers, pictures and notes are what they are without Arrow's own schema."""
    columns = {
        "text": pa.array(["a", "b"]).dictionary_encode(),
        "large": pa.array(["c", None], pa.large_string()),
        "label": pa.array([1, 2], pa.uint16()),
        "image": [{"bytes": b"x", "path": None}, {"bytes": b"y", "path": "p"}],
        "lists": pa.array([["a"], ["b", "c"]], pa.large_list(pa.string())),
        "values": pa.array([[1.5], [2.5]], pa.list_(pa.float32(), 1)),
        "when": pa.array(np.array([0, 1], "datetime64[s]")),
    }
    path = tmp_path / "x.parquet"
    made = pa.table(columns).replace_schema_metadata({"huggingface": '{"a": 1}'})
    parquet.write_table(made, path)
    groups = RowGroups([path])
    assert groups.columns == tuple(columns)
    assert groups.metadata[b"huggingface"] == b'{"a": 1}'
    for name, column in zip(made.column_names, made.columns, strict=True):
        assert [groups.value(row, name) for row in range(2)] == column.to_pylist()

"""Parquet files of a few kilobytes that unpack to gigabytes, and what their headers say of that."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from ml_core.data.pairs import open_pairs
from ml_core.data.readers import row_groups
from ml_core.data.readers.parquet import find_parquet
from ml_core.data.readers.row_groups import PageError, RowGroups, read_footer, unpacked_size
from ml_core.data.specs import PairSpec
from ml_core.reading.errors import InputError
from tests.unit.pair_files import png

ROOT = Path(__file__).parents[2]
LONG = "x" * 1_000_000


def written(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    parquet.write_table(pa.table(columns), path, compression="zstd", **options)
    return path


def repeated(value: Any, rows: int) -> pa.DictionaryArray:
    """One value, so many times."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value]))


def pictures(rows: int) -> list[dict[str, Any]]:
    return [{"bytes": png(row % 250), "path": None} for row in range(rows)]


def refused(path: Path, column: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        for _ in RowGroups([path]).each(column):
            pass
    assert caught.value.sentence.endswith(".")
    assert "\n" not in caught.value.sentence


def test_a_long_text_a_thousand_times_is_kept_once(tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", {"text": repeated(LONG, 1000)})
    assert path.stat().st_size < 20_000
    groups = RowGroups([path])
    assert groups.value(999, "text") == LONG
    assert groups._group(0, "text").nbytes < 2_000_000


def test_a_large_picture_a_thousand_times_is_kept_once(tmp_path: Path) -> None:
    inner = repeated(LONG.encode(), 1000)
    rows = pa.StructArray.from_arrays([inner, pa.nulls(1000, pa.string())], ["bytes", "path"])
    path = written(tmp_path / "x.parquet", {"image": rows, "list": [["a", "b"]] * 1000})
    assert path.stat().st_size < 20_000
    groups = RowGroups([path])
    assert groups.value(999, "image") == {"bytes": LONG.encode(), "path": None}
    assert groups._group(0, "image").nbytes < 3_000_000
    assert groups.value(5, "list") == ["a", "b"]


def test_texts_by_their_beginnings_are_refused(tmp_path: Path) -> None:
    path = written(
        tmp_path / "x.parquet",
        {"text": [LONG] * 20},
        use_dictionary=False,
        column_encoding={"text": "DELTA_BYTE_ARRAY"},
    )
    refused(path, "text", "no readable Parquet file")


def test_a_packed_giant_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    columns = {"text": pa.array([b"\0" * 80_000_000]), "label": [1]}
    path = written(tmp_path / "x.parquet", columns, use_dictionary=False)
    assert path.stat().st_size < 20_000
    refused(path, "text", "unpacks to far more than it holds")
    assert [values.to_pylist() for values in RowGroups([path]).each("label")] == [[1]]


def test_millions_of_rows_in_a_kilobyte_are_refused(tmp_path: Path) -> None:
    columns = {"label": np.zeros(6_000_000, np.int8), "image": pa.nulls(6_000_000, pa.binary())}
    path = written(tmp_path / "x.parquet", columns, row_group_size=6_000_000)
    assert path.stat().st_size < 50_000
    refused(path, "label", "unpacks to far more than it holds")
    with pytest.raises(InputError, match="far more"):
        find_parquet(path, train=False)


@pytest.mark.parametrize("rows", [1_000_001, 3_000_000])
def test_a_pair_millions_of_times_is_refused_before_it_is_numbered(rows, tmp_path):
    """Each row group is small; the numbers of all rows are not."""
    columns = {"image": repeated("a.png", rows), "caption": repeated("a cat", rows)}
    path = written(tmp_path / "x.parquet", columns, row_group_size=500_000)
    assert path.stat().st_size < 50_000
    with pytest.raises(InputError, match=rf"more than it holds: {rows:,} rows of"):
        open_pairs(PairSpec(kind="parquet", path=str(path)))


def test_a_million_rows_of_little_are_read(tmp_path: Path) -> None:
    columns = {"image": repeated("a.png", 1_000_000), "caption": repeated("a cat", 1_000_000)}
    path = written(tmp_path / "x.parquet", columns, row_group_size=500_000)
    assert len(open_pairs(PairSpec(kind="parquet", path=str(path)))) == 1_000_000


@pytest.mark.parametrize("kind", ["bytes", "record"])
@pytest.mark.parametrize("beside", [0, 1])
def test_a_row_that_no_picture_is_as_large_as_is_refused(kind, beside, tmp_path, monkeypatch):
    """Alone it is not even unpacked; beside a small one it is not copied."""
    monkeypatch.setattr(row_groups, "_LARGEST_VALUE", 1000)
    if not beside:
        monkeypatch.setattr(row_groups, "_longest", lambda value: 0)
    sizes = [1001, *[0] * beside]
    rows = [bytes(size) if kind == "bytes" else {"bytes": bytes(size)} for size in sizes]
    path = written(tmp_path / "x.parquet", {"image": pa.array(rows)}, use_dictionary=False)
    with pytest.raises(InputError, match=r"x\.parquet has a row of over 0 MB; leave it out\."):
        RowGroups([path]).value(0, "image")


def test_too_little_memory_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    path = written(tmp_path / "x.parquet", {"image": pa.array([b"x"])})
    monkeypatch.setattr(parquet.ParquetFile, "read_row_group", full)
    refused(path, "image", "needs more memory than there is; write it again with smaller row")


def test_what_is_large_because_it_holds_much_is_read(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(70_000_000)
    path = written(tmp_path / "x.parquet", {"image": pa.array([noise])}, use_dictionary=False)
    assert len(RowGroups([path]).value(0, "image")) == 70_000_000


def test_sets_and_pairs_of_such_files_are_a_sentence(tmp_path: Path) -> None:
    columns = {"image": pictures(3), "text": pa.array([b"\0" * 80_000_000] * 3)}
    path = written(tmp_path / "x.parquet", columns, use_dictionary=False)
    with pytest.raises(InputError, match=r"\.$"):
        open_pairs(PairSpec(kind="parquet", path=str(path)))
    labels = {"image": pictures(3), "label": ["a", "b", None]}
    with pytest.raises(InputError, match="holds no labels"):
        find_parquet(written(path, labels), train=False)
    many = {"image": pa.nulls(100_001, pa.binary()), "label": list(map(str, range(100_001)))}
    with pytest.raises(InputError, match=r"labels|different texts"):
        find_parquet(written(path, many), train=False)
    far = {"image": pictures(1), "label": np.array([2**64 - 1], np.uint64)}
    with pytest.raises(InputError, match="holds no labels"):
        find_parquet(written(path, far), train=False)


def test_labels_stand_as_they_did(tmp_path: Path) -> None:
    columns = {"image": pictures(5), "label": ["cat", "ant", "cat", "bee", "ant"]}
    found = find_parquet(written(tmp_path / "x.parquet", columns, row_group_size=2), train=False)
    assert found is not None
    assert found.class_names == ("ant", "bee", "cat")
    assert found.labels is not None
    assert found.labels.tolist() == [2, 0, 2, 1, 0]
    columns = {"image": pictures(4), "label": pa.array([7, 3, 7, -2], pa.int16())}
    found = find_parquet(written(tmp_path / "y.parquet", columns, row_group_size=3), train=False)
    assert found is not None
    assert found.class_names == ("-2", "3", "7")
    assert found.labels is not None
    assert found.labels.tolist() == [2, 1, 2, 0]


def test_a_giant_footer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with path.open("wb") as file:
        file.write(b"PAR1")
        file.truncate(1 << 33)
        file.seek(0, 2)
        file.write((1 << 31).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(InputError, match="over 4 MB of row groups"):
        RowGroups([path])


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_the_walk_sees_what_the_writer_wrote(tmp_path, version, compression, dictionary):
    """Sizes and counts of the pages are those that the footer says of an honest file."""
    rng = np.random.default_rng(0)
    columns = {
        "number": rng.integers(0, 99, 5000),
        "text": [f"caption {value}" for value in rng.integers(0, 700, 5000)],
        "lists": [["a"] * int(value) for value in rng.integers(0, 4, 5000)],
        "maybe": [None if value else 1.5 for value in rng.integers(0, 2, 5000)],
    }
    path = tmp_path / "x.parquet"
    parquet.write_table(
        pa.table(columns), path, compression=compression, data_page_version=version,
        use_dictionary=dictionary, row_group_size=1500, data_page_size=2000,
    )  # fmt: skip
    metadata = parquet.ParquetFile(path).metadata
    with path.open("rb") as file:
        footer = read_footer(file, path.stat().st_size)
        assert len(footer.groups) == metadata.num_row_groups
        for group in range(metadata.num_row_groups):
            facts = metadata.row_group(group)
            rows, size, chunks = footer.groups[group]
            assert (rows, size) == (facts.num_rows, facts.total_byte_size)
            for number in range(metadata.num_columns):
                chunk, own = facts.column(number), chunks[number]
                assert footer.leaves[number].path == chunk.path_in_schema
                assert footer.leaves[number].texts == (chunk.physical_type == "BYTE_ARRAY")
                first = chunk.dictionary_page_offset
                assert own.start == (chunk.data_page_offset if first is None else first)
                found = unpacked_size(file, own.start, own.packed, own.values)
                assert found.values == chunk.num_values == own.values
                # The footer counts the headers too.
                assert 0 < found.unpacked <= chunk.total_uncompressed_size
                assert (found.repeated > 0) == (dictionary and first is not None)
    for name, values in columns.items():
        read = [item for chunk in RowGroups([path]).each(name) for item in chunk.to_pylist()]
        assert read == list(values)


def test_headers_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for raw in (
        b"",
        b"\x15",
        b"\xff" * 40,
        b"\x15\x00\x15\x01\x15\x02\x00",
        b"\x1c" * 60,
        b"\x00" * 9,
    ):
        path.write_bytes(raw)
        with path.open("rb") as file, pytest.raises(PageError):
            unpacked_size(file, 0, 1000, 5)


def test_changed_files_are_rows_or_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    columns = {"image": pictures(6), "label": [0, 1, 0, 1, 0, 1], "text": ["a", "b"] * 3}
    good = written(path, columns, row_group_size=3).read_bytes()
    draw = random.Random(3)
    for _ in range(250):
        raw = bytearray(good)
        for _ in range(draw.choice((1, 2, 8))):
            raw[draw.randrange(len(raw))] = draw.randrange(256)
        path.write_bytes(raw)
        with contextlib.suppress(InputError):  # and nothing else
            groups = RowGroups([path])
            for column in ("image", "label", "text"):
                for _ in groups.each(column):
                    pass
            find_parquet(path, train=False)


def test_none_of_them_takes_much_memory(tmp_path: Path) -> None:
    """Those that are read and one that is not, in one process, whose memory is measured."""
    for number, make in enumerate(
        (
            {"text": repeated(LONG, 3000)},
            {"text": repeated(LONG.encode(), 3000)},
            {"text": pa.array([b"\0" * 80_000_000])},
        )
    ):
        written(tmp_path / f"{number}.parquet", make)
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from pyarrow import parquet\n"
        "from ml_core.data.readers.row_groups import RowGroups\n"
        "from ml_core.reading.errors import InputError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        for values in RowGroups([Path(path)]).each('text'):\n"
        "            len(values[0].as_py())\n"
        "    except InputError:\n"
        "        pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, sorted(tmp_path.iterdir()))],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 100 << 10  # kilobytes

"""The readers of tables, of paths in them, and of lists."""

from pathlib import Path

import pytest

from ml_core.reading import InputError, resolve_inside, tables
from ml_core.reading.tables import iter_rows, read_columns


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path, columns=None):
    """Good rows, their numbers, and the bad rows with theirs."""
    found = list(iter_rows(path, read_columns(path) if columns is None else columns))
    good = [(number, row) for number, row in found if not isinstance(row, str)]
    bad = [(number, row) for number, row in found if isinstance(row, str)]
    return [row for _, row in good], [number for number, _ in good], bad


def test_bad_rows_are_named_and_the_others_kept(tmp_path: Path) -> None:
    content = b"a,b\n1,2\n3\n\n\xff,5\n6,\x007\n8,9,10\n11,12\n"
    rows, numbers, bad = read(write(tmp_path / "t.csv", content))
    assert rows == [("1", "2"), ("11", "12")]
    assert numbers == [2, 8]
    assert bad == [
        (3, "row 3: 1 fields where the header has 2"),
        (5, "row 5: not UTF-8 text"),
        (6, "row 6: holds control characters"),
        (7, "row 7: 3 fields where the header has 2"),
    ]


def test_a_line_without_end_is_not_taken_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_RECORD", 1 << 20)
    path = tmp_path / "t.csv"
    for row in ("1,", '"1\n",'):  # a line without end, and a row of lines without end
        path.write_text("x,y\n" + row * (1 << 20))
        with pytest.raises(InputError, match="has a row of over 1 million characters"):
            read(path)
    path.write_text("x,y\n" + ("1" * 1000 + ",2\n") * 1100)
    assert len(read(path)[0]) == 1100  # the limit is one of a row


def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    (tmp_path / "set-secret").mkdir()
    secret = write(tmp_path / "set-secret" / "s.png", "secret")
    (root / "link.png").symlink_to(secret)
    (root / "folder").symlink_to(secret.parent)
    for text in ("link.png", "folder/s.png", "folder"):
        with pytest.raises(InputError, match="leads out"):
            resolve_inside(root, text)

"""The readers of tables, of paths in them, and of lists."""

from pathlib import Path

import pytest

from ml_core.reading import InputError, read_lines, read_table, resolve_inside, tables
from ml_core.reading.tables import read_columns


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_csv_with_byte_order_mark_and_quotes(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", b'\xef\xbb\xbfimage,caption\r\na.png,"a dog, barking"\r\n')
    table = read_table(path)
    assert table.columns == ("image", "caption")
    assert table.rows == [("a.png", "a dog, barking")]
    assert table.numbers == [2]
    assert table.bad_rows == []


def test_tab_separates_whatever_the_name(tmp_path: Path) -> None:
    for name in ("t.tsv", "t.txt"):
        path = write(tmp_path / name, "image\tcaption\na.png\ta dog, a cat\n")
        assert read_table(path).rows == [("a.png", "a dog, a cat")]


def test_only_wanted_columns_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a,b,c\n1,2,3\n")
    table = read_table(path, ("c", "a"))
    assert table.columns == ("c", "a")
    assert table.rows == [("3", "1")]


def test_bad_rows_are_named_and_the_others_kept(tmp_path: Path) -> None:
    content = b"a,b\n1,2\n3\n\n\xff,5\n6,\x007\n8,9,10\n11,12\n"
    table = read_table(write(tmp_path / "t.csv", content))
    assert table.rows == [("1", "2"), ("11", "12")]
    assert table.numbers == [2, 8]
    assert table.bad_rows == [
        (3, "row 3: 1 fields where the header has 2"),
        (5, "row 5: not UTF-8 text"),
        (6, "row 6: holds control characters"),
        (7, "row 7: 3 fields where the header has 2"),
    ]


def test_open_quote_is_a_bad_row(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "t.csv", 'a,b\n1,2\n"3,4\n5,6\n'))
    assert table.rows == [("1", "2")]
    assert [number for number, _ in table.bad_rows] == [3]
    assert "lines 3 to 4" in table.bad_rows[0][1]


def test_overlong_field_is_a_bad_row(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "t.csv", "a,b\n1,2\n" + "x" * 140_000 + ",3\n4,5\n"))
    assert table.rows == [("1", "2"), ("4", "5")]
    assert [number for number, _ in table.bad_rows] == [3]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"a,a\n1,2\n", "two columns called 'a'"),
        ("a,b\n".encode("utf-16"), "header row"),
    ],
)
def test_bad_header_refuses_the_table(tmp_path: Path, content: bytes, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        read_table(write(tmp_path / "t.csv", content))
    assert caught.value.code == "damaged"


def test_a_line_without_end_is_not_taken_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MAX_LINE", 2 << 20)
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "1," * (2 << 20))
    with pytest.raises(InputError, match="has a line of over 2 million characters"):
        read_table(path)


def test_missing_column_lists_the_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "x,y\n1,2\n")
    with pytest.raises(InputError, match="no column 'z'; its columns are x, y"):
        read_table(path, ("z",))
    assert read_columns(path) == ("x", "y")


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.csv does not exist"):
        read_table(tmp_path / "gone.csv")


def test_paths_stay_inside(tmp_path: Path) -> None:
    root = tmp_path / "set"
    (root / "sub").mkdir(parents=True)
    assert resolve_inside(root, "sub/a.png") == root.resolve() / "sub" / "a.png"
    assert resolve_inside(root, "sub\\a.png") == root.resolve() / "sub" / "a.png"
    assert resolve_inside(root, "sub/../b.png") == root.resolve() / "b.png"
    assert resolve_inside(root, str(root.resolve() / "c.png")) == root.resolve() / "c.png"


@pytest.mark.parametrize(
    "text",
    [
        "", "  ", "../x.png", "sub/../../x.png", "..", "/etc/passwd", "~/../../x", "a\0.png",
        "http://host/a.png", "file:///etc/passwd", "data:image/png;base64,AA", "C:\\a.png",
        "C:a.png",
        "\\\\host\\share\\a.png", "//host/a.png", "sub\\..\\..\\x.png",
    ],
)  # fmt: skip
def test_paths_that_lead_out_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "set" / "sub").mkdir(parents=True)
    with pytest.raises(InputError):
        resolve_inside(tmp_path / "set", text)


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


def test_lines_are_numbered(tmp_path: Path) -> None:
    path = write(tmp_path / "c.txt", b"\xef\xbb\xbf cat \r\n\r\ndog\n")
    assert read_lines(path) == [(1, "cat"), (3, "dog")]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"cat\n\xff\n", "Line 2 of c.txt is not UTF-8"),
        (b"cat\nd\x00g\n", "Line 2 of c.txt holds control"),
        (b"cat\n\n" + b"x" * 1001, "Line 3 of c.txt has over 1000"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_lines(write(tmp_path / "c.txt", content))

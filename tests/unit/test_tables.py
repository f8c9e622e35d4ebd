"""The readers of tables, of paths in them, and of lists."""

from pathlib import Path

import pytest

from ml_core.data.captioned.detect import detect
from ml_core.data.images import open_images
from ml_core.data.pairs import open_pairs
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.reading import InputError, read_lines, resolve_inside, tables
from ml_core.reading.tables import iter_rows, read_columns
from tests.unit.pair_files import png


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(
    path: Path, columns: tuple[str, ...] | None = None
) -> tuple[list[tuple[str, ...]], list[int], list[tuple[int, str]]]:
    """Good rows, their numbers, and the bad rows with theirs."""
    found = list(iter_rows(path, read_columns(path) if columns is None else columns))
    good = [(number, row) for number, row in found if not isinstance(row, str)]
    bad = [(number, row) for number, row in found if isinstance(row, str)]
    return [row for _, row in good], [number for number, _ in good], bad


def test_csv_with_byte_order_mark_and_quotes(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", b'\xef\xbb\xbfimage,caption\r\na.png,"a dog, barking"\r\n')
    assert read_columns(path) == ("image", "caption")
    assert read(path) == ([("a.png", "a dog, barking")], [2], [])


def test_tab_separates_whatever_the_name(tmp_path: Path) -> None:
    for name in ("t.tsv", "t.txt"):
        path = write(tmp_path / name, "image\tcaption\na.png\ta dog, a cat\n")
        assert read(path)[0] == [("a.png", "a dog, a cat")]


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


def test_open_quote_is_a_bad_row(tmp_path: Path) -> None:
    rows, _, bad = read(write(tmp_path / "t.csv", 'a,b\n1,2\n"3,4\n5,6\n'))
    assert rows == [("1", "2")]
    assert [number for number, _ in bad] == [3]
    assert "lines 3 to 4" in bad[0][1]


def test_overlong_field_is_a_bad_row(tmp_path: Path) -> None:
    rows, _, bad = read(write(tmp_path / "t.csv", "a,b\n1,2\n" + "x" * 140_000 + ",3\n4,5\n"))
    assert rows == [("1", "2"), ("4", "5")]
    assert [number for number, _ in bad] == [3]


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
        read(write(tmp_path / "t.csv", content))
    assert caught.value.code == "damaged"


def test_a_line_without_end_is_not_taken_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MAX_RECORD", 1 << 20)
    path = tmp_path / "t.csv"
    for row in ("1,", '"1\n",'):  # a line without end, and a row of lines without end
        path.write_text("x,y\n" + row * (1 << 20))
        with pytest.raises(InputError, match="has a row of over 1 million characters"):
            read(path)
    path.write_text("x,y\n" + ("1" * 1000 + ",2\n") * 1100)
    assert len(read(path)[0]) == 1100  # the limit is one of a row


def test_missing_column_lists_the_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "x,y\n1,2\n")
    with pytest.raises(InputError, match="no column 'z'; its columns are x, y"):
        read(path, ("z",))
    assert read_columns(path) == ("x", "y")


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


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"image,caption\nb\xe4r.png,a\n", "(row 2: not UTF-8 text); save the table as UTF-8"),
        (b"image,caption\n", "(it has no row below its header); write a row for each picture"),
        (b"image,caption\na.png\n", "(row 2: 1 fields where the header has 2); correct its rows"),
        (b"image,caption\na.png,%s\n" % (b"x" * 140_000), "; correct its rows"),
        (b"image,caption\n../a.png,a\n", "; its paths are taken from its own folder"),
        (b"image,caption\nb.png,a\n", "no such file); its paths are taken from its own folder"),
        (b"image,caption\na\0.png,a\n", "row 2 holds a NUL character; save it as UTF-8 text"),
        ("image,caption\na.png,a\n".encode("utf-16"), "row 1 holds a NUL character; save it as"),
        (b'image,caption\na.png,"' + b"a" * 3_000_000, "look for a quote that does not close"),
    ],
)
def test_a_table_of_pairs_that_is_refused_says_what_to_do(
    content: bytes, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_pairs(PairSpec(kind=detect(str(path)), path=str(path)))
    assert says in caught.value.sentence
    assert caught.value.sentence.startswith(("No picture of x.csv", "x.csv "))


def test_a_single_picture_is_no_image_set(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(1))
    with pytest.raises(
        InputError, match=rf"x\.png is a single picture: give its folder, {tmp_path.name}"
    ):
        open_images(ImageSpec(kind="file", path=str(tmp_path / "x.png")))

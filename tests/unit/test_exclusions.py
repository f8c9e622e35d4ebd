"""The file that names pairs to leave out: written, read, and refused when it is something else."""

from __future__ import annotations

from ml_core.data.exclusions import identity_of, read_exclusions, write_exclusions
from ml_core.data.pairs import open_pairs
from ml_core.data.specs import PairSpec
from tests.unit.pair_files import table


def pairs_of(folder, greys):
    return open_pairs(PairSpec(kind="csv", path=str(table(folder, greys))))


def test_what_was_written_is_read(tmp_path):
    pairs = pairs_of(tmp_path / "set", [10, 20, 30])
    path = tmp_path / "out.json"
    written = write_exclusions(path, pairs, {1: "LID 9.1, over 8.0"})
    assert read_exclusions(path) == written
    assert (written.set_name, written.set_key) == ("pairs.csv", pairs.key)
    only = written.pairs[0]
    raw = (tmp_path / "set" / "20.png").read_bytes()
    assert only.identity == identity_of(raw, ["grey 20"])
    assert (only.size, only.reason) == (len(raw), "LID 9.1, over 8.0")
    assert "row 3" in only.name
    more = write_exclusions(path, pairs, {1: "again", 2: "too"}, earlier=written)
    assert [one.reason for one in more.pairs] == ["again", "too"]


def test_an_identity_is_of_picture_and_captions():
    assert identity_of(b"a", ["b"]) != identity_of(b"a", ["c"])
    assert identity_of(b"a", ["b"]) != identity_of(b"b", ["b"])
    assert identity_of(b"a", ["b", "c"]) != identity_of(b"a", ["bc"])
    assert identity_of(b"a", ["b"]) == identity_of(b"a", ["b"])

"""Embeddings made elsewhere: what is read of them, and what is refused."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from ml_core.data.embedding_shards import open_embeddings
from ml_core.reading.errors import InputError
from tests.unit.embedding_files import unit_rows, write_embeddings, write_metadata

N, D = 60, 12
SIZES = (25, 20, 15)


@pytest.fixture
def folder(tmp_path):
    return write_embeddings(tmp_path / "made", unit_rows(N), unit_rows(N, seed=1), SIZES)


def test_files_are_in_the_order_of_their_numbers(tmp_path):
    rows = unit_rows(24)
    folder = write_embeddings(tmp_path / "many", rows, rows, [2] * 12, "<f4")
    assert np.array_equal(open_embeddings(folder).image_block(0, 24), rows)  # 2 before 10


def test_names_and_captions_come_from_the_metadata(folder):
    pytest.importorskip("pyarrow", reason="metadata is Parquet")
    write_metadata(folder, SIZES)
    shards = open_embeddings(folder)
    assert shards.described(0) == ("000000000", "thing 0")
    assert shards.described(46) == ("000000046", "thing 46")
    assert shards.notes == ()
    write_metadata(folder, (25, 19, 15))
    other = open_embeddings(folder)
    assert other.described(30) == ("position 30", "")
    assert other.notes == ("Metadata not used (1): metadata_1.parquet has another number of rows",)


def _header(text, body=b""):
    raw = text.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw + body


def _says(descr, shape, order=False):
    return f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n"


def _replace(raw):
    def change(path):
        path.write_bytes(raw)

    return change


def _shorter(path):
    path.write_bytes(path.read_bytes()[:-1])


def _longer(path):
    path.write_bytes(path.read_bytes() + b"x")


def _pipe(path):
    path.unlink()
    os.mkfifo(path)


def _device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def _elsewhere(path):
    other = path.parents[2] / "secret.npy"
    path.rename(other)
    path.symlink_to(other)


def _twice(path):
    path.with_name("img_emb_01.npy").write_bytes(path.read_bytes())


HOSTILE = {
    "pipe": (_pipe, "named pipe"),
    "device": (_device, "link out of its folder"),
    "link": (_elsewhere, "link out of its folder"),
    "gone": (Path.unlink, "no img_emb_1.npy beside it"),
    "same number": (_twice, "have the same number"),
    "shorter": (_shorter, "its header announces"),
    "longer": (_longer, "its header announces"),
    "empty": (_replace(b""), "damaged NumPy array"),
    "no header": (_replace(b"x" * 4000), "damaged NumPy array"),
    "objects": (_replace(_header(_says("|O", (20, D)))), "Python objects"),
    "code": (_replace(_header("{'descr': __import__('os').system('true')}\n")), "damaged"),
    "integers": (_replace(_header(_says("<i4", (20, D)), b"0" * 80 * D)), "no embeddings"),
    "no type": (_replace(_header(_says("<f1", (20, D)), b"0" * 20 * D)), "no numbers"),
    "big end": (_replace(_header(_says(">f2", (20, D)), b"0" * 40 * D)), "no embeddings"),
    "columns": (_replace(_header(_says("<f2", (20, D), True), b"0" * 40 * D)), "no embeddings"),
    "one side": (_replace(_header(_says("<f2", (240,)), b"0" * 480)), "no embeddings"),
    "giant": (_replace(_header(_says("<f2", (10**30, D)))), "impossible size"),
    "giant row": (_replace(_header(_says("<f2", (20, 10**9)))), "impossible size"),
    "empty rows": (_replace(_header(_says("<f2", (20, 0)))), "impossible size"),
    "fewer": (_replace(_header(_says("<f2", (19, D)), b"0" * 38 * D)), "not of the same pairs"),
    "width": (_replace(_header(_says("<f2", (20, 8)), b"0" * 320)), "not of the same pairs"),
}


@pytest.mark.skipif(os.name == "nt", reason="pipes and devices of POSIX")
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_that_is_not_what_it_says_is_a_sentence(folder, kind):
    change, said = HOSTILE[kind]
    change(folder / "img_emb" / "img_emb_1.npy")
    with pytest.raises(InputError) as refused:
        open_embeddings(folder)
    assert said in refused.value.sentence
    assert refused.value.sentence.isprintable()


def test_another_width_in_another_file_is_a_sentence(folder):
    for kind in ("img_emb", "text_emb"):
        np.save(folder / kind / f"{kind}_1.npy", np.zeros((20, 8), np.float16))
    with pytest.raises(InputError, match="not of one model"):
        open_embeddings(folder)


@pytest.mark.parametrize("lacking", ["", "img_emb", "text_emb"])
def test_a_folder_without_both_sides_is_a_sentence(folder, lacking):
    (folder / lacking).rename(folder.with_name("away"))
    with pytest.raises(InputError, match=r"There is no folder|holds no embeddings of pairs"):
        open_embeddings(folder)


def test_a_file_that_changes_while_it_is_used_is_a_sentence(folder):
    shards = open_embeddings(folder)
    np.save(folder / "img_emb" / "img_emb_2.npy", np.zeros((3, D), np.float16))
    assert len(shards.image_block(0, 45)) == 45
    with pytest.raises(InputError, match="changed while it was used"):
        shards.image_block(45, 50)

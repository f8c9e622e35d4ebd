"""Lists, labels and pictures beside an image set, which came with it from somebody else."""

from __future__ import annotations

import contextlib
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ml_core.data.readers.cifar import find_cifar
from ml_core.data.readers.listed import find_food101, find_gtsrb, find_pets, read_ppm
from ml_core.data.readers.samples import Samples
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import MAX_LINES, read_lines


def _refused(read: Callable[[Path], object], path: Path, words: str) -> None:
    """One sentence, and little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=words) as caught:
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.sentence.endswith(".")
    assert "\n" not in caught.value.sentence
    assert peak < 100 << 20


def _sparse(path: Path, head: bytes) -> Path:
    with path.open("wb") as file:
        file.write(head)
        file.truncate(1 << 40)
    return path


def test_sparse_giants(tmp_path: Path) -> None:
    _refused(read_lines, _sparse(tmp_path / "x.txt", b"a\n"), "16 MB")
    _refused(read_ppm, _sparse(tmp_path / "x.ppm", b"P6 9999 9999 255\n"), "damaged")
    (tmp_path / "lines.txt").write_bytes(b"a\n" * (MAX_LINES + 2))
    _refused(read_lines, tmp_path / "lines.txt", "lines")
    assert read_ppm(_sparse(tmp_path / "y.ppm", b"P6 2 2 255\n")).size == (2, 2)


def _pets(folder: Path, lines: str) -> Samples | None:
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    (folder / "annotations" / "test.txt").write_text(lines)
    return find_pets(folder, train=False)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("a_1 1", "Line 1"),
        ("a_1 x 1 1", "Line 1"),
        ("a_1 1 1 1\nb_1 1 1 1", "Line 2"),
        ("../a_1 1 1 1", "leads out"),
        ("/etc/passwd_1 1 1 1", "leads out"),
        ("x" * 400 + "_1 1 1 1", "none of its"),
        ("a_1 " + "9" * 900 + " 1 1", "none of its"),
    ],
)
def test_lists_of_pets(tmp_path: Path, lines: str, words: str) -> None:
    _refused(lambda path: _pets(path, lines), tmp_path, words)


def _gtsrb(folder: Path, text: str) -> Samples | None:
    pictures = folder / "Final_Test" / "Images"
    pictures.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(pictures / "00000.ppm")
    (folder / "GT-final_test.csv").write_text(text)
    return find_gtsrb(folder, train=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('Filename;ClassId\n"00000.ppm;1\n' + ("y" * 900 + "\n") * 300, "Line 3"),
        ("Filename;ClassId\n../00000.ppm;1", "leads out"),
        ("Filename;ClassId\n00000.ppm;" + "9" * 900, "Line 2"),
        ("Filename;ClassId\n00000.ppm;-1", "Line 2"),
        ("\n", "no columns"),
    ],
)
def test_tables_of_traffic_signs(tmp_path: Path, text: str, words: str) -> None:
    _refused(lambda path: _gtsrb(path, text), tmp_path, words)


def _set_of(name: str, folder: Path) -> Callable[[], object]:
    """A published set's folder, and what opens it."""
    if name == "pets":
        (folder / "annotations").mkdir()
        (folder / "annotations" / "test.txt").write_text("a_1 1 1 1\n")
        return lambda: find_pets(folder, train=False)
    if name == "food":
        for part in ("meta", "images"):
            (folder / part).mkdir()
        (folder / "meta" / "classes.txt").write_text("a\n")
        (folder / "meta" / "test.txt").write_text("a/1\n")
        return lambda: find_food101(folder, train=False)
    (folder / "batches.meta.txt").write_text("a\n")
    (folder / "test_batch.bin").write_bytes(bytes(3073))
    return lambda: find_cifar(folder, train=False)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("pets", "annotations/test.txt"),
        ("food", "meta/classes.txt"),
        ("food", "meta/test.txt"),
        ("cifar", "batches.meta.txt"),
        ("cifar", "test_batch.bin"),
    ],
)
@pytest.mark.parametrize("to", ["secret", "/dev/zero", "/etc/passwd"])
def test_no_link_leads_out_of_a_set(tmp_path: Path, name: str, file: str, to: str) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    opening = _set_of(name, folder)
    real = (folder / file).rename(tmp_path / "secret")
    (folder / file).symlink_to(real if to == "secret" else to)
    if to == "/dev/zero":
        with contextlib.suppress(InputError):  # or what is no regular file is no part of the set
            assert opening() is None
    else:
        with pytest.raises(InputError, match="link to a file outside"):
            opening()


def test_a_pipe_among_pictures_is_a_missing_one(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs named pipes")
    (tmp_path / "images").mkdir()
    os.mkfifo(tmp_path / "images" / "a_1.jpg")
    _refused(lambda path: _pets(path, "a_1 1 1 1"), tmp_path, "none of its 1 pictures")

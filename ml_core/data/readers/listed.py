"""Sets of picture files whose labels stand in a list beside them."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from ml_core.data.known_files import own_file
from ml_core.data.pictures import summary
from ml_core.data.readers.samples import FileReader, Samples
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_regular, read_lines

_MAX_PIXELS = 25_000_000  # GTSRB's have 60 000
_HEAD = re.compile(rb"P6(?:\s|#[^\n]*\n)+(\d{1,6})(?:\s|#[^\n]*\n)+(\d{1,6})(?:\s|#[^\n]*\n)+255\s")


def read_ppm(path: Path) -> Image.Image:
    """Read a binary PPM of 8 bits a colour.

    Raises
    ------
    InputError
        ``damaged`` if it is no PPM, is cut short, or has over 25 megapixels.
    """
    file, size = open_regular(path)
    with file:
        head = _HEAD.match(file.read(512))
        if head is None:
            raise InputError(f"{path.name} is no binary PPM picture of 8 bits.", "damaged")
        width, height = int(head[1]), int(head[2])
        if not 0 < width * height <= _MAX_PIXELS or size < head.end() + 3 * width * height:
            raise InputError(
                f"The picture {path.name} is damaged or cut short and was not used; get it again.",
                "damaged",
            )
        file.seek(head.end())
        pixels = np.frombuffer(file.read(3 * width * height), np.uint8)
    return Image.fromarray(pixels.reshape(height, width, 3))


GTSRB = (
    "speed limit 20", "speed limit 30", "speed limit 50", "speed limit 60", "speed limit 70",
    "speed limit 80", "end of speed limit 80", "speed limit 100", "speed limit 120", "no passing",
    "no passing for heavy vehicles", "right of way at the next crossing", "priority road", "yield",
    "stop", "no vehicles", "no heavy vehicles", "no entry", "general caution",
    "dangerous curve to the left", "dangerous curve to the right", "double curve", "bumpy road",
    "slippery road", "road narrows on the right", "road works", "traffic signals", "pedestrians",
    "children crossing", "bicycles crossing", "ice or snow", "wild animals crossing",
    "end of all limits", "turn right ahead", "turn left ahead", "ahead only",
    "straight ahead or right", "straight ahead or left", "keep right", "keep left", "roundabout",
    "end of no passing", "end of no passing for heavy vehicles",
)  # fmt: skip


def find_food101(folder: Path, train: bool) -> Samples | None:
    """Open ``food-101`` (Bossard et al. 2014): ``meta/classes.txt`` and ``meta/test.txt``."""
    meta = folder / "meta"
    if not (meta / "classes.txt").is_file() or not (folder / "images").is_dir():
        return None
    classes = [line for _, line in read_lines(own_file(meta, "classes.txt"))]
    listed = read_lines(own_file(meta, "train.txt" if train else "test.txt"))
    rows = [(f"{entry}.jpg", entry.split("/")[0]) for _, entry in listed]
    return _listed("Food-101", folder / "images", rows, classes, train)


def find_pets(folder: Path, train: bool) -> Samples | None:
    """Open ``oxford-iiit-pet`` (Parkhi et al. 2012): ``annotations/test.txt``, breed as class."""
    split = "trainval" if train else "test"
    lists = folder / "annotations"
    if not (lists / "trainval.txt").is_file() and not (lists / "test.txt").is_file():
        return None
    rows: list[tuple[str, str]] = []
    classes: dict[int, str] = {}
    for number, line in read_lines(own_file(lists, f"{split}.txt")):
        parts = line.split()
        if line.startswith("#"):
            continue
        if len(parts) != 4 or "_" not in parts[0] or not parts[1].isdecimal():
            raise _bad_line(lists / f"{split}.txt", number)
        breed = parts[0].rsplit("_", 1)[0]
        if classes.setdefault(int(parts[1]), breed) != breed:
            raise _bad_line(lists / f"{split}.txt", number)
        rows.append((f"{parts[0]}.jpg", breed))
    names = [classes[index] for index in sorted(classes)]
    pets = _listed("Oxford-IIIT Pets", folder / "images", rows, names, train)
    return replace(pets, class_names=tuple(name.replace("_", " ") for name in names))


def find_gtsrb(folder: Path, train: bool) -> Samples | None:
    """Open GTSRB (Stallkamp et al. 2011): test pictures with ``GT-final_test.csv``, or training.

    ``folder`` may be ``gtsrb``, ``gtsrb/GTSRB``, or torchvision's root that holds them.
    """
    for root in (folder, folder / "GTSRB"):
        pictures = root / "Final_Test" / "Images"
        tables = (folder / "GT-final_test.csv", root / "GT-final_test.csv",
                  pictures / "GT-final_test.csv")  # fmt: skip
        table = next((path for path in tables if path.is_file()), None)
        if not train and pictures.is_dir() and table is not None:
            rows = _gt_rows(own_file(table.parent, table.name))
            return _listed("GTSRB", pictures, rows, GTSRB, train, read_ppm)
        training = root / "Training"
        if train and training.is_dir():
            rows = []
            for number, name in enumerate(GTSRB):
                below = training / f"{number:05d}"
                files = sorted(path.name for path in below.glob("*.ppm"))
                rows += [(f"{number:05d}/{file}", name) for file in files]
            return _listed("GTSRB", training, rows, GTSRB, train, read_ppm)
        if pictures.is_dir() and not train:
            raise InputError(
                "GTSRB's test pictures are there and GT-final_test.csv is not; put it beside them.",
                "usage",
            )
    return None


def _gt_rows(table: Path) -> list[tuple[str, str]]:
    """File names and class names from a semicolon-separated table."""
    lines = read_lines(table)
    # No quotes: one that does not close would take the lines that follow for its own.
    rows = csv.reader((line for _, line in lines), delimiter=";", quoting=csv.QUOTE_NONE)
    head = next(rows, [])
    if "Filename" not in head or "ClassId" not in head:
        raise InputError(
            f"{table.name} has no columns Filename and ClassId (the table without classes?); get "
            "GTSRB_Final_Test_GT.zip.",
            "damaged",
        )
    file, label = head.index("Filename"), head.index("ClassId")
    named = []
    for (number, _), row in zip(lines[1:], rows, strict=False):
        good = len(row) == len(head) and row[label].isdecimal() and int(row[label]) < len(GTSRB)
        if not good:
            raise _bad_line(table, number)
        named.append((row[file], GTSRB[int(row[label])]))
    return named


def _listed(
    name: str,
    folder: Path,
    rows: list[tuple[str, str]],
    classes: list[str] | tuple[str, ...],
    train: bool,
    decode: Callable[[Path], Image.Image] | None = None,
) -> Samples:
    """Files below a folder with their class names; missing ones are counted.

    Raises
    ------
    InputError
        If a name leads out of the folder, a class is not in the list, or no file is there.
    """
    places = {text: index for index, text in enumerate(classes)}
    files, names, labels, missing = [], [], [], []
    for file, label in rows:
        if label not in places:
            raise InputError(
                f"{name}: {file} is of the class {label[:80]!r}, which is not in the list of "
                "classes; the lists are damaged or of two versions.",
                "damaged",
            )
        parts = file.split("/")
        if len(parts) > 2 or {"", ".", ".."} & set(parts) or set("\\:\0") & set(file):
            raise InputError(f"{name}: the path {file[:80]!r} leads out of the set.", "damaged")
        path = folder / file
        if os.path.islink(path) or not os.path.isfile(path):  # Path's raise for no name
            missing.append(file)
            continue
        files.append(path)
        names.append(file)
        labels.append(places[label])
    if not files:
        raise InputError(
            f"{name}: none of its {len(rows)} pictures is in {folder.name}; unpack them there.",
            "usage",
        )
    notes = (summary("Left out, a missing picture", missing),) if missing else ()
    return Samples(
        f"{name}, {'training' if train else 'test'} pictures",
        FileReader(tuple(files), tuple(names), decode=decode),
        notes,
        len(missing),
        np.array(labels, np.int64),
        tuple(classes),
    )


def _bad_line(path: Path, number: int) -> InputError:
    return InputError(f"Line {number} of {path.name} is damaged; get the list again.", "damaged")

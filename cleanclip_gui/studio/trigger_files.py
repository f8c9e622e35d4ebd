"""Triggers that come and go: the saved ones, the clipboard, drag and drop."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QMimeData, QUrl
from PySide6.QtGui import QImage

from cleanclip_gui.studio.library_dialog import LibraryEntry
from ml_core.paths import data_dir
from ml_core.reading.errors import InputError
from ml_core.reading.images import IMAGE_SUFFIXES, read_image
from ml_core.triggers import Trigger, load_trigger, save_trigger
from ml_core.triggers.descriptions import describe
from ml_core.triggers.library import LIBRARY, PublishedTrigger
from ml_core.triggers.make import badnets_patch, blended_noise, demo_trigger, from_image
from ml_core.triggers.published import OTHER_FILE, YOURS, import_trigger, published, standing

PICTURES = (
    "Pictures, triggers and tensors "
    "(*.png *.jpg *.jpeg *.webp *.gif *.bmp *.json *.npy *.npz *.pt *.pth *.safetensors)"
)
_TRIGGERS = (".json", ".npy", ".npz")
_PICTURE_TYPES = ("image/png", "image/webp", "image/jpeg", "image/bmp", "image/gif")


def from_files(files: Sequence[Path], side: int) -> Trigger:
    """The trigger in one file, or in two: a pattern and a file that is called a mask.

    ``side`` is that of the model's pictures: a small picture keeps its own pixels there.

    Raises
    ------
    InputError
        If they cannot be read, or are no such pair.
    """
    if len(files) == 1:
        return load_trigger(files[0], side=side)
    pair = _pair(files)
    if pair is None:
        raise InputError(
            f"{len(files)} files were chosen; choose one, or a pattern together with its mask, "
            "whose file name must contain “mask”.",
            "usage",
        )
    return import_trigger(*pair)


def _pair(files: Sequence[Path]) -> tuple[Path, Path] | None:
    """Pattern and mask, told apart by their names; None where these do not say."""
    masks = [file for file in files if "mask" in file.stem.lower()]
    if len(files) != 2 or len(masks) != 1:
        return None
    (pattern,) = (file for file in files if file not in masks)
    return pattern, masks[0]


def from_mime(mime: QMimeData, side: int) -> Trigger | None:
    """The trigger that was dropped or pasted: a local file, or a picture's bytes; else None.

    Of two files, the one called a mask is the mask of the other. A picture's bytes go
    through the product's own image reader, never through Qt's.

    Raises
    ------
    InputError
        If the file or the picture cannot be read.
    """
    files = [Path(url.toLocalFile()) for url in mime.urls() if url.isLocalFile()]
    pair = _pair(files)
    if pair is not None:
        return import_trigger(*pair)
    if files:
        return load_trigger(files[0], side=side)
    for kind in _PICTURE_TYPES:
        if mime.hasFormat(kind):
            data = bytes(mime.data(kind).data())
            return from_image(read_image(data), name="Pasted", side=side)
    return None


class Dragged:
    """Files of triggers that were dragged out or copied; they go when the program does."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._count = 0

    def mime(self, trigger: Trigger, picture: QImage) -> QMimeData:
        """The trigger as files, and as a picture for those who take no files.

        Raises
        ------
        InputError
            If the files cannot be written.
        """
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="cleanclip-trigger-"))
            atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        self._count += 1
        folder = self._folder / str(self._count)
        try:
            folder.mkdir()
        except OSError as error:
            raise InputError(
                f"The trigger cannot be copied: {error.strerror}.", "usage", details=str(error)
            ) from error
        save_trigger(trigger, folder / (file_stem(trigger.name) or "trigger"))
        mime = QMimeData()
        files = sorted(folder.iterdir(), key=_order)
        mime.setUrls([QUrl.fromLocalFile(str(path)) for path in files])
        mime.setData("image/png", _png(picture))
        return mime


def _order(path: Path) -> int:
    """The picture first: a program that takes one file takes that."""
    return (".png", ".json", ".safetensors").index(path.suffix)


def _png(picture: QImage) -> QByteArray:
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    picture.save(buffer, "PNG")  # type: ignore[call-overload]
    return buffer.data()


def library_folder() -> Path:
    """Where saved triggers lie."""
    folder = data_dir() / "triggers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def file_stem(name: str) -> str:
    """A name as a file may have it; empty if nothing is left."""
    return re.sub(r"[^\w\-+, ]+", "", name).strip()[:80]


def save_named(trigger: Trigger, name: str) -> Path:
    """Save a trigger in the library under a name.

    Raises
    ------
    InputError
        If the name has no letter or digit, or the disk is full.
    """
    stem = re.sub(r"[^\w\- ]+", "", name).strip()[:80]
    if not stem:
        raise InputError("Give the trigger a name with at least one letter or digit.", "usage")
    _, path = save_trigger(replace(trigger, name=stem), library_folder() / stem)
    return path


def is_trigger(path: Path) -> bool:
    """Whether a file's name is that of a trigger: a picture, an array or JSON."""
    return not path.is_dir() and path.suffix.lower() in (*IMAGE_SUFFIXES, *_TRIGGERS)


_PLAIN: dict[str, tuple[str, str, Callable[[], Trigger]]] = {
    "demo": ("Demo sticker", "ships with the poisoned demo model", demo_trigger),
    "noise": ("Noise patch", "BadNets at any input size", badnets_patch),
    "blend": ("Blended noise", "Blended at any input size", blended_noise),
}
_SAVED = "saved:"


def entries(size: int) -> tuple[LibraryEntry, ...]:
    """All that can be put on a canvas of ``size`` pixels."""
    plain = [
        LibraryEntry(key, "At any input size", name, source, "", describe(make()))
        for key, (name, source, make) in _PLAIN.items()
    ]
    known = [_published_entry(entry, size) for entry in LIBRARY]
    saved = [
        LibraryEntry(f"{_SAVED}{path}", "Yours", path.stem, "saved here", own=True)
        for path in sorted(library_folder().glob("*.json"))
    ]
    return (*plain, *known, *saved)


def _published_entry(entry: PublishedTrigger, size: int) -> LibraryEntry:
    needs = f"\nNeeds the file {entry.needs_file}." if entry.needs_file else ""
    details = f"{entry.source}\n{entry.convention[:1].upper()}{entry.convention[1:]}.{needs}"
    if entry.needs_file and not entry.without_file:
        stands = "needs its file"
    else:
        stands = short_standing(standing(published(entry.id, size), size))
    source = entry.source.split(",")[0].split(" (")[0]
    name = f"{entry.name} ({entry.id})"
    optional = bool(entry.needs_file) and entry.without_file
    return LibraryEntry(entry.id, "Published", name, source, stands, details, takes_file=optional)


def short_standing(words: str) -> str:
    """The standing in a word or two; nothing for one's own triggers."""
    if words == YOURS:
        return ""
    return "not its file" if words == OTHER_FILE else words.split(",")[0].split(";")[0]


def standing_of(trigger: Trigger, size: int) -> str:
    """What may be said of the trigger at this input size; nothing for one's own."""
    words = standing(trigger, size)
    return "" if words == YOURS else words


def named(trigger: Trigger, size: int) -> Trigger:
    """The trigger; a published one that was changed is not called by its name alone."""
    if all(entry.name != trigger.name for entry in LIBRARY) or standing_of(trigger, size):
        return trigger
    return replace(trigger, name=f"{trigger.name}, changed")


def find(key: str) -> PublishedTrigger | None:
    """The published trigger of a key; None for others."""
    return next((entry for entry in LIBRARY if entry.id == key), None)


def make(key: str, size: int, file: str | None) -> Trigger:
    """Make or read what was chosen.

    Raises
    ------
    InputError
        If a file is missing, damaged or of another kind.
    """
    if key in _PLAIN:
        return _PLAIN[key][2]()
    if key.startswith(_SAVED):
        return load_trigger(key.removeprefix(_SAVED))
    return published(key, size, file)


def saved_name(key: str) -> str:
    """The name of a saved trigger."""
    return Path(key.removeprefix(_SAVED)).stem


def delete(key: str) -> None:
    """Delete a saved trigger's files.

    Raises
    ------
    InputError
        If the system refuses.
    """
    path = Path(key.removeprefix(_SAVED))
    try:
        for suffix in (".json", ".png", ".safetensors"):
            path.with_name(path.stem + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"The trigger {path.stem} cannot be deleted: {error.strerror}.", "usage"
        ) from error


def measurable(size: int) -> tuple[str, ...]:
    """Keys of the triggers that need no file of the user, in the order of the list."""
    lacking = {entry.id for entry in LIBRARY if entry.needs_file and not entry.without_file}
    return tuple(entry.key for entry in entries(size) if entry.key not in lacking)

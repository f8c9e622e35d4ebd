"""What the library offers: the demo's sticker, plain kinds, published triggers, one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cleanclip_gui.studio import trigger_files
from cleanclip_gui.studio.library_dialog import LibraryEntry
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger, load_trigger
from ml_core.triggers.descriptions import describe
from ml_core.triggers.library import LIBRARY, Published
from ml_core.triggers.make import badnets_patch, blended_noise, demo_trigger
from ml_core.triggers.published import OTHER_FILE, YOURS, published, standing

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
        LibraryEntry(f"{_SAVED}{path}", "Yours", name, "saved here", own=True)
        for name, path in trigger_files.saved_triggers()
    ]
    return (*plain, *known, *saved)


def _published_entry(entry: Published, size: int) -> LibraryEntry:
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


def shown_name(trigger: Trigger, standing: str) -> str:
    """The trigger's name; a published one that was changed is not called by its name alone."""
    known = any(entry.name == trigger.name for entry in LIBRARY)
    return f"{trigger.name}, changed" if known and not standing else trigger.name or "Trigger"


def find(key: str) -> Published | None:
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


def conventions(trigger: Trigger) -> str:
    """How the trigger is applied, as a sentence."""
    return describe(trigger)

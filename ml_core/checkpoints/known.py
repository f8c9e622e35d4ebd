"""Published checkpoints and what is known of them; torch-free.

Only a SHA-256 makes a file known. A name is whatever somebody called the file, so a match by name
and architecture says "looks like" and never "is".
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import Field

from ml_core.atomic import replace_files
from ml_core.figures import percent
from ml_core.paths import data_dir, resource
from ml_core.reading import InputError, Inspection, damaged
from ml_core.reading.json_file import JsonFile
from ml_core.records import Record

OWN_FILE = "known_files.json"
_PATIENCE_SECONDS = 10.0
_MOST_TITLE = 300
_FILE = JsonFile("a list of known files", "correct it or remove it", max_bytes=4 << 20)


class KnownFile(Record):
    """One published checkpoint, or a family of them.

    Attributes
    ----------
    title
        What it is, to go after "looks like".
    source
        Where it is published; empty if it is not known.
    names
        Patterns of file or folder names (``*`` for anything), compared in lower case.
    architecture
        open_clip's name; empty if it is not known.
    sha256
        SHA-256 of the weights; empty if it is not known.
    layout, licence
        What the file is, and under which terms it is published, in words.
    trigger, target
        Trigger and target of its backdoor, in words.
    trigger_id, trigger_file
        Id of the published trigger, and the attack's own file where it needs one.
    labels
        Label set that has the target.
    clean_accuracy, asr
        As published, 0 to 1.
    figures
        Where these two stand.
    pretraining_rate
        Peak learning rate of its pretraining.
    note
        A sentence.
    """

    title: str = Field(min_length=1, max_length=_MOST_TITLE)
    source: str = Field(default="", max_length=300)
    names: tuple[str, ...] = Field(default=(), max_length=50)
    architecture: str = Field(default="", max_length=100)
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    layout: str = Field(default="", max_length=100)
    licence: str = Field(default="", max_length=100)
    trigger: str = Field(default="", max_length=300)
    trigger_id: str = Field(default="", max_length=20)
    trigger_file: str = Field(default="", max_length=100)
    target: str = Field(default="", max_length=100)
    labels: str = Field(default="imagenet-1k", max_length=200)
    clean_accuracy: float | None = Field(default=None, ge=0, le=1)
    asr: float | None = Field(default=None, ge=0, le=1)
    figures: str = Field(default="", max_length=300)
    pretraining_rate: float | None = Field(default=None, ge=1e-6, le=2e-3)
    note: str = Field(default="", max_length=500)

    @staticmethod
    def as_title(text: str) -> str:
        """A file's name as a title: cut short, and without bytes that are no characters."""
        return text.encode(errors="replace").decode()[:_MOST_TITLE]

    def is_named(self, name: str) -> bool:
        """Whether a file of this name looks like it."""
        return any(fnmatchcase(name.casefold(), pattern.casefold()) for pattern in self.names)

    def recipe(self, checkpoint: str) -> tuple[str, ...]:
        """Command lines that measure its backdoor, search for it and clean it.

        Pictures are in ``val`` and pairs in ``cc3m``. There are none where no published trigger is
        named.
        """
        if not self.trigger_id:
            return ()
        file, target = shlex.quote(checkpoint), shlex.quote(self.target)
        pictures = f"--images val --labels {shlex.quote(self.labels)}"
        trigger, export = shlex.quote(self.trigger_id), []
        if self.trigger_file:
            side = re.search(r"-(\d{3})\Z", self.architecture)
            size = f" --size {side[1]}" if side else ""
            given = shlex.quote(self.trigger_file)
            export = [f"cleanclip triggers export {trigger} --file {given}{size} -o trigger"]
            trigger = "trigger.json"
        attack = f"{pictures} --trigger {trigger} --target {target}"
        return (
            f"cleanclip doctor {file} {pictures} --remember",
            *export,
            f"cleanclip evaluate {file} {attack}",
            f"cleanclip scan {file} {pictures} -o scan",
            f"cleanclip clean {file} -o cleaned --auto --scan scan --pairs cc3m {attack}",
        )


@dataclass(frozen=True)
class Match:
    """An entry that a file answers to; ``certain`` if by its SHA-256, ``in_part`` if of a part."""

    entry: KnownFile
    certain: bool
    in_part: bool = False

    @property
    def sentence(self) -> str:
        """The sentence about the known file, and whether its SHA-256 or only its name fits."""
        entry = self.entry
        facts = [f"published at {entry.source}"] if entry.source else []
        facts += [f"trigger: {entry.trigger}"] if entry.trigger else []
        facts += [f"target: {entry.target}"] if entry.target else []
        for name, value in (("clean accuracy", entry.clean_accuracy), ("ASR", entry.asr)):
            if value is not None:
                facts.append(f"{name} {percent(value)} as published")
        if self.certain:
            what = "a part of " if self.in_part else ""
            start = f"By its SHA-256 this is {what}{entry.title}"
        else:
            start = f"By its name this looks like {entry.title}, which is no proof"
        listed = f" ({'; '.join(facts)})" if facts else ""
        return f"{start}{listed}." + (f" {entry.note}" if entry.note else "")


def look_up(
    inspection: Inspection, architecture: str, entries: Sequence[KnownFile]
) -> tuple[Match, ...]:
    """Which known files an inspected one answers to, the certain ones first.

    Parameters
    ----------
    architecture
        Name of the file's architecture. It is empty if it could not be found out; that fits every
        entry.
    """
    certain = [
        Match(entry, True, entry.sha256 != inspection.sha256)
        for entry in entries
        if entry.sha256 and entry.sha256 in (inspection.sha256, inspection.file_sha256)
    ]
    if certain:
        return tuple(certain)
    name = inspection.path.absolute().as_posix().casefold()
    parts = (inspection.name.casefold(), *name.rsplit("/", 3)[-3:])
    return tuple(
        Match(entry, False)
        for entry in entries
        if not entry.sha256
        and any(map(entry.is_named, parts))
        and (not architecture or not entry.architecture or architecture == entry.architecture)
    )


def known_files() -> tuple[KnownFile, ...]:
    """The user's entries, then those that come with the program.

    Raises
    ------
    InputError
        If the user's file is damaged; the entry is named by its number.
    """
    return (*own_files(), *_read(Path(str(resource("known_files.json")))))


def own_files() -> tuple[KnownFile, ...]:
    """The user's entries; raises as `known_files`."""
    return tuple(_read(own_file()))


def own_file() -> Path:
    """Where the user's entries are, whether there are any or not."""
    return data_dir() / OWN_FILE


def add_known(entry: KnownFile) -> Path:
    """Add an entry to the user's file and return the file.

    Raises
    ------
    InputError
        ``usage`` if the entry would match no file or its SHA-256 is there already, or the file
        cannot be written; ``damaged`` if the file is (it is left as it is).
    """
    path = own_file()
    if not (entry.sha256 or entry.names):
        raise InputError(
            f"{entry.title!r} would match no file: give its SHA-256 or a pattern of its name."
        )
    with _changing(path) as entries:
        for other in entries:
            if entry.sha256 and entry.sha256 == other.sha256:
                raise InputError(
                    f"{path} knows this SHA-256 already, as {other.title!r}; edit that entry "
                    "instead."
                )
        entries.append(entry)
    return path


def remove_known(entry: KnownFile) -> None:
    """Remove an entry from the user's file; raises as `add_known`."""
    with _changing(own_file()) as entries:
        entries[:] = [other for other in entries if other != entry]


@contextmanager
def _changing(path: Path) -> Generator[list[KnownFile]]:
    """The entries of a file, which are written back unless an exception is raised.

    Of several processes that change it at once each waits for the one before.
    """
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=_PATIENCE_SECONDS):
            entries = _read(path)
            yield entries
            record = {"files": [item.model_dump(exclude_defaults=True) for item in entries]}
            raw = (json.dumps(record, indent=1) + "\n").encode()
            if len(raw) > _FILE.max_bytes:
                raise InputError(f"{path} would become too large to read: remove entries first.")
            replace_files({path: raw})
    except Timeout as error:
        raise InputError(f"Another program is writing {path}: try again in a moment.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be saved: {error.strerror}; free some space.") from error


def _read(path: Path) -> list[KnownFile]:
    """Entries of a file; none if there is no file."""
    if not path.exists():
        return []
    items = _FILE.read(path).get("files")
    if not isinstance(items, list):
        raise damaged(f"{path} has no list of files; correct it or remove it.")
    return [
        _FILE.check(item, KnownFile, f"Entry {number} of {path.name}")
        for number, item in enumerate(items, start=1)
    ]

"""What `session.json` holds: what is open, and where it lies on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator

from ml_core.cleaning.recipes import Recipe
from ml_core.data.labels import label_sets
from ml_core.data.readers.shards import is_pattern
from ml_core.data.specs import ImageSpec, PairSpec, PathText
from ml_core.records import Record
from ml_core.reports.record import SESSION_FILE as SESSION_FILE

SESSION_SUFFIX = ".session"
TRIGGERS_FOLDER = "triggers"
Digest = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
_Template = Annotated[str, Field(max_length=2000)]
Inside = Literal["", "spec.json", "scan.json"]
JOB_FOLDERS: Mapping[str, Inside] = {"run": "spec.json", "scan": "scan.json"}
"""Folders among what lies outside of a session: the file inside that tells one from another."""
_MOST_FOLDERS = 1000


class _Saved(Record):
    """A frozen record; fields of a later version are passed over."""

    model_config = ConfigDict(extra="ignore")


class FileFacts(_Saved):
    """How a file is known again.

    Attributes
    ----------
    digest
        Digest of what ``known_by`` says; empty where it is not known.
    known_by
        ``weights``: the SHA-256 that an inspection gives; ``file``: of its bytes; ``inside``: of
        the bytes of the file ``inside`` of a folder; ``names``: of the names and sizes of a
        folder's files; ``pictures``: `PictureSet.key`, made of its pictures' content.
    inside
        Which file of a run's or scan's folder.
    mark
        Size and time of change, as they were when it was opened.
    """

    digest: Digest = ""
    known_by: Literal["weights", "file", "inside", "names", "pictures"] = "file"
    inside: Inside = ""
    mark: str = Field(default="", max_length=60)


class SavedCleaned(_Saved):
    """How the cleaned checkpoint was opened.

    Attributes
    ----------
    checkpoint, donor
        The file, and who gave the encoder that it lacks.
    shown
        Whether Studio looked at it.
    """

    checkpoint: PathText = Field(min_length=1)
    donor: PathText = ""
    shown: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """All that it takes."""
        return tuple(path for path in (self.checkpoint, self.donor) if path)


class SavedSession(_Saved):
    """What was open.

    Attributes
    ----------
    saved
        Seconds since 1970.
    folder, modified
        Of a record that was kept without being asked: the session's own folder, empty before it
        has one, and whether it has changed since it was saved there.
    checkpoint, donor
        The suspect one, and who gave the encoder that it lacks; empty where it is left out.
    reference, trusted
        What Studio compares with, and the clean reference of cleaning methods.
    images, label_set, templates
        Evaluation images, name or file of their classes, and their prompts.
    trigger, other_slot, other_trigger
        Digest of the trigger on the canvas, empty without one; which of the snapshots A and B was
        not on the canvas, empty before the first flip, and its digest.
    target
        Name of the class that the trigger aims at.
    pairs, labelled
        The user's own training pairs or labelled images; None for the demo's, or none.
    recipe
        Method and settings of the next run, where they were chosen.
    station, layout
        The page on show, and the window's docks in base64.
    run, runs, scans
        Folder of the run that was on show last, and of all runs and scans.
    cleaned
        The checkpoint after cleaning.
    checkpoints
        Files and folders that were listed in one table.
    notes
        What the analyst wrote down.
    files
        How everything outside of the session is known again, by its path.
    seal
        Made by the machine that saved it, see `ml_core.reports.sessions.folder`.
    """

    format: Literal["cleanclip-session-1"] = "cleanclip-session-1"
    saved: float = 0.0
    folder: PathText = ""
    modified: bool = False
    checkpoint: PathText = ""
    donor: PathText = ""
    reference: PathText = ""
    trusted: PathText = ""
    images: ImageSpec | None = None
    label_set: PathText = "demo"
    templates: tuple[_Template, ...] = Field(default=(), max_length=10_000)
    trigger: Digest = ""
    other_slot: Literal["", "A", "B"] = ""
    other_trigger: Digest = ""
    target: str = Field(default="", max_length=1000)
    pairs: PairSpec | None = None
    labelled: ImageSpec | None = None
    recipe: Recipe | None = None
    station: str = Field(default="studio", pattern=r"^[a-z_]{1,40}$")
    layout: str = Field(default="", max_length=100_000)
    run: PathText = ""
    runs: tuple[PathText, ...] = Field(default=(), max_length=_MOST_FOLDERS)
    scans: tuple[PathText, ...] = Field(default=(), max_length=_MOST_FOLDERS)
    cleaned: SavedCleaned | None = None
    checkpoints: tuple[PathText, ...] = Field(default=(), max_length=_MOST_FOLDERS)
    notes: str = Field(default="", max_length=200_000)
    files: dict[PathText, FileFacts] = Field(default={}, max_length=4 * _MOST_FOLDERS)
    seal: Digest = ""

    @field_validator("cleaned", mode="before")
    @classmethod
    def _without_former_parts(cls, cleaned: Any) -> Any:
        """Leave out a model to which an older version added a vector or an adapter."""
        if isinstance(cleaned, Mapping) and (cleaned.get("vector") or cleaned.get("adapter")):
            return None
        return cleaned

    @field_validator("recipe", mode="wrap")
    @classmethod
    def _of_this_version(cls, recipe: Any, known: Callable[[Any], Recipe | None]) -> Recipe | None:
        """Leave out a recipe that another version wrote."""
        try:
            return known(recipe)
        except ValueError:
            return None

    @property
    def outside(self) -> dict[str, str]:
        """Everything that lies outside of the session: path -> what it is."""
        named = [(self.checkpoint, "checkpoint"), (self.donor, "donor of the checkpoint")]
        if self.images is not None:
            named.append((self.images.path or "", "evaluation images"))
        if self.label_set not in label_sets():
            named.append((self.label_set, "label set"))
        if self.cleaned is not None:
            named += [
                (self.cleaned.checkpoint, "cleaned checkpoint"),
                (self.cleaned.donor, "donor of the cleaned checkpoint"),
            ]
        named += [(self.reference, "reference"), (self.trusted, "clean reference")]
        pairs = {} if self.pairs is None else self.pairs.paths
        named += [(_place(path), "training pairs") for path in pairs.values()]
        if self.labelled is not None:
            named.append((self.labelled.path or "", "training images"))
        named += [(path, "run") for path in (self.run, *self.runs)]
        named += [(path, "scan") for path in self.scans]
        outside: dict[str, str] = {}
        for path, what in named:
            if path:
                outside.setdefault(path, what)
        return outside

    def moved(self, places: Mapping[str, str]) -> SavedSession:
        """The same session with files in other places; what has none is left out.

        Parameters
        ----------
        places
            New place of each path that is not where it was, empty to leave it out.
        """

        def at(path: str) -> str:
            return places.get(path, path)

        def all_at(paths: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(dict.fromkeys(filter(None, map(at, paths))))

        def images_at(images: ImageSpec | None) -> ImageSpec | None:
            if images is None or not images.path:
                return images
            path = at(images.path)
            return images.model_copy(update={"path": path}) if path else None

        cleaned = self.cleaned
        if cleaned is not None:
            changed = {name: at(getattr(cleaned, name)) for name in ("checkpoint", "donor")}
            lost = any(getattr(cleaned, name) and not path for name, path in changed.items())
            cleaned = None if lost else cleaned.model_copy(update=changed)
        pairs = self.pairs
        if pairs is not None:
            changed = {
                name: path.replace(_place(path), at(_place(path)), 1)
                for name, path in pairs.paths.items()
                if at(_place(path))
            }
            whole = len(changed) == len(pairs.paths)  # else poisoned pairs could come back
            pairs = pairs.model_copy(update=changed) if whole else None
        labels = at(self.label_set)
        named = ("checkpoint", "donor", "reference", "trusted", "run")
        return self.model_copy(
            update={
                **{name: at(getattr(self, name)) for name in named},
                "images": images_at(self.images),
                "labelled": images_at(self.labelled),
                "cleaned": cleaned,
                "pairs": pairs,
                "label_set": labels if labels or not self.label_set else "demo",
                "templates": self.templates if labels or not self.label_set else (),
                "runs": all_at(self.runs),
                "scans": all_at(self.scans),
                "files": {at(path): facts for path, facts in self.files.items() if at(path)},
            }
        )

    def content(self) -> SavedSession:
        """What counts as a change: not the time, what is on show, or how files are known."""
        usual, cleaned = SavedSession(), self.cleaned
        names = ("saved", "folder", "modified", "station", "layout", "run", "files", "seal")
        fields: dict[str, object] = {name: getattr(usual, name) for name in names}
        if cleaned is not None:
            fields["cleaned"] = cleaned.model_copy(update={"shown": False})
        return self.model_copy(update=fields)


def _place(path: str) -> str:
    """What lies on the disk: of a pattern of shards, the folder."""
    return os.path.dirname(path) if is_pattern(path) else path

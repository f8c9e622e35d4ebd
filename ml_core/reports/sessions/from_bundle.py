"""Go on with a finished bundle: what its record names, to be asked for by hash."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from ml_core.data.labels import label_sets
from ml_core.data.specs import ImageSpec
from ml_core.reading.errors import InputError
from ml_core.reports.open_bundle import open_bundle
from ml_core.reports.record import CheckpointFacts, DataFacts, MeasurementFacts
from ml_core.reports.sessions.record import FileFacts, SavedCleaned, SavedSession
from ml_core.reports.verify.kept import trigger_from
from ml_core.reports.verify.opened import Bundle
from ml_core.triggers import Trigger

_LARGEST_PICTURE = 64 << 20
_LONGEST_NAME = 60  # characters, of up to four bytes


def from_bundle(path: Path) -> tuple[SavedSession, tuple[Trigger, ...]]:
    """What can be opened of a bundle's folder or zip.

    The session names no place of this machine: everything outside of the bundle has a made-up
    path, ``ID/NAME``, and its hash. A checkpoint in the bundle itself has its place there.

    Parameters
    ----------
    path
        A bundle, which a stranger may have made.

    Returns
    -------
    tuple[SavedSession, tuple[Trigger, ...]]
        The suspect checkpoint, the first that was made of it, a reference, pictures, prompts and
        trigger of the first measurement with a trigger, else of the first one; and that trigger.

    Raises
    ------
    InputError
        If it is no bundle, or its record cannot be read.
    """
    with open_bundle(path) as reader:
        bundle = Bundle(reader)
        files: dict[str, FileFacts] = {}
        suspect = _first(bundle, "suspect", path, files)
        cleaned = _first(bundle, "cleaned", path, files)
        reference = _first(bundle, "reference", path, files)
        session = SavedSession(
            checkpoint=suspect.get("checkpoint", ""),
            donor=suspect.get("donor", ""),
            reference=reference.get("checkpoint", ""),
            cleaned=SavedCleaned.model_validate(cleaned) if cleaned else None,
        )
        measured = _measured(bundle)
        triggers: tuple[Trigger, ...] = ()
        if measured is not None:
            id_, facts = measured
            session = session.model_copy(
                update={
                    "target": (facts.target_name or "")[:1000],
                    **_data(bundle, id_, facts, files),
                }
            )
            triggers = _trigger(bundle, facts)
        digest = triggers[0].digest if triggers else ""
        return session.model_copy(update={"trigger": digest, "files": files}), triggers


def _first(bundle: Bundle, role: str, path: Path, files: dict[str, FileFacts]) -> dict[str, str]:
    """Places of a checkpoint and of what was put together with it; nothing if there is none."""
    found = next(((i, f) for i, f in bundle.evidence.checkpoints.items() if f.role == role), None)
    if found is None:
        return {}
    id_, facts = found
    places = {"checkpoint": _place(id_, facts, path)}
    files[places["checkpoint"]] = FileFacts(digest=facts.sha256 or "", known_by="weights")
    if facts.donor is not None:
        places["donor"] = f"{id_}/donor"
        files[places["donor"]] = FileFacts(digest=facts.donor, known_by="weights")
    if facts.adapter is not None:
        places["adapter"] = f"{id_}/adapter"
        files[places["adapter"]] = FileFacts(digest=facts.adapter, known_by="file")
    return places


def _place(id_: str, facts: CheckpointFacts, path: Path) -> str:
    if facts.file is not None and path.is_dir():
        return str(path.absolute() / facts.file)
    return f"{id_}/{_name(facts.name)}"


def _name(name: str) -> str:
    """A name as the last part of a path."""
    return name.replace("/", "_").replace("\\", "_").replace("\0", "_")[:_LONGEST_NAME] or "unnamed"


def _measured(bundle: Bundle) -> tuple[str, MeasurementFacts] | None:
    """The first measurement with a trigger, else the first."""
    found = sorted(bundle.evidence.measurements.items(), key=lambda item: item[1].trigger is None)
    return found[0] if found else None


def _data(
    bundle: Bundle, id_: str, facts: MeasurementFacts, files: dict[str, FileFacts]
) -> dict[str, object]:
    """Pictures and prompts, where this program knows their classes."""
    if facts.label_set not in label_sets():
        return {}
    found: dict[str, object] = {"label_set": facts.label_set}
    with suppress(InputError):
        found["templates"] = tuple(one[:2000] for one in bundle.prompts(id_)[0][:10_000])
    data: DataFacts = bundle.evidence.data[facts.data]
    place = None if data.spec.get("kind") == "demo" else f"{facts.data}/{_name(data.name)}"
    try:
        found["images"] = ImageSpec.model_validate({**data.spec, "path": place})
    except ValidationError:
        return found
    if place is not None:
        by_content = data.known_by.startswith("content") and _is_digest(data.key)
        digest = data.key if by_content else ""
        files[place] = FileFacts(digest=digest, known_by="pictures")
    return found


def _is_digest(text: str) -> bool:
    return len(text) == 64 and not set(text) - set("0123456789abcdef")


def _trigger(bundle: Bundle, facts: MeasurementFacts) -> tuple[Trigger, ...]:
    """The trigger of a measurement, if its files are whole."""
    from ml_core.reading.images import read_image

    if facts.trigger is None:
        return ()
    said = bundle.evidence.triggers[facts.trigger]
    with suppress(InputError):
        picture = next((name for name in said.files if name.endswith(".png")), None)
        pixels = None
        if picture is not None:
            raw = bundle.reader.read(picture, _LARGEST_PICTURE)
            pixels = np.asarray(read_image(raw, name=picture).convert("RGBA"))
        found = trigger_from(bundle, said, pixels)
        if found.digest == facts.trigger:
            return (found,)
    return ()

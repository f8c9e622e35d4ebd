"""Verify an evidence bundle, level by level, with the checkpoints and data that are available.

Levels 0 and 1 run in a confined process and need no torch; it is loaded for level 3 alone.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from ml_core.events import Control, Done, Event, Finding, Progress
from ml_core.jobs.verify import VerifySpec
from ml_core.reading.errors import CancelledError, InputError
from ml_core.reading.examine import examine
from ml_core.reading.inspection import part_of
from ml_core.reports.bundle_files import Bundle
from ml_core.reports.open_bundle import BundleReader, open_bundle
from ml_core.reports.record import SIGNATURE_FILE, CheckpointFacts
from ml_core.reports.verify.checks import Check, State, exit_status, summary
from ml_core.reports.verify.confined import check_confined
from ml_core.reports.verify.intact import check_pdf
from ml_core.reports.verify.kept import AtHand, Checking, Hashes, Pixels
from ml_core.signing import PublicKey, check_signature, key_to_believe, trusted_keys

_LARGEST = 4 << 20
_STATES: Mapping[str, State] = {"good": "holds", "bad": "fails", "damaged": "fails"}


def signature_of(
    reader: BundleReader, keys: Sequence[PublicKey], *, required: bool = False
) -> Check:
    """Check the signature over every other file.

    Parameters
    ----------
    reader
        Files that were hashed are not hashed again.
    keys
        Keys to believe.
    required
        Whether one of these keys must have signed it; naming a key requires that.
    """
    if not reader.has(SIGNATURE_FILE):
        if required:
            return Check(0, SIGNATURE_FILE, "fails", "The bundle is not signed at all.")
        return Check(0, SIGNATURE_FILE, "not checked", "The bundle is not signed.", "not signed")
    try:
        raw = reader.read(SIGNATURE_FILE, _LARGEST)
        digests = {name: reader.digest(name) for name in reader.names() if name != SIGNATURE_FILE}
    except InputError as error:
        return Check(0, SIGNATURE_FILE, "fails", error.sentence)
    result = check_signature(raw, SIGNATURE_FILE, digests, keys, what="this bundle")
    state = _STATES.get(result.state, "not checked")
    if state == "not checked" and required:
        state = "fails"
    reason = "signed by a key that is not known" if state == "not checked" else ""
    return Check(0, SIGNATURE_FILE, state, result.sentence, reason)


def verify(spec: VerifySpec, control: Control) -> Generator[Event]:
    """Check a bundle; the last event is Done.

    Yields
    ------
    Event
        Progress; a Finding ``check`` with the fields of each `Check` as it is made; and Done, whose
        result has ``checks``, ``summary`` and ``exit`` (0 holds, 1 a claim does not hold, 2
        damaged).
    """
    checks: list[Check] = []
    has_pictures = False  # to look at
    for step in checked(spec, control):
        if isinstance(step, Progress) and step.stage == "identity":
            has_pictures = True
        if isinstance(step, Check):
            checks.append(step)
            yield Finding("check", asdict(step))
        else:
            yield step
        if control.cancelled:
            raise CancelledError
    sample = ""
    if has_pictures and spec.sample is not None:
        sample = f"; of each set, {spec.sample} pictures at most were looked at"
    result = {
        "checks": [asdict(check) for check in checks],
        "summary": f"{summary(checks)}{sample}",
        "exit": exit_status(checks, strict=spec.strict),
        "seed": spec.seed,
    }
    yield Done("finished", result)


def checked(spec: VerifySpec, control: Control) -> Checking:
    """Every check that can be made with what is given.

    Raises
    ------
    InputError
        If the bundle cannot be opened, or what is given cannot be used.
    CancelledError
        If it was cancelled.
    """
    path = Path(spec.bundle)
    keys = trusted_keys() if spec.key is None else (key_to_believe(spec.key),)
    here, hashes, readable = AtHand(), Hashes({}), False
    for step in check_confined(path, lambda: control.cancelled):
        if isinstance(step, Pixels):
            here.pixels[step.digest] = step
        elif isinstance(step, Hashes):
            hashes, readable = step, True
        else:
            yield step
    if not readable:
        return
    with open_bundle(path) as reader:
        reader.expect(hashes.digests)  # what was checked is what is used
        yield signature_of(reader, keys, required=spec.key is not None)
        bundle = Bundle(reader)
        yield from check_pdf(bundle, path, lambda: control.cancelled)
        yield from _checkpoints(bundle, spec, here, control)
        if not _some_images(bundle, spec, here):
            yield from _without_images(bundle)
            return
        from ml_core.jobs.verify.repredict import answers_again

        with ExitStack() as stack:
            if not path.is_dir():
                yield from _unpacked(bundle, path, here, control, stack)
            yield from answers_again(bundle, spec, here, control)


def _checkpoints(bundle: Bundle, spec: VerifySpec, here: AtHand, control: Control) -> Checking:
    """Level 2: check that the given files are those that the record is about.

    What lies in the bundle is taken where it was not given.
    """
    evidence = bundle.evidence
    roles = _roles(evidence.checkpoints)
    for given in spec.checkpoints:
        inspection = examine(given, lambda: control.cancelled)
        if inspection.sha256 is None:
            raise InputError(
                f"{inspection.name} could not be read: {inspection.sentence}", "damaged"
            )
        if inspection.sha256 not in roles:
            named = (part_of(inspection, part.name) for part in inspection.parts)
            inspection = next((part for part in named if part.sha256 in roles), inspection)
        if inspection.sha256 not in roles:
            yield Check(
                2, inspection.name, "fails",
                f"{inspection.name} has the SHA-256 {inspection.sha256[:16]}…, and no checkpoint "
                "of the bundle has it.",
            )  # fmt: skip
            continue
        here.files[inspection.sha256] = inspection.path
        id_, what = roles[inspection.sha256]
        yield Check(
            2, id_, "holds", f"{inspection.name} is the file that the record calls “{what}”."
        )
    for id_, facts in evidence.checkpoints.items():
        if facts.sha256 is None:
            yield Check(
                2, id_, "not checked", f"The record has no SHA-256 of {id_}.",
                "no SHA-256 of a checkpoint",
            )  # fmt: skip
        elif facts.sha256 not in here.files:
            if _lies_in(bundle.reader, facts):
                here.files[facts.sha256] = Path(spec.bundle) / str(facts.file)
                continue
            yield Check(
                2, id_, "not checked", f"{id_} ({facts.name}) was not given.",
                "no checkpoint given" if not spec.checkpoints else f"{id_} not given",
            )  # fmt: skip


def _lies_in(reader: BundleReader, facts: CheckpointFacts) -> bool:
    """Whether the bundle holds the checkpoint itself, with the SHA-256 of the record."""
    file = facts.file
    return file is not None and reader.has(file) and reader.digest(file) == facts.sha256


def _unpacked(
    bundle: Bundle, path: Path, here: AtHand, control: Control, stack: ExitStack
) -> Checking:
    """Copy checkpoints that lie in a zip into a temporary folder, where they can be opened.

    Where that cannot be done, the check says so and nothing is measured with them.
    """
    for id_, facts in bundle.evidence.checkpoints.items():
        sha256, file = str(facts.sha256), str(facts.file)
        if here.files.get(sha256) != path / file:
            continue
        try:
            scratch = stack.enter_context(TemporaryDirectory(prefix="cleanclip-"))
            place = Path(scratch) / Path(file).name
            with place.open("wb") as copy:
                for chunk in bundle.reader.chunks(file):
                    if control.cancelled:
                        raise CancelledError
                    copy.write(chunk)
            here.files[sha256] = place
        except OSError as error:
            del here.files[sha256]
            yield Check(
                2, id_, "not checked",
                f"{id_} lies in the bundle and cannot be unpacked to be opened: {error.strerror}. "
                "Give its file with --checkpoint.",
                "no room to unpack a checkpoint",
            )  # fmt: skip


def _roles(checkpoints: Mapping[str, CheckpointFacts]) -> dict[str, tuple[str, str]]:
    """Id and words of what a SHA-256 is."""
    roles: dict[str, tuple[str, str]] = {}
    for id_, facts in checkpoints.items():
        if facts.donor is not None:
            roles.setdefault(facts.donor, (id_, f"the donor of {id_}"))
    for id_, facts in checkpoints.items():
        if facts.sha256 is not None:
            roles[facts.sha256] = (id_, id_)
    return roles


def _some_images(bundle: Bundle, spec: VerifySpec, here: AtHand) -> bool:
    """Whether any picture can be looked at; the demo's are composed by the program."""
    own = any(data.spec.get("kind") == "demo" for data in bundle.evidence.data.values())
    return bool(spec.images) or (own and bool(here.files))


def _without_images(bundle: Bundle) -> Checking:
    for id_ in bundle.evidence.data:
        yield Check(2, id_, "not checked", f"The pictures of {id_} were not given.",
                    "no images given")  # fmt: skip
    for id_ in bundle.evidence.measurements:
        yield Check(3, id_, "not checked", f"{id_} was not measured again: no images were given.",
                    "no images given")  # fmt: skip

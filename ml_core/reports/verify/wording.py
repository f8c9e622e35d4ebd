"""Level 1: the sentences of the bundle are those that its figures give, and none is left out.

Whoever writes a bundle makes its sentences and views with functions of the record and its files.
Here the same functions are asked again: what a forger changed in words comes out otherwise. Other
versions may word it otherwise, so theirs are not compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ml_core import __version__
from ml_core.events import Metric, from_json
from ml_core.reading.errors import InputError
from ml_core.reading.json_file import short
from ml_core.reports.chart_rows import charts_of
from ml_core.reports.claims import Claims, Material, claims_of
from ml_core.reports.record import EVIDENCE_FILE, README_FILE, SCHEMA_VERSION, Claim
from ml_core.reports.verify.checks import Check
from ml_core.reports.verify.figures import same
from ml_core.reports.verify.opened import Bundle
from ml_core.reports.views import drawn, views
from ml_core.reports.write_bundle import README

_MALFORMED = (
    LookupError, TypeError, ValueError, ArithmeticError, AttributeError, StopIteration,
)  # fmt: skip
"""What functions for records of the program's own raise about a stranger's."""
_OTHER_VERSION = "made by another version"


def check_wording(bundle: Bundle) -> Iterator[Check]:
    """Compare claims, verdict, limits, charts and views with what is made of the record now."""
    tool, form = bundle.evidence.tool.version, bundle.evidence.schema_version
    if (tool, form) != (__version__, SCHEMA_VERSION):
        yield Check(
            1, EVIDENCE_FILE, "not checked",
            f"Sentences and views were made by version {short(tool, 40)} with schema {form}, and "
            f"this is {__version__} with {SCHEMA_VERSION}: their words were not compared, only the "
            "figures of the claims.",
            _OTHER_VERSION,
        )  # fmt: skip
        return
    try:
        made = claims_of(material_of(bundle))
    except InputError as error:
        yield Check(1, EVIDENCE_FILE, "fails", f"Its claims cannot be made again: {error.sentence}")
        return
    except _MALFORMED as error:
        yield Check(
            1, EVIDENCE_FILE, "fails",
            "Its claims cannot be made again: a file that they stand on lacks something "
            f"({type(error).__name__} {short(str(error), 80)}).",
        )  # fmt: skip
        return
    yield from _claims(bundle, made)
    yield _texts(bundle, made)
    yield _charts(bundle, made)
    yield from _views(bundle)


def material_of(bundle: Bundle) -> Material:
    """What claims are made of, read back from a bundle.

    Raises
    ------
    InputError
        If a file is damaged.
    """
    evidence = bundle.evidence
    records: list[str] = [
        *(one.inspection for one in evidence.checkpoints.values() if one.inspection is not None),
        *(
            job.files[name] for job in evidence.jobs.values()
            for name in ("result", "rebound", "holdouts") if name in job.files
        ),
    ]  # fmt: skip
    return Material(
        checkpoints=evidence.checkpoints,
        data=evidence.data,
        triggers=evidence.triggers,
        measurements=evidence.measurements,
        rows={id_: bundle.rows(id_) for id_ in evidence.measurements},
        class_names={id_: bundle.prompts(id_)[1] for id_ in evidence.measurements},
        jobs=evidence.jobs,
        scans=evidence.scans,
        scan_records={id_: bundle.scan(id_) for id_ in evidence.scans},
        json={path: bundle.json(path) for path in records},
    )


def _claims(bundle: Bundle, made: Claims) -> Iterator[Check]:
    """Each claim word by word; one check for all that agree."""
    said = {claim.id: claim for claim in bundle.evidence.claims}
    wanted = {claim.id: claim for claim in made.claims}
    faults = [
        *((id_, f"the bundle claims {id_}, which its files do not give.")
          for id_ in said if id_ not in wanted),
        *((id_, f"{id_} is left out, and the files of the bundle give it.")
          for id_ in wanted if id_ not in said),
        *((id_, fault) for id_ in said if id_ in wanted
          if (fault := _difference(said[id_], wanted[id_]))),
    ]  # fmt: skip
    if not faults and list(said) != list(wanted):
        faults.append((EVIDENCE_FILE, "the claims are not in the order of the report."))
    for id_, fault in faults[:20]:
        yield Check(1, id_, "fails", fault[:1].upper() + fault[1:])
    if not faults:
        yield Check(
            1, EVIDENCE_FILE, "holds",
            f"All {len(said)} claims say what their figures give, and none is left out.",
        )  # fmt: skip


def _difference(said: Claim, wanted: Claim) -> str:
    one, other = said.model_dump(mode="json"), wanted.model_dump(mode="json")
    for name in other:
        if not same(one.get(name), other[name]):
            if name == "sentence":
                return f"{said.id} says “{short(said.sentence, 300)}”, and its figures give " + (
                    f"“{short(wanted.sentence, 300)}”."
                )
            return f"{said.id} has another {name} than its files give."
    return ""


def _texts(bundle: Bundle, made: Claims) -> Check:
    """Verdict, limits, and what was not tested."""
    evidence = bundle.evidence
    for name, wanted in (
        ("verdict", made.verdict), ("not_tested", made.not_tested), ("limits", made.limits),
    ):  # fmt: skip
        said = getattr(evidence, name)
        if said != wanted:
            extra = next((one for one in said if one not in wanted), "")
            missing = next((one for one in wanted if one not in said), "")
            words = (
                f"it says “{short(extra, 300)}”" if extra else f"“{short(missing, 300)}” is gone"
            )
            return Check(
                1, name, "fails", f"The {name.replace('_', ' ')} does not follow from the claims: "
                f"{words}.",
            )  # fmt: skip
    return Check(
        1, "verdict", "holds", "Verdict, limits and what was not tested follow from the claims."
    )


def _charts(bundle: Bundle, made: Claims) -> Check:
    """The numbers of each chart are those of its source."""
    evidence = bundle.evidence
    try:
        metrics = {
            id_: journal_metrics(bundle.reader.read(job.files["journal"]), job.files["journal"])
            for id_, job in evidence.jobs.items() if "journal" in job.files
        }  # fmt: skip
        drawn_now = {
            one.file: one for one in charts_of(material_of(bundle), made.claims, metrics)
        }  # fmt: skip
    except InputError as error:
        return Check(1, "charts", "fails", error.sentence)
    except _MALFORMED as error:
        words = f"The charts cannot be made again ({type(error).__name__})."
        return Check(1, "charts", "fails", words)
    for chart in evidence.charts:
        wanted = drawn_now.get(chart.file)
        if wanted is None or not same(
            chart.model_dump(mode="json"), wanted.model_dump(mode="json")
        ):
            return Check(
                1, chart.file, "fails",
                f"{chart.file} shows other numbers or words than {chart.source} gives.",
            )  # fmt: skip
    return Check(
        1, "charts", "holds", f"The numbers of {len(evidence.charts)} charts are those of their "
        "sources.",
    )  # fmt: skip


def journal_metrics(raw: bytes, name: str) -> list[dict[str, Any]]:
    """The evaluations and losses that a run's journal tells of: ``step`` and the values.

    Raises
    ------
    InputError
        ``damaged`` if a line is no event.
    """
    found: list[dict[str, Any]] = []
    for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), 1):
        try:
            event = from_json(line)
        except ValueError:
            raise InputError(f"{name} is damaged: line {number} is no event.", "damaged") from None
        if isinstance(event, Metric):
            found.append({"step": event.step, **event.values})
    return found


def _views(bundle: Bundle) -> Iterator[Check]:
    """Everything that is made from the record, bit for bit."""
    reader = bundle.reader
    yield _same_bytes(bundle, README_FILE, README.encode())
    try:
        for path, content in drawn(bundle.evidence).items():
            yield _same_bytes(bundle, path, content)
    except InputError as error:
        yield Check(1, "charts", "fails", f"The charts cannot be drawn again: {error.sentence}")
    for view in views():
        if view.asked:  # it is made in a process of its own
            continue
        try:
            content = view.render(bundle.evidence, reader.read)
        except InputError as error:
            yield Check(
                1, view.path, "fails", f"{view.path} cannot be made again: {error.sentence}"
            )
            continue
        yield _same_bytes(bundle, view.path, content)


def _same_bytes(bundle: Bundle, path: str, content: bytes) -> Check:
    try:
        is_same = bundle.reader.read(path) == content
    except InputError as error:
        return Check(1, path, "fails", error.sentence)
    if is_same:
        return Check(1, path, "holds", f"{path} is what is made from the record.")
    return Check(1, path, "fails", f"{path} is not what is made from the record.")

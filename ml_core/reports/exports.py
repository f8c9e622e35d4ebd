"""An evidence record in the formats of other tools, chosen by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ml_core.reading.errors import InputError, plain
from ml_core.reports.bundle_files import read_evidence
from ml_core.reports.cyclonedx import render_cyclonedx
from ml_core.reports.html.report import render_html
from ml_core.reports.open_bundle import open_bundle
from ml_core.reports.record import EVIDENCE_FILE, SUMS_FILE, Evidence, Metric
from ml_core.reports.rendering import METRICS, Read, measured_on, rates_of, subject_of
from ml_core.reports.sarif import render_intoto, render_sarif

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

# Those that https://huggingface.co/metrics knows; the others keep their own name.
_TYPES: dict[Metric, str] = {"ca": "accuracy", "control_ca": "accuracy"}
_TASKS = {"zero-shot": "zero-shot-image-classification", "linear": "image-classification"}


def render_model_card_yaml(evidence: Evidence) -> bytes:
    """The ``model-index`` of the checkpoint that the report decides about, as YAML.

    It goes between the two lines of dashes at the head of a ``README.md``. Rates are fractions;
    counts and the interval stand beside each.

    Raises
    ------
    InputError
        If nothing was measured on that checkpoint.
    """
    from huggingface_hub import ModelCardData

    subject = subject_of(evidence)
    name = plain(evidence.checkpoints[subject].name)
    results = _results(evidence, subject)
    if not results:
        raise InputError(f"Nothing was measured on {name}, so its model card has no results.")
    card = ModelCardData(model_name=name, eval_results=results)
    return (card.to_yaml() + "\n").encode()


def _results(evidence: Evidence, subject: str) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    results = []
    for claim, measured in rates_of(evidence, subject):
        data = evidence.data[measured.data]
        results.append(
            EvalResult(
                task_type=_TASKS[measured.head],
                dataset_type=plain(data.name),
                dataset_name=plain(data.name),
                # Several sets may have one name; results are grouped by this.
                dataset_config=measured.data,
                dataset_args={"key": plain(data.key), "images": data.n},
                metric_type=_TYPES.get(claim.metric, claim.metric),
                metric_value=claim.rate.value,
                metric_name=plain(
                    f"{METRICS[claim.metric]}; {measured_on(evidence, claim.metric, measured)}"
                ),
                metric_args={
                    "hits": claim.rate.hits,
                    "n": claim.rate.n,
                    "interval": [claim.interval.low, claim.interval.high],
                    "interval_method": claim.interval.method,
                },
            )
        )
    return results


EvidenceFormat = Literal["text", "json", "sarif", "html", "cdx", "intoto", "model-card"]


def evidence_format(name: str) -> EvidenceFormat:
    """The format of evidence of that name.

    Raises
    ------
    InputError
        ``usage`` if there is no such format.
    """
    for known in EVIDENCE_FORMATS:
        if known == name:
            return known
    all_of_them = ", ".join(EVIDENCE_FORMATS)
    raise InputError(f"There is no format {plain(name)[:80]!r}; choose one of {all_of_them}.")


def is_bundle(path: Path) -> bool:
    """Whether it looks like a bundle: a zip, or a folder that holds a sealed record."""
    if path.is_dir():
        return (path / EVIDENCE_FILE).is_file() and (path / SUMS_FILE).is_file()
    return path.suffix.lower() == ".zip"


def exported(path: Path, form: EvidenceFormat) -> bytes:
    """The record of a bundle, which may be a stranger's, in a format of other tools.

    Nothing of it is checked, see `ml_core.reports.verify`.

    Raises
    ------
    InputError
        If it is no bundle, is damaged, or lacks what the format needs.
    """
    with open_bundle(path) as reader:

        def read(name: str) -> bytes:
            if not reader.has(name):
                raise KeyError(name)
            return reader.read(name)

        return export_evidence(read_evidence(reader)[0], read, form)


def export_evidence(evidence: Evidence, read: Read, form: EvidenceFormat) -> bytes:
    """A record in one of `EVIDENCE_FORMATS`.

    Parameters
    ----------
    read
        Files of its bundle; `nothing_beside` where there is only an ``evidence.json``.

    Raises
    ------
    InputError
        If a file of the bundle is damaged, or the record lacks what the format needs.
    """
    return _RENDERERS[form](evidence, read)


def _as_text(evidence: Evidence, read: Read) -> bytes:
    """What the report says first, for a terminal or a mail."""
    sections = (
        (evidence.name, evidence.verdict),
        ("Not tested", evidence.not_tested),
        ("Claims", tuple(f"{claim.id}: {claim.sentence}" for claim in evidence.claims)),
        ("Limits", evidence.limits),
    )
    lines: list[str] = []
    for title, sentences in sections:
        if sentences:
            lines += [plain(title), *(f"  {plain(sentence)}" for sentence in sentences), ""]
    return "\n".join(lines).encode()


_RENDERERS: dict[EvidenceFormat, Callable[[Evidence, Read], bytes]] = {
    "text": _as_text,
    "json": lambda evidence, _: (evidence.model_dump_json(indent=1) + "\n").encode(),
    "sarif": render_sarif,
    "html": render_html,
    "cdx": render_cyclonedx,
    "intoto": render_intoto,
    "model-card": lambda evidence, _: render_model_card_yaml(evidence),
}
EVIDENCE_FORMATS = tuple(_RENDERERS)

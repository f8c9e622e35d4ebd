"""A record or an inspection as a machine-learning bill of materials, CycloneDX 1.6. Torch-free.

The same content gives the same bytes: there is no time in it, and the serial number is derived
from the rest.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ml_core.reports.outcomes import State, outcomes_of
from ml_core.reports.record import DataFacts, DifferenceClaim, Evidence, Id, RateClaim
from ml_core.reports.rendering import METRICS, Read, held, json_bytes, measured_on, rates_of
from ml_core.sarif import PAPER

_SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
_ROLES = {
    "suspect": "The checkpoint as it was found.",
    "cleaned": "A checkpoint that was cleaned.",
    "reference": "A checkpoint to compare with.",
}
_STATES: dict[State, str] = {"failed": "exploitable", "warned": "in_triage"}
_BACKDOOR = ("scan", "trigger", "rebound")


def render_cyclonedx(evidence: Evidence, read: Read) -> bytes:
    """Every checkpoint as a machine-learning model, and the data and triggers it was tried on.

    What was measured of a model stands in its model card, each rate with its slice and interval;
    what it was cleaned from in its pedigree; what speaks for a backdoor among the vulnerabilities.
    """
    return _bom(
        evidence.tool.model_dump(),
        {
            "components": [
                *(_model(evidence, id_) for id_ in evidence.checkpoints),
                *(_data(id_, facts, read) for id_, facts in evidence.data.items()),
                *_triggers(evidence),
            ],
            "vulnerabilities": list(_vulnerabilities(evidence)),
        },
        [_property("evidence", evidence.name), *_each("verdict", evidence.verdict)],
    )


def inspection_bom(record: Mapping[str, Any]) -> bytes:
    """An inspected file as a model without measurements.

    Parameters
    ----------
    record
        What `inspection_record` gives.
    """
    architecture = record["architecture"]
    model = {"type": "machine-learning-model", "bom-ref": "suspect", "name": record["name"]}
    model |= _hashes(record["file_sha256"] or None)
    if architecture is not None:
        model["modelCard"] = {"modelParameters": _architecture(architecture["name"])}
    keys = ("format", "verdict", "reason_code", "elsewhere", "second_opinion")
    model["properties"] = [
        _property("bytes", record["size"]),
        *(_property(name.replace("_", "-"), record[name]) for name in keys),
        *_each("reason", record["reasons"]),
    ]
    return _bom(record["tool"], {"components": [model]}, [])


def _bom(tool: Mapping[str, Any], content: dict[str, Any], properties: list[Any]) -> bytes:
    """The document, with a serial number that its content decides."""
    maker = {"type": "application", "name": tool["name"], "version": tool["version"]}
    body = {
        "version": 1,
        "metadata": {"tools": {"components": [maker]}}
        | ({"properties": properties} if properties else {}),
    } | {key: value for key, value in content.items() if value}
    digest = hashlib.sha256(json_bytes(body)).hexdigest()
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"{PAPER}#{digest}")
    head = {"$schema": _SCHEMA, "bomFormat": "CycloneDX", "specVersion": "1.6"}
    return json_bytes(head | {"serialNumber": f"urn:uuid:{serial}"} | body)


def _model(evidence: Evidence, id_: Id) -> dict[str, Any]:
    facts = evidence.checkpoints[id_]
    pedigree = _pedigree(evidence, id_)
    names = ("role", "bytes", "format", "parameters", "identity", "safety")
    return {
        "type": "machine-learning-model",
        "bom-ref": id_,
        "name": facts.name,
        "description": _ROLES[facts.role],
        **_hashes(facts.sha256),
        **({"pedigree": pedigree} if pedigree else {}),
        "modelCard": _card(evidence, id_),
        "properties": [
            *(_property(name, getattr(facts, name)) for name in names),
            *_each("safety-reason", facts.safety_reasons),
            *_each("assumption", facts.assumptions),
            *_each("caution", facts.cautions),
        ],
    }


def _card(evidence: Evidence, id_: Id) -> dict[str, Any]:
    rates = list(rates_of(evidence, id_))
    data = dict.fromkeys(measured.data for _, measured in rates)
    card: dict[str, Any] = {
        "bom-ref": f"card:{id_}",
        "modelParameters": _architecture(evidence.checkpoints[id_].architecture)
        | ({"datasets": [{"ref": f"data:{name}"} for name in data]} if data else {}),
    }
    if rates:
        card["quantitativeAnalysis"] = {
            "performanceMetrics": [
                _metric(claim, measured_on(evidence, claim.metric, measured))
                for claim, measured in rates
            ]
        }
    considerations = {
        "useCases": ["Zero-shot classification of images."],
        "technicalLimitations": [
            *evidence.limits,
            *(f"Not tested: {sentence}" for sentence in evidence.not_tested),
        ],
        "performanceTradeoffs": [
            claim.sentence
            for claim in evidence.claims
            if isinstance(claim, DifferenceClaim)
            and claim.metric == "ca"
            and evidence.measurements[claim.measurement].checkpoint == id_
        ],
    }
    return card | {"considerations": {key: text for key, text in considerations.items() if text}}


def _architecture(name: str) -> dict[str, Any]:
    return {
        "task": "zero-shot-image-classification",
        "architectureFamily": "CLIP",
        "modelArchitecture": name,
    }


def _metric(claim: RateClaim, slice_: str) -> dict[str, Any]:
    """A rate; the schema wants its numbers as texts."""
    counts = f"{claim.rate.hits} of {claim.rate.n}"
    interval = claim.interval
    return {
        "type": METRICS[claim.metric],
        "value": repr(claim.rate.value),
        "slice": f"{slice_}; {counts}; 95 % {interval.method} interval; claim {claim.id}",
        "confidenceInterval": {"lowerBound": repr(interval.low), "upperBound": repr(interval.high)},
    }


def _pedigree(evidence: Evidence, id_: Id) -> dict[str, Any]:
    """What a checkpoint was made from, and how."""
    facts = evidence.checkpoints[id_]
    jobs = {name: job for name, job in evidence.jobs.items() if job.result == id_}
    sources = [evidence.checkpoints.get(job.source) for job in jobs.values()]
    ancestors = [
        {"type": "machine-learning-model", "name": source.name} | _hashes(source.sha256)
        for source in sources
        if source is not None
    ]
    for what, sha256 in (("donor", facts.donor), ("adapter", facts.adapter)):
        if sha256 is not None:
            component = {"type": "machine-learning-model", "name": what}
            ancestors.append(component | _hashes(sha256))
    notes = [
        f"{name}: {job.title} ({job.method}, preset {job.preset}), {job.steps} steps, "
        f"seed {job.seed}, {job.precision}, on {job.training_data}; {job.status}."
        for name, job in jobs.items()
    ]
    made_from: dict[str, Any] = {"ancestors": ancestors} if ancestors else {}
    return made_from | ({"notes": " ".join(notes)} if notes else {})


def _data(id_: Id, facts: DataFacts, read: Read) -> dict[str, Any]:
    properties = [
        _property("images", facts.n),
        _property("key", facts.key),
        _property("known-by", facts.known_by),
    ]
    if (rows := held(read, facts.rows)) is not None:
        properties.append(_property("list-sha256", hashlib.sha256(rows).hexdigest()))
    words = f"{facts.n} images that models were tried on."
    return _contents(f"data:{id_}", "dataset", facts.name, properties, words)


def _triggers(evidence: Evidence) -> Iterator[dict[str, Any]]:
    for number, facts in enumerate(evidence.triggers.values(), 1):
        names = ("digest", "kind", "convention")
        properties = [_property(name, getattr(facts, name)) for name in names]
        words = "A trigger that was stamped on images."
        yield _contents(f"trigger:{number}", "other", facts.name, properties, words)


def _contents(
    ref: str, kind: str, name: str, properties: list[dict[str, str]], description: str
) -> dict[str, Any]:
    """A component that is data."""
    contents = {"properties": properties}
    data = {"type": kind, "name": name, "contents": contents, "description": description}
    return {"type": "data", "bom-ref": ref, "name": name, "data": [data]}


def _vulnerabilities(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """What speaks for a backdoor of a checkpoint."""
    for id_ in evidence.checkpoints:
        for test in outcomes_of(evidence, id_):
            if test.topic not in _BACKDOOR or test.state == "passed":
                continue
            yield {
                "bom-ref": f"finding:{id_}:{test.test}",
                "id": test.test,
                "source": {"name": evidence.tool.name},
                "cwes": [506],
                "description": test.sentence,
                "affects": [{"ref": id_}],
                "analysis": {"state": _STATES[test.state]},
            }


def _hashes(sha256: str | None) -> dict[str, Any]:
    return {} if sha256 is None else {"hashes": [{"alg": "SHA-256", "content": sha256}]}


def _each(name: str, sentences: Iterable[object]) -> list[dict[str, str]]:
    return [_property(name, sentence) for sentence in sentences]


def _property(name: str, value: object) -> dict[str, str]:
    return {"name": f"cleanclip:{name}", "value": str(value)}

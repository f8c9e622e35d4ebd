"""A log in SARIF 2.1.0 (OASIS), the format in which scanners hand findings to other tools."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from ml_core.reading.errors import plain

Level = Literal["none", "note", "warning", "error"]
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
PAPER = "https://arxiv.org/abs/2303.03323"
ATLAS_VERSION = "2026.05"
"""Release of MITRE ATLAS whose ids and names stand below."""
_FINGERPRINT = "finding/v1"
_CWE = {
    "CWE-502": "Deserialization of Untrusted Data",
    "CWE-506": "Embedded Malicious Code",
}
_ATLAS = {
    "AML.T0010.003": "AI Supply Chain Compromise: Model",
    "AML.T0011.000": "User Execution: Unsafe AI Artifacts",
    "AML.T0018.000": "Manipulate AI Model: Poison AI Model",
    "AML.T0018.002": "Manipulate AI Model: Embed Malware",
}


@dataclass(frozen=True)
class Rule:
    """What a finding is an instance of.

    Attributes
    ----------
    id, name
        Stable over versions; the name is one word in camel case.
    text
        One sentence.
    level
        Level of a finding, unless it says otherwise.
    help_uri
        Where to read more.
    taxa
        Ids of CWE and of MITRE ATLAS that it belongs to.
    """

    id: str
    name: str
    text: str
    level: Level
    help_uri: str
    taxa: tuple[str, ...] = ()


@dataclass(frozen=True)
class SarifRegion:
    """Bytes of an artifact, counted from its start, and what stands there."""

    offset: int
    nbytes: int
    what: str = ""


@dataclass(frozen=True)
class Artifact:
    """A file or folder that was looked at.

    Attributes
    ----------
    name
        Without folder.
    sha256
        Empty where nothing was hashed.
    size
        Bytes.
    folder
        Whether it is one: bytes then have no place in it.
    folders
        Names of those that it lies in, from the one that the log is about.
    """

    name: str
    sha256: str = ""
    size: int = 0
    folder: bool = False
    folders: tuple[str, ...] = ()

    @property
    def uri(self) -> str:
        """Its place as a relative address: no scheme, no way up."""
        names = (*self.folders, self.name)
        quoted = (quote(name.encode("utf-8", "surrogatepass"), safe="") for name in names)
        return "/".join(quoted) or "checkpoint"

    @property
    def identity(self) -> str:
        """What identifies it under any name: its hash, if there is one."""
        return self.sha256 or self.name


def folders_to(path: str | Path) -> tuple[str, ...]:
    """The folders between the folder of now and a path; none outside it."""
    try:
        return Path(os.path.abspath(path)).relative_to(os.getcwd()).parts[:-1]
    except (OSError, ValueError):
        return ()


@dataclass(frozen=True)
class SarifResult:
    """One result.

    Attributes
    ----------
    rule
        Its id.
    text
        Whole sentences.
    artifact
        Which of the log's artifacts it is about.
    level
        ``none`` where it is no problem: the result's kind is then ``informational``, or ``open``
        if ``undecided``.
    place, related
        Where it stands in the artifact (the whole file if None), and what else belongs to it.
    same_as
        Words that distinguish it from other findings of its rule in that artifact. They are the
        same in every run, so that a finding is recognised (``partialFingerprints``).
    properties
        Whatever else is to be kept with it.
    """

    rule: str
    text: str
    artifact: int
    level: Level
    same_as: str
    place: SarifRegion | None = None
    related: tuple[SarifRegion, ...] = ()
    undecided: bool = False
    properties: Mapping[str, Any] = field(default_factory=dict)


def log_of(
    tool: Mapping[str, Any],
    rules: Sequence[Rule],
    artifacts: Sequence[Artifact],
    findings: Iterable[SarifResult],
    *,
    rules_version: int,
    properties: Mapping[str, Any],
) -> dict[str, Any]:
    """One run.

    Parameters
    ----------
    tool
        ``name`` and ``version``.
    rules
        All that were looked for, found or not.
    rules_version
        See `ml_core.reading.inspection.RULES_VERSION`.
    properties
        Properties of the run.
    """
    taxonomies = [_taxonomy(*kind) for kind in _taxonomies(rules)]
    driver: dict[str, Any] = {
        "name": tool["name"],
        "version": tool["version"],
        "informationUri": PAPER,
        "rules": [_descriptor(rule, taxonomies) for rule in rules],
        "supportedTaxonomies": [
            {"name": taxonomy["name"], "index": index} for index, taxonomy in enumerate(taxonomies)
        ],
        "properties": {"rulesVersion": rules_version, "mitreAtlasVersion": ATLAS_VERSION},
    }
    order = [rule.id for rule in rules]
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "taxonomies": taxonomies,
                "columnKind": "unicodeCodePoints",
                "invocations": [{"executionSuccessful": True}],
                "artifacts": [_artifact(taxonomy) for taxonomy in artifacts],
                "results": [_result(taxonomy, artifacts, order) for taxonomy in findings],
                "properties": dict(properties),
            }
        ],
    }


def _taxonomies(rules: Sequence[Rule]) -> Iterable[tuple[str, list[str]]]:
    """CWE and ATLAS, each with those ids that a rule names."""
    used = {id_ for rule in rules for id_ in rule.taxa}
    for name, known in (("CWE", _CWE), ("MITRE ATLAS", _ATLAS)):
        if ids := [id_ for id_ in known if id_ in used]:
            yield name, ids


def _taxonomy(name: str, ids: list[str]) -> dict[str, Any]:
    cwe = name == "CWE"
    record: dict[str, Any] = {
        "name": name,
        "organization": "MITRE",
        "informationUri": "https://cwe.mitre.org/" if cwe else "https://atlas.mitre.org/",
        "shortDescription": {
            "text": "Common Weakness Enumeration."
            if cwe
            else "Adversarial Threat Landscape for AI Systems."
        },
        "taxa": [
            {
                "id": id_,
                "name": (_CWE if cwe else _ATLAS)[id_],
                "shortDescription": {"text": f"{(_CWE if cwe else _ATLAS)[id_]}."},
                "helpUri": taxon_uri(id_),
            }
            for id_ in ids
        ],
        "isComprehensive": False,
    }
    return record if cwe else record | {"version": ATLAS_VERSION}


def taxon_uri(id_: str) -> str:
    """The page of a weakness or a technique."""
    if id_.startswith("CWE-"):
        return f"https://cwe.mitre.org/data/definitions/{id_.removeprefix('CWE-')}.html"
    return f"https://atlas.mitre.org/techniques/{id_}"


def _descriptor(rule: Rule, taxonomies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.text},
        "fullDescription": {"text": rule.text},
        "help": {"text": f"{rule.text} Read more: {rule.help_uri}"},
        "helpUri": rule.help_uri,
        "defaultConfiguration": {"level": rule.level},
    }
    if not rule.taxa:
        return record
    record["relationships"] = [
        {
            "target": {
                "id": taxon["id"],
                "index": place,
                "toolComponent": {"name": taxonomy["name"], "index": index},
            },
            "kinds": ["relevant"],
        }
        for index, taxonomy in enumerate(taxonomies)
        for place, taxon in enumerate(taxonomy["taxa"])
        if taxon["id"] in rule.taxa
    ]
    # GitHub reads a weakness from a tag of this form.
    tags = [f"external/cwe/{id_.lower()}" for id_ in rule.taxa if id_ in _CWE]
    record["properties"] = {
        "tags": ["security", *tags, *rule.taxa],
        "mitreAtlasVersion": ATLAS_VERSION,
    }
    return record


def _artifact(artifact: Artifact) -> dict[str, Any]:
    record: dict[str, Any] = {"location": {"uri": artifact.uri}, "roles": ["analysisTarget"]}
    if artifact.sha256:
        record["hashes"] = {"sha-256": artifact.sha256}
        record["length"] = artifact.size
    return record


def _result(
    finding: SarifResult, artifacts: Sequence[Artifact], order: Sequence[str]
) -> dict[str, Any]:
    artifact = artifacts[finding.artifact]
    kind = "fail"
    if finding.level == "none":
        kind = "open" if finding.undecided else "informational"
    known = "\0".join((finding.rule, artifact.identity, finding.same_as))
    record: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": order.index(finding.rule),
        "kind": kind,
        "level": finding.level,
        "message": {"text": plain(finding.text)},
        "locations": [_location(artifact, finding.artifact, finding.place)],
        "partialFingerprints": {
            _FINGERPRINT: hashlib.sha256(known.encode("utf-8", "surrogatepass")).hexdigest()
        },
    }
    if finding.related:
        record["relatedLocations"] = [
            {"id": number} | _location(artifact, finding.artifact, place)
            for number, place in enumerate(finding.related)
        ]
    return record | ({"properties": dict(finding.properties)} if finding.properties else {})


def _location(artifact: Artifact, index: int, place: SarifRegion | None) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": {"uri": artifact.uri, "index": index}}
    place = place or SarifRegion(0, artifact.size)
    if artifact.size and not artifact.folder:
        physical["region"] = {"byteOffset": place.offset, "byteLength": place.nbytes}
    record: dict[str, Any] = {"physicalLocation": physical}
    return record | ({"message": {"text": plain(place.what)}} if place.what else {})

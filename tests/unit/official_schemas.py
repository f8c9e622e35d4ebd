"""The published schemas that exports are checked against; see `schemas/README.md`."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from jsonschema import Draft202012Validator, validators
from jsonschema.protocols import Validator
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

FOLDER = Path(__file__).with_name("schemas")


def _read(name: str) -> dict[str, Any]:
    return json.loads(gzip.decompress((FOLDER / f"{name}.schema.json.gz").read_bytes()))


@cache
def _sarif() -> Validator:
    return Draft202012Validator(
        _read("sarif-2.1.0"), format_checker=Draft202012Validator.FORMAT_CHECKER
    )


@cache
def _cyclonedx() -> Validator:
    schema = _read("bom-1.6")
    beside = {
        f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json": DRAFT7.create_resource(
            _read(name)
        )
        for name in ("spdx", "jsf-0.82")
    }
    kind = validators.validator_for(schema)
    return kind(
        schema, registry=Registry().with_resources(beside.items()),
        format_checker=kind.FORMAT_CHECKER,
    )  # fmt: skip


def check_sarif_schema(log: dict[str, Any]) -> None:
    _sarif().validate(log)


def check_sarif(log: dict[str, Any]) -> None:
    """The schema, and what SARIF 2.1.0 says beyond it."""
    check_sarif_schema(log)
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len(rules) == len({rule["id"] for rule in rules})
    for rule in rules:
        assert rule["shortDescription"]["text"].endswith(".")
        assert rule["name"].isalnum()
        for relation in rule.get("relationships", ()):
            target = relation["target"]
            taxonomy = run["taxonomies"][target["toolComponent"]["index"]]
            assert taxonomy["taxa"][target["index"]]["id"] == target["id"]
            assert target["id"] in rule["properties"]["tags"]
    for result in run["results"]:
        assert result["ruleId"] == rules[result["ruleIndex"]]["id"]
        # section 3.27.9: another kind than "fail" has the level "none"
        assert (result["kind"] == "fail") is (result["level"] != "none")
        (location,) = result["locations"]
        place = location["physicalLocation"]["artifactLocation"]
        assert run["artifacts"][place["index"]]["location"]["uri"] == place["uri"]
        assert not set(place["uri"]) & set(' <>"{}|\\^`\u202e\x00:')
        assert not {"", ".."} & set(place["uri"].split("/"))


def check_cyclonedx_schema(bom: dict[str, Any]) -> None:
    _cyclonedx().validate(bom)


# ---- in-toto: the specification has no JSON Schema, so its rules stand here ----


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Digest(_Strict):
    sha256: Sha256


class ResourceDescriptor(_Strict):
    """``spec/v1/resource_descriptor.md``."""

    name: str | None = None
    uri: Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*:\S+$")] | None = None
    digest: Digest | None = None
    content: str | None = None
    downloadLocation: str | None = None  # noqa: N815
    mediaType: Annotated[str, Field(pattern=r"^\w+/[\w.+-]+$")] | None = None  # noqa: N815
    annotations: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_of(self) -> ResourceDescriptor:
        if not (self.uri or self.digest or self.content):
            raise ValueError("uri, digest or content must be there")
        return self


class Subject(ResourceDescriptor):
    digest: Digest


class TestResult(_Strict):
    """``spec/predicates/test-result.md``."""

    __test__ = False

    result: Literal["PASSED", "WARNED", "FAILED"]
    configuration: list[ResourceDescriptor]
    url: str | None = None
    passedTests: list[str] = []  # noqa: N815
    warnedTests: list[str] = []  # noqa: N815
    failedTests: list[str] = []  # noqa: N815


class Statement(_Strict):
    """``spec/v1/statement.md``."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: Annotated[list[Subject], Field(min_length=1)]
    predicateType: Literal["https://in-toto.io/attestation/test-result/v0.1"]  # noqa: N815
    predicate: TestResult


def check_intoto(raw: bytes) -> Statement:
    return TypeAdapter(Statement).validate_json(raw)

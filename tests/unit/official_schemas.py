"""The published schemas that exports are checked against; see `schemas/README.md`."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, validators
from jsonschema.protocols import Validator
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


def check_cyclonedx_schema(bom: dict[str, Any]) -> None:
    _cyclonedx().validate(bom)

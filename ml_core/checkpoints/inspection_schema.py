"""The type of the record that `inspection_record` gives; its JSON schema is made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetPydanticSchema
from typing_extensions import TypedDict  # pydantic takes that of `typing` from Python 3.12 on

from ml_core.reading.container import Container, Graph
from ml_core.reading.inspection import ReasonCode, Verdict
from ml_core.reading.pickles.reading import CodePlace


def _of(kind: type) -> GetPydanticSchema:
    """Give a dictionary the schema of a record."""
    return GetPydanticSchema(lambda _, handler: handler.generate_schema(kind))


class SignatureRecord(TypedDict):
    """See `ml_core.signing.SignatureFacts`."""

    state: str
    sentence: str
    key_id: str
    who: str
    file: str
    own: bool


class ArchitectureRecord(TypedDict, total=False):
    """What model a file holds; `needs_donor`, `needs_part` and `donor` stand where they apply."""

    name: str
    source: str
    assumptions: list[str]
    notes: list[str]
    config: dict[str, Any] | None
    image_size: int | None
    keys: dict[str, list[Any]] | None
    choice: dict[str, Any] | None
    donor: dict[str, str]
    needs_donor: str
    needs_part: list[str]


@dataclass(frozen=True)
class _ShownGraph(Graph):
    """``sentence`` says whether all of it is CLIP."""

    sentence: str


class PartRecord(TypedDict):
    """One of the models in a file."""

    name: str
    model: str
    architecture: str
    layout: str
    prefix: str
    tensors: int
    bytes: int


class MemberRecord(TypedDict):
    """One of the checkpoints in an archive or a folder."""

    name: str
    verdict: Verdict
    reasons: list[str]
    architecture: str


class TensorRecord(TypedDict):
    """One tensor, and where its numbers lie in the file."""

    name: str
    dtype: str
    shape: list[int]
    offset: int
    nbytes: int
    storage: str


class Totals(TypedDict):
    """See `ml_core.checkpoints.inspection_record.totals`."""

    tensors: int
    parameters: int
    buffer_numbers: int
    optimizer_numbers: int
    bytes: int
    dtypes: dict[str, int]


class InspectionRecord(TypedDict):
    """What ``cleanclip inspect --json`` prints of a file."""

    schema_version: str
    tool: dict[str, str]
    rules: int
    path: str
    name: str
    hub: dict[str, str] | None
    size: int
    sha256: str
    file_sha256: str
    format: str
    weights: str
    container: Annotated[dict[str, Any], _of(Container)] | None
    verdict: Verdict
    reason_code: ReasonCode
    reasons: list[str]
    elsewhere: str
    second_opinion: str
    signature: Annotated[dict[str, Any], _of(SignatureRecord)] | None
    parameters: int
    architecture: Annotated[dict[str, Any], _of(ArchitectureRecord)] | None
    known: list[str]
    metadata: dict[str, str]
    graph: Annotated[dict[str, Any], _of(_ShownGraph)] | None
    globals: dict[str, list[str]]
    facts: dict[str, str]
    code_places: list[Annotated[dict[str, Any], _of(CodePlace)]]
    embedded_code: list[str]
    unread: list[str]
    parts: list[Annotated[dict[str, Any], _of(PartRecord)]]
    beside: dict[str, int]
    members: list[Annotated[dict[str, Any], _of(MemberRecord)]]
    tensors: list[TensorRecord]
    totals: Annotated[dict[str, Any], _of(Totals)]
    sandbox: dict[str, Any] | None

"""An inspection as one JSON-ready record: the command line prints it, the window exports it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from ml_core import __version__
from ml_core.checkpoints.choice import with_remembered
from ml_core.checkpoints.expected import check_tensors
from ml_core.checkpoints.hub import cached_as
from ml_core.checkpoints.known import known_files, look_up
from ml_core.checkpoints.layouts import SIGLIP, find_layout
from ml_core.checkpoints.recognise import (
    DonorNeeded,
    find_architecture,
    one_encoder,
    read_own_tokenizer,
    rounded_types,
    rounding,
)
from ml_core.reading import InputError, Inspection, ask_picklescan, examine
from ml_core.reading.errors import exit_code
from ml_core.reading.inspection import (
    RULES_VERSION,
    ReasonCode,
    Verdict,
    code_of,
    part_of,
    verdict_words,
)
from ml_core.reading.key_mismatch import KeyLists, refusal
from ml_core.reading.other_loaders import what_loaders_do
from ml_core.reading.parts import OTHER, PartNeeded, beside_words, listed

if TYPE_CHECKING:
    from ml_core.checkpoints.open import Checkpoint


from typing import Annotated

from pydantic import GetPydanticSchema
from typing_extensions import TypedDict  # pydantic takes that of `typing` from Python 3.12 on

from ml_core.reading.container import Container, Graph
from ml_core.reading.pickles.reading import CodePlace

GROUPS = ("tensors", "data", "code", "unknown")
"""Of the names in a file's pickles, from harmless to not."""
SCHEMA_VERSION = "1.0"
"""Of what `inspection_record` gives; a reader of 1.x reads every 1.y."""
_MAX_STRANGERS = 20
RowVerdict = Literal["dangerous", "unknown", "damaged", "unsupported", "caution", "loads"]
VERDICTS: tuple[RowVerdict, ...] = get_args(RowVerdict)
"""The worst first. ``unknown``: it could not be looked at."""
FailOn = Literal["dangerous", "unknown", "caution"]
_FAILING: dict[FailOn, int] = {"dangerous": 1, "unknown": 4, "caution": 5}  # of VERDICTS


@dataclass(frozen=True, eq=False)
class Assessment:
    """An inspection and what follows from it.

    Parameters
    ----------
    inspection
        Inspection of the file.
    architecture
        JSON-ready; None where the file is refused before its architecture is looked at.
    problem
        Why the file is not opened; None if it is.
    keys
        How its tensors differ from its architecture's; None where that was not looked at.
    cautions
        Sentences on what should be known of the model, though it loads.
    left_out
        Tensors of the file that are no part of the CLIP.
    """

    inspection: Inspection
    architecture: dict[str, Any] | None
    problem: InputError | None
    keys: KeyLists | None = None
    cautions: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The same as `Inspection.verdict`, with the architecture taken into account."""
        inspection = self.inspection
        if inspection.refused:
            return inspection.verdict
        if self.problem is not None:
            return code_of(self.problem)
        return "caution" if self.cautions else inspection.verdict

    @property
    def reason_code(self) -> ReasonCode:
        """The inspection's reason code, unless the architecture gives another one."""
        inspection = self.inspection
        if inspection.refused:
            return inspection.reason_code
        if self.problem is not None:
            return code_of(self.problem)
        return "note" if self.cautions else inspection.reason_code

    @property
    def reasons(self) -> tuple[str, ...]:
        """Whole sentences, the most important first."""
        inspection = self.inspection
        if inspection.refused:
            return inspection.reasons
        if self.problem is not None:
            return (self.problem.sentence, *inspection.reasons)
        return (*inspection.reasons, *self.cautions)

    @property
    def graph_sentence(self) -> str:
        """Whether an ONNX model is all CLIP; empty for other formats and refused files."""
        graph = self.inspection.graph
        if graph is None or self.problem is not None:
            return ""
        count = len(graph.findings) + len(self.left_out) + len(self.inspection.unread)
        if not count:
            left = f"nothing but descriptions ({graph.described:,} bytes)"
            return (
                "Every initialiser belongs to this CLIP, the graph is the exporter's, and "
                f"{left if graph.described else 'nothing'} is left over."
            )
        parts = "1 part" if count == 1 else f"{count} parts"
        verb = "belongs" if count == 1 else "belong"
        return f"{parts} of the graph {verb} to no CLIP: see the reasons and what was not read."

    @property
    def words(self) -> str:
        if self.inspection.members:
            return "Several checkpoints"
        return verdict_words(self.verdict, self.reason_code)

    @property
    def elsewhere(self) -> str:
        """What other loaders would do with the file."""
        inspection = self.inspection
        return what_loaders_do(
            inspection.format,
            inspection.verdict,
            inspection.globals,
            bool(inspection.embedded_code),
            inspection.unread,
        )


def assess(
    inspection: Inspection, donor: Checkpoint | None = None, *, use_choice: bool = True
) -> Assessment:
    """Look at the architecture of an inspected file as well; imports no torch.

    Parameters
    ----------
    donor
        A whole CLIP whose other encoder goes with a file that holds one.
    use_choice
        Whether what the user chose with the loader doctor for this file is used, and named.

    Raises
    ------
    InputError
        ``usage`` if the donor does not fit.
    """
    if inspection.refused:
        return Assessment(inspection, None, inspection.refusal())
    giver = None if donor is None else (donor.architecture, donor.inspection.sha256)
    try:
        model = find_architecture(inspection, giver)
    except DonorNeeded as needed:
        return _one_encoder(inspection, needed)
    except PartNeeded as needed:
        names = [part.name for part in needed.parts]
        architecture = _unfinished(f"{len(names)} models", [needed.sentence], needs_part=names)
        return Assessment(inspection, architecture, None)
    except InputError as error:
        if error.code == "usage":  # the donor does not fit, of which the file is innocent
            raise
        return Assessment(inspection, None, error)
    keys, choice = model.keys, None
    if use_choice:
        model, choice = with_remembered(model, inspection.sha256)
    architecture = {
        "name": model.name,
        "source": model.source,
        "assumptions": list(model.assumptions),
        "notes": list(model.notes),
        "config": model.config,
        "image_size": model.preprocess.size,
        "keys": keys.to_dict(),
        "choice": None if choice is None else choice.to_dict(),
    }
    if donor is not None and model.layout.missing is not None:
        given = donor.inspection
        architecture["donor"] = {"name": given.name, "sha256": given.sha256}
    chosen = choice is not None and choice.choice.logit_scale is not None
    try:
        check_tensors(model, inspection, scale_chosen=chosen)
        read_own_tokenizer(inspection.source, model)
    except InputError as error:
        return Assessment(inspection, architecture, error, keys)
    left_out = model.layout.left_out
    cautions = model.cautions + _strangers(inspection, left_out)
    return Assessment(inspection, architecture, None, keys, cautions, left_out)


def _strangers(inspection: Inspection, names: Sequence[str]) -> tuple[str, ...]:
    """Sentences on the nodes of a graph that compute with what is no part of the CLIP."""
    users = {} if inspection.graph is None else inspection.graph.users
    return tuple(
        f"The {users[name]} computes with the tensor {name[:120]!r}, which is no part of this CLIP."
        for name in names[:_MAX_STRANGERS]
        if name in users
    )


def _one_encoder(inspection: Inspection, needed: DonorNeeded) -> Assessment:
    """A file with one encoder is sound if that one is; what it needs is said beside it."""
    layout = find_layout(inspection)
    present = "image" if needed.tower == "text" else "text"
    name, keys = one_encoder(inspection, layout)
    problem = None if keys is None or keys.fits else refusal(keys, inspection.name)
    if keys is not None and keys.fits:
        layout = layout.without(frozenset(keys.unexpected))
    family = "SigLIP" if layout.title == SIGLIP else "CLIP"
    architecture = _unfinished(
        f"{family}'s {present} encoder by itself" + (f" ({name})" if name else ""),
        [needed.sentence, *layout.notes],
        source="shapes" if inspection.config is None else "config",
        needs_donor=needed.tower,
        keys=None if keys is None else keys.to_dict(),
    )
    left_out = (keys.left_out,) if keys is not None and keys.left_out else ()
    cautions = rounding(rounded_types(inspection, layout)) + left_out
    cautions += _strangers(inspection, layout.left_out)
    return Assessment(inspection, architecture, problem, keys, cautions, layout.left_out)


def _unfinished(name: str, notes: Sequence[str], **fields: Any) -> dict[str, Any]:
    """What is told of the architecture before a donor or a part is chosen."""
    return {
        "name": name,
        "source": "shapes",
        "assumptions": [],
        "notes": list(notes),
        "config": None,
        "image_size": None,
        "keys": None,
        **fields,
    }


def part_records(inspection: Inspection) -> list[dict[str, Any]]:
    """What the CLIPs and encoders in a file are, JSON-ready.

    A whole CLIP that is alone has no name here: that of the file's architecture is its own.
    """
    records = []
    for part in inspection.parts:
        alone = part_of(inspection, part.name)
        try:
            layout = find_layout(alone)
            title, name = layout.title, ""
            if layout.missing is not None:
                name, _ = one_encoder(alone, layout)
            elif len(inspection.parts) > 1:
                name = find_architecture(alone).name
        except InputError:
            title = name = ""
        records.append(
            {
                "name": part.name,
                "model": part.words,
                "architecture": name,
                "layout": title,
                "prefix": part.prefix,
                "tensors": len(alone.tensors),
                "bytes": sum(tensor.nbytes for tensor in alone.tensors),
            }
        )
    return records


def parts_sentence(records: Sequence[Mapping[str, Any]], beside: Mapping[str, int]) -> str:
    """What a file holds, in a sentence; empty if that is one CLIP and nothing else, or none."""
    if not records or (len(records) < 2 and not beside.keys() - {OTHER}):
        return ""
    models = [
        f"{record['name']} ({record['model']}"
        + (f", as in {record['architecture']}" if record["architecture"] else "")
        + ")"
        for record in records
    ]
    sentence = f"The file holds {listed(models)}"
    others = beside_words(beside)
    return f"{sentence}; beside it {others}, not looked at." if others else f"{sentence}."


def member_records(
    inspection: Inspection, cancelled: Callable[[], bool] = lambda: False
) -> list[dict[str, Any]]:
    """A verdict on each checkpoint of an archive or a diffusers folder, JSON-ready."""
    records = []
    for member in inspection.members:
        assessed = assess(examine(f"{inspection.path}#{member}", cancelled, hashed=False))
        records.append(
            {
                "name": member,
                "verdict": assessed.verdict,
                "reasons": list(assessed.reasons),
                "architecture": (assessed.architecture or {}).get("name", ""),
            }
        )
    return records


def known_sentences(assessed: Assessment) -> tuple[str, ...]:
    """What is known of the file: by its hash, or, as a guess, by its name."""
    architecture = assessed.architecture or {}
    name = "" if architecture.get("config") is None else str(architecture["name"])
    try:
        matches = look_up(assessed.inspection, name, known_files())
    except InputError as error:
        return (error.sentence,)
    return tuple(match.sentence for match in matches)


def ask_for_second_opinion(
    inspection: Inspection, cancelled: Callable[[], bool] = lambda: False
) -> str:
    """picklescan's opinion, or why it has none; it changes no verdict."""
    try:
        return ask_picklescan(inspection.weights_path or inspection.source, cancelled)
    except InputError as error:
        return error.sentence


def inspection_record(
    assessed: Assessment, second_opinion: str = "", signature: Mapping[str, Any] | None = None
) -> InspectionRecord:
    """The record that ``cleanclip inspect --json`` prints and the window exports.

    Its ``sandbox`` says how the reading process was confined; None if it was not.

    Parameters
    ----------
    second_opinion
        What `ask_for_second_opinion` gave.
    signature
        The `ml_core.signing.SignatureFacts` of the signature beside the checkpoint as a dict; None
        where there is none.
    """
    inspection = assessed.inspection
    hub = cached_as(inspection.source)
    tensors: list[Any] = [
        {key: getattr(tensor, key) for key in TensorRecord.__annotations__}
        | {"shape": list(tensor.shape)}
        for tensor in inspection.tensors
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "CleanCLIP GUI", "version": __version__},
        "rules": RULES_VERSION,
        "path": str(inspection.path),
        "name": inspection.name,
        "hub": None if hub is None else {"repository": hub[0], "revision": hub[1]},
        "size": inspection.size,
        "sha256": inspection.sha256,
        "file_sha256": inspection.file_sha256,
        "format": inspection.format,
        "weights": _weights_beside(inspection),
        "container": None if inspection.container is None else asdict(inspection.container),
        "verdict": assessed.verdict,
        "reason_code": assessed.reason_code,
        "reasons": list(assessed.reasons),
        "elsewhere": assessed.elsewhere,
        "second_opinion": second_opinion,
        "signature": None if signature is None else dict(signature),
        "parameters": inspection.parameters,
        "architecture": assessed.architecture,
        "known": list(known_sentences(assessed)),
        "metadata": dict(inspection.metadata),
        "graph": None
        if inspection.graph is None
        else {**asdict(inspection.graph), "sentence": assessed.graph_sentence},
        "globals": {group: list(inspection.globals.get(group, ())) for group in GROUPS},
        "facts": dict(inspection.facts),
        "code_places": [asdict(place) for place in inspection.code_places],
        "embedded_code": [name for name, _ in inspection.embedded_code],
        "unread": list(inspection.unread),
        "parts": part_records(inspection),
        "beside": inspection.beside,
        "members": member_records(inspection),
        "tensors": tensors,
        "totals": totals(inspection),
        "sandbox": None if inspection.sandbox is None else dict(inspection.sandbox),
    }


def _weights_beside(inspection: Inspection) -> str:
    """Name of the weights file if a folder was opened, else empty."""
    weights = inspection.weights_path
    return "" if weights is None or weights == inspection.source else weights.name


def totals(inspection: Inspection) -> dict[str, Any]:
    """How many tensors, parameters, buffers and bytes, and numbers by type."""
    dtypes: dict[str, int] = {}
    for tensor in inspection.tensors:
        dtypes[tensor.dtype] = dtypes.get(tensor.dtype, 0) + tensor.elements
    return {
        "tensors": len(inspection.tensors),
        "parameters": inspection.parameters,
        "buffer_numbers": inspection.buffer_numbers,
        "optimizer_numbers": inspection.optimizer_numbers,
        "bytes": sum(tensor.nbytes for tensor in inspection.tensors),
        "dtypes": dict(sorted(dtypes.items())),
    }


def exit_status(verdict: RowVerdict, fail_on: FailOn, error_code: str = "") -> int:
    """Exit code for a verdict: not 0 for ``fail_on`` and what is worse.

    ``unknown`` stands for the refused and the unreadable, of which nothing good can be said.
    """
    if verdict not in VERDICTS[: _FAILING[fail_on]]:
        return 0
    return exit_code("dangerous" if verdict == "caution" else error_code or verdict)


def worst_verdict(assessed: Assessment, members: Iterable[Mapping[str, Any]]) -> RowVerdict:
    """The verdict on a file, or the worst of those on the checkpoints in an archive."""
    verdicts: list[Any] = [member["verdict"] for member in members] or [assessed.verdict]
    return min(verdicts, key=VERDICTS.index)


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

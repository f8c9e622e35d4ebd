"""A policy: the rules that a checkpoint must keep, read from TOML. Torch-free."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import ConfigDict, Field, ValidationError, model_validator

from ml_core.detection.scan.records import Stage
from ml_core.paths import resource
from ml_core.reading.errors import InputError, plain
from ml_core.reading.inspection import Verdict
from ml_core.reading.json_file import first_fault, short
from ml_core.reading.regular_file import open_regular
from ml_core.records import Record
from ml_core.reports.record import Sha256

ANY = "*"
"""Stands for every trigger that was tried."""
_MAX_BYTES = 64 << 10
_CONDITIONS = ("images", "stages", "starts")  # of a rule, and none themselves
_Text = Annotated[str, Field(min_length=1, max_length=1000)]
_Texts = Annotated[tuple[_Text, ...], Field(strict=False, min_length=1, max_length=100)]
_Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _Section(Record):
    model_config = ConfigDict(strict=True)


class About(_Section):
    """Which policy it is, and what a rule that cannot be evaluated means for the whole."""

    name: Annotated[str, Field(max_length=200)] = ""
    version: Annotated[str, Field(max_length=200)] = ""
    not_evaluable: Literal["fail", "pass"] = "fail"


class FileRules(_Section):
    """Verdicts of the inspection and formats that are allowed; whether a licence file must lie
    with the checkpoint.
    """

    allow: Annotated[tuple[Verdict, ...] | None, Field(strict=False, min_length=1)] = None
    formats: _Texts | None = None
    licence: bool = False


class SignatureRules(_Section):
    """Keys of which one must have signed it: names of trusted ones, or files."""

    by: _Texts


class IdentityRules(_Section):
    """SHA-256 of the known file that its encoders must come from."""

    parent: Sha256


class ScanRules(_Section):
    """The worst verdict of a scan that is allowed, and the least that it searched: its ``stages``
    and the random ``starts`` of each patch search (None: those of a whole scan).
    """

    at_most: Literal["nothing found", "suspicious"]
    stages: Annotated[tuple[Stage, ...] | None, Field(strict=False, min_length=1)] = None
    starts: Annotated[int | None, Field(ge=1)] = None


class TriggerRules(_Section):
    """The highest attack success rate of a known trigger, 0 to 1."""

    asr_at_most: _Share


class AccuracyRules(_Section):
    """Clean accuracy, 0 to 1, on the ``images`` of this name or key (None: on all that were used);
    and how much of it may be lost to the checkpoint that it is compared with.
    """

    at_least: _Share | None = None
    images: _Text | None = None
    lost_at_most: _Share | None = None

    @model_validator(mode="after")
    def _images_are_for_a_rule(self) -> Self:
        if self.images is not None and self.at_least is None:
            raise ValueError("images are those of at_least, which is not there")
        return self


class ReboundRules(_Section):
    """The highest attack success rate after ordinary finetuning, 0 to 1."""

    at_most: _Share


class Policy(_Section):
    """The rules of a policy; a section that is None has none."""

    policy: About = About()
    file: FileRules | None = None
    signature: SignatureRules | None = None
    identity: IdentityRules | None = None
    scan: ScanRules | None = None
    trigger: dict[_Text, TriggerRules] = Field(default={}, max_length=1000)
    accuracy: AccuracyRules | None = None
    rebound: ReboundRules | None = None

    @property
    def rules(self) -> dict[str, Any]:
        """What each rule demands by its name, such as ``trigger.T1.asr_at_most``."""
        sections = self.model_dump(exclude={"policy"}, exclude_none=True, exclude_defaults=True)
        triggers = sections.pop("trigger", {})
        sections |= {f"trigger.{id_}": rules for id_, rules in triggers.items()}
        return {
            f"{section}.{name}": demand
            for section, rules in sections.items()
            for name, demand in rules.items()
            if name not in _CONDITIONS
        }


@dataclass(frozen=True)
class PolicyFile:
    """A policy, its SHA-256, and the folder that files of keys are taken from."""

    policy: Policy
    sha256: str
    folder: Path


def read_policy(path: Path) -> PolicyFile:
    """Read a policy.

    Raises
    ------
    InputError
        ``usage`` if it cannot be read, is no TOML, holds no rule, an unknown key or a wrong value.
    """
    name = plain(path.name)
    try:
        file, _ = open_regular(path)
        with file:
            raw = file.read(_MAX_BYTES + 1)
    except InputError as error:
        raise InputError(error.sentence) from error
    if len(raw) > _MAX_BYTES:
        limit = f"{_MAX_BYTES >> 10} KB"
        raise InputError(f"{name} is too large for a policy (over {limit}); give another file.")
    try:
        policy = Policy.model_validate(tomllib.loads(raw.decode("utf-8-sig")))
    except ValidationError as error:
        raise InputError(f"{name} cannot be used: {_fault(error)}.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is no TOML: {short(str(error))}; correct it.") from None
    if not policy.rules:
        raise InputError(f"{name} holds no rule; write one, such as [file] allow = ['loads'].")
    return PolicyFile(policy, hashlib.sha256(raw).hexdigest(), path.absolute().parent)


@cache
def built_in() -> Policy:
    """The policy by which reports decide."""
    return read_policy(resource("policies", "built-in.toml")).policy


def _fault(error: ValidationError) -> str:
    """Half a sentence on the first unknown key, else on the first wrong value."""
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        if fault["type"] == "extra_forbidden":
            *section, key = map(str, fault["loc"])
            known = list(_keys(section[0]) if section else Policy.model_fields)
            near = get_close_matches(key, known, 1)
            where = short(".".join([*section, key]))
            hint = f"the nearest is {near[0]!r}" if near else f"there are {', '.join(known)}"
            return f"there is no key {where!r}; {hint}"
        if fault["type"] == "model_type":
            where = short(".".join(map(str, fault["loc"])))
            return f"{where!r} is a section; write [{where}] with its keys below"
    return first_fault(error)


def _keys(section: str) -> dict[str, Any]:
    """The keys of a section."""
    annotation = Policy.model_fields[section].annotation
    kinds = (annotation, *get_args(annotation))
    return next(kind.model_fields for kind in kinds if hasattr(kind, "model_fields"))

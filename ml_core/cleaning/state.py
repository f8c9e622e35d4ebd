"""What a killed run needs to go on exactly, in one safetensors file.

The file holds the weights, AdamW's moments, the linear head and torch's random state (uint8);
step, schedule and choices stand as JSON in its metadata, with the SHA-256 of it all. One file,
renamed into place, so that tensors and step never disagree; the one before it is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ml_core.atomic import replace_files
from ml_core.checkpoints.write_safetensors import write_safetensors
from ml_core.cleaning.methods.method import Named
from ml_core.reading.errors import InputError
from ml_core.reading.safetensors_header import read_header
from ml_core.reading.strict_json import JsonError, parse_object

_FORMAT = "cleanclip-state-1"
_MAX_FACTS = 1 << 20
_HIGHEST = 1e6  # of a weight: no model has it, and one flipped bit of an exponent makes far more


class _Speed(BaseModel):
    """How the steps are computed; see `ml_core.cleaning.speed.StepSpeed`."""

    model_config = ConfigDict(strict=True)

    autocast: bool
    channels_last: bool | None = None
    step_seconds: dict[str, float] = Field(default_factory=dict)


class _Facts(BaseModel):
    """What a run that goes on takes from its saved state, which may be a stranger's."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    step: int = Field(ge=0, lt=2**53)
    seconds: float = Field(default=0.0, ge=0)
    start_ca: float | None = None
    chunk: int = Field(default=0, ge=0, lt=2**31)
    rate_factor: float = Field(default=1.0, gt=0, le=1)
    threads: int = Field(default=0, ge=0, le=4096)
    speed: _Speed | None = None


def save_state(
    path: Path,
    module: nn.Module,
    named: Named,
    optimizer: torch.optim.Optimizer,
    facts: dict[str, Any],
    opponent: Mapping[str, Tensor] | None = None,
) -> Path:
    """Replace the saved state; the one that was there becomes the earlier one.

    Parameters
    ----------
    path
        The file to write; its folder is made.
    module
        All its parameters and buffers are saved.
    named
        Trained parameters by name; their moments are saved, and their values where the module
        lacks them (the head).
    optimizer
        AdamW.
    facts
        JSON-ready facts: step, recipe, choices.
    opponent
        Tensors of a method's opponent.

    Raises
    ------
    OSError
        If the disk is full or the folder cannot be written; an older state stays intact.
    """
    tensors = {f"model/{k}": v for k, v in module.state_dict().items()}
    for name, parameter in named:
        if name == "head":
            tensors["head"] = parameter.detach()
        for key, value in optimizer.state[parameter].items():
            if value is None:  # SGD's momentum before its first step
                continue
            tensors[f"adamw/{key}/{name}"] = value
    tensors |= {f"opponent/{k}": v for k, v in (opponent or {}).items()}
    tensors["rng/cpu"] = torch.get_rng_state()
    device = _device(named)
    if device.type == "cuda":
        tensors["rng/cuda"] = torch.cuda.get_rng_state(device)
    text = json.dumps(facts)
    metadata = {"format": _FORMAT, "facts": text, "sha256": _digest(text, tensors)}
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {path: lambda file: write_safetensors(file, tensors, metadata)}
    replace_files(content, keep={path: earlier_state(path)})
    return path


def earlier_state(path: Path) -> Path:
    """Where the save before the last one is kept."""
    return path.with_suffix(".earlier.safetensors")


def intact_state(path: Path) -> tuple[Path, str]:
    """Find the last save that is as it was written.

    A damaged one is deleted if the save before it is good: the next save would keep it instead.

    Returns
    -------
    tuple[Path, str]
        The file, and a sentence where it is the earlier one.

    Raises
    ------
    InputError
        If neither is.
    """
    try:
        _check_digest(path)
        return path, ""
    except InputError as error:
        earlier = earlier_state(path)
        try:
            step = _check_digest(earlier)["step"]
        except InputError:
            raise error from None
        with suppress(OSError):
            path.unlink()
        return earlier, (
            f"The saved state {path.name} is damaged or gone: the run goes on from the save "
            f"before it, of step {step}."
        )


def odd_weight(named: Named) -> str:
    """A weight that is not a number, or far larger than any model's, as words; empty if none is."""
    for name, parameter in named:
        highest = float(parameter.detach().abs().amax()) if parameter.numel() else 0.0
        if not highest <= _HIGHEST:
            return f"{highest:.3g} in {name}"
    return ""


def _digest(facts: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) over facts, names, types, shapes and values."""
    digest = hashlib.sha256(facts.encode("utf-8", "surrogatepass"))
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"\0{name} {value.dtype} {tuple(value.shape)}\0".encode())
        if value.numel():
            digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class _TensorsOnDisk(Mapping[str, Tensor]):
    """Tensors of a file, read one at a time."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self._file.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.keys())

    def __len__(self) -> int:
        return len(self._file.keys())


def _check_digest(path: Path) -> dict[str, Any]:
    """Return the facts of a state; refuse one whose content changed since it was written.

    A state of an earlier version has no digest and is not checked.
    """
    facts, metadata = _read(path)
    if "sha256" not in metadata:
        return facts
    try:
        with safe_open(path, framework="pt") as file:
            digest = _digest(metadata["facts"], _TensorsOnDisk(file))
    except (OSError, SafetensorError) as error:
        raise _damaged_state(path, str(error)) from error
    if digest != metadata["sha256"]:
        raise _damaged_state(path, "Its content has another SHA-256 than when it was written.")
    return facts


def read_facts(path: Path) -> dict[str, Any]:
    """The JSON part of a saved state.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another version.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Facts and metadata; raises the same errors as `read_facts`."""
    if not path.exists():
        raise InputError(f"There is no saved state at {path}; start the run again.")
    try:
        # A pipe in its place is refused at once; so is a link out of the run's folder.
        metadata = read_header(path, inside=path.parent.parent).metadata
    except InputError as error:
        raise _damaged_state(path, error.sentence) from error
    try:
        if metadata.get("format") != _FORMAT:
            raise InputError(f"{path.name} is not a saved state of this version.", "unsupported")
        raw = metadata["facts"].encode("utf-8", "surrogatepass")
        facts = parse_object(raw, max_bytes=_MAX_FACTS, max_depth=16, half_characters=True)
        _Facts.model_validate(facts)
    except (KeyError, JsonError, ValidationError) as error:
        raise _damaged_state(path, str(error)[:4000]) from error
    return facts, metadata


def _damaged_state(path: Path, details: str) -> InputError:
    """Nothing can be gone on from."""
    return InputError(
        f"The saved state {path.name} is damaged; start the run again.", "damaged", details
    )


def load_state(
    path: Path,
    module: nn.Module,
    named: Named,
    optimizer: torch.optim.Optimizer,
    opponent: Mapping[str, Tensor] | None = None,
) -> dict[str, Any]:
    """Put a saved state back, in place, keeping each parameter's memory layout.

    Returns
    -------
    dict
        The facts given to :func:`save_state`.

    Raises
    ------
    InputError
        If the state is missing, damaged, or of another model.
    """
    facts = read_facts(path)
    with safe_open(path, framework="pt") as file:
        saved = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    try:
        with torch.no_grad():
            for key, tensor in module.state_dict().items():
                _copy(tensor, saved[f"model/{key}"])
            for name, parameter in named:
                if name == "head":
                    _copy(parameter, saved["head"])
                optimizer.state[parameter] = _moments(saved, name, parameter)
            for name, tensor in (opponent or {}).items():
                _copy(tensor, saved[f"opponent/{name}"])
        torch.set_rng_state(saved["rng/cpu"])
        device = _device(named)
        if device.type == "cuda" and "rng/cuda" in saved:
            torch.cuda.set_rng_state(saved["rng/cuda"], device)
    except (KeyError, ValueError, RuntimeError) as error:
        raise InputError(
            f"The saved state {path.name} belongs to another checkpoint or recipe; start the run "
            "again.",
            "usage",
            str(error),
        ) from error
    return facts


def _device(named: Named) -> torch.device:
    return named[0][1].device if named else torch.device("cpu")


def _copy(target: Tensor, source: Tensor) -> None:
    """Copy values of equal shape; broadcasting would hide a wrong file."""
    if target.shape != source.shape:
        raise ValueError(f"shape {tuple(source.shape)} instead of {tuple(target.shape)}")
    target.copy_(source)


def _moments(saved: dict[str, Tensor], name: str, parameter: Tensor) -> dict[str, Tensor]:
    """The optimizer's state of one parameter; moments take the parameter's memory layout."""
    moments: dict[str, Tensor] = {}
    if f"adamw/momentum_buffer/{name}" in saved:
        moments["momentum_buffer"] = torch.zeros_like(parameter)
        _copy(moments["momentum_buffer"], saved[f"adamw/momentum_buffer/{name}"])
        return moments
    for key in ("step", "exp_avg", "exp_avg_sq"):
        source = saved.get(f"adamw/{key}/{name}")
        if source is None:  # never had a gradient
            return {}
        if key == "step":
            moments[key] = source.to(parameter.device)
        else:
            moments[key] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            _copy(moments[key], source)
    return moments

"""What a bundle was made with: versions, processor and system; no user, host or path."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ml_core import __version__, plugins
from ml_core.records import Record

PACKAGES = (
    "torch", "torchvision", "open_clip_torch", "timm", "transformers", "tokenizers", "safetensors",
    "numpy", "pillow", "pydantic", "pyarrow", "jinja2", "weasyprint", "cryptography",
)  # fmt: skip
"""What reads, computes and writes."""
_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_CBWR",
    "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE", "ONEDNN_MAX_CPU_ISA",
)  # fmt: skip
"""Settings that change numbers."""
_LONGEST = 64
_Short = Annotated[str, Field(max_length=200)]
_Texts = Annotated[dict[_Short, _Short], Field(max_length=100)]
_Package = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")]
_Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9._+!-]{1,100}$")]


class Gpu(Record):
    """A GPU that torch sees."""

    name: _Short
    capability: _Short
    memory: int


class Torch(Record):
    """See `environment`."""

    version: _Short
    git: _Short | None
    cuda: _Short | None
    cudnn: int | None
    hip: _Short | None
    mkl: bool
    mkldnn: bool
    openmp: bool
    cpu_capability: _Short
    threads: int
    matmul_precision: _Short
    cudnn_tf32: bool
    deterministic: bool
    gpus: tuple[Gpu, ...] = Field(max_length=1024)


class Processor(Record):
    """See `environment`."""

    name: _Short
    cores: int | None
    flags: tuple[_Short, ...] = Field(max_length=2000)


class Environment(Record):
    """What `environment` gives; whoever verifies takes nothing else for it."""

    tool: _Texts
    python: _Texts
    packages: dict[_Package, _Version] = Field(max_length=500)
    system: _Texts
    processor: Processor
    torch: Torch
    settings: _Texts


def is_this_machine(fields: Environment) -> bool:
    """Whether something was made with the processor, system and packages that are here."""
    return (fields.packages, fields.system, fields.processor) == (
        _packages(), _system(), Processor.model_validate(_processor()),
    )  # fmt: skip


def environment() -> dict[str, Any]:
    """Versions, torch's build, processor, GPUs, threads and system, JSON-ready.

    It stays the same on one machine until something is installed or set. Nothing in it says whose
    machine it is.
    """
    fields = {
        "tool": {"name": "CleanCLIP GUI", "version": __version__},
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
        },
        "packages": _packages(),
        "system": _system(),
        "processor": _processor(),
        "torch": _torch(),
        "settings": {
            name: os.environ[name][:_LONGEST]
            for name in _VARIABLES
            if os.environ.get(name, "/").replace(",", "").replace(":", "").isalnum()
        },
    }
    return Environment.model_validate(fields).model_dump(mode="json")


def _packages() -> dict[str, str]:
    own = {name: version for name in PACKAGES if (version := _version(name)) is not None}
    return own | dict(plugins.active())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _system() -> dict[str, Any]:
    system: dict[str, Any] = {
        "name": platform.system(),
        "machine": platform.machine(),
        "libc": " ".join(filter(None, platform.libc_ver())),
        "byteorder": sys.byteorder,
    }
    with suppress(OSError):
        system["distribution"] = platform.freedesktop_os_release()["PRETTY_NAME"]
    if platform.system() == "Windows":
        system["distribution"] = f"Windows {platform.release()}"
    return system


def _processor() -> dict[str, Any]:
    """Name, cores that may be used, and the flags that decide which kernels run."""
    name, flags = platform.processor(), set[str]()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n"):
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            if key.strip() in ("flags", "Features"):
                flags = set(value.split())
                break
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"name": name, "cores": cores, "flags": sorted(flags)}


def _torch() -> dict[str, Any]:
    """The build, what it computes with here, and its switches for less exact arithmetic."""
    import torch

    backends: Any = torch.backends
    gpus = []
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        gpus.append({
            "name": facts.name,
            "capability": f"{facts.major}.{facts.minor}",
            "memory": facts.total_memory,
        })  # fmt: skip
    return {
        "version": str(torch.__version__),
        "git": torch.version.git_version,
        "cuda": torch.version.cuda,
        "cudnn": backends.cudnn.version() if torch.cuda.is_available() else None,
        "hip": torch.version.hip,
        "mkl": backends.mkl.is_available(),
        "mkldnn": backends.mkldnn.is_available(),
        "openmp": backends.openmp.is_available(),
        "cpu_capability": backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_tf32": bool(backends.cudnn.allow_tf32),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "gpus": gpus,
    }

"""Programs in TorchScript archives that write a file when the archive is loaded, or try to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.hostile.archives import NUMBERS, archive
from tests.hostile.item import Item
from tests.hostile.ops import named, pickled, tensor
from tests.hostile.pickle_tricks import mkdir

# Bodies of a method; "@" stands for the canary.
ACTS = {
    "torch.save": 'torch.save(state, "@")',
    "ops.aten.save": 'ops.aten.save(state, "@")',
    "blanks": 'torch  .\tsave (state, "@")',
    "a line continued": 'torch.\\\n      save(state, "@")',
    "a comment between": '_0 = (torch  # x\n      .save(state, "@"))',
    "a comment with a quote": '_0 = (torch.  # "\n      save(state, "@"))',
    "brackets": '(torch).save(state, "@")',
    "another name for torch": 't = torch\n    t.save(state, "@")',
    "another name for the namespace": 't = ops.aten\n    t.save(state, "@")',
    "another name for the function": 'f = torch.save\n    f(state, "@")',
    "getattr": 'getattr(torch, "save")(state, "@")',
    "getattr of another spelling": 'getattr(torch, "sa\\166e")(state, "@")',
    "getattr of a namespace": 'getattr(ops.aten, "sa\\166e")(state, "@")',
    "getattr of a bracket": 'getattr((torch), "sa\\166e")(state, "@")',
    "torch.autograd": 'torch.autograd.save(state, "@")',
    "getattr of torch.autograd": 'getattr(torch.autograd, "sa\\166e")(state, "@")',
    "after a text of three quotes": '_0 = ("""\n#""", torch.save(state, "@"))',
}

ONLY_NAMED = {
    "from_file": 'x = torch.from_file("/etc/passwd", False, 4, dtype=0)',
    "another namespace": "x = ops.custom.run(state)",
    "another namespace by getattr": 'x = getattr(ops, "custom")',
    "another namespace by another name": "o = ops\n    x = o.custom.run(state)",
    "a namespace with a line continued": "x = ops.\\\n      custom.run(state)",
    "prim.rpc_sync": 'x = ops.prim.rpc_sync("worker", "x")',
    "a namespace called aten2": "x = ops.aten2.run(state)",
}

CLASS = """class M(Module):
  __parameters__ = []
  __buffers__ = []
  def forward(self: __torch__.M,
    x: Tensor) -> Tensor:
    return x
"""


def _method(name: str, body: str) -> str:
    return (
        f"  def {name}(self: __torch__.M,\n    state: Tensor) -> NoneType:\n"
        f"    {body}\n    return None\n"
    )


def script_records(code: str, file: str = "code/__torch__.py") -> dict[str, bytes]:
    """Members of an archive whose object is loaded by its own ``__setstate__``, if it has one."""
    return {
        "data.pkl": b"\x80\x02" + named("__torch__", "M") + b")\x81" + tensor() + b"b.",
        file: code.encode(),
        "constants.pkl": b"\x80\x02).",
        "data/0": NUMBERS,
        "version": b"3\n",
        "byteorder": b"little",
    }


def torchscript(code: str, more: dict[str, bytes] | None = None, **options: str) -> bytes:
    return archive(script_records(code, **options) | (more or {}))


def acting_script(canary: Path) -> str:
    """A program that writes a file when it is loaded."""
    return _set(ACTS["torch.save"], canary)


def _set(body: str, canary: Path) -> str:
    getter = "  def __getstate__(self: __torch__.M) -> Tensor:\n    return torch.zeros([1])\n"
    return CLASS + getter + _method("__setstate__", body.replace("@", str(canary)))


def torchscript_items() -> Iterator[Item]:
    for name, body in ACTS.items():
        yield Item(f"torchscript/{name}", lambda c, b=body: torchscript(_set(b, c)), live="jit")
        # Without __setstate__ it acts when the model is used.
        yield Item(
            f"torchscript/{name} when used",
            lambda c, b=body: torchscript(CLASS + _method("encode", b.replace("@", str(c)))),
        )
    for name, body in ONLY_NAMED.items():
        yield Item(
            f"torchscript/{name}", lambda c, b=body: torchscript(CLASS + _method("encode", b))
        )
    yield Item("torchscript/__setstate__", lambda c: torchscript(_set("pass", c)))
    for file in ("code/__torch__.PY", "CODE/__torch__.py", "code/__TORCH__.py"):
        # PyTorch looks names up without regard to case.
        yield Item(
            f"torchscript/the program is called {file}",
            lambda c, f=file: torchscript(_set(ACTS["torch.save"], c), file=f),
            live="jit",
        )
    yield Item(
        "torchscript/constants.pkl",
        lambda c: torchscript(CLASS, {"constants.pkl": pickled(mkdir(c), 2)}),
    )
    yield Item(
        "torchscript/traced inputs",
        lambda c: torchscript(CLASS, {"traced_inputs.pkl": pickled(mkdir(c), 2)}),
    )
    yield Item(
        "torchscript/two programs",
        lambda c: torchscript(CLASS, {"code/__torch__/a.py": _set(ACTS["torch.save"], c).encode()}),
    )

"""Calls that act on the machine when a pickle is loaded; here they create a canary, no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.hostile.item import Item
from tests.hostile.ops import Raw, call, call_dotted, named, pickled, plain

Ops = Callable[[Path], bytes]


def shell(canary: Path) -> str:
    return f"touch {canary}"


def statement(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()"


def _calls(module: str, name: str, *how: Callable[[Path], Any]) -> Ops:
    return lambda canary: call(module, name, *(argument(canary) for argument in how))


def _of(value: Any) -> Callable[[Path], Any]:
    return lambda canary: value


def _argv(canary: Path) -> list[str]:
    return ["touch", str(canary)]


def _code(canary: Path) -> Raw:
    return Raw(call("builtins", "compile", statement(canary), "x", "exec"))


def _method(made: bytes, method: str, *arguments: Any) -> bytes:
    """Call a method of an object through getattr."""
    found = call("builtins", "getattr", Raw(made), method)
    return found + plain(tuple(arguments)) + b"R"


LIVE: dict[str, Ops] = {
    "os.system": _calls("os", "system", shell),
    "posix.system": _calls("posix", "system", shell),
    "os.mkdir": _calls("os", "mkdir", str),
    "os.popen": lambda c: _method(call("os", "popen", shell(c)), "read"),
    "os.open": _calls("os", "open", str, _of(0o101)),
    "os.mkfifo": _calls("os", "mkfifo", str),
    "os.symlink": _calls("os", "symlink", _of("/"), str),
    "os.posix_spawnp": _calls("os", "posix_spawnp", _of("touch"), _argv, _of({"PATH": "/bin"})),
    "subprocess.call": _calls("subprocess", "call", _argv),
    "subprocess.check_output": _calls("subprocess", "check_output", _argv),
    "subprocess.getoutput": _calls("subprocess", "getoutput", shell),
    "subprocess.run": _calls("subprocess", "run", _argv),
    "builtins.eval": _calls("builtins", "eval", statement),
    "builtins.exec": _calls("builtins", "exec", statement),
    "builtins.exec of compile": _calls("builtins", "exec", _code),
    "builtins.open": _calls("builtins", "open", str, _of("w")),
    "builtins.getattr of __import__": lambda c: _method(
        call("builtins", "__import__", "os"), "system", shell(c)
    ),
    "__builtin__.eval": lambda c: named("__builtin__", "eval") + plain((statement(c),)) + b"R",
    "__builtin__.exec": _calls("__builtin__", "exec", statement),
    "builtins.list of map": lambda c: call(
        "builtins", "list", Raw(call("builtins", "map", Raw(named("os", "system")), [shell(c)]))
    ),
    "os by dots": lambda c: call_dotted("os", "path.os.system", shell(c)),
    "pathlib.Path.touch": lambda c: call_dotted(
        "pathlib", "Path.touch", Raw(call("pathlib", "PosixPath", str(c)))
    ),
    "importlib.import_module": lambda c: _method(
        call("importlib", "import_module", "os"), "system", shell(c)
    ),
    "runpy._run_code": lambda c: call("runpy", "_run_code", _code(c), {}),
    "functools.partial": lambda c: (
        call("functools", "partial", Raw(named("os", "system")), shell(c)) + b")R"
    ),
    "operator.attrgetter": lambda c: (
        call("operator", "attrgetter", "system")
        + plain((Raw(call("builtins", "__import__", "os")),))
        + b"R"
        + plain((shell(c),))
        + b"R"
    ),
    "operator.methodcaller": lambda c: (
        call("operator", "methodcaller", "system", shell(c))
        + plain((Raw(call("builtins", "__import__", "os")),))
        + b"R"
    ),
    "ctypes.CDLL": lambda c: _method(call("ctypes", "CDLL", None), "system", shell(c).encode()),
    "timeit.timeit": lambda c: call(
        "timeit", "timeit", statement(c), "pass", Raw(named("time", "perf_counter")), 1
    ),
    "cProfile.run": _calls("cProfile", "run", statement),
    "profile.run": _calls("profile", "run", statement),
    "bdb.Bdb.run": lambda c: _method(call("bdb", "Bdb"), "run", statement(c)),
    "trace.Trace.run": lambda c: _method(call("trace", "Trace"), "run", statement(c)),
    "code.InteractiveInterpreter": lambda c: _method(
        call("code", "InteractiveInterpreter"), "runsource", statement(c)
    ),
    "pkgutil.resolve_name": lambda c: (
        call("pkgutil", "resolve_name", "os:system") + plain((shell(c),)) + b"R"
    ),
    "pydoc.locate": lambda c: call("pydoc", "locate", "os.system") + plain((shell(c),)) + b"R",
    "pydoc.pipepager": lambda c: call("pydoc", "pipepager", "", shell(c)),
    "uuid._get_command_stdout": lambda c: call("uuid", "_get_command_stdout", "touch", str(c)),
    "_osx_support._read_output": _calls("_osx_support", "_read_output", shell),
    "multiprocessing.util.spawnv_passfds": lambda c: call(
        "multiprocessing.util", "spawnv_passfds", b"/usr/bin/touch", [b"touch", bytes(c)], [0, 1, 2]
    ),
    "logging.FileHandler": _calls("logging", "FileHandler", str),
    "sqlite3.connect": _calls("sqlite3", "connect", str),
    "_io.FileIO": _calls("_io", "FileIO", str, _of("wb")),
    "io.open": _calls("io", "open", str, _of("w")),
    "codecs.open": _calls("codecs", "open", str, _of("w")),
    "gzip.open": _calls("gzip", "open", str, _of("w")),
    "zipfile.ZipFile": _calls("zipfile", "ZipFile", str, _of("w")),
    "shutil.copyfile": _calls("shutil", "copyfile", _of("/dev/null"), str),
    "shutil.copytree": _calls("shutil", "copytree", _of("/etc/apt/apt.conf.d"), str),
    "tempfile.mkdtemp": lambda c: call("os", "rename", Raw(call("tempfile", "mkdtemp")), str(c)),
    "urllib.request.urlretrieve": _calls(
        "urllib.request", "urlretrieve", _of("file:///etc/hostname"), str
    ),
    "marshal.loads": lambda c: call(
        "builtins", "eval", Raw(call("marshal", "loads", Raw(call("marshal", "dumps", _code(c)))))
    ),
    "pickle.loads": lambda c: call("pickle", "loads", pickled(call("os", "mkdir", str(c)))),
    "_pickle.loads": lambda c: call("_pickle", "loads", pickled(call("os", "mkdir", str(c)))),
    "types.FunctionType": lambda c: (
        call("types", "FunctionType", _code(c), Raw(call("builtins", "globals"))) + b")R"
    ),
    "threading.Timer": lambda c: _method(
        call("threading", "Timer", 0, Raw(named("os", "mkdir")), (str(c),)), "run"
    ),
    "collections.defaultdict": lambda c: _method(
        call(
            "collections",
            "defaultdict",
            Raw(call("functools", "partial", Raw(named("os", "mkdir")), str(c))),
        ),
        "__missing__",
        0,
    ),
    "sys.modules": lambda c: (
        named("sys", "modules")
        + plain("x_y_z")
        + call("builtins", "__import__", "os")
        + b"s0"
        + call("x_y_z", "mkdir", str(c))
    ),
}
"""Those that act with Python alone."""

TORCH: dict[str, Ops] = {
    "numpy.testing.runstring": lambda c: call(
        "numpy.testing._private.utils", "runstring", statement(c), {}
    ),
    "numpy.f2py.crackfortran.myeval": lambda c: call(
        "numpy.f2py.crackfortran", "myeval", f"open({str(c)!r}, 'w')", {}, {}
    ),
    "numpy.savetxt": lambda c: call("numpy", "savetxt", str(c), [1]),
    "numpy.memmap": lambda c: call("numpy", "memmap", str(c), "u1", "w+", 0, 10),
    "torch._utils._import_dotted_name": lambda c: (
        call("torch._utils", "_import_dotted_name", "os.mkdir") + plain((str(c),)) + b"R"
    ),
    "torch.storage._load_from_bytes": lambda c: call(
        "torch.storage", "_load_from_bytes", _nested(c)
    ),
    "torch.load": lambda c: call(
        *("torch", "load", Raw(call("io", "BytesIO", _nested(c))), None),
        Raw(call("builtins", "__import__", "pickle")),
    ),
    "torch.serialization by dots": lambda c: call_dotted("torch.serialization", "os.mkdir", str(c)),
    "torch.save": lambda c: call("torch", "save", [1], str(c)),
    "torch.from_file": lambda c: call("torch", "from_file", str(c), True, 4),
    "torch.utils.collect_env.run": lambda c: call("torch.utils.collect_env", "run", shell(c)),
    "torch.jit.unsupported_tensor_ops.execWrapper": lambda c: call(
        "torch.jit.unsupported_tensor_ops", "execWrapper", statement(c), {}, {}
    ),
    "torch.FloatStorage.from_file": lambda c: call_dotted(
        "torch", "FloatStorage.from_file", str(c), True, 4
    ),
    "open_clip by dots": lambda c: call_dotted("open_clip.factory", "os.mkdir", str(c)),
}
"""Those that need torch, numpy or open_clip where they are loaded."""


def _nested(canary: Path) -> bytes:
    """A file for torch.load inside a pickle."""
    from tests.hostile.archives import legacy

    return legacy(magic=pickled(call("os", "mkdir", str(canary)), 2))


def _refused_names() -> Iterator[tuple[str, str]]:
    """Names whose call would do nothing here: other systems, older Pythons, the network.

    Also names that look like known ones.
    """
    for line in (Path(__file__).parent / "refused_names.txt").read_text().splitlines():
        module, _, name = line.partition(":")
        yield module, name


def gadget_items() -> Iterator[Item]:
    from tests.hostile.archives import torch_zip

    for name, ops in LIVE.items():
        protocol = 2 if name.startswith("__builtin__") else 4
        yield Item(
            f"gadget/{name}",
            lambda c, ops=ops, p=protocol: pickled(ops(c), p),
            live="pickle",
            ending=".pkl",
        )
        yield Item(f"gadget-zip/{name}", lambda c, ops=ops: torch_zip(ops(c)))
    for name, ops in TORCH.items():
        yield Item(f"gadget-torch/{name}", lambda c, ops=ops: torch_zip(ops(c)), live="torch")
    for module, name in _refused_names():
        label = f"{module}.{name}"
        yield Item(
            f"name/{label} zip", lambda c, m=module, n=name: torch_zip(call_dotted(m, n, str(c)))
        )
        yield Item(
            f"name/{label} only named",
            lambda c, m=module, n=name: pickled(named(m, n), 2),
            ending=".pkl",
        )

"""What an ordinary loader would do with an inspected file, judged by the names in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from ml_core.reading.errors import first_names
from ml_core.reading.folder import risky
from ml_core.reading.sniff import ONNX

# The plain names that PyTorch's own restricted unpickler takes (torch/_weights_only_unpickler.py,
# 2.6 to 2.13), besides everything of torch itself.
_WEIGHTS_ONLY = {
    "collections.OrderedDict", "collections.Counter", "_codecs.encode", "builtins.bytearray",
    "builtins.set", "builtins.complex", "__builtin__.bytearray", "__builtin__.set",
    "__builtin__.complex",
}  # fmt: skip
_NOT_IN_TORCH_LIST = ("torch.jit.", "torch.nn.parameter.Buffer")
_first_names = partial(first_names, letters=100, counted=True)


def what_loaders_do(
    form: str,
    verdict: str,
    globals_: Mapping[str, Sequence[str]],
    has_code: bool = False,
    unread: Sequence[str] = (),
) -> str:
    """Say in one or two sentences what `torch.load` and its like would do with the file.

    It is derived from the names in the file; nothing is tried out.

    Parameters
    ----------
    form, verdict, globals_, unread
        As in `Inspection`.
    has_code
        Whether the file carries program code (TorchScript).
    """
    sentence = _loader(form, verdict, globals_, has_code)
    if verdict in ("loads", "caution") and form.endswith((" in an archive", ", compressed")):
        sentence = f"Loaders do not open it before it is unpacked. Then: {sentence}"
    programs = [name for name in unread if name.lower().endswith(".py")]
    if programs:
        names = _first_names(programs)
        sentence += f" transformers with trust_remote_code=True would run {names} of the folder."
    others = [name for name in risky(unread) if name not in programs]
    if others and form.endswith(" folder"):
        names = _first_names(others)
        sentence += f" Beside it lies what can run code when it is loaded or started: {names}."
    return sentence


def _loader(form: str, verdict: str, globals_: Mapping[str, Sequence[str]], has_code: bool) -> str:
    """The sentences on the weights."""
    if form == ONNX.format and verdict in ("loads", "caution"):
        return (
            "onnxruntime would compute what the graph says, with the operators that are listed "
            "here. It would read its tensors from the files that it names, and run no other code "
            "unless a program gives it a library of operators."
        )
    unknown, code = globals_.get("unknown", ()), globals_.get("code", ())
    if unknown:
        return (
            f"Python's pickle, older PyTorch and torch.load(weights_only=False) would import "
            f"{_first_names(unknown)} and run what the file asks of it. With weights_only=True, "
            "the default since PyTorch 2.6, torch.load is meant to stop at such a name: do not "
            "turn that off for this file."
        )
    if verdict == "dangerous":
        return (
            "A loader that is built on pickle or runs the file's program code could be made to "
            "run code by it; this one was refused before anything of it was used."
        )
    script = has_code or form.startswith("TorchScript")
    if script or any(name.startswith("__torch__.") for name in code):
        return (
            "torch.load(weights_only=True) refuses TorchScript archives. torch.jit.load compiles "
            "the program code of the file and can run parts of it while loading; the rest runs "
            "when the model is called."
        )
    if code:
        return (
            f"torch.load(weights_only=True) refuses it, because it names {_first_names(code)}. "
            "weights_only=False would import and build these classes, and would as readily run "
            "anything else that a file names."
        )
    refused = [name for group in ("data", "tensors") for name in globals_.get(group, ())]
    refused = [name for name in refused if not _in_torch_list(name)]
    if refused:
        return (
            f"torch.load(weights_only=True), the default since PyTorch 2.6, refuses it, because "
            f"it names {_first_names(refused)}. People then turn the protection off, and "
            "weights_only=False would run whatever a file asks for; this one asks for plain data."
        )
    if verdict in ("damaged", "unsupported"):
        return "Not known: the file could not be read far enough to tell."
    if globals_:
        return (
            "torch.load(weights_only=True), the default since PyTorch 2.6, should load it: it "
            "names only tensor builders and plain data. Nothing in it would run with "
            "weights_only=False either."
        )
    return "There is nothing in it to run: its loaders read a table of names and then numbers."


def _in_torch_list(name: str) -> bool:
    """Whether PyTorch's restricted unpickler takes a name."""
    if name.startswith(_NOT_IN_TORCH_LIST):
        return False
    return name.startswith("torch.") or name in _WEIGHTS_ONLY

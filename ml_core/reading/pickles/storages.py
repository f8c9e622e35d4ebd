"""torch's marks in a pickle for blocks of numbers that lie elsewhere in the file."""

from __future__ import annotations

from typing import Any

from ml_core.reading.pickles.budget import PickleError
from ml_core.reading.pickles.names import STORAGES
from ml_core.reading.pickles.records import Global, Storage


def storage_of(pid: Any) -> Storage | Global:
    """Read a mark: ('storage', class, key, device, elements).

    The legacy layout marks classes of whole modules too: ('module', class, file, source).

    Raises
    ------
    PickleError
        If it is none.
    """
    kind = pid[0] if isinstance(pid, tuple) and len(pid) in (4, 5, 6) else None
    if not isinstance(kind, str):
        raise PickleError("it refers to something outside that is no storage")
    if kind == "module" and len(pid) == 4:
        if not isinstance(pid[1], Global):
            raise PickleError("it refers to a module's class by something that is no name")
        return pid[1]
    if kind != "storage" or len(pid) == 4:
        raise PickleError("it refers to something outside that is no storage")
    of, key, device, elements = pid[1:5]
    if len(pid) == 6 and pid[5] is not None:
        raise PickleError("it holds a view of a storage, which only very old files have")
    known = isinstance(of, Global) and of.name in STORAGES and of.module in ("torch", "torch.cuda")
    untyped = isinstance(of, Global) and of.full == "torch.storage UntypedStorage"
    if not (known or untyped):
        raise PickleError("a storage is of a class that is none")
    if not isinstance(key, str) or len(key) > 20 or not (key.isascii() and key.isdigit()):
        raise PickleError("a storage has no valid key")
    if not isinstance(device, str) or len(device) > 40:
        raise PickleError("a storage has no valid device")
    if not isinstance(elements, int) or isinstance(elements, bool) or not 0 <= elements < 1 << 48:
        raise PickleError("a storage has no valid size")
    return Storage(key, *STORAGES[of.name], elements, device)

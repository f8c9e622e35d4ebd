"""What a process gives up before it touches a hostile file, as far as the system can enforce it.

Reading is inert already; this is the second wall, for a mistake in the first. Limits on memory,
time and files hold on every Unix, the rest on Linux only: no new privileges, and Landlock, with
which the process may read the chosen files and nothing else, and may write, create, run and
connect to nothing (TCP; the kernel cannot forbid UDP that way).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

from ml_core.reading import seccomp

MEMORY = 1 << 30
OPEN_FILES = 64
_SET_PARENT_DEATH, _SET_DUMPABLE, _SET_NO_NEW_PRIVILEGES, _SIGKILL = 1, 4, 38, 9
# The same numbers on every architecture but these.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_OTHER_NUMBERS = ("alpha", "mips")
_ASK_VERSION, _PATH_BENEATH = 1, 1
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
# How many kinds of access to files each version of Landlock knows, from the first one on.
_FILE_RIGHTS = (13, 14, 15, 15, 16)
_TCP = 0b11
_SCOPES = 0b11


@dataclass(frozen=True, slots=True)
class SandboxState:
    """What holds a process back; each text begins with ``on`` or ``off``.

    Parameters
    ----------
    limits
        Memory, processor time, size of files, number of files and processes (the last does not
        bind root), no core dump.
    privileges
        No program that it starts can gain rights, and no other process of the user can look
        into it.
    landlock
        Which files it may read, and that it may write, run and connect to none.
    seccomp
        Which system calls are answered with an error: connections of any kind, processes and
        programs, tracing, mounts.
    """

    limits: str
    privileges: str
    landlock: str
    seccomp: str

    @property
    def complete(self) -> bool:
        """Whether all of it is on."""
        return is_complete(self.as_texts())

    def as_texts(self) -> dict[str, str]:
        """The same as a table, for records and JSON."""
        return asdict(self)


def is_complete(state: Mapping[str, str] | None) -> bool:
    """Whether a file was read with all restrictions on; ``state`` is its record's ``sandbox``."""
    return bool(state) and all(text.startswith("on") for text in (state or {}).values())


def enter(readable: Iterable[Path], seconds: int, memory: int = MEMORY) -> SandboxState:
    """Give up, in this process and for good, what reading a file does not need.

    Call it with one thread running and everything imported: modules cannot be read afterwards.

    Parameters
    ----------
    readable
        Files, and folders with all that is below them, that may still be opened for reading. A
        path that is a link opens nothing: whoever trusts it resolves it first.
    seconds
        Processor time that is left, at least 1.
    memory
        Bytes of address space that may be added.
    """
    privileges = _give_up_privileges()
    limits = _set_limits(seconds, memory)
    landlock = _restrict(tuple(readable))
    return SandboxState(limits, privileges, landlock, seccomp.install())


def available() -> SandboxState:
    """What `enter` would find on this system; changes nothing."""
    linux = sys.platform == "linux"
    version = _landlock_version()
    return SandboxState(
        "on" if _resource() else "off: this system has no limits of resources",
        "on" if linux else "off: only Linux has it",
        f"on, version {version}" if isinstance(version, int) else f"off: {version}",
        seccomp.available(),
    )


def _resource() -> ModuleType | None:
    """The module that sets limits; Windows has none."""
    try:
        import resource
    except ImportError:
        return None
    return resource


def _set_limits(seconds: int, memory: int) -> str:
    resource = _resource()
    if resource is None:
        return "off: this system has no limits of resources"
    limits = {
        "AS": _address_space() + memory,
        "CPU": max(1, seconds),
        "FSIZE": 0,
        "CORE": 0,
        "NOFILE": OPEN_FILES,
        "NPROC": 0,
    }
    missing = []
    for name, value in limits.items():
        try:
            kind = getattr(resource, f"RLIMIT_{name}")
            _, hard = resource.getrlimit(kind)
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))
        except (AttributeError, ValueError, OSError):
            missing.append(name)
    return f"off in part: {', '.join(missing)}" if missing else "on"


def _address_space() -> int:
    """Bytes of address space in use, if the system reports them."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 256 << 20


def _give_up_privileges() -> str:
    if sys.platform != "linux":
        return "off: only Linux has it"
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return "off: the C library is not known"
    zero = ctypes.c_ulong(0)
    # The process ends with the one that asked: a window that was killed leaves no reader behind.
    prctl(_SET_PARENT_DEATH, ctypes.c_ulong(_SIGKILL), zero, zero, zero)
    for option, value in ((_SET_DUMPABLE, 0), (_SET_NO_NEW_PRIVILEGES, 1)):
        if prctl(option, ctypes.c_ulong(value), zero, zero, zero) != 0:
            return f"off: {os.strerror(ctypes.get_errno())}"
    return "on"


def _system_call() -> Callable[..., int] | None:
    """The C library's ``syscall``, if this is Linux with the usual numbers."""
    if sys.platform != "linux" or os.uname().machine.startswith(_OTHER_NUMBERS):
        return None
    try:
        call = ctypes.CDLL(None, use_errno=True).syscall
    except (OSError, AttributeError):
        return None
    call.restype = ctypes.c_long

    def typed(number: int, *arguments: int | bytes | None) -> int:
        """Pass whole numbers at the width of a register."""
        values = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
        return int(call(ctypes.c_long(number), *values))

    return typed


def _landlock_version() -> int | str:
    """Which Landlock the kernel has, or why none."""
    call = _system_call()
    if call is None:
        return "only Linux has it"
    version = call(_CREATE_RULESET, None, 0, _ASK_VERSION)
    if version >= 1:
        return version
    if ctypes.get_errno() == errno.EOPNOTSUPP:
        return "the kernel has it, but it is switched off"
    return "the kernel is older than it, or was built without it"


def _restrict(readable: tuple[Path, ...]) -> str:
    """Allow reading below a few paths, and nothing else that Landlock knows of."""
    version, call = _landlock_version(), _system_call()
    if isinstance(version, str) or call is None:
        return f"off: {version}"
    rights = (1 << _FILE_RIGHTS[min(version, len(_FILE_RIGHTS)) - 1]) - 1
    fields = [rights]
    if version >= 4:
        fields.append(_TCP)
    if version >= 6:
        fields.append(_SCOPES)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    rules = call(_CREATE_RULESET, attributes, len(attributes), 0)
    if rules < 0:
        return f"off: {os.strerror(ctypes.get_errno())}"
    try:
        for path in readable:
            _allow_reading(call, rules, path)
        if call(_RESTRICT_SELF, rules, 0) != 0:
            return f"off: {os.strerror(ctypes.get_errno())}"
    finally:
        os.close(rules)
    return f"on, version {version}"


def _allow_reading(call: Callable[..., int], rules: int, path: Path) -> None:
    """Add a rule; a path that cannot be opened, or is a link, needs none."""
    with contextlib.suppress(OSError, ValueError):
        place = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            mode = os.fstat(place).st_mode
            if stat.S_ISLNK(mode):
                return
            allowed = _READ_FILE | (_READ_FOLDER if stat.S_ISDIR(mode) else 0)
            call(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", allowed, place), 0)
        finally:
            os.close(place)

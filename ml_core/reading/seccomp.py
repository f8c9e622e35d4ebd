"""A filter of system calls by which the reading process gives up what reading never needs.

A small program in the kernel's packet-filter language looks at each call's number: connections of
any kind, other programs and processes, mounts, keys and tracing are answered with "operation not
permitted". Threads are allowed, since libraries start them while they are loaded. Opening files is
Landlock's part.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterator

_SET_SECCOMP, _FILTER_MODE = 22, 2
# What a call is asked about: number, architecture, instruction's address, six arguments.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_THREAD = 0x10000
_X32 = 0x40000000
# Name in uname, the kernel's mark of the architecture, and the column of the table below.
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

_DENIED = {
    "socket": (41, 198), "socketpair": (53, 199), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "connect": (42, 203), "accept4": (288, 242),
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "kcmp": (312, 272), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "unshare": (272, 97), "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "open_by_handle_at": (304, 265), "quotactl": (179, 60),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
}  # fmt: skip
"""Numbers on x86_64 and on aarch64."""
_CLONE = (56, 220)
_CLONE3 = (435, 435)
_TO_ITSELF = {"kill": (62, 129), "tgkill": (234, 131)}


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def install() -> str:
    """Put the filter on this process and its later threads, for good; tell ``on`` or ``off``.

    `PR_SET_NO_NEW_PRIVS` must be set before.
    """
    machine = _machine()
    if isinstance(machine, str):
        return f"off: {machine}"
    raw = b"".join(program(*machine, os.getpid()))
    answer = _prctl(ctypes.byref(_Program(len(raw) // 8, raw)))
    return "on" if answer == 0 else f"off: {os.strerror(answer)}"


def available() -> str:
    """What `install` would answer here, as far as it can be known; changes nothing."""
    machine = _machine()
    if isinstance(machine, str):
        return f"off: {machine}"
    # No program is a bad address for a kernel that knows filters.
    known = _prctl(None) == errno.EFAULT
    return "on" if known else "off: the kernel was built without it"


def program(architecture: int, column: int, own: int) -> Iterator[bytes]:
    """Instructions of 8 bytes each for one architecture, in a process whose number is ``own``."""
    refuse = _step(_RETURN, _ERRNO | errno.EPERM)
    yield _step(_LOAD, _ARCHITECTURE)
    yield _step(_EQUAL, architecture, yes=1)
    yield refuse
    yield _step(_LOAD, _NUMBER)
    yield _step(_AT_LEAST, _X32, no=1)
    yield refuse
    for numbers in _DENIED.values():
        number = numbers[column]
        if number is not None:
            yield _step(_EQUAL, number, no=1)
            yield refuse
    # The C library takes the older call then, whose flags can be looked at.
    yield _step(_EQUAL, _CLONE3[column], no=1)
    yield _step(_RETURN, _ERRNO | errno.ENOSYS)
    yield _step(_EQUAL, _CLONE[column], no=4)
    yield _step(_LOAD, _FIRST_ARGUMENT)
    yield _step(_ANY_BIT, _THREAD, yes=1)
    yield refuse
    yield _step(_RETURN, _ALLOW)
    for numbers in _TO_ITSELF.values():
        yield _step(_EQUAL, numbers[column], no=4)
        yield _step(_LOAD, _FIRST_ARGUMENT)
        yield _step(_EQUAL, own, yes=1)
        yield refuse
        yield _step(_RETURN, _ALLOW)
    yield _step(_RETURN, _ALLOW)


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """One instruction; ``yes`` and ``no`` say how many are passed over."""
    return struct.pack("=HBBI", code, yes, no, value)


def _machine() -> tuple[int, int] | str:
    """The architecture's mark and its column, or why there is no filter."""
    if sys.platform != "linux":
        return "only Linux has it"
    machine = os.uname().machine
    if machine not in _MACHINES or ctypes.sizeof(ctypes.c_void_p) != 8:
        return f"there is no table of system calls for {machine}"
    return _MACHINES[machine]


def _prctl(program_or_none: object) -> int:
    """Ask for a filter; 0 or the error's number."""
    try:
        call = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return errno.ENOSYS
    done = call(_SET_SECCOMP, ctypes.c_ulong(_FILTER_MODE), program_or_none, None, None)
    return 0 if done == 0 else ctypes.get_errno()

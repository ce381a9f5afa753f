"""System calls that a program in the sandbox has no use for. No torch here.

Some hold memory that no limit counts, or make namespaces in which a program is root again; others are where
holes in the kernel were found most often. They fail as if forbidden.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass

_ANYWHERE = {
    "io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430, "memfd_secret": 447,
}  # fmt: skip
_CLONE3 = 435
_NAMESPACES = 0x7E020000
"""The flags of `clone` that make namespaces."""


@dataclass(frozen=True)
class _Machine:
    architecture: int
    """As the kernel's audit names it."""
    clone: int
    refused: dict[str, int]
    """Numbers of system calls, by name."""


_MACHINES = {
    "x86_64": _Machine(0xC000003E, 56, {
        "shmget": 29, "ptrace": 101, "mount": 165, "add_key": 248, "request_key": 249, "keyctl": 250,
        "unshare": 272, "perf_event_open": 298, "setns": 308, "process_vm_readv": 310,
        "process_vm_writev": 311, "memfd_create": 319, "bpf": 321, "userfaultfd": 323,
    }),
    "aarch64": _Machine(0xC00000B7, 220, {
        "mount": 40, "unshare": 97, "ptrace": 117, "shmget": 194, "add_key": 217, "request_key": 218,
        "keyctl": 219, "perf_event_open": 241, "setns": 268, "process_vm_readv": 270,
        "process_vm_writev": 271, "memfd_create": 279, "bpf": 280, "userfaultfd": 282,
    }),
}  # fmt: skip

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FLAGS = 0, 4, 16
"""Where a system call's number, architecture and first argument stand."""
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_SECOND_TABLE = 0x40000000
"""From here on x86_64 counts its calls once more, for programs with short addresses."""


def calls_filter(machine: str) -> bytes:
    """A filter for the kernel (classic BPF) for a machine as `platform.machine()` names it.

    It is empty where the machine is not known here.
    """
    known = _MACHINES.get(machine)
    if known is None:
        return b""
    refused = _FAIL | errno.EPERM
    steps = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, known.architecture), (_RETURN, 0, 0, refused)]
    steps += [(_LOAD, 0, 0, _NUMBER), (_AT_LEAST, 0, 1, _SECOND_TABLE), (_RETURN, 0, 0, refused)]
    for number in (*known.refused.values(), *_ANYWHERE.values()):
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, refused)]
    # Its flags stand in memory, where no filter sees them; whoever is told that it is missing takes `clone`.
    steps += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _FAIL | errno.ENOSYS)]
    steps += [(_EQUAL, 0, 3, known.clone), (_LOAD, 0, 0, _FLAGS)]
    steps += [(_ANY_BIT, 0, 1, _NAMESPACES), (_RETURN, 0, 0, refused), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)

"""What a program in the sandbox may use. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """What goes beyond one of them is a failed grade."""

    seconds: float = 10.0
    """Of the clock, for the whole program; and of a processor, rounded up, for each process."""
    memory: int = 1024 * _MIB
    """Bytes: the addresses of each process and, in a sandbox, what all processes hold together."""
    processes: int = 64
    """Processes and threads."""
    files: int = 256
    """Open files of each process."""
    folder: int = 64 * _MIB
    """Bytes of the temporary folder, and of each file."""
    output: int = _MIB
    """Bytes printed."""

"""One run of a program in the sandbox. No torch here."""

from __future__ import annotations

import asyncio
import marshal
import os
import platform
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from harmony_runtime.graders.kinds import TryAgain
from harmony_runtime.graders.sandbox.isolation import Isolation
from harmony_runtime.graders.sandbox.limits import Limits
from harmony_runtime.graders.sandbox.seccomp import calls_filter

_START = 30.0
"""Seconds that a sandbox gets beside those of the program: to start, to answer."""
_PATIENCE = 2.0
"""Seconds that it gets to end by itself once nobody waits for it."""
_LOOK = 0.005
"""Seconds between two looks whether it did."""
_FIRST_USER = 1_000_000_000
"""Users from this number on are nobody's; with the number of a process each run has one of its own."""


@dataclass(frozen=True)
class Outcome:
    passed: bool
    reason: str = ""
    """Why it failed, in a line."""


async def run(parts: Sequence[tuple[str, str]], isolation: Isolation, limits: Limits) -> Outcome:
    """Run the parts of a program, each a name and its text, one after the other.

    Whatever comes of it, cancelled too, no process and no folder of it stays.

    Raises:
        TryAgain: the sandbox did not start, or did not answer.
    """
    try:
        with nullcontext() if isolation.whole else _folder() as folder:
            return await _watched(parts, isolation, limits, folder)
    except OSError as fault:
        raise TryAgain(f"the sandbox did not start: {fault}") from fault


def _folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="harmony-code-", ignore_cleanup_errors=True)


async def _watched(
    parts: Sequence[tuple[str, str]], isolation: Isolation, limits: Limits, folder: str | None
) -> Outcome:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            # asyncio's own way hangs for good where it is cancelled while a process starts.
            process = subprocess.Popen(
                isolation.command(limits),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
                cwd="/",
                # The order of a set decides nothing from one run to the next.
                env={"PYTHONHASHSEED": "0", "PATH": os.defpath},
                start_new_session=True,
            )
        assert process.stderr
        with process.stderr:
            try:
                async with asyncio.timeout(limits.seconds + _START):
                    line = await _answer(ours, _job(parts, isolation, limits, folder, process.pid))
            except TimeoutError:
                raise TryAgain("the sandbox did not answer") from None
            finally:
                ours.close()
                await _ended(process)
            return _outcome(line or process.stderr.read().decode(errors="replace"))


def _job(
    parts: Sequence[tuple[str, str]], isolation: Isolation, limits: Limits, folder: str | None, process: int
) -> bytes:
    """What the process that watches reads. It is the same interpreter: `marshal` costs it no import."""
    return marshal.dumps(
        {
            "parts": list(parts),
            "isolated": isolation.whole,
            "folder": folder or "/tmp",
            "user": _FIRST_USER + process if isolation.whole and os.geteuid() == 0 else None,
            "filter": calls_filter(platform.machine()),
            "seconds": limits.seconds,
            "memory": limits.memory,
            "processes": limits.processes if isolation.whole else _beside(limits.processes),
            "files": limits.files,
            "largest_file": limits.folder,
            "output": limits.output,
        }
    )


async def _answer(ours: socket.socket, job: bytes) -> str:
    """What the process that watches says; nothing where it did not come to that."""
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    try:
        writer.write(job)
        return (await reader.read()).decode(errors="replace")
    except ConnectionError:
        return ""
    finally:
        writer.close()


def _outcome(said: str) -> Outcome:
    last = said.strip().split("\n")[-1] or "it says no reason"
    verdict, _, reason = last.partition(" ")
    if verdict not in ("passed", "failed"):
        raise TryAgain(f"the sandbox did not start: {last}")
    return Outcome(verdict == "passed", reason)


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """It ends when it hears that nobody waits; that way no process of it becomes somebody else's to bury."""
    patience = time.monotonic() + _PATIENCE
    try:
        while process.poll() is None and time.monotonic() < patience:
            await asyncio.sleep(_LOOK)
    finally:
        process.kill()
        process.wait()


def _beside(processes: int) -> int | None:
    """The limit for a user who has others, too; None where the system does not tell how many."""
    busy = 0
    with suppress(FileNotFoundError):
        for process in Path("/proc").iterdir():
            with suppress(OSError):
                if process.name.isdigit() and process.stat().st_uid == os.getuid():
                    busy += sum(1 for _ in (process / "task").iterdir())
    return busy + processes if busy else None

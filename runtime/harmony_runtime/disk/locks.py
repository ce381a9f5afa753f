"""Locks that a run holds while it lives: on its folder, and on the keys that it will save under.

The operating system holds them for the process, and lets go of them however it ends. Who holds a lock stands
in a small file beside it, for people: only the lock itself decides.

RUN/.lock              this run's folder
HOME/locks/KEY.lock    a key of the registry, for a save that would refuse or replace another model
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.outputs import Save
from harmony_runtime.failures import RunFailed, machine_faults, place

LOCK, OWNER = ".lock", ".owner"

LOCK_FILES = (LOCK, f"{LOCK}{OWNER}")
"""What a lock puts into a run's folder."""

_LARGEST = 64 * 1024
"""Bytes of the file that names an owner."""


@contextmanager
def of_folder(folder: Path) -> Iterator[None]:
    """Nobody else works in a run's folder, which is made where it is not there.

    Raises:
        RunFailed: another run does.
        OSError: the disk would not have it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _held(folder / LOCK, folder):
            yield
    except _TakenError as taken:
        raise RunFailed(
            f"another run works in {folder}: {taken}. Wait until it ends, or choose another folder",
            exit_code=2,
        ) from None


@contextmanager
def of_keys(graph: Graph, registry: Path, run: Path) -> Iterator[None]:
    """No other run will save under the keys of this one's graph.

    Raises:
        RunFailed: another one will, or the disk would not have it.
    """
    keys = {
        node.key: ref
        for ref, node in graph.nodes.items()
        if isinstance(node, Save) and node.if_exists != "rename"
    }
    with ExitStack() as locks:
        for key, ref in keys.items():
            try:
                with machine_faults(f"locking the key `{key}`"):
                    (registry.parent / "locks").mkdir(parents=True, exist_ok=True)
                    locks.enter_context(_held(registry.parent / "locks" / f"{key}{LOCK}", run))
            except _TakenError as taken:
                raise RunFailed(
                    f"{place(graph, ref)}another run will save under the key `{key}`: {taken}. Wait until it "
                    'ends, save under another key, or set `if_exists = "rename"`',
                    exit_code=2,
                ) from None
        yield


class _TakenError(Exception):
    """Somebody else holds the lock: who, in words."""


@contextmanager
def _held(path: Path, run: Path) -> Iterator[None]:
    lock = FileLock(path, timeout=0, thread_local=False)
    owner = path.with_name(f"{path.name}{OWNER}")
    try:
        lock.acquire()
    except Timeout:
        raise _TakenError(_who(owner)) from None
    try:
        since = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
        who = {"process": os.getpid(), "host": socket.gethostname(), "run": str(run), "since": since}
        owner.write_text(json.dumps(who) + "\n", encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            owner.unlink()
        lock.release()


def _who(owner: Path) -> str:
    try:
        with owner.open(encoding="utf-8") as file:
            who = json.loads(file.read(_LARGEST))
        return f"process {who['process']} on {who['host']}, in {who['run']}, since {who['since']}"
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return "it does not say which"

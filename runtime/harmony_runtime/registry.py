"""The registry of saved models, as the runtime uses it: whether a key is taken, and saving under one.

Runs may save at the same time: each writes its model under a temporary name, and only the decision which key
it gets, with the move there, is made one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import Literal, NamedTuple

from filelock import FileLock, Timeout

from harmony_compiler.store.registry import MANIFEST, Entry, Weights, dependents, entry_at, write_manifest
from harmony_grammar.records import replace
from harmony_runtime.disk.folders import SUMS, faults_of, growing, seal, seal_anew, settle, sweep, to_disk
from harmony_runtime.failures import RunFailed
from harmony_runtime.watch import Saved

IfExists = Literal["error", "rename", "overwrite"]

ABANDONED = 24 * 60 * 60
"""After so many seconds without a change, a model that is being written is what a crash left behind."""

PATIENCE = 10 * 60
"""Seconds that a save waits for others to decide and move: each takes a blink."""


class Written(NamedTuple):
    """What was put into a folder."""

    weights: Weights = "full"
    base: str = ""
    """Of an adapter: the repository or folder of its base."""


def taken(root: Path, key: str, identity: str, merge: bool = False) -> bool:
    """Whether something else stands under `key` than the model `identity`, merged or as it is."""
    entry = entry_at(root, key)
    return (root / key).exists() and not (entry is not None and entry.holds(identity, merge))


def save(
    root: Path,
    entry: Entry,
    if_exists: IfExists,
    write_model: Callable[[Path], Written],
    *,
    merge: bool = False,
    placed: Callable[[Path, Path], Sequence[str]] = lambda folder, place: (),
) -> Saved:
    """Put a model under a key: `write_model` fills a folder, the manifest is written last, and the folder
    sealed.

    A key that already holds this very model is left as it is. `placed` is called with the folder and the
    place that it will move to, which is known last of all, and gives the files that it rewrote.
    """
    root = root.absolute()
    if there := kept(root, entry.key, entry.identity, if_exists, merge):
        return there
    refuse_if_taken(root, entry.key, entry.identity, if_exists, merge=merge)
    with growing(root) as folder:
        written = write_model(folder)
        write_manifest(folder, replace(entry, weights=written.weights, base=written.base))
        seal(folder)
        to_disk(folder)  # which takes time, and nobody waits for it
        with _deciding(root):
            sweep(root, ABANDONED)
            if there := kept(root, entry.key, entry.identity, if_exists, merge):  # another run was faster
                return there
            refuse_if_taken(root, entry.key, entry.identity, if_exists, merge=merge)
            replaced = if_exists == "overwrite"
            key = next(key for key in _names(entry.key, if_exists) if replaced or not (root / key).exists())
            for file in placed(folder, root / key):
                seal_anew(folder, file)
            to_disk(folder)
            settle(folder, root / key, replace=replaced)
    return Saved(key, root / key)


def _names(key: str, if_exists: IfExists) -> Iterator[str]:
    """The keys under which a model may be saved, the best one first."""
    return chain([key], (f"{key}-{number}" for number in count(2)) if if_exists == "rename" else [])


def kept(root: Path, wanted: str, identity: str, if_exists: IfExists, merge: bool) -> Saved | None:
    """Where this very model stands already: under the key that is `wanted`, or before the first free one."""
    for key in _names(wanted, if_exists):
        if not (root / key).exists():
            break
        if not taken(root, key, identity, merge):
            return Saved(key, root / key)
    return None


@contextmanager
def _deciding(root: Path) -> Iterator[None]:
    try:
        with FileLock(root.with_name(f".{root.name}.lock"), timeout=PATIENCE):
            yield
    except Timeout as fault:
        raise RunFailed(
            f"the registry {root} is locked by another program for {PATIENCE // 60} minutes: end that one, "
            "then go on with `resume`",
            exit_code=2,
        ) from fault


def refuse_damaged(root: Path, entry: Entry, hash_of: Callable[[Path], str], place: str = "") -> None:
    """Refuse a model that is not as it was saved; `hash_of` gives the hash of a file, `place` is where the
    recipe names the model. Earlier versions sealed nothing.

    Raises:
        RunFailed: it is damaged.
    """
    folder = root / entry.key
    fault = faults_of(folder, hash_of) if (folder / SUMS).exists() else ""
    if not fault and not entry.identity:
        fault = f"its manifest `{MANIFEST}` cannot be read, or a later version of Harmony wrote it"
    if fault:
        raise RunFailed(
            f"{place}the model `{entry.key}` in the registry {root} is damaged: {fault}. Put that file back "
            f"as it was, or remove the model with `harmonyc models rm {entry.key}` and save it anew",
            exit_code=2,
        )


def refuse_if_taken(
    root: Path, key: str, identity: str, if_exists: IfExists, *, merge: bool = False, place: str = ""
) -> None:
    """Refuse a save that would collide; `place` is where the recipe asks for it."""
    if if_exists == "rename" or not taken(root, key, identity, merge):
        return
    if entry_at(root, key) is None:
        raise RunFailed(
            f"{place}the registry has a folder {root / key} that holds no saved model, and nothing "
            "overwrites it: save under another key, or move that folder away"
        )
    if if_exists == "error":
        raise RunFailed(
            f"{place}the key `{key}` holds another model already. Save under another key, or set "
            '`if_exists = "rename"` or `"overwrite"`'
        )
    if others := dependents(root, key):
        listed = ", ".join(f"`{other}`" for other in others)
        raise RunFailed(
            f"{place}the key `{key}` holds the base of the adapters {listed}, which would not load without "
            "it. Save under another key, or remove those first with `harmonyc models rm`"
        )


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

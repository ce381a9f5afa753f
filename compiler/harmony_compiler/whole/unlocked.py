"""Unlocked: what a recipe names and its lock does not have, or has otherwise, as far as a glance tells.

No file is read through for it: a small one is hashed, of a large one the size is compared, and of a registry
what its manifests say. The rest is for the run, which hashes all that it reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harmony_compiler.data.heads import as_written, paths
from harmony_compiler.files import Files
from harmony_compiler.findings.data import ChangedSinceLock, NotInLock
from harmony_compiler.graph.named import HUB, REGISTRY, Named, grader_digest, named, rows_digest
from harmony_compiler.lowering import Lowered
from harmony_compiler.store.datasets import DATASETS
from harmony_compiler.store.graders import GRADERS
from harmony_compiler.store.lock import Lock, Locked
from harmony_compiler.store.registry import entry_at
from harmony_compiler.typed import Made
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.source import Source, Span

SMALL = 64 * 1024
"""Up to this size, in bytes, a file is hashed faster than anybody notices."""


def unlocked(
    lowered: Lowered, lock: Lock, recipe: Source, files: Files, registry: Path | None
) -> Iterator[Diagnostic]:
    """What the lock of a recipe does not have, and what is not as it has it; each thing once."""
    told: set[tuple[str, str]] = set()
    for ref, node in lowered.graph.nodes.items():
        for thing in named(node):
            key = thing.key(recipe.folder)
            if (thing.section, key) in told:
                continue
            told.add((thing.section, key))
            span, what = _written(lowered.made[ref], thing, key)
            found = thing.found(lock, recipe.folder)
            if found is None:
                yield NotInLock(span=span, what=what, recipe=recipe.name)
            elif how := _change(thing, found[1], files, registry):
                yield ChangedSinceLock(span=span, what=what, how=how, recipe=recipe.name)


def _written(made: Made, thing: Named, key: str) -> tuple[Span, str]:
    """Where a recipe writes what a node names, and how. What is named by something else, such as a
    module by the file that imports it, is told by its key."""
    value = made.given[thing.field]
    path = next((path for path in paths(value) if path.data == thing.place), None)
    return (value.span, key) if path is None else (path.span, as_written(path))


def _change(thing: Named, entry: Locked, files: Files, registry: Path | None) -> str:
    """How a thing differs from what was locked, in words; "" where no difference was seen."""
    if thing.kind == HUB:
        return ""
    try:
        if thing.kind != REGISTRY:
            return _change_of_file(Path(thing.place), entry, files)
        return "" if registry is None else _change_of_key(thing, entry, registry)
    except (OSError, ValueError):
        return ""  # what is wrong with it is said elsewhere


def _change_of_file(place: Path, entry: Locked, files: Files) -> str:
    if entry.size is None or files.is_folder(place):
        return ""
    with files.opened(place) as stream:
        size = stream.seek(0, 2)
    if size != entry.size:
        return f"it has {size:,} bytes, and had {entry.size:,}"
    if size > SMALL:
        return ""
    from hashlib import sha256  # it loads OpenSSL

    same = sha256(files.head(place, SMALL)).hexdigest() == entry.content
    return "" if same else "it has as many bytes, and others"


def _change_of_key(thing: Named, entry: Locked, registry: Path) -> str:
    match thing.section:
        case "models":
            held = entry_at(registry, thing.place)
            same = held is None or not entry.identity or held.identity == entry.identity
        case "datasets":
            rows = DATASETS.at(registry.parent / "datasets", thing.place)
            same = rows is None or rows_digest(rows) == entry.content
        case _:
            grader = GRADERS.at(registry.parent / "graders", thing.place)
            same = grader is None or grader_digest(grader) == entry.content
    return "" if same else "the registry holds another one under that key"

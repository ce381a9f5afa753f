"""Locking: what a recipe names, looked at on this machine, and two locks held against each other.

The hub is not asked here: see `harmony_runtime.looking_up`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from harmony_compiler.data.heads import Heads
from harmony_compiler.data.whole_files import count_rows
from harmony_compiler.files import DISK
from harmony_compiler.graph.column_types import type_text
from harmony_compiler.graph.datasets import FORMATS
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.identity import Content
from harmony_compiler.graph.named import REGISTRY, Named, content_of, named
from harmony_compiler.graph.types import PATH
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.datasets import DATASETS
from harmony_compiler.store.lock import SECTIONS, Lock, Locked, Section
from harmony_compiler.store.registry import entry_at
from harmony_compiler.typed import Made, Value
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.records import Record, values
from harmony_grammar.source import Source


class FaultyRowsError(Exception):
    """A file with rows that are none: what is wrong with the first ones, and how many there are."""

    def __init__(self, faults: tuple[Diagnostic, ...], faulty: int) -> None:
        super().__init__(faulty)
        self.faults = faults
        self.faulty = faulty


def things_of(graph: Graph, folder: Path) -> dict[tuple[Section, str], tuple[Named, Ref]]:
    """What a graph names, by section and key of the lock of a recipe in `folder`, with the first node that
    names it."""
    found: dict[tuple[Section, str], tuple[Named, Ref]] = {}
    for ref, node in graph.nodes.items():
        for thing in named(node):
            found.setdefault((thing.section, thing.key(folder)), (thing, ref))
    return dict(sorted(found.items(), key=lambda item: (SECTIONS.index(item[0][0]), item[0][1])))


def looked_at(thing: Named, content: Content, registry: Path) -> Locked:
    """What is known of a thing that is not on the hub. `content` is a hash of a path.

    Raises:
        FaultyRowsError: a data file has rows that are none.
        OSError, EOFError, ValueError: it is not there, or cannot be read.
        ImportError: it is Parquet, and there is no pyarrow here.
    """
    held = content_of(thing, content, registry)
    if thing.section == "datasets" and thing.kind == REGISTRY:
        root = registry.parent / "datasets"
        rows = DATASETS.at(root, thing.place)
        assert rows is not None  # its content was hashed
        files = [root / thing.place / name for name in rows.files]
        columns = {name: text for file in files for name, text in _columns(file, rows.format).items()}
        return Locked(columns, {"train": _rows(files, rows.format)}, content=held)
    place = Path(thing.place)
    if thing.is_local and place.is_dir() and not any(file.is_file() for file in place.rglob("*")):
        raise ValueError("it is a folder without files")
    if thing.section == "datasets":
        size = place.stat().st_size
        rows_ = {"train": _rows([place], thing.kind)}
        return Locked(_columns(place, thing.kind), rows_, content=held, size=size)
    if thing.section == "models" and thing.kind == REGISTRY:
        entry = entry_at(registry, thing.place)
        return Locked(content=held, identity=entry.identity if entry else "")
    is_file = thing.section == "files" and place.is_file()
    return Locked(content=held, size=place.stat().st_size if is_file else None)


def _rows(files: list[Path], format_: str) -> int:
    counts = [count_rows(file, format_) for file in files]
    if faulty := sum(count.faulty for count in counts):
        raise FaultyRowsError(tuple(fault for count in counts for fault in count.faults), faulty)
    return sum(count.rows for count in counts)


def _columns(file: Path, format_: str) -> dict[str, str]:
    """The columns in the head of a file with their types, as a check sees them."""
    span = Source(str(file), "", file).span(0, 0)
    path = Value(PATH, str(file), span)
    head = Heads(DISK).of(Made(FORMATS[format_], {"path": path}, {"path": str(file)}, span, span))
    return {name: type_text(head.type_of(name)) for name in head.names or ()}


State = Literal["new", "changed", "unchanged", "gone"]


class Change(Record):
    """What became of an entry."""

    state: State
    section: Section
    key: str
    facts: str
    """What is known of it, or what changed, in words."""


def changes(before: Lock, now: Lock) -> Iterator[Change]:
    """Every entry of two locks, by section and key."""
    for section in SECTIONS:
        old, new = before.section(section), now.section(section)
        for key in sorted(old.keys() | new.keys()):
            if key not in new:
                yield Change("gone", section, key, "the recipe no longer names it")
            elif key not in old:
                yield Change("new", section, key, _facts(new[key]))
            elif old[key] == new[key] and list(old[key].columns) == list(new[key].columns):
                yield Change("unchanged", section, key, _facts(new[key]))
            else:
                yield Change("changed", section, key, "; ".join(_differences(old[key], new[key])))


def _facts(entry: Locked) -> str:
    told = [f"{sum(entry.rows.values()):,} rows"] if entry.rows else []
    told += [f"columns {', '.join(entry.columns)}"] if entry.columns else []
    told += [f"commit {entry.commit[:12]}"] if entry.commit else []
    told += [f"content {entry.content[:12]}"] if entry.content else []
    return ", ".join(told)


def _differences(old: Locked, new: Locked) -> Iterator[str]:
    was, now = values(old), values(new)
    for name in ("commit", "content", "rows"):
        if was[name] != now[name]:
            yield f"{name} was {_shown(was[name])}, is {_shown(now[name])}"
    if old.columns != new.columns or list(old.columns) != list(new.columns):
        yield f"columns were {_typed(old.columns)}, are {_typed(new.columns)}"
    if not any(was[name] != now[name] for name in ("commit", "content", "rows", "columns")):
        yield "other facts about the same content"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{split} {count:,}" for split, count in value.items()) or "unknown"
    return value[:12] or "unknown"


def _typed(columns: dict[str, str]) -> str:
    return ", ".join(f"{name}: {text}" for name, text in columns.items()) or "unknown"

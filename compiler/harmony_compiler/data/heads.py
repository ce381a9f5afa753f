"""Heads: the first rows of data files and of rows in the recipe, each read once.

Whoever asks for the rows of a dataset gets those in the first megabytes, with their places and the types of
their columns; what is wrong with a file or row is found on the way, and said once. Where the data is not at
hand, the columns are those that the recipe or its lock states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from harmony_compiler.files import HEAD, Files
from harmony_compiler.findings.data import (
    EmptyFile,
    MoreFaultyRows,
    NotLookedAt,
    UnknownDataset,
    UnreadableFile,
    UnreadableLock,
)
from harmony_compiler.graph.column_types import read_type_text, type_of_values
from harmony_compiler.graph.datasets import (
    FORMATS,
    Csv,
    HubRows,
    Json,
    JsonLines,
    LiteralRows,
    Parquet,
    RegistryRows,
)
from harmony_compiler.graph.types import JSON, PATH, Type
from harmony_compiler.naming.near import nearest
from harmony_compiler.store.files import GZIP
from harmony_compiler.store.lock import LARGEST, NO_LOCK, Lock, Locked, read_lock
from harmony_compiler.store.registry import LARGEST as MANIFEST_LIMIT
from harmony_compiler.store.rows import SHOWN
from harmony_compiler.store.tables import Table, csv_rows, json_array, json_lines, unzipped
from harmony_compiler.typed import UNKNOWN_DATA, Made, Value
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.source import Source, Span

_READERS: dict[type, Callable[[bytes, bool], Table]] = {
    JsonLines: json_lines,
    Json: json_array,
    Csv: csv_rows,
}
NO_ROWS = Table(whole=False)


class Head:
    """The first rows of a file or of a dataset; `names`, its columns, is None where nobody could look."""

    def __init__(
        self,
        names: tuple[str, ...] | None = None,
        origin: str = "",
        table: Table = NO_ROWS,
        place: Callable[[int], Span] | None = None,
        *,
        stated: Mapping[str, Type] | None = None,
        faulty: bool = False,
    ) -> None:
        self.names = names
        self.origin = origin
        """Where they were read, in words."""
        self.table = table
        self.place = place
        """Where a row stands, by its number in `rows`."""
        self.faulty = faulty
        """Whether something is wrong with the source, which was reported."""
        self._stated = stated or {}

    @property
    def rows(self) -> Sequence[dict[str, Any]]:
        return self.table.rows

    def column(self, name: str) -> list[Any]:
        """The values of a column in these rows."""
        return self.table.column(name)

    def type_of(self, name: str) -> Type:
        """The type of a column."""
        if name in self._stated:
            return self._stated[name]
        if not self.table.rows:
            return JSON
        found: Type = self.table.fact(("type", name), lambda: type_of_values(self.table.column(name)))
        return found


NOTHING = Head()
FAULTY = Head(faulty=True)


class Heads:
    """The heads of a recipe's datasets."""

    def __init__(self, files: Files, lock: Path | None = None, datasets: Path | None = None) -> None:
        """`datasets` is the folder of registered ones, where one is at hand."""
        self._files = files
        self._datasets = datasets
        self._lock_path = lock
        self._lock: Lock | None = None
        self._no_lock = False
        self._read: dict[tuple[type, str], Head] = {}
        self._known: dict[int, tuple[Made, Head]] = {}
        self._said: set[tuple[str, str]] = set()
        self.findings: list[Diagnostic] = []

    def of(self, dataset: Made) -> Head:
        """The first rows of a dataset's source, before split, filter, shuffle and limit."""
        if id(dataset) not in self._known:
            self._known[id(dataset)] = (dataset, self._of(dataset))  # it lives as long as its number
        return self._known[id(dataset)][1]

    def _of(self, dataset: Made) -> Head:
        if issubclass(dataset.cls, LiteralRows):
            return _literal(dataset)
        if "path" in dataset.given:
            head = self._of_files(dataset)
            if head.names is not None or head.faulty:
                return head
        if issubclass(dataset.cls, RegistryRows) and self._datasets is not None:
            return self._of_key(dataset.given.get("key"), self._datasets)
        if stated := declared_columns(dataset):
            return Head(tuple(stated), "`columns`", stated=stated)
        if not issubclass(dataset.cls, HubRows):
            return NOTHING
        if locked := self.locked(dataset):
            types = {name: read_type_text(text) or JSON for name, text in locked.columns.items()}
            return Head(tuple(types), "the lock", stated=types)
        return FAULTY if self._no_lock else NOTHING

    def first_time(self, head: Head, what: str) -> bool:
        """Whether something is said of these rows for the first time: copies of a dataset share them."""
        new = (head.origin, what) not in self._said
        self._said.add((head.origin, what))
        return new

    def locked(self, dataset: Made) -> Locked | None:
        """What the lock knows about a dataset of the hub."""
        parts = [dataset.values[name] for name in ("repo", "config", "revision")]
        found = None if UNKNOWN_DATA in parts else self.lock.hub("datasets", *parts)
        return found[1] if found else None

    @property
    def lock(self) -> Lock:
        """The lock beside the recipe; an empty one where there is none."""
        if self._lock is None:
            self._lock = NO_LOCK
            if self._lock_path is not None and self._files.exists(self._lock_path):
                try:
                    self._lock = read_lock(self._files.head(self._lock_path, LARGEST))
                except (OSError, ValueError) as fault:
                    nowhere = Source(self._lock_path.name, "", self._lock_path).span(0, 0)
                    reason = (getattr(fault, "strerror", None) or str(fault)).lower()
                    path = self._lock_path.name
                    self._no_lock = True
                    self.findings.append(UnreadableLock(span=nowhere, path=path, reason=reason))
        return self._lock

    # --- files ------------------------------------------------------------------------------------------

    def _of_files(self, dataset: Made) -> Head:
        given = dataset.given["path"]
        if given.unknown:
            return FAULTY
        parts: list[Head] = []
        for path in paths(given):
            key = (dataset.cls, path.data)
            if key not in self._read:
                self._read[key] = self._head(dataset.cls, path)
            parts.append(self._read[key])
        return self._of_parts(parts)

    def _of_key(self, key: Value | None, datasets: Path) -> Head:
        """The head of a registered dataset."""
        if key is None or not isinstance(key.data, str):
            return FAULTY
        known = (RegistryRows, key.data)
        if known not in self._read:
            self._read[known] = self._registered(key, datasets)
        return self._read[known]

    def _registered(self, key: Value, datasets: Path) -> Head:
        from harmony_compiler.store.datasets import DATASETS  # few recipes need it

        manifest = DATASETS.manifest(datasets, key.data)
        if manifest is None:
            near = nearest(key.data, DATASETS.keys(datasets))
            fixes = near.quoted().fixes(key.span)
            finding = UnknownDataset(span=key.span, key=key.data, suggestion=near.name, fixes=fixes)
            self.findings.append(finding)
            return FAULTY
        try:
            held = DATASETS.read(self._files.head(manifest, MANIFEST_LIMIT))
        except (OSError, ValueError) as fault:
            reason = (getattr(fault, "strerror", None) or str(fault)).lower()
            self.findings.append(UnreadableFile(span=key.span, path=str(manifest), reason=reason))
            return FAULTY
        paths_ = [Value(PATH, str(manifest.parent / name), key.span) for name in held.files]
        if gone := next((path for path in paths_ if not self._files.exists(Path(path.data))), None):
            return self._unreadable(gone, "it is no longer there")
        head = self._of_parts([self._head(FORMATS[held.format], path) for path in paths_])
        if head.names is not None:
            head.origin = key.data
        return head

    def _of_parts(self, parts: Sequence[Head]) -> Head:
        unseen = next((part for part in parts if part.names is None), None)
        if unseen is not None or not parts:
            return unseen or NOTHING
        return parts[0] if len(parts) == 1 else _together(parts)

    def _head(self, cls: type, path: Value) -> Head:
        """The first megabytes of a file, with a finding for each bad row there."""
        file, written, shown = Path(path.data), as_written(path), _shown(path)
        if not self._files.exists(file) or self._files.is_folder(file):
            return FAULTY
        try:
            table = self._files.kept(file, cls.__name__, partial(self._table, cls, file))
        except (OSError, ValueError) as fault:
            return self._unreadable(path, (getattr(fault, "strerror", None) or str(fault)).lower())
        except (ImportError, _TooLargeError) as fault:
            why = str(fault) if isinstance(fault, _TooLargeError) else "pyarrow is not installed"
            self.findings.append(NotLookedAt(span=path.span, what=f"`{written}`", why=why))
            return NOTHING
        if table.unreadable:
            return self._unreadable(path, table.unreadable)
        self.findings.extend(fault(shown) for fault in table.faults[:SHOWN])
        if (more := len(table.faults) - SHOWN) > 0:
            finding = MoreFaultyRows(span=path.span, path=written, count=f"{more:,}", shown=str(SHOWN))
            self.findings.append(finding)
        if not table.rows and table.whole and not table.faults:
            self.findings.append(EmptyFile(span=path.span, path=written))
        if not table.rows and not table.names:
            return FAULTY if table.whole else NOTHING
        # JSON can spell halves of characters, which nobody can print or write in a template.
        names = tuple(dict.fromkeys(name.encode(errors="replace").decode() for name in table.names))
        types = {name: read_type_text(text) or JSON for name, text in (table.types or {}).items()}

        def place_of(row: int) -> Span:
            return table.places(row).span(shown) if table.places is not None else path.span

        return Head(names, written, table, place_of, stated=types)

    def _table(self, cls: type, file: Path) -> Table:
        if issubclass(cls, Parquet):
            from harmony_compiler.data.parquet import parquet_rows

            with self._files.opened(file) as stream:
                packed = stream.read(len(GZIP)) == GZIP
                stream.seek(0)
                return parquet_rows(_unpacked(stream) if packed else stream)
        data = self._files.head(file, HEAD)
        whole = len(data) < HEAD
        if data.startswith(GZIP):
            data, ended = unzipped(data, HEAD)
            if whole and not ended and len(data) < HEAD:
                raise ValueError("it ends in the middle")
            whole = ended
        return _READERS[cls](data, whole)

    def _unreadable(self, path: Value, reason: str) -> Head:
        self.findings.append(UnreadableFile(span=path.span, path=as_written(path), reason=reason))
        return FAULTY


class _TooLargeError(Exception):
    """A file whose head stands too far inside; the message says why."""


def _unpacked(stream: BinaryIO) -> BinaryIO:
    """What is in a compressed file whose contents stand at its end."""
    data = stream.read(16 * HEAD)
    if not stream.read(1):
        data, ended = unzipped(data, 16 * HEAD)
        if ended:
            return BytesIO(data)
    raise _TooLargeError("it is compressed as a whole, and large")


def _together(parts: Sequence[Head]) -> Head:
    """Several files as one."""
    places = [partial(part.place, row) for part in parts if part.place for row in range(len(part.rows))]
    counts = [part.table.count for part in parts]
    known = [count for count in counts if count is not None]
    table = Table(
        [row for part in parts for row in part.rows],
        whole=all(part.table.whole for part in parts),
        count=sum(known) if len(known) == len(counts) else None,
    )
    names = tuple(dict.fromkeys(name for part in parts for name in part.names or ()))
    return Head(names, " and ".join(part.origin for part in parts), table, lambda row: places[row]())


def _literal(dataset: Made) -> Head:
    """The rows that a recipe itself writes."""
    if not isinstance(dataset.values["items"], tuple):
        return FAULTY
    written = dataset.given["items"].data
    read = zip(dataset.values["items"], written, strict=True)
    rows = [(row, value.span) for row, value in read if isinstance(row, dict)]
    if not written:
        return FAULTY
    table = Table([row for row, _ in rows])
    return Head(table.names, "the rows", table, lambda row: rows[row][1])


def declared_columns(dataset: Made) -> dict[str, Type]:
    """The columns that a recipe states, with their types; what is no type is reported elsewhere."""
    given = dataset.given.get("columns")
    if given is None or not isinstance(given.data, dict):
        return {}
    return {name: read_type_text(text.data) or JSON for name, text in given.data.items()}


# --- paths ----------------------------------------------------------------------------------------------


def paths(value: Value) -> Iterator[Value]:
    """The paths in a field's value."""
    if isinstance(value.data, tuple):
        for item in value.data:
            yield from paths(item)
    elif value.type == PATH:
        yield value


def as_written(path: Value) -> str:
    """A path as its literal has it."""
    return path.literal.value if path.literal else str(path.data)


def _shown(path: Value) -> Path:
    """A path as people can follow it: from where the recipe was named, as the recipe itself was."""
    if path.literal is None:
        return Path(path.data)
    source = path.literal.span.source
    return Path(source.name).parent / path.literal.value if source.path else Path(path.literal.value)

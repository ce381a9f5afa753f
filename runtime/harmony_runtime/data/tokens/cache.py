"""Datasets in tokens, made once: Arrow files under a key that hashes all that decides what is in them.

Whoever asks for a dataset first makes the files, row by row; everybody after, in this run or another one,
maps them into memory and opens no source. What decides: the content of the data and its mapping (the identity
of the dataset's node), the template and the tokenizer (`Chat.digest`), how the rows are cut (`recipe`), the
code that makes them and the libraries under it.
"""

from __future__ import annotations

import os
import platform
import tempfile
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, lru_cache, partial
from hashlib import sha256
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from time import time
from typing import Any

import numpy
import pyarrow
from filelock import FileLock
from numpy.typing import NDArray

import harmony_compiler
import harmony_grammar
import harmony_runtime
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.identity import digest, identities
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.cache import ABOUT, HASHES, LOCKS, read_about, sweep, tokens_folder, write_about
from harmony_compiler.store.hashes import Hashes
from harmony_grammar.records import replace
from harmony_runtime.data.faults import Faults
from harmony_runtime.data.tokens.proofs import refuse_unproven, say_proofs
from harmony_runtime.data.turns.threads import OnTooLong, RowThread, Threads, threads_of
from harmony_runtime.disk.folders import whole
from harmony_runtime.failures import RunFailed, place
from harmony_runtime.models.chat import Chat
from harmony_runtime.rooms import Desk

ROWS = 256
"""Rows of a record batch: few, so that little of a dataset is in memory while it is written."""

MANY = 20_000
"""Of so many rows one says that they will take a while, and how far one is."""

_LIBRARIES = ("transformers", "tokenizers", "jinja2", "datasets", "pyarrow")
_ROWS_FILE, _NUMBERS_FILE = "rows.arrow", "numbers.arrow"

IDS = pyarrow.list_(pyarrow.int32())
WEIGHTS = pyarrow.list_(pyarrow.float32())
TEXT = pyarrow.large_string()

_ARROW = {
    numpy.int32: pyarrow.int32(),
    numpy.float32: pyarrow.float32(),
    numpy.float64: pyarrow.float64(),
}
_NUMPY = {arrow: number for number, arrow in _ARROW.items()}


class Table:
    """The rows of an entry, mapped into memory."""

    def __init__(self, folder: Path, about: Mapping[str, Any], kept: Any = None) -> None:
        """`kept` lives as long as the table does.

        Raises:
            OSError, pyarrow.ArrowInvalid: the files are damaged.
        """
        self.about = about
        self._kept = kept
        self._rows = pyarrow.ipc.open_file(pyarrow.memory_map(str(folder / _ROWS_FILE)))
        numbers = pyarrow.ipc.open_file(pyarrow.memory_map(str(folder / _NUMBERS_FILE))).get_batch(0)
        self.numbers: dict[str, NDArray[Any]] = {
            name: numpy.from_dlpack(numbers.column(name)) for name in numbers.schema.names
        }
        """By name, a number of each row."""
        self._batch = lru_cache(maxsize=64)(self._rows.get_batch)
        self._lists = lru_cache(maxsize=512)(self._lists_in)

    def __len__(self) -> int:
        return len(next(iter(self.numbers.values())))

    def array(self, row: int, column: str) -> NDArray[Any]:
        """A list of a row, as it lies in the file: not to be written to."""
        values, ends = self._lists(row // ROWS, column)
        number = row % ROWS
        return values[ends[number] : ends[number + 1]]

    def text(self, row: int, column: str) -> str:
        found: str = self._cell(row, column).as_py()
        return found

    def _lists_in(self, batch: int, column: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """The lists of a column, one behind the other, and where each begins and the last one ends: to reach
        a list through Arrow takes ten times as long."""
        lists = self._batch(batch).column(column)
        return numpy.from_dlpack(lists.values), numpy.from_dlpack(lists.offsets)

    def _cell(self, row: int, column: str) -> Any:
        return self._batch(row // ROWS).column(column)[row % ROWS]


class Writer:
    """Writes the rows of an entry, a batch at a time; of what stays in memory, each row has a few numbers."""

    def __init__(self, folder: Path, columns: Mapping[str, Any], numbers: Mapping[str, str]) -> None:
        """`numbers` are of each row, by the letters that the module `array` knows."""
        self._folder = folder
        self._schema = pyarrow.schema(columns.items())
        self._rows: dict[str, list[Any]] = {name: [] for name in columns}
        self.numbers = {name: array(letter) for name, letter in numbers.items()}
        self._file = pyarrow.ipc.new_file(str(folder / _ROWS_FILE), self._schema)

    def add(self, **row: Any) -> None:
        for name, cell in row.items():
            self.numbers[name].append(cell) if name in self.numbers else self._rows[name].append(cell)
        if len(next(iter(self._rows.values()))) == ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._file.close()
        columns = {name: _numbers(numpy.asarray(held)) for name, held in self.numbers.items()}
        numbers = pyarrow.record_batch(list(columns.values()), names=list(columns))
        with pyarrow.ipc.new_file(str(self._folder / _NUMBERS_FILE), numbers.schema) as file:
            file.write_batch(numbers)

    def _flush(self) -> None:
        if any(self._rows.values()):
            columns = [_column(cells, self._schema.field(name).type) for name, cells in self._rows.items()]
            self._file.write_batch(pyarrow.record_batch(columns, schema=self._schema))
            self._rows = {name: [] for name in self._rows}


# Arrow's arrays are made of buffers here and read through DLPack: where Arrow itself converts, it imports
# pandas, which takes longer than to put a thousand rows into tokens.


def _column(cells: Sequence[Any], of: pyarrow.DataType) -> pyarrow.Array:
    """Cells that are lists of numbers, or texts."""
    text = of == TEXT
    held = [cell.encode() for cell in cells] if text else cells
    ends = numpy.zeros(len(held) + 1, numpy.int64 if text else numpy.int32)
    numpy.cumsum([len(cell) for cell in held], out=ends[1:])
    offsets = pyarrow.py_buffer(ends)
    if text:
        return pyarrow.Array.from_buffers(of, len(held), [None, offsets, pyarrow.py_buffer(b"".join(held))])
    values = _numbers(numpy.fromiter(chain.from_iterable(held), _NUMPY[of.value_type]))
    return pyarrow.Array.from_buffers(of, len(held), [None, offsets], children=[values])


def _numbers(values: NDArray[Any]) -> pyarrow.Array:
    of = _ARROW[values.dtype.type]
    return pyarrow.Array.from_buffers(of, len(values), [None, pyarrow.py_buffer(values)])


Make = Callable[[Threads, Faults, Path], dict[str, Any]]
"""Writes an entry's rows into a folder, and gives what else is known of them."""


def kept(desk: Desk, dataset: Ref, chat: Chat, *, kind: str, recipe: Mapping[str, Any], make: Make) -> Table:
    """The rows of a dataset in tokens, from the cache or made now. The table's `about` has what `make` said.

    `kind` and `recipe` are how `make` makes them.

    Raises:
        RunFailed: rows are faulty, or cannot be read. Nothing is kept of them.
    """
    threads = threads_of(desk.graph, dataset, desk.datasets)
    where = place(desk.graph, dataset)
    tell = partial(desk.watcher.tokenised, desk.graph.stage_name(dataset))

    def make_in(folder: Path) -> None:
        sweep(desk.cache)
        if len(threads) >= MANY:
            desk.watcher.note(f"{where}{len(threads):,} rows are put into tokens, once for all runs")
        faults = Faults(where)
        facts = make(threads if len(threads) < MANY else _Watched(threads, tell), faults, folder)
        if len(threads) >= MANY:
            tell(len(threads), len(threads))
        faults.raise_any()
        refuse_unproven(facts["proofs"], where)
        _refuse_changed(desk, dataset, where)
        origin = desk.graph.origins.get(dataset)
        write_about(
            folder,
            {
                "kind": kind,
                "dataset": desk.graph.stage_name(dataset),
                "recipe": origin.file if origin else desk.graph.name,
                "created": time(),
                "notes": [_placeless(note, desk.graph, dataset) for note in threads.notes],
                **facts,
            },
        )

    table = _for_once(make_in) if threads.pinned is None else None
    if table is None:
        content = [desk.identities[dataset], threads.pinned, chat.digest]
        key = digest([kind, dict(recipe), *content, _made_by()])
        table = _from_cache(tokens_folder(desk.cache) / key, make_in)
    # What people should know of the rows is said in each run.
    for part, note in table.about["notes"]:
        ref = list(_with_parts(desk.graph, dataset))[part]
        desk.watcher.note(f"{place(desk.graph, ref)}{note}")
    say_proofs(table.about["proofs"], where, desk.watcher)
    return table


class _Watched:
    """Threads that tell how far they were read."""

    def __init__(self, threads: Threads, tell: Callable[[int, int], None]) -> None:
        self._threads = threads
        self._tell = tell
        self._count = len(threads)

    @property
    def counts(self) -> Mapping[str, int]:
        return self._threads.counts

    @property
    def notes(self) -> tuple[str, ...]:
        return self._threads.notes

    @property
    def pinned(self) -> str | None:
        return self._threads.pinned

    def __len__(self) -> int:
        return self._count

    def on_too_long(self, number: int) -> OnTooLong:
        return self._threads.on_too_long(number)

    def at(self, number: int, faults: Faults) -> RowThread | None:
        if number % ROWS == 0:
            self._tell(number, self._count)
        return self._threads.at(number, faults)


def _from_cache(folder: Path, make_in: Callable[[Path], None]) -> Table:
    with _alone(folder):
        table = _open(folder)
        if table is None:
            with whole(folder, replace=True) as growing:
                make_in(growing)
            table = _open(folder)
            assert table is not None
        with suppress(OSError):  # a cache that may be read only
            os.utime(folder / ABOUT)
    return table


def _for_once(make_in: Callable[[Path], None]) -> Table:
    """The rows of a dataset that nothing pins: they serve this process only."""
    folder = tempfile.TemporaryDirectory(prefix="harmony-tokens-")
    make_in(Path(folder.name))
    about = read_about(Path(folder.name))
    assert about is not None
    return Table(Path(folder.name), about, folder)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else looks for this entry or makes it meanwhile."""
    locks = folder.parent / LOCKS
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / folder.name):
        yield


def _open(folder: Path) -> Table | None:
    """An entry; None where there is none, or a damaged one."""
    about = read_about(folder)
    try:
        return None if about is None else Table(folder, about)
    except (OSError, pyarrow.ArrowInvalid):
        return None


def _placeless(note: str, graph: Graph, dataset: Ref) -> tuple[int, str]:
    """A note without its place in the recipe, which another run may have elsewhere: the dataset or the part
    of it of which it is, by number, and the words."""
    for number, ref in enumerate(_with_parts(graph, dataset)):
        if note.startswith(where := place(graph, ref)):
            return number, note.removeprefix(where)
    return 0, note


def _refuse_changed(desk: Desk, dataset: Ref, where: str) -> None:
    """What was read must be what the identity speaks of, or the key would name other rows for ever."""
    names = set(_with_parts(desk.graph, dataset))
    alone = replace(desk.graph, nodes={ref: node for ref, node in desk.graph.nodes.items() if ref in names})
    content = Hashes(desk.cache / HASHES).content
    if identities(alone, content, desk.cache.parent / "models")[dataset] != desk.identities[dataset]:
        raise RunFailed(f"{where}the data changed while it was read: start again when it is settled")


def _with_parts(graph: Graph, ref: Ref) -> Iterator[Ref]:
    yield ref
    for part in graph.needs(ref):
        yield from _with_parts(graph, part)


@cache
def _made_by() -> str:
    """The code and the libraries that put rows into tokens: what another version made is made anew."""
    code = sha256()
    for package in (harmony_grammar, harmony_compiler, harmony_runtime):
        for file in sorted(Path(package.__path__[0]).rglob("*.py")):
            code.update(file.read_bytes())
    libraries = [version(library) for library in _LIBRARIES]
    return digest([code.hexdigest(), platform.python_version(), *libraries])

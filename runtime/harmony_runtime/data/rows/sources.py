"""Sources: from a dataset node to its raw rows, those that it takes and in their order."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

from harmony_compiler.graph.datasets import FORMATS, Files, HubRows, LiteralRows, RegistryRows, Rows
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.datasets import DATASETS, SavedDataset
from harmony_compiler.store.home import home
from harmony_runtime.data.rows.formats import rows_in
from harmony_runtime.data.rows.hub import Hub
from harmony_runtime.data.rows.raw import RawRow
from harmony_runtime.data.rows.selection import Selection, Source, select, slices_of
from harmony_runtime.data.rows.stated import check_stated
from harmony_runtime.failures import RunFailed, place


class RawRows:
    """The raw rows of a dataset node. Nothing is opened before a row, or how many there are, is asked for.

    Raises, then:
        RunFailed: nothing can be read, or nothing is left.
    """

    def __init__(self, graph: Graph, ref: Ref, datasets: Path | None = None) -> None:
        node = graph.nodes[ref]
        assert isinstance(node, Rows)
        self._node = node
        self._where = place(graph, ref)
        self._datasets = datasets
        self._hub = Hub(node, self._where) if isinstance(node, HubRows) else None

    @property
    def pinned(self) -> str | None:
        """What these rows are taken from, beside what the node's identity says; "" where that says all."""
        return self._hub.pinned if self._hub else ""

    @property
    def counts(self) -> Mapping[str, int]:
        """How many rows the source has, `read`, and how many of them are left out, by the reason.

        Of a source that is streamed they are those that came.
        """
        return self._opened[1].counts

    def __len__(self) -> int:
        return len(self._opened[1].numbers)

    def __getitem__(self, number: int) -> RawRow:
        source, selection = self._opened
        return source[int(selection.numbers[number])]

    @cached_property
    def _opened(self) -> tuple[Source, Selection]:
        node, where = self._node, self._where
        source, slices = self._source()
        if node.columns:
            check_stated(source, node.columns, where)
        selection = select(source, slices, node, where)
        if not len(selection.numbers):
            read = selection.counts["read"]
            by = f" after `split` = {node.split!r}" if read and not any(slices) else ""
            by = " after `filter`, which holds for none" if selection.counts.get("filtered_out") else by
            raise RunFailed(f"{where}the dataset has no rows{by}; {read} were read")
        return source, selection

    def _source(self) -> tuple[Source, list[range]]:
        """Where the rows stand, and the numbers of those in the split."""
        if self._hub is not None:
            if first := self._hub.first_rows():
                return first[0], [first[1]]
            splits: Mapping[str, Sequence[RawRow] | _Numbered] = self._hub.splits()
        else:
            splits = {"train": self._local()}
        parts = slices_of(self._node.split, {name: len(rows) for name, rows in splits.items()}, self._where)
        named = list(dict.fromkeys(name for name, _ in parts))
        joined = _Joined([splits[name] for name in named])
        first_of = dict(zip(named, joined.starts, strict=True))
        return joined, [range(r.start + first_of[name], r.stop + first_of[name]) for name, r in parts]

    def _local(self) -> _Numbered:
        node, where = self._node, self._where
        match node:
            case Files():
                paths, format_ = [node.path] if isinstance(node.path, str) else node.path, type(node)
                return _Joined([rows_in(Path(path), format_, where) for path in paths])
            case RegistryRows():
                folder = self._datasets or home() / "datasets"
                held = registered(folder, node.key, where)
                files = [folder / node.key / name for name in held.files]
                return _Joined([rows_in(file, FORMATS[held.format], where) for file in files])
            case LiteralRows():
                return _Written(node.items, f"rows of {where.removesuffix(': ')}")
        raise RunFailed(f"{where}this version reads no rows from `{node.constructor}`", exit_code=2)


def registered(folder: Path, key: str, where: str) -> SavedDataset:
    """What is registered under a key.

    Raises:
        RunFailed: nothing is, or nobody can read what.
    """
    try:
        held = DATASETS.at(folder, key)
    except (OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or fault
        raise RunFailed(f"{where}the dataset `{key}` in {folder} cannot be read: {reason}") from fault
    if held is None:
        raise RunFailed(
            f"{where}the registry {folder} has no dataset `{key}`: `harmonyc datasets add {key} FILE` "
            "registers one"
        )
    return held


class _Numbered(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> RawRow: ...


class _Joined:
    """Several sources, one behind the other."""

    def __init__(self, parts: Sequence[_Numbered]) -> None:
        self._parts = parts
        *self.starts, self._count = accumulate(map(len, parts), initial=0)

    def __len__(self) -> int:
        return self._count

    def has(self, number: int) -> bool:
        return number < self._count

    def __getitem__(self, number: int) -> RawRow:
        part = bisect_right(self.starts, number) - 1
        return self._parts[part][number - self.starts[part]]


class _Written:
    """Rows of the recipe itself."""

    def __init__(self, items: Sequence[Mapping[str, Any]], name: str) -> None:
        self._items = items
        self._name = name

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, number: int) -> RawRow:
        text = json.dumps(self._items[number], ensure_ascii=False).encode()
        return RawRow(text, self._name, None, number + 1)

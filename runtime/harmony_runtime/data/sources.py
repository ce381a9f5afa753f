"""Sources: from a dataset node to raw rows. `datasets` slices them."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, ReadInstruction, concatenate_datasets

from harmony_compiler.graph.datasets import JsonLines, LiteralRows, Rows
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.files import GZIP
from harmony_runtime.context import stream
from harmony_runtime.data.rows import RawRow
from harmony_runtime.failures import RunFailed, place

_BOM = b"\xef\xbb\xbf"


class RawRows:
    """The raw rows of a dataset node: read, sliced, shuffled, limited.

    Raises:
        RunFailed: nothing can be read, or nothing is left.
    """

    def __init__(self, graph: Graph, ref: Ref) -> None:
        node = graph.nodes[ref]
        where = place(graph, ref)
        self._place = where.removesuffix(": ")
        self._files: list[tuple[Path | None, str]] = [(None, f"rows of {self._place}")]
        """Where rows stand, each place with its name as people know it."""
        match node:
            case JsonLines():
                paths = [Path(path) for path in ([node.path] if isinstance(node.path, str) else node.path)]
                self._files = [(path, _name(path)) for path in paths]
                read = concatenate_datasets(
                    [_lines(number, path, where) for number, path in enumerate(paths)]
                )
            case LiteralRows():
                texts = [_json(item) for item in node.items]
                read = _table(texts, list(range(1, len(texts) + 1)), 0)
            case _:
                raise RunFailed(f"{where}this version reads no rows from `{node.constructor}`", exit_code=2)
        assert isinstance(node, Rows)
        self._rows = _chosen(read, node, where)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> RawRow:
        row = self._rows[number]
        path, name = self._files[row["file"]]
        return RawRow(row["text"], name, path, row["line"])


def _lines(file: int, path: Path, where: str) -> Dataset:
    try:
        data = path.read_bytes()
        if data.startswith(GZIP):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as fault:
        reason = getattr(fault, "strerror", None) or fault
        raise RunFailed(f"{where}{path} cannot be read: {reason}") from fault
    lines = data.removeprefix(_BOM).split(b"\n")
    # A blank line is no row; every other line is one, whatever is in it.
    filled = [(text, line) for line, text in enumerate(lines, 1) if text.decode(errors="replace").strip()]
    return _table([text.rstrip(b"\r") for text, _ in filled], [line for _, line in filled], file)


def _table(texts: list[bytes], lines: list[int], file: int) -> Dataset:
    return Dataset.from_dict({"text": texts, "line": lines, "file": [file] * len(texts)})


def _chosen(read: Dataset, node: Rows, where: str) -> Dataset:
    """Whatever the order of writing: split, shuffle, limit."""
    try:
        slices = ReadInstruction.from_spec(node.split).to_absolute({"train": len(read)})
    except (ValueError, AssertionError) as fault:
        raise RunFailed(f"{where}`split` = {node.split!r}: {fault}") from fault
    rows = [number for part in slices for number in range(part.from_, part.to)]
    if node.shuffle:
        rows = [rows[n] for n in torch.randperm(len(rows), generator=stream(node.seed, "shuffle")).tolist()]
    if not rows:
        emptied = f" after `split` = {node.split!r}" if len(read) else ""
        raise RunFailed(f"{where}the dataset has no rows{emptied}; {len(read)} were read")
    return read.select(rows[: node.limit])


def _name(path: Path) -> str:
    """A path as people write it: from the working directory where it lies inside."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _json(item: dict[str, Any]) -> bytes:
    return json.dumps(item, ensure_ascii=False).encode()

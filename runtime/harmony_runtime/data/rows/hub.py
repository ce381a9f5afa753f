"""Rows of the hub: what `datasets` loads or streams, as JSON.

Where only the first rows are wanted of a dataset that is not here yet, they are streamed; else all of it is
prepared once in the cache of `datasets`, and its rows are read from there.
"""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as arrow

from harmony_compiler.graph.datasets import HubRows
from harmony_runtime.data.rows.arrow import refuse_unsayable, rows_of
from harmony_runtime.data.rows.lines import Place, Spool
from harmony_runtime.data.rows.raw import RawRow
from harmony_runtime.failures import RunFailed
from harmony_runtime.quiet import silence_datasets

_FIRST_ROWS = re.compile(r"\s*(?P<split>[\w.]+)\s*(\[\s*0?\s*:\s*(?P<stop>[\d_]+)\s*\]\s*)?", re.ASCII)
"""A split of which the first rows are asked for."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_STREAMED = 100
"""Rows that are streamed at once."""


class Hub:
    """A dataset of the hub, or of a folder laid out like one."""

    def __init__(self, node: HubRows, where: str) -> None:
        self._node = node
        self._where = where

    @property
    def pinned(self) -> str:
        """What the repository's name stands for now: a commit of it, or the state of a folder's files."""
        builder = self._builder
        return f"{builder.config_id} {builder.hash}"

    @cached_property
    def _builder(self) -> Any:
        from datasets import load_dataset_builder

        silence_datasets()
        node = self._node
        with self._refusals():
            builder = load_dataset_builder(node.repo, node.config, revision=node.revision)
        # Where no hub answers, the cache gives what it has, whatever commit was asked for.
        commits = _COMMIT.fullmatch(node.revision or "") and _COMMIT.fullmatch(builder.hash)
        if commits and builder.hash != node.revision:
            raise RunFailed(
                f"{self._where}of `{node.repo}` the cache here has the commit {builder.hash}, and the recipe "
                f"or its lock asks for {node.revision}: go online once, or bring the cache of `datasets` "
                "that holds it"
            )
        return builder

    def first_rows(self) -> tuple[Streamed, range] | None:
        """The rows to be streamed and which of them are asked for; None where all are to be prepared."""
        found, limit = _FIRST_ROWS.fullmatch(self._node.split), self._node.limit
        wanted = found is not None and not self._node.shuffle and (found["stop"] or limit is not None)
        if found is None or not wanted or self._is_offline or Path(self._builder.cache_dir).is_dir():
            return None
        with self._refusals():
            rows = self._builder.as_streaming_dataset(split=found["split"])
        streamed = Streamed(self._blocks(rows), self._place(found["split"]))
        return streamed, range(int(found["stop"]) if found["stop"] else sys.maxsize)

    @property
    def _is_offline(self) -> bool:
        from datasets import config

        return bool(config.HF_HUB_OFFLINE)

    def _blocks(self, rows: Any) -> Iterator[Any]:
        with self._refusals():
            for block in rows.with_format("arrow").iter(_STREAMED):
                self._refuse_unsayable(block.schema)
                yield block

    def splits(self) -> dict[str, ArrowRows]:
        """The dataset, prepared, by its splits."""
        with self._refusals():
            self._builder.download_and_prepare()
            prepared = self._builder.as_dataset()
        for rows in prepared.values():
            self._refuse_unsayable(rows.features.arrow_schema)
        return {name: ArrowRows(rows, self._place(name)) for name, rows in prepared.items()}

    def _place(self, split: str) -> Place:
        return Place(f"{self._node.repo} {split}", None)

    def _refuse_unsayable(self, schema: Any) -> None:
        refuse_unsayable(schema, self._where, f"`{self._node.repo}`")

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """What the library says went wrong, in one paragraph."""
        from datasets.exceptions import DatasetNotFoundError, DatasetsError

        node = self._node
        try:
            yield
        except (OSError, ValueError, RuntimeError, arrow.ArrowException, DatasetsError) as fault:
            if isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # of the disk with the cache
            said = " ".join(str(fault).split()).rstrip(".")
            if self._is_offline and isinstance(fault, ConnectionError):
                mend = (
                    "this machine is told to stay offline (HF_HUB_OFFLINE): load it once where there is a "
                    "network and bring the cache here, or keep its files and name them, as in `parquet(…)`"
                )
            elif isinstance(fault, ConnectionError):
                mend = "try again when the hub can be reached, or keep the files here and name them"
            elif isinstance(fault, DatasetNotFoundError):
                mend = "look at its name and revision, and whether you are logged in where it is private"
            else:
                mend = "look at its name, `config` and `revision`, or keep its files here and name them"
            raise RunFailed(f"{self._where}`{node.repo}` cannot be loaded: {said}: {mend}") from fault


class ArrowRows:
    """The rows of a prepared split, which lie in files."""

    def __init__(self, rows: Any, place: Place) -> None:
        self._rows = rows.with_format("arrow")
        self._place = place

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> RawRow:
        (row,) = rows_of([self._rows[number]], number + 1)
        return RawRow(row.text.encode(), *self._place, row.line)


class Streamed:
    """Rows that come one after another, kept as far as they were asked for."""

    def __init__(self, blocks: Iterator[Any], place: Place) -> None:
        self._rows = rows_of(blocks)
        self._spool = Spool(place)

    def __len__(self) -> int:
        return len(self._spool)

    def has(self, number: int) -> bool:
        self._spool.add(islice(self._rows, max(0, number + 1 - len(self._spool))))
        return number < len(self._spool)

    def __getitem__(self, number: int) -> RawRow:
        return self._spool[number]

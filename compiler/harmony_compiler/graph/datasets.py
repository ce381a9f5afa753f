"""Dataset nodes: where rows come from, and how a row becomes turns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from harmony_compiler.graph.node import RECIPE_SEED, Node, Rule, field
from harmony_compiler.graph.types import (
    JSON,
    PATH,
    TEMPLATE,
    DatasetType,
    ListOf,
    RecordOf,
    RowKind,
    Type,
    Union,
)
from harmony_compiler.graph.values import Ref

Template = Annotated[str, TEMPLATE]
ThreadRows = Annotated[Ref, DatasetType("Thread")]
PromptRows = Annotated[Ref, DatasetType("Prompt")]


class Rows(Node):
    """What every dataset takes. Whatever the order of writing: source, split, shuffle, limit, mapping."""

    split: str = field(
        "train", doc="slice in the `datasets` syntax, such as `train[:90%]`; a file has one split, `train`"
    )
    shuffle: bool = field(False, doc="shuffle the rows once, by `seed`")
    seed: int = field(RECIPE_SEED, at_least=0, doc="seed of the shuffle")
    limit: int | None = field(None, at_least=1, doc="keep the first rows only")
    system: Template | None = field(None, doc="template of the system turn")
    prompt: Template | None = field(None, doc="template of the user turn")
    completion: Template | None = field(None, doc="template of the assistant turn")
    metadata: dict[str, Template] | None = field(
        None, doc="named values that graders can read, one template each"
    )
    on_too_long: Literal["drop", "truncate", "error"] = field(
        "drop", doc="what happens to a row longer than the model's context; always counted"
    )

    @classmethod
    def result(cls, given: Mapping[str, Any]) -> Type:
        return DatasetType(kind_of_rows(given))


_PART = r"train(\[(-?\d+(_\d+)*|(-?(100|\d\d?)%))?:(-?\d+(_\d+)*|(-?(100|\d\d?)%))?\])?"
_SLICE = re.compile(rf"{_PART}(\s*\+\s*{_PART})*", re.ASCII)

LOCAL_SPLIT = Rule(
    "split",
    (),
    lambda split: _SLICE.fullmatch(split) is not None,
    "`{split}` is no slice of local rows, whose only split is `train`",
    "write `train`, `train[:90%]`, `train[-100:]` or a sum of such slices",
)


def kind_of_rows(given: Mapping[str, Any]) -> RowKind:
    """The kind of rows that a mapping makes."""
    if given.get("prompt") is None:
        return "Table"
    return "Prompt" if given.get("completion") is None else "Thread"


class JsonLines(Rows):
    """Rows from files with one JSON object a line."""

    constructor = "jsonl"
    argument = "path"
    rules = (
        LOCAL_SPLIT,
        Rule("path", (), lambda path: path != (), "the list of files is empty", "name at least one file"),
    )

    path: Annotated[tuple[str, ...] | str, Union((PATH, ListOf(PATH)))] = field(doc="file, or list of files")


class LiteralRows(Rows):
    """Rows written in the recipe itself."""

    constructor = "rows"
    argument = "items"
    rules = (
        LOCAL_SPLIT,
        Rule("items", (), lambda items: items != (), "the list of rows is empty", "write at least one row"),
    )

    items: Annotated[tuple[dict[str, Any], ...], ListOf(RecordOf(JSON))] = field(
        doc="the rows, one record each"
    )

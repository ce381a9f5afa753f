"""Dataset nodes: where rows come from, and how a row becomes turns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from harmony_compiler.graph.formulas import Formula
from harmony_compiler.graph.models import NO_ADDRESS
from harmony_compiler.graph.node import RECIPE_SEED, Needs, Node, ReadWith, Rule, field
from harmony_compiler.graph.settings import AllColumns, Column
from harmony_compiler.graph.types import (
    CONDITION,
    JSON,
    PATH,
    TEMPLATE,
    DatasetType,
    ListOf,
    RecordOf,
    RowKind,
    SettingsType,
    Type,
    Union,
)
from harmony_compiler.graph.values import Percent, Ref

Template = Annotated[str, TEMPLATE]
TURNS = Union((TEMPLATE, SettingsType(Column.constructor)))
METADATA = Union((RecordOf(TURNS), SettingsType(AllColumns.constructor)))
Turns = Annotated[Any, TURNS]
"""A template of one text, or a column that holds turns."""
Paths = Annotated[tuple[str, ...] | str, Union((PATH, ListOf(PATH)))]
ThreadRows = Annotated[Ref, DatasetType("Thread")]
PromptRows = Annotated[Ref, DatasetType("Prompt")]
PreferenceRows = Annotated[Ref, DatasetType("Preference")]
AnyRows = Annotated[Ref, DatasetType()]

MAPPED = ("system", "prompt", "completion", "messages", "chosen", "rejected")
"""Fields that make turns of a row. Where none is given, a known layout of columns maps itself."""


class Drawn(Node):
    """What every dataset takes, a mixture of others included."""

    shuffle: bool = field(False, doc="shuffle the rows once, by `seed`")
    seed: int = field(RECIPE_SEED, at_least=0, doc="seed of the shuffle")
    limit: int | None = field(None, at_least=1, doc="keep the first rows only")


class Rows(Drawn):
    """Rows of one source. Whatever the order of writing: source, split, filter, shuffle, limit, mapping."""

    reads = (ReadWith("seed", "shuffle", (True,)),)
    needs_fields = (
        Needs("chosen", "rejected", "a better answer is better than another one"),
        Needs("rejected", "chosen", "a worse answer is worse than another one"),
    )

    on_too_long: Literal["drop", "truncate", "error"] = field(
        "drop", doc="what happens to a row longer than the model's context; always counted"
    )
    split: str = field(
        "train",
        doc="slice in the `datasets` syntax, such as `train[:90%]`; a file has one split, `train`",
        examples=('"train"', '"train[:90%]"', '"train[-1:] + train[:1]"'),
    )
    filter: Annotated[Formula, CONDITION] | None = field(
        None,
        doc="keep the rows for which this holds; the row's columns are names in it",
        examples=("len(answer) > 0", 'question != "" and not contains(answer, "?")'),
    )
    columns: dict[str, str] | None = field(
        None,
        role="watching",
        doc="the columns with their types, where the compiler cannot look at the data itself",
        examples=('{ question = "str", answer = "str" }',),
    )
    system: Template | None = field(None, doc="template of the system turn")
    prompt: Turns | None = field(
        None, doc="what is asked: a template of the user turn, or a column of turns up to the last question"
    )
    completion: Turns | None = field(
        None, doc="what is answered: a template of the assistant turn, or a column of turns"
    )
    messages: Column | None = field(
        None, doc="the column that holds all turns", examples=('column("messages")',)
    )
    chosen: Turns | None = field(None, doc="the better answer: a template, or a column of turns")
    rejected: Turns | None = field(None, doc="the worse answer: a template, or a column of turns")
    metadata: Annotated[Any, METADATA] | None = field(
        None,
        doc="named values that graders can read: a template each, a `column(…)` as it is, or all `columns`",
    )

    @classmethod
    def result(cls, given: Mapping[str, Any]) -> Type:
        return DatasetType(kind_of_rows(given))


_PART = r"train(\[(-?\d+(_\d+)*|(-?(100|\d\d?)%))?:(-?\d+(_\d+)*|(-?(100|\d\d?)%))?\])?"
_SLICE = rf"{_PART}(\s*\+\s*{_PART})*"

LOCAL_SPLIT = Rule(
    "split",
    (),
    lambda split: split == "train" or re.fullmatch(_SLICE, split, re.ASCII) is not None,
    "`{split}` is no slice of local rows, whose only split is `train`",
    "write `train`, `train[:90%]`, `train[-100:]` or a sum of such slices",
)


def kind_of_rows(given: Mapping[str, Any]) -> RowKind:
    """The kind of rows that a mapping makes."""
    if given.get("chosen") is not None and given.get("rejected") is not None:
        return "Preference"
    if given.get("messages") is not None:
        return "Thread"
    if given.get("prompt") is None:
        return "Table"
    return "Prompt" if given.get("completion") is None else "Thread"


TURNS_ONCE = tuple(
    Rule(
        name,
        (whole,),
        lambda *_: False,
        f"`{name}` stands beside `{whole}`, which has the answer already",
        f"remove `{name}` or `{whole}`",
    )
    for name, whole in (
        ("prompt", "messages"),
        ("completion", "messages"),
        ("completion", "chosen"),
        ("completion", "rejected"),
    )
)
"""Fields of a mapping that say the same turns in two ways."""


class Files(Rows):
    """Rows from files."""

    argument = "path"
    rules = (
        *TURNS_ONCE,
        LOCAL_SPLIT,
        Rule("path", (), lambda path: path != (), "the list of files is empty", "name at least one file"),
    )

    path: Paths = field(doc="file, or list of files")


class JsonLines(Files):
    """Rows from files with one JSON object a line."""

    constructor = "jsonl"


class Json(Files):
    """Rows from files that hold one JSON array of objects."""

    constructor = "json"


class Csv(Files):
    """Rows from files of values separated by commas, the names of the columns in the first line."""

    constructor = "csv"


class Parquet(Files):
    """Rows from Parquet files."""

    constructor = "parquet"


FORMATS: dict[str, type[Files]] = {cls.constructor: cls for cls in (JsonLines, Json, Csv, Parquet)}
"""What reads files, by its name."""


class HubRows(Rows):
    """Rows of a dataset from the Hugging Face hub, or from its local cache."""

    constructor = "hf"
    tag = "hf_dataset"
    argument = "repo"
    rules = (
        *TURNS_ONCE,
        Rule("split", (), lambda split: split.strip() != "", "the split has no name", "such as `train`"),
        NO_ADDRESS,
    )

    repo: str = field(doc="repository, such as `openai/gsm8k`", examples=('"openai/gsm8k"',))
    config: str | None = field(None, doc="configuration of the dataset", examples=('"main"',))
    revision: str | None = field(None, doc="branch, tag or commit; by default the main branch")


class RegistryRows(Rows):
    """Rows of a dataset that was registered under a key."""

    constructor = "registry"
    tag = "registry_dataset"
    argument = "key"
    rules = TURNS_ONCE

    key: str = field(doc="key of the dataset", examples=('"problems"',))


class LiteralRows(Rows):
    """Rows written in the recipe itself."""

    constructor = "rows"
    argument = "items"
    rules = (
        *TURNS_ONCE,
        LOCAL_SPLIT,
        Rule("items", (), lambda items: items != (), "the list of rows is empty", "write at least one row"),
    )

    items: Annotated[tuple[dict[str, Any], ...], ListOf(RecordOf(JSON))] = field(
        doc="the rows, one record each",
        examples=('[{ question = "1+1", answer = "2" }, { question = "2+3", answer = "5" }]',),
    )


class Mix(Drawn):
    """Rows of several datasets, drawn in turn by weight."""

    constructor = "mix"
    argument = "datasets"
    rules = (
        Rule(
            "datasets",
            (),
            lambda datasets: len(datasets) > 1,
            "a mixture has at least two datasets",
            "name another one, or use the dataset itself",
        ),
        Rule(
            "weights",
            ("datasets",),
            lambda weights, datasets: len(weights) == len(datasets),
            "`weights` and `datasets` are not of one length",
            "give one weight a dataset",
        ),
        Rule(
            "weights",
            (),
            lambda weights: all(weight.value > 0 for weight in weights),
            "a weight of 0% would leave its dataset out",
            "leave the dataset out itself",
        ),
        Rule(
            "weights",
            (),
            lambda weights: abs(sum(weight.value for weight in weights) - 100) < 1e-9,
            "the `weights` do not add up to 100%",
            "the last one is what the others leave",
        ),
    )

    on_too_long: Literal["drop", "truncate", "error"] | None = field(
        None, doc="what happens to a row longer than the model's context; by default what its dataset says"
    )
    datasets: Annotated[tuple[Ref, ...], ListOf(DatasetType())] = field(doc="the datasets, mapped alike")
    weights: tuple[Percent, ...] | None = field(
        None,
        doc="share of rows from each, until the first one has given all; by default each gives all its rows",
        examples=("[70%, 30%]", "[50%, 25%, 25%]"),
    )

    @staticmethod
    def drawn(sizes: Sequence[int], shares: Sequence[float] | None) -> list[int]:
        """How many rows a mixture takes of datasets of these sizes.

        It ends where the first one has given all its rows, so that none comes twice and every share holds.
        Without shares each gives all its rows.
        """
        if shares is None:
            return list(sizes)
        end = min(size / share for size, share in zip(sizes, shares, strict=True))
        return [min(size, int(end * share + 0.5)) for size, share in zip(sizes, shares, strict=True)]

    @classmethod
    def result(cls, given: Mapping[str, Any]) -> Type:
        parts = given["datasets"].data if "datasets" in given else ()
        kinds = {part.type.rows for part in parts} if isinstance(parts, tuple) else set()
        return DatasetType(kinds.pop() if len(kinds) == 1 else None)

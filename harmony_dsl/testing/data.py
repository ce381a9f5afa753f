"""The folder in which generated recipes stand: rows in every format, a chat template, graders, models."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harmony_compiler.graph.graders import Contains
from harmony_compiler.graph.graph import Graph, Origin
from harmony_compiler.graph.types import RowKind
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.datasets import add
from harmony_compiler.store.graders import SavedGrader
from harmony_compiler.store.graders import add as add_grader
from harmony_compiler.store.registry import Entry, write_manifest

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight")


_SPEAKERS = {"user": "Human", "assistant": "Assistant"}


def _row(a: int, b: int) -> dict[str, Any]:
    question, answer = f"{a} and {b}?", NUMBERS[a + b - 2]
    turns = [("user", question), ("assistant", answer), ("user", "sure?"), ("assistant", "yes")]
    return {
        "question": question,
        "answer": answer,
        "chosen": answer,
        "rejected": NUMBERS[a - 1],
        "score": a * b,
        "tags": ["sum", NUMBERS[b]],
        "messages": [{"role": role, "content": text} for role, text in turns],
        "conversations": [
            {"from": {"user": "human"}.get(role, "gpt"), "value": text} for role, text in turns
        ],
        "transcript": "".join(f"\n\n{_SPEAKERS[role]}: {text}" for role, text in turns),
        "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
        "kwargs": [{}, {"relation": "at least", "num_words": b}],
    }


ROWS = tuple(_row(a, b) for a in range(1, 5) for b in range(1, 4))
"""What each file of rows holds."""


class KnownLayout(NamedTuple):
    """Rows that need no mapping."""

    rows: RowKind
    columns: Mapping[str, Callable[[dict[str, Any]], Any]]
    """Its columns, each with what makes it of a row of `ROWS`."""


def _as_it_is(column: str) -> Callable[[dict[str, Any]], Any]:
    return lambda row: row[column]


def _asked(row: dict[str, Any]) -> list[dict[str, str]]:
    return [{"role": "user", "content": row["question"]}]


def _told(column: str) -> Callable[[dict[str, Any]], list[dict[str, str]]]:
    return lambda row: [{"role": "assistant", "content": row[column]}]


def _talk(column: str) -> Callable[[dict[str, Any]], list[dict[str, str]]]:
    return lambda row: [*_asked(row), *_told(column)(row)]


def _transcript(column: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: f"\n\nHuman: {row['question']}\n\nAssistant: {row[column]}"


LAYOUTS = {
    "chat.jsonl": KnownLayout("Thread", {"messages": _as_it_is("messages")}),
    "sharegpt.jsonl": KnownLayout("Thread", {"conversations": _as_it_is("conversations")}),
    "alpaca.jsonl": KnownLayout(
        "Thread",
        {
            "instruction": _as_it_is("question"),
            "input": _as_it_is("rejected"),
            "output": _as_it_is("answer"),
        },
    ),
    "completions.jsonl": KnownLayout(
        "Thread", {"prompt": _as_it_is("question"), "completion": _as_it_is("answer")}
    ),
    "answers.jsonl": KnownLayout("Thread", {"prompt": _asked, "completion": _told("answer")}),
    "pairs.jsonl": KnownLayout(
        "Preference",
        {
            "prompt": _as_it_is("question"),
            "chosen": _as_it_is("chosen"),
            "rejected": _as_it_is("rejected"),
        },
    ),
    "asked_pairs.jsonl": KnownLayout(
        "Preference", {"prompt": _asked, "chosen": _told("chosen"), "rejected": _told("rejected")}
    ),
    "talks.jsonl": KnownLayout("Preference", {"chosen": _talk("chosen"), "rejected": _talk("rejected")}),
    "transcripts.jsonl": KnownLayout(
        "Preference", {"chosen": _transcript("chosen"), "rejected": _transcript("rejected")}
    ),
}
"""Files in known layouts."""

TURNS: dict[str, dict[str, str]] = {
    "messages": {},
    "conversations": {
        "role": '"from"',
        "content": '"value"',
        "roles": '{ human = "user", gpt = "assistant" }',
    },
    "transcript": {"transcript": "true"},
}
"""The columns that hold turns, each with the fields of its `column(…)`. A format has all of them or none."""

TEXTS = ("question", "answer", "chosen", "rejected")
"""The columns that every format has, and that hold short texts."""

REGISTERED = "problems"
"""The key under which the rows are registered."""


def _jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")


def _json(path: Path) -> None:
    path.write_text(json.dumps(ROWS, indent=1), encoding="utf-8")


def _csv(path: Path) -> None:
    import csv

    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, TEXTS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(ROWS)


def _parquet(path: Path) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:  # then nobody can look inside either, and the checker says so
        path.write_bytes(b"PAR1PAR1")
        return
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([_flat(row) for row in ROWS]), path)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a table has it: structures of one shape."""
    kwargs = [
        {"relation": each.get("relation"), "num_words": each.get("num_words")} for each in row["kwargs"]
    ]
    return {**row, "kwargs": kwargs}


FORMATS: dict[str, Callable[[Path], None]] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
    "parquet": _parquet,
}
"""The constructor that reads a format, and what writes it: into `rows.CONSTRUCTOR`."""


def files_of(constructor: str) -> tuple[str, ...]:
    """The files of rows that a constructor reads: as they are, and compressed."""
    return (f"rows.{constructor}", f"rows.{constructor}.gz") if constructor in FORMATS else ()


def columns_of(constructor: str) -> tuple[str, ...]:
    """The columns of the rows that a constructor reads; none where nobody can look at them."""
    match constructor:
        case "csv":
            return TEXTS
        case "registry":
            return tuple(ROWS[0])
    return tuple(ROWS[0]) if constructor in FORMATS else ()


GRADERS = '''\
"""Graders of generated recipes."""


def score(completion, prompt="", turns=(), metadata=None):
    """Shorter is better."""
    return 1 / (1 + len(completion))


def picky(completion, reference):
    """Asks for what no grader is given."""
    return float(completion == reference)
'''

CHAT = (
    "{% for message in messages %}[{{ message.role }}]{{ message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)

CONFIG = {"model_type": "qwen3", "hidden_size": 16, "num_attention_heads": 4, "max_position_embeddings": 2048}
"""Of the model `tiny-model`, as far as a checker looks. A folder that is run needs a model in its place."""


def write_data(folder: Path) -> Path:
    """Write everything that generated recipes name into `folder`; gives the registry's folder there.

    What lies there already stays: a folder that is to be run brings real models of its own under
    `tiny-model`, `tokenizer` and, in the registry, `sorter`.
    """
    for constructor, write in FORMATS.items():
        plain, packed = (folder / name for name in files_of(constructor))
        write(plain)
        packed.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    for name, layout in LAYOUTS.items():
        lines = [{column: made(row) for column, made in layout.columns.items()} for row in ROWS]
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (folder / "graders.py").write_text(GRADERS, encoding="utf-8")
    (folder / "chat.jinja").write_text(CHAT, encoding="utf-8")
    for name in ("tiny-model", "tokenizer"):
        if not (folder / name).exists():
            (folder / name).mkdir()
            (folder / name / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    rows, created = folder / "rows.jsonl", "2026-01-31T12:00:00+00:00"
    add(folder / "home" / "datasets", REGISTERED, [rows], "jsonl", rows=len(ROWS), created=created)
    registry = folder / "home" / "models"
    if not (registry / "sorter").exists():
        (registry / "sorter").mkdir(parents=True)
        entry = Entry("sorter", "0" * 32, recipe="sorting", stage="sorter", created=created)
        write_manifest(registry / "sorter", entry)
    _publish(folder / "home" / "graders", created)
    return registry


def _publish(graders: Path, created: str) -> None:
    """The grader that generated recipes name by its key: it finds `please`."""
    please = Ref("please")
    origins = {please: Origin("please", "tone.recipe", 1)}
    graph = Graph("tone", 0, {please: Contains(text="please")}, (please,), origins)
    made = SavedGrader(
        grader="please",
        doc="",
        recipe="tone",
        file="tone.recipe",
        created=created,
        harmony="0",
        scores=(0.0, 1.0),
        needs=(),
        files={},
        graph=graph.to_json(),
    )
    add_grader(graders, "politeness", made)

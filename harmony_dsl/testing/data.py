"""The folder in which generated recipes stand: rows in every format, a chat template, graders, models."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harmony_compiler.graph.types import RowKind
from harmony_compiler.store.registry import Entry, write_manifest

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight")


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
        "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
        "kwargs": [{}, {"relation": "at least", "num_words": b}],
    }


ROWS = tuple(_row(a, b) for a in range(1, 5) for b in range(1, 4))
"""What each file of rows holds."""


class KnownLayout(NamedTuple):
    """Rows that need no mapping."""

    rows: RowKind
    columns: Mapping[str, str]
    """Its columns, each with that of `ROWS` which fills it."""
    later: bool


LAYOUTS = {
    "chat.jsonl": KnownLayout("Thread", {"messages": "messages"}, later=True),
    "sharegpt.jsonl": KnownLayout("Thread", {"conversations": "conversations"}, later=True),
    "pairs.jsonl": KnownLayout(
        "Preference", {"prompt": "question", "chosen": "chosen", "rejected": "rejected"}, later=True
    ),
    "alpaca.jsonl": KnownLayout(
        "Thread", {"instruction": "question", "input": "rejected", "output": "answer"}, later=False
    ),
    "completions.jsonl": KnownLayout("Thread", {"prompt": "question", "completion": "answer"}, later=False),
}
"""Files in known layouts."""

TURNS = "messages"
"""The column that holds turns."""

TEXTS = ("question", "answer", "chosen", "rejected")
"""The columns that every format has, and that hold short texts."""


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


def columns_of(constructor: str) -> tuple[str, ...]:
    """The columns of the file that a constructor reads; none where it reads no file."""
    if constructor not in FORMATS:
        return ()
    return TEXTS if constructor == "csv" else tuple(ROWS[0])


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
        write(folder / f"rows.{constructor}")
    for name, layout in LAYOUTS.items():
        lines = [{column: row[source] for column, source in layout.columns.items()} for row in ROWS]
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (folder / "graders.py").write_text(GRADERS, encoding="utf-8")
    (folder / "chat.jinja").write_text(CHAT, encoding="utf-8")
    for name in ("tiny-model", "tokenizer"):
        if not (folder / name).exists():
            (folder / name).mkdir()
            (folder / name / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    registry = folder / "home" / "models"
    if not (registry / "sorter").exists():
        (registry / "sorter").mkdir(parents=True)
        entry = Entry(
            "sorter", "0" * 32, recipe="sorting", stage="sorter", created="2026-01-31T12:00:00+00:00"
        )
        write_manifest(registry / "sorter", entry)
    return registry

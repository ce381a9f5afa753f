"""Mapping: a data file of the user's as the datasets of a scaffold.

Takes the file's first rows; gives the fields that make of them what an algorithm trains on, and what the
graders compare with. Layouts that the compiler knows are taken as they are; other columns are guessed, which
the recipe then says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harmony_compiler.data.heads import Head, Heads
from harmony_compiler.declared.modules import check
from harmony_compiler.files import DISK
from harmony_compiler.graph.datasets import Rows
from harmony_compiler.graph.graph import ONE_DEVICE
from harmony_compiler.graph.settings import Column
from harmony_compiler.graph.types import FLOAT, INT, STR, ListOf, RowKind
from harmony_compiler.lowering import every_made
from harmony_compiler.naming.names import resolve
from harmony_compiler.store.datasets import FORMATS
from harmony_compiler.store.guesses import guess
from harmony_compiler.store.layouts import Fields, Layout, lines_of, recognised, turns_of, type_of
from harmony_dsl.scaffolds.filling import quoted
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.parser import parse_file
from harmony_grammar.records import Record
from harmony_grammar.source import Source

KINDS: dict[str, RowKind] = {"sft": "Thread", "dpo": "Preference", "grpo": "Prompt", "ppo": "Prompt"}
"""What each algorithm trains on."""

_RIGHT = ("answer", "final_answer", "ground_truth")
"""What columns with a short right answer are called, the likeliest first."""

_ANSWERS = (*_RIGHT, "solution", "reference", "target", "label")
"""Where no known layout has an answer: also what may be something else."""

ARGUMENT = "--data"
"""Where findings about the whole file point."""

FEW = 10
"""Of fewer rows a tenth may be none."""


class Mapped(Record):
    """How a file's rows are read."""

    fields: Fields
    """What is trained on."""
    asked: Fields
    """The prompt alone, of the rows that are held out."""
    answer: str
    """A template of the answer that graders compare with; empty where no column holds one."""
    guessed: bool
    head: Head
    only: str = ""
    """The condition of those rows that have such an answer, where not all have."""

    @property
    def turns(self) -> str:
        """The column of turns whose last one should be the answer; empty where a template tells it."""
        field = _answer(self.fields)
        return "" if isinstance(field, str) else field.name

    @property
    def metadata(self) -> str:
        return f"metadata = {{ answer = {quoted(self.answer)} }}"

    @property
    def lines(self) -> list[str]:
        """The mapping of the rows that are trained on."""
        if self.fields is not self.asked:
            return lines_of(self.fields)
        return [*self.condition, *lines_of(self.fields), self.metadata]

    @property
    def condition(self) -> list[str]:
        return [f"filter = {self.only}"] if self.only else []

    @property
    def longest(self) -> int:
        """Characters in the longest of the first rows, as far as it is mapped."""
        lost = set(Layout("", self.fields).unread(self.head.names or ()))
        read = [name for name in self.head.names or () if name not in lost]
        return max((sum(len(str(row.get(name, ""))) for name in read) for row in self.head.rows), default=0)


def format_of(path: Path) -> str | None:
    """The constructor that reads a file, by the end of its name."""
    end = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    return end if end in FORMATS else None


def read_head(path: Path, format_: str) -> tuple[Head, Sequence[Diagnostic]]:
    """The first rows of a file as a recipe in the working directory reads them, and what is wrong there."""
    heads = Heads(DISK)
    source = Source(ARGUMENT, f"dataset given = {format_}({quoted(str(path))})\n")
    checked = check(resolve(parse_file(source).tree), {}, (), ONE_DEVICE, heads)
    head = next(heads.of(made) for made in every_made(checked) if issubclass(made.cls, Rows))
    return head, (*checked.diagnostics, *heads.findings)


def mapped(head: Head, algorithm: str) -> Mapped | None:
    """How the rows can be read for an algorithm; None where nothing in them tells what it trains on."""
    kind = KINDS[algorithm]
    known = recognised(head)
    if kind == "Prompt":
        return _problems(head, known)
    fields = known.fields if known and _makes(known.fields, kind) else _guess(head, kind)
    if fields is None:
        return None
    asked, (answer, only) = _asked(fields), _text_of(_answer(fields), head)
    return Mapped(fields, {"prompt": asked}, answer, known is None or fields is not known.fields, head, only)


def _problems(head: Head, known: Layout | None) -> Mapped | None:
    """Prompts, with what is known of their right answers."""
    fields = known.fields if known else _guess(head, "Thread") or _guess(head, "Prompt")
    if not fields:
        return None
    asked = {"prompt": _asked(fields)}
    named = _named(_RIGHT if known else _ANSWERS, head)
    if named is not None:
        return Mapped(asked, asked, _short(f"{{{{ {named} }}}}", named, head), True, head)
    answer, only = ("", "") if fields.keys() <= {"prompt"} else _text_of(_answer(fields), head)
    return Mapped(asked, asked, answer, known is None, head, only)


def _named(called: Sequence[str], head: Head) -> str | None:
    """The column whose name comes first among those. A truth value says how good an answer is, not which."""
    named = {name.lower(): name for name in reversed(head.names or ())}
    found = (named[name] for name in called if name in named)
    return next((name for name in found if type_of(head, name) in (STR, INT, FLOAT)), None)


def _guess(head: Head, kind: RowKind) -> Fields | None:
    fields = guess(head, kind)
    return fields if fields and not any("…" in line for line in lines_of(fields)) else None


def _makes(fields: Fields, kind: RowKind) -> bool:
    pairs = "chosen" in fields
    return pairs == (kind == "Preference")


def _asked(fields: Fields) -> str | Column:
    """The field that says what is asked. Of whole conversations it is asked up to the last question."""
    return fields.get("prompt") or fields.get("messages") or fields["chosen"]


def _answer(fields: Fields) -> str | Column:
    return fields.get("completion") or fields.get("chosen") or fields.get("messages") or fields["prompt"]


def _text_of(field: str | Column, head: Head) -> tuple[str, str]:
    """A template of an answer: the text of a column, or of its last turn; and which rows have one. Both are
    empty where the rows end with somebody else's turn."""
    if isinstance(field, str):
        return _short(field, field.strip("{} "), head), ""
    if field.transcript:
        return "{{ " + field.name + ".split('\n\nAssistant:')[-1] | trim }}", ""
    several = isinstance(type_of(head, field.name), ListOf)
    last = f"{field.name}[-1]" if several else field.name
    answer = f"{{{{ {last}.{field.content} }}}}"

    ends = [_end(value) for value in head.column(field.name) if value is not None]
    whose = [str(turn.get(field.role)) for turn in ends]
    known = [(field.roles or {}).get(role, role) == "assistant" for role in whose]
    said = [isinstance(turn.get(field.content), str) for turn in ends]
    if all(known) and all(said):
        return answer, ""
    without_text = any(one and not text for one, text in zip(known, said, strict=True))
    held_out = known[-max(1, len(known) // FEW) :]
    if without_text or not several or not any(held_out):
        return "", ""
    end = f"{field.name}[len({field.name}) - 1].{field.role}"
    own = dict.fromkeys(role for role, one in zip(whose, known, strict=True) if one)
    return answer, " or ".join(f"{end} == {quoted(role)}" for role in own)


def _end(value: Any) -> Mapping[str, Any]:
    """The last turn in a column's value."""
    return next(reversed(list(turns_of([value]))), {})


def _short(template: str, column: str, head: Head) -> str:
    """A worked solution ends in its answer behind `####` in well-known data."""
    texts = [value for value in head.column(column) if value is not None]
    if texts and all(isinstance(text, str) and "####" in text for text in texts):
        return f"{{{{ {column}.split('####')[-1] | trim }}}}"
    return template


# --- as a recipe writes it ------------------------------------------------------------------------------


def datasets(found: Mapped, constructor: str, path: str) -> dict[str, str]:
    """The values of the datasets that scaffolds declare."""
    note = ["# Guessed by the names of the columns: look with `harmonyc preview`."] if found.guessed else []
    share = "90%" if found.head.table.count is None or found.head.table.count >= FEW else "50%"
    first, last = [f'split = "train[:{share}]"'], [f'split = "train[{share}:]"']

    def written(*lines: str) -> str:
        return "\n".join([f"{constructor}({quoted(path)}) {{", *(f"  {line}" for line in lines), "}"])

    copy = f'{{ split = "train[{share}:]" }}'
    if found.fields is found.asked:
        return {"problems": written(*first, *note, *found.lines), "heldout": f"problems {copy}"}
    trained = written(*first, *note, *found.lines)
    heldout = written(*last, *found.condition, *lines_of(found.asked), found.metadata)
    return {"lessons": trained, "pairs": trained, "heldout": heldout, "heldout_pairs": f"pairs {copy}"}

"""A view in words: what a terminal and a page both say. No library here."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from harmony_compiler.plan.shown import name_of, part_text
from harmony_dsl.cli.output import counted

if TYPE_CHECKING:
    from harmony_compiler.graph.graph import Graph
    from harmony_grammar.diagnostics import Diagnostic
    from harmony_runtime.data.shown import Part, ShownRow
    from harmony_runtime.models.spelling import Kind, Token
    from harmony_runtime.preview import View

Tone = Literal["read", "trained", "partly", "rejected"]
"""What a loss does with a token: nothing, all, a part; or it is what a pair prefers less."""

GENERATION = "generation begins here"


class Run(NamedTuple):
    """Tokens of a row that look alike, one after another."""

    tone: Tone
    kind: Kind
    weight: float
    tokens: tuple[Token, ...]

    @property
    def text(self) -> str:
        return "".join(token.text for token in self.tokens)


def runs(part: Part) -> list[Run]:
    def look(token: Token) -> tuple[Tone, Kind, float]:
        return tone(token, part.name), token.kind, token.weight

    return [Run(*alike, tuple(tokens)) for alike, tokens in groupby(part.tokens, look)]


def tone(token: Token, part: str) -> Tone:
    if not token.weight:
        return "read"
    if part == "rejected":
        return "rejected"
    return "trained" if token.weight >= 1 else "partly"


Shown = Literal["text", "newline", "blank", "hidden"]
Piece = tuple[Shown, str]

_PIECES = re.compile(r"(\n| {2,}|\A | \Z| (?=\n)|(?<=\n) )")
"""Newlines, and blanks that are easily overlooked: several, and those at an edge."""


def visible(text: str) -> list[Piece]:
    """A text in pieces; what nobody would see has a kind of its own, and a name where it has no shape.

    Nothing in it can steer a terminal.
    """
    return [(kind, _named(kind, piece)) for kind, piece in _cut(text)]


def safe(text: str) -> str:
    """A text that stays as it is, but that nothing in it can steer a terminal."""
    return "".join(_named(kind, piece) for kind, piece in _cut(text))


def by_token(tokens: Sequence[Token]) -> Iterator[tuple[Token, list[Piece]]]:
    """Each token with its visible pieces; a blank between two words is none that is easily overlooked,
    though it begins a token."""
    rest = deque(_cut("".join(token.text for token in tokens)))
    for token in tokens:
        pieces, room = list[Piece](), len(token.text)
        while room:
            kind, piece = rest.popleft()
            if len(piece) > room:
                rest.appendleft((kind, piece[room:]))
            pieces.append((kind, _named(kind, piece[:room])))
            room -= len(piece[:room])
        yield token, pieces


def _cut(text: str) -> Iterator[Piece]:
    for piece in _PIECES.split(text):
        if piece == "\n":
            yield "newline", piece
        elif piece and not piece.strip(" "):
            yield "blank", piece
        else:
            for hidden, characters in groupby(piece, _hidden):
                yield "hidden" if hidden else "text", "".join(characters)


def _hidden(character: str) -> bool:
    """Control and format characters, and blanks that look like a space and are none."""
    category = unicodedata.category(character)
    return category in ("Cc", "Cf", "Zl", "Zp", "Cs", "Co") or (category == "Zs" and character != " ")


def _named(kind: Shown, piece: str) -> str:
    if kind != "hidden":
        return piece
    return "".join("⇥" if c == "\t" else c.encode("unicode_escape").decode() for c in piece)


def shortened(tokens: Sequence[Token]) -> tuple[Sequence[Token], int, Sequence[Token]]:
    """The beginning and the end of a long run, and how many tokens between them are left out."""
    if sum(len(token.text) for token in tokens) <= LONG:
        return tokens, 0, ()
    head, tail = _within(tokens, HEAD), _within(tokens[::-1], TAIL)
    return tokens[:head], len(tokens) - head - tail, tokens[len(tokens) - tail :]


LONG, HEAD, TAIL = 2_000, 1_200, 600
"""Characters of a text that is shortened, and of what is then shown at its beginning and at its end."""


def _within(tokens: Sequence[Token], room: int) -> int:
    """How many tokens fit, one at least."""
    count = 0
    for token in tokens:
        room -= len(token.text)
        if room < 0:
            break
        count += 1
    return max(count, 1)


def title(graph: Graph, view: View) -> str:
    reading = view.reading
    dataset = graph.stage_name(reading.dataset)
    if reading.judge is not None:
        return f"{graph.stage_name(reading.judge)}: what the judge is asked about {dataset}"
    if reading.stage is None:
        return f"{dataset}: no stage reads it"
    stage = graph.nodes[reading.stage].constructor
    models = ", ".join(name_of(graph, model) for model in reading.models)
    through = f", as {models} sees it" if len(reading.models) == 1 else f", as {models} see it"
    return f"{graph.stage_name(reading.stage)}: {stage} of {dataset}{through if models else ''}"


def dataset_lines(graph: Graph, view: View) -> list[str]:
    """The dataset as the recipe has it, files by their way from here."""
    head, fields = part_text(graph, view.reading.dataset)
    here = f'"{Path.cwd().as_posix()}/'
    return [head, *(f"  {line}".replace(here, '"') for line in fields)]


def facts(view: View) -> list[tuple[str, str]]:
    """What holds for all rows, each with its name."""
    found = []
    if view.counts:
        read = [f"{view.counts.get('read', 0):,} read"]
        read += [
            f"{count:,} {name.replace('_', ' ')}"
            for name, count in view.counts.items()
            if name != "read" and (count or name == "kept")
        ]
        found.append(("rows", " · ".join(read)))
    if view.lengths is not None:
        spread = view.lengths
        told = f"{spread.shortest:,} to {spread.longest:,} tokens, half of the rows up to {spread.median:,}"
        if spread.shortest == spread.longest:
            found.append(("lengths", f"{counted(spread.longest, 'token')} in each row"))
        else:
            found.append(("lengths", f"{told}, 95% up to {spread.most:,}"))
    if view.context is not None:
        room = f", of which {view.room:,} for a completion" if view.room else ""
        found.append(("context", f"{counted(view.context, 'token')}{room}"))
    if view.trained is not None:
        trained, tokens = view.trained
        share = f" ({trained / tokens:.0%})" if tokens else ""
        found.append(("trained", f"{trained:,} of {counted(tokens, 'token')} of the rows kept{share}"))
    return found


def row_title(row: ShownRow) -> str:
    parts = [f"row {row.number:,}", *([row.place] if row.place else [])]
    if len(row.parts) == 1:
        (part,) = row.parts
        tokens = counted(part.length, "token")
        if part.name == "thread":
            parts += [tokens, f"{sum(token.weight > 0 for token in part.tokens):,} trained"]
        else:
            parts.append(f"a {part.name} of {tokens}")
    else:
        parts += [f"{part.name} {part.length:,}" for part in row.parts]
    return " · ".join(parts)


def roles(turns: Sequence[Mapping[str, Any]]) -> str:
    """`system, user, assistant ×0.5`: whose turns they are, and what is said of their weight."""
    return ", ".join(
        f"{turn['role']} ×{turn['weight']:g}" if turn.get("weight", 1) != 1 else str(turn["role"])
        for turn in turns
    )


def turn_text(turn: Mapping[str, Any]) -> str:
    """What a turn says, with what stands beside its text."""
    beside = {key: value for key, value in turn.items() if key not in ("role", "content", "weight")}
    return "\n".join(
        [
            *([str(turn["content"])] if turn.get("content") is not None else []),
            *(f"{key}: {value_text(value)}" for key, value in beside.items()),
        ]
    )


def value_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def fault_text(fault: Diagnostic | str) -> str:
    """A fault in one paragraph."""
    if isinstance(fault, str):
        return fault
    words = fault.words
    told = [f"{words.message} [{fault.code}]", *words.notes]
    return "; ".join([*told, f"help: {words.help}"] if words.help else told)

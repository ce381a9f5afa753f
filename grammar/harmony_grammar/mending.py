"""How to read on behind a fault: what the recognisers of mistakes hand back."""

from __future__ import annotations

from harmony_grammar.automaton import END
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.lexer import Token
from harmony_grammar.records import Record
from harmony_grammar.regions import regions, skeleton
from harmony_grammar.scene import Scene

ENDS = frozenset((END, "NEWLINE", ",", ")", "]", "}"))
"""Kinds of tokens behind which no value can go on."""


class Mend(Record):
    """How to go on: the finding if there is something to say, the tokens to read now, those to read next.

    Without `tokens` the declaration is lost; with `lost` only a name, in place of which another was read.
    """

    finding: Diagnostic | None
    tokens: list[Token] | None
    rest: list[Token] | None = None
    lost: bool = False


def without(scene: Scene, finding: Diagnostic | None) -> Mend:
    """Replace the smallest part that holds the fault by one BROKEN token."""
    tokens = scene.tokens
    if not tokens:
        return Mend(finding, None)
    for start, stop in regions(tokens, scene.index):
        inside = tokens[start:stop]
        if [token.kind for token in inside] == ["BROKEN"]:
            continue
        first = inside[0].start if inside else tokens[start - 1].end
        last = inside[-1].end if inside else first
        return Mend(finding, [*tokens[:start], Token("BROKEN", "", first, last), *tokens[stop:]])
    return Mend(finding, skeleton(tokens))


def found(token: Token, *, breaks_off: bool = False) -> str:
    if breaks_off or not token.text:
        return "the end of the line"
    shown = (
        token.text
        if len(token.text) <= 30 and "\n" not in token.text
        else token.text[:27].split("\n")[0] + "…"
    )
    return f"`{shown}`"

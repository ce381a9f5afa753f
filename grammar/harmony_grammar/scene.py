"""The place of a fault, as those who explain it want to look at it."""

from __future__ import annotations

from functools import cached_property

from harmony_grammar.automaton import END, Fault, expected
from harmony_grammar.lexer import CLOSERS, Token
from harmony_grammar.records import Record
from harmony_grammar.source import Source, Span


class Scene(Record):
    """`token` is the one that does not fit, `before` and `after` stand beside it."""

    tokens: list[Token]
    fault: Fault
    source: Source

    @cached_property
    def expected(self) -> frozenset[str]:
        return expected(self.fault)

    @property
    def index(self) -> int:
        return self.fault.index

    @property
    def end(self) -> Token:
        at = self.tokens[-1].end if self.tokens else len(self.source.text)
        return Token(END, "", at, at)

    @property
    def token(self) -> Token:
        return self.at(self.index)

    @property
    def before(self) -> Token | None:
        return self.tokens[self.index - 1] if self.index else None

    @property
    def after(self) -> Token:
        return self.at(self.index + 1)

    def at(self, index: int) -> Token:
        return self.tokens[index] if index < len(self.tokens) else self.end

    @property
    def wants_value(self) -> bool:
        return "NUMBER" in self.expected

    @property
    def at_line_end(self) -> bool:
        """Whether the text breaks off: what is missing is missing behind the token before."""
        if self.before is None or self.before.kind in ("NEWLINE", "{", "(", "[", ","):
            return False
        ends = self.token.kind in (")", "]", "}") and self.token.indent >= 0
        return ends or self.token.kind in ("NEWLINE", END)

    @cached_property
    def brackets(self) -> list[int]:
        """The brackets that are open at the fault, outermost first."""
        stack: list[int] = []
        for index, token in enumerate(self.tokens[: self.index]):
            if token.kind in CLOSERS:
                stack.append(index)
            elif token.kind in (")", "]", "}"):
                stack.pop()
        return stack

    @property
    def bracket(self) -> str:
        return self.tokens[self.brackets[-1]].kind if self.brackets else ""

    def span(self, token: Token) -> Span:
        return self.source.span(token.start, token.end)

    def behind(self, token: Token) -> Span:
        return self.source.span(token.end, token.end)

    @property
    def blamed(self) -> Span:
        """Where to point: at the fault, or behind the token before if the text breaks off there."""
        if self.before and self.at_line_end:
            return self.behind(self.before)
        return self.span(self.token)

    def insert(self, *kinds: str) -> list[Token]:
        at = self.before.end if self.before else self.token.start
        new = [Token(kind, "", at, at) for kind in kinds]
        return [*self.tokens[: self.index], *new, *self.tokens[self.index :]]

    def replace(self, kind: str) -> list[Token]:
        token = self.token._replace(kind=kind)
        return [*self.tokens[: self.index], token, *self.tokens[self.index + 1 :]]

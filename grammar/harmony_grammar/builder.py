"""Rules to syntax tree: one method for each rule of `recipe.lark`, called as soon as the rule is complete.

A method takes what stands in the rule, tokens and finished parts, and gives a part of the tree. Lists are
plain lists until their owner takes them. Findings that only a finished literal can have are collected.
"""

from __future__ import annotations

from typing import Any, TypeVar

from harmony_grammar import literals, syntax
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.lexer import STRINGS, Token
from harmony_grammar.literal_errors import BadEscape
from harmony_grammar.records import Record, replace
from harmony_grammar.source import Source, Span
from harmony_grammar.syntax import Broken, Expression, Field, Identifier, Node, Text, TypeExpression

T = TypeVar("T")
_NodeT = TypeVar("_NodeT", bound=Node)

_CONSTANTS = {"true": True, "false": False, "none": None}


class Block(Record):
    """`{ … }` or `[ … ]` with what stands inside: fields, the columns of a record type, type arguments."""

    bracket: str
    items: tuple[Any, ...]
    start: int
    end: int


class Clause(Record):
    """`= default` or `where condition`."""

    word: str
    value: Expression
    end: int


class Chain(Record):
    """A chain of comparisons: one operand more than operators."""

    operands: list[Expression]
    operators: list[str]


class Builder:
    def __init__(self, source: Source, doc: str = "") -> None:
        self.source = source
        self.doc = doc
        self.findings: list[Diagnostic] = []

    def _span(self, first: Any, last: Any) -> Span:
        start = first.start if isinstance(first, (Token, Block)) else first.span.start
        end = last.end if isinstance(last, (Token, Block, Clause)) else last.span.end
        return Span(self.source, start, end)

    # --- declarations ---

    def recipe(self, word: Token, name: Token, block: Block | None = None) -> syntax.RecipeDeclaration:
        span = self._span(word, block or name)
        known = self._identifier(name) if name.text else None
        return syntax.RecipeDeclaration(span, self.doc, known, _fields(block))

    def import_(
        self, word: Token, path: Text, _: Token, name: Token, block: Block | None = None
    ) -> syntax.ImportDeclaration:
        span = self._span(word, block or name)
        return syntax.ImportDeclaration(span, self.doc, path, self._identifier(name), _fields(block))

    def input(
        self, word: Token, name: Token, _: Token, type: TypeExpression, *clauses: Clause
    ) -> syntax.InputDeclaration:
        span = self._span(word, clauses[-1] if clauses else type)
        given = {clause.word: clause.value for clause in clauses}
        return syntax.InputDeclaration(
            span, self.doc, self._identifier(name), type, given.get("="), given.get("where")
        )

    def value(self, word: Token, name: Token, _: Token, value: Expression) -> syntax.ValueDeclaration:
        span = self._span(word, value)
        return syntax.ValueDeclaration(span, self.doc, word.text, self._identifier(name), value)  # type: ignore[arg-type]

    def save(
        self, word: Token, model: Expression, _: Token, key: Text | syntax.Name, block: Block | None = None
    ) -> syntax.SaveDeclaration:
        return syntax.SaveDeclaration(self._span(word, block or key), self.doc, model, key, _fields(block))

    def default(self, sign: Token, value: Expression) -> Clause:
        return Clause(sign.kind, value, value.span.end)

    condition = default

    # --- lists and blocks ---

    def first(self, item: T) -> list[T]:
        return [item]

    def further(self, items: list[T], _: Token, item: T) -> list[T]:
        items.append(item)
        return items

    def pair(self, first: T, _: Token, second: T) -> list[T]:
        return [first, second]

    def block(self, opening: Token, *inside: Any) -> Block:
        return Block(opening.kind, _items(inside), opening.start, inside[-1].end)

    type_fields = type_arguments = block

    def field(self, key: Identifier, _: Token, value: Expression) -> Field:
        return Field(self._span(key, value), key, value)

    def short_field(self, name: Token, block: Block) -> Field:
        span = self._span(name, block)
        value = syntax.With(span, self.name(name), block.items)
        return Field(span, self._identifier(name), value, short=True)

    def key(self, token: Token) -> Identifier:
        if token.kind not in STRINGS:
            return self._identifier(token)
        text = self.text(token)
        self.findings.extend(BadEscape.at(span) for span in text.bad_escapes)
        return Identifier(text.span, text.value)

    def _identifier(self, token: Token) -> Identifier:
        return Identifier(Span(self.source, token.start, token.end), token.text)

    # --- expressions ---

    def conditional(
        self, word: Token, condition: Expression, _: Token, then: Expression, __: Token, otherwise: Expression
    ) -> syntax.Conditional:
        return syntax.Conditional(self._span(word, otherwise), condition, then, otherwise)

    def binary(self, left: Expression, operator: Token, right: Expression) -> syntax.Binary:
        return syntax.Binary(self._span(left, right), operator.kind, left, right)  # type: ignore[arg-type]

    def unary(self, operator: Token, operand: Expression) -> syntax.Unary:
        return syntax.Unary(self._span(operator, operand), operator.kind, operand)  # type: ignore[arg-type]

    def comparator(self, *words: Token) -> str:
        return " ".join(word.kind for word in words)

    def link(self, left: Expression, operator: str, right: Expression) -> Chain:
        return Chain([left, right], [operator])

    def further_link(self, chain: Chain, operator: str, right: Expression) -> Chain:
        chain.operands.append(right)
        chain.operators.append(operator)
        return chain

    def compare(self, chain: Chain) -> syntax.Compare:
        operands = tuple(chain.operands)
        return syntax.Compare(self._span(operands[0], operands[-1]), operands, tuple(chain.operators))  # type: ignore[arg-type]

    def call(self, callee: Expression, _: Token, *inside: Any) -> syntax.Call:
        return syntax.Call(self._span(callee, inside[-1]), callee, _items(inside))

    def attribute(self, value: Expression, _: Token, key: Identifier) -> syntax.Attribute:
        return syntax.Attribute(self._span(value, key), value, key)

    def index(self, value: Expression, _: Token, index: Expression, closing: Token) -> syntax.Index:
        return syntax.Index(self._span(value, closing), value, index)

    def with_(self, value: Expression, block: Block) -> syntax.With:
        return syntax.With(self._span(value, block), value, block.items)

    def name(self, token: Token) -> syntax.Name:
        return syntax.Name(Span(self.source, token.start, token.end), token.text)

    def constant(self, token: Token) -> syntax.Constant:
        return syntax.Constant(self._span(token, token), _CONSTANTS[token.kind])

    def number(self, token: Token) -> Expression:
        value, finding = literals.number(self._span(token, token))
        if finding:
            self.findings.append(finding)
        return value

    def text(self, token: Token) -> Text:
        return literals.text(Span(self.source, token.start, token.end), token.kind)

    def list_(self, opening: Token, *inside: Any) -> syntax.List:
        return syntax.List(self._span(opening, inside[-1]), _items(inside))

    def record(self, block: Block) -> syntax.Record:
        return syntax.Record(self._span(block, block), block.items)

    def group(self, opening: Token, inner: _NodeT, closing: Token) -> _NodeT:
        """Parentheses leave no node, but belong to the text of what they enclose."""
        return replace(inner, span=self._span(opening, closing))

    def broken(self, token: Token) -> Broken:
        return Broken(Span(self.source, token.start, token.end))

    # --- types ---

    def union(self, options: Any) -> syntax.UnionType:
        return syntax.UnionType(self._span(options[0], options[-1]), tuple(options))

    def named_type(self, name: Token, *parts: Block) -> syntax.NamedType:
        inside = {part.bracket: part.items for part in parts}
        span = self._span(name, parts[-1] if parts else name)
        return syntax.NamedType(span, self._identifier(name), inside.get("[", ()), inside.get("{"))

    def column(self, key: Identifier, _: Token, type: TypeExpression) -> tuple[Identifier, TypeExpression]:
        return key, type

    def literal_type(self, text: Text) -> syntax.LiteralType:
        return syntax.LiteralType(text.span, text)


def _items(inside: tuple[Any, ...]) -> tuple[Any, ...]:
    """What stands between brackets, given all behind the opening one: an optional list, `,`, the closer."""
    return tuple(inside[0]) if isinstance(inside[0], list) else ()


def _fields(block: Block | None) -> tuple[Any, ...]:
    return block.items if block else ()

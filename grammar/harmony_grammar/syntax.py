"""The syntax tree: what a recipe says, before anybody asks whether it makes sense.

Frozen dataclasses with spans; spans do not take part in comparison, so two files that say the same are
equal however they are laid out. `Broken` stands where the text could not be read; every later phase treats
it as a value of unknown type, so that one fault gives one finding.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from harmony_grammar import records
from harmony_grammar.records import field
from harmony_grammar.source import Source, Span

# --- parts ----------------------------------------------------------------------------------------------


class Node(records.Record):
    span: Span = field(compare=False, repr=False)


class Identifier(Node):
    """A name where it is written: a declared name, a field's key, what follows a `.`."""

    text: str


class Field(Node):
    """`key = value` in `{ }` or `( )`. In the short form `key { … }` the value is `With(Name(key), …)`."""

    key: Identifier
    value: Expression
    short: bool = field(default=False, compare=False)


# --- expressions ----------------------------------------------------------------------------------------


class Broken(Node):
    """An expression, field or declaration that could not be read; already reported."""


class Name(Node):
    text: str


class Constant(Node):
    """`true`, `false` or `none`."""

    value: bool | None


class Number(Node):
    """`42`, `1_000`, `1e-5`: an `int` if written without `.` and exponent, else a `float`."""

    value: int | float


class Percent(Node):
    """`3%`; `value` is 3, the number as written."""

    value: int | float


class Duration(Node):
    """`250ms 30s 5min 2h 1d`: the number as written and its unit."""

    value: int | float
    unit: str


class Text(Node):
    """A string literal, decoded.

    `origins` says where the decoded characters stand in the source: pairs (index in `value`, offset in the
    source) at every place where the two stop running in step (an escape, a removed indentation).
    `bad_escapes` are the unknown ones, whose backslash was kept: an error (`syntax_errors.BadEscape`), except
    in a place of type `Regex`, and only the checker knows places.
    """

    value: str
    style: Literal["plain", "raw", "long"] = field(default="plain", compare=False)
    origins: tuple[tuple[int, int], ...] = field(default=(), compare=False, repr=False)
    bad_escapes: tuple[Span, ...] = field(default=(), compare=False, repr=False)

    def span_of(self, start: int, end: int) -> Span:
        """Where the characters `start` to `end` of `value` stand in the source."""
        first = self._offset(start)
        if end <= start:
            return Span(self.span.source, first, first)
        last = self._offset(end - 1)
        # An escape is several characters that stand for one; it ends where the next one begins.
        escaped = self.style != "raw" and self.span.source.text[last] == "\\"
        return Span(self.span.source, first, self._offset(end) if escaped else last + 1)

    def _offset(self, index: int) -> int:
        at, offset = 0, self.span.start
        for known, place in self.origins:
            if known > index:
                break
            at, offset = known, place
        return offset + index - at


class List(Node):
    items: tuple[Expression, ...]


class Record(Node):
    """`{ key = value }` that stands by itself."""

    fields: tuple[Field | Broken, ...]


class Unary(Node):
    operator: Literal["-", "not"]
    operand: Expression


class Binary(Node):
    operator: Literal["+", "-", "*", "/", "//", "and", "or"]
    left: Expression
    right: Expression


class Compare(Node):
    """A chain: `0 < lr < 1` has the operands `0 lr 1` and the operators `< <`."""

    operands: tuple[Expression, ...]
    operators: tuple[Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"], ...]


class Conditional(Node):
    condition: Expression
    then: Expression
    otherwise: Expression


class Attribute(Node):
    value: Expression
    key: Identifier


class Index(Node):
    value: Expression
    index: Expression


class Call(Node):
    """`callee(arguments)`. A positional argument is an expression, a named one a `Field`."""

    callee: Expression
    arguments: tuple[Field | Expression, ...]


class With(Node):
    """`value { fields }`: a constructor with its fields, or an existing value copied with changes."""

    value: Expression
    fields: tuple[Field | Broken, ...]


Expression: TypeAlias = (
    Broken
    | Name
    | Constant
    | Number
    | Percent
    | Duration
    | Text
    | List
    | Record
    | Unary
    | Binary
    | Compare
    | Conditional
    | Attribute
    | Index
    | Call
    | With
)

# --- types ----------------------------------------------------------------------------------------------


class NamedType(Node):
    """`int`, `list[str]`, `Dataset[Prompt{answer: str}]`: a name, arguments in `[ ]`, a record in `{ }`."""

    name: Identifier
    arguments: tuple[TypeExpression, ...] = ()
    fields: tuple[tuple[Identifier, TypeExpression], ...] | None = None


class LiteralType(Node):
    """A string literal as a type: `"error" | "rename"`."""

    text: Text


class UnionType(Node):
    options: tuple[TypeExpression, ...]


TypeExpression: TypeAlias = NamedType | LiteralType | UnionType | Broken

# --- declarations ---------------------------------------------------------------------------------------

ValueWord: TypeAlias = Literal["let", "model", "dataset", "grader", "train", "evaluate"]


class Declaration(Node):
    """`doc` is the text of the `##` lines directly above, one line each, without the marks."""

    doc: str = field(compare=False)


class RecipeDeclaration(Declaration):
    name: Identifier | None
    fields: tuple[Field | Broken, ...]


class ImportDeclaration(Declaration):
    path: Text
    name: Identifier
    fields: tuple[Field | Broken, ...]


class InputDeclaration(Declaration):
    name: Identifier
    type: TypeExpression
    default: Expression | None
    condition: Expression | None


class ValueDeclaration(Declaration):
    """`let` / `model` / `dataset` / `grader` / `train` / `evaluate NAME = value`."""

    word: ValueWord
    name: Identifier
    value: Expression


class SaveDeclaration(Declaration):
    model: Expression
    key: Text | Name
    fields: tuple[Field | Broken, ...]


AnyDeclaration: TypeAlias = (
    RecipeDeclaration | ImportDeclaration | InputDeclaration | ValueDeclaration | SaveDeclaration
)


class Comment(Node):
    """A `#` or `##` comment, marks included."""

    text: str


class File(records.Record):
    """One recipe file. Declarations that could not be read at all are left out; they were reported."""

    source: Source = field(compare=False, repr=False)
    declarations: tuple[AnyDeclaration, ...]
    comments: tuple[Comment, ...] = field(default=(), compare=False, repr=False)
    complete: bool = field(default=True, compare=False)
    """False when a declaration was lost whole: names that seem undeclared may have been declared there."""

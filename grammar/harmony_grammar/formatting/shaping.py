"""Syntax tree to shapes.

The tree says what belongs together; the words, taken one by one, are what is written. So nothing is lost that
the tree does not hold: how a number is spelt, parentheses, comments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from harmony_grammar import syntax
from harmony_grammar.formatting.shapes import Arm, Bracket, Chain, Ladder, Leaf, Row, Shape
from harmony_grammar.formatting.words import Words
from harmony_grammar.source import Source
from harmony_grammar.syntax import AnyDeclaration, Broken, Expression, Field, Identifier, TypeExpression

T = TypeVar("T")

_LEVELS = {"or": 0, "and": 1, "+": 2, "-": 2, "*": 3, "/": 3, "//": 3}
"""Operators of one level make one chain."""


class Shaper:
    """Gives the shapes of what stands in `source`, in the order of the text. `declarations` are its own."""

    def __init__(self, source: Source, declarations: Iterable[AnyDeclaration] = ()) -> None:
        self.words = Words(source)
        self._declared = {name for one in declarations if (name := _name(one))}

    def _leaf(self) -> Leaf:
        return Leaf(self.words.take())

    # --- declarations ---

    def declaration(self, declaration: AnyDeclaration) -> Shape:
        match declaration:
            case syntax.RecipeDeclaration():
                parts: list[Shape] = [self._leaf(), self._leaf()]
                return self._with_block(parts, declaration)
            case syntax.ImportDeclaration():
                return self._with_block([self._leaf() for _ in range(4)], declaration)
            case syntax.SaveDeclaration():
                word, model = self._leaf(), self.expression(declaration.model)
                return self._with_block([word, model, self._leaf(), self._leaf()], declaration)
            case syntax.ValueDeclaration():
                parts = [self._leaf(), self._leaf(), self._leaf(), self.expression(declaration.value)]
                return Row(parts, (" ", " ", " "))
            case syntax.InputDeclaration():
                return self._input(declaration)

    def _with_block(
        self,
        parts: list[Shape],
        declaration: syntax.RecipeDeclaration | syntax.ImportDeclaration | syntax.SaveDeclaration,
    ) -> Row:
        if self.words.peek().kind == "{":
            parts.append(self._block(declaration.fields))
        return Row(parts, [" "] * (len(parts) - 1))

    def _input(self, declaration: syntax.InputDeclaration) -> Shape:
        parts: list[Shape] = [self._leaf(), self._leaf(), self._leaf(), self.type(declaration.type)]
        glues = [" ", "", " "]
        if declaration.default is not None:
            parts += (self._leaf(), self.expression(declaration.default))
            glues += (" ", " ")
        head = Row(parts, glues)
        if declaration.condition is None:
            return head
        return Chain(head, [self._link(declaration.condition)])

    # --- blocks ---

    def _bracket(
        self,
        items: Sequence[T],
        shape: Callable[[T], Shape],
        *,
        pad: str = "",
        comma: str = ",",
        closing_comma: bool = True,
        fills: bool = False,
    ) -> Bracket:
        opener = self.words.take()
        inside = [shape(item) for item in items]
        closer = self.words.take()
        return Bracket(opener, inside, closer, pad=pad, comma=comma, closing_comma=closing_comma, fills=fills)

    def _block(self, fields: Sequence[Field | Broken]) -> Bracket:
        return self._bracket(fields, self._block_field, pad=" ", comma="")

    def _block_field(self, field: Field | Broken) -> Shape:
        assert isinstance(field, Field)
        if field.short or self._can_be_short(field):
            key = self._leaf()
            if not field.short:
                self.words.take()
                self.words.take()
            assert isinstance(field.value, syntax.With)
            return Row((key, self._block(field.value.fields)), (" ",))
        return self._field(field)

    def _can_be_short(self, field: Field) -> bool:
        """Whether a field is `sampling = sampling { … }`, and the name is not declared here: then it is the
        value of that name that is meant, and the short form would hide it."""
        key, equals, name, brace = (self.words.peek(ahead) for ahead in range(4))
        return (
            isinstance(field.value, syntax.With)
            and isinstance(field.value.value, syntax.Name)
            and [key.kind, equals.kind, name.kind, brace.kind] == ["NAME", "=", "NAME", "{"]
            and key.text == name.text
            and key.text not in self._declared
            and not (equals.remarks or name.remarks or brace.remarks)
        )

    def _field(self, field: Field) -> Row:
        return Row((self._leaf(), self._leaf(), self.expression(field.value)), (" ", " "))

    def _argument(self, argument: Field | Expression) -> Shape:
        return self._field(argument) if isinstance(argument, Field) else self.expression(argument)

    # --- expressions ---

    def expression(self, node: Expression) -> Shape:
        if self._is_grouped(node):
            return self._bracket((node,), self.expression, closing_comma=False)
        match node:
            case syntax.List():
                return self._bracket(node.items, self.expression, fills=all(map(_is_number, node.items)))
            case syntax.Record():
                return self._block(node.fields)
            case syntax.Unary():
                glue = " " if node.operator == "not" else ""
                return Row((self._leaf(), self.expression(node.operand)), (glue,))
            case syntax.Binary():
                return self._operators(node)
            case syntax.Compare():
                head = self.expression(node.operands[0])
                pairs = zip(node.operators, node.operands[1:], strict=True)
                return Chain(head, [self._link(operand, len(word.split())) for word, operand in pairs])
            case syntax.Conditional():
                return self._conditional(node)
            case syntax.Attribute():
                return Row((self.expression(node.value), self._leaf(), self._leaf()), ("", ""))
            case syntax.Index():
                value = self.expression(node.value)
                index = self._bracket((node.index,), self.expression, closing_comma=False)
                return Row((value, index), ("",))
            case syntax.Call():
                callee = self.expression(node.callee)
                return Row((callee, self._bracket(node.arguments, self._argument)), ("",))
            case syntax.With():
                value = self.expression(node.value)
                return Row((value, self._block(node.fields)), (" ",))
        return self._leaf()

    def _is_grouped(self, node: Expression) -> bool:
        """Whether the next word is a parenthesis around the whole of `node`, not around its first operand."""
        word = self.words.peek()
        inside = _first_part(node)
        return word.kind == "(" and (inside is None or word.start < inside.span.start)

    def _operators(self, node: syntax.Binary) -> Chain:
        """`a + b - c` is one chain, though the tree has `(a + b) - c`."""
        level = _LEVELS[node.operator]
        operands = [node.right]
        first = node.left
        while (
            isinstance(first, syntax.Binary)
            and _LEVELS[first.operator] == level
            and first.left.span.start == first.span.start
        ):
            operands.append(first.right)
            first = first.left
        head = self.expression(first)
        return Chain(head, [self._link(operand) for operand in reversed(operands)])

    def _link(self, operand: Expression, words: int = 1) -> Row:
        """An operator, of one word or two, and its right operand."""
        signs = [Leaf(word) for word in self.words.take_sign(words)]
        return Row((*signs, self.expression(operand)), [" "] * words)

    def _conditional(self, node: syntax.Conditional) -> Chain:
        """`else if` goes on with the same ladder, though the tree has a conditional in a conditional."""
        head = Row((self._leaf(), self.expression(node.condition)), (" ",))
        then = self._branch(node.then)
        if not self._goes_on(node):
            return Chain(head, [then, self._branch(node.otherwise)])
        arms: list[Row] = []
        while self._goes_on(node):
            assert isinstance(node.otherwise, syntax.Conditional)
            node = node.otherwise
            otherwise, condition = map(Leaf, self.words.take_sign(2))
            question = Row((condition, self.expression(node.condition)), (" ",))
            arms.append(Row((otherwise, Arm(question, [self._branch(node.then)])), (" ",)))
        return Ladder(Arm(head, [then]), [*arms, self._branch(node.otherwise)])

    def _goes_on(self, node: syntax.Conditional) -> bool:
        """Whether `else if` comes next, not `else (if`."""
        return isinstance(node.otherwise, syntax.Conditional) and self.words.peek(1).kind == "if"

    def _branch(self, value: Expression) -> Row:
        return Row((self._leaf(), self.expression(value)), (" ",))

    # --- types ---

    def type(self, type: TypeExpression) -> Shape:
        match type:
            case syntax.UnionType():
                head = self.type(type.options[0])
                return Chain(head, [self._option(option) for option in type.options[1:]])
            case syntax.NamedType():
                parts: list[Shape] = [self._leaf()]
                if type.arguments:
                    parts.append(self._bracket(type.arguments, self.type))
                if type.fields is not None:
                    parts.append(self._bracket(type.fields, self._column))
                return Row(parts, [""] * (len(parts) - 1))
        return self._leaf()

    def _option(self, option: TypeExpression) -> Row:
        return Row((*map(Leaf, self.words.take_sign()), self.type(option)), (" ",))

    def _column(self, column: tuple[Identifier, TypeExpression]) -> Row:
        return Row((self._leaf(), self._leaf(), self.type(column[1])), ("", " "))


def _first_part(node: Expression) -> Expression | None:
    """What an expression begins with; None where that is a word of its own."""
    match node:
        case syntax.Binary():
            return node.left
        case syntax.Compare():
            return node.operands[0]
        case syntax.Attribute() | syntax.Index() | syntax.With():
            return node.value
        case syntax.Call():
            return node.callee
    return None


def _is_number(node: Expression) -> bool:
    if isinstance(node, syntax.Unary):
        return node.operator == "-" and _is_number(node.operand)
    return isinstance(node, syntax.Number | syntax.Percent | syntax.Duration)


def _name(declaration: AnyDeclaration) -> str:
    match declaration:
        case syntax.RecipeDeclaration() | syntax.SaveDeclaration():
            return ""
    return declaration.name.text

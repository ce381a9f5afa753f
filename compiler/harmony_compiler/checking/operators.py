"""Operators: what is computed from values, on constants, formulas and graders alike.

Constants are computed here and now (`arithmetic`), what depends on a completion becomes a formula
(`formulas`), and what a grader takes part in becomes a grader (`scores`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from harmony_compiler.checking.construct import Desk
from harmony_compiler.checking.fitting import describe
from harmony_compiler.data.filters import Row
from harmony_compiler.findings.graph import LaunchDecidesNodes
from harmony_compiler.findings.types import Impossible, NoSuchMember, NoValueByItself, WrongOperand
from harmony_compiler.graph.types import BOOL, GRADER, INT, JSON, NONE, STR, Type
from harmony_compiler.naming.names import Named
from harmony_compiler.naming.near import nearest
from harmony_compiler.rewards import arithmetic, formulas, scores
from harmony_compiler.rewards.formulas import graded
from harmony_compiler.typed import LAUNCH, NOBODY, Graded, Made, Value, by_all, unknown
from harmony_grammar import syntax
from harmony_grammar.records import replace
from harmony_grammar.source import Span


class Reader(Desk, Protocol):
    """What operators need of the checker."""

    @property
    def run_name(self) -> str: ...

    @property
    def declared(self) -> Mapping[str, Named]: ...

    @property
    def values(self) -> Mapping[str, Value]: ...

    @property
    def imported(self) -> Mapping[str, Reader]:
        """The imported files, by the names that the recipe gives them."""
        ...

    @property
    def closed(self) -> bool:
        """Whether the recipe's names are not known."""
        ...

    @property
    def lost_names(self) -> bool: ...

    @property
    def row(self) -> Row | None:
        """Inside a filter, the row whose columns are names."""
        ...

    def condition(self, expression: syntax.Expression, place: str) -> Value:
        """The value of an expression that must be true or false."""
        ...

    def unreached(self, read: Callable[[], Value]) -> None:
        """Check a part that a condition guards. Of what only its numbers break, nothing is said."""
        ...


def computed(reader: Reader, symbol: str, operands: Sequence[Value], span: Span) -> Value:
    """`left symbol right`, or `-operand`."""
    if any(operand.unknown for operand in operands):
        return unknown(span)

    def compute() -> Value:
        if any(operand.type == GRADER for operand in operands):
            if symbol == "//":
                raise arithmetic.WrongOperandsError(scores.MEND)
            return scores.combined(symbol, operands, span)
        if any(graded(operand) for operand in operands):
            return (
                formulas.negated(operands[0], span)
                if len(operands) == 1
                else formulas.binary(symbol, operands[0], operands[1], span)
            )
        type_, data = (
            arithmetic.negated(operands[0])
            if len(operands) == 1
            else arithmetic.binary(symbol, operands[0], operands[1])
        )
        return Value(type_, data, span, by=NOBODY.union(*(o.by for o in operands)))

    return _tried(reader, symbol, operands, span, compute)


def _tried(
    reader: Reader, symbol: str, operands: Sequence[Value], span: Span, compute: Callable[[], Value]
) -> Value:
    """What was computed; unknown, and reported, where there is nothing."""
    try:
        return compute()
    except arithmetic.NoValueError as reason:
        reader.report(Impossible(span=span, what=str(reason)))
    except arithmetic.WrongOperandsError as reason:
        kinds = " and ".join(describe(operand) for operand in operands)
        reader.report(WrongOperand(span=span, operator=symbol, operands=kinds, mend=str(reason)))
    return unknown(span)


def negation(reader: Reader, expression: syntax.Unary) -> Value:
    operand = reader.condition(expression.operand, "the operand of `not`")
    if operand.unknown:
        return operand
    if graded(operand):
        span = expression.span
        return _tried(reader, "not", (operand,), span, lambda: formulas.logic("not", (operand,), span))
    return replace(operand, data=not operand.data, span=expression.span)


def logic(reader: Reader, expression: syntax.Binary) -> Value:
    """`and` and `or`."""
    symbol, span = expression.operator, expression.span
    place = f"an operand of `{symbol}`"
    left = reader.condition(expression.left, place)
    if left.unknown or (not graded(left) and left.data == (symbol == "or")):  # it decides alone
        reader.unreached(lambda: reader.condition(expression.right, place))
        return left.at(span)
    right = reader.condition(expression.right, place)
    if graded(left) and not right.unknown:
        both = (left, right)
        return _tried(reader, symbol, both, span, lambda: formulas.logic(symbol, both, span))
    return replace(right, span=span, by=left.by | right.by)


def comparison(reader: Reader, expression: syntax.Compare) -> Value:
    operands, span = tuple(reader.value(operand) for operand in expression.operands), expression.span
    lost = (isinstance(operand.data, Made) and operand.data.lost for operand in operands)
    if any(operand.unknown for operand in operands) or any(lost):
        return unknown(span)
    holds = Value(BOOL, True, span)
    for symbol, left, right in zip(expression.operators, operands, operands[1:], strict=False):
        link = _link(reader, symbol, left, right, span)
        if link.unknown:
            return link
        holds = _both(reader, holds, link, span)
    return replace(holds, by=by_all(operands))


def _link(reader: Reader, symbol: str, left: Value, right: Value, span: Span) -> Value:
    """One comparison of a chain."""

    def compare() -> Value:
        if GRADER in (left.type, right.type):
            raise arithmetic.WrongOperandsError(scores.MEND)
        if graded(left) or graded(right):
            return formulas.compared(symbol, left, right, span)
        return Value(BOOL, arithmetic.compared(symbol, left, right), span)

    return _tried(reader, symbol, (left, right), span, compare)


def _both(reader: Reader, one: Value, other: Value, span: Span) -> Value:
    """`one and other`, of which one may be known already."""
    for known, rest in ((one, other), (other, one)):
        if not graded(known):
            return rest if known.data else known
    return _tried(reader, "and", (one, other), span, lambda: formulas.logic("and", (one, other), span))


def conditional(
    reader: Reader,
    expression: syntax.Conditional,
    expected: Type,
    read: Callable[[syntax.Expression], Value],
) -> Value:
    """`if … then … else …`; `read` gives the value of the branch that a known condition chooses."""
    condition = reader.condition(expression.condition, "the condition of `if`")
    then, otherwise = expression.then, expression.otherwise
    if graded(condition):
        return _chosen(
            reader, condition, reader.value(then, expected), reader.value(otherwise, expected), expression
        )
    if condition.unknown:
        reader.unreached(lambda: reader.value(then, expected))
        reader.unreached(lambda: reader.value(otherwise, expected))
        return unknown(expression.span)
    reader.unreached(lambda: read(otherwise if condition.data else then))
    return decided(reader, read(then if condition.data else otherwise), condition)


def _chosen(
    reader: Reader, condition: Value, then: Value, otherwise: Value, expression: syntax.Conditional
) -> Value:
    span, branches = expression.span, (then, otherwise)
    if then.unknown or otherwise.unknown:
        return unknown(span)
    choose = scores.chosen if GRADER in (then.type, otherwise.type) else formulas.chosen
    return _tried(reader, "if … else", branches, span, lambda: choose(condition, then, otherwise, span))


def decided(reader: Reader, chosen: Value, by: Value) -> Value:
    """What a condition or index chose. The launch may choose numbers, not nodes."""
    if by.by_launch and isinstance(chosen.data, Made) and chosen.data.is_node:
        reader.report(LaunchDecidesNodes(span=by.span, what=f"`{chosen.type}`"))
    return replace(chosen, by=chosen.by | by.by)


def attribute(reader: Reader, expression: syntax.Attribute) -> Value:
    base, key, span = expression.value, expression.key, expression.span
    if isinstance(base, syntax.Name) and base.text == "metadata" and reader.row is None:
        return formulas.read_metadata(key.text, key.span, span)
    if isinstance(base, syntax.Name) and base.text == "ctx":
        return _of_launch(reader, key, span)
    if isinstance(base, syntax.Name) and base.text in reader.imported and not reader.closed:
        return _of_file(reader, base.text, key, span)
    value = reader.value(base)
    if value.type == formulas.TURN and key.text in formulas.MEMBERS:
        return _tried(reader, ".", (value,), span, lambda: formulas.member(value, key.text, span))
    if value.type == JSON and graded(value) and reader.row is not None:  # a record inside the row
        return _tried(reader, ".", (value,), span, lambda: formulas.member(value, key.text, span, JSON))
    fields = value.data if isinstance(value.data, dict) else {}
    if key.text in fields:
        return decided(reader, fields[key.text].at(span), value)
    if not value.unknown:
        known = formulas.MEMBERS if value.type == formulas.TURN else fields
        _no_member(reader, key, describe(value), known)
    return unknown(span)


def _of_launch(reader: Reader, key: syntax.Identifier, span: Span) -> Value:
    members: dict[str, tuple[Type, int | str]] = {
        "world_size": (INT, reader.launch.world_size),
        "nodes": (INT, reader.launch.nodes),
        "gpus_per_node": (INT, reader.launch.gpus_per_node),
        "run_name": (STR, reader.run_name),
    }
    if key.text not in members:
        _no_member(reader, key, "`ctx`", members)
        return unknown(span)
    type_, data = members[key.text]
    return Value(type_, data, span, by=frozenset((LAUNCH,)))


def _of_file(reader: Reader, name: str, key: syntax.Identifier, span: Span) -> Value:
    """A value of an imported file."""
    file = reader.imported[name]
    if isinstance(file.declared.get(key.text), syntax.ImportDeclaration):
        meaning = f"an import in the file of `{name}`, and known only there"
        mend = "import its file here too, or give the value a name there"
        both = f"{name}.{key.text}"
        reader.report(NoValueByItself(span=key.span, name=both, meaning=meaning, mend=mend))
    elif key.text in file.values:
        return replace(file.values[key.text], span=span, named=True)
    elif key.text not in file.declared and not file.lost_names:  # else it is part of a circle
        _no_member(reader, key, f"`{name}`", tuple(members_of(file)))
    return unknown(span)


def members_of(file: Reader) -> Iterator[str]:
    """The names in a file that a recipe which imports it can use."""
    for name, declaration in file.declared.items():
        if not isinstance(declaration, syntax.ImportDeclaration):
            yield name


def _no_member(reader: Reader, key: syntax.Identifier, what: str, members: Iterable[str]) -> None:
    known, near = ", ".join(members), nearest(key.text, members)
    closed = what == "`ctx`" or members is formulas.MEMBERS
    finding = NoSuchMember(
        span=key.span,
        what=what,
        key=key.text,
        known=known,
        suggestion=near.name,
        fixes=near.fixes(key.span, closed=closed),
    )
    reader.report(finding)


def index(reader: Reader, expression: syntax.Index) -> Value:
    """`s[i]`: the i-th item of a list or character of a text; `none` or `""` beyond the end."""
    base, span = expression.value, expression.span
    if isinstance(base, syntax.Name) and base.text == "metadata" and reader.row is None:
        return _metadata_at(reader, expression)
    whole, at = reader.value(base), formulas.asked(reader.value(expression.index), INT)
    if not isinstance(at.data, Graded) or at.type != INT:
        at = reader.fitted(at, INT, "an index")
    if whole.unknown or at.unknown:
        return unknown(span)
    if isinstance(whole.data, Graded) or isinstance(at.data, Graded):
        return _tried(reader, "[ ]", (whole,), span, lambda: formulas.item(whole, at, span))
    if not isinstance(whole.data, tuple | str):
        reader.report(WrongOperand(span=span, operator="[ ]", operands=describe(whole)))
        return unknown(span)
    inside = 0 <= at.data < len(whole.data)
    if isinstance(whole.data, str):
        found = Value(STR, whole.data[at.data] if inside else "", span)
    else:
        found = whole.data[at.data] if inside else Value(NONE, None, span)
    return decided(reader, found.at(span), replace(at, by=at.by | whole.by))


def _metadata_at(reader: Reader, expression: syntax.Index) -> Value:
    """`metadata["key"]`, where the key is no name."""
    key = reader.value(expression.index)
    if arithmetic.is_text(key) and not graded(key):
        place = key.literal.span_of(0, len(key.data)) if key.literal else key.span
        return formulas.read_metadata(key.data, place, expression.span)
    if not key.unknown:
        reader.report(WrongOperand(span=key.span, operator="metadata[ ]", operands=describe(key), mend=_KEY))
    return unknown(expression.span)


_KEY = 'write the key itself: `metadata.NAME`, or `metadata["NAME"]`'

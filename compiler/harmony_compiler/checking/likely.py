"""What an unknown name was probably meant to be: of the names that can stand in its place."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from harmony_compiler.checking.fitting import fit
from harmony_compiler.graph.catalogue import CONSTRUCTORS
from harmony_compiler.graph.formulas import FUNCTIONS
from harmony_compiler.graph.node import Constructor, Node
from harmony_compiler.graph.types import (
    BOOL,
    FLOAT,
    GRADER,
    INT,
    JSON,
    STR,
    DatasetType,
    LiteralText,
    SettingsType,
    Type,
    options_of,
)
from harmony_compiler.naming.near import Near, nearest
from harmony_compiler.rewards.formulas import READS
from harmony_compiler.typed import Value
from harmony_grammar.diagnostics import Fix
from harmony_grammar.records import replace
from harmony_grammar.source import Span

_ELSEWHERE = {
    **dict.fromkeys(("True", "TRUE", "yes", "Yes", "on"), "true"),
    **dict.fromkeys(("False", "FALSE", "no", "No", "off"), "false"),
    **dict.fromkeys(("None", "null", "Null", "NULL", "nil", "undefined"), "none"),
}
"""What other languages call the constants."""

_COMPUTED = (BOOL, INT, FLOAT, STR, GRADER)
"""Types of what functions give."""


def likely_name(
    place: Span,
    expected: Type,
    values: Mapping[str, Value],
    declared: Collection[str],
    *,
    called: bool,
) -> tuple[str, tuple[Fix, ...]]:
    """The suggestion for an unknown name in a place of type `expected`, and the fix that writes it."""
    name = place.text
    if name in _ELSEWHERE and not called:
        near = Near(name, _ELSEWHERE[name], certain=True)
        return near.name, near.fixes(place, closed=True)
    texts = [option.text for option in options_of(expected) if isinstance(option, LiteralText)]
    if not called and (near := nearest(name, texts)).name:
        option = replace(near, name=f'"{near.name}"')
        return option.name, option.fixes(place, closed=True)
    own = () if called else [n for n in declared if n not in values or _fits(values[n], expected)]
    language = frozenset(_of_language(expected, called=called))
    near = nearest(name, [*own, *sorted(language)])
    return near.name, near.fixes(place, closed=near.name in language and near.name not in declared)


def _fits(value: Value, expected: Type) -> bool:
    return expected == JSON or isinstance(fit(value, expected, ""), Value)


def _of_language(expected: Type, *, called: bool) -> Iterator[str]:
    options = options_of(expected)
    if expected == JSON or any(option in options for option in _COMPUTED):
        yield from FUNCTIONS
    if not called and (expected == JSON or GRADER in options or STR in options):
        yield from (*READS, "metadata")
    if not called and expected not in (GRADER,):
        yield "ctx"
    for cls in CONSTRUCTORS:
        if expected == JSON or any(_makes(cls, option) for option in options):
            yield cls.constructor


def _makes(cls: type[Constructor], option: Type) -> bool:
    made = cls.result({}) if issubclass(cls, Node) else SettingsType(cls.constructor)
    return made == option or (isinstance(made, DatasetType) and isinstance(option, DatasetType))

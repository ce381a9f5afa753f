"""Values without fields: numbers, texts, options, each as one of the ways to write it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache, lru_cache
from itertools import count
from typing import Any, TypeVar

from hypothesis import strategies as st

from harmony_compiler.checking.checker import Checker
from harmony_compiler.data.heads import Heads
from harmony_compiler.files import DISK
from harmony_compiler.graph.graph import ONE_DEVICE, Launch
from harmony_compiler.graph.node import Bounds, Constructor, FieldSpec
from harmony_compiler.graph.types import (
    BOOL,
    CONDITION,
    DURATION,
    FLOAT,
    INT,
    JSON,
    NONE,
    PATH,
    PERCENT,
    REGEX,
    SECRET,
    STR,
    TEMPLATE,
    LiteralText,
    Type,
)
from harmony_compiler.graph.values import SECONDS, Duration, Percent, Secret
from harmony_compiler.typed import plain
from harmony_dsl.testing import formulas
from harmony_dsl.testing.data import FORMATS, files_of
from harmony_dsl.testing.tree import Expression
from harmony_grammar.parser import parse_expression
from harmony_grammar.records import Record, field
from harmony_grammar.source import Source, Span

T = TypeVar("T")

POWERS = tuple(2**n for n in range(12))
"""Numbers that often divide one another."""

SECRETS = ("HARMONY_TEST_KEY", "HARMONY_TEST_TOKEN")
"""The environment variables that generated recipes name."""

_TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters='"\\', exclude_categories=["C", "Zl", "Zp"]),
    min_size=1,
    max_size=8,
)

_RECORDS = ("{ a = 1, b = [true, none] }", '{ type = "object" }', '{ "a key" = { inner = 1.5 } }', "{ }")
_JSON = ('"text"', "1", "-2.5", "true", "none", '["a", 1]', *_RECORDS)


SOMEWHERE = Source("generated", "")
NOWHERE = SOMEWHERE.span(0, 0)
_PLACES = count(1)


class Within(Record):
    """What is generated, and what is not."""

    without: frozenset[str] = frozenset()
    """Constructors, fields and options, which stand in quotes, that are never written."""
    numbers: Mapping[str, tuple[float, float]] = field(factory=dict)
    """Fields that are always written, and the smallest and the largest number in them."""


class Drawn(Record, eq=False):
    """A drawn value: how it is written, what it is, and what it asks of the rows it meets."""

    expression: Expression
    data: Any
    """As the rules of a class see it."""
    type: Type = NONE
    needs: Mapping[str, str] = field(factory=dict)
    """Keys of metadata that graders in it read, each with its type in words of the language."""
    fields: Mapping[str, Drawn] = field(factory=dict)
    """Of a constructor, the fields that are written."""
    parts: tuple[Drawn, ...] = ()
    """Of a list, its items."""
    span: Span = field(factory=lambda: SOMEWHERE.span(next(_PLACES), 0))
    """A place of its own, by which findings tell what they blame."""


class Values:
    """Draws values of the plain types."""

    def __init__(self, draw: st.DrawFn, within: Within, launch: Launch = ONE_DEVICE) -> None:
        self.draw = draw
        self.within = within
        self.launch = launch

    def pick(self, options: Sequence[T]) -> T:
        return options[self.draw(_below(len(options)))] if len(options) > 1 else options[0]

    def chance(self, percent: int) -> bool:
        """Shrinks towards False."""
        return self.draw(_below(100)) >= 100 - percent

    def some(self, options: Collection[T], most: int = 3) -> list[T]:
        """One of the options or more, each once."""
        left, found = list(options), list[T]()
        for _ in range(self.draw(_below(min(most, len(left)))) + 1):
            found.append(left.pop(self.draw(_below(len(left)))))
        return found

    def plain(self, type_: Type, spec: FieldSpec, cls: type[Constructor]) -> Drawn:
        """A value of a type that holds no constructor."""
        match type_:
            case LiteralText(text=text):
                return Drawn(f'"{text}"', text)
        if type_ == BOOL:
            text, data = self.pick((("true", True), ("false", False), ("not true", False), ("1 < 2", True)))
            return Drawn(text, data)
        if type_ == INT:
            return self._whole(*self._range(spec), spec.bounds)
        if type_ == FLOAT:
            return self._float(*self._range(spec), spec)
        if type_ == PERCENT:
            low = max(spec.bounds.at_least or 0, 0 if spec.bounds.above is None else spec.bounds.above + 1)
            share = int(low) + self.draw(_below(int(100 - low) + 1))
            return Drawn(f"{share}%" if self.chance(80) else f"{share}.0%", Percent(share))
        if type_ == DURATION:
            amount, unit = self.pick((1, 5, 30)), self.pick(tuple(SECONDS))
            return Drawn(f"{amount}{unit}", Duration(amount, unit))
        if type_ == NONE:
            return Drawn("none", None)
        if type_ == STR:
            text = self.draw(_TEXT)
            written = (
                f'"{text}"' if self.chance(80) else f'"""{text}"""' if text.strip() == text else f'r"{text}"'
            )
            return Drawn(written, text)
        if type_ == JSON:
            return self.example(self.pick(_JSON), type_)
        if type_ == TEMPLATE:
            return self.template(cls)
        if type_ == CONDITION:
            return Drawn(formulas.filter_of(self.pick), ())
        if type_ == REGEX:
            return self.example(self.pick(formulas.REGEXES), type_)
        if type_ == SECRET:
            name = self.pick(SECRETS)
            return Drawn(f'env("{name}")', Secret(name))
        if type_ == PATH and cls.constructor in FORMATS:
            return self.example(f'"{self.pick(files_of(cls.constructor))}"', type_)
        raise NotImplementedError(
            f"no value is known for `{spec.name}` of the type `{type_}`: give it examples"
        )

    def template(self, cls: type[Constructor]) -> Drawn:
        """A template: of a dataset over its columns, of a grader over what graders see."""
        if hasattr(cls, "scores"):  # every grader has a range of scores
            text = self.pick(formulas.OF_GRADERS)
            return Drawn(text, text, needs=dict.fromkeys(formulas.read_by(text), "str"))
        text = self.pick(formulas.OF_ROWS)
        return Drawn(text, text)

    def example(self, text: str, type_: Type) -> Drawn:
        return Drawn(text, evaluated(text, type_))

    # --- numbers ----------------------------------------------------------------------------------------

    def _range(self, spec: FieldSpec) -> tuple[float, float]:
        if spec.name in self.within.numbers:
            return self.within.numbers[spec.name]
        bounds = spec.bounds
        low = next((bound for bound in (bounds.at_least, bounds.above) if bound is not None), -100.0)
        high = next((bound for bound in (bounds.at_most, bounds.below) if bound is not None), low + 100)
        if spec.usual is not None:
            low, high = max(low, spec.usual[0]), min(high, spec.usual[1])
        return low, high

    def _whole(self, low: float, high: float, bounds: Bounds) -> Drawn:
        least, most = int(low), int(high)
        powers = [power for power in POWERS if least <= power <= most]
        number = (
            self.pick(powers) if powers and self.chance(60) else least + self.draw(_below(most - least + 1))
        )
        while bounds.broken_by(number) is not None and number < most:
            number += 1
        return self.whole(number)

    def whole(self, number: int) -> Drawn:
        """A number in one of the ways to write it."""
        if self.chance(75):
            return Drawn(f"{number:_}" if number >= 1000 and self.chance(50) else f"{number}", number)
        world = self.launch.world_size
        ways = [
            f"{number - 1} + 1",
            f"if 1 < 2 then {number} else 3",
            f"[{number}, 7][0]",
            f"{number * 2} // 2",
        ]
        ways += [f"{number // 2} * 2"] if number % 2 == 0 else []
        ways += [f"ctx.world_size * {number // world}"] if number and number % world == 0 else []
        return Drawn(self.pick(ways), number)

    def _float(self, low: float, high: float, spec: FieldSpec) -> Drawn:
        if spec.usual is not None and low > 0:  # such a range goes over orders of magnitude
            number = low * (high / low) ** (self.draw(_below(101)) / 100)
            number = min(max(float(f"{number:.2e}"), low), high)
        else:
            number = float(f"{low + (high - low) * self.draw(_below(1001)) / 1000:.6g}")
        if spec.bounds.broken_by(number) is not None:
            number = low + (high - low) / 2
        if number == int(number) and self.chance(50):
            return Drawn(f"{int(number)}", number)
        if abs(number) < 1 and self.chance(15):
            return Drawn(f"2 * {number / 2!r}", 2 * (number / 2))
        return Drawn(repr(number), number)


@cache
def _below(count: int) -> st.SearchStrategy[int]:
    return st.integers(0, max(count, 1) - 1)


@lru_cache(maxsize=4096)
def evaluated(text: str, type_: Type) -> Any:
    """What the compiler makes of an example's text."""
    expression, _ = parse_expression(Source("example", text))
    checker = Checker(launch=ONE_DEVICE, run_name="example", heads=Heads(DISK))
    return plain(checker.expect(expression, type_, "an example"))

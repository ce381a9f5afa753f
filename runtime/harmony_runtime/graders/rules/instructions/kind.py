"""What a kind of instruction is, and the arguments that it takes. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from reprlib import repr as shortened
from typing import Any, TypeAlias

Miss: TypeAlias = str | None
"""How a completion misses an instruction, in a few words; None where it follows it."""


class UnfitRowError(Exception):
    """What the row says is no instruction that a completion can be held against."""


@dataclass(frozen=True)
class Argument:
    """What an argument must be: in words that follow "is not", and as a test."""

    words: str
    fits: Callable[[Any], bool]


def filled(text: str) -> bool:
    """Whether there is more in it than blanks."""
    return text.strip() != ""


def _text(value: Any) -> bool:
    return isinstance(value, str) and filled(value)


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


RELATIONS = ("at least", "less than")

TEXT = Argument("a text", _text)
TEXTS = Argument(
    "a list of texts", lambda value: isinstance(value, list) and bool(value) and all(map(_text, value))
)
LETTER = Argument("one character", lambda value: _text(value) and len(value) == 1)
COUNT = Argument("a whole number from 0", lambda value: _number(value) and value >= 0)
PLACE = Argument("a whole number from 1", lambda value: _number(value) and value >= 1)
RELATION = Argument('"at least" or "less than"', lambda value: value in RELATIONS)


class Kind:
    """A kind of instruction: what it takes beside a completion, and how a completion may miss it."""

    def __init__(self, miss: Callable[..., Miss], **takes: Argument) -> None:
        self.miss = miss
        self.takes: Mapping[str, Argument] = takes

    def faults(self, arguments: Mapping[str, Any]) -> list[str]:
        """All that is wrong with the arguments."""
        missing = [f"lacks `{name}`" for name in self.takes if name not in arguments]
        unknown = [f"takes no `{name}`" for name in arguments if name not in self.takes]
        wrong = [
            f"takes as `{name}` {takes.words}, not {shortened(arguments[name])}"
            for name, takes in self.takes.items()
            if name in arguments and not takes.fits(arguments[name])
        ]
        return missing + unknown + wrong


def missed_count(found: int, relation: str, bound: int, of: str) -> Miss:
    """How a number that was found misses a bound."""
    follows = found >= bound if relation == "at least" else found < bound
    return None if follows else f"{of}: {found}, not {relation} {bound}"


def missed_number(found: int, asked: int, of: str) -> Miss:
    """How a number that was found misses the one that must be met exactly."""
    return None if found == asked else f"{of}: {found}, not {asked}"

"""The LALR automaton: tokens and a builder in, what the builder made of them out, or a fault.

It walks the tables that Lark computed from `recipe.lark`. On a fault it stops and says at which token, and in
which states it was: what could have stood there follows from them. Nothing recurses, whatever the nesting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from harmony_grammar._tables import ACTIONS, GOTO, RULES, STARTS
from harmony_grammar.records import Record

END = "END"
"""The kind of the token behind the last one."""

MAX_DEPTH = 100
"""How deep a tree may nest. Later phases walk trees by recursion; nobody writes such a thing by hand."""


class AnyToken(Protocol):
    @property
    def kind(self) -> str: ...


class Fault(Record):
    """`index` is the token that does not fit, `states` the automaton before it."""

    index: int
    states: tuple[int, ...]
    too_deep: bool = False


def methods(builder: object) -> list[Callable[..., Any] | None]:
    """The builder's method for each rule; `None` where a rule hands its only child on."""
    return [getattr(builder, method) if method else None for _, _, method in RULES]


def run(tokens: Sequence[AnyToken], start: str, calls: list[Callable[..., Any] | None]) -> Any | Fault:
    """The value of `tokens`, the last of which is of kind `END`."""
    states = [STARTS[start]]
    values: list[Any] = []
    depths: list[int] = []
    for index, token in enumerate(tokens):
        kind = token.kind
        while True:
            action = ACTIONS[states[-1]].get(kind)
            if action is None:
                if kind == END and len(states) == 2 and not ACTIONS[states[-1]]:
                    return values[0]
                return Fault(index, tuple(states))
            if action >= 0:
                states.append(action)
                values.append(token)
                depths.append(0)
                break
            origin, size, _ = RULES[~action]
            call = calls[~action]
            if call is None:
                states[-1] = GOTO[states[-2]][origin]
                continue
            value = call(*values[-size:])
            depth = max(depths[-size:]) + (type(value) is not list)
            if depth > MAX_DEPTH:
                return Fault(index, tuple(states), too_deep=True)
            del states[-size:], values[-size:], depths[-size:]
            states.append(GOTO[states[-1]][origin])
            values.append(value)
            depths.append(depth)
    raise AssertionError("the last token is not END")


def expected(fault: Fault) -> frozenset[str]:
    """The kinds of tokens that could have stood at the fault."""
    return frozenset(kind for kind in ACTIONS[fault.states[-1]] if _fits(fault.states, kind))


def _fits(before: tuple[int, ...], kind: str) -> bool:
    """Tables merge states: an action for `kind` may reduce and only then find that `kind` does not fit."""
    states = list(before)
    while True:
        action = ACTIONS[states[-1]].get(kind)
        if action is None:
            return kind == END and len(states) == 2 and not ACTIONS[states[-1]]
        if action >= 0:
            return True
        origin, size, _ = RULES[~action]
        del states[-size:]
        states.append(GOTO[states[-1]][origin])

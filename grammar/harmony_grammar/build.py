"""Grammar to tables: `python -m harmony_grammar.build` writes `_tables.py` from `recipe.lark`.

Lark reads the grammar, refuses conflicts and computes the LALR tables. They are stored as plain Python
literals, so that nobody who parses a recipe waits for Lark: importing it costs more than parsing a file.
`lexer.py` and `automaton.py` are what walks them. States are numbered in the order in which they are
reached, so that the same grammar always gives the same file.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

STARTS = ("declaration", "expression")

_HEAD = '''"""The tables of `recipe.lark`: written by `python -m harmony_grammar.build`, not by hand.

SCANNER   one regular expression for every token; a group's name is the token's kind
SIGNS     the kinds of tokens that are spelt in one way only, words apart: their kind is their text
RESERVED  the reserved words; their kind is their text, too
RULES     (nonterminal, number of children, method of `Builder`; "" where a single child is handed on)
STARTS    the first state for each start symbol
ACTIONS   for each state, what to do at a kind: the next state, or ~index of the rule to reduce by
GOTO      for each state, the next state after a nonterminal
"""
'''


def build() -> str:
    """The text of `_tables.py`."""
    from lark import Lark

    grammar = files("harmony_grammar").joinpath("recipe.lark").read_text(encoding="utf-8")
    lark = Lark(grammar, parser="lalr", lexer="basic", strict=True, start=list(STARTS))
    tables = {**_scanner(lark), **_automaton(lark)}
    return _HEAD + "".join(f"\n{name} = {_layout(value)}\n" for name, value in tables.items())


def _layout(value: Any) -> str:
    """One line for each rule and each state, so that a change of the grammar is a readable change here."""
    if isinstance(value, tuple):
        return "(\n" + "".join(f"    {item!r},\n" for item in value) + ")"
    return repr(value)


def _scanner(lark: Any) -> dict[str, Any]:
    """Lark's order of terminals is the order of the alternatives; a reserved word is first read as a name."""
    fixed = {t.pattern.value for t in lark.terminals if t.pattern.type == "str"}
    signs = sorted((text for text in fixed if not text.isalpha()), key=lambda text: (-len(text), text))
    regular = [t for t in lark.terminals if t.pattern.type == "re"]
    regular.sort(key=lambda t: (-t.priority, t.name))
    groups = [f"(?P<{t.name}>{t.pattern.to_regexp()})" for t in regular]
    at = next(i for i, t in enumerate(regular) if t.priority < 0)
    groups.insert(at, f"(?P<SIGN>{'|'.join(map(_escape, signs))})")
    return {
        "SCANNER": "|".join(groups),
        "SIGNS": tuple(sorted(signs)),
        "RESERVED": tuple(sorted(text for text in fixed if text.isalpha())),
    }


def _escape(sign: str) -> str:
    return "".join(f"\\{character}" for character in sign)


def _automaton(lark: Any) -> dict[str, Any]:
    kinds = {t.name: t.pattern.value for t in lark.terminals if t.pattern.type == "str"} | {"$END": "END"}
    table = lark.parser.parser._parse_table
    order = [table.start_states[start] for start in STARTS]
    number = {state: index for index, state in enumerate(order)}
    rules: dict[tuple[str, int, str], int] = {}
    actions: list[dict[str, int]] = []
    goto: list[dict[str, int]] = []
    for state in order:
        row: dict[str, int] = {}
        after: dict[str, int] = {}
        for symbol, (action, argument) in sorted(table.states[state].items()):
            if str(action) == "Reduce":
                rule = (str(argument.origin.name), len(argument.expansion), _method(argument))
                row[kinds.get(symbol, symbol)] = ~rules.setdefault(rule, len(rules))
                continue
            if argument not in number:
                number[argument] = len(order)
                order.append(argument)
            (after if symbol.islower() else row)[kinds.get(symbol, symbol)] = number[argument]
        actions.append(row)
        goto.append(after)
    return {
        "RULES": tuple(rules),
        "STARTS": {start: number[table.start_states[start]] for start in STARTS},
        "ACTIONS": tuple(actions),
        "GOTO": tuple(goto),
    }


def _method(rule: Any) -> str:
    if rule.alias:
        return str(rule.alias)
    return "" if rule.options.expand1 and len(rule.expansion) == 1 else str(rule.origin.name)


if __name__ == "__main__":
    Path(__file__).with_name("_tables.py").write_text(build(), encoding="utf-8")

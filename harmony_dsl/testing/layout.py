"""Layouts: the many ways to write one recipe.

Order of declarations and fields, `( )` or `{ }`, one line or many, comments and blank lines: none of it means
anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from harmony_compiler.graph.node import Constructor, schema
from harmony_compiler.graph.types import RecordOf, SettingsType, options_of
from harmony_dsl.testing.tree import Block, Declaration, Expression, Field, Glued, Several

T = TypeVar("T")

_COMMENTS = ("# a remark", "#", "# lr = 3 } ] )", '# "', "# {{ question }}")
_INDENT = "  "


class Layout:
    """How a recipe is written. Seed 0 is the plain way: everything in order, a line each, no comments."""

    def __init__(self, seed: int, names: frozenset[str] = frozenset()) -> None:
        self._random = Random(seed) if seed else None
        self._names = names
        """Names that the recipe declares: a field of such a name has no short form."""

    def recipe(self, declarations: Sequence[Declaration]) -> str:
        parts = [self._declaration(one) for one in self._order(declarations)]
        return "".join(part + self._between() for part in parts)

    def _chance(self, percent: int) -> bool:
        return self._random is not None and self._random.randrange(100) < percent

    def _order(self, items: Sequence[T]) -> list[T]:
        ordered = list(items)
        if self._chance(70):
            assert self._random is not None
            self._random.shuffle(ordered)
        return ordered

    def _comment(self) -> str:
        assert self._random is not None
        return self._random.choice(_COMMENTS)

    def _between(self) -> str:
        if self._chance(15):
            return f"\n{self._comment()}\n\n"
        return "\n\n" if self._chance(30) else "\n"

    # --- declarations -----------------------------------------------------------------------------------

    def _declaration(self, declaration: Declaration) -> str:
        doc = "## what this is for\n" if self._chance(15) else ""
        return doc + self._plainly(declaration)

    def _plainly(self, declaration: Declaration) -> str:
        word, name, value = declaration.word, declaration.name, declaration.value
        if word == "recipe":
            assert isinstance(value, Block)
            return f"recipe {name} {self._braces(value.fields, value.cls, 0)}"
        if word == "save":
            assert isinstance(value, Block)
            held = {one.key: self.expression(one.value) for one in value.fields[:2]}
            rest = value.fields[2:]
            block = f" {self._braces(rest, value.cls, 0)}" if rest or self._chance(10) else ""
            return f"save {held['model']} as {held['key']}{block}"
        if word == "import":
            assert isinstance(value, Block)
            block = f" {self._braces(value.fields, None, 0)}" if value.fields else ""
            return f"import {value.head} as {name}{block}"
        if word == "input":
            condition = f" where {declaration.condition}" if declaration.condition else ""
            default = self.expression(value)
            return f"input {name}: {declaration.type}{f' = {default}' if default else ''}{condition}"
        return f"{word} {name} = {self.expression(value)}"

    # --- expressions ------------------------------------------------------------------------------------

    def expression(self, part: Expression, depth: int = 0) -> str:
        match part:
            case str():
                return part
            case Glued(parts=parts):
                return "".join(self.expression(one, depth) for one in parts)
            case Several(items=items):
                return self._bracketed("[", [self.expression(one, depth + 1) for one in items], "]", depth)
            case Block():
                return self._block(part, depth)

    def _block(self, block: Block, depth: int) -> str:
        if block.cls is None or block.copies:
            return f"{block.head} {self._braces(block.fields, block.cls, depth)}".lstrip()
        fields = self._order(block.fields)
        argument = next((one for one in fields if one.key == block.cls.argument), None)
        if argument is not None and not self._chance(15):
            fields = [argument, *(one for one in fields if one is not argument)]
            cut = 1
        else:
            cut, argument = 0, None
        if self._chance(50):
            assert self._random is not None
            cut = self._random.randint(cut, len(fields))
        inside = [
            self.expression(one.value, depth + 1)
            if one is argument
            else self._field(one, block.cls, depth + 1, short=False)
            for one in fields[:cut]
        ]
        arguments = self._bracketed("(", inside, ")", depth) if inside or self._chance(5) else ""
        behind = fields[cut:]
        if not behind and (arguments or not self._chance(50)):
            return block.head + arguments
        return f"{block.head}{arguments} {self._braces(behind, block.cls, depth)}"

    def _field(self, one: Field, cls: type[Constructor] | None, depth: int, *, short: bool = True) -> str:
        """A field of a settings type has three forms: inside `{ }` the short `sampling { }`, anywhere
        `sampling = sampling { }` and, where it is the only type that is asked for, `sampling = { }`."""
        value = one.value
        if isinstance(value, Block) and cls is not None and value.cls is not None and one.equals == " = ":
            record = self._braces(value.fields, value.cls, depth)
            if short and value.head == one.key and one.key not in self._names and not self._chance(40):
                return f"{one.key} {record}"
            spec = schema(cls).get(one.key)
            options = options_of(spec.type) if spec else ()
            only = sum(isinstance(option, SettingsType) for option in options) == 1
            free = any(isinstance(option, RecordOf) for option in options)
            made = not value.copies and value.head == value.cls.constructor
            if only and made and not free and self._chance(30):
                return f"{one.key} = {record}"
        return f"{one.key}{one.equals}{self.expression(value, depth)}"

    def _bracketed(self, opener: str, parts: Sequence[str], closer: str, depth: int) -> str:
        if parts and self._chance(12):
            line = "\n" + _INDENT * (depth + 1)
            trailing = "," if self._chance(50) else ""
            return f"{opener}{line}{f',{line}'.join(parts)}{trailing}\n{_INDENT * depth}{closer}"
        trailing = "," if parts and self._chance(5) else ""
        return f"{opener}{', '.join(parts)}{trailing}{closer}"

    def _braces(self, fields: Sequence[Field], cls: type[Constructor] | None, depth: int) -> str:
        parts = [self._field(one, cls, depth + 1) for one in self._order(fields)]
        if not parts:
            return "{\n}" if self._chance(20) else "{ }"
        if (self._random is None and cls is None) or self._chance(25):
            return f"{{ {', '.join(parts)} }}"
        line = _INDENT * (depth + 1)
        lines = []
        for part in parts:
            if self._chance(5):
                lines.append(self._comment() if self._chance(50) else "")
            behind = f"  {self._comment()}" if self._chance(5) else ""
            lines.append(part + ("," if self._chance(10) else "") + behind)
        return "{\n" + "".join(f"{line}{text}".rstrip(" ") + "\n" for text in lines) + f"{_INDENT * depth}}}"


def write(declarations: Sequence[Declaration], seed: int = 0) -> str:
    """A recipe as text; each seed is another layout, and 0 the plain one."""
    names = frozenset(one.name for one in declarations if one.word not in ("recipe", "save"))
    return Layout(seed, names).recipe(declarations)

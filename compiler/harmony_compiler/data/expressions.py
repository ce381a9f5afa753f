"""Expressions of templates, the common ones: `{{ answer.split('####')[-1] | trim }}`, read without jinja2.

What is read here reads as jinja2 reads it; everything else (blocks, tests, operators, comments, control of
blanks, what is broken) is left to jinja2 itself, whose import is a good part of a check.
"""

from __future__ import annotations

import re

from harmony_grammar.records import Record

FILTERS = frozenset(
    [
        "abs",
        "attr",
        "batch",
        "capitalize",
        "center",
        "count",
        "d",
        "default",
        "dictsort",
        "e",
        "escape",
        "filesizeformat",
        "first",
        "float",
        "forceescape",
        "format",
        "groupby",
        "indent",
        "int",
        "items",
        "join",
        "last",
        "length",
        "list",
        "lower",
        "map",
        "max",
        "min",
        "pprint",
        "random",
        "reject",
        "rejectattr",
        "replace",
        "reverse",
        "round",
        "safe",
        "select",
        "selectattr",
        "slice",
        "sort",
        "string",
        "striptags",
        "sum",
        "title",
        "tojson",
        "trim",
        "truncate",
        "unique",
        "upper",
        "urlencode",
        "urlize",
        "wordcount",
        "wordwrap",
        "xmlattr",
    ]
)
"""The filters that templates have."""

GLOBALS = frozenset({"range", "dict", "lipsum", "cycler", "joiner", "namespace"})
"""Functions that templates have: no columns."""

_CONSTANTS = frozenset({"true", "false", "none", "True", "False", "None"})
_RESERVED = _CONSTANTS | {"and", "else", "if", "in", "is", "not", "or"}

_OPENS = re.compile(r"\{\{|\{%|\{#")
_TOKEN = re.compile(
    r"""[ \t\r\n]*(?:
        (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<text>'(?:[^'\\]|\\[nrt'"\\])*'|"(?:[^"\\]|\\[nrt'"\\])*")
      | (?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?![\w.]))
      | (?P<mark>\}\}|[.|()\[\],=:])
    )""",
    re.VERBOSE,
)


class Part(Record):
    """A name of an expression and where it stands."""

    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class Expression(Record):
    """One `{{ … }}` of a template."""

    start: int
    end: int
    name: Part
    key: Part | None
    """What is read of it first: `metadata.answer` reads `answer`."""
    filters: tuple[Part, ...]
    plain: bool
    """Whether it is the name alone."""


def read_expressions(text: str) -> list[Expression] | None:
    """Every `{{ … }}` of a template; None where jinja2 has to read it."""
    found: list[Expression] = []
    at = 0
    while opening := _OPENS.search(text, at):
        if opening[0] != "{{":
            return None
        try:
            expression = _Reader(text, opening.start()).read()
        except _OtherError:
            return None
        found.append(expression)
        at = expression.end
    return found


class _OtherError(Exception):
    """Something else stands here."""


class _Reader:
    """Reads one expression, token by token."""

    def __init__(self, text: str, start: int) -> None:
        self._text = text
        self._start = start
        self._end = start + 2
        self.kind = ""
        self.part = Part("", start)
        self._next()

    def _next(self) -> None:
        found = _TOKEN.match(self._text, self._end)
        if found is None or found.lastgroup is None:
            raise _OtherError
        self.kind = found.lastgroup
        self.part = Part(found[self.kind], found.start(self.kind))
        if self.kind == "mark":
            self.kind = self.part.text
        self._end = found.end()

    def _take(self, *kinds: str) -> Part:
        part = self.part
        if self.kind not in kinds:
            raise _OtherError
        self._next()
        return part

    def read(self) -> Expression:
        name = self._take("name")
        if name.text in _RESERVED:
            raise _OtherError
        key, plain = self._postfixes()
        filters: list[Part] = []
        while self.kind == "|":
            self._next()
            filters.append(self._take("name"))
            if self.kind == "(":
                self._arguments()
        if self.kind != "}}":
            raise _OtherError
        return Expression(self._start, self._end, name, key, tuple(filters), plain and not filters)

    def _postfixes(self) -> tuple[Part | None, bool]:
        """Attributes, items and calls behind a name: the key of the first one, and whether there are none."""
        first: Part | None = None
        count = 0
        while self.kind in (".", "[", "("):
            key: Part | None = None
            if self.kind == ".":
                self._next()
                key = self._take("name")
            elif self.kind == "(":
                self._arguments()
            else:
                key = self._item()
            first = key if count == 0 else first
            count += 1
        return first, count == 0

    def _item(self) -> Part | None:
        """`['key']`, `[-1]` or `[1:]`; the key, if it is one."""
        self._next()
        key: Part | None = None
        if self.kind == "text":
            whole = self._take("text")
            if "\\" in whole.text:
                raise _OtherError
            key = Part(whole.text[1:-1], whole.start + 1)
        else:
            if self.kind == "number":
                self._next()
            elif self.kind != ":":
                raise _OtherError
            if self.kind == ":":
                self._next()
                if self.kind == "number":
                    self._next()
        self._take("]")
        return key

    def _arguments(self) -> None:
        """`('a', 1, sep=', ')`: literals, named ones last."""
        self._next()
        named: set[str] = set()
        while self.kind != ")":
            part = self._take("text", "number", "name")
            if self.kind == "=" and part.text.isidentifier() and part.text not in (*_RESERVED, *named):
                named.add(part.text)
                self._next()
                part = self._take("text", "number", "name")
            elif named:
                raise _OtherError
            if part.text.isidentifier() and part.text not in _CONSTANTS:
                raise _OtherError
            if self.kind != ",":
                break
            self._next()
            if self.kind == ")":
                raise _OtherError
        self._take(")")

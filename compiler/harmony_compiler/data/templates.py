"""Templates: which variables one reads, where, and what is wrong with it as a template.

What the variables may be is the caller's: columns of a dataset, or what a grader's template sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harmony_compiler.data.expressions import FILTERS, GLOBALS, read_expressions
from harmony_compiler.findings.data import BrokenTemplate, UnknownFilter
from harmony_compiler.graph.types import TEMPLATE
from harmony_compiler.naming.near import nearest
from harmony_compiler.typed import Made, Read, Value
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.records import Record
from harmony_grammar.source import Span


class Variable(Record):
    """A variable of a template, and what is read of it: `metadata.answer` reads `answer` of `metadata`."""

    name: str
    span: Span
    keys: tuple[Read, ...] = ()


def templates_of(made: Made) -> Iterator[Value]:
    """The templates that a recipe wrote in the fields of a constructor."""
    for value in made.written.values():
        yield from _templates_in(value)


def _templates_in(value: Value) -> Iterator[Value]:
    if value.type == TEMPLATE:
        yield value
    elif isinstance(value.data, dict | tuple):
        for part in value.data.values() if isinstance(value.data, dict) else value.data:
            yield from _templates_in(part)


def read_template(template: Value, findings: list[Diagnostic]) -> list[Variable]:
    """The variables that a template reads; what is wrong with it goes to `findings`."""
    expressions = read_expressions(template.data)
    if expressions is None:
        return _read_jinja(template, findings)
    found: list[Variable] = []
    for expression in expressions:
        for name in expression.filters:
            if name.text not in FILTERS:
                span, near = _inside(template, name.start, name.end), nearest(name.text, FILTERS)
                fixes = near.fixes(span, closed=True)
                finding = UnknownFilter(
                    span=span, kind="filter", name=name.text, suggestion=near.name, fixes=fixes
                )
                findings.append(finding)
        if expression.name.text not in GLOBALS:
            name, key = expression.name, expression.key
            keys = (Read(key.text, _inside(template, key.start, key.end)),) if key else ()
            found.append(Variable(name.text, _inside(template, name.start, name.end), keys))
    return found


def pieces(text: str) -> tuple[tuple[str, str], ...] | None:
    """A template of `{{ name }}` alone as pairs of text and the name behind it, which is "" at the end.

    None for a template that needs more than that.
    """
    found = read_expressions(text)
    if found is None or any(not e.plain or e.name.text in GLOBALS for e in found):
        return None
    starts = [0, *(expression.end for expression in found)]
    ends = [*(expression.start for expression in found), len(text)]
    names = [*(expression.name.text for expression in found), ""]
    return tuple((text[start:end], name) for start, end, name in zip(starts, ends, names, strict=True))


def _read_jinja(template: Value, findings: list[Diagnostic]) -> list[Variable]:
    # Most templates need no jinja2, and its import is a good part of a check.
    from jinja2 import TemplateSyntaxError, meta, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # Working out constants takes the cube of how deeply they are nested, and nobody needs them here.
    environment = ImmutableSandboxedEnvironment(optimized=False)
    environment.intercepted_binops = frozenset({"**", "*"})  # else `meta` computes `9 ** 9 ** 9`
    # Jinja makes every line end a `\n`; places are those of the text as it is.
    text = template.data.replace("\r\n", " \n").replace("\r", "\n")
    try:
        tree = environment.parse(text)
        words = list(_words(text, environment.lex(text)))
        for other in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
            reason = "it asks for another template, and each stands alone"
            findings.append(_broken(template, reason, other.lineno))
        for node in (*tree.find_all(nodes.Filter), *tree.find_all(nodes.Test)):
            is_filter = isinstance(node, nodes.Filter)
            kind = "filter" if is_filter else "test"
            known: dict[str, Any] = environment.filters if is_filter else environment.tests
            if node.name not in known:
                span = _place(template, words, node.name, after="|" if is_filter else "is")
                near = nearest(node.name, known)
                fixes = near.fixes(span, closed=True)
                findings.append(
                    UnknownFilter(span=span, kind=kind, name=node.name, suggestion=near.name, fixes=fixes)
                )
                known[node.name] = str  # said once; the variables are looked for all the same
        tracking = meta.TrackingCodeGenerator(environment)  # as `find_undeclared_variables` does it
        tracking.optimizer = None
        tracking.visit(tree)
        undeclared = sorted(tracking.undeclared_identifiers - set(environment.globals))
        keys: dict[str, dict[str, Read]] = {name: {} for name in undeclared}
        parts: list[Any] = [*tree.find_all(nodes.Getattr), *tree.find_all(nodes.Getitem)]
        for part in parts:
            key = part.attr if isinstance(part, nodes.Getattr) else getattr(part.arg, "value", None)
            owner = part.node.name if isinstance(part.node, nodes.Name) else ""
            if owner in keys and isinstance(key, str):
                keys[owner].setdefault(key, Read(key, _place_of_key(template, words, owner, key)))
    except TemplateSyntaxError as fault:
        findings.append(_broken(template, fault.message or "it makes no sense", fault.lineno))
        return []
    except RecursionError:
        findings.append(BrokenTemplate(span=template.span, reason="it is nested too deeply"))
        return []
    return [
        Variable(name, _place(template, words, name, after=""), tuple(keys[name].values()))
        for name in undeclared
    ]


def _broken(template: Value, message: str, line: int) -> Diagnostic:
    """A finding about a line of a template, without the blanks around it."""
    lines = template.data.replace("\r\n", " \n").replace("\r", "\n").split("\n")
    start = sum(len(text) + 1 for text in lines[: line - 1])
    text = "".join(lines[line - 1 : line])
    start += len(text) - len(text.lstrip())
    span = _inside(template, start, start + len(text.strip())) if text.strip() else template.span
    return BrokenTemplate(span=span, reason=in_words(message))


def in_words(message: str) -> str:
    """What Jinja says, as our messages say it."""
    return (message[:1].lower() + message[1:]).rstrip(".").replace("'", "`")


class _Word(Record):
    """A name or text of a template inside its marks, with what stands around it."""

    offset: int
    text: str
    owner: str
    before: str
    behind: str


def _words(template: str, tokens: Iterator[tuple[int, str, str]]) -> Iterator[_Word]:
    placed: list[tuple[int, str, str]] = []
    offset = 0
    for _, kind, text in tokens:
        offset = template.index(text, offset)  # `{{-` drops the blanks before it
        if kind not in ("data", "whitespace"):
            placed.append((offset, kind, text))
        offset += len(text)
    texts = ["", "", *(text for _, _, text in placed), ""]
    for (offset, kind, text), *around in zip(placed, texts, texts[1:], texts[3:], strict=False):
        if kind in ("name", "string"):
            yield _Word(offset, text, *around)


def _place(template: Value, words: Sequence[_Word], name: str, after: str) -> Span:
    """Where a name stands: a filter behind `|`, a test behind `is`, a variable where it is read."""
    found = [word for word in words if word.text == name]
    if after:
        found = [word for word in found if word.before == after or (after, word.before) == ("is", "not")]
    else:
        found = [word for word in found if word.before not in (".", "|", "is")]
        read = [word for word in found if word.before not in ("for", "set") and word.behind != "="]
        found = read or found
    return _inside(template, found[0].offset, found[0].offset + len(name)) if found else template.span


def _place_of_key(template: Value, words: Sequence[_Word], owner: str, key: str) -> Span:
    """Where `key` stands in `owner.key` or `owner["key"]`."""
    for word in words:
        named = word.before == "." and word.text == key
        if word.owner == owner and (named or (word.before == "[" and word.text[1:-1] == key)):
            start = word.offset + (not named)
            return _inside(template, start, start + len(key))
    return template.span


def _inside(template: Value, start: int, end: int) -> Span:
    """A stretch of a template's text in the recipe; the whole value where the text is not written there."""
    return template.literal.span_of(start, end) if template.literal is not None else template.span

"""Templates: the small reader of common expressions, held against jinja2."""

from __future__ import annotations

from collections.abc import Sequence

import jinja2.filters
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from harmony_compiler.data import templates
from harmony_compiler.data.expressions import FILTERS, GLOBALS, read_expressions
from harmony_compiler.data.templates import Variable, pieces, read_template
from harmony_compiler.graph.types import TEMPLATE
from harmony_compiler.typed import Value
from harmony_grammar import syntax
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.source import Source

settings.register_profile("templates", deadline=None, derandomize=True, database=None, max_examples=400)


def test_filters_and_functions_are_those_of_jinja() -> None:
    assert set(jinja2.filters.FILTERS) == FILTERS
    assert set(ImmutableSandboxedEnvironment().globals) == GLOBALS


def template(text: str) -> Value:
    span = Source("t.recipe", text).span(0, len(text))
    return Value(TEMPLATE, text, span)


def said(variables: Sequence[Variable], findings: Sequence[Diagnostic]) -> tuple[object, ...]:
    """Variables, their keys, and what is wrong, whatever their order and places."""
    return (
        {variable.name for variable in variables},
        {(variable.name, read.key) for variable in variables for read in variable.keys},
        {finding.words.message for finding in findings},
    )


FAST = [
    "no variable",
    "{{ a }} and {{b}}",
    "{{ answer.split('####')[-1] | trim }}",
    "{{ a['key'] }}{{ a[0] }}{{ a[1:] }}{{ a[:-2] }}{{ a[:] }}",
    "{{ a | default('x', true) | join(d=', ', attribute='y') | upper }}",
    '{{ a.b.c(1, 2.5, none)["k"] }}',
    "{{ a | nofilter }}",
    "{{ range(3) | list }} {{ dict }}",
    "{{ a\n  | trim }}",
    "lone { brace } and }} end",
    "{{ a | replace('}}', '{{') }}",
]
SLOW = [
    "{% if a %}{% endif %}",
    "{# a #}",
    "{{- a }}",
    "{{ a -}}",
    "{{ a + b }}",
    "{{ not a }}",
    "{{ a is defined }}",
    "{{ (a) }}",
    "{{ 'text' }}",
    "{{ a | join(d=d) }}",
    "{{ a[b] }}",
    "{{ a | }}",
    "{{ a",
    "{{ }}",
    "{{ a b }}",
    "{{ a.1 }}",
    "{{ f(a=1, 2) }}",
    "{{ none }}",
    "{{ 'a' 'b' }}",
    "{{ naïve }}",
    "{{ a['\\x41'] }}",
]


@pytest.mark.parametrize("text", FAST)
def test_common_templates_are_read_without_jinja(text: str) -> None:
    assert read_expressions(text) is not None


@pytest.mark.parametrize("text", SLOW)
def test_other_templates_are_left_to_jinja(text: str) -> None:
    assert read_expressions(text) is None


PARTS = [
    *("{{ ", " }}", "{{", "}}", "{%", "%}", "{#", "#}", "-", " ", "\n", "{", "}"),
    *("a", "metadata", "answer", "none", "not", "in", "if", "range", "loop", "self", "_x", "é"),
    *(".", "[", "]", "(", ")", "|", ",", "=", ":", "'", '"', "\\", "\\n", "0", "1", "-1", "01", "1.5", "1_0"),
    *(" | trim", " | join(', ')", ".split('x')", "['key']", "[-1]", "[1:]", " | nofilter", "(x=1)", "+", "~"),
]
EXPRESSIONS = st.lists(st.sampled_from(PARTS), max_size=8).map(lambda parts: "{{ a" + "".join(parts) + " }}")
TEXTS = st.lists(st.sampled_from(PARTS), max_size=14).map("".join) | EXPRESSIONS


@settings(settings.get_profile("templates"))
@given(st.lists(TEXTS, max_size=2).map("".join))
def test_what_is_read_here_reads_as_jinja_reads_it(text: str) -> None:
    if read_expressions(text) is None:
        return
    fast: list[Diagnostic] = []
    slow: list[Diagnostic] = []
    found = said(read_template(template(text), fast), fast)
    assert found == said(templates._read_jinja(template(text), slow), slow)


@settings(settings.get_profile("templates"))
@given(EXPRESSIONS)
def test_names_stand_where_they_are_said_to_stand(text: str) -> None:
    literal = syntax.Text(Source("t.recipe", text).span(0, len(text)), text)
    for variable in read_template(Value(TEMPLATE, text, literal.span, literal=literal), []):
        assert variable.span.text in (variable.name, text)


def test_plain_templates_come_in_pieces() -> None:
    assert pieces("{ {{ a }}: {{ b }}!") == (("{ ", "a"), (": ", "b"), ("!", ""))
    assert pieces("{{ a | trim }}") is None
    assert pieces("{{ a.b }}") is None
    assert pieces("{% raw %}{% endraw %}") is None

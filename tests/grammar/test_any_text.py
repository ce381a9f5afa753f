"""Any text at all gives findings, never an exception, and no character of it is lost."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from reading import SCHOOL, parse

from harmony_grammar.brackets import balance
from harmony_grammar.lexer import CLOSERS, scan
from harmony_grammar.parser import parse_expression
from harmony_grammar.rendering import render_text, to_json
from harmony_grammar.source import Source
from harmony_grammar.syntax import Text

_TOKENS = [token.text for token in scan(Source("a.recipe", SCHOOL)).tokens]
_PIECES = [
    *sorted(set(_TOKENS)),
    "\n",
    "\n  ",
    " ",
    "\r\n",
    "#",
    "##",
    '"',
    '"""',
    "'",
    "\\",
    ";",
    "%",
    "é",
    "\t",
    "\ufeff",
]

soups = st.lists(st.sampled_from(_PIECES), max_size=40).map("".join)
texts = st.one_of(st.text(max_size=60), soups)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(texts)
def test_any_text_gives_findings(text: str) -> None:
    parsed = parse(text)
    for finding in parsed.diagnostics:
        assert 0 <= finding.span.start <= finding.span.end <= len(text)
        assert text[finding.span.start :] or finding.span.start == len(text)
    assert render_text(parsed.diagnostics).count("error[") >= len(parsed.diagnostics)
    to_json(parsed.diagnostics)
    parse_expression(Source("--set x", text))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([*"([{}])=,\na", "\n  ", "\n    ", "\nlet a = "]), max_size=40).map("".join))
def test_brackets_are_balanced(text: str) -> None:
    source = Source("a.recipe", text)
    tokens, findings = balance(scan(source).tokens, source)
    awaited: list[str] = []
    for token in tokens:
        if token.kind in CLOSERS:
            awaited.append(CLOSERS[token.kind])
        elif token.kind in CLOSERS.values():
            assert awaited.pop() == token.kind
    assert not awaited
    healthy = [token for token in tokens if token.text] == scan(source).tokens
    assert findings or healthy
    parse(text)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(texts)
def test_no_character_is_lost(text: str) -> None:
    tokens, comments, _ = scan(Source("a.recipe", text))
    places = sorted([(t.start, t.end) for t in tokens] + [(c.span.start, c.span.end) for c in comments])
    at = 0
    for start, end in places:
        assert text[at:start].strip(" \t\f\r\n\ufeff") == ""
        assert start < end
        at = end
    assert text[at:].strip(" \t\f\r\n\ufeff") == ""


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(
        st.sampled_from([r"\n", r"\\", r"\"", r"\u{1F600}", r"\u{41}", "a", "é", " ", "{{ x }}", r"\d"]),
        max_size=12,
    ),
    st.data(),
)
def test_a_stretch_of_a_string_is_found_in_the_source(pieces: list[str], data: st.DataObject) -> None:
    literal = '"' + "".join(pieces) + '"'
    text, _ = parse_expression(Source("a.recipe", f" {literal} "))
    assert isinstance(text, Text)
    start = data.draw(st.integers(0, len(text.value)))
    end = data.draw(st.integers(start, len(text.value)))
    span = text.span_of(start, end)
    assert text.span.start < span.start <= span.end < text.span.end
    if end > start and not span.text.endswith("\\"):
        stretch, _ = parse_expression(Source("a.recipe", f'"{span.text}"'))
        assert isinstance(stretch, Text)
        assert stretch.value == text.value[start:end]


_LINES = st.lists(st.sampled_from(["a", "  b", "\tc", "", "    d e", r"x\ty", " é"]), min_size=1, max_size=6)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(_LINES, st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "  ", "    "]))
def test_a_character_of_a_long_string_is_found_in_the_source(
    lines: list[str], ending: str, margin: str
) -> None:
    body = ending.join(margin + line for line in lines)
    text, _ = parse_expression(Source("a.recipe", f'"""{ending}{body}{ending}{margin}"""'))
    assert isinstance(text, Text)
    for index, character in enumerate(text.value):
        there = text.span_of(index, index + 1).text
        assert there in ({"\n": ("\n", "\r"), "\t": ("\t", r"\t")}.get(character, (character,)))

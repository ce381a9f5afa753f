"""What the parser makes of a text: shapes of the tree, spans, literals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from reading import SCHOOL, recipes_of_the_manual, tree

from harmony_grammar.parser import parse_expression
from harmony_grammar.records import Record, fields
from harmony_grammar.source import Source
from harmony_grammar.syntax import Expression, Identifier, Name, Node, SaveDeclaration, Text, With


def show(node: object) -> str:
    """A tree as nested parentheses."""
    if isinstance(node, tuple):
        return "[" + " ".join(show(item) for item in node) + "]"
    if isinstance(node, (Name, Identifier)):
        return node.text
    if isinstance(node, Node):
        parts = (getattr(node, name) for name, f in fields(node).items() if name != "span" and f.compare)
        return f"({type(node).__name__} {' '.join(show(part) for part in parts)})"
    return repr(node) if not isinstance(node, str) else node


def expression(text: str) -> Expression:
    result, findings = parse_expression(Source("--set x", text))
    assert not findings
    return result


SHAPES = {
    "1 + 2 * 3": "(Binary + (Number 1) (Binary * (Number 2) (Number 3)))",
    "a - b - c": "(Binary - (Binary - a b) c)",
    "-a.b": "(Unary - (Attribute a b))",
    "- -a": "(Unary - (Unary - a))",
    "not a == b": "(Unary not (Compare [a b] [==]))",
    "not a and b or c": "(Binary or (Binary and (Unary not a) b) c)",
    "0 < a <= b": "(Compare [(Number 0) a b] [< <=])",
    "a not in b in c": "(Compare [a b c] [not in in])",
    "a == b + 1": "(Compare [a (Binary + b (Number 1))] [==])",
    "if a then b else if c then d else e": "(Conditional a b (Conditional c d e))",
    "(a + b) * c": "(Binary * (Binary + a b) c)",
    "a.if": "(Attribute a if)",
    'a."b c"': "(Attribute a b c)",
    "a[-1][b]": "(Index (Index a (Unary - (Number 1))) b)",
    "f(a, in = b, c,)": "(Call f [a (Field in b) c])",
    "f(not = not a)": "(Call f [(Field not (Unary not a))])",
    "f()(a){b = c}": "(With (Call (Call f []) [a]) [(Field b c)])",
    "a { b { c = d } }": "(With a [(Field b (With b [(Field c d)]))])",
    "{}": "(Record [])",
    "[{a = 1}, []]": "(List [(Record [(Field a (Number 1))]) (List [])])",
    "[true, false, none]": "(List [(Constant True) (Constant False) (Constant None)])",
    "model": "model",
    "a // b / c": "(Binary / (Binary // a b) c)",
}


@pytest.mark.parametrize(("text", "shape"), SHAPES.items(), ids=SHAPES.keys())
def test_shape(text: str, shape: str) -> None:
    assert show(expression(text)) == shape


NUMBERS = {
    "42": "(Number 42)",
    "1_000": "(Number 1000)",
    "007": "(Number 7)",
    "1e-5": "(Number 1e-05)",
    "1.50": "(Number 1.5)",
    "2E3": "(Number 2000.0)",
    "3%": "(Percent 3)",
    "0.5%": "(Percent 0.5)",
    "250ms": "(Duration 250 ms)",
    "1.5h": "(Duration 1.5 h)",
    "30s": "(Duration 30 s)",
    "5min": "(Duration 5 min)",
    "1d": "(Duration 1 d)",
}


@pytest.mark.parametrize(("text", "shape"), NUMBERS.items(), ids=NUMBERS.keys())
def test_number(text: str, shape: str) -> None:
    assert show(expression(text)) == shape


def test_ints_and_floats_differ() -> None:
    assert isinstance(expression("1").value, int)  # type: ignore[union-attr]
    assert isinstance(expression("1.0").value, float)  # type: ignore[union-attr]


STRINGS = {
    r'"a\n\t\r\"\\"': 'a\n\t\r"\\',
    r'"\u{1F600}\u{e9}"': "😀é",
    r'r"\d+\n"': r"\d+\n",
    '""': "",
    '"""one"""': "one",
    '"""\n  a\n    b\n\n  c\n  """': "a\n  b\n\nc",
    '"""\n  a\n  b"""': "a\nb",
    '"""a\n  b\n  c\n"""': "a\nb\nc",
    '"""\n"""': "",
    '"""\n\n"""': "",
    '"""\n  a\n \n  b\n"""': "a\n\nb",
    '"""\r\n  a\r\n  b\r\n  """': "a\nb",
    '"""\n\ta\n\t b\n"""': "a\n b",
    '"""say "hi" """': 'say "hi" ',
    '"""\n  a\\n  b\\"""\n"""': 'a\n  b"""',
    r'"\d"': r"\d",
    r'"\u{110000}\u{d800}\u{}"': r"\u{110000}\u{d800}\u{}",
}


@pytest.mark.parametrize(("text", "value"), STRINGS.items(), ids=[repr(text) for text in STRINGS])
def test_string(text: str, value: str) -> None:
    assert show(expression(text)) == f"(Text {value})"


def test_unknown_escapes_are_handed_on() -> None:
    text = expression(r'"a\d\n\u{zz}\q"')
    assert isinstance(text, Text)
    assert [span.text for span in text.bad_escapes] == [r"\d", r"\u{zz}", r"\q"]


def test_short_form() -> None:
    [field] = expression("{ sampling { top_k = 3 } }").fields  # type: ignore[union-attr]
    assert field.short
    assert isinstance(field.value, With)
    assert field.value.value == Name(field.span, "sampling")


def test_the_block_of_a_save_is_its_own() -> None:
    for key in ("k", '"k"'):
        [save] = tree(f"save a as {key} {{ x = 1 }}").declarations
        assert isinstance(save, SaveDeclaration)
        assert [field.key.text for field in save.fields] == ["x"]  # type: ignore[union-attr]


def test_newlines_in_an_argument_are_blanks() -> None:
    assert expression("\n1\n+\n2\n") == expression("1 + 2")
    assert expression("a\n+ f(b)\n{ c = 1 }") == expression("a + f(b) { c = 1 }")


@pytest.mark.parametrize("text", ["", "# nothing", "1 +", "let a = 1", "a b", ")"])
def test_a_faulty_argument_has_one_finding(text: str) -> None:
    _, findings = parse_expression(Source("--set x", text))
    assert len(findings) == 1
    assert findings[0].span.source.name == "--set x"


def test_the_recipes_of_the_manual() -> None:
    for text in recipes_of_the_manual():
        assert tree(text).declarations


def walk(node: object) -> Iterator[Node]:
    if isinstance(node, Node):
        yield node
    if isinstance(node, tuple):
        for item in node:
            yield from walk(item)
    elif isinstance(node, Record):
        for name in fields(node):
            if name not in ("span", "source"):
                yield from walk(getattr(node, name))


def test_spans_lie_inside_their_owners() -> None:
    for declaration in tree(SCHOOL).declarations:
        for node in walk(declaration):
            assert node.span.text.strip() == node.span.text != ""
            for child in walk(tuple(getattr(node, name) for name in fields(node) if name != "span")):
                assert node.span.start <= child.span.start <= child.span.end <= node.span.end


def test_parentheses_belong_to_the_span() -> None:
    assert expression("[(a + b), c]").items[0].span.text == "(a + b)"  # type: ignore[union-attr]
    assert expression("(a + b) * c").span.text == "(a + b) * c"

"""For all recipes, however they are laid out: formatted twice is formatted once, and nothing else changes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from reading import SCHOOL, parse, recipes_of_the_manual

from harmony_dsl.testing.comments import gaps, newlines, with_comments
from harmony_grammar.formatting import comments, difference, format_source
from harmony_grammar.source import Source

NAMES = st.sampled_from(["a", "beta", "metadata.answer", "a_name_that_takes_a_good_part_of_a_line", "x.y.z"])
TEXTS = [
    '"b"',
    r'r"\d+"',
    '"a text that is rather long, and that nobody can break"',
    '"""\n    one\n  two\n  """',
]
LITERALS = st.sampled_from(["1", "1_000", "2.50", "3%", "5min", "true", "none", *TEXTS])
NUMBERS = st.sampled_from(["1", "-1_000", "2.50", "3%", "5min"])
KEYS = st.sampled_from(["lr", "sampling", "model", "if", '"two words"', "a_key_with_a_long_name"])


def _fields(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    field = st.one_of(
        st.builds("{} = {}".format, KEYS, values),
        st.builds("sampling = sampling {{ {} = {} }}".format, KEYS, values),
        st.builds("schedule {{ {} = {} }}".format, KEYS, values),
    )
    return st.lists(field, max_size=3).map(lambda fields: f"{{ {', '.join(fields)} }}")


def _wider(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    items = st.lists(values, max_size=4)
    group = values.map("({})".format)
    # What binds tighter than every operator.
    tight = st.one_of(NAMES, LITERALS, group)
    binary = st.sampled_from(["+", "-", "*", "/", "//", "and", "or", "==", "<", "in", "not in"])
    chain = st.lists(st.tuples(binary, tight), min_size=1, max_size=4).map(
        lambda links: "".join(f" {sign} {operand}" for sign, operand in links)
    )
    return st.one_of(
        items.map(lambda inside: f"[{', '.join(inside)}]"),
        items.map(lambda inside: f"[{', '.join(inside)},]" if inside else "[]"),
        st.builds("{}({})".format, NAMES, items.map(", ".join)),
        st.builds("{}(key = {})".format, NAMES, values),
        st.builds("{} {}".format, NAMES, _fields(values)),
        st.builds("f({}) {}".format, values, _fields(values)),
        _fields(values),
        group,
        st.builds("{}{}".format, tight, chain),
        st.builds("{}[{}]".format, NAMES, values),
        st.builds("-{}".format, tight),
        st.builds("not {}".format, tight),
        st.builds("if {} then {} else {}".format, tight, tight, values).map("({})".format),
        st.builds("if {} then {} else {}".format, tight, tight, group),
        st.lists(values, min_size=3, max_size=9).map(_ladder),
        st.lists(NUMBERS, min_size=10, max_size=40).map(lambda items: f"[{', '.join(items)}]"),
    )


def _ladder(values: list[str]) -> str:
    arms = zip(values[::2], values[1::2], strict=False)
    return f"({' '.join(f'if ({condition}) then f({value}) else' for condition, value in arms)} last)"


EXPRESSIONS = st.recursive(st.one_of(NAMES, LITERALS), _wider, max_leaves=14)
DECLARATIONS = st.one_of(
    st.builds("let a = {}".format, EXPRESSIONS),
    st.builds("## What it is.\ngrader g = {}".format, EXPRESSIONS),
    st.builds(
        "input a: {} = {} where {}".format,
        st.sampled_from(["int", '"one" | "two" | none', "Dataset[Prompt{answer: str, in: int}]"]),
        EXPRESSIONS,
        EXPRESSIONS,
    ),
    st.builds('import "a.recipe" as {} {}'.format, st.sampled_from(["sampling", "b"]), _fields(EXPRESSIONS)),
    st.builds("save {} as key {}".format, NAMES, _fields(EXPRESSIONS)),
)


@st.composite
def laid_out(draw: st.DrawFn) -> str:
    """Declarations with newlines, empty lines and comments where they mean nothing."""
    text = "\n".join(draw(st.lists(DECLARATIONS, min_size=1, max_size=3)))
    source = Source("a.recipe", text)
    documented = {one.span.start for one in parse(text).tree.declarations if one.doc}
    free = [gap for gap in newlines(source) if gap.start not in documented]
    share = draw(st.sampled_from([0, 10, 30, 100]))
    for gap in reversed(free):
        if draw(st.integers(0, 99)) < share:
            put = draw(
                st.sampled_from(["\n", "\n\n\n", " # c\n", "\n# c\n", "\n\n# c\n\n# d\n\n", "\r\n", "  \t"])
            )
            text = text[: gap.start] + put + text[gap.start :]
    return text


def check(text: str) -> str:
    source = Source("a.recipe", text)
    before = parse(text)
    assert not before.diagnostics
    formatted = format_source(source).text
    assert formatted is not None
    after = parse(formatted)
    assert not after.diagnostics
    assert not difference(before.tree, after.tree)
    assert format_source(Source("a.recipe", formatted)).text == formatted
    return formatted


@settings(max_examples=150, deadline=None)
@given(laid_out())
def test_whatever_the_layout_was(text: str) -> None:
    formatted = check(text)
    assert formatted.endswith("\n")
    assert not formatted.startswith("\n")
    assert "\n\n\n" not in formatted
    assert "\r" not in formatted


def test_comments_at_every_gap_of_a_recipe() -> None:
    source = Source("a.recipe", SCHOOL)
    tree = parse(SCHOOL).tree
    tried = 0
    for number, gap in enumerate(gaps(source)[::6]):
        text = with_comments(source, [gap], ("#", "##")[number % 2], trailing=number % 3 == 0)
        parsed = parse(text)
        if parsed.diagnostics or parsed.tree.declarations != tree.declarations:
            continue
        tried += 1
        formatted = check(text)
        assert comments(parse(formatted).tree) == comments(parsed.tree)
    assert tried > 40


def test_recipes_of_the_manual() -> None:
    for text in recipes_of_the_manual():
        check(text)

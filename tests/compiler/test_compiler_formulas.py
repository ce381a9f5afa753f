"""Formulas and the algebra of graders: what each expression becomes, and which have no value."""

from __future__ import annotations

from typing import Any

import pytest
from compiler_support import ASKED, GRADER, MODEL, REINFORCED, check_text, codes, graph_of, replaced

from harmony_compiler.graph.graders import Combination, Formula, Grader
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.values import Percent

OTHERS = (
    GRADER + 'grader tidy = matches(r"^[0-9]+$")\nlet long = words(completion)\nlet named = 0.5 * right\n'
)


def graded_by(expression: str, more: str = "") -> Graph:
    """A recipe with one declared grader more, `given`, and everything in it."""
    text = f"grader given = {expression}\n{more}{OTHERS}"
    compilation = check_text(text)
    assert compilation.graph is None or not compilation.diagnostics
    graph = check_text(text, wanted="given").graph
    assert graph is not None, [finding.words.message for finding in compilation.diagnostics]
    return graph


def grader_of(expression: str) -> Grader:
    graph = graded_by(expression)
    (output,) = graph.outputs
    node = graph.nodes[output]
    assert isinstance(node, Grader)
    return node


def formula(expression: str) -> Any:
    node = grader_of(expression)
    assert isinstance(node, Formula)
    return node.expression


def combination(expression: str) -> tuple[Any, list[str]]:
    """The formula of a combination, and the names of its graders."""
    graph = graded_by(expression)
    node = graph.nodes[graph.outputs[0]]
    assert isinstance(node, Combination)
    return node.expression, [graph.stage_name(ref) for ref in node.graders]


C = ("read", "completion")
WORDS = ("words", C)


def k(value: Any) -> Any:
    return ("constant", value)


def g(number: int) -> Any:
    return ("grader", number)


FORMULAS: list[tuple[str, Any]] = [
    ("words(completion)", WORDS),
    ("long", WORDS),
    ("words(prompt)", ("words", ("read", "prompt"))),
    ("number(metadata.answer)", ("number", ("read", "metadata", "answer"))),
    ('number(metadata["an answer"])', ("number", ("read", "metadata", "an answer"))),
    ('number(metadata."an answer")', ("number", ("read", "metadata", "an answer"))),
    ("len(turns)", ("len", ("read", "turns"))),
    ("chars(turns[0].content)", ("chars", ("member", ("index", ("read", "turns"), k(0)), "content"))),
    (
        'turns[0].role == "system"',
        ("==", ("member", ("index", ("read", "turns"), k(0)), "role"), k("system")),
    ),
    ('completion[0] == "a"', ("==", ("index", C, k(0)), k("a"))),
    ('"abc"[words(completion)] == completion', ("==", ("index", k("abc"), WORDS), C)),
    ("[1, 2.5][long]", ("index", ("list", k(1), k(2.5)), WORDS)),
    ("1 - words(completion) / 200", ("-", k(1), ("/", WORDS, k(200)))),
    ("10% * long", ("*", k(0.1), WORDS)),
    ("-long", ("-", WORDS)),
    ("long // 2", ("//", WORDS, k(2))),
    ("(1 + 2) * long", ("*", k(3), WORDS)),
    ("0 < long", ("<", k(0), WORDS)),
    ("0 < long <= 5", ("and", ("<", k(0), WORDS), ("<=", WORDS, k(5)))),
    ("0 < 1 < long", ("<", k(1), WORDS)),
    ('completion in ["a", prompt]', ("in", C, ("list", k("a"), ("read", "prompt")))),
    ('"a" not in completion', ("not in", k("a"), C)),
    ("completion == none", ("==", C, k(None))),
    ("not (long > 1)", ("not", (">", WORDS, k(1)))),
    ("long > 1 and long < 5", ("and", (">", WORDS, k(1)), ("<", WORDS, k(5)))),
    ("true and long > 1", (">", WORDS, k(1))),
    ("long > 1 or false", ("or", (">", WORDS, k(1)), k(False))),
    ("if long > 1 then 1 else 0.5", ("if", (">", WORDS, k(1)), k(1), k(0.5))),
    ("if long > 1 then long else none", ("if", (">", WORDS, k(1)), WORDS, k(None))),
    ("if 1 < 2 then long else 0", WORDS),
    ('contains(completion, "a")', ("contains", C, k("a"))),
    ('0.5 * contains(completion, "a")', ("*", k(0.5), ("contains", C, k("a")))),
    ('matches(completion, "^\\d+$")', ("matches", C, k("^\\d+$"))),
    ("agreement(completion, metadata.answer)", ("agreement", C, ("read", "metadata", "answer"))),
    ("clamp(1 - long / 200, 0, 1)", ("clamp", ("-", k(1), ("/", WORDS, k(200))), k(0), k(1))),
    ("max(long, lines(completion), 3)", ("max", WORDS, ("lines", C), k(3))),
    ("words(lower(strip(completion)))", ("words", ("lower", ("strip", C)))),
    ('words(completion + " " + prompt)', ("words", ("+", ("+", C, k(" ")), ("read", "prompt")))),
    ("sqrt(4) * long", ("*", k(2.0), WORDS)),
]


@pytest.mark.parametrize(("expression", "tree"), FORMULAS, ids=[expression for expression, _ in FORMULAS])
def test_an_expression_over_a_completion_is_a_formula(expression: str, tree: Any) -> None:
    assert formula(expression) == tree


COMBINATIONS: list[tuple[str, Any, list[str]]] = [
    ("0.8 * right + 0.2 * tidy", ("+", ("*", k(0.8), g(0)), ("*", k(0.2), g(1))), ["right", "tidy"]),
    ("right - right / 2", ("-", g(0), ("/", g(0), k(2))), ["right"]),
    ("-right", ("-", g(0)), ["right"]),
    ("1 - 10% * right", ("-", k(1), ("*", k(0.1), g(0))), ["right"]),
    ("2 * (right + tidy) - tidy", ("-", ("*", k(2), ("+", g(0), g(1))), g(1)), ["right", "tidy"]),
    ("named + right", ("+", g(0), g(1)), ["named", "right"]),
    ("right + long / 10", ("+", g(0), g(1)), ["right", "long / 10"]),
    ("right + long", ("+", g(0), g(1)), ["right", "long"]),
    ("right * (long  >\n 3)", ("*", g(0), g(1)), ["right", "(long > 3)"]),
    ("mean(right, tidy, long)", ("mean", g(0), g(1), g(2)), ["right", "tidy", "long"]),
    ("clamp(right, 0, 0.5)", ("clamp", g(0), k(0), k(0.5)), ["right"]),
    ("if long > 3 then right else 0", ("if", g(0), g(1), k(0)), ["long > 3", "right"]),
    ("if long > 3 then right else none", ("if", g(0), g(1), k(None)), ["long > 3", "right"]),
    ("if 1 < 2 then right * 2 else tidy", ("*", g(0), k(2)), ["right"]),
    ('matches("a") + matches("a")', ("+", g(0), g(0)), ['matches("a")']),
    ('contains("a") + equals { expected = "b" }', ("+", g(0), g(1)),
     ['contains("a")', 'equals { expected = "b" }']),
    ('right { on_failure = "zero" } + right', ("+", g(0), g(1)),
     ['right { on_failure = "zero" }', "right"]),
    ("(right + tidy) { max_failure_rate = 5% } * 2", ("*", g(0), k(2)),
     ["(right + tidy) { max_failure_rate = 5% }"]),
    ('right + equals("a very long text, which nobody reads")', ("+", g(0), g(1)),
     ["right", 'equals("a very long text, which nobody …']),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "tree", "names"), COMBINATIONS, ids=[c[0] for c in COMBINATIONS])
def test_graders_form_an_algebra(expression: str, tree: Any, names: list[str]) -> None:
    found, shown = combination(expression)
    assert found == tree
    assert shown == names
    assert all(len(name) <= 40 for name in shown)


COPIES = [
    "right",
    "tidy",
    "named",
    "long",
    "right + tidy",
    "words(completion)",
    "mean(right, long)",
    'contains("a")',
]


@pytest.mark.parametrize("grader", COPIES)
def test_every_grader_can_be_copied_with_a_policy(grader: str) -> None:
    written = grader if grader.isidentifier() or grader.endswith(")") else f"({grader})"
    copied, original = grader_of(f'{written} {{ on_failure = "zero" }}'), grader_of(grader)
    assert copied.on_failure == "zero"
    assert type(copied) is type(original)
    assert [value for name, value in vars(copied).items() if name != "on_failure"] == [
        value for name, value in vars(original).items() if name != "on_failure"
    ]


def test_a_copy_may_change_its_policy_alone() -> None:
    found = check_text(f"grader given = long {{ expression = 3, timeout = 5s }}\n{OTHERS}")
    assert codes(found) == ["E0401"]


REFUSED = [
    ("completion", "E0302", "completion"),
    ("3", "E0302", "3"),
    ("completion - 1", "E0306", None),
    ("completion + 1", "E0306", None),
    ("-completion", "E0306", None),
    ("prompt == 5", "E0306", None),
    ("completion < 5", "E0306", None),
    ("5 in completion", "E0306", None),
    ('completion in ["a", 5]', "E0306", None),
    ("turns < turns", "E0306", None),
    ("true + long", "E0306", None),
    ("none * long", "E0306", None),
    ("1h < long", "E0306", None),
    ("long[0]", "E0306", None),
    ("[1, \"a\"][long]", "E0306", None),
    ("completion[0.5]", "E0301", "0.5"),
    ("completion[completion]", "E0312", None),
    ("completion.text", "E0308", "text"),
    ("turns[0].text", "E0308", "text"),
    ("metadata", "E0311", "metadata"),
    ("metadata[0]", "E0306", "0"),
    ("metadata[completion]", "E0306", "completion"),
    ("not completion", "E0310", "completion"),
    ("long and true", "E0310", "long"),
    ("right and true", "E0310", "right"),
    ("if completion then 1 else 0", "E0310", "completion"),
    ('if long > 1 then "a" else 1', "E0306", None),
    ("if long > 1 then true else 1", "E0306", None),
    ('if long > 1 then right else "a"', "E0306", None),
    ("right // 2", "E0306", "right // 2"),
    ("right > 0.5", "E0306", None),
    ('right + "a"', "E0306", None),
    ("right + completion", "E0306", None),
    ("right + [1]", "E0306", None),
    ("words(right)", "E0301", "right"),
    ("words(3)", "E0301", "3"),
    ("words(turns)", "E0301", "turns"),
    ("len(3)", "E0301", "3"),
    ('sqrt("4")', "E0301", '"4"'),
    ("abs(true)", "E0301", "true"),
    ("matches(completion, completion)", "E0312", None),
    ("words()", "E0313", "words()"),
    ("words", "E0311", "words"),
    ("words(completion, prompt)", "E0313", None),
    ("mean()", "E0313", None),
    ("clamp(long, 0)", "E0313", None),
    ("words(text = completion)", "E0313", "text"),
    ('contains("a", "b", "c")', "E0313", None),
    ('contains(text = "a", part = "b")', "E0401", "part"),
    ("words(completon)", "E0204", "completon"),
    ("words(completon, prompt, lenght)", None, None),
    ("completion(3)", "E0307", "completion"),
    ("completion { a = 1 }", "E0411", "completion"),
    ('matches("(")', "E0314", "("),
    ('matches(completion, "a{2,1}")', "E0314", None),
    ("clamp(0.5, 2, 1) * long", "E0309", "clamp(0.5, 2, 1)"),
    ("log(0) * long", "E0309", "log(0)"),
    ("exp(1000) * long", "E0309", None),
    ("long / 0", "E0309", "long / 0"),
    ("long // (2 - 2)", "E0309", None),
    ("right / 0.0", "E0309", "right / 0.0"),
    ("clamp(long, 1, 0)", "E0309", "clamp(long, 1, 0)"),
    ("clamp(right, 50%, 0.2)", "E0309", None),
    ('completion[-1] == "a"', "E0309", "completion[-1]"),
    ("words(turns[-1].content)", "E0309", "turns[-1]"),
    ("right + none", "E0306", None),
    ("-(if long > 3 then none else none)", "E0306", None),
    ("equals { expected = completion }", "E0312", "completion"),
    ("long { on_failure = completion }", "E0312", "completion"),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "code", "part"), REFUSED, ids=[e for e, _, _ in REFUSED])
def test_an_expression_is_no_grader(expression: str, code: str | None, part: str | None) -> None:
    found = check_text(f"grader given = {expression}\n{OTHERS}")
    assert found.graph is None
    assert code is None or codes(found) == [code]
    assert part is None or found.diagnostics[0].span.text == part


CONSTANT_CALLS: list[tuple[str, Any]] = [
    ('words("a b  c")', 3),
    ('chars("abc")', 3),
    ('lines("a\\nb")', 2),
    ('contains("abc", "b")', True),
    ('starts_with("abc", "b")', False),
    ('ends_with("abc", "c")', True),
    ('matches("abc", "^a.c$")', True),
    ('lower("ABC") + strip(" d ")', "abcd"),
    ('number("1,000.5")', 1000.5),
    ('number("many")', None),
    ('agreement("abc", "abd") * 3', 2.0),
    ('len("abc") + len([1, 2])', 5),
    ("abs(-3)", 3),
    ("abs(-3.5)", 3.5),
    ("min(3, 1, 2)", 1),
    ("max(3, 1.5)", 3.0),
    ("mean(1, 2)", 1.5),
    ("clamp(5, 0, 1)", 1),
    ("clamp(50%, 0, 0.25)", 0.25),
    ("round(2.5)", 2),
    ("sqrt(16)", 4.0),
    ("exp(0)", 1.0),
    ("log(1)", 0.0),
]
ANY = "int | float | str | bool | none"


@pytest.mark.parametrize(("call", "value"), CONSTANT_CALLS, ids=[call for call, _ in CONSTANT_CALLS])
def test_a_function_of_constants_is_computed(call: str, value: Any) -> None:
    found = graph_of(f"input given: {ANY} = {call}\n").inputs["given"]
    assert (found, type(found)) == (value, type(value))


def test_functions_are_known_in_conditions_of_inputs() -> None:
    text = 'input name: str = "abc" where len(name) > 2 and matches(name, "^[a-z]+$")\n'
    assert codes(check_text(text)) == []
    assert codes(check_text(text, ["name=ab"])) == ["E0422"]
    assert codes(check_text("input n: int = 3 where words(completion) > n\n")) == ["E0312"]


def test_an_input_can_be_a_grader() -> None:
    text = "input reward: Grader = 0.5 * right\n" + replaced(
        REINFORCED, ("grader = right", "grader = reward")
    )
    graph = graph_of(text)
    assert graph.inputs["reward"]["node"] in graph.nodes
    assert "reward" in [origin.name for origin in graph.origins.values()]
    changed = graph_of(text, ["reward=agreement(completion, metadata.answer)"])
    assert [type(n) for n in changed.nodes.values() if isinstance(n, Grader)] == [Formula]
    assert codes(check_text(text, ["reward=3"])) == ["E0301"]


def test_a_number_that_a_let_names_is_a_leaf_of_that_name() -> None:
    assert combination("right + long")[1] == ["right", "long"]


def test_a_formula_can_be_too_large() -> None:
    doubled = "let n0 = words(completion)\n" + "".join(f"let n{i + 1} = n{i} + n{i}\n" for i in range(40))
    assert codes(check_text(doubled)) == ["E0309"]
    chain = "let n0 = words(completion)\n" + "".join(f"let n{i + 1} = n{i} + 1\n" for i in range(500))
    assert codes(check_text(chain)) == ["E0309"]


def test_a_chain_of_named_graders_may_be_long() -> None:
    names = "".join(f"grader g{i + 1} = g{i} + 1\n" for i in range(200))
    assert check_text(f"grader g0 = words(completion)\n{names}", wanted="g200").graph is not None


def test_equal_graders_are_one_node() -> None:
    more = 'let other = matches(r"^[0-9]+$") * 2\n'
    graph = graded_by("tidy * 2", more)
    assert sorted(node.constructor for node in graph.nodes.values()) == ["combination", "matches"]


def test_defaults_of_a_formula_are_those_of_its_class() -> None:
    node = grader_of("long")
    assert (node.on_failure, node.max_failure_rate) == ("skip", Percent(10))


def test_origins_say_where_a_grader_was_written() -> None:
    text = ASKED + MODEL + "## Fewer words.\ngrader brief = 1 / words(completion)\n"
    graph = check_text(text, wanted="brief").graph
    assert graph is not None
    (origin,) = graph.origins.values()
    assert (origin.name, origin.line, origin.doc) == ("brief", 12, "Fewer words.")

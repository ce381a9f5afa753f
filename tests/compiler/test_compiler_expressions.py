"""Expressions: what each is worth, and which have no value."""

from __future__ import annotations

from typing import Any

import pytest
from compiler_support import GOOD, check_text, codes, graph_of

ANY = "int | float | percent | str | bool | none | duration | list[int] | list[str]"


def worth(expression: str) -> Any:
    return graph_of(f"input given: {ANY} = {expression}\n").inputs["given"]


LARGEST = 2**63 - 1

VALUES: list[tuple[str, Any]] = [
    ("1 + 2", 3),
    ("1 + 2.5", 3.5),
    ("7 - 10", -3),
    ("2 * 3 + 4 * 5", 26),
    ("2 * (3 + 4) * 5", 70),
    ("7 / 2", 3.5),
    ("6 / 2", 3.0),
    ("7 // 2", 3),
    ("-7 // 2", -4),
    ("7.5 // 2", 3),
    ("1 - 2 - 3", -4),
    ("--3", 3),
    ("-3%", {"percent": -3}),
    ("10.0%", {"percent": 10}),
    ("12.5%", {"percent": 12.5}),
    ("10% * 50", 5.0),
    ("1 - 25%", 0.75),
    ('"a" + "b"', "ab"),
    ("250ms", {"duration": [250, "ms"]}),
    (f"{LARGEST}", LARGEST),
    (f"-{LARGEST} + 0", -LARGEST),
    ("1 < 2", True),
    ("1 < 2 < 3", True),
    ("1 < 3 < 2", False),
    ("1 < 2 > 0 != 3", True),
    ("2 >= 2.0", True),
    ("1 == 1.0", True),
    ("50% == 0.5", True),
    ("true == 1", False),
    ("none == none", True),
    ("none == 0", False),
    ("none != false", True),
    ('"1" == 1', False),
    ('"a" < "b"', True),
    ("60s == 1min", True),
    ("2h > 90min", True),
    ("[1, 2] == [1, 2.0]", True),
    ("[1, 2] == [1]", False),
    ("[] == []", True),
    ("{ a = 1 } == { a = 1 }", True),
    ("{ a = 1 } == { b = 1 }", False),
    ("2 in [1, 2]", True),
    ("2 not in [1, 2]", False),
    ("[1] in [[1], [2]]", True),
    ('"b" in "abc"', True),
    ('"d" not in "abc"', True),
    ("true and false", False),
    ("true or false", True),
    ("not true", False),
    ("not 1 == 2 and 3 == 3", True),
    ("false and 1 / 0 == 1", False),
    ("true or 1 / 0 == 1", True),
    ("if 1 < 2 then 3 else 4", 3),
    ("if 1 > 2 then 3 else if true then 4 else 5", 4),
    ("if true then 1 else 1 / 0", 1),
    ("1 + (if false then 1 else 10)", 11),
    ("[10, 20][1]", 20),
    ("[10, 20][2]", None),
    ("[10, 20][-1]", None),
    ('"abc"[1]', "b"),
    ('"abc"[3]', ""),
    ("[[1], [2]][1][0]", 2),
    ("{ a = { b = 7 } }.a.b", 7),
    ('{ "any key" = 7 }."any key"', 7),
    ("[1, 2]", [1, 2]),
    ("[]", []),
    ('["a"]', ["a"]),
]


@pytest.mark.parametrize(("expression", "value"), VALUES, ids=[expression for expression, _ in VALUES])
def test_an_expression_is_worth(expression: str, value: Any) -> None:
    found = worth(expression)
    assert (found, type(found)) == (value, type(value))


VALUELESS = [
    ("1 / 0", "E0309", "1 / 0"),
    ("1 // 0.0", "E0309", "1 // 0.0"),
    (f"{LARGEST} + 1", "E0309", f"{LARGEST} + 1"),
    (f"{LARGEST} * {LARGEST}", "E0309", None),
    (f"-{LARGEST} - 2", "E0309", None),
    ("1e308 * 10", "E0309", "1e308 * 10"),
    ("1e308 // 1e-10", "E0309", None),
    ('"a" - "b"', "E0306", None),
    ('"a" * 3', "E0306", None),
    ("true + 1", "E0306", None),
    ("none + 1", "E0306", None),
    ("[1] + [2]", "E0306", None),
    ("1h + 1h", "E0306", None),
    ('-"a"', "E0306", None),
    ('1 < "a"', "E0306", None),
    ("none < 1", "E0306", None),
    ("[1] < [2]", "E0306", None),
    ("1h < 3", "E0306", None),
    ("1 in 2", "E0306", None),
    ('1 in "123"', "E0306", None),
    ('env("A") == env("A")', "E0306", None),
    ('env("A") in ["a"]', "E0306", None),
    ('env("A") + "a"', "E0306", None),
    ("3[0]", "E0306", None),
    ("[1][0.0]", "E0301", "0.0"),
    ("not 1", "E0310", "1"),
    ('"a" and true', "E0310", '"a"'),
    ("if 1 then 2 else 3", "E0310", "1"),
    ("{ a = 1 }.b", "E0308", "b"),
    ("3.a", None, None),
    ("ctx.size", "E0308", "size"),
    ("nothing", "E0204", "nothing"),
    ("nothing + nowhere", None, None),
    ("(1 + 2)(3)", "E0307", None),
    ("metadata", "E0311", "metadata"),
]


@pytest.mark.parametrize(("expression", "code", "part"), VALUELESS, ids=[e for e, _, _ in VALUELESS])
def test_an_expression_has_no_value(expression: str, code: str | None, part: str | None) -> None:
    compilation = check_text(f"let given = {expression}\n")
    assert compilation.graph is None
    assert code is None or codes(compilation) == [code]
    assert part is None or compilation.diagnostics[0].span.text == part


def test_the_innermost_fault_is_blamed() -> None:
    (finding,) = check_text("let given = [1 + 2 * (3 / 0), 4][0] < 5\n").diagnostics
    assert finding.span.text in ("3 / 0", "(3 / 0)")


def test_each_unknown_name_is_said() -> None:
    found = check_text("let given = one + [two, { three = three }][four]\n").diagnostics
    assert [finding.span.text for finding in found] == ["one", "two", "three", "four"]


def test_names_may_be_used_before_they_are_declared() -> None:
    text = "input c: int = a + b\nlet b = a * 2\nlet a = 3\n"
    assert graph_of(text).inputs == {"c": 9}


def test_a_record_in_a_field_of_a_settings_type_is_that_settings() -> None:
    ways = ("optimizer { beta1 = 0.5 }", "optimizer = { beta1 = 0.5 }", "optimizer = adamw { beta1 = 0.5 }")
    graphs = [graph_of(GOOD.replace("steps = 3", f"steps = 3\n  {way}")) for way in ways]
    assert graphs[0].nodes == graphs[1].nodes == graphs[2].nodes


def test_a_short_field_copies_a_value_of_that_name() -> None:
    text = "let schedule = linear { warmup = 5 }\n" + GOOD.replace(
        "steps = 3", "steps = 3\n  schedule { floor = 1% }"
    )
    (stage,) = [node for node in graph_of(text).nodes.values() if node.constructor == "sft"]
    assert str(stage.schedule) == "Linear(warmup=5, floor=Percent(value=1))"

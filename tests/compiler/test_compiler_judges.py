"""What the checker knows about judges."""

from __future__ import annotations

import pytest
from compiler_support import COMPARED, REINFORCED, check_text, codes, pointed_at, replaced
from test_compiler_stages import JUDGED

EXAMPLE = "`completion` and `answer`, and beside them only `prompt` and `reasoning`"
SCORED = 'answer = { type = "object", properties = { score = { type = "number" } } }'

JUDGES = [
    # fields of a judge, what is said of them, and where
    ('answer = { type = "object" }', "has no property `score`", '{ type = "object" }'),
    ("answer = { properties = [1] }", "has no property `score`", "{ properties = [1] }"),
    ("answer = { properties = 5 }", "has no property `score`", "{ properties = 5 }"),
    (SCORED, None, None),
    ('answer = "scale"\n  weighted = true\n  scale = [1, 10]', "needs answers of one digit", "true"),
    ('answer = "scale"\n  weighted = true\n  scale = [-1, 5]', "needs answers of one digit", "true"),
    ('answer = "scale"\n  weighted = true\n  scale = [0, 9]', None, None),
    ('answer = "scale"\n  weighted = true', None, None),
    ('answer = "scale"\n  scale = [-1, 10]', None, None),
    ('examples = [{ completion = "4" }]', EXAMPLE, '[{ completion = "4" }]'),
    ('examples = [{ completion = 4, answer = "pass" }]', EXAMPLE, '[{ completion = 4, answer = "pass" }]'),
    (
        'examples = [{ completion = "4", answer = "pass", why = "" }]',
        EXAMPLE,
        '[{ completion = "4", answer = "pass", why = "" }]',
    ),
    ('examples = [{ prompt = "2+2?", completion = "4", answer = "pass", reasoning = "so" }]', None, None),
    (
        'examples = [{ completion = "4", answer = "good" }]',
        "an answer that the judge cannot give",
        '[{ completion = "4", answer = "good" }]',
    ),
    ('examples = [{ completion = "4", answer = "not applicable" }]', None, None),
    (
        'answer = "scale"\n  examples = [{ completion = "4", answer = 6 }]',
        "an answer that the judge cannot give",
        '[{ completion = "4", answer = 6 }]',
    ),
    (
        'answer = "scale"\n  examples = [{ completion = "4", answer = true }]',
        "an answer that the judge cannot give",
        '[{ completion = "4", answer = true }]',
    ),
    ('answer = "scale"\n  examples = [{ completion = "4", answer = 5 }]', None, None),
    (
        SCORED + '\n  examples = [{ completion = "4", answer = 1 }]',
        "an answer that the judge cannot give",
        '[{ completion = "4", answer = 1 }]',
    ),
    (SCORED + '\n  examples = [{ completion = "4", answer = { score = 1 } }]', None, None),
]


@pytest.mark.parametrize(("fields", "message", "place"), JUDGES)
def test_the_fields_of_a_judge_agree(fields: str, message: str | None, place: str | None) -> None:
    found = check_text(replaced(JUDGED, ("criteria", f"{fields}\n  criteria")))
    if message is None:
        assert codes(found) == []
        return
    assert (codes(found), pointed_at(found)) == (["E0406"], [place])
    assert message in found.diagnostics[0].words.message


def test_the_templates_of_a_judge_see_what_graders_see() -> None:
    asked = replaced(JUDGED, ("criteria", 'template = "{{ question }}"\n  criteria'))
    found = check_text(asked)
    assert (codes(found), pointed_at(found)) == (["E0511"], ["question"])


def test_an_endpoint_judges_and_is_compared() -> None:
    endpoint = 'let wise = endpoint("http://localhost:8000/v1", model = "a")\n'
    judged = replaced(JUDGED, ("model = tiny\n  criteria", "model = wise\n  criteria"))
    assert codes(check_text(endpoint + judged)) == []
    compared = replaced(REINFORCED + COMPARED, ("models = [", "models = [wise, "))
    assert codes(check_text(endpoint + compared)) == []


def test_an_endpoint_takes_no_top_k() -> None:
    endpoint = 'let wise = endpoint("http://localhost:8000/v1", model = "a")\n'
    drawn = ("max_tokens = 8 }\n}\n", "max_tokens = 8, temperature = 1, top_k = 5 }\n}\n")
    compared = REINFORCED + replaced(COMPARED, drawn)
    assert codes(check_text(compared)) == []
    found = check_text(endpoint + replaced(compared, ("models = [", "models = [wise, ")))
    assert (codes(found), pointed_at(found)) == (["E0406"], ["5"])
    assert "an API that has no `top_k`" in found.diagnostics[0].words.message

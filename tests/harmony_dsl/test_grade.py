"""`harmonyc grade`: a reward is tried on completions, and what people see is what came out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dsl_support import ROOT, Harmonyc, Outcome

import harmony_dsl
from harmony_compiler.graph.formulas import FUNCTIONS

RECIPE = """\
input weight: float = 0.5
grader exact = equals { expected = "{{ metadata.answer }}" }
grader near = 1 - abs(number(completion) - number(metadata.answer)) / number(metadata.scale)
grader short = clamp(2 - words(completion), 0, 1)
grader quality = exact + weight * near + 0.1 * short
"""

ROWS: list[dict[str, Any]] = [
    {"prompt": "2+2", "completion": "4", "metadata": {"answer": "4", "scale": "4"}},
    {"prompt": "2+3", "completion": "4", "metadata": {"answer": "5", "scale": "4"}},
    {"prompt": "2+4", "completion": "it is six", "metadata": {"answer": "6", "scale": "4"}},
    {"prompt": "2+5", "completion": "7", "metadata": {"answer": "7", "scale": "0"}},
    {"prompt": "2+6", "completion": "8"},
]

SHOWN = """\
row 1: quality 1.60 for "4"
  exact    1.00
  near     1.00
  short    1.00

row 2: quality 0.47 for "4"
  exact    0.00  expected "5"
  near     0.75
  short    1.00

row 3: quality 0.00 for "it is six"
  exact    0.00  expected "6"
  near        –  the formula is none
  short    0.00

row 4: quality 1.10 for "7"
  exact    1.00
  near   failed  division by zero
  short    1.00

row 5: quality 0.10 for "8"
  exact  failed  the template of `expected` fails: there is no key `answer`
  near   failed  the metadata has no key `answer`
  short    1.00

           mean  scored  does not apply  failed
exact      0.50       4               0       1
near       0.88       2               1       2
short      0.80       5               0       0
quality    0.66       5               0       0
"""


@pytest.fixture
def put(house: Path) -> Path:
    """Write the recipe and the rows."""
    (house / "r.recipe").write_text(RECIPE, encoding="utf-8")
    write_rows(house, ROWS)
    return house


def write_rows(house: Path, rows: list[Any]) -> None:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (house / "c.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def grade(harmonyc: Harmonyc, put: Path) -> Harmonyc:
    def call(*arguments: str) -> Outcome:
        return harmonyc("grade", "r.recipe", *arguments, "--on", "c.jsonl")

    return call


def test_what_people_see(grade: Harmonyc) -> None:
    told = grade("quality")
    assert (told.out, told.err, told.code) == (SHOWN, "", 0)


def test_no_line_is_wider_than_a_terminal(grade: Harmonyc, put: Path) -> None:
    long = "word " * 60
    write_rows(
        put, [{"completion": long, "metadata": {"answer": "to " + long, "scale": "4"}}, {"completion": "x"}]
    )
    name = "a_grader_with_a_name_that_is_much_longer_than_anybody_should_write"
    recipe = put / "r.recipe"
    recipe.write_text(RECIPE.replace("exact", name), encoding="utf-8")
    told = grade()
    assert told.code == 0
    assert max(map(len, told.out.splitlines())) <= 96
    assert '\n  a_grader_with_a_…dy_should_write    0.00  expected "to word' in told.out


def test_without_a_grader_all_that_are_declared_are_asked_where_nothing_is_trained(grade: Harmonyc) -> None:
    told = grade()
    assert told.code == 0
    assert told.out.startswith(
        'row 1: "4"\n  exact      1.00\n  near       1.00\n  short      1.00\n  quality    1.60\n\n'
    )


def test_without_a_grader_the_reward_of_the_training_is_asked(harmonyc: Harmonyc, house: Path) -> None:
    row = {"completion": "123498", "metadata": {"answer": "123489"}}
    write_rows(house, [row])
    told = harmonyc("grade", str(ROOT / "examples" / "quickstart.recipe"), "--on", "c.jsonl")
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines()[0].startswith("row 1: reward 0.")
    assert told.out.splitlines()[-1].startswith("reward ")


def test_inputs_can_be_set(grade: Harmonyc) -> None:
    told = grade("quality", "--set", "weight=0")
    assert told.out.startswith('row 1: quality 1.10 for "4"\n')


def test_json_holds_rows_and_sums(grade: Harmonyc) -> None:
    told = grade("quality", "--format", "json")
    found = json.loads(told.out)
    assert (told.code, told.err) == (0, "")
    assert list(found) == ["rows", "summary", "stopped"]
    assert [row["row"] for row in found["rows"]] == [1, 2, 3, 4, 5]
    assert found["rows"][2] == {
        "row": 3,
        "rewards": {"quality": 0.0},
        "grades": {
            "exact": {"score": 0.0, "reasoning": 'expected "6"'},
            "near": {"not_applicable": True, "reasoning": "the formula is none"},
            "short": {"score": 0.0},
            "quality": {"score": 0.0},
        },
    }
    assert found["rows"][3]["grades"]["near"] == {"failed": "division by zero"}
    assert found["summary"]["near"] == {"mean": 0.875, "count": 2, "not_applicable": 1, "failed": 2}
    assert found["stopped"] is None


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_policy_that_stops_shows_what_was_graded_and_ends_with_1(
    form: str, grade: Harmonyc, put: Path
) -> None:
    recipe = put / "r.recipe"
    recipe.write_text(
        RECIPE.replace("}}", '}}", on_failure = "stop').replace('"stop" }', '"stop" }'), "utf-8"
    )
    told = grade("exact", "--format", form)
    assert told.code == 1
    assert told.err.startswith(
        'harmonyc: r.recipe:2: `exact`: a grade failed, and the grader says `on_failure = "stop"`: '
        "the template of `expected` fails: there is no key `answer`. "
    )
    if form == "json":
        found = json.loads(told.out)
        assert len(found["rows"]) == 5
        assert found["stopped"] in told.err
    else:
        assert told.out.startswith('row 1: "4"\n  exact    1.00\n')


def test_too_many_failures_end_with_1(grade: Harmonyc, put: Path) -> None:
    write_rows(put, [{"completion": "x"}] * 20)
    told = grade("exact")
    assert told.code == 1
    assert "20 of 20 grades failed, and `max_failure_rate` is 10%" in told.err
    write_rows(put, [{"completion": "x"}] * 19)
    assert grade("exact").code == 0


# --- rows -----------------------------------------------------------------------------------------------


def test_a_line_of_samples_jsonl_is_a_row(grade: Harmonyc, put: Path) -> None:
    of_a_run = {"stage": "s", "step": 1, "model": "m", "stop": "end", "reward": 0.1, "advantage": None}
    of_a_run |= {"grades": {"x": {"score": 0}}, "completion_tokens": 3, "turns": []}
    write_rows(put, ["", ROWS[0] | of_a_run, "  "])
    told = grade("quality")
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith('row 2: quality 1.60 for "4"\n')


@pytest.mark.parametrize(
    ("row", "prompt", "turns"),
    [
        ({"prompt": "hi"}, "hi", 1),
        ({"turns": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}, "u", 2),
        ({"prompt": "hi", "turns": [{"role": "user", "content": "u"}]}, "hi", 1),
        ({}, "", 0),
    ],
)
def test_prompt_and_turns_say_each_other(
    row: dict[str, Any], prompt: str, turns: int, grade: Harmonyc, put: Path
) -> None:
    recipe = f'grader same = if prompt == "{prompt}" then len(turns) else 100\n'
    (put / "r.recipe").write_text(recipe, encoding="utf-8")
    write_rows(put, [row | {"completion": "x"}])
    assert json.loads(grade("same", "--format", "json").out)["rows"][0]["rewards"] == {"same": turns}


BAD_ROWS = """\
error[E0526 wrong-row-value]: `prompt` is a number, not a text
 --> c.jsonl:1:12
  |
1 | {"prompt": 3, "completon": "x", "metadata" : [1, "}"]}
  |            ^ here

error[E0524 unknown-row-key]: a completion has no key `completon`
 --> c.jsonl:1:15
  |
1 | {"prompt": 3, "completon": "x", "metadata" : [1, "}"]}
  |               ^^^^^^^^^^^ not a key of it
  |
  = keys: completion, prompt, turns, metadata; what graders need of a dataset's row stands in `metadata`
  = help: did you mean `completion`?

error[E0526 wrong-row-value]: `metadata` is a list, not an object
 --> c.jsonl:1:46
  |
1 | {"prompt": 3, "completon": "x", "metadata" : [1, "}"]}
  |                                              ^^^^^^^^ here

error[E0506 row-not-an-object]: the line holds a list, not an object
 --> c.jsonl:3:1
  |
3 | [1]
  | ^^^ a row is an object: `{"column": value}`
  |
  = help: each line of a `jsonl` file is one JSON object

error[E0526 wrong-row-value]: `completion` is null, not a text
 --> c.jsonl:4:16
  |
4 | {"completion": null, "turns": [{"role": "user"}], "answer": "y"}
  |                ^^^^ here

error[E0526 wrong-row-value]: `turns` is a list, not a list of `{"role": "user", "content": "…"}`
 --> c.jsonl:4:31
  |
4 | {"completion": null, "turns": [{"role": "user"}], "answer": "y"}
  |                               ^^^^^^^^^^^^^^^^^^ here

error[E0524 unknown-row-key]: a completion has no key `answer`
 --> c.jsonl:4:51
  |
4 | {"completion": null, "turns": [{"role": "user"}], "answer": "y"}
  |                                                   ^^^^^^^^ not a key of it
  |
  = keys: completion, prompt, turns, metadata; what graders need of a dataset's row stands in `metadata`

error[E0525 no-completion]: the row has no `completion`
 --> c.jsonl:5:1
  |
5 | {"prompt": "x"}
  | ^^^^^^^^^^^^^^^ a row is `{"prompt": "…", "completion": "…", "metadata": {…}}`
"""


def test_faulty_rows_are_shown_in_their_file(grade: Harmonyc, put: Path) -> None:
    rows = [
        '{"prompt": 3, "completon": "x", "metadata" : [1, "}"]}',
        {"completion": "good"},
        "[1]",
        '{"completion": null, "turns": [{"role": "user"}], "answer": "y"}',
        '{"prompt": "x"}',
    ]
    write_rows(put, rows)
    told = grade("quality")
    assert (told.out, told.err, told.code) == ("", BAD_ROWS, 1)


def test_of_many_faulty_rows_the_first_are_shown_and_all_are_counted(grade: Harmonyc, put: Path) -> None:
    write_rows(put, ['{"prompt": 1, "completion": 2}'] * 12)
    told = grade("quality")
    assert told.code == 1
    assert told.err.count("E0526") == 20
    assert told.err.endswith("harmonyc: c.jsonl: 12 rows are faulty; the first 10 are shown\n")


def test_bytes_that_are_no_text_are_shown_where_they_stand(grade: Harmonyc, put: Path) -> None:
    (put / "c.jsonl").write_bytes(b'\xef\xbb\xbf{"completion": "good"}\r\n{"completion": "\xff"}')
    told = grade("quality")
    assert told.code == 1
    assert "error[E0505 malformed-row]: the line is not JSON: it is not UTF-8\n --> c.jsonl:2:17" in told.err


def test_a_file_that_holds_nothing_to_grade(
    grade: Harmonyc, put: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for make, reason in (
        (
            lambda path: path.write_text("\n \n"),
            'holds no rows; one looks like {"prompt": "…", "completion": "…"}',
        ),
        (lambda path: path.unlink(), "cannot be read: No such file or directory"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
    ):
        make(put / "c.jsonl")
        told = grade("quality")
        assert (told.out, told.err, told.code) == ("", f"harmonyc: c.jsonl {reason}\n", 1)
    (put / "c.jsonl").rmdir()
    write_rows(put, [{"completion": "x" * 2**20}])
    monkeypatch.setattr("harmony_runtime.graders.completions.LARGEST", 2**20)
    assert grade("quality").err == "harmonyc: c.jsonl is larger than 1 MiB; grade a part of it\n"


# --- the command ----------------------------------------------------------------------------------------


def test_mistakes_of_the_recipe_and_of_the_command_line(harmonyc: Harmonyc, put: Path) -> None:
    unknown = harmonyc("grade", "r.recipe", "qualty", "--on", "c.jsonl")
    assert unknown.code == 1
    assert "did you mean `quality`?" in unknown.err
    assert harmonyc("grade", "r.recipe").code == 2
    (put / "r.recipe").write_text("grader a = words(completio)\n", encoding="utf-8")
    broken = harmonyc("grade", "r.recipe", "--on", "c.jsonl")
    assert (broken.code, broken.out) == (1, "")
    assert "did you mean `completion`?" in broken.err
    (put / "r.recipe").write_text("let a = 1\n", encoding="utf-8")
    assert harmonyc("grade", "r.recipe", "--on", "c.jsonl").code == 1


def test_grading_loads_no_torch(put: Path) -> None:
    probe = (
        "import sys\n"
        "from harmony_dsl.cli.main import main\n"
        "assert main(['grade', 'r.recipe', '--on', 'c.jsonl']) == 0\n"
        "heavy = ('torch', 'transformers', 'datasets', 'numpy', 'rich')\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    told = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert told.stderr.strip() == "[]"


# --- the public types, and the page -----------------------------------------------------------------------


def test_the_types_of_graders_are_public() -> None:
    from harmony_runtime.graders import protocol

    for name in ("DoesNotApply", "Failure", "Grade", "Grader", "Sample", "Score"):
        assert name in harmony_dsl.__all__
        assert getattr(harmony_dsl, name) is getattr(protocol, name)


def test_the_page_has_every_function() -> None:
    page = (ROOT / "docs" / "graders.md").read_text(encoding="utf-8")
    table = page.split("| function | gives |")[1].split("\n\n")[0].splitlines()[2:]
    documented = [line.split("`")[1] for line in table]
    assert [line.partition("(")[0] for line in documented] == list(FUNCTIONS)
    for call, function in zip(documented, FUNCTIONS.values(), strict=True):
        arguments = call.partition("(")[2].removesuffix(")").split(", ")
        assert len([a for a in arguments if a != "…"]) >= len(function.parameters)
        assert ("…" in arguments) == function.many
    words = [line.split("|")[2].strip() for line in table]
    assert words == [function.doc for function in FUNCTIONS.values()]

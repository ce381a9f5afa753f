"""`instructions`: each kind by what the paper asks for, and against verdicts of the paper's own checkers."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from runtime_support import ROOT

from harmony_compiler.compile import compile_recipe
from harmony_compiler.graph.datasets import JsonLines
from harmony_compiler.graph.graders import Instructions as Node
from harmony_dsl.cli.main import main
from harmony_grammar.source import Source
from harmony_runtime.data.faults import Faults
from harmony_runtime.data.turns.threads import each, threads_of
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.protocol import DoesNotApply, Failure, Grade, Sample, Score
from harmony_runtime.graders.rules.instructions.grader import Instructions
from harmony_runtime.graders.rules.instructions.lengths import sentences
from harmony_runtime.graders.rules.instructions.table import KINDS

SHARED = ROOT.parent / "shared" / "data" / "rl"


def graded(completion: str, names: Any, kwargs: Any, node: Node | None = None) -> Grade:
    metadata = {"instruction_id_list": names, "kwargs": kwargs}
    return Instructions(node or Node()).apply(Sample(completion=completion, metadata=metadata))


def misses(name: str, completion: str, **arguments: Any) -> str:
    """What is said about a completion that misses an instruction; "" for one that follows it."""
    grade = graded(completion, [name], [arguments])
    assert isinstance(grade, Score), grade
    assert (grade.value, grade.reasoning[:14]) in ((1.0, ""), (0.0, "not followed: "))
    return grade.reasoning.removeprefix(f"not followed: {name} (").removesuffix(")")


# --- kinds ----------------------------------------------------------------------------------------------

EXISTENCE, FREQUENCY = "keywords:existence", "keywords:frequency"
FORBIDDEN, LETTER = "keywords:forbidden_words", "keywords:letter_frequency"
LANGUAGE = "language:response_language"
SENTENCES, PARAGRAPHS = "length_constraints:number_sentences", "length_constraints:number_paragraphs"
WORDS, NTH = "length_constraints:number_words", "length_constraints:nth_paragraph_first_word"
PLACEHOLDERS, POSTSCRIPT = "detectable_content:number_placeholders", "detectable_content:postscript"
BULLETS, CHOICE = "detectable_format:number_bullet_lists", "detectable_format:constrained_response"
HIGHLIGHTS = "detectable_format:number_highlighted_sections"
SECTIONS, JSON = "detectable_format:multiple_sections", "detectable_format:json_format"
TITLE, TWO = "detectable_format:title", "combination:two_responses"
REPEAT, END, QUOTED = "combination:repeat_prompt", "startend:end_checker", "startend:quotation"
CAPITALS, UPPER = "change_case:capital_word_frequency", "change_case:english_capital"
LOWER, NO_COMMA = "change_case:english_lowercase", "punctuation:no_comma"

Case = tuple[str, dict[str, Any], str, str]

CASES: list[Case] = [
    (EXISTENCE, {"keywords": ["Cat", "dog"]}, "Concatenated DOGMA", ""),
    (EXISTENCE, {"keywords": ["cat", "dog", "a.b"]}, "cat a_b", 'without "dog", "a.b"'),
    (FREQUENCY, {"keyword": "cat", "frequency": 2, "relation": "at least"}, "Cat concat", ""),
    (
        FREQUENCY,
        {"keyword": "cat", "frequency": 2, "relation": "less than"},
        "Cat concat",
        'uses of "cat": 2, not less than 2',
    ),
    (FORBIDDEN, {"forbidden_words": ["cat", "c++"]}, "concat cats cat_ c++x", ""),
    (FORBIDDEN, {"forbidden_words": ["dog", "cat", "c++"]}, "a Cat, in C++.", 'with "cat", "c++"'),
    (LETTER, {"letter": "A", "let_frequency": 3, "let_relation": "at least"}, "Banana", ""),
    (
        LETTER,
        {"letter": "!", "let_frequency": 3, "let_relation": "at least"},
        "no! no!",
        'uses of "!": 2, not at least 3',
    ),
    (LANGUAGE, {"language": "de"}, "Das ist ein Satz in deutscher Sprache.", ""),
    (LANGUAGE, {"language": "zh-cn"}, "我们今天去学校学习中文。", ""),
    (LANGUAGE, {"language": "fr"}, "Das ist ein Satz in deutscher Sprache.", "not in `fr`"),
    (SENTENCES, {"num_sentences": 2, "relation": "at least"}, "One. Two", ""),
    (
        SENTENCES,
        {"num_sentences": 2, "relation": "less than"},
        "One. Two",
        "sentences: 2, not less than 2",
    ),
    (PARAGRAPHS, {"num_paragraphs": 2}, "***\na\n\nb\n***\nc\n***", ""),
    (PARAGRAPHS, {"num_paragraphs": 2}, "a\n***\nb *** c", "paragraphs: 3, not 2"),
    (WORDS, {"num_words": 4, "relation": "at least"}, "It's no-one", ""),
    (WORDS, {"num_words": 4, "relation": "at least"}, "one, two - three!", "words: 3, not at least 4"),
    (
        NTH,
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "that"},
        "This.\n \n\n\"That's it",
        "",
    ),
    (
        NTH,
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "that"},
        "that\n\nThat-like",
        'paragraph 2 does not begin with "that"',
    ),
    (
        NTH,
        {"num_paragraphs": 2, "nth_paragraph": 1, "first_word": "that"},
        "that\nthat",
        "paragraphs: 1, not 2",
    ),
    (PLACEHOLDERS, {"num_placeholders": 2}, "[name] at [street [number]]", ""),
    (PLACEHOLDERS, {"num_placeholders": 2}, "[name] [ ] [a\nb]", "placeholders: 1, not at least 2"),
    (POSTSCRIPT, {"postscript_marker": "P.S."}, "Bye\np. s. more", ""),
    (POSTSCRIPT, {"postscript_marker": "P.P.S"}, "Bye\nP.S. more", 'without "P.P.S"'),
    (BULLETS, {"num_bullets": 2}, "* a\n  - b\n---\n*c*\n-d", ""),
    (BULLETS, {"num_bullets": 2}, "* a\n* b\n* c", "bullet points: 3, not 2"),
    (CHOICE, {}, "Well. My answer is maybe.", ""),
    (CHOICE, {}, "my answer is perhaps.", "without one of the three answers"),
    (HIGHLIGHTS, {"num_highlights": 2}, "*one* and **two**", ""),
    (HIGHLIGHTS, {"num_highlights": 2}, "*one* ** ** *a\nb*", "highlighted sections: 1, not at least 2"),
    (SECTIONS, {"section_spliter": "Section", "num_sections": 2}, "Section 1\na\nSection2\nb", ""),
    (
        SECTIONS,
        {"section_spliter": "Section", "num_sections": 2},
        "Section 1 SECTION 2 Section two",
        "sections: 1, not at least 2",
    ),
    (JSON, {}, '```JSON\n{"a": [1, 2]}\n```\n', ""),
    (JSON, {}, 'Here it is: {"a": 1}', "not JSON"),
    (JSON, {}, "[" * 100_000, "not JSON"),
    (TITLE, {}, "a << b\n<<A title>>", ""),
    (TITLE, {}, "<<>> << >>\n>>no<<\n<<two\nlines>>", "without a title in << >>"),
    (TWO, {}, "******\none\n******\ntwo\n******", ""),
    (TWO, {}, "one", "responses: 1, not 2"),
    (TWO, {}, "one\n******\none", "two equal responses"),
    (TWO, {}, "one\n******\n\n******\ntwo", "an empty response"),
    (REPEAT, {"prompt_to_repeat": "Say it. "}, "\nsay IT. It", ""),
    (REPEAT, {"prompt_to_repeat": "Say it."}, "I say it.", "does not begin with the prompt"),
    (END, {"end_phrase": "The end."}, '"So it goes, the end."\n', ""),
    (END, {"end_phrase": "The end."}, "The end", 'does not end with "The end."'),
    (QUOTED, {}, '\n"quoted"\n', ""),
    (QUOTED, {}, '"', "not in double quotation marks"),
    (
        CAPITALS,
        {"capital_frequency": 4, "capital_relation": "at least"},
        "I DON'T like WELL-KNOWN U.S. 42",
        "",
    ),
    (
        CAPITALS,
        {"capital_frequency": 1, "capital_relation": "less than"},
        "NASA and NASAs",
        "words in capitals: 1, not less than 1",
    ),
    (UPPER, {}, "THIS IS ALL IN CAPITALS: 42!", ""),
    (UPPER, {}, "THIS IS aLL IN CAPITALS", "not all in capitals"),
    (UPPER, {}, "42", "not all in capitals"),
    (UPPER, {}, "DAS IST EIN SATZ IN DEUTSCHER SPRACHE.", "not English"),
    (LOWER, {}, "this is in lower case: 42!", ""),
    (LOWER, {}, "ok", ""),
    (LOWER, {}, "this Is not", "not all in lower case"),
    (LOWER, {}, "das ist ein satz in deutscher sprache.", "not English"),
    (NO_COMMA, {}, "one; two", ""),
    (NO_COMMA, {}, "one, two", "commas: 1, not 0"),
]


@pytest.mark.parametrize(("name", "arguments", "completion", "said"), CASES)
def test_a_kind(name: str, arguments: dict[str, Any], completion: str, said: str) -> None:
    assert misses(name, completion, **arguments) == said


def test_every_kind_of_the_paper_is_shown_followed_and_missed() -> None:
    assert len(KINDS) == 25
    assert {name for name, _, _, said in CASES if not said} == set(KINDS)
    assert {name for name, _, _, said in CASES if said} == set(KINDS)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Dr. Smith met J. R. Tolkien, e.g. there. They ate", 2),
        ("So do I. 3.5 is it.", 2),
        ("1. One.\n2. Two!\n\nHeading", 3),
        ("he said no. and so on.", 2),
        ('Wait... what?! "Yes." (Ok.) ...', 4),
        ("你好。再见！", 2),
        ("नमस्ते। आप कैसे हैं?", 2),
        ("...", 0),
    ],
)
def test_sentences(text: str, count: int) -> None:
    assert sentences(text) == count


def test_an_empty_completion_follows_nothing() -> None:
    assert misses(NO_COMMA, " \n") == "the completion is empty"
    assert misses(WORDS, "", num_words=9, relation="less than") == "the completion is empty"


@pytest.mark.parametrize(
    "text", ["<", "[", "*", "* ", ".", ".x", "\n", "a", "A.", "```", "\n\n", '"', "{", " "]
)
def test_no_text_takes_long(text: str) -> None:
    """Rules compute at once, in the process that trains: their time grows with the text, not its square."""
    arguments = {name: given for name, given, _, _ in CASES}
    began = time.process_time()
    assert isinstance(graded(text * 300_000 + "x", list(arguments), list(arguments.values())), Score)
    assert time.process_time() - began < 8


# --- rows -----------------------------------------------------------------------------------------------


def test_the_score_is_the_share_and_the_reasoning_names_what_is_missed() -> None:
    names, kwargs = [NO_COMMA, EXISTENCE, TITLE, QUOTED], [{}, {"keywords": ["a"]}, {}, {}]
    assert graded("a, b", names, kwargs) == Score(
        0.25,
        "not followed: punctuation:no_comma (commas: 1, not 0), "
        "detectable_format:title (without a title in << >>), "
        "startend:quotation (not in double quotation marks)",
    )
    assert graded('"<<a>>"', names, kwargs) == Score(1.0)


def test_the_score_of_all_is_one_only_for_all() -> None:
    node = Node(score="all")
    assert graded("a, b", [NO_COMMA, LOWER], [{}, {}], node) == Score(
        0.0, "not followed: punctuation:no_comma (commas: 1, not 0)"
    )
    assert graded("a b", [NO_COMMA, LOWER], [{}, {}], node) == Score(1.0)


def test_an_argument_that_is_none_was_not_given() -> None:
    """Tables give every row every key."""
    assert graded("a", [EXISTENCE], [{"keywords": ["a"], "num_words": None}]) == Score(1.0)
    assert graded("a", [EXISTENCE], [{"keywords": None, "num_words": None}]) == Failure(
        "`keywords:existence` lacks `keywords`"
    )


def test_a_row_without_instructions_does_not_apply() -> None:
    assert isinstance(graded("a", [], []), DoesNotApply)


def test_all_faults_of_a_row_are_told_at_once() -> None:
    names = ["keywords:existance", "other", FREQUENCY, LETTER, EXISTENCE, NTH, LANGUAGE, NO_COMMA, TITLE]
    kwargs: list[Any] = [
        {},
        {},
        {"keyword": " ", "relation": "at most", "letter": "a"},
        {"letter": "ab", "let_frequency": True, "let_relation": "at least"},
        {"keywords": []},
        {"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "a"},
        {"language": "klingon"},
        None,
        {},
    ]
    assert graded("a", names, kwargs) == Failure(
        "`keywords:existance` is no kind of instruction; the nearest is `keywords:existence`; "
        "`other` is no kind of instruction; "
        "`keywords:frequency` lacks `frequency`, takes no `letter`, takes as `keyword` a text, not ' ', "
        'takes as `relation` "at least" or "less than", not \'at most\'; '
        "`keywords:letter_frequency` takes as `letter` one character, not 'ab', "
        "takes as `let_frequency` a whole number from 0, not True; "
        "`keywords:existence` takes as `keywords` a list of texts, not []; "
        "`length_constraints:nth_paragraph_first_word` asks about paragraph 3 of 2; "
        "`language:response_language` asks for the language `klingon`, which is not known; "
        "`punctuation:no_comma`: its `kwargs` are no object"
    )


@pytest.mark.parametrize(
    ("names", "kwargs", "reason"),
    [
        (None, [], "the metadata has no list of texts `instruction_id_list`"),
        ([1], [{}], "the metadata has no list of texts `instruction_id_list`"),
        ([TITLE], "{}", "the metadata has no list `kwargs`"),
        ([TITLE], [], "`instruction_id_list` names 1, and `kwargs` holds 0"),
    ],
)
def test_a_row_of_another_form_is_a_failure(names: Any, kwargs: Any, reason: str) -> None:
    assert graded("a", names, kwargs) == Failure(reason)


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py3langid", None)
    with pytest.raises(RunFailed) as raised:
        Instructions(Node())
    assert raised.value.message == "`instructions` needs py3langid: install `harmony-dsl[graders]`"
    assert raised.value.exit_code == 2


# --- real data ------------------------------------------------------------------------------------------


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(SHARED / name).read_text(encoding="utf-8").splitlines()]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data is not here")
def test_verdicts_of_the_paper_on_real_responses() -> None:
    """Without a verdict are four kinds: see the list of sources."""
    prompts = {row["key"]: row for row in lines("ifeval_input_541.jsonl")}
    responses = {row["prompt"]: row["response"] for row in lines("ifeval_gpt4_responses_100.jsonl")}
    agreed: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for recorded in lines("ifeval_verdicts_100.jsonl"):
        row = prompts[recorded["key"]]
        verdicts = zip(row["instruction_id_list"], row["kwargs"], recorded["follow"], strict=True)
        for name, arguments, follows in verdicts:
            said = misses(name, responses[row["prompt"]], **arguments)
            if follows is not None:
                asked[name] += 1
                agreed[name] += follows == (not said)
    assert set(KINDS) - set(asked) == {SENTENCES, NTH, CHOICE, CAPITALS}
    assert asked.total() == 147
    assert agreed == asked


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data is not here")
def test_no_row_of_the_paper_is_at_fault() -> None:
    rows = lines("ifeval_input_541.jsonl")
    assert len(rows) == 541
    for row in rows:
        assert isinstance(graded("some text", row["instruction_id_list"], row["kwargs"]), Score)


RECIPE = """
model base = scratch {{ architecture = "gpt2", hidden_size = 8, layers = 1, heads = 1, context = 8192 }}
dataset asked = jsonl("{path}") {{
  prompt = "{{{{ prompt }}}}"
  metadata = {{ instruction_id_list = column("instruction_id_list"), kwargs = column("kwargs") }}
}}
grader follows = instructions {{}}
train tuned = grpo {{ model = base, dataset = asked, grader = follows, epochs = 1 }}
save tuned as "tuned"
"""


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data is not here")
def test_rows_of_a_recipe_reach_the_grader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the columns of the data, through the metadata of each row, to `harmonyc grade`."""
    monkeypatch.setenv("HARMONY_HOME", str(tmp_path / "home"))
    recipe = tmp_path / "follow.recipe"
    recipe.write_text(RECIPE.format(path=SHARED / "ifeval_input_541.jsonl"), encoding="utf-8")
    compilation = compile_recipe(Source(str(recipe), recipe.read_text("utf-8"), recipe))
    assert compilation.graph is not None, compilation.diagnostics
    (asked,) = (name for name, node in compilation.graph.nodes.items() if isinstance(node, JsonLines))
    threads = each(threads_of(compilation.graph, asked), Faults(""))
    responses = {row["prompt"]: row["response"] for row in lines("ifeval_gpt4_responses_100.jsonl")}
    answered = [
        {"completion": responses[prompt], "metadata": dict(thread.metadata)}
        for thread in threads
        if (prompt := thread.turns[-1]["content"]) in responses
    ]
    completions = tmp_path / "c.jsonl"
    completions.write_text("".join(json.dumps(row) + "\n" for row in answered), encoding="utf-8")
    assert main(("grade", str(recipe), "follows", "--on", str(completions), "--format", "json")) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    recorded = [row["follow"] for row in lines("ifeval_verdicts_100.jsonl")]
    told = [
        (row["grades"]["follows"]["score"], sum(follow) / len(follow))
        for row, follow in zip(rows, recorded, strict=True)
        if None not in follow
    ]
    assert len(told) > 80
    assert all(score == pytest.approx(share) for score, share in told)

"""Graders, rows and models of a stage together: what fits, and what cannot be learned from."""

from __future__ import annotations

import json

import pytest
from compiler_support import (
    ASKED,
    COMPARED,
    GOOD,
    GRADER,
    MODEL,
    PPO,
    REINFORCED,
    check_text,
    codes,
    graph_of,
    pointed_at,
    replaced,
)

from harmony_compiler.graph.algorithms import Grpo
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.settings import Sampling
from harmony_compiler.passes.graders import ANY_GRADER

WHOLE = REINFORCED + COMPARED


def rewarded(expression: str, more: str = "") -> str:
    return replaced(REINFORCED, ("grader = right", f"grader = {expression}")) + more


def test_the_recipes_that_every_fault_is_planted_in_have_none() -> None:
    assert codes(check_text(REINFORCED)) == codes(check_text(WHOLE)) == []


# --- outputs --------------------------------------------------------------------------------------------


def names_of_outputs(graph: Graph) -> list[str]:
    return [graph.stage_name(ref) for ref in graph.outputs]


def test_evaluations_are_outputs() -> None:
    assert names_of_outputs(graph_of(WHOLE)) == ["save", "report"]
    alone = ASKED + MODEL + GRADER + replaced(COMPARED, ("tiny, adder", "tiny"))
    assert names_of_outputs(graph_of(alone)) == ["report"]


def test_columns_are_named_by_what_is_written() -> None:
    """However it is laid out: a formatter renames nothing."""
    graph = graph_of(replaced(WHOLE, ("[right, words(completion)]", "[right,   words( completion )\n  ]")))
    (ref,) = [ref for ref, node in graph.nodes.items() if isinstance(node, Compare)]
    expected = {"models": ("tiny", "adder"), "graders": ("right", "words(completion)")}
    assert graph.origins[ref].entries == expected
    assert Graph.from_json(json.loads(json.dumps(graph.to_json()))) == graph


def test_columns_of_a_named_list_are_its_entries() -> None:
    text = "let measured = [right, 1 / words(completion)]\n"
    graph = graph_of(text + replaced(WHOLE, ("[right, words(completion)]", "measured")))
    (ref,) = [ref for ref, node in graph.nodes.items() if isinstance(node, Compare)]
    assert graph.origins[ref].entries["graders"] == ("right", "1 / words(completion)")


@pytest.mark.parametrize(("entries", "twice"), [("right, right", 1), ("right, tidy, right,\n right", 2)])
def test_columns_have_names_of_their_own(entries: str, twice: int) -> None:
    more = 'grader tidy = matches("a")\n'
    found = check_text(more + replaced(WHOLE, ("right, words(completion)", entries)))
    errors = [finding for finding in found.diagnostics if finding.severity == "error"]
    assert [finding.code for finding in errors] == ["E0412"] * twice


def test_equal_models_under_two_texts_are_two_columns() -> None:
    text = "let other = tiny\n" + replaced(WHOLE, ("[tiny, adder]", "[tiny, other]"))
    assert "E0412" not in codes(check_text(text))


# --- settings take the defaults of their place ----------------------------------------------------------


def sampling_of(text: str, stage: type[Compare | Grpo]) -> Sampling:
    (node,) = [node for node in graph_of(text).nodes.values() if isinstance(node, stage)]
    return node.sampling


WAYS = ["sampling { max_tokens = 8 }", "sampling = { max_tokens = 8 }", "sampling = short"]


@pytest.mark.parametrize("way", WAYS)
def test_settings_take_the_defaults_of_their_place(way: str) -> None:
    text = "let short = sampling { max_tokens = 8 }\n" + WHOLE.replace("sampling { max_tokens = 8 }", way)
    assert sampling_of(text, Compare) == Sampling(max_tokens=8, temperature=0.0)
    assert sampling_of(text, Grpo) == Sampling(max_tokens=8, temperature=1.0)


def test_what_settings_say_stands() -> None:
    text = replaced(REINFORCED + COMPARED.replace("max_tokens = 8", "temperature = 1.0, max_tokens = 7"))
    assert sampling_of(text, Compare) == Sampling(max_tokens=7, temperature=1.0)


# --- rules ----------------------------------------------------------------------------------------------


def test_a_rule_reads_fields_of_settings() -> None:
    text = "let cold = sampling { max_tokens = 8, temperature = 0 }\n" + replaced(
        REINFORCED, ("sampling { max_tokens = 8 }", "sampling = cold")
    )
    found = check_text(text)
    assert (codes(found), pointed_at(found)) == (["E0406"], ["0"])


SAME_AGAIN = [("temperature = 0", "0"), ("top_k = 1", "1"), ("top_k = 1, temperature = 2.0", "1")]


@pytest.mark.parametrize(("sampling", "blamed"), SAME_AGAIN, ids=[sampling for sampling, _ in SAME_AGAIN])
def test_drawing_the_same_again_and_again_is_refused(sampling: str, blamed: str) -> None:
    settings = f"sampling {{ max_tokens = 8, {sampling} }}"
    found = check_text(replaced(REINFORCED, ("sampling { max_tokens = 8 }", settings)))
    assert (codes(found), pointed_at(found)) == (["E0406"], [blamed])
    if "temperature" not in sampling:  # an evaluation is greedy by default, and then reads no `top_k`
        settings = settings.replace("top_k", "temperature = 1.0, top_k")
    repeated = replaced(COMPARED, ("sampling { max_tokens = 8 }", f"{settings}\n  samples = 2"))
    assert codes(check_text(REINFORCED + repeated)) == ["E0406"]
    assert codes(check_text(REINFORCED + repeated.replace("samples = 2", "samples = 1"))) == []


ANOTHER_DISTRIBUTION = [
    ("top_p = 0.99", "0.99"),
    ("top_k = 50", "50"),
    ("top_p = 1", ""),
    ("top_p = none", ""),
]


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
@pytest.mark.parametrize(
    ("cut", "blamed"), ANOTHER_DISTRIBUTION, ids=[cut for cut, _ in ANOTHER_DISTRIBUTION]
)
def test_completions_are_drawn_from_what_the_loss_computes(algorithm: str, cut: str, blamed: str) -> None:
    recipe = {"grpo": REINFORCED, "ppo": PPO}[algorithm]
    found = check_text(replaced(recipe, ("max_tokens = 8", f"max_tokens = 8, {cut}")))
    assert (codes(found), pointed_at(found)) == ((["E0406"], [blamed]) if blamed else ([], []))
    drawn = replaced(COMPARED, ("max_tokens = 8", f"max_tokens = 8, temperature = 0.7, {cut}"))
    assert codes(check_text(recipe + drawn)) == []


def test_a_rule_may_only_warn() -> None:
    equal = replaced(REINFORCED, ("samples_per_mini_batch = 2", "samples_per_mini_batch = 4"))
    assert codes(check_text(equal)) == ["W0401"]
    assert check_text(equal).graph is not None
    by_default = replaced(REINFORCED, ("  samples_per_mini_batch = 2\n", ""), ("batch = 4", "batch = 64"))
    assert (codes(check_text(by_default)), pointed_at(check_text(by_default))) == (["W0401"], ["64"])


def test_a_recipe_with_errors_is_not_warned() -> None:
    text = replaced(
        REINFORCED, ("samples_per_mini_batch = 2", "samples_per_mini_batch = 4"), ("steps = 3", "")
    )
    assert codes(check_text(text)) == ["E0408"]


def test_batches_divide_over_processes() -> None:
    assert codes(check_text(REINFORCED, world_size=2)) == []
    assert codes(check_text(REINFORCED, world_size=4)) == ["E0406"]


# --- graders and rows meet ------------------------------------------------------------------------------

READERS = [
    "agreement(completion, metadata.{key})",
    'agreement(completion, metadata["{key}"])',
    'equals {{ expected = "{{{{ metadata.{key} }}}}" }}',
    'equals {{ expected = "{{{{ metadata.{key} | trim }}}}" }}',
    "equals {{ expected = \"{{{{ metadata['{key}'] | trim }}}}\" }}",
    'contains("{{% if metadata.{key} %}}{{{{ metadata.{key} }}}}{{% endif %}}")',
    '2 * equals("{{{{ metadata.{key} }}}}") + words(completion)',
    'words(completion) + agreement(completion, "a" + metadata.{key})',
    'if contains(completion, metadata.{key}) then 1 else equals("a")',
]


@pytest.mark.parametrize("reader", READERS)
def test_a_key_that_is_read_must_be_there(reader: str) -> None:
    assert codes(check_text(rewarded(reader.format(key="answer"), "let used = right\n"))) == ["W0201"]
    found = check_text(rewarded(reader.format(key="anser")))
    assert (codes(found), pointed_at(found)) == (["E0512"], ["anser"])
    assert "`answer`" in found.diagnostics[0].words.help


def test_a_key_is_missed_once_however_many_stages_ask() -> None:
    text = replaced(WHOLE, ("{{ metadata.answer }}", "{{ metadata.anser }}"))
    assert codes(check_text(text)) == ["E0512"]


def test_each_key_is_missed_where_it_is_read() -> None:
    found = check_text(rewarded("agreement(metadata.a, metadata.b) * words(completion)"))
    assert pointed_at(found) == ["a", "b"]


def test_a_mapping_that_could_not_be_read_is_not_blamed_on_a_grader() -> None:
    for change in ("metdata = { answer", "metadata = { answr", "metadata = { answer = 3, anser"):
        found = check_text(replaced(REINFORCED, ("metadata = { answer", change)))
        assert "E0512" not in codes(found) or change.startswith("metadata = { answr"), change


def test_a_grader_that_no_rows_meet_needs_nothing() -> None:
    text = 'grader idle = equals("{{ metadata.nothing }}")\n' + REINFORCED
    assert codes(check_text(text)) == ["W0201"]


def test_an_input_says_which_metadata_its_rows_need() -> None:
    text = "input rows_in: Dataset[Prompt{answer: str}] = asked\n" + replaced(
        REINFORCED, ("dataset = asked", "dataset = rows_in")
    )
    assert codes(check_text(text)) == []
    found = check_text(replaced(text, ("{answer: str}", "{answer: str, hint: str}")))
    assert codes(found) == ["E0301"]
    assert "`hint`" in found.diagnostics[0].words.notes[0]
    found = check_text(replaced(text, ("answer: str", "answer: int")))
    assert codes(found) == ["E0301"]
    assert found.diagnostics[0].words.notes[0] == "its metadata has `answer` as `str`"


# --- rewards that teach nothing -------------------------------------------------------------------------

LEARNABLE = [
    "right",
    "0 * right + words(completion)",
    "right - 0.5 * right",
    "0.1 * right + 0.2 * right - 0.2 * right",
    "clamp(right, 0, 1)",
    "right * words(prompt)",
    "words(completion) - words(prompt)",
    "mean(right, 0)",
    "min(right, 1) - right",
    "if words(completion) > 3 then right else 0",
    "if words(prompt) > 3 then right else 0",
    'equals("a")',
    "abs(right - 0.5)",
    "1 / words(completion)",
    "right { on_failure = \"zero\" }",
    'equals("a") - equals("b")',
    "number(completion)",
]  # fmt: skip


@pytest.mark.parametrize("reward", LEARNABLE)
def test_a_reward_that_tells_completions_apart(reward: str) -> None:
    assert codes(check_text(rewarded(reward, "let used = right\n"))) == ["W0201"]


SENSELESS = [
    ("right - right", "E0607"),
    ("2 * right - right - right", "E0607"),
    ("0.1 * right + 0.2 * right - 0.3 * right", "E0607"),
    ("right / 3 - right / 3", "E0607"),
    ("clamp(right, 0, 0)", "E0607"),
    ("abs(right - right)", "E0607"),
    ("(right - right) * words(completion)", "E0607"),
    ("mean(right - right, words(completion) - words(completion))", "E0607"),
    ("if words(completion) > 3 then 1 else 1", "E0607"),
    ('matches("a") - matches("a")', "E0607"),
    ("sqrt(abs(right)) - sqrt(abs(right))", "E0607"),
    ("completion == completion", "E0607"),
    ('completion == "a" or true', "E0607"),
    ('completion == "a" and false', "E0607"),
    ("0 * right", "E0608"),
    ("0 * right + 0.0 * words(completion) + 3", "E0608"),
    ("0 * (right + 0.5 * words(completion))", "E0608"),
    ("right * 0", "E0608"),
    ("0 * words(completion)", "E0608"),
    ("words(prompt)", "E0609"),
    ("number(metadata.answer) + len(turns)", "E0609"),
    ("0 * right + words(prompt)", "E0609"),
    ("if words(prompt) > 3 then 1 else 0", "E0609"),
    ("agreement(prompt, metadata.answer) * 2", "E0609"),
]


@pytest.mark.parametrize(("reward", "code"), SENSELESS, ids=[reward for reward, _ in SENSELESS])
def test_a_reward_that_teaches_nothing(reward: str, code: str) -> None:
    found = check_text(rewarded(reward))
    assert (codes(found), pointed_at(found)) == ([code], [reward])


def test_a_named_reward_is_shown_where_it_is_written() -> None:
    found = check_text("grader nothing = right - right\n" + rewarded("nothing"))
    assert (codes(found), pointed_at(found)) == (["E0607"], ["nothing"])
    assert [label.span.text for label in found.diagnostics[0].labels] == ["right - right"]


def test_an_evaluation_may_measure_anything() -> None:
    text = replaced(WHOLE, ("words(completion)]", "words(prompt), right - right]"))
    assert codes(check_text(text)) == []


# --- a grader alone -------------------------------------------------------------------------------------


def test_a_grader_can_be_asked_for() -> None:
    text = WHOLE + "grader mixed = right + idle\ngrader idle = 1 / words(completion)\n"
    graph = check_text(text, wanted="mixed").graph
    assert graph is not None
    assert names_of_outputs(graph) == ["mixed"]
    assert sorted(origin.name for origin in graph.origins.values()) == ["idle", "mixed", "right"]


def test_without_a_name_the_rewards_are_meant_else_all_graders() -> None:
    both = check_text(WHOLE + "grader idle = words(completion)\n", wanted=ANY_GRADER)
    assert both.graph is not None
    assert names_of_outputs(both.graph) == ["right"]
    alone = check_text("grader a = words(completion)\ngrader b = 2 * a\n", wanted=ANY_GRADER)
    assert alone.graph is not None
    assert names_of_outputs(alone.graph) == ["a", "b"]
    assert codes(check_text(GOOD, wanted=ANY_GRADER)) == ["E0610"]
    assert codes(check_text(GOOD, wanted="nothing")) == ["E0610"]


def test_a_grader_of_a_faulty_recipe_is_not_given() -> None:
    assert codes(check_text(WHOLE + "let a = 1 / 0\n", wanted="right")) == ["E0309"]

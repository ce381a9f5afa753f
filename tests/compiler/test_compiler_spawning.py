"""Which models stand in memory, and what for: nobody writes it, use decides."""

from __future__ import annotations

import pytest
from compiler_support import COMPARED, GOOD, PPO, REINFORCED, graph_of, replaced

from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.spawning import spawns

JUDGES = """\
model wise = scratch { hidden_size = 16, layers = 1, heads = 2, context = 64, seed = 5 }
grader kind = judge { model = wise, criteria = "It is kind." }
grader short = judge { model = wise { template_args = { short = true } }, criteria = "It is short." }
grader exact = judge { model = wise { dtype = "bfloat16" }, criteria = "It is exact." }
"""


def told(graph: Graph, name: str) -> list[tuple[str, str, list[str]]]:
    """What a stage loads: the model's name, its use, and the graders that share it."""
    (ref,) = [ref for ref in graph.nodes if graph.stage_name(ref) == name]
    return [
        (graph.stage_name(spawn.model), spawn.use, [graph.stage_name(grader) for grader in spawn.by])
        for spawn in spawns(graph, ref)
    ]


def test_a_stage_that_only_imitates_has_its_model_alone() -> None:
    assert told(graph_of(GOOD), "adder") == [("tiny", "training", [])]


@pytest.mark.parametrize(("beta", "uses"), [("0.1", ["training", "reference"]), ("0", ["training"])])
def test_a_reference_that_nothing_asks_is_not_loaded(beta: str, uses: list[str]) -> None:
    graph = graph_of(replaced(REINFORCED, ("  steps = 3\n", f"  steps = 3\n  kl_beta = {beta}\n")))
    assert [use for _, use, _ in told(graph, "adder")] == uses


def test_a_critic_has_a_copy_of_its_own() -> None:
    found = told(graph_of(PPO), "adder")
    assert found == [("tiny", "training", []), ("tiny", "critic", []), ("tiny", "reference", [])]


def test_judges_that_only_speak_otherwise_to_one_model_share_it() -> None:
    """Another type of weights is another copy, and so is the model that is trained."""
    graph = graph_of(JUDGES + replaced(REINFORCED, ("grader = right", "grader = kind + short + exact")))
    _, _, *judging = told(graph, "adder")
    assert judging == [("wise", "judging", ["kind", "short"]), ("scratch", "judging", ["exact"])]


def test_an_evaluation_loads_the_models_that_it_measures() -> None:
    graph = graph_of(REINFORCED + COMPARED)
    assert told(graph, "report") == [("tiny", "answering", []), ("adder", "answering", [])]

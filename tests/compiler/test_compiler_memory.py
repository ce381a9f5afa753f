"""The memory plan: which terms a stage has, how they add up, and what lowers them.

That the terms are those of a run is shown by `tests/runtime/test_memory_plan.py` and `make memory`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from compiler_support import (
    COMPARED,
    DATA,
    GOOD,
    MODEL,
    PPO,
    REINFORCED,
    SAVE,
    check_text,
    graph_of,
    replaced,
)
from hypothesis import given
from hypothesis import strategies as st

from harmony_compiler.files import DISK
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graph import Graph, Launch
from harmony_compiler.plan.held import ALWAYS
from harmony_compiler.plan.memory import Memory, memory_of, told_bytes
from harmony_compiler.plan.overflow import bytes_of, overflowing
from harmony_grammar.records import replace as changed

DPO = (
    """\
dataset pairs = jsonl("sums.jsonl") {
  prompt = "{{ question }}"
  chosen = "{{ answer }}"
  rejected = "no {{ answer }}"
}
"""
    + MODEL
    + "train adder = dpo { model = tiny, dataset = pairs, steps = 3 }\n"
    + SAVE
)
LORA = "  context = 24\n  adapter = lora { rank = 2 }\n"


def memory(text: str | Graph, kind: type = Algorithm, number: int = -1, **how: Any) -> Memory:
    """Of the last stage of a recipe."""
    graph = graph_of(text) if isinstance(text, str) else text
    ref = [ref for ref, node in graph.nodes.items() if isinstance(node, kind)][number]
    found = memory_of(graph, ref, DISK, **({"device": "cpu"} | how))
    assert isinstance(found, Memory), found
    return found


def launched(text: str, **launch: Any) -> Graph:
    return changed(graph_of(text), launch=Launch(**launch))


def taken(found: Memory) -> dict[str, int]:
    return {term.name: term.bytes for term in found.terms}


# --- the sum --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [GOOD, DPO, REINFORCED, PPO], ids=["sft", "dpo", "grpo", "ppo"])
def test_the_total_is_what_is_held_all_along_and_the_phase_that_takes_most(text: str) -> None:
    found = memory(text)
    phases = {term.phase for term in found.terms} - {ALWAYS}
    sums = {phase: sum(term.bytes for term in found.terms if term.phase == phase) for phase in phases}
    held = sum(term.bytes for term in found.terms if term.phase == ALWAYS)
    assert found.total == held + max(sums.values())
    assert sums[found.peak] == max(sums.values())
    assert found.largest.phase in (ALWAYS, found.peak)
    assert all(term.bytes > 0 and term.field for term in found.terms)


def test_weights_gradients_and_moments_of_a_model_that_is_trained_whole() -> None:
    found = memory(GOOD)
    # 103 * 8 embeddings, a block of 4 * 8 * 8 + 3 * 8 * 32 + 2 * 8 + 2 * 4 weights, and a norm.
    assert found.parameters == found.trained == 103 * 8 + 256 + 768 + 24 + 8
    names = taken(found)
    assert names["weights"] == names["gradients"] == 4 * found.parameters
    assert names["optimiser"] == 8 * found.parameters


def test_an_adapter_is_trained_in_place_of_the_weights() -> None:
    found = memory(replaced(GOOD, ("  context = 24\n", LORA)))
    assert found.trained == 2 * (4 * (8 + 8) + 2 * (8 + 32) + (32 + 8))
    names = taken(found)
    assert names["weights"] == 4 * found.parameters
    assert names["gradients"] == 4 * found.trained
    assert found.parameters == memory(GOOD).parameters + found.trained


# --- what a stage has -----------------------------------------------------------------------------------


def test_a_reference_is_there_where_something_asks_for_it() -> None:
    weights = taken(memory(REINFORCED))["weights"]
    assert taken(memory(REINFORCED))["reference"] == taken(memory(DPO))["reference"] == weights
    assert "reference" not in taken(memory(GOOD))
    assert "reference" not in taken(
        memory(replaced(REINFORCED, ("  steps = 3", "  kl_beta = 0\n  steps = 3")))
    )


def test_a_model_with_a_fresh_adapter_is_its_own_reference_and_a_trained_one_keeps_its_start() -> None:
    text = replaced(DPO, ("  context = 24\n", LORA))
    assert "reference" not in taken(memory(text))
    again = text.replace(
        SAVE, 'train more = dpo { model = adder, dataset = pairs, steps = 3 }\nsave more as "m"\n'
    )
    found = memory(again)
    assert taken(found)["reference"] == 4 * found.trained


def test_a_critic_has_its_own_weights_moments_and_update() -> None:
    found = memory(PPO)
    names = taken(found)
    # The tied embedding stays; the scalar head has a weight a unit and a bias.
    assert names["critic's weights"] == names["weights"] + 4 * (8 + 1)
    assert names["critic's optimiser"] == 2 * names["critic's weights"]
    assert "critic's logits" not in names
    assert {term.phase for term in found.terms if term.name.startswith("critic's g")} != {ALWAYS}


def test_completions_take_a_cache() -> None:
    names = taken(memory(REINFORCED, longest=8))
    # Keys and values of 4 sequences of 8 + 8 tokens; an eighth that has ended is left out by a copy.
    cache = 4 * 16 * 2 * 8 * 4
    assert names["KV cache"] == cache + 7 * cache // 8
    # A GPU gives the new buffers room at once; and values are in bfloat16.
    assert taken(memory(REINFORCED, longest=8, device="gpu"))["KV cache"] == cache * 3 // 4 * 22 // 8
    assert "KV cache" not in taken(memory(GOOD))


def test_an_evaluation_has_weights_and_a_cache_and_trains_nothing() -> None:
    found = memory(REINFORCED + COMPARED, Compare)
    assert found.trained == 0
    assert {"weights", "KV cache"} <= taken(found).keys()
    assert "optimiser" not in taken(found)


def test_a_model_that_judges_is_held_beside_the_one_that_is_trained() -> None:
    judge = "model other = scratch { hidden_size = 16, layers = 1, heads = 2, context = 64 }\n"
    grader = 'grader right = judge { model = other, criteria = "Is it right?" }\n'
    text = judge + replaced(
        REINFORCED, ('grader right = equals { expected = "{{ metadata.answer }}" }\n', grader)
    )
    assert taken(memory(text))["judge other"] == 4 * (103 * 16 + 4 * 256 + 3 * 16 * 64 + 2 * 16 + 2 * 8 + 16)


JUDGES = """\
model wise = scratch { hidden_size = 16, layers = 1, heads = 2, context = 64, seed = 5 }
grader kind = judge { model = wise, criteria = "It is kind." }
grader short = judge { model = wise { template_args = { short = true } }, criteria = "It is short." }
grader exact = judge { model = wise { dtype = "bfloat16" }, criteria = "It is exact." }
grader liked = reward_model(wise)
"""


def judges(text: str, **how: Any) -> list[tuple[str, str]]:
    """The terms of models that grade, each with its phase."""
    found = memory(JUDGES + text, **how).terms
    return [(term.name, term.phase) for term in found if term.name.startswith("judge ")]


def test_a_judge_that_graders_share_is_held_once() -> None:
    """Another type of weights is another copy, and so is a reward model, which has a head of its own."""
    text = replaced(REINFORCED, ("grader = right", "grader = kind + short + exact + liked"))
    shared, exact = ("judge wise", ALWAYS), ('judge wise { dtype = "bfloat16" }', ALWAYS)
    assert judges(text) == [shared, exact, shared]
    comparing = replaced(COMPARED, ("[right, words(completion)]", "[kind, short]"))
    assert judges(REINFORCED + comparing, kind=Compare) == [shared]


def test_a_validation_loads_no_judge_that_is_there_anyway() -> None:
    validation = "  validation { dataset = asked, every = 1, grader = short + exact }\n"
    text = replaced(REINFORCED, ("grader = right", f"grader = kind\n{validation}"))
    exact = ('judge wise { dtype = "bfloat16" }', "validation")
    assert judges(text) == [("judge wise", ALWAYS), exact]


@pytest.mark.parametrize(
    ("field", "term"),
    [
        ("checkpoint { every = 1 }", "checkpoint on its way"),
        ('early_stop { metric = "validation_loss", patience = 1 }', "best weights"),
    ],
)
def test_copies_count_where_the_processor_is_the_device(field: str, term: str) -> None:
    kept = f"  steps = 3\n  validation {{ dataset = sums, every = 1 }}\n  {field}\n"
    text = replaced(GOOD, ("  steps = 3\n", kept))
    assert term in taken(memory(text))
    assert term not in taken(memory(text, device="gpu"))


# --- devices --------------------------------------------------------------------------------------------


def test_a_gpu_computes_in_bfloat16_from_weights_in_float32() -> None:
    cpu, gpu = taken(memory(GOOD)), taken(memory(GOOD, device="gpu"))
    assert gpu["weights"] == cpu["weights"]
    assert gpu["activations"] < cpu["activations"]
    assert "weights in bfloat16" in gpu
    narrow = replaced(GOOD, ("  context = 24\n", '  context = 24\n  dtype = "bfloat16"\n'))
    assert taken(memory(narrow, device="gpu"))["weights"] == gpu["weights"] // 2


def test_copies_of_a_model_have_room_for_what_they_tell_one_another() -> None:
    found = taken(memory(launched(GOOD, world_size=2)))
    assert found["gradients on their way to other copies"] == found["gradients"]


def test_weights_in_parts_are_shared_by_all_devices() -> None:
    alone, shared = taken(memory(GOOD)), taken(memory(launched(GOOD, world_size=4, shard=True)))
    for name in ("weights", "gradients", "optimiser"):
        assert shared[name] == alone[name] // 4
    assert shared["weights put together"] > 0


def test_tensor_parallelism_cuts_the_matrices_of_blocks() -> None:
    text = replaced(GOOD, ("  context = 24\n", "  context = 24\n  tp = 2\n"))
    found = taken(memory(graph_of(text, world_size=2)))
    alone = taken(memory(GOOD))
    assert alone["weights"] - found["weights"] == 4 * (256 + 768) // 2
    assert found["activations"] < alone["activations"]


# --- micro-batches --------------------------------------------------------------------------------------


def test_a_micro_batch_is_no_larger_than_what_an_update_has() -> None:
    small = replaced(GOOD, ("  context = 24\n", "  context = 24\n  max_batch_tokens = 48\n"))
    assert taken(memory(small, longest=20))["activations"] < taken(memory(GOOD, longest=20))["activations"]
    # 4 rows of 20 tokens are all there is: then gradients come when activations go.
    found = memory(GOOD, longest=20)
    assert {term.phase for term in found.terms if term.name == "gradients"} == {"last part of the update"}
    assert {term.phase for term in memory(small, longest=20).terms if term.name == "gradients"} == {"update"}


def test_the_prompt_of_a_group_is_read_once() -> None:
    group = replaced(
        REINFORCED, ("samples_per_batch = 4", "samples_per_batch = 32"), ("mini_batch = 2", "mini_batch = 32")
    )
    larger = replaced(group, ("per_sample = 2", "per_sample = 16"))
    assert taken(memory(larger, longest=16))["activations"] < taken(memory(group, longest=16))["activations"]


# --- what nobody knows ----------------------------------------------------------------------------------


HUB = GOOD.replace(MODEL, 'model tiny = hf("some/model")\n')


@pytest.fixture
def cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub"))
    return folder / "hub"


@pytest.mark.usefixtures("cache")
def test_what_is_not_known_is_said() -> None:
    graph = graph_of(HUB)
    (ref,) = (ref for ref, node in graph.nodes.items() if isinstance(node, Algorithm))
    found = memory_of(graph, ref, DISK)
    assert found == "the configuration of some/model is on the hub, and not in this machine's cache of it"


@pytest.mark.parametrize("revision", [None, "a" * 40])
def test_a_model_of_the_hub_that_was_loaded_before_is_known(cache: Path, revision: str | None) -> None:
    commit = "a" * 40
    for name, text in {
        "refs/main": commit,
        f"snapshots/{commit}/config.json": '{"model_type": "gpt2", "n_embd": 8, "n_head": 2, "n_layer": 1, '
        '"n_positions": 24, "vocab_size": 103}',
    }.items():
        place = cache / "models--some--model" / name
        place.parent.mkdir(parents=True)
        place.write_text(text)
    asked = "" if revision is None else f' {{ revision = "{revision}" }}'
    found = memory(HUB.replace('hf("some/model")', f'hf("some/model"){asked}'))
    assert found.parameters == (103 + 24) * 8 + 4 * 64 + 4 * 8 + 2 * 8 * 32 + 32 + 8 + 6 * 8


def test_a_folder_without_a_configuration_is_said(folder: Path) -> None:
    (folder / "nothing").mkdir()
    graph = graph_of(GOOD.replace(MODEL, 'model tiny = local("nothing")\n'))
    (ref,) = (ref for ref, node in graph.nodes.items() if isinstance(node, Algorithm))
    assert memory_of(graph, ref, DISK) == f"there is no `config.json` in {folder / 'nothing'}"


# --- sizes, and devices that are too small --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("80GiB", 80 * 2**30),
        ("24GB", 24 * 10**9),
        ("1.5 gib", 3 * 2**29),
        ("16G", 16 * 10**9),
        ("512", 512),
        ("7B", 7),
        ("", None),
        ("0", None),
        ("-1GiB", None),
        ("80 iB", None),
        ("much", None),
        ("80GiBs", None),
    ],
)
def test_sizes_as_people_write_them(text: str, size: int | None) -> None:
    assert bytes_of(text) == size


@given(st.integers(min_value=1, max_value=2**50))
def test_a_size_that_is_told_is_read_as_nearly_the_same(size: int) -> None:
    read = bytes_of(told_bytes(size).replace(",", ""))
    assert read is not None
    assert abs(read - size) <= 0.051 * 2 ** (10 * ((size.bit_length() - 1) // 10))


def test_a_finding_comes_where_the_total_is_more_than_there_is_and_names_a_field_that_lowers_it() -> None:
    compilation = check_text(DATA + REINFORCED)
    found = memory(REINFORCED)
    assert compilation.graph is not None
    assert compilation.looked is not None
    memories: dict[Any, Memory | str] = {found.stage: found, **dict.fromkeys(["other"], "not known")}
    made = compilation.looked.made
    assert not [*overflowing(compilation.graph, memories, made, found.total)]
    (finding,) = overflowing(compilation.graph, memories, made, found.total - 1)
    assert finding.stage == "adder"
    assert found.largest.field == "model.max_batch_tokens"
    assert "model.max_batch_tokens" in finding.mend
    lower = replaced(REINFORCED, ("  context = 24\n", "  context = 24\n  max_batch_tokens = 32\n"))
    assert memory(lower).total < found.total

"""What an identity stands for, told by paths; and what differs between two of them, in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from compiler_support import DATA, GOOD, MODEL, PPO, REINFORCED, SAVE, TRAIN, graph_of, replaced
from hypothesis import given, settings
from hypothesis import strategies as st
from test_compiler_graph import SEMANTIC

from harmony_compiler.graph import differences as told
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.identity import Meanings, meanings
from harmony_compiler.graph.models import ScratchModel
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.files import content_hash
from harmony_dsl.testing import Recipe, recipes, write_data
from harmony_dsl.testing.running import compiled

HOME = Path("home") / "models"


def meanings_of(graph: Graph) -> Meanings:
    return meanings(graph, content_hash, HOME)


def meaning(text: str, name: str = "adder") -> dict[str, Any]:
    """Of the last stage of this name, as a checkpoint gives it back."""
    graph = graph_of(text)
    refs = [ref for ref, node in graph.nodes.items() if isinstance(node, Algorithm)]
    (ref,) = [ref for ref in refs if graph.stage_name(ref) == name]
    found: dict[str, Any] = json.loads(json.dumps(meanings_of(graph).of(ref)))
    return found


def changes(before: str, *edits: tuple[str, str]) -> list[str]:
    return told.differences(meaning(before), meaning(replaced(before, *edits)))


# --- the same as the identity ---------------------------------------------------------------------------


@settings(deadline=None, derandomize=True, database=None, max_examples=15)
@given(drawn=st.lists(recipes(), min_size=2, max_size=3))
def test_meanings_are_equal_exactly_where_identities_are(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[Recipe]
) -> None:
    data = tmp_path_factory.mktemp("data")
    write_data(data)
    by_identity: dict[str, str] = {}
    by_meaning: dict[str, str] = {}
    for recipe in drawn:
        graph = compiled(recipe, data, data / "home" / "models").graph
        assert graph is not None
        found = meanings(graph, content_hash, data / "home" / "models")
        for ref, identity in found.identities.items():
            meant = json.dumps(found.of(ref), sort_keys=True)
            assert by_identity.setdefault(identity, meant) == meant
            assert by_meaning.setdefault(meant, identity) == identity


@pytest.mark.parametrize(("part", "old", "new"), SEMANTIC, ids=[new for _, _, new in SEMANTIC])
def test_what_changes_the_identity_is_told(part: str, old: str, new: str) -> None:
    after = GOOD.replace(part, replaced(part, (old, new)))
    assert told.differences(meaning(GOOD), meaning(after))
    assert told.differences(meaning(after), meaning(after)) == []


def test_what_is_no_part_of_the_identity_is_not_told() -> None:
    placed = replaced(GOOD, ("context = 24", 'context = 24\n  dtype = "bfloat16"\n  max_batch_tokens = 99'))
    assert meaning(placed) == meaning(GOOD)


def test_a_long_chain_of_stages_has_a_meaning() -> None:
    chain = "".join(
        f"train t{n} = sft {{ model = {f't{n - 1}' if n else 'tiny'}, dataset = sums, steps = {n + 1} }}\n"
        for n in range(300)
    )
    found = meaning(DATA + MODEL + chain, "t299")
    assert found["steps"] == 300
    assert found[".".join(["model"] * 299) + ".steps"] == 1


def test_what_two_fields_share_is_told_once() -> None:
    found = meaning(PPO)
    assert found["policy_model"] == {"constructor": "scratch", "semantics": ScratchModel.semantics}
    assert found["value_model"] == {"same as": "policy_model"}
    assert not [path for path in found if path.startswith("value_model.")]
    # What is the same by its identity is the same, though it is placed otherwise.
    placed = "  policy_model = tiny\n  value_model = tiny { max_batch_tokens = 99 }"
    assert meaning(replaced(PPO, ("  policy_model = tiny", placed))) == found


# --- in words -------------------------------------------------------------------------------------------


def test_differences_are_told_by_path() -> None:
    assert changes(GOOD, ("lr = 1e-2", "lr = 1e-3"), ("layers = 1", "layers = 2")) == [
        "`model.layers` was 1, is 2",
        "`lr` was 0.01, is 0.001",
    ]
    assert changes(GOOD, ("steps = 3", "epochs = 3")) == [
        "`epochs` was none, is 3.0",
        "`steps` was 3, is none",
    ]
    assert changes(GOOD, ("steps = 3", "steps = 3\n  schedule = cosine { warmup = 5% }")) == [
        "`schedule.warmup` was 10%, is 5%"
    ]
    assert changes(GOOD, ("steps = 3", 'steps = 3\n  train_on = "all"')) == [
        '`train_on` was "last", is "all"'
    ]


def test_a_file_is_told_by_its_field(folder: Path) -> None:
    before = meaning(GOOD)
    (folder / "sums.jsonl").write_bytes(b'{"question": "2+2", "answer": "4"}\n')
    assert told.differences(before, meaning(GOOD)) == ["the content of `dataset.path` has changed"]


def test_of_another_constructor_only_that_is_told() -> None:
    assert changes(GOOD, (MODEL, 'model tiny = registry("sorter")\n')) == [
        "`model` was `scratch`, is `registry`"
    ]
    assert changes(GOOD, ("steps = 3", "steps = 3\n  schedule = linear { warmup = 0 }")) == [
        "`schedule` was `cosine`, is `linear`"
    ]
    assert changes(
        PPO, ("  policy_model = tiny", '  policy_model = tiny\n  value_model = tiny { end_token = "x" }')
    ) == ["`value_model` was that of `policy_model`, is `scratch`"]
    assert told.differences(meaning(GOOD), meaning(REINFORCED)) == ["the stage was `sft`, is `grpo`"]


def test_of_longer_lists_only_that_is_told() -> None:
    files = replaced(GOOD, ('"sums.jsonl"', '["sums.jsonl", "held.jsonl"]'))
    assert changes(files, ('"held.jsonl"]', '"held.jsonl", "sums.jsonl"]')) == [
        "`dataset.path` was a list of 2, is a list of 3"
    ]
    assert changes(files, ('"held.jsonl"]', '"sums.jsonl"]')) == [
        "the content of `dataset.path.2` has changed"
    ]
    assert changes(GOOD, ('"sums.jsonl"', '["sums.jsonl"]')) == ["`dataset.path` was a file, is a list of 1"]


def test_long_values_are_not_shown() -> None:
    long = "{{ question }}" + "!" * 80
    assert changes(GOOD, ("{{ question }}", long)) == ["`dataset.prompt` has changed"]


def test_numbers_are_compared_as_json_has_them() -> None:
    assert told.differences({"a": 1, "b": True}, {"a": 1.0, "b": 1}) == [
        "`a` was 1, is 1.0",
        "`b` was true, is 1",
    ]


def test_another_version_of_a_constructor() -> None:
    was, now = ({"model": {"constructor": "scratch", "semantics": number}} for number in (1, 2))
    assert told.differences(was, now) == ["`model`: `scratch` computes something else in this version"]


# --- what counts beside another field -------------------------------------------------------------------

VALIDATED = TRAIN.replace("  steps = 3", "  steps = 3\n  validation { dataset = sums, every = 1 }%s")


def test_what_ends_a_stage_early_is_part_of_its_identity() -> None:
    watched = DATA + MODEL + VALIDATED % "" + SAVE
    assert meaning(watched) == meaning(GOOD)
    stopped = DATA + MODEL + VALIDATED % '\n  early_stop { metric = "validation_loss", patience = 2 }' + SAVE
    assert changes(stopped, ("every = 1", "every = 2")) == ["`validation.every` was 1, is 2"]


def test_nodes_of_a_graph_read_from_json_mean_the_same() -> None:
    graph = graph_of(REINFORCED)
    again = Graph.from_json(json.loads(json.dumps(graph.to_json())))
    for ref in graph.nodes:
        assert meanings_of(graph).of(Ref(ref)) == meanings_of(again).of(Ref(ref))

"""One model, however many processes share it: the same losses, weights, words and files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from preference_support import preferring
from processes_support import work
from reinforcement_support import reinforcing
from rollout_support import blueprint_of
from runtime_support import MODEL, STAGE, graph_of, read_lines, sums, tiny, training, weights_in
from test_evaluation import comparing
from test_ppo import practised
from validation_support import HELD, HELD_OUT, held_out

from harmony_compiler.graph.graph import Graph, Launch
from harmony_compiler.graph.measures import Validation
from harmony_compiler.graph.node import Node
from harmony_compiler.graph.settings import EarlyStop, Lora
from harmony_grammar import records
from harmony_runtime.algorithms.gradients import Gradients
from harmony_runtime.failures import RunFailed
from harmony_runtime.models import spreading, weights
from harmony_runtime.processes import cuts
from harmony_runtime.processes.context import Context
from harmony_runtime.processes.mesh import Mesh
from harmony_runtime.processes.pulse import Pulse

SHAPE: dict[str, Any] = {"hidden_size": 32, "heads": 4, "kv_heads": 2, "mlp_size": 64, "layers": 2}
NARROW = 48
"""Tokens in a micro-batch, so that a step takes several, and copies not equally many."""

Jobs = dict[str, Graph]

PATIENT = EarlyStop(metric="validation_loss", patience=9)


def measured(graph: Graph, rows: Node, **stage: Any) -> Graph:
    return held_out(graph, rows, validation=Validation(dataset=HELD, every=2), **stage)


def jobs(**load: Any) -> Jobs:
    """What is done in each way. An odd vocabulary: no two processes hold equal parts of it."""

    def model(**changes: Any) -> Any:
        return tiny(**(SHAPE | load | changes))

    narrow = model(max_batch_tokens=NARROW)
    many = {"samples_per_batch": 8, "steps": 4}
    report = dict(comparing().nodes)
    report |= {MODEL: model(), STAGE: records.replace(report[STAGE], steps=20)}
    return {
        "sft": training(model(), **many),
        "sft-narrow": measured(training(narrow, **many), HELD_OUT["sft"], early_stop=PATIENT),
        "sft-stopped": measured(training(narrow, **many), HELD_OUT["sft"], early_stop=PATIENT),
        # Fewer rows than copies.
        "sft-llama": measured(
            training(model(architecture="llama", tied=False), **many), sums(items=({"q": "1+1", "a": "2"},))
        ),
        "dpo": measured(preferring(narrow, **many), HELD_OUT["dpo"]),
        "grpo": measured(
            reinforcing(narrow, kl_beta=0.02, samples_per_mini_batch=4, steps=3), HELD_OUT["prompts"]
        ),
        "ppo": practised(
            model(max_batch_tokens=64), kl_beta=0.02, samples_per_mini_batch=4, max_num_ppo_steps=3
        ),
        "ppo-stopped": practised(
            model(max_batch_tokens=64), kl_beta=0.02, samples_per_mini_batch=4, max_num_ppo_steps=3
        ),
        "report": graph_of(report, comparing().outputs),
    }


WAYS: dict[str, Callable[[Path], Path]] = {
    "one": lambda place: work(place, jobs()),
    "two": lambda place: work(place, jobs(), 2),
    "tp": lambda place: work(place, jobs(tp=2), 2),
    "shard": lambda place: work(place, jobs(), 2, shard=True),
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of the jobs as they are done in a way: once, by whoever asks first."""
    found: dict[str, Path] = {}

    def of(way: str) -> Path:
        if way not in found:
            found[way] = WAYS[way](tmp_path_factory.mktemp("ways") / way)
        return found[way]

    return of


def model_in(place: Path, job: str) -> Path:
    return place / f"home of {job}" / "models" / "small"


def distance(one: Path, other: Path, start: Path) -> float:
    """How far apart two models are, measured by the way that the first has come."""
    a, b, w = (weights_in(folder) for folder in (one, other, start))
    assert a.keys() == b.keys()
    apart = math.fsum(float((a[name] - b[name]).double().square().sum()) for name in a)
    return math.sqrt(apart / math.fsum(float((a[name] - w[name]).double().square().sum()) for name in a))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The models as they were before, by architecture."""
    found = {}
    for kind, changes in {"qwen3": {}, "llama": {"architecture": "llama", "tied": False}}.items():
        drawn = blueprint_of(tiny(**SHAPE, **changes))
        found[kind] = tmp_path_factory.mktemp(kind)
        weights.load(drawn).save_pretrained(found[kind])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("way", ["two", "tp", "shard"])
def test_a_run_goes_as_it_goes_alone(way: str, done: Callable[[str], Path], start: dict[str, Path]) -> None:
    alone, shared = done("one"), done(way)
    for job in ("sft", "sft-narrow", "sft-llama", "dpo", "grpo", "ppo"):
        the_same_steps(alone / job, shared / job)
        one, other = model_in(alone, job), model_in(shared, job)
        assert distance(one, other, start["llama" if "llama" in job else "qwen3"]) < 1e-3, job
        held = [name for name in read_lines(shared / job / "metrics.jsonl")[-1] if "validation" in name]
        assert bool(held) == (job not in ("sft", "ppo")), job
        the_same_kind_of_files(one, other)
    for whole in ("sft-narrow", "ppo"):
        the_same_bits(shared, whole, whole.partition("-")[0] + "-stopped")
    the_same_words(alone / "report", shared / "report")
    measured = [
        json.loads((place / "report/results.json").read_text())["evaluations"] for place in (alone, shared)
    ]
    assert measured[0] == measured[1]


def the_same_steps(one: Path, other: Path) -> None:
    lines = [read_lines(place / "metrics.jsonl") for place in (one, other)]
    assert len(lines[0]) == len(lines[1]) > 2
    for expected, found in zip(*lines, strict=True):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            if isinstance(value, float):
                assert found[name] == pytest.approx(value, rel=2e-3, abs=2e-5), (other, name)
            else:
                assert found[name] == value, (other, name)
    the_same_words(one, other)


def the_same_words(one: Path, other: Path) -> None:
    said = [
        [line["completion"] for line in read_lines(place / "samples.jsonl")]
        if (place / "samples.jsonl").exists()
        else []
        for place in (one, other)
    ]
    assert said[0] == said[1]


def the_same_kind_of_files(one: Path, other: Path) -> None:
    """Of a model: an ordinary one, with nothing in it of how it was trained."""
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in other.iterdir())
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    kinds = [{name: (t.shape, t.dtype) for name, t in weights_in(place).items()} for place in (one, other)]
    assert kinds[0] == kinds[1]


def the_same_bits(place: Path, whole: str, stopped: str) -> None:
    """Of a stage that was stopped and went on, and one that went through."""
    assert (place / whole / "metrics.jsonl").read_bytes() == (place / stopped / "metrics.jsonl").read_bytes()
    one, other = (weights_in(model_in(place, job)) for job in (whole, stopped))
    assert all(torch.equal(one[name], other[name]) for name in one), stopped


@pytest.mark.slow
def test_two_copies_of_two_halves(
    done: Callable[[str], Path], start: dict[str, Path], tmp_path: Path
) -> None:
    four = {name: graph for name, graph in jobs(tp=2).items() if name in ("sft-narrow", "grpo")}
    shared = work(tmp_path / "four", four, 4)
    for job in four:
        one, other = (read_lines(place / job / "metrics.jsonl") for place in (done("one"), shared))
        assert [line["loss"] for line in other] == pytest.approx([line["loss"] for line in one], abs=2e-5)
        assert distance(*(model_in(place, job) for place in (done("one"), shared)), start["qwen3"]) < 1e-3


# --- without processes ----------------------------------------------------------------------------------


class Process:
    """What a mesh asks of a context: process `rank` of some."""

    device = torch.device("cpu")

    def __init__(self, rank: int = 0, world_size: int = 2, *, shard: bool = False) -> None:
        self.rank, self.world_size, self.shard = rank, world_size, shard
        self.others: list[Any] = []
        self.pulse = Pulse()

    def gather(self, items: list[Any]) -> list[Any]:
        return [*items, *self.others]

    def total(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor


def mesh_of(process: Process, **load: Any) -> Mesh:
    return Mesh(process, blueprint_of(tiny(**(SHAPE | load))))  # type: ignore[arg-type]


def test_neighbours_share_a_copy() -> None:
    meshes = [mesh_of(Process(rank, 6), tp=2) for rank in range(6)]
    assert [(mesh.rank, mesh.leads) for mesh in meshes] == [
        (0, True), (0, False), (1, True), (1, False), (2, True), (2, False),
    ]  # fmt: skip
    assert all(mesh.ranks == 3 for mesh in meshes)
    assert meshes[2].own(torch.arange(6)).tolist() == meshes[3].own(torch.arange(6)).tolist() == [1, 4]


def test_a_copy_speaks_once() -> None:
    lead, other = (mesh_of(Process(rank), tp=2) for rank in range(2))
    assert lead.gather(["said"]) == ["said"] and other.gather(["said"]) == []
    assert lead.sum({"loss": 2.0}) == {"loss": 2.0} and other.sum({"loss": 2.0}) == {"loss": 0.0}


def test_a_copy_with_fewer_parts_keeps_in_step_and_adds_nothing() -> None:
    process = Process(shard=True)
    process.others = [3]
    mesh, weight = mesh_of(process), torch.ones(1, requires_grad=True)
    gradients = Gradients(mesh, torch.nn.Module())
    rounds = []
    for part in gradients.over([1.0, 2.0]):
        rounds.append(part)
        gradients.add((weight * part).sum())
    assert rounds == [1.0, 2.0, 2.0]
    assert weight.grad is not None and weight.grad.item() == 3.0 * mesh.ranks
    assert gradients.sums() == {"loss": 3.0}


def test_equal_bits_have_equal_fingerprints() -> None:
    one = [torch.randn(50), torch.randn(7).bfloat16()]
    assert cuts.fingerprint(one) == cuts.fingerprint([t.flip(0) for t in one])
    other = [t.clone() for t in one]
    other[1][3] *= 1.01
    assert cuts.fingerprint(one) != cuts.fingerprint(other)


def test_processes_with_other_weights_are_no_copy() -> None:
    process = Process()
    process.others = [0]
    with pytest.raises(RunFailed, match="loaded different weights"):
        mesh_of(process, tp=2).place(torch.nn.Linear(2, 2))


LORA = Lora(rank=2, alpha=4, targets=("q_proj",), seed=7)


@pytest.mark.parametrize(
    ("process", "load", "words"),
    [
        pytest.param(Process(), {"tp": 3}, "`tp` = 3 does not divide the world size of 2", id="world"),
        pytest.param(Process(shard=True), {"tp": 2}, "and so does `--shard`: leave one", id="twice"),
        pytest.param(Process(), {"tp": 2, "adapter": LORA}, "an adapter.* and `tp` = 2 cuts them", id="tp"),
        pytest.param(
            Process(shard=True), {"adapter": LORA}, "an adapter.* and `--shard` cuts them", id="shard"
        ),
    ],
)
def test_what_cannot_be_shared_is_refused(process: Process, load: dict[str, Any], words: str) -> None:
    with pytest.raises(RunFailed, match=f"`base`: .*{words}"):
        mesh_of(process, **load)


def test_a_model_without_a_plan_is_refused() -> None:
    model = weights.load(blueprint_of(tiny(architecture="gpt2", kv_heads=None)))
    with pytest.raises(RunFailed, match=r"^here: `tp` .* no plan for cutting a GPT2LMHeadModel"):
        spreading.refuse_without_plan(model, "here: ")
    for kind in ("qwen3", "llama"):
        spreading.refuse_without_plan(weights.load(blueprint_of(tiny(architecture=kind))), "here: ")


def test_one_process_has_nothing_to_shard() -> None:
    with pytest.raises(RunFailed, match="`--shard` keeps the weights in parts, one a process"):
        Context(Launch(1, 1, True))


def test_a_whole_tensor_is_its_own_part() -> None:
    tensor = torch.ones(3)
    assert cuts.part(tensor) is cuts.whole(tensor) is cuts.part_of(tensor, like=tensor) is tensor
    assert cuts.norm([tensor, 2 * tensor]).item() == pytest.approx(math.sqrt(15))
    assert cuts.gathered({"a": [tensor, 1]}, keep=False) == {"a": [tensor, 1]}

"""The reference of a stage, and adapters on two processes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters_support import (
    IDS,
    LORA,
    adapter_in,
    blueprint_of,
    logits,
    reinforced,
)
from processes_support import together
from runtime_support import (
    MODEL,
    STAGE,
    Ref,
    Told,
    Train,
    graph_of,
    read_lines,
    tiny,
    training,
)

from harmony_compiler.graph.graph import ONE_DEVICE, Launch
from harmony_compiler.graph.models import LoadSettings, LocalModel, RegistryModel, Reloaded
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.settings import Lora
from harmony_grammar import records
from harmony_runtime.failures import Interrupted
from harmony_runtime.models import weights
from harmony_runtime.models.reference import Reference
from harmony_runtime.models.scorer import Scorer
from harmony_runtime.processes.context import Context
from harmony_runtime.processes.mesh import Mesh


@pytest.fixture
def folder(train: Train, registry: Path) -> Path:
    """A whole model with an address: a folder of nobody's registry."""
    start = Ref("start")
    train(graph_of({MODEL: tiny(), start: Save(model=MODEL, key="start")}, (start,)), "made")
    return (registry / "start").rename(registry.parent / "elsewhere")


# --- the reference --------------------------------------------------------------------------------------


KINDS: dict[str, tuple[dict[str, Any], LoadSettings | None, int]] = {
    "no adapter": ({}, None, 2),
    "an adapter that goes on": ({"adapter": LORA}, None, 1),
    "a new one on trained weights": ({}, Reloaded(source=STAGE, adapter=LORA), 1),
    "a new one on a merged one": ({"adapter": LORA}, Reloaded(source=STAGE, adapter=LORA), 1),
    "all weights of a merged one": ({"adapter": LORA}, Reloaded(source=STAGE, adapter=None), 2),
    "checkpointed": ({"adapter": LORA, "gradient_checkpointing": True}, None, 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_batch_is_at_no_distance_from_the_start(
    kind: str, train: Train, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, between, copies = KINDS[kind]
    loaded: list[str] = []
    load = weights.load
    monkeypatch.setattr(weights, "load", lambda drawn: loaded.append(drawn.place) or load(drawn))
    train(reinforced(LocalModel(path=str(folder), **first), between))
    lines = [line for line in read_lines(tmp_path / "out/metrics.jsonl") if line["stage"] == "second"]
    assert lines[0]["kl"] == 0.0
    assert all(line["kl"] > 0 for line in lines[1:])
    # An adapter costs no second copy of the weights.
    of_second = "other" if between else "tuned"
    assert sum(f"`{of_second}`" in place for place in loaded) == copies


def test_a_reference_is_the_start_of_the_stage_after_a_resume_too(train: Train, tmp_path: Path) -> None:
    graph = reinforced(tiny(adapter=LORA))
    train(graph, "whole")
    for stop in (1, 2):

        class Late(Told):
            stop_in = stop

            def step(self, name: str, step: int, *_: Any) -> None:
                if (name, step) == ("second", self.stop_in):
                    raise KeyboardInterrupt

        with pytest.raises(Interrupted):
            train(graph, "parts", watcher=Late(), resume=True)
    train(graph, "parts", resume=True)
    for name in ("metrics.jsonl", "samples.jsonl"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("trained", [False, True])
def test_what_a_reference_says_whatever_the_model_has_become(
    trained: bool, train: Train, registry: Path
) -> None:
    base = tiny(adapter=Lora(rank=4, dropout=0.5, seed=7))
    if trained:
        train(training(base, lr=3e-2))
    drawn = blueprint_of(RegistryModel(key="small") if trained else base, registry)
    model = weights.load(drawn).train()
    start = logits(weights.load(drawn))
    counted = torch.arange(IDS.shape[1]).expand_as(IDS) > 0
    wanted = Scorer(weights.load(drawn), Mesh(Context(ONE_DEVICE)), "auto").eval()(IDS, counted).detach()
    reference = Reference(model, drawn, Mesh(Context(ONE_DEVICE)))
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    for _ in range(2):
        model(IDS).logits.square().mean().backward()
        optimiser.step()
        moving = {name for name, p in model.named_parameters() if p.requires_grad}
        assert torch.equal(reference.logprobs(IDS, counted), wanted)
        assert model.training
        assert {name for name, p in model.named_parameters() if p.requires_grad} == moving
    assert not torch.allclose(logits(model), start)


# --- processes ------------------------------------------------------------------------------------------

PROCESS = """
import json, sys
from pathlib import Path
from harmony_compiler.graph.graph import Graph
from harmony_runtime.executor import run
from harmony_runtime.watch import Silent

place = Path(sys.argv[1])
graph = Graph.from_json(json.loads((place / "graph.json").read_text()))
run(graph, place / "two", watcher=Silent(), registry=place / "home")
"""


@pytest.mark.slow
def test_two_processes_train_an_adapter_as_one(train: Train, tmp_path: Path) -> None:
    graph = reinforced(tiny(adapter=LORA), steps=2, samples_per_mini_batch=4)
    train(graph, "one")
    two = records.replace(graph, launch=Launch(2))
    (tmp_path / "graph.json").write_text(json.dumps(two.to_json()))
    together(PROCESS, tmp_path, processes=2, environ=os.environ | {"OMP_NUM_THREADS": "1"})
    alone, shared = (read_lines(tmp_path / folder / "metrics.jsonl") for folder in ("one", "two"))
    assert len(alone) == len(shared) == 5
    for one, other in zip(alone, shared, strict=True):
        assert one["stage"] == other["stage"]
        assert other["loss"] == pytest.approx(one["loss"], abs=1e-4)
        assert other["grad_norm"] == pytest.approx(one["grad_norm"], abs=1e-3)
    assert alone[3]["kl"] == pytest.approx(shared[3]["kl"], abs=1e-5)
    stages = [sorted(path.name for path in (tmp_path / name / "stages").iterdir()) for name in ("one", "two")]
    assert stages[0] == stages[1]
    for stage in stages[0]:
        one, other = (adapter_in(tmp_path / name / "stages" / stage) for name in ("one", "two"))
        assert one.keys() == other.keys()
        assert all(torch.allclose(one[name], other[name], atol=1e-4) for name in one)

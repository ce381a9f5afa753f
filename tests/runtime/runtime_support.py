"""What the tests of the runtime share: small graphs, built from node classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from harmony_compiler.graph.algorithms import Sft
from harmony_compiler.graph.datasets import JsonLines, LiteralRows, Rows
from harmony_compiler.graph.graph import Graph, Origin
from harmony_compiler.graph.identity import identities
from harmony_compiler.graph.models import LoadSettings, ScratchModel
from harmony_compiler.graph.node import Node
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.files import content_hash
from harmony_runtime.disk import checkpoints
from harmony_runtime.disk.background import Background
from harmony_runtime.models.blueprint import Blueprints
from harmony_runtime.rooms import Desk
from harmony_runtime.watch import Silent, Summary, Watcher

Train = Callable[..., Summary]
"""The fixture `train`."""

ROOT = Path(__file__).parents[2]
GPT2 = ROOT.parent / "shared" / "data" / "tokenizers" / "gpt2"

MODEL, DATA, STAGE, SAVE = Ref("base"), Ref("data"), Ref("tuned"), Ref("save")


def tiny(**changes: Any) -> ScratchModel:
    shape = {
        "hidden_size": 16,
        "layers": 1,
        "heads": 2,
        "kv_heads": 2,
        "mlp_size": 32,
        "context": 40,
        "seed": 7,
    }
    return ScratchModel(**(shape | changes))


def sums(**changes: Any) -> LiteralRows:
    """Ten rows of different lengths."""
    items = tuple({"q": f"{n}+{n}", "a": str(n + n) + "!" * (n % 4)} for n in range(5, 15))
    return LiteralRows(
        **({"items": items, "prompt": "{{ q }}", "completion": "{{ a }}", "seed": 7} | changes)
    )


def json_lines(path: Path, text: str | list[Any], **changes: Any) -> JsonLines:
    if not isinstance(text, str):
        text = "".join(json.dumps(row) + "\n" for row in text)
    path.write_text(text, encoding="utf-8")
    return JsonLines(
        **({"path": str(path), "prompt": "{{ q }}", "completion": "{{ a }}", "seed": 7} | changes)
    )


def sft(**changes: Any) -> Sft:
    numbers = {"lr": 1e-2, "samples_per_batch": 4, "seed": 7}
    if "epochs" not in changes:
        numbers["steps"] = 6
    return Sft(**({"model": MODEL, "dataset": DATA} | numbers | changes))


def graph_of(nodes: Mapping[Ref, Node], outputs: tuple[Ref, ...]) -> Graph:
    origins = {ref: Origin(str(ref), "small.recipe", line) for line, ref in enumerate(nodes, 1)}
    return Graph("small", 7, dict(nodes), outputs, origins)


def training(
    model: LoadSettings | None = None,
    data: Rows | None = None,
    save: Mapping[str, Any] | None = None,
    **stage: Any,
) -> Graph:
    """A graph of one stage whose model is saved as `small`; the stage is called `tuned`."""
    nodes: dict[Ref, Node] = {MODEL: model or tiny(), DATA: data or sums(), STAGE: sft(**stage)}
    nodes[SAVE] = Save(**({"model": STAGE, "key": "small"} | dict(save or {})))
    return graph_of(nodes, (SAVE,))


def desk_of(graph: Graph, home: Path, told: Watcher | None = None) -> Desk:
    """What looks at data as a run of `graph` would, with its cache in the folder `home`."""
    registry = home / "models"
    return Desk(
        graph=graph,
        identities=identities(graph, content_hash, registry),
        blueprints=Blueprints(graph, {}, registry),
        cache=home / "cache",
        watcher=told or Silent(),
    )


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
    return tensors


def same(one: Path, other: Path) -> bool:
    a, b = weights_in(one), weights_in(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def rooms_in(run: Path) -> dict[str, Any]:
    """What the newest checkpoint of the one unfinished stage of a run holds, room by room."""
    (stage,) = (run / "checkpoints").iterdir()
    tree, damaged = checkpoints.Series(stage, 1, Background()).newest()
    assert tree is not None
    assert not damaged
    rooms: dict[str, Any] = tree["rooms"]
    return rooms


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Told(Silent):
    """Remembers what was said; stops as Ctrl-C does after step `stop_at`."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.texts: list[str] = []
        self.warnings: list[str] = []
        self.started: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)

    def warning(self, text: str) -> None:
        self.texts.append(text)
        self.warnings.append(text)

    def stage_started(self, name: str, algorithm: str, steps: int, parameters: int) -> None:
        self.started.append(name)

    def step(self, name: str, step: int, metrics: Mapping[str, float], timing: Mapping[str, float]) -> None:
        if step == self.stop_at:
            raise KeyboardInterrupt

"""What the tests of preferences share: ten pairs, and a graph of one DPO stage."""

from __future__ import annotations

from typing import Any

from runtime_support import DATA, MODEL, SAVE, STAGE, graph_of, tiny

from harmony_compiler.graph.algorithms import Dpo
from harmony_compiler.graph.datasets import LiteralRows, Rows
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import LoadSettings
from harmony_compiler.graph.node import Node
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.values import Ref

ITEMS = tuple(
    {"q": f"{n}+{n}", "good": str(n + n) + "." * (n % 3), "bad": "no" + "!" * (n % 4)} for n in range(5, 15)
)


def pairs(**changes: Any) -> LiteralRows:
    """Ten pairs of different lengths."""
    mapping = {"prompt": "{{ q }}", "chosen": "{{ good }}", "rejected": "{{ bad }}"}
    return LiteralRows(**({"items": ITEMS, "seed": 7} | mapping | changes))


def dpo(**changes: Any) -> Dpo:
    numbers: dict[str, Any] = {"lr": 1e-2, "samples_per_batch": 4, "seed": 7}
    if "epochs" not in changes:
        numbers["steps"] = 6
    return Dpo(**({"model": MODEL, "dataset": DATA} | numbers | changes))


def preferring(model: LoadSettings | None = None, data: Rows | None = None, **stage: Any) -> Graph:
    """A graph of one DPO stage, called `tuned`, whose model is saved as `small`."""
    nodes: dict[Ref, Node] = {MODEL: model or tiny(), DATA: data or pairs(), STAGE: dpo(**stage)}
    nodes[SAVE] = Save(model=STAGE, key="small", if_exists="overwrite")
    return graph_of(nodes, (SAVE,))

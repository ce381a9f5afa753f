"""How often a tuned model prefers the better answer of a pair: preference accuracy.

    python benchmarks/preference.py digits-sft digits-dpo examples/data/sort_pairs_heldout.jsonl

The two keys name models of the registry: the start of a `dpo` stage, and what came out of it. An answer's
implicit reward is how much likelier the tuned model finds it than the start did, in log-probability; a pair's
margin is that of the better answer minus that of the worse one. Counted are the margins above 0.
"""

# Names of tensors end in their shape: P pairs, B = 2 * P rows, T tokens; a 2 holds the better and the worse
# answer.
# ruff: noqa: N803, N806

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from harmony_compiler.graph.datasets import JsonLines
from harmony_compiler.graph.graph import ONE_DEVICE, Graph
from harmony_compiler.graph.identity import identities
from harmony_compiler.graph.models import RegistryModel
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.files import content_hash
from harmony_compiler.store.home import home
from harmony_compiler.store.registry import entry_at
from harmony_runtime.algorithms.dpo import answer_sums
from harmony_runtime.data.order import micro_batches
from harmony_runtime.data.tokens.pairs import pairs_of
from harmony_runtime.failures import RunFailed
from harmony_runtime.models import weights
from harmony_runtime.models.blueprint import Blueprints
from harmony_runtime.models.scorer import Scorer
from harmony_runtime.processes.context import Context
from harmony_runtime.processes.mesh import Mesh
from harmony_runtime.rooms import Desk
from harmony_runtime.watch import Silent

PAIRS = Ref("pairs")


class Preference(NamedTuple):
    pairs: int
    accuracy: float
    """The share of pairs whose margin is above 0."""
    margin: float
    """The mean margin, in nats."""
    likelier_before: float
    """The share of pairs whose better answer the start finds likelier than the worse one: no reference."""
    likelier_after: float
    """The same of the tuned model."""


def preference(start: str, tuned: str, pairs: Path, registry: Path | None = None) -> Preference:
    """How the model under the key `tuned` prefers, against the one under `start`. The rows of the file
    `pairs` have the columns `prompt`, `chosen` and `rejected`.

    Raises:
        RunFailed: a model or the pairs cannot be read.
    """
    models = registry or home() / "models"
    before_2P, after_2P = (logprobs(key, pairs, models) for key in (start, tuned))
    better_P, worse_P = after_2P - before_2P
    margins_P = better_P - worse_P
    return Preference(
        pairs=len(margins_P),
        accuracy=_share(margins_P > 0),
        margin=margins_P.mean().item(),
        likelier_before=_share(before_2P[0] > before_2P[1]),
        likelier_after=_share(after_2P[0] > after_2P[1]),
    )


@torch.no_grad()
def logprobs(key: str, pairs: Path, registry: Path) -> Tensor:
    """What the model under `key` says of both answers of each pair, of shape 2P: sums over their tokens."""
    if entry_at(registry, key) is None:
        raise RunFailed(f"the registry {registry} has no key `{key}`")
    model = Ref("model")
    data = JsonLines(
        path=str(pairs.absolute()),
        prompt="{{ prompt }}",
        chosen="{{ chosen }}",
        rejected="{{ rejected }}",
        seed=0,
    )
    graph = Graph("preference", 0, {model: RegistryModel(key=key), PAIRS: data}, (), {})
    desk = Desk(
        graph=graph,
        identities=identities(graph, content_hash, registry),
        blueprints=Blueprints(graph, {}, registry),
        cache=registry.parent / "cache",
        watcher=Silent(),
    )
    blueprint = desk.blueprints.of(model)
    rows = pairs_of(desk, PAIRS, blueprint)
    mesh = Mesh(Context(ONE_DEVICE))
    scorer = Scorer(mesh.place(weights.load(blueprint)).eval(), mesh, blueprint.settings.dtype)

    found_2P = torch.zeros(2, len(rows))
    lengths = torch.from_numpy(rows.lengths.copy())
    budget = blueprint.max_batch_tokens(2 * rows.longest, "pair")
    for rows_P in micro_batches(torch.arange(len(rows)), 2 * lengths, budget):
        ids_BT, weights_BT = (tensor.to(mesh.device) for tensor in rows.batch(rows_P))
        found_2P[:, rows_P] = answer_sums(scorer(ids_BT, weights_BT != 0), weights_BT).cpu()
    return found_2P


def _share(true_P: Tensor) -> float:
    return true_P.double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("start", help="key of the model that was tuned")
    parser.add_argument("tuned", help="key of what came out")
    parser.add_argument("pairs", type=Path, help="file with the columns prompt, chosen, rejected")
    given = parser.parse_args()
    try:
        found = preference(given.start, given.tuned, given.pairs)
    except RunFailed as fault:
        sys.exit(str(fault))
    print(f"{found.pairs} pairs: the better answer is preferred in {found.accuracy:.3f} of them")
    print(f"the mean margin is {found.margin:.2f} nats")
    likelier = f"{found.likelier_before:.3f} of them before and {found.likelier_after:.3f} after"
    print(f"without the reference it is the likelier one in {likelier}")


if __name__ == "__main__":
    main()

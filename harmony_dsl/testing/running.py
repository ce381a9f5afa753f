"""Running generated recipes: small ones, for one step, in this process.

A recipe that checks must run: what the runtime would refuse, the checker has to find.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from harmony_compiler.compile import Compilation, compile_recipe
from harmony_compiler.declared.given import Setting
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.graph import ONE_DEVICE, Graph
from harmony_dsl.testing.data import ROWS, write_data
from harmony_dsl.testing.recipes import recipes
from harmony_dsl.testing.tree import Recipe
from harmony_grammar.source import Source

if TYPE_CHECKING:
    from harmony_runtime.preview import View

SMALL: Mapping[str, tuple[float, float]] = {
    "steps": (1, 1),
    "max_num_ppo_steps": (1, 2),
    "value_warmup": (0, 0),  # how many steps `epochs` are, and so whether it is all of them, the rows decide
    "epochs": (0.25, 0.5),
    "hidden_size": (8, 16),
    "layers": (1, 1),
    "heads": (1, 2),
    "mlp_size": (8, 16),
    "context": (256, 256),
    "vocab_size": (103, 110),
    "max_tokens": (1, 4),
    "samples_per_batch": (2, 8),
    "samples_per_mini_batch": (1, 4),
    "completions_per_sample": (2, 4),
    "mini_epochs": (1, 2),
    "samples": (1, 2),
    "limit": (2, 4),  # of one row a weight of 30 % is none
}
"""Numbers with which a stage takes a blink."""

ELSEWHERE = (
    "hf",
    "endpoint",
    "remote",
    "judge",
    "reward_model",
    '"flash_attention_2"',
    '"stop"',
    "trackers",
    "trust_remote_code",
)
"""What needs a network, a server, weights of its own kind, a device, a package or time: a text in `"stop"`
ends the run at the first failed grade."""

ROW_BY_ROW = {"E0553", "E0554"}
"""Whether two conversations go the same way up to their answers is a fact of each row."""

_TINY = """\
model tiny = scratch { hidden_size = 16, layers = 1, heads = 4, kv_heads = 2, context = 2_048 }
save tiny as "sorter"
"""


def small_recipes(
    numbers: Mapping[str, tuple[float, float]] = SMALL, without: Collection[str] = ELSEWHERE
) -> st.SearchStrategy[Recipe]:
    """Recipes that run at once on any machine, over the files of `write_models`."""
    return recipes(without=without, numbers=numbers, launches=(ONE_DEVICE,))


def pair_recipes() -> st.SearchStrategy[Recipe]:
    """Recipes whose stages learn from pairs of answers."""
    without = (*ELSEWHERE, "sft", "grpo", "ppo")
    return recipes(without=without, numbers=SMALL, launches=(ONE_DEVICE,))


def compiled(recipe: Recipe, folder: Path, registry: Path) -> Compilation:
    """A generated recipe as a file of a folder."""
    for name, text in recipe.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    path = folder / "generated.recipe"
    settings = [Setting(name, text) for name, text in recipe.settings]
    source = Source(path.name, recipe.text, path)
    return compile_recipe(source, settings=settings, launch=recipe.launch, registry=registry)


def write_models(folder: Path) -> Path:
    """`write_data`, with real tiny models in place of what stands for them; gives the registry."""
    registry = folder / "home" / "models"
    source = Source("tiny.recipe", _TINY, folder / "tiny.recipe")
    graph = compile_recipe(source, registry=registry).graph
    assert graph is not None
    execute(graph, folder / "first", registry)
    shutil.rmtree(folder / "first")
    for name in ("tiny-model", "tokenizer"):
        shutil.copytree(registry / "sorter", folder / name)
    return write_data(folder)


def execute(graph: Graph, out: Path, registry: Path) -> None:
    """Run a graph, silently.

    Raises:
        harmony_runtime.failures.RunFailed: the run cannot go on; it says why.
    """
    from harmony_runtime.executor import run
    from harmony_runtime.watch import Silent

    run(graph, out, watcher=Silent(), registry=registry)


def first_view(graph: Graph, folder: Path, registry: Path) -> View:
    """All rows that the first stage of a graph reads, as it will see them."""
    from harmony_runtime.preview import readings, views
    from harmony_runtime.quiet import silence_libraries

    silence_libraries()
    stage = next(ref for ref, node in graph.nodes.items() if isinstance(node, Algorithm))
    asked = readings(graph, stage)
    cache = folder / "home" / "cache"
    (view,) = views(graph, asked, registry=registry, cache=cache, first=1, count=len(ROWS))
    return view


def run_once(graph: Graph, folder: Path, registry: Path) -> None:
    """Run a graph and leave no trace: neither a folder nor a saved model. What is a fact of a row alone may
    be refused."""
    from harmony_runtime.failures import RunFailed

    out, before = folder / "out", set(registry.iterdir())
    try:
        execute(graph, out, registry)
    except RunFailed as failure:
        if not {getattr(fault, "code", "") for fault in failure.faults} <= ROW_BY_ROW:
            raise
    finally:
        shutil.rmtree(out, ignore_errors=True)
        for saved in set(registry.iterdir()) - before:
            shutil.rmtree(saved)

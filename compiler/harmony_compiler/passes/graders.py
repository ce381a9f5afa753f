"""Graders alone: the part of a graph that grades, for trying a reward without training."""

from __future__ import annotations

from harmony_compiler.checking.fitting import describe
from harmony_compiler.declared.modules import Checked
from harmony_compiler.findings.graph import UnknownGrader
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.graders import Grader
from harmony_compiler.graph.graph import Graph
from harmony_compiler.lowering import Lowered
from harmony_compiler.naming.names import close_to
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.records import replace
from harmony_grammar.source import Source

ANY_GRADER = "*"
"""Asks for the rewards of the training stages; for all declared graders where no stage has one."""


def graders_only(lowered: Lowered, checked: Checked, wanted: str, recipe: Source) -> Graph | Diagnostic:
    """The graph with a declared grader as its only output, or with those that `ANY_GRADER` means."""
    if wanted == ANY_GRADER:
        nodes = lowered.graph.nodes
        stages = (ref for ref, node in nodes.items() if isinstance(node, Algorithm))
        rewards = [
            part for ref in stages for part in lowered.graph.needs(ref) if isinstance(nodes[part], Grader)
        ]
        outputs = tuple(dict.fromkeys(rewards or lowered.graders.values()))
    else:
        outputs = (lowered.graders[wanted],) if wanted in lowered.graders else ()
    if outputs:
        return replace(lowered.graph, outputs=outputs)
    named = Source("GRADER", wanted).span(0, len(wanted))
    what = f"the recipe declares no grader `{wanted}`"
    if wanted == ANY_GRADER:
        what, named = "the recipe has no grader", Source(recipe.name, "", recipe.path).span(0, 0)
    elif wanted in checked.values:
        what = f"`{wanted}` is {describe(checked.values[wanted])}, not a grader"
    return UnknownGrader(
        span=named,
        what=what,
        known=", ".join(lowered.graders),
        suggestion=close_to(wanted, lowered.graders),
    )

"""Support: say where a recipe asks for what the runtime cannot do yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harmony_compiler.findings.graph import NotSupportedYet
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.support import unsupported
from harmony_compiler.graph.values import Ref
from harmony_compiler.typed import Made
from harmony_grammar.diagnostics import Diagnostic, Label
from harmony_grammar.source import Span


def not_supported_yet(graph: Graph, made: Mapping[Ref, Made]) -> Iterator[Diagnostic]:
    """One finding about everything that cannot run yet: on its first place, with a label at each other."""
    found: dict[tuple[int, str], tuple[Span, str]] = {}
    for part in unsupported(graph):
        item = made[part.ref]
        span = item.given[part.field].span if part.field in item.given else item.head
        found.setdefault((span.start, part.what), (span, part.what))
    places = [found[key] for key in sorted(found)]
    if places:
        (span, what), *others = places
        labels = tuple(Label(place, f"nor is {also}") for place, also in others)
        yield NotSupportedYet(span=span, what=what, labels=labels)

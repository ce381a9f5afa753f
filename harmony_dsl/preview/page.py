"""A preview as one page that needs nothing else: to look at in a browser, to print, to share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from harmony_dsl.preview import words

if TYPE_CHECKING:
    from harmony_compiler.graph.graph import Graph
    from harmony_runtime.models.spelling import Token
    from harmony_runtime.preview import View

_FOLDED = 1_200
"""Tokens of a row beyond which it is folded at first."""


def write_page(path: Path, graph: Graph, views: Sequence[View]) -> None:
    """
    Raises:
        OSError: the page cannot be written.
    """
    path.write_text(page(graph, views), encoding="utf-8", errors="backslashreplace")


def page(graph: Graph, views: Sequence[View]) -> str:
    environment = Environment(
        loader=PackageLoader("harmony_dsl.preview", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(
        graph=graph,
        views=[(f"view-{number}", view, _head(graph, view)) for number, view in enumerate(views, 1)],
        words=words,
        about=_about,
        folded=lambda row: sum(part.length for part in row.parts) > _FOLDED,
    )


def _head(graph: Graph, view: View) -> dict[str, Any]:
    name, *fields = words.dataset_lines(graph, view)
    return {
        "title": words.title(graph, view),
        "dataset": "\n".join([name, *fields]),
        "facts": words.facts(view),
    }


def _about(token: Token) -> str:
    """What hovering over a token tells."""
    if token.id is None:
        return "lost: the tokenizer has no token for this"
    if token.kind == "cut":
        return f"{token.text!r} · id {token.id} · cut: beyond the context"
    counts = f"weight {token.weight:g}" if token.weight else "only read"
    return f"{token.text!r} · id {token.id} · {counts}"

"""Secrets: a recipe knows them by the name of a variable of the environment; their values stay here.

No torch here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.node import schema
from harmony_compiler.graph.values import Secret
from harmony_runtime.failures import RunFailed, place


def value_of(secret: Secret) -> str:
    """What the variable holds.

    Raises:
        RunFailed: it is not set.
    """
    value = os.environ.get(secret.name, "")
    if not value:
        raise RunFailed(_unset(secret))
    return value


def hidden(text: str, *secrets: Secret) -> str:
    """A text without the values of secrets: a server may send back what it was sent."""
    for secret in secrets:
        if value := os.environ.get(secret.name):
            text = text.replace(value, f'env("{secret.name}")')
    return text


def refuse_unset(graph: Graph) -> None:
    """
    Raises:
        RunFailed: a variable that a node of the graph names is not set.
    """
    faults = [
        f"{place(graph, ref)}{_unset(secret)}"
        for ref, node in graph.nodes.items()
        for name in schema(type(node))
        for secret in _secrets(getattr(node, name))
        if not os.environ.get(secret.name)
    ]
    if faults:
        raise RunFailed(*faults)


def _unset(secret: Secret) -> str:
    return f"the environment has no variable `{secret.name}`: set it to the secret, and start again"


def _secrets(value: Any) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, dict):
        for held in value.values():
            yield from _secrets(held)

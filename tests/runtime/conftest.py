"""Offline, and each test with a registry of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before the first import of a library that reads it

import pytest
from runtime_support import Train

from harmony_compiler.graph.graph import Graph
from harmony_runtime.failures import RunFailed
from harmony_runtime.watch import Silent, Summary


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return tmp_path / "home" / "models"


@pytest.fixture
def train(tmp_path: Path, registry: Path) -> Train:
    """Run a graph in the folder `out` of the test's own folder."""
    from harmony_runtime.executor import run

    def call(graph: Graph, out: str = "out", *, watcher: Any = None, **options: Any) -> Summary:
        return run(graph, tmp_path / out, watcher=watcher or Silent(), registry=registry, **options)

    return call


@pytest.fixture
def refused(train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., RunFailed]:
    """Run a graph that must be refused before any weight is made, and must leave no new folder behind."""

    def made(*_: object, **__: object) -> None:
        raise AssertionError("a weight was made")

    def call(graph: Graph, out: str = "out", **options: Any) -> RunFailed:
        was_there = (tmp_path / out).exists()
        with monkeypatch.context() as patch:
            patch.setattr("harmony_runtime.models.weights.load", made)
            with pytest.raises(RunFailed) as caught:
                train(graph, out, **options)
        assert (tmp_path / out).exists() == was_there
        return caught.value

    return call


@pytest.fixture
def folder(train: Train, registry: Path) -> Path:
    """A whole model with an address: a folder of nobody's registry."""
    from runtime_support import MODEL, graph_of, tiny

    from harmony_compiler.graph.outputs import Save
    from harmony_compiler.graph.values import Ref

    start = Ref("start")
    train(graph_of({MODEL: tiny(), start: Save(model=MODEL, key="start")}, (start,)), "made")
    return (registry / "start").rename(registry.parent / "elsewhere")

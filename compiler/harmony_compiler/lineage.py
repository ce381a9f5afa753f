"""Lineage: from a model to those that it was loaded from, and what holds on the way.

A trained model is loaded as the model was that its stage trains, and a copy `warm { tp = 2 }` changes only
what it names. Whoever asks how a model is loaded, or where its weights began, walks here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.models import Reloaded
from harmony_compiler.typed import UNKNOWN_DATA, Made, Value


def lineage(model: Any) -> Iterator[Made]:
    """A model, the one that it comes from, and so on; ends early where one could not be found out."""
    while isinstance(model, Made):
        yield model
        if issubclass(model.cls, Algorithm):
            model = model.values[model.cls.trains]
        else:
            model = model.values["source"] if issubclass(model.cls, Reloaded) else None


def origin(model: Any) -> Made | None:
    """The model in which the weights of `model` began; None where it could not be found out."""
    *_, last = (None, *lineage(model))
    return None if last is None or issubclass(last.cls, Reloaded | Algorithm) else last


def setting(model: Any, name: str) -> Any:
    """What a load setting, or a field of the origin, is for a model; unknown where nobody can say."""
    loaded = (item for item in lineage(model) if not issubclass(item.cls, Algorithm))
    return next((item.values[name] for item in loaded if name in item.values), UNKNOWN_DATA)


def adapter(model: Any) -> Any:
    """The adapter that a model carries: its settings, none, or `"kept"` for one that its files may bring."""
    loaded = (item for item in lineage(model) if not issubclass(item.cls, Algorithm))
    said = (item.values.get("adapter", "kept") for item in loaded)
    return next((adapter for adapter in said if adapter != "kept"), "kept")


def written(model: Any, name: str) -> Value | None:
    """What the recipe wrote that `setting` gives; None where it is a default."""
    loaded = (item for item in lineage(model) if not issubclass(item.cls, Algorithm))
    return next((item.given[name] for item in loaded if name in item.given), None)

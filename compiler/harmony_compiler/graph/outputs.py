"""Output nodes: what a run leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from harmony_compiler.graph.models import ModelRef
from harmony_compiler.graph.node import Node, field
from harmony_compiler.graph.types import SAVED, Type


class Save(Node):
    """Put a model into the registry; recipes write `save MODEL as KEY { }`."""

    constructor = "save"

    model: ModelRef = field(doc="the model to save")
    key: str = field(doc="key in the registry: letters, digits, `.`, `_` and `-`", examples=('"tuned"',))
    if_exists: Literal["error", "rename", "overwrite"] = field(
        "error", doc="what happens when the key holds another model; `rename` appends a number"
    )

    merge: bool = field(False, doc="write merged weights, where the model carries an adapter")

    @classmethod
    def result(cls, given: Mapping[str, Any]) -> Type:
        return SAVED

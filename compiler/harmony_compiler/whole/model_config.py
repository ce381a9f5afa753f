"""Model configurations: what the recipe says of a new model, and the `config.json` in a folder of another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harmony_compiler.files import Files
from harmony_compiler.graph.models import LocalModel, ScratchModel
from harmony_compiler.typed import Made

LARGEST_CONFIG = 1024 * 1024
"""How much of a model's `config.json` is read, in bytes."""


def config_of(folder: str, files: Files) -> tuple[dict[str, Any], ...]:
    """The configuration of the model in a folder, and that of its text part; nothing where it has none."""
    try:
        read: Any = json.loads(files.head(Path(folder) / "config.json", LARGEST_CONFIG))
    except (OSError, ValueError, RecursionError):
        return ()  # what is wrong with the folder, the run says
    parts = (read, read.get("text_config")) if isinstance(read, dict) else ()
    return tuple(part for part in parts if isinstance(part, dict))


def stated(config: tuple[dict[str, Any], ...], *names: str) -> int | None:
    """The first number that a configuration states under one of some names."""
    for part in config:
        for name in names:
            if isinstance(part.get(name), int):
                return int(part[name])
    return None


def context_of(source: Made, files: Files) -> int | None:
    """The longest sequence that a model takes, by where its weights began; None where nobody can say."""
    if issubclass(source.cls, ScratchModel):
        context = source.values["context"]
        return context if isinstance(context, int) else None
    if issubclass(source.cls, LocalModel) and isinstance(source.values["path"], str):
        return stated(config_of(source.values["path"], files), "max_position_embeddings", "n_positions")
    return None

"""Model configurations: what the `config.json` in a model's folder states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harmony_compiler.files import Files

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

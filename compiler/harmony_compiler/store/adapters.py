"""Adapters on the disk, as peft writes them: a folder beside weights that stand elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

OWN_BASE = "base"
"""The folder beside an adapter in which its base stands, where that has no address of its own."""

LARGEST = 1024 * 1024
"""A configuration beyond this size, in bytes, is some other file."""


def base_elsewhere(folder: str) -> str | None:
    """The folder of an adapter's base, where that is another one than the adapter's own.

    What is in it decides what the adapter means. A repository of the hub is pinned by its commit.
    """
    config = Path(folder, CONFIG)
    try:
        if Path(folder, OWN_BASE).is_dir() or config.stat().st_size > LARGEST:
            return None
        data: Any = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None  # whoever loads it will say so
    base = data.get("base_model_name_or_path") if isinstance(data, dict) else None
    return base if isinstance(base, str) and Path(base).is_absolute() and Path(base).is_dir() else None

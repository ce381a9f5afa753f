"""Where Harmony keeps things between runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def home() -> Path:
    """`$HARMONY_HOME`, else a folder in the user's data directory."""
    if given := os.environ.get("HARMONY_HOME"):
        return Path(given).expanduser().absolute()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return base / "harmony"

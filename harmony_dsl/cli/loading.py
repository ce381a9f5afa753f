"""Loading torch and its family, sooner than Python does by itself."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def for_good() -> Iterator[None]:
    """Around imports. What they make stays to the end: looking through it for garbage again and again would
    be a good part of their time, and of every later collection's."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()

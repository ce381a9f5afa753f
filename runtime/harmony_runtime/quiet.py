"""Libraries that would speak for themselves: progress and warnings reach people through the watcher only."""

from __future__ import annotations

import datasets
import transformers


def silence_libraries() -> None:
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()

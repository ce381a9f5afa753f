"""Libraries that would speak for themselves: progress and warnings reach people through the watcher only."""

from __future__ import annotations

import transformers


def silence_libraries() -> None:
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def silence_datasets() -> None:
    """For who reads with it: it takes half a second to load."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()

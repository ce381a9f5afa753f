"""The examples of the reference: whole recipes in `examples/`, which check beside the data that lies there.

Every name of the language is shown in one of them. What several examples need is written once, and what
belongs together is shown together: `schedules.recipe` has all three schedules.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent / "examples"

SHOWS: Mapping[str, str] = {
    "sft": "sft model train recipe save",
    "dpo": "dpo",
    "grpo": "grpo sampling grader",
    "ppo": "ppo",
    "compare": "compare evaluate",
    "hf": "hf",
    "local": "local",
    "registry": "registry",
    "scratch": "scratch",
    "endpoint": "endpoint env",
    "jsonl": "jsonl dataset",
    "files": "csv json parquet",
    "rows": "rows",
    "mix": "mix",
    "text": "equals contains matches one_of length",
    "json_valid": "json_valid",
    "math_equals": "math_equals",
    "code_passes": "code_passes",
    "instructions": "instructions",
    "judge": "judge",
    "reward_model": "reward_model",
    "remote": "remote",
    "python": "python",
    "lora": "lora",
    "columns": "column columns",
    "schedules": "cosine linear constant adamw",
    "validation": "validation checkpoint early_stop",
    "import": "import let",
    "inputs": "input bool int float percent str none Path Template Model",
    "types": "duration list Regex Secret Endpoint Dataset Prompt Thread Preference Table Grader "
    "Adapter Schedule Optimizer Sampling Validation Checkpoint EarlyStop",
    "launch": "ctx",
    "formulas": "completion prompt turns metadata",
    "text_functions": "words chars lines functions/contains starts_with ends_with functions/matches "
    "lower strip agreement len",
    "number_functions": "number abs round sqrt exp log",
    "scores": "min max mean clamp",
}
"""By example, the names that it shows; `GROUP/NAME` where another group has the same name."""

_SHOWN = {name: example for example, names in SHOWS.items() for name in names.split()}


def example_of(group: str, name: str) -> str:
    """The example that shows a name of a group; empty where none does."""
    return _SHOWN.get(f"{group}/{name}") or _SHOWN.get(name, "")


def text_of(example: str) -> str:
    return (FOLDER / f"{example}.recipe").read_text(encoding="utf-8")

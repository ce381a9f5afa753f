"""Record what TRL computes: `python tests/parity/record.py start|sft|dpo|grpo|ppo …`, `start` first.

Runs in an environment with `trl==1.16.0` (for `ppo`, `trl==1.12.0`, the last one that has it) and this
project's other requirements. What it writes into `recorded/` is all that the tests read: they need no TRL.

Only the tokenizer is shared with this project. Losses come from TRL's own trainers, asked for an update.
"""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
sys.path += [str(HERE.parents[1] / storey) for storey in ("runtime", "compiler")]

WHAT = ("start", "sft", "dpo", "grpo", "ppo")


def main(wanted: list[str]) -> None:
    if not wanted or set(wanted) - set(WHAT):
        sys.exit(f"say what to record: {' '.join(WHAT)}")
    with tempfile.TemporaryDirectory(prefix="parity-") as scratch:
        tempfile.tempdir = scratch
        for name in wanted:
            import_module(f"recording.{name}").record()


if __name__ == "__main__":
    main(sys.argv[1:])

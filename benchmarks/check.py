"""How long `harmonyc check` takes, as a person waits for it: the whole process, against an empty Python.

    python benchmarks/check.py

Both are started in turn, so that a busy machine slows both alike; the ratio of the medians is what counts.
Exits with 1 where it is above the contract.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

CONTRACT = 15.0
"""`check` may take this many times as long as an empty Python process."""

PAIRS, WARM_UP = 21, 3

ROOT = Path(__file__).parent.parent
NOTHING = (sys.executable, "-c", "pass")
CHECK = (
    str(Path(sys.executable).with_name("harmonyc")),
    "check",
    str(ROOT / "examples" / "quickstart.recipe"),
)


# As installed: Python keeps compiled modules beside their source, unless this variable forbids it.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def seconds(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    return time.perf_counter() - start


def main() -> int:
    pairs = [(seconds(NOTHING), seconds(CHECK)) for _ in range(WARM_UP + PAIRS)][WARM_UP:]
    nothing, check = (median(column) for column in zip(*pairs, strict=True))
    ratio = check / nothing
    print(f"python -c pass   {nothing * 1000:6.1f} ms, median of {PAIRS}")
    print(f"harmonyc check   {check * 1000:6.1f} ms, median of {PAIRS}")
    print(f"ratio            {ratio:6.1f}, at most {CONTRACT:g}")
    return int(ratio > CONTRACT)


if __name__ == "__main__":
    sys.exit(main())

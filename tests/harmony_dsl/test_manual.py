"""The recipes of the language's manual, where it is at hand: each checks clean beside the data it names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from dsl_support import ROOT, Harmonyc

MANUAL = ROOT.parent / "shared" / "design" / "LANGUAGE.md"
BLOCKS = (
    re.findall(r"^```recipe\n(.*?)^```", MANUAL.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    if MANUAL.exists()
    else []
)


@pytest.mark.skipif(not MANUAL.exists(), reason="the manual is not at hand")
@pytest.mark.parametrize("number", range(len(BLOCKS)))
@pytest.mark.parametrize("command", ["check", "plan"])
def test_a_recipe_of_the_manual_checks_clean(command: str, number: int, harmonyc: Harmonyc) -> None:
    Path("data").mkdir()
    rows = [{"question": f"What is {n} + {n}?", "answer": f"Twice {n}.\n#### {2 * n}"} for n in range(100)]
    Path("data/gsm8k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("manual.recipe").write_text(BLOCKS[number], encoding="utf-8")
    told = harmonyc(command, "manual.recipe")
    assert told.code == 0
    assert "error" not in told.out + told.err
    assert "warning" not in told.out + told.err

"""`check`, `compile`, `explain` and `plan` answer at once: they load nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from dsl_support import Write

HEAVY = (
    *("torch", "transformers", "datasets", "accelerate", "tokenizers", "safetensors", "peft", "numpy"),
    *("pyarrow", "pandas", "rich", "yaml", "harmony_runtime"),
)

PROBE = """
import sys
from harmony_dsl.cli.main import main
code = main(sys.argv[2:])
loaded = [name for name in sys.argv[1].split(",") if name in sys.modules]
print("loaded:", *loaded, file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("command", ["check", "compile", "inputs", "plan"])
def test_nothing_heavy_is_loaded(command: str, write: Write) -> None:
    recipe = write()
    probe = subprocess.run(
        [sys.executable, "-c", PROBE, ",".join(HEAVY), command, str(recipe)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert probe.returncode == 0, probe.stderr
    assert probe.stderr.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize("words", [("list",), ("show", "a"), ("rm", "a")], ids=" ".join)
def test_looking_at_models_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    probe = subprocess.run(
        [sys.executable, "-c", PROBE, ",".join(HEAVY), "models", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert probe.returncode == (0 if words == ("list",) else 1), probe.stderr
    assert probe.stderr.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize("words", [("list",), ("add", "a", "rows.csv"), ("rm", "a")], ids=" ".join)
def test_the_registry_of_datasets_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    Path("rows.csv").write_text("question\n1+1\n", encoding="utf-8")
    probe = subprocess.run(
        [sys.executable, "-c", PROBE, ",".join(HEAVY), "datasets", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert probe.returncode == (1 if words == ("rm", "a") else 0), probe.stderr
    assert probe.stderr.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize("action", ["list", "clear"])
def test_looking_at_the_cache_loads_nothing_heavy(action: str) -> None:
    heavy = ",".join((*HEAVY, "filelock"))
    probe = subprocess.run(
        [sys.executable, "-c", PROBE, heavy, "cache", action], capture_output=True, text=True, check=False
    )
    assert probe.returncode == 0, probe.stderr
    assert probe.stderr.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize("words", [(), ("E0502",), ("grpo",), ("grop",)], ids=" ".join)
def test_explaining_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    heavy = ",".join((*HEAVY, "jinja2", "urllib.request", "yaml"))
    probe = subprocess.run(
        [sys.executable, "-c", PROBE, heavy, "explain", *words], capture_output=True, text=True, check=False
    )
    assert probe.returncode == (2 if words == ("grop",) else 0), probe.stderr
    assert probe.stderr.splitlines()[-1] == "loaded:"


def test_importing_the_package_loads_nothing_else() -> None:
    probe = "import sys, harmony_dsl; print([m for m in sys.modules if m.startswith(('harmony_', 'lark'))])"
    told = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "['harmony_dsl']"


RUN = """
recipe small { seed = 1 }
dataset sums = rows([{ q = "1+1", a = "2", b = "3" }, { q = "1+2", a = "3", b = "4" }]) {
  prompt = "{{ q }}", %s
}
model newborn = scratch { architecture = "qwen3", hidden_size = 8, layers = 1, heads = 1, context = 16 }
grader right = agreement(completion, metadata.a)
train taught = %s
"""

STAGES = {
    "sft": ('completion = "{{ a }}"', "sft { model = newborn, dataset = sums, steps = 1 }"),
    "dpo": ('chosen = "{{ a }}", rejected = "{{ b }}"', "dpo { model = newborn, dataset = sums, steps = 1 }"),
    "grpo": (
        'metadata = { a = "{{ a }}" }',
        "grpo { model = newborn, dataset = sums, grader = right, steps = 1, sampling { max_tokens = 4 } }",
    ),
}


@pytest.mark.parametrize("algorithm", STAGES)
def test_a_run_loads_what_it_uses(algorithm: str) -> None:
    """Rows of its own need no table library, and weights without an adapter no library of adapters."""
    columns, stage = STAGES[algorithm]
    text = RUN % (columns, stage)
    if algorithm != "grpo":
        text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("grader"))
    Path("small.recipe").write_text(f'{text}save taught as "small"\n', encoding="utf-8")
    probe = subprocess.run(
        [sys.executable, "-c", PROBE, "pandas,peft,datasets,torch", "run", "small.recipe"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert probe.returncode == 0, probe.stderr
    assert probe.stderr.splitlines()[-1] == "loaded: torch"

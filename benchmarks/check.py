"""How long a check and a plan take: as a person waits for them, as an editor does, and of very long recipes.

    python benchmarks/check.py

A whole process is measured against an empty Python, both started in turn, so that a busy machine slows both
alike; a check inside a process against reading the same text. The ratio of the medians is what counts. Exits
with 1 where one is above its contract.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from harmony_compiler.compile import compile_recipe
from harmony_compiler.files import Disk
from harmony_grammar.parser import parse_file
from harmony_grammar.source import Source

CONTRACT = 8.0
"""`check` may take this many times as long as an empty Python process."""
PLAN = 2.0
"""`plan` of a model of 8 billion parameters may take this many times as long as `check` of its recipe."""
AGAIN = 3.0
"""Checking a text again, its data unchanged, may take this many times as long as reading it."""
GROWTH = 1.5
"""A line of a recipe of 10,000 lines may cost this many times as much as one of 1,000."""

PAIRS, WARM_UP = 21, 3

ROOT = Path(__file__).parent.parent
NOTHING = (sys.executable, "-c", "pass")
HARMONYC = str(Path(sys.executable).with_name("harmonyc"))

LARGE = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}
"""The configuration of a model of 8 billion parameters: all that a plan reads of it."""

# As installed: Python keeps compiled modules beside their source, unless this variable forbids it.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

COURSE = """\
## Course {n}: imitate, then reinforce.
model start_{n} = scratch {{
  hidden_size = 32
  layers = 1
  heads = 4
  context = 1024
  seed = {n}
}}
dataset asked_{n} = jsonl("problems.jsonl") {{
  split = "train[:80%]"
  prompt = "{{{{ question | trim }}}}"
  metadata = {{ answer = "{{{{ answer.split('####')[-1] | trim }}}}" }}
}}
dataset told_{n} = asked_{n} {{ completion = "{{{{ answer }}}}" }}
grader exact_{n} = equals {{ expected = "{{{{ metadata.answer | lower }}}}" }}
grader brief_{n} = clamp(1 - words(completion) / {n}00, 0, 1)
train taught_{n} = sft {{
  model = start_{n}
  dataset = told_{n}
  samples_per_batch = 32
  max_grad_norm = 1.0
  epochs = 1
}}
train tuned_{n} = grpo {{
  model = taught_{n}
  dataset = asked_{n}
  grader = 0.9 * exact_{n} + 0.1 * brief_{n}
  completions_per_sample = 4
  samples_per_batch = 64
  samples_per_mini_batch = 32
  sampling {{ max_tokens = 64, temperature = 0.9 }}
  schedule = linear {{ warmup = 5% }}
  steps = 100
}}
save tuned_{n} as "tuned-{n}"
"""
"""Thirty-odd lines; their templates use filters of Jinja."""


def courses(lines: int) -> str:
    return "".join(COURSE.format(n=n) for n in range(1, lines // COURSE.count("\n") + 2))


def write_problems(folder: Path) -> None:
    rows = ({"question": f"What is {n} + {n}?", "answer": f"Twice {n}. #### {2 * n}"} for n in range(1000))
    path = folder / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.utime(path, (0, 0))  # what was changed a moment ago is read again, since it may change once more


def seconds(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    return time.perf_counter() - start


def taken(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratio(name: str, base: Callable[[], float], whole: Callable[[], float], pairs: int = PAIRS) -> float:
    """The ratio of two medians, measured in turn, and a line about it."""
    measured = [(base(), whole()) for _ in range(WARM_UP + pairs)][WARM_UP:]
    low, high = (median(column) for column in zip(*measured, strict=True))
    print(f"{name:44} {low * 1000:8.1f} ms {high * 1000:8.1f} ms {high / low:8.1f}", end="")
    return high / low


def held(found: float, most: float) -> bool:
    print(f"   at most {most:g}{'' if found <= most else '   TOO SLOW'}")
    return found <= most


def whole_process(name: str, recipe: Path) -> bool:
    command = (HARMONYC, "check", str(recipe))
    return held(ratio(name, lambda: seconds(NOTHING), lambda: seconds(command)), CONTRACT)


def planned(folder: Path) -> bool:
    """A check and a plan of the same recipe, whose models are large."""
    (folder / "large").mkdir()
    (folder / "large" / "config.json").write_text(json.dumps(LARGE))
    text = re.sub(r"scratch \{[^}]*\}", 'local("large") { dtype = "auto" }', courses(75))
    recipe = folder / "large.recipe"
    recipe.write_text(text)
    check, plan = ((HARMONYC, command, str(recipe)) for command in ("check", "plan"))
    found = ratio("check; plan of 8 billion parameters", lambda: seconds(check), lambda: seconds(plan))
    return held(found, PLAN)


def checked_again(recipe: Path) -> bool:
    source, files = Source(str(recipe), recipe.read_text(), recipe), Disk()
    assert compile_recipe(source, files=files).graph is not None
    found = ratio(
        "100 lines: read; checked again",
        lambda: taken(lambda: parse_file(source)),
        lambda: taken(lambda: compile_recipe(source, files=files)),
    )
    return held(found, AGAIN)


def long_recipes(folder: Path) -> bool:
    """The cost of a line in a long and in a very long recipe."""
    files = Disk()
    texts = [courses(lines) for lines in (1_000, 10_000)]
    sources = [Source(f"{n}.recipe", text, folder / f"{n}.recipe") for n, text in enumerate(texts)]
    per_line = [
        lambda source=source, text=text: (
            taken(lambda: compile_recipe(source, files=files)) / text.count("\n") * 1000
        )
        for source, text in zip(sources, texts, strict=True)
    ]
    found = ratio("1,000 lines of 1,000; of 10,000", per_line[0], per_line[1], pairs=2)
    return held(found, GROWTH)


def main() -> int:
    print(f"{'':44} {'base':>11} {'whole':>11} {'ratio':>8}   medians of {PAIRS}")
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_problems(folder)
        filters = folder / "filters.recipe"
        filters.write_text(courses(75))
        good = [
            whole_process("python -c pass; check examples/quickstart", ROOT / "examples/quickstart.recipe"),
            whole_process("python -c pass; check 100 lines with filters", filters),
            planned(folder),
            checked_again(filters),
            long_recipes(folder),
        ]
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())

"""The memory plan against reality: what stages of all four algorithms hold, planned and measured.

    python benchmarks/memory.py [sft dpo grpo ppo]

Each runs in a process of its own, with one thread, at about 1 and at about 33 million parameters. On a
processor, measured is how far the resident memory rises above what it was just before the first weights were
made: libraries, recipe, data and tokenizer are there by then, and a stage of the same kind with a tiny model
has run before, so that whatever is made with first use is there as well. On a GPU, where there is one, it is
what torch has allocated there at most, above what it had at that moment. Fails where a peak is more than a
fifth off the plan, or on a GPU more than 15 %.

The processes tell glibc to give every block above 64 KiB back as soon as it is freed. Left alone it keeps
freed blocks in the hope of using them again, and resident memory measures its guesses: at 1 million
parameters `sft`, `dpo` and `ppo` then take 1.5 to 1.7 times what the plan says. See `mallopt(3)`; a run may
be started in the same way. Rows are about as long as the context, and share little with one another, since
that is what a plan assumes; prompts of a group are read once, which it knows.
"""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from ctypes import CDLL
from pathlib import Path
from typing import Any, NamedTuple

from harmony_compiler.compile import compile_recipe
from harmony_compiler.files import DISK, read_source
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.graph import Graph
from harmony_compiler.plan.activations import Device
from harmony_compiler.plan.memory import Memory, memory_of, told_bytes

WITHIN = {"cpu": 0.2, "gpu": 0.15}
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
CONTEXT = 512


class Size(NamedTuple):
    hidden: int
    layers: int
    mlp: int
    heads: int


SIZES = {"1 M": Size(128, 4, 512, 4), "33 M": Size(512, 8, 2048, 8)}
TINY = Size(32, 1, 64, 2)

SHORT, LONG = 64, 444
"""Characters of what follows a prompt, and of a prompt; of pairs, which have the prompt in common, the other
way round."""

MODEL = """
model start = scratch {{
  architecture = "qwen3"
  hidden_size = {size.hidden}
  layers = {size.layers}
  heads = {size.heads}
  mlp_size = {size.mlp}
  context = {context}
}}
"""
STAGES = {
    "sft": """
dataset texts = jsonl("rows.jsonl") {{ prompt = "{{{{ prompt }}}}", completion = "{{{{ better }}}}" }}
model trained = sft {{ model = start, dataset = texts, steps = 2, samples_per_batch = 16 }}
""",
    "dpo": """
dataset texts = jsonl("rows.jsonl") {{
  prompt = "{{{{ prompt }}}}"
  chosen = "{{{{ better }}}}"
  rejected = "{{{{ worse }}}}"
}}
model trained = dpo {{ model = start, dataset = texts, steps = 2, samples_per_batch = 8 }}
""",
    "grpo": """
dataset texts = jsonl("rows.jsonl") {{ prompt = "{{{{ prompt }}}}" }}
grader letters = matches(r"[a-z]{{8}}")
model trained = grpo {{
  model = start
  dataset = texts
  grader = letters
  steps = 2
  completions_per_sample = 4
  samples_per_batch = 32
  samples_per_mini_batch = 16
  sampling {{ max_tokens = {answer} }}
}}
""",
    "ppo": """
dataset texts = jsonl("rows.jsonl") {{ prompt = "{{{{ prompt }}}}" }}
grader letters = matches(r"[a-z]{{8}}")
model trained = ppo {{
  policy_model = start
  dataset = texts
  grader = letters
  max_num_ppo_steps = 3
  value_warmup = 1
  samples_per_batch = 16
  samples_per_mini_batch = 16
  sampling {{ max_tokens = {answer} }}
}}
""",
}


def recipe(algorithm: str, size: Size, folder: Path) -> Path:
    """A recipe with rows as long as the context lets them be."""
    draw = random.Random(0)

    def text(length: int) -> str:
        return "".join(draw.choices("abcdefghijklmnopqrstuvwxyz ", k=length)).replace(" ", "_")

    prompt, answer = (SHORT, LONG) if algorithm == "dpo" else (LONG, SHORT)
    rows = [{"prompt": text(prompt), "better": text(answer), "worse": text(answer)} for _ in range(64)]
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    text_of = f"recipe measured {{{{ seed = 1 }}}}\n{MODEL}{STAGES[algorithm]}"
    place = folder / f"{size.hidden}.recipe"
    place.write_text(text_of.format(size=size, context=CONTEXT, answer=SHORT))
    return place


def compiled(place: Path) -> Graph:
    source = read_source(str(place))
    found = compile_recipe(source)  # type: ignore[arg-type]  # it was written a moment ago
    if found.graph is None:
        sys.exit("\n".join(finding.words.message for finding in found.diagnostics))
    return found.graph


def planned(graph: Graph, device: Device) -> Memory:
    (ref,) = (ref for ref, node in graph.nodes.items() if isinstance(node, Algorithm))
    # The built-in tokenizer: one token a character, `<bos>`, and a mark of each turn; `<eos>` ends an answer.
    draws = hasattr(graph.nodes[ref], "sampling")
    longest = LONG + 3 + (0 if draws else SHORT + 1)
    found = memory_of(graph, ref, DISK, longest=longest, device=device)
    if isinstance(found, str):
        sys.exit(found)
    return found


# --- in a process of its own ----------------------------------------------------------------------------


class Resident:
    """The memory of this process, from the moment before the first weights are made."""

    device = "cpu"

    def __init__(self) -> None:
        self.before = 0

    def begin(self) -> None:
        if not self.before:
            gc.collect()
            CDLL("libc.so.6").malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")  # the highest is what is there now
            self.before = status("VmRSS")

    def rise(self) -> int:
        return status("VmHWM") - self.before


class Allocated(Resident):
    """The same of a GPU."""

    device = "gpu"

    def begin(self) -> None:
        import torch

        if not self.before:
            gc.collect()
            torch.cuda.reset_peak_memory_stats()
            self.before = max(1, torch.cuda.memory_allocated())

    def rise(self) -> int:
        import torch

        return torch.cuda.max_memory_allocated() - self.before


def status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise AssertionError(name)


def measure(algorithm: str, size: str) -> str:
    """Runs one stage in this process; gives the device, and the bytes by which its memory rose."""
    import torch

    import harmony_dsl
    from harmony_runtime.models import weights
    from harmony_runtime.watch import Silent

    watch = Allocated() if torch.cuda.is_available() else Resident()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HARMONY_HOME"] = str(folder / "home")
        first, second = (compiled(recipe(algorithm, each, folder)) for each in (TINY, SIZES[size]))
        harmony_dsl.run(first, folder / "first", watcher=Silent())
        load = weights.load

        def watched(blueprint: Any) -> Any:
            watch.begin()
            return load(blueprint)

        weights.load = watched
        harmony_dsl.run(second, folder / "second", watcher=Silent())
    return f"{watch.device} {watch.rise()}"


def measured(algorithm: str, size: str) -> tuple[Device, int]:
    done = subprocess.run(
        [sys.executable, __file__, "--measure", algorithm, size],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | ALLOCATOR,
    )
    if done.returncode:
        sys.exit(done.stderr or done.stdout)
    *_, device, rise = done.stdout.split()
    return "gpu" if device == "gpu" else "cpu", int(rise)


def compared(algorithm: str, size: str) -> list[str]:
    """Prints plan and measurement of one stage; gives what is too far off."""
    device, rose = measured(algorithm, size)
    with tempfile.TemporaryDirectory() as folder:
        memory = planned(compiled(recipe(algorithm, SIZES[size], Path(folder))), device)
    ratio = rose / memory.total
    print(
        f"{algorithm} at {size} ({memory.parameters:,} parameters, {device}): planned "
        f"{told_bytes(memory.total)}, measured {told_bytes(rose)}: {ratio:.2f}"
    )
    for term in memory.terms:
        print(f"    {term.name:36} {told_bytes(term.bytes):>10}  {term.phase}", flush=True)
    return [] if abs(ratio - 1) <= WITHIN[device] else [f"{algorithm} at {size}: {ratio:.2f} of the plan"]


def main(asked: Sequence[str]) -> int:
    if asked[:1] == ["--measure"]:
        print(measure(*asked[1:]))
        return 0
    if unknown := set(asked) - STAGES.keys():
        sys.exit(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(STAGES)}")
    faults = [fault for algorithm in asked or STAGES for size in SIZES for fault in compared(algorithm, size)]
    for fault in faults:
        print(fault)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

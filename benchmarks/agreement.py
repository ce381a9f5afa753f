"""How far the ways of doing the same updates lie apart: micro-batches, processes, weights in parts.

    python benchmarks/agreement.py

Each algorithm takes 5 steps of 32 samples, in 1, 2, 4 and 8 micro-batches, in one process, in two with a copy
of the model each, in two that hold one copy (`tp = 2`), and in two with `--shard`. The table shows how far
the weights end, ‖Δ‖, from those of one process with one micro-batch, by the way ‖w − w₀‖ that those have
come: 1 would be another model, 1e-7 is rounding. Where completions are drawn, it says whether all are the
same. Exits with 1 where something is above its contract.
"""

from __future__ import annotations

import json
import math
import os
import random
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

CONTRACT = 1e-3
MICRO_BATCHES = (1, 2, 4, 8)
SAMPLES = 32

WAYS = {
    "1 process": (1, False, 1),
    "2 processes": (2, False, 1),
    "tp = 2": (2, False, 2),
    "--shard": (2, True, 1),
}
"""Processes, whether with `--shard`, and `tp`."""

MODEL = """
model start = scratch {{
  hidden_size = 32, layers = 2, heads = 4, kv_heads = 2, context = 48
  max_batch_tokens = {tokens}, tp = {tp}
}}
dataset digits = jsonl("rows.jsonl") {{ prompt = "{{{{ question }}}}", {columns} }}
train end = {stage}
save end as "end"
"""
COMPLETION = 'completion = "{{ answer }}"'
PAIR = 'chosen = "{{ answer }}", rejected = "{{ wrong }}"'
METADATA = 'metadata = { answer = "{{ answer }}" }'
PRACTICE = """  grader = agreement(completion, metadata.answer) - 0.01 * chars(completion), kl_beta = 0.02
  samples_per_batch = 32, samples_per_mini_batch = 32, sampling { max_tokens = 12 }
"""
ALGORITHMS = {
    "sft": (
        1,
        COMPLETION,
        "sft { model = start, dataset = digits, lr = 1e-3, samples_per_batch = 32, steps = 5 }",
    ),
    "dpo": (2, PAIR, "dpo { model = start, dataset = digits, lr = 1e-3, samples_per_batch = 32, steps = 5 }"),
    "grpo": (
        1,
        METADATA,
        "grpo {\n  model = start, dataset = digits, completions_per_sample = 4, lr = 1e-3, steps = 5\n"
        f"{PRACTICE}}}",
    ),
    "ppo": (
        1,
        METADATA,
        "ppo {\n  policy_model = start, dataset = digits, lr_policy = 1e-3, lr_value = 1e-3\n"
        f"  value_warmup = 0, max_num_ppo_steps = 5\n{PRACTICE}}}",
    ),
}
"""Rows that belong together, the columns, and the stage."""

LONGEST = {"sft": 16, "dpo": 16, "grpo": 21, "ppo": 21}
"""Tokens of a row, by the tokenizer `chars`."""


def main() -> int:
    with TemporaryDirectory() as folder:
        place = Path(folder)
        _write_rows(place / "rows.jsonl")
        worst = 0.0
        print(f"{'':5} {'':12}" + "".join(f"{f'{n} micro':>11}" for n in MICRO_BATCHES) + "   drawn")
        for way in WAYS:
            _work(place, way)
        for algorithm in ALGORITHMS:
            for way in WAYS:
                apart = [_apart(place, algorithm, way, n) for n in MICRO_BATCHES]
                worst = max(worst, *apart)
                cells = "".join(f"{distance:11.1e}" for distance in apart)
                print(f"{algorithm:5} {way:12}{cells}   {_drawn(place, algorithm, way)}")
    verdict = "within" if worst <= CONTRACT else "ABOVE"
    print(f"largest {worst:.1e}: {verdict} the contract of {CONTRACT:g}")
    return int(worst > CONTRACT)


def _write_rows(path: Path) -> None:
    """Rows of one length: so many micro-batches are so many."""
    chance = random.Random(7)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(96):
            digits = [chance.choice("0123456789") for _ in range(6)]
            row = {"question": "".join(digits), "answer": "".join(sorted(digits)), "wrong": "".join(digits)}
            file.write(json.dumps(row) + "\n")


def _job(algorithm: str, way: str, micro_batches: int) -> str:
    return f"{algorithm}-{list(WAYS).index(way)}-{micro_batches}"


def _work(place: Path, way: str) -> None:
    """Do all that is done in one way, in processes that meet once."""
    import harmony_dsl

    processes, shard, tp = WAYS[way]
    jobs = place / f"way {list(WAYS).index(way)}"
    jobs.mkdir()
    for algorithm, (together, columns, stage) in ALGORITHMS.items():
        for micro_batches in MICRO_BATCHES:
            tokens = SAMPLES * together * LONGEST[algorithm] // micro_batches
            text = MODEL.format(tokens=tokens, tp=tp, columns=columns, stage=stage)
            recipe = place / f"{_job(algorithm, way, micro_batches)}.recipe"
            recipe.write_text(text, encoding="utf-8")
            compilation = harmony_dsl.compile(recipe, launch=harmony_dsl.Launch(processes, 1, shard))
            if compilation.graph is None:
                raise SystemExit("\n".join(map(str, compilation.diagnostics)))
            (jobs / f"{recipe.stem}.json").write_text(
                json.dumps(compilation.graph.to_json()), encoding="utf-8"
            )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    if processes > 1:
        environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
        environ |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    command = [sys.executable, __file__, str(jobs), str(place)]
    ranks = [{"RANK": str(n), "LOCAL_RANK": str(n)} if processes > 1 else {} for n in range(processes)]
    workers = [subprocess.Popen(command, env=environ | rank) for rank in ranks]
    if any(code != 0 for code in map(subprocess.Popen.wait, workers)):
        raise SystemExit(f"{way}: a process failed")


def _run_all(jobs: Path, place: Path) -> None:
    """In a worker: every graph of a folder."""
    import torch

    from harmony_compiler.graph.graph import Graph
    from harmony_runtime.algorithms.gradients import Gradients
    from harmony_runtime.executor import run
    from harmony_runtime.processes.context import Context
    from harmony_runtime.watch import Silent

    most = [0]
    over = Gradients.over

    def counted(self: Gradients, parts: Sequence[Any]) -> Any:
        most[0] = max(most[0], len(parts))
        return over(self, parts)

    Gradients.over = counted  # type: ignore[method-assign]
    Context.leave = lambda _: None  # type: ignore[method-assign]  # the next run needs the others, too
    for path in sorted(jobs.glob("*.json")):
        graph = Graph.from_json(json.loads(path.read_text(encoding="utf-8")))
        most[0] = 0
        run(graph, place / path.stem, watcher=Silent(), registry=place / f"{path.stem} home" / "models")
        asked = int(path.stem.rpartition("-")[2])
        copies = graph.launch.world_size // _tp(graph)
        if most[0] != max(1, asked // copies):
            print(f"{path.stem}: {most[0]} micro-batches a copy", file=sys.stderr)
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _tp(graph: Any) -> int:
    return next(node.tp for node in graph.nodes.values() if hasattr(node, "tp"))


def _apart(place: Path, algorithm: str, way: str, micro_batches: int) -> float:
    from safetensors.torch import load_file

    def end(job: str) -> Any:
        return load_file(place / f"{job} home" / "models" / "end" / "model.safetensors")

    base, found, start = (
        end(_job(algorithm, "1 process", 1)),
        end(_job(algorithm, way, micro_batches)),
        _start(place),
    )
    if found.keys() != base.keys():
        raise SystemExit(f"{algorithm}, {way}: other weights were saved")
    squares = [
        math.fsum(float((one[name] - base[name]).double().square().sum()) for name in base)
        for one in (found, start)
    ]
    return math.sqrt(squares[0] / squares[1])


def _start(place: Path) -> Any:
    """The weights before the first step."""
    from harmony_compiler.graph.graph import Graph
    from harmony_compiler.graph.models import ScratchModel
    from harmony_runtime.models import weights
    from harmony_runtime.models.blueprint import Blueprints

    path = place / "way 0" / f"{_job('sft', '1 process', 1)}.json"
    graph = Graph.from_json(json.loads(path.read_text(encoding="utf-8")))
    (ref,) = (ref for ref, node in graph.nodes.items() if isinstance(node, ScratchModel))
    return weights.load(Blueprints(graph, {}, place).of(ref)).state_dict()


def _drawn(place: Path, algorithm: str, way: str) -> str:
    """Whether the completions of all steps are those of one process with one micro-batch."""

    def completions(job: str) -> list[str]:
        path = place / job / "samples.jsonl"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        return [json.loads(line)["completion"] for line in text.splitlines()]

    base = completions(_job(algorithm, "1 process", 1))
    found = [completions(_job(algorithm, way, n)) for n in MICRO_BATCHES]
    other = sum(a != b for one in found for a, b in zip(one, base, strict=True))
    return "" if not base else "the same" if not other else f"{other} of {len(base) * len(found)} differ"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _run_all(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        sys.exit(main())

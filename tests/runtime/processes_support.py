"""Runs in several real processes, which meet once and do one job after another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from torch.distributed import TCPStore

from harmony_compiler.graph.graph import Graph, Launch
from harmony_grammar import records

WORK = """
import json, os, sys
from pathlib import Path
from harmony_compiler.graph.graph import Graph
from harmony_runtime.processes.context import Context
from harmony_runtime.executor import run
from harmony_runtime.failures import Interrupted
from runtime_support import Told

place = Path(sys.argv[1])
Context.leave = lambda _: None  # the next job needs the others, too
for path in sorted(place.glob("*.json")):
    graph = Graph.from_json(json.loads(path.read_text()))
    stops = [2, None] if path.stem.endswith("stopped") else [None]
    for number, stop in enumerate(stops):
        try:
            run(
                graph,
                place / path.stem,
                watcher=Told(stop_at=stop),
                registry=place / f"home of {path.stem}" / "models",
                resume=number > 0,
            )
        except Interrupted:
            assert stop
        else:
            assert not stop
import torch
if torch.distributed.is_initialized():
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
"""


def work(place: Path, jobs: Mapping[str, Graph], processes: int = 1, *, shard: bool = False) -> Path:
    """Run graphs in folders of `place` that are called like them, the models beside. One whose name ends in
    `stopped` is stopped after two steps, and goes on."""
    place.mkdir()
    for name, graph in jobs.items():
        launched = records.replace(graph, launch=Launch(processes, 1, shard))
        (place / f"{name}.json").write_text(json.dumps(launched.to_json()))
    environ = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    together(WORK, place, processes=processes, environ=environ)
    return place


def together(script: str, place: Path, *, processes: int, environ: Mapping[str, str]) -> list[str]:
    """What each of several processes said that know of each other, as torchrun would start them."""
    # Held here, as torchrun holds it: a free port that is only looked up may be another's when it is taken.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    size = str(processes)
    known = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "ACCELERATE_USE_CPU": "true"}
    known |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    environ = {**environ, **(known if processes > 1 else {})}
    workers = []
    for rank in range(processes):
        ranked = environ | ({"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {})
        command = [sys.executable, "-c", script, str(place)]
        workers.append(subprocess.Popen(command, env=ranked, stderr=subprocess.PIPE, text=True))
    try:
        said = [worker.communicate(timeout=300)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0] * processes, "\n\n".join(said)
    return said

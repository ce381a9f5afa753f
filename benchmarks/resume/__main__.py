"""A run that was killed ends in the same bits: where that was tried, and what came of it.

    python -m benchmarks.resume [--only sft,grpo] [--each 5] [--kills 100]

Each algorithm takes six steps. At every boundary, between two steps and between two parts of one (after the
rollout, after each mini-batch), a run is killed with SIGKILL and goes on: with a checkpoint after every step,
and with one at every boundary; besides it is ended by SIGTERM there, where it keeps its state, and goes on.
With two processes this is done at three boundaries, with three at one. Once for each algorithm the real
command is killed from outside. The weights, `metrics.jsonl` and `samples.jsonl` must equal those of a run
that nobody disturbed, byte for byte. Last, a recipe of two stages is killed a hundred times at random
moments.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import harmony_dsl
from benchmarks.resume import forked, recipes
from benchmarks.resume.forked import Kill
from harmony_compiler.graph.graph import Graph
from harmony_runtime.disk.folders import faults_of

WAYS = {
    "killed, checkpoint every step": ("1", signal.SIGKILL),
    "killed, checkpoint at every boundary": ("1ms", signal.SIGKILL),
    "terminated, checkpoint where it stops": ("100", signal.SIGTERM),
}
"""`every` of the checkpoints, and what ends the run."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(recipes.STAGES), help="algorithms, with commas")
    parser.add_argument("--kills", type=int, default=100, help="kills at random moments")
    parser.add_argument("--each", type=int, default=1, metavar="N", help="every Nth boundary (default: all)")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="harmony-resume-") as folder:
        place = Path(folder)
        names = options.only.split(",")
        faults = [fault for name in names for fault in _table(name, place / name, options.each)]
        if options.kills:
            faults += _random_kills(place / "random", options.kills)
    for fault in faults:
        print(fault)
    print("every line holds" if not faults else f"{len(faults)} do not hold")
    return bool(faults)


def _table(name: str, place: Path, each: int) -> Iterator[str]:
    """What is not the same, for one algorithm, at every so manieth boundary."""
    place.mkdir()
    recipes.write_rows(place)
    count = forked.boundaries(_graph(place, name, "100"), place / "whole")
    places = {1: range(0, count, each), 2: (1, count // 2, count - 1)[::each], 3: (count // 2,)}
    for processes, at in places.items():
        whole = place / ("whole" if processes == 1 else f"whole of {processes}")
        for way, (every, sent) in WAYS.items():
            graph, started, equal = _graph(place, name, every), time.perf_counter(), 0
            if not whole.exists():
                forked.train(graph, whole, processes=processes)
            for boundary in at:
                fault = _interrupted(graph, whole, Kill(boundary, sent), processes)
                if fault:
                    yield f"{name}, {processes} process(es), {way}, boundary {boundary}: {fault}"
                equal += not fault
            who = "1 process  " if processes == 1 else f"{processes} processes"
            _tell(f"{name:5} {who}  {way}", equal, len(at), started)
    yield from _command(name, place)


def _interrupted(graph: Graph, whole: Path, kill: Kill, processes: int) -> str:
    """What is different from `whole` in a run that was ended once and went on."""
    parts = whole.with_name("parts")
    if forked.train(graph, parts, kill, processes=processes):
        return "it ended before it was killed"
    forked.train(graph, parts, processes=processes)
    fault = differences(whole, parts)
    _forget(parts)
    return fault


def _tell(what: str, equal: int, of: int, started: float) -> None:
    seconds = time.perf_counter() - started
    print(f"{what:58} {equal:3} of {of:3} in the same bits {seconds:5.0f} s", flush=True)


def _command(name: str, place: Path) -> Iterator[str]:
    """The real command, killed from outside when three steps are written down."""
    started, parts, path = time.perf_counter(), place / "parts", place / f"{name}.recipe"
    path.write_text(recipes.recipe(name, "1"), encoding="utf-8")
    command = [sys.executable, "-m", "harmony_dsl", "run", str(path), "--out", str(parts)]
    environ = forked.environment(place / "home")
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    lines = parts / "metrics.jsonl"
    while process.poll() is None and not (lines.exists() and lines.read_bytes().count(b"\n") >= 3):
        time.sleep(0.002)
    process.kill()
    killed = process.wait() == -signal.SIGKILL
    subprocess.run([*command, "--resume"], env=environ, stdout=subprocess.DEVNULL, check=True)
    fault = differences(place / "whole", parts) if killed else "it ended before it was killed"
    if fault:
        yield f"{name}, the command: {fault}"
    _tell(f"{name:5} the command  killed after three steps", not fault, 1, started)


def _random_kills(place: Path, kills: int) -> Iterator[str]:
    """Kills at random moments; whenever the run came to its end, it begins anew."""
    place.mkdir()
    recipes.write_rows(place)
    graph = _compiled(place, recipes.two_stages())
    whole, parts, chance = place / "whole", place / "parts", random.Random(11)
    started = time.perf_counter()
    forked.train(graph, whole)
    seconds = time.perf_counter() - started
    started, runs, unequal = time.perf_counter(), 0, 0
    killed = 0
    while killed < kills:
        # From its first moment to its last: a run that has come far has little left.
        ended = forked.train(graph, parts, Kill(after=chance.uniform(0, seconds)))
        killed += not ended
        registry = place / "parts.home" / "models"
        for entry in registry.glob("[!.]*") if registry.exists() else ():
            if fault := faults_of(entry):
                yield f"after kill {killed} the registry is damaged: {fault}"
        if ended or killed == kills:
            forked.train(graph, parts)
            runs += 1
            if fault := differences(whole, parts):
                unequal += 1
                yield f"random kills, up to kill {killed}: {fault}"
            _forget(parts)
    _tell(f"sft, then grpo, killed {kills} times at random moments: runs", runs - unequal, runs, started)


def differences(whole: Path, parts: Path) -> str:
    """What two runs that should be equal left behind differently; empty where nothing."""
    found = []
    for name in ("metrics.jsonl", "samples.jsonl"):
        one, other = (folder / name for folder in (whole, parts))
        if one.exists() != other.exists() or (one.exists() and one.read_bytes() != other.read_bytes()):
            found.append(name)
    for stage in (whole / "stages").iterdir():
        for file in stage.glob("*.safetensors"):
            twin = parts / "stages" / stage.name / file.name
            if not twin.exists() or twin.read_bytes() != file.read_bytes():
                found.append(f"{stage.name}/{file.name}")
    return f"{', '.join(found)} differ" if found else ""


def _forget(place: Path) -> None:
    shutil.rmtree(place)
    shutil.rmtree(place.with_name(f"{place.name}.home"), ignore_errors=True)


def _graph(place: Path, name: str, every: str) -> Graph:
    return _compiled(place, recipes.recipe(name, every))


def _compiled(place: Path, text: str) -> Graph:
    path = place / "small.recipe"
    path.write_text(text, encoding="utf-8")
    compilation = harmony_dsl.compile(path)
    assert compilation.graph is not None, [str(found) for found in compilation.diagnostics]
    return compilation.graph


if __name__ == "__main__":
    sys.exit(main())

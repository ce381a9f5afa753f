"""Two live processes that train in turn: while one works, the other sleeps.

So a machine that grows slow or busy slows both alike, and what counts is the ratio.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

from benchmarks.bench.cases import LR, Case
from benchmarks.bench.material import rows, write_rows
from benchmarks.bench.recipes import recipe

ROOT = Path(__file__).parents[2]
THREADS = int(os.environ.get("BENCH_THREADS", "2"))
PEERS = {"ppo": "1.12.0"}
"""TRL's version by algorithm; else `PEER`."""
PEER = "1.16.0"

ENVIRONMENT = {
    # The same for both.
    "OMP_NUM_THREADS": str(THREADS),
    "HF_HUB_OFFLINE": "1",
}


class SideError(Exception):
    """A side came to an end of its own, and said this."""


@dataclass(frozen=True)
class Block:
    seconds: float
    busy: float
    """Seconds that its threads worked: at most `THREADS` times the others."""
    steps: int
    counts: Mapping[str, float]
    losses: Sequence[float]
    peak: int


class Worker:
    """One of the two processes."""

    def __init__(self, name: str, command: Sequence[str], home: Path, log: Path) -> None:
        """`{answers}` in the command becomes the descriptor that it answers on."""
        self._name = name
        self._log = log
        reader, writer = os.pipe()
        with log.open("wb") as said:
            self._process = subprocess.Popen(
                [word.replace("{answers}", str(writer)) for word in command],
                cwd=ROOT,
                env=environment(home),
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                pass_fds=[writer],
            )
        os.close(writer)
        self._answers = os.fdopen(reader)
        self.upfront = 0.0

    def ready(self) -> None:
        self.upfront = float(self._hear()["upfront"])

    def block(self, steps: int) -> Block:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{steps}\n".encode())
        self._process.stdin.flush()
        return Block(**self._hear())

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._answers.close()

    def _hear(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            self._process.wait()
            said = self._log.read_text(errors="replace").strip().splitlines()
            raise SideError(f"{self._name}: " + "\n".join(said[-12:]))
        heard: dict[str, Any] = json.loads(line)
        return heard


def environment(home: Path) -> dict[str, str]:
    """Registry and caches of both in one folder."""
    mine = {"HARMONY_HOME": str(home), "HF_HOME": str(home / "hf")}
    # Both start from compiled modules, as everywhere from the second start on.
    return {**os.environ, **ENVIRONMENT, **mine, "PYTHONDONTWRITEBYTECODE": ""}


def peer_python(algorithm: str) -> str:
    return str(ROOT / ".peers" / f"trl-{peer_version(algorithm)}" / "bin" / "python")


def peer_version(algorithm: str) -> str:
    return PEERS.get(algorithm, PEER)


def job(case: Case, home: Path, folder: Path, **where: str) -> str:
    """What TRL's side is told."""
    numbers = asdict(case) | {
        "kl_beta": case.kl_beta,
        "log_every": case.log_every,
        "lr": LR,
        "max_tokens": case.size.max_tokens,
    }
    del numbers["size"], numbers["must"], numbers["aim"]
    places = {
        "model": str(home / "models" / case.size.key),
        "rows": str(folder / "rows.jsonl"),
        "out": str(folder / "trl"),
    }
    return json.dumps(numbers | places | where)


def prepare(case: Case, folder: Path, blocks: int) -> Path:
    """Rows and recipe of a case; gives the recipe."""
    folder.mkdir()
    write_rows(folder / "rows.jsonl", rows(case, blocks))
    path = folder / "bench.recipe"
    path.write_text(recipe(case), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Side:
    """What one side did, block by block after the warm-up."""

    blocks: tuple[Block, ...]
    warm_up: Block
    upfront: float
    """Seconds before the first step in which work for all blocks was done."""

    @property
    def seconds(self) -> list[float]:
        """Of a step, in each block."""
        share = self.upfront / (len(self.blocks) + 1)
        return [(block.seconds + share) / block.steps for block in self.blocks]

    @property
    def busy(self) -> float:
        """Seconds of its threads' work in a step."""
        return median(block.busy / block.steps for block in self.blocks)

    @property
    def peak(self) -> int:
        return max(block.peak for block in self.blocks)

    def loss(self, logs: int) -> float:
        """Over the first pass, which was logged so many times: TRL's last log of it comes a block later."""
        losses = [loss for block in (self.warm_up, *self.blocks) for loss in block.losses]
        return fmean(losses[:logs])

    def a_step(self, what: str) -> float:
        """The mean count of a step, over all measured blocks."""
        return sum(block.counts.get(what, 0) for block in self.blocks) / sum(b.steps for b in self.blocks)


@dataclass(frozen=True)
class Measured:
    case: Case
    peer: Side
    own: Side

    @property
    def ratio(self) -> float:
        return median(self.peer.seconds) / median(self.own.seconds)

    @property
    def ratios(self) -> list[float]:
        """Of each pair of blocks."""
        return [a / b for a, b in zip(self.peer.seconds, self.own.seconds, strict=True)]


def measure(case: Case, home: Path, folder: Path, pairs: int) -> Measured:
    """A B A B …, after a warm-up of one block each.

    Raises:
        SideError: a side cannot do it.
    """
    path = prepare(case, folder, pairs + 1)
    told = job(case, home, folder, answers="{answers}").replace('"{answers}"', "{answers}")
    own_command = [sys.executable, "-m", "benchmarks.bench.ours", str(path), str(folder / "run"), "{answers}"]
    peer_command = [peer_python(case.algorithm), "-m", "benchmarks.bench.peer", told]
    with ExitStack() as stack:
        workers = []
        for name, command in (("TRL", peer_command), ("harmonyc", own_command)):
            worker = Worker(name, command, home, folder / f"{name}.txt")
            stack.callback(worker.end)
            worker.ready()
            workers.append(worker)
        warm_ups = [worker.block(case.block) for worker in workers]
        blocks = [[worker.block(case.block) for worker in workers] for _ in range(pairs)]
    peer, own = (
        Side(tuple(side), warm_up, worker.upfront)
        for side, warm_up, worker in zip(zip(*blocks, strict=True), warm_ups, workers, strict=True)
    )
    return Measured(case, peer, own)


class Arrival(NamedTuple):
    """How long a fresh process took to the end of its first step."""

    seconds: float
    busy: float
    """Seconds of its threads' work."""


def start(case: Case, home: Path, folder: Path, pairs: int) -> tuple[list[Arrival], list[Arrival]]:
    """From the command to the end of the first step: TRL's and ours, in turn, each a fresh process with empty
    caches."""
    path = prepare(case, folder, 10)
    harmonyc = str(Path(sys.executable).with_name("harmonyc"))
    peer, own = [], []
    for number in range(pairs + 1):
        mark, out = folder / f"mark-{number}", folder / f"run-{number}"
        told = job(case, home, folder, mark=str(mark))
        theirs = until(mark, [peer_python(case.algorithm), "-m", "benchmarks.bench.peer", told], home, folder)
        ours = until(out / "metrics.jsonl", [harmonyc, "run", str(path), "--out", str(out)], home, folder)
        if number:  # the first pair reads the libraries from the disk
            peer.append(theirs)
            own.append(ours)
    return peer, own


def until(mark: Path, command: Sequence[str], home: Path, folder: Path) -> Arrival:
    """How long until the file `mark` says something, or is there where it never says anything.

    Raises:
        SideError: the process ended before.
    """
    for cache in (home / "cache", home / "hf"):
        shutil.rmtree(cache, ignore_errors=True)
    log = folder / "start.txt"
    before = _children_busy()
    with log.open("wb") as said:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=environment(home), stdout=said, stderr=said)
        try:
            while not _marked(mark):
                if process.poll() is not None and not _marked(mark):
                    raise SideError("\n".join(log.read_text(errors="replace").splitlines()[-12:]))
                time.sleep(0.002)
            seconds = time.perf_counter() - started
        finally:
            process.kill()
            process.wait()
    return Arrival(seconds, _children_busy() - before)


def _children_busy() -> float:
    """Seconds that processes which have ended had worked."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _marked(mark: Path) -> bool:
    return mark.is_file() and (mark.suffix != ".jsonl" or mark.stat().st_size > 0)

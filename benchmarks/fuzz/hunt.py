"""The search, in a process of its own: `python -m benchmarks.fuzz.hunt PLACE NUMBER SEED SECONDS TARGETS`.

Under `PLACE` it writes what others must know even when it dies: `current-NUMBER`, the input that is being
read, `counts-NUMBER.json`, and every failure with its input.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import resource
import signal
import sys
import time
import traceback
from itertools import chain
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import FrameType

from benchmarks.fuzz.changes import changed
from benchmarks.fuzz.corpus import CORPUS, inputs_of, save, smallest
from benchmarks.fuzz.folder import HOME, furnish
from benchmarks.fuzz.targets import TARGETS, Target, first_inputs

LONGEST = 5.0
"""Seconds of the processor that an input may take."""

MEMORY = 6 * 1024**3
"""Bytes of address space that the process may have."""

SHRINKING = 20.0
"""Seconds for which a failure is made smaller."""

RECENT = 0.3
"""The share of inputs that come of what was found last."""


class TooSlowError(BaseException):
    """An input takes longer than it may; no command may catch it."""


def _too_slow(signal_: int, frame: FrameType | None) -> None:
    raise TooSlowError(f"an input took more than {LONGEST:g} s")


def what_fails(target: Target, data: bytes) -> tuple[str, str] | frozenset[str]:
    """What an input makes Harmony say; or the kind of a failure, and all that is known of it."""
    signal.signal(signal.SIGPROF, _too_slow)
    signal.setitimer(signal.ITIMER_PROF, LONGEST)
    try:
        return target.signs(data)
    except (Exception, TooSlowError) as fault:
        signal.setitimer(signal.ITIMER_PROF, 0)
        told = "".join(traceback.format_exception(fault))
        return _kind(fault, told), told
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _kind(fault: BaseException, told: str) -> str:
    """The same for failures of the same cause, as far as one can see: where it happened, and as what."""
    if isinstance(fault, TooSlowError):
        return "too slow"
    places = re.findall(r'File "[^"]*?/(harmony_\w+/[^"]+)", line (\d+)', told)
    errors = re.findall(r"^(\w+(?:\.\w+)*)(?::|$)", told, re.MULTILINE)
    inside = f"{places[-1][0]}:{places[-1][1]}" if places else "nowhere"
    error = next(
        (name for name in errors if name.endswith(("Error", "Exception", "Iteration"))), type(fault).__name__
    )
    return f"{error} in {inside}" if error != "RecursionError" else f"{error} under {places[0][0]}"


class Hunt:
    """All targets in turn, each with as much time as the others."""

    def __init__(self, place: Path, number: int, seed: int, names: list[str]) -> None:
        self.place, self.number, self.random = place, number, Random(seed)
        self.pools: dict[str, list[bytes]] = {}
        self.seen: dict[str, set[str]] = {name: set() for name in names}
        self.spent = dict.fromkeys(names, 0.0)
        self.tried = dict.fromkeys(names, 0)
        self.found: dict[str, set[str]] = {name: set() for name in names}
        for name in names:
            kept = (CORPUS / name, place / "seeds" / name, place / "pool" / name)
            known = [*first_inputs(TARGETS[name]), *chain.from_iterable(map(inputs_of, kept))]
            self.pools[name] = []
            for data in dict.fromkeys(known):
                self.give(name, data, known=True)
            self.pools[name] = self.pools[name] or [b""]

    def give(self, name: str, data: bytes, known: bool = False) -> None:
        """Try an input; what is said anew makes it one to go on from."""
        (self.place / f"current-{self.number}").write_bytes(f"{name}\n".encode() + data)
        begun = time.process_time()
        said = what_fails(TARGETS[name], data)
        self.spent[name] += time.process_time() - begun
        self.tried[name] += 1
        if isinstance(said, tuple):
            self._fail(name, data, *said)
        elif known or said - self.seen[name]:
            self.pools[name].append(data)
            if not known:
                save(self.place / "pool" / name, data)
        if not isinstance(said, tuple):
            self.seen[name] |= said

    def _fail(self, name: str, data: bytes, kind: str, told: str) -> None:
        if kind in self.found[name]:
            return
        self.found[name].add(kind)

        def fails(less: bytes) -> bool:
            said = what_fails(TARGETS[name], less)
            return isinstance(said, tuple) and said[0] == kind

        if kind != "too slow":
            data = smallest(data, fails, SHRINKING)
        path = save(self.place / "failures" / name, data)
        path.with_suffix(".txt").write_text(f"{kind}\n\n{told}", encoding="utf-8", errors="backslashreplace")

    def go_on(self, end: float) -> None:
        told = 0.0
        while (now := time.monotonic()) < end:
            name = min(self.spent, key=lambda name: self.spent[name] / TARGETS[name].share)
            pool = self.pools[name]
            recent = self.random.random() < RECENT
            data = self.random.choice(pool[-20:] if recent else pool)
            self.give(name, changed(data, pool, self.random))
            if now - told > 1:
                self.tell()
                told = now
        self.tell()

    def tell(self) -> None:
        counts = {
            name: [self.tried[name], len(self.seen[name]), len(self.found[name]), self.spent[name]]
            for name in self.tried
        }
        fresh = self.place / f"counts-{self.number}.fresh"
        fresh.write_text(json.dumps(counts), encoding="utf-8")
        fresh.replace(self.place / f"counts-{self.number}.json")


def main() -> None:
    place, number, seed, seconds, names = sys.argv[1:]
    end = time.monotonic() + float(seconds)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with TemporaryDirectory(prefix="harmony-fuzz-") as folder:
        furnish(Path(folder))
        os.chdir(folder)
        os.environ["HARMONY_HOME"] = str(Path(folder) / HOME)
        Hunt(Path(place), int(number), int(seed), names.split(",")).go_on(end)
        os.chdir("/")


if __name__ == "__main__":
    main()

"""Rules of the checker broken on purpose, one at a time: is each caught by a test?

    python benchmarks/mutations.py [--only 3,7] [--jobs 2]

Each mutation is an edit of the compiler's source, made in a copy of it, on which the test files that it names
are run. First they are run on the copy as it is, where all must pass. Exits with 1 where one passes in spite
of its mutation: then a test is missing.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from shutil import copytree, ignore_patterns
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
COMPILER = ROOT / "compiler" / "harmony_compiler"
LONGEST = 240
"""Seconds that the tests of one mutation may take."""


class Mutation(NamedTuple):
    what: str
    file: str
    right: str
    """Stands in the file exactly once."""
    wrong: str
    tests: tuple[str, ...] = ("golden",)
    """Files of `tests/compiler` that may catch it, without `test_compiler_` and `.py`."""


MUTATIONS = (
    Mutation(
        "a batch need not divide over the completions of a prompt",
        "graph/algorithms.py",
        "lambda samples, group: samples % group == 0,",
        "lambda samples, group: True,",
    ),
    Mutation(
        "a mini-batch need not divide its batch",
        "graph/algorithms.py",
        "lambda mini, samples: samples % mini == 0,",
        "lambda mini, samples: True,",
    ),
    Mutation(
        "samples need not divide over the copies of a model",
        "graph/algorithms.py",
        "lambda samples, ranks, world, tp: samples % ranks == 0,",
        "lambda samples, ranks, world, tp: samples % ranks >= 0,",
    ),
    Mutation(
        "no rule between fields is asked",
        "checking/rules.py",
        "        if rule.holds(*values):\n            continue",
        "        if True:\n            continue",
    ),
    Mutation(
        "a bound that is reached counts as kept: `above` is `at least`",
        "graph/node.py",
        "if self.above is not None and not value > self.above:",
        "if self.above is not None and not value >= self.above:",
        ("golden", "catalogue", "faults"),
    ),
    Mutation(
        "unknown fields are accepted",
        "checking/construct.py",
        "            desk.report(_discreet(finding, meant, field))\n            if not _read_last(meant):",
        "            if not _read_last(meant):",
    ),
    Mutation(
        "a field may be given twice",
        "checking/construct.py",
        "            desk.report(_discreet(_again(first[key.text], field), specs.get(key.text), field))\n",
        "",
    ),
    Mutation(
        "a missing field is not missed",
        "checking/construct.py",
        "                desk.report(missing)",
        "                pass",
    ),
    Mutation(
        "two of a group may be given",
        "checking/rules.py",
        "if len(given) > 1 and group in cls.exactly_one:",
        "if len(given) > 2 and group in cls.exactly_one:",
    ),
    Mutation(
        "a field that its option does not read is accepted",
        "checking/rules.py",
        "        if pair.read(chosen) or (outer is not field and outer.named):",
        "        if pair.read(chosen) or outer is field or outer.named:",
    ),
    Mutation(
        "a field may stand without the one that it needs",
        "checking/rules.py",
        "        if other is None or (other.data is None and not other.unknown):",
        "        if other is not None and other.data is None and not other.unknown:",
    ),
    Mutation(
        "a float fits where a whole number is asked for",
        "checking/fitting.py",
        "    if option == FLOAT and value.type == INT:",
        "    if option == INT and value.type == FLOAT:\n        return value\n"
        "    if option == FLOAT and value.type == INT:",
    ),
    Mutation(
        "metadata of any type fits where a dataset is asked for",
        "checking/fitting.py",
        "return [key for key, wanted in type_.metadata if key not in known or not fits(known[key], wanted)]",
        "return [key for key, wanted in type_.metadata if key not in known]",
        ("inputs", "reinforcement"),
    ),
    Mutation(
        "columns are not looked up",
        "whole/columns.py",
        "        if head.names is not None and variable.name not in head.names:",
        "        if False:",
    ),
    Mutation(
        "variables of a grader's template are not looked up",
        "whole/columns.py",
        "        if variable.name not in GRADED:",
        "        if not variable.name:",
    ),
    Mutation(
        "files need not be there",
        "whole/columns.py",
        "            if not files.exists(place):",
        "            if not place.name:",
    ),
    Mutation(
        "the condition of an input is not asked",
        "declared/inputs.py",
        "    if not holds.unknown and not value.unknown and not holds.data:",
        "    if False:",
    ),
    Mutation(
        "a secret may be given as a text",
        "declared/inputs.py",
        "    if _holds_secret(type_) and not _names_secrets(expression):",
        "    if False:",
    ),
    Mutation(
        "keys of metadata that a grader reads need not be there",
        "whole/meeting.py",
        "        if read.key not in known:",
        "        if False:",
    ),
    Mutation(
        "what a Python function reads is ignored",
        "whole/meeting.py",
        "    return (*of_formula, *needs.get(id(grader), ()), *own)",
        "    return (*of_formula, *own)",
    ),
    Mutation(
        "circles are not found",
        "naming/names.py",
        "                if not circular.intersection(members):\n"
        "                    findings.append(_cycle(members, declared))\n",
        "",
    ),
    Mutation(
        "a name may be declared twice",
        "naming/names.py",
        "                elif name.text in declared:\n                    first =",
        "                elif name.text in taken:\n                    first =",
    ),
    Mutation(
        "unused values are not told",
        "naming/names.py",
        "        if name in needless and name not in used:",
        "        if name in used and name not in needless:",
    ),
    Mutation(
        "the farthest known name is proposed, not the nearest",
        "naming/near.py",
        "    least = min(slips.values(), default=9)",
        "    least = max(slips.values(), default=9)",
        ("golden", "mends"),
    ),
    Mutation(
        "a completion may take the whole context",
        "whole/room.py",
        "    if asked.max_tokens >= tightest.context:",
        "    if asked.max_tokens > 2 * tightest.context:",
        ("golden", "room"),
    ),
    Mutation(
        "a prompt that leaves no room for its completion is not found",
        "whole/room.py",
        "    if longest + asked.max_tokens <= model.context:",
        "    if longest <= model.context:",
        ("golden", "room"),
    ),
    Mutation(
        "rows that a model was trained on may measure it",
        "whole/overlap.py",
        '    if labels and "dataset" in measure.given:',
        '    if not labels and "dataset" in measure.given:',
        ("golden", "overlap"),
    ),
    Mutation(
        "heads need not divide over devices",
        "whole/stages.py",
        "        if count % tp:\n",
        "        if count < tp:\n",
        ("golden", "stages"),
    ),
    Mutation(
        "a reward may be one constant",
        "rewards/sense.py",
        "    elif not form.alive:",
        "    elif not form.varying:",
        ("golden", "sense"),
    ),
    Mutation(
        "a Python grader may ask for what no grader is given",
        "rewards/python_graders.py",
        "argument.arg in optional or (argument.arg in GRADED and not unnamed):",
        "argument.arg in optional or not unnamed:",
        ("golden", "python_graders"),
    ),
    Mutation(
        "a credential may stand in an address",
        "checking/credentials.py",
        "        yield CredentialInAddress(span=span)\n    if not found and",
        "        yield from ()\n    if not found and",
        ("golden", "credentials"),
    ),
    Mutation(
        "a taken key is not found",
        "keys.py",
        "        if entry is not None and not _same_model(lowered, node, entry, registry):",
        "        if entry is not None and _same_model(lowered, node, entry, registry):",
    ),
)


def files_of(mutation: Mutation) -> tuple[str, ...]:
    return tuple(f"tests/compiler/test_compiler_{name}.py" for name in mutation.tests)


def mutated(mutation: Mutation, compiler: Path = COMPILER) -> str:
    """The text of a mutation's file with the mutation in it.

    Raises:
        ValueError: what it changes is not there once.
    """
    text = (compiler / mutation.file).read_text(encoding="utf-8")
    if (times := text.count(mutation.right)) != 1:
        raise ValueError(f"{mutation.right!r} stands in {mutation.file} {times} times: choose it anew")
    return text.replace(mutation.right, mutation.wrong)


class Outcome(NamedTuple):
    code: int
    """Pytest's: 0 all passed, 1 some failed; any other, they could not be run."""
    failed: str
    """The first test that failed."""
    told: str


def tested(place: Path, files: tuple[str, ...]) -> Outcome:
    """Run test files on the copy of the compiler in a folder, to the first failure."""
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("UPDATE_GOLDEN", None)
    command = [sys.executable, "-m", "pytest", "-x", "-n", "0", "-p", "no:cacheprovider", *files]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LONGEST, check=False
        )
    except subprocess.TimeoutExpired:
        return Outcome(1, f"longer than {LONGEST} s", "")
    found = re.search(r"^FAILED (?:\S*/)?(\S+)", done.stdout, re.MULTILINE)
    return Outcome(done.returncode, found[1] if found else "", done.stdout + done.stderr)


def copied(place: Path) -> Path:
    copytree(COMPILER, place / COMPILER.name, ignore=ignore_patterns("__pycache__"))
    return place


def tried(mutation: Mutation, place: Path) -> Outcome:
    file = place / COMPILER.name / mutation.file
    before, after = file.read_text(encoding="utf-8"), mutated(mutation, place / COMPILER.name)
    file.write_text(after, encoding="utf-8")
    try:
        return tested(place, files_of(mutation))
    finally:
        file.write_text(before, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    numbers = ",".join(str(number) for number in range(1, len(MUTATIONS) + 1))
    parser.add_argument("--only", default=numbers, help="numbers of mutations, with commas")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="tests at a time")
    asked = parser.parse_args()
    chosen = [(int(number), MUTATIONS[int(number) - 1]) for number in asked.only.split(",")]
    begun = time.monotonic()
    with TemporaryDirectory(prefix="harmony-mutations-") as folder:
        places: SimpleQueue[Path] = SimpleQueue()
        for job in range(asked.jobs):
            places.put(copied(Path(folder) / str(job)))

        def turn(mutation: Mutation) -> Outcome:
            place = places.get()
            try:
                return tried(mutation, place)
            finally:
                places.put(place)

        place = places.get()
        plain = tested(place, tuple(sorted({file for _, mutation in chosen for file in files_of(mutation)})))
        places.put(place)
        if plain.code != 0:
            print(plain.told, "the tests fail without any mutation", sep="\n")
            return 1
        missed = 0
        with ThreadPoolExecutor(asked.jobs) as pool:
            outcomes = pool.map(turn, (mutation for _, mutation in chosen))
            for (number, mutation), outcome in zip(chosen, outcomes, strict=True):
                caught = {0: "NOT CAUGHT", 1: f"caught by {outcome.failed}"}
                print(f"{number:3} {mutation.what}: {caught.get(outcome.code, 'NOT RUN')}", flush=True)
                missed += outcome.code != 1
                if outcome.code not in (0, 1):
                    print(outcome.told)
    print(f"{len(chosen) - missed} of {len(chosen)} are caught, in {time.monotonic() - begun:.0f} s")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())

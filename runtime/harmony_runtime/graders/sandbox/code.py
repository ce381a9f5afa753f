"""`code_passes`: does the code in a completion pass tests? No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harmony_compiler.graph import graders as nodes
from harmony_runtime.cores import cores
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.kinds import Asked, TryAgain
from harmony_runtime.graders.protocol import Failure, Grade, Sample, Score
from harmony_runtime.graders.rules.filled import Filled
from harmony_runtime.graders.sandbox.extraction import code_of
from harmony_runtime.graders.sandbox.isolation import BUBBLEWRAP, NAMESPACES, WEAK, Isolation, installed
from harmony_runtime.graders.sandbox.limits import Limits
from harmony_runtime.graders.sandbox.run import run

_PROBE = [("probe", "import json, random, threading; threading.Thread(target=json.dumps, args=[1]).start()")]


class CodePasses(Asked):
    keeps_time = True

    def __init__(self, node: nodes.CodePasses) -> None:
        self._before = Filled(node.before or "", "before")
        self._tests = Filled(node.tests, "tests")
        self._weak = node.isolation == "weak"
        self._limits = Limits(seconds=node.timeout.seconds)
        self._isolation = WEAK
        self.usual_concurrency = cores()

    async def check(self, rows: Sequence[Mapping[str, Any]]) -> None:
        await self.set_up()

    async def set_up(self) -> None:
        """Take the first sandbox that works here.

        Raises:
            RunFailed: none does, and the recipe wants one.
        """
        self._isolation = await best_isolation(self._weak)

    async def grade(self, sample: Sample) -> Grade:
        before, tests = self._before.of(sample), self._tests.of(sample)
        if isinstance(before, Failure):
            return before
        if isinstance(tests, Failure):
            return tests
        joint = "" if before.endswith("\n") or not before else "\n"
        parts = [("code", before + joint + code_of(sample.completion)), ("tests", tests)]
        outcome = await run(parts, self._isolation, self._limits)
        return Score(float(outcome.passed), outcome.reason)


def code_passes(node: nodes.CodePasses, _: object) -> CodePasses:
    return CodePasses(node)


async def best_isolation(weak: bool = False) -> Isolation:
    """The first sandbox in which a program comes to its end; limits alone where `weak` allows it.

    Raises:
        RunFailed: none works here.
    """
    found: list[str] = []
    for isolation in (BUBBLEWRAP, NAMESPACES):
        fault = await _fault(isolation)
        if not fault:
            return isolation
        found.append(f"{isolation.name}: {fault}")
    if weak:
        return WEAK
    raise RunFailed(
        "`code_passes` runs code that a model wrote, and no sandbox works on this machine "
        f"({'; '.join(found)}). Install bubblewrap (`apt-get install bubblewrap`), allow user namespaces, or "
        'accept with `isolation = "weak"` that the code runs as you do, with limits on time and memory alone',
        exit_code=2,
    )


async def _fault(isolation: Isolation) -> str:
    """Why a sandbox does not work here, or an empty text."""
    if not installed(isolation):
        return "not installed" if isolation == BUBBLEWRAP else "only Linux has them"
    try:
        return (await run(_PROBE, isolation, Limits())).reason
    except TryAgain as fault:
        return str(fault)

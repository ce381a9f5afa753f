"""The code in a completion, and the grader `code_passes`."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sandbox_support import skip_where_refused

from harmony_compiler.graph.graders import CodePasses as Node
from harmony_compiler.graph.values import Duration
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.protocol import Failure, Grade, Sample, Score
from harmony_runtime.graders.sandbox import code, isolation
from harmony_runtime.graders.sandbox.extraction import code_of
from harmony_runtime.graders.sandbox.isolation import BUBBLEWRAP, NAMESPACES, WEAK, Isolation

HUMAN_EVAL = Path(__file__).parents[3] / "shared/data/rl/HumanEval.jsonl.gz"


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("    return a + b\n", "    return a + b\n"),
        ("So:\n```python\nx = 1\n```\nDone.", "x = 1\n"),
        ("```py\nx = 1\n```\nor\n```Python\nx = 2\n```", "x = 2\n"),
        ("```python\nx = 1\n```\nprints\n```\n1\n```", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("~~~python\nx = '```'\n~~~", "x = '```'\n"),
        ("````python\nx = '''\n```\n'''\n````", "x = '''\n```\n'''\n"),
        ("1. So:\n   ```python\n   if x:\n       y\n   ```", "if x:\n    y\n"),
        ("```python\n    return 1\n```", "    return 1\n"),
        ("```python\nx = 1\ny =", "x = 1\ny ="),
        ("Run `x = 1`, that is ```all```.", "Run `x = 1`, that is ```all```."),
        ("", ""),
    ],
)
def test_the_code_is_the_last_block_of_python_or_else_the_whole_text(completion: str, expected: str) -> None:
    assert code_of(completion) == expected


def graded(node: Node, *samples: Sample, limit: int = 2, isolated: Isolation | None = None) -> list[Grade]:
    """What the grader answers to each sample, `limit` of them at the same time."""

    async def all_of_them() -> list[Grade]:
        grader = code.code_passes(node, None)
        await grader.set_up()
        if isolated is not None:
            grader._isolation = isolated
        gate = asyncio.Semaphore(limit)

        async def one(sample: Sample) -> Grade:
            async with gate:
                return await grader.grade(sample)

        return list(await asyncio.gather(*map(one, samples)))

    return asyncio.run(all_of_them())


def says(node: Node, completion: str, **sample: Any) -> Grade:
    return graded(node, Sample(completion=completion, **sample))[0]


ADDS = Node(tests="assert add(2, 3) == 5", isolation="weak")


def test_code_passes_its_tests_or_fails_with_the_last_line_of_the_traceback() -> None:
    assert says(ADDS, "def add(a, b):\n    return a + b") == Score(1.0)
    assert says(ADDS, "def add(a, b):\n    return a - b") == Score(0.0, "AssertionError")
    assert says(ADDS, "def sub(a, b): ...") == Score(0.0, "NameError: name 'add' is not defined")
    assert says(ADDS, "def add(a, b)") == Score(0.0, "SyntaxError: expected ':'")


@pytest.mark.parametrize(
    "completion",
    [
        "import sys; sys.exit(0)",
        "raise SystemExit",
        "import os; os._exit(0)",
        "def add(a, b):\n    import os; os._exit(0)",
        "def add(a, b):\n    raise SystemExit(0)",
    ],
)
def test_code_that_ends_before_its_tests_do_has_failed(completion: str) -> None:
    assert says(ADDS, completion) == Score(0.0, "ended before its tests did")


@pytest.mark.parametrize(
    "completion", ['x = """', "x = '''", "if False:", "def f():\n    pass\n", "x = (", "x = \\"]
)
def test_code_cannot_take_the_tests_in(completion: str) -> None:
    tests = "assert False, \"\"\"never\"\"\"\nassert False, '''never'''"
    assert isinstance(grade := says(Node(tests=tests, isolation="weak"), completion), Score)
    assert grade.value == 0


def test_templates_see_the_sample_and_the_code_goes_on_with_what_stands_before() -> None:
    node = Node(before="{{ prompt }}", tests="assert f() == {{ metadata.answer }}", isolation="weak")
    assert says(node, "    return 7", prompt="def f():", metadata={"answer": "7"}) == Score(1.0)
    assert says(node, "```python\n    return 7\n```", prompt="def f():\n", metadata={"answer": "7"}) == Score(
        1.0
    )
    failure = says(node, "    return 7", prompt="def f():")
    assert failure == Failure("the template of `tests` fails: there is no key `answer`")


def test_code_sees_its_own_module_and_the_standard_library_alone() -> None:
    tests = (
        "import dataclasses, unittest.mock\n"
        "assert __name__ == '__main__' and sys.modules['__main__'].one == 1"
    )
    assert says(Node(tests=tests, isolation="weak"), "import sys\none = 1") == Score(1.0)
    grade = says(Node(tests="import pytest", isolation="weak"), "")
    assert grade == Score(0.0, "ModuleNotFoundError: No module named 'pytest'")


def test_the_order_of_a_set_is_the_same_in_every_run() -> None:
    node = Node(tests="raise ValueError(list(words))", isolation="weak")
    samples = [Sample(completion="words = {str(n) for n in range(50)}")] * 3
    assert len({str(grade) for grade in graded(node, *samples)}) == 1


def test_a_machine_without_a_sandbox_is_refused_before_any_weight_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(code, "installed", lambda _: False)
    with pytest.raises(RunFailed, match=r"no sandbox works on this machine.*Install bubblewrap") as caught:
        asyncio.run(code.code_passes(Node(tests="x"), None).check([]))
    assert caught.value.exit_code == 2
    assert asyncio.run(code.best_isolation(weak=True)) == WEAK


def test_a_sandbox_that_does_not_start_is_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho bwrap: not allowed >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(code, "installed", lambda isolation: isolation == BUBBLEWRAP)
    with pytest.raises(
        RunFailed, match=r"bubblewrap: the sandbox did not start: bwrap: not allowed; namespaces:"
    ):
        asyncio.run(code.best_isolation())


def test_what_needs_bubblewrap_is_tried_only_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert not isolation.installed(BUBBLEWRAP)


def human_eval() -> list[dict[str, str]]:
    if not HUMAN_EVAL.exists():
        pytest.skip("needs ../shared/data/rl/HumanEval.jsonl.gz")
    with gzip.open(HUMAN_EVAL, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def verdicts(isolated: Isolation, completions: Sequence[str], rows: Sequence[dict[str, str]]) -> list[Grade]:
    node = Node(
        before="{{ prompt }}",
        tests="{{ metadata.test }}\ncheck({{ metadata.entry_point }})",
        timeout=Duration(30, "s"),
        isolation="weak",
    )
    samples = [
        Sample(completion=completion, prompt=row["prompt"], metadata=row)
        for completion, row in zip(completions, rows, strict=True)
    ]
    return graded(node, *samples, limit=4, isolated=isolated)


@pytest.mark.parametrize("isolated", [BUBBLEWRAP, NAMESPACES], ids=lambda isolated: isolated.name)
def test_human_eval_solutions_pass_and_mutated_ones_fail(isolated: Isolation) -> None:
    rows = human_eval()
    skip_where_refused(isolated)
    assert len(rows) == 164
    solved = verdicts(isolated, [row["canonical_solution"] for row in rows], rows)
    assert solved == [Score(1.0)] * 164
    bodies = ["    return None\n" if number % 2 else "    pass\n" for number in range(164)]
    mutated = verdicts(isolated, bodies, rows)
    assert [grade.value for grade in mutated if isinstance(grade, Score)] == [0.0] * 164

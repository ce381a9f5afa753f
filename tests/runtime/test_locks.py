"""Two runs on one folder or key exclude each other, and a dead one excludes nobody."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from runtime_support import SAVE, Told, Train, training

from harmony_compiler.graph.graph import Graph
from harmony_compiler.store.registry import keys
from harmony_runtime.disk import locks
from harmony_runtime.failures import Interrupted, RunFailed

HOLDER = """
import json, sys
from pathlib import Path
from harmony_compiler.graph.graph import Graph
from harmony_runtime.disk import locks

folder, registry, graph = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text())
with locks.of_folder(folder), locks.of_keys(Graph.from_json(graph), registry, folder):
    print("held", flush=True)
    sys.stdin.read()
"""

RUN = """
import json, sys
from pathlib import Path
from harmony_compiler.graph.graph import Graph
from harmony_runtime.executor import run
from harmony_runtime.watch import Silent

class Waits(Silent):
    def step(self, name, step, metrics, timing):
        if step == 2:
            print("held", flush=True)
            sys.stdin.read()

folder, registry, graph = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text())
run(Graph.from_json(graph), folder, watcher=Waits(), registry=registry)
"""


@pytest.fixture
def other(tmp_path: Path, registry: Path) -> Callable[..., Any]:
    """Another process that holds the locks of a run in a folder, until its input ends or it is killed."""

    @contextmanager
    def start(graph: Graph, out: str, code: str = HOLDER) -> Iterator[subprocess.Popen[str]]:
        compiled = tmp_path / "graph.json"
        compiled.write_text(json.dumps(graph.to_json()))
        arguments = [str(tmp_path / out), str(registry), str(compiled)]
        with subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None and process.stdout.readline() == "held\n"
                yield process
            finally:
                process.kill()

    return start


def saving(if_exists: str, **stage: Any) -> Graph:
    return training(save={"if_exists": if_exists}, steps=2, **stage)


def test_a_folder_belongs_to_one_run_until_it_dies(
    train: Train, other: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        train(training(), watcher=Told(stop_at=2))
    before = {file: file.read_bytes() for file in (tmp_path / "out").glob("*.json*")}
    with other(saving("rename"), "out") as process:
        with pytest.raises(
            RunFailed, match=f"another run works in .*/out: process {process.pid} on "
        ) as caught:
            train(training(), resume=True)
        assert caught.value.exit_code == 2
        assert {file: file.read_bytes() for file in (tmp_path / "out").glob("*.json*")} == before
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert train(training(), resume=True).stages[0].steps == 6


def test_a_folder_that_another_run_has_just_made_is_refused(
    train: Train, other: Callable[..., Any], tmp_path: Path
) -> None:
    with other(saving("rename"), "out"):
        with pytest.raises(RunFailed, match="another run works in"):
            train(training())
        assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [".lock", ".lock.owner"]
    # What is left of a dead run's lock makes no folder a used one.
    train(training())


@pytest.mark.parametrize("if_exists", ["error", "overwrite"])
def test_a_key_belongs_to_one_run_until_it_dies(
    if_exists: str, train: Train, refused: Callable[..., RunFailed], other: Callable[..., Any], tmp_path: Path
) -> None:
    with other(saving("error"), "first") as process:
        fault = refused(saving(if_exists), "second")
        assert fault.message.startswith(
            f"small.recipe:4: `save`: another run will save under the key `small`: process {process.pid} on "
        )
        assert f", in {tmp_path / 'first'}, since 20" in fault.message
        assert fault.exit_code == 2
        train(saving("rename"), "third")
        process.send_signal(signal.SIGKILL)
        process.wait()
    train(saving("overwrite", seed=9), "second")


def test_a_real_run_that_is_killed_leaves_nothing_locked(
    train: Train, refused: Callable[..., RunFailed], other: Callable[..., Any], registry: Path
) -> None:
    with other(saving("error"), "killed", RUN) as process:
        assert f"process {process.pid} on" in refused(saving("error"), "other").message
        assert "another run works in" in refused(saving("error"), "killed", resume=True).message
        process.send_signal(signal.SIGKILL)
        process.wait()
    train(saving("error"), "killed", resume=True)
    assert keys(registry) == ["small"]


def test_a_run_lets_go_however_it_ends(
    train: Train, monkeypatch: pytest.MonkeyPatch, registry: Path, tmp_path: Path
) -> None:
    def gone() -> None:
        with locks.of_folder(tmp_path / "out"), locks.of_keys(saving("error"), registry, tmp_path / "out"):
            pass
        assert not list(registry.parent.glob("locks/*.owner"))

    with pytest.raises(Interrupted):
        train(saving("error"), watcher=Told(stop_at=1))
    gone()
    with monkeypatch.context() as patch:
        patch.setattr("harmony_runtime.run.walk.Walk.all", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(saving("error"), resume=True)
    gone()
    train(saving("error"), resume=True)
    gone()
    with pytest.raises(RunFailed, match="holds another model already"):
        train(saving("error", seed=8), resume=True)
    gone()


def test_an_owner_that_cannot_be_read_is_still_an_owner(tmp_path: Path) -> None:
    for text in ("", "[]", '{"process": 1', "x" * 100_000):
        with locks.of_folder(tmp_path):
            (tmp_path / ".lock.owner").write_text(text)
            with pytest.raises(RunFailed, match="it does not say which"), locks.of_folder(tmp_path):
                pass


def test_keys_that_are_renamed_need_no_lock(registry: Path, tmp_path: Path) -> None:
    with locks.of_keys(saving("rename"), registry, tmp_path):
        assert not registry.parent.exists()
    assert saving("rename").nodes[SAVE].key == "small"  # type: ignore[attr-defined]

"""Several processes that run as one, from the inside; and what only the main one writes."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from processes_support import together
from runtime_support import Train, read_lines, training
from test_evaluation import Heard, comparing

from harmony_compiler.graph.graph import Launch
from harmony_runtime.disk.runfolder import RunFolder
from harmony_runtime.failures import Interrupted, RunFailed
from harmony_runtime.processes.context import Context, lost_process
from harmony_runtime.processes.interrupts import Interrupts, Stop

TWO = Launch(2)


class Other:
    """Stands for a second process, which got the signals that are set."""

    world_size = 2
    is_main = True

    def __init__(self) -> None:
        self.got = [0.0, 0.0, 0.0]

    def sum(self, values: Sequence[float]) -> list[float]:
        return [mine + other for mine, other in zip(values, self.got, strict=True)]


def test_a_signal_that_another_process_got_stops_this_one() -> None:
    other = Other()
    with Interrupts() as interrupts:
        interrupts.join(other)  # type: ignore[arg-type]
        assert not interrupts.asked()
        other.got = [0.0, 1.0, 0.0]
        assert interrupts.asked()
        with pytest.raises(Stop) as caught:
            interrupts.check()
        assert caught.value.exit_code == 143


def test_among_several_processes_a_signal_waits_until_they_agree() -> None:
    with Interrupts() as interrupts:
        interrupts.join(Other())  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGINT)  # held or not
        assert interrupts.pending
        with pytest.raises(Stop):  # and a second one does not
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stop) as caught:
            interrupts.check()
        assert caught.value.exit_code == 130
        assert not interrupts.asked()


def test_a_stop_in_an_evaluation_comes_after_a_model(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    class Kill(Heard):
        def evaluated(self, *told: Any) -> None:
            super().evaluated(*told)
            os.kill(os.getpid(), signal.SIGTERM)

    join = Interrupts.join
    monkeypatch.setattr(Interrupts, "join", lambda interrupts, _: join(interrupts, Other()))  # type: ignore[arg-type]
    watcher = Kill()
    with pytest.raises(Interrupted) as caught:
        train(comparing(), watcher=watcher)
    assert caught.value.exit_code == 143
    assert [model for _, model, *_ in watcher.heard[1:]] == ["base"]


def test_alone_the_words_between_processes_cost_nothing() -> None:
    context = Context(Launch())
    items = [object()]
    assert context.gather(items) is items
    assert context.sum([1.5]) == [1.5]
    context.wait()


def test_a_joined_folder_reads_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run"
    main = RunFolder.open(path, training(), resume=False)
    main.metrics.append({"stage": "tuned", "step": 1}, {"stage": "tuned", "step": 2})
    before = {file: file.read_bytes() for file in path.iterdir() if file.is_file()}
    other = RunFolder.join(path)
    assert other.manifest == main.manifest
    other.note(exit={"code": 0})
    other.metrics.append({"stage": "tuned", "step": 3})
    other.samples.append({"stage": "tuned", "step": 3})
    other.metrics.cut_back("tuned", 0)
    other.write_results({}, {})
    other.discard_if_untouched()
    assert {file: file.read_bytes() for file in path.iterdir() if file.is_file()} == before
    assert other.manifest["exit"] == {"code": 0}


@pytest.mark.parametrize(
    ("launch", "environ", "words"),
    [
        (TWO, {}, "compiled for 2 processes, and what runs is 1 process"),
        (TWO, {"WORLD_SIZE": "2"}, "what runs is 1 process"),  # as a cluster sets it for its own ends
        (Launch(), {"WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "compiled for 1 process, and what runs is 2"),
        (
            Launch(2, 2),
            {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"},
            "compiled for 1 process on each machine, and 2 run on this one",
        ),
    ],
)
def test_another_launch_than_the_recipe_was_compiled_for(
    launch: Launch, environ: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunFailed, match=words) as caught:
        Context(launch)
    assert caught.value.exit_code == 2


def test_more_processes_than_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    device = torch.device("cuda")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: device)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    with pytest.raises(
        RunFailed, match="2 processes on one machine need as many devices, and this one has 1"
    ):
        Context(TWO)


def test_which_errors_say_that_a_process_has_gone() -> None:
    import torch

    gloo = (
        "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1"
    )
    assert lost_process(RuntimeError(gloo))
    assert lost_process(torch.distributed.DistBackendError("NCCL communicator was aborted"))
    assert not lost_process(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not lost_process(ValueError("gloo"))


PROBE = """
import os, signal, sys
import torch
from harmony_compiler.graph.graph import Launch
from harmony_runtime.processes.context import Context
from harmony_runtime.failures import RunFailed
from harmony_runtime.processes.interrupts import Interrupts, Stop

context = Context(Launch(2))
rank = context.rank
assert (context.world_size, context.is_main) == (2, rank == 0)
assert torch.distributed.get_world_size() == 2
assert torch.get_num_threads() == max(1, len(os.sched_getaffinity(0)) // 2)
assert context.gather([("of", rank), rank]) == [("of", 0), 0, ("of", 1), 1]
assert context.gather([rank] * rank) == [1]
assert context.sum([1.0, rank]) == [2.0, 1.0]
context.wait()

model = torch.nn.Linear(2, 1)
torch.nn.init.constant_(model.weight, rank)  # what the main one has counts
shared = context.prepare(model)
assert model.weight.tolist() == [[0.0, 0.0]]
shared(torch.full((1, 2), float(rank))).sum().backward()
assert model.weight.grad.tolist() == [[0.5, 0.5]]
if rank == 1:  # a pass of one process alone is no meeting
    with torch.no_grad():
        shared(torch.zeros(1, 2))
context.wait()

with Interrupts() as interrupts:
    interrupts.join(context)
    if rank == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    try:
        interrupts.check()
    except Stop as stop:
        assert stop.exit_code == 143
    else:
        raise AssertionError("it went on")

context._accelerator.prepare_model = lambda model: model
try:
    context.prepare(model)
except RunFailed as fault:
    assert "2 processes that share their gradients were asked for" in fault.message, fault
    assert "Linear" in fault.message and fault.exit_code == 2
else:
    raise AssertionError("a model that shares nothing was taken")
context.wait()
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the probe counts cores as Linux does")
def test_two_processes_from_inside(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    assert together(PROBE, tmp_path, processes=2, environ=environ) == ["", ""]


def test_samples_are_written_with_their_step_and_cut_back_with_it(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime_support import Told

    from harmony_runtime.algorithms import sft
    from harmony_runtime.algorithms.loop import Loop
    from harmony_runtime.failures import Interrupted

    class Sampling(Loop):
        def record(self, **metrics: Any) -> None:
            del metrics["tokens"]
            super().record(samples=[{"prompt": "a"}, {"prompt": "b"}], completions=2, **metrics)

    monkeypatch.setattr(sft, "Loop", Sampling)
    train(training(steps=3), "whole")
    with pytest.raises(Interrupted):
        train(training(steps=3), "parts", watcher=Told(stop_at=2))
    with (tmp_path / "parts" / "samples.jsonl").open("a") as file:
        file.write('{"stage": "tuned", "step": 3, "prompt": "torn"}\n{"stage": "tu')
    train(training(steps=3), "parts", resume=True)
    lines = read_lines(tmp_path / "parts" / "samples.jsonl")
    assert lines == [{"stage": "tuned", "step": step, "prompt": text} for step in (1, 2, 3) for text in "ab"]
    assert lines == read_lines(tmp_path / "whole" / "samples.jsonl")
    timings = read_lines(tmp_path / "whole" / "timings.jsonl")
    assert [list(line) for line in timings] == [["stage", "step", "seconds", "completions_per_second"]] * 3

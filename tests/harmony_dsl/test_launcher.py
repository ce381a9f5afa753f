"""Several processes: how they are started, stopped and told about. Small scripts stand for the workers,
and a few tests train with real ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dsl_support import Harmonyc, Write

from harmony_dsl import launcher, worker

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and sessions are POSIX's")

SOON = launcher.Patience(told=0.3, alone=0.6, impatient=0.3, terminated=0.3)
AGAIN = "harmonyc run small.recipe --resume"

Launch = Callable[..., int]


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """Launch a script that knows its `rank` and the `folder` of the test."""

    def call(script: str, processes: int = 2) -> int:
        head = "import os, signal, sys, time\nfrom pathlib import Path\nrank = int(os.environ['RANK'])\n"
        head += f"folder = Path({str(tmp_path)!r})\n"
        command = [sys.executable, "-c", head + script]
        logs = tmp_path / "logs"
        logs.mkdir()
        return launcher.launch(command, processes, AGAIN, logs, SOON)

    return call


def test_each_worker_knows_its_place(launch: Launch, tmp_path: Path) -> None:
    script = """
import json
from harmony_dsl import worker
assert worker.is_worker() and worker.is_main() == (rank == 0)
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
print("here", rank, flush=True)
(folder / f"{rank}.json").write_text(json.dumps([os.environ[n] for n in names] + [os.getsid(0)]))
"""
    assert launch(script, 3) == 0
    places = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    assert [place[:5] for place in places] == [[str(n), str(n), "3", "3", "127.0.0.1"] for n in range(3)]
    assert len({place[5] for place in places}) == 1
    assert len({os.getsid(0), *(place[6] for place in places)}) == 4


def test_only_the_main_worker_is_heard(launch: Launch, capfd: pytest.CaptureFixture[str]) -> None:
    assert launch("print('out', rank); print('err', rank, file=sys.stderr)") == 0
    assert capfd.readouterr() == ("out 0\n", "err 0\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_handed_on_once(
    number: int, code: int, launch: Launch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = f"""
got = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: got.append(number))
(folder / f"ready {{rank}}").touch()
while rank == 0 and not (folder / "ready 1").exists():
    time.sleep(0.01)
if rank == 0:
    os.kill(os.getppid(), {number})
while not got:
    time.sleep(0.01)
time.sleep(0.3)
(folder / f"got {{rank}}").write_text(repr([int(n) for n in got]))
if rank == 0:
    print("stopped")
sys.exit({code})
"""
    assert launch(script) == code
    assert [(tmp_path / f"got {rank}").read_text() for rank in range(2)] == [f"[{int(number)}]"] * 2
    assert capfd.readouterr() == ("stopped\n", "")


def test_a_second_signal_does_not_wait(launch: Launch, capfd: pytest.CaptureFixture[str]) -> None:
    script = """
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
if rank == 0:
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(0.3)
    os.kill(os.getppid(), signal.SIGINT)
time.sleep(60)
"""
    began = time.monotonic()
    assert launch(script) == 130
    assert time.monotonic() - began < 20
    assert capfd.readouterr().err == "harmonyc: interrupted\n"


def test_a_worker_that_was_killed_ends_the_others(launch: Launch, capfd: pytest.CaptureFixture[str]) -> None:
    script = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as who waits for a lost process and cannot hear
if rank == 1:
    print("last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(60)
"""
    began = time.monotonic()
    assert launch(script) == 2
    assert time.monotonic() - began < 20
    assert capfd.readouterr().err == (
        "harmonyc: process 1 of 2 was ended by SIGKILL (signal 9), and the run with it: usually the machine "
        "ran out of memory. Lower the model's `max_batch_tokens`, or start fewer processes\nlast words\n"
        f"What was finished is kept: {AGAIN}\n"
    )


FAULTS = {
    "all find the same": ("sys.exit('bad row')", 1, "bad row\n"),
    "the main one alone": ("if rank == 0:\n    sys.exit('bad row')\ntime.sleep(60)", 1, "bad row\n"),
    "another one alone, and the main one notices": (
        "if rank == 1:\n    sys.exit('full disk')\nsys.exit(3)",
        1,
        "harmonyc: process 1 of 2 could not go on:\nfull disk\n",
    ),
    "another one alone, and the main one waits for it": (
        "if rank == 1:\n    sys.exit('full disk')\ntime.sleep(60)",
        1,
        "harmonyc: process 1 of 2 could not go on:\nfull disk\n",
    ),
    "another one, without a word": (
        "sys.exit(2 if rank == 1 else 3)",
        2,
        "harmonyc: process 1 of 2 could not go on:\nit ended with the exit code 2\n",
    ),
    "none": (
        "sys.exit(3)",
        2,
        f"harmonyc: the processes of this run lost one another. What was finished is kept: {AGAIN}\n",
    ),
}


@pytest.mark.parametrize(("script", "code", "told"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_told_once(
    script: str, code: int, told: str, launch: Launch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert launch(script) == code
    assert capfd.readouterr().err == told


def test_workers_do_not_outlive_the_launcher(tmp_path: Path) -> None:
    worker = """
import os, signal, sys, time
from pathlib import Path
from harmony_dsl import worker
place = Path(sys.argv[1]) / os.environ["RANK"]
def end(*_):
    place.write_text("asked to stop")
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
worker.follow_launcher()
place.touch()
time.sleep(60)
"""
    parent = "import sys; from pathlib import Path; from harmony_dsl import launcher\n"
    parent += "launcher.launch([sys.executable, '-c', *sys.argv[1:]], 2, '', Path(sys.argv[2]))"
    process = subprocess.Popen([sys.executable, "-c", parent, worker, str(tmp_path)])
    places = [tmp_path / "0", tmp_path / "1"]
    wait_for(lambda: all(place.exists() for place in places), process)
    process.kill()
    process.wait()
    wait_for(lambda: all(place.read_text() == "asked to stop" for place in places))


def test_what_makes_a_worker() -> None:
    torchrun = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    assert worker.is_worker(torchrun)
    assert not worker.is_main(torchrun)
    assert worker.is_main(torchrun | {"RANK": "0"})
    # Clusters set some of them for ends of their own.
    del torchrun["LOCAL_RANK"]
    assert not worker.is_worker(torchrun)
    assert worker.is_main(torchrun)


def test_several_machines_need_a_launcher_that_knows_them(harmonyc: Harmonyc, write: Write) -> None:
    changes = ("samples_per_batch = 4", "samples_per_batch = 8")
    told = harmonyc("run", write(changes).name, "--num-processes", "4", "--num-machines", "2")
    assert told.code == 2
    assert "torchrun --nnodes 2 --nproc-per-node 2 " in told.err
    assert " --num-processes 4 --num-machines 2 --out DIR" in told.err
    assert not Path("runs").exists()


def test_a_graph_runs_in_the_launch_that_it_was_compiled_for(harmonyc: Harmonyc, write: Write) -> None:
    assert harmonyc("compile", write().name, "--num-processes", "2", "-o", "graph.json").code == 0
    told = harmonyc("run", "graph.json", "--num-processes", "4")
    assert told.code == 2
    assert "graph.json was compiled with `--num-processes 2 --num-machines 1`" in told.err


# With real workers.

STEPS = 60


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")


@pytest.fixture
def uneven(write: Write, one_thread: None) -> str:
    """A recipe over rows of different lengths, of which a process gets now more, now fewer tokens."""
    name = write(
        ("steps = 3", f"steps = {STEPS}"),
        ("lr = 1e-2", "lr = 1e-3"),
        ("  layers = 1", "  layers = 1\n  max_batch_tokens = 30"),
        ("context = 24", "context = 30"),
    ).name
    rows = [{"question": f"{n}+{n}", "answer": str(n + n) * (1 + n % 5)} for n in range(11)]
    Path("sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def run(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harmony_dsl", "run", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def lines_of(folder: str) -> list[dict[str, Any]]:
    text = (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def weights_of(folder: str) -> Path:
    (stage,) = (Path(folder) / "stages").iterdir()
    return stage / "model.safetensors"


@pytest.mark.slow
def test_two_processes_train_as_one_and_go_on_after_ctrl_c(uneven: str) -> None:
    import torch
    from safetensors.torch import load_file

    process = run(uneven, "--out", "one")
    assert process.wait(120) == 0, process.communicate()

    process = run(uneven, "--out", "two", "--num-processes", "2")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err == ""
    assert out.count(f"adder: step {STEPS} of {STEPS}") == out.count("everything is in") == 1
    one, two = lines_of("one"), lines_of("two")
    assert [line["step"] for line in two] == list(range(1, STEPS + 1))
    for alone, shared in zip(one, two, strict=True):
        assert shared["loss"] == pytest.approx(alone["loss"], abs=1e-4)
        assert shared["grad_norm"] == pytest.approx(alone["grad_norm"], abs=1e-3)
        assert all(
            shared[name] == alone[name] for name in ("tokens", "trained_tokens", "rows", "epoch", "lr")
        )
    alone, shared = (load_file(weights_of(folder)) for folder in ("one", "two"))
    for name, weight in alone.items():
        assert torch.allclose(shared[name], weight, atol=1e-4), name

    # Ctrl-C reaches the whole process group of a terminal.
    process = run(uneven, "--out", "parts", "--num-processes", "2", start_new_session=True)
    metrics = Path("parts/metrics.jsonl")
    wait_for(lambda: metrics.exists() and metrics.read_text().count("\n") >= 3, process)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    again = f"harmonyc run {uneven} --out parts --num-processes 2 --resume"
    kept = f"harmonyc: interrupted; {Path('parts').absolute()} keeps a checkpoint of `adder`."
    assert err == f"{kept}\nTo go on from there: {again}\n"
    (state,) = Path("parts/checkpoints").glob("*/*/state.json")
    kept_state = json.loads(state.read_text())
    assert kept_state["conditions"]["world_size"] == 2
    assert 3 <= kept_state["at"][0] < STEPS

    process = run(*again.split()[2:])
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert metrics.read_bytes() == Path("two/metrics.jsonl").read_bytes()
    assert weights_of("parts").read_bytes() == weights_of("two").read_bytes()


@pytest.mark.slow
def test_a_bad_row_is_told_once(write: Write, one_thread: None) -> None:
    recipe = write().name
    long = json.dumps({"question": "1+" * 30, "answer": "30"})
    Path("sums.jsonl").write_text(long + "\n", encoding="utf-8")
    process = run(recipe, "--num-processes", "2")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert err.count("all of 1 rows are longer than 24 tokens") == 1
    assert "Traceback" not in err
    assert not any(Path("runs").iterdir())


@pytest.mark.slow
def test_torchrun_starts_the_same_workers(write: Write, one_thread: None) -> None:
    """The recipe itself, compiled by each; the folder by default, which the main one names."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "harmony_dsl", "run", write().name, "--num-processes", "2"]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert told.returncode == 0, told.stderr
    assert told.stdout.count("everything is in") == 1
    assert [path.name for path in Path("runs").iterdir()] == ["small-1"]
    assert [line["step"] for line in lines_of("runs/small-1")] == [1, 2, 3]


def wait_for(there: Callable[[], bool], process: subprocess.Popen[Any] | None = None) -> None:
    end = time.monotonic() + 60
    while not there():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.02)

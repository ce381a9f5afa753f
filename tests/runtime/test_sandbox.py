"""What a program in the sandbox can do to the machine: nothing. Each isolation that works here is tried."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sandbox_support import skip_where_refused

from harmony_runtime.graders.kinds import TryAgain
from harmony_runtime.graders.sandbox import run as sandbox_run
from harmony_runtime.graders.sandbox.inside import supervise
from harmony_runtime.graders.sandbox.isolation import BUBBLEWRAP, NAMESPACES, WEAK, Isolation
from harmony_runtime.graders.sandbox.limits import Limits
from harmony_runtime.graders.sandbox.run import Outcome, run
from harmony_runtime.graders.sandbox.seccomp import calls_filter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes are Linux's")

SHORT = Limits(seconds=1)
LONG = Limits(seconds=60)
"""For programs that another limit ends."""
GIB = 2**30
BECOME_REAPER = 36


@pytest.fixture(params=[BUBBLEWRAP, NAMESPACES], ids=lambda isolation: isolation.name)
def sandbox(request: pytest.FixtureRequest) -> Isolation:
    return skip_where_refused(request.param)


@pytest.fixture(params=[BUBBLEWRAP, NAMESPACES, WEAK], ids=lambda isolation: isolation.name)
def any_isolation(request: pytest.FixtureRequest) -> Isolation:
    return skip_where_refused(request.param)


@pytest.fixture(autouse=True)
def unharmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process, no folder, and no gigabyte of it is left or was taken."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    # Whoever loses its parent becomes a child of this process, and is seen.
    ctypes.CDLL(None).prctl(BECOME_REAPER, 1)
    before = children()
    yield
    ctypes.CDLL(None).prctl(BECOME_REAPER, 0)
    assert children() - before == set()
    assert list(folder.iterdir()) == []
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 < 3 * GIB


def children() -> set[int]:
    """The children of this process, dead ones too that nobody has buried."""
    tasks = Path("/proc/self/task").iterdir()
    return {int(child) for task in tasks for child in (task / "children").read_text().split()}


def outcome(program: str, isolation: Isolation, limits: Limits = LONG) -> Outcome:
    return asyncio.run(run([("code", program)], isolation, limits))


def failed(program: str, isolation: Isolation, limits: Limits = LONG) -> str:
    """Why the program failed."""
    found = outcome(program, isolation, limits)
    assert not found.passed
    return found.reason


# --- limits ---------------------------------------------------------------------------------------------


def test_an_endless_loop_ends_at_its_time(sandbox: Isolation) -> None:
    began = time.monotonic()
    assert failed("while True: pass", sandbox, SHORT) == "took longer than 1 s"
    assert time.monotonic() - began < 20


def test_ten_gigabytes_are_not_given(sandbox: Isolation) -> None:
    assert failed("b'x' * (10 * 2**30)", sandbox) == "used more than 1024 MiB of memory"


def test_processes_together_hold_no_more_than_one_may(sandbox: Isolation) -> None:
    program = (
        "import os, time\n"
        "for _ in range(8):\n"
        "    if os.fork() == 0:\n"
        "        held = b'x' * (40 * 2**20)\n"
        "        time.sleep(60)\n"
        "time.sleep(60)\n"
    )
    limits = replace(LONG, memory=200 * 2**20)
    assert failed(program, sandbox, limits) == "used more than 200 MiB of memory"


def test_a_fork_bomb_finds_no_room(sandbox: Isolation) -> None:
    """It stops by itself after 200: where the limit fails, so does the test, and not the machine."""
    program = "import os, time\nfor _ in range(200):\n    if os.fork() == 0:\n        time.sleep(60)\n"
    assert failed(program, sandbox) == "BlockingIOError: [Errno 11] Resource temporarily unavailable"


def test_sandboxes_do_not_count_each_others_processes(sandbox: Isolation) -> None:
    program = (
        "import os, time\n"
        "for _ in range(40):\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(60)\n"
        "time.sleep(1)\n"
    )

    async def together() -> list[Outcome]:
        return list(await asyncio.gather(*(run([("code", program)], sandbox, LONG) for _ in range(3))))

    assert asyncio.run(together()) == [Outcome(True)] * 3


def test_who_prints_forever_is_ended(sandbox: Isolation) -> None:
    assert failed("while True: print('x' * 1000)", sandbox) == "printed more than 1 MiB"


@pytest.mark.parametrize(
    "program",
    [
        "for n in range(100): open(f'/tmp/{n}', 'wb').write(b'x' * 2**20)",
        "import os\nf = open('/tmp/f', 'wb')\nfor n in range(100): f.write(b'x' * 2**20)",
        "import mmap, os\nfor n in range(100): open(f'/dev/shm/{n}', 'wb').write(b'x' * 2**20)",
    ],
)
def test_the_temporary_folder_has_a_size(sandbox: Isolation, program: str) -> None:
    assert failed(program, sandbox).startswith(("OSError: [Errno 27]", "OSError: [Errno 28]"))


@pytest.mark.skipif(not calls_filter(os.uname().machine), reason="no filter of system calls for this machine")
@pytest.mark.parametrize(
    "call",
    ["os.memfd_create('x')", "check(libc.unshare(0x10000000))", "check(libc.shmget(0, 4096, 0o1600))"],
    ids=["memfd", "user-namespace", "shared-memory"],
)
def test_calls_that_go_round_the_limits_are_refused(sandbox: Isolation, call: str) -> None:
    program = (
        "import ctypes, os\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def check(result):\n"
        "    if result < 0: raise OSError(ctypes.get_errno(), 'refused')\n"
    )
    assert failed(program + call, sandbox).startswith("PermissionError: [Errno 1]")


def test_a_crash_is_a_failed_grade(sandbox: Isolation) -> None:
    assert failed("import os; os.kill(os.getpid(), 11)", sandbox) == "ended by SIGSEGV"
    assert failed("import os; os.kill(os.getpid(), 40)", sandbox) == "ended by signal 40"


@pytest.mark.parametrize("end", ["\r", "\x0b", "\x85", "\u2028"])
def test_other_ends_of_lines_are_no_verdict(end: str, any_isolation: Isolation) -> None:
    assert failed(f"raise ValueError('x' + {end!r} + 'passed')", any_isolation) == "ValueError: x passed"


def test_what_a_program_said_just_before_it_ended_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a look at the pipes and a look at the program it comes to its end."""
    (output, printed), (end, ended) = os.pipe(), os.pipe()
    program = os.fork()
    if program == 0:
        os.write(ended, b".")
        os._exit(0)
    for writer in (printed, ended):
        os.close(writer)
    looked = []

    def look(pipes: list[int], *rest: Any) -> Any:
        looked.append(pipes)
        if len(looked) == 1:
            os.waitid(os.P_PID, program, os.WEXITED | os.WNOWAIT)
            return [], [], []
        return select.select([output, end], *rest)

    monkeypatch.setattr(supervise, "select", SimpleNamespace(select=look))
    job = {"seconds": 60, "output": 100, "isolated": False}
    assert supervise.watch(job, program, output, end) == "passed"
    for reader in (output, end):
        os.close(reader)


# --- what it sees ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["/harmony-wrote", "/usr/harmony-wrote", "/dev/harmony-wrote", "/etc/harmony-wrote"]
)
def test_it_writes_nowhere_but_in_its_folder(sandbox: Isolation, name: str) -> None:
    reason = failed(f"open({name!r}, 'w')", sandbox)
    assert reason.startswith(("OSError: [Errno 30]", "PermissionError", "FileNotFoundError"))
    assert not Path(name).exists()


def test_its_folder_is_its_own_and_empty(sandbox: Isolation) -> None:
    program = (
        "import os\n"
        "assert os.getcwd() == '/tmp' and os.listdir() == []\n"
        "open('/tmp/harmony-wrote', 'w').write('x')"
    )
    assert outcome(program, sandbox) == Outcome(True)
    assert not Path("/tmp/harmony-wrote").exists()


def test_it_reads_no_file_of_ours(sandbox: Isolation, tmp_path: Path) -> None:
    secret = tmp_path / ".ssh" / "id_ed25519"
    secret.parent.mkdir()
    secret.write_text("secret")
    ours = [secret, Path(__file__), Path("/etc/passwd"), Path("/etc/hostname"), Path("/var"), Path("/run")]
    for path in ours:
        reason = failed(f"import os\nos.stat({str(path)!r})", sandbox)
        assert reason.startswith("FileNotFoundError"), path


def test_of_the_home_it_sees_no_more_than_the_way_to_the_interpreter(sandbox: Isolation) -> None:
    shown = {Path(sys.base_prefix), *Path(sys.base_prefix).parents}
    program = (
        "import os\n"
        f"home = {str(Path.home())!r}\n"
        "seen = {os.path.join(home, name) for name in os.listdir(home)} if os.path.isdir(home) else set()\n"
        f"assert seen <= {set(map(str, shown))!r}, seen"
    )
    assert outcome(program, sandbox) == Outcome(True)


def test_it_reads_nothing_of_our_environment(sandbox: Isolation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMONY_SECRET", "secret")
    assert failed("import os\nos.environ['HARMONY_SECRET']", sandbox) == "KeyError: 'HARMONY_SECRET'"
    program = (
        "import os\n"
        "assert not os.environ\n"
        "found = b''\n"
        "for process in filter(str.isdigit, os.listdir('/proc')):\n"
        "    try: found += open(f'/proc/{process}/environ', 'rb').read()\n"
        "    except PermissionError: pass\n"
        "assert b'SECRET' not in found, found"
    )
    assert outcome(program, sandbox) == Outcome(True)


def test_it_sees_no_process_but_those_of_its_sandbox(sandbox: Isolation) -> None:
    program = "import os\nassert sorted(filter(str.isdigit, os.listdir('/proc'))) == ['1', str(os.getpid())]"
    assert outcome(program, sandbox) == Outcome(True)
    assert failed(f"import os\nos.kill({os.getpid()}, 0)", sandbox).startswith("ProcessLookupError")


def test_it_cannot_touch_the_process_that_watches_it(sandbox: Isolation) -> None:
    assert failed("open('/proc/1/mem', 'r+b')", sandbox).startswith(
        ("PermissionError", "OSError: [Errno 30]")
    )
    assert failed("import os\nos.listdir('/proc/1/fd')", sandbox).startswith("PermissionError")


def test_it_has_no_privileges(sandbox: Isolation) -> None:
    program = (
        "lines = dict(line.split(':\\t') for line in open('/proc/self/status') if ':\\t' in line)\n"
        "assert lines['CapEff'] == lines['CapPrm'] == lines['CapAmb'] == '0' * 16 + '\\n', lines\n"
        "assert lines['NoNewPrivs'] == '1\\n'\n"
        "assert '0' not in lines['Uid'].split()\n"
    )
    assert outcome(program, sandbox) == Outcome(True)


def test_it_reaches_no_port_of_the_machine(sandbox: Isolation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        program = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=5)"
        assert failed(program, sandbox).startswith(("ConnectionRefusedError", "OSError: [Errno 101]"))
        with pytest.raises(BlockingIOError):
            server.accept()


# --- what stays -----------------------------------------------------------------------------------------

DAEMON = (
    "import os, time\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    if os.fork() == 0:\n"
    "        time.sleep(600)\n"
    "    os._exit(0)\n"
    "time.sleep({})\n"
)


@pytest.mark.parametrize("sleep", [0, 600], ids=["passed", "ended"])
def test_a_daemon_does_not_outlive_its_program(sandbox: Isolation, sleep: int) -> None:
    assert outcome(DAEMON.format(sleep), sandbox, SHORT).passed == (sleep == 0)


@pytest.mark.parametrize("after", [0.0, 0.02, 0.5])
def test_nothing_stays_of_a_grade_that_is_cancelled(any_isolation: Isolation, after: float) -> None:
    """`unharmed` looks."""

    async def cancelled() -> None:
        task = asyncio.create_task(run([("code", "while True: pass")], any_isolation, LONG))
        await asyncio.sleep(after)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, TryAgain)):
            await task

    asyncio.run(cancelled())


def test_nothing_stays_when_the_run_is_killed(any_isolation: Isolation, tmp_path: Path) -> None:
    started = tmp_path / "started"
    script = (
        "import asyncio, tempfile\n"
        f"tempfile.tempdir = {tempfile.tempdir!r}\n"
        "from harmony_runtime.graders.sandbox import isolation, run, limits\n"
        "kinds = (isolation.BUBBLEWRAP, isolation.NAMESPACES, isolation.WEAK)\n"
        f"kind = next(kind for kind in kinds if kind.name == {any_isolation.name!r})\n"
        "async def main():\n"
        f"    parts = [('code', {DAEMON.format(600)!r})]\n"
        "    task = asyncio.create_task(run.run(parts, kind, limits.Limits(seconds=120)))\n"
        "    await asyncio.sleep(0.5)\n"
        f"    open({str(started)!r}, 'w').close()\n"
        "    await task\n"
        "asyncio.run(main())\n"
    )
    before = children()
    killed = subprocess.Popen([sys.executable, "-c", script])
    while not started.exists():
        assert killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    patience = time.monotonic() + 30
    while orphans := children() - before:
        assert time.monotonic() < patience, orphans
        for orphan in orphans:
            os.waitpid(orphan, os.WNOHANG)
        time.sleep(0.02)


def test_a_sandbox_that_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_run, "_PATIENCE", 0.1)
    deaf = Isolation("deaf", lambda _: ["sleep", "600"])

    async def cancelled() -> None:
        await asyncio.wait_for(run([("code", "")], deaf, LONG), timeout=0.1)

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(cancelled())
    assert time.monotonic() - began < 60


# --- limits alone ---------------------------------------------------------------------------------------


def test_limits_alone_hold_time_memory_output_and_the_size_of_a_file() -> None:
    assert failed("while True: pass", WEAK, SHORT) == "took longer than 1 s"
    assert failed("b'x' * (10 * 2**30)", WEAK) == "used more than 1024 MiB of memory"
    assert failed("while True: print('x' * 1000)", WEAK) == "printed more than 1 MiB"
    assert failed("open('f', 'wb').write(b'x' * 2**27)", WEAK).startswith("OSError: [Errno 27]")
    assert failed("import os\nos.environ['PATH']", WEAK) == "KeyError: 'PATH'"


@pytest.mark.parametrize("sleep", [0, 600], ids=["passed", "ended"])
def test_limits_alone_end_a_daemon_too(sleep: int) -> None:
    assert outcome(DAEMON.format(sleep), WEAK, SHORT).passed == (sleep == 0)


def test_what_does_not_start_may_be_tried_again() -> None:
    broken = Isolation("broken", lambda _: ["/bin/sh", "-c", "echo no room >&2; exit 1"])
    with pytest.raises(TryAgain, match="the sandbox did not start: no room"):
        asyncio.run(run([("code", "")], broken, LONG))
    missing = Isolation("missing", lambda _: ["/nowhere/bwrap"])
    with pytest.raises(TryAgain, match=r"the sandbox did not start: .*No such file"):
        asyncio.run(run([("code", "")], missing, LONG))


def test_a_machine_that_is_not_known_has_no_filter_of_calls() -> None:
    assert calls_filter("riscv64") == b""
    assert len(calls_filter("x86_64")) % 8 == 0

"""Runs a program and watches it: the text of this file is given to `python -c`.

In a sandbox it is process 1: when it ends, the kernel ends all others. It reads a job from standard input,
which stays open as long as the runtime waits, and prints one line: `passed`, or `failed` and the reason.
"""

import ctypes
import marshal
import os
import resource
import select
import sys
import time
from contextlib import suppress
from typing import Any, NoReturn

TICK = 0.02
"""Seconds between two looks at time and memory."""
TAIL = 4096
"""Bytes of the output that are kept: the reason stands at its end."""
LIFELINE, END = 0, 3
"""Where the runtime is heard, and where the program says that it came to its end."""
KILL_WITH_PARENT, OPEN_TO_OTHERS, FILTER_CALLS, TAKE_ORPHANS, NO_NEW_PRIVILEGES = 1, 4, 22, 36, 38
"""What `prctl` is asked for."""


def main() -> None:
    job = marshal.load(sys.stdin.buffer)
    os.environ.clear()
    output, printed = os.pipe()
    end, ended = os.pipe()
    if sys.platform == "linux":
        # The program of a sandbox may be of the same user, and must not write into this process. Where there
        # is none, this process must find whoever loses its parent.
        what = (OPEN_TO_OTHERS, 0) if job["isolated"] else (TAKE_ORPHANS, 1)
        checked(ctypes.CDLL(None, use_errno=True).prctl(*what))
    program = os.fork()
    if program == 0:
        run(job, printed, ended)
    os.close(printed)
    os.close(ended)
    verdict = watch(job, program, output, end)
    if not job["isolated"]:
        end_all(program)
    if verdict is not None:
        os.write(1, verdict.encode(errors="replace") + b"\n")
    elif not job["isolated"]:  # the runtime is gone, and cannot clean up
        import shutil

        shutil.rmtree(job["folder"], ignore_errors=True)
    os._exit(0)


# --- the process that watches ---------------------------------------------------------------------------


def watch(job: dict[str, Any], program: int, output: int, end: int) -> str | None:
    """The verdict; None where nobody waits for one any more."""
    too_late = time.monotonic() + job["seconds"]
    heard, tail, printed = {LIFELINE, output, end}, b"", 0
    status: int | None = None
    while True:
        # Before the pipes: of a program that has ended, all that it said is in them then.
        found = reaped(program)
        status = found if status is None else status
        ready, _, _ = select.select(list(heard), [], [], TICK if status is None else 0)
        if LIFELINE in ready:
            return None
        if end in ready:
            if os.read(end, 1):
                return "passed"
            heard.remove(end)
        if output in ready:
            text = os.read(output, 2**16)
            tail, printed = (tail + text)[-TAIL:], printed + len(text)
            if not text:
                heard.remove(output)
        if status is not None and not (output in ready and text):  # what it said last says why it ended
            return "failed " + reason(job, status, tail)
        if printed > job["output"]:
            return f"failed printed more than {size(job['output'])}"
        if time.monotonic() > too_late:
            return f"failed took longer than {job['seconds']:g} s"
        if job["isolated"] and resident() > job["memory"]:
            return f"failed used more than {size(job['memory'])} of memory"


def reaped(program: int) -> int | None:
    """How the program ended, where it did. Who lost its parent ends here, too."""
    found = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == program:
                found = ended[1]
    return found


def end_all(program: int) -> None:
    """End the program and all that it started, where no sandbox does."""
    with suppress(OSError):
        os.killpg(program, 9)
    with suppress(OSError):  # at the latest because no child is left
        while True:
            with open("/proc/thread-self/children") as children:
                for child in children.read().split():
                    os.kill(int(child), 9)
            os.waitpid(-1, 0)


def resident() -> int:
    """Bytes that all processes but this one hold; what some share counts for each."""
    pages = 0
    for process in os.listdir("/proc"):
        if process.isdigit() and process != "1":
            with suppress(OSError), open(f"/proc/{process}/statm") as numbers:
                pages += int(numbers.read().split()[1])
    return pages * resource.getpagesize()


def reason(job: dict[str, Any], status: int, tail: bytes) -> str:
    """Why a program failed that ended by itself."""
    lines = tail.decode(errors="replace").split("\n")
    # A line may hold other ends of lines, such as a carriage return.
    last = next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")
    if os.WIFSIGNALED(status):
        name = signal_name(os.WTERMSIG(status))
        return f"took longer than {job['seconds']:g} s" if name == "SIGXCPU" else f"ended by {name}"
    if os.WEXITSTATUS(status) == 0 or last.startswith("SystemExit"):
        return "ended before its tests did"
    if last.startswith("MemoryError"):
        return f"used more than {size(job['memory'])} of memory"
    return last[:300] or f"ended with status {os.WEXITSTATUS(status)}"


def signal_name(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:  # those of real time have numbers only
        return f"signal {number}"


def size(count: int) -> str:
    return f"{count / 2**20:g} MiB"


# --- the process that runs the program ------------------------------------------------------------------


def run(job: dict[str, Any], printed: int, ended: int) -> NoReturn:
    """Run the parts of the program one after the other, in one namespace."""
    try:
        os.setsid()
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        os.dup2(ended, END)
        os.closerange(END + 1, 1024)
        os.chdir(job["folder"])
        confine(job)
        module = type(sys)("__main__")
        sys.modules["__main__"] = module
        sys.argv = ["program"]
        for name, text in job["parts"]:
            exec(compile(text, f"<{name}>", "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        sys.__excepthook__(*sys.exc_info())
        sys.stderr.flush()
        os._exit(1)
    os.write(END, b".")
    os._exit(0)


def confine(job: dict[str, Any]) -> None:
    """Take from this process what the program must not have."""
    library = ctypes.CDLL(None, use_errno=True)
    if job["isolated"]:
        checked(library.prctl(OPEN_TO_OTHERS, 1))
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as preferred:
        preferred.write("1000")  # a machine that runs out of memory ends this process before others
    seconds = int(job["seconds"]) + 1
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_CPU, seconds, seconds + 1)
    limit(resource.RLIMIT_FSIZE, job["largest_file"])
    limit(resource.RLIMIT_NOFILE, job["files"])
    limit(resource.RLIMIT_AS, job["memory"])
    if job["processes"]:
        limit(resource.RLIMIT_NPROC, job["processes"])
    if job["user"]:
        become(job["user"])
    if sys.platform == "linux":  # said here, as a change of the user undoes it
        library.prctl(KILL_WITH_PARENT, 9)
        if job["isolated"]:
            drop_privileges(library, job["filter"])


def limit(kind: int, soft: int, hard: int | None = None) -> None:
    """Lower a limit; one that is lower already stays."""
    known = resource.getrlimit(kind)[1]
    highest = soft if hard is None else hard
    highest = highest if known == resource.RLIM_INFINITY else min(highest, known)
    resource.setrlimit(kind, (min(soft, highest), highest))


def become(user: int) -> None:
    """Be a user whom nobody else is: limits on processes do not bind root, and count all of a user's."""
    os.setgroups([])
    try:
        os.setresgid(user, user, user)
    except OSError:  # a container that knows 65,536 users
        user = 65534
        os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def drop_privileges(library: ctypes.CDLL, calls: bytes) -> None:
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    nothing = (ctypes.c_uint32 * 6)()
    checked(library.capset(header, nothing))
    checked(library.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    if calls:

        class Filter(ctypes.Structure):
            _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))

        checked(library.prctl(FILTER_CALLS, 2, ctypes.byref(Filter(len(calls) // 8, calls)), 0, 0))


def checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main()

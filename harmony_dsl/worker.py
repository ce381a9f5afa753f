"""One process of several: what a worker knows about its place, and how it ends.

It is told its place by the environment variables of torchrun, so workers of torchrun, Slurm, Accelerate and
`harmony_dsl.launcher` are alike. Those of our own launcher know besides how the run goes on after a stop, and
watch that the launcher lives.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import NoReturn

PLACE = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What tells a worker its place among the others."""

AGAIN = "HARMONY_RESUME_COMMAND"
"""Set for the workers of our own launcher: the command line that goes on after a stop."""

LOST = 3
"""How a worker of our own launcher ends when another one has gone. It says nothing then."""


def is_worker(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is one of several, whoever started it."""
    return all(name in environ for name in PLACE)


def is_main(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether it is the one that talks to people."""
    return not is_worker(environ) or environ["RANK"] == "0"


def follow_launcher() -> None:
    """Stop when the launcher is gone: at the end of a step, if that comes within a minute.

    Standard input is a pipe from it, which ends with it.
    """
    if AGAIN not in os.environ:
        return
    import signal
    import time
    from threading import Thread

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
        os._exit(2)

    Thread(target=watch, daemon=True).start()


def leave(code: int) -> NoReturn:
    """End this process."""
    if is_worker():
        # Without the libraries' farewells: a thread of torch's process groups aborts some exits.
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)

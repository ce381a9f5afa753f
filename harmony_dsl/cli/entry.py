"""How the process of `harmonyc` begins and ends.

What reads recipes and answers makes many small values that live until it has answered: nothing is collected
meanwhile, and in the end the system takes them back at once, where Python would let go of them one by one.
That is a fifth of the time of a check.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

BRIEF = ("check", "fmt", "plan", "compile", "inputs", "explain", "__complete")
"""Commands that read and answer, and leave nothing to be closed."""


def harmonyc() -> NoReturn:
    """Run the process's own command line, and end the process."""
    _open_what_is_closed()
    if sys.argv[1:2] and sys.argv[1] in BRIEF:
        import gc

        gc.disable()
        from harmony_dsl.cli.main import main

        code = main()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):  # nobody reads it
                code = code or 2
        os._exit(code)
    from harmony_dsl.cli.main import main
    from harmony_dsl.worker import leave

    leave(main())


def _open_what_is_closed() -> None:
    """Where a process was started without an output (`>&-`), Python has None for it; what is written goes
    nowhere then, and no file that is opened later takes its place."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - to the end

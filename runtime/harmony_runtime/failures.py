"""How a run ends early: exceptions that carry words for people. No torch here.

Whatever a user, the data or the machine can foreseeably do wrong ends in one of these. Anything else
that escapes from a run is a bug, and its traceback is wanted.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.values import Ref
from harmony_grammar.diagnostics import Diagnostic


class RunFailed(Exception):  # noqa: N818 - it names what happened, and people read it
    """The run cannot go on. Each fault is a diagnostic, or one paragraph that says cause and mend."""

    def __init__(self, *faults: Diagnostic | str, exit_code: int = 1) -> None:
        self.faults = faults
        self.exit_code = exit_code
        """1: the recipe, its inputs or data are at fault; 2: the machine."""
        super().__init__(self.message or faults[0])

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return tuple(fault for fault in self.faults if isinstance(fault, Diagnostic))

    @property
    def message(self) -> str:
        """The paragraphs, separated by blank lines; empty where there are only diagnostics."""
        return "\n\n".join(fault for fault in self.faults if isinstance(fault, str))

    def __str__(self) -> str:
        return "\n\n".join(_in_words(fault) for fault in self.faults)


class LostProcess(RunFailed):
    """Another process of the run has gone. Why is for that one to say, or for who started it."""

    def __init__(self) -> None:
        super().__init__(
            "another process of this run ended, and this one cannot go on alone: that one, or the system's "
            "log, says why. What was finished is kept: start all processes again with `--resume`",
            exit_code=2,
        )


class Interrupted(Exception):  # noqa: N818
    """The run was asked to stop. `kept` says what a resumed run will find."""

    def __init__(self, kept: str, exit_code: int, reason: str) -> None:
        self.kept = kept
        self.exit_code = exit_code
        """130 after Ctrl-C, 143 after SIGTERM, 0 where the run's time is over."""
        self.reason = reason
        """"interrupted" by a signal, or "max-time"."""
        super().__init__(kept)


class Together:
    """Lets checks fail one by one, so that their faults come out together."""

    def __init__(self) -> None:
        self._faults: list[Diagnostic | str] = []
        self._exit_code = 0

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, raised: BaseException | None, __: object) -> bool:
        if not isinstance(raised, RunFailed):
            return False
        # Two stages over one faulty dataset or model find the same.
        said = {str(RunFailed(fault)) for fault in self._faults}
        self._faults += [fault for fault in raised.faults if str(RunFailed(fault)) not in said]
        self._exit_code = max(self._exit_code, raised.exit_code)
        return True

    def raise_any(self) -> None:
        if self._faults:
            raise RunFailed(*self._faults, exit_code=self._exit_code)


def place(graph: Graph, ref: Ref) -> str:
    """Where a node was written, as the beginning of a message: `gsm8k.recipe:12: `."""
    origin = graph.origins.get(ref)
    return f"{origin.file}:{origin.line}: `{origin.name}`: " if origin else f"`{ref}`: "


@contextmanager
def machine_faults(doing: str) -> Iterator[None]:
    """Turn what the machine does to us into a `RunFailed`; `doing` completes the sentence "while …"."""
    try:
        yield
    except Exception as fault:
        if (system := _of_system(fault)) is not None:
            raise RunFailed(f"while {doing}: {_system_fault(system)}", exit_code=2) from fault
        if not _is_memory(fault):
            raise
        raise RunFailed(
            f"while {doing}: out of memory. Lower the model's `max_batch_tokens` (by default at least "
            "4,096), or set `gradient_checkpointing = true`: both change rounding only",
            exit_code=2,
        ) from fault


def _of_system(fault: Exception) -> OSError | None:
    """What the operating system refused, if it is that."""
    if isinstance(fault, OSError):
        return fault
    # The libraries in Rust, safetensors and tokenizers, have exceptions of their own and say it in the text.
    number = None if isinstance(fault, RunFailed) else re.search(r"\(os error (\d+)\)", str(fault))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else None


def _system_fault(fault: OSError) -> str:
    where = f" ({fault.filename})" if fault.filename else ""
    if fault.errno in (errno.ENOSPC, errno.EDQUOT):
        help_ = "free some space, then go on with `resume`"
    elif isinstance(fault, PermissionError) or fault.errno == errno.EROFS:
        help_ = "check the rights of that place"
    else:
        help_ = "check that the place exists and can be read and written"
    return f"{fault.strerror or fault}{where}: {help_}"


def _is_memory(fault: Exception) -> bool:
    # By name: torch's OutOfMemoryError is a RuntimeError, and its CPU allocator raises a plain one.
    text = str(fault).lower() if isinstance(fault, RuntimeError) else ""
    return isinstance(fault, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def _in_words(fault: Diagnostic | str) -> str:
    if isinstance(fault, str):
        return fault
    first = fault.span.first
    return f"{fault.span.source.name}:{first.line}:{first.column}: {fault.words.message} [{fault.code}]"

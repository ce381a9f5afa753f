"""Writing to people: text that survives a closed pipe and a narrow encoding, and when to use colour."""

from __future__ import annotations

import os
import sys
from typing import TextIO


class Refused(Exception):  # noqa: N818 - it names what happened
    """A command that cannot go on, with one paragraph that says why and what to do.

    The exit code is 2 for usage and machine, 1 where the recipe, its inputs or its data are at fault.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def say(text: str, stream: TextIO | None = None) -> None:
    """Print `text` and a newline. The default stream is standard output.

    A reader that closed its end (`| head`) has seen what it wanted: the rest is not written, and the
    command goes on to its own exit code, so that no training ends because nobody watches it any more.

    Raises:
        Refused: standard output cannot be written for another reason, such as a full disk.
    """
    stream = stream or sys.stdout
    encoding = stream.encoding or "utf-8"
    printable = text.encode(encoding, "backslashreplace").decode(encoding)
    try:
        stream.write(printable + "\n")
        stream.flush()
    except OSError as fault:
        give_up(stream, fault)


def give_up(stream: TextIO, fault: OSError) -> None:
    """Write no more to a stream that could not be written.

    Raises:
        Refused: it is standard output, and not because its reader has seen enough.
    """
    # Python flushes once more on its way out; what is still buffered must have somewhere to go.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if stream is sys.stdout and not isinstance(fault, BrokenPipeError):
        raise Refused(f"cannot write to standard output: {fault.strerror or fault}") from fault


def complain(text: str) -> None:
    """Print paragraphs to standard error; on a terminal their lines end between words."""
    if sys.stderr.isatty():
        from shutil import get_terminal_size
        from textwrap import wrap

        width = min(get_terminal_size().columns, 100)
        lines = text.split("\n")
        # Commands and paths stay whole, to be copied.
        folded = [wrap(line, width, break_long_words=False, break_on_hyphens=False) for line in lines]
        text = "\n".join("\n".join(parts) for parts in folded)
    say(text, sys.stderr)


def wants_color(stream: TextIO) -> bool:
    """Colour is for terminals, and not for people who set NO_COLOR (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 error`, `2 errors`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or f'{noun}s'}"


def did_you_mean(word: str, known: tuple[str, ...]) -> str:
    """`; did you mean `check`?`, or nothing where no known word is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1)
    return f"; did you mean `{near[0]}`?" if near else ""

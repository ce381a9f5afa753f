"""`harmonyc`: finds the command, runs it, and turns every way it can end into an exit code.

0 done; 1 the recipe, its inputs or its data are at fault; 2 usage, a missing extra, the machine, or a
failure of ours; 130 interrupted, 143 terminated. Nothing heavy is imported here: `check` must answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol

from harmony_dsl.cli.output import Refused, complain, did_you_mean, say
from harmony_dsl.cli.parser import Parser


class Command(Protocol):
    """What a command's module has."""

    SUMMARY: str

    def configure(self, parser: Parser) -> None: ...

    def execute(self, parser: Parser, arguments: Sequence[str]) -> int: ...


COMMANDS = (
    "check",
    "fmt",
    "plan",
    "run",
    "preview",
    "grade",
    "sample",
    "compile",
    "lock",
    "inputs",
    "explain",
    "models",
    "datasets",
    "graders",
    "cache",
    "serve-grader",
    "new",
    "completion",
)
"""Every command, imported when it is asked for: a module beside this one, of its name with `_` for `-`."""

_USAGE = "harmonyc COMMAND FILE [options]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `harmonyc` with these arguments (default: the process's own) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except SystemExit as stop:  # how argparse ends after `--help` and after a usage error
        return stop.code if isinstance(stop.code, int) else 2
    except Refused as refusal:
        complain(f"harmonyc: {refusal}")
        return refusal.exit_code
    except KeyboardInterrupt:
        complain("harmonyc: interrupted")
        return 130
    except Exception as fault:
        if "--traceback" in arguments:
            import traceback

            say(traceback.format_exc().rstrip(), sys.stderr)
        complain(_our_failure(fault))
        return 2


def _dispatch(arguments: list[str]) -> int:
    first = next((word for word in arguments if word != "--traceback"), "--help")
    if first in ("-h", "--help", "help"):
        say(_help())
        return 0
    if first == "--version":
        from harmony_dsl import __version__

        say(f"harmonyc {__version__}")
        return 0
    if first == "__complete":  # what the scripts of `completion` ask
        from harmony_dsl.cli.completing import answer

        return answer(arguments[1:])
    if first not in COMMANDS:
        if first.startswith("-"):
            raise Refused(f"`{first}` stands before a command; the command comes first, as in\n{_USAGE}")
        raise Refused(
            f"there is no command `{first}`{did_you_mean(first, COMMANDS)}\n"
            f"This version has {_names()}; `harmonyc --help` tells more."
        )
    command = _command(first)
    parser = Parser(first, command.SUMMARY)
    command.configure(parser)
    place = arguments.index(first)
    return command.execute(parser, arguments[:place] + arguments[place + 1 :])


def _command(name: str) -> Command:
    module: Any = import_module(f"harmony_dsl.cli.{name.replace('-', '_')}")
    return module  # type: ignore[no-any-return]


def _names() -> str:
    *names, last = (f"`{name}`" for name in COMMANDS)
    return f"{', '.join(names)} and {last}"


def _help() -> str:
    lines = [f"  {name:12} {_command(name).SUMMARY}" for name in COMMANDS]
    return "\n".join(
        [
            f"usage: {_USAGE}",
            "",
            *lines,
            "",
            "`harmonyc COMMAND --help` tells a command's options; `harmonyc --version` the version.",
        ]
    )


def _our_failure(fault: Exception) -> str:
    said = " ".join(str(fault).split())
    return (
        f"error[E9001 internal-failure]: harmonyc itself failed: {type(fault).__name__}: {said}\n"
        "This is a fault of Harmony, not of your recipe. Please report it, with the recipe if you can share "
        "it, and with what the same command prints when `--traceback` is added."
    )

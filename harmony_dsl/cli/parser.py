"""Command lines: the argument parser of one command, and the options that commands share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from harmony_dsl.cli.output import did_you_mean
from harmony_grammar.records import Record

if TYPE_CHECKING:
    from harmony_compiler.graph.graph import Launch
    from harmony_compiler.inputs import Setting

_LATER = {
    "check": ("--fix",),
    "plan": ("--graph",),
    "run": ("--reuse", "--allow-drift", "--max-time", "--shard"),
}
"""Options of the language's contract that do not exist yet, besides `--inputs`."""


class Request(Record):
    """What the options that all commands share ask for."""

    settings: tuple[Setting, ...]
    launch: Launch


class Parser(argparse.ArgumentParser):
    """An argument parser that takes no abbreviations and helps with misspelt options."""

    def __init__(self, command: str, description: str) -> None:
        usage = f"harmonyc {command} FILE [options]"
        super().__init__(f"harmonyc {command}", usage, description=description, allow_abbrev=False)
        self._command = command
        self.add_argument(
            "--traceback", action="store_true", help="show the traceback where Harmony itself fails"
        )

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        options, unknown = self.parse_known_args(arguments)
        if unknown:
            self._refuse(unknown[0].partition("=")[0])
        return options

    def _refuse(self, option: str) -> NoReturn:
        if option in ("--inputs", *_LATER.get(self._command, ())):
            self.error(f"`{option}` is not supported yet")
        known = tuple(name for action in self._actions for name in action.option_strings)
        if option.startswith("-"):
            self.error(f"there is no option `{option}`{did_you_mean(option, known)}")
        self.error(f"`{option}` is one file too many")


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """`--set`, `--num-processes`, `--num-machines`: `check`, `compile`, `plan` and `run` take the same."""
    parser.add_argument(
        "--set",
        dest="settings",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="set an input of the recipe; may be given again",
    )
    parser.add_argument(
        "--num-processes",
        metavar="N",
        type=count,
        default=1,
        help="processes in all, one a device (default: 1)",
    )
    parser.add_argument("--num-machines", metavar="M", type=count, default=1, help="machines (default: 1)")


def read_recipe_options(parser: Parser, options: argparse.Namespace) -> Request:
    from harmony_compiler.graph.graph import Launch
    from harmony_compiler.inputs import Setting

    settings: list[Setting] = []
    for text in options.settings:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            parser.error(f"`--set {text}` is not of the form `--set NAME=VALUE`")
        settings.append(Setting(name, value))
    processes, machines = options.num_processes, options.num_machines
    if processes % machines:
        parser.error(f"--num-processes {processes} does not divide over --num-machines {machines}")
    return Request(tuple(settings), Launch(processes, machines))


def count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"`{text}` is not a whole number above 0")
    return number

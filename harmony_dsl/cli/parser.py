"""Command lines: the argument parser of one command, and the options that commands share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from harmony_dsl.cli.output import Refused, did_you_mean
from harmony_grammar.records import Record

if TYPE_CHECKING:
    from harmony_compiler.declared.given import Setting
    from harmony_compiler.graph.graph import Launch
    from harmony_grammar.diagnostics import Diagnostic


class Request(Record):
    """What the options that all commands share ask for."""

    settings: tuple[Setting, ...]
    launch: Launch
    faults: tuple[Diagnostic, ...] = ()
    """Why files with inputs could not be read: without them, nothing can be said of a recipe."""


class Parser(argparse.ArgumentParser):
    """An argument parser that takes no abbreviations and helps with misspelt options."""

    def __init__(self, command: str, description: str) -> None:
        usage = f"harmonyc {command} FILE [options]"
        # Given a width, argparse need not import what asks the terminal, each time an option is added.
        width = min(_columns() - 2, 100)
        layout = partial(argparse.HelpFormatter, width=width)
        super().__init__(
            f"harmonyc {command}", usage, description=description, formatter_class=layout, allow_abbrev=False
        )
        self.add_argument(
            "--traceback", action="store_true", help="show the traceback where Harmony itself fails"
        )

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        options, unknown = self.parse_known_args(arguments)
        if unknown:
            self._refuse(unknown[0].partition("=")[0])
        return options

    def _refuse(self, option: str) -> NoReturn:
        known = tuple(name for action in self._actions for name in action.option_strings)
        if option.startswith("-"):
            self.error(f"there is no option `{option}`{did_you_mean(option, known)}")
        self.error(f"`{option}` is one file too many")


def _columns() -> int:
    """How wide the terminal is, for help texts."""
    try:
        return int(os.environ.get("COLUMNS", "")) or 80
    except ValueError:
        pass
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns if sys.__stdout__ else 80
    except (OSError, ValueError):
        return 80


RECIPE_OPTIONS = ("settings", "inputs", "num_processes", "num_machines", "shard")
"""What `add_recipe_options` adds, as they are called where they have been read."""


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """`--set`, `--inputs` and the launch: all commands with a recipe take the same."""
    parser.add_argument(
        "--set",
        dest="settings",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="set an input of the recipe, or of an import as m.NAME; may be given again",
    )
    parser.add_argument(
        "--inputs",
        metavar="FILE",
        action="append",
        default=[],
        help="set inputs from a .toml, .json or .yaml file; --set counts more",
    )
    parser.add_argument(
        "--num-processes",
        metavar="N",
        type=count,
        default=1,
        help="processes in all, one a device (default: 1)",
    )
    parser.add_argument("--num-machines", metavar="M", type=count, default=1, help="machines (default: 1)")
    parser.add_argument(
        "--shard",
        action="store_true",
        help="each process keeps a part of the weights and of the optimiser's state only (FSDP)",
    )


def read_recipe_options(parser: Parser, options: argparse.Namespace) -> Request:
    from harmony_compiler.declared.given import Setting
    from harmony_compiler.graph.graph import Launch

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
    if options.shard and processes == 1:
        parser.error(
            "--shard spreads the weights over processes, and there is one: add `--num-processes 2` or more"
        )
    faults: list[Diagnostic] = []
    for path in options.inputs:
        _read_inputs(parser, path, settings, faults)
    return Request(tuple(settings), Launch(processes, machines, options.shard), tuple(faults))


def _read_inputs(parser: Parser, path: str, settings: list[Setting], faults: list[Diagnostic]) -> None:
    """Add what a file with inputs holds to `settings`, or to `faults` why it cannot be read."""
    from harmony_compiler.declared.input_files import SUFFIXES, NoYamlError, read_inputs

    if not path.lower().endswith(SUFFIXES):
        *most, last = SUFFIXES
        parser.error(f"`--inputs {path}`: inputs are read from files named {', '.join(most)} or {last}")
    try:
        read = read_inputs(path)
    except NoYamlError as fault:
        raise Refused(
            f"to read {path} needs PyYAML, which is not installed here; `pip install pyyaml` installs it, "
            "and TOML and JSON need nothing"
        ) from fault
    if isinstance(read, tuple):
        settings.extend(read)
    else:
        faults.append(read)


def count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"`{text}` is not a whole number above 0")
    return number


def seconds(text: str) -> float:
    """The seconds of a duration as the language writes it."""
    from harmony_compiler.graph.values import SECONDS, Duration
    from harmony_grammar import literals, syntax
    from harmony_grammar.source import Source, Span

    written = text.strip()
    if written[:1].isdigit():
        found, _ = literals.number(Span(Source("--max-time", written), 0, len(written)))
        if isinstance(found, syntax.Duration) and found.value > 0:
            return Duration(found.value, found.unit).seconds
    raise argparse.ArgumentTypeError(
        f"`{text}` is not a duration above 0: write a number and behind it {', '.join(SECONDS)}, as in `2h`"
    )

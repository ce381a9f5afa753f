"""`harmonyc completion`: what a shell runs to complete our command lines.

A script knows nothing of commands and options: it asks `harmonyc __complete` what could stand where the
cursor is, so that it never has to be made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harmony_dsl.cli.output import say
from harmony_dsl.cli.parser import Parser

SUMMARY = "print a script that completes commands in your shell"

SCRIPTS = Path(__file__).parents[1] / "shells"

SHELLS = ("bash", "zsh", "fish")


def configure(parser: Parser) -> None:
    parser.usage = f"harmonyc completion {'|'.join(SHELLS)}"
    parser.add_argument(
        "shell", metavar="SHELL", choices=SHELLS, help=f"{', '.join(SHELLS)}; the script says how to load it"
    )


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    shell = parser.read(arguments).shell
    say((SCRIPTS / f"harmonyc.{shell}").read_text(encoding="utf-8").rstrip("\n"))
    return 0

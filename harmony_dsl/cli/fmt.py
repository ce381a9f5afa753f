"""`harmonyc fmt`: recipes in the one layout."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Literal, TypeAlias

from harmony_dsl.cli.output import Refused, complain, counted, give_up, say
from harmony_dsl.cli.parser import Parser
from harmony_dsl.cli.recipes import show
from harmony_dsl.cli.writing import rewrite

if TYPE_CHECKING:
    from argparse import Namespace

    from harmony_grammar.diagnostics import Diagnostic
    from harmony_grammar.source import Source

SUMMARY = "write recipes in the one layout"

STDIN = "-"

MARK = "\ufeff"

LARGEST = 16 * 1024 * 1024
"""Beyond this size, in bytes, the compiler says that it is no recipe."""

Outcome: TypeAlias = Literal["formatted", "already formatted", "left as it is"]


def configure(parser: Parser) -> None:
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="a recipe; a folder, for every `.recipe` file below it; or `-`, for standard input, which is "
        "written to standard output",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if a file would be changed"
    )
    parser.add_argument(
        "--diff",
        action="store_true",
        help="write nothing; print what would be changed, and exit with 1 if that is anything",
    )


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    options = parser.read(arguments)
    if STDIN in options.files:
        if len(options.files) > 1:
            parser.error("`-` stands alone: what is read there is written to standard output")
        return _Run(options).standard_input()
    return _Run(options).files(options.files)


class _Run:
    """One call of the command. What is not a diff goes to standard error where a diff is asked for."""

    def __init__(self, options: Namespace) -> None:
        self._diff = options.diff
        self._writes = not (options.check or options.diff)
        self._aside = sys.stderr if options.diff else sys.stdout
        self._counts: Counter[Outcome] = Counter()
        self._code = 0

    def files(self, asked: Sequence[str]) -> int:
        for path in dict.fromkeys(file for each in asked for file in self._below(each)):
            try:
                outcome = self._file(path)
            except Refused as refusal:
                complain(f"harmonyc: {refusal}")
                self._fail(refusal.exit_code)
                outcome = "left as it is"
            self._counts[outcome] += 1
        if self._counts:
            say(self._closing_line(), self._aside)
        return self._code

    def standard_input(self) -> int:
        from harmony_grammar.source import Source

        if sys.stdin is None:
            raise Refused("standard input is closed; `-` reads the recipe there")
        try:
            written = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError as fault:
            raise Refused("standard input is not UTF-8 text", 1) from fault
        text = self._formatted(Source("<stdin>", written.removeprefix(MARK)))
        if text is not None and self._writes:
            self._hand_on(text)
        elif text is not None and text != written:
            self._told("<stdin>", written, text)
        return self._code

    def _hand_on(self, text: str) -> None:
        """To standard output, byte for byte, whatever its encoding is."""
        try:
            sys.stdout.flush()
            sys.stdout.buffer.write(text.encode())
            sys.stdout.buffer.flush()
        except OSError as fault:
            give_up(sys.stdout, fault)

    def _fail(self, code: int) -> None:
        self._code = max(self._code, code)

    def _below(self, path: str) -> Iterator[str]:
        """The recipes that an argument names."""
        if not os.path.isdir(path):  # noqa: PTH112 - a name that pathlib would write otherwise
            yield path
            return
        found = list(_recipes_below(path))
        if not found:
            complain(f"harmonyc: there is no `.recipe` file below {path}")
        yield from found

    def _file(self, path: str) -> Outcome:
        """Format a file.

        Raises:
            Refused: it cannot be written.
        """
        read = _read(path)
        if not isinstance(read, tuple):
            show([read], sys.stderr)
            self._fail(1)
            return "left as it is"
        source, written = read
        text = self._formatted(source)
        if text is None:
            return "left as it is"
        if text == written:
            return "already formatted"
        if self._writes:
            assert source.path is not None
            rewrite(source.path, source.text, text, keep_mark=False)
            say(f"{path}: formatted")
        else:
            self._told(path, written, text)
        return "formatted"

    def _formatted(self, source: Source) -> str | None:
        """The formatted text; None, with a word why, where there is none."""
        from harmony_grammar.formatting import ChangedError, format_source

        try:
            formatted = format_source(source)
        except ChangedError as fault:
            complain(_our_failure(source.name, fault))
            self._fail(2)
            return None
        show(formatted.diagnostics, sys.stderr)
        if formatted.text is None:
            self._fail(1)
        return formatted.text

    def _told(self, name: str, before: str, after: str) -> None:
        """Tell of a text that is not written."""
        if self._diff:
            say(_difference(name, before, after))
        else:
            say(f"{name}: would be formatted")
        self._fail(1)

    def _closing_line(self) -> str:
        """`1 file formatted, 2 files already formatted`."""
        verbs = {} if self._writes else {"formatted": "would be formatted"}
        order: tuple[Outcome, ...] = ("formatted", "already formatted", "left as it is")
        parts = [(self._counts[outcome], verbs.get(outcome, outcome)) for outcome in order]
        return ", ".join(f"{counted(number, 'file')} {verb}" for number, verb in parts if number)


def _read(path: str) -> tuple[Source, str] | Diagnostic:
    """A recipe and its text as it stands in the file, byte order mark included; or why it cannot be read.

    Raises:
        Refused: it is no file that could be written again, such as a pipe.
    """
    from harmony_grammar.source import Source

    place = Path(path).absolute()
    try:
        found = place.stat()
        if not S_ISREG(found.st_mode):
            raise Refused(f"{path} is no regular file; `-` reads standard input", 1)
        written = place.read_bytes().decode() if found.st_size <= LARGEST else None
    except (OSError, ValueError):
        written = None
    if written is None:
        from harmony_compiler.files import read_source

        read = read_source(path)
        if not isinstance(read, Source):
            return read
        written = read.text
    return Source(path, written.removeprefix(MARK), place), written


def _recipes_below(folder: str) -> Iterator[str]:
    """Every `.recipe` file, in the order of their names; what is hidden, no regular file, or a link that
    leads out of the folder, is left out.

    Raises:
        Refused: a folder cannot be read.
    """

    def refuse(fault: OSError) -> None:
        raise Refused(f"cannot read {fault.filename}: {fault.strerror or fault}") from fault

    root = Path(os.path.realpath(folder))
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if name.endswith(".recipe") and not name.startswith(".") and _is_below(path, root):
                yield str(path)


def _is_below(path: Path, root: Path) -> bool:
    return path.is_file() and (not path.is_symlink() or Path(os.path.realpath(path)).is_relative_to(root))


def _difference(name: str, before: str, after: str) -> str:
    """What changes, as `diff -u` prints it."""
    from difflib import unified_diff

    lines = unified_diff(_lines(before), _lines(after), name, name)
    ended = (line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
    return "".join(ended).removesuffix("\n")


def _lines(text: str) -> list[str]:
    """Lines with their ends. Only `\\n` ends one."""
    *whole, rest = text.split("\n")
    return [*(f"{line}\n" for line in whole), *([rest] if rest else [])]


def _our_failure(name: str, fault: Exception) -> str:
    return (
        f"error[E9001 internal-failure]: {name} is left as it is: {fault}\n"
        "This is a fault of Harmony, not of your recipe. Please report it, with the recipe if you can share "
        "it."
    )

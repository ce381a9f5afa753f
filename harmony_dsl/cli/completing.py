"""Completing: what could stand at the end of a command line that is being typed.

The scripts of `harmonyc completion` ask with the words up to the cursor. Commands and options are read off
the parsers themselves; what an option or a word takes is told by its choices, or by its metavar. Nothing here
may disturb who types: where something goes wrong, nothing is offered.
"""

from __future__ import annotations

import os
import re
from argparse import Action
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, TypeAlias

from harmony_dsl.cli.output import say
from harmony_dsl.cli.parser import Parser

Offer: TypeAlias = tuple[str, str]
"""A word, and what it means; "" where it speaks for itself."""

_WIDTH = 80

_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
"""Characters that end an offer early, steer a terminal, or cannot be printed."""

_LARGEST = 4 * 1024 * 1024
"""Bytes of a recipe that is read while somebody types."""


class Line(NamedTuple):
    """A command line up to the word at the cursor."""

    command: str
    module: ModuleType
    words: tuple[str, ...]
    """What stands there beside options and their values."""

    @property
    def recipe(self) -> Path:
        named = [word for word in self.words if word.endswith(".recipe")]
        return Path(*(named or self.words)[:1]).expanduser()


def answer(words: Sequence[str]) -> int:
    """Print `words` or `files`, and below it every offer that begins as the last word does."""
    try:
        kind, offers = offered([unquoted(word) for word in words] or [""])
        lines = [f"{text}\t{told}" if told else text for text, told in offers]
        say("\n".join([kind, *lines]))
    except (Exception, SystemExit):
        return 1
    return 0


def offered(words: Sequence[str]) -> tuple[str, list[Offer]]:
    *before, current = words
    kind, offers = _at(before, current)
    whole = ((text, told) for text, told in offers if text.startswith(current) and not _UNSEEN.search(text))
    return kind, [(text, _brief(told)) for text, told in whole]


def unquoted(word: str) -> str:
    """A word of the command line as a shell reads it, also when its quotes are still open."""
    from shlex import split

    for closed in (word, f'{word}"', f"{word}'"):
        try:
            parts = split(closed)
        except ValueError:
            continue
        return parts[0] if len(parts) == 1 else word  # fish has read it: its blanks are its own
    return word


def _brief(told: str) -> str:
    """What stands beside a word: a line, and no longer than that."""
    text = " ".join(_UNSEEN.sub(" ", told).split())
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


# --- the place on the line ------------------------------------------------------------------------------


def _at(before: Sequence[str], current: str) -> tuple[str, Iterable[Offer]]:
    from harmony_dsl.cli.main import COMMANDS

    command = next((word for word in before if word != "--traceback"), None)
    if command is None:
        if current.startswith("-"):
            return "words", [("--help", "tell the commands"), ("--version", "tell the version")]
        return "words", ((name, _module(name).SUMMARY) for name in COMMANDS)
    if command not in COMMANDS:
        return "words", ()
    module = _module(command)
    parser = Parser(command, module.SUMMARY)
    module.configure(parser)
    return _in(command, module, parser, before[before.index(command) + 1 :], current)


def _module(command: str) -> ModuleType:
    return import_module(f"harmony_dsl.cli.{command.replace('-', '_')}")


def _in(
    command: str, module: ModuleType, parser: Parser, before: Sequence[str], current: str
) -> tuple[str, Iterable[Offer]]:
    options = {name: action for action in parser._actions for name in action.option_strings}
    words: list[str] = []
    given: set[Action] = set()
    waiting: Action | None = None
    ended = False
    for word in before:
        name, equals, _ = word.partition("=")
        if waiting is not None:
            waiting = None
        elif word == "--" and not ended:
            ended = True
        elif word.startswith("-") and len(word) > 1 and not ended:
            if (option := options.get(name)) is not None:
                given.add(option)
                waiting = option if option.nargs != 0 and not equals else None
        else:
            words.append(word)
    line = Line(command, module, tuple(words))
    if waiting is not None:
        return _values(waiting, line, current)
    name, equals, value = current.partition("=")
    if equals and not ended and name in options:
        kind, offers = _values(options[name], line, value)
        return kind, ((f"{name}={text}", told) for text, told in offers)
    taken = None if current.startswith("-") and not ended else _positional(parser, len(words))
    if taken is not None:
        return _values(taken, line, current)
    return "words", (() if ended else _options(parser, given))


def _positional(parser: Parser, number: int) -> Action | None:
    """What takes a word, by its number among those that are no options."""
    for action in parser._actions:
        if not action.option_strings:
            if number == 0 or action.nargs in ("*", "+"):
                return action
            number -= 1
    return None


def _options(parser: Parser, given: set[Action]) -> Iterator[Offer]:
    """Those that may still be given."""
    for action in parser._actions:
        again = isinstance(action.default, list)
        if action.option_strings and (action not in given or again):
            yield action.option_strings[-1], action.help or ""


# --- what takes which values ----------------------------------------------------------------------------


def _values(action: Action, line: Line, current: str) -> tuple[str, Iterable[Offer]]:
    if action.choices is not None:
        return "words", ((str(choice), "") for choice in action.choices)
    called = (*action.option_strings, str(action.metavar))
    for name in (name for one in called for name in (f"{line.command} {one}", one)):
        if name in FILES:
            return "files", _files(current, FILES[name])
        if name in OFFERS:
            return "words", OFFERS[name](line, current)
    if action.metavar == "KEY":
        return _keys(line, current)
    return "words", ()


FILES: Mapping[str, tuple[str, ...] | None] = {
    "run FILE": (".recipe", ".json"),
    "new NAME": (),
    "--data": (".jsonl", ".json", ".csv", ".parquet", ".gz"),
    "--inputs": (".toml", ".json", ".yaml", ".yml"),
    "--on": (".jsonl",),
    "--html": (".html",),
    "--model": (),
    "FILE": (".recipe",),
    "DIR": (),
    "GRAPH.json": (".json",),
    "FILE.py:NAME": (".py",),
}
"""By a command's option or metavar, or by either alone: how names of files end. Folders are offered, too."""


def _files(current: str, ends: tuple[str, ...] | None) -> Iterator[Offer]:
    """Files whose names end so (None: all), and folders, as they are written behind what is typed already."""
    folder, slash, start = current.rpartition("/")
    place = Path(f"{folder}{slash}" or ".").expanduser()
    for entry in sorted(os.scandir(place), key=lambda entry: entry.name):
        if not entry.name.startswith(start) or (entry.name.startswith(".") and not start):
            continue
        if entry.is_dir():
            yield f"{folder}{slash}{entry.name}/", ""
        elif ends is None or entry.name.lower().endswith(ends or "\0"):
            yield f"{folder}{slash}{entry.name}", ""


def _algorithms(line: Line, _: str) -> Iterable[Offer]:
    algorithms: Mapping[str, str] = line.module.ALGORITHMS
    return algorithms.items()


def _actions(line: Line, _: str) -> Iterable[Offer]:
    return ((action, "") for action in line.module.ACTIONS)


def _formats(line: Line, _: str) -> Iterable[Offer]:
    from harmony_compiler.store.datasets import FORMATS

    return ((name, "") for name in FORMATS)


def _explained(line: Line, current: str) -> Iterator[Offer]:
    """Names of the language, codes and slugs; behind a dot the fields of what stands before it."""
    from harmony_compiler.explain.pages import given_out
    from harmony_compiler.explain.reference import entries, names

    owner, dot, _ = current.partition(".")
    if dot:
        fields = {field.name: field.doc for entry in entries(owner) for field in entry.fields}
        yield from ((f"{owner}.{name}", doc) for name, doc in fields.items())
        return
    for group, members in names().items():
        yield from ((name, group) for name in members)
    for entry in given_out().values():
        yield entry.code, entry.slug
        yield entry.slug, entry.code


def _declared(*words: str) -> Callable[[Line, str], Iterator[Offer]]:
    """Names that the recipe on the line declares with one of these words."""

    def offers(line: Line, _: str) -> Iterator[Offer]:
        from harmony_grammar.syntax import ValueDeclaration

        for declaration in _declarations(line.recipe):
            if isinstance(declaration, ValueDeclaration) and declaration.word in words:
                yield declaration.name.text, declaration.doc or declaration.word

    return offers


OFFERS: Mapping[str, Callable[[Line, str], Iterable[Offer]]] = {
    "ACTION": _actions,
    "ALGORITHM": _algorithms,
    "CODE | NAME": _explained,
    "GRADER": _declared("grader"),
    "NAME=VALUE": lambda line, _: _inputs(line.recipe),
    "datasets --format": _formats,
    "preview NAME": _declared("train", "evaluate", "dataset", "grader"),
}
"""By the same names: words to offer, for a line and what is typed of the word."""


# --- the registries -------------------------------------------------------------------------------------


def _keys(line: Line, current: str) -> tuple[str, Iterable[Offer]]:
    """Keys of what the command is about. Behind `add` and its key stand files."""
    from harmony_compiler.store.home import home

    action, *keys = line.words if line.command != "sample" else ("show", *line.words)
    if action == "add":
        if not keys:
            return "words", ()
        return "files", _files(current, (".recipe",) if line.command == "graders" else FILES["--data"])
    if action not in ("show", "rm") or (action == "show" and keys):
        return "words", ()
    known = _held(line.command, home())
    return "words", ((key, "") for key in known if key not in keys)


def _held(command: str, place: Path) -> Sequence[str]:
    match command:
        case "sample" | "models":
            from harmony_compiler.store.registry import keys

            return keys(place / "models")
        case "datasets":
            from harmony_compiler.store.datasets import DATASETS

            return DATASETS.keys(place / "datasets")
        case "graders":
            from harmony_compiler.store.graders import GRADERS

            return GRADERS.keys(place / "graders")
        case "cache":
            from harmony_compiler.store.cache import entries

            return [entry.key for entry in entries(place / "cache")]
    return ()


# --- the recipe on the line -----------------------------------------------------------------------------


def _declarations(path: Path) -> Sequence[object]:
    """What a recipe declares, as far as it can be read: it need not check. A pipe or device would be waited
    for without end."""
    from harmony_grammar.parser import parse_file
    from harmony_grammar.source import Source

    if not path.is_file() or path.stat().st_size > _LARGEST:
        return ()
    return parse_file(Source(str(path), path.read_text(encoding="utf-8-sig"), path)).tree.declarations


def _inputs(path: Path, prefix: str = "", above: tuple[Path, ...] = ()) -> Iterator[Offer]:
    """`NAME=` for each input of a recipe and its imports; `NAME=VALUE` where the type lists its values."""
    from harmony_grammar.syntax import ImportDeclaration, InputDeclaration

    path = path.resolve()
    if path in above:
        return
    for declaration in _declarations(path):
        match declaration:
            case InputDeclaration(name=name, type=type_, doc=doc):
                yield f"{prefix}{name.text}=", f"{type_.span.text}  {doc}"
                yield from ((f"{prefix}{name.text}={value}", "") for value in _listed(type_))
            case ImportDeclaration(path=inner, name=name):
                beside = path.parent / inner.value
                yield from _inputs(beside, f"{prefix}{name.text}.", (*above, path))


def _listed(type_: object) -> Iterator[str]:
    """The values of a type that lists them."""
    from harmony_grammar.syntax import LiteralType, NamedType, UnionType

    match type_:
        case LiteralType(text=text):
            yield text.value
        case NamedType(name=name) if name.text == "bool":
            yield from ("true", "false")
        case UnionType(options=options):
            for option in options:
                yield from _listed(option)

"""`harmonyc cache`: datasets in tokens and grades, kept between runs: what is there, and making room."""

from __future__ import annotations

import json
import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from harmony_dsl.cli.output import Refused, counted, did_you_mean, say
from harmony_dsl.cli.parser import Parser
from harmony_dsl.cli.tables import size, table

if TYPE_CHECKING:
    from harmony_compiler.store.cache import Entry

SUMMARY = "list datasets in tokens and grades that are kept, or remove some"

ACTIONS = ("list", "rm", "clear")
_HEAD = ("key", "dataset", "recipe", "as", "rows", "tokens", "size", "made", "last used")
_SHOWN = 12
"""Of so many characters of a key it is plain which one is meant."""

_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}


def configure(parser: Parser) -> None:
    parser.usage = "harmonyc cache [list | rm KEY… | clear] [options]"
    parser.add_argument("action", metavar="ACTION", nargs="?", default="list", help="`list`, `rm` or `clear`")
    parser.add_argument("keys", metavar="KEY", nargs="*", help="key, or as much of its beginning as tells it")
    parser.add_argument("--json", action="store_true", help="`list`: as JSON")
    parser.add_argument(
        "--older-than", metavar="AGE", type=_age, help="`clear`: only what no run used for so long, as in 30d"
    )


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    options = parser.read(arguments)
    _check_usage(parser, options)
    from harmony_compiler.store.home import home

    cache = home() / "cache"
    match options.action:
        case "list":
            say(_listed(cache, as_json=options.json))
        case "rm":
            _remove(cache, options.keys)
        case "clear":
            _clear(cache, options.older_than)
    return 0


def _check_usage(parser: Parser, options: Namespace) -> None:
    action = options.action
    if action not in ACTIONS:
        parser.error(f"`cache` cannot `{action}`{did_you_mean(action, ACTIONS)}")
    if action == "rm" and not options.keys:
        parser.error("`rm` takes one key or more; `clear` removes all")
    if action != "rm" and options.keys:
        parser.error(f"`{action}` takes no key; `rm` does")
    if options.json and action != "list":
        parser.error("`--json` belongs to `list`")
    if options.older_than is not None and action != "clear":
        parser.error("`--older-than` belongs to `clear`")


def _listed(cache: Path, *, as_json: bool) -> str:
    from harmony_compiler.store.cache import GRADES, entries
    from harmony_compiler.store.grades import held
    from harmony_grammar.records import as_data

    found = entries(cache)
    with _readable(cache):
        grades = held(cache / GRADES)
    if as_json:
        told = {"tokens": [as_data(entry) for entry in found], "grades": as_data(grades)}
        return json.dumps({"cache": str(cache), **told}, indent=2)
    if not found and not grades.grades:
        return (
            f"the cache {cache} is empty; runs put datasets in tokens there, and grades that cost something"
        )
    now = time()
    lines: list[str] = []
    if found:
        total = sum(entry.size for entry in found)
        lines += table(_HEAD, [_cells(entry, now) for entry in found])
        lines.append(f"{counted(len(found), 'dataset')}, {size(total)}, in {cache}")
    if grades.grades:
        lines.append(f"{counted(grades.grades, 'grade')}, {size(grades.size)}, in {cache / GRADES}")
    return "\n".join(lines)


@contextmanager
def _readable(cache: Path) -> Iterator[None]:
    """What is no file of grades, or on a disk that refuses, is told."""
    import sqlite3

    from harmony_compiler.store.cache import GRADES

    try:
        yield
    except (OSError, sqlite3.Error) as fault:
        raise Refused(
            f"{cache / GRADES} cannot be read or written: {fault}; to remove it costs only its grades"
        ) from fault


def _cells(entry: Entry, now: float) -> tuple[str, ...]:
    key = entry.key[:_SHOWN]
    if not entry.kind:
        return key, "damaged", "", "", "", "", size(entry.size), "", ""
    return (
        *(key, entry.dataset, entry.recipe, entry.kind),
        *(f"{entry.rows:,}", f"{entry.tokens:,}", size(entry.size)),
        *(_ago(now - entry.created), _ago(now - entry.used)),
    )


def _ago(seconds: float) -> str:
    """`3 days ago`; nobody wants to know it more exactly."""
    for length, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= length:
            return f"{counted(int(seconds // length), unit)} ago"
    return "just now"


def _remove(cache: Path, keys: Sequence[str]) -> None:
    from harmony_compiler.store.cache import entries, remove

    known = [entry.key for entry in entries(cache)]
    asked = dict.fromkeys(_meant(cache, key, known) for key in keys)
    freed = sum(remove(cache, key) for key in asked)
    say(f"removed {counted(len(asked), 'dataset')} in tokens, {size(freed)}")


def _meant(cache: Path, key: str, known: Sequence[str]) -> str:
    """The one key that begins so."""
    matching = [other for other in known if other.startswith(key)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        shown = ", ".join(sorted(other[:_SHOWN] for other in matching))
        raise Refused(f"`{key}` begins {len(matching)} keys: {shown}", 1)
    raise Refused(f"the cache {cache} has no key that begins with `{key}`; `harmonyc cache` lists them", 1)


def _clear(cache: Path, older_than: float | None) -> None:
    from harmony_compiler.store.cache import GRADES, entries, remove, sweep
    from harmony_compiler.store.grades import forget

    before = time() - (older_than or 0)
    gone = [entry.key for entry in entries(cache) if older_than is None or entry.used < before]
    freed = sum(remove(cache, key) for key in gone) + sweep(cache)
    with _readable(cache):
        grades = forget(cache / GRADES, before if older_than else None)
    also = f", and {counted(grades, 'grade')}" if grades else ""
    say(f"removed {counted(len(gone), 'dataset')} in tokens, {size(freed)}{also}")


def _age(text: str) -> float:
    """A duration as recipes write it, in seconds."""
    found = re.fullmatch(rf"(\d+)({'|'.join(_SECONDS)})", text)
    if found is None:
        raise ArgumentTypeError(f"`{text}` is no age such as 30d, 12h, 5min or 30s")
    return int(found[1]) * _SECONDS[found[2]]

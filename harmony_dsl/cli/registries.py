"""What the commands of the registries have in common: how they are called, and what becomes of keys."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from harmony_dsl.cli.output import Refused, did_you_mean, say
from harmony_dsl.cli.parser import Parser
from harmony_dsl.cli.tables import size

if TYPE_CHECKING:
    from harmony_compiler.store.shelves import Shelf

T = TypeVar("T")


def configure_registry(parser: Parser, calls: str, actions: tuple[str, ...], keys: str) -> None:
    """The words and options that all registries have; `calls` show how to call the command, `keys` says what
    stands behind an action."""
    *most, last = (f"`{action}`" for action in actions)
    parser.usage = f"{parser.prog} [{calls}] [options]"
    parser.add_argument(
        "action", metavar="ACTION", nargs="?", default="list", help=f"{', '.join(most)} or {last}"
    )
    parser.add_argument("words", metavar="KEY", nargs="*", help=keys)
    if "add" in actions:
        parser.add_argument("--replace", action="store_true", help="`add`: in place of what the key holds")
    parser.add_argument("--json", action="store_true", help="`list`, `show`: as JSON")


def check_usage(parser: Parser, command: str, options: Namespace, actions: tuple[str, ...]) -> None:
    """Whether the words and options that all registries have are those of the action."""
    action, words = options.action, options.words
    if action not in actions:
        parser.error(f"`{command}` cannot `{action}`{did_you_mean(action, actions)}")
    if action == "list" and words:
        parser.error("`list` takes no key; `show` takes one")
    if action == "show" and len(words) != 1:
        parser.error("`show` takes one key")
    if action == "rm" and not words:
        parser.error("`rm` takes one key or more")
    if options.json and action not in ("list", "show"):
        parser.error("`--json` belongs to `list` and `show`")


def json_text(data: dict[str, Any]) -> str:
    return json.dumps({"format_version": 1, **data}, indent=2, ensure_ascii=False)


def missing(kind: str, registry: Path, key: str, known: Sequence[str], fills: str) -> NoReturn:
    """
    Raises:
        Refused: the registry has no such key; it says what there is, or what `fills` it.
    """
    has = f"it has {', '.join(known)}" if known else f"it is empty; {fills}"
    raise Refused(
        f"the registry {registry} has no {kind} `{key}`{did_you_mean(key, tuple(known))}; {has}", exit_code=1
    )


def held_by(shelf: Shelf[T], registry: Path, key: str) -> T:
    """What the registry has under a key.

    Raises:
        Refused: nothing, or what cannot be read.
    """
    try:
        held = shelf.at(registry, key)
    except (OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or fault
        raise Refused(
            f"the {shelf.kind} `{key}` in {registry} cannot be read: {reason}", exit_code=1
        ) from fault
    if held is None:
        missing(shelf.kind, registry, key, shelf.keys(registry), f"`harmonyc {shelf.kind}s add` fills it")
    return held


def check_key(parser: Parser, key: str) -> None:
    from harmony_compiler.store.registry import is_key

    if not is_key(key):
        parser.error(
            f"`{key}` is no key: letters, digits, `.`, `_` and `-`, at most 128, a letter or digit first"
        )


@contextmanager
def putting(kind: str, key: str) -> Iterator[None]:
    """Refuses what a key will not have, or the disk."""
    from harmony_compiler.store.shelves import KeyTakenError

    try:
        yield
    except KeyTakenError as fault:
        raise Refused(
            f"`{key}` holds another {kind}; choose another key, or add `--replace`", exit_code=1
        ) from fault
    except OSError as fault:
        raise Refused(f"`{key}` cannot be written: {fault.strerror or fault}") from fault


def remove_all(registry: Path, keys: Sequence[str]) -> None:
    """Take keys out that the registry has, and say so."""
    from harmony_compiler.store.registry import remove, size_of

    for key in keys:
        room = size_of(registry / key)
        try:
            remove(registry, key)
        except OSError as fault:
            raise Refused(f"`{key}` cannot be removed: {fault.strerror}: {fault.filename}") from fault
        say(f"removed {key}, {size(room)}")

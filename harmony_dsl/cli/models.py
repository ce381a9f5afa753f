"""`harmonyc models`: the registry of saved models: what is in it, how it came about, and making room."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony_dsl.cli.output import Refused, complain, counted, say
from harmony_dsl.cli.parser import Parser
from harmony_dsl.cli.registries import check_usage, configure_registry, json_text, missing, remove_all
from harmony_dsl.cli.tables import size, table

if TYPE_CHECKING:
    from harmony_compiler.store.lineage import Lineage
    from harmony_compiler.store.registry import Entry

SUMMARY = "list saved models, show how one came about, or remove some"

ACTIONS = ("list", "show", "rm")
_HEAD = ("key", "weights", "size", "saved", "by", "base")
_FILLS = "`save` in a recipe puts models there"
_MARGIN = 10


def configure(parser: Parser) -> None:
    calls = "list | show KEY | rm KEY…"
    configure_registry(parser, calls, ACTIONS, "key under which a recipe saved a model")
    parser.add_argument("--force", action="store_true", help="`rm`: also the bases of other keys' adapters")


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    options = parser.read(arguments)
    _check_usage(parser, options)
    from harmony_compiler.store.home import home

    registry = home() / "models"
    match options.action:
        case "list":
            say(_listed(registry, as_json=options.json))
        case "show":
            say(_shown(registry, options.words[0], as_json=options.json))
        case "rm":
            _remove(registry, tuple(dict.fromkeys(options.words)), force=options.force)
    return 0


def _check_usage(parser: Parser, options: Namespace) -> None:
    check_usage(parser, "models", options, ACTIONS)
    if options.force and options.action != "rm":
        parser.error("`--force` belongs to `rm`")


def entry_of(registry: Path, key: str) -> Entry:
    """What the registry has under a key.

    Raises:
        Refused: nothing; it says what there is.
    """
    from harmony_compiler.store.registry import entry_at, keys

    entry = entry_at(registry, key)
    if entry is None:
        missing("model", registry, key, keys(registry), _FILLS)
    return entry


# --- list -----------------------------------------------------------------------------------------------


def _listed(registry: Path, *, as_json: bool) -> str:
    from harmony_compiler.store.registry import keys, size_of

    entries = [entry_of(registry, key) for key in keys(registry)]
    if as_json:
        return json_text({"models": [_data(registry, entry) for entry in entries]})
    if not entries:
        return f"the registry {registry} is empty; {_FILLS}"
    rows = [
        (e.key, e.weights, size(size_of(registry / e.key)), _when(e.created), _by(e), e.base) for e in entries
    ]
    return "\n".join(table(_HEAD, rows))


def _by(entry: Entry) -> str:
    return f"{entry.file or entry.recipe}: {entry.stage}"


def _when(created: str) -> str:
    """`2026-01-31T12:00:00+00:00` to the minute, as people write it."""
    from datetime import UTC, datetime

    try:
        return f"{datetime.fromisoformat(created).astimezone(UTC):%Y-%m-%d %H:%M}"
    except ValueError:
        return created


# --- show -----------------------------------------------------------------------------------------------


def _shown(registry: Path, key: str, *, as_json: bool) -> str:
    entry = entry_of(registry, key)
    if as_json:
        return json_text(_data(registry, entry))
    from harmony_compiler.store.registry import dependents, size_of

    beside = f", beside {entry.base or 'a base of its own'}" if entry.weights == "adapter" else ""
    harmony = f", Harmony {entry.harmony}" if entry.harmony else ""
    facts = {
        "weights": f"{entry.weights}, {size(size_of(registry / key))}{beside}",
        "saved": f"{_when(entry.created)} UTC, by {_by(entry)}{harmony}",
        "folder": str(registry / key),
        "identity": entry.identity,
        "graph": entry.graph,
        "data": entry.data,
        "needed by": ", ".join(dependents(registry, key)),
    }
    lines = [key, *(f"  {name:{_MARGIN}} {fact}" for name, fact in facts.items() if fact), ""]
    if entry.lineage is None:
        return "\n".join([*lines, "an earlier version of Harmony saved it, which kept no lineage"])
    return "\n".join([*lines, *_tree(entry.lineage, len(entry.lineage.stages))])


def _tree(lineage: Lineage, trained: int) -> Iterator[str]:
    """The weights after so many stages, and below them what they were made of."""
    if trained:
        stage = lineage.stages[trained - 1]
        adapter = " of an adapter" if stage.adapter else ""
        steps = f"{counted(stage.steps, 'step')}{adapter}"
        yield f"{stage.name}: {stage.algorithm}, {steps} ({_short(stage.identity)})"
        for rows in stage.data:
            yield f"├─ {rows.name}: {rows.source} ({_short(rows.identity)})"
        yield from _last(_tree(lineage, trained - 1))
        return
    pin = f" ({_short(lineage.pin)})" if lineage.pin else ""
    yield f"{lineage.source} {lineage.name}{pin}"
    if lineage.parent is not None:
        yield from _last(_tree(lineage.parent, len(lineage.parent.stages)))


def _last(lines: Iterator[str]) -> Iterator[str]:
    """Lines as the last branch of what stands above them."""
    yield f"└─ {next(lines)}"
    yield from (f"   {line}" for line in lines)


def _short(identity: str) -> str:
    return identity[:12]


def _data(registry: Path, entry: Entry) -> dict[str, Any]:
    from harmony_compiler.store.registry import size_of
    from harmony_grammar.records import as_data

    return {**as_data(entry), "path": str(registry / entry.key), "bytes": size_of(registry / entry.key)}


# --- rm -------------------------------------------------------------------------------------------------


def _remove(registry: Path, keys: Sequence[str], *, force: bool) -> None:
    from harmony_compiler.store.registry import dependents

    for key in keys:
        entry_of(registry, key)
    needed = {key: [other for other in dependents(registry, key) if other not in keys] for key in keys}
    broken = sorted({other for others in needed.values() for other in others})
    if broken and not force:
        bases = ", ".join(f"`{key}`" for key, others in needed.items() if others)
        raise Refused(
            f"{bases} holds the base of {', '.join(f'`{other}`' for other in broken)}, adapters that would "
            "not load without it. Remove them as well, or add `--force`",
            exit_code=1,
        )
    remove_all(registry, keys)
    for other in broken:
        complain(f"note: `{other}` no longer loads: its base is gone")

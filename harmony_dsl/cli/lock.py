"""`harmonyc lock`: look up all that a recipe names, and pin it in `FILE.lock`.

What is on this machine is read and hashed; a hub is asked only where the recipe names something there, and
only then is the runtime imported. Nothing is written unless all was found.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harmony_dsl.cli.output import Refused, counted, say
from harmony_dsl.cli.parser import Parser, Request, add_recipe_options, read_recipe_options
from harmony_dsl.cli.recipes import compile_path, show
from harmony_dsl.cli.tables import table
from harmony_dsl.cli.writing import write

if TYPE_CHECKING:
    from harmony_compiler.graph.graph import Graph
    from harmony_compiler.graph.named import Named
    from harmony_compiler.graph.values import Ref
    from harmony_compiler.locking import Change
    from harmony_compiler.store.lock import Lock, Locked
    from harmony_grammar.diagnostics import Diagnostic

SUMMARY = "pin revisions, schemas and content hashes of models and data in FILE.lock"

_HUB_PACKAGES = ("huggingface_hub", "datasets", "transformers", "pyarrow")


def configure(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="a recipe")
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing and ask no hub; exit with 1 where the lock is missing or out of date",
    )
    add_recipe_options(parser)


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    options = parser.read(arguments)
    request = read_recipe_options(parser, options)
    graph = _graph(options.file, request)
    if graph is None:
        return 1
    from harmony_compiler.locking import changes
    from harmony_compiler.store.lock import lock_path, lock_text

    recipe = Path(options.file)
    place = lock_path(recipe)
    before, held = _before(place)
    folder = recipe.absolute().parent
    lock = _looked_up(graph, folder, before, options)
    text = lock_text(lock).encode()
    told = list(changes(before, lock))
    if told:
        say("\n".join(_lines(told)))
    same = text == held
    if options.check:
        missing = _not_locked(graph, folder, before) if held is not None else []
        say(_checked(place, told, same, missing, options.file))
        return int(not same or bool(missing))
    if not same:
        write(place, held, text)
    counts = Counter(change.state for change in told)
    words = ", ".join(f"{number} {state}" for state, number in counts.items()) or "the recipe names nothing"
    say(f"{place}: {words}; {'as it was' if same else 'written'}")
    return 0


def _graph(path: str, request: Request) -> Graph | None:
    """All of a recipe, as it stands without a lock: an old one must not decide what the new one has."""
    compilation = compile_path(path, request, whole=True, locked=False)
    if compilation.graph is None:
        show(compilation.diagnostics, sys.stderr)
    return compilation.graph


def _before(place: Path) -> tuple[Lock, bytes | None]:
    """The lock that is there and its file's bytes; an empty one where there is none that can be read."""
    from harmony_compiler.store.lock import NO_LOCK, read_lock

    held: bytes | None = None
    try:
        held = place.read_bytes()
        return read_lock(held), held
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as fault:
        say(f"{place}: the lock that is there cannot be read: {getattr(fault, 'strerror', None) or fault}")
    return NO_LOCK, held


# --- looking things up ----------------------------------------------------------------------------------


def _looked_up(graph: Graph, folder: Path, before: Lock, options: Namespace) -> Lock:
    """The lock of a graph, as everything is now; with `--check`, what is on a hub as it was before.

    Raises:
        Refused: something cannot be found; all of that is told at once.
    """
    from harmony_compiler.graph.named import HUB
    from harmony_compiler.locking import things_of
    from harmony_compiler.store.lock import Lock

    lock, faults = Lock(), list[_NotFoundError]()
    for (section, key), (thing, ref) in things_of(graph, folder).items():
        entries, where = lock.section(section), _place(graph, ref)
        try:
            if thing.kind != HUB:
                entries[key] = _here(thing, where)
            elif not options.check:
                entries[key] = _on_hub(thing, where)
            elif found := thing.found(before, folder):
                entries[found[0]] = found[1]
        except _NotFoundError as fault:
            faults.append(fault)
    if faults:
        show([finding for fault in faults for finding in fault.findings], sys.stderr)
        code = max(fault.exit_code for fault in faults)
        raise Refused("\n\n".join([*dict.fromkeys(map(str, faults)), "nothing was written"]), exit_code=code)
    return lock


def _not_locked(graph: Graph, folder: Path, before: Lock) -> list[str]:
    """What a graph names on a hub, and a lock does not have."""
    from harmony_compiler.graph.named import HUB
    from harmony_compiler.locking import things_of

    return [
        f"{section.removesuffix('s')} {key}"
        for (section, key), (thing, _) in things_of(graph, folder).items()
        if thing.kind == HUB and thing.found(before, folder) is None
    ]


class _NotFoundError(Exception):
    """Something cannot be looked up, in one paragraph."""

    def __init__(self, message: str, exit_code: int = 1, findings: Sequence[Diagnostic] = ()) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.findings = findings


def _here(thing: Named, where: str) -> Locked:
    """What is known of something on this machine."""
    import zlib

    from harmony_compiler.locking import FaultyRowsError, looked_at
    from harmony_compiler.store.cache import HASHES
    from harmony_compiler.store.hashes import Hashes
    from harmony_compiler.store.home import home

    hashes = Hashes(home() / "cache" / HASHES)
    try:
        return looked_at(thing, hashes.content, home() / "models")
    except FaultyRowsError as fault:
        rows = counted(fault.faulty, "row is", "rows are")
        raise _NotFoundError(f"{where}{thing.place}: {rows} faulty", findings=fault.faults) from fault
    except (OSError, EOFError, ValueError, zlib.error) as fault:
        reason = getattr(fault, "strerror", None) or fault
        raise _NotFoundError(f"{where}{thing.place} cannot be read: {reason}") from fault
    except ImportError as fault:
        mend = "`pip install pyarrow` installs it"
        raise _NotFoundError(
            f"{where}to read Parquet needs pyarrow, which is not installed: {mend}", exit_code=2
        ) from fault


def _on_hub(thing: Named, where: str) -> Locked:
    """What the hub says now."""
    from importlib.util import find_spec

    if missing := [name for name in _HUB_PACKAGES if find_spec(name) is None]:
        raise _NotFoundError(
            f"{where}to ask the hub needs packages that are not installed here ({', '.join(missing)}); "
            "`pip install 'harmony-dsl[train]'` installs them",
            exit_code=2,
        )
    from harmony_runtime.failures import RunFailed
    from harmony_runtime.looking_up import dataset, model

    assert thing.repo is not None
    repo, config, revision = thing.repo
    try:
        if thing.section == "models":
            return model(repo, revision, where)
        return dataset(repo, config, revision, where)
    except RunFailed as fault:
        raise _NotFoundError(fault.message, fault.exit_code, fault.diagnostics) from fault


def _place(graph: Graph, ref: Ref) -> str:
    """Where a node was written, as the beginning of a message."""
    origin = graph.origins[ref]
    return f"{origin.file}:{origin.line}: `{origin.name}`: "


# --- telling --------------------------------------------------------------------------------------------


def _lines(told: Sequence[Change]) -> list[str]:
    rows = [(change.state, change.section.removesuffix("s"), change.key, change.facts) for change in told]
    _, *lines = table(("", "", "", ""), rows)
    return lines


def _checked(place: Path, told: Sequence[Change], same: bool, missing: Sequence[str], recipe: str) -> str:
    """What `--check` found, in one paragraph; `missing` is what a lock that is there does not have."""
    asked = ""
    if any(change.key.startswith("hf:") for change in told):
        asked = " (what is on the hub is only looked for in the lock)"
    if same and not missing:
        return f"{place}: up to date{asked}"
    what = "is out of date" if place.exists() else "is missing"
    lacks = f"; not in the lock: {', '.join(missing)}" if missing else ""
    return f"{place}: the lock {what}{asked}{lacks}; `harmonyc lock {recipe}` writes it anew"

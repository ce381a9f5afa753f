"""`harmonyc datasets`: the registry of datasets, whose keys recipes read by `registry(key)`."""

from __future__ import annotations

import sys
import zlib
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony_dsl.cli.output import Refused, counted, say
from harmony_dsl.cli.parser import Parser
from harmony_dsl.cli.registries import (
    check_key,
    check_usage,
    configure_registry,
    held_by,
    json_text,
    putting,
    remove_all,
)
from harmony_dsl.cli.tables import size, table

if TYPE_CHECKING:
    from harmony_compiler.store.datasets import SavedDataset

SUMMARY = "register data files under a key, list them, or remove some"

ACTIONS = ("list", "show", "add", "rm")
_HEAD = ("key", "format", "rows", "size", "added", "files")


def configure(parser: Parser) -> None:
    calls = "list | show KEY | add KEY FILE… | rm KEY…"
    configure_registry(parser, calls, ACTIONS, "key, with `add` the files behind it")
    parser.add_argument("--format", metavar="NAME", help="`add`: how files are read whose names do not tell")


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    options = parser.read(arguments)
    _check_usage(parser, options)
    from harmony_compiler.store.home import home

    registry = home() / "datasets"
    match options.action:
        case "list":
            say(_listed(registry, as_json=options.json))
        case "show":
            say(_shown(registry, options.words[0], as_json=options.json))
        case "add":
            _add(parser, registry, options)
        case "rm":
            _remove(registry, tuple(dict.fromkeys(options.words)))
    return 0


def _check_usage(parser: Parser, options: Namespace) -> None:
    check_usage(parser, "datasets", options, ACTIONS)
    if options.action == "add" and len(options.words) < 2:
        parser.error("`add` takes a key and one file or more")
    if (options.format or options.replace) and options.action != "add":
        parser.error(f"`--{'format' if options.format else 'replace'}` belongs to `add`")


# --- list, show -----------------------------------------------------------------------------------------


def _listed(registry: Path, *, as_json: bool) -> str:
    from harmony_compiler.store.datasets import DATASETS
    from harmony_compiler.store.registry import size_of

    held = {key: held_by(DATASETS, registry, key) for key in DATASETS.keys(registry)}
    if as_json:
        return json_text({"datasets": [_data(registry, key, one) for key, one in held.items()]})
    if not held:
        return f"the registry {registry} is empty; `harmonyc datasets add` fills it"
    rows = [
        (
            key,
            one.format,
            f"{one.rows:,}",
            size(size_of(registry / key)),
            one.created[:10],
            ", ".join(one.files),
        )
        for key, one in held.items()
    ]
    return "\n".join(table(_HEAD, rows))


def _shown(registry: Path, key: str, *, as_json: bool) -> str:
    from harmony_compiler.store.datasets import DATASETS
    from harmony_compiler.store.registry import size_of

    held = held_by(DATASETS, registry, key)
    if as_json:
        return json_text(_data(registry, key, held))

    facts = {
        "rows": f"{held.rows:,}",
        "format": held.format,
        "size": size(size_of(registry / key)),
        "added": held.created,
        "folder": str(registry / key),
    }
    lines = [key, *(f"  {name:6}  {fact}" for name, fact in facts.items()), "  files"]
    return "\n".join([*lines, *(f"    {hash_[:12]}  {name}" for name, hash_ in held.files.items())])


def _data(registry: Path, key: str, held: SavedDataset) -> dict[str, Any]:
    from harmony_compiler.store.registry import size_of
    from harmony_grammar.records import as_data

    return {"key": key, **as_data(held), "path": str(registry / key), "bytes": size_of(registry / key)}


# --- add, rm --------------------------------------------------------------------------------------------


def _add(parser: Parser, registry: Path, options: Namespace) -> None:
    from datetime import UTC, datetime

    from harmony_compiler.store.datasets import add

    key, *words = options.words
    check_key(parser, key)
    files = [Path(word) for word in words]
    format_ = _format(parser, files, options.format)
    rows = _counted(files, format_)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    with putting("dataset", key):
        held = add(registry, key, files, format_, rows=rows, created=created, replace=options.replace)
    known = "" if held.created == created else ", which were there already"
    say(f'{key}: {counted(held.rows, "row")} of {format_}{known}; a recipe reads them by `registry("{key}")`')


def _format(parser: Parser, files: Sequence[Path], given: str | None) -> str:
    from harmony_compiler.store.datasets import FORMATS

    if given is not None:
        if given not in FORMATS:
            parser.error(f"`--format {given}` is none of {', '.join(FORMATS)}")
        return given
    found = {file: file.name.lower().removesuffix(".gz").rpartition(".")[2] for file in files}
    unknown = next((file for file, end in found.items() if end not in FORMATS), None)
    if unknown is not None:
        parser.error(f"the name of {unknown} does not tell its format; add `--format {'|'.join(FORMATS)}`")
    if len(set(found.values())) > 1:
        parser.error("files of one dataset have one format; register them under keys of their own, and `mix`")
    return next(iter(found.values()))


def _counted(files: Sequence[Path], format_: str) -> int:
    """How many rows there are. What is wrong with some is said, and refused."""
    from harmony_compiler.data.whole_files import count_rows
    from harmony_dsl.cli.recipes import show

    rows, faulty = 0, 0
    for file in files:
        try:
            found = count_rows(file, format_)
        except UnicodeDecodeError as fault:
            raise Refused(f"{file} cannot be read: it is not UTF-8 text", exit_code=1) from fault
        except (OSError, EOFError, ValueError, zlib.error) as fault:
            reason = getattr(fault, "strerror", None) or fault
            raise Refused(f"{file} cannot be read: {reason}", exit_code=1) from fault
        except ImportError as fault:
            raise Refused(
                "to read Parquet needs pyarrow, which is not installed: `pip install pyarrow` installs it"
            ) from fault
        show(found.faults, sys.stderr)
        rows, faulty = rows + found.rows, faulty + found.faulty
    if faulty:
        raise Refused(f"nothing is registered: {counted(faulty, 'row is', 'rows are')} faulty", exit_code=1)
    if not rows:
        raise Refused(f"nothing is registered: {' and '.join(map(str, files))} hold no rows", exit_code=1)
    return rows


def _remove(registry: Path, keys: Sequence[str]) -> None:
    from harmony_compiler.store.datasets import DATASETS

    for key in keys:
        held_by(DATASETS, registry, key)
    remove_all(registry, keys)

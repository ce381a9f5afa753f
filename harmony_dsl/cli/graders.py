"""`harmonyc graders`: the registry of graders, which recipes publish and others read by `registry(key)`."""

from __future__ import annotations

import math
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony_dsl.cli.output import Refused, complain, say
from harmony_dsl.cli.parser import RECIPE_OPTIONS, Parser, add_recipe_options, read_recipe_options
from harmony_dsl.cli.recipes import compile_path, show
from harmony_dsl.cli.registries import (
    check_key,
    check_usage,
    configure_registry,
    held_by,
    json_text,
    putting,
    remove_all,
)
from harmony_dsl.cli.tables import table

if TYPE_CHECKING:
    from harmony_compiler.compile import Compilation
    from harmony_compiler.graph.graph import Graph
    from harmony_compiler.store.graders import SavedGrader
    from harmony_dsl.cli.parser import Request

SUMMARY = "publish a recipe's grader under a key, list them, or remove some"

ACTIONS = ("list", "show", "add", "rm")
_HEAD = ("key", "needs", "scores", "published", "by", "what")


def configure(parser: Parser) -> None:
    calls = "list | show KEY | add KEY FILE [GRADER] | rm KEY…"
    configure_registry(parser, calls, ACTIONS, "key; with `add` a recipe, and which of its graders")
    add_recipe_options(parser)


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    options = parser.read(arguments)
    _check_usage(parser, options)
    from harmony_compiler.store.home import home

    registry = home() / "graders"
    match options.action:
        case "list":
            say(_listed(registry, as_json=options.json))
        case "show":
            say(_shown(registry, options.words[0], as_json=options.json))
        case "add":
            return _add(parser, registry, options)
        case "rm":
            _remove(registry, tuple(dict.fromkeys(options.words)))
    return 0


def _check_usage(parser: Parser, options: Namespace) -> None:
    check_usage(parser, "graders", options, ACTIONS)
    if options.action == "add" and len(options.words) not in (2, 3):
        parser.error("`add` takes a key, a recipe, and the grader's name where the recipe has several")
    if options.action != "add":
        for name in ("replace", *RECIPE_OPTIONS):
            if getattr(options, name) != parser.get_default(name):
                option = "set" if name == "settings" else name.replace("_", "-")
                parser.error(f"`--{option}` belongs to `add`")


# --- list, show -----------------------------------------------------------------------------------------


def _listed(registry: Path, *, as_json: bool) -> str:
    from harmony_compiler.store.graders import GRADERS

    held = {key: held_by(GRADERS, registry, key) for key in GRADERS.keys(registry)}
    if as_json:
        return json_text({"graders": [_data(registry, key, one) for key, one in held.items()]})
    if not held:
        return f"the registry {registry} is empty; `harmonyc graders add` fills it"
    rows = [
        (
            key,
            ", ".join(dict.fromkeys(name for name, _ in one.needs)),
            _scores(one),
            one.created[:10],
            f"{one.file or one.recipe}: {one.grader}",
            one.doc.partition("\n")[0],
        )
        for key, one in held.items()
    ]
    return "\n".join(table(_HEAD, rows))


def _shown(registry: Path, key: str, *, as_json: bool) -> str:
    from harmony_compiler.store.graders import GRADERS

    held = held_by(GRADERS, registry, key)
    if as_json:
        return json_text(_data(registry, key, held))
    from harmony_compiler.graph.graph import Graph
    from harmony_compiler.plan.shown import part_text

    facts = {
        "scores": _scores(held),
        "needs": ", ".join(f"{name}: {type_}" for name, type_ in held.needs) or "nothing",
        "published": f"{held.created}, by {held.file or held.recipe}: {held.grader}, Harmony {held.harmony}",
        "folder": str(registry / key),
    }
    lines = [key, *(f"  # {line}" for line in held.doc.splitlines())]
    lines += [f"  {name:10} {fact}" for name, fact in facts.items()]
    lines += [f"  {'file':10} {name}  {hash_[:12]}" for name, hash_ in held.files.items()]
    try:
        graph = Graph.from_json(held.graph)
    except ValueError as fault:
        raise Refused(f"the grader `{key}` in {registry} cannot be read: {fault}", exit_code=1) from fault
    for ref in graph.nodes:
        title, fields = part_text(graph, ref)
        lines += ["", f"  {title}", *(f"    {field}" for field in fields)]
    return "\n".join(lines)


def _scores(held: SavedGrader) -> str:
    low, high = held.scores
    if math.isinf(low) and math.isinf(high):
        return "any number"
    if math.isinf(high):
        return f"{low:g} or more"
    return f"{high:g} or less" if math.isinf(low) else f"{low:g} to {high:g}"


def _data(registry: Path, key: str, held: SavedGrader) -> dict[str, Any]:
    from harmony_compiler.store.graders import GRADERS

    return {"key": key, **GRADERS.told(held), "path": str(registry / key)}


# --- add ------------------------------------------------------------------------------------------------


def _add(parser: Parser, registry: Path, options: Namespace) -> int:
    from harmony_compiler.store.graders import add

    key, file, *names = options.words
    check_key(parser, key)
    request = read_recipe_options(parser, options)
    name = names[0] if names else _only_grader(file, request)
    if name is None:
        return 1
    compilation = compile_path(file, request, wanted=name)
    show(compilation.diagnostics, sys.stderr)
    if compilation.graph is None:
        return 1
    with putting("grader", key):
        made = _made(registry, file, name, compilation.graph, compilation)
        held = add(registry, key, made, replace=options.replace)
    known = "" if held is made else ", which was there already"
    say(f'{key}: `{name}` of {file}{known}; a recipe uses it by `registry("{key}")`')
    return 0


def _only_grader(file: str, request: Request) -> str | None:
    """The one grader that a recipe declares; None, and reported, where the recipe is at fault."""
    from harmony_compiler.graph.graders import Grader

    whole = compile_path(file, request, whole=True)
    if whole.graph is None:
        show(whole.diagnostics, sys.stderr)
        return None
    declared = [name for name, ref in whole.names.items() if isinstance(whole.graph.nodes[ref], Grader)]
    own = [name for name in declared if "." not in name]
    if len(own) != 1:
        has = f"declares {', '.join(own)}; name one of them" if own else "declares no grader"
        raise Refused(f"{file} {has}: `harmonyc graders add KEY {file} GRADER`", exit_code=1)
    return own[0]


def _made(registry: Path, file: str, name: str, graph: Graph, compilation: Compilation) -> SavedGrader:
    """A grader as the registry keeps it, its Python files there already."""
    from datetime import UTC, datetime

    from harmony_compiler.graph.publishing import paths_in, trained_in, with_python_files
    from harmony_compiler.graph.splicing import NotPublishedError, spliced
    from harmony_compiler.store.graders import SavedGrader
    from harmony_dsl import __version__
    from harmony_grammar.records import replace

    (root,) = graph.outputs
    if (trained := trained_in(graph)) is not None:
        model = graph.stage_name(trained)
        raise Refused(
            f"`{name}` cannot be published: it asks the model `{model}`, which exists only while the recipe "
            f'runs. Save the model, and name it by `registry("KEY")`',
            exit_code=1,
        )
    try:
        whole = spliced(graph, registry)  # also what it is made of stays as it is now
    except NotPublishedError as fault:
        raise Refused(str(fault), exit_code=1) from fault
    files: dict[str, str] = {}
    contract = compilation.contract
    assert contract is not None
    whole = with_python_files(whole, lambda path: _kept(registry, path, files))
    for path in dict.fromkeys(paths_in(whole)):
        complain(f"harmonyc: `{name}` reads {path}, which is not copied: it grades only where that is")
    return SavedGrader(
        grader=name,
        doc=graph.origins[root].doc,
        recipe=graph.name,
        file=Path(file).name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        harmony=__version__,
        scores=(contract.scores.low, contract.scores.high),
        needs=contract.needs,
        files=files,
        graph=replace(whole, inputs={}).to_json(),
    )


def _kept(registry: Path, path: Path, files: dict[str, str]) -> str:
    """Copy a Python file and the modules that it needs into the registry; gives its path there."""
    from harmony_compiler.store.graders import keep_files
    from harmony_compiler.store.modules import with_modules

    try:
        read = {name: module.read_bytes() for name, module in with_modules(path).items()}
    except SyntaxError as fault:
        where = f"{fault.filename}:{fault.lineno}"
        raise Refused(
            f"{path} cannot be copied: {where} is no valid Python: {fault.msg}", exit_code=1
        ) from fault
    except OSError as fault:
        raise Refused(
            f"{path} cannot be copied: {fault.filename} cannot be read: {fault.strerror}", exit_code=1
        ) from fault
    folder, hashes = keep_files(registry, read)
    files |= hashes
    return f"{folder}/{path.name}"


# --- rm -------------------------------------------------------------------------------------------------


def _remove(registry: Path, keys: Sequence[str]) -> None:
    from harmony_compiler.store.graders import GRADERS

    for key in keys:
        held_by(GRADERS, registry, key)
    remove_all(registry, keys)

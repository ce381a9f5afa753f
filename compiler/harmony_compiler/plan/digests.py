"""The digest of a plan: one name for what a person has read and agreed to."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from harmony_compiler.files import HEAD, Files
from harmony_compiler.graph.graph import Graph, value_to_json
from harmony_compiler.graph.identity import digest, meanings
from harmony_compiler.graph.node import schema
from harmony_compiler.graph.values import Ref
from harmony_grammar.records import as_data


def digest_of_plan(graph: Graph, files: Files, registry: Path | None) -> str:
    """Equal for graphs that compute the same, in the same places and under the same launch.

    The content of files is part of it as far as a compiler reads: their sizes and first megabytes; an
    identity, for which a run reads all of them, is something else. Names, comments, the layout of the recipe
    and where files lie are not in it. Empty where something cannot be read.
    """
    try:
        known = meanings(graph, _content(files), registry or Path("/nowhere")).identities
    except (OSError, ValueError):
        return ""
    told: dict[Ref, str] = {}
    for ref, node in graph.nodes.items():  # each stands after what it reads
        places = {
            name: value_to_json(getattr(node, name))
            for name, spec in schema(type(node)).items()
            if spec.role == "placement" and not spec.is_edge
        }
        told[ref] = digest([known[ref], places, [told[needed] for needed in graph.needs(ref)]])
    return digest([sorted(told[ref] for ref in graph.outputs), as_data(graph.launch)])


def _content(files: Files) -> Callable[[str], str]:
    """What stands for the content of a file or a folder."""

    @cache
    def content(path: str) -> str:
        place = Path(path)
        if not files.is_folder(place):
            return digest([_size(files, place), _hex(files.head(place, HEAD))])
        inside: dict[str, Any] = {name: content(str(place / name)) for name in files.names_in(place)}
        return digest(inside)

    return content


def _hex(data: bytes) -> str:
    from harmony_compiler.graph.identity import sha256

    found: str = sha256()(data).hexdigest()
    return found


def _size(files: Files, place: Path) -> int:
    with files.opened(place) as stream:
        return stream.seek(0, 2)

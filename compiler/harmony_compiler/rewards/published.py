"""Published graders: what the registry tells a recipe of `registry(key)`, and what it is told of a grader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harmony_compiler.files import Files
from harmony_compiler.findings.data import UnreadableFile
from harmony_compiler.findings.graph import UnpublishedGrader
from harmony_compiler.graph.column_types import read_type_text, type_text
from harmony_compiler.graph.graders import RegistryGrader
from harmony_compiler.graph.types import JSON
from harmony_compiler.naming.near import nearest
from harmony_compiler.rewards.intervals import Interval
from harmony_compiler.store.registry import LARGEST
from harmony_compiler.typed import Made, Read
from harmony_compiler.whole.meeting import reads_of
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.records import Record


class Contract(Record):
    """What a recipe must know of a grader to use it."""

    scores: Interval
    needs: tuple[tuple[str, str], ...]
    """Keys of metadata, each with its type as `columns` has it."""


class Published(Record):
    """The published graders of a recipe, each by the id of its `Made`."""

    needs: dict[int, tuple[Read, ...]]
    scores: dict[int, Interval]
    diagnostics: tuple[Diagnostic, ...]


def published(made: Sequence[Made], graders: Path | None, files: Files) -> Published:
    """What the registry of graders, the folder `graders`, knows of those that a recipe names by key."""
    needs: dict[int, tuple[Read, ...]] = {}
    scores: dict[int, Interval] = {}
    findings: list[Diagnostic] = []
    if graders is None:
        return Published(needs, scores, ())
    for item in made:
        if issubclass(item.cls, RegistryGrader) and isinstance(item.values["key"], str):
            found = _contract(item, graders, files)
            if isinstance(found, Contract):
                needs[id(item)], scores[id(item)] = tuple(_reads(item, found)), found.scores
            else:
                findings.append(found)
    return Published(needs, scores, tuple(findings))


def _contract(item: Made, graders: Path, files: Files) -> Contract | Diagnostic:
    from harmony_compiler.store.graders import GRADERS  # few recipes need it

    key, span = item.values["key"], item.given["key"].span
    manifest = GRADERS.manifest(graders, key)
    if manifest is None:
        near = nearest(key, GRADERS.keys(graders))
        return UnpublishedGrader(span=span, key=key, suggestion=near.name, fixes=near.quoted().fixes(span))
    try:
        held = GRADERS.read(files.head(manifest, LARGEST))
    except (OSError, ValueError) as fault:
        reason = (getattr(fault, "strerror", None) or str(fault)).lower()
        return UnreadableFile(span=span, path=str(manifest), reason=reason)
    return Contract(Interval(*held.scores), held.needs)


def _reads(item: Made, contract: Contract) -> Iterator[Read]:
    for key, type_ in contract.needs:
        yield Read(key, item.given["key"].span, read_type_text(type_) or JSON)


def contract_of(
    grader: Made,
    made: Sequence[Made],
    needs: Mapping[int, tuple[Read, ...]],
    scores: Mapping[int, Interval],
) -> Contract:
    """What other recipes must know of a grader of this one; `needs` are as in `meet`, `scores` those of
    published graders."""
    from harmony_compiler.rewards.score_forms import Forms  # only who asks for one grader pays for it

    forms = Forms(made, scores)
    reads = {(read.key, type_text(read.type)): None for read in reads_of(grader, needs)}
    return Contract(forms.interval(forms.of(grader)), tuple(sorted(reads)))

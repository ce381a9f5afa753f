"""Rows: what is known about a dataset beyond its fields, from the data itself.

Fills in the mapping of a known layout, finds the types of the metadata, and the kind of rows.
"""

from __future__ import annotations

from typing import Protocol

from harmony_compiler.data import layouts
from harmony_compiler.data.heads import Head, Heads
from harmony_compiler.findings.data import RecognisedLayout
from harmony_compiler.graph.datasets import MAPPED, Mix, Rows
from harmony_compiler.graph.node import schema
from harmony_compiler.graph.settings import AllColumns
from harmony_compiler.graph.types import JSON, STR, TEMPLATE, Type
from harmony_compiler.store.layouts import recognised
from harmony_compiler.typed import Made, Value, plain
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.records import replace
from harmony_grammar.source import Span


class Asking(Protocol):
    """Who makes a dataset."""

    @property
    def heads(self) -> Heads: ...

    def report(self, finding: Diagnostic) -> None: ...


def completed(desk: Asking, made: Made) -> Made:
    """A dataset with what its data says."""
    if not issubclass(made.cls, Rows):
        return replace(made, metadata=_shared(made)) if issubclass(made.cls, Mix) else made
    head = desk.heads.of(made)
    if maps_nothing(made) and (layout := recognised(head)) is not None:
        filled = layouts.given(layout, made.head)
        if desk.heads.first_time(head, layout.name):
            finding = RecognisedLayout(
                span=made.head,
                these=_in_words(head),
                layout=layout.name,
                mapping=layout.mapping,
                unread=", ".join(layout.unread(head.names or ())),
            )
            desk.report(finding)
        made = replace(
            made,
            given=made.given | filled,
            values=made.values | {name: plain(value) for name, value in filled.items()},
            recognised=frozenset(filled),
        )
    return replace(made, metadata=_metadata(made, head), columns=head)


def _in_words(head: Head) -> str:
    if head.origin == "the rows":
        return "the rows are"
    return f"`{head.origin}` is" if head.origin != "`columns`" else "the columns that are stated are"


def maps_nothing(made: Made) -> bool:
    """Whether a dataset leaves its mapping to its layout."""
    return not made.lost and not any(name in made.given for name in MAPPED)


def kind_is_open(made: Made, heads: Heads) -> bool:
    """Whether nobody can say what kind of rows a dataset has: what its data would say is not known."""
    if made.lost:  # what was lost may have been a part of the mapping
        return True
    if not issubclass(made.cls, Rows):
        return False
    half = (made.values["chosen"] is None) != (made.values["rejected"] is None)
    return half or (maps_nothing(made) and heads.of(made).names is None)


def head_so_far(desk: Asking, cls: type[Rows], given: dict[str, Value], place: Span) -> Head:
    """The first rows of a dataset of which only some fields were read."""
    values = {name: spec.default for name, spec in schema(cls).items()}
    values |= {name: plain(value) for name, value in given.items()}
    return desk.heads.of(Made(cls, given, values, place, place))


# --- metadata -------------------------------------------------------------------------------------------


def _metadata(made: Made, head: Head) -> dict[str, Type] | None:
    """The metadata of a dataset's rows with their types; None where nobody can say."""
    written = made.given.get("metadata")
    if made.lost or (written is not None and written.unknown):
        return None
    data = written.data if written is not None else None
    if isinstance(data, Made) and issubclass(data.cls, AllColumns):
        return None if head.names is None else {name: head.type_of(name) for name in head.names}
    if not isinstance(data, dict):
        return {}
    return {key: _type_of(part, head) for key, part in data.items()}


def _type_of(part: Value, head: Head) -> Type:
    if part.type == TEMPLATE:
        return STR
    name = part.data.values["name"] if isinstance(part.data, Made) else None
    return head.type_of(name) if isinstance(name, str) and name in (head.names or ()) else JSON


def _shared(made: Made) -> dict[str, Type] | None:
    """The metadata that all datasets of a mixture have."""
    shared: dict[str, Type] | None = None
    for part in made.values["datasets"] if isinstance(made.values["datasets"], tuple) else ():
        known = part.metadata if isinstance(part, Made) else None
        if known is None:
            return None
        if shared is None:
            shared = dict(known)
        else:
            shared = {key: t if known[key] == t else JSON for key, t in shared.items() if key in known}
    return shared

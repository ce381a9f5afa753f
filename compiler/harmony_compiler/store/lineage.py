"""How a saved model came about: where its weights began, and the stages that trained them, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

from harmony_grammar.records import Record

Source = Literal["hub", "folder", "registry", "scratch"]
SOURCES = get_args(Source)


class Data(Record):
    """Rows that a stage read."""

    name: str
    """As the recipe declares it, else the constructor."""
    source: str
    """Where the rows come from, in words."""
    identity: str
    """A hash of the rows and of how they become turns."""


class Trained(Record):
    """A stage that trained the weights."""

    name: str
    algorithm: str
    identity: str
    steps: int
    adapter: bool
    """Whether it trained an adapter, beside weights that stayed as they were."""
    data: tuple[Data, ...]


class Lineage(Record):
    source: Source
    """Where the weights began."""
    name: str
    """The repository, folder or key; of a new model its architecture."""
    pin: str
    """What the name stood for: a commit, a hash of the folder, an identity."""
    parent: Lineage | None = None
    """How the model of the registry came about, where the weights began in one."""
    stages: tuple[Trained, ...] = ()

    def data(self) -> Iterator[Data]:
        """All rows that have a part in the weights, those of the parents first."""
        if self.parent is not None:
            yield from self.parent.data()
        for stage in self.stages:
            yield from stage.data


def lineage_of(data: Mapping[str, Any]) -> Lineage:
    """A lineage from its JSON data.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    parent = data["parent"]
    source = data["source"]
    if source not in SOURCES:
        raise ValueError("weights begin nowhere else")
    return Lineage(
        source=source,
        name=str(data["name"]),
        pin=str(data["pin"]),
        parent=None if parent is None else lineage_of(parent),
        stages=tuple(map(_trained, data["stages"])),
    )


def _trained(stage: Mapping[str, Any]) -> Trained:
    texts = {name: str(stage[name]) for name in ("name", "algorithm", "identity")}
    rows = tuple(Data(str(r["name"]), str(r["source"]), str(r["identity"])) for r in stage["data"])
    return Trained(**texts, steps=int(stage["steps"]), adapter=bool(stage["adapter"]), data=rows)

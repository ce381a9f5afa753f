"""The graph: the contract between compiler and runtime.

Nodes by id, in an order in which each stands after everything it reads. Every default is filled in, every
name is resolved, every secret is a name. `to_json` and `from_json` are inverse to each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harmony_compiler.graph.catalogue import class_of
from harmony_compiler.graph.node import Constructor, Node, schema, tag_of
from harmony_compiler.graph.values import Duration, Percent, Ref, Secret
from harmony_grammar.records import Record, as_data, field

FORMAT_VERSION = 1


class Launch(Record):
    """What the launch decides: how many processes on how many machines, and how they hold weights."""

    world_size: int = 1
    nodes: int = 1
    shard: bool = False
    """Whether each process keeps a part of the trained weights only."""

    @property
    def gpus_per_node(self) -> int:
        return self.world_size // self.nodes


ONE_DEVICE = Launch()


class Origin(Record):
    """Where a node was written: for messages, displays and logs. Not part of what it is."""

    name: str
    """The declared name, else the constructor's."""
    file: str
    line: int
    doc: str = ""
    given: dict[str, tuple[str, ...]] = field(factory=dict)
    """The fields that the recipe wrote, each with what else had a part in its value: `ctx` for the
    launch, a known layout of columns, and inputs by their names. Every other field holds its default."""
    entries: dict[str, tuple[str, ...]] = field(factory=dict)
    """By field, the source texts of a list's entries: what the columns of an evaluation are called."""


class Pins(Record):
    """What the lock of a recipe has of the things that a graph names."""

    recipe: str
    """The recipe beside which the lock lies, as people named it."""
    contents: dict[str, str]
    """Hashes of what is in files, folders and registries, by `Named.pin`. A run refuses others."""
    commits: dict[str, str]
    """Of repositories of the hub, by section and key of the lock. The nodes name these commits."""


class Graph(Record):
    """A compiled recipe."""

    name: str
    seed: int
    nodes: dict[Ref, Node]
    outputs: tuple[Ref, ...]
    origins: dict[Ref, Origin] = field(factory=dict)
    inputs: dict[str, Any] = field(factory=dict)
    """Every input's value as JSON shows it."""
    launch: Launch = ONE_DEVICE
    pins: Pins | None = None
    """None where no lock lies beside the recipe. No part of what a node is."""

    def needs(self, ref: Ref) -> Iterator[Ref]:
        """The ids that a node reads, field by field."""
        return references(self.nodes[ref])

    def stage_name(self, ref: Ref) -> str:
        origin = self.origins.get(ref)
        return origin.name if origin else str(ref)

    def to_json(self) -> dict[str, Any]:
        pins = {} if self.pins is None else {"pins": as_data(self.pins)}
        return {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "seed": self.seed,
            "launch": as_data(self.launch),
            "inputs": self.inputs,
            **pins,
            "nodes": {ref: constructor_to_json(node) for ref, node in self.nodes.items()},
            "outputs": list(self.outputs),
            "origins": {
                ref: {**as_data(origin), "given": _lists(origin.given), "entries": _lists(origin.entries)}
                for ref, origin in self.origins.items()
            },
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Graph:
        """Read a graph.

        Raises:
            ValueError: the data is no graph of this version.
        """
        if data.get("format_version") != FORMAT_VERSION:
            raise ValueError(f"not a graph of format version {FORMAT_VERSION}")
        try:
            graph = Graph(
                name=data["name"],
                seed=data["seed"],
                nodes={Ref(ref): _node_from_json(node) for ref, node in data["nodes"].items()},
                outputs=tuple(Ref(ref) for ref in data["outputs"]),
                origins={
                    Ref(ref): Origin(
                        **{
                            **origin,
                            "given": _given(origin["given"]),
                            "entries": {key: tuple(texts) for key, texts in origin["entries"].items()},
                        }
                    )
                    for ref, origin in data["origins"].items()
                },
                inputs=data["inputs"],
                launch=Launch(**data["launch"]),
                pins=None if data.get("pins") is None else Pins(**data["pins"]),
            )
            from harmony_compiler.graph.sound import faults_of  # a compiled graph is sound

            graph._check_order()
            if (fault := next(faults_of(graph), None)) is not None:
                raise ValueError(fault)
        except (KeyError, TypeError, AttributeError, OverflowError) as fault:
            raise ValueError(f"not a graph: {fault}") from fault
        return graph

    def _check_order(self) -> None:
        known: set[Ref] = set()
        for ref in self.nodes:
            for needed in self.needs(ref):
                if needed not in known:
                    raise ValueError(f"`{ref}` reads `{needed}`, which does not stand before it")
            known.add(ref)
        for ref in self.outputs:
            if ref not in known:
                raise ValueError(f"the output `{ref}` is no node")


def _given(data: Any) -> dict[str, tuple[str, ...]]:
    """What decided a field; of graders that were published before this was kept, there are names alone."""
    return dict.fromkeys(data, ()) if isinstance(data, list) else {n: tuple(by) for n, by in data.items()}


def _lists(entries: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    return {key: list(texts) for key, texts in entries.items()}


def references(node: Constructor) -> Iterator[Ref]:
    """The node ids in the fields of a node, those in its settings included."""
    for spec in schema(type(node)).values():
        held = getattr(node, spec.name)
        if isinstance(held, Constructor):
            yield from references(held)
        elif spec.is_edge and held is not None:
            yield from held if isinstance(held, tuple) else (held,)


def constructor_to_json(value: Constructor) -> dict[str, Any]:
    fields = {name: value_to_json(getattr(value, name)) for name in schema(type(value))}
    return {"constructor": tag_of(type(value)), "fields": fields}


def value_to_json(value: Any) -> Any:
    match value:
        case Constructor():
            return constructor_to_json(value)
        case Percent():
            return {"percent": value.value}
        case Duration():
            return {"duration": [value.value, value.unit]}
        case Secret():
            return {"env": value.name}
        case tuple():
            return [value_to_json(item) for item in value]
        case dict():
            return {"record": {key: value_to_json(item) for key, item in value.items()}}
        case _:
            return value


def _node_from_json(data: Mapping[str, Any]) -> Node:
    node = value_from_json(data)
    if not isinstance(node, Node):
        raise ValueError(f"not a node: {data}")
    return node


def value_from_json(data: Any) -> Any:
    match data:
        case {"constructor": str(name), "fields": dict(fields)}:
            return class_of(name)(**{key: value_from_json(value) for key, value in fields.items()})
        case {"percent": value}:
            return Percent(value)
        case {"duration": [value, unit]}:
            return Duration(value, unit)
        case {"env": name}:
            return Secret(name)
        case {"record": dict(record)}:
            return {key: value_from_json(value) for key, value in record.items()}
        case list():
            return tuple(value_from_json(item) for item in data)
        case _:
            return data

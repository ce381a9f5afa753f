"""Lowering: typed values to graph nodes.

Equal values are one node whatever they are called: see `ref_of`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from harmony_compiler.checking.fitting import place_of
from harmony_compiler.declared.inputs import inputs_of
from harmony_compiler.declared.modules import Checked
from harmony_compiler.findings.graph import KeyTwice, UnsavedModel
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.datasets import HubRows
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.formulas import renumbered
from harmony_compiler.graph.graders import Combination, Grader, PythonGrader
from harmony_compiler.graph.graph import Graph, Launch, Origin, references, value_to_json
from harmony_compiler.graph.identity import ref_of
from harmony_compiler.graph.models import HubModel
from harmony_compiler.graph.node import Constructor, Node
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.types import GRADER
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.lock import NO_LOCK, Lock, Section
from harmony_compiler.typed import LAYOUT, LOCKED, NOBODY, Made, Value, in_one_line, plain
from harmony_grammar import syntax
from harmony_grammar.diagnostics import Diagnostic, Label
from harmony_grammar.records import Record, field
from harmony_grammar.source import Span


class Declared(Record):
    """A declaration under the name by which the recipe knows it, such as `m.problems` of an import."""

    name: str
    part: syntax.ValueDeclaration | syntax.InputDeclaration


Declarations: TypeAlias = dict[int, Declared]
"""Declarations by the id of the `Made` that each declares."""


class Lowered(Record):
    """A graph, the place of each node, and findings about the recipe as a whole."""

    graph: Graph
    made: dict[Ref, Made]
    graders: dict[str, Ref]
    """The declared graders."""
    declared: dict[str, Ref]
    """Every declared value that is a node, by each name that the recipe has for it."""
    diagnostics: tuple[Diagnostic, ...]


class _Lowering(Record, frozen=False):
    names: Declarations
    lock: Lock = NO_LOCK
    nodes: dict[Ref, Node] = field(factory=dict)
    made: dict[Ref, Made] = field(factory=dict)
    origins: dict[Ref, Origin] = field(factory=dict)
    refs: dict[int, Ref] = field(factory=dict)
    named: set[Ref] = field(factory=set)

    def lower(self, made: Made) -> Ref:
        if id(made) in self.refs:
            return self.refs[id(made)]
        node = self._construct(made)
        assert isinstance(node, Node)
        ref = ref_of(node)
        self.refs[id(made)] = ref
        self.nodes.setdefault(ref, node)
        self.made.setdefault(ref, made)
        origin = self._origin(made, node)
        is_named = id(made) in self.names
        if ref not in self.origins or (is_named and ref not in self.named):
            self.origins[ref] = origin
        if is_named:
            self.named.add(ref)
        return ref

    def _construct(self, made: Made) -> Constructor:
        values = {name: self._lowered(value) for name, value in made.values.items()}
        if made.cls is Combination:  # equal graders are one node, which is told only now
            graders = tuple(dict.fromkeys(values["graders"]))
            places = [graders.index(grader) for grader in values["graders"]]
            values |= {"expression": renumbered(values["expression"], places), "graders": graders}
        if made.cls is PythonGrader:  # a path in a graph is absolute
            file, _, name = values["function"].rpartition(":")
            values |= {"function": f"{place_of(file, made.given['function'])}:{name}"}
        if issubclass(made.cls, HubModel | HubRows) and (commit := self._commit(values)):
            values |= {"revision": commit}
        return made.cls(**values)

    def _commit(self, values: dict[str, Any]) -> str:
        """The commit that the lock has for a repository of the hub; "" where it has none."""
        section: Section = "datasets" if "config" in values else "models"
        locked = self.lock.hub(section, values["repo"], values.get("config"), values["revision"])
        return locked[1].commit if locked else ""

    def _lowered(self, value: Any) -> Any:
        match value:
            case Made():
                return self.lower(value) if value.is_node else self._construct(value)
            case tuple():
                return tuple(self._lowered(item) for item in value)
            case dict():
                return {key: self._lowered(item) for key, item in value.items()}
            case _:
                return value

    def _origin(self, made: Made, node: Node) -> Origin:
        declared = self.names.get(id(made))
        span = _place(made, self.names)
        if declared:
            name = declared.name
        else:
            name = _cut(in_one_line(made.span)) if issubclass(made.cls, Grader) else made.cls.constructor
        doc = declared.part.doc if declared else ""
        given = {
            name: tuple(sorted(made.given[name].shows | ({LAYOUT} if name in made.recognised else NOBODY)))
            for name in made.values
            if name in made.given
        }
        if "revision" in made.values and made.values["revision"] != getattr(node, "revision", None):
            given["revision"] = (LOCKED,)
        entries = {
            key: tuple(in_one_line(entry.span) for entry in value.data)
            for key, value in made.given.items()
            if issubclass(made.cls, Compare) and isinstance(value.data, tuple)
        }
        return Origin(name, span.source.name, span.first.line, doc, given, entries)


LONGEST_NAME = 40
"""Of a grader without a name, so many characters of its text stand for it."""


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"


def every_made(checked: Checked) -> list[Made]:
    """Every constructor of a recipe, those inside others included, each once."""
    found: dict[int, Made] = {}

    def walk(data: Any) -> None:
        match data:
            case Made() if id(data) not in found:
                found[id(data)] = data
                for value in data.given.values():
                    walk(value.data)
            case tuple():
                for item in data:
                    walk(item.data)
            case dict():
                for item in data.values():
                    walk(item.data)

    for value in checked.values.values():
        walk(value.data)
    for save in checked.saves:
        walk(save)
    return list(found.values())


def lower(checked: Checked, launch: Launch, lock: Lock = NO_LOCK) -> Lowered:
    """The graph of a recipe without errors, with everything in it; `passes` drop what no output needs.

    A repository of the hub that the lock knows is named by its commit.
    """
    declarations = _declarations(checked)
    lowering = _Lowering(declarations, lock)
    for made in every_made(checked):
        if made.is_node:
            lowering.lower(made)
    saves = tuple(lowering.lower(save) for save in checked.saves)
    evaluations = (ref for ref, node in lowering.nodes.items() if isinstance(node, Compare))
    unsaved = _unsaved(lowering.nodes)
    graph = Graph(
        name=checked.name,
        seed=checked.seed,
        nodes=lowering.nodes,
        outputs=tuple(dict.fromkeys((*saves, *evaluations, *unsaved))),
        origins=lowering.origins,
        inputs={name: _shown(value, lowering) for name, value in _inputs(checked)},
        launch=launch,
    )
    warnings = (_unsaved_model(lowering, ref, checked) for ref in unsaved)
    named = [
        (part.prefix + name, value)
        for part in checked.parts
        for name, value in part.values.items()
        if id(value.data) in lowering.refs
    ]
    declared = {name: lowering.refs[id(value.data)] for name, value in named}
    graders = {name: declared[name] for name, value in named if value.type == GRADER}
    findings = (*warnings, *_keys_twice(checked.saves, lowering))
    return Lowered(graph, lowering.made, graders, declared, findings)


def _declarations(checked: Checked) -> Declarations:
    """Of several names for one value, the one under which it was written, else the first."""
    found: Declarations = {}
    for part in checked.parts:
        for name, declaration in part.names.declared.items():
            made = part.values[name].data
            if isinstance(made, Made) and not isinstance(declaration, syntax.ImportDeclaration):
                whole, head = declaration.span, made.head
                written_here = whole.source is head.source and whole.start <= head.start < whole.end
                if written_here or id(made) not in found:
                    found[id(made)] = Declared(part.prefix + name, declaration)
    return found


def _inputs(checked: Checked) -> Iterator[tuple[str, Value]]:
    for part in checked.parts:
        for name in inputs_of(part.names):
            yield part.prefix + name, part.values[name]


def _unsaved(nodes: dict[Ref, Node]) -> list[Ref]:
    """Trained models that no save and no other training needs."""
    needed: set[Ref] = set()
    for ref, node in reversed(nodes.items()):  # each node stands after what it reads
        if isinstance(node, Save | Algorithm) or ref in needed:
            needed.update(references(node))
    return [ref for ref, node in nodes.items() if isinstance(node, Algorithm) and ref not in needed]


def _unsaved_model(lowering: _Lowering, ref: Ref, checked: Checked) -> UnsavedModel:
    """Of a stage of another file, blamed is the import that brings it, in the recipe that is to save it."""
    name, place = lowering.origins[ref].name, _place(lowering.made[ref], lowering.names)
    entrance = checked.parts[0].names.declared.get(name.partition(".")[0])
    if "." not in name or not isinstance(entrance, syntax.ImportDeclaration):
        return UnsavedModel(span=place, name=name)
    return UnsavedModel(span=entrance.name.span, name=name, labels=(Label(place, "the stage"),))


def _place(made: Made, declarations: Declarations) -> Span:
    declared = declarations.get(id(made))
    return declared.part.name.span if declared else made.head


def _shown(value: Value, lowering: _Lowering) -> Any:
    """An input's value as JSON; a node by its id where the graph holds it."""
    data = plain(value)
    if isinstance(data, Made) and data.is_node:
        return {"node": lowering.refs.get(id(data))}
    return value_to_json(lowering._lowered(data))


def _keys_twice(saves: tuple[Made, ...], lowering: _Lowering) -> Iterator[Diagnostic]:
    """Saves of different models under one key. What is renamed finds a place of its own."""

    def saved(save: Made) -> tuple[Ref, Any]:
        return lowering.refs[id(save.values["model"])], save.values["merge"]

    first: dict[str, Made] = {}
    for save in saves:
        key = save.values["key"]
        earlier = first.setdefault(key, save)
        if save.values["if_exists"] != "rename" and saved(earlier) != saved(save):
            label = Label(earlier.given["key"].span, "the first one")
            yield KeyTwice(span=save.given["key"].span, key=key, labels=(label,))

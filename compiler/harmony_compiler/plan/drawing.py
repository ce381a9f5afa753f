"""Drawing: the graph as a person would draw it, with box characters.

Models stand in the order in which they are made: base models at the left, each stage below the model that it
trains from, and below a stage what becomes of its model. Datasets follow, by where their rows come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from harmony_compiler.graph.algorithms import Algorithm, Ppo
from harmony_compiler.graph.datasets import Drawn, Mix, Rows
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graders import Combination, Judge, Remote
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import Endpoint, Reloaded
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.spawning import graders_of, spawns
from harmony_compiler.graph.values import Ref
from harmony_compiler.plan.called import (
    as_copy,
    copied,
    cut,
    full_name,
    in_formula,
    is_declared,
    made,
    name_of,
    same_weights,
    source_of,
    titled,
)
from harmony_compiler.rewards.formula_text import formula_text, quoted
from harmony_grammar.records import Record, field

WIDTH = 110
_SHORTEST = 12
"""What is left of a formula, at least, where a line is too long."""


class _Line(Record):
    """A line of the tree, and what hangs below it. Where it is too long, `middle` is cut first."""

    head: str
    middle: str = ""
    tail: str = ""
    below: list[_Line] = field(factory=list)

    def fitted(self, width: int) -> str:
        room = max(width - len(self.head) - len(self.tail), _SHORTEST)
        return cut(self.head + cut(self.middle, room) + self.tail, width)


def tree(graph: Graph, facts: Mapping[Ref, str]) -> list[str]:
    """The graph in lines of at most `WIDTH` columns. `facts` says a little of a node, such as `200 steps`."""
    told = _Facts(facts)
    models, datasets = _Models(graph, told).roots(), list(_Data(graph, told).roots())
    found = [text for root in models for text in _drawn(root)]
    found += [""] if models and datasets else []
    return found + [text for root in datasets for text in _drawn(root)]


def _drawn(line: _Line, prefix: str = "", follows: str = "") -> Iterator[str]:
    """A line, behind `prefix`, and those below it, behind `follows`."""
    yield prefix + line.fitted(WIDTH - len(prefix))
    for child in line.below:
        last = child is line.below[-1]
        yield from _drawn(child, follows + ("└─ " if last else "├─ "), follows + ("   " if last else "│  "))


class _Facts(Record):
    """What is said of nodes, beside their names."""

    known: Mapping[Ref, str]

    def behind(self, ref: Ref) -> str:
        return f", {self.known[ref]}" if self.known.get(ref) else ""

    def beside(self, ref: Ref) -> str:
        return f" ({self.known[ref]})" if self.known.get(ref) else ""


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


# --- models ---------------------------------------------------------------------------------------------


class _Models:
    """The models of a graph as trees."""

    def __init__(self, graph: Graph, facts: _Facts) -> None:
        self.graph = graph
        self.facts = facts
        self.below: dict[Ref, list[Ref]] = {}
        """By model, the stages that train from it and the outputs that hang below it."""
        self.same = same_weights(graph)
        for ref, node in graph.nodes.items():
            if isinstance(node, Algorithm):
                self._hang(ref, getattr(node, node.trains))
            elif isinstance(node, Save):
                self._hang(ref, node.model)
            elif isinstance(node, Compare):
                trained = [model for model in graph.nodes if model in map(self.weights, node.models)]
                stages = [model for model in trained if isinstance(graph.nodes[model], Algorithm)]
                self._hang(ref, stages[-1] if stages else node.models[0])
        stages = [ref for ref, node in graph.nodes.items() if isinstance(node, Algorithm)]
        self.told = {*self.below, *stages}
        """Models that are told in full somewhere."""

    def _hang(self, ref: Ref, model: Ref) -> None:
        self.below.setdefault(self.weights(model), []).append(ref)

    def weights(self, model: Ref) -> Ref:
        """The model that has these weights, however it is loaded."""
        node = self.graph.nodes[model]
        return self.weights(node.source) if isinstance(node, Reloaded) else self.same.get(model, model)

    def roots(self) -> list[_Line]:
        bases = [ref for ref in self.graph.nodes if ref in self.below]
        return [
            _Line(titled(self.graph, ref), tail=self.facts.behind(ref), below=self._children(ref))
            for ref in bases
            if not isinstance(self.graph.nodes[ref], Algorithm)
        ]

    def _children(self, model: Ref) -> list[_Line]:
        """Outputs, which are short, before the stages that go on."""
        refs = self.below.get(model, [])
        stages = [ref for ref in refs if isinstance(self.graph.nodes[ref], Algorithm)]
        found = [self._output(ref, model) for ref in refs if ref not in stages]
        return found + [self._stage(ref, model) for ref in stages]

    def _stage(self, ref: Ref, model: Ref) -> _Line:
        graph, facts, node = self.graph, self.facts, self.graph.nodes[ref]
        assert isinstance(node, Algorithm)
        dataset, grader = node.dataset, getattr(node, "grader", None)  # type: ignore[attr-defined]
        head = f"{titled(graph, ref)} on {full_name(graph, dataset)}{facts.beside(dataset)}"
        reward = "" if grader is None else self._grader(grader)
        trained = getattr(node, node.trains)
        below = [_Line(f"from {self._mentioned(trained)}")] if trained != model else []
        below += [*self._beside(node), *self._answering(ref), *self._children(ref)]
        return _Line(f"{head} for " if reward else head, reward, facts.behind(ref), below)

    def _grader(self, ref: Ref) -> str:
        """A reward as its formula; one that looks at the completion itself by its name."""
        if not is_declared(self.graph, ref) or not isinstance(self.graph.nodes[ref], Combination):
            return in_formula(self.graph, ref)
        return titled(self.graph, ref)

    def _scores(self, graders: Iterable[Ref]) -> str:
        return _listed(in_formula(self.graph, grader) for grader in graders)

    def _beside(self, node: Algorithm) -> Iterator[_Line]:
        """What else a stage looks at: what its critic starts from, and rows that measure it."""
        if isinstance(node, Ppo) and node.value_model != node.policy_model:
            yield _Line(f"critic starts from {self._mentioned(node.value_model)}")
        if node.validation is not None:
            held, grader = node.validation.dataset, node.validation.grader
            graders = [*([] if grader is None else [grader]), *node.metrics]
            yield _Line(
                f"validation on {full_name(self.graph, held)}{self.facts.beside(held)}",
                f" by {self._scores(graders)}" if graders else "",
            )
        elif node.metrics:
            yield _Line("measured by ", self._scores(node.metrics))

    def _mentioned(self, model: Ref) -> str:
        """A model by its name; in full where nothing else tells of it."""
        if model in self.told:
            return full_name(self.graph, model)
        self.told.add(model)
        if copied(self.graph, model) is None:
            return titled(self.graph, model)
        name = f"{full_name(self.graph, model)} = " if is_declared(self.graph, model) else ""
        return name + as_copy(self.graph, model)

    def _answering(self, ref: Ref) -> Iterator[_Line]:
        """The models and servers that grade, each with the graders that ask it."""
        for spawn in spawns(self.graph, ref):
            if spawn.by:
                does = "scores" if spawn.use == "scoring" else "judges"
                yield _Line(f"{self._mentioned(spawn.model)} {does} ", self._asking(spawn.by))
        served: dict[Ref | str, list[Ref]] = {}
        for grader in graders_of(self.graph, ref):
            match self.graph.nodes[grader]:
                case Judge(model=model) if isinstance(self.graph.nodes[model], Endpoint):
                    served.setdefault(model, []).append(grader)
                case Remote(url=url):
                    served.setdefault(url, []).append(grader)
        for whom, graders in served.items():
            judges = whom in self.graph.nodes
            told = f"{self._mentioned(Ref(whom))} judges " if judges else f"{quoted(whom)} scores "
            yield _Line(told, self._asking(graders))

    def _asking(self, graders: Iterable[Ref]) -> str:
        return _listed(f"{name_of(self.graph, ref)}{self.facts.beside(ref)}" for ref in graders)

    def _output(self, ref: Ref, model: Ref) -> _Line:
        graph, node = self.graph, self.graph.nodes[ref]
        if isinstance(node, Save):
            saved = "" if node.model == model else f" {self._mentioned(node.model)}"
            return _Line("save", saved, f" as {quoted(node.key)}{self.facts.behind(ref)}")
        assert isinstance(node, Compare)
        models = ", ".join(name_of(graph, entry) for entry in node.models)
        middle = f"{models} on {full_name(graph, node.dataset)} by {self._scores(node.graders)}"
        new = (entry for entry in node.models if entry not in self.told)
        told = ((entry, self._mentioned(entry)) for entry in new)
        below = [_Line(f"measures {text}") for entry, text in told if text != name_of(graph, entry)]
        below += self._answering(ref)
        return _Line(f"{titled(graph, ref)} ", middle, self.facts.behind(ref), below)


# --- datasets -------------------------------------------------------------------------------------------


class _Data:
    """The datasets of a graph: where their rows come from, and where they go."""

    def __init__(self, graph: Graph, facts: _Facts) -> None:
        self.graph = graph
        self.facts = facts
        self.users: dict[Ref, list[str]] = {}
        for ref in graph.nodes:
            for needed in graph.needs(ref):
                self.users.setdefault(needed, []).append(full_name(graph, ref))

    def roots(self) -> Iterator[_Line]:
        """Sources, each with what is taken of it; and mixtures."""
        views: dict[object, list[Ref]] = {}
        for ref, node in self.graph.nodes.items():
            if isinstance(node, Rows):
                views.setdefault(source_of(node), []).append(ref)
        for refs in views.values():
            if len(refs) == 1:
                yield self._line(titled(self.graph, refs[0]), refs[0])
            else:
                below = [self._line(self._taken(ref), ref) for ref in refs]
                yield _Line(made(self.graph, refs[0]), below=below)
        for ref, node in self.graph.nodes.items():
            if isinstance(node, Mix):
                yield self._mixture(ref, node)

    def _taken(self, ref: Ref) -> str:
        """How a dataset is called below its source."""
        return full_name(self.graph, ref) if is_declared(self.graph, ref) else "a copy"

    def _line(self, head: str, ref: Ref) -> _Line:
        node = self.graph.nodes[ref]
        assert isinstance(node, Rows)
        part = f", {node.split}" if node.split != "train" else ""
        part += f", where {formula_text(node.filter)}" if node.filter is not None else ""
        part += _drawn_how(node)
        return _Line(head, part, self.facts.behind(ref) + self._users(ref))

    def _mixture(self, ref: Ref, node: Mix) -> _Line:
        names = [full_name(self.graph, part) for part in node.datasets]
        shares = [f"{weight} " for weight in node.weights] if node.weights else [""] * len(names)
        parts = ", ".join(share + name for share, name in zip(shares, names, strict=True))
        name = f"{full_name(self.graph, ref)} = " if is_declared(self.graph, ref) else ""
        tail = self.facts.behind(ref) + self._users(ref)
        return _Line(f"{name}mix of ", parts + _drawn_how(node), tail)

    def _users(self, ref: Ref) -> str:
        users = _listed(self.users.get(ref, []))
        return f", for {users}" if users else ""


def _drawn_how(node: Drawn) -> str:
    first = f", first {node.limit:,}" if node.limit is not None else ""
    return (", shuffled" if node.shuffle else "") + first

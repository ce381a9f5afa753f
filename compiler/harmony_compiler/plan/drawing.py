"""Drawing: the graph as a person would draw it, with box characters.

Models stand in the order in which they are made: base models at the left, each stage below the model that it
trains from, and below a stage what becomes of its model. Datasets follow, by where their rows come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from harmony_compiler.graph.algorithms import Algorithm, Ppo
from harmony_compiler.graph.datasets import Drawn, Mix, Rows
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graders import Combination, Judge, Remote, RewardModel
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import LoadSettings, Reloaded
from harmony_compiler.graph.node import schema
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.values import Ref
from harmony_compiler.plan.called import Texts, source_of
from harmony_compiler.plan.rewards import computes, is_declared
from harmony_compiler.plan.shown import name_of
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
        return _cut(self.head + _cut(self.middle, room) + self.tail, width)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1].rstrip()}…"


def tree(graph: Graph, facts: Mapping[Ref, str]) -> list[str]:
    """The graph in lines of at most `WIDTH` columns. `facts` says a little of a node, such as `200 steps`."""
    texts = Texts(graph, facts)
    models, datasets = _Models(graph, texts).roots(), list(_Data(graph, texts).roots())
    found = [text for root in models for text in _drawn(root)]
    found += [""] if models and datasets else []
    return found + [text for root in datasets for text in _drawn(root)]


def _drawn(line: _Line, prefix: str = "", follows: str = "") -> Iterator[str]:
    """A line, behind `prefix`, and those below it, behind `follows`."""
    yield prefix + line.fitted(WIDTH - len(prefix))
    for child in line.below:
        last = child is line.below[-1]
        yield from _drawn(child, follows + ("└─ " if last else "├─ "), follows + ("   " if last else "│  "))


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


# --- models ---------------------------------------------------------------------------------------------


class _Models:
    """The models of a graph as trees."""

    def __init__(self, graph: Graph, texts: Texts) -> None:
        self.graph = graph
        self.texts = texts
        self.below: dict[Ref, list[Ref]] = {}
        """By model, the stages that train from it and the outputs that hang below it."""
        self.told: set[Ref] = set()
        """Models that are told in full somewhere."""
        self.same = _same_weights(graph)
        for ref, node in graph.nodes.items():
            if isinstance(node, Algorithm):
                self._hang(ref, getattr(node, node.trains))
            elif isinstance(node, Save):
                self._hang(ref, node.model)
            elif isinstance(node, Compare):
                for model in node.models:
                    self.below.setdefault(self.weights(model), [])
                trained = [model for model in graph.nodes if model in map(self.weights, node.models)]
                stages = [model for model in trained if isinstance(graph.nodes[model], Algorithm)]
                self._hang(ref, stages[-1] if stages else node.models[0])
        self.told.update(self.below)

    def _hang(self, ref: Ref, model: Ref) -> None:
        self.below.setdefault(self.weights(model), []).append(ref)

    def weights(self, model: Ref) -> Ref:
        """The model that has these weights, however it is loaded."""
        node = self.graph.nodes[model]
        return self.weights(node.source) if isinstance(node, Reloaded) else self.same.get(model, model)

    def roots(self) -> list[_Line]:
        bases = [ref for ref in self.graph.nodes if ref in self.below]
        return [
            _Line(self.texts.titled(ref), tail=self.texts.behind(ref), below=self._children(ref))
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
        node, texts = self.graph.nodes[ref], self.texts
        assert isinstance(node, Algorithm)
        dataset, grader = node.dataset, getattr(node, "grader", None)  # type: ignore[attr-defined]
        head = f"{texts.titled(ref)} on {texts.name(dataset)}{texts.beside(dataset)}"
        reward = "" if grader is None else self._grader(grader)
        loaded = self._loaded(getattr(node, node.trains), model)
        below = [_Line(f"from {loaded}")] if loaded else []
        below += [*self._beside(ref, node), *self._answering(ref), *self._children(ref)]
        return _Line(f"{head} for " if reward else head, reward, texts.behind(ref), below)

    def _grader(self, ref: Ref) -> str:
        """A reward as its formula; one that looks at the completion itself by its name."""
        name = name_of(self.graph, ref) if is_declared(self.graph, ref) else ""
        if name and not isinstance(self.graph.nodes[ref], Combination):
            return name
        return f"{name} = {computes(self.graph, ref)}" if name else computes(self.graph, ref)

    def _score(self, ref: Ref) -> str:
        return name_of(self.graph, ref) if is_declared(self.graph, ref) else computes(self.graph, ref)

    def _loaded(self, model: Ref, weights: Ref) -> str:
        """How a model is loaded, where it is not as it stands in the tree."""
        if model == weights:
            return ""
        if is_declared(self.graph, model) or isinstance(self.graph.nodes[model], Reloaded):
            return self.texts.name(model)
        return self.texts.copy(model, weights)

    def _beside(self, ref: Ref, node: Algorithm) -> Iterator[_Line]:
        """What else a stage looks at: what its critic starts from, and rows that measure it."""
        if isinstance(node, Ppo) and node.value_model != node.policy_model:
            yield _Line(f"critic starts from {self._mentioned(node.value_model)}")
        graders = [self._score(grader) for grader in node.metrics]
        if node.validation is not None:
            held = node.validation.dataset
            by = [self._score(node.validation.grader)] if node.validation.grader is not None else []
            yield _Line(
                f"validation on {self.texts.name(held)}{self.texts.beside(held)}",
                f" by {_listed([*by, *graders])}" if by or graders else "",
            )
        elif graders:
            yield _Line("measured by ", _listed(graders))

    def _mentioned(self, model: Ref) -> str:
        """A model by its name; in full where nothing else tells of it."""
        weights = self.weights(model)
        if weights in self.told:
            return self.texts.name(model) if weights == model else self.texts.name(weights)
        self.told.add(weights)
        return self.texts.titled(model)

    def _answering(self, ref: Ref) -> Iterator[_Line]:
        """The models and servers that grade, each with the graders that ask it."""
        asked: dict[Ref | str, list[Ref]] = {}
        for grader in _graders_of(self.graph, ref):
            match self.graph.nodes[grader]:
                case Judge(model=model) | RewardModel(model=model):
                    asked.setdefault(model, []).append(grader)
                case Remote(url=url):
                    asked.setdefault(url, []).append(grader)
        for whom, graders in asked.items():
            is_model = whom in self.graph.nodes
            told = self._mentioned(Ref(whom)) if is_model else quoted(whom)
            named = (f"{self._score(grader)}{self.texts.beside(grader)}" for grader in graders)
            scores = not is_model or isinstance(self.graph.nodes[graders[0]], RewardModel)
            yield _Line(f"{told} {'scores' if scores else 'judges'} ", _listed(named))

    def _output(self, ref: Ref, model: Ref) -> _Line:
        node, texts = self.graph.nodes[ref], self.texts
        if isinstance(node, Save):
            loaded = self._loaded(node.model, model)
            head = f"save {loaded} as {quoted(node.key)}" if loaded else f"save as {quoted(node.key)}"
            return _Line(head, tail=texts.behind(ref))
        assert isinstance(node, Compare)
        models = _listed(map(self._mentioned, node.models))
        graders = _listed(map(self._score, node.graders))
        middle = f"{models} on {texts.name(node.dataset)} by {graders}"
        return _Line(f"{texts.titled(ref)} ", middle, texts.behind(ref), list(self._answering(ref)))


def _same_weights(graph: Graph) -> dict[Ref, Ref]:
    """Copies of a model that are only loaded otherwise, each with the one that stands for all of them."""
    first: dict[object, Ref] = {}
    found: dict[Ref, Ref] = {}
    bases = [ref for ref, node in graph.nodes.items() if isinstance(node, LoadSettings)]
    for ref in sorted(bases, key=lambda ref: not is_declared(graph, ref)):
        node = graph.nodes[ref]
        own = [getattr(node, name) for name in schema(type(node)) if name not in schema(LoadSettings)]
        found[ref] = first.setdefault((type(node), *own), ref)
    return found


def _graders_of(graph: Graph, ref: Ref) -> Iterator[Ref]:
    """The graders that a node asks, those inside others included, each once."""
    inside = set(graph.needs(ref))
    for needed in reversed(graph.nodes):  # each node stands after what it reads
        if needed in inside and isinstance(graph.nodes[needed], Combination):
            inside.update(graph.needs(needed))
    yield from (needed for needed in graph.nodes if needed in inside)


# --- datasets -------------------------------------------------------------------------------------------


class _Data:
    """The datasets of a graph: where their rows come from, and where they go."""

    def __init__(self, graph: Graph, texts: Texts) -> None:
        self.graph = graph
        self.texts = texts
        self.users: dict[Ref, list[str]] = {}
        for ref in graph.nodes:
            for needed in graph.needs(ref):
                self.users.setdefault(needed, []).append(name_of(graph, ref))

    def roots(self) -> Iterator[_Line]:
        """Sources, each with what is taken of it; and mixtures."""
        views: dict[object, list[Ref]] = {}
        for ref, node in self.graph.nodes.items():
            if isinstance(node, Rows):
                views.setdefault(source_of(node), []).append(ref)
        for refs in views.values():
            if len(refs) == 1:
                yield self._line(self.texts.titled(refs[0]), refs[0])
            else:
                below = [self._line(self._taken(ref), ref) for ref in refs]
                yield _Line(self.texts.made(refs[0]), below=below)
        for ref, node in self.graph.nodes.items():
            if isinstance(node, Mix):
                yield self._mixture(ref, node)

    def _taken(self, ref: Ref) -> str:
        """How a dataset is called below its source."""
        return name_of(self.graph, ref) if is_declared(self.graph, ref) else "a copy"

    def _line(self, head: str, ref: Ref) -> _Line:
        node = self.graph.nodes[ref]
        assert isinstance(node, Rows)
        part = f", {node.split}" if node.split != "train" else ""
        part += f", where {formula_text(node.filter)}" if node.filter is not None else ""
        part += _drawn_how(node)
        return _Line(head, part, self.texts.behind(ref) + self._users(ref))

    def _mixture(self, ref: Ref, node: Mix) -> _Line:
        names = [self.texts.name(part) for part in node.datasets]
        shares = [f"{weight} " for weight in node.weights] if node.weights else [""] * len(names)
        parts = ", ".join(share + name for share, name in zip(shares, names, strict=True))
        name = f"{name_of(self.graph, ref)} = " if is_declared(self.graph, ref) else ""
        tail = self.texts.behind(ref) + self._users(ref)
        return _Line(f"{name}mix of ", parts + _drawn_how(node), tail)

    def _users(self, ref: Ref) -> str:
        users = _listed(self.users.get(ref, []))
        return f", for {users}" if users else ""


def _drawn_how(node: Drawn) -> str:
    first = f", first {node.limit:,}" if node.limit is not None else ""
    return (", shuffled" if node.shuffle else "") + first

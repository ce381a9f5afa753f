"""Answering: what completions take while they are drawn, and what grades them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.settings import Sampling
from harmony_compiler.graph.spawning import asked_by, weights_of
from harmony_compiler.graph.values import Ref
from harmony_compiler.plan.called import name_of
from harmony_compiler.plan.held import ALWAYS, Held, Known, Term
from harmony_grammar.records import Record, replace

MOST_BYTES = 4 * 2**30
"""What completions that grow side by side may take: see `harmony_runtime.rollout.local`."""


class Drawing(Record):
    """Completions that a model draws, as many side by side as `LocalEngine` takes."""

    held: Held
    sampling: Sampling
    longest: int | None
    """Tokens of the longest prompt, where that is known."""
    prompts: int | None
    samples: int | None
    fewer: str
    """The field that lets fewer be drawn at a time."""

    def terms(self, known: Known, phase: str) -> Iterator[Term]:
        """What they take: the cache, logits, and what a prompt passes through."""
        held, shape, numbers, tp = self.held, self.held.shape, self.held.numbers, self.held.settings.tp
        more = min(self.sampling.max_tokens, shape.context)
        prompt = shape.context - more if self.longest is None else min(shape.context - more, self.longest)
        at_once = self._at_once(known, prompt, more)
        own = self._own(known, self.prompts)
        asked = at_once if own is None else min(at_once, own)

        cache = at_once * (prompt + more) * 2 * shape.layers * shape.kv_heads * shape.head_size // tp
        cache *= numbers.weights
        if numbers.casts:
            # Values are what a layer gives, and so are keys, until they are rotated in float32.
            cache = cache * 3 // 4 if shape.gated else cache // 2
        # When an eighth of them has ended, a layer's are copied for the others; into new buffers, of which a
        # processor sees no page before it is written, and the old ones are free by then.
        cache += 7 * (2 if known.device == "gpu" else 1) * cache // (8 * shape.layers)
        less = "sampling.max_tokens" if more > prompt else self.fewer
        yield Term("KV cache", cache, less, phase)
        yield Term("logits of a token", self._logits(known, at_once), self.fewer, phase)
        passing = asked * prompt * numbers.compute * (3 * shape.mlp // tp + 3 * shape.hidden)
        passing += cache * asked * prompt // (at_once * (prompt + more))
        # Prompts are read before the rest of the cache is there.
        yield Term("prompts in passing", max(0, passing - cache), self.fewer, phase)
        yield Term("weights in bfloat16", held.counter(known.device).casts, "dtype", phase)
        yield Term("weights put together", held.apart, "tp", phase)

    def _at_once(self, known: Known, prompt: int, more: int) -> int:
        """See `LocalEngine`, whose constants these are."""
        shape, size = self.held.shape, self.held.numbers.weights
        each = (prompt + more) * 2 * shape.layers * shape.kv_heads * shape.head_size * size
        each += prompt * (18 * shape.hidden * size + 5 * prompt) + shape.vocab * 64
        fitting, own = max(1, MOST_BYTES // each), self._own(known, self.samples)
        return fitting if own is None else min(fitting, own)

    def _own(self, known: Known, number: int | None) -> int | None:
        """The share of one copy of the model."""
        copies = known.launch.world_size // self.held.settings.tp
        return None if number is None else -(-number // copies)

    def _logits(self, known: Known, at_once: int) -> int:
        """Logits, odds and their sums, which a processor works out in small parts."""
        numbers = at_once * self.held.shape.vocab
        drawing = 22 if self.sampling.top_p is None else 64
        return numbers * drawing if known.device == "gpu" else numbers * 4 + min(numbers, 2**18) * drawing


def validating(known: Known, node: Algorithm, held: Held, beside: Sequence[Ref]) -> Iterator[Term]:
    """A validation by answers draws them, and its graders live meanwhile; the models of those in `beside` are
    there anyway. One by a loss takes less than an update."""
    validation = node.validation
    grader = None if validation is None else validation.grader or getattr(node, "grader", None)
    if validation is None or grader is None:
        return
    most = min(Sampling().max_tokens, held.shape.context // 2)
    sampling = getattr(node, "sampling", None) or Sampling(max_tokens=most)
    rows = known.rows.get(validation.dataset)
    drawing = Drawing(held, sampling, None, rows, rows, "validation.dataset")
    yield from drawing.terms(known, "validation")
    yield from judges(known, [grader, *node.metrics], "validation", beside)


def judges(
    known: Known, graders: Iterable[Ref], phase: str = ALWAYS, beside: Iterable[Ref] = ()
) -> Iterator[Term]:
    """Models that only grade: a copy for each device, loaded once whoever asks it, graders in `beside`
    included."""
    graph = known.graph
    there = {(weights_of(graph, spawn.model), spawn.use) for spawn in asked_by(graph, beside)}
    for spawn in asked_by(graph, graders):
        if (weights_of(graph, spawn.model), spawn.use) not in there:
            held = replace(known.model(spawn.model), parts=1, critic=spawn.use == "scoring")
            yield Term(f"judge {name_of(graph, spawn.model)}", held.weights(alone=True), "grader", phase)

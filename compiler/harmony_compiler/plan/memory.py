"""Memory: what a device holds while a stage runs, term by term, from configurations alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from harmony_compiler.files import Files
from harmony_compiler.graph.algorithms import Algorithm, Dpo, Grpo, Ppo
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import Endpoint
from harmony_compiler.graph.spawning import has_reference
from harmony_compiler.graph.values import Ref
from harmony_compiler.plan.activations import Device
from harmony_compiler.plan.answering import MOST_BYTES, Drawing, judges, validating
from harmony_compiler.plan.held import ALWAYS, Held, Known, MicroBatch, Term, UnknownError, row_of
from harmony_compiler.plan.shapes import trained_by
from harmony_grammar.records import Record, replace


class Memory(Record):
    """What one device holds in a stage or an evaluation."""

    stage: Ref
    parameters: int
    """Of the model, its adapter included."""
    trained: int
    terms: tuple[Term, ...]
    peak: str
    """The phase that takes most."""
    total: int
    """What is held all along, and in that phase."""
    largest: Term
    """Of what makes the total."""
    assumptions: tuple[str, ...]

    @staticmethod
    def of(
        stage: Ref, parameters: int, trained: int, terms: Sequence[Term], assumptions: Iterable[str]
    ) -> Memory:
        terms = tuple(term for term in terms if term.bytes)
        phases = dict.fromkeys(term.phase for term in terms if term.phase != ALWAYS)
        sums = {phase: sum(term.bytes for term in terms if term.phase == phase) for phase in phases}
        peak = max(sums, key=lambda phase: sums[phase], default=ALWAYS)
        then = [term for term in terms if term.phase in (ALWAYS, peak)]
        return Memory(
            stage=stage,
            parameters=parameters,
            trained=trained,
            terms=terms,
            peak=peak,
            total=sum(term.bytes for term in then),
            largest=max(then, key=lambda term: term.bytes),
            assumptions=tuple(assumptions),
        )


def memory_of(
    graph: Graph,
    ref: Ref,
    files: Files,
    *,
    registry: Path | None = None,
    longest: int | None = None,
    device: Device = "gpu",
    rows: Mapping[Ref, int | None] | None = None,
) -> Memory | str:
    """What a training or an evaluation holds; or why nobody can say, in words.

    `longest` are the tokens of the longest row of its dataset, of a prompt without its completion, where
    that is known; `rows` are those of datasets.
    """
    node = graph.nodes[ref]
    known = Known(graph, files, registry, device, rows or {})
    try:
        if isinstance(node, Compare):
            return _comparing(known, ref, node, longest)
        assert isinstance(node, Algorithm)
        return _training(known, ref, node, longest)
    except UnknownError as fault:
        return str(fault)


def told_bytes(number: int) -> str:
    """A size as people read it: `1.3 GiB`."""
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number} B"


# --- training -------------------------------------------------------------------------------------------


class _Trained(Record):
    """A model that a stage trains."""

    held: Held
    field: str
    """The field of the stage that names it."""
    update: str
    """The phase in which it is updated."""

    @property
    def of(self) -> str:
        return "critic's " if self.held.critic else ""

    def all_along(self, known: Known) -> Iterator[Term]:
        held, changing, less = self.held, self.held.changing, f"{self.field}.{self.held.smaller}"
        frozen = held.shape.adapter is not None
        yield Term(f"{self.of}weights", held.weights(), f"{self.field}.dtype" if frozen else "--shard")
        yield Term(f"{self.of}optimiser", 2 * changing, less)
        if known.launch.world_size > 1 and held.settings.tp == 1 and held.parts == 1:
            yield Term(f"{self.of}gradients on their way to other copies", changing, less)

    def updating(self, known: Known, node: Algorithm, longest: int | None) -> Iterator[Term]:
        """Gradients, and what a micro-batch keeps for them."""
        held, of, field, phase = self.held, self.of, self.field, self.update
        batch = MicroBatch.of(known.launch, node, held, longest)
        # While the activations of the first micro-batch are whole, there are no gradients yet.
        when = f"last part of the {phase}" if batch.alone else phase
        yield Term(f"{of}gradients", held.changing, f"{field}.{held.smaller}", when)
        found = held.counter(known.device).of(batch.tokens)
        fewer = f"{field}.max_batch_tokens"
        less = fewer if batch.divisible else f"{field}.gradient_checkpointing"
        yield Term(f"{of}activations", found.kept, less, phase)
        yield Term(f"{of}logits", found.logits, fewer, phase)
        yield Term(f"{of}gradients of activations", found.working, less, phase)
        yield Term(f"{of}weights in bfloat16", found.casts, f"{field}.dtype", phase)
        yield Term(f"{of}weights put together", held.gathered, f"{field}.tp", phase)


def _training(known: Known, ref: Ref, node: Algorithm, longest: int | None) -> Memory:
    model, field = known.model(trained_by(node)), type(node).trains
    trained = [_Trained(model, field, "update")]
    if isinstance(node, Ppo):
        critic = replace(known.model(node.value_model), critic=True)
        trained.append(_Trained(critic, "value_model", "update of the critic"))
    terms = [term for one in trained for term in one.all_along(known)]
    terms += _reference(node, model, field)
    terms += [term for one in trained for term in one.updating(known, node, longest)]
    graders: Sequence[Ref] = ()
    """Those that are asked in every step."""
    if isinstance(node, Grpo | Ppo):
        graders = (node.grader, *node.metrics)
        drawing = Drawing(
            held=model,
            sampling=node.sampling,
            longest=longest,
            prompts=node.rows_per_step,
            samples=node.samples_per_batch,
            fewer="samples_per_batch",
        )
        terms += [*drawing.terms(known, "rollout"), *_kept_of_batch(node, model, longest)]
        terms += judges(known, graders)
    terms += validating(known, node, model, graders)
    terms += _beside(known, node, [one.held for one in trained])
    said = _assumptions(known, node, model, longest)
    return Memory.of(ref, model.parameters, model.trained, terms, said)


def _reference(node: Algorithm, model: Held, named: str) -> Iterator[Term]:
    """The weights at the stage's start. A fresh adapter changed nothing, so without it the model is its own
    reference; of one that goes on being trained the starting values are kept."""
    adapter = model.shape.adapter
    if not has_reference(node) or (adapter is not None and adapter.fresh):
        return
    held = model.weights() if adapter is None else 4 * model.shape.adapted
    yield Term("reference", held, f"{named}.adapter" if isinstance(node, Dpo) else "kl_beta")


def _kept_of_batch(node: Grpo | Ppo, model: Held, longest: int | None) -> Iterator[Term]:
    """A step's completions as tensors: ids, what is trained on, log-probabilities when they were drawn and at
    the start; with a critic its values, the advantages, the returns and what the policy learns by."""
    each = 8 + 1 + 4 + (4 if node.kl_beta else 0) + (5 * 4 if isinstance(node, Ppo) else 0)
    tokens = node.samples_per_batch * row_of(node, model, longest)
    yield Term("completions of a step", tokens * each, "samples_per_batch")


def _beside(known: Known, node: Algorithm, trained: Sequence[Held]) -> Iterator[Term]:
    """Where the processor is the device, what is copied there counts as well: a checkpoint on its way to the
    disk (weights and moments, as tensors and as the bytes of a file), the best weights of an early stop."""
    if known.device != "cpu":
        return
    if node.checkpoint is not None:
        yield Term("checkpoint on its way", 2 * 3 * sum(held.changing for held in trained), "checkpoint")
    if node.early_stop is not None:
        yield Term("best weights", trained[0].changing, "early_stop")


def _comparing(known: Known, ref: Ref, node: Compare, longest: int | None) -> Memory:
    """The models of an evaluation take turns; of several counts the one that takes most."""
    found: list[Memory] = []
    asked = [*judges(known, node.graders)]
    rows = known.rows.get(node.dataset)
    rows = min((count for count in (rows, node.limit) if count is not None), default=None)
    samples = None if rows is None else rows * node.samples
    for entry in node.models:
        if isinstance(known.graph.nodes[entry], Endpoint):
            continue
        model = known.model(entry)
        drawing = Drawing(model, node.sampling, longest, rows, samples, "limit")
        terms = [Term("weights", model.weights(), "models"), *asked, *drawing.terms(known, "rollout")]
        said = [*_assumptions(known, None, model, longest)]
        if samples is None:
            said.append(f"as many completions side by side as take {told_bytes(MOST_BYTES)}")
        found.append(Memory.of(ref, model.parameters, 0, terms, said))
    if not found:
        raise UnknownError("every model is served elsewhere")
    return max(found, key=lambda memory: memory.total)


def _assumptions(known: Known, node: Algorithm | None, model: Held, longest: int | None) -> Iterator[str]:
    """What was taken for granted, in words."""
    if longest is None:
        yield f"rows as long as the context, {model.shape.context:,} tokens"
    if node is not None:
        yield "all tokens of a row are trained on, and rows share no beginning"
    if node is None or isinstance(node, Grpo | Ppo):
        yield "completions of `max_tokens` tokens"
    if model.numbers.casts:
        yield "a GPU that computes in bfloat16"
    if known.device == "gpu":
        yield "without what the driver and its libraries take for themselves"
    else:
        # Measured by benchmarks/memory.py.
        yield "freed memory given back: glibc keeps two thirds more without MALLOC_MMAP_THRESHOLD_=65536"

"""Held: what one device keeps of a model, and how many tokens an update passes through it at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harmony_compiler.files import Files
from harmony_compiler.graph.algorithms import Algorithm, Dpo, Grpo, Ppo
from harmony_compiler.graph.graph import Graph, Launch
from harmony_compiler.graph.models import LoadSettings
from harmony_compiler.graph.values import Ref
from harmony_compiler.plan.activations import Arithmetic, Counter, Device, Tokens
from harmony_compiler.plan.shapes import Shape, settings_of, shape_of
from harmony_grammar.records import Record

ENOUGH_TOKENS = 4096
"""Tokens of a micro-batch where the recipe says nothing: see `harmony_runtime.models.blueprint`."""


ALWAYS = "always"


class Term(Record):
    """One thing that takes memory."""

    name: str
    bytes: int
    field: str
    """What the recipe, or an option of the launch, would change to lower it."""
    phase: str = ALWAYS
    """When it is held: `always`, or in one of the phases that take turns."""


class UnknownError(Exception):
    """Nobody can say, and why."""


class Known(Record):
    """What counting starts from."""

    graph: Graph
    files: Files
    registry: Path | None
    device: Device
    rows: Mapping[Ref, int | None]

    @property
    def launch(self) -> Launch:
        return self.graph.launch

    def model(self, ref: Ref) -> Held:
        """
        Raises:
            UnknownError: nobody knows its shape.
        """
        shape = shape_of(self.graph, ref, self.files, self.registry)
        if isinstance(shape, str):
            raise UnknownError(shape)
        settings = settings_of(self.graph, ref)
        numbers = Arithmetic.of(settings, self.device)
        parts = self.launch.world_size if self.launch.shard else 1
        return Held(shape, settings, numbers, parts)


class Held(Record):
    """A model, and how a device holds it."""

    shape: Shape
    settings: LoadSettings
    numbers: Arithmetic
    parts: int
    """How many devices share every tensor."""
    critic: bool = False

    @property
    def parameters(self) -> int:
        shape = self.shape
        base = shape.backbone + shape.hidden + 1 if self.critic else shape.parameters
        return base + shape.adapted

    @property
    def trained(self) -> int:
        """How many of them training changes."""
        scalar = self.shape.hidden + 1 if self.critic else 0
        return self.parameters if self.shape.adapter is None else self.shape.adapted + scalar

    def weights(self, *, alone: bool = False) -> int:
        """Bytes of the weights on one device; `alone` where each device has a whole copy."""
        shape, tp = self.shape, 1 if alone else self.settings.tp
        head = 0 if self.critic else shape.head
        base = (shape.matrices + head) // tp + shape.embeddings + shape.norms
        scalar = 4 * (shape.hidden + 1) if self.critic else 0
        whole = base * self.numbers.weights + 4 * shape.adapted + scalar
        return whole if alone else whole // self.parts

    @property
    def changing(self) -> int:
        """Bytes of the weights that are trained on one device."""
        return self.weights() if self.shape.adapter is None else 4 * self.trained // self.parts

    @property
    def gathered(self) -> int:
        """Bytes that are put together on a device while it computes a layer, of weights in parts: the
        embeddings and the norms, one block, and the next."""
        if self.parts == 1:
            return 0
        shape = self.shape
        around = shape.embeddings + (0 if self.critic else shape.head)
        return (around + 2 * shape.matrices // shape.layers) * self.numbers.weights

    @property
    def apart(self) -> int:
        """Bytes of the other devices' parts, which are put together here while completions are drawn."""
        return self.weights(alone=True) - self.weights() if self.parts > 1 else 0

    @property
    def smaller(self) -> str:
        """The setting that lets fewer weights be trained."""
        return "adapter" if self.shape.adapter is None else "adapter.rank"

    def counter(self, device: Device) -> Counter:
        return Counter(self.shape, self.settings, self.numbers, device, self.critic)


class MicroBatch(Record):
    """The largest one of a stage."""

    tokens: Tokens
    alone: bool
    """Whether an update has no other."""
    divisible: bool
    """Whether there are several rows, or pairs, in it."""

    @staticmethod
    def of(launch: Launch, node: Algorithm, held: Held, longest: int | None) -> MicroBatch:
        """`longest` are the tokens of the longest row, or prompt."""
        context, draws = held.shape.context, isinstance(node, Grpo | Ppo)
        more = min(node.sampling.max_tokens, context) if isinstance(node, Grpo | Ppo) else 0
        row = context if longest is None else min(context, longest + more)
        unit = 2 if isinstance(node, Dpo) else 1  # both answers of a pair stay together
        most = held.settings.max_batch_tokens or max(ENOUGH_TOKENS, unit * row)
        samples: int = getattr(node, "samples_per_mini_batch", None) or node.samples_per_batch  # type: ignore[attr-defined]
        own = -(-samples // (launch.world_size // held.settings.tp))
        fitting = max(1, most // (unit * row))
        rows = unit * min(fitting, own)
        divisible = rows > unit or (longest is None and min(most, own * unit * row) > unit * row)
        if longest is None and not draws:
            # Shorter rows fill what these leave.
            rows, row = 1, max(rows * row, min(most, own * unit * row))
        prompts = min(rows, _prompts(node, rows)) if isinstance(node, Grpo) else rows
        tokens = Tokens(
            rows=rows,
            longest=row,
            packed=prompts * (row - more) + rows * more,
            counted=rows * (more if draws else row),
        )
        return MicroBatch(tokens, alone=own <= fitting and longest is not None, divisible=divisible)


def _prompts(node: Grpo, rows: int) -> int:
    """About how many prompts are in so many completions of a mini-batch, which stand in the order of prompts;
    the group at the edge is cut."""
    mini = node.samples_per_mini_batch
    there = min(node.rows_per_step, mini)
    return -(-rows * there // mini) + 1


def row_of(node: Grpo | Ppo, held: Held, longest: int | None) -> int:
    """Tokens of the longest prompt with its completion."""
    context = held.shape.context
    return context if longest is None else min(context, longest + node.sampling.max_tokens)

"""Activations: what the backward pass of a micro-batch will ask for, counted in bytes.

The method is that of Korthikanti et al., 2022, *Reducing Activation Recomputation in Large Transformer
Models*, section 4.1: go through a block operation by operation, and count what each keeps for its gradient.
Counted is what transformers' blocks keep under torch's autograd, for T tokens of width D; Q = heads * size of
a head, K = key and value heads * size of a head, M the width of the MLP, all in numbers:

    a gated block (llama, qwen3)                             a block of gpt2
    RMS norm     D its input, D normed, 1 root               layer norm   D its input, 2 moments
    q, k, v      D, one input for all three                  c_attn       D
    their norms  2Q + 2K, and a root a head (qwen3)
    attention    Q + 2K, Q its output, 1 a head              attention    3D, D its output, 1 a head
    o            Q, packed rows put together                 c_proj       D
    RMS norm     2D + 1                                      layer norm   D + 2
    gate, up     D                                           c_fc         D
    silu, times  3M                                          gelu         4M (it is written out)
    down         M                                           c_proj       M

Rotating positions keeps the sines and cosines alone, residual sums keep nothing. After the blocks come a norm
and the output head, whose logits are a term of their own. What changes with the arithmetic:

- in float32 each number takes 4 bytes;
- computed in bfloat16 from float32 weights (autocast), the residual stream and the norms stay in float32, and
  each linear layer keeps a bfloat16 copy of its input for itself, and one of its weights;
- with weights in bfloat16 everything takes 2 bytes but the inside of norms, which is float32.

Where only an adapter is trained, frozen layers do not keep their inputs; its own do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from harmony_compiler.graph.models import LoadSettings
from harmony_compiler.plan.shapes import Linear, Shape
from harmony_grammar.records import Record

Device = Literal["cpu", "gpu"]

INDEX = 8
"""Bytes of a token's id, and of each number that says where it stands."""


class Arithmetic(Record):
    """What numbers take in bytes."""

    weights: int
    """The weights that are not an adapter's."""
    compute: int
    """What linear layers and attention give."""
    residual: int
    """What blocks hand on."""
    casts: bool
    """Whether weights are in float32 and computed with in bfloat16."""

    @staticmethod
    def of(settings: LoadSettings, device: Device) -> Arithmetic:
        if settings.dtype == "bfloat16":
            return Arithmetic(2, 2, 2, casts=False)
        if settings.dtype == "auto" and device == "gpu":
            return Arithmetic(4, 2, 4, casts=True)
        return Arithmetic(4, 4, 4, casts=False)


class Tokens(Record):
    """Those of a micro-batch."""

    rows: int
    longest: int
    """Of a row."""
    packed: int
    """Where rows are packed, how many are left once common beginnings stand there once."""
    counted: int
    """How many have a log-probability."""

    @property
    def beside(self) -> int:
        """Of rows side by side, padding included, as attention sees them."""
        return self.rows * self.longest


class Activations(Record):
    """What a micro-batch takes at most, in bytes."""

    kept: int
    """By the blocks, the last norm and the input of the head."""
    logits: int
    """The logits, and the gradient that takes their place."""
    working: int
    """What the backward pass makes on its way, beyond the room that the logits leave."""
    casts: int
    """Weights in the type that they are computed in."""


class Counter(Record):
    """Counts for one model."""

    shape: Shape
    settings: LoadSettings
    arithmetic: Arithmetic
    device: Device
    critic: bool = False
    """Whether it has a scalar head in place of its output head."""

    @property
    def packs(self) -> bool:
        """Whether rows are packed: see `harmony_runtime.models.packing`."""
        settings = self.settings
        return (
            settings.attention in ("auto", "sdpa")
            and settings.tp == 1
            and not settings.gradient_checkpointing
            and not self.shape.windowed
        )

    @property
    def _trains_all(self) -> bool:
        return self.shape.adapter is None

    def of(self, tokens: Tokens) -> Activations:
        shape, numbers = self.shape, self.arithmetic
        read = tokens.packed if self.packs else tokens.beside
        inside = self._gated() if shape.gated else self._gpt2()
        block = read * inside + tokens.beside * self._attention(tokens.longest)
        if self.settings.gradient_checkpointing:
            # Kept is what goes into each block; one of them is computed again at a time.
            blocks = read * shape.layers * shape.hidden * numbers.residual + block
        else:
            blocks = shape.layers * block - read * self._before_first()
        logits = 0 if self.critic else tokens.counted * shape.vocab * (4 if numbers.compute == 4 else 6)
        return Activations(
            kept=blocks + self._around(tokens, read),
            logits=logits + self._normalising(tokens.counted),
            working=self._working(tokens, read, logits),
            casts=self.casts,
        )

    @property
    def casts(self) -> int:
        """Bytes of the weights of linear layers in the type that they are computed in."""
        shape = self.shape
        head = 0 if self.critic else shape.vocab * shape.hidden
        return (
            2 * ((shape.matrices + head) // self.settings.tp + shape.adapted) if self.arithmetic.casts else 0
        )

    def _gated(self) -> int:
        """What a block keeps for each token, without attention."""
        shape, numbers, tp = self.shape, self.arithmetic, self.settings.tp
        q, k, v, o, gate, up, down = shape.linears
        hidden, mlp = shape.hidden, shape.mlp // tp
        queries, keys = q.gives // tp, k.gives // tp
        heads, kv_heads = shape.heads // tp, shape.kv_heads // tp
        found = 2 * self._rms_norm(hidden, 1, numbers.residual)
        found += self._inputs([q, k, v], hidden, numbers.residual)
        if shape.qk_norm:
            found += self._rms_norm(queries, heads, numbers.compute)
            found += self._rms_norm(keys, kv_heads, numbers.compute)
        found += self._inputs([o], queries, numbers.compute, kept=not self.packs)
        found += self._inputs([gate, up], hidden, numbers.residual)
        found += 3 * mlp * numbers.compute
        return found + self._inputs([down], mlp, numbers.compute)

    def _gpt2(self) -> int:
        shape, numbers = self.shape, self.arithmetic
        attend, project, widen, narrow = shape.linears
        hidden, mlp = shape.hidden, shape.mlp
        found = 2 * self._layer_norm(hidden)
        found += self._inputs([attend], hidden, numbers.residual)
        found += self._inputs([project], hidden, numbers.compute, kept=not self.packs)
        found += self._inputs([widen], hidden, numbers.residual)
        found += mlp * self._gelu()
        found += self._inputs([narrow], mlp, numbers.compute)
        return found + (2 * hidden if shape.dropout else 0)  # a mask has a byte a number

    def _gelu(self) -> int:
        """0.5x * (1 + tanh(√(2/π) (x + 0.044715 x³))): kept are x, the tanh and both factors."""
        numbers = self.arithmetic
        if numbers.casts and self.device == "gpu":
            return 4 + 4 + 4 + 2  # there autocast computes powers, and what follows from them, in float32
        return 4 * numbers.compute

    def _rms_norm(self, width: int, roots: int, source: int) -> int:
        """Its input in float32, the root, and what is multiplied with the scale where that is trained."""
        return 4 * width + 4 * roots + (source * width if self._trains_all else 0)

    def _layer_norm(self, width: int) -> int:
        """Its input and two moments."""
        return self.arithmetic.residual * width + 8

    def _attention(self, longest: int) -> int:
        """Queries, keys, values, what came out, and a normaliser a head; or all weights of a head."""
        shape, size, tp = self.shape, self.arithmetic.compute, self.settings.tp
        heads = shape.heads // tp
        queries, keys = heads * shape.head_size, shape.kv_heads * shape.head_size // tp
        drops = self.shape.attention_dropout > 0 and self.device == "cpu"
        if self.settings.attention != "eager" and not drops:
            return size * (2 * queries + 2 * keys) + 4 * heads
        weights = 4 + (2 if size == 2 else 0) + (size + 1 if self.shape.attention_dropout else 0)
        return size * 4 * queries + heads * longest * weights

    def _inputs(self, linears: Sequence[Linear], width: int, source: int, *, kept: bool = False) -> int:
        """What linear layers with one input, whose numbers take `source` bytes, keep of it; `kept` where
        something else keeps it anyhow."""
        shape, numbers = self.shape, self.arithmetic
        if shape.adapter is None:
            copies = len(linears) if numbers.casts and source == 4 else 1
            return 0 if kept else copies * width * numbers.compute
        beside = sum(shape.targeted(linear) for linear in linears)
        # An adapter is kept in float32, and so is its input unless autocast says otherwise.
        size = numbers.compute if numbers.casts else 4
        dropped = beside * width * (size + 1) if shape.adapter.dropout else 0
        narrow = beside * shape.adapter.rank * size
        if numbers.weights == 4 and not numbers.casts:
            return dropped + narrow + (0 if kept or dropped or not beside else width * size)
        return (dropped or beside * width * size) + narrow

    def _before_first(self) -> int:
        """What the first block does not keep: no gradient goes further down to frozen embeddings."""
        if self._trains_all:
            return 0
        hidden = self.shape.hidden
        return self._rms_norm(hidden, 1, 0) if self.shape.gated else self._layer_norm(hidden)

    def _around(self, tokens: Tokens, read: int) -> int:
        """What is kept before and after the blocks."""
        shape, numbers = self.shape, self.arithmetic
        if shape.gated:
            each = 2 * shape.head_size * numbers.residual  # sines and cosines
            each += self._rms_norm(shape.hidden, 1, numbers.residual)
        else:
            each = self._layer_norm(shape.hidden) + (shape.hidden if shape.dropout else 0)
        if self._trains_all:
            each += INDEX if shape.gated else 2 * INDEX  # of embeddings
        where = INDEX * (read + tokens.beside) if self.packs else 0
        found = read * each + where
        if self.critic:
            return found + read * 4 * shape.hidden
        head = numbers.compute * shape.hidden if self._trains_all else 0
        # Where the counted tokens stand, their ids and normalisers; and which they are.
        return found + tokens.counted * (head + 2 * INDEX + 4) + tokens.beside

    def _normalising(self, counted: int) -> int:
        """A processor works on logits in small parts; other devices in parts of 2²⁵."""
        if self.critic or self.device == "cpu":
            return 0
        return 4 * min(2**25, counted * self.shape.vocab)

    def _working(self, tokens: Tokens, read: int, logits: int) -> int:
        """Gradients on their way: at the head those of its input and of its matrix, in the last block those
        of the MLP, which are three times its width while one of the four that it kept is free again. A tied
        matrix waits for the gradient of the embedding."""
        shape, numbers, tp = self.shape, self.arithmetic, self.settings.tp
        matrix = 0
        if self._trains_all and not self.critic:
            matrix = shape.vocab * shape.hidden * numbers.weights
        head = tokens.counted * shape.hidden * numbers.compute + matrix
        block = read * (2 * numbers.compute * shape.mlp // tp + 2 * numbers.residual * shape.hidden)
        return max(head, block + (matrix if shape.tied else 0) - logits)

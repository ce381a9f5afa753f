"""The engine that runs here: a transformers model on its device, one step a token for a whole batch.

Each prompt is read once, whatever the number of its completions. Log-probabilities come from the pass that
draws. The model may be one in training: its weights are used as they are, and dropout is off meanwhile.
"""

# Names of tensors end in their shape: B sequences side by side, T tokens, V vocabulary.
# ruff: noqa: N803, N806

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harmony_compiler.graph.settings import Sampling
from harmony_runtime.chance import stream
from harmony_runtime.models.blueprint import Blueprint
from harmony_runtime.models.weights import answering
from harmony_runtime.processes.mesh import Mesh
from harmony_runtime.rollout.cache import bytes_a_token, cache_for
from harmony_runtime.rollout.drawing import draw
from harmony_runtime.rollout.engine import Completion, Finished, StopReason, nobody

MOST_BYTES = 4 * 2**30
"""What a batch may take. A constant: by what happens to be free, equal runs would be cut differently."""

_VALUES_A_UNIT = 18
"""Activations of one layer for each unit of the hidden state, while a prompt is read; an MLP of four times
the hidden size is most of them."""

_BYTES_A_PAIR = 5
"""What the mask takes for two tokens of a prompt."""

_BYTES_A_LOGIT = 64
"""While a token is drawn: its logit, log-probability, probability and sum, and the order of `top_p`."""


class LocalEngine:
    """Completes prompts with a model on its device; see `Engine`."""

    def __init__(
        self, model: PreTrainedModel, blueprint: Blueprint, mesh: Mesh, most_bytes: int = MOST_BYTES
    ) -> None:
        self._model = model
        self._mesh = mesh
        self._most_bytes = most_bytes
        self._dtype = blueprint.settings.dtype
        self._tokenizer = blueprint.tokenizer
        self._vocabulary = max(blueprint.tokenizer.get_vocab().values()) + 1
        ends = blueprint.generation.eos_token_id
        self._ends = frozenset(ends if isinstance(ends, list) else [ends])

    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        n: int,
        sampling: Sampling,
        *,
        seed: int,
        step: int = 0,
        share: range | None = None,
        finished: Finished = nobody,
    ) -> list[Completion]:
        numbers = range(len(prompts) * n) if share is None else share
        drawing = self._mesh.pulse.doing(f"drawing {len(numbers):,} completions")
        with drawing, self._mesh.together(self._model):  # also by a process that has nothing to make
            if not numbers:
                return []
            return self._complete(prompts, n, sampling, numbers, seed=seed, step=step, finished=finished)

    def _complete(
        self,
        prompts: Sequence[Sequence[int]],
        n: int,
        sampling: Sampling,
        numbers: range,
        *,
        seed: int,
        step: int,
        finished: Finished,
    ) -> list[Completion]:
        size = self._batch_size(max(len(prompts[c // n]) for c in numbers), sampling.max_tokens)
        completions: list[Completion] = []
        with torch.no_grad(), answering(self._model), self._mesh.arithmetic(self._dtype):
            for start in range(0, len(numbers), size):
                batch = numbers[start : start + size]
                asked = sorted({c // n for c in batch})
                place = {prompt: number for number, prompt in enumerate(asked)}
                completions += self._batch(
                    [prompts[prompt] for prompt in asked],
                    [place[c // n] for c in batch],
                    torch.stack([_uniforms(sampling.max_tokens, seed, c, step) for c in batch]),
                    sampling,
                    _numbered(finished, batch),
                )
        return completions

    def _batch_size(self, prompt: int, more: int) -> int:
        """How many completions grow at the same time, if each has `more` tokens behind so many of its
        prompt."""
        config = self._model.config.get_text_config(decoder=True)
        held = (prompt + more) * bytes_a_token(self._model)
        a_token = config.hidden_size * _VALUES_A_UNIT * self._model.dtype.itemsize + prompt * _BYTES_A_PAIR
        each = int(held + prompt * a_token + config.vocab_size * _BYTES_A_LOGIT)
        return max(1, self._most_bytes // each)

    def _batch(
        self,
        prompts: Sequence[Sequence[int]],
        prompt_B: Sequence[int],
        uniforms_BT: Tensor,
        sampling: Sampling,
        finished: Finished,
    ) -> list[Completion]:
        """One completion for each entry of `prompt_B`, the number of its prompt, with its random numbers;
        `finished` hears of them by their places there."""
        reader = _Reader(self._model, prompts, sampling.max_tokens)
        device = self._model.device
        chosen_B = torch.tensor(prompt_B, device=device)
        logits_BV = reader.read_prompts()[chosen_B]
        reader.choose(chosen_B)
        uniforms_BT = uniforms_BT.to(device)
        rows = [_Row(place) for place in range(len(prompt_B))]
        made: dict[int, Completion] = {}
        # Those that the model reads. Finished ones are among them until an eighth are: to leave them out is a
        # copy.
        read = rows
        for t in range(sampling.max_tokens):
            self._mesh.pulse.beat()
            drawn_B, logprobs_B = draw(logits_BV, uniforms_BT[:, t], sampling, self._vocabulary)
            for row, token, logprob in zip(read, drawn_B.tolist(), logprobs_B.tolist(), strict=True):
                if row.stop is None:
                    row.ids.append(token)
                    row.logprobs.append(logprob)
                    row.stop = self._stop(row, sampling)
                    if row.stop is not None:
                        made[row.place] = self._completion(row)
                        finished(row.place, made[row.place])
            growing = [place for place, row in enumerate(read) if row.stop is None]
            if not growing:
                break
            if 8 * len(growing) <= 7 * len(read):
                read = [read[place] for place in growing]
                chosen_B = torch.tensor(growing, device=device)
                drawn_B, uniforms_BT = drawn_B[chosen_B], uniforms_BT[chosen_B]
                reader.choose(chosen_B)
            logits_BV = reader.read(drawn_B[:, None])
        return [made[row.place] for row in rows]

    def _stop(self, row: _Row, sampling: Sampling) -> StopReason | None:
        if row.ids[-1] in self._ends:
            return "end"
        if sampling.stop and self._says(row.ids, sampling.stop):
            return "stop"
        return "length" if len(row.ids) == sampling.max_tokens else None

    def _says(self, ids: list[int], texts: Sequence[str]) -> bool:
        """Whether one of the texts stands at the end, or would have been found before."""
        # A tail that reads longer than the texts is enough: decoding all of it with each token takes
        # quadratic time. A tail may begin within a character, which then reads as a few signs of no meaning.
        enough = max(map(len, texts)) + 4
        tail = enough
        while len(said := self._text(ids[-tail:])) < enough and tail < len(ids):
            tail *= 2
        return any(text in said for text in texts)

    def _text(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _completion(self, row: _Row) -> Completion:
        assert row.stop is not None
        return Completion(
            ids_T=torch.tensor(row.ids),
            logprobs_T=torch.tensor(row.logprobs, dtype=torch.float32),
            stop=row.stop,
            text=self._text(row.ids[:-1] if row.stop == "end" else row.ids),
        )


def _numbered(finished: Finished, numbers: range) -> Finished:
    """Hears of completions by their places among some numbers."""
    return lambda place, made: finished(numbers[place], made)


@dataclass
class _Row:
    """A completion as it grows."""

    place: int
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stop: StopReason | None = None


class _Reader:
    """A model in the middle of a batch of sequences that begin with prompts and end at the same place.

    Shorter prompts are padded on the left; the padding is masked, and positions count from each prompt's own
    beginning, so it changes nothing.
    """

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], more: int) -> None:
        """Room is made for prompts and `more` tokens."""
        self._model = model
        longest = max(map(len, prompts))
        device = model.device
        self._prompts_BT = torch.tensor([[0] * (longest - len(ids)) + list(ids) for ids in prompts]).to(
            device
        )
        self._padding_B1 = torch.tensor([[longest - len(ids)] for ids in prompts]).to(device)
        self._is_padded = any(len(ids) < longest for ids in prompts)
        self._places_T = torch.arange(longest + more, device=device)
        self._cache = cache_for(model.config, longest + more)
        self._read = 0
        takes = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in takes
        self._options: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}

    def read_prompts(self) -> Tensor:
        return self.read(self._prompts_BT)

    def read(self, ids_BT: Tensor) -> Tensor:
        """The logits after the last of these tokens, of shape BV."""
        start, end = self._read, self._read + ids_BT.shape[1]
        self._read = end
        options = dict(self._options)
        if self._takes_positions:
            options["position_ids"] = (self._places_T[start:end] - self._padding_B1).clamp_(min=0)
        # Where nothing is padded a model makes no mask either, and attention has a faster way.
        if self._is_padded:
            options["attention_mask"] = (self._places_T[:end] >= self._padding_B1).long()
        logits_BTV: Tensor = self._model(
            input_ids=ids_BT, past_key_values=self._cache, use_cache=True, **options
        ).logits
        return logits_BTV[:, -1]

    def choose(self, rows_B: Tensor) -> None:
        """Go on with the sequences of these numbers; one that is named twice goes on as two."""
        self._cache.reorder_cache(rows_B)
        self._padding_B1 = self._padding_B1[rows_B]


def _uniforms(count: int, seed: int, number: int, step: int) -> Tensor:
    """The random numbers of a completion, one a token: float64, in [0, 1)."""
    return torch.rand(count, dtype=torch.float64, generator=stream(seed, f"completion {number}", step))

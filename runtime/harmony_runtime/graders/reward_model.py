"""`reward_model`: the score of a model with a scalar head, on the device."""

# Names of tensors end in their shape: B rows, T tokens.
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch.nn.utils.rnn import pad_sequence

from harmony_compiler.graph import graders as nodes
from harmony_runtime.data.order import micro_batches
from harmony_runtime.graders.kinds import OnDevice
from harmony_runtime.graders.making import Bench
from harmony_runtime.graders.protocol import Failure, Grade, Sample, Score
from harmony_runtime.models import heads
from harmony_runtime.models.blueprint import ENOUGH_TOKENS
from harmony_runtime.models.chat import ChatError, Segment
from harmony_runtime.models.heads import Critic
from harmony_runtime.models.templates import ChatTemplate
from harmony_runtime.rollout.inference import at_hand


class RewardModel(OnDevice):
    """Scores whole conversations: the turns, then the completion as what the assistant says.

    The score is the number at the last token that is no padding by the model's own configuration, which is
    where transformers takes it too.
    """

    def __init__(self, node: nodes.RewardModel, bench: Bench) -> None:
        self._ref = node.model
        self._inference = at_hand(bench.inference)
        blueprint = self._inference.blueprint(node.model)
        heads.refuse_other(blueprint)
        self._chat = blueprint.chat
        self._template = ChatTemplate(blueprint.tokenizer, blueprint.settings.template_args)
        self._padding = blueprint.config.get_text_config().pad_token_id
        given = blueprint.settings.max_batch_tokens
        self._room = blueprint.context if given is None else min(given, blueprint.context)
        self._at_once = max(self._room, ENOUGH_TOKENS) if given is None else given
        self._held = ExitStack()
        self._critic: Critic | None = None

    async def set_up(self) -> None:
        self._critic = self._held.enter_context(self._inference.scoring(self._ref))

    async def tear_down(self) -> None:
        self._critic = None
        self._held.close()

    def grade_all(self, samples: Sequence[Sample], beat: Callable[[], None]) -> list[Grade]:
        read = [self._ids(sample) for sample in samples]
        ids = {number: found for number, found in enumerate(read) if not isinstance(found, Failure)}
        scores: dict[int, float] = {}
        lengths_B = torch.tensor([len(row) for row in ids.values()])
        for numbers_B in micro_batches(torch.tensor(list(ids)), lengths_B, self._at_once):
            numbers = numbers_B.tolist()
            scores |= zip(numbers, self._scores([ids[number] for number in numbers]), strict=True)
            beat()
        return [
            found if isinstance(found, Failure) else Score(scores[number])
            for number, found in enumerate(read)
        ]

    def _ids(self, sample: Sample) -> list[int] | Failure:
        """The conversation in the tokens of the model."""
        turns = [*sample.turns, {"role": "assistant", "content": sample.completion}]
        try:
            text = self._template.render(turns, prompt=False)
        except ChatError as fault:
            return Failure(f"the chat template of the reward model {fault}")
        (((ids, _),),) = self._chat.tokens([[Segment(text, 0.0)]])
        if not ids:
            return Failure("the chat template of the reward model makes an empty text of the conversation")
        if len(ids) > self._room:
            return Failure(
                f"the conversation has {len(ids):,} tokens, and the reward model takes {self._room:,} (its "
                "context, or `max_batch_tokens`)"
            )
        return ids

    def _scores(self, rows: Sequence[Sequence[int]]) -> list[float]:
        assert self._critic is not None, "not set up"
        # A value is the number at the token before: so another token stands behind each row, and is not read.
        ids_BT = pad_sequence([torch.tensor([*ids, 0]) for ids in rows], batch_first=True)
        counted_BT = torch.zeros(ids_BT.shape, dtype=torch.bool)
        for row, ids in enumerate(rows):
            counted_BT[row, self._last(ids) + 1] = True
        device = self._critic.scalar.head.weight.device
        with torch.no_grad():
            values_BT = self._critic(ids_BT.to(device), counted_BT.to(device))
        scores: list[float] = values_BT.sum(1).tolist()
        return scores

    def _last(self, ids: Sequence[int]) -> int:
        """The place of the last token that is no padding."""
        return max((place for place, token in enumerate(ids) if token != self._padding), default=0)

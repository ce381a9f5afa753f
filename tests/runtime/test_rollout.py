"""Rollouts against `generate`, against fresh forward passes, and against themselves cut otherwise."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest
import torch
from rollout_support import (
    DRAWN,
    ENDS,
    GREEDY,
    blueprint_of,
    engine,
    fresh_logprobs,
    lively,
    mixed_prompts,
    tokens,
)
from runtime_support import tiny
from transformers import AutoModelForCausalLM, BloomConfig, GPT2Config, Lfm2Config, MistralConfig

from harmony_compiler.graph.settings import Sampling
from harmony_grammar.records import replace
from harmony_runtime.models import weights

SHAPES = ["qwen3", "llama", "gpt2"]


def generated(model: Any, prompts: list[list[int]], max_tokens: int) -> list[list[int]]:
    """What `generate` says, up to the first end token. Prompts of one length go together: none is padded."""
    rows: dict[int, list[int]] = {}
    for length in sorted({len(prompt) for prompt in prompts}):
        same = [number for number, prompt in enumerate(prompts) if len(prompt) == length]
        ids = torch.tensor([prompts[number] for number in same])
        made = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=max_tokens
        )
        for number, row in zip(same, made[:, length:].tolist(), strict=True):
            end = next((place for place, token in enumerate(row) if token in ENDS), len(row))
            rows[number] = row[: end + 1]
    return [rows[number] for number in range(len(prompts))]


@pytest.mark.parametrize("shape", SHAPES)
def test_greedy_rollouts_say_what_generate_says(shape: str) -> None:
    model, blueprint = lively(shape)
    prompts = mixed_prompts(200)
    expected = generated(model, prompts, GREEDY.max_tokens)
    made = engine(model, blueprint).complete(prompts, 1, GREEDY, seed=1)
    assert tokens(made) == expected
    assert len(set(map(tuple, expected))) > 100  # a model that always says the same would prove nothing
    assert min(Counter(completion.stop for completion in made)[stop] for stop in ("end", "length")) > 10


_SMALL = {"vocab_size": 103, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_SMALL |= {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
_GROUPED = _SMALL | {"num_key_value_heads": 2, "intermediate_size": 64}

KINDS = {
    "sliding window": MistralConfig(sliding_window=6, **_GROUPED),
    "convolutions": Lfm2Config(layer_types=["conv", "full_attention"], **_GROUPED),
    "no position ids": BloomConfig(**_SMALL),
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_kinds_of_layers(kind: str) -> None:
    config = KINDS[kind]
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8.0)
    blueprint = dataclasses.replace(blueprint_of(tiny()), config=config)
    model.generation_config = blueprint.generation
    prompts = mixed_prompts(30)
    made = engine(model, blueprint).complete(prompts, 2, GREEDY, seed=1)
    assert tokens(made[::2]) == tokens(made[1::2]) == generated(model.eval(), prompts, GREEDY.max_tokens)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("shape", SHAPES)
def test_logprobs_are_those_of_a_fresh_forward(shape: str, temperature: float) -> None:
    model, blueprint = lively(shape)
    prompts = mixed_prompts(20)
    sampling = replace(DRAWN, temperature=temperature, top_k=30, top_p=0.9)
    made = engine(model, blueprint).complete(prompts, 3, sampling, seed=1)
    for number, completion in enumerate(made):
        expected = fresh_logprobs(model, prompts[number // 3], completion, temperature)
        assert completion.logprobs_T.dtype == torch.float32
        assert torch.allclose(completion.logprobs_T, expected, atol=1e-4)
    assert len(set(map(tuple, tokens(made)))) > 40


def test_greedy_logprobs_are_those_of_the_plain_logits() -> None:
    model, blueprint = lively()
    (prompt,) = mixed_prompts(1)
    (made,) = engine(model, blueprint).complete([prompt], 1, GREEDY, seed=1)
    assert torch.allclose(made.logprobs_T, fresh_logprobs(model, prompt, made, 1.0), atol=1e-4)


def test_how_the_work_is_cut_changes_nothing() -> None:
    model, blueprint = lively("gpt2")
    blueprint.generation.eos_token_id = list(range(20, 50))
    prompts = mixed_prompts(12)
    made = tokens(engine(model, blueprint).complete(prompts, 3, DRAWN, seed=1))
    assert {1, 2, 3, 4, 12} < set(map(len, made))  # the batch becomes smaller on the way
    small = engine(model, blueprint, most_bytes=5 * 80_000)
    assert 1 < small._batch_size(len(max(prompts, key=len)), 12) < 8
    assert tokens(small.complete(prompts, 3, DRAWN, seed=1)) == made
    one = engine(model, blueprint, most_bytes=1)
    assert tokens(one.complete(prompts, 3, DRAWN, seed=1)) == made
    whole = engine(model, blueprint)
    first, second = (
        tokens(whole.complete(prompts, 3, DRAWN, seed=1, share=share)) for share in (range(17), range(17, 36))
    )
    assert first + second == made
    assert tokens(whole.complete(prompts, 3, DRAWN, seed=1, share=range(1, 36, 2))) == made[1::2]
    assert whole.complete(prompts, 3, DRAWN, seed=1, share=range(0)) == []


def test_reading_long_prompts_counts_too() -> None:
    long, short = (engine(*lively(context=1000))._batch_size(prompt, 1000 - prompt) for prompt in (900, 10))
    assert long < short / 4  # the cache takes as much for both


def test_seed_and_step_name_the_chance() -> None:
    model, blueprint = lively()
    prompts = mixed_prompts(6)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()

    def made(**names: int) -> list[list[int]]:
        return tokens(engine(model, blueprint).complete(prompts, 2, DRAWN, **names))

    first = made(seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(9)
    assert made(seed=1) == made(seed=1, step=0) == first
    assert first[0] != first[1]
    assert made(seed=1, step=1) != first
    assert made(seed=2) != first


def test_a_model_in_training_answers_without_dropout_and_goes_on_training() -> None:
    node = tiny(architecture="gpt2", kv_heads=None, gradient_checkpointing=True)
    blueprint = blueprint_of(node)
    config = GPT2Config.from_dict(blueprint.config.to_dict() | {"resid_pdrop": 0.5, "embd_pdrop": 0.5})
    changed = dataclasses.replace(blueprint.weights, config=config)  # type: ignore[type-var]
    model = weights.load(dataclasses.replace(blueprint, weights=changed))
    assert model.transformer.drop.p == 0.5
    assert model.transformer.h[0].gradient_checkpointing
    model.train()
    model.transformer.h[0].mlp.eval()
    modes = [module.training for module in model.modules()]
    prompts = mixed_prompts(5)
    own = engine(model, blueprint)
    made = own.complete(prompts, 2, DRAWN, seed=1)
    assert [module.training for module in model.modules()] == modes
    assert tokens(engine(model.eval(), blueprint).complete(prompts, 2, DRAWN, seed=1)) == tokens(made)
    for number, completion in enumerate(made):
        expected = fresh_logprobs(model, prompts[number // 2], completion, 1.0)
        assert torch.allclose(completion.logprobs_T, expected, atol=1e-4)

    # What was drawn can be trained on, and the next rollouts come from the new weights.
    before = tokens(own.complete(prompts, 1, GREEDY, seed=1))
    row = torch.tensor([prompts[0] + tokens(made)[0]])
    loss = model.train()(input_ids=row, labels=row).loss * made[0].logprobs_T.mean()
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(100 * parameter.grad)
    again = tokens(own.complete(prompts, 1, GREEDY, seed=1))
    assert again == generated(model.eval(), prompts, GREEDY.max_tokens)
    assert again != before


def test_an_end_token_is_kept_and_not_read() -> None:
    model, blueprint = lively()
    prompts = mixed_prompts(60)
    for completion in engine(model, blueprint).complete(prompts, 1, DRAWN, seed=1):
        ids = completion.ids_T.tolist()
        assert not set(ids[:-1]) & set(ENDS)
        assert (ids[-1] in ENDS) == (completion.stop == "end")
        assert completion.stop != "length" or len(ids) == DRAWN.max_tokens
        said = ids[:-1] if completion.stop == "end" else ids
        assert completion.text == blueprint.tokenizer.decode([token for token in said if token > 6])


def test_stop_texts_are_found_across_tokens() -> None:
    model, blueprint = lively()
    blueprint.generation.eos_token_id = 3
    prompts = mixed_prompts(10)
    sampling = Sampling(max_tokens=30)
    plain = engine(model, blueprint).complete(prompts, 4, sampling, seed=1)
    stop = plain[0].text[12:15]
    stopped = engine(model, blueprint).complete(
        prompts, 4, replace(sampling, stop=(stop, "never said")), seed=1
    )
    assert stopped[0].stop == "stop"
    for before, after in zip(plain, stopped, strict=True):
        if stop in before.text:
            assert after.stop == "stop"
            assert after.text == before.text[: before.text.index(stop) + len(stop)]
            assert after.ids_T.tolist() == before.ids_T.tolist()[: len(after.ids_T)]
        else:
            assert after.ids_T.tolist() == before.ids_T.tolist()
            assert after.stop == before.stop


def test_a_stop_text_is_found_behind_tokens_that_are_not_read() -> None:
    model, blueprint = lively()
    unread = blueprint.tokenizer.convert_tokens_to_ids("<user>")
    a, b = blueprint.tokenizer("ab", add_special_tokens=False).input_ids
    says = engine(model, blueprint)._says
    assert says([b, a, *[unread] * 50, b], ["ab"])
    assert not says([b, *[unread] * 50, b], ["ab"])
    assert not says([], ["ab"])


def test_rows_of_the_embedding_without_a_token_are_not_drawn() -> None:
    model, blueprint = lively(vocab_size=400)
    made = engine(model, blueprint).complete(mixed_prompts(10), 4, replace(DRAWN, temperature=50.0), seed=1)
    drawn = {token for row in tokens(made) for token in row}
    assert max(drawn) == 102
    (first, *_) = made
    assert first.logprobs_T[0] < torch.tensor(1 / 200).log()  # they have their probability all the same
    assert max(max(row) for row in tokens(engine(model, blueprint).complete([[9]], 1, GREEDY, seed=1))) <= 102

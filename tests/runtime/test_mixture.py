"""Mixtures: shares, order, what is left over, and the fate of long rows."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtime_support import MODEL, STAGE, Told, Train, graph_of, sft, tiny

from harmony_compiler.compile import compile_recipe
from harmony_compiler.graph.datasets import LiteralRows, Mix
from harmony_compiler.graph.node import Node
from harmony_compiler.graph.values import Percent, Ref
from harmony_grammar.source import Source
from harmony_runtime.data.faults import Faults
from harmony_runtime.data.turns.mixture import drawn
from harmony_runtime.data.turns.threads import Threads, each, threads_of
from harmony_runtime.failures import RunFailed

MIX = Ref("mix")


def part(name: str, count: int, **fields: Any) -> LiteralRows:
    items = tuple({"q": f"{name}{n}"} for n in range(count))
    return LiteralRows(**({"items": items, "prompt": "{{ q }}", "completion": "x", "seed": 7} | fields))


def threads(parts: list[LiteralRows], weights: list[int] | None = None, **fields: Any) -> Threads:
    refs = [Ref(f"part{number}") for number in range(len(parts))]
    shares = None if weights is None else tuple(Percent(weight) for weight in weights)
    mix = Mix(**({"datasets": tuple(refs), "weights": shares, "seed": 7} | fields))
    nodes: dict[Ref, Node] = {**dict(zip(refs, parts, strict=True)), MIX: mix}
    return threads_of(graph_of(nodes, ()), MIX)


def prompts(found: Threads) -> list[str]:
    faults = Faults("")
    texts = [thread.turns[0]["content"] for thread in each(found, faults)]
    faults.raise_any()
    return texts


def test_without_weights_every_row_comes_once_spread_over_the_whole() -> None:
    found = threads([part("a", 6), part("b", 3), part("c", 1)])
    texts = prompts(found)
    assert texts == ["a0", "b0", "a1", "a2", "b1", "c0", "a3", "a4", "b2", "a5"]
    assert found.counts == {"read": 10}


def test_with_weights_it_ends_where_the_first_one_is_exhausted() -> None:
    found = threads([part("a", 100), part("b", 3)], [75, 25])
    assert prompts(found) == ["a0", "a1", "b0", "a2", "a3", "a4", "b1", "a5", "a6", "a7", "b2", "a8"]
    assert found.counts == {"read": 103, "not_drawn": 91}


@given(
    st.lists(st.tuples(st.integers(1, 200), st.integers(1, 97)), min_size=2, max_size=5),
    st.booleans(),
)
def test_every_prefix_has_the_shares(parts: list[tuple[int, int]], weighted: bool) -> None:
    sizes = [size for size, _ in parts]
    weights = [weight for _, weight in parts] if weighted else None
    owners, rows = (array.tolist() for array in drawn(sizes, weights))
    shares = [Fraction(share, sum(weights or sizes)) for share in weights or sizes]
    for number in range(len(sizes)):
        own = [row for owner, row in zip(owners, rows, strict=True) if owner == number]
        assert own == list(range(len(own)))  # each in its order, none twice
        assert len(own) <= sizes[number]
    if weights is None:
        assert len(owners) == sum(sizes)
    else:
        end = min(Fraction(size, weight) for size, weight in parts)
        assert abs(len(owners) - end * sum(weights)) <= len(sizes) / 2
    for count in range(1, len(owners) + 1):
        for number, share in enumerate(shares):
            # Sainte-Laguë can be off by more than one row where many datasets are small.
            assert abs(owners[:count].count(number) - share * count) < max(1, len(sizes) / 2)


def test_shuffle_and_limit_are_those_of_the_mixture() -> None:
    parts = [part("a", 6, limit=5), part("b", 4, split="train[1:]")]
    straight = prompts(threads(parts))
    shuffled = threads(parts, shuffle=True)
    assert sorted(prompts(shuffled)) == sorted(straight) != straight
    assert prompts(threads(parts, shuffle=True)) == prompts(shuffled)
    assert prompts(threads(parts, shuffle=True, seed=8)) != prompts(shuffled)
    limited = threads(parts, shuffle=True, limit=3)
    assert prompts(limited) == prompts(shuffled)[:3]
    assert limited.counts == {"read": 10, "outside_split": 1, "beyond_limit": 1 + 5}


def test_long_rows_fare_as_their_dataset_says_or_the_mixture() -> None:
    parts = [part("a", 1, on_too_long="error"), part("b", 1)]
    found = threads(parts)
    assert [found.on_too_long(n) for n in range(2)] == ["error", "drop"]
    found = threads(parts, on_too_long="truncate")
    assert [found.on_too_long(n) for n in range(2)] == ["truncate", "truncate"]


def test_mixtures_of_mixtures() -> None:
    refs = [Ref("a"), Ref("b"), Ref("c")]
    nodes: dict[Ref, Node] = {ref: part(str(ref), 2) for ref in refs}
    nodes[Ref("inner")] = Mix(datasets=(refs[0], refs[1]), seed=7)
    nodes[MIX] = Mix(datasets=(Ref("inner"), refs[2]), seed=7)
    found = threads_of(graph_of(nodes, ()), MIX)
    assert sorted(prompts(found)) == ["a0", "a1", "b0", "b1", "c0", "c1"]
    assert found.pinned == ""


def test_weights_that_would_leave_a_dataset_out() -> None:
    with pytest.raises(RunFailed, match=r"leave dataset 2 of 2 without a row, although it has 5"):
        len(threads([part("a", 10), part("b", 5)], [99, 1]))


SLICES = ("train", "train[1:]", "train[:50%]", "train[-2:]", "train[3:] + train[:1]", "train[5:]")


@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.sampled_from(SLICES), st.none() | st.integers(1, 3)),
        min_size=2,
        max_size=3,
    ),
    st.sampled_from(([50, 50], [90, 10], [2, 98], [20, 30, 50], [1, 1, 98])) | st.none(),
)
def test_check_finds_what_would_be_left_without_rows(
    parts: list[tuple[int, str, int | None]], weights: list[int] | None
) -> None:
    """No more and no less than a run refuses."""
    if weights is not None:
        weights = [*weights, 1][: len(parts)]
        weights[0] += 100 - sum(weights)
    datasets = [
        part("abc"[n], size, split=split, limit=limit) for n, (size, split, limit) in enumerate(parts)
    ]
    try:
        rows = len(threads(datasets, weights))
    except RunFailed:
        rows = 0

    written = []
    for name, (size, split, limit) in zip("abc", parts, strict=False):
        items = ", ".join(f'{{ q = "{name}{n}" }}' for n in range(size))
        fields = f'prompt = "{{{{ q }}}}", completion = "x", split = "{split}"'
        fields += f", limit = {limit}" if limit else ""
        written.append(f"rows([{items}]) {{ {fields} }}")
    shares = f" {{ weights = [{', '.join(f'{weight}%' for weight in weights)}] }}" if weights else ""
    text = f"dataset mixed = mix([{', '.join(written)}]){shares}\n"
    found = compile_recipe(Source("mixed.recipe", text), whole=True).diagnostics
    errors = {finding.code for finding in found if finding.severity == "error"}
    assert errors <= {"E0518", "E0519"}
    assert bool(errors) == (rows == 0)


def test_faults_of_all_datasets_come_out_together() -> None:
    found = threads([part("a", 2, completion="{{ no }}"), part("b", 1, completion="{{ none }}")])
    with pytest.raises(RunFailed) as caught:
        prompts(found)
    assert len(caught.value.diagnostics) == 3


def test_a_stage_trains_on_a_mixture(train: Train) -> None:
    nodes: dict[Ref, Node] = {MODEL: tiny(), Ref("a"): part("a", 3), Ref("b"): part("b", 9)}
    nodes[MIX] = Mix(datasets=(Ref("a"), Ref("b")), weights=(Percent(50), Percent(50)), seed=7)
    nodes[STAGE] = sft(dataset=MIX, steps=2)
    told = Told()
    summary = train(graph_of(nodes, (STAGE,)), watcher=told)
    counts = summary.stages[0].rows
    assert (counts["read"], counts["not_drawn"], counts["kept"]) == (12, 6, 6)

"""The benchmark against TRL: its recipes, its rows, its arithmetic. TRL itself is not needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.bench import report
from benchmarks.bench.blocks import Blocks
from benchmarks.bench.cases import ALGORITHMS, SIZES, Case, case
from benchmarks.bench.floor import Work, floor, work
from benchmarks.bench.material import lessons, rows, word_tokenizer, write_rows
from benchmarks.bench.pairs import Arrival, Block, Measured, Side, job, prepare
from benchmarks.bench.recipes import recipe, warm
from benchmarks.bench.table import Start, differences, row, verdict
from harmony_compiler.compile import Compilation, compile_recipe
from harmony_compiler.files import Disk
from harmony_grammar.source import Source

CASES = [case(algorithm, size) for size in SIZES for algorithm in ALGORITHMS]


def compiled(path: Path) -> Compilation:
    """With no registry at hand: what stands in it is made by the benchmark first."""
    return compile_recipe(Source(str(path), path.read_text(), path), files=Disk())


@pytest.mark.parametrize("each", CASES, ids=lambda each: each.name)
def test_the_recipe_of_a_case_has_no_error(each: Case, tmp_path: Path) -> None:
    found = compiled(prepare(each, tmp_path / "case", blocks=2))
    assert [finding.words.message for finding in found.diagnostics if finding.severity == "error"] == []
    (train,) = (node for node in found.graph.nodes.values() if node.constructor == each.algorithm)
    assert train.samples_per_batch == each.batch


@pytest.mark.parametrize("name", SIZES)
def test_the_recipe_of_a_warm_model_has_no_error(name: str, tmp_path: Path) -> None:
    size = SIZES[name]
    write_rows(tmp_path / "lessons.jsonl", lessons(size))
    if size.words:
        word_tokenizer(tmp_path / "tokenizer", size.words)
    path = tmp_path / "warm.recipe"
    path.write_text(warm(size))
    found = compiled(path)
    assert [finding.words.message for finding in found.diagnostics if finding.severity == "error"] == []
    assert [found.graph.nodes[ref].key for ref in found.graph.outputs] == [size.key]
    assert f'registry("{size.key}")' in recipe(case("sft", name))


@pytest.mark.parametrize(("name", "millions"), [("0.2M", 0.2), ("1M", 1.0), ("33M", 33.0)])
def test_a_size_has_as_many_weights_as_its_name_says(name: str, millions: float) -> None:
    size = SIZES[name]
    assert (size.layer_weights + size.head_weights) / 1e6 == pytest.approx(millions, rel=0.1)


@pytest.mark.parametrize("each", CASES, ids=lambda each: each.name)
def test_rows_are_the_same_every_time_and_fill_the_blocks(each: Case) -> None:
    made = rows(each, blocks=3)
    assert made == rows(each, blocks=3)
    samples = len(made) * (each.group if each.algorithm == "grpo" else 1)
    assert samples == each.batch * each.block * (3 if each.algorithm == "dpo" else 1)
    assert len({len(row["answer"].split() if each.size.words else row["answer"]) for row in made}) > 1
    assert all(row["answer"] != row["worse"] for row in made)


@pytest.mark.parametrize("each", CASES, ids=lambda each: each.name)
def test_mini_batches_and_groups_divide_the_batch(each: Case) -> None:
    assert each.batch % each.group == 0
    assert each.batch % each.mini_batches == 0
    assert each.block % each.log_every == 0


def test_trl_is_told_the_numbers_of_the_recipe(tmp_path: Path) -> None:
    told = json.loads(job(case("grpo", "33M"), tmp_path, tmp_path, mark="m"))
    assert (told["batch"], told["group"], told["max_tokens"], told["kl_beta"]) == (32, 8, 32, 0.04)
    assert told["mark"] == "m"
    assert "samples_per_batch = 32" in prepare(case("grpo", "33M"), tmp_path / "case", 1).read_text()


# The floor.


def test_the_floor_of_sft_goes_three_times_through_the_layers_and_the_head_where_the_loss_looks() -> None:
    size = replace(SIZES["0.2M"], hidden=2, layers=1, heads=1, kv_heads=1, mlp=3)
    assert size.layer_weights == 4 * 2 * 2 + 3 * 2 * 3
    assert size.head_weights == 2 * 103
    each = replace(case("sft", "0.2M"), size=size)
    rates = {"0.2M at once": 100.0, "0.2M one by one": 10.0}
    counts = {"tokens": 5.0, "trained_tokens": 2.0}
    assert floor(each, counts, rates) == pytest.approx(2 * 3 * (34 * 5 + 206 * 2) / 100)


def test_the_floor_of_grpo_reads_each_prompt_once_and_writes_token_by_token() -> None:
    each = case("grpo", "0.2M")
    # Two prompts of 10 tokens, 8 completions of 5 tokens each.
    counts = {"tokens": 16 * 15.0, "trained_tokens": 16 * 5.0, "completions": 16.0}
    assert work(each, counts) == Work(
        read=2 * 10 + 240, headed=2 + 80, learned=240, learned_headed=80, drawn=16 * 4
    )


def test_the_floor_of_ppo_has_a_critic() -> None:
    each = replace(case("ppo", "0.2M"), mini_epochs=3)
    counts = {"tokens": 30.0, "trained_tokens": 10.0, "completions": 2.0}
    assert work(each, counts) == Work(
        read=20 + 30 + 30, headed=2 + 10, learned=2 * 30 * 3, learned_headed=30, drawn=8
    )


# The table.


def side(*seconds: float, upfront: float = 0.0, loss: float = 1.0, **counts: float) -> Side:
    """Blocks of two steps, with counts of a step."""

    def block(taken: float) -> Block:
        return Block(taken, taken, 2, {what: 2 * n for what, n in counts.items()}, [loss] * 2, peak=7)

    return Side(tuple(map(block, seconds)), block(99.0), upfront)


SAME: Mapping[str, float] = {"tokens": 10.0, "trained_tokens": 4.0}


def two(algorithm: str, peer: Side, own: Side, **settings: str) -> Measured:
    return Measured(replace(case(algorithm, "0.2M"), block=2, peer=settings), peer, own)


def test_the_ratio_is_of_medians_and_the_warm_up_counts_for_nothing() -> None:
    measured = two("sft", side(4.0, 6.0, 20.0, **SAME), side(2.0, 3.0, 1.0, **SAME))
    assert measured.peer.seconds == [2.0, 3.0, 10.0]
    assert measured.ratio == 3.0
    assert measured.ratios == [2.0, 2.0, 20.0]


def test_what_was_done_before_the_first_step_is_shared_out_over_all_blocks() -> None:
    assert side(4.0, 6.0, upfront=3.0).seconds == [2.5, 3.5]


@pytest.mark.parametrize(("ratio", "word"), [(1.19, "MISSED"), (1.2, "must met"), (1.5, "aim met")])
def test_a_ratio_stands_against_must_and_aim(ratio: float, word: str) -> None:
    assert verdict(ratio, must=1.2, aim=1.5) == word


def test_a_missed_promise_is_a_fault_and_a_missed_aim_is_none() -> None:
    rates = {"0.2M at once": 1e9, "0.2M one by one": 1e9}
    kept = row(two("sft", side(2.6, **SAME), side(2.0, **SAME)), rates)
    missed = row(two("sft", side(2.2, **SAME), side(2.0, **SAME)), rates)
    assert kept.faults == []
    assert missed.faults == ["sft-0.2M: 1.10 is below 1.2"]


@pytest.mark.parametrize(
    ("algorithm", "peer", "told"),
    [
        ("sft", side(2.0, tokens=9.0, trained_tokens=4.0), "9.0 tokens"),
        ("grpo", side(2.0, tokens=10.0, trained_tokens=9.0, completions=8.0), "9.0 trained tokens"),
        ("sft", side(2.0, **SAME, loss=1.1), "losses"),
    ],
    ids=["tokens", "lengths", "losses"],
)
def test_sides_that_do_other_work_are_found(algorithm: str, peer: Side, told: str) -> None:
    drawn = {"completions": 8.0} if algorithm == "grpo" else {}
    (found,) = differences(two(algorithm, peer, side(2.0, **SAME, **drawn)))
    assert told in found


def test_the_same_work_has_no_difference() -> None:
    assert differences(two("sft", side(2.0, **SAME), side(2.0, **SAME))) == []


def test_losses_of_other_steps_are_not_compared() -> None:
    peer, own = side(2.0, **SAME, loss=1.1), side(2.0, **SAME)
    assert differences(two("sft", peer, own, train_sampling_strategy="group_by_length")) == []


def started(*seconds: float) -> list[Arrival]:
    return [Arrival(each, busy=1.0) for each in seconds]


@pytest.mark.parametrize(("steps", "faults"), [(2, 0), (200, 1)])
def test_drawn_completions_may_differ_as_much_as_chance_has_it(steps: int, faults: int) -> None:
    peer, own = (
        side(*[2.0] * steps, tokens=20.0, trained_tokens=trained, completions=8.0) for trained in (8.0, 10.0)
    )
    assert len(differences(two("grpo", peer, own))) == faults


def test_a_slow_start_is_a_fault() -> None:
    assert Start("sft", started(4.0, 6.0, 5.0), started(2.0, 2.0, 2.0)).faults == []
    assert Start("sft", started(3.0), started(2.0)).faults == ["start of sft: 1.50 is below 2"]


def test_the_page_has_a_line_for_each_case_and_says_what_is_below_its_aim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {f"{size} {kind}": 1e9 for size in SIZES for kind in ("at once", "one by one")}
    monkeypatch.setattr(report, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    lines = [
        row(two(name, side(2.6, **SAME, completions=2.0), side(2.0, **SAME, completions=2.0)), rates)
        for name in ("sft", "ppo")
    ]
    report.write(lines, [Start("sft", started(9.0), started(2.0))], rates, pairs=1, seconds=60.0)
    page = (tmp_path / "page.md").read_text()
    assert "| sft 0.2M | 1.3 (1.3–1.3) " in page
    assert "Below their aim: sft 0.2M, ppo 0.2M." in page
    assert "- ppo-0.2M: 1.30 is below 1.5" in page
    assert "{" not in page.replace("{ }", "")


# The workers' end of the line.


def test_a_worker_tells_the_seconds_and_counts_of_a_block_and_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = iter(["2\n", "1\n", "9\n"])
    monkeypatch.setattr("sys.stdin", type("Input", (), {"readline": lambda _: next(words)})())
    path = tmp_path / "answers"
    with path.open("wb") as answers:
        blocks = Blocks(answers.fileno())
        blocks.upfront(1.5)
        blocks.begin()
        for tokens in (3, 4, 5):
            blocks.count(tokens=tokens)
            blocks.step()
    ready, first, second = map(json.loads, path.read_text().splitlines())
    assert ready == {"ready": True, "upfront": 1.5}
    assert (first["steps"], first["counts"]) == (2, {"tokens": 7})
    assert (second["steps"], second["counts"]) == (1, {"tokens": 5})
    assert first["seconds"] > 0 and first["peak"] > 1e6

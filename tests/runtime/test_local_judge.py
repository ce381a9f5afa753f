"""Judges by a model of the recipe: what they are asked, and what becomes of their answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from on_device_support import bench_of, ignore, ready, sample, with_first
from reinforcement_support import REWARD, reinforcing, samples_of
from runtime_support import DATA, MODEL, STAGE, Train, sft, sums, tiny, training

from harmony_compiler.graph import graders as nodes
from harmony_compiler.graph.graders import Combination
from harmony_compiler.graph.models import RegistryModel
from harmony_compiler.graph.settings import Sampling
from harmony_compiler.graph.values import Ref
from harmony_grammar import records
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.judging.dialogue import Dialogue
from harmony_runtime.graders.judging.local import LocalJudge
from harmony_runtime.graders.making import Bench
from harmony_runtime.graders.protocol import DoesNotApply, Failure, Grade, Sample, Score
from harmony_runtime.rollout.engine import Completion
from harmony_runtime.rollout.local import LocalEngine

JUDGE = Ref("judge")
PRAISED = Combination(
    expression=("+", ("grader", 0), ("*", ("constant", 0.001), ("grader", 1))), graders=(Ref("short"), JUDGE)
)

PASS = '{"reasoning": "as it should be", "answer": "pass"}'
FAIL = '{"reasoning": "off by one", "answer": "fail"}'
NEITHER = '{"reasoning": "no sum", "answer": "not applicable"}'

WIDE = tiny(context=2_000)


def judge(model: Any = WIDE, **changes: Any) -> LocalJudge:
    node = nodes.Judge(**({"model": MODEL, "criteria": "The sum is right.", "max_tokens": 60} | changes))
    return LocalJudge(node, bench_of({MODEL: model}))


class Asked:
    """Answers in place of the model: by a function of the prompt. Remembers what it was asked together."""

    def __init__(
        self, judge: LocalJudge, answer: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.prompts: list[list[str]] = []
        self.sampling: Sampling | None = None

        def complete(
            _: LocalEngine, prompts: Sequence[Sequence[int]], n: int, sampling: Sampling, **__: Any
        ) -> list[Completion]:
            assert n == 1
            self.sampling = sampling
            texts = [judge._chat.tokenizer.decode(ids) for ids in prompts]
            self.prompts.append(texts)
            return [made(answer(text), sampling) for text in texts]

        monkeypatch.setattr(LocalEngine, "complete", complete)


def made(text: str, sampling: Sampling) -> Completion:
    whole = len(text) < sampling.max_tokens
    return Completion(torch.tensor([0]), torch.tensor([0.0]), "end" if whole else "length", text)


def grades(judge: LocalJudge, samples: Sequence[Sample]) -> list[Grade]:
    with ready(judge):
        return judge.grade_all(samples, ignore)


def scores(answered: Sequence[Grade]) -> list[float | None]:
    return [grade.value if isinstance(grade, Score) else None for grade in answered]


# --- a whole one ------------------------------------------------------------------------------------------


def test_a_model_that_was_trained_to_judge(train: Train, registry: Path) -> None:
    schema = {"type": "object", "required": ["score"]}
    node = nodes.Judge(
        model=MODEL, criteria="It is 4.", template="{{ completion }}", answer=schema, max_tokens=20
    )
    right, wrong = sample("4"), sample("5" * 99)
    rows = []
    for asked, score in ((right, 1), (wrong, 0)):
        turns = Dialogue(node).question(asked)
        assert not isinstance(turns, Failure)
        rows.append({"q": "\n\n".join(turn["content"] for turn in turns), "a": f'{{"score":{score}}}'})
    shape = {"context": 1_000, "hidden_size": 32}
    train(training(tiny(**shape), sums(items=tuple(rows)), steps=80, lr=1e-2, samples_per_batch=2))

    bench = bench_of({MODEL: RegistryModel(key="small")}, registry=registry)
    assert scores(grades(LocalJudge(node, bench), [right, wrong, right])) == [1.0, 0.0, 1.0]

    # The same by the name of the stage that trained it, whose weights stand in a folder of the run.
    finished = bench_of({MODEL: tiny(**shape), DATA: sums(), STAGE: sft()}, {STAGE: registry / "small"})
    by_stage = LocalJudge(records.replace(node, model=STAGE), finished)
    assert scores(grades(by_stage, [wrong, right])) == [0.0, 1.0]


# --- answers ----------------------------------------------------------------------------------------------


def test_all_samples_are_asked_together_and_equal_ones_once(monkeypatch: pytest.MonkeyPatch) -> None:
    local = judge()
    asked = Asked(local, lambda prompt: FAIL if "5</" in prompt.replace("\n", "") else PASS, monkeypatch)
    found = grades(local, [sample("4"), sample("5"), sample("4"), sample("4", "1+3")])
    assert scores(found) == [1.0, 0.0, 1.0, 1.0]
    (together,) = asked.prompts
    assert len(together) == len(set(together)) == 3
    assert asked.sampling == Sampling(max_tokens=60, temperature=0.0)
    assert all("The sum is right." in prompt for prompt in together)


def test_each_answer_is_a_beat() -> None:
    beats: list[int] = []
    with ready(judge(retries=0, max_tokens=3)) as local:
        local.grade_all([sample("4"), sample("5")], lambda: beats.append(0))
    assert len(beats) == 2


def test_nothing_to_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    local = judge()
    asked = Asked(local, lambda _: PASS, monkeypatch)
    assert grades(local, []) == []
    assert asked.prompts == []


def test_what_does_not_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    local = judge()
    Asked(local, lambda _: NEITHER, monkeypatch)
    assert grades(local, [sample("hello")]) == [DoesNotApply("no sum")]


def test_only_answers_that_cannot_be_read_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    local = judge()

    def answer(prompt: str) -> str:
        return PASS if "cannot be read" in prompt or "\n4\n" in prompt else "I would say yes"

    asked = Asked(local, answer, monkeypatch)
    found = grades(local, [sample("4"), sample("5"), sample("6")])
    assert [type(grade) for grade in found] == [Score] * 3
    first, second = asked.prompts
    assert (len(first), len(second)) == (3, 2)
    assert all("I would say yes" in prompt and "\n4\n" not in prompt for prompt in second)


@pytest.mark.parametrize("retries", [0, 2])
def test_an_answer_that_is_never_readable_is_a_failure(retries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    local = judge(retries=retries)
    asked = Asked(local, lambda _: "no idea", monkeypatch)
    (found,) = grades(local, [sample("4")])
    assert found == Failure("the judge's answer says no grade: there is no JSON object in it")
    assert len(asked.prompts) == 1 + retries


def test_an_answer_that_is_cut_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    local = judge(max_tokens=20)
    Asked(local, lambda _: PASS[:20], monkeypatch)
    (found,) = grades(local, [sample("4")])
    assert isinstance(found, Failure)
    assert found.reason.endswith(", and it ends at `max_tokens`")


def test_a_question_that_is_too_long_is_a_failure_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    local = judge()
    asked = Asked(local, lambda _: PASS, monkeypatch)
    long, short = grades(local, [sample("x" * 2_000), sample("4")])
    assert isinstance(long, Failure)
    assert "no room for 60 of an answer in the judge's context of 2,000" in long.reason
    assert short == Score(1.0, "as it should be")
    assert len(asked.prompts) == 1


def test_a_template_without_a_text_is_a_failure_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    local = judge(criteria="It is {{ metadata.answer }}.")
    asked = Asked(local, lambda _: PASS, monkeypatch)
    without, with_one = grades(local, [sample("4"), sample("4", metadata={"answer": "4"})])
    assert isinstance(without, Failure)
    assert "`criteria`" in without.reason
    assert isinstance(with_one, Score)
    assert len(asked.prompts[0]) == 1


# --- chance -----------------------------------------------------------------------------------------------


def test_neither_order_nor_batch_changes_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the model writes is nonsense, and counts as a reasoning here."""
    monkeypatch.setattr(Dialogue, "read", lambda _, text: Score(0.0, text))
    samples = [sample(text) for text in ("4", "5", "four", "5")]
    one, two, three, again = grades(judge(temperature=1.0, max_tokens=12), samples)
    assert two == again
    assert len({one.reasoning, two.reasoning, three.reasoning}) == 3  # type: ignore[union-attr]
    assert grades(judge(temperature=1.0, max_tokens=12), samples[2::-1]) == [three, two, one]
    assert grades(judge(temperature=1.0, max_tokens=12), samples[:1]) == [one]


# --- in a run ---------------------------------------------------------------------------------------------


def test_a_judge_by_the_trained_model_stays_as_it_was(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All questions are one, and so are the answers, while what writes the completions changes."""
    monkeypatch.setattr(Dialogue, "read", lambda _, text: Score(len(text), text))
    node = nodes.Judge(model=MODEL, criteria="good", template="?", max_tokens=12, temperature=1.0, budget=20)
    graph = reinforcing(tiny(context=1_000), {REWARD: PRAISED}, steps=3, lr=0.1)
    train(with_first(graph, {MODEL: graph.nodes[MODEL], JUDGE: node}))
    lines = samples_of(tmp_path / "out")
    judged = [line["grades"]["judge"] for line in lines]
    (answer,) = {grade["reasoning"] for grade in judged if "score" in grade}
    assert answer
    assert [("score" in grade) for grade in judged] == [True] * 20 + [False] * (len(lines) - 20)


# --- what is refused ----------------------------------------------------------------------------------------


def test_what_only_a_served_judge_can_do_is_refused() -> None:
    for changes in ({"token_budget": 500}, {"answer": "scale", "weighted": True}):
        with pytest.raises(
            RunFailed, match=f"`{list(changes)[-1]}` is for a judge that an `endpoint` serves"
        ):
            judge(**changes)


def test_a_judge_that_no_question_can_be_asked(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"`max_tokens` = 60 leaves no room .* of 40 tokens: lower it"):
        judge(tiny(context=40))
    strict = tmp_path / "strict.jinja"
    strict.write_text(
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
        "{% for m in messages %}{{ m.content }}<eos>{% endfor %}"
    )
    with pytest.raises(RunFailed, match="refuses a thread: no system turn; a judge is asked by a system"):
        judge(tiny(context=2_000, chat_template=str(strict)))
    with pytest.raises(RunFailed, match="none is loaded here"):
        LocalJudge(nodes.Judge(model=MODEL, criteria="good"), Bench(bench_of({MODEL: WIDE}).graph))


# --- the model --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "shared"),
    [({}, True), ({"generation_prompt": "as_trained"}, True), ({"dtype": "bfloat16"}, False)],
)
def test_judges_by_one_model_share_its_weights(changes: dict[str, Any], shared: bool) -> None:
    """Also where one of them is spoken to in another way; what changes the weights makes others."""
    other = Ref("other")
    bench = bench_of({MODEL: WIDE, other: records.replace(WIDE, **changes)})
    judges = [LocalJudge(nodes.Judge(model=ref, criteria="good"), bench) for ref in (MODEL, other)]
    with ready(judges[0]), ready(judges[1]):
        one, two = (judge._engine for judge in judges if judge._engine is not None)
        assert (one._model is two._model) == shared
    assert [judge._engine for judge in judges] == [None, None]
    assert not judges[0]._inference._taken


def test_where_what_is_trained_is_spread_a_judge_has_its_model_to_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Dialogue, "read", lambda _, text: Score(0.0, text))
    node = nodes.Judge(model=MODEL, criteria="good", max_tokens=5)
    spread, alone = (LocalJudge(node, bench_of({MODEL: WIDE}, shard=shard)) for shard in (True, False))
    assert grades(spread, [sample("4")]) == grades(alone, [sample("4")])

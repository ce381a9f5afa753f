"""Judges behind `transformers serve`, a real server of the API, with a model that has one thing to say."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils.import_utils import is_serve_available

if not is_serve_available():
    pytest.skip("needs `transformers[serving]`, which the extra `dev` brings", allow_module_level=True)

from graders_support import graph_of
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from harmony_compiler.graph.graders import Judge
from harmony_compiler.graph.models import Endpoint
from harmony_compiler.graph.values import Ref
from harmony_runtime.graders.judging.served import ServedJudge
from harmony_runtime.graders.kinds import Priced, TryAgain
from harmony_runtime.graders.making import Bench
from harmony_runtime.graders.protocol import Sample, Score

OPINION = '{"reasoning": "always", "answer": "pass"}'
WORD, END, SAYS = 0, 1, 2
TEMPLATE = "{% for turn in messages %}{{ turn['content'] }} {% endfor %}"


@pytest.fixture(scope="module")
def opinionated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers everything with its opinion, which is one token, and ends."""
    folder = tmp_path_factory.mktemp("opinionated")
    tokenizer = Tokenizer(models.WordLevel({"word": WORD, "<end>": END}, unk_token="word"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_tokens([AddedToken(OPINION, normalized=False)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="word")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    shape = {"hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=3, eos_token_id=END, bos_token_id=None, **shape))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1.0 if "norm" in name else 0.0)  # its layer adds nothing to what it reads
        embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        embedding[WORD, 0] = head[SAYS, 0] = 1.0
        embedding[SAYS, 1] = head[END, 1] = 1.0
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def url(opinionated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    log = folder / "log"
    command = "from transformers.cli.transformers import main; main()"
    place = ["serve", str(opinionated), "--host", "127.0.0.1", "--port", "0", "--device", "cpu"]
    # It lists the models of its cache, which must be there.
    ours = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(folder), "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **ours}
    with (
        log.open("w") as said,
        subprocess.Popen(
            [sys.executable, "-c", command, *place], stderr=subprocess.STDOUT, stdout=said, env=environment
        ) as server,
    ):
        try:
            yield f"http://127.0.0.1:{_port(server, log)}/v1"
        finally:
            server.kill()


def _port(server: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(1200):
        if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", log.read_text()):
            return found[1]
        try:
            server.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        break
    pytest.fail(f"`transformers serve` did not start:\n{log.read_text()}")


def judge(url: str, model: Path, warned: list[str], **changes: object) -> ServedJudge:
    nodes = {
        "wise": Endpoint(url=url, model=str(model)),
        "good": Judge(model=Ref("wise"), criteria="It is right.", max_tokens=8, **changes),
    }
    return ServedJudge(nodes["good"], Bench(graph_of(nodes), warn=warned.append))


async def grades(judge: ServedJudge, samples: int) -> list[object]:
    await judge.check([])
    await judge.set_up()
    try:
        asked = [judge.grade(Sample(f"completion {number}")) for number in range(samples)]
        return list(await asyncio.gather(*asked, return_exceptions=True))
    finally:
        await judge.tear_down()


def test_a_judge_is_asked_and_answers(url: str, opinionated: Path) -> None:
    warned: list[str] = []
    outcomes = asyncio.run(grades(judge(url, opinionated, warned), 4))
    for outcome in outcomes:
        assert isinstance(outcome, Priced), outcome
        assert outcome.grade == Score(1.0, "always")
        assert outcome.tokens > 50


def test_an_answer_of_another_form_is_no_grade(url: str, opinionated: Path) -> None:
    (outcome,) = asyncio.run(grades(judge(url, opinionated, [], answer="scale"), 1))
    assert isinstance(outcome, TryAgain)
    assert "`answer`: 'pass' is not of type 'integer'" in str(outcome)

"""The graph as it is drawn: trees for a terminal, diagrams for Graphviz and Mermaid."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from compiler_support import GOOD, REINFORCED, check_text, graph_of, replaced
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.datasets import Drawn
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.values import Ref
from harmony_compiler.plan.diagrams import dot, mermaid
from harmony_compiler.plan.drawing import WIDTH, tree
from harmony_compiler.plan.shown import name_of
from harmony_dsl.testing import Recipe, recipes, write_data
from harmony_dsl.testing.running import compiled

GOLDEN = Path(__file__).parent / "golden_drawings"

CHAIN = """\
recipe gsm8k { seed = 7 }
input base: Model = hf("Qwen/Qwen3-0.6B")
dataset problems = jsonl("sums.jsonl") {
  split = "train[:50%]"
  prompt = "{{ question }}"
  metadata = { answer = "{{ answer }}" }
}
dataset demos = problems { completion = "{{ answer }}" }
grader correct = math_equals { expected = "{{ metadata.answer }}" }
grader brief = clamp(1 - words(completion) / 200, 0, 1)
grader clear = judge {
  model = endpoint("http://localhost:8000/v1", model = "judge", key = env("JUDGE_KEY"))
  criteria = "Every step follows from the one before it."
}
train warm = sft { model = base { tp = 2 }, dataset = demos, epochs = 1 }
train tuned = grpo {
  model = warm
  dataset = problems
  grader = 0.8 * correct + 0.1 * brief + 0.1 * clear
  steps = 200
}
evaluate report = compare {
  models = [base, warm, tuned]
  dataset = problems { split = "train[50%:]" }
  graders = [correct, brief]
}
save tuned as "gsm8k-tuned" { if_exists = "rename" }
"""

MANY = """\
import "start.recipe" as m
model scorer = hf("org/reward")
model peer = hf("org/peer")
model helper = endpoint("http://localhost:8000/v1", model = "helper")
dataset asked = jsonl("sums.jsonl") {
  prompt = "{{ question }}"
  metadata = { answer = "{{ answer }}" }
  filter = len(answer) > 0
}
dataset other = rows([{ q = "1+1", a = "2" }, { q = "1+2", a = "3" }]) {
  prompt = "{{ q }}"
  metadata = { answer = "{{ a }}" }
  shuffle = true
  limit = 1
}
dataset blend = mix([asked, other], weights = [70%, 30%])
grader right = equals { expected = "{{ metadata.answer }}" }
grader quality = reward_model(scorer)
grader kind = judge { model = peer, criteria = "kind" }
grader kinder = judge { model = peer, criteria = "kinder" }
grader served = remote("http://localhost:9000")
grader style = 0.5 * kind + 0.5 * kinder
grader reward = right + 0.25 * style + clamp(quality, -1, 1) * (if words(completion) > 3 then served else 0)
train policy = ppo {
  policy_model = m.adder { dtype = "bfloat16" }
  value_model = hf("org/critic") { dtype = "bfloat16" }
  dataset = blend
  grader = reward
  validation { dataset = asked { limit = 1 }, grader = right }
  metrics = [kind]
  samples_per_batch = 4
  samples_per_mini_batch = 2
  sampling { max_tokens = 8 }
  max_num_ppo_steps = 100
}
train twin = grpo {
  model = m.adder { adapter = lora { rank = 4 } }
  dataset = asked
  grader = kind
  completions_per_sample = 2
  samples_per_batch = 4
  samples_per_mini_batch = 2
  sampling { max_tokens = 8 }
  steps = 3
}
evaluate report = compare {
  models = [m.tiny, helper, policy, peer]
  dataset = asked
  graders = [right, -words(completion)]
  sampling { max_tokens = 8 }
}
evaluate before = compare { models = [helper], dataset = asked, graders = [right] }
save policy { dtype = "float32" } as "policy"
save twin as "twin" { merge = true }
"""

NASTY = """\
dataset asked = rows([{ q = "1" }]) { prompt = "{{ q }}" }
model tiny = scratch { hidden_size = 8, layers = 1, heads = 2, context = 512 }
grader plain = matches(r"a\\n<b>&amp;#35;\\$")
train adder = grpo {
  model = tiny
  dataset = asked
  grader = plain + contains("$$x$$ `y` %%{z}%% é漢\\n\\"]") + contains("__a__ **b** fa:fa-car")
  completions_per_sample = 2
  samples_per_batch = 4
  samples_per_mini_batch = 2
  steps = 3
}
save adder as "end"
"""


def facts_of(graph: Graph) -> dict[Ref, str]:
    """As a plan tells them: rows of datasets, steps of stages."""
    told = ((Drawn, "7,473 rows"), (Algorithm, "200 steps"))
    return {ref: text for ref, node in graph.nodes.items() for kind, text in told if isinstance(node, kind)}


def reviewed(name: str, shown: str) -> None:
    golden = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(shown, encoding="utf-8")
    assert shown == golden.read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def start(folder: Path) -> None:
    (folder / "start.recipe").write_text(GOOD, encoding="utf-8")


@pytest.mark.parametrize(("name", "recipe"), [("chain", CHAIN), ("many", MANY)])
def test_a_tree_reads_as_it_was_reviewed(name: str, recipe: str) -> None:
    graph = graph_of(recipe, world_size=2)
    reviewed(f"{name}.txt", "\n".join(tree(graph, facts_of(graph))) + "\n")


@pytest.mark.parametrize("name", ["chain", "nasty"])
def test_diagrams_read_as_they_were_reviewed(name: str) -> None:
    graph = graph_of({"chain": CHAIN, "nasty": NASTY}[name], world_size=2)
    reviewed(f"{name}.dot", dot(graph))
    reviewed(f"{name}.mmd", mermaid(graph))


LABELS = {
    "asked\nrows([…])",
    "tiny\nscratch (qwen3, 1 layer of 8)",
    "plain\n" r'matches("a\\n<b>&amp;#35;\\$")',
    r'contains("$$x$$ `y` %%{z}%% é漢\n\"]")',
    'contains("__a__ **b** fa:fa-car")',
    r'plain + contains("$$x$$ `y` %%{z}%% é漢\n\"]") + contains("_…',
    "adder\ngrpo",
    'save as "end"',
}
"""What the nodes of `NASTY` are to show, whatever these characters mean to Graphviz or Mermaid."""


@pytest.mark.skipif(shutil.which("dot") is None, reason="there is no Graphviz")
def test_graphviz_shows_what_stands_in_the_graph() -> None:
    done = subprocess.run(
        ["dot", "-Tsvg"], input=dot(graph_of(NASTY)), capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    nodes = re.findall(r'class="node">(.*?)</g>', done.stdout, re.DOTALL)
    lines = [re.findall(r"<text[^>]*>(.*?)</text>", node) for node in nodes]
    assert {html.unescape("\n".join(texts)) for texts in lines} == LABELS


READ_MERMAID = """
import { readFileSync } from "node:fs";
import { JSDOM } from "jsdom";
globalThis.window = new JSDOM("<body></body>").window;
globalThis.document = window.document;
const { default: mermaid } = await import("mermaid");
mermaid.initialize({ startOnLoad: false });
const read = await mermaid.mermaidAPI.getDiagramFromText(readFileSync(0, "utf8"));
// Mermaid keeps the numbers of characters under other marks until it draws.
const shown = (text) => text.replace(/ﬂ°°(\\d+)¶ß/g, (_, code) => String.fromCodePoint(code));
console.log(JSON.stringify([...read.db.getVertices().values()].map((node) => shown(node.text))));
"""

MERMAID = Path(os.environ.get("MERMAID_FOLDER", Path(__file__).parents[2]))
"""Where `npm install mermaid jsdom` was called."""


@pytest.mark.skipif(
    shutil.which("node") is None or not (MERMAID / "node_modules" / "mermaid").is_dir(),
    reason="there is no Mermaid: install it with npm, and name the folder in MERMAID_FOLDER",
)
def test_mermaid_reads_what_stands_in_the_graph() -> None:
    done = subprocess.run(
        ["node", "--input-type=module", "-e", READ_MERMAID],
        input=mermaid(graph_of(NASTY)),
        capture_output=True,
        text=True,
        check=True,
        cwd=MERMAID,
        timeout=60,
    )
    shown = {re.sub("<br ?/?>", "\n", text) for text in json.loads(done.stdout)}
    assert shown == LABELS


def test_a_graph_without_models_has_no_tree_of_them() -> None:
    graph = check_text('grader right = equals("2")\n', wanted="right").graph
    assert graph is not None
    assert tree(graph, {}) == []
    assert dot(graph).count("label=") == 2
    assert mermaid(graph).splitlines()[1:] == ['  n0{{"right<br/>equals(#34;2#34;)"}}']


def test_a_line_that_is_too_long_loses_the_middle_of_its_formula() -> None:
    terms = " + ".join(f'0.5 * contains("word number {n}")' for n in range(9))
    graph = graph_of(CHAIN.replace("0.8 * correct", terms), world_size=2)
    (line,) = [line for line in tree(graph, facts_of(graph)) if "tuned = " in line]
    assert len(line) == WIDTH
    assert line.endswith("…, 200 steps")


def test_the_paths_of_files_are_told_apart(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()
        shutil.copy(folder / "sums.jsonl", folder / name)
    graph = graph_of(GOOD.replace('jsonl("sums.jsonl")', 'jsonl(["a/sums.jsonl", "b/sums.jsonl"])', 1))
    assert tree(graph, {})[-1] == 'sums = jsonl("a/sums.jsonl", "b/sums.jsonl"), for adder'


def test_one_file_is_one_source_however_its_path_is_written(folder: Path) -> None:
    (folder / "sub").mkdir()
    more = """\
dataset again = jsonl("sub/../sums.jsonl") {
  prompt = "{{ question }}"
  completion = "{{ answer }}"
  limit = 1
}
train other = sft { model = tiny, dataset = again, steps = 3 }
save other as "other"
"""
    graph = graph_of(GOOD + more)
    assert tree(graph, {})[-3:] == [
        'jsonl("sums.jsonl")',
        "├─ sums, for adder",
        "└─ again, first 1, for other",
    ]


COMPARING = """\
model quick = tiny { dtype = "bfloat16" }
model served = endpoint("http://localhost:8000/v1", model = "judge")
evaluate report = compare {
  models = [tiny, quick, tiny { end_token = "a" }, served, adder, endpoint("http://other/v1", model = "b")]
  dataset = asked
  graders = [right]
  sampling { max_tokens = 8 }
}
"""


def test_every_model_that_is_compared_stands_in_the_tree() -> None:
    assert tree(graph_of(REINFORCED + COMPARING), {}) == [
        "tiny = scratch (qwen3, 1 layer of 8)",
        "└─ adder = grpo on asked for right",
        '   ├─ report = compare tiny, quick, tiny { end_token = "a" }, served, adder, '
        'endpoint("http://other/v1") { mo…',
        '   │  ├─ measures quick = tiny { dtype = "bfloat16" }',
        '   │  ├─ measures served = endpoint("http://localhost:8000/v1") { model = "judge" }',
        '   │  └─ measures endpoint("http://other/v1") { model = "b" }',
        '   └─ save as "adder"',
        "",
        'asked = jsonl("sums.jsonl"), for adder, report',
    ]


JUDGED = """\
model wise = scratch { hidden_size = 16, layers = 1, heads = 2, context = 64, seed = 5 }
grader kind = judge { model = wise, criteria = "It is kind." }
grader short = judge { model = wise { template_args = { short = true } }, criteria = "It is short." }
grader exact = judge { model = wise { dtype = "bfloat16" }, criteria = "It is exact." }
"""


def test_a_judge_that_graders_share_is_one_line() -> None:
    graph = graph_of(JUDGED + replaced(REINFORCED, ("grader = right", "grader = kind + short + exact")))
    assert [line for line in tree(graph, {}) if "judges" in line] == [
        "   ├─ wise = scratch (qwen3, 1 layer of 16) judges kind, short",
        '   ├─ wise { dtype = "bfloat16" } judges exact',
    ]


def test_a_grader_without_a_name_is_called_by_its_text() -> None:
    grader = 'judge { model = tiny, criteria = "Is it right, and is it kind as well?" }'
    graph = graph_of(replaced(REINFORCED, ("grader = right", f"grader = right + {grader}")))
    assert '   ├─ tiny judges judge { model = tiny, criteria = "Is it…' in tree(graph, {})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("data")
    write_data(found)
    return found


@settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=40,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(recipe=recipes(), fact=st.sampled_from(["", "200 steps", "x" * 200]))
def test_every_model_and_output_is_drawn_once(data: Path, recipe: Recipe, fact: str) -> None:
    graph = compiled(recipe, data, data / "home" / "models").graph
    assert graph is not None
    lines = tree(graph, dict.fromkeys(graph.nodes, fact))
    assert max(map(len, lines), default=0) <= WIDTH
    hung = [re.sub(r"^[│├└─ ]+", "", line) for line in lines]
    for ref, node in graph.nodes.items():
        name = re.escape(name_of(graph, ref))
        if isinstance(node, Algorithm | Compare) and graph.origins[ref].name != node.constructor:
            assert len([line for line in hung if re.match(rf"{name} = {node.constructor}\b", line)]) == 1
        if isinstance(node, Save):
            assert len([line for line in hung if re.match(rf'save .*as "{re.escape(node.key)}"', line)]) >= 1
    edges = sum(len(set(graph.needs(ref))) for ref in graph.nodes)
    assert (dot(graph).count(" -> "), mermaid(graph).count(" -->|")) == (edges, edges)
    assert len(mermaid(graph).splitlines()) == 1 + len(graph.nodes) + edges
    assert Graph.from_json(graph.to_json()) == graph
    assert mermaid(Graph.from_json(graph.to_json())) == mermaid(graph)

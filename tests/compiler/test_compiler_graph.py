"""The graph: what is one node, what is in it, what its identity depends on, what is dropped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from compiler_support import DATA, FILES, GOOD, MODEL, SAVE, TRAIN, check_text, codes, graph_of, replaced

from harmony_compiler.compile import compile_recipe
from harmony_compiler.declared.given import Setting
from harmony_compiler.graph.algorithms import Sft
from harmony_compiler.graph.datasets import JsonLines, LiteralRows
from harmony_compiler.graph.graph import Graph, Origin
from harmony_compiler.graph.identity import identities
from harmony_compiler.graph.models import Reloaded, ScratchModel
from harmony_compiler.graph.node import Node, schema
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.values import Percent, Ref
from harmony_compiler.store.files import content_hash
from harmony_grammar.source import Source


def identity_by_name(text: str, sets: tuple[str, ...] = (), **launch: int) -> dict[str, str]:
    graph = graph_of(text, sets, **launch)
    known = identities(graph, content_hash, Path("home") / "models")
    return {graph.stage_name(ref): identity for ref, identity in known.items()}


def all_identities(text: str, sets: tuple[str, ...] = ()) -> set[str]:
    return set(identity_by_name(text, sets).values())


def only(graph: Graph, cls: type[Node]) -> Any:
    (node,) = [node for node in graph.nodes.values() if isinstance(node, cls)]
    return node


# --- JSON -----------------------------------------------------------------------------------------------

RICH = """\
recipe rich { seed = seed }
## How it begins.
input seed: int = 3
input share: percent = 12.5%
input path: Path = "sums.jsonl"
input token: Secret = env("TOKEN")
input base: Model = scratch { hidden_size = 8, layers = 1, heads = 2, context = 24, tokenizer = "home" }
input sizes: list[int | str] = [1, "two"]
input word: "a" | "b" = "a"

## Two lines
## of words.
dataset files = jsonl([path, path]) { split = "train[:50%]", limit = 3, shuffle = true }
dataset sums = files { system = "é \\u{1F600}", prompt = "{{ question }}", completion = "{{ answer }}" }
dataset inline = rows([{ q = "1+1", a = { n = 2, list = [1, 2.5, none, true] } }]) {
  prompt = "{{ q }}"
  completion = "{{ a.n }}"
  metadata = { "answer of it" = "{{ a.n }}" }
}
train warm = sft { model = base, dataset = sums, epochs = 0.5, schedule = linear { warmup = share } }
train tuned = sft {
  model = warm { dtype = "float32" }
  dataset = inline
  steps = 5
  schedule = constant { warmup = 3 }
  optimizer { beta2 = 0.99 }
}
save tuned as "rich" { if_exists = "rename" }
save warm as word
"""


@pytest.mark.parametrize("text", [GOOD, RICH], ids=["good", "rich"])
def test_graph_to_json_to_graph_is_the_identity(text: str) -> None:
    graph = graph_of(text)
    written = json.dumps(graph.to_json())
    again = Graph.from_json(json.loads(written))
    assert again == graph
    assert json.dumps(again.to_json()) == written


NO_GRAPHS: list[dict[str, Any]] = [
    {},
    {"format_version": 1},
    {"format_version": 99},
    {"format_version": 1, "name": "x", "nodes": {"a": {"constructor": "cosine", "fields": {}}}},
    {"format_version": 1, "name": "x", "seed": 0, "nodes": {"a": {"constructor": "nothing", "fields": {}}}},
    {"format_version": 1, "name": "x", "seed": 0, "nodes": {"a": {"constructor": "sft", "fields": {"x": 1}}}},
    {"format_version": 1, "name": "x", "seed": 0, "nodes": [], "outputs": [], "origins": {}, "inputs": {}},
]


@pytest.mark.parametrize("data", NO_GRAPHS, ids=range(len(NO_GRAPHS)))
def test_what_is_no_graph_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a "):
        Graph.from_json(data)


def test_a_graph_whose_parts_do_not_meet_is_refused() -> None:
    data = graph_of(GOOD).to_json()
    backwards = {**data, "nodes": dict(reversed(data["nodes"].items()))}
    with pytest.raises(ValueError, match="which does not stand before it"):
        Graph.from_json(backwards)
    with pytest.raises(ValueError, match="the output `nothing` is no node"):
        Graph.from_json({**data, "outputs": ["nothing"]})


def test_the_json_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "do-not-show")
    written = json.dumps(graph_of(RICH).to_json())
    assert '{"env": "TOKEN"}' in written
    assert "do-not-show" not in written


def test_each_node_stands_after_what_it_reads() -> None:
    graph = graph_of(RICH)
    seen: set[Ref] = set()
    for ref in graph.nodes:
        assert seen.issuperset(graph.needs(ref))
        seen.add(ref)


# --- equal values ---------------------------------------------------------------------------------------

SAME = {
    "other order": SAVE + TRAIN + MODEL + DATA,
    "comments": "# one\n" + GOOD.replace("  layers", "  # two\n\n  layers") + "# three\n",
    "docs": "## A word.\n" + GOOD,
    "other names": GOOD.replace("tiny", "small").replace("sums ", "lessons ").replace("= sums", "= lessons"),
    "fields in other order": replaced(GOOD, ("  layers = 1\n  heads = 2\n", "  heads = 2\n  layers = 1\n")),
    "arguments for fields": replaced(
        GOOD,
        ('jsonl("sums.jsonl") {', "jsonl {\n  path = 'sums.jsonl'".replace("'", '"')),
        ("scratch {\n  hidden_size = 8\n  layers = 1", "scratch(hidden_size = 8, layers = 1) {"),
    ),
    "let": 'let question = "{{ question }}"\nlet rate = 1 / 100\n'
    + replaced(GOOD, ('"{{ question }}"', "question"), ("1e-2", "rate")),
    "inlined": replaced(GOOD, ("model = tiny", f"model = {MODEL.partition('= ')[2].strip()}"), (MODEL, "")),
    "copied": replaced(GOOD, ("dataset = sums", "dataset = more"))
    + 'dataset more = sums { completion = "{{ answer }}" }\n',
    "defaults written": replaced(
        GOOD, ("steps = 3", "steps = 3\n  reduce = 'tokens', seed = 0, weight_decay = 0".replace("'", '"'))
    ),
    "short fields": replaced(GOOD, ("steps = 3", "steps = 3\n  cosine { floor = 10.0% }"))
    .replace("cosine {", "schedule = cosine {")
    .replace("steps = 3\n", "steps = 3\n  optimizer { beta1 = 0.9 }\n"),
    "input": 'input rate: float = 5\ninput base: Model = hf("x")\n'
    + replaced(GOOD, ("1e-2", "rate"), ("model = tiny", "model = base"), (MODEL, "")),
}
SETS = {"input": ("rate=0.01", "base=scratch { hidden_size = 8, layers = 1, heads = 2, context = 24 }")}


@pytest.mark.parametrize("way", SAME)
def test_what_says_the_same_is_the_same(way: str) -> None:
    assert all_identities(SAME[way], SETS.get(way, ())) == all_identities(GOOD)


def test_equal_values_are_one_node() -> None:
    twins = GOOD + MODEL.replace("tiny", "twin") + TRAIN.replace("adder", "other").replace("tiny", "twin")
    graph = graph_of(twins + 'save other as "other"\n')
    assert sorted(node.constructor for node in graph.nodes.values()) == [
        *("jsonl", "save", "save", "scratch", "sft"),
    ]
    assert {origin.name for origin in graph.origins.values()} >= {"tiny", "adder"}


def test_replicas_have_seeds_of_their_own() -> None:
    replicas = GOOD + TRAIN.replace("adder", "other").replace("steps", "seed = 1\n  steps")
    graph = graph_of(replicas + 'save other as "other"\n')
    assert [node.seed for node in graph.nodes.values() if isinstance(node, Sft)] == [0, 1]


# --- identities -----------------------------------------------------------------------------------------

LOADED = MODEL.replace("context = 24", "context = 24\n  %s") + DATA + TRAIN + SAVE
PLACEMENT = [
    "tp = 2",
    "max_batch_tokens = 99",
    'dtype = "bfloat16"',
    'attention = "eager"',
    "gradient_checkpointing = true",
]
SEMANTIC = [
    (MODEL, "layers = 1", "layers = 2"),
    (MODEL, "heads = 2", "heads = 4"),
    (MODEL, "context = 24", "context = 25"),
    (MODEL, "context = 24", "context = 24\n  seed = 1"),
    (MODEL, "context = 24", "context = 24\n  tied = false"),
    (MODEL, "context = 24", 'context = 24\n  end_token = "<eos>"'),
    (MODEL, "context = 24", 'context = 24\n  chat_template = "plain"'),
    (DATA, "{{ question }}", "{{ question }} "),
    (DATA, "  prompt", "  limit = 1\n  prompt"),
    (DATA, "  prompt", "  shuffle = true\n  prompt"),
    (DATA, "  prompt", '  split = "train[:1]"\n  prompt'),
    (TRAIN, "lr = 1e-2", "lr = 2e-2"),
    (TRAIN, "samples_per_batch = 4", "samples_per_batch = 2"),
    (TRAIN, "steps = 3", "epochs = 3"),
    (TRAIN, "steps = 3", "steps = 3\n  seed = 1"),
    (TRAIN, "steps = 3", 'steps = 3\n  train_on = "all"'),
    (TRAIN, "steps = 3", "steps = 3\n  schedule = linear"),
    (TRAIN, "steps = 3", "steps = 3\n  schedule = cosine { warmup = 0 }"),
]


@pytest.mark.parametrize("change", PLACEMENT)
def test_where_it_is_computed_is_not_in_an_identity(change: str) -> None:
    plain = identity_by_name(LOADED % "tp = 1", world_size=2)
    assert identity_by_name(LOADED % change, world_size=2) == plain


@pytest.mark.parametrize(("part", "old", "new"), SEMANTIC, ids=[new for _, _, new in SEMANTIC])
def test_what_changes_the_result_is_in_the_identity(part: str, old: str, new: str) -> None:
    before, after = identity_by_name(GOOD), identity_by_name(GOOD.replace(part, replaced(part, (old, new))))
    changed = {name for name in before if before[name] != after[name]}
    own = {MODEL: "tiny", DATA: "sums", TRAIN: "adder"}[part]
    assert changed == {own, "adder", "save"}


def test_the_content_of_a_file_counts_and_not_its_path(folder: Path) -> None:
    before = identity_by_name(GOOD)
    content = (folder / "sums.jsonl").read_bytes()
    (folder / "copy.jsonl").write_bytes(content)
    assert identity_by_name(GOOD.replace("sums.jsonl", "copy.jsonl")) == before
    (folder / "sums.jsonl").write_bytes(content + b'{"question": "2+2", "answer": "4"}\n')
    assert identity_by_name(GOOD)["adder"] != before["adder"]


def test_a_key_of_the_registry_is_what_it_holds(folder: Path) -> None:
    text = GOOD.replace(MODEL, 'model tiny = registry("sorter")\n')
    before = identity_by_name(text)
    (folder / "home" / "models" / "sorter" / "model.safetensors").write_bytes(b"weights")
    assert identity_by_name(text)["adder"] != before["adder"]


def test_a_trained_model_loaded_otherwise_is_the_same_training() -> None:
    text = GOOD + 'train more = sft { model = adder { dtype = "float32" }, dataset = sums, steps = 1 }\n'
    assert identity_by_name(text)["adder"] == identity_by_name(GOOD)["adder"]
    assert only(graph_of(text), Reloaded).dtype == "float32"


# --- what is in it --------------------------------------------------------------------------------------


def test_every_default_is_filled_in() -> None:
    graph = graph_of("recipe one { seed = 7 }\n" + GOOD)
    model, rows, stage = only(graph, ScratchModel), only(graph, JsonLines), only(graph, Sft)
    assert (model.kv_heads, model.mlp_size, model.tied, model.tokenizer) == (2, 32, True, "chars")
    assert (model.seed, rows.seed, stage.seed, graph.seed) == (7, 7, 7, 7)
    assert (stage.epochs, stage.schedule.warmup, stage.optimizer.beta2) == (None, Percent(10), 0.999)


def test_gpt2_has_no_kv_heads() -> None:
    text = replaced(GOOD, ("context = 24", 'context = 24\n  architecture = "gpt2"'))
    assert only(graph_of(text), ScratchModel).kv_heads is None


def test_the_seed_of_a_recipe_may_be_an_input() -> None:
    text = "recipe one { seed = seed }\ninput seed: int = 7 where seed >= 0\n" + GOOD
    graph = graph_of(text, ("seed=9",))
    assert (graph.seed, only(graph, Sft).seed, graph.inputs) == (9, 9, {"seed": 9})


def test_a_relative_path_means_from_the_text_in_which_it_stands(folder: Path) -> None:
    (folder / "recipes").mkdir()
    (folder / "recipes" / "here.jsonl").write_bytes(FILES["sums.jsonl"])
    text = "input other: Path\n" + GOOD.replace('"sums.jsonl"', '["here.jsonl", other]')
    source = Source("recipes/case.recipe", text, folder / "recipes" / "case.recipe")
    graph = compile_recipe(source, settings=[Setting("other", "sums.jsonl")]).graph
    assert graph is not None
    assert only(graph, JsonLines).path == (str(folder / "recipes" / "here.jsonl"), str(folder / "sums.jsonl"))


def test_a_graph_without_a_recipe_is_named_after_its_file() -> None:
    assert (graph_of(GOOD).name, graph_of("recipe named\n" + GOOD).name) == ("case", "named")


def test_docs_and_places_are_kept_beside_the_nodes() -> None:
    graph = graph_of(f"## What it learns.\n## And how.\n{TRAIN}{MODEL}{DATA}{SAVE}")
    origins = {origin.name: origin for origin in graph.origins.values()}
    assert origins["adder"] == Origin(
        "adder",
        "case.recipe",
        3,
        "What it learns.\nAnd how.",
        dict.fromkeys(("steps", "model", "dataset", "lr", "samples_per_batch"), ()),
    )
    assert (origins["tiny"].line, origins["sums"].line, origins["save"].line) == (10, 16, 20)


def test_a_value_with_several_names_is_shown_under_the_one_it_was_written_under() -> None:
    graph = graph_of("input base: Model = tiny\nlet alias = sums\n" + GOOD.replace("= tiny", "= base"))
    names = {origin.name for origin in graph.origins.values()}
    assert names == {"tiny", "sums", "adder", "save"}


def test_integers_and_shares_become_what_the_field_takes() -> None:
    stage = only(graph_of(replaced(GOOD, ("lr = 1e-2", "lr = 1%"), ("steps = 3", "epochs = 2"))), Sft)
    assert (stage.lr, stage.epochs) == (0.01, 2.0)
    assert all(isinstance(value, float) for value in (stage.lr, stage.epochs))


def test_rows_keep_the_values_they_were_written_with() -> None:
    items = only(graph_of(RICH), LiteralRows).items
    assert items == ({"q": "1+1", "a": {"n": 2, "list": (1, 2.5, None, True)}},)


# --- outputs and pruning --------------------------------------------------------------------------------

CHAIN = (
    DATA
    + MODEL.replace("tiny", "t0")
    + "".join(f"train t{n} = sft {{ model = t{n - 1}, dataset = sums, steps = {n} }}\n" for n in (1, 2, 3))
)


def output_names(graph: Graph) -> list[str]:
    return [graph.stage_name(ref) for ref in graph.outputs]


def test_a_training_that_nothing_saves_is_an_output_and_said() -> None:
    compilation = check_text(CHAIN)
    assert codes(compilation) == ["W0601"]
    assert compilation.graph is not None
    assert output_names(compilation.graph) == ["t3"]


OUTPUTS = [
    ('save t3 as "a"\n', ["save"], []),
    ('save t3 { tp = 1 } as "a"\n', ["save"], []),
    ('save t2 as "a"\n', ["save", "t3"], ["W0601"]),
    ('save t1 as "a"\nsave t3 as "b"\n', ["save", "save"], []),
    ('save t0 as "a"\n', ["save", "t3"], ["W0601"]),
    ("model other = sft { model = t3, dataset = sums, steps = 1 }\n", ["other"], ["W0601"]),
    ("let other = sft { model = t3, dataset = sums, steps = 1 }\n", ["other"], ["W0601"]),
    ("let other = sft { model = t3, dataset = sums, steps = 3, lr = 1 }\n", ["other"], ["W0601"]),
]


@pytest.mark.parametrize(("more", "outputs", "said"), OUTPUTS, ids=[more for more, _, _ in OUTPUTS])
def test_outputs_are_saves_and_trainings_that_no_other_uses(
    more: str, outputs: list[str], said: list[str]
) -> None:
    compilation = check_text(CHAIN + more)
    assert codes(compilation) == said
    assert compilation.graph is not None
    assert output_names(compilation.graph) == outputs


def test_what_no_output_needs_is_dropped_and_said() -> None:
    spare = 'model spare = hf("x")\ndataset more = sums { limit = 1 }\nlet first = 1\nlet second = first\n'
    compilation = check_text(GOOD + spare)
    said = [(finding.code, finding.span.text) for finding in compilation.diagnostics]
    assert said == [("W0201", "spare"), ("W0201", "more"), ("W0201", "second")]
    assert compilation.graph == graph_of(GOOD)


def test_a_file_without_outputs_checks() -> None:
    compilation = check_text(DATA + MODEL)
    assert codes(compilation) == []
    assert compilation.graph is not None
    assert (compilation.graph.outputs, compilation.graph.nodes) == ((), {})


def test_a_chain_of_a_thousand_stages_compiles() -> None:
    links = "".join(
        f"train t{i + 1} = sft {{ model = t{i}, dataset = sums, steps = 1 }}\n" for i in range(1000)
    )
    graph = graph_of(DATA + MODEL.replace("tiny", "t0") + links + 'save t1000 as "end"\n')
    assert len(graph.nodes) == 1003


def test_a_save_is_no_collision_when_the_key_holds_this_very_model(folder: Path, registry: Path) -> None:
    manifest = registry / "sorter" / "harmony.json"
    text = GOOD.replace('"adder"', '"sorter"')
    assert codes(check_text(text, registry=registry)) == ["E0603"]
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"identity": identity_by_name(text)["adder"]}))
    assert codes(check_text(text, registry=registry)) == []
    manifest.write_text("[]")
    assert codes(check_text(text, registry=registry)) == ["E0603"]
    for policy in ("rename", "overwrite"):
        kind = text.replace('"sorter"', f'"sorter" {{ if_exists = "{policy}" }}')
        assert codes(check_text(kind, registry=registry)) == []


def test_every_field_of_every_node_is_in_the_graph() -> None:
    for data in graph_of(RICH).to_json()["nodes"].values():
        cls = {cls.constructor: cls for cls in (JsonLines, LiteralRows, ScratchModel, Sft, Save, Reloaded)}
        assert list(data["fields"]) == list(schema(cls[data["constructor"]]))

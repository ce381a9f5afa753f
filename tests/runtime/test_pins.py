"""What a lock pins, a run holds: files, folders and keys by their content, the hub by its commits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from runtime_support import DATA, MODEL, SAVE, STAGE, Train, graph_of, json_lines, sft, tiny, training

from harmony_compiler.graph.datasets import HubRows, RegistryRows
from harmony_compiler.graph.graders import Equals, PythonGrader, RegistryGrader
from harmony_compiler.graph.graph import Graph, Pins
from harmony_compiler.graph.models import LocalModel, RegistryModel
from harmony_compiler.graph.named import content_of, named
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.values import Ref
from harmony_compiler.store import datasets as registered
from harmony_compiler.store.files import content_hash
from harmony_compiler.store.graders import SavedGrader
from harmony_compiler.store.graders import add as publish
from harmony_compiler.store.hashes import Hashes
from harmony_grammar.records import replace
from harmony_runtime.data.rows.sources import RawRows
from harmony_runtime.failures import RunFailed
from harmony_runtime.run.pins import refuse_changed, refuse_changed_graders

ROWS = [{"q": "1+1", "a": "2"}, {"q": "1+2", "a": "3"}]


def pinned(graph: Graph, registry: Path, **others: str) -> Graph:
    """The graph, with all that it names as it is now; `others` are pins of another content."""
    things = [thing for node in graph.nodes.values() for thing in named(node) if thing.repo is None]
    contents = {thing.pin: content_of(thing, content_hash, registry) for thing in things}
    return replace(graph, pins=Pins("small.recipe", contents | others, {}))


def test_a_run_goes_on_while_nothing_changes(train: Train, registry: Path, tmp_path: Path) -> None:
    graph = training(data=json_lines(tmp_path / "rows.jsonl", ROWS))
    graph = pinned(graph, registry)
    train(graph)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert graph.pins is not None
    assert manifest["pins"] == {"recipe": "small.recipe", "contents": graph.pins.contents, "commits": {}}
    kept = json.loads((tmp_path / "out" / "graph.json").read_text(encoding="utf-8"))
    assert Graph.from_json(kept).pins == graph.pins


def test_a_changed_file_is_refused_and_named(
    train: Train, refused: Callable[..., RunFailed], registry: Path, tmp_path: Path
) -> None:
    graph = pinned(training(data=json_lines(tmp_path / "rows.jsonl", ROWS)), registry)
    train(graph)
    json_lines(tmp_path / "rows.jsonl", [*ROWS, {"q": "2+2", "a": "4"}])
    for options in ({"out": "other"}, {"resume": True}):
        failure = refused(graph, **options)
        assert failure.exit_code == 1
        assert failure.message == (
            f"small.recipe:2: `data`: {tmp_path / 'rows.jsonl'}: the lock of small.recipe pins another "
            "content. Put back what was there, or accept what is there now with `harmonyc lock small.recipe`"
        )


@pytest.fixture
def own(train: Train) -> Graph:
    """A recipe that trains on from a key of the registry, and saves under the same one."""
    train(training(save={"if_exists": "overwrite"}), "earlier")
    return training(RegistryModel(key="small"), save={"if_exists": "overwrite"}, epochs=1)


def test_a_key_is_what_it_was_when_the_run_first_started(
    train: Train, refused: Callable[..., RunFailed], registry: Path, own: Graph
) -> None:
    graph = pinned(own, registry)
    train(graph)
    assert [stage.reused for stage in train(graph, resume=True).stages] == [True]
    message = refused(graph, out="other").message
    assert "the model `small` of the registry: the lock of small.recipe pins another content. Put" in message


def test_a_lock_of_another_start_is_refused(
    train: Train, refused: Callable[..., RunFailed], registry: Path, own: Graph
) -> None:
    """A lock that was written anew after the run's own save pins what this run did not start from."""
    train(own)
    assert refused(pinned(own, registry), resume=True).message == (
        "small.recipe:1: `base`: the model `small` of the registry: the lock of small.recipe pins another "
        "content than this run started from. Start a new run, or put back the lock that it started with"
    )


def test_without_pins_the_content_is_free(train: Train, tmp_path: Path) -> None:
    graph = training(data=json_lines(tmp_path / "rows.jsonl", ROWS))
    train(graph)
    json_lines(tmp_path / "rows.jsonl", ROWS[:1])
    train(replace(graph, nodes=graph.nodes | {SAVE: Save(model=STAGE, key="other")}), "other")


@pytest.fixture
def things(registry: Path, tmp_path: Path) -> dict[str, tuple[Graph, Path]]:
    """By what it is, a graph that names it, and a file of it that may change."""
    json_lines(tmp_path / "rows.jsonl", ROWS)
    kept = registry.parent / "datasets"
    registered.add(kept, "rows", [tmp_path / "rows.jsonl"], "jsonl", rows=2, created="then")
    template, code, module = tmp_path / "chat.jinja", tmp_path / "score.py", tmp_path / "helper.py"
    template.write_text("{% for m in messages %}{{ m.content }}{% endfor %}", encoding="utf-8")
    code.write_text("import helper\n\ndef score(completion):\n    return 1.0\n", encoding="utf-8")
    module.write_text("x = 1\n", encoding="utf-8")
    folder = tmp_path / "folder"
    for model in (folder, registry / "small"):
        model.mkdir(parents=True)
        (model / "config.json").write_text("{}", encoding="utf-8")
    grader = PythonGrader(function=f"{code}:score")
    one = {
        "folder": (LocalModel(path=str(folder)), folder / "config.json"),
        "key": (RegistryModel(key="small"), registry / "small" / "config.json"),
        "template": (tiny(chat_template=str(template)), template),
        "rows": (RegistryRows(key="rows", seed=7), kept / "rows" / "rows.jsonl"),
        "grader": (grader, code),
        "module": (grader, module),
    }
    return {name: (graph_of({MODEL: node}, (MODEL,)), file) for name, (node, file) in one.items()}


KINDS = ("folder", "key", "template", "rows", "grader", "module")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_thing_is_held(
    kind: str, things: dict[str, tuple[Graph, Path]], registry: Path
) -> None:
    graph, file = things[kind]
    graph = pinned(graph, registry)
    refuse_changed(graph, content_hash, registry)
    file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(
        RunFailed, match=r"small\.recipe:1: `base`: .*: the lock of small\.recipe pins another"
    ):
        refuse_changed(graph, content_hash, registry)


def test_all_that_changed_is_named_at_once(things: dict[str, tuple[Graph, Path]], registry: Path) -> None:
    nodes = {Ref(kind): node for kind, (graph, _) in things.items() for node in graph.nodes.values()}
    graph = pinned(graph_of(nodes, ()), registry)
    for _, file in things.values():
        file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(RunFailed) as caught:
        refuse_changed(graph, content_hash, registry)
    (paragraph,) = caught.value.message.split("\n\n")
    assert [kind for kind in ("folder", "key", "template", "rows", "grader") if f"`{kind}`: " in paragraph]
    assert paragraph.count("small.recipe:") == len(KINDS)
    assert "the dataset `rows` of the registry" in paragraph


def test_a_base_that_stands_elsewhere_is_a_part_of_an_adapter(tmp_path: Path, registry: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    adapter.mkdir()
    (base / "config.json").write_text("{}", encoding="utf-8")
    config = json.dumps({"base_model_name_or_path": str(base)})
    (adapter / "adapter_config.json").write_text(config, encoding="utf-8")
    graph = pinned(graph_of({MODEL: LocalModel(path=str(adapter))}, (MODEL,)), registry)
    (base / "config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(RunFailed, match="adapter: the lock"):
        refuse_changed(graph, content_hash, registry)


def test_a_published_grader_is_held(registry: Path, refused: Callable[..., RunFailed]) -> None:
    def put(text: str) -> None:
        leaf = Ref("leaf")
        graph = graph_of({leaf: Equals(expected=text)}, (leaf,)).to_json()
        facts = dict.fromkeys(("doc", "recipe", "file", "created", "harmony"), "")
        made = SavedGrader(grader="leaf", scores=(0.0, 1.0), needs=(), files={}, graph=graph, **facts)
        publish(registry.parent / "graders", "polite", made, replace=True)

    put("yes")
    judge = Ref("judge")
    graph = pinned(graph_of({judge: RegistryGrader(key="polite")}, (judge,)), registry)
    refuse_changed_graders(graph, registry)
    put("no")
    assert "small.recipe:1: `judge`: the grader `polite` of the registry: the lock" in refused(graph).message


def test_pins_cost_no_further_hash(
    train: Train, registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = training(data=json_lines(tmp_path / "rows.jsonl", ROWS))
    train(graph, "before")  # what it makes of the rows stays in the cache
    hashed: list[str] = []
    real = Hashes.content

    def noting(self: Hashes, path: str) -> str:
        hashed.append(path)
        return real(self, path)

    monkeypatch.setattr(Hashes, "content", noting)
    train(graph)
    without = list(hashed)
    train(pinned(graph, registry), "pinned")
    assert without
    assert hashed == without * 2


# --- the hub, from its cache ----------------------------------------------------------------------------

HERE, ELSEWHERE = "a" * 40, "b" * 40


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset in the cache of `datasets`, as one of the hub stands there after a run at `HERE`."""
    cache = tmp_path / "datasets"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    (tmp_path / "sums").mkdir()
    (tmp_path / "sums" / "train.jsonl").write_text('{"q": "1+1"}\n', encoding="utf-8")
    assert len(opened(str(tmp_path / "sums"))) == 1
    (made,) = (path.parent for path in cache.rglob("dataset_info.json"))
    info: dict[str, Any] = json.loads((made / "dataset_info.json").read_text(encoding="utf-8"))
    place = cache / "some___sums" / "default" / "0.0.0" / HERE
    place.parent.mkdir(parents=True)
    made.rename(place)
    (place / "dataset_info.json").write_text(json.dumps(info | {"config_name": "default"}), encoding="utf-8")


def opened(repo: str, revision: str | None = None) -> RawRows:
    return RawRows(graph_of({DATA: HubRows(repo=repo, revision=revision, seed=7)}, ()), DATA)


@pytest.mark.usefixtures("cached")
def test_a_cache_is_used_where_it_has_the_commit() -> None:
    assert len(opened("some/sums")) == 1
    assert len(opened("some/sums", HERE)) == 1


@pytest.mark.usefixtures("cached")
def test_a_cache_with_another_commit_is_refused() -> None:
    with pytest.raises(RunFailed, match=f"the cache here has the commit {HERE}, and .* asks for {ELSEWHERE}"):
        len(opened("some/sums", ELSEWHERE))


def test_pins_are_no_part_of_what_a_stage_is(train: Train, registry: Path, tmp_path: Path) -> None:
    """A lock that is written later, and says what was there, takes no finished stage away."""
    graph = training(data=json_lines(tmp_path / "rows.jsonl", ROWS))
    train(graph)
    summary = train(pinned(graph, registry), resume=True)
    assert [stage.reused for stage in summary.stages] == [True]


def test_pins_of_what_the_graph_does_not_name_say_nothing(train: Train, registry: Path) -> None:
    nodes = {MODEL: tiny(), DATA: training().nodes[DATA], STAGE: sft(), SAVE: Save(model=STAGE, key="x")}
    train(pinned(graph_of(nodes, (SAVE,)), registry, **{"datasets jsonl:/gone.jsonl": "0" * 64}))

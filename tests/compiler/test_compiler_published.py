"""Published graders, as the checker sees them, and spliced into graphs."""

from __future__ import annotations

from pathlib import Path

import pytest
from compiler_support import GRADER, REINFORCED, check_text, codes, graph_of, pointed_at, replaced
from hypothesis import given
from hypothesis import strategies as st

from harmony_compiler.compile import Compilation
from harmony_compiler.graph.graders import Combination, Contains, Equals, Grader, Judge, PythonGrader
from harmony_compiler.graph.graph import Graph, Origin
from harmony_compiler.graph.identity import identities, ref_of, training_digest
from harmony_compiler.graph.models import Endpoint
from harmony_compiler.graph.publishing import paths_in, with_python_files
from harmony_compiler.graph.splicing import NotPublishedError, spliced
from harmony_compiler.graph.values import Duration, Percent, Ref
from harmony_compiler.store.files import content_hash
from harmony_compiler.store.graders import (
    FILES,
    GRADERS,
    SavedGrader,
    add,
    keep_files,
)
from harmony_compiler.store.modules import with_modules
from harmony_compiler.store.registry import MANIFEST
from harmony_compiler.store.shelves import KeyTakenError
from harmony_grammar.records import replace

TONE = """\
grader kind = contains("thank") { on_failure = "zero" }
## Polite, and right.
grader polite = 0.5 * kind + 0.5 * clamp(1 - words(completion) / 20, 0, 1) + equals("{{ metadata.answer }}")
"""
"""A grader `polite`, and what it is made of."""

CREATED = "2026-01-31T12:00:00+00:00"


@pytest.fixture
def graders(registry: Path) -> Path:
    """The registry of graders; it holds `polite` under the key `politeness`."""
    folder = registry.parent / "graders"
    publish(folder, "politeness", "polite", TONE)
    return folder


def publish(graders: Path, key: str, name: str, text: str = TONE, *, replace: bool = False) -> SavedGrader:
    found = check_text(text, registry=graders.parent / "models", wanted=name)
    assert found.graph is not None and found.contract is not None, found.diagnostics
    made = SavedGrader(
        grader=name,
        doc=found.graph.origins[found.graph.outputs[0]].doc,
        recipe="tone",
        file="tone.recipe",
        created=CREATED,
        harmony="0.1",
        scores=tuple(found.contract.scores),
        needs=found.contract.needs,
        files={},
        graph=spliced(found.graph, graders).to_json(),
    )
    return add(graders, key, made, replace=replace)


def using(grader: str) -> str:
    """A recipe that reinforces by `grader`."""
    return replaced(REINFORCED, (GRADER, f"grader right = {grader}\n"))


def check(text: str, graders: Path) -> Compilation:
    return check_text(text, registry=graders.parent / "models")


def in_place(text: str, graders: Path) -> Graph:
    """The graph of a recipe, its published graders in place."""
    found = check(text, graders)
    assert found.graph is not None, [finding.words.message for finding in found.diagnostics]
    return spliced(found.graph, graders)


# --- check ----------------------------------------------------------------------------------------------


def test_a_key_that_nothing_was_published_under(graders: Path) -> None:
    found = check(using('registry("politenes")'), graders)
    assert codes(found) == ["E0620"]
    assert pointed_at(found) == ['"politenes"']
    (fix,) = found.diagnostics[0].fixes
    assert [edit.text for edit in fix.edits] == ['"politeness"']
    assert codes(check(using('registry("../models")'), graders)) == ["E0620"]


def test_without_a_registry_nobody_could_look() -> None:
    assert codes(check_text(using('registry("anything")'))) == []


@pytest.mark.parametrize(
    "grader",
    [
        'registry("politeness")',
        '0.5 * registry("politeness") + 0.5',
        '-registry("politeness")',
        'mean(registry("politeness"), 0.5)',
        'if words(completion) > 3 then registry("politeness") else 0',
        'registry("politeness") { on_failure = "stop", timeout = 5s }',
    ],
)
def test_a_place_of_a_grader_means_a_grader(grader: str, graders: Path) -> None:
    assert codes(check(using(grader), graders)) == []


def test_what_a_published_grader_reads_the_rows_must_have(graders: Path) -> None:
    lacking = replaced(
        using('0.5 * registry("politeness")'), ('{ answer = "{{ answer }}" }', '{ hint = "no" }')
    )
    found = check(lacking, graders)
    assert codes(found) == ["E0512"]
    (finding,) = found.diagnostics
    assert finding.span.text == '"politeness"'
    assert [label.span.text for label in finding.labels] == ['{ hint = "no" }']


def test_also_of_the_type_that_it_reads(graders: Path) -> None:
    publish(graders, "near", "near", "grader near = clamp(metadata.answer / 10, 0, 1) + words(completion)\n")
    found = check(using('registry("near")'), graders)
    assert codes(found) == ["E0514"]
    assert found.diagnostics[0].span.text == '"near"'


def test_what_is_known_of_its_scores(graders: Path) -> None:
    held = GRADERS.at(graders, "politeness")
    assert held is not None
    assert held.scores == (0.0, 2.0)
    assert codes(check(using('clamp(registry("politeness"), 2, 3)'), graders)) == ["E0607"]
    assert codes(check(using('clamp(registry("politeness"), 1, 3)'), graders)) == []
    zero = 'clamp(registry("politeness") { on_failure = "zero" } + 1, 0, 1)'
    assert codes(check(using(zero), graders)) == ["E0607"]
    publish(graders, "up", "up", "grader up = clamp(words(completion), 1, 2)\n")
    assert codes(check(using('clamp(registry("up"), 0, 1)'), graders)) == ["E0607"]
    assert codes(check(using('clamp(registry("up") { on_failure = "zero" }, 0, 1)'), graders)) == []
    unbounded = publish(graders, "long", "long", "grader long = -words(completion)\n")
    assert unbounded.scores == (float("-inf"), 0.0)
    assert GRADERS.at(graders, "long") == unbounded


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("nothing", "it is not json"),
        ('{"format_version": 9}', "another version of harmony wrote it"),
        ('{"format_version": 1}', "no manifest"),
        ("[]", "no manifest"),
    ],
)
def test_a_manifest_that_cannot_be_read(manifest: str, words: str, graders: Path) -> None:
    (graders / "politeness" / MANIFEST).write_text(manifest, encoding="utf-8")
    found = check(using('registry("politeness")'), graders)
    assert codes(found) == ["E0507"]
    assert words in found.diagnostics[0].words.message
    graph = check_text(using('registry("politeness")')).graph
    assert graph is not None
    with pytest.raises(NotPublishedError, match="that can be used"):
        spliced(graph, graders)


# --- splicing -------------------------------------------------------------------------------------------


def inlined(grader: str) -> str:
    """The same recipe with the published grader written in it."""
    return replaced(REINFORCED, (GRADER, f"{TONE}grader right = {grader}\n"))


def meaning(graph: Graph, graders: Path) -> str:
    return training_digest(graph, content_hash, graders.parent / "models")


@pytest.mark.parametrize(
    "grader",
    ["{}", '0.5 * {} + 0.5 * contains("thank")', "mean({}, words(completion) / 9, {})", "1 - {}"],
)
def test_it_means_what_the_recipe_would_mean_with_the_grader_in_it(grader: str, graders: Path) -> None:
    used = in_place(using(grader.replace("{}", 'registry("politeness")')), graders)
    whole = graph_of(inlined(grader.replace("{}", "polite")))
    assert meaning(used, graders) == meaning(whole, graders)
    assert len(used.nodes) == len(whole.nodes)
    assert Graph.from_json(used.to_json()) == used


def test_equal_graders_are_one(graders: Path) -> None:
    """The same `contains` is published, and stands in the recipe."""
    graph = in_place(using('registry("politeness") + contains("thank") { on_failure = "zero" }'), graders)
    assert [type(node) for node in graph.nodes.values()].count(Contains) == 1


def test_a_combination_names_a_grader_once(graders: Path) -> None:
    publish(graders, "kind", "kind")
    text = using('0.25 * registry("kind") + 0.75 * contains("thank") { on_failure = "zero" }')
    graph = in_place(text, graders)
    (reward,) = (node for node in graph.nodes.values() if isinstance(node, Combination))
    (kind,) = reward.graders
    assert isinstance(graph.nodes[kind], Contains)
    assert [part[2] for part in reward.expression[1:]] == [("grader", 0), ("grader", 0)]


def test_the_recipe_decides_about_failures_and_what_it_leaves_open_is_as_published(graders: Path) -> None:
    publish(graders, "kind", "kind")
    plain = in_place(using('registry("kind")'), graders)
    (node,) = (node for node in plain.nodes.values() if isinstance(node, Contains))
    assert (node.on_failure, node.max_failure_rate, node.timeout) == ("zero", Percent(10), None)
    decided = 'registry("kind") { on_failure = "skip", max_failure_rate = 50%, timeout = 3s, retries = 0 }'
    (node,) = (n for n in in_place(using(decided), graders).nodes.values() if isinstance(n, Contains))
    assert (node.on_failure, node.max_failure_rate) == ("skip", Percent(50))
    assert (node.timeout, node.retries, node.text) == (Duration(3, "s"), 0, "thank")


def test_names_and_places_are_those_of_the_recipe(graders: Path) -> None:
    graph = in_place(using('registry("politeness") { retries = 1 }'), graders)
    named = {origin.name: (origin, graph.nodes[ref]) for ref, origin in graph.origins.items()}
    origin, node = named["right"]
    assert isinstance(node, Combination)
    assert origin.doc == "Polite, and right."
    assert origin.file == "case.recipe"
    assert "retries" in origin.given
    inner, node = named["politeness.kind"]
    assert isinstance(node, Contains)
    assert (inner.file, inner.line) == (origin.file, origin.line)
    assert set(named) > {'equals("{{ metadata.answer }}")'}


def test_a_grader_that_is_made_of_published_ones_is_published_whole(graders: Path) -> None:
    publish(graders, "both", "both", 'grader both = mean(registry("politeness"), contains("dear"))\n')
    held = GRADERS.at(graders, "both")
    assert held is not None
    assert held.needs == GRADERS.at(graders, "politeness").needs  # type: ignore[union-attr]
    before = meaning(in_place(using('registry("both")'), graders), graders)
    publish(graders, "politeness", "kind", replace=True)
    assert meaning(in_place(using('registry("both")'), graders), graders) == before


def test_what_is_missing_is_said_for_each_place(graders: Path) -> None:
    graph = check_text(using('registry("no") + registry("politeness") + registry("neither")')).graph
    assert graph is not None
    with pytest.raises(NotPublishedError) as caught:
        spliced(graph, graders)
    assert len(caught.value.faults) == 2
    assert "its keys are politeness" in str(caught.value)


def test_a_graph_that_names_no_key_stays_as_it_is(graders: Path) -> None:
    graph = graph_of(REINFORCED)
    assert spliced(graph, graders / "nowhere") is graph


def test_a_save_of_the_very_model_is_no_collision(graders: Path, registry: Path) -> None:
    """Also where its reward was published: a key stands for what it holds."""
    from harmony_compiler.store.registry import Entry, write_manifest

    text = using('registry("politeness")')
    graph = in_place(text, graders)
    (save,) = graph.outputs
    model = next(graph.needs(save))
    (registry / "adder").mkdir()
    identity = identities(graph, content_hash, registry)[model]
    write_manifest(registry / "adder", Entry("adder", identity, "r", "adder", CREATED))
    assert codes(check(text, graders)) == []
    publish(graders, "politeness", "kind", replace=True)
    assert codes(check(text, graders)) == ["E0603"]


leaves = st.builds(Contains, text=st.text("ab", min_size=1)) | st.builds(
    Equals,
    expected=st.sampled_from(["{{ metadata.answer }}", "2"]),
    on_failure=st.sampled_from(["skip", "zero"]),
)


@st.composite
def combinations(draw: st.DrawFn) -> Graph:
    """A grader that is made of others, at several depths."""
    nodes: dict[Ref, Grader] = {}
    for leaf in draw(st.lists(leaves, min_size=1, max_size=4)):
        nodes[ref_of(leaf)] = leaf
    for _ in range(draw(st.integers(1, 3))):
        parts = draw(st.lists(st.sampled_from(list(nodes)), min_size=1, max_size=3, unique=True))
        sum_ = ("mean", *(("grader", number) for number in range(len(parts))))
        whole = Combination(expression=sum_, graders=tuple(parts))
        nodes[ref_of(whole)] = whole
    origins = {ref: Origin(node.constructor, "tone.recipe", 1) for ref, node in nodes.items()}
    return Graph("tone", 0, dict(nodes), (list(nodes)[-1],), origins)


@given(combinations(), st.sampled_from([None, "skip", "stop"]))
def test_any_grader_comes_back_from_the_registry(
    tmp_path_factory: pytest.TempPathFactory, made: Graph, on_failure: str | None
) -> None:
    graders = tmp_path_factory.mktemp("home") / "graders"
    held = SavedGrader("g", "", "r", "r.recipe", CREATED, "0", (0.0, 1.0), (), {}, made.to_json())
    add(graders, "g", held)
    assert GRADERS.at(graders, "g") == held
    policy = f'{{ on_failure = "{on_failure}" }}' if on_failure else ""
    used = graph_of(using(f'registry("g") {policy} + 0.5 * contains("a")'))
    whole = spliced(used, graders)
    assert Graph.from_json(whole.to_json()) == whole
    assert whole.outputs == used.outputs
    assert whole.nodes.keys() == whole.origins.keys()
    roots = [node for ref, node in whole.nodes.items() if whole.origins[ref].name.startswith("registry(")]
    (root,) = roots or [None]
    if root is not None:
        assert isinstance(root, Grader)
        assert root.on_failure == (on_failure or made.nodes[made.outputs[0]].on_failure)  # type: ignore[attr-defined]


# --- what a grader needs beside its nodes ----------------------------------------------------------------


def python(file: Path, name: str = "score") -> Graph:
    node = PythonGrader(function=f"{file}:{name}")
    ref = ref_of(node)
    return Graph("r", 0, {ref: node}, (ref,), {ref: Origin("score", "r.recipe", 1)})


def publish_python(graders: Path, key: str, file: Path) -> SavedGrader:
    files: dict[str, str] = {}

    def kept(path: Path) -> str:
        read = {name: module.read_bytes() for name, module in with_modules(path).items()}
        folder, hashes = keep_files(graders, read)
        files.update(hashes)
        return f"{folder}/{path.name}"

    graph = with_python_files(python(file), kept)
    made = SavedGrader("score", "", "r", "r.recipe", CREATED, "0", (0.0, 1.0), (), files, graph.to_json())
    return add(graders, key, made, replace=True)


def function_of(graders: Path, key: str) -> Path:
    graph = spliced(graph_of(using(f'registry("{key}")')), graders)
    (node,) = (node for node in graph.nodes.values() if isinstance(node, PythonGrader))
    return Path(node.function.rpartition(":")[0])


def test_python_files_are_copied_with_the_modules_beside_them(folder: Path, graders: Path) -> None:
    theirs = folder / "theirs"
    (theirs / "tools").mkdir(parents=True)
    (theirs / "score.py").write_text(
        "import os, helper, bare.deep\nfrom tools.text import clean\n", encoding="utf-8"
    )
    (theirs / "helper.py").write_text("import score\n", encoding="utf-8")
    (theirs / "unused.py").write_text("", encoding="utf-8")
    for name in ("__init__.py", "text.py"):
        (theirs / "tools" / name).write_text("from . import text\n", encoding="utf-8")
    (theirs / "bare" / "dir.py").mkdir(parents=True)
    (theirs / "bare" / "deep.py").write_text("", encoding="utf-8")
    held = publish_python(graders, "score", theirs / "score.py")
    names = sorted(name.partition("/")[2] for name in held.files)
    assert names == ["bare/deep.py", "helper.py", "score.py", "tools/__init__.py", "tools/text.py"]
    (theirs / "score.py").write_text("changed = 1\n", encoding="utf-8")
    copy = function_of(graders, "score")
    assert copy.is_relative_to(graders / FILES)
    assert copy.read_text(encoding="utf-8").startswith("import os, helper, bare.deep")
    publish_python(graders, "score", theirs / "score.py")
    assert function_of(graders, "score") != copy
    assert copy.is_file(), "a run that has started still imports it"
    assert GRADERS.keys(graders) == ["politeness", "score"]


def test_the_same_file_elsewhere_is_the_same_grader(folder: Path, graders: Path) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "score.py").write_text("def score(completion): return 1\n", encoding="utf-8")
    first = publish_python(graders, "score", folder / "a" / "score.py")
    assert first.same_grader(publish_python(graders, "score", folder / "b" / "score.py"))


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_copy_that_was_damaged(damage: str, folder: Path, graders: Path) -> None:
    publish_python(graders, "score", folder / "graders.py")
    copy = function_of(graders, "score")
    copy.unlink() if damage == "gone" else copy.write_text("0\n", encoding="utf-8")
    with pytest.raises(NotPublishedError, match="gone, or not as it was published"):
        function_of(graders, "score")
    publish_python(graders, "score", folder / "graders.py")
    assert function_of(graders, "score") == copy


def test_a_path_in_a_manifest_that_leads_out(folder: Path, graders: Path) -> None:
    publish_python(graders, "score", folder / "graders.py")
    manifest = graders / "score" / MANIFEST
    (name,) = (n for n in GRADERS.at(graders, "score").files if n.endswith("graders.py"))  # type: ignore[union-attr]
    manifest.write_text(manifest.read_text().replace(name, "../../graders.py"), encoding="utf-8")
    with pytest.raises(ValueError, match="no manifest"):
        GRADERS.at(graders, "score")


def test_a_key_holds_one_grader(graders: Path) -> None:
    with pytest.raises(KeyTakenError):
        publish(graders, "politeness", "kind")
    assert publish(graders, "politeness", "polite").created == CREATED


def test_the_paths_that_a_grader_names(folder: Path) -> None:
    text = 'grader clear = judge { model = local("here"), criteria = "clear" }\n'
    (folder / "here").mkdir()
    graph = graph_of(replaced(REINFORCED, (GRADER, text), ("= right", "= clear")))
    assert list(paths_in(graph))[-1] == str(folder / "here")
    served = Endpoint(url="http://localhost:1", model="m")
    judged = Judge(model=ref_of(served), criteria="clear")
    nodes = {ref_of(served): served, ref_of(judged): judged}
    assert list(paths_in(replace(graph, nodes=nodes, outputs=(ref_of(judged),)))) == []

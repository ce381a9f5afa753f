"""Locks: their text, what they make of a graph, and what a check says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from compiler_support import GOOD, REGISTERED, TAKEN, Compilation, codes
from hypothesis import given
from hypothesis import strategies as st

from harmony_compiler.compile import compile_recipe
from harmony_compiler.files import Disk
from harmony_compiler.graph.datasets import HubRows
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.identity import identities
from harmony_compiler.graph.models import HubModel
from harmony_compiler.graph.named import Named, content_of, named, rows_digest
from harmony_compiler.locking import changes, looked_at, things_of
from harmony_compiler.plan.shown import fields
from harmony_compiler.store.datasets import DATASETS
from harmony_compiler.store.files import content_hash
from harmony_compiler.store.lock import SECTIONS, Lock, Locked, lock_text, read_lock
from harmony_compiler.whole.unlocked import SMALL
from harmony_grammar.source import Source

C1, C2 = "1" * 40, "2" * 40

TEXTS = st.text(max_size=12)
ENTRIES = st.builds(
    Locked,
    columns=st.dictionaries(TEXTS, TEXTS, max_size=3),
    rows=st.dictionaries(TEXTS, st.integers(0, 10**12), max_size=3),
    commit=st.just("") | st.text("0123456789abcdef", min_size=40, max_size=40),
    content=TEXTS,
    size=st.none() | st.integers(0, 10**15),
    identity=TEXTS,
)
LOCKS = st.builds(Lock, **{name: st.dictionaries(TEXTS, ENTRIES, max_size=3) for name in SECTIONS})


@given(LOCKS)
def test_a_lock_goes_to_its_text_and_back(lock: Lock) -> None:
    assert read_lock(lock_text(lock).encode()) == lock


@given(LOCKS)
def test_the_text_does_not_depend_on_the_order_of_looking(lock: Lock) -> None:
    turned = Lock(**{name: dict(reversed(lock.section(name).items())) for name in SECTIONS})
    assert lock_text(turned) == lock_text(lock)


@given(LOCKS)
def test_a_lock_differs_in_nothing_from_itself(lock: Lock) -> None:
    assert {change.state for change in changes(lock, lock)} <= {"unchanged"}


@given(LOCKS, LOCKS)
def test_every_difference_is_told(one: Lock, other: Lock) -> None:
    told = list(changes(one, other))
    assert any(change.state != "unchanged" for change in told) == (one != other)
    back = [change.state for change in changes(other, one)]
    turned = {"new": "gone", "gone": "new"}
    assert back == [turned.get(change.state, change.state) for change in told]


@pytest.mark.parametrize(
    "entry",
    [
        {"commit": 1},
        {"size": "1"},
        {"size": True},
        {"rows": {"a": "1"}},
        {"columns": []},
        {"more": 1},
        [],
    ],
)
def test_other_entries_are_none(entry: Any) -> None:
    for section in SECTIONS:
        with pytest.raises(ValueError, match="its entries are not those of a lock"):
            read_lock(json.dumps({"format_version": 2, section: {"a": entry}}).encode())


@pytest.mark.parametrize(
    "commit", ["", "main", "../../../../etc", C1[:39], f"{C1}1", "A" * 40, f"{C1}\n", "\u0661" * 40]
)
def test_a_commit_is_40_digits(commit: str) -> None:
    for section in SECTIONS:
        with pytest.raises(ValueError, match="one of its commits is not 40 hexadecimal digits"):
            read_lock(json.dumps({"format_version": 2, section: {"a": {"commit": commit}}}).encode())


def test_a_repository_is_found_by_what_the_recipe_writes_and_by_the_commit() -> None:
    one, other = Locked(rows={"train": 1}, commit=C1), Locked(rows={"train": 2}, commit=C2)
    lock = Lock({"hf:a/b": one, "hf:a/b:main@dev": other})

    def found(repo: str, config: str | None, revision: str | None) -> tuple[str, Locked] | None:
        return lock.hub("datasets", repo, config, revision)

    assert found("a/b", None, None) == found("a/b", None, C1) == ("hf:a/b", one)
    assert found("a/b", "main", "dev") == found("a/b", "main", C2) == ("hf:a/b:main@dev", other)
    assert found("a/b", None, C2) is found("a/b", "main", None) is found("a", None, C1) is None


# --- what a lock makes of a graph -----------------------------------------------------------------------

HUB = """\
dataset sums = hf("a/sums", config = "main") { prompt = "{{ q }}", completion = "{{ a }}" FIELDS }
train tuned = sft { model = hf("a/model"), dataset = sums, epochs = 1 }
save tuned as "tuned"
"""
HUB_LOCK = Lock(
    {"hf:a/sums:main": Locked({"q": "str", "a": "str"}, {"train": 50}, C1)},
    {"hf:a/model": Locked(commit=C2)},
)


def check(text: str, lock: Lock | None, registry: Path | None = None, **options: Any) -> Compilation:
    path = Path.cwd() / "case.recipe"
    if lock is not None:
        Path("case.recipe.lock").write_text(lock_text(lock), encoding="utf-8")
    return compile_recipe(Source("case.recipe", text, path), registry=registry, **options)


def graph_of(text: str, lock: Lock | None, **options: Any) -> Graph:
    graph = check(text, lock, **options).graph
    assert graph is not None
    return graph


def revisions(graph: Graph) -> dict[str, str | None]:
    return {node.repo: node.revision for node in graph.nodes.values() if isinstance(node, HubModel | HubRows)}


def test_the_hub_is_named_by_commits(registry: Path) -> None:
    text = HUB.replace("FIELDS", "")
    free = graph_of(text, None)
    assert revisions(free) == {"a/sums": None, "a/model": None}
    assert free.pins is None
    assert "pins" not in free.to_json()
    held = graph_of(text, HUB_LOCK)
    assert revisions(held) == {"a/sums": C1, "a/model": C2}
    assert held.pins is not None
    assert held.pins.commits == {"datasets hf:a/sums:main": C1, "models hf:a/model": C2}
    assert Graph.from_json(json.loads(json.dumps(held.to_json()))) == held
    shown = {field.line for ref in held.nodes for field in fields(held, ref) if field.name == "revision"}
    assert shown == {f'revision = "{C1}"  (the lock)', f'revision = "{C2}"  (the lock)'}
    moved = graph_of(text, Lock(HUB_LOCK.datasets, {"hf:a/model": Locked(commit=C1)}))

    def stage(graph: Graph) -> str:
        (ref,) = (ref for ref, node in graph.nodes.items() if node.constructor == "sft")
        return identities(graph, content_hash, registry)[ref]

    assert len({stage(free), stage(held), stage(moved)}) == 3, "a commit is a part of what a stage is"
    assert revisions(graph_of(text, None, locked=False)) == revisions(free)


def test_the_whole_of_a_recipe_has_its_names() -> None:
    found = check(HUB.replace("FIELDS", ""), HUB_LOCK, whole=True)
    assert found.graph is not None
    assert found.graph.nodes[found.names["sums"]].revision == C1  # type: ignore[attr-defined]
    assert found.lock == HUB_LOCK


def test_a_revision_that_is_not_locked_stays() -> None:
    text = HUB.replace("FIELDS", "").replace('config = "main"', 'config = "main", revision = "dev"')
    graph = graph_of(text, HUB_LOCK)
    assert revisions(graph) == {"a/sums": "dev", "a/model": C2}


def test_a_lock_whose_commit_is_none_is_refused() -> None:
    lock = Lock(HUB_LOCK.datasets, {"hf:a/model": Locked(commit="../../../../etc")})
    found = check(HUB.replace("FIELDS", ""), lock, whole=True)
    assert codes(found) == ["E0535"]


def test_columns_of_the_lock_hold_offline() -> None:
    found = check(HUB.replace("FIELDS", "").replace("{{ a }}", "{{ answer }}"), HUB_LOCK)
    assert codes(found) == ["E0502"]


def test_rows_of_the_lock_are_counted() -> None:
    found = check(HUB.replace("FIELDS", ', split = "train[50:]"'), HUB_LOCK)
    assert codes(found) == ["E0518"]


# --- what a check says ----------------------------------------------------------------------------------


def lock_of(text: str, registry: Path) -> Lock:
    """The lock of a recipe, as this machine has what it names."""
    graph = graph_of(text, None, registry=registry, whole=True, locked=False)
    lock = Lock()
    for (section, key), (thing, _) in things_of(graph, Path.cwd()).items():
        lock.section(section)[key] = looked_at(thing, content_hash, registry)
    return lock


def test_nothing_is_said_of_what_is_as_it_was(registry: Path) -> None:
    assert codes(check(GOOD, lock_of(GOOD, registry), registry)) == []


def test_a_change_of_the_same_size_is_seen_in_a_small_file(registry: Path) -> None:
    lock = lock_of(GOOD, registry)
    data = Path("sums.jsonl").read_bytes()
    Path("sums.jsonl").write_bytes(data.replace(b"1+1", b"1+3"))
    assert codes(check(GOOD, lock, registry)) == ["W0503"]


class Counting(Disk):
    """The disk, with the bytes that were asked of each file."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def head(self, path: Path, limit: int) -> bytes:
        if path.suffix == ".jsonl" and limit <= SMALL:
            self.asked.append(limit)
        return super().head(path, limit)


def test_a_large_file_is_not_read_for_it(registry: Path) -> None:
    with Path("sums.jsonl").open("ab") as file:
        file.write(b'{"question": "1+1", "answer": "2"}\n' * (SMALL // 30))
    lock, disk = lock_of(GOOD, registry), Counting()
    assert codes(check(GOOD, lock, registry, files=disk)) == []
    with Path("sums.jsonl").open("ab") as file:
        file.write(b"\n")
    assert codes(check(GOOD, lock, registry, files=disk)) == ["W0503"]
    assert disk.asked == []


KEYS = f"""\
dataset numbers = registry("{REGISTERED}") {{
  prompt = "{{{{ question }}}}"
  completion = "{{{{ answer }}}}"
}}
train tuned = sft {{ model = registry("{TAKEN}"), dataset = numbers, steps = 1 }}
save tuned as "tuned"
"""


@pytest.mark.parametrize(
    ("manifest", "was", "becomes"),
    [
        (f"datasets/{REGISTERED}", '"sums.jsonl": "', '"sums.jsonl": "0'),
        (f"models/{TAKEN}", "0" * 32, "1" * 32),
    ],
)
def test_keys_of_registries_are_held_by_their_manifests(
    manifest: str, was: str, becomes: str, registry: Path
) -> None:
    lock = lock_of(KEYS, registry)
    assert codes(check(KEYS, lock, registry)) == []
    assert lock.datasets[f"registry:{REGISTERED}"].rows == {"train": 2}
    place = registry.parent / manifest / "harmony.json"
    text = place.read_text(encoding="utf-8")
    assert text.count(was) == 1
    place.write_text(text.replace(was, becomes), encoding="utf-8")
    assert codes(check(KEYS, lock, registry)) == ["W0503"]


def test_what_a_dataset_is_called_in_the_registry_is_no_part_of_it(registry: Path) -> None:
    held = DATASETS.at(registry.parent / "datasets", REGISTERED)
    assert held is not None
    by_manifest = rows_digest(held)
    thing = Named("datasets", "registry", "key", REGISTERED)
    assert content_of(thing, content_hash, registry) == by_manifest


def test_a_thing_is_told_of_once(registry: Path) -> None:
    text = GOOD + "train other = sft { model = tiny, dataset = sums { limit = 1 }, steps = 1 }\n"
    found = codes(check(text + 'save other as "other"\n', Lock(), registry))
    assert found == ["W0502"]


def test_a_graph_names_its_files_by_place(registry: Path, folder: Path) -> None:
    graph = graph_of(GOOD, lock_of(GOOD, registry), registry=registry)
    assert graph.pins is not None
    (pin,) = graph.pins.contents
    assert pin == f"datasets jsonl:{folder / 'sums.jsonl'}"
    (thing,) = (thing for node in graph.nodes.values() for thing in named(node))
    assert thing.key(folder) == "jsonl:sums.jsonl"
    assert thing.key(folder / "sub") == "jsonl:../sums.jsonl"

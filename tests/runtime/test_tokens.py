"""Datasets in tokens: made once, found again by all that decides them, and counted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pyarrow
import pytest
import torch
from runtime_support import DATA, MODEL, ROOT, STAGE, Told, desk_of, graph_of, json_lines, sft, sums, tiny

from harmony_compiler.graph.datasets import JsonLines, Rows
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.settings import Column
from harmony_compiler.store.cache import entries, tokens_folder
from harmony_runtime.data.rows.sources import RawRows
from harmony_runtime.data.tokens import cache
from harmony_runtime.data.tokens.trained import TokenRows, tokens_of
from harmony_runtime.failures import RunFailed
from harmony_runtime.models.chat import Segment, TrainOn

WHERE = "small.recipe:2: `data`: "
ITEMS = [{"q": f"{n}+{n}", "a": str(n + n)} for n in range(5, 15)]


def graph(data: Rows, **model: Any) -> Graph:
    return graph_of({MODEL: tiny(**model), DATA: data, STAGE: sft()}, (STAGE,))


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., TokenRows]:
    def call(
        data: Rows, told: Told | None = None, train_on: TrainOn = "last", home: str = "home", **model: Any
    ) -> TokenRows:
        desk = desk_of(graph(data, **model), tmp_path / home, told)
        return tokens_of(desk, DATA, desk.blueprints.of(MODEL), train_on)

    return call


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that were opened from here on."""
    found: list[str] = []
    source = RawRows._source

    def opening(self: RawRows) -> Any:
        found.append(self._where)
        return source(self)

    monkeypatch.setattr(RawRows, "_source", opening)
    return found


Look = Callable[..., TokenRows]


def everything(rows: TokenRows) -> list[list[Any]]:
    return [[part.tolist() for part in rows.row(number)] for number in range(len(rows))]


def kept(tmp_path: Path) -> list[str]:
    return sorted(entry.key for entry in entries(tmp_path / "home" / "cache"))


# --- what a stage trains on -----------------------------------------------------------------------------


def test_a_row_has_the_ids_and_weights_of_its_segments(look: Look) -> None:
    rows = look(sums())
    ids, weights = rows.row(0)
    # <bos><user>5+5<assistant>10!<eos>
    assert len(ids) == 10
    assert weights.tolist() == [0] * 6 + [1] * 4
    batch = rows.batch(torch.tensor([0, 2]))
    longer = len(rows.row(2)[0])
    assert batch.ids_BT.shape == batch.weights_BT.shape == (2, longer)
    assert longer == 12
    assert batch.ids_BT[0].tolist() == [*ids.tolist(), 0, 0]
    assert batch.weights_BT[0].tolist() == [*weights.tolist(), 0, 0]
    assert batch.weights_BT.dtype == torch.float32


def test_numbers_of_rows_agree_with_their_tokens(look: Look) -> None:
    rows = look(sums())
    every = torch.arange(len(rows))
    weights = [rows.row(number)[1] for number in range(len(rows))]
    assert rows.lengths(every).tolist() == [len(row) for row in weights]
    assert rows.trained(every).tolist() == [int((row > 0).sum()) for row in weights]
    assert rows.weights(every).tolist() == [float(row.sum()) for row in weights]
    assert rows.longest == max(map(len, weights))
    assert rows.tokens["trained"] == sum(rows.trained(every).tolist())
    assert rows.tokens["all"] == sum(rows.lengths(every).tolist())


def test_the_first_token_of_a_row_counts_nothing(look: Look) -> None:
    rows = look(sums(), train_on="everything")
    ids, weights = rows.row(0)
    assert weights.tolist() == [0] + [1] * (len(ids) - 1)
    assert rows.trained(torch.tensor([0])).item() == len(ids) - 1 == rows.weights(torch.tensor([0])).item()


def test_weights_are_numbers(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a turn's weight is half of what its tokens count, in every sum."""

    def halved(self: Any, turns: Any, train_on: str) -> list[Segment]:
        return [Segment("11", 2.0), Segment("23", 0.0), Segment("45", 0.5), Segment("6", 1.0)]

    monkeypatch.setattr("harmony_runtime.models.chat.Chat.segments", halved)
    monkeypatch.setattr("harmony_runtime.models.chat.Chat.check", lambda self: None)
    monkeypatch.setattr(cache, "refuse_unproven", lambda *_: None)
    rows = look(sums(limit=1))
    first = torch.tensor([0])
    assert rows.row(0)[1].tolist() == [0, 2, 0, 0, 0.5, 0.5, 1]
    assert rows.weights(first).item() == 4
    assert rows.trained(first).item() == 4


def test_more_rows_than_a_batch_holds(look: Look) -> None:
    items = tuple({"q": str(n), "a": str(-n)} for n in range(2 * cache.ROWS + 3))
    rows = look(sums(items=items))
    assert len(rows) == len(items)
    for number in (0, cache.ROWS - 1, cache.ROWS, 2 * cache.ROWS, len(items) - 1):
        ids = rows.row(number)[0].tolist()
        assert ids == look(sums(items=(items[number],))).row(0)[0].tolist()


# --- made once ------------------------------------------------------------------------------------------


def test_a_second_look_opens_no_source(look: Look, opened: list[str], tmp_path: Path) -> None:
    first_told, told = Told(), Told()
    items = [*ITEMS, {"q": "é", "a": ""}]
    data = json_lines(tmp_path / "data.jsonl", items)
    first = look(data, first_told)
    again = look(data, told)
    assert opened == [WHERE]
    assert everything(again) == everything(first)
    assert (again.counts, again.tokens) == (first.counts, first.tokens)
    # What people should know is said each time.
    assert told.texts == first_told.texts
    assert any("1 of 11 rows have an empty completion" in text for text in told.texts)
    assert any("1 of" in text and "unknown" in text for text in told.texts)


def test_what_is_said_again_names_the_place_of_now(opened: list[str], tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "1", "when": "now"}, {"role": "assistant", "content": "2"}]
    data = JsonLines(path=str(tmp_path / "data.jsonl"), messages=Column(name="messages"), seed=7)
    json_lines(tmp_path / "data.jsonl", [{"messages": turns}])
    texts = []
    for nodes in ({MODEL: tiny(), DATA: data}, {DATA: data, MODEL: tiny()}):
        told = Told()
        desk = desk_of(graph_of({**nodes, STAGE: sft()}, (STAGE,)), tmp_path / "home", told)
        tokens_of(desk, DATA, desk.blueprints.of(MODEL), "last")
        (text,) = (text for text in told.texts if "when" in text)
        texts.append(text)
    assert len(opened) == 1
    assert texts[0].startswith("small.recipe:2: `data`: ")
    assert texts[1] == texts[0].replace(":2:", ":1:")


def test_equal_rows_in_another_place_are_found(look: Look, opened: list[str], tmp_path: Path) -> None:
    look(json_lines(tmp_path / "data.jsonl", ITEMS))
    (tmp_path / "other").mkdir()
    look(json_lines(tmp_path / "other" / "renamed.jsonl", ITEMS))
    assert opened == [WHERE]


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"prompt": "{{ q }}?"}},
        {"data": {"limit": 9}},
        {"data": {"on_too_long": "truncate"}},
        {"context": 39},
        {"chat_template": "plain"},
        {"train_on": "all"},
    ],
    ids=str,
)
def test_what_decides_the_tokens_is_in_the_key(
    change: dict[str, Any], look: Look, opened: list[str], tmp_path: Path
) -> None:
    look(sums())
    change = dict(change)
    look(sums(**change.pop("data", {})), **change)
    assert len(opened) == len(kept(tmp_path)) == 2


def test_other_bytes_are_other_rows(look: Look, opened: list[str], tmp_path: Path) -> None:
    look(json_lines(tmp_path / "data.jsonl", ITEMS))
    other = look(json_lines(tmp_path / "data.jsonl", ITEMS[1:]))
    assert len(opened) == 2
    assert len(other) == 9


def test_what_decides_nothing_is_not_in_the_key(look: Look, opened: list[str]) -> None:
    look(sums())
    look(sums(), hidden_size=32, seed=1, max_batch_tokens=900)
    assert opened == [WHERE]


def test_another_version_makes_it_anew(
    look: Look, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    look(sums())
    monkeypatch.setattr(cache, "version", lambda library: "99" if library == "jinja2" else "1")
    cache._made_by.cache_clear()
    try:
        look(sums())
        assert len(opened) == 2
    finally:
        cache._made_by.cache_clear()


def _shorten(folder: Path) -> None:
    file = folder / "rows.arrow"
    file.write_bytes(file.read_bytes()[:-8])


def _garble(folder: Path) -> None:
    file = folder / "rows.arrow"
    file.write_bytes(b"x" * file.stat().st_size)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "shortened": _shorten,
    "other bytes": _garble,
    "a file missing": lambda folder: (folder / "numbers.arrow").unlink(),
    "nothing said": lambda folder: (folder / "about.json").unlink(),
    "half said": lambda folder: (folder / "about.json").write_text('{"sizes": '),
    "something else said": lambda folder: (folder / "about.json").write_text("[1]"),
    "all missing": shutil.rmtree,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_made_anew(damage: str, look: Look, opened: list[str], tmp_path: Path) -> None:
    first = everything(look(sums()))
    (key,) = kept(tmp_path)
    DAMAGES[damage](tokens_folder(tmp_path / "home" / "cache") / key)
    assert everything(look(sums())) == first
    assert len(opened) == 2
    look(sums())
    assert len(opened) == 2
    assert kept(tmp_path) == [key]


def test_faulty_rows_leave_nothing(look: Look, tmp_path: Path) -> None:
    data = json_lines(tmp_path / "data.jsonl", '{"q": "1", "a": "2"}\nnothing\n')
    for _ in range(2):
        with pytest.raises(RunFailed) as caught:
            look(data)
        assert [d.code for d in caught.value.diagnostics] == ["E0505"]
    folder = tokens_folder(tmp_path / "home" / "cache")
    assert [place.name for place in folder.iterdir()] == [".locks"]


def test_data_that_changes_while_it_is_read_is_refused(
    look: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its key would name other rows for ever."""
    data = json_lines(tmp_path / "data.jsonl", ITEMS)

    source = RawRows._source

    def changing(self: RawRows) -> Any:
        json_lines(tmp_path / "data.jsonl", ITEMS[1:])
        return source(self)

    with monkeypatch.context() as patch:
        patch.setattr(RawRows, "_source", changing)
        with pytest.raises(RunFailed, match="the data changed while it was read"):
            look(data)
    assert kept(tmp_path) == []
    assert len(look(data)) == 9


def test_rows_that_nothing_pins_are_not_kept(
    look: Look, monkeypatch: pytest.MonkeyPatch, opened: list[str], tmp_path: Path
) -> None:
    pinned = look(sums())
    monkeypatch.setattr(RawRows, "pinned", None)
    assert everything(look(sums())) == everything(look(sums())) == everything(pinned)
    assert len(opened) == 3
    assert len(kept(tmp_path)) == 1


def test_rows_of_the_hub_are_kept_by_what_pins_them(
    look: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for pin in ("one", "other", "one"):
        monkeypatch.setattr(RawRows, "pinned", pin)
        look(sums())
    assert len(kept(tmp_path)) == 2


def test_many_at_once_make_it_once(look: Look, opened: list[str]) -> None:
    together, found = Barrier(4), []

    def one() -> None:
        together.wait()
        found.append(everything(look(sums())))

    threads = [Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [WHERE]
    assert len(found) == 4
    assert all(rows == found[0] for rows in found)


PROCESS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_tokens import everything, graph
from runtime_support import DATA, MODEL, desk_of, sums
from harmony_runtime.data.tokens import trained
from harmony_runtime.data.rows.sources import RawRows
source = RawRows._source
RawRows._source = lambda self: (print("opened"), source(self))[1]
desk = desk_of(graph(sums()), Path(sys.argv[1]))
print("ready", flush=True)
input()
print(everything(trained.tokens_of(desk, DATA, desk.blueprints.of(MODEL), "last")))
"""


@pytest.mark.slow
def test_processes_at_once_make_it_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "home"), str(ROOT / "tests" / "runtime")]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    told = "".join(process.communicate("\n", timeout=60)[0] for process in started)
    assert [process.returncode for process in started] == [0, 0]
    lines = told.splitlines()
    assert lines.count("opened") == 1
    assert len({line for line in lines if line != "opened"}) == 1


def test_what_is_read_stays_readable_when_it_is_removed(look: Look, tmp_path: Path) -> None:
    from harmony_compiler.store.cache import remove

    rows = look(sums())
    (key,) = kept(tmp_path)
    remove(tmp_path / "home" / "cache", key)
    assert kept(tmp_path) == []
    assert len(everything(rows)) == 10


def test_rows_lie_in_the_file_and_not_in_memory(look: Look) -> None:
    before = pyarrow.total_allocated_bytes()
    rows = look(sums(items=tuple({"q": "1" * 9, "a": "2" * 9} for _ in range(3000))))
    look(sums(items=tuple({"q": "1" * 9, "a": "2" * 9} for _ in range(3000))))
    rows.batch(torch.arange(3000))
    assert pyarrow.total_allocated_bytes() - before < 10_000
    assert not rows.row(0)[0].flags.writeable


# --- lengths --------------------------------------------------------------------------------------------


def lengths(*wanted: int) -> tuple[dict[str, Any], ...]:
    """Rows of so many tokens."""
    return tuple({"q": "1" * (length - 5), "a": "2"} for length in wanted)


@pytest.mark.parametrize(("fate", "word"), [("drop", "dropped"), ("truncate", "truncated")])
def test_rows_at_the_limit(fate: str, word: str, look: Look) -> None:
    told = Told()
    rows = look(sums(items=lengths(15, 16, 17, 40), on_too_long=fate), told, context=16)
    kept_ = [15, 16] if fate == "drop" else [15, 16, 16, 16]
    assert rows.lengths(torch.arange(len(rows))).tolist() == kept_
    assert rows.counts[f"too_long_and_{word}"] == 2
    assert (rows.counts["read"], rows.counts["kept"]) == (4, len(kept_))
    assert any(
        text.endswith(f"2 of 4 rows are longer than 16 tokens: {word}, which is 50% of the dataset")
        for text in told.warnings
    )


def test_what_is_cut_is_the_end(look: Look) -> None:
    whole = look(sums(items=lengths(20)))
    cut = look(sums(items=lengths(20), on_too_long="truncate"), context=17)
    assert cut.row(0)[0].tolist() == whole.row(0)[0].tolist()[:17]
    assert cut.row(0)[1].tolist() == whole.row(0)[1].tolist()[:17]


@pytest.mark.parametrize(("many", "warned"), [(1, False), (2, True)])
def test_more_than_a_twentieth_dropped_is_a_warning(many: int, warned: bool, look: Look) -> None:
    told = Told()
    look(sums(items=lengths(*[10] * (20 - many), *[30] * many)), told, context=16)
    (said,) = told.texts
    assert f"{many} of 20 rows are longer than 16 tokens: dropped" in said
    assert (said in told.warnings) == warned
    assert ("10% of the dataset" in said) == warned


def test_all_dropped_is_an_error_each_time(look: Look, opened: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(RunFailed, match="all of 2 rows are longer than 16 tokens") as caught:
            look(sums(items=lengths(30, 30)), context=16)
        assert "on_too_long" in caught.value.message
    assert opened == [WHERE]


def test_a_long_row_as_an_error(look: Look, tmp_path: Path) -> None:
    data = json_lines(tmp_path / "data.jsonl", list(lengths(10, 30, 17)), on_too_long="error")
    with pytest.raises(RunFailed) as caught:
        look(data, context=16)
    assert [(d.code, d.span.first.line) for d in caught.value.diagnostics] == [("E0521", 2), ("E0521", 3)]


def test_ids_that_the_model_does_not_have_are_refused_from_the_cache_too(
    look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(sums())

    def small(self: Any, largest: int) -> None:
        raise RunFailed(f"the id {largest}")

    monkeypatch.setattr("harmony_runtime.models.blueprint.Blueprint.check_ids", small)
    with pytest.raises(RunFailed, match="the id 33"):
        look(sums())


def test_counts_are_in_the_manifest(train: Any, tmp_path: Path) -> None:
    data = sums(items=lengths(10, 10, 50), limit=3)
    summary = train(graph_of({MODEL: tiny(), DATA: data, STAGE: sft(steps=1)}, (STAGE,)))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["stages"]["tuned"]["rows"] == summary.stages[0].rows
    assert summary.stages[0].rows["too_long_and_dropped"] == 1
    assert (tmp_path / "home" / "cache" / "tokens").is_dir()


def test_a_large_dataset_tells_how_far_it_is(
    look: Callable[..., TokenRows], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MANY", 500)
    told, moved = Told(), list[tuple[str, int, int]]()
    told.tokenised = lambda *reached: moved.append(reached)  # type: ignore[method-assign]
    items = tuple({"q": str(number), "a": "1"} for number in range(600))
    look(sums(items=items), told)
    assert moved == [("data", 0, 600), ("data", 256, 600), ("data", 512, 600), ("data", 600, 600)]
    assert f"{WHERE}600 rows are put into tokens, once for all runs" in told.texts

    moved.clear()
    look(sums(items=items), told)
    assert not moved

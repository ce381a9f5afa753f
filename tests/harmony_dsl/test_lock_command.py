"""`harmonyc lock`: what a recipe names is looked up and pinned, and what is pinned counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dsl_support import Harmonyc, Outcome, Write
from local_hub import LocalHub
from test_light_start import HEAVY, PROBE

from harmony_compiler import locking
from harmony_compiler.store.datasets import add
from harmony_compiler.store.lock import Locked, lock_text, read_lock


def locked(name: str = "small.recipe") -> dict[str, Any]:
    data: dict[str, Any] = json.loads(Path(f"{name}.lock").read_text(encoding="utf-8"))
    return data


def states(told: Outcome) -> dict[str, str]:
    """What became of each entry, by its name."""
    lines = (line.split() for line in told.out.splitlines()[:-1])
    return {f"{section} {key}": state for state, section, key, *_ in lines}


def change_data(text: str = '{"question": "7+7", "answer": "14"}\n') -> None:
    with Path("sums.jsonl").open("a", encoding="utf-8") as file:
        file.write(text)


# --- on this machine ------------------------------------------------------------------------------------


def test_a_lock_has_content_columns_and_rows(harmonyc: Harmonyc, write: Write) -> None:
    write()
    told = harmonyc("lock", "small.recipe")
    assert told.code == 0
    assert told.out.splitlines()[-1] == "small.recipe.lock: 1 new; written"
    entry = locked()["datasets"]["jsonl:sums.jsonl"]
    assert entry["columns"] == {"question": "str", "answer": "str"}
    assert entry["rows"] == {"train": 10}
    assert entry["size"] == Path("sums.jsonl").stat().st_size
    assert len(entry["content"]) == 64
    text = Path("small.recipe.lock").read_text(encoding="utf-8")
    assert str(Path.cwd()) not in text


def test_each_entry_is_told(harmonyc: Harmonyc, write: Write, house: Path) -> None:
    write()
    harmonyc("lock", "small.recipe")
    stamp = Path("small.recipe.lock").stat().st_mtime_ns
    told = harmonyc("lock", "small.recipe")
    assert states(told) == {"dataset jsonl:sums.jsonl": "unchanged"}
    assert told.out.endswith("1 unchanged; as it was\n")
    assert Path("small.recipe.lock").stat().st_mtime_ns == stamp
    change_data()
    told = harmonyc("lock", "small.recipe")
    assert states(told) == {"dataset jsonl:sums.jsonl": "changed"}
    assert "rows was train 10, is train 11" in told.out
    write(('jsonl("sums.jsonl")', 'jsonl("more/other.jsonl")'))
    (house / "more").mkdir()
    Path("sums.jsonl").rename("more/other.jsonl")
    told = harmonyc("lock", "small.recipe")
    assert states(told) == {
        "dataset jsonl:more/other.jsonl": "new",
        "dataset jsonl:sums.jsonl": "gone",
    }
    assert list(locked()["datasets"]) == ["jsonl:more/other.jsonl"]
    assert [path.name for path in house.iterdir() if path.name.startswith(".")] == []


def test_check_writes_nothing(harmonyc: Harmonyc, write: Write) -> None:
    write()
    told = harmonyc("lock", "--check", "small.recipe")
    assert told.code == 1
    assert "the lock is missing" in told.out
    assert not Path("small.recipe.lock").exists()
    harmonyc("lock", "small.recipe")
    told = harmonyc("lock", "--check", "small.recipe")
    assert (told.code, told.out.splitlines()[-1]) == (0, "small.recipe.lock: up to date")
    before = Path("small.recipe.lock").read_bytes()
    change_data()
    told = harmonyc("lock", "--check", "small.recipe")
    assert told.code == 1
    assert "the lock is out of date; `harmonyc lock small.recipe` writes it anew" in told.out
    assert Path("small.recipe.lock").read_bytes() == before


def test_check_misses_what_is_on_a_hub(harmonyc: Harmonyc, write: Write) -> None:
    write()
    harmonyc("lock", "small.recipe")
    stage = (
        'train other = sft { model = hf("some/tiny", revision = "dev"), dataset = sums, steps = 1 }\n'
        'save other as "other"\n'
    )
    with Path("small.recipe").open("a", encoding="utf-8") as file:
        file.write(stage)
    told = harmonyc("lock", "--check", "small.recipe")
    assert told.code == 1
    assert told.out.splitlines()[-1] == (
        "small.recipe.lock: the lock is out of date; not in the lock: model hf:some/tiny@dev; "
        "`harmonyc lock small.recipe` writes it anew"
    )
    lock = read_lock(Path("small.recipe.lock").read_bytes())
    lock.models["hf:some/tiny"] = Locked(commit="1" * 40)
    Path("small.recipe.lock").write_text(lock_text(lock), encoding="utf-8")
    assert harmonyc("lock", "--check", "small.recipe").code == 1
    Path("small.recipe").write_text(
        Path("small.recipe").read_text(encoding="utf-8").replace('"dev"', f'"{"1" * 40}"'), encoding="utf-8"
    )
    assert harmonyc("lock", "--check", "small.recipe").code == 0  # the lock has it by another name


FILES = """\
dataset sums = csv(["data/a.csv", "data/b.csv"]) { prompt = "{{ question }}" }
dataset numbers = registry("numbers") { prompt = "{{ q }}" }
model old = registry("small") { chat_template = "chat.jinja" }
grader mine = python("graders.py:score")
train tuned = grpo { model = old, dataset = mix([sums, numbers]), grader = mine, steps = 1 }
save tuned as "tuned"
"""


def test_everything_that_a_recipe_names(harmonyc: Harmonyc, write: Write, tmp_path: Path) -> None:
    write()
    assert harmonyc("run", "small.recipe").code == 0
    Path("data").mkdir()
    for name in ("a", "b"):
        Path(f"data/{name}.csv").write_text("question\n1+1\n", encoding="utf-8")
    Path("numbers.jsonl").write_text('{"q": "1+1", "n": 2}\n', encoding="utf-8")
    add(tmp_path / "home" / "datasets", "numbers", [Path("numbers.jsonl")], "jsonl", rows=1, created="then")
    Path("chat.jinja").write_text("{% for m in messages %}{{ m.content }}\n{% endfor %}", encoding="utf-8")
    Path("graders.py").write_text(
        "import helper\n\ndef score(completion):\n    return 1.0\n", encoding="utf-8"
    )
    Path("helper.py").write_text("x = 1\n", encoding="utf-8")
    Path("all.recipe").write_text(FILES, encoding="utf-8")
    told = harmonyc("lock", "all.recipe")
    assert told.code == 0, told.err
    assert {
        name: list(entries) for name, entries in locked("all.recipe").items() if name != "format_version"
    } == {
        "models": ["registry:small"],
        "datasets": ["csv:data/a.csv", "csv:data/b.csv", "registry:numbers"],
        "files": ["chat.jinja", "graders.py", "helper.py"],
    }
    assert locked("all.recipe")["datasets"]["registry:numbers"]["columns"] == {"q": "str", "n": "int"}
    assert harmonyc("check", "all.recipe").out == "all.recipe: no problems found\n"
    Path("helper.py").write_text("x = 2\n", encoding="utf-8")
    told = harmonyc("check", "all.recipe")
    assert "W0503" in told.out
    assert "`helper.py` is not as the lock" in told.out
    told = harmonyc("run", "all.recipe")
    assert told.code == 1
    assert "helper.py: the lock of all.recipe pins another content" in told.err


def test_inputs_decide_what_is_named(harmonyc: Harmonyc, write: Write) -> None:
    write(('input key: str = "small"\n', 'input key: str = "small"\ninput data: Path = "sums.jsonl"\n'))
    recipe = Path("small.recipe")
    text = recipe.read_text(encoding="utf-8").replace('jsonl("sums.jsonl")', "jsonl(data)")
    recipe.write_text(text, encoding="utf-8")
    Path("other.jsonl").write_text('{"question": "1+1", "answer": "2"}\n', encoding="utf-8")
    assert harmonyc("lock", "small.recipe", "--set", "data=other.jsonl").code == 0
    assert list(locked()["datasets"]) == ["jsonl:other.jsonl"]
    assert "W0502" in harmonyc("check", "small.recipe").out
    assert harmonyc("check", "small.recipe", "--set", "data=other.jsonl").out.endswith("no problems found\n")


def test_faulty_rows_and_lost_files_are_told_together(harmonyc: Harmonyc, write: Write) -> None:
    write()
    with Path("sums.jsonl").open("a", encoding="utf-8") as file:
        file.writelines('{"question": "1+1", "answer": "2"}\n' for _ in range(150_000))
        file.write("{]\n")
    told = harmonyc("lock", "small.recipe")
    assert told.code == 1
    assert "E0505" in told.err
    assert "1 row is faulty" in told.err
    assert "nothing was written" in told.err
    assert not Path("small.recipe.lock").exists()


def test_a_recipe_with_errors_gets_no_lock(harmonyc: Harmonyc, write: Write) -> None:
    write(("{{ answer }}", "{{ anser }}"))
    told = harmonyc("lock", "small.recipe")
    assert told.code == 1
    assert "E0502" in told.err
    assert not Path("small.recipe.lock").exists()


def test_a_broken_lock_is_written_anew(harmonyc: Harmonyc, write: Write) -> None:
    write()
    Path("small.recipe.lock").write_text("{", encoding="utf-8")
    assert "E0535" in harmonyc("check", "small.recipe").out
    assert harmonyc("lock", "--check", "small.recipe").code == 1
    told = harmonyc("lock", "small.recipe")
    assert "the lock that is there cannot be read: it is not JSON" in told.out
    assert harmonyc("check", "small.recipe").code == 0


def test_a_lock_that_cannot_be_written(harmonyc: Harmonyc, write: Write) -> None:
    write()
    Path("small.recipe.lock").mkdir()
    told = harmonyc("lock", "small.recipe")
    assert told.code == 2
    assert "cannot write" in told.err


def test_mode_and_link_of_a_lock_stay(harmonyc: Harmonyc, write: Write) -> None:
    write()
    harmonyc("lock", "small.recipe")
    Path("small.recipe.lock").rename("kept")
    Path("kept").chmod(0o600)
    Path("small.recipe.lock").symlink_to("kept")
    change_data()
    assert harmonyc("lock", "small.recipe").code == 0
    assert Path("small.recipe.lock").is_symlink()
    assert Path("kept").stat().st_mode & 0o7777 == 0o600
    assert locked()["datasets"]["jsonl:sums.jsonl"]["rows"] == {"train": 11}


@pytest.mark.parametrize("there", [True, False])
def test_a_lock_that_somebody_writes_meanwhile_stays(
    there: bool, harmonyc: Harmonyc, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write()
    if there:
        Path("small.recipe.lock").write_text("{", encoding="utf-8")
    looked_at = locking.looked_at

    def slow(*arguments: Any) -> Locked:
        Path("small.recipe.lock").write_text("theirs", encoding="utf-8")
        return looked_at(*arguments)

    monkeypatch.setattr(locking, "looked_at", slow)
    told = harmonyc("lock", "small.recipe")
    assert told.code == 2
    assert "small.recipe.lock was changed meanwhile, and is left as it is" in told.err
    assert Path("small.recipe.lock").read_text(encoding="utf-8") == "theirs"


@pytest.mark.parametrize(
    "node",
    [
        'local("nothing")',
        'scratch { hidden_size = 8, layers = 1, heads = 2, context = 24, tokenizer = "nothing" }',
    ],
)
def test_an_empty_folder_gets_no_lock(node: str, harmonyc: Harmonyc, write: Write, house: Path) -> None:
    text = write().read_text(encoding="utf-8")
    before, rest = text.split("scratch {")
    (house / "small.recipe").write_text(before + node + rest[rest.index("}") + 1 :], encoding="utf-8")
    (house / "nothing" / "below").mkdir(parents=True)
    told = harmonyc("lock", "small.recipe")
    assert told.code == 1
    where = f"small.recipe:7: `tiny`: {house / 'nothing'}"
    assert f"{where} cannot be read: it is a folder without files" in told.err
    assert not Path("small.recipe.lock").exists()


def test_the_text_is_the_same_in_every_process(write: Write) -> None:
    write()
    texts = set()
    for seed in ("1", "2"):
        command = [sys.executable, "-c", PROBE, ",".join(HEAVY), "lock", "small.recipe"]
        environment = os.environ | {"PYTHONHASHSEED": seed}
        probe = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert probe.returncode == 0, probe.stderr
        assert probe.stderr.splitlines()[-1] == "loaded:"  # no hub is asked, and no runtime
        texts.add(Path("small.recipe.lock").read_text(encoding="utf-8"))
        Path("small.recipe.lock").unlink()
    assert len(texts) == 1


def test_a_run_refuses_what_has_changed(harmonyc: Harmonyc, write: Write, house: Path) -> None:
    write()
    harmonyc("lock", "small.recipe")
    assert harmonyc("run", "small.recipe", "--out", "first", "--set", "key=first").code == 0
    manifest = json.loads((house / "first" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["pins"]["recipe"] == "small.recipe"
    (pinned,) = manifest["pins"]["contents"].values()
    assert pinned == locked()["datasets"]["jsonl:sums.jsonl"]["content"]
    change_data()
    for more in (("--out", "second"), ("--out", "first", "--resume")):
        told = harmonyc("run", "small.recipe", *more, "--set", "key=second")
        assert told.code == 1
        assert "small.recipe:3: `sums`" in told.err
        assert "sums.jsonl: the lock of small.recipe pins another content" in told.err
        assert "`harmonyc lock small.recipe`" in told.err
    assert not (house / "second").exists()
    harmonyc("lock", "small.recipe")
    assert harmonyc("run", "small.recipe", "--out", "second", "--set", "key=second").code == 0


def test_a_compiled_graph_carries_its_pins(harmonyc: Harmonyc, write: Write) -> None:
    write()
    harmonyc("lock", "small.recipe")
    assert harmonyc("compile", "small.recipe", "-o", "graph.json").code == 0
    Path("small.recipe.lock").unlink()
    change_data()
    told = harmonyc("run", "graph.json")
    assert told.code == 1
    assert "the lock of small.recipe pins another content" in told.err


def test_paths_are_those_of_the_recipe(harmonyc: Harmonyc, write: Write, house: Path) -> None:
    write()
    (house / "sub").mkdir()
    text = Path("small.recipe").read_text(encoding="utf-8").replace("sums.jsonl", "../sums.jsonl")
    Path("sub/small.recipe").write_text(text, encoding="utf-8")
    Path("above.recipe").write_text('import "sub/small.recipe" as s\nsave s.adder as "x"\n', encoding="utf-8")
    assert harmonyc("lock", "sub/small.recipe").code == 0
    assert list(locked("sub/small.recipe")["datasets"]) == ["jsonl:../sums.jsonl"]
    assert harmonyc("lock", "above.recipe").code == 0
    assert list(locked("above.recipe")["datasets"]) == ["jsonl:sums.jsonl"]
    assert harmonyc("check", "above.recipe", "sub/small.recipe").code == 0


# --- on the hub -----------------------------------------------------------------------------------------

HUB = """\
dataset sums = hf("some/sums") {
  prompt = "{{ q }}"
  completion = "{{ a }}"
}
train tuned = sft {
  model = hf("some/tiny", revision = "dev")
  dataset = sums
  samples_per_batch = 4
  epochs = 1
}
save tuned as "tuned"
"""


def rows(count: int) -> str:
    return "".join(json.dumps({"q": f"{n}+{n}", "a": str(n + n)}) + "\n" for n in range(count))


@pytest.fixture(scope="module")
def serving() -> Iterator[LocalHub]:
    with LocalHub().serving() as served:
        yield served


@pytest.fixture
def hub(serving: LocalHub) -> LocalHub:
    """A hub without anything on it."""
    serving.clear()
    return serving


@pytest.fixture(scope="module")
def elsewhere(serving: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harmonyc]:
    """The command where there is a hub."""
    with serving.process(tmp_path_factory.mktemp("cache")) as call:
        yield call


def test_a_lock_holds_a_hub_at_its_commits(
    hub: LocalHub, elsewhere: Harmonyc, harmonyc: Harmonyc, write: Write, tmp_path: Path
) -> None:
    """One recipe on its way: looked up, checked without a network, run after its branches have moved on."""
    write()
    assert harmonyc("run", "small.recipe", "--out", "made").code == 0
    saved = tmp_path / "home" / "models" / "small"
    files = {path.name: path.read_bytes() for path in saved.iterdir() if path.name != "harmony.json"}
    data = hub.push("datasets", "some/sums", {"train.jsonl": rows(12), "test.jsonl": rows(3)})
    model = hub.push("models", "some/tiny", files, branch="dev")
    Path("hub.recipe").write_text(HUB, encoding="utf-8")

    looked = elsewhere("lock", "hub.recipe")
    assert looked.code == 0, looked.err
    assert states(looked) == {"model hf:some/tiny@dev": "new", "dataset hf:some/sums": "new"}
    assert harmonyc("check", "hub.recipe").out == "hub.recipe: no problems found\n"
    lock = locked("hub.recipe")
    assert lock["models"]["hf:some/tiny@dev"] == {"commit": model}
    entry = {"commit": data, "columns": {"q": "str", "a": "str"}, "rows": {"test": 3, "train": 12}}
    assert lock["datasets"]["hf:some/sums"] == entry

    assert harmonyc("compile", "hub.recipe", "-o", "graph.json").code == 0
    graph = json.loads(Path("graph.json").read_text(encoding="utf-8"))
    commits = {"datasets hf:some/sums": data, "models hf:some/tiny@dev": model}
    assert graph["pins"]["commits"] == commits
    revisions = {node["fields"].get("revision") for node in graph["nodes"].values()} - {None}
    assert revisions == {data, model}
    Path("hub.recipe").write_text(HUB.replace("{{ a }}", "{{ b }}"), encoding="utf-8")
    assert "E0502" in harmonyc("check", "hub.recipe").out
    Path("hub.recipe").write_text(HUB, encoding="utf-8")

    moved = hub.push("datasets", "some/sums", {"train.jsonl": rows(20)})
    hub.push("models", "some/tiny", files | {"README.md": b"moved"}, branch="dev")
    ran = elsewhere("run", "hub.recipe", "--out", "ran")
    assert ran.code == 0, ran.err
    manifest = json.loads(Path("ran/manifest.json").read_text(encoding="utf-8"))
    assert manifest["stages"]["tuned"]["steps"] == 3  # of 12 rows, and not of 20
    assert manifest["pins"]["commits"] == commits
    hub.asked.clear()
    assert elsewhere("lock", "--check", "hub.recipe").code == 0
    assert hub.asked == []
    assert states(elsewhere("lock", "hub.recipe")) == {
        "model hf:some/tiny@dev": "changed",
        "dataset hf:some/sums": "changed",
    }
    assert locked("hub.recipe")["datasets"]["hf:some/sums"]["commit"] == moved


def test_all_that_cannot_be_looked_up_is_told(hub: LocalHub, elsewhere: Harmonyc) -> None:
    hub.push("datasets", "some/sums", {"train.jsonl": rows(2)})
    hub.push("models", "some/tiny", {"config.json": "{}"})
    hub.push("models", "some/gated", {"config.json": "{}"})
    hub.gated.add("some/gated")
    Path("some").mkdir()
    Path("some/folder").mkdir()
    stages = ["some/none", "some/gated", "some/tiny", "some/folder"]
    text = 'dataset sums = hf("some/sums") { prompt = "{{ q }}", completion = "{{ a }}" }\n'
    for number, name in enumerate(stages):
        at = ', revision = "v9"' if name == "some/tiny" else ""
        text += f'train t{number} = sft {{ model = hf("{name}"{at}), dataset = sums, steps = 1 }}\n'
        text += f'save t{number} as "t{number}"\n'
    Path("hub.recipe").write_text(text, encoding="utf-8")
    told = elsewhere("lock", "hub.recipe")
    assert told.code == 1
    for words in (
        "hub.recipe:2: `hf`: the hub has no repository `some/none`",
        "hub.recipe:4: `hf`: `some/gated` is gated",
        "hub.recipe:6: `hf`: `some/tiny` has no revision `v9`",
        "hub.recipe:8: `hf`: `some/folder` is a folder here",
    ):
        assert words in told.err
    assert not Path("hub.recipe.lock").exists()


def test_without_a_network_a_lock_stays(hub: LocalHub, elsewhere: Harmonyc, tmp_path: Path) -> None:
    hub.push("datasets", "some/sums", {"train.jsonl": rows(2)})
    good = 'dataset sums = hf("some/sums") { prompt = "{{ q }}" }\n'
    Path("good.recipe").write_text(good, encoding="utf-8")
    done = elsewhere("lock", "good.recipe")
    assert done.code == 0, done.err
    before = Path("good.recipe.lock").read_bytes()
    hub.down = True
    with hub.process(tmp_path / "cache", offline=True) as offline:
        for told in (elsewhere("lock", "good.recipe"), offline("lock", "good.recipe")):
            assert told.code == 2
            assert "good.recipe:1: `sums`: the hub cannot be asked about `some/sums`" in told.err
            assert Path("good.recipe.lock").read_bytes() == before

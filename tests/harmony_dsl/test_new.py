"""`harmonyc new`: what it writes checks, runs and is laid out, and no file is ever overwritten."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dsl_support import Harmonyc
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_compiler.graph import catalogue
from harmony_dsl.cli import new
from harmony_dsl.cli.new import ALGORITHMS
from harmony_dsl.scaffolds.filling import HERE, ROWS, filled, quoted, recipe_name, scaffold
from harmony_dsl.scaffolds.mapping import KINDS
from harmony_grammar.formatting import format_source
from harmony_grammar.parser import parse_file
from harmony_grammar.source import Source
from harmony_grammar.syntax import InputDeclaration, Text

TURNS = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
OTHER_TURNS = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hu"}]
SHARED = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]
SPOKEN = "\n\nHuman: hi\n\nAssistant: "


def rows_in(path: str, row: dict[str, Any], count: int = 20) -> None:
    Path(path).write_text(f"{json.dumps(row)}\n" * count, encoding="utf-8")


def fine(harmonyc: Harmonyc, recipe: str) -> str:
    """The text of a recipe that checks without a word and has the one layout."""
    told = harmonyc("check", "--deny-warnings", recipe)
    assert (told.code, told.out) == (0, f"{recipe}: no problems found\n")
    text = Path(recipe).read_text(encoding="utf-8")
    assert format_source(Source(recipe, text)).text == text
    return text


def test_there_is_one_for_each_algorithm(harmonyc: Harmonyc) -> None:
    names = [cls.constructor for cls in catalogue.ALGORITHMS]
    assert list(ALGORITHMS) == list(KINDS) == names
    assert {path.stem for path in HERE.glob("*.recipe")} == set(names)
    told = harmonyc("new")
    assert told.code == 0
    assert [line.split()[2] for line in told.out.splitlines()[: len(names)]] == names


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_checks_as_it_stands(algorithm: str, harmonyc: Harmonyc) -> None:
    told = harmonyc("new", algorithm, f"trials/my-{algorithm}")
    recipe = f"trials/my-{algorithm}.recipe"
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith(f"wrote {recipe}, and trials/{ROWS} with its rows\n")
    assert f"\n  harmonyc run {recipe}\n" in told.out
    text = fine(harmonyc, recipe)
    assert f"recipe my_{algorithm} {{" in text
    assert f'output_key: str = "my-{algorithm}"' in text
    assert all(len(line) <= 110 for line in text.splitlines())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_scaffold_is_a_recipe_where_it_stands(algorithm: str, harmonyc: Harmonyc) -> None:
    assert fine(harmonyc, str(HERE / f"{algorithm}.recipe")) == scaffold(algorithm)


def test_it_runs_and_learns(harmonyc: Harmonyc) -> None:
    harmonyc("new", "sft")
    told = harmonyc("run", "sft.recipe", "--out", "out", "--set", "steps=70")
    assert told.code == 0, told.err
    report = json.loads(Path("out/results.json").read_text())["evaluations"]["report"]
    assert report["base"]["right"]["mean"] < 0.2
    assert report["tuned"]["right"]["mean"] > 0.5
    assert harmonyc("models", "show", "sft").code == 0


def test_what_reinforces_runs(harmonyc: Harmonyc) -> None:
    harmonyc("new", "grpo", "math")
    told = harmonyc("run", "math.recipe", "--out", "out", "--set", "steps=2")
    assert told.code == 0, told.err
    assert harmonyc("models", "show", "math").code == 0


# --- names and files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("math", "math.recipe"),
        ("math.recipe", "math.recipe"),
        ("v1.2", "v1.2.recipe"),
        ("folder", "folder/sft.recipe"),
        ("new/", "new/sft.recipe"),
        ("größe", "größe.recipe"),
        ("2026", "2026.recipe"),
        ("not", "not.recipe"),
    ],
)
def test_names(name: str, path: str, harmonyc: Harmonyc) -> None:
    Path("folder").mkdir()
    assert harmonyc("new", "sft", name).code == 0
    fine(harmonyc, path)


@settings(max_examples=25)
@given(st.text(max_size=12))
def test_any_name_makes_a_recipe(stem: str) -> None:
    text = filled(scaffold("sft"), recipe_name(stem), {"output_key": quoted(stem)})
    parsed = parse_file(Source("any", text))
    assert parsed.diagnostics == ()
    inputs = [one for one in parsed.tree.declarations if isinstance(one, InputDeclaration)]
    key = next(one.default for one in inputs if one.name.text == "output_key")
    assert isinstance(key, Text)
    assert key.value == stem


def test_no_file_is_overwritten(harmonyc: Harmonyc) -> None:
    Path("a.recipe").write_text("mine")
    told = harmonyc("new", "sft", "a")
    assert (told.code, told.out) == (2, "")
    assert "a.recipe is there already" in told.err
    assert Path("a.recipe").read_text() == "mine"
    Path(ROWS).write_text("mine")
    told = harmonyc("new", "sft", "b")
    assert (told.code, told.out) == (2, "")
    assert f"{ROWS} is there already and holds something else" in told.err
    assert (Path(ROWS).read_text(), Path("b.recipe").exists()) == ("mine", False)


def test_recipes_of_one_folder_share_their_rows(harmonyc: Harmonyc) -> None:
    harmonyc("new", "sft")
    told = harmonyc("new", "dpo")
    assert (told.code, told.out.splitlines()[0]) == (0, "wrote dpo.recipe")


@pytest.mark.parametrize("odd", ["a folder", "a link to nothing", "a pipe"])
@pytest.mark.parametrize("name", [ROWS, "sft.recipe"])
def test_what_is_no_file_is_not_overwritten_either(
    odd: str, name: str, harmonyc: Harmonyc, house: Path
) -> None:
    place = Path(name)
    match odd:
        case "a folder":
            place.mkdir()
        case "a link to nothing":
            place.symlink_to("nowhere")
        case "a pipe":
            os.mkfifo(place)
    told = harmonyc("new", "sft")
    assert (told.code, told.out) == (2, "")
    assert f"{name} is there already" in told.err
    assert [path.name for path in house.iterdir()] == [name]


def test_a_name_that_is_too_long(harmonyc: Harmonyc, house: Path) -> None:
    for words in (("a" * 300,), ("new/" + "a" * 300,), ("--data", "a" * 300)):
        told = harmonyc("new", "sft", *words)
        assert (told.code, told.out) == (2, "")
        assert "File name too long" in told.err
        assert list(house.iterdir()) == []


def test_a_path_that_is_no_text(harmonyc: Harmonyc) -> None:
    rows_in("r\udcffws.jsonl", {"prompt": "a", "completion": "b"})
    told = harmonyc("new", "sft", "deep/mine", "--data", "r\udcffws.jsonl")
    assert (told.code, told.out) == (2, "")
    assert "not UTF-8" in told.err
    assert not Path("deep").exists()


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError(28, "No space left on device", "x")])
def test_nothing_is_left_when_it_ends_early(
    fault: BaseException, harmonyc: Harmonyc, house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: object) -> None:
        assert Path("new", "deep", ROWS).exists()
        raise fault

    monkeypatch.setattr(new, "_check", ended)
    assert harmonyc("new", "sft", "new/deep/mine").code in (2, 130)
    assert list(house.iterdir()) == []


def test_folders_may_be_links(harmonyc: Harmonyc) -> None:
    Path("far", "deep").mkdir(parents=True)
    Path("near").symlink_to("far/deep")
    Path("mine").mkdir()
    rows_in("rows.jsonl", {"prompt": "a", "completion": "b"})
    Path("latest.jsonl").symlink_to("rows.jsonl")
    told = harmonyc("new", "sft", "near/a", "--data", "latest.jsonl", "--model", "mine")
    assert told.code == 0, told.err
    text = fine(harmonyc, "near/a.recipe")
    assert 'jsonl("../../latest.jsonl")' in text
    assert 'local("../../mine")' in text


def test_a_folder_that_cannot_be_made(harmonyc: Harmonyc) -> None:
    Path("file").write_text("")
    told = harmonyc("new", "sft", "file/inside")
    assert told.code == 2
    assert told.err.startswith("harmonyc: cannot use file")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("grop",), "there is no algorithm `grop`; did you mean `grpo`?"),
        (("sft", "a", "b"), "`b` is one file too many"),
        (("--model", "x"), "an algorithm comes first"),
        (("sft", "--dat", "x"), "there is no option `--dat`; did you mean `--data`?"),
    ],
)
def test_usage(words: tuple[str, ...], said: str, harmonyc: Harmonyc, house: Path) -> None:
    told = harmonyc("new", *words)
    assert (told.code, told.out) == (2, "")
    assert said in told.err
    assert list(house.iterdir()) == []


# --- rows of the user's ---------------------------------------------------------------------------------

ALPACA = {"instruction": "add", "input": "1 1", "output": "2"}
MAPPED: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "prompts": (
        "sft",
        {"prompt": "a", "completion": "b"},
        ('  prompt = "{{ prompt }}"\n  completion = "{{ completion }}"\n', '{ answer = "{{ completion }}" }'),
    ),
    "alpaca": ("sft", ALPACA, (r"{{ instruction }}{% if input %}\n\n{{ input }}{% endif %}", "{{ output }}")),
    "messages": (
        "sft",
        {"messages": TURNS},
        ('messages = column("messages")', 'prompt = column("messages")', "{{ messages[-1].content }}"),
    ),
    "sharegpt": (
        "sft",
        {"conversations": SHARED},
        ('roles = { human = "user", gpt = "assistant" }', "{{ conversations[-1].value }}"),
    ),
    "guessed": ("sft", {"question": "a", "response": "b"}, ("# Guessed by", 'completion = "{{ response }}"')),
    "pairs": (
        "dpo",
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        ('chosen = "{{ chosen }}"\n  rejected = "{{ rejected }}"', '{ answer = "{{ chosen }}" }'),
    ),
    "pairs of turns": (
        "dpo",
        {"chosen": TURNS, "rejected": OTHER_TURNS},
        ('chosen = column("chosen")', 'prompt = column("chosen")', "{{ chosen[-1].content }}"),
    ),
    "pairs of transcripts": (
        "dpo",
        {"chosen": f"{SPOKEN}ho", "rejected": f"{SPOKEN}hu"},
        ('column("rejected", transcript = true)', r"{{ chosen.split('\n\nAssistant:')[-1] | trim }}"),
    ),
    "problems": ("grpo", {"question": "1+1", "answer": "2"}, ('{ answer = "{{ answer }}" }', "# Guessed")),
    "numbers": ("ppo", {"problem": "1+1", "solution": 2}, ('{ answer = "{{ solution }}" }',)),
    "worked": ("grpo", {"question": "a", "answer": "b\n#### 4"}, ("{{ answer.split('####')[-1] | trim }}",)),
    "completions": ("grpo", {"prompt": "a", "completion": "b"}, ('{ answer = "{{ completion }}" }',)),
    "worked and right": (
        "grpo",
        {"problem": "1+1", "solution": "It is 2.", "answer": "2"},
        ('{ answer = "{{ answer }}" }', "# Guessed"),
    ),
    "right before worked": (
        "ppo",
        {"Solution": "It is 2.", "question": "1+1", "final_answer": 2},
        ('{ answer = "{{ final_answer }}" }', "# Guessed"),
    ),
    "judged": (
        "grpo",
        {"prompt": "a", "completion": "b", "label": True},
        ('{ answer = "{{ completion }}" }',),
    ),
    "labelled": (
        "ppo",
        {"prompt": "a", "completion": "b", "label": "x"},
        ('{ answer = "{{ completion }}" }',),
    ),
    "completions and right": (
        "grpo",
        {"prompt": "a", "completion": "b", "answer": "c"},
        ('{ answer = "{{ answer }}" }', "# Guessed"),
    ),
    "numbers to imitate": (
        "sft",
        {"question": "a", "answer": 0, "answer_type": "int"},
        ('  completion = "{{ answer }}"\n', '{ answer = "{{ answer }}" }', "# Guessed"),
    ),
    "texts before numbers": (
        "sft",
        {"question": "a", "answer": 0.5, "solution": "b"},
        ('completion = "{{ solution }}"',),
    ),
    "turns and right": (
        "grpo",
        {"messages": TURNS[:1], "answer": "4"},
        ('prompt = column("messages")', '{ answer = "{{ answer }}" }'),
    ),
    "turns": ("grpo", {"messages": TURNS}, ('prompt = column("messages")', "{{ messages[-1].content }}")),
}


@pytest.mark.parametrize("name", MAPPED)
def test_known_layouts_are_mapped(name: str, harmonyc: Harmonyc) -> None:
    algorithm, row, lines = MAPPED[name]
    rows_in("rows.jsonl", row)
    told = harmonyc("new", algorithm, "deep/mine", "--data", "rows.jsonl")
    assert (told.code, told.err) == (0, "")
    text = fine(harmonyc, "deep/mine.recipe")
    assert [line for line in lines if line not in text] == []
    assert 'jsonl("../rows.jsonl")' in text
    assert ("guessed by the names" in told.out) == ("# Guessed" in text)
    assert not Path("deep", ROWS).exists()


def test_other_files(harmonyc: Harmonyc) -> None:
    lines = [f"{n}+{n},{2 * n}\n" for n in range(20)]
    Path("rows.csv").write_text(f"question,answer\n{''.join(lines)}")
    Path("rows.json").write_text(json.dumps([{"question": "a", "answer": "b"}] * 20))
    for end in ("csv", "json"):
        assert harmonyc("new", "grpo", end, "--data", f"rows.{end}").code == 0
        assert f'{end}("rows.{end}")' in fine(harmonyc, f"{end}.recipe")


@pytest.mark.parametrize(
    ("algorithm", "turns", "column", "condition"),
    [
        ("grpo", TURNS, "messages", 'messages[len(messages) - 1].role == "assistant"'),
        ("sft", TURNS, "messages", 'messages[len(messages) - 1].role == "assistant"'),
        ("sft", SHARED, "conversations", 'conversations[len(conversations) - 1].from == "gpt"'),
    ],
)
def test_conversations_that_end_with_a_question_are_left_out(
    algorithm: str, turns: list[dict[str, str]], column: str, condition: str, harmonyc: Harmonyc
) -> None:
    rows = [{column: [*turns, turns[0]] if number % 2 else turns} for number in range(19)]
    Path("rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert harmonyc("new", algorithm, "--data", "rows.jsonl").code == 0
    text = fine(harmonyc, f"{algorithm}.recipe")
    asked = text.partition("dataset problems" if algorithm == "grpo" else "dataset heldout")[2]
    assert f"  filter = {condition}\n  prompt = column" in asked
    assert text.count("filter = ") == 1
    told = harmonyc("preview", f"{algorithm}.recipe", "heldout")
    assert (told.code, "1 filtered out" in told.out) == (0, True), told.out


def test_conversations_without_an_answer_are_refused(harmonyc: Harmonyc, house: Path) -> None:
    parts = [TURNS[0], {"role": "assistant", "content": [{"type": "text", "text": "ho"}]}]
    for turns in ([*TURNS, TURNS[0]], parts):
        rows_in("rows.jsonl", {"messages": turns})
        for algorithm in ("sft", "grpo"):
            told = harmonyc("new", algorithm, "--data", "rows.jsonl")
            assert (told.code, told.out) == (1, "")
            assert (
                "conversations in `messages` of rows.jsonl do not end with a text of the assistant's"
                in told.err
            )
    assert [path.name for path in house.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize("count", [2, 9, 10, 11])
def test_of_few_rows_some_are_held_out(count: int, harmonyc: Harmonyc) -> None:
    rows_in("rows.jsonl", {"prompt": "a", "completion": "b"}, count)
    for algorithm in ("sft", "grpo"):
        assert harmonyc("new", algorithm, "--data", "rows.jsonl").code == 0
        fine(harmonyc, f"{algorithm}.recipe")


def test_long_rows_have_room(harmonyc: Harmonyc) -> None:
    rows_in("rows.jsonl", {"prompt": "a" * 150, "completion": "b", "unread": "c" * 1000})
    harmonyc("new", "sft", "--data", "rows.jsonl")
    assert "context = 256 }" in fine(harmonyc, "sft.recipe")


REFUSED: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "odd columns": (
        "sft",
        "rows.csv",
        "frage,antwort\na,b\nc,d\n",
        (
            "nothing says what is asked and what is answered in the rows of `rows.csv`",
            'a row: {"frage": "a", "antwort": "b"}',
            "with the columns frage, antwort",
        ),
    ),
    "no second answer": ("dpo", "rows.csv", "prompt,completion\na,b\nc,d\n", ("which answer is better",)),
    "no answer": (
        "grpo",
        "rows.csv",
        "prompt,n\na,b\nc,d\n",
        ("no column of rows.csv (prompt, n)", "`judge`"),
    ),
    "a faulty row": ("sft", "rows.jsonl", '{"prompt": "a"}\n{"prompt"\n', ("E0505", "rows.jsonl:2:")),
    "no rows": ("sft", "rows.jsonl", "", ("`rows.jsonl` holds no rows",)),
    "one row": ("sft", "rows.csv", "prompt,completion\na,b\n", ("holds one row",)),
    "another format": ("sft", "rows.txt", "a", ("jsonl, .json, .csv, .parquet",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_rows_that_cannot_be_mapped(name: str, harmonyc: Harmonyc, house: Path) -> None:
    algorithm, file, text, said = REFUSED[name]
    Path(file).write_text(text)
    told = harmonyc("new", algorithm, "--data", file)
    assert told.code in (1, 2)
    assert told.out == ""
    assert [words for words in said if words not in told.err] == []
    assert [path.name for path in house.iterdir()] == [file]


def test_rows_that_are_not_there(harmonyc: Harmonyc) -> None:
    told = harmonyc("new", "sft", "--data", "nowhere.csv")
    assert (told.code, told.err) == (1, "harmonyc: there is no file nowhere.csv\n")


# --- models of the user's -------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_pretrained_model_has_the_usual_rate(algorithm: str, harmonyc: Harmonyc) -> None:
    told = harmonyc("new", algorithm, "--model", "Qwen/Qwen3-0.6B")
    assert "tiny" not in told.out
    text = fine(harmonyc, f"{algorithm}.recipe")
    assert 'base: Model = hf("Qwen/Qwen3-0.6B")\n' in text
    rate = {"sft": "1e-5", "dpo": "1e-6", "grpo": "7.5e-7", "ppo": "7.5e-7"}[algorithm]
    assert f"lr: float = {rate} where" in text
    assert "max_tokens: int = 256 where" in text


def test_models_by_other_names(harmonyc: Harmonyc, tmp_path: Path) -> None:
    Path("mine").mkdir()
    (key := tmp_path / "home" / "models" / "kept").mkdir(parents=True)
    about = {
        "format_version": 1,
        "recipe": "r",
        "stage": "s",
        "identity": "i",
        "created": "2026-01-01T00:00:00Z",
    }
    (key / "harmony.json").write_text(json.dumps(about))
    written = {
        "mine": 'local("../mine")',
        str(Path("mine").absolute()): f'local("{Path("mine").absolute()}")',
        "kept": 'registry("kept")',
        'hf("a/b", revision = "main")': 'hf("a/b", revision = "main")',
    }
    for number, (model, expression) in enumerate(written.items()):
        told = harmonyc("new", "sft", f"deep/m{number}", "--model", model)
        assert told.code == 0, told.err
        assert f"base: Model = {expression}\n" in Path(f"deep/m{number}.recipe").read_text()
    told = harmonyc("new", "sft", "--model", "kep")
    assert told.code == 1
    assert "did you mean `kept`?" in told.err


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("./mine", "there is no folder ./mine\n"),
        ("../mine", "there is no folder ../mine\n"),
        ("/nowhere/mine", "there is no folder /nowhere/mine\n"),
        ("~/nowhere", "there is no folder ~/nowhere\n"),
        (".", None),
        ("", "`--model` is empty"),
        (" ", "`--model` is empty"),
        ("-/mine", "neither a folder nor a key"),
        ("mine/..", "neither a folder nor a key"),
        ('hf("a/b") { tp = 2 }', "write `tp = ctx.world_size`"),
        ('hf("a/b") { tp = ctx.world_size }', None),
        (f'hf("a/{"b" * 300}")', None),
        ("~/mine", None),
    ],
)
def test_models_that_are_not_there(
    model: str, said: str | None, harmonyc: Harmonyc, house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(house.parent))
    (house.parent / "mine").mkdir()
    if model == "../mine":
        (house.parent / "mine").rmdir()
    told = harmonyc("new", "sft", f"--model={model}")
    if said is None:
        assert told.code == 0, told.err
        fine(harmonyc, "sft.recipe")
    else:
        assert (told.code in (1, 2), told.out) == (True, "")
        assert said in told.err
        assert "--num-processes`, or" not in told.err
        assert list(house.iterdir()) == []


def test_a_model_that_does_not_check_leaves_nothing(harmonyc: Harmonyc, house: Path) -> None:
    told = harmonyc("new", "sft", "new/mine", "--model", 'hf("a/b"')
    assert (told.code, told.out) == (1, "")
    assert "E0112" in told.err
    assert "new/mine.recipe is not written, since it would not check" in told.err
    assert list(house.iterdir()) == []


def test_it_loads_nothing_heavy() -> None:
    rows_in("rows.jsonl", {"prompt": "a", "completion": "b"})
    probe = (
        "import sys; from harmony_dsl.cli.main import main\n"
        "code = main(['new', 'grpo', '--data', 'rows.jsonl'])\n"
        "print(code, [m for m in ('torch', 'harmony_runtime', 'pyarrow', 'rich') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "0 []"

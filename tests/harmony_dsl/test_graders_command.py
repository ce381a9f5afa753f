"""`harmonyc graders`: publishing graders, and what recipes then find under a key."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from dsl_support import Harmonyc

from harmony_compiler.store.graders import GRADERS

TONE = """\
recipe tone
input word: Template = "thank"
## Says thanks, and is short.
##
## Longer than twenty words scores nothing for brevity.
grader polite = 0.7 * kind + 0.3 * clamp(1 - words(completion) / 20, 0, 1)
grader kind = contains(word)
grader right = equals { expected = "{{ metadata.answer }}" }
"""

USE = """\
dataset asked = rows([{ q = "1+1", a = "2" }, { q = "1+2", a = "3" }]) {
  prompt = "{{ q }}"
  metadata = { answer = "{{ a }}" }
}
model tiny = scratch { hidden_size = 8, layers = 1, heads = 2, context = 40 }
train tuned = grpo {
  model = tiny
  dataset = asked
  grader = 0.5 * registry("politeness") + 0.5 * registry("right")
  completions_per_sample = 2
  samples_per_batch = 4
  samples_per_mini_batch = 2
  steps = 2
  sampling { max_tokens = 4 }
}
save tuned as "tuned"
"""


@pytest.fixture(autouse=True)
def graders(house: Path) -> Path:
    """The registry of graders; and the recipe `tone.recipe`, which publishes."""
    (house / "tone.recipe").write_text(TONE, encoding="utf-8")
    return house.parent / "home" / "graders"


def test_an_empty_registry(harmonyc: Harmonyc, graders: Path) -> None:
    told = harmonyc("graders")
    assert (told.code, told.out) == (0, f"the registry {graders} is empty; `harmonyc graders add` fills it\n")
    assert json.loads(harmonyc("graders", "--json").out) == {"format_version": 1, "graders": []}


def test_what_is_added_is_listed_shown_and_removed(harmonyc: Harmonyc, graders: Path) -> None:
    told = harmonyc("graders", "add", "politeness", "tone.recipe", "polite")
    assert (told.code, told.err) == (0, "")
    assert told.out == 'politeness: `polite` of tone.recipe; a recipe uses it by `registry("politeness")`\n'
    harmonyc("graders", "add", "right", "tone.recipe", "right")
    head, polite, right = harmonyc("graders").out.splitlines()
    assert head.split() == ["key", "needs", "scores", "published", "by", "what"]
    assert polite.startswith("politeness")
    assert "0 to 1" in polite
    assert polite.endswith("tone.recipe: polite  Says thanks, and is short.")
    assert right.split()[:2] == ["right", "answer"]
    shown = harmonyc("graders", "show", "politeness").out
    assert "# Longer than twenty words scores nothing for brevity." in shown
    assert "needs      nothing" in shown
    assert 'kind = contains  (tone.recipe:7)\n    text = "thank"' in shown
    data = json.loads(harmonyc("graders", "show", "right", "--json").out)
    assert (data["key"], data["grader"], data["scores"], data["needs"]) == (
        "right",
        "right",
        [0.0, 1.0],
        [["answer", "json"]],
    )
    gone = harmonyc("graders", "rm", "right", "politeness").out
    assert re.fullmatch(r"removed right, [\d.]+ kB\nremoved politeness, [\d.]+ kB\n", gone)
    assert list(graders.iterdir()) == []


def test_the_only_grader_needs_no_name(harmonyc: Harmonyc, house: Path, graders: Path) -> None:
    (house / "one.recipe").write_text("grader brief = words(completion) < 9\n", encoding="utf-8")
    assert harmonyc("graders", "add", "one", "one.recipe").out.startswith("one: `brief` of one.recipe")
    (house / "none.recipe").write_text("let x = 1\n", encoding="utf-8")
    told = harmonyc("graders", "add", "two", "none.recipe")
    assert (told.code, "declares no grader" in told.err) == (1, True)
    told = harmonyc("graders", "add", "two", "tone.recipe")
    assert (told.code, "declares kind, polite, right; name one of them" in told.err) == (1, True)
    assert GRADERS.keys(graders) == ["one"]


def test_inputs_are_set_when_it_is_published(harmonyc: Harmonyc, graders: Path) -> None:
    harmonyc("graders", "add", "kind", "tone.recipe", "kind", "--set", "word=please")
    assert 'text = "please"' in harmonyc("graders", "show", "kind").out


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (("ad", "x", "y"), "`graders` cannot `ad`; did you mean `add`?", 2),
        (("add", "x"), "`add` takes a key, a recipe", 2),
        (("add", "../x", "tone.recipe", "kind"), "`../x` is no key", 2),
        (("add", "x", "tone.recipe", "kindly"), "error[E0610", 1),
        (("add", "x", "no.recipe"), "error[E0509", 1),
        (("add", "x", "no.recipe", "kind"), "error[E0509", 1),
        (("show",), "`show` takes one key", 2),
        (("show", "kin"), "has no grader `kin`; did you mean `kind`?; it has kind", 1),
        (("rm", "kind", "no"), "has no grader `no`", 1),
        (("list", "--replace"), "`--replace` belongs to `add`", 2),
        (("list", "--set", "word=x"), "`--set` belongs to `add`", 2),
        (("show", "kind", "--num-processes", "2"), "`--num-processes` belongs to `add`", 2),
        (("rm", "kind", "--json"), "`--json` belongs to `list` and `show`", 2),
    ],
)
def test_what_is_refused(
    words: tuple[str, ...], said: str, code: int, harmonyc: Harmonyc, graders: Path
) -> None:
    harmonyc("graders", "add", "kind", "tone.recipe", "kind")
    told = harmonyc("graders", *words)
    assert said in told.err
    assert told.code == code
    assert GRADERS.keys(graders) == ["kind"]


def test_a_key_that_is_taken(harmonyc: Harmonyc, graders: Path) -> None:
    harmonyc("graders", "add", "kind", "tone.recipe", "kind")
    again = harmonyc("graders", "add", "kind", "tone.recipe", "kind")
    assert (again.code, "which was there already" in again.out) == (0, True)
    told = harmonyc("graders", "add", "kind", "tone.recipe", "right")
    assert (told.code, "add `--replace`" in told.err) == (1, True)
    assert harmonyc("graders", "add", "kind", "tone.recipe", "right", "--replace").code == 0
    held = GRADERS.at(graders, "kind")
    assert held is not None and held.grader == "right"
    assert [folder.name for folder in graders.iterdir()] == ["kind"]


def test_a_judge_that_the_recipe_trains_cannot_travel(harmonyc: Harmonyc, house: Path) -> None:
    judged = USE.replace('0.5 * registry("politeness") + 0.5 * registry("right")', 'contains("a")')
    judged += 'grader clear = judge { model = tuned, criteria = "It is clear." }\n'
    (house / "judged.recipe").write_text(judged, encoding="utf-8")
    told = harmonyc("graders", "add", "clear", "judged.recipe", "clear")
    assert told.code == 1
    assert "it asks the model `tuned`, which exists only while the recipe runs" in told.err


def test_secrets_stay_names_and_folders_are_told(
    harmonyc: Harmonyc, house: Path, graders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "very-secret")
    (house / "judge").mkdir()
    (house / "clear.recipe").write_text(
        'grader served = judge { criteria = "Clear.", model = endpoint("http://localhost:8000/v1", '
        'model = "m", key = env("JUDGE_KEY")) }\n'
        'grader own = judge { criteria = "Clear.", model = local("judge") }\n',
        encoding="utf-8",
    )
    told = harmonyc("graders", "add", "served", "clear.recipe", "served")
    assert (told.code, told.err) == (0, "")
    manifest = (graders / "served" / "harmony.json").read_text(encoding="utf-8")
    assert '"env": "JUDGE_KEY"' in manifest
    assert "very-secret" not in manifest
    told = harmonyc("graders", "add", "own", "clear.recipe", "own")
    assert told.code == 0
    assert f"`own` reads {house / 'judge'}, which is not copied" in told.err


def test_python_travels_with_it(harmonyc: Harmonyc, house: Path, graders: Path) -> None:
    (house / "score.py").write_text("import limits\ndef brief(completion): return 1.0\n", encoding="utf-8")
    (house / "limits.py").write_text("WORDS = 9\n", encoding="utf-8")
    (house / "py.recipe").write_text('grader brief = python("score.py:brief")\n', encoding="utf-8")
    told = harmonyc("graders", "add", "brief", "py.recipe")
    assert (told.code, told.err) == (0, "")
    (house / "score.py").unlink()
    held = GRADERS.at(graders, "brief")
    assert held is not None
    assert sorted(Path(name).name for name in held.files) == ["limits.py", "score.py"]
    (house / "limits.py").write_text("WORDS = (\n", encoding="utf-8")
    (house / "score.py").write_text("import limits\ndef brief(completion): return 1.0\n", encoding="utf-8")
    told = harmonyc("graders", "add", "again", "py.recipe")
    assert (told.code, "limits.py:1 is no valid Python" in told.err) == (1, True)


def test_a_recipe_is_checked_against_it_and_trains_on_it(
    harmonyc: Harmonyc, house: Path, graders: Path
) -> None:
    (house / "use.recipe").write_text(USE, encoding="utf-8")
    told = harmonyc("check", "use.recipe")
    assert (told.code, told.out.count("error[E0620")) == (1, 2)
    harmonyc("graders", "add", "politeness", "tone.recipe", "polite")
    harmonyc("graders", "add", "right", "tone.recipe", "right")
    assert harmonyc("check", "use.recipe").code == 0
    told = harmonyc("run", "use.recipe", "--out", "out")
    assert told.code == 0, told.err
    row = json.loads((house / "out" / "samples.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert "politeness.kind" in json.dumps(row)
    harmonyc("graders", "rm", "right")
    (house / "rows.jsonl").write_text('{"prompt": "1+1", "completion": "thanks", "metadata": {}}\n')
    told = harmonyc("grade", "use.recipe", "--on", "rows.jsonl")
    assert (told.code, "error[E0620" in told.err) == (1, True)


def test_many_who_add_at_once_never_mix(house: Path, graders: Path) -> None:
    code = "import sys; from harmony_dsl.cli.main import main; sys.exit(main(sys.argv[1:]))"
    names = ("polite", "kind", "right")
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, "graders", "add", "g", "tone.recipe", name, "--replace"],
            stdout=subprocess.DEVNULL,
        )
        for name in names
    ]
    assert [process.wait() for process in started] == [0] * 3
    held = GRADERS.at(graders, "g")
    assert held is not None and held.grader in names
    assert [folder.name for folder in graders.iterdir()] == ["g"]

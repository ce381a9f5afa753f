"""Python graders are read as source: what is found out without running a line of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from compiler_support import GRADER, REINFORCED, check_text, codes, pointed_at, replaced


def graded_by(function: str) -> str:
    return replaced(REINFORCED, (GRADER, f'grader right = python("{function}")\n'))


def found_in(folder: Path, source: str, name: str = "score") -> list[str]:
    (folder / "mine.py").write_text(source)
    return codes(check_text(graded_by(f"mine.py:{name}")))


# --- where the function is ------------------------------------------------------------------------------

PLACES = [
    # what the recipe names, the code, and what is blamed
    ("graders.py:score", "", ""),
    ("graders.py:hinted", "E0512", "hint"),
    ("graders.py", "E0611", '"graders.py"'),
    ("graders:score", "E0611", '"graders:score"'),
    ("graders.py:", "E0611", '"graders.py:"'),
    (":score", "E0611", '":score"'),
    ("", "E0611", '""'),
    ("graders.py:a.b", "E0611", '"graders.py:a.b"'),
    ("graders.py:scoree", "E0613", "scoree"),
    ("graders.py:Scorer", "E0613", "Scorer"),
    ("graders.py:shared", "E0613", "shared"),
    ("graders.py:re", "E0613", "re"),
    ("graderz.py:score", "E0501", "graderz.py"),
    ("home/graders.py:score", "E0501", "home/graders.py"),
    ("broken.py:score", "E0612", "broken.py"),
]


@pytest.mark.parametrize(("function", "code", "blamed"), PLACES)
def test_where_a_function_is_looked_for(function: str, code: str, blamed: str) -> None:
    found = check_text(graded_by(function))
    assert (codes(found), pointed_at(found)) == ([code] * bool(code), [blamed] * bool(code))


def test_a_folder_and_bytes_are_no_python(folder: Path) -> None:
    (folder / "folder.py").mkdir()
    assert codes(check_text(graded_by("folder.py:score"))) == ["E0507"]
    (folder / "mine.py").write_bytes(b"caf\xe9 = 1\n")
    assert codes(check_text(graded_by("mine.py:score"))) == ["E0507"]
    (folder / "mine.py").write_bytes(b"\0")
    assert codes(check_text(graded_by("mine.py:score"))) in (["E0507"], ["E0612"])
    (folder / "mine.py").write_bytes(b"# coding: latin-1\ncaf\xe9 = 1\n")
    assert codes(check_text(graded_by("mine.py:score"))) == []  # nobody looked


def test_a_path_is_relative_to_the_recipe(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "mine.py").write_text("def score(completion):\n    return 1.0\n")
    assert codes(check_text(graded_by("deep/mine.py:score"))) == []


def test_a_function_may_be_named_by_an_input() -> None:
    text = 'input by: str = "graders.py:score"\n' + replaced(
        REINFORCED, (GRADER, "grader right = python(by)\n")
    )
    assert codes(check_text(text)) == []
    assert codes(check_text(text, ["by=graders.py:nothing"])) == ["E0613"]
    assert codes(check_text(text, ["by=nothing"])) == ["E0611"]


def test_nothing_is_run(folder: Path) -> None:
    source = "import sys\nsys.was_run = True\nraise SystemExit\ndef score(completion):\n    return 1.0\n"
    assert found_in(folder, source) == []
    assert not hasattr(sys, "was_run")
    assert "mine" not in sys.modules


DEFINED = [
    "def score(completion): ...",
    "async def score(completion): ...",
    "score = lambda completion: 1.0",
    "score = make()",
    "score: object = make()",
    "first, score = make()",
    "from elsewhere import *",
    "if True:\n    def score(completion): ...",
    "try:\n    import a\nexcept ImportError:\n    def score(completion): ...",
    "with a:\n    def score(completion): ...",
    "@wrapped\ndef score(anything, at, all): ...",
    "\ufeffdef score(completion): ...",
    "def score(completion):\r\n    return 1.0\r\n",
    "def score(completion):\n    return '\\d'",  # a SyntaxWarning is not for the user of a recipe
]


@pytest.mark.parametrize("source", DEFINED)
def test_ways_to_define_a_function(source: str, folder: Path) -> None:
    assert found_in(folder, source) == []


# --- parameters -----------------------------------------------------------------------------------------

PARAMETERS = [
    ("", None),
    ("completion, prompt, turns, metadata", None),
    ("metadata, completion", None),
    ("completion, limit=3", None),
    ("completion, *, limit=3", None),
    ("completion, *, metadata", None),
    ("*rest", None),
    ("completion, *rest, **more", None),
    ("**everything", None),
    ("completion, limit=3, /", "completion"),
    ("limit=3, /", None),
    ("completion, /", "completion"),
    ("sample", "sample"),
    ("completion, reference", "reference"),
    ("completion, *, reference", "reference"),
    ("self, completion", "self"),
]


@pytest.mark.parametrize(("parameters", "impossible"), PARAMETERS)
def test_a_parameter_is_one_that_a_grader_can_be_given(
    parameters: str, impossible: str | None, folder: Path
) -> None:
    (folder / "mine.py").write_text(f"def score({parameters}):\n    return 1.0\n")
    found = check_text(graded_by("mine.py:score"))
    assert codes(found) == ["E0614"] * (impossible is not None)
    labels = [label.span.text for finding in found.diagnostics for label in finding.labels]
    assert labels == ([] if impossible is None else [impossible])


# --- metadata -------------------------------------------------------------------------------------------

READS = [
    # the body of a function of `metadata`, and the keys that it needs and the rows lack
    ('return metadata["answer"]', []),
    ('return metadata["hint"]', ["hint"]),
    ("return metadata['hint'] + metadata['other']", ["hint", "other"]),
    ('return [metadata["hint"] for _ in "ab"]', ["hint"]),
    ('é = "é" ; return metadata["hint"]', ["hint"]),
    ('return metadata["hi" "nt"]', ['"hi" "nt"']),
    # a function that asks first needs nothing
    ('return metadata.get("hint")', []),
    ('return metadata["hint"] if "hint" in metadata else 0', []),
    ('return 0 if "hint" not in metadata else metadata["hint"]', []),
    ("try:\n        return metadata['hint']\n    except KeyError:\n        return 0", []),
    ('return metadata["hint"] if metadata else 0', []),
    ('if not metadata:\n        return 0\n    return metadata["hint"]', []),
    ('metadata = load(metadata)\n    return metadata["hint"]', []),
    ('metadata["hint"] = 3\n    return metadata["hint"]', []),
    ('metadata = dict(metadata)\n    return metadata["hint"]', []),
    ('return (lambda metadata: metadata["hint"])({})', []),
    ("return metadata[completion]", []),
    ('return other["hint"]', []),
]


@pytest.mark.parametrize(("body", "keys"), READS)
def test_the_metadata_that_a_function_needs(body: str, keys: list[str], folder: Path) -> None:
    (folder / "mine.py").write_text(f"def score(completion, metadata):\n    {body}\n", encoding="utf-8")
    found = check_text(graded_by("mine.py:score"))
    assert (codes(found), pointed_at(found)) == (["E0512"] * len(keys), keys)


def test_the_place_of_a_key_is_in_the_python_file() -> None:
    (finding,) = check_text(graded_by("graders.py:hinted")).diagnostics
    assert (finding.span.source.name, finding.span.first.line) == ("graders.py", 14)


def test_a_function_without_the_parameter_reads_no_metadata(folder: Path) -> None:
    assert found_in(folder, 'metadata = {}\ndef score(completion):\n    return metadata["hint"]\n') == []

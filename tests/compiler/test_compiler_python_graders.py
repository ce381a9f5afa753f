"""Python graders are read as source: what is found out without running a line of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from compiler_support import GRADER, REINFORCED, check_text, codes, graph_of, pointed_at, replaced

from harmony_compiler.graph.graders import PythonGrader
from harmony_compiler.graph.identity import training_digest
from harmony_compiler.store.files import content_hash


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


DECORATED = [
    ("from harmony_dsl import grader\n@grader", "E0614"),
    ("from harmony_dsl import grader\n@grader(batched=True)", "E0614"),
    ("from harmony_dsl import grader as marked\n@marked", "E0614"),
    ("import harmony_dsl\n@harmony_dsl.grader", "E0614"),
    ("import harmony_dsl as h\n@h.grader(batched=True, batch=4)", "E0614"),
    ("from harmony_dsl import grader\nfrom elsewhere import other\n@grader\n@other", ""),
    ("from elsewhere import grader\n@grader", ""),
    ("from harmony_dsl import Score\n@grader", ""),
    ("from .harmony_dsl import grader\n@grader", ""),
]


@pytest.mark.parametrize(("above", "code"), DECORATED)
def test_our_decorator_leaves_the_parameters_as_they_are(above: str, code: str, folder: Path) -> None:
    assert found_in(folder, f"{above}\ndef score(sample):\n    return 1.0\n") == [code] * bool(code)


# --- classes --------------------------------------------------------------------------------------------

CLASSES = [
    ("from harmony_dsl import Grader\nclass score(Grader): ...", ""),
    ("from harmony_dsl import Grader as Base\nclass score(Base): ...", ""),
    ("import harmony_dsl\nclass score(harmony_dsl.Grader): ...", ""),
    ("from harmony_dsl import Grader\nclass First(Grader): ...\nclass score(First): ...", ""),
    ("from elsewhere import Base\nclass score(Base): ...", ""),  # which may derive from it
    ("class score: ...", "E0613"),
    ("class score(object): ...", "E0613"),
    ("class Grader: ...\nclass score(Grader): ...", "E0613"),
    ("class score(score): ...", "E0613"),
]


@pytest.mark.parametrize(("source", "code"), CLASSES)
def test_a_class_is_a_grader_where_it_derives_from_it(source: str, code: str, folder: Path) -> None:
    assert found_in(folder, source) == [code] * bool(code)


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


# --- typed metadata -------------------------------------------------------------------------------------

TYPED = """\
from typing import Annotated, Any, List, Literal, NotRequired, Optional, Required, TypedDict
from harmony_dsl import Grader, grader

class Answer(TypedDict{kind}):
{fields}

"""
FUNCTION = "def score(completion, metadata: {type}):\n    return 1.0\n"

FIELDS = [
    # a field of the type, with what the rows of `answer: str` lack or have of another type
    ("answer: str", "", []),
    ("answer: 'str'", "", []),
    ("answer: str | None", "", []),
    ("answer: Optional[str]", "", []),
    ("answer: Literal['2', '3']", "", []),
    ("answer: Annotated[str, 'a number']", "", []),
    ("answer: Any", "", []),
    ("answer: Unknown", "", []),
    ("answer: int", "", ["E0514"]),
    ("answer: int | float", "", ["E0514"]),
    ("answer: list[str]", "", ["E0514"]),
    ("answer: List", "", ["E0514"]),
    ("answer: dict[str, int]", "", ["E0514"]),
    ("answer: Required[int]", ", total=False", ["E0514"]),
    ("tests: list[str]", "", ["E0512"]),
    ("tests: NotRequired[list[str]]", "", []),
    ("tests: list[str]", ", total=False", []),
    ("tests: Required[list[str]]", ", total=False", ["E0512"]),
]


@pytest.mark.parametrize(("field", "kind", "found"), FIELDS)
def test_the_type_of_metadata_says_what_it_needs(
    field: str, kind: str, found: list[str], folder: Path
) -> None:
    source = TYPED.format(kind=kind, fields=f"    {field}") + FUNCTION.format(type="Answer")
    (folder / "mine.py").write_text(source)
    compiled = check_text(graded_by("mine.py:score"))
    assert codes(compiled) == found
    assert pointed_at(compiled) == [field.partition(":")[0]] * len(found)


def test_both_places_are_shown(folder: Path) -> None:
    source = TYPED.format(kind="", fields="    tests: list[str]") + FUNCTION.format(type="Answer")
    (folder / "mine.py").write_text(source)
    (finding,) = check_text(graded_by("mine.py:score")).diagnostics
    assert (finding.span.source.name, finding.span.first.line) == ("mine.py", 5)
    (label,) = finding.labels
    assert label.span.source.name == "case.recipe" and "answer" in label.span.text
    assert 'column("tests")' in finding.words.help


USES = [
    ("def score(completion, metadata: 'Answer'): ...", ["E0512"]),
    ("async def score(completion, *, metadata: Answer): ...", ["E0512"]),
    ("def score(completion, metadata: Answer):\n    return metadata['tests']", ["E0512"]),  # told once
    ("def score(completion, metadata: Answer):\n    return metadata['hint']", ["E0512", "E0512"]),
    ("def score(completion, metadata: dict): ...", []),
    ("def score(completion, metadata: list[Answer]): ...", []),
    ("@grader(batched=True)\ndef score(completion, metadata: list[Answer]): ...", ["E0512"]),
    ("@grader(batched=True)\ndef score(completion, metadata): return metadata['hint']", []),
    ("@grader\ndef score(completion, metadata: Answer): ...", ["E0512"]),
    ("class score(Grader):\n    metadata: Answer", ["E0512"]),
    ("class score(Grader):\n    other: Answer", []),
    ("class More(Answer):\n    hint: str\ndef score(metadata: More): ...", ["E0512", "E0512"]),
    ("class Turned(Turned): ...\ndef score(metadata: Turned): ...", []),
]


@pytest.mark.parametrize(("use", "found"), USES)
def test_where_the_type_of_metadata_is_read(use: str, found: list[str], folder: Path) -> None:
    assert found_in(folder, TYPED.format(kind="", fields="    tests: list[str]") + use + "\n") == found


# --- the graph ------------------------------------------------------------------------------------------


def test_the_graph_holds_the_absolute_file(folder: Path) -> None:
    graph = graph_of(graded_by("graders.py:score"))
    (node,) = [node for node in graph.nodes.values() if isinstance(node, PythonGrader)]
    assert node.function == f"{folder / 'graders.py'}:score"


def test_the_file_counts_by_its_content_and_not_by_its_place(folder: Path) -> None:
    def digest(function: str) -> str:
        return training_digest(graph_of(graded_by(function)), content_hash, folder / "home" / "models")

    source = "def score(completion): ...\ndef other(completion): ...\n"
    for name, text in {"mine.py": source, "copied.py": source, "changed.py": source + "#\n"}.items():
        (folder / name).write_text(text)
    assert digest("copied.py:score") == digest("mine.py:score")
    assert digest("changed.py:score") != digest("mine.py:score")
    assert digest("mine.py:other") != digest("mine.py:score")


def test_what_the_file_imports_beside_it_counts_too(folder: Path) -> None:
    def digest(function: str) -> str:
        return training_digest(graph_of(graded_by(function)), content_hash, folder / "home" / "models")

    (folder / "mine.py").write_text(
        "import json\nimport near\ndef score(completion): return near.at(completion)\n"
    )
    (folder / "near.py").write_text("from far import at\n")
    (folder / "far.py").write_text("def at(text): return 0\n")
    (folder / "unrelated.py").write_text("def at(text): return 0\n")
    before = digest("mine.py:score")
    (folder / "unrelated.py").write_text("def at(text): return 1\n")
    assert digest("mine.py:score") == before
    (folder / "far.py").write_text("def at(text): return 1\n")
    assert digest("mine.py:score") != before
    (folder / "far.py").write_text("def at(text) return 1\n")
    with pytest.raises(ValueError, match=r"far.py:1 is no valid Python: expected ':'"):
        digest("mine.py:score")

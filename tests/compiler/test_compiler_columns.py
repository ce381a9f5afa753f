"""Columns: what is read of data files, and how templates are held against it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from compiler_support import check_text, codes

from harmony_compiler.compile import compile_recipe
from harmony_compiler.files import HEAD, Disk
from harmony_compiler.store.rows import SHOWN
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.source import Source


def findings(template: str, rows: str = 'jsonl("rows.jsonl")') -> tuple[Diagnostic, ...]:
    """What is said of a dataset with one template, which is written as it stands here, quotes included."""
    return check_text(f"dataset lessons = {rows} {{ prompt = {template} }}\n").diagnostics


def columns_of(content: bytes, folder: Path) -> list[str] | None:
    """The columns that are found in a file; None where nothing could be said."""
    (folder / "rows.jsonl").write_bytes(content)
    for finding in findings('"{{ no_such_column }}"'):
        if finding.code == "E0502":
            return finding.words.notes[0].removeprefix("columns: ").split(", ")
    return None


HEADS = {
    "one row": (b'{"a": 1, "b": 2}', ["a", "b"]),
    "union of all rows": (b'{"a": 1}\n{"b": 2}\n{"a": 1, "c": 3}\n', ["a", "b", "c"]),
    "byte order mark": (b'\xef\xbb\xbf{"a": 1}\n', ["a"]),
    "CRLF": (b'{"a": 1}\r\n{"b": 2}\r\n', ["a", "b"]),
    "blank lines": (b'\n{"a": 1}\n  \n\r\n{"b": 2}\n\n', ["a", "b"]),
    "no newline at the end": (b'{"a": 1}\n{"b": 2}', ["a", "b"]),
    "nested values": (b'{"a": {"b": [{"c": 1}]}}\n', ["a"]),
    "names that are no words": ('{"a b": 1, "é": 2, "": 3}\n'.encode(), ["a b", "é", ""]),
    "good rows beside bad ones": (b'{"a": 1}\nnot JSON\n{"b": 2}\n', ["a", "b"]),
    "half a character": (b'{"a\\ud800": 1}\n', ["a?"]),
    "bad rows alone": (b"not JSON\n", None),
    "nothing": (b"", None),
}


@pytest.mark.parametrize("name", HEADS)
def test_the_columns_of_a_file(name: str, folder: Path) -> None:
    content, columns = HEADS[name]
    assert columns_of(content, folder) == columns


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("shift", range(4))
def test_the_head_of_a_large_file_is_enough(shift: int, mark: bytes, folder: Path) -> None:
    """The limit cuts through a character of three bytes, at each of its bytes."""
    line = b'{"a": "' + "→".encode() * 1000 + b'"}\n'
    content = mark + b" " * shift + line * (HEAD // len(line) + 2)
    assert columns_of(content, folder) == ["a"]
    assert codes(check_text('dataset d = jsonl("rows.jsonl")\n')) == []


def test_a_first_row_beyond_the_limit_says_nothing(folder: Path) -> None:
    assert columns_of(b'{"a": "' + b"x" * HEAD + b'"}\n', folder) is None
    assert codes(check_text('dataset d = jsonl("rows.jsonl")\n')) == []


def test_what_stands_behind_the_limit_is_not_read(folder: Path) -> None:
    line = b'{"a": "' + b"x" * 1015 + b'"}\n'
    (folder / "rows.jsonl").write_bytes(line * (HEAD // len(line) + 1) + b"not JSON\n")
    assert codes(check_text('dataset d = jsonl("rows.jsonl")\n')) == []


BAD_ROWS = [
    (b'{"a": }', "E0505", "}"),
    (b'{"a": 1', "E0505", "1"),
    (b"nonsense", "E0505", "n"),
    (b'{"a": 1} {"b": 2}', "E0505", "{"),
    (b'{"a": ' + b"9" * 5000 + b"}", "E0505", "{"),
    (b"[" * 100_000, "E0505", "["),
    (b"[1, 2]", "E0506", "[1, 2]"),
    (b'  "text"  ', "E0506", None),
    (b"3", "E0506", "3"),
    (b"null", "E0506", "null"),
    (b"true", "E0506", "true"),
]


@pytest.mark.parametrize(("row", "code", "part"), BAD_ROWS, ids=[repr(row[:20]) for row, _, _ in BAD_ROWS])
def test_a_bad_row_is_shown_in_its_file_at_its_line(
    row: bytes, code: str, part: str | None, folder: Path
) -> None:
    (folder / "rows.jsonl").write_bytes(b'{"a": 1}\r\n\r\n' + row + b'\r\n{"a": 2}\r\n')
    (finding,) = check_text('dataset d = jsonl("rows.jsonl")\n').diagnostics
    assert (finding.code, finding.span.source.name, finding.span.first.line) == (code, "rows.jsonl", 3)
    assert part is None or finding.span.text == part


def test_of_many_bad_rows_the_first_are_shown(folder: Path) -> None:
    (folder / "rows.jsonl").write_bytes(b'{"a": 1}\n' + b"bad\n" * 100)
    found = check_text('dataset d = jsonl("rows.jsonl")\nlet e = d { limit = 1 }\n').diagnostics
    summary, *shown = sorted(found, key=lambda finding: finding.span.source.name != "case.recipe")
    assert [finding.span.first.line for finding in shown] == list(range(2, 2 + SHOWN))
    assert summary.words.message == "`rows.jsonl` has 90 more faulty lines"


def test_a_data_file_is_named_so_that_people_find_it(folder: Path) -> None:
    (folder / "recipes").mkdir()
    (folder / "recipes" / "rows.jsonl").write_bytes(b"bad\n")
    source = Source("recipes/a.recipe", 'dataset d = jsonl("rows.jsonl")\n', folder / "recipes" / "a.recipe")
    (finding,) = compile_recipe(source).diagnostics
    assert finding.span.source.name == "recipes/rows.jsonl"


def test_several_files_are_one_table(folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(b'{"a": 1}\n')
    (folder / "b.jsonl").write_bytes(b'{"b": 1}\n')
    assert findings('"{{ a }} {{ b }}"', 'jsonl(["a.jsonl", "b.jsonl"])') == ()
    (finding,) = findings('"{{ c }}"', 'jsonl(["a.jsonl", "b.jsonl"])')
    assert finding.words.label == "not a column of a.jsonl and b.jsonl"
    assert [f.code for f in findings('"{{ c }}"', 'jsonl(["a.jsonl", "none.jsonl"])')] == ["E0501"]


def test_rows_of_the_recipe_have_columns_too() -> None:
    rows = "rows([{ a = 1 }, { b = { c = 2 } }])"
    assert findings('"{{ a }} {{ b.c }}"', rows) == ()
    (finding,) = findings('"{{ c }}"', rows)
    assert (finding.words.label, finding.words.notes) == ("not a column of the rows", ("columns: a, b",))


# --- templates ------------------------------------------------------------------------------------------


@pytest.fixture
def rows(folder: Path) -> None:
    row = {"question": "1+1", "answer": "2", "items": [{"name": "x"}], "parts": {"a": 1}}
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")


FINE = [
    "no variable at all",
    "{{ question }}{{answer}}{{  answer  }}",
    "{{ question | trim | upper }}",
    "{{ question.split('+')[0] }}",
    "{{ parts.answer }} {{ parts['x'] }}",
    "{% for item in items %}{{ item.name }}{{ loop.index }}{% endfor %}",
    "{% for key, value in parts.items() %}{{ key }}{{ value }}{% endfor %}",
    "{% set word = question %}{{ word }}",
    "{% if answer is defined and answer is not none %}{{ answer }}{% else %}{{ question }}{% endif %}",
    "{% raw %}{{ anything }}{% endraw %}",
    "{# {{ anything }} #}",
    "{{ items | map(attribute='name') | join(sep=', ') if false else '' }}",
    "{{ items | map(attribute='name') | join(', ') }}",
    "{{ [1, 2] | sum }} {{ range(3) | list }} {{ namespace(x=question).x }}",
    "{% macro twice(text) %}{{ text }}{{ text }}{% endmacro %}{{ twice(question) }}",
    "{{ true }} {{ none }} {{ False }}",
    "{{ 9 ** 9 ** 9 ** 9 }}",
    "a { b } c }} d",
]


@pytest.mark.parametrize("template", FINE)
def test_a_template_that_asks_for_columns_alone(template: str, rows: None) -> None:
    assert findings(f'"""{template}"""') == ()


FAULTS = [
    # template, with the blamed part between « and »; code
    ("{{ «quest» }}", "E0502"),
    ("{{ answer }}{{ «quest» }}", "E0502"),
    ("{{ «quest» | trim }}", "E0502"),
    ("{{ question | «trimm» }}", "E0504"),
    ("{{ parts.trimm }} {{ question | «trimm» }}", "E0504"),
    ("{{ question is «definded» }}", "E0504"),
    ("{{ question is not «definded» }}", "E0504"),
    ("{{ parts.quest }}{{ «quest» }}", "E0502"),
    ("{{ parts | attr('quest') }}{{ «quest» }}", "E0502"),
    ("{{ items | join(d=«d») }}", "E0502"),
    ("{% for item in «quests» %}{{ item }}{% endfor %}", "E0502"),
    ("{% set x = «x» %}", "E0502"),
    ("{% if «quest» %}a{% endif %}", "E0502"),
    ("text   {{- «quest» -}}   {{ answer | trim }}", "E0502"),
    ("{# quest #} {{ «quest» | trim }}", "E0502"),
    ("«{{ question | }}»", "E0503"),
    ("«{% for x in %}»", "E0503"),
    ("«{{ question»", "E0503"),
    ("«{% include 'other' %}»", "E0503"),
    ("«{% extends 'other' %}»", "E0503"),
    ("«{% import 'other' as x %}»", "E0503"),
]
WRITTEN = {
    "plain": '"%s"',
    "raw": 'r"%s"',
    "long": '"""%s"""',
    "indented": '"""\n    Work it out:\n\n      %s\n    """',
    "behind escapes": '"\\t\\"\\u{48}ey\\" \\\\ %s"',
    "behind other characters": '"→ é \U0001f600 %s"',
    "behind carriage returns": '"a\\r\\nb\\r%s"',
}


@pytest.mark.parametrize("style", WRITTEN)
@pytest.mark.parametrize(("marked", "code"), FAULTS, ids=[marked for marked, _ in FAULTS])
def test_a_fault_is_blamed_inside_the_string(marked: str, code: str, style: str, rows: None) -> None:
    before, _, rest = marked.partition("«")
    blamed, _, after = rest.partition("»")
    prefix = f'dataset lessons = jsonl("rows.jsonl") {{ prompt = {WRITTEN[style].partition("%s")[0]}'
    (finding,) = findings(WRITTEN[style].replace("%s", before + blamed + after))
    assert finding.code == code
    assert finding.span.text.endswith(blamed)
    if code != "E0503":  # of what Jinja cannot read it names the line alone
        assert (finding.span.start, finding.span.text) == (len(prefix + before), blamed)


def test_a_broken_template_is_blamed_on_its_line(rows: None) -> None:
    (finding,) = findings('"""\n  one\n    {{ two | }}  \n  three\n  """')
    assert (finding.span.text, finding.span.first.line) == ("{{ two | }}", 3)


def test_a_template_that_was_declared_elsewhere_is_blamed_there(rows: None) -> None:
    text = 'let question = "{{ quest }}"\ndataset d = jsonl("rows.jsonl") { prompt = question }\n'
    (finding,) = check_text(text).diagnostics
    assert (finding.span.text, finding.span.first.line) == ("quest", 1)


def test_templates_of_metadata_are_checked(rows: None) -> None:
    text = 'dataset d = jsonl("rows.jsonl") { metadata = { a = "{{ answer }}", b = "{{ anser }}" } }\n'
    (finding,) = check_text(text).diagnostics
    assert finding.span.text == "anser"


def test_where_nobody_could_look_only_the_form_is_checked() -> None:
    assert [f.code for f in findings('"{{ x }} {{ x | trimm }}"', 'jsonl("nowhere.jsonl")')] == [
        "E0501",
        "E0504",
    ]


def test_unsaved_text_is_read_through_the_files_that_are_passed_in(folder: Path) -> None:
    class Unsaved(Disk):
        def exists(self, path: Path) -> bool:
            return path.name == "unsaved.jsonl"

        def names_in(self, folder: Path) -> list[str]:
            return ["unsaved.jsonl"]

        def head(self, path: Path, limit: int) -> bytes:
            return b'{"fresh": 1}\n'[:limit]

    def said(name: str) -> list[tuple[str, str]]:
        text = f'dataset d = jsonl("{name}") {{ prompt = "{{{{ frsh }}}}" }}\n'
        found = compile_recipe(Source("a.recipe", text, folder / "a.recipe"), files=Unsaved()).diagnostics
        return [(finding.code, finding.words.help) for finding in found]

    assert said("unsaved.jsonl") == [("E0502", "did you mean `fresh`?")]
    assert said("unsavd.jsonl") == [("E0501", "did you mean `unsaved.jsonl`?")]


def test_a_file_that_may_not_be_read(folder: Path) -> None:
    class Locked(Disk):
        def head(self, path: Path, limit: int) -> bytes:
            raise PermissionError(13, "Permission denied")

    source = Source("a.recipe", 'dataset d = jsonl("sums.jsonl")\n', folder / "a.recipe")
    (finding,) = compile_recipe(source, files=Locked()).diagnostics
    assert finding.words.message == "`sums.jsonl` cannot be read: permission denied"

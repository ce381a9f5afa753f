"""How findings are laid out: rulers, labels, windows, other files; and the JSON."""

from __future__ import annotations

import pytest

from harmony_grammar.diagnostics import Diagnostic, Edit, Fix, Label
from harmony_grammar.rendering import render_text, to_json
from harmony_grammar.source import Source, Span


class Sample(Diagnostic):
    message = "the thing is wrong"
    label = "{cause}"
    notes = ("a fact", "{second}")
    help = "{advice}"
    cause: str = "here"
    second: str = ""
    advice: str = ""

    @property
    def severity(self) -> str:  # type: ignore[override]
        return "error"


Sample.code, Sample.slug = "E0000", "sample"  # set here: the ledger is for codes that are given out


def at(source: Source, part: str) -> Span:
    start = source.text.index(part)
    return source.span(start, start + len(part))


def shown(*arguments: object, **fields: object) -> str:
    return render_text([Sample(**fields)])  # type: ignore[arg-type]


def test_the_layout_of_the_manual() -> None:
    text = "\n" * 11 + '  metadata = { answer = "{{ anser | trim }}" }\n'
    source = Source("gsm8k.recipe", text)
    assert shown(span=at(source, "anser"), cause="not a column", advice="did you mean `answer`?") == (
        "error[E0000 sample]: the thing is wrong\n"
        "  --> gsm8k.recipe:12:29\n"
        "   |\n"
        '12 |   metadata = { answer = "{{ anser | trim }}" }\n'
        "   |                             ^^^^^ not a column\n"
        "   |\n"
        "   = a fact\n"
        "   = help: did you mean `answer`?\n"
    )


def body(rendered: str) -> str:
    """What stands between the place and the notes."""
    lines = rendered.splitlines()
    return "\n".join(line for line in lines[2:] if not line.lstrip().startswith("="))


def test_labels_on_one_line() -> None:
    source = Source("a", "let abc = def + ghi")
    labels = (Label(at(source, "abc"), "one"), Label(at(source, "ghi"), "two"))
    assert body(shown(span=at(source, "def"), labels=labels)) == (
        "  |\n"
        "1 | let abc = def + ghi\n"
        "  |     ---   ^^^   --- two\n"
        "  |     |     |\n"
        "  |     |     here\n"
        "  |     one\n"
        "  |"
    )


def test_labels_on_other_lines() -> None:
    source = Source("a", "a\nb\nc\nd\ne\nf\ng")
    labels = (Label(at(source, "a"), "first"), Label(at(source, "g"), "last"))
    assert body(shown(span=at(source, "c"), labels=labels)) == (
        "  |\n1 | a\n  | - first\n2 | b\n3 | c\n  | ^ here\n...\n7 | g\n  | - last\n  |"
    )


def test_labels_in_other_files() -> None:
    source, other = Source("a", "let a = b"), Source("dir/b", "x\n\nlet b = 3")
    rendered = shown(span=at(source, "b"), labels=(Label(at(other, "b"), "declared there"),))
    assert body(rendered) == (
        "  |\n1 | let a = b\n  |         ^ here\n  |\n"
        " --> dir/b:3:5\n  |\n3 | let b = 3\n  |     - declared there\n  |"
    )


def test_excerpts_keep_their_line_numbers() -> None:
    source = Source("rows.jsonl", '{"a": 1}', first_line=1234)
    assert "1234 | {" in shown(span=at(source, "1"))
    assert " --> rows.jsonl:1234:7" in shown(span=at(source, "1"))


@pytest.mark.parametrize(
    ("text", "line", "marks"),
    [
        ("a\tb", "a    b", "     ^"),
        ("日本 b", "日本 b", "     ^"),
        ("e\u0301 b", "e\u0301 b", "  ^"),
        ("\x1b[0m b", "\ufffd[0m b", "     ^"),
        ("\u202e b", "\ufffd b", "  ^"),
    ],
)
def test_marks_stand_under_their_characters(text: str, line: str, marks: str) -> None:
    rendered = shown(span=at(Source("a", text), "b"))
    assert f"1 | {line}\n  | {marks} here\n" in rendered


def test_wide_characters_are_marked_in_full() -> None:
    assert "  | ^^^^ here" in shown(span=at(Source("a", "日本"), "日本"))


def test_spans_over_several_lines() -> None:
    source = Source("a", "let a = {\n  b = 1\n  c = 2\n  d = 3\n}\n")
    assert body(shown(span=at(source, source.text[8:-1]))) == (
        "  |\n1 | let a = {\n  |         ^\n...\n5 | }\n  | ^ here\n  |"
    )


def test_empty_spans_and_the_end_of_the_text() -> None:
    source = Source("a", "let a =")
    assert "  |        ^ here" in shown(span=source.span(7, 7))
    assert "1 |\n  | ^ here" in shown(span=Source("a", "").span(0, 0))
    assert "2 |\n  | ^ here" in shown(span=Source("a", "b\n").span(2, 2))


def test_of_a_file_that_could_not_be_read_only_the_name_is_shown() -> None:
    assert shown(span=Source("a", "").span(0, 0), cause="").splitlines()[1] == " --> a"


def test_long_lines_are_cut() -> None:
    source = Source("a", "x = [" + "1, " * 400 + "bad, " + "2, " * 400 + "]")
    lines = shown(span=at(source, "bad")).splitlines()
    assert all(len(line) < 140 for line in lines)
    column = lines[3].index("bad")
    assert lines[3].startswith("1 | …") and lines[3].endswith("…")
    assert lines[4] == "  | " + " " * (column - 4) + "^^^ here"


@pytest.mark.parametrize("start", range(0, 300, 7))
def test_marks_in_long_lines(start: int) -> None:
    source = Source("a", "".join(chr(ord("a") + index % 26) for index in range(300)))
    lines = shown(span=source.span(start, start + 3)).splitlines()
    column = lines[4].index("^")
    assert lines[3][column : column + 3] == source.text[start : start + 3]


def test_a_span_longer_than_the_window() -> None:
    source = Source("a", '"' + "x" * 5000 + '"')
    assert max(map(len, shown(span=source.span(0, 5002)).splitlines())) < 140


def test_color() -> None:
    source = Source("a", "let a = b")
    painted = render_text([Sample(span=at(source, "b"))], color=True)
    assert "\x1b[1;31m" in painted
    assert painted.count("\x1b[0m") == painted.count("\x1b[1")


def test_several_findings_are_set_apart() -> None:
    finding = Sample(span=Source("a", "b").span(0, 1))
    assert render_text([finding, finding]).count("\n\nerror") == 1
    assert render_text([]) == ""


def test_json() -> None:
    source = Source("a", "let a = b\nlet c = d")
    fix = Fix("write e", (Edit(at(source, "d"), "e"),), "safe")
    finding = Sample(span=at(source, "d"), labels=(Label(at(source, "b"), "first"),), fixes=(fix,))
    place = {
        "file": "a",
        "start": {"line": 2, "column": 9, "offset": 18},
        "end": {"line": 2, "column": 10, "offset": 19},
    }
    [entry] = to_json([finding])["diagnostics"]
    assert to_json([])["format_version"] == 1
    assert entry["code"] == "E0000" and entry["slug"] == "sample" and entry["severity"] == "error"
    assert entry["message"] == "the thing is wrong" and entry["notes"] == ["a fact"] and entry["help"] == ""
    assert entry["span"] == place
    assert [label["message"] for label in entry["labels"]] == ["here", "first"]
    assert entry["fixes"] == [
        {"message": "write e", "applicability": "safe", "edits": [{"span": place, "text": "e"}]}
    ]
    assert entry["rendered"] == render_text([finding])

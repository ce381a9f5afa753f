"""How a preview looks: on a terminal with and without colour, and as a page."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from dsl_support import Harmonyc, Write

from harmony_dsl.preview import words
from harmony_dsl.preview.terminal import Terminal
from harmony_runtime.models.spelling import Token


def tokens(*pieces: tuple[str, float], kind: str = "text") -> tuple[Token, ...]:
    return tuple(Token(number, text, weight, kind) for number, (text, weight) in enumerate(pieces))  # type: ignore[arg-type]


def test_what_nobody_would_see_has_a_shape() -> None:
    assert words.visible("a b\n c \t\x1b[31m\u200b  d ") == [
        ("text", "a b"),
        ("newline", "\n"),
        ("blank", " "),
        ("text", "c "),
        ("hidden", "⇥\\x1b"),
        ("text", "[31m"),
        ("hidden", "\\u200b"),
        ("blank", "  "),
        ("text", "d"),
        ("blank", " "),
    ]


def test_tokens_are_cut_where_they_end_and_blanks_between_words_are_quiet() -> None:
    found = list(words.by_token(tokens((" one", 1), (" two", 1), ("\n\n", 1), ("", 1), (" x ", 1))))
    assert [pieces for _, pieces in found] == [
        [("blank", " "), ("text", "one")],
        [("text", " two")],
        [("newline", "\n"), ("newline", "\n")],
        [],
        [("blank", " "), ("text", "x"), ("blank", " ")],
    ]


def test_a_long_run_is_shortened_in_the_middle_and_says_so() -> None:
    long = tokens(*[("word ", 0.0)] * 1_000)
    head, left_out, tail = words.shortened(long)
    assert (len(head), left_out, len(tail)) == (240, 640, 120)
    assert words.shortened(long[:400]) == (long[:400], 0, ())


# --- the terminal ---------------------------------------------------------------------------------------


class Screen(io.StringIO):
    """A terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def on_screen(screen: io.StringIO, write: Write, harmonyc: Harmonyc, *, full: bool = False) -> str:
    """The small recipe's preview, as a stream shows it."""
    from harmony_dsl.cli import preview

    write()
    views: list[Any] = []

    class Kept(Terminal):
        def show(self, graph: Any, view: Any) -> None:
            views.append((graph, view))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harmony_dsl.preview.terminal.Terminal", Kept)
        assert preview is not None
        assert harmonyc("preview", "small.recipe", "--rows", "1").code == 0
    terminal = Terminal(screen, full=full)
    for graph, view in views:
        terminal.show(graph, view)
    return screen.getvalue()


def test_on_a_terminal_colour_says_what_is_trained(
    write: Write, harmonyc: Harmonyc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = on_screen(Screen(), write, harmonyc)
    assert "\x1b[1;32m0\x1b[0m\x1b[1;7;32m<eos>\x1b[0m" in shown
    assert "\x1b[7m<user>\x1b[0m0+0\x1b[7m<assistant>\x1b[0m" in shown
    assert "⟦" not in shown


def test_without_colour_brackets_do(
    write: Write, harmonyc: Harmonyc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    shown = on_screen(Screen(), write, harmonyc)
    assert "\x1b" not in shown
    assert "‹<user>›0+0‹<assistant>›⟦0‹<eos>›⟧" in shown


def test_a_stream_without_such_characters_has_others(write: Write, harmonyc: Harmonyc) -> None:
    class Narrow(io.StringIO):
        encoding = "ascii"

    shown = on_screen(Narrow(), write, harmonyc)
    assert shown.isascii()
    assert "<<user>>0+0<<assistant>>[[0<<eos>>]]" in shown


def test_weights_between_nothing_and_all_are_told(harmonyc: Harmonyc, write: Write, house: Path) -> None:
    write(
        ('  prompt = "{{ question }}"\n  completion = "{{ answer }}"\n', ""),
        ("dataset = sums", 'dataset = sums\n  train_on = "all"'),
    )
    turns = [
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": "2", "weight": 0.5},
        {"role": "user", "content": "\x1b[31m3"},
        {"role": "assistant", "content": "4", "weight": 1},
    ]
    (house / "sums.jsonl").write_text(json.dumps({"messages": turns}) + "\n", encoding="utf-8")
    told = harmonyc("preview", "small.recipe")
    assert told.code == 0, told.out
    assert "⟦0.5 × 2‹<eos>›⟧‹<user>›" in told.out
    assert "⟦4‹<eos>›⟧" in told.out
    assert "user, assistant ×0.5, user, assistant\n" in told.out
    assert "\x1b" not in told.out


# --- the page -------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Gathers tags, and checks that each is closed in its order."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.trained = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-2:] == ["span", "i"]:
            kind = next(attrs["class"] for tag, attrs in reversed(self.tags) if tag == "span")
            if kind is not None and kind.startswith("trained"):
                self.trained += data


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(
    harmonyc: Harmonyc, write: Write, house: Path
) -> None:
    write(("context = 24", "context = 64"))
    bad = '<script>alert("x")</script>'
    row = {"question": f"{bad}&", "answer": "<b>"}
    (house / "sums.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    told = harmonyc("preview", "small.recipe", "--html", "page.html")
    assert (told.code, told.out) == (0, "1 row in page.html\n")
    text = (house / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "http" not in re.sub(r"http-equiv", "", text)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "b", "img", "link", "iframe"} - {"b"}
    assert not any(key in ("src", "onclick") for _, attrs in page.tags for key in attrs)
    assert page.trained == "<b><eos>"
    assert any("id 3 · weight 1" in (attrs.get("title") or "") for _, attrs in page.tags)


def test_a_page_that_cannot_be_written_is_said(harmonyc: Harmonyc, write: Write) -> None:
    write()
    told = harmonyc("preview", "small.recipe", "--html", "no/such/folder.html")
    assert told.code == 2
    assert "no/such/folder.html cannot be written: No such file or directory" in told.err
    assert harmonyc("preview", "small.recipe", "--html", "x.html", "--json").code == 2

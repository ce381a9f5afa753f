"""A preview on a terminal: colour says what is trained; where there is none, brackets do."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from shutil import get_terminal_size
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from harmony_dsl.cli.output import say, wants_color
from harmony_dsl.preview.words import (
    GENERATION,
    HEAD,
    LONG,
    TAIL,
    Run,
    Shown,
    dataset_lines,
    facts,
    fault_text,
    roles,
    row_title,
    runs,
    safe,
    shortened,
    title,
    turn_text,
    value_text,
    visible,
)

if TYPE_CHECKING:
    from harmony_compiler.graph.graph import Graph
    from harmony_grammar.diagnostics import Diagnostic
    from harmony_runtime.data.shown import Part, ShownRow
    from harmony_runtime.graders.protocol import Turn
    from harmony_runtime.models.spelling import Kind, Token
    from harmony_runtime.preview import View

_WIDEST, _PIPED = 110, 100
"""Columns: on a terminal at most, elsewhere always."""

_TONES = {"read": "", "trained": "bold green", "partly": "green", "rejected": "bold red"}
_KINDS = {
    "text": "",
    "mark": "reverse",
    "unknown": "reverse yellow",
    "lost": "reverse red strike",
    "cut": "dim strike",
}
_BRACKETS = {
    "text": ("", ""),
    "mark": ("‹", "›"),
    "unknown": ("‹unknown: ", "›"),
    "lost": ("‹lost: ", "›"),
    "cut": ("‹cut: ", "›"),
}
_SIGNS = {"text": "", "newline": "dim", "blank": "dim", "hidden": "reverse"}

_ASCII = str.maketrans(
    {
        **{"⟦": "[[", "⟧": "]]", "‹": "<", "›": ">", "×": "x", "·": "_", "↵": "$", "⇥": "\\t"},
        **{"─": "-", "✓": "+", "✗": "-", "…": "...", "▸": ">", "│": "|"},
    }
)
"""For streams that are not UTF-8."""


class Terminal:
    """Writes views to a stream; `full` shortens nothing."""

    def __init__(self, stream: TextIO, *, full: bool = False) -> None:
        self._stream = stream
        self._full = full
        self._color = wants_color(stream)
        self._utf8 = (stream.encoding or "").lower().replace("-", "") in ("utf8", "")
        self._width = min(get_terminal_size().columns, _WIDEST) if stream.isatty() else _PIPED
        self._begun = False

    def show(self, graph: Graph, view: View) -> None:
        """Print one view."""
        written = io.StringIO()
        self._console = Console(
            file=written,
            width=self._width,
            force_terminal=self._color,
            color_system="auto" if self._color else None,
            no_color=not self._color,
            highlight=False,
            emoji=False,
            markup=False,
        )
        if not self._begun:
            self._legend()
        self._head(graph, view)
        for row in view.rows:
            self._row(row)
        text = written.getvalue().rstrip("\n")
        if not self._color:
            text = "\n".join(line.rstrip() for line in text.split("\n"))
        between = "\n" if self._begun else ""
        say(between + (text if self._utf8 else text.translate(_ASCII)), self._stream)
        self._begun = True

    def _legend(self) -> None:
        told = Text()
        if self._color:
            for tone, means in (("trained", "trained on"), ("partly", "counts less"), ("read", "only read")):
                told.append(means, _TONES[tone]).append("  ")
            told.append("a token of its own", "reverse")
        else:
            told.append("⟦trained on⟧  ⟦0.5 × counts less⟧  only read  ‹a token of its own›")
        for sign, style, means in (("↵", "dim", "newline"), ("·", "dim", "blank"), ("⇥", "reverse", "tab")):
            told.append("  ").append(sign, style).append(f" {means}")
        self._console.print(told.append("\n"))

    def _head(self, graph: Graph, view: View) -> None:
        print_ = self._console.print
        print_(Text(title(graph, view), style="bold"))
        for line in dataset_lines(graph, view):
            print_(Padding(Text(safe(line), style="dim"), (0, 0, 0, 2)))
        for name, told in facts(view):
            print_(Text.assemble("  ", (f"{name:9}", "cyan"), told))
        for proof in view.proofs:
            sign, style = ("✓", "green") if proof.holds else ("✗", "bold red")
            print_(_hanging(Text.assemble((f"{sign} ", style), safe(proof.says))))
        for severity, style, texts in (("note", "cyan", view.notes), ("warning", "yellow", view.warnings)):
            for text in texts:
                print_(_hanging(Text.assemble((f"{severity}: ", style), safe(text))))
        self._faults(view.faults)
        print_()

    def _row(self, row: ShownRow) -> None:
        print_ = self._console.print
        head = f"── {safe(row_title(row))} "
        print_(Text(head + "─" * max(0, self._width - len(head)), style="bold" if self._color else ""))
        if row.fate:
            print_(_indented(Text(row.fate, style="bold yellow")))
        self._faults(row.faults)
        if row.parts:
            told = roles(row.turns)
            for name, turns in row.answers.items():
                told += f" · {name}: {roles(turns)}"
            print_(_indented(Text.assemble(("turns     ", "cyan"), told)))
        for key, value in row.metadata.items():
            told = self._short(safe(value_text(value)))
            print_(_indented(Text.assemble((f"metadata {safe(key)}  ", "cyan"), told)))
        if row.parts:
            for part in row.parts:
                if len(row.parts) > 1:
                    print_(_indented(Text(part.name, style="cyan")))
                print_(_indented(self._part(part, asks=part.name == "prompt" and len(row.parts) == 1)))
        if row.faults or not row.parts:
            self._turns(row.turns)
            for name, turns in row.answers.items():
                print_(_indented(Text(name, style="cyan")))
                self._turns(turns)
        print_()

    def _turns(self, turns: Iterable[Turn]) -> None:
        for turn in turns:
            body = Text()
            for kind, piece in visible(self._short(turn_text(turn))):
                _put(body, kind, piece, "")
            self._console.print(_indented(Text(roles([turn]), style="cyan")))
            self._console.print(Padding(body, (0, 0, 0, 4)))

    def _faults(self, faults: Sequence[Diagnostic | str]) -> None:
        for fault in faults:
            self._console.print(
                _hanging(Text.assemble(("error: ", "bold red"), self._short(safe(fault_text(fault)))))
            )

    def _part(self, part: Part, *, asks: bool) -> Text:
        body = Text()
        around = None
        for run in runs(part):
            # Where there is no colour, one bracket holds all that counts alike, marks included.
            inside = (run.tone, run.weight) if run.weight and not self._color else None
            if inside != around:
                body.append("⟧" if around else "")
                if inside:
                    body.append("⟦" if run.weight == 1 else f"⟦{run.weight:g} × ")
            around = inside
            self._run(body, run)
        body.append("⟧" if around else "")
        if asks:
            body.append(f" ▸ {GENERATION}", "cyan")
        return body

    def _run(self, body: Text, run: Run) -> None:
        style = f"{_TONES[run.tone]} {_KINDS[run.kind]}".strip()
        brackets = ("", "") if self._color else _BRACKETS[run.kind]
        head, left_out, tail = (run.tokens, 0, ()) if self._full else shortened(run.tokens)
        self._tokens(body, head, run.kind, style, brackets)
        if left_out:
            body.append(f" … {left_out:,} tokens, shown with --full … ", "italic dim")
            self._tokens(body, tail, run.kind, style, brackets)

    def _tokens(
        self, body: Text, tokens: Sequence[Token], kind: Kind, style: str, brackets: tuple[str, str]
    ) -> None:
        # Each mark is one of its own; what is no mark reads as one text.
        texts = [token.text for token in tokens]
        for text in texts if kind in ("mark", "unknown") else ["".join(texts)]:
            body.append(brackets[0], style)
            for sign, piece in visible(text):
                _put(body, sign, piece, style)
            body.append(brackets[1], style)

    def _short(self, text: str) -> str:
        """A text that is not in tokens, shortened where it is long."""
        if self._full or len(text) <= LONG:
            return text
        return f"{text[:HEAD]} … {len(text) - HEAD - TAIL:,} characters, shown with --full … {text[-TAIL:]}"


def _put(body: Text, kind: Shown, piece: str, style: str) -> None:
    shown = {"newline": "↵\n", "blank": "·" * len(piece)}.get(kind, piece)
    body.append(shown, f"{style} {_SIGNS[kind]}".strip())


def _indented(text: Text) -> Padding:
    return Padding(text, (0, 0, 0, 2))


def _hanging(text: Text) -> Padding:
    """A paragraph whose first line begins before the others."""
    return Padding(text, (0, 0, 0, 2))

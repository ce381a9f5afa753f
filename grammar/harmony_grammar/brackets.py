"""Tokens to balanced tokens: every bracket closed, every closer closing something.

A healthy text passes through one loop unchanged. In a faulty one, counting alone blames the wrong place: a
missing `}` is noticed only where the file ends. So the columns of lines decide which bracket is at fault,
but only once it is certain that one is: nobody's layout ever makes a healthy text faulty.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from harmony_grammar import syntax_errors as errors
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.lexer import CLOSERS, DECLARATION_WORDS, OPERATORS, Token, begins_field
from harmony_grammar.source import Source, Span

MAX_NESTING = 64
"""How many brackets may be open at once."""

OPENERS = {closer: opener for opener, closer in CLOSERS.items()}

_LOOK_AROUND = 2000
"""How many tokens around a closer that does not fit are searched for what it belongs to."""

_MANY_FAULTS = 100
"""After so many, none of that: no layout says anything about such a text, and it would take long."""


def balance(
    tokens: Sequence[Token], source: Source, *, declarations: bool = True
) -> tuple[list[Token], list[Diagnostic]]:
    """`declarations` says whether the text is a file, where a new declaration proves brackets unclosed."""
    balancer = _Balancer(tokens, source)
    balancer.walk(declarations)
    return balancer.result(), balancer.findings


class _Open:
    """A bracket that is open: where it stands, its closer, the indent of its line.

    `crooked` is the last pair directly inside whose ends stand on lines of different columns.
    """

    __slots__ = ("closer", "crooked", "indent", "index")

    def __init__(self, index: int, closer: str, indent: int) -> None:
        self.index = index
        self.closer = closer
        self.indent = indent
        self.crooked: tuple[_Open, int] | None = None


class _Balancer:
    def __init__(self, tokens: Sequence[Token], source: Source) -> None:
        self.tokens = tokens
        self.source = source
        self.lines = list(accumulate(token.indent >= 0 for token in tokens))
        self.findings: list[Diagnostic] = []
        self.stack = [_Open(-1, "", -1)]  # the bottom stands for the file and is never closed
        self.partner: dict[int, int] = {}
        self.opener: dict[int, int] = {}
        """Where each bracket ends, and, the other way round, where what ends at a token began."""
        self.added: list[tuple[int, str]] = []
        """Brackets to add: before which token, and which."""
        self.replaced: dict[int, str | None] = {}
        """Tokens to drop, or to turn into another kind."""
        self.already_closed: list[str] = []
        """Closers added in this declaration: when one turns up late, the two are one fault."""

    def walk(self, declarations: bool) -> None:
        indent = index = 0
        end = len(self.tokens)
        while index < end:
            token = self.tokens[index]
            if token.indent >= 0:
                indent = token.indent
                if declarations and token.text in DECLARATION_WORDS and self._is_declaration(index):
                    self._close_down_to(1, index)
                    self.already_closed.clear()
            if token.kind in CLOSERS:
                if len(self.stack) > MAX_NESTING:
                    index = self._skip_deep(index, declarations)
                    continue
                self.stack.append(_Open(index, CLOSERS[token.kind], indent))
            elif token.kind in OPENERS:
                self._close(index)
            index += 1
        self._close_down_to(1, end)

    def _is_declaration(self, index: int) -> bool:
        """Whether a line is a declaration beyond doubt, by its words and its column: no bracket holds one."""
        words = self.tokens[index : index + 3]
        if words[0].indent > self.stack[-1].indent and len(self.stack) > 1:
            return False
        if (
            len(words) < 3
            or words[0].text not in DECLARATION_WORDS
            or words[1].kind not in ("NAME", "STRING")
        ):
            return False
        expected = {"RECIPE": "{", "IMPORT": "as", "INPUT": ":", "VALUE": "=", "SAVE": "as"}
        return words[2].kind == expected[DECLARATION_WORDS[words[0].text]]

    def _close(self, index: int) -> None:
        kind = self.tokens[index].kind
        if self.stack[-1].closer == kind:
            self._pair(self.stack.pop(), index)
            return
        depth = next((d for d in range(len(self.stack) - 1, 0, -1) if self.stack[d].closer == kind), 0)
        aligned = self.tokens[index].indent == self.stack[depth].indent
        if depth and (aligned or not self._closed_later(index)):
            self._close_down_to(depth + 1, index)
            self._pair(self.stack.pop(), index)
        elif kind in self.already_closed:
            self.already_closed.remove(kind)
            self.replaced[index] = None
        else:
            self._unmatched(index)

    def _pair(self, opened: _Open, index: int) -> None:
        self._know_pair(opened, index)
        if self.tokens[index].indent != opened.indent and not self._same_line(opened.index, index):
            self.stack[-1].crooked = (opened, index)

    def _know_pair(self, opened: _Open, index: int) -> None:
        """The bracket ends with the token at `index`; several may, if they had to be closed there."""
        self.partner[opened.index] = index
        self.opener[index] = min(self.opener.get(index, index), opened.index)

    def _closed_later(self, index: int) -> bool:
        """Whether the innermost open bracket finds its closer behind the one at `index`."""
        depth = 0
        for behind in range(index + 1, min(index + self._sight(), len(self.tokens))):
            token = self.tokens[behind]
            if token.indent >= 0 and token.text in DECLARATION_WORDS and self._is_declaration(behind):
                return False
            if token.kind in CLOSERS:
                depth += 1
            elif token.kind in OPENERS:
                if not depth:
                    return token.kind == self.stack[-1].closer
                depth -= 1
        return False

    # --- unclosed ---

    def _close_down_to(self, depth: int, before: int) -> None:
        while len(self.stack) > depth:
            self._unclosed(self.stack.pop(), before)

    def _unclosed(self, opened: _Open, limit: int) -> None:
        """Blame a bracket and close it.

        A bracket left open may have lost its closer to one inside it: a `}` that begins a line in the column
        of *this* bracket's line was meant for this one, and the bracket inside is the one to blame.
        """
        while opened.crooked:
            inner, closer = opened.crooked
            if inner.closer != opened.closer or self.tokens[closer].indent != opened.indent:
                break
            self._know_pair(opened, closer)
            opened, limit = inner, closer
        place = self._end_of_content(opened, limit)
        same_line = self._same_line(opened.index, place - 1)
        layout = (" " if opened.closer == "}" else "") if same_line else "\n" + " " * opened.indent
        # What follows on the line, or on a line that is no declaration, may have been meant to stand inside.
        ends = place >= len(self.tokens) or (
            self.tokens[place].indent >= 0 and (same_line or self._is_declaration(place))
        )
        finding = errors.UnclosedBracket.of(
            self._span(opened.index),
            opened.closer,
            self._behind(place - 1),
            layout + opened.closer,
            safe=ends,
        )
        self.findings.append(finding)
        self._know_pair(opened, place - 1)
        self.added.append((place, opened.closer))
        self.already_closed.append(opened.closer)

    def _end_of_content(self, opened: _Open, limit: int) -> int:
        """Before the first line that is indented no deeper than the bracket's own line.

        Content that begins on the bracket's line ends with it, unless a comma or an operator goes on; and
        what is written `key = value` is no item of a list, nor is a default part of a type.
        """
        index = opened.index + 1
        inline = index < limit and self.tokens[index].indent < 0
        while index < limit:
            token, before = self.tokens[index], self.tokens[index - 1]
            ends_line = inline and before.kind not in OPERATORS and before.kind != ","
            if token.indent >= 0 and (token.indent <= opened.indent or ends_line):
                return index
            if opened.closer == ")" and token.kind == "{" and before.kind in ("STRING", "RAW", "NUMBER"):
                return index  # a block belongs to what is called, not to a literal
            if opened.closer == "]" and token.kind == "=":
                item = index - 2
                return item if item > opened.index and self.tokens[item].kind == "," else index
            index = max(self.partner.get(index, index), index) + 1
        return limit

    # --- unmatched ---

    def _unmatched(self, index: int) -> None:
        """Blame a closer, or rather the place where its opener is missing.

        The pair before it may have taken its opener: when this closer begins a line in the column of that
        opener's line, the two belong together, and the closer between them is the one too many.
        """
        token = self.tokens[index]
        around = self.stack[-1]
        crooked = around.crooked
        if crooked and crooked[0].indent == token.indent and crooked[0].closer == token.kind:
            around.crooked = None
            around, inner = crooked
            self._know_pair(around, index)
            index, token = inner, self.tokens[inner]
        opener = OPENERS[token.kind]
        if place := self._place_of_opener(index, around):
            self.added.append((place, opener))
            self.findings.append(errors.MissingOpener.of(self._behind(place - 1), self._span(index), opener))
            return
        innermost = self.stack[-1]
        if innermost.closer and self._same_line(innermost.index, index) and not self._closed_later(index):
            self.stack.pop()
            self.replaced[index] = innermost.closer
            self.findings.append(
                errors.WrongCloser.of(self._span(innermost.index), self._span(index), innermost.closer)
            )
            self._pair(innermost, index)
            return
        self.replaced[index] = None
        self.findings.append(errors.UnmatchedCloser.of(self._span(index), opener))

    def _place_of_opener(self, closer: int, around: _Open) -> int | None:
        """The token before which the opener of this closer is missing; `None` where nothing points at one.

        It is missing inside `around`, and outside of what is already paired. A closer that begins a line
        belongs to the last line in its column, if deeper lines stand between. A `}` behind its content
        belongs before the first `key =` that nothing separates from what precedes. A `]` behind items that
        are the value of a field belongs before the first of them.
        """
        token = self.tokens[closer]
        deeper = None
        items = False
        inline = bool(around.closer) and self._same_line(around.index, closer)
        if token.kind == "]" and inline and not self._closed_later(closer):
            return None  # it closes what is open on its line, with the wrong bracket
        index = closer - 1
        nearest = max(around.index, closer - self._sight())
        while index > nearest:
            index = self.opener.get(index, index)
            indent = self.tokens[index].indent
            if token.indent < 0 and token.kind == "]":
                if not self._same_line(index, closer):
                    return None
                items = items or self.tokens[index].kind == ","
                if self.tokens[index].kind == "=":
                    return index + 1 if items else None
            elif token.indent < 0:
                if token.kind != "}" or not self._same_line(index, closer):
                    return None
                separated = indent >= 0 or self.tokens[index - 1].kind in ("{", "(", ",")
                declared = self.tokens[index - 1].indent == 0 and not around.closer  # `let a = b }`
                if begins_field(self.tokens[index : index + 2]) and not separated and not declared:
                    return index
            elif indent > token.indent:
                deeper = index
            elif indent >= 0:
                return deeper if indent == token.indent else None
            index -= 1
        return deeper if index == around.index and 0 <= around.indent == token.indent else None

    # --- too deep ---

    def _skip_deep(self, index: int, declarations: bool) -> int:
        """Turn everything up to the bracket's closer into one broken value."""
        self.findings.append(errors.TooDeep(span=self._span(index), limit=MAX_NESTING))
        self.replaced[index] = "BROKEN"
        depth = 1
        for behind in range(index + 1, len(self.tokens)):
            token = self.tokens[behind]
            begins = token.indent >= 0 and token.text in DECLARATION_WORDS
            if declarations and begins and self._is_declaration(behind):
                return behind
            depth += (token.kind in CLOSERS) - (token.kind in OPENERS)
            self.replaced[behind] = None
            if not depth:
                return behind + 1
        return len(self.tokens)

    # --- result ---

    def result(self) -> list[Token]:
        if not self.findings:
            return list(self.tokens)
        added: dict[int, list[str]] = {}
        for place, kind in self.added:
            added.setdefault(place, []).append(kind)
        tokens: list[Token] = []
        for index, token in enumerate(self.tokens):
            kind_now = self.replaced.get(index, token.kind)
            at = self.tokens[index - 1].end
            tokens += [Token(kind, "", at, at) for kind in added.get(index, ())]
            if kind_now:
                tokens.append(token._replace(kind=kind_now))
        at = self.tokens[-1].end
        tokens += [Token(kind, "", at, at) for kind in added.get(len(self.tokens), ())]
        return _forced(tokens)

    def _sight(self) -> int:
        return _LOOK_AROUND if len(self.findings) < _MANY_FAULTS else 0

    def _span(self, index: int) -> Span:
        return self.source.span(self.tokens[index].start, self.tokens[index].end)

    def _behind(self, index: int) -> Span:
        return self.source.span(self.tokens[index].end, self.tokens[index].end)

    def _same_line(self, first: int, second: int) -> bool:
        return self.lines[first] == self.lines[second]


def _forced(tokens: list[Token]) -> list[Token]:
    """The tokens balanced whatever was guessed above: where two guesses cross, counting decides."""
    result: list[Token] = []
    awaited: list[str] = []
    for token in tokens:
        if token.kind in OPENERS:
            if token.kind not in awaited:
                continue
            while (closer := awaited.pop()) != token.kind:
                result.append(Token(closer, "", token.start, token.start))
        elif token.kind in CLOSERS:
            awaited.append(CLOSERS[token.kind])
        result.append(token)
    at = tokens[-1].end if tokens else 0
    return result + [Token(closer, "", at, at) for closer in reversed(awaited)]

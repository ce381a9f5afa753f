r"""Where a text says its final answer: a number or a formula. No torch here.

Searched in this order; within each kind the last one counts:

1. `\boxed{…}`;
2. a number or formula that follows `####`, as in GSM8K;
3. the first number or formula after `A:`, `answer:`, `answer is` and their like, up to the end of the line;
4. the last line, where it is a formula alone;
5. the last number, or formula between `$…$`, `\(…\)`, `\[…\]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_DIGITS = r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
_LATEX = r"(?:\\[dtc]?frac\s*\{[^{}\n]*\}\s*\{[^{}\n]*\}|\\sqrt(?:\[\d+\])?\s*\{[^{}\n]*\}|\\pi\b|π)"
_AFTER = r"(?:[ ]*(?:\\?%|(?:percent|thousand|million|billion|trillion)\b))"
_NUMBER = rf"(?:\d+[ ]+\d+/\d+(?![\d/])|{_DIGITS}(?:[eE][-+]?\d+)?{_AFTER}?)"
"""`7`, `1,000.5`, `.5`, `2e-3`, `3 1/2`, `50%`, `2 million`; without its sign."""
_TERM = rf"[-+−]?\\?[$€£¥₹]?[-+−]?(?:{_NUMBER}{_LATEX}?|{_LATEX})"
_SUM = rf"{_TERM}(?:[ ]*(?:[-+*/^×÷·−]|\*\*|\\times|\\cdot|\\div)[ ]*{_TERM})*"
_PLAIN = rf"(?<![A-Za-z_\d\\]){_SUM}(?:[ ]*=[ ]*{_SUM})*"
# A closing `$` stands after no blank and before no digit: "$5 and $6" are two prices.
_MARKED = r"\$\$[^$]+\$\$|\\\[.{1,999}?\\\]|\\\(.{1,999}?\\\)|(?<!\\)\$(?![\s$])[^$\n]*[^\s$\\]\$(?!\d)"
_ITEM = re.compile(rf"(?P<marked>{_MARKED})|(?P<plain>{_PLAIN})", re.DOTALL)

_LONGEST_LINE = 2_000
"""Characters of a line that are read: a text may hold thousands of marks, all of them in one line."""
_CALCULATOR = re.compile(r"<<[^<>\n]*>>")
"""What GSM8K writes for its calculator: `2*3 = <<2*3=6>>6`."""
_BRACE = re.compile(r"\\[{}]|(?P<box>\\(?:boxed|fbox)\s*\{)|[{}]")
_HASHES = re.compile(r"####[ \t]*(?=\S)")
_MARK = re.compile(
    r"(?:^[ \t>*_-]*(?-i:A)[ \t*_]*:|\banswer\b[^.:=\n]{0,80}?(?:[:=]|\b(?:is|are)\b))[\s*_:]*", re.I | re.M
)
_CLAUSE = re.compile(r"[,;.!?](?!\d)|\b(?:since|because|as|so)\b")
_SENTENCE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}|[^\W\d_A-Za-zΑ-Ωα-ω]|[.;!?]\s")
"""Two Latin letters that are no command of LaTeX, another letter that is not Greek, or a full stop."""
_EMPHASIS = re.compile(r"(?<!\w)(\*\*|__|[*_`])([^*_`\n]+)\1(?!\w)")
_FUNCTION = re.compile(r"\b(?:sin|cos|tan|log|ln|exp|or|and)\b")


def final_answer(text: str) -> str | None:
    """What a completion answers, as it is written there; None where it holds no number or formula."""
    text = _CALCULATOR.sub("", text)
    return _boxed(text) or _after_hashes(text) or _after_mark(text) or _last(text)


def _boxed(text: str) -> str | None:
    """What stands in the box that closes last."""
    last = None
    opened: list[int | None] = []  # braces that are open: where a box's content starts, None for others
    for brace in _BRACE.finditer(text):
        if brace["box"]:
            opened.append(brace.end())
        elif brace[0] == "{":
            opened.append(None)
        elif brace[0] == "}" and opened and (start := opened.pop()) is not None:
            last = text[start : brace.start()].strip()
    return last or None


def _after_hashes(text: str) -> str | None:
    for hashes in _reversed(_HASHES, text):
        line = _line(text, hashes.end())
        # `#### Step 2` is a heading.
        if _is_formula(line):
            return line
        if item := _ITEM.match(line):
            return _shown(item)
    return None


def _after_mark(text: str) -> str | None:
    for mark in _reversed(_MARK, text):
        line = _line(text, mark.end())
        if _is_formula(line):
            return line
        item = _ITEM.search(line)
        if item is None:
            continue
        if item["plain"]:
            # "9 eggs * $2 = $18 a day, since …": the right side of what is said before the reasons.
            said, stop = line, _CLAUSE.search(line, item.start())
            if stop:
                said = line[: stop.start()]
            item = _ITEM.search(said, said.rfind("=") + 1) or item
        return _shown(item)
    return None


def _last(text: str) -> str | None:
    lines = [line for line in text.splitlines() if any(c.isalnum() for c in line)]
    if lines and len(lines[-1]) < _LONGEST_LINE and _is_formula(line := _line(lines[-1], 0)):
        return line
    items = list(_ITEM.finditer(text))
    return _shown(items[-1]) if items else None


def _is_formula(line: str) -> bool:
    """Whether a line is a formula, and no sentence: it holds a digit or a letter, and no words."""
    return any(c.isalnum() for c in line) and not _SENTENCE.search(_FUNCTION.sub("", line))


def _line(text: str, start: int) -> str:
    """The rest of a line, without marks of lists and emphasis, and without the full stop."""
    line = text[start : start + _LONGEST_LINE].partition("\n")[0]
    line = re.sub(r"^(?:[-*>•]\s+)+", "", line.strip())
    return _EMPHASIS.sub(r"\2", line).strip(" \t\r*_`").rstrip(" .")


def _shown(item: re.Match[str]) -> str:
    """Of an equation of numbers, what follows its last `=`."""
    return item["marked"] or item["plain"].rpartition("=")[2].strip()


def _reversed(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    return reversed(list(pattern.finditer(text)))

"""The code in a completion. No torch here."""

from __future__ import annotations

import re
from collections.abc import Iterator

_FENCE = re.compile(r"(?P<blanks>[ \t]*)(?P<marks>`{3,}|~{3,})[ \t]*(?P<label>[\w+-]*)[^`]*")
_PYTHON = ("python", "python3", "py")


def code_of(completion: str) -> str:
    """The last fenced block that says it is Python; else the last fenced block; else the whole text.

    A block that is not closed goes on to the end. A block loses the blanks that its fence stands after.
    """
    blocks = list(_blocks(completion))
    labelled = [code for label, code in blocks if label.lower() in _PYTHON]
    if labelled:
        return labelled[-1]
    return blocks[-1][1] if blocks else completion


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """The label and the text of each fenced block."""
    opened: re.Match[str] | None = None
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        if opened is None:
            opened, lines = _FENCE.fullmatch(line.rstrip()), []
        elif (
            line.strip()
            and not line.strip().strip(opened["marks"][0])
            and len(line.strip()) >= len(opened["marks"])
        ):
            yield opened["label"], "".join(lines)
            opened = None
        else:
            lines.append(line.removeprefix(opened["blanks"]))
    if opened is not None:
        yield opened["label"], "".join(lines)

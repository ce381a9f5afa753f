"""Shapes: what a layout can do with a piece of a recipe.

Everything that is written is one of four: a `Leaf` is a single word; a `Row` is parts one behind the other; a
`Bracket` can give each of its items a line; a `Chain` can begin a line before each of its links.

`flat` is a shape's text on one line. It is None where the shape takes several lines whatever their length: a
comment stands inside, a string of several lines, or its author broke it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from harmony_grammar.formatting.words import Word


class Leaf:
    def __init__(self, word: Word) -> None:
        self.first = word
        self.flat = None if "\n" in word.text else word.text


class Row:
    """`glues[i]` stands between the parts `i` and `i + 1`."""

    def __init__(self, parts: Sequence[Shape], glues: Sequence[str]) -> None:
        self.parts = parts
        self.glues = ("", *glues)
        self.first: Word = parts[0].first
        self.flat = _joined(parts, self.glues)


class Bracket:
    """`pad` stands inside both ends on one line, `comma` behind each item that has a line of its own, and
    behind the last one if it is `closing_comma`. One that `fills` gives its lines as many items as fit."""

    def __init__(
        self,
        opener: Word,
        items: Sequence[Shape],
        closer: Word,
        *,
        pad: str = "",
        comma: str = ",",
        closing_comma: bool = True,
        fills: bool = False,
    ) -> None:
        self.first = opener
        self.items = items
        self.closer = closer
        self.comma = comma
        self.closing_comma = closing_comma
        # A comment stands beside one item.
        self.fills = fills and not closer.remarks and not any(item.first.remarks for item in items[1:])
        self.hugs = len(items) == 1 and _hugged(items[0]) and not (items[0].first.remarks or closer.remarks)
        """Whether the bracket gives way to the bracket, or long string, that is all it holds."""
        self.flat = self._flat(pad)

    def _flat(self, pad: str) -> str | None:
        if self.closer.remarks:
            return None
        if not self.items:
            return f"{self.first.text}{pad}{self.closer.text}"
        first = self.items[0].first
        if first.remarks or (first.fresh and not self.hugs):
            return None
        inside = _joined(self.items, ("", *[", "] * (len(self.items) - 1)))
        return None if inside is None else f"{self.first.text}{pad}{inside}{pad}{self.closer.text}"


class Chain:
    """`head` and links; each link is a row that begins with an operator or a word such as `then`."""

    def __init__(self, head: Shape, links: Sequence[Row]) -> None:
        self.first: Word = head.first
        self.head = head
        self.links = links
        self.broken = any(link.first.fresh or link.first.remarks for link in links)
        """Whether its author broke it."""
        self.row = Row((head, *links), [" "] * len(links))
        self.flat = None if self.broken else self.row.flat


class Arm(Chain):
    """`if CONDITION then VALUE` of a ladder: on one line wherever it fits, whatever its author did."""

    def __init__(self, head: Shape, links: Sequence[Row]) -> None:
        super().__init__(head, links)
        self.flat = self.row.flat


class Ladder(Chain):
    """`if … then … else if … then … else …`: the first arm, and all that begin with `else`. It stands on one
    line, or each arm on one of its own."""

    def __init__(self, head: Arm, links: Sequence[Row]) -> None:
        super().__init__(head, links)
        arms = [head, *(part for link in links for part in link.parts if isinstance(part, Arm))]
        self.broken |= self.row.flat is None or any(arm.broken for arm in arms)
        self.flat = None if self.broken else self.row.flat


Shape: TypeAlias = Leaf | Row | Bracket | Chain


def _hugged(item: Shape) -> bool:
    match item:
        case Leaf():
            return item.flat is None
        case Bracket():
            return item.first.kind != "("
    return False


def _joined(parts: Sequence[Shape], glues: Sequence[str]) -> str | None:
    texts: list[str] = []
    for index, (part, glue) in enumerate(zip(parts, glues, strict=True)):
        if part.flat is None or (index and part.first.remarks):
            return None
        texts += (glue, part.flat)
    return "".join(texts)


# --- widths ---------------------------------------------------------------------------------------------


def lines(shape: Shape) -> list[int]:
    """How wide the lines of a shape are if it is broken where it must be, and nowhere else. Of a bracket that
    is broken only the ends count: its items are laid out by themselves."""
    if shape.flat is not None:
        return [len(shape.flat)]
    match shape:
        case Leaf():
            return [len(line) for line in shape.first.text.split("\n")]
        case Row():
            return _row_lines(shape)
        case Chain():
            return _row_lines(shape.row)
        case Bracket(hugs=True):
            widths = lines(shape.items[0])
            widths[0] += len(shape.first.text)
            widths[-1] += len(shape.closer.text)
            return widths
        case Bracket():
            return [len(shape.first.text), len(shape.closer.text)]


def _row_lines(row: Row) -> list[int]:
    widths = [0]
    for index, (part, glue) in enumerate(zip(row.parts, row.glues, strict=True)):
        first, *rest = lines(part)
        if index and part.first.remarks:
            widths.append(first)
        else:
            widths[-1] += len(glue) + first
        widths += rest
    return widths


def lead(shape: Shape) -> tuple[int, bool]:
    """How much of a shape must stand on its first line, and whether the line can end there."""
    match shape:
        case Leaf():
            return len(shape.first.text.partition("\n")[0]), shape.flat is None
        case Chain():
            return lead(shape.head)[0], True
        case Row():
            return _row_lead(shape.parts, shape.glues)
        case Bracket(hugs=True):
            return len(shape.first.text) + lead(shape.items[0])[0], True
        case Bracket(items=[]) if shape.flat is not None:
            return len(shape.flat), False
        case Bracket():
            return len(shape.first.text), True


def _row_lead(parts: Sequence[Shape], glues: Sequence[str]) -> tuple[int, bool]:
    width = 0
    for index, (part, glue) in enumerate(zip(parts, glues, strict=True)):
        if index and part.first.remarks:
            return width, True
        more, ends = lead(part)
        width += len(glue) + more
        if ends:
            return width, True
    return width, False


def tail(row: Row, index: int, behind: int) -> int:
    """How much must stand on the line behind the part `index` of a row, and `behind` the row itself."""
    later = row.parts[index + 1 :]
    if not later:
        return behind
    if later[0].first.remarks:
        return 0
    width, ends = _row_lead(later, row.glues[index + 1 :])
    return width if ends else width + behind

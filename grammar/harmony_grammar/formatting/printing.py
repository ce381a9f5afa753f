"""Shapes to text: where lines end.

A shape is written on one line if it fits and nothing breaks it; else its outermost part is broken first, and
the parts of that are asked again. What is broken here is broken by its author when it is formatted again, so
the second time changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from harmony_grammar.formatting.shapes import Bracket, Chain, Ladder, Leaf, Row, Shape, lines, tail
from harmony_grammar.formatting.words import Word

WIDTH = 110
"""How wide a line may be. Comments, and what cannot be broken, may be wider."""

INDENT = "  "


def print_file(declarations: Sequence[Shape], end: Word) -> str:
    """The text of a recipe; `end` holds the comments behind the last declaration."""
    page = _Page()
    for shape in declarations:
        page.begin(shape.first, 0, blanks=True)
        page.put(shape, 0, 0)
    page.remark(end, 0, blanks=True)
    return page.text()


class _Page:
    def __init__(self) -> None:
        self._lines: list[str] = []
        self._line = ""
        self._fresh = True
        """Whether the line stands first in its block: no blank line stands above it."""

    def text(self) -> str:
        return "\n".join([*self._lines, self._line, ""]) if self._line else ""

    # --- lines ---

    def begin(self, word: Word, indent: int, *, blanks: bool = False) -> None:
        """Begin the line of a word, below the comments before it. `blanks` keeps blank lines between them."""
        self.remark(word, indent, blanks=blanks)
        self._begin(indent, blank=blanks and word.blank)

    def remark(self, word: Word, indent: int, *, blanks: bool = False) -> None:
        for remark in word.remarks:
            if remark.trailing:
                self._line += f"  {remark.text}"
                continue
            self._begin(indent, blank=blanks and remark.blank)
            self._line += remark.text
            self._fresh = False

    def _begin(self, indent: int, *, blank: bool) -> None:
        if self._line:
            self._lines.append(self._line)
            if blank and not self._fresh:
                self._lines.append("")
        self._line = INDENT * indent

    def _fits(self, widths: list[int], indent: int, behind: int) -> bool:
        """Whether lines of these widths fit, the first one from here on, the others indented."""
        first, *rest = widths
        starts = [self._column, *[len(INDENT) * indent] * len(rest)]
        ends = [*[0] * len(rest), behind]
        return all(sum(parts) <= WIDTH for parts in zip(starts, [first, *rest], ends, strict=True))

    @property
    def _column(self) -> int:
        return len(self._line) - self._line.rfind("\n") - 1

    # --- shapes ---

    def put(self, shape: Shape, indent: int, behind: int, *, hanging: int = 1) -> None:
        """Write a shape in a line that is indented so, when `behind` characters must follow on its last line.
        The comments before its first word are written. `hanging` is by how much the links of a chain are
        indented more than its line."""
        self._fresh = False
        if shape.flat is not None and self._fits([len(shape.flat)], indent, behind):
            self._line += shape.flat
            return
        match shape:
            case Leaf():
                self._line += shape.first.text
            case Row():
                self._put_row(shape, indent, behind)
            case Chain():
                self._put_chain(shape, indent, behind, hanging)
            case Bracket():
                self._put_bracket(shape, indent, behind)

    def _put_row(self, row: Row, indent: int, behind: int) -> None:
        for index, (part, glue) in enumerate(zip(row.parts, row.glues, strict=True)):
            if index and part.first.remarks:
                indent += 1
                self.begin(part.first, indent)
            else:
                self._line += glue
            self.put(part, indent, tail(row, index, behind))

    def _put_chain(self, chain: Chain, indent: int, behind: int, hanging: int) -> None:
        if not chain.broken and self._fits(lines(chain), indent, behind):
            self._put_row(chain.row, indent, behind)
            return
        self.put(chain.head, indent + (hanging if isinstance(chain, Ladder) else 1), 0)
        for link in chain.links:
            self.begin(link.first, indent + hanging)
            self.put(link, indent + hanging, behind if link is chain.links[-1] else 0)

    def _put_bracket(self, bracket: Bracket, indent: int, behind: int) -> None:
        self._line += bracket.first.text
        if bracket.hugs:
            self.put(bracket.items[0], indent, behind + len(bracket.closer.text))
            self._line += bracket.closer.text
            return
        self._fresh = True
        for index, item in enumerate(bracket.items):
            last = item is bracket.items[-1]
            comma = bracket.comma if bracket.closing_comma or not last else ""
            if index and bracket.fills and self._goes_beside(item, comma):
                self._line += " "
            else:
                self.begin(item.first, indent + 1, blanks=True)
            # A group is for the eye what it encloses.
            self.put(item, indent + 1, len(comma), hanging=0 if self._is_group(bracket) else 1)
            self._line += comma
        if bracket.items or bracket.closer.remarks:
            self.remark(bracket.closer, indent + 1, blanks=True)
            self._begin(indent, blank=False)
        self._fresh = False
        self._line += bracket.closer.text

    def _goes_beside(self, item: Shape, comma: str) -> bool:
        """Whether an item has room behind the one before it, and no blank line above."""
        if item.flat is None or item.first.blank:
            return False
        return self._fits([len(f" {item.flat}{comma}")], 0, 0)

    def _is_group(self, bracket: Bracket) -> bool:
        return not bracket.closing_comma and bool(bracket.comma)

"""What a misspelt name was probably meant to be."""

from __future__ import annotations

from collections.abc import Iterable

from harmony_grammar.diagnostics import Fix, meant
from harmony_grammar.records import Record
from harmony_grammar.source import Span


class Near(Record):
    """The known name that comes nearest to a word, "" if none does.

    `certain` says that a slip or two of the fingers lead to it, and to no other known name as easily.
    """

    word: str
    name: str
    certain: bool = False

    def fixes(self, span: Span, *, closed: bool = False) -> tuple[Fix, ...]:
        """The fix that writes the name where the word stands; none where a span shows more than the word.

        It is safe where the names are a `closed` set of the language's.
        """
        return meant(span, self.name, safe=closed and self.certain) if span.text == self.word else ()

    def quoted(self) -> Near:
        """The same of string literals."""
        return Near(f'"{self.word}"', f'"{self.name}"' if self.name else "", self.certain)


def nearest(word: str, known: Iterable[str]) -> Near:
    names = list(dict.fromkeys(known))
    slips = {name: _slips(word, name) for name in names if abs(len(name) - len(word)) <= 2}
    least = min(slips.values(), default=9)
    best = [name for name, count in slips.items() if count == least]
    if best and least <= (1 if len(word) < 5 else 2):
        likely = best[0] if len(best) == 1 else _alike(word, best) or best[0]
        return Near(word, likely, certain=len(best) == 1)
    return Near(word, _alike(word, names))


def _alike(word: str, names: list[str]) -> str:
    from difflib import get_close_matches  # only a recipe with a mistake pays for it

    return next(iter(get_close_matches(word, names, n=1, cutoff=0.7)), "")


def _slips(one: str, other: str) -> int:
    """Letters left out, added, replaced or swapped with a neighbour on the way from one name to the other."""
    if _bare(one) == _bare(other):
        return 0
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one):
        before, previous, row = row, before, [i + 1]
        for j, b in enumerate(other):
            least = min(before[j + 1] + 1, row[j] + 1, before[j] + (a != b))
            if i and j and a == other[j - 1] and one[i - 1] == b:
                least = min(least, previous[j - 1] + 1)
            row.append(least)
    return row[-1]


def _bare(name: str) -> str:
    """A name without what separates its words."""
    return name.replace("_", "").lower()

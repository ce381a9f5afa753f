"""Normalisation: two texts are the same but for what a rule ignores. No torch here."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

from harmony_runtime.graders.protocol import Failure, Sample
from harmony_runtime.graders.rules.filled import Filled

_NUMBER = re.compile(
    r"(?<![\w.,])[-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?(?!\w|[.,][0-9])"
)
"""A number that stands alone: `x2`, `3rd` and `1.2.3` hold none."""


class Wanted:
    """The template of a text that a completion is compared with, filled and normalised."""

    def __init__(self, template: str, field: str, ignore: Collection[str]) -> None:
        self._filled = Filled(template, field)
        self._field = field
        self._ignore = ignore

    def of(self, sample: Sample) -> str | Failure:
        """A `Failure` also where there is a text, and nothing is left of it."""
        text = self._filled.of(sample)
        if isinstance(text, Failure):
            return text
        found = normal(text, self._ignore)
        if text.strip() and not found.strip():
            return Failure(f"`{self._field}` is punctuation alone here, and that is ignored: nothing is left")
        return found


def normal(text: str, ignore: Collection[str]) -> str:
    """A text without the differences that a rule ignores: `case`, `whitespace`, `punctuation`, `numbers`."""
    if "case" in ignore:
        text = text.casefold()
    if "numbers" in ignore:
        text = _NUMBER.sub(lambda number: _plain(number[0]), text)
    if "punctuation" in ignore:
        text = _unpunctuated(text)
    if "whitespace" in ignore:
        text = re.sub(r"\s+", " ", text)
    return text


def _plain(number: str) -> str:
    """One way to write a number: `+1,050.50` is `1050.5`."""
    sign = "-" if number[0] == "-" else ""
    whole, _, decimals = number.lstrip("+-").replace(",", "").partition(".")
    whole, decimals = whole.lstrip("0") or "0", decimals.rstrip("0")
    plain = f"{whole}.{decimals}" if decimals else whole
    return plain if plain == "0" else sign + plain


def _unpunctuated(text: str) -> str:
    """Without Unicode's punctuation (categories P…), except inside numbers: `-2.5` stays."""
    kept, at = [], 0
    for number in _NUMBER.finditer(text):
        kept += [_letters(text[at : number.start()]), number[0]]
        at = number.end()
    return "".join([*kept, _letters(text[at:])])


def _letters(text: str) -> str:
    return "".join(c for c in text if not unicodedata.category(c).startswith("P"))

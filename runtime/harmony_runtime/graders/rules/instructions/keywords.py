"""Words and letters that a completion must have, or must not. No torch here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harmony_runtime.graders.rules.instructions.kind import Miss, missed_count


def existence(text: str, keywords: Sequence[str]) -> Miss:
    """Each keyword stands in the text, also inside of a longer word; case aside."""
    missing = [word for word in keywords if word.lower() not in text.lower()]
    return f"without {_listed(missing)}" if missing else None


def frequency(text: str, keyword: str, frequency: int, relation: str) -> Miss:
    """How often the keyword stands in the text, also inside of longer words; case aside."""
    return missed_count(text.lower().count(keyword.lower()), relation, frequency, f'uses of "{keyword}"')


def forbidden_words(text: str, forbidden_words: Sequence[str]) -> Miss:
    """No such word stands in the text as a whole word; case aside."""
    found = [
        word for word in forbidden_words if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE)
    ]
    return f"with {_listed(found)}" if found else None


def letter_frequency(text: str, letter: str, let_frequency: int, let_relation: str) -> Miss:
    """How often a character stands in the text, letter or not; case aside."""
    return missed_count(
        text.lower().count(letter.lower()), let_relation, let_frequency, f'uses of "{letter}"'
    )


def _listed(words: Sequence[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)

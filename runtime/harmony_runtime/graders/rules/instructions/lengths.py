"""How many words, sentences and paragraphs a completion has. No torch here.

Patterns here take time in proportion to the text: what a model writes may be any text.
"""

from __future__ import annotations

import re

from harmony_runtime.graders.rules.instructions.kind import (
    Miss,
    UnfitRowError,
    filled,
    missed_count,
    missed_number,
)

SENTENCE_END = re.compile(r"""(?<![.!?…؟])[.!?…؟]++["'”’»)\]*_]*+(?=\s|\Z)|[。！？।॥]++["'”’»」』)\]*_]*+""")
"""Western marks end a sentence before a blank, the others anywhere."""
NO_END = re.compile(
    r"(?<![\w.])(?:[A-HJ-Z]|(?i:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|cf|e\.g|i\.e))\Z|^[ \t]*\d+\Z", re.MULTILINE
)
"""Before a single dot that ends none: an initial, an abbreviation, the number of a list item."""
LONGEST_NO_END = 16
"""Characters before a dot that are looked at."""


def number_words(text: str, num_words: int, relation: str) -> Miss:
    """Words are runs of letters, digits and `_`: "it's" is two."""
    return missed_count(len(re.findall(r"\w+", text)), relation, num_words, "words")


def number_sentences(text: str, num_sentences: int, relation: str) -> Miss:
    return missed_count(sentences(text), relation, num_sentences, "sentences")


def sentences(text: str) -> int:
    """How many pieces with a word there are between ends of sentences; line breaks end none."""
    count = start = 0
    for end in SENTENCE_END.finditer(text):
        at = end.start()
        if end[0] == "." and NO_END.search(text, max(0, at - LONGEST_NO_END), at):
            continue
        count += _has_word(text[start:at])
        start = end.end()
    return count + _has_word(text[start:])


def _has_word(text: str) -> bool:
    return re.search(r"\w", text) is not None


def number_paragraphs(text: str, num_paragraphs: int) -> Miss:
    """Exactly so many paragraphs that are not blank, divided by `***`."""
    return missed_number(sum(map(filled, text.split("***"))), num_paragraphs, "paragraphs")


def nth_paragraph_first_word(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> Miss:
    """Exactly so many paragraphs, divided by blank lines, and a word that begins one of them; case aside."""
    if nth_paragraph > num_paragraphs:
        raise UnfitRowError(f"asks about paragraph {nth_paragraph} of {num_paragraphs}")
    paragraphs = [part for part in re.split(r"\n[ \t\r]*\n", text) if filled(part)]
    if len(paragraphs) != num_paragraphs:
        return missed_number(len(paragraphs), num_paragraphs, "paragraphs")
    begins = re.match(
        rf"[\W_]*{re.escape(first_word)}(?![\w-])", paragraphs[nth_paragraph - 1], re.IGNORECASE
    )
    return None if begins else f'paragraph {nth_paragraph} does not begin with "{first_word}"'

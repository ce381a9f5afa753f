"""How a completion begins and ends, its case, its commas, its language. No torch here."""

from __future__ import annotations

import re

from harmony_runtime.graders.rules.instructions.kind import Miss, missed_count, missed_number
from harmony_runtime.graders.rules.instructions.languages import is_in, likely_in

DIVIDER = "******"


def two_responses(text: str) -> Miss:
    """Two different responses, divided by six stars; dividers at both ends aside."""
    inner = text.strip().removeprefix(DIVIDER).removesuffix(DIVIDER)
    responses = [part.strip() for part in inner.split(DIVIDER)]
    if not all(responses):
        return "an empty response"
    equal = len(responses) == 2 and responses[0] == responses[1]
    return "two equal responses" if equal else missed_number(len(responses), 2, "responses")


def repeat_prompt(text: str, prompt_to_repeat: str) -> Miss:
    """The text begins with the prompt; case, and blanks at both ends, aside."""
    repeats = text.strip().lower().startswith(prompt_to_repeat.strip().lower())
    return None if repeats else "does not begin with the prompt"


def end_checker(text: str, end_phrase: str) -> Miss:
    """The text ends with the phrase; case, and blanks and quotation marks around the text, aside."""
    ends = text.strip(' \t\r\n"').lower().endswith(end_phrase.strip(' \t\r\n"').lower())
    return None if ends else f'does not end with "{end_phrase}"'


def quotation(text: str) -> Miss:
    """The text, blanks at both ends aside, begins with one `"` and ends with another one."""
    bare = text.strip()
    quoted = len(bare) > 1 and bare.startswith('"') and bare.endswith('"')
    return None if quoted else "not in double quotation marks"


def capital_word_frequency(text: str, capital_frequency: int, capital_relation: str) -> Miss:
    """Words whose letters are all capital, "I" too. Hyphens, apostrophes and dots stand inside of words."""
    words = re.findall(r"\w+(?:[-'’.]\w+)*", text)
    return missed_count(
        sum(map(str.isupper, words)), capital_relation, capital_frequency, "words in capitals"
    )


def english_capital(text: str) -> Miss:
    """English, and no lower-case letter."""
    return _english(text) if text.isupper() else "not all in capitals"


def english_lowercase(text: str) -> Miss:
    """English, and no capital letter."""
    return _english(text) if text.islower() else "not all in lower case"


def _english(text: str) -> Miss:
    return None if likely_in(text, "en") else "not English"


def no_comma(text: str) -> Miss:
    """No `,` at all."""
    return missed_number(text.count(","), 0, "commas")


def response_language(text: str, language: str) -> Miss:
    """The language that the text most likely is in."""
    return None if is_in(text, language) else f"not in `{language}`"

"""Marks that a completion must have: placeholders, lists, sections, titles, JSON. No torch here.

Patterns here take time in proportion to the text: what a model writes may be any text.
"""

from __future__ import annotations

import json
import re

from harmony_runtime.graders.rules.instructions.kind import Miss, filled, missed_count, missed_number

ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def number_placeholders(text: str, num_placeholders: int) -> Miss:
    """At least so many `[…]` that are not blank, each on one line."""
    found = re.findall(r"\[([^\[\]\n]*)\]", text)
    return _too_few(sum(map(filled, found)), num_placeholders, "placeholders")


def postscript(text: str, postscript_marker: str) -> Miss:
    """The marker stands in the text; case, and a blank after each of its dots, aside."""
    marker = r"\.\s?".join(map(re.escape, postscript_marker.strip().split(".")))
    return None if re.search(marker, text, re.IGNORECASE) else f'without "{postscript_marker}"'


def number_bullet_lists(text: str, num_bullets: int) -> Miss:
    """Exactly so many lines that begin with `* ` or `- `, however far from the margin."""
    found = sum(line.lstrip().startswith(("* ", "- ")) for line in text.splitlines())
    return missed_number(found, num_bullets, "bullet points")


def constrained_response(text: str) -> Miss:
    """One of the three answers stands in the text."""
    return None if any(answer in text for answer in ANSWERS) else "without one of the three answers"


def number_highlighted_sections(text: str, num_highlights: int) -> Miss:
    """At least so many `*…*` and `**…**` that are not blank, each on one line."""
    found = re.findall(r"\*\*[^*\n]+\*\*|\*[^*\n]+\*", text)
    return _too_few(sum(filled(part.strip("*")) for part in found), num_highlights, "highlighted sections")


def multiple_sections(text: str, section_spliter: str, num_sections: int) -> Miss:
    """At least so many times the name of a section with a number after it."""
    found = re.findall(rf"{re.escape(section_spliter.strip())}\s?\d+", text)
    return _too_few(len(found), num_sections, "sections")


def json_format(text: str) -> Miss:
    """The whole text is JSON, fences of a code block aside."""
    fenced = re.match(r"\s*```(?:json)?(.*)```\s*\Z", text, re.IGNORECASE | re.DOTALL)
    try:
        json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return "not JSON"
    return None


def title(text: str) -> Miss:
    """A line has `<<…>>` that is not blank."""
    for line in text.splitlines():
        begin, end = line.find("<<"), line.rfind(">>")
        if -1 < begin < end and filled(line[begin:end].replace("<", "").replace(">", "")):
            return None
    return "without a title in << >>"


def _too_few(found: int, asked: int, of: str) -> Miss:
    return missed_count(found, "at least", asked, of)

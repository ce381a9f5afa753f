"""The kinds of instructions, by their names in the data. No torch here."""

from __future__ import annotations

from collections.abc import Mapping

from harmony_runtime.graders.rules.instructions import formats, keywords, lengths, wording
from harmony_runtime.graders.rules.instructions.kind import COUNT, LETTER, PLACE, RELATION, TEXT, TEXTS, Kind

KINDS: Mapping[str, Kind] = {
    "keywords:existence": Kind(keywords.existence, keywords=TEXTS),
    "keywords:frequency": Kind(keywords.frequency, keyword=TEXT, frequency=COUNT, relation=RELATION),
    "keywords:forbidden_words": Kind(keywords.forbidden_words, forbidden_words=TEXTS),
    "keywords:letter_frequency": Kind(
        keywords.letter_frequency, letter=LETTER, let_frequency=COUNT, let_relation=RELATION
    ),
    "language:response_language": Kind(wording.response_language, language=TEXT),
    "length_constraints:number_sentences": Kind(
        lengths.number_sentences, num_sentences=COUNT, relation=RELATION
    ),
    "length_constraints:number_paragraphs": Kind(lengths.number_paragraphs, num_paragraphs=COUNT),
    "length_constraints:number_words": Kind(lengths.number_words, num_words=COUNT, relation=RELATION),
    "length_constraints:nth_paragraph_first_word": Kind(
        lengths.nth_paragraph_first_word, num_paragraphs=COUNT, nth_paragraph=PLACE, first_word=TEXT
    ),
    "detectable_content:number_placeholders": Kind(formats.number_placeholders, num_placeholders=COUNT),
    "detectable_content:postscript": Kind(formats.postscript, postscript_marker=TEXT),
    "detectable_format:number_bullet_lists": Kind(formats.number_bullet_lists, num_bullets=COUNT),
    "detectable_format:constrained_response": Kind(formats.constrained_response),
    "detectable_format:number_highlighted_sections": Kind(
        formats.number_highlighted_sections, num_highlights=COUNT
    ),
    "detectable_format:multiple_sections": Kind(
        formats.multiple_sections, section_spliter=TEXT, num_sections=COUNT
    ),
    "detectable_format:json_format": Kind(formats.json_format),
    "detectable_format:title": Kind(formats.title),
    "combination:two_responses": Kind(wording.two_responses),
    "combination:repeat_prompt": Kind(wording.repeat_prompt, prompt_to_repeat=TEXT),
    "startend:end_checker": Kind(wording.end_checker, end_phrase=TEXT),
    "startend:quotation": Kind(wording.quotation),
    "change_case:capital_word_frequency": Kind(
        wording.capital_word_frequency, capital_frequency=COUNT, capital_relation=RELATION
    ),
    "change_case:english_capital": Kind(wording.english_capital),
    "change_case:english_lowercase": Kind(wording.english_lowercase),
    "punctuation:no_comma": Kind(wording.no_comma),
}

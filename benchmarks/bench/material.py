"""Rows and tokenizers, made here and the same every time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

from benchmarks.bench.cases import Case, Size

LESSONS = 1024
"""Rows that a model is warmed up with."""

Row = dict[str, str]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def lessons(size: Size) -> list[Row]:
    return _rows(size, LESSONS, "lessons")


def rows(case: Case, blocks: int) -> list[Row]:
    """`question`, `answer`, and the `worse` answer of DPO."""
    return _rows(case.size, case.rows(blocks), case.algorithm)


def _rows(size: Size, count: int, purpose: str) -> list[Row]:
    random = Random(f"{size.name} {purpose}")
    make: Callable[[Random], Row] = (lambda chance: _words(chance, size.words)) if size.words else _digits
    return [make(random) for _ in range(count)]


def _digits(random: Random) -> Row:
    """Digits to sort, 3 to 16 of them; the worse answer is unsorted, or lacks one."""
    digits = random.choices("0123456789", k=random.randint(3, 16))
    answer = sorted(digits)
    worse = digits
    if random.random() < 0.5 or worse == answer:
        worse = answer.copy()
        worse.pop(random.randrange(len(worse)))
    return {"question": f"sort {''.join(digits)}", "answer": "".join(answer), "worse": "".join(worse)}


def _words(random: Random, words: int) -> Row:
    """Made-up words, 6 to 30 in the question; answers are of such lengths that each word is as likely to be
    the last, which a model learns in a few steps."""

    def text(count: int) -> str:
        # As in a language, a few words are most of the text.
        return " ".join(f"w{int(words * random.random() ** 3)}" for _ in range(count))

    def length() -> int:
        return min(1 + int(random.expovariate(1 / 12)), 31)

    return {"question": text(random.randint(6, 30)), "answer": text(length()), "worse": text(length())}


TEMPLATE = (
    "{% for message in messages %}"
    "{{ message.content }}{{ ' <eos> ' if message.role == 'assistant' else ' <ask> ' }}"
    "{% endfor %}"
)
"""A question, a mark, an answer, the end token."""


def word_tokenizer(folder: Path, words: int) -> None:
    """A tokenizer with so many words, as a folder that transformers reads."""
    marks = ("<pad>", "<unk>", "<eos>", "<ask>")
    vocabulary = {text: number for number, text in enumerate((*marks, *(f"w{n}" for n in range(words))))}
    special = [
        {
            "id": number,
            "content": text,
            "single_word": False,
            "lstrip": True,
            "rstrip": True,
            "normalized": False,
            "special": True,
        }
        for number, text in enumerate(marks)
    ]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "eos_token": "<eos>",
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")

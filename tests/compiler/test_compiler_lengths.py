"""How long rows are in tokens, as a plan says it without the runtime."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from compiler_support import (
    ASKED,
    COMPARED,
    DATA,
    GRADER,
    MODEL,
    REINFORCED,
    SAVE,
    TRAIN,
    check_text,
    replaced,
)
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from harmony_compiler.files import DISK
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.plan import lengths as counting
from harmony_compiler.plan.lengths import Lengths, lengths_of

GOOD = DATA + MODEL + TRAIN + SAVE
DROPPED = ("metadata = {", 'on_too_long = "drop"\n  metadata = {')


def counted(text: str, of: type = Algorithm, dataset: str = "dataset", **options: Any) -> Lengths | None:
    """The lengths of the rows of a recipe's one stage, or of its evaluation."""
    compilation = check_text(text, **options)
    assert compilation.looked is not None, [finding.words.message for finding in compilation.diagnostics]
    looked = compilation.looked
    (stage,) = (made for made in looked.made.values() if issubclass(made.cls, of))
    rows: Any = stage.values
    for part in dataset.split("."):
        rows = rows[part] if isinstance(rows, Mapping) else rows.values[part]
    return lengths_of(stage, rows, looked.heads, DISK)


def rows(*lines: Mapping[str, Any], name: str = "sums.jsonl") -> None:
    Path(name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def sums(*questions: str | None) -> None:
    rows(*({"question": question, "answer": "12"} for question in questions))


def sizes(lengths: Lengths | None) -> tuple[int, int, bool]:
    assert lengths is not None
    return lengths.looked_at, lengths.tokens, lengths.whole


# --- counted in characters: <bos>, a mark a turn, and <eos> or <assistant> -------------------------------


def test_threads() -> None:
    sums("a" * 5, "é" * 17, "<user>" * 18)
    assert counted(GOOD) == Lengths(
        looked_at=3,
        whole=True,
        longest=24,
        mean=pytest.approx((11 + 23 + 24) / 3),
        room=24,
        too_long=0,
        tokens=11 + 23 + 24,
        dropped=0,
        learnt=11 + 23 + 24,
        exact=True,
        by="characters",
    )
    sums("a" * 18, "a" * 19, "a" * 20)
    found = counted(GOOD)
    assert found is not None
    assert (found.longest, found.too_long) == (26, 2)
    assert (found.dropped, found.learnt) == (2, 24)


def test_prompts_leave_room_for_a_completion() -> None:
    sums("a" * 13, "a" * 14)
    found = counted(replaced(REINFORCED, DROPPED))
    assert found is not None
    assert (found.tokens, found.room, found.too_long) == (16 + 17, 16, 1)


def test_a_pair_is_as_long_as_with_its_longer_answer() -> None:
    rows({"q": "ab", "one": "a", "two": "bcd"})
    text = (
        MODEL
        + 'dataset pairs = jsonl("sums.jsonl") '
        + '{ prompt = "{{ q }}?", chosen = "{{ one }}", rejected = "{{ two }}" }\n'
        + "train adder = dpo { model = tiny, dataset = pairs, steps = 1 }\n"
        + SAVE
    )
    found = counted(text)
    assert found is not None
    assert (found.longest, found.mean, found.tokens) == (10, 10.0, 10 + 8)


CONVERSATIONS = [
    {"messages": [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "c"}]},
    {
        "messages": [
            {"role": "system", "content": "x"},
            {"role": "user", "content": [{"type": "text", "text": "y"}]},
            {"role": "assistant", "content": None, "tool_calls": [{"name": "z", "arguments": "{}"}]},
        ]
    },
    {"messages": [{"role": "robot", "content": "ab"}]},
]


def test_a_conversation_that_a_run_would_refuse_has_no_length() -> None:
    rows(*CONVERSATIONS[:2])
    text = 'dataset sums = jsonl("sums.jsonl")\n' + MODEL + TRAIN + SAVE
    assert sizes(counted(text)) == (1, 1 + 3 + 2 + 1, False)
    plain = replaced(text, ("context = 24", 'context = 24\n  chat_template = "plain"'))
    found = counted(plain)  # which writes nothing where a call is
    assert sizes(found) == (2, (2 + 2 + 1 + 1) + (1 + 2 + 1 + 2 + 1), True)
    assert found is not None and not found.exact


def test_a_row_that_fills_no_template_has_no_length() -> None:
    sums("abc", None, "abcd")
    assert sizes(counted(GOOD)) == (2, 9 + 10, False)
    richer = replaced(GOOD, ("{{ question }}", "{{ question }}{% if 0 %}{% endif %}"))
    assert sizes(counted(richer)) == (2, 9 + 10, False)
    rows({"question": "ab", "answer": "1"}, {"question": "\ud800", "answer": "1"})
    assert sizes(counted(richer)) == (1, 7, False)


# --- which rows -----------------------------------------------------------------------------------------

TEN = [str(number) * number for number in range(10)]

TAKEN = [
    ('split = "train[:20%]"', (2, 13, True)),
    ('split = "train[-1:]+train[2:4]"', (3, 15 + 8 + 9, True)),
    ('split = "train[20:]"', None),
    ("limit = 3", (3, 6 + 7 + 8, True)),
    ("limit = 30", (10, 105, True)),
    ("shuffle = true", (10, 105, True)),
    ("shuffle = true, limit = 3", (10, 105, False)),
    ('filter = question != "1"', (10, 105, False)),
    ('filter = question != "1", limit = 3', (10, 105, False)),
]


@pytest.mark.parametrize("richer", [False, True])
@pytest.mark.parametrize(("field", "expected"), TAKEN)
def test_rows_that_are_not_taken_are_not_counted(
    field: str, expected: tuple[int, int, bool] | None, richer: bool
) -> None:
    sums(*TEN)
    text = replaced(GOOD, ('  prompt = "{{ question }}', f'  {field}\n  prompt = "{{{{ question }}}}'))
    if richer:
        text = replaced(text, ("{{ question }}", "{{ question | trim }}"))
    if expected is None:
        assert check_text(text).looked is None
    else:
        assert sizes(counted(text)) == expected


LARGE = [
    # A file whose end nobody has seen: what a slice takes of its beginning is known.
    ('split = "train[:50%]"', 0.5, False),
    ('split = "train[10:-10]"', 1, False),
    ("limit = 7", None, True),
    ('split = "train[5:]", limit = 7', None, True),
    ('split = "train[50%:]"', 0, False),
    ('split = "train[-5:]"', 0, False),
]


@pytest.mark.parametrize(("field", "share", "whole"), LARGE)
def test_of_a_large_file_the_beginning_is_looked_at(field: str, share: float | None, whole: bool) -> None:
    line = json.dumps({"question": "ab", "answer": "1" * 989}) + "\n"
    Path("sums.jsonl").write_text(line * 5000)
    found = counted(replaced(GOOD, ("  prompt", f"  {field}\n  prompt"), ("context = 24", "context = 2400")))
    if share == 0:
        assert found is None
        return
    assert found is not None
    seen = 4 * 1024 * 1024 // len(line)
    if share is None:
        assert found.looked_at == 7
    else:
        assert found.looked_at == pytest.approx(seen * share, abs=21)
    assert (found.whole, found.mean) == (whole, 4 + 991)


def test_of_many_rows_an_even_part_is_looked_at() -> None:
    sums(*["a", "bcd"] * 3000)
    richer = replaced(GOOD, ("{{ question }}", "{{ question | trim }}"))
    found = counted(richer)
    assert found is not None
    assert found.looked_at == counting.MOST_ROWS == 1000
    assert not found.whole
    assert sizes(counted(GOOD)) == (6000, 3000 * (1 + 3 + 12), True)


MIXED = (
    DATA
    + 'dataset others = jsonl("held.jsonl") { prompt = "{{ question }}", completion = "{{ answer }}" }\n'
    + "dataset both = mix([sums, others]) { MORE }\n"
    + MODEL
    + replaced(TRAIN, ("dataset = sums", "dataset = both"))
    + SAVE
)

MIXES = [
    ("", (4 + 2, 4 * 9 + 2 * 7, True)),
    ("weights = [50%, 50%]", (2 + 2, 2 * 9 + 2 * 7, True)),
    ("shuffle = true", (4 + 2, 4 * 9 + 2 * 7, True)),
    ("limit = 3", (4 + 2, 4 * 9 + 2 * 7, False)),
]


@pytest.mark.parametrize(("field", "expected"), MIXES)
def test_mixtures(field: str, expected: tuple[int, int, bool]) -> None:
    sums(*["123"] * 4)
    rows(*[{"question": "12", "answer": "3"}] * 2, name="held.jsonl")
    found = counted(MIXED.replace("MORE", field))
    assert sizes(found) == expected
    unknown = replaced(MIXED, ("mix([sums, others])", "mix([sums, others { filter = question != answer }])"))
    assert sizes(counted(unknown.replace("MORE", field)))[2] is False


# --- stages ---------------------------------------------------------------------------------------------


def test_an_evaluation_goes_by_the_model_with_the_least_room() -> None:
    sums("a" * 14, "a")
    Path("held.jsonl").write_bytes(Path("sums.jsonl").read_bytes())
    large = replaced(MODEL, ("tiny", "large"), ("context = 24", "context = 240"))
    text = large + replaced(REINFORCED, DROPPED) + replaced(COMPARED, ("[tiny, adder]", "[large, adder]"))
    found = counted(text, Compare)
    assert found is not None
    assert (found.room, found.too_long) == (16, 1)
    limited = replaced(text, ("  graders =", "  limit = 1\n  graders ="))
    sums("a", "b")
    Path("held.jsonl").write_bytes(Path("sums.jsonl").read_bytes())
    assert sizes(counted(text, Compare)) == (2, 8, True)
    assert sizes(counted(limited, Compare)) == (1, 4, True)


def test_a_validation_by_a_grader_draws_answers() -> None:
    sums("a" * 3)
    validation = "  validation { dataset = asked, grader = right, every = 1 }\n"
    text = ASKED + GRADER + replaced(GOOD, ("  steps = 3\n", f"  steps = 3\n{validation}"))
    found = counted(text, dataset="validation.dataset")
    assert found is not None
    assert (found.tokens, found.room) == (6, 24 - 12)


UNKNOWN = [
    ("model tiny = ", 'model tiny = hf("Qwen/Qwen3-0.6B")\n'),
    ("model tiny = ", 'model tiny = registry("sorter")\n'),
    ("model tiny = ", 'model tiny = local("home")\n'),
    ("dataset sums = ", 'dataset sums = hf("openai/gsm8k") { prompt = "{{ q }}", completion = "{{ a }}" }\n'),
]


@pytest.mark.parametrize(("start", "other"), UNKNOWN)
def test_what_is_not_at_hand_has_no_lengths(start: str, other: str) -> None:
    block = MODEL if "model" in start else DATA
    assert counted(replaced(GOOD, (block, other))) is None


def test_registered_rows_are_at_hand(registry: Path) -> None:
    text = replaced(GOOD, ('jsonl("sums.jsonl")', 'registry("numbers")'))
    assert sizes(counted(text, registry=registry)) == (2, 2 * 8, True)


# --- tokenizers of folders ------------------------------------------------------------------------------

VOCABULARY = {text: number for number, text in enumerate(["<unk>", "<s>", "</s>", "ab", "c", "1", "2"])}
FAST = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"}
TURNS = (
    "{% for m in messages %}ab c {{ m.content }} {% if m.role == 'assistant' %}</s> {% endif %}{% endfor %}"
)


def of_words(settings: Mapping[str, Any], *, prepend: bool = False, **files: str) -> None:
    """A folder `words` with a tokenizer of seven words."""
    words = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    if prepend:
        words.normalizer = normalizers.Prepend("ab ")  # type: ignore[assignment]
    folder = Path("words")
    folder.mkdir(exist_ok=True)
    words.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def by_words(*changes: tuple[str, str]) -> Lengths | None:
    rows({"question": "ab c", "answer": "12 c 1"})
    return counted(replaced(GOOD, ("context = 24", 'context = 24\n  tokenizer = "words"'), *changes))


def test_a_folder_with_a_tokenizer() -> None:
    of_words(FAST)
    found = by_words()  # without a template of its own, turns are joined by blank lines
    assert found is not None
    assert (found.tokens, found.exact, found.by) == (2 + 3 + 1, True, "tokenizer.json of words")
    of_words({**FAST, "chat_template": TURNS})
    assert sizes(by_words()) == (1, 4 + 5 + 1, True)
    of_words(
        {
            **FAST,
            "chat_template": [{"name": "tools", "template": "x"}, {"name": "default", "template": TURNS}],
        }
    )
    assert sizes(by_words()) == (1, 4 + 5 + 1, True)
    of_words({**FAST, "chat_template": "x"}, chat_template__jinja=TURNS)
    assert sizes(by_words()) == (1, 4 + 5 + 1, True)


INEXACT = [
    {"tokenizer_class": "LlamaTokenizer"},
    {"tokenizer_class": "SomethingNew"},
    {"split_special_tokens": True},
    {"auto_map": {"AutoTokenizer": ["a", "b"]}},
    {"added_tokens_decoder": {"9": {"content": "new"}}},
    {"chat_template": TURNS + "{{ strftime_now('') }}"},
    {"chat_template": TURNS.replace("m.content", "m.content | trim")},
]


@pytest.mark.parametrize("settings", INEXACT)
def test_what_a_run_may_read_otherwise_is_counted_and_said_to_be_about_right(
    settings: dict[str, Any],
) -> None:
    of_words({**FAST, **settings})
    rows({"question": "ab c", "answer": "12 c 1 "})
    found = counted(replaced(GOOD, ("context = 24", 'context = 24\n  tokenizer = "words"')))
    assert found is not None
    assert not found.exact


def test_a_tokenizer_that_reads_on_counts_a_text_as_one() -> None:
    of_words(FAST, prepend=True)
    found = by_words()
    assert found is not None
    assert (found.tokens, found.exact) == (1 + 2 + 3 + 1, False)


def test_a_model_that_transformers_reads_in_its_own_way() -> None:
    about = {"model_type": "qwen2", "max_position_embeddings": 9}
    of_words({**FAST, "chat_template": TURNS}, config__json=json.dumps(about))
    rows({"question": "ab c", "answer": "12 c 1"})
    found = counted(replaced(GOOD, (MODEL, 'model tiny = local("words")\n')))
    assert found is not None
    assert (found.tokens, found.exact, found.room, found.too_long) == (10, False, 9, 1)


REFUSED: Sequence[dict[str, Any]] = [
    {"tokenizer_class": "PreTrainedTokenizerFast"},
    {**FAST, "chat_template": "{% for %}"},
    {**FAST, "chat_template": "{{ raise_exception('no') }}"},
    {**FAST, "chat_template": {"tools": TURNS}},
    {**FAST, "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}"},
]


@pytest.mark.parametrize("settings", REFUSED)
def test_what_a_run_would_refuse_has_no_lengths(settings: dict[str, Any]) -> None:
    of_words(settings)
    changes = (("context = 24", 'context = 24\n  tokenizer = "words"'),)
    found = counted(replaced(GOOD, *changes))
    if settings.get("chat_template") == {"tools": TURNS}:  # as where there is none
        assert found is not None
    else:
        assert found is None


def test_without_the_package_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    of_words(FAST)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert by_words() is None


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"model": 1}'])
def test_a_broken_tokenizer_is_left_to_the_run(content: bytes) -> None:
    of_words(FAST)
    Path("words/tokenizer.json").write_bytes(content)
    assert by_words() is None


def test_an_adapter_has_its_tokenizer_elsewhere() -> None:
    of_words({**FAST, "chat_template": TURNS}, adapter_config__json="{}", config__json='{"n_positions": 9}')
    assert counted(replaced(GOOD, (MODEL, 'model tiny = local("words")\n'))) is None


def test_characters_need_no_package() -> None:
    code = (
        "import sys; import harmony_compiler.plan.lengths; "
        "print(sorted({'jinja2', 'tokenizers', 'dataclasses', 'inspect', 'datetime'} & sys.modules.keys()))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"

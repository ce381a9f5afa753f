"""Overlap: rows that are trained on and measured by, said where that is certain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from compiler_support import GOOD, check_text, codes, replaced
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_compiler.data.slices import read_slices, shared, taken
from harmony_compiler.store.lock import Lock, Locked, hub_key, lock_text

ROWS = 20

SCHOOL = """\
model tiny = scratch { hidden_size = 8, layers = 1, heads = 2, context = 24 }
dataset lessons = SOURCE { TRAINED, prompt = "{{ q }}", completion = "{{ a }}" }
train adder = sft { model = tiny, dataset = lessons, steps = 1 }
evaluate report = compare {
  models = [MODELS], dataset = SOURCE { MEASURED, prompt = "{{ q }}" }, graders = [words(completion)]
  sampling { max_tokens = 2 }
  LIMIT
}
save adder as "adder"
"""


def found(
    trained: str,
    measured: str,
    *,
    source: str = 'jsonl("rows.jsonl")',
    models: str = "tiny, adder",
    limit: str = "",
) -> list[str]:
    """What is said, with the number of rows where it is known."""
    rows = [{"q": str(n), "a": str(n)} for n in range(ROWS)]
    for name in ("rows.jsonl", "more.jsonl"):
        Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = replaced(
        SCHOOL, ("TRAINED", trained), ("MEASURED", measured), ("MODELS", models), ("LIMIT", limit)
    )
    said = check_text(text.replace("SOURCE", source)).diagnostics
    assert [finding.code for finding in said if not finding.code.startswith("N")] in ([], ["W0501"])
    return [finding.words.message.partition(" that ")[0] for finding in said if finding.code == "W0501"]


CASES = [
    ('split = "train"', 'split = "train"', ["20 rows"]),
    ('split = "train[:90%]"', 'split = "train[90%:]"', []),
    ('split = "train[:92%]"', 'split = "train[90%:]"', []),  # both bounds are row 18
    ('split = "train[:95%]"', 'split = "train[90%:]"', ["1 row"]),
    ('split = "train[:10]"', 'split = "train[5:15]"', ["5 rows"]),
    ('split = "train[:10]"', 'split = "train[10:]"', []),
    ('split = "train[:-5]"', 'split = "train[-6:]"', ["1 row"]),
    ('split = "train[:5] + train[10:15]"', 'split = "train[5:11]"', ["1 row"]),
    ('split = "train", limit = 5', 'split = "train[5:]"', []),
    ('split = "train", limit = 6', 'split = "train[5:]"', ["1 row"]),
    ('split = "train", shuffle = true', 'split = "train[5:6]"', ["1 row"]),
    ('split = "train", shuffle = true, limit = 5', 'split = "train[5:]"', []),
    ('split = "train", filter = q != "1"', 'split = "train[5:]"', []),
    ('split = "train", filter = q != "1"', 'split = "train", filter = q != "1"', ["rows"]),
]


@pytest.mark.parametrize(("trained", "measured", "expected"), CASES)
def test_slices_of_one_file(trained: str, measured: str, expected: list[str]) -> None:
    assert found(trained, measured) == expected


def test_the_limit_of_an_evaluation_counts() -> None:
    assert found('split = "train[10:]"', 'split = "train"', limit="limit = 10") == []
    assert found('split = "train[9:]"', 'split = "train"', limit="limit = 10") == ["1 row"]


def test_only_models_that_were_trained_on_the_rows_matter() -> None:
    everything = 'split = "train"'
    assert found(everything, everything, models="tiny") == []
    assert found(everything, everything, models="adder { tp = 1 }") == ["20 rows"]


def test_files_of_other_content_or_number() -> None:
    source = "jsonl"
    one, other = (f'path = "{name}.jsonl"' for name in ("rows", "more"))
    both = 'path = ["rows.jsonl", "more.jsonl"]'
    assert found(one, other, source=source) == []
    assert found(one, both, source=source) == ["rows"]
    assert found(f'{one}, split = "train[:5]"', both, source=source) == []


def test_rows_of_the_hub() -> None:
    source = 'hf("a/b", columns = { q = "str", a = "str" })'
    assert found('split = "train"', 'split = "test"', source=source) == []
    assert found('split = "train"', 'split = "train"', source=source) == ["rows"]
    assert found('split = "train[:50]"', 'split = "train[90%:]"', source=source) == []
    assert found('split = "train"', 'split = "train", revision = "old"', source=source) == []
    locked = Locked({"q": "str", "a": "str"}, {"train": 50, "test": 5})
    Path("case.recipe.lock").write_text(lock_text(Lock({hub_key("a/b", None, None): locked})))
    assert found('split = "train+test"', 'split = "train[90%:] + test"', source='hf("a/b")') == ["10 rows"]


def test_earlier_stages_count() -> None:
    text = GOOD + (
        'train second = sft { model = adder, dataset = sums { path = "held.jsonl" }, steps = 1 }\n'
        "evaluate report = compare { models = [second], dataset = sums { completion = none }, "
        "graders = [words(completion)], sampling { max_tokens = 2 } }\n"
        'save second as "second"\n'
    )
    (finding,) = (f for f in check_text(text).diagnostics if f.code == "W0501")
    assert [label.span.first.line for label in finding.labels] == [13]


def test_validation_is_held_against_its_own_stage() -> None:
    own = "  validation { dataset = sums, every = 1 }\n  steps = 3"
    assert codes(check_text(replaced(GOOD, ("  steps = 3", own)))) == ["W0501"]
    other = own.replace("= sums", '= sums { path = "held.jsonl" }')
    assert codes(check_text(replaced(GOOD, ("  steps = 3", other)))) == []


def test_mixtures_are_taken_apart() -> None:
    mixed = replaced(GOOD, ("dataset = sums\n", 'dataset = mix([sums, sums { path = "held.jsonl" }])\n'))
    compare = (
        "evaluate report = compare { models = [adder], dataset = sums { completion = none }, "
        "graders = [words(completion)], sampling { max_tokens = 2 } }\n"
    )
    assert codes(check_text(mixed + compare)) == ["W0501"]


BOUND = st.none() | st.integers(-30, 30)


@st.composite
def splits(draw: st.DrawFn) -> str:
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        start, stop, unit = draw(BOUND), draw(BOUND), draw(st.sampled_from(["", "%"]))
        shown = ["" if bound is None else f"{bound}{unit}" for bound in (start, stop)]
        parts.append(f"train[{shown[0]}:{shown[1]}]")
    return " + ".join(parts)


@settings(deadline=None, derandomize=True, database=None)
@given(splits(), st.integers(1, 40))
def test_slices_are_cut_as_datasets_cuts_them(split: str, count: int) -> None:
    datasets = pytest.importorskip("datasets")
    reference = datasets.ReadInstruction.from_spec(split).to_absolute({"train": count})
    slices = read_slices(split)
    assert slices is not None
    mine = taken(slices, {"train": count}, None)
    assert mine is not None
    rows = [row for part in mine["train"] for row in part]
    assert rows == [row for part in reference for row in range(part.from_, part.to)]
    assert shared(mine, mine) == len(set(rows))

"""Registered datasets and mixtures, as the checker sees them; compressed Parquet."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from compiler_support import GRADER, MODEL, REGISTERED, REINFORCE, check_text, codes, pointed_at

from harmony_compiler.compile import Compilation
from harmony_compiler.store.datasets import add

SUMS = f'dataset sums = registry("{REGISTERED}") {{ prompt = "{{{{ question }}}}" }}\n'
COMPLETED = SUMS + 'dataset demos = sums { completion = "{{ answer }}" }\n'
LEARN = "train adder = sft { model = tiny, dataset = demos, samples_per_batch = 1, steps = 1 }\n"

MANIFEST = '{"format_version": 1, "format": "jsonl", "files": {"x": ""}, "rows": 1, "created": ""}'


def checked(text: str, registry: Path | None) -> Compilation:
    return check_text(text, registry=registry)


def said(compilation: Compilation) -> str:
    return " | ".join(finding.words.message for finding in compilation.diagnostics)


def errors(compilation: Compilation) -> list[str]:
    return [finding.code for finding in compilation.diagnostics if finding.severity == "error"]


def test_its_columns_are_those_of_its_files(registry: Path) -> None:
    assert errors(checked(MODEL + COMPLETED + LEARN, registry)) == []
    wrong = checked(MODEL + COMPLETED.replace("answer", "anser") + LEARN, registry)
    assert errors(wrong) == ["E0502"]
    label = next(f for f in wrong.diagnostics if f.code == "E0502").words.label
    assert label == f"not a column of {REGISTERED}"


def test_several_files_are_one_dataset(registry: Path, folder: Path) -> None:
    for name, column in (("a.csv", "question"), ("b.csv", "answer")):
        (folder / name).write_text(f"{column},note\n1,2\n", encoding="utf-8")
    files = [folder / "a.csv", folder / "b.csv"]
    add(registry.parent / "datasets", "both", files, "csv", rows=2, created="2026-01-31T12:00:00+00:00")
    text = COMPLETED.replace(f'"{REGISTERED}"', '"both"')
    assert errors(checked(MODEL + text + LEARN, registry)) == []
    assert errors(checked(MODEL + text.replace("note", "nothing") + LEARN, registry)) == []


def test_without_a_registry_nobody_could_look() -> None:
    assert set(codes(checked(MODEL + COMPLETED + LEARN, None))) == {"N0501", "W0601"}


def test_a_key_that_nothing_was_registered_under(registry: Path) -> None:
    found = checked(MODEL + COMPLETED.replace(REGISTERED, "number") + LEARN, registry)
    assert errors(found) == ["E0542"]
    assert '"number"' in pointed_at(found)
    (fix,) = found.diagnostics[0].fixes
    assert [edit.text for edit in fix.edits] == [f'"{REGISTERED}"']
    assert errors(checked(MODEL + COMPLETED.replace(REGISTERED, "../models") + LEARN, registry)) == ["E0542"]


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("nothing", "it is not json"),
        ('{"format_version": 9}', "another version of harmony wrote it"),
        (MANIFEST.replace('"x"', '"../x"'), "no manifest"),
        (MANIFEST.replace("jsonl", "xml"), "no manifest"),
    ],
)
def test_a_manifest_that_cannot_be_read(manifest: str, words: str, registry: Path) -> None:
    (registry.parent / "datasets" / REGISTERED / "harmony.json").write_text(manifest, encoding="utf-8")
    found = checked(MODEL + COMPLETED + LEARN, registry)
    assert errors(found) == ["E0507"]
    assert words in said(found)


def test_a_file_that_is_gone(registry: Path) -> None:
    (registry.parent / "datasets" / REGISTERED / "sums.jsonl").unlink()
    found = checked(MODEL + COMPLETED + LEARN, registry)
    assert errors(found) == ["E0507"]
    assert "it is no longer there" in said(found)


def test_compressed_parquet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(arrow.table({"question": ["1+1"], "answer": ["2"]}), folder / "a.parquet")
    packed = gzip.compress((folder / "a.parquet").read_bytes())
    (folder / "a.parquet.gz").write_bytes(packed)
    text = (
        'dataset demos = parquet("a.parquet.gz") { prompt = "{{ question }}", completion = "{{ anser }}" }\n'
    )
    assert errors(check_text(MODEL + text + LEARN)) == ["E0502"]
    monkeypatch.setattr("harmony_compiler.data.heads.HEAD", len(packed) // 32)
    (note,) = check_text(MODEL + text + LEARN).diagnostics[:1]
    assert note.code == "N0501"
    assert "compressed as a whole" in note.words.message


MIXED = """\
dataset more = sums { limit = 1 }
dataset asked = mix([sums, more]) { weights = [50%, 50%] }
"""
ANSWERED = MODEL + GRADER.replace("metadata.answer", "completion") + REINFORCE


@pytest.mark.parametrize(
    ("change", "blamed"),
    [
        (("limit = 1", 'limit = 1, on_too_long = "truncate"'), ['"truncate"']),
        (("50%] }", '50%], on_too_long = "truncate" }'), ['"truncate"']),
        (("50%] }", '50%], on_too_long = "error" }'), []),
    ],
)
def test_a_mixture_that_cuts_prompts(change: tuple[str, str], blamed: list[str], registry: Path) -> None:
    found = checked(SUMS + MIXED.replace(*change) + ANSWERED, registry)
    assert [f.span.text for f in found.diagnostics if f.code == "E0513"] == blamed


def test_a_mixture_that_decides_itself_leaves_nothing_to_its_datasets(registry: Path) -> None:
    mixed = MIXED.replace("limit = 1", 'limit = 1, on_too_long = "truncate"')
    mixed = mixed.replace("50%] }", '50%], on_too_long = "drop" }')
    found = checked(SUMS + mixed + ANSWERED, registry)
    assert "E0513" not in codes(found)

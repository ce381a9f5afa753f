"""Whatever a person can get wrong is a finding at its place and exit code 1, never a traceback."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from dsl_support import Harmonyc, Write


@dataclass(frozen=True)
class Bad:
    """One mistake: what is changed in the small recipe, and the finding that must come of it."""

    title: str
    code: str
    at: str
    """The text that the finding points at."""
    changes: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()


BAD = [
    Bad("misspelt field", "E0401", "max_grad_nrom", (("max_grad_norm", "max_grad_nrom"),)),
    Bad("wrong type", "E0301", '"fast"', (("lr = 1e-2", 'lr = "fast"'),)),
    Bad("unknown name", "E0204", "tinny", (("model = tiny\n", "model = tinny\n"),)),
    Bad("missing file", "E0501", '"sum.jsonl"', (('"sums.jsonl"', '"sum.jsonl"'),)),
    Bad("missing column", "E0502", "anser", (("{{ answer }}", "{{ anser }}"),)),
    Bad("rows of the wrong kind", "E0301", "sums", (('  completion = "{{ answer }}"\n', ""),)),
    Bad("missing input", "E0421", "key", (('input key: str = "small"', "input key: str"),)),
    Bad("unknown input", "E0420", "kee", arguments=("--set", "kee=x")),
    Bad(
        "ill-typed input",
        "E0301",
        '"many"',
        (
            ('input key: str = "small"', 'input key: str = "small"\ninput count: int = 3'),
            ("= 3\n}", "= count\n}"),
        ),
        ("--set", 'count="many"'),
    ),
    Bad("neither epochs nor steps", "E0408", "sft", (("  steps = 3\n", ""),)),
    Bad("both epochs and steps", "E0407", "epochs", (("steps = 3", "steps = 3\n  epochs = 1"),)),
    Bad("rows of another stage", "E0301", "sums", (("= sft {", "= dpo {"),)),
    Bad("missing value", "E0121", "", (("lr = 1e-2", "lr ="),)),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.title)
def test_a_mistake_is_a_finding_at_its_place(bad: Bad, harmonyc: Harmonyc, write: Write) -> None:
    recipe = write(*bad.changes)
    told = harmonyc("check", recipe.name, "--format", "json", *bad.arguments)
    findings = json.loads(told.out)["diagnostics"]
    errors = [finding for finding in findings if finding["severity"] == "error"]
    assert [finding["code"] for finding in errors] == [bad.code], told.out
    assert told.code == 1
    assert told.err == ""
    span = errors[0]["span"]
    if bad.arguments:
        assert span["file"].startswith("--set")
    else:
        assert span["file"] == recipe.name
        text = recipe.read_text(encoding="utf-8")
        assert text[span["start"]["offset"] : span["end"]["offset"]] == bad.at

    for command in ("check", "plan", "compile", "run"):
        plain = harmonyc(command, recipe.name, *bad.arguments)
        said = plain.out if command == "check" else plain.err
        assert plain.code == 1, command
        assert bad.code in said, command
        assert "Traceback" not in plain.out + plain.err


def test_a_malformed_line_is_found_in_the_data_file(harmonyc: Harmonyc, write: Write, house: Path) -> None:
    recipe = write()
    data = house / "sums.jsonl"
    lines = data.read_text(encoding="utf-8").splitlines()
    lines[6] = '{"question": "6+6", "answer": '
    data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    told = harmonyc("check", recipe.name)
    assert told.code == 1
    assert "sums.jsonl:7:" in told.out
    assert "1 error" in told.out


def test_a_key_that_is_taken(harmonyc: Harmonyc, write: Write, tmp_path: Path) -> None:
    held = tmp_path / "home" / "models" / "small"
    held.mkdir(parents=True)
    entry = {"identity": "0" * 32, "recipe": "other", "stage": "warm", "created": "2024-01-01T00:00:00Z"}
    (held / "harmony.json").write_text(json.dumps({"format_version": 1, "key": "small", **entry}))
    told = harmonyc("check", write().name)
    assert told.code == 1
    assert "E0603" in told.out
    assert "`small`" in told.out


@pytest.mark.parametrize("command", ["check", "plan", "compile", "run"])
def test_a_recipe_that_is_not_there(command: str, harmonyc: Harmonyc) -> None:
    told = harmonyc(command, "nowhere.recipe")
    assert told.code == 1
    assert "nowhere.recipe" in told.out + told.err
    assert "Traceback" not in told.out + told.err


def test_a_recipe_that_is_not_text(harmonyc: Harmonyc, house: Path) -> None:
    (house / "odd.recipe").write_bytes(b"recipe \xff\xfe {}")
    told = harmonyc("check", "odd.recipe")
    assert told.code == 1
    assert "odd.recipe" in told.out


def test_a_folder_is_no_recipe(harmonyc: Harmonyc, house: Path) -> None:
    (house / "folder.recipe").mkdir()
    told = harmonyc("check", "folder.recipe")
    assert told.code == 1
    assert "folder.recipe" in told.out

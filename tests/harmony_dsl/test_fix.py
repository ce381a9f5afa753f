"""`check --fix`: what is safe is mended in place, and a file that would still not check is left alone."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import jsonschema
import pytest
from dsl_support import SMALL, Harmonyc, Write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_cli import SCHEMA

from harmony_compiler.compile import compile_recipe
from harmony_dsl.cli.fix import mend_file
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.source import Source

MISSPELT = ("max_grad_norm", "max_grad_nrom")
UNKNOWN = ("model = tiny", "model = tinny")
SHORT = ("samples_per_batch = 4", "samples_per_batch: 4;")

FIXED = {
    **SCHEMA,
    "required": [*SCHEMA["required"], "fixed"],
    "properties": {
        **SCHEMA["properties"],
        "fixed": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["file", "line", "code", "message", "written"],
                "additionalProperties": False,
                "properties": {
                    "file": {"type": "string"},
                    "line": {"type": "integer", "minimum": 1},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                    "written": {"type": "boolean"},
                },
            },
        },
    },
}


def test_a_recipe_is_mended(harmonyc: Harmonyc, write: Write) -> None:
    recipe = write(MISSPELT, SHORT)
    told = harmonyc("check", recipe.name, "--fix")
    assert told.code == 0
    assert told.err == ""
    assert told.out == (
        "small.recipe:17: the language has no `;`: leave out the `;`\n"
        "small.recipe:18: `sft` has no field `max_grad_nrom`: write `max_grad_norm`\n"
        "small.recipe:17: a value is given with `=`, not with `:`: write `=`\n"
        "small.recipe: 3 fixes written\n"
        "small.recipe: no problems found\n"
    )
    assert recipe.read_text(encoding="utf-8") == SMALL
    assert harmonyc("check", recipe.name, "--fix").out == "small.recipe: no problems found\n"


def test_a_recipe_that_would_still_not_check_is_left_alone(harmonyc: Harmonyc, write: Write) -> None:
    recipe = write(MISSPELT, UNKNOWN)
    before = recipe.read_bytes(), recipe.stat().st_mtime_ns
    told = harmonyc("check", recipe.name, "--fix")
    assert told.code == 1
    assert "write `max_grad_norm` (not written)\n" in told.out
    assert "small.recipe: left as it is, since it would still have errors with 1 fix\n" in told.out
    assert "error[E0204" in told.out
    assert "error[E0401" not in told.out
    assert told.out.endswith("\n1 error\n")
    assert (recipe.read_bytes(), recipe.stat().st_mtime_ns) == before


def test_what_is_unsafe_is_not_applied(harmonyc: Harmonyc, write: Write) -> None:
    recipe = write(UNKNOWN)
    before = recipe.read_bytes()
    told = harmonyc("check", recipe.name, "--fix")
    assert (told.code, recipe.read_bytes()) == (1, before)
    assert told.out == harmonyc("check", recipe.name).out


def test_each_file_stands_for_itself(harmonyc: Harmonyc, write: Write) -> None:
    good, bad = write(MISSPELT, name="good.recipe"), write(MISSPELT, UNKNOWN, name="bad.recipe")
    told = harmonyc("check", good.name, bad.name, good.name, "missing.recipe", "--fix")
    assert told.code == 1
    assert good.read_text(encoding="utf-8") == SMALL
    assert bad.read_text(encoding="utf-8") != SMALL
    assert told.out.count("good.recipe: 1 fix written") == 1
    assert "error[E0509" in told.out


def test_json(harmonyc: Harmonyc, write: Write) -> None:
    write(MISSPELT, name="good.recipe")
    bad = write(MISSPELT, UNKNOWN, name="bad.recipe")
    text = bad.read_text(encoding="utf-8")
    told = harmonyc("check", "good.recipe", "bad.recipe", "--fix", "--format", "json")
    found = json.loads(told.out)
    jsonschema.validate(found, FIXED)
    assert told.code == 1
    assert [(fixed["file"], fixed["written"]) for fixed in found["fixed"]] == [
        ("good.recipe", True),
        ("bad.recipe", False),
    ]
    # What is left is told of the file as it is.
    assert [finding["code"] for finding in found["diagnostics"]] == ["E0204", "E0401"]
    for finding in found["diagnostics"]:
        span = finding["span"]
        assert text[span["start"]["offset"] : span["end"]["offset"]] in ("tinny", "max_grad_nrom")


def test_fixes_in_json_are_edits_of_the_file(harmonyc: Harmonyc, write: Write) -> None:
    recipe = write(MISSPELT)
    text = recipe.read_text(encoding="utf-8")
    told = json.loads(harmonyc("check", recipe.name, "--format", "json").out)
    jsonschema.validate(told, SCHEMA)
    [fix] = told["diagnostics"][0]["fixes"]
    [edit] = fix["edits"]
    start, end = edit["span"]["start"]["offset"], edit["span"]["end"]["offset"]
    assert (fix["message"], fix["applicability"]) == ("write `max_grad_norm`", "safe")
    assert text[:start] + edit["text"] + text[end:] == SMALL


def test_warnings_stay_and_can_be_denied(harmonyc: Harmonyc, write: Write) -> None:
    unused = ("train adder", 'dataset spare = jsonl("sums.jsonl")\ntrain adder')
    told = harmonyc("check", write(MISSPELT, unused).name, "--fix")
    assert (told.code, told.out.splitlines()[-1]) == (0, "1 warning")
    assert harmonyc("check", write(MISSPELT, unused).name, "--fix", "--deny-warnings").code == 1


def test_inputs_are_not_mended(harmonyc: Harmonyc, write: Write) -> None:
    recipe = write(("input key", "input rate: float\ninput key"), ("lr = 1e-2", "lr = rate"))
    before = recipe.read_bytes()
    told = harmonyc("check", recipe.name, "--fix", "--set", "rate=.5")
    assert told.code == 1
    assert "E0107" in told.out
    assert recipe.read_bytes() == before


def test_an_import_is_never_changed(harmonyc: Harmonyc, write: Write, house: Path) -> None:
    library = write(MISSPELT, name="library.recipe")
    before = library.read_bytes()
    main = house / "main.recipe"
    main.write_text('import "library.recipe" as other\nsave other.adder as "x" { if_exist = "rename" }\n')
    told = harmonyc("check", "main.recipe", "--fix")
    assert told.code == 1
    assert library.read_bytes() == before
    assert "if_exist " in main.read_text(encoding="utf-8")
    assert harmonyc("check", "library.recipe", "main.recipe", "--fix").code == 0
    assert "if_exists " in main.read_text(encoding="utf-8")


def test_bytes_that_no_fix_touches_stay(harmonyc: Harmonyc, write: Write) -> None:
    recipe = write()
    marked = SMALL.replace("seed = 1 }", "seed = 1 } # é\t").replace("\n", "\r\n")
    schedule = "  schedule = linear {\r\n    floor = 0%\r\n  }\r\n"
    lr = "  lr = 1e-2\r\n"
    bad = marked.replace(lr, lr + schedule + "  warmup = 5%\r\n").replace(*MISSPELT)
    recipe.write_bytes(b"\xef\xbb\xbf" + bad.encode())
    assert harmonyc("check", recipe.name, "--fix").code == 0
    moved = schedule.replace("0%\r\n", "0%\r\n    warmup = 5%\r\n")
    assert recipe.read_bytes() == b"\xef\xbb\xbf" + marked.replace(lr, lr + moved).encode()


def test_mode_and_link_stay(harmonyc: Harmonyc, write: Write, house: Path) -> None:
    recipe = write(MISSPELT, name="real.recipe")
    recipe.chmod(0o640)
    link = house / "small.recipe"
    link.symlink_to("real.recipe")
    assert harmonyc("check", "small.recipe", "--fix").code == 0
    assert link.is_symlink()
    assert recipe.stat().st_mode & 0o777 == 0o640
    assert recipe.read_text(encoding="utf-8") == SMALL
    assert sorted(path.name for path in house.iterdir()) == ["real.recipe", "small.recipe", "sums.jsonl"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_may_not_be_written_is_said(harmonyc: Harmonyc, write: Write) -> None:
    recipe = write(MISSPELT)
    recipe.chmod(0o440)
    told = harmonyc("check", recipe.name, "--fix")
    assert told.code == 2
    assert told.err.startswith("harmonyc: cannot write")


def test_a_file_that_somebody_writes_meanwhile_is_left_alone(
    harmonyc: Harmonyc, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write(MISSPELT)

    def meanwhile(source: Source, check: object) -> object:
        recipe.write_text(SMALL + "# mine\n", encoding="utf-8")
        return mend_file(source, check)  # type: ignore[arg-type]

    monkeypatch.setattr("harmony_dsl.cli.fix.mend_file", meanwhile)
    told = harmonyc("check", recipe.name, "--fix")
    assert told.code == 2
    assert "was changed meanwhile" in told.err
    assert recipe.read_text(encoding="utf-8") == SMALL + "# mine\n"


# --- one slip of the fingers ----------------------------------------------------------------------------

WRITTEN = """\
model tiny = scratch {
  hidden_size = 8
  layers = 1
  heads = 2
  context = 64
}
dataset sums = rows([{ question = "1+1", answer = "2" }]) {
  prompt = "{{ question }}"
  completion = "{{ answer }}"
  on_too_long = "error"
}
dataset asked = rows([{ question = "1+1", answer = "2" }]) {
  prompt = "{{ question }}"
  metadata = { answer = "{{ answer }}" }
}
grader right = equals { expected = "{{ metadata.answer }}", max_failure_rate = 5% }
train warm = sft {
  model = tiny
  dataset = sums
  samples_per_batch = 4
  max_grad_norm = 1.0
  weight_decay = 0.1
  schedule = linear { warmup = 10%, floor = 5% }
  steps = 3
}
train adder = grpo {
  model = warm
  dataset = asked
  grader = right
  completions_per_sample = 2
  samples_per_batch = 4
  samples_per_mini_batch = 2
  kl_beta = 0.05
  sampling { max_tokens = 8, temperature = 0.9 }
  steps = 3
}
save adder as "adder" { if_exists = "rename" }
"""
KEYS = [match.span(1) for match in re.finditer(r"([a-z_]+) = (?!scratch|rows|sft|grpo|equals)", WRITTEN)]
KEYS = [span for span in KEYS if WRITTEN[slice(*span)] not in ("question", "answer")]


@st.composite
def slips(draw: st.DrawFn) -> str:
    """The recipe with one letter of a field left out, added, replaced or swapped with its neighbour."""
    start, end = draw(st.sampled_from(KEYS))
    name = WRITTEN[start:end]
    at = draw(st.integers(0, len(name) - 1))
    letter = draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz_"))
    slip = draw(
        st.sampled_from(
            [
                name[:at] + name[at + 1 :],
                name[:at] + letter + name[at:],
                name[:at] + letter + name[at + 1 :],
                name[:at] + name[at + 1 : at + 2] + name[at] + name[at + 2 :],
            ]
        )
    )
    return WRITTEN[:start] + slip + WRITTEN[end:]


def check(source: Source) -> tuple[Diagnostic, ...]:
    return compile_recipe(source).diagnostics


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(slips())
def test_a_slip_in_the_name_of_a_field_is_undone_or_left(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """Undone, unless the slip made another name, or one that is as near to a second field."""
    path = tmp_path_factory.getbasetemp() / "slip.recipe"
    path.write_text(text, encoding="utf-8")
    source = Source(path.name, text, path)
    before = check(source)
    mended = mend_file(source, check)
    after = path.read_text(encoding="utf-8")
    assert after == (WRITTEN if mended.written else text)
    if not mended.written and any(finding.code == "E0401" for finding in before):
        [finding] = [finding for finding in before if finding.code == "E0401"]
        assert not any(fix.applicability == "safe" for fix in finding.fixes)


def test_most_slips_are_undone(tmp_path: Path) -> None:
    """Of every way to leave out one letter of a field, by far the most lead back."""
    undone = left = 0
    for start, end in KEYS:
        for at in range(start, end):
            text = WRITTEN[:at] + WRITTEN[at + 1 :]
            path = tmp_path / "slip.recipe"
            path.write_text(text, encoding="utf-8")
            mended = mend_file(Source(path.name, text, path), check)
            undone += mended.written
            left += not mended.written
    assert undone > 20 * left

"""`harmonyc check --format sarif`: logs that are valid, point at the text they speak of, and mend it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sarif_support
from dsl_support import Harmonyc, Write
from hypothesis import HealthCheck, Phase, given, settings
from sarif_support import LOG, OFFICIAL, validate

from harmony_compiler.explain.pages import given_out, page
from harmony_dsl.cli import sarif
from harmony_dsl.cli.sarif import sarif_log
from harmony_dsl.testing import Broken, broken, write_data
from harmony_dsl.testing.running import compiled

MISSPELT = ("max_grad_norm", "max_grad_nrom")


def run_of(harmonyc: Harmonyc, *arguments: str, code: int = 1) -> dict[str, Any]:
    told = harmonyc("check", *arguments, "--format", "sarif")
    assert (told.code, told.err) == (code, "")
    run = validate(json.loads(told.out))
    assert run["invocations"][0]["exitCode"] == code
    return run


def place(result: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    where = result["locations"][0]["physicalLocation"]
    return where["artifactLocation"], where["region"]


def stretch(text: str, region: dict[str, Any]) -> tuple[int, int]:
    """Where a region stands in a text, by its lines and columns."""
    starts = [0, *(at + 1 for at, sign in enumerate(text) if sign == "\n")]
    first = starts[region["startLine"] - 1] + region["startColumn"] - 1
    return first, starts[region["endLine"] - 1] + region["endColumn"] - 1


def test_a_recipe_without_findings_is_a_run_without_results(harmonyc: Harmonyc, write: Write) -> None:
    run = run_of(harmonyc, write().name, code=0)
    assert run["results"] == run["tool"]["driver"]["rules"] == []
    location = {"uri": "small.recipe", "uriBaseId": "%SRCROOT%"}
    assert run["artifacts"] == [{"location": location, "roles": ["analysisTarget"]}]


def test_a_finding_is_a_result_with_its_rule(harmonyc: Harmonyc, write: Write) -> None:
    run = run_of(harmonyc, write(MISSPELT).name)
    [rule], [result] = run["tool"]["driver"]["rules"], run["results"]
    assert (rule["id"], rule["name"], rule["defaultConfiguration"]) == (
        "E0401",
        "unknown-field",
        {"level": "error"},
    )
    assert rule["shortDescription"]["text"] == "The constructor has no field of this name."
    assert rule["fullDescription"]["text"].startswith(rule["shortDescription"]["text"] + " Every block is")
    assert rule["help"]["markdown"].startswith("# E0401 unknown-field\n\n")
    assert "```" not in rule["help"]["text"]
    assert result["message"]["text"] == (
        "`sft` has no field `max_grad_nrom`\nnot a field of `sft`\nhelp: did you mean `max_grad_norm`?"
    )


def test_no_description_holds_a_sample() -> None:
    """Folded into a line it means nothing."""
    with_samples = 0
    for code, entry in given_out().items():
        shown = page(code)
        if shown is None:
            continue
        with_samples += "```" in shown.prose
        finding = SimpleNamespace(code=code, slug=entry.slug, severity="error")
        described = sarif._rule(finding)["fullDescription"]  # type: ignore[arg-type]
        assert described["text"]
        assert "```" not in described["text"] + described["markdown"], code
    assert with_samples > 5


def test_regions_count_as_they_say(harmonyc: Harmonyc, write: Write) -> None:
    """Columns and offsets are code points, also behind a sign that takes two in other encodings."""
    path = write(MISSPELT, ("recipe small { seed = 1 }", "recipe small { seed = 1 } # 𝄞 é"))
    text = path.read_text(encoding="utf-8")
    [result] = run_of(harmonyc, path.name)["results"]
    _, region = place(result)
    first, last = stretch(text, region)
    assert text[first:last] == "max_grad_nrom"
    assert (region["charOffset"], region["charLength"]) == (first, last - first)


def mended(path: Path, results: list[dict[str, Any]]) -> str:
    """The text of a file with the first fix of every result applied, as a reader of the log would."""
    text = path.read_bytes().decode()
    edits = [
        (*stretch(text, edit["deletedRegion"]), edit.get("insertedContent", {"text": ""})["text"])
        for result in results
        for change in result["fixes"][0]["artifactChanges"]
        for edit in change["replacements"]
    ]
    for first, last, new in sorted(edits, reverse=True):
        text = text[:first] + new + text[last:]
    return text


def test_fixes_mend_what_they_are_for(harmonyc: Harmonyc, write: Write) -> None:
    path = write(MISSPELT, ("  layers = 1", "  layer = 1"))
    results = run_of(harmonyc, path.name)["results"]
    assert len(results) == 2
    path.write_text(mended(path, results), encoding="utf-8")
    assert run_of(harmonyc, path.name, code=0)["results"] == []


def test_fixes_keep_the_line_ends_of_the_file(harmonyc: Harmonyc, write: Write) -> None:
    path = write(("}\nsave", "} save"))
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    results = run_of(harmonyc, path.name)["results"]
    text = mended(path, results)
    assert text.count("\r\n") == text.count("\n") == path.read_bytes().count(b"\n") + 1


def test_further_places_are_related_locations(harmonyc: Harmonyc, write: Write) -> None:
    path = write(("train adder", 'model tiny = hf("a/b")\ntrain adder'))
    results = run_of(harmonyc, path.name)["results"]
    [twice] = [result for result in results if result.get("relatedLocations")]
    [related] = twice["relatedLocations"]
    assert related["id"] == 1
    region = related["physicalLocation"]["region"]
    first, last = stretch(path.read_text(encoding="utf-8"), region)
    assert path.read_text(encoding="utf-8")[first:last] == "tiny"


def test_an_argument_of_the_command_has_an_address(harmonyc: Harmonyc, write: Write) -> None:
    rate = 'input key: str = "small"\ninput rate: float = 1e-2 where rate < 1'
    path = write(('input key: str = "small"', rate), ("lr = 1e-2", "lr = rate"))
    run = run_of(harmonyc, path.name, "--set", "rate=2.0")
    [result] = run["results"]
    location, region = place(result)
    assert location == {"uri": "--set%20rate", "index": 1}
    assert "charOffset" not in region
    assert run["artifacts"][1]["description"] == {"text": "no file: `--set rate`, an argument of the command"}


def test_addresses_are_relative_and_encoded(harmonyc: Harmonyc, write: Write, house: Path) -> None:
    (house / "my recipes #1").mkdir()
    outside = house.parent / "ä b.recipe"
    inside = house / "my recipes #1" / "50% é.recipe"
    for path in (inside, outside):
        path.write_text("model a = zzz\n", encoding="utf-8")
    named = [str(inside), "my recipes #1/../my recipes #1/50% é.recipe", str(outside)]
    run = run_of(harmonyc, *named)
    addresses = {place(result)[0]["uri"] for result in run["results"]}
    assert addresses == {"my%20recipes%20%231/50%25%20%C3%A9.recipe", outside.as_uri()}
    assert [one["location"].get("uriBaseId") for one in run["artifacts"]] == ["%SRCROOT%", None]


def test_a_row_of_data_is_pointed_at_in_its_file(harmonyc: Harmonyc, write: Write, house: Path) -> None:
    path = write()
    with (house / "sums.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"question": "1+1", "answer": }\n')
    [result] = run_of(harmonyc, path.name)["results"]
    location, region = place(result)
    assert (location["uri"], region["startLine"]) == ("sums.jsonl", 11)
    assert "charOffset" not in region


def test_a_file_that_cannot_be_read_is_a_result(harmonyc: Harmonyc) -> None:
    [result] = run_of(harmonyc, "missing.recipe")["results"]
    location, region = place(result)
    assert (location["uri"], region["startLine"]) == ("missing.recipe", 1)


def test_findings_keep_their_fingerprints_when_lines_move(harmonyc: Harmonyc, write: Write) -> None:
    def prints() -> list[str]:
        run = run_of(harmonyc, "small.recipe")
        return [result["partialFingerprints"]["harmonyFinding/v1"] for result in run["results"]]

    path = write(MISSPELT, ("  layers = 1", "  layer = 1"), ("  steps = 3", "  stepz = 3"))
    before = prints()
    text = path.read_text(encoding="utf-8")
    path.write_text(f"# A comment.\n\n{text.replace('  max_grad', '    max_grad')}", encoding="utf-8")
    assert len(before) >= 3
    assert prints() == before
    path.write_text(text.replace("  layer ", "  layerz "), encoding="utf-8")
    assert len(set(prints()) & set(before)) == len(before) - 1


def test_findings_that_are_alike_have_prints_of_their_own(harmonyc: Harmonyc, write: Write) -> None:
    path = write(("  lr = 1e-2", "  lr = 1e-2\n  seed = 1\n  seed = 2\n  seed = 2"))
    results = run_of(harmonyc, path.name)["results"]
    assert len(results) == 2  # and `validate` looks at the prints


def test_a_secret_is_in_no_part_of_a_log(harmonyc: Harmonyc, write: Write) -> None:
    served = (
        'model big = endpoint("http://h/v1") { model = "m", key = "sk-0123456789abcdefghij" }\ntrain adder'
    )
    told = harmonyc("check", write(("train adder", served)).name, "--format", "sarif")
    assert validate(json.loads(told.out))["results"]
    assert "0123456789" not in told.out


def test_messages_are_plain_text_for_those_who_fill_in_and_link() -> None:
    assert sarif._message("`{{ a }}` and [a](b), list[T]") == {"text": "`{{{{ a }}}}` and \\[a](b), list[T]"}


def test_what_is_left_after_fixing_is_told(harmonyc: Harmonyc, write: Write) -> None:
    path = write(MISSPELT)
    assert run_of(harmonyc, path.name, "--fix", code=0)["results"] == []
    assert "max_grad_norm" in path.read_text(encoding="utf-8")


def test_warnings_that_are_denied_stay_warnings(harmonyc: Harmonyc, write: Write) -> None:
    path = write(("train adder", "let spare = 1\ntrain adder"))
    for arguments, code in (((), 0), (("--deny-warnings",), 1)):
        [result] = run_of(harmonyc, path.name, *arguments, code=code)["results"]
        assert result["level"] == "warning"


def test_of_too_many_findings_those_that_matter_least_are_left_out(
    harmonyc: Harmonyc, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sarif, "MOST_RESULTS", 2)
    write(("train adder", "let spare = 1\nlet other = 2\ntrain adder"), name="one.recipe")
    write(MISSPELT, name="two.recipe")
    run = run_of(harmonyc, "one.recipe", "two.recipe")
    assert [result["level"] for result in run["results"]] == ["warning", "error"]
    [notification] = run["invocations"][0]["toolExecutionNotifications"]
    assert notification["message"]["text"].startswith("1 findings are left out")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


@settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=20,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(broken())
def test_the_log_of_any_broken_recipe_is_valid(data: Path, recipe: Broken) -> None:
    found = compiled(recipe.recipe, data, data / "home" / "models").diagnostics
    log = sarif_log(["generated.recipe"], found, 1)
    assert len(validate(log)["results"]) == len(found)


@pytest.mark.skipif(not OFFICIAL, reason="SARIF_SCHEMA names no copy of the schema of OASIS")
def test_what_these_tests_ask_for_is_what_the_standard_has() -> None:
    schema = json.loads(Path(OFFICIAL).read_text(encoding="utf-8"))

    def compare(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
        theirs = schema["definitions"][theirs["$ref"].rpartition("/")[2]] if "$ref" in theirs else theirs
        if theirs.get("additionalProperties") is False:
            assert set(ours["properties"]) <= set(theirs["properties"])
            assert set(ours["required"]) >= set(theirs.get("required", ()))
            for name, part in ours["properties"].items():
                compare(part, theirs["properties"][name])
        if "enum" in ours and "enum" in theirs:
            assert set(ours["enum"]) <= set(theirs["enum"])
        if "items" in ours:
            compare(ours["items"], theirs["items"])

    compare(LOG, schema)
    assert sarif_support.LOG["properties"]["version"]["const"] in schema["properties"]["version"]["enum"]

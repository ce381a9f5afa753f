"""Addresses, and secrets that a recipe writes out: found, and shown nowhere."""

from __future__ import annotations

import json

import pytest
from compiler_support import ASKED, GRADER, REINFORCED, check_text, codes, pointed_at, replaced

from harmony_compiler.compile import Compilation
from harmony_grammar.masking import MASK, masked
from harmony_grammar.rendering import render_text, to_json

SECRET = "hunter2-and-more"


def shown(compilation: Compilation) -> str:
    """Everything that any format prints of the findings."""
    findings = compilation.diagnostics
    return render_text(findings) + render_text(findings, color=True) + json.dumps(to_json(findings))


def judged(endpoint: str, more: str = "") -> str:
    judge = f'grader right = judge {{\n  model = {endpoint}\n  criteria = "good"\n}}\n'
    return more + replaced(REINFORCED, (GRADER, judge))


# --- addresses ------------------------------------------------------------------------------------------

ADDRESSES = [
    # an address, and the mend, "" where there is none, None where nothing is wrong
    ("http://localhost:8000/v1", None),
    ("https://api.example.com", None),
    ("HTTPS://API.example.com/v1/?a=b#c", None),
    ("http://127.0.0.1:8000", None),
    ("http://[::1]:8000/v1", None),
    ("http://my_host:80", None),
    ("https://user@api.example.com", None),
    ("https://bücher.example", None),
    ("localhost:8000/v1", "`http://localhost:8000/v1`"),
    ("127.0.0.1:8000", "`http://127.0.0.1:8000`"),
    ("api.example.com/v1", "`https://api.example.com/v1`"),
    ("//api.example.com", "`https://api.example.com`"),
    ("http:/localhost:8000", "`http://localhost:8000`"),
    ("http//localhost", "`http://localhost`"),
    ("wss://api.example.com", "`https://api.example.com`"),
    ("ws://localhost:1", "`http://localhost:1`"),
    ("ftp://api.example.com", "`http://api.example.com`"),
    (" http://localhost ", "`http://localhost`"),
    ("http://local host", "`http://localhost`"),
    ("http://", ""),
    ("http:///v1", ""),
    ("https://:80", ""),
    ("http://localhost:port", ""),
    ("http://localhost:99999", ""),
    ("http://localhost:0", ""),
    ("http://-a", ""),
    ("http://{{ host }}", ""),
    ("http://a:b:c", ""),
    ("", ""),
]


@pytest.mark.parametrize(("url", "mend"), ADDRESSES)
def test_an_address_is_one_of_a_server(url: str, mend: str | None) -> None:
    for text in (
        judged(f'endpoint("{url}", model = "a")'),
        replaced(REINFORCED, (GRADER, f'grader right = remote("{url}")\n')),
    ):
        found = check_text(text)
        assert codes(found) == ["E0415"] * (mend is not None)
        assert all((mend or "") in finding.words.help for finding in found.diagnostics)


@pytest.mark.parametrize("repo", ["https://huggingface.co/Qwen/Qwen3-0.6B", "hf://Qwen/Qwen3-0.6B"])
def test_a_repository_is_no_address(repo: str) -> None:
    found = check_text(f'model a = hf("{repo}")\ndataset b = hf("{repo}")\n')
    assert [code for code in codes(found) if code[0] == "E"] == ["E0406", "E0406"]


# --- credentials ----------------------------------------------------------------------------------------

EXPOSED = [
    # a declaration that a secret stands in, and what is blamed
    f'let a = "https://user:{SECRET}@host.example/path"',
    f'let a = "https://:{SECRET}@host.example"',
    f'let a = "postgres://user:{SECRET}@host"',
    f'model a = hf("https://user:{SECRET}@huggingface.co/x")',
    f'dataset a = jsonl("https://user:{SECRET}@host/rows.jsonl")',
    f'let a = endpoint("https://user:{SECRET}@host", model = "a")',
    f'let a = endpoint("https://{SECRET}@host", model = "a")',
    f'let a = endpoint("https://host/?x=1&token={SECRET}", model = "a")',
    f'grader a = remote("https://host/?api_key={SECRET}&x=1")',
    f'let a = {{ b = ["https://user:{SECRET}@host"] }}',
    f'input a: str = "https://user:{SECRET}@host"',
    f'input a: str = "x" where a != "https://user:{SECRET}@host"',
]


@pytest.mark.parametrize("declaration", EXPOSED)
def test_a_credential_in_an_address(declaration: str) -> None:
    found = check_text(declaration + "\n")
    errors = [finding for finding in found.diagnostics if finding.severity == "error"]
    assert [finding.code for finding in errors] == ["E0417"]
    assert [finding.span.text for finding in errors] == [SECRET]
    assert SECRET not in shown(found)
    assert MASK in shown(found)


def test_a_credential_in_the_value_of_an_input() -> None:
    for type_ in ("str", "Path", "Template"):
        found = check_text(f"input a: {type_}\nlet b = a\n", [f"a=https://user:{SECRET}@host"])
        assert codes(found) == ["E0417"]
        assert SECRET not in shown(found)


INNOCENT = [
    'let a = "https://host.example/path"',
    'let a = "https://user@host"',
    'let a = "mailto:someone@example.com"',
    'grader a = contains("see https://user:password@host for more")',
    'grader a = contains("https://host/?token=abcdefg")',
    'let a = "git@github.com:owner/name"',
    'let a = endpoint("https://host/?page=3&keys=2", model = "a")',
]


@pytest.mark.parametrize("declaration", INNOCENT)
def test_what_is_no_credential_in_an_address(declaration: str) -> None:
    assert codes(check_text(declaration + "\n")) == []


# --- secrets that are written out -----------------------------------------------------------------------

SECRETS = [
    f'endpoint("http://h", model = "a", key = "{SECRET}")',
    f'endpoint("http://h", model = "a", key = r"{SECRET}")',
    f'endpoint("http://h", model = "a", key = """{SECRET}""")',
    f'endpoint("http://h", model = "a", key = "{SECRET[:7]}" + "{SECRET[7:]}")',
    f'endpoint("http://h", model = "a", key = if 1 < 2 then "{SECRET}" else none)',
    f'endpoint("http://h", model = "a", headers = {{ Authorization = "Bearer {SECRET}" }})',
    f'endpoint("http://h", model = "a", headers = {{ "x-api-key" = "{SECRET}" }})',
]


@pytest.mark.parametrize("endpoint", SECRETS)
def test_a_secret_as_text_is_not_shown(endpoint: str) -> None:
    found = check_text(judged(endpoint))
    assert codes(found) == ["E0424"]
    assert SECRET not in shown(found)
    assert SECRET[7:] not in shown(found)


def test_numbers_and_short_texts_may_be_secrets() -> None:
    for one, other in (("12345678", "87654321"), ('"a1"', '"b2"')):
        both = f'endpoint("http://h", model = "a", key = {one}, headers = {{ cookie = "{SECRET}" }})'
        found = check_text(judged(both) + f'let b = endpoint("http://h", model = "a", key = {other})\n')
        assert codes(found) == ["E0424"] * 3
        for secret in (one, other):
            assert secret.strip('"') not in render_text(found.diagnostics).replace(":", " ")


def test_a_secret_under_a_name_is_not_shown() -> None:
    declared = f'let mine = "{SECRET}"\n'
    found = check_text(judged('endpoint("http://h", model = "a", key = mine)', declared))
    assert (codes(found), pointed_at(found)) == (["E0424"], ["mine"])
    assert SECRET not in shown(found)


OTHER_FAULTS = [
    # further faults on the line of a secret, which would show it
    f'endpoint("http://h", modell = "a", key = "{SECRET}")',
    f'endpoint("ftp://h", model = "a", key = "{SECRET}")',
    f'endpoint("http://h", model = 3, key = "{SECRET}")',
    f'endpoint("http://h", model = "a", key = "{SECRET}", key = "{SECRET}")',
    f'endpoint("http://h", model = "a", api_key = "{SECRET}")',
    f'endpoint("http://h", model = "a", token = "{SECRET}")',
    f'endpoint("http://user:{SECRET}@h", modell = "a", headers = {{ a = nothing }})',
    f'endpoint("http://user:{SECRET}@h", model = "a" "b")',
    f'endpoint("http://user:{SECRET}@h", model = "\\q")',
    f'endpoint("http://user:{SECRET}@h, model = "a")',
    'endpoint("http://h", model = "a", kye = "sk-1234567890abcdefghij")',
]


@pytest.mark.parametrize("endpoint", OTHER_FAULTS)
def test_no_other_finding_shows_a_secret(endpoint: str) -> None:
    found = check_text(judged(endpoint))
    assert found.graph is None
    assert SECRET not in shown(found)
    assert "1234567890abcdefghij" not in shown(found)


def test_messages_that_quote_the_recipe_do_not_tell() -> None:
    address = f'endpoint("https://user:{SECRET}@h", model = "a")'
    report = (
        f"evaluate r = compare {{ models = [{address}, {address}], dataset = asked, graders = [right] }}\n"
    )
    found = check_text(ASKED + GRADER + report)
    assert SECRET not in shown(found)
    key = f'endpoint("https://h", model = "a", key = "{SECRET}")'
    report = f"evaluate r = compare {{ models = [{key}, {key}], dataset = asked, graders = [right] }}\n"
    found = check_text(ASKED + GRADER + report)
    assert set(codes(found)) == {"E0424", "E0412"}
    assert SECRET not in shown(found)


def test_a_secret_by_its_name_is_none_of_this() -> None:
    for key in ('key = env("KEY")', 'headers = { Authorization = env("KEY"), "X-Title" = "harmony" }'):
        assert codes(check_text(judged(f'endpoint("http://h", model = "a", {key})'))) == []


LINES = [
    ('a = "https://u:abcdef@h"', 'a = "https://u:••••••@h"'),
    ("https://h/?key=abc&x=1", "https://h/?key=•••&x=1"),
    ('password = "abc"', 'password = "•••"'),
    ('end_token = "<eos>"', 'end_token = "<eos>"'),
    ('key = "sorter"', 'key = "sorter"'),
    ('token = "{{ token }}"', 'token = "{{ token }}"'),
    ("secrets are shared", "secrets are shared"),
]


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_what_is_masked_on_a_line(line: str, expected: str) -> None:
    assert masked(line) == expected
    assert len(masked(line)) == len(line)

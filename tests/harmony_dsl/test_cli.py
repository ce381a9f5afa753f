"""The command as people type it: exit codes, what goes to which stream, and help with typing errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from dsl_support import Harmonyc, Write

import harmony_dsl
from harmony_compiler.graph.graph import Graph
from harmony_dsl.cli import check

POSITION = {
    "type": "object",
    "required": ["line", "column", "offset"],
    "additionalProperties": False,
    "properties": {
        "line": {"type": "integer", "minimum": 1},
        "column": {"type": "integer", "minimum": 1},
        "offset": {"type": "integer", "minimum": 0},
    },
}
SPAN = {
    "type": "object",
    "required": ["file", "start", "end"],
    "additionalProperties": False,
    "properties": {"file": {"type": "string"}, "start": POSITION, "end": POSITION},
}
TEXT = {"type": "string"}
EDIT = {"type": "object", "required": ["span", "text"], "properties": {"span": SPAN, "text": TEXT}}
DIAGNOSTIC = {
    "type": "object",
    "required": [
        *("code", "slug", "severity", "message", "span", "labels", "notes", "help", "fixes", "rendered"),
    ],
    "additionalProperties": False,
    "properties": {
        "code": {"type": "string", "pattern": "^[EWN][0-9]{4}$"},
        "slug": {"type": "string", "pattern": "^[a-z]+(-[a-z]+)*$"},
        "severity": {"enum": ["error", "warning", "note"]},
        "message": TEXT,
        "span": SPAN,
        "labels": {"type": "array", "items": {"type": "object", "required": ["span", "message"]}},
        "notes": {"type": "array", "items": TEXT},
        "help": {"type": ["string", "null"]},
        "fixes": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["message", "applicability", "edits"],
                "properties": {
                    "message": TEXT,
                    "applicability": {"enum": ["safe", "unsafe"]},
                    "edits": {"type": "array", "items": EDIT},
                },
            },
        },
        "rendered": TEXT,
    },
}
SCHEMA = {
    "type": "object",
    "required": ["format_version", "diagnostics"],
    "additionalProperties": False,
    "properties": {
        "format_version": {"const": 1},
        "diagnostics": {"type": "array", "items": DIAGNOSTIC},
    },
}

MISSPELT = ("max_grad_norm", "max_grad_nrom")
UNUSED = ("train adder", 'dataset spare = jsonl("sums.jsonl")\ntrain adder')


def test_check_says_that_all_is_well(harmonyc: Harmonyc, write: Write) -> None:
    told = harmonyc("check", write().name)
    assert (told.code, told.out, told.err) == (0, "small.recipe: no problems found\n", "")


def test_check_of_several_files_shows_all_findings_and_counts_them(harmonyc: Harmonyc, write: Write) -> None:
    write(MISSPELT, name="one.recipe")
    write(MISSPELT, name="two.recipe")
    write(UNUSED, name="three.recipe")
    write(name="four.recipe")
    told = harmonyc("check", "one.recipe", "two.recipe", "three.recipe", "four.recipe")
    assert told.code == 1
    assert told.err == ""
    assert "one.recipe:18:3" in told.out
    assert "two.recipe:18:3" in told.out
    assert "three.recipe:13:9" in told.out
    assert told.out.endswith("2 errors, 1 warning\n")
    assert harmonyc("check", "four.recipe", "four.recipe").out == "2 files: no problems found\n"


def test_warnings_pass_unless_they_are_denied(harmonyc: Harmonyc, write: Write) -> None:
    recipe = write(UNUSED).name
    told = harmonyc("check", recipe)
    assert told.code == 0
    assert told.out.endswith("\n1 warning\n")
    assert harmonyc("check", recipe, "--deny-warnings").code == 1


def test_notes_never_fail(harmonyc: Harmonyc, write: Write) -> None:
    rows = 'rows([{ prompt = "1+1", completion = "2" }])'
    mapped = 'jsonl("sums.jsonl") {\n  prompt = "{{ question }}"\n  completion = "{{ answer }}"\n}'
    recipe = write((mapped, rows)).name
    for arguments in ((), ("--deny-warnings",), ("--fix",), ("--fix", "--deny-warnings")):
        told = harmonyc("check", recipe, *arguments)
        assert (told.code, told.out.splitlines()[-1]) == (0, "1 note"), told.out


@pytest.mark.parametrize("changes", [(), (MISSPELT,), (UNUSED,)], ids=["good", "bad", "doubtful"])
def test_json_is_what_the_contract_says(
    changes: tuple[tuple[str, str], ...], harmonyc: Harmonyc, write: Write
) -> None:
    told = harmonyc("check", write(*changes).name, "--format", "json")
    found = json.loads(told.out)
    jsonschema.validate(found, SCHEMA)
    assert len(found["diagnostics"]) == len(changes)
    assert told.code == (1 if MISSPELT in changes else 0)


def test_compile_writes_the_graph(harmonyc: Harmonyc, write: Write, house: Path) -> None:
    recipe = write(UNUSED).name
    told = harmonyc("compile", recipe)
    graph = Graph.from_json(json.loads(told.out))
    assert told.code == 0
    assert graph.name == "small"
    assert "W0201" in told.err
    quiet = harmonyc("compile", recipe, "-o", "graph.json")
    assert (quiet.code, quiet.out) == (0, "")
    assert (house / "graph.json").read_text(encoding="utf-8") == told.out


def test_compile_into_a_folder_that_is_not_there(harmonyc: Harmonyc, write: Write) -> None:
    told = harmonyc("compile", write().name, "-o", "nowhere/graph.json")
    assert told.code == 2
    assert told.err == "harmonyc: cannot write nowhere/graph.json: No such file or directory\n"


def test_plan_tells_defaults(harmonyc: Harmonyc, write: Write) -> None:
    recipe = write().name
    told = harmonyc("plan", recipe)
    assert (told.code, told.err) == (0, "")
    assert "adder" in told.out
    assert "weight_decay" in told.out
    assert isinstance(json.loads(harmonyc("plan", recipe, "--json").out), dict)


def test_inputs_are_set(harmonyc: Harmonyc, write: Write) -> None:
    told = harmonyc("compile", write().name, "--set", "key=other")
    assert json.loads(told.out)["inputs"] == {"key": "other"}


def test_the_launch_is_told(harmonyc: Harmonyc, write: Write) -> None:
    told = harmonyc("compile", write().name, "--num-processes", "4", "--num-machines", "2")
    assert json.loads(told.out)["launch"] == {"world_size": 4, "nodes": 2, "shard": False}
    told = harmonyc("plan", write().name, "--num-processes", "2", "--shard")
    assert "for 2 processes on 1 machine, each with a part of the weights (--shard)\n" in told.out


USAGE = {
    "no file": (("check",), "the following arguments are required: FILE"),
    "misspelt option": (
        ("check", "x", "--fromat", "json"),
        "there is no option `--fromat`; did you mean `--format`?",
    ),
    "second file": (("plan", "x", "y"), "`y` is one file too many"),
    "no value": (("check", "x", "--set", "seed"), "`--set seed` is not of the form `--set NAME=VALUE`"),
    "no number": (("plan", "x", "--num-processes", "two"), "`two` is not a whole number above 0"),
    "uneven launch": (
        ("plan", "x", "--num-processes", "3", "--num-machines", "2"),
        "--num-processes 3 does not divide over --num-machines 2",
    ),
    "nothing to shard": (
        ("check", "x", "--shard"),
        "--shard spreads the weights over processes, and there is one: add `--num-processes 2` or more",
    ),
    "misspelt command": (("chekc", "x"), "there is no command `chekc`; did you mean `check`?"),
    "option first": (("--set", "a=1", "check"), "`--set` stands before a command"),
}


@pytest.mark.parametrize(("arguments", "words"), USAGE.values(), ids=USAGE)
def test_usage_errors(arguments: tuple[str, ...], words: str, harmonyc: Harmonyc) -> None:
    told = harmonyc(*arguments)
    assert told.code == 2
    assert words in told.err
    assert told.out == ""


def test_help_and_version(harmonyc: Harmonyc) -> None:
    for arguments in ((), ("--help",), ("help",)):
        told = harmonyc(*arguments)
        assert told.code == 0
        assert "usage: harmonyc COMMAND" in told.out
    assert "usage: harmonyc check FILE" in harmonyc("check", "--help").out
    assert harmonyc("--version").out == f"harmonyc {harmony_dsl.__version__}\n"


def test_a_failure_of_ours_asks_for_a_report(
    harmonyc: Harmonyc, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr(check, "compile_path", broken)
    recipe = write().name
    told = harmonyc("check", recipe)
    assert told.code == 2
    assert told.err.startswith("error[E9001 internal-failure]: harmonyc itself failed: KeyError: 'lost'\n")
    assert "--traceback" in told.err
    assert "Traceback" not in told.err
    assert "Traceback" in harmonyc("check", recipe, "--traceback").err
    assert "Traceback" in harmonyc("--traceback", "check", recipe).err


def run_process(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harmony_dsl", *arguments]
    environment = os.environ | settings
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_closed_pipe_is_no_failure(write: Write) -> None:
    recipe = write(MISSPELT).name
    command = f"{sys.executable} -m harmony_dsl check {recipe} | head -c 1; exit ${{PIPESTATUS[0]}}"
    told = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert told.stderr == ""
    assert told.returncode == 1


def in_shell(command: str) -> subprocess.CompletedProcess[str]:
    line = f"{sys.executable} -m harmony_dsl {command}"
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("explain grpo >&-", 0),
        ("check small.recipe >&-", 1),
        ("fmt - <small.recipe >&-", 0),
        ("models >&-", 0),
        ("explain zzz 2>&-", 2),
        ("explain zzz 2>/dev/full", 2),
        ("plan small.recipe >&- 2>&-", 1),
    ],
)
def test_what_is_said_to_a_closed_stream_goes_nowhere(command: str, code: int, write: Write) -> None:
    write(MISSPELT)
    told = in_shell(command)
    assert (told.returncode, told.stdout, told.stderr) == (code, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", ["explain", "check small.recipe", "fmt - <small.recipe", "models"])
def test_a_full_disk_is_no_fault_of_ours(command: str, write: Write) -> None:
    write()
    told = in_shell(f"{command} >/dev/full")
    assert told.returncode == 2
    assert told.stderr == "harmonyc: cannot write to standard output: No space left on device\n"


def test_standard_input_that_is_closed_is_said() -> None:
    told = in_shell("fmt - <&-")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == "harmonyc: standard input is closed; `-` reads the recipe there\n"


def test_an_encoding_without_our_characters(write: Write) -> None:
    recipe = write(("max_grad_norm = 1.0", 'max_grad_norm = "größer"'))
    told = run_process("check", recipe.name, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert told.returncode == 1
    assert "gr\\xf6\\xdfer" in told.stdout
    assert told.stderr == ""


def test_colour_is_for_terminals(write: Write) -> None:
    recipe = write(MISSPELT).name
    assert "\x1b" not in run_process("check", recipe).stdout
    assert "\x1b[" in in_terminal("check", recipe)
    assert "\x1b" not in in_terminal("check", recipe, NO_COLOR="1")


def in_terminal(*arguments: str, **settings: str) -> str:
    """What the command writes to a pseudo-terminal."""
    import pty

    outer, inner = pty.openpty()
    command = [sys.executable, "-m", "harmony_dsl", *arguments]
    environment = os.environ | {"TERM": "xterm-256color"} | settings
    process = subprocess.Popen(command, stdout=inner, stderr=inner, stdin=inner, env=environment)
    os.close(inner)
    read = b""
    # A terminal whose last writer is gone answers with an error on Linux, and with nothing elsewhere.
    try:
        while part := os.read(outer, 65536):
            read += part
    except OSError:
        pass
    process.wait()
    os.close(outer)
    return read.decode()

"""`fmt`: files get the one layout, or stay as they are and a word says why."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dsl_support import ROOT, SMALL, Harmonyc, Write

from harmony_compiler.files import LARGEST_RECIPE
from harmony_dsl.cli import fmt
from harmony_grammar import formatting

ROUGH = 'let  a=[1,2,] # "ü"\r\n'
SMOOTH = 'let a = [1, 2]  # "ü"\n'
FAULTY = "let a =\n"

HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))


def put(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def test_files_are_formatted(harmonyc: Harmonyc) -> None:
    rough, marked, smooth = (
        put("a.recipe", ROUGH),
        put("b.recipe", f"\ufeff{SMOOTH}"),
        put("c.recipe", SMOOTH),
    )
    told = harmonyc("fmt", "a.recipe", "b.recipe", "c.recipe", "a.recipe")
    assert told == type(told)(
        0, "a.recipe: formatted\nb.recipe: formatted\n2 files formatted, 1 file already formatted\n", ""
    )
    assert [path.read_bytes() for path in (rough, marked, smooth)] == [SMOOTH.encode()] * 3
    assert harmonyc("fmt", "a.recipe", "b.recipe", "c.recipe").out == "3 files already formatted\n"


def test_a_file_that_is_formatted_is_not_touched(harmonyc: Harmonyc) -> None:
    path = put("a.recipe", SMOOTH)
    before = path.stat().st_mtime_ns, path.stat().st_ino
    assert harmonyc("fmt", "a.recipe").code == 0
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_check_writes_nothing(harmonyc: Harmonyc) -> None:
    path = put("a.recipe", ROUGH)
    put("b.recipe", SMOOTH)
    told = harmonyc("fmt", "--check", "a.recipe", "b.recipe")
    assert (told.code, told.err) == (1, "")
    assert told.out == "a.recipe: would be formatted\n1 file would be formatted, 1 file already formatted\n"
    assert path.read_bytes() == ROUGH.encode()
    assert harmonyc("fmt", "--check", "b.recipe").code == 0


def test_a_diff_is_all_that_stands_on_standard_output(harmonyc: Harmonyc) -> None:
    path = put("a.recipe", "let a=1\nlet b = 2\nlet c =  3")
    put("b.recipe", SMOOTH)
    told = harmonyc("fmt", "--diff", "a.recipe", "b.recipe")
    assert told.code == 1
    assert told.out == (
        "--- a.recipe\n+++ a.recipe\n@@ -1,3 +1,3 @@\n-let a=1\n+let a = 1\n let b = 2\n-let c =  3\n"
        "\\ No newline at end of file\n+let c = 3\n"
    )
    assert told.err == "1 file would be formatted, 1 file already formatted\n"
    subprocess.run(["patch", "-s", "-p0"], input=told.out.encode(), check=True)
    assert path.read_text() == "let a = 1\nlet b = 2\nlet c = 3\n"
    assert harmonyc("fmt", "--diff", "a.recipe") == type(told)(0, "", "1 file already formatted\n")


def test_a_file_with_syntax_errors_is_left_alone_and_stops_no_other(harmonyc: Harmonyc) -> None:
    faulty, rough = put("a.recipe", FAULTY), put("b.recipe", ROUGH)
    told = harmonyc("fmt", "a.recipe", "missing.recipe", "b.recipe")
    assert told.code == 1
    assert told.out == "b.recipe: formatted\n1 file formatted, 2 files left as it is\n"
    assert told.err.startswith("error[E0121 missing-value]: `a` has no value\n --> a.recipe:1:8\n")
    assert "error[E0509 " in told.err
    assert faulty.read_text() == FAULTY
    assert rough.read_bytes() == SMOOTH.encode()


def test_an_error_of_sense_is_none_of_its_business(harmonyc: Harmonyc, write: Write) -> None:
    write(("model = tiny", "model  = tinny"))
    assert harmonyc("fmt", "small.recipe").code == 0
    assert Path("small.recipe").read_text() == SMALL.replace("model = tiny", "model = tinny")


def test_what_is_no_text_is_said(harmonyc: Harmonyc) -> None:
    Path("a.recipe").write_bytes(b"let a = 1\n\xff")
    told = harmonyc("fmt", "a.recipe")
    assert told.code == 1
    assert "line 2 is not UTF-8 text" in told.err


def test_folders(harmonyc: Harmonyc) -> None:
    wanted = [put(name, ROUGH) for name in ("in/b.recipe", "in/a/c.recipe", "in/a.recipe")]
    others = [put(name, ROUGH) for name in ("in/.git/d.recipe", "in/.e.recipe", "in/f.txt", "g.recipe")]
    told = harmonyc("fmt", "in", "in/a.recipe")
    assert told.out == (
        "in/a.recipe: formatted\nin/b.recipe: formatted\nin/a/c.recipe: formatted\n3 files formatted\n"
    )
    assert all(path.read_bytes() == SMOOTH.encode() for path in wanted)
    assert all(path.read_bytes() == ROUGH.encode() for path in others)
    Path("empty").mkdir()
    told = harmonyc("fmt", "empty")
    assert (told.code, told.out, told.err) == (0, "", "harmonyc: there is no `.recipe` file below empty\n")


def test_links_and_modes_stay(harmonyc: Harmonyc) -> None:
    path, link = put("in/a.recipe", ROUGH), Path("link.recipe")
    path.chmod(0o640)
    link.symlink_to("in/a.recipe")
    assert harmonyc("fmt", "link.recipe").code == 0
    assert link.is_symlink()
    assert path.read_bytes() == SMOOTH.encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in Path("in").iterdir()] == ["a.recipe"]


def test_a_file_that_may_not_be_written_stops_no_other(
    harmonyc: Harmonyc, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("a.recipe", ROUGH)
    put("b.recipe", ROUGH)
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "a.recipe" not in str(path) and may(path, mode))
    told = harmonyc("fmt", "a.recipe", "b.recipe")
    assert told.code == 2
    assert told.err.endswith("a.recipe: it may not be written\n")
    assert told.out == "b.recipe: formatted\n1 file formatted, 1 file left as it is\n"


def test_our_own_failure_leaves_the_file_alone(harmonyc: Harmonyc, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put("a.recipe", ROUGH)
    monkeypatch.setattr(formatting, "print_file", lambda *_: "let a = 3\n")
    told = harmonyc("fmt", "a.recipe")
    assert told.code == 2
    assert told.err.startswith("error[E9001 internal-failure]: a.recipe is left as it is: ")
    assert "a fault of Harmony" in told.err
    assert path.read_bytes() == ROUGH.encode()


def test_a_link_that_leads_out_of_a_folder_is_left_alone(harmonyc: Harmonyc) -> None:
    outside, inside = put("a.recipe", ROUGH), put("in/sub/b.recipe", ROUGH)
    for name, target in (("in/c.recipe", "../a.recipe"), ("in/d.recipe", "sub/b.recipe")):
        Path(name).symlink_to(target)
    Path("in/e.recipe").symlink_to("nowhere.recipe")
    told = harmonyc("fmt", "in")
    assert (told.code, told.err) == (0, "")
    assert told.out == "in/d.recipe: formatted\n1 file formatted, 1 file already formatted\n"
    assert outside.read_bytes() == ROUGH.encode()
    assert inside.read_bytes() == SMOOTH.encode()
    Path("other").symlink_to("in")
    assert harmonyc("fmt", "other").out == "2 files already formatted\n"


def test_a_pipe_is_no_recipe() -> None:
    """Nobody writes into it, so that reading it would never end."""
    put("in/a.recipe", ROUGH)
    os.mkfifo("in/b.recipe")
    command = [sys.executable, "-m", "harmony_dsl", "fmt"]
    told = subprocess.run([*command, "in"], capture_output=True, text=True, timeout=20, check=False)
    assert told.stdout == "in/a.recipe: formatted\n1 file formatted\n"
    told = subprocess.run([*command, "in/b.recipe"], capture_output=True, text=True, timeout=20, check=False)
    assert told.returncode == 1
    assert told.stderr == "harmonyc: in/b.recipe is no regular file; `-` reads standard input\n"


def test_a_file_that_is_too_large_is_no_recipe(harmonyc: Harmonyc) -> None:
    assert fmt.LARGEST == LARGEST_RECIPE
    with Path("a.recipe").open("wb") as stream:
        stream.truncate(fmt.LARGEST + 1)
    told = harmonyc("fmt", "a.recipe")
    assert told.code == 1
    assert "error[E0509 " in told.err
    assert "it is too large for a recipe" in told.err


class Typed:
    def __init__(self, text: bytes) -> None:
        self.buffer = io.BytesIO(text)


def test_standard_input(harmonyc: Harmonyc, monkeypatch: pytest.MonkeyPatch) -> None:
    def typed(text: str | bytes, *options: str) -> tuple[int, str, str]:
        data = text if isinstance(text, bytes) else text.encode()
        monkeypatch.setattr(sys, "stdin", Typed(data))
        told = harmonyc("fmt", *options, "-")
        return told.code, told.out, told.err

    assert typed(ROUGH) == (0, SMOOTH, "")
    assert typed(f"\ufeff{SMOOTH}") == (0, SMOOTH, "")
    assert typed(SMOOTH, "--check") == (0, "", "")
    assert typed(ROUGH, "--check") == (1, "<stdin>: would be formatted\n", "")
    code, out, _ = typed(ROUGH, "--diff")
    assert (code, out.splitlines()[:2]) == (1, ["--- <stdin>", "+++ <stdin>"])
    code, out, err = typed(FAULTY)
    assert (code, out) == (1, "")
    assert " --> <stdin>:1:8\n" in err
    assert typed(b"\xff") == (1, "", "harmonyc: standard input is not UTF-8 text\n")
    monkeypatch.setattr(sys, "stdin", Typed(b""))
    assert harmonyc("fmt", "-", "a.recipe").code == 2


def test_standard_output_has_the_text_byte_for_byte() -> None:
    command = [sys.executable, "-m", "harmony_dsl", "fmt", "-"]
    environ = os.environ | {"PYTHONIOENCODING": "ascii"}
    told = subprocess.run(command, input=ROUGH.encode(), capture_output=True, check=True, env=environ)
    assert told.stdout == SMOOTH.encode()


def test_neither_compiler_nor_runtime_is_loaded() -> None:
    put("a.recipe", ROUGH)
    known = ("harmony_dsl", "harmony_grammar", "harmony_compiler", "harmony_runtime", "torch", "jinja2")
    probe = (
        "import sys; from harmony_dsl.cli.main import main; code = main(['fmt', 'a.recipe']);"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & set(sys.argv[1:])))"
    )
    told = subprocess.run([sys.executable, "-c", probe, *known], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "['harmony_dsl', 'harmony_grammar']"


def test_the_hooks_of_pre_commit(write: Write) -> None:
    """Each runs as pre-commit runs it: the entry, and behind it the files that fit."""
    assert [hook["id"] for hook in HOOKS] == ["harmonyc-fmt", "harmonyc-check"]
    recipe = write(("model = tiny", "model  = tiny"))
    for hook in HOOKS:
        assert set(hook) == {"id", "name", "description", "entry", "language", "files"}
        assert hook["language"] == "python"
        assert re.search(hook["files"], "a/small.recipe")
        assert not re.search(hook["files"], "small.recipe.md")
        command, *words = hook["entry"].split()
        assert command == "harmonyc"
        told = subprocess.run(
            [sys.executable, "-m", "harmony_dsl", *words, recipe.name], capture_output=True, check=False
        )
        assert told.returncode == 0
    assert recipe.read_text() == SMALL

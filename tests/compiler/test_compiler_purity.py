"""What compiling does beside giving a value: nothing."""

from __future__ import annotations

import builtins
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from compiler_support import COMPARED, GOOD, MODEL, REINFORCED, SAVE, TAKEN, check_text, codes, replaced

from harmony_compiler.compile import compile_recipe
from harmony_compiler.files import Disk
from harmony_grammar.source import Source

HEAVY = ("torch", "transformers", "datasets", "tokenizers", "accelerate", "numpy", "rich", "yaml", "lark")
FILTERED = "\"{{ answer.split('=')[-1] | trim }}\""
JINJA = '"{% if answer %}{{ answer }}{% endif %}"'


class Noted(Disk):
    """The disk, with a list of what was read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def head(self, path: Path, limit: int) -> bytes:
        self.read.append(path.name)
        return super().head(path, limit)


FAULTY = replaced(
    GOOD, ("heads = 2", "heads = 3"), ("{{ answer }}", "{{ anser | trimm }}"), ("lr =", "lrr =")
)


GRADED = REINFORCED + COMPARED
SENSELESS = replaced(
    GRADED, ("{{ metadata.answer }}", "{{ metadata.anser | trim }}"), ("= right\n", "= right - right\n")
)


@pytest.mark.parametrize("text", [GOOD, FAULTY, GRADED, SENSELESS, "{{{"])
def test_compiling_prints_nothing(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    check_text(text)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("text", [GOOD, FAULTY, GRADED, SENSELESS])
def test_files_are_read_through_the_door_alone(
    text: str, folder: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_text(text, registry=registry)  # imports what it needs
    opened: list[str] = []
    real = io.open

    def noting(file: object, *arguments: object, **named: object) -> object:
        opened.append(str(file))
        return real(file, *arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(io, "open", noting)
    monkeypatch.setattr(builtins, "open", noting)
    files = Noted()
    compile_recipe(Source("case.recipe", text, folder / "case.recipe"), files=files, registry=registry)
    held = ["held.jsonl"] if "held.jsonl" in text else []
    assert files.read == ["sums.jsonl", *held]
    assert [Path(path).name for path in opened] == ["sums.jsonl", *held]


def test_only_a_key_that_is_taken_needs_hashes(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    def hash_of(path: str) -> str:
        hashed.append(Path(path).name)
        return "0"

    monkeypatch.setattr("harmony_compiler.keys.content_hash", hash_of)
    assert codes(check_text(GOOD, registry=registry)) == []
    assert hashed == []
    assert codes(check_text(replaced(GOOD, ('"adder"', f'"{TAKEN}"')), registry=registry)) == ["E0603"]
    assert hashed == ["sums.jsonl"]


def test_compiling_twice_gives_the_same() -> None:
    for text in (GOOD, FAULTY, GRADED, SENSELESS):
        first, second = check_text(text), check_text(text)
        assert first.graph == second.graph
        assert [f.words for f in first.diagnostics] == [f.words for f in second.diagnostics]


def imported_by(code: str, *names: str) -> set[str]:
    """Which of `names` a fresh Python has imported after `code`."""
    script = f"import sys\n{code}\nprint(*[name for name in {names!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


COMPILE = """
from pathlib import Path
from harmony_compiler.compile import compile_recipe
from harmony_grammar.source import Source
compile_recipe(Source("case.recipe", Path("case.recipe").read_text(), Path("case.recipe").absolute()))
"""


@pytest.mark.parametrize("template", ['"{{ answer }}"', FILTERED, JINJA], ids=["plain", "filter", "block"])
def test_compiling_imports_little(template: str) -> None:
    Path("case.recipe").write_text(replaced(GOOD, ('"{{ answer }}"', template)), encoding="utf-8")
    imported = imported_by(COMPILE, *HEAVY, "jinja2")
    assert imported == ({"jinja2"} if template == JINJA else set())


def test_compiling_graders_imports_little() -> None:
    Path("case.recipe").write_text(GRADED, encoding="utf-8")
    assert imported_by(COMPILE, *HEAVY, "jinja2", "difflib") == set()


def test_hash_seeds_change_nothing() -> None:
    faulty = (
        FAULTY
        + "let x = smus\n"
        + replaced(SENSELESS, (MODEL, ""), ("train adder", "train other"), (SAVE, ""))
    )
    Path("case.recipe").write_text(faulty, encoding="utf-8")
    code = COMPILE.replace("compile_recipe(S", "found = compile_recipe(S")
    code += "from harmony_grammar.rendering import render_text\nprint(render_text(found.diagnostics))"
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(said) == 1

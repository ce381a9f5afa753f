"""`harmonyc sample`: a saved model answers; what stands in the way is said in a paragraph."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from dsl_support import Harmonyc

from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import ScratchModel
from harmony_compiler.graph.values import Ref
from harmony_compiler.store.registry import Entry, write_manifest

LINES = ("--max-tokens", "12")


@pytest.fixture
def saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A model with a context of 24 that says many things, under the key `small`."""
    import torch

    from harmony_runtime.models import weights
    from harmony_runtime.models.blueprint import Blueprints

    shape = {"hidden_size": 8, "layers": 1, "heads": 2, "kv_heads": 2, "mlp_size": 16, "context": 24}
    node = ScratchModel(**shape, tied=False, seed=1)
    blueprint = Blueprints(Graph("made", 1, {Ref("m"): node}, ()), {}, tmp_path).of(Ref("m"))
    folder = tmp_path / "home" / "models" / "small"
    model = weights.load(blueprint)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8.0)
    weights.write(model, blueprint, folder)
    write_manifest(folder, Entry("small", "abc", "made", "m", "today"))
    capsys.readouterr()  # transformers draws a bar
    return folder


def test_completions_with_a_line_between(harmonyc: Harmonyc, saved: Path) -> None:
    told = harmonyc("sample", "small", "1+1", "-n", "3", *LINES)
    assert told.code == 0, told.err
    completions = told.out.removesuffix("\n").split("\n---\n")
    assert len(set(completions)) == 3
    assert told.err == "note: 2 of 3 completions stopped after 12 tokens, without an end token\n"
    (first, *_) = completions
    assert harmonyc("sample", "small", "1+1", *LINES).out == first + "\n"
    assert harmonyc("sample", "small", "1+1", *LINES, "--seed", "1").out != first + "\n"


def test_how_completions_are_drawn(harmonyc: Harmonyc, saved: Path) -> None:
    greedy = harmonyc("sample", "small", "1+1", "--temperature", "0", *LINES).out
    assert greedy not in ("\n", harmonyc("sample", "small", "1+1", *LINES).out)
    assert harmonyc("sample", "small", "1+1", "--top-k", "1", *LINES).out == greedy
    assert harmonyc("sample", "small", "1+1", "--top-p", "1e-9", *LINES).out == greedy
    with_system = harmonyc("sample", "small", "1+1", "--temperature", "0", "--system", "no", *LINES)
    assert with_system.out != greedy


def test_a_prompt_from_standard_input(
    harmonyc: Harmonyc, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("1+1\n"))
    assert harmonyc("sample", "small", "-", *LINES).out == harmonyc("sample", "small", "1+1", *LINES).out


def test_no_more_tokens_than_the_context_has(harmonyc: Harmonyc, saved: Path) -> None:
    told = harmonyc("sample", "small", "1+1")
    assert told.code == 0
    assert told.err == "note: the completion stopped after 18 tokens, without an end token\n"
    told = harmonyc("sample", "small", "1+1", "--max-tokens", "256")
    assert told.err.splitlines() == [
        "note: at most 18 tokens a completion, not 256: the model's context has 24, and the prompt takes 6",
        "note: the completion stopped after 18 tokens, without an end token",
    ]
    told = harmonyc("sample", "small", "1" * 21)
    assert (told.code, told.out) == (1, "")
    assert told.err == (
        "harmonyc: the prompt has 24 tokens, and the model's context of 24 leaves no room for a completion\n"
    )
    assert harmonyc("sample", "small", "1" * 20).code == 0


def test_unknown_characters_are_told(harmonyc: Harmonyc, saved: Path) -> None:
    told = harmonyc("sample", "small", "é", *LINES)
    assert told.err.startswith("note: 1 of 4 tokens of the prompt are unknown to the tokenizer\n")


def test_an_unknown_key(harmonyc: Harmonyc, tmp_path: Path) -> None:
    registry = tmp_path / "home" / "models"
    told = harmonyc("sample", "smal", "1+1")
    assert (told.code, told.out) == (1, "")
    assert told.err == (
        f"harmonyc: the registry {registry} has no model `smal`; it is empty; `save` in a recipe puts models "
        "there\n"
    )
    for key in ("small", "other"):
        (registry / key).mkdir(parents=True)
        write_manifest(registry / key, Entry(key, "abc", "made", "m", "today"))
    told = harmonyc("sample", "smal", "1+1")
    assert told.code == 1
    assert told.err == (
        f"harmonyc: the registry {registry} has no model `smal`; did you mean `small`?; it has other, small\n"
    )
    assert harmonyc("sample", "../models/small", "1+1").code == 1


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("config.json", "{", "`small`: the configuration in"),
        ("tokenizer.json", "[]", "`small`: the tokenizer in"),
        ("tokenizer_config.json", "[]", "`small`: the tokenizer in"),
        ("generation_config.json", "[]", "`small`: the generation settings in"),
        ("model.safetensors", "", "`small`: the weights (safetensors) in"),
        ("model.safetensors", None, "holds no weights as safetensors"),
        ("chat_template.jinja", "{{ raise_exception('no') }}", "`small`: the chat template refuses a thread"),
    ],
)
def test_a_damaged_model(file: str, text: str | None, words: str, harmonyc: Harmonyc, saved: Path) -> None:
    (saved / file).unlink()
    if text is not None:
        (saved / file).write_text(text)
    told = harmonyc("sample", "small", "1+1")
    assert (told.code, told.out) == (1, "")
    assert told.err.startswith("harmonyc: ")
    assert words in told.err
    assert str(saved) in told.err or file == "chat_template.jinja"
    assert told.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "the following arguments are required: KEY, PROMPT"),
        (("small", "1", "+", "1"), "the prompt is one argument; put it in quotes"),
        (("small", "1", "--temperature", "-1"), "`-1` is not a number of at least 0"),
        (("small", "1", "--temperature", "nan"), "`nan` is not a number of at least 0"),
        (("small", "1", "--top-p", "0"), "`0` is not a number above 0 and at most 1"),
        (("small", "1", "--top-k", "0"), "`0` is not a whole number above 0"),
        (("small", "1", "--seed", "-2"), "`-2` is not a whole number of at least 0"),
        (("small", "1", "--temprature", "1"), "did you mean `--temperature`?"),
    ],
)
def test_usage(arguments: tuple[str, ...], words: str, harmonyc: Harmonyc) -> None:
    told = harmonyc("sample", *arguments)
    assert told.code == 2
    assert words in told.err


def test_a_prompt_that_is_no_text(harmonyc: Harmonyc, saved: Path) -> None:
    told = harmonyc("sample", "small", "\udcff")
    assert told.code == 1
    assert told.err.startswith("harmonyc: the prompt is not UTF-8: ")


def test_a_missing_extra_is_said_as_by_run(saved: Path) -> None:
    probe = (
        "import sys; sys.modules['torch'] = None; "
        "from harmony_dsl.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", probe, "sample", "small", "1+1"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert told.stderr == (
        "harmonyc: training needs packages that are not installed here (torch); "
        "`pip install 'harmony-dsl[train]'` installs them\n"
    )

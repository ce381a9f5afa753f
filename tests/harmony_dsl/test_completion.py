"""Completion: what is offered where, in real shells too; and it never disturbs who types."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from argparse import Action
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dsl_support import Harmonyc, Write
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_compiler.declared.input_files import SUFFIXES
from harmony_compiler.store.datasets import FORMATS
from harmony_dsl.cli import completing
from harmony_dsl.cli.completing import FILES, OFFERS, offered, unquoted
from harmony_dsl.cli.completion import SCRIPTS, SHELLS
from harmony_dsl.cli.main import COMMANDS
from harmony_dsl.cli.parser import Parser

FREE = {
    *(
        "N",
        "M",
        "T",
        "P",
        "K",
        "TEXT",
        "TIME",
        "AGE",
        "PROMPT",
        "HOST",
        "PORT",
        "SIZE",
        "LINK",
        "DEVICE",
        "A=B",
    ),
}
"""Metavars of values that nobody could guess."""


def actions() -> Iterator[tuple[str, Action]]:
    for command in COMMANDS:
        module = completing._module(command)
        parser = Parser(command, module.SUMMARY)
        module.configure(parser)
        for action in parser._actions:
            yield command, action


def words_at(*words: str) -> list[str]:
    return [text for text, _ in offered(words)[1]]


def test_every_command_and_option_is_offered() -> None:
    assert words_at("") == list(COMMANDS)
    for command, action in actions():
        if action.option_strings:
            option = action.option_strings[-1]
            assert option in words_at(command, option[:2] if option.startswith("--") else "-")


def test_what_takes_a_value_is_known() -> None:
    """A new metavar stands in one of the tables of `completing`, or among those that nobody could guess."""
    known = {*FILES, *OFFERS, *FREE, "KEY"}
    unknown = {
        (command, *action.option_strings, str(action.metavar))
        for command, action in actions()
        if action.nargs != 0 and action.choices is None
        if not known & {str(action.metavar), f"{command} {action.metavar}", *action.option_strings}
        if not known & {f"{command} {option}" for option in action.option_strings}
    }
    assert unknown == set()


def test_what_the_tables_know_is_there() -> None:
    names = {
        name
        for command, action in actions()
        for one in (*action.option_strings, str(action.metavar))
        for name in (one, f"{command} {one}")
    }
    assert {*FILES, *OFFERS} - names == set()
    assert FILES["--inputs"] == SUFFIXES
    assert FILES["--data"] == (*(f".{name}" for name in FORMATS), ".gz")


IMPORTING = """
import "small.recipe" as inner
input kind: "slow" | "fast" = "slow"
## Whether to look twice.
input twice: bool = true
train all = sft { model = inner.tiny, dataset = inner.sums, steps = 1 }
grader right = length { max = 3 }
"""


@pytest.fixture
def folder(house: Path, write: Write, tmp_path: Path) -> Path:
    write()
    (house / "outer.recipe").write_text(IMPORTING)
    (house / "graph.json").write_text("{}")
    (house / "in.toml").write_text("")
    (house / "code.py").write_text("")
    (house / "deep").mkdir()
    (house / "deep" / "round.recipe").write_text('import "round.recipe" as again\ninput near: int = 1\n')
    (house / "deep" / "two words.recipe").write_text("input far: int = 1\n")
    about = {"format_version": 1, "recipe": "r", "stage": "s", "identity": "i", "created": "2026"}
    for key in ("adder", "other"):
        (place := tmp_path / "home" / "models" / key).mkdir(parents=True)
        (place / "harmony.json").write_text(json.dumps(about))
    return house


OFFERED: dict[tuple[str, ...], list[str]] = {
    ("ch",): ["check"],
    ("--v",): ["--version"],
    ("chekc", ""): [],
    ("check", ""): ["deep/", "outer.recipe", "small.recipe"],
    ("check", "small.recipe", "o"): ["outer.recipe"],
    ("check", "deep/t"): ["deep/two words.recipe"],
    ("check", "./s"): ["./small.recipe"],
    ("check", "--f"): ["--format", "--fix"],
    ("check", "--fix", "--f"): ["--format"],
    ("check", "--set", "a=1", "--s"): ["--set", "--shard"],
    ("check", "--format", "j"): ["json"],
    ("check", "--format=j"): ["--format=json"],
    ("check", "--", "--f"): [],
    ("--traceback", "check", "small.recipe", "--den"): ["--deny-warnings"],
    ("run", ""): ["deep/", "graph.json", "outer.recipe", "small.recipe"],
    ("run", "--out", ""): ["deep/"],
    ("run", "--out=d"): ["--out=deep/"],
    ("run", "small.recipe", "--res"): ["--resume"],
    ("run", "small.recipe", "--inputs", ""): ["deep/", "graph.json", "in.toml"],
    ("run", "small.recipe", "--max-time", ""): [],
    ("run", "small.recipe", "--set", ""): ["key="],
    ("run", "--set", "k", "small.recipe", "--set", "k"): ["key="],
    ("run", "outer.recipe", "--set", ""): [
        *("inner.key=", "kind=", "kind=slow", "kind=fast", "twice=", "twice=true", "twice=false"),
    ],
    ("run", "outer.recipe", "--set", "kind=f"): ["kind=fast"],
    ("run", "deep/two words.recipe", "--set", ""): ["far="],
    ("run", "deep/round.recipe", "--set", ""): ["near="],
    ("run", "nowhere.recipe", "--set", ""): [],
    ("preview", "outer.recipe", ""): ["all", "right"],
    ("preview", "small.recipe", ""): ["sums", "adder"],
    ("grade", "outer.recipe", ""): ["right"],
    ("serve-grader", ""): ["code.py", "deep/"],
    ("new", "p"): ["ppo"],
    ("new", "ppo", ""): ["deep/"],
    ("new", "ppo", "--data", "d"): ["deep/"],
    ("completion", ""): ["bash", "zsh", "fish"],
    ("explain", "grp"): ["grpo"],
    ("explain", "grpo.kl"): ["grpo.kl_beta"],
    ("explain", "grop."): [],
    ("explain", "E050"): [f"E050{n}" for n in range(1, 10)],
    ("explain", "unknown-col"): ["unknown-column", "unknown-column-type"],
    ("models", "s"): ["show"],
    ("models", "show", ""): ["adder", "other"],
    ("models", "show", "adder", ""): [],
    ("models", "rm", "adder", ""): ["other"],
    ("models", "list", ""): [],
    ("sample", ""): ["adder", "other"],
    ("sample", "adder", ""): [],
    ("datasets", "add", ""): [],
    ("datasets", "add", "key", ""): ["deep/", "graph.json", "sums.jsonl"],
    ("graders", "add", "key", "o"): ["outer.recipe"],
    ("cache", "rm", ""): [],
}


@pytest.mark.parametrize("words", OFFERED, ids=" ".join)
def test_what_is_offered(words: tuple[str, ...], folder: Path, harmonyc: Harmonyc) -> None:
    told = harmonyc("__complete", *words)
    assert told.err == ""
    assert [line.partition("\t")[0] for line in told.out.splitlines()[1:]] == OFFERED[words]


def test_offers_say_what_they_are(folder: Path, harmonyc: Harmonyc) -> None:
    told = harmonyc("__complete", "run", "outer.recipe", "--set", "twice=")
    assert told.out.splitlines() == [
        "words",
        "twice=\tbool Whether to look twice.",
        "twice=true",
        "twice=false",
    ]
    assert harmonyc("__complete", "check", "").out.splitlines()[0] == "files"


def test_offers_with_control_characters_are_dropped(folder: Path, harmonyc: Harmonyc) -> None:
    Path("odd.recipe").write_text('## Clear\x1b[2J.\ninput odd: "a\\nb" | "c\\td" | "plain" = "plain"\n')
    Path("od\nd.recipe").write_text("")
    Path("od\udcffd.recipe").write_text("")
    told = harmonyc("__complete", "run", "odd.recipe", "--set", "")
    assert told.out.splitlines()[2:] == ["odd=plain"]
    assert "Clear [2J." in told.out
    assert words_at("check", "od") == ["odd.recipe"]


def test_pipes_are_not_waited_for(folder: Path) -> None:
    """In a process of its own, which can be ended should it wait."""
    os.mkfifo("pipe.recipe")
    Path("huge.recipe").write_text(" " * (completing._LARGEST + 1) + "input far: int = 1")
    imports = (
        'import "pipe.recipe" as pipe',
        'import "huge.recipe" as huge',
        'import "nowhere.recipe" as gone',
    )
    Path("mine.recipe").write_text("\n".join([*imports, "input near: int = 1"]))
    for recipe, offers in (("mine.recipe", ["near="]), ("pipe.recipe", [])):
        told = subprocess.run(
            [sys.executable, "-m", "harmony_dsl", "__complete", "run", recipe, "--set", ""],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        assert [line.partition("\t")[0] for line in told.stdout.splitlines()[1:]] == offers


WORD = st.one_of(
    st.sampled_from(
        [*COMMANDS, "--set", "--inputs", "--", "-", "=", "a=b", "'", '"', "x.recipe", "add", "show"]
    ),
    st.text(max_size=6),
)


@settings(max_examples=60)
@given(st.lists(WORD, max_size=5))
def test_whatever_is_typed_nothing_is_said(words: list[str]) -> None:
    from contextlib import redirect_stderr, redirect_stdout
    from io import StringIO

    with redirect_stderr(StringIO()) as err, redirect_stdout(StringIO()) as out:
        code = completing.answer(words)
    assert err.getvalue() == ""
    assert out.getvalue().partition("\n")[0] in (("words", "files") if code == 0 else ("",))


@pytest.mark.parametrize(
    ("typed", "word"),
    [("a\\ b", "a b"), ("'a b'", "a b"), ('"a b', "a b"), ("'a", "a"), ("", ""), ('a="b c"', "a=b c")],
)
def test_words_are_read_as_shells_read_them(typed: str, word: str) -> None:
    assert unquoted(typed) == word


@pytest.mark.parametrize(
    "words", [("",), ("check", "--"), ("run", "small.recipe", "--set", "")], ids=" ".join
)
def test_the_compiler_is_not_loaded(words: tuple[str, ...], folder: Path) -> None:
    probe = (
        "import sys; from harmony_dsl.cli.main import main\n"
        f"main(['__complete', *{words!r}])\n"
        "print([m for m in ('harmony_compiler', 'harmony_runtime', 'torch', 'jinja2') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "[]"


# --- the scripts ----------------------------------------------------------------------------------------


def test_a_script_for_each_shell(harmonyc: Harmonyc) -> None:
    assert {path.name for path in SCRIPTS.iterdir()} == {f"harmonyc.{shell}" for shell in SHELLS}
    for shell in SHELLS:
        assert harmonyc("completion", shell).out == (SCRIPTS / f"harmonyc.{shell}").read_text()
    told = harmonyc("completion", "tcsh")
    assert (told.code, told.out) == (2, "")
    assert "invalid choice: 'tcsh'" in told.err


def in_shell(shell: str, script: str, *arguments: str) -> list[str]:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"there is no {shell} here")
    tools = str(Path(sys.executable).parent)
    told = subprocess.run(
        [found, {"bash": "--norc", "zsh": "-f", "fish": "-N"}[shell], "-c", script, *arguments],
        env=os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert (told.returncode, told.stderr) == (0, "")
    return told.stdout.splitlines()


IN_BASH = """
source <(harmonyc completion bash)
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
_harmonyc
printf '%s\\n' "${COMPREPLY[@]}"
complete -p harmonyc
"""


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        (("ch",), ["check"]),
        (("check", "--deny"), ["--deny-warnings"]),
        (("check", "--format", "=", "j"), ["json"]),
        (("check", "--format", "="), ["text", "json", "sarif"]),
        (("run", "outer.recipe", "--set", "t"), ["twice=", "twice=true", "twice=false"]),
        (("run", "outer.recipe", "--set", "twice", "=", "f"), ["false"]),
        (("run", '"deep/two words.recipe"', "--set", ""), ["far="]),
        (("run", "deep/two\\ words.recipe", "--set", ""), ["far="]),
        (("check", "deep/t"), ["deep/two\\ words.recipe"]),  # no compopt here, as in the bash of macOS
        (("check", "~/t"), ["~/two\\ words.recipe"]),
        (("check", "'deep/t"), ["deep/two words.recipe"]),
        (("chekc", ""), [""]),
    ],
    ids=str,
)
def test_bash(
    words: tuple[str, ...], offers: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder / "deep"))
    *found, registered = in_shell("bash", IN_BASH, "bash", "harmonyc", *words)
    assert found == offers
    assert registered == "complete -F _harmonyc harmonyc"


IN_ZSH = """
compdef() { : }
source <(harmonyc completion zsh)
compadd() { print -r -l -- "${(@P)@[-1]}" }
_describe() { print -r -l -- "${(@P)3}" "${(@P)@[-1]}" }
words=(harmonyc "$@") CURRENT=$(($# + 1))
_harmonyc
"""


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        (("ch",), ["check:find what is wrong in recipes, before anything is loaded"]),
        (
            ("run", "outer.recipe", "--set", "tw"),
            ["twice=:bool Whether to look twice.", "twice=true", "twice=false"],
        ),
        (("run", "deep/two\\ words.recipe", "--set", ""), ["far=:int"]),
        (("check", "deep/t"), ["deep/two words.recipe"]),
        (("check", "d"), ["deep/"]),
        (("chekc", ""), []),
    ],
    ids=str,
)
def test_zsh(words: tuple[str, ...], offers: list[str], folder: Path) -> None:
    assert [line for line in in_shell("zsh", IN_ZSH, "zsh", *words) if line] == offers


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("harmonyc ch", ["check\tfind what is wrong in recipes, before anything is loaded"]),
        ("harmonyc check --format=j", ["--format=json"]),
        ("harmonyc run outer.recipe --set twice=t", ["twice=true"]),
        ("harmonyc run deep/two\\ words.recipe --set ", ["far=\tint"]),
        ("harmonyc check deep/t", ["deep/two words.recipe"]),
        ("harmonyc chekc ", []),
    ],
)
def test_fish(line: str, offers: list[str], folder: Path) -> None:
    script = "source (harmonyc completion fish | psub); complete -C $argv[1]"
    assert in_shell("fish", script, line) == offers


# --- typed on a terminal ----------------------------------------------------------------------------------

HOSTILE = """
input mode: "fast" | "$(touch RUN)" | "`touch RUN`" | "two words" | "it's" | "wow!$(touch RUN)" = "fast"
input path: "back\\\\slash:$(touch RUN)" | "plain" = "plain"
"""
"""A recipe of somebody else's, whose values are code to a shell."""

RECORDS = 'if [[ $1 == __complete ]]; then command harmonyc "$@"; else printf \'%s\\n\' "${@: -1}" >> got; fi'

STARTS: dict[str, tuple[list[str], list[str]]] = {
    "bash": (
        ["--norc", "--noprofile", "-i"],
        ["source <(harmonyc completion bash)", f"harmonyc() {{ {RECORDS}; }}"],
    ),
    "zsh": (
        ["-f", "-i"],
        [
            "PS1='@@ '; autoload -Uz compinit; compinit -u -D",
            "source <(harmonyc completion zsh)",
            f"harmonyc() {{ {RECORDS}; }}",
        ],
    ),
    "fish": (
        ["-N", "-i", "-C", "function fish_prompt; echo -n '@@ '; end"],
        [
            "harmonyc completion fish | source",
            'function harmonyc; if test "$argv[1]" = __complete; command harmonyc $argv; '
            "else; echo -E $argv[-1] >> got; end; end",
        ],
    ),
}
"""How a shell starts, and what is typed first: the completion, and a command that records its last word."""

PROMPT = b"@@ "


def typed(shell: str, *lines: str) -> list[str]:
    """The last words of the command lines that a person gets who types these."""
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"there is no {shell} here")
    options, first = STARTS[shell]
    here = str(Path.cwd())
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": tools, "HOME": here, "PS1": PROMPT.decode(), "LC_ALL": "C.UTF-8", "HISTFILE": ""}
    process, terminal = pty.fork()
    if process == 0:
        os.execve(
            found, [shell, *options], os.environ | own | {"TERM": "xterm" if shell == "fish" else "dumb"}
        )
    got = Path("got")
    try:
        _wait(terminal, lambda seen: PROMPT in seen)
        for line in (*first, *lines):
            os.write(terminal, f"{line}\r".encode())
            _wait(terminal, lambda seen: PROMPT in seen)
        _wait(terminal, lambda _: got.exists() and got.read_bytes().count(b"\n") == len(lines))
    finally:
        os.close(terminal)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    return got.read_text().splitlines()


def _wait(terminal: int, for_what: Callable[[bytes], bool]) -> None:
    """Until what the shell says since then is this."""
    seen, end = b"", time.monotonic() + 20
    while not for_what(seen):
        assert time.monotonic() < end, seen
        if select.select([terminal], [], [], 0.05)[0]:
            seen += os.read(terminal, 65536)


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        (
            "bash",
            {
                "mode=$\t": "mode=$(touch RUN)",
                "mode=\\`\t": "mode=`touch RUN`",
                "mode=tw\t": "mode=two words",
                "mode=it\t": "mode=it's",
                "mode=w\t": "mode=wow!$(touch RUN)",
                "path=b\t": "path=back\\slash:$(touch RUN)",
                "mode='$\t": "mode=$(touch RUN)",
                "'mode=it\t": "mode=it's",
                'mode="$\t': "mode=$(touch RUN)",
                'mode="w\t': "mode=wow!$(touch RUN)",
                '"path=b\t': "path=back\\slash:$(touch RUN)",
                '"mode=tw\t': "mode=two words",
            },
        ),
        (
            "zsh",
            {
                "mode=\\$\t": "mode=$(touch RUN)",
                "mode=tw\t": "mode=two words",
                "mode=it\t": "mode=it's",
                "path=b\t": "path=back\\slash:$(touch RUN)",
                "mode='$\t": "mode=$(touch RUN)",
                'mode="w\t': "mode=wow!$(touch RUN)",
            },
        ),
        (
            "fish",
            {
                "mode=\\$\t": "mode=$(touch RUN)",
                "mode=tw\t": "mode=two words",
                "mode=it\t": "mode=it's",
                "path=b\t": "path=back\\slash:$(touch RUN)",
                "mode='$\t": "mode=$(touch RUN)",
            },
        ),
    ],
    ids=["bash", "zsh", "fish"],
)
def test_what_is_completed_is_data(shell: str, words: dict[str, str], house: Path) -> None:
    Path("r.recipe").write_text(HOSTILE)
    assert typed(shell, *(f"harmonyc run r.recipe --set {word}" for word in words)) == list(words.values())
    assert not Path("RUN").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_names_of_files_are_data(shell: str, house: Path) -> None:
    name = "a$(touch RUN) `touch RUN`'s.recipe"
    Path(name).write_text("")
    assert typed(shell, "harmonyc check a\t", "harmonyc check 'a\t") == [name, name]
    assert not Path("RUN").exists()

"""The doors: files that others write, each with the commands that read it.

A target puts an input where its file stands, calls `harmonyc` in this very process, and puts back what stood
there. Whatever the input is, a command ends with an exit code of its own: 0, 1 or 2. It never fails itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from benchmarks.fuzz import folder
from harmony_compiler.compile import compile_recipe
from harmony_compiler.declared.input_schema import schema_of
from harmony_compiler.declared.interface import Interface, interface_of
from harmony_compiler.files import read_source
from harmony_compiler.graph.graph import Graph
from harmony_compiler.plan.diagrams import dot, mermaid
from harmony_compiler.plan.plan import Where, plan_of
from harmony_compiler.plan.text import plan_text
from harmony_dsl.cli import run as running
from harmony_dsl.cli.main import main
from harmony_dsl.cli.output import Refused
from harmony_dsl.cli.sarif import sarif_log
from harmony_grammar.formatting import format_source
from harmony_grammar.records import replace
from harmony_grammar.rendering import render_text, to_json
from harmony_grammar.source import Source

OURS = re.compile(r"^error\[E9001 ", re.MULTILINE)
"""How `harmonyc` says that it failed itself: an excerpt of a recipe never stands at the margin."""


class Failed(Exception):  # noqa: N818 - it names what happened
    """What must not happen has happened; it says what."""


class Told(NamedTuple):
    """What a command answered."""

    code: int
    out: str = ""
    err: str = ""

    @property
    def signs(self) -> frozenset[str]:
        """What kinds of things were said: names, numbers and places do not count."""
        said = re.findall(r"^(?:error|warning|note|harmonyc)\b.*", f"{self.out}\n{self.err}", re.MULTILINE)
        kinds = {re.sub(r"`[^`]*`|\b\d[\w.]*|\S*/\S*|\S+\.\w+", "_", line)[:100] for line in said}
        return frozenset({f"exit {self.code}", *kinds})


def harmonyc(*arguments: str) -> Told:
    """
    Raises:
        Failed: the command itself failed; it says how.
    """
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["--traceback", *arguments])
    told = Told(code, out.getvalue(), err.getvalue())
    if code not in (0, 1, 2) or OURS.search(told.err):
        raise Failed(f"harmonyc {' '.join(arguments)}\nexit code {code}\n{told.err}")
    return told


Do = Callable[[bytes], Iterable[Told]]


class Target(NamedTuple):
    """A door: what goes through it, and the first things that did."""

    do: Do
    file: str
    """Where an input stands while it is read."""
    seeds: tuple[str, ...] = ()
    """Patterns of files of the folder that are inputs of the same kind."""
    share: int = 1
    """How much more time it gets than others."""

    def signs(self, data: bytes) -> frozenset[str]:
        """What an input makes Harmony say.

        Raises:
            Failed: it makes it fail.
        """
        with _standing(Path(self.file), data):
            return frozenset().union(*(told.signs for told in self.do(data)))


@contextmanager
def _standing(path: Path, data: bytes) -> Iterator[None]:
    before = path.read_bytes() if path.is_file() else None
    path.write_bytes(data)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)


def calls(*commands: str) -> Do:
    """These commands, each in one string with blanks between its words."""
    return lambda _: (harmonyc(*command.split()) for command in commands)


# --- recipes --------------------------------------------------------------------------------------------

ANY = "any.recipe"


def _recipe(data: bytes) -> Iterator[Told]:
    """Compiled once and shown in every way; commands that compile it again are left to the other targets."""
    source = read_source(ANY)
    registry = Path(folder.MODELS).absolute()
    compilation = compile_recipe(source, registry=registry) if isinstance(source, Source) else None
    found = compilation.diagnostics if compilation else (source,)
    faulty = any(finding.severity == "error" for finding in found)
    for finding in found:
        for span in (finding.span, *(label.span for label in finding.labels)):
            if not 0 <= span.start <= span.end <= len(span.source.text):
                raise Failed(f"{finding.code} stands outside of its text: {span.start} to {span.end}")
    yield Told(int(faulty), render_text(found))
    render_text(found, color=True).encode()
    json.dumps(to_json(found))
    json.dumps(sarif_log([ANY], found, int(faulty)))
    if isinstance(source, Source):
        _laid_out(source)
        interface = interface_of(source)
        if isinstance(interface, Interface):
            json.dumps(schema_of(interface))
    graph = compilation.graph if compilation else None
    if (graph is None) != faulty:
        raise Failed("neither a graph nor an error" if graph is None else "a graph in spite of an error")
    if compilation is not None and graph is not None:
        yield _drawn(graph)
        plan = plan_of(compilation, Where(registry, None, "gpu", ()))
        json.dumps(plan.to_json())
        plan_text(plan)
    if any(finding.fixes for finding in found) and crc32(data) % 4 == 0:  # it compiles again and again
        fixed = harmonyc("check", ANY, "--fix")
        if fixed.code > faulty:
            raise Failed(f"check --fix made errors:\n{fixed.out}")


def _laid_out(source: Source) -> None:
    text = format_source(source).text  # which compares what it says with what it said
    if text is not None and format_source(replace(source, text=text)).text != text:
        raise Failed(f"formatted again, it is another text:\n{text}")


def _settings(data: bytes) -> Iterator[Told]:
    """Each line is one `--set`."""
    lines = data.decode("utf-8", "surrogateescape").splitlines()[:40]
    given = (word for line in lines for word in ("--set", line.replace("\0", "")))
    yield harmonyc("check", "inputs.recipe", *given)


def _template(data: bytes) -> Iterator[Told]:
    text = data.decode("utf-8", "replace").replace("\\", "").replace('"""', "")
    recipe = (
        f'dataset d = jsonl("rows.jsonl") {{ prompt = """{text}""", completion = "{{{{ answer }}}}" }}\n'
        f'grader g = 0.5 * equals("""{text}""") + contains("""{text}""")\n'
    )
    with _standing(Path(ANY), recipe.encode()):
        yield harmonyc("check", ANY)


# --- graphs ---------------------------------------------------------------------------------------------

GRAPH = "graph.json"


def _graph(data: bytes) -> Iterator[Told]:
    """`run` reads it and stops before it would load torch; what it takes can be drawn."""
    read = _read_to_run()
    yield read
    if WOULD_RUN in read.err:
        yield _drawn(Graph.from_json(json.loads(data)))


def _drawn(graph: Graph) -> Told:
    """Shown as diagrams, and the same after it went through JSON once more."""
    dot(graph)
    mermaid(graph)
    again, data = Graph.from_json(json.loads(json.dumps(graph.to_json()))), graph.to_json()
    if again != graph and graph == Graph.from_json(data):  # a number that is none equals nothing
        raise Failed("the graph is another one after it went through JSON")
    return Told(0)


WOULD_RUN = "it would run"


def _read_to_run() -> Told:
    def stop() -> None:
        raise Refused(WOULD_RUN)

    needed, running.require_train_extra = running.require_train_extra, stop
    try:
        return harmonyc("run", GRAPH)
    finally:
        running.require_train_extra = needed


# --- all of them ----------------------------------------------------------------------------------------

_EVERY_ROWS = ("rows.*", "chat.jsonl", "*alpaca.jsonl", "*pairs.jsonl", "talks.jsonl", "transcripts.jsonl")


def _rows(file: str) -> Target:
    seeds = _EVERY_ROWS if file.endswith(("jsonl", "json")) else ()
    guessed = () if file.endswith("csv") else (f"check guessed-{file}.recipe",)  # which has no turns
    return Target(calls(f"check mapped-{file}.recipe", *guessed), file, seeds)


def _inputs(suffix: str) -> Target:
    return Target(calls(f"check inputs.recipe --inputs inputs.{suffix}"), f"inputs.{suffix}")


_RECIPES = ("*.recipe", "examples/*.recipe")
_KEPT = f"{folder.CACHE}/tokens/{'5' * 32}"

TARGETS: dict[str, Target] = {
    "recipe": Target(_recipe, ANY, _RECIPES, share=8),
    "imported": Target(calls("check importing.recipe", "check inputs.recipe"), "part.recipe", _RECIPES, 2),
    "template": Target(_template, "template.txt"),
    "settings": Target(_settings, "settings.txt"),
    **{f"inputs-{suffix}": _inputs(suffix) for suffix in ("toml", "json", "yaml")},
    **{f"rows-{file.removeprefix('rows.')}": _rows(file) for file in folder.ROWS},
    "chat-template": Target(calls("check chat.recipe"), "chat.jinja"),
    "python": Target(calls("check python.recipe"), "scoring.py", ("graders.py",)),
    "config": Target(calls("check config.recipe"), "tiny-model/config.json"),
    "graph": Target(_graph, GRAPH, ("kept/graph.json",), share=3),
    "run-folder": Target(calls("plan config.recipe --reuse kept"), "kept/graph.json"),
    "lock": Target(calls("check lock.recipe", "plan lock.recipe"), "lock.recipe.lock"),
    "model": Target(
        calls("models", "models --json", "models show sorter", "check registered.recipe"),
        f"{folder.MODELS}/sorter/harmony.json",
    ),
    "adapter": Target(
        calls("models show sorter", "check registered.recipe"), f"{folder.MODELS}/sorter/adapter_config.json"
    ),
    "dataset": Target(
        calls("datasets", "datasets --json", "datasets show problems", "check registered.recipe"),
        f"{folder.DATASETS}/problems/harmony.json",
    ),
    "grader": Target(
        calls("graders", "graders --json", "graders show politeness", "check registered.recipe"),
        f"{folder.GRADERS}/politeness/harmony.json",
    ),
    "cache": Target(calls("cache", "cache --json"), f"{_KEPT}/about.json"),
    "grades": Target(calls("cache", "cache --json"), f"{folder.CACHE}/grades.sqlite"),
}


def first_inputs(target: Target) -> Sequence[bytes]:
    """What the folder holds of a target's kind, as it was furnished."""
    here = Path()
    names = [target.file, *(str(path) for pattern in target.seeds for path in sorted(here.glob(pattern)))]
    return [Path(name).read_bytes() for name in dict.fromkeys(names) if Path(name).is_file()]

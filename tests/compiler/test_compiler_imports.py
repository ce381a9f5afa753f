"""Imports: what comes in, under which names, and what splitting a recipe leaves alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import pytest
from compiler_support import (
    ASKED,
    COMPARED,
    DATA,
    FILES,
    GRADER,
    MODEL,
    RECIPE,
    REINFORCE,
    SAVE,
    TRAIN,
    check_text,
    codes,
    graph_of,
    places,
    replaced,
)

from harmony_compiler.compile import Compilation, compile_recipe
from harmony_compiler.declared.imports import DEEPEST
from harmony_compiler.files import Disk
from harmony_compiler.graph.algorithms import Sft
from harmony_compiler.graph.datasets import JsonLines
from harmony_compiler.graph.identity import identities
from harmony_compiler.graph.models import ScratchModel
from harmony_compiler.graph.outputs import Save
from harmony_compiler.store.files import content_hash
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.rendering import render_text
from harmony_grammar.source import Source

LIBRARY = DATA + MODEL + TRAIN
"""A file to import, with the stage `adder`."""


def write(**files: str) -> None:
    for name, text in files.items():
        Path(f"{name}.recipe").write_text(text, encoding="utf-8")


def blamed(compilation: Compilation) -> list[tuple[str, str, int]]:
    """Code, file and line of every finding."""
    spans = [(finding.code, finding.span) for finding in compilation.diagnostics]
    return sorted((code, span.source.name, span.first.line) for code, span in spans)


def trained(model: str, dataset: str, name: str = "adder") -> str:
    """A stage that brings a model and a dataset into the graph, saved."""
    fields = f"model = {model}, dataset = {dataset}, samples_per_batch = 1, steps = 1"
    return f'train {name} = sft {{ {fields} }}\nsave {name} as "{name}"\n'


def only(compilation: Compilation) -> Diagnostic:
    (finding,) = compilation.diagnostics
    return finding


# --- what comes in --------------------------------------------------------------------------------------


def test_values_come_in_under_the_name_of_the_import() -> None:
    write(lib="let rate = 0.5\ninput count: int = 3\nlet sizes = [1, 2]\n")
    recipe = 'import "lib.recipe" as m\ninput a: float = m.rate * m.count\ninput b: int = m.sizes[1]\n'
    assert graph_of(recipe).inputs == {"a": 1.5, "b": 2, "m.count": 3}


def test_only_what_is_used_comes_in() -> None:
    write(lib=LIBRARY + 'save adder as "warm"\nmodel spare = tiny { tp = 1 }\nlet unused = 3\n')
    recipe = 'import "lib.recipe" as m\ntrain next = sft { model = m.tiny, dataset = m.sums, steps = 1 }\n'
    compilation = check_text(recipe + 'save next as "next"\n')
    assert codes(compilation) == []
    assert compilation.graph is not None
    kinds = [type(node) for node in compilation.graph.nodes.values()]
    assert sorted(kind.__name__ for kind in kinds) == ["JsonLines", "Save", "ScratchModel", "Sft"]


def test_stages_chain_over_files() -> None:
    write(lib=LIBRARY)
    recipe = 'import "lib.recipe" as m\ntrain next = sft { model = m.adder, dataset = m.sums, steps = 1 }\n'
    graph = graph_of(recipe + 'save next as "next"\n')
    assert [graph.origins[ref].name for ref, node in graph.nodes.items() if isinstance(node, Sft)] == [
        "m.adder",
        "next",
    ]


def test_an_imported_stage_is_saved_by_its_name() -> None:
    write(lib=LIBRARY)
    graph = graph_of('import "lib.recipe" as m\nsave m.adder as "adder"\n')
    (save,) = (node for node in graph.nodes.values() if isinstance(node, Save))
    assert graph.origins[save.model].name == "m.adder"


def test_an_imported_evaluation_runs_where_it_is_named() -> None:
    write(lib=ASKED + MODEL + GRADER + REINFORCE + COMPARED)
    graph = graph_of('import "lib.recipe" as m\nevaluate report = m.report\nsave m.adder as "adder"\n')
    assert [graph.stage_name(ref) for ref in graph.outputs] == ["save", "m.report"]


def test_imported_values_are_copied_with_changes() -> None:
    write(lib=DATA + MODEL + GRADER)
    recipe = 'import "lib.recipe" as m\nlet kind = m.right { timeout = 5s }\n'
    graph = graph_of(recipe + trained('m.tiny { dtype = "float32" }', "m.sums { limit = 1 }"))
    assert [node.limit for node in graph.nodes.values() if isinstance(node, JsonLines)] == [1]
    assert [node.dtype for node in graph.nodes.values() if isinstance(node, ScratchModel)] == ["float32"]


def test_an_imported_grader_takes_part_in_the_algebra() -> None:
    write(lib=GRADER + "grader brief = clamp(1 - words(completion) / 200, 0, 1)\n")
    recipe = ASKED + MODEL + replaced(REINFORCE, ("= right", "= 0.8 * m.right + 0.2 * m.brief")) + SAVE
    graph = graph_of('import "lib.recipe" as m\n' + recipe)
    assert {"m.right", "m.brief"} <= {origin.name for origin in graph.origins.values()}


def test_a_node_says_where_it_was_written() -> None:
    Path("lib").mkdir()
    Path("lib/data.recipe").write_text("# first\n## Sums to learn.\n" + replaced(DATA, ('"s', '"../s')))
    recipe = 'import "lib/data.recipe" as m\n' + MODEL + replaced(TRAIN, ("= sums", "= m.sums")) + SAVE
    graph = graph_of(recipe)
    (origin,) = (graph.origins[ref] for ref, node in graph.nodes.items() if isinstance(node, JsonLines))
    place = (origin.name, origin.file, origin.line, origin.doc)
    assert place == ("m.sums", "lib/data.recipe", 3, "Sums to learn.")


def test_paths_are_relative_to_the_file_in_which_they_stand(folder: Path) -> None:
    (folder / "lib").mkdir()
    (folder / "lib" / "rows.jsonl").write_bytes(FILES["sums.jsonl"])
    (folder / "lib" / "data.recipe").write_text(
        'import "more.recipe" as more\ninput rows_of: Path = "rows.jsonl"\n'
        + DATA.replace('"sums.jsonl"', "rows_of")
        + "let again = more.sums\n"
    )
    (folder / "lib" / "more.recipe").write_text(DATA.replace("sums.jsonl", "rows.jsonl"))
    inside = str(folder / "lib" / "rows.jsonl")
    recipe = 'import "lib/data.recipe" as m\n' + MODEL
    recipe += trained("tiny", "m.sums") + trained("tiny", "m.again", "again")
    nodes = graph_of(recipe).nodes.values()
    assert [node.path for node in nodes if isinstance(node, JsonLines)] == [inside]
    here = recipe.replace(" as m\n", ' as m { rows_of = "sums.jsonl" }\n')
    nodes = graph_of(here).nodes.values()
    paths = [node.path for node in nodes if isinstance(node, JsonLines)]
    assert sorted(map(str, paths)) == sorted([str(folder / "sums.jsonl"), inside])


def test_what_the_launch_and_the_recipe_decide_holds_in_imports() -> None:
    write(lib="recipe other { seed = 99 }\nlet name = ctx.run_name\nlet size = ctx.world_size\n" + MODEL)
    recipe = 'recipe mine { seed = 5 }\nimport "lib.recipe" as m\ninput who: str = m.name\n'
    recipe += "input size: int = m.size\n" + DATA + trained("m.tiny", "sums { limit = 2 }")
    graph = graph_of(recipe)
    assert (graph.inputs["who"], graph.inputs["size"]) == ("mine", 1)
    assert [node.seed for node in graph.nodes.values() if isinstance(node, ScratchModel)] == [5]


def test_the_seed_may_come_from_an_import() -> None:
    write(lib="let base = 6\ninput seed: int = base + 1\n" + MODEL)
    recipe = 'recipe mine { seed = m.seed }\nimport "lib.recipe" as m\n' + DATA
    graph = graph_of(recipe + trained("m.tiny", "sums"))
    assert graph.seed == 7
    assert [node.seed for node in graph.nodes.values() if isinstance(node, ScratchModel)] == [7]


# --- inputs of imports ----------------------------------------------------------------------------------

RATES = "input rate: float = 0.1 where 0 < rate < 1\ninput count: int = 1\nlet twice = 2 * rate\n"


def value_of(recipe: str, *sets: str) -> object:
    return graph_of(recipe + "input found: float = m.twice\n", sets).inputs["found"]


def test_inputs_are_set_by_the_import_and_by_the_caller() -> None:
    write(lib=RATES)
    plain, given = 'import "lib.recipe" as m\n', 'import "lib.recipe" as m { rate = 0.2 }\n'
    assert value_of(plain) == 0.2
    assert value_of(given) == 0.4
    assert value_of(plain, "m.rate=0.3") == 0.6
    # The command line counts more than the recipe.
    assert value_of(given, "m.rate=0.3") == 0.6


def test_what_an_import_gives_speaks_of_the_recipe_that_imports() -> None:
    write(lib=RATES)
    assert value_of('let base = 0.05\nimport "lib.recipe" as m { rate = base * 2 }\n') == 0.2
    assert value_of('import "lib.recipe" as m { rate = n.twice }\nimport "lib.recipe" as n\n') == 0.4


def test_imports_inside_imports_are_set_from_outside() -> None:
    write(lib=RATES, middle='import "lib.recipe" as m { rate = 0.2 }\nlet twice = m.twice\n')
    recipe = 'import "middle.recipe" as m\n'
    assert value_of(recipe) == 0.4
    assert value_of(recipe, "m.m.rate=0.3") == 0.6


def test_one_file_with_different_inputs_is_two_instances() -> None:
    write(lib="input width: int = 8\n" + replaced(MODEL, ("hidden_size = 8", "hidden_size = width")))
    recipe = 'import "lib.recipe" as a\nimport "lib.recipe" as b { width = 16 }\nimport "lib.recipe" as c\n'
    recipe += DATA + "".join(trained(f"{name}.tiny", "sums", name * 2) for name in "abc")
    graph = graph_of(recipe)
    widths = [node.hidden_size for node in graph.nodes.values() if isinstance(node, ScratchModel)]
    assert sorted(widths) == [8, 16]


FAULTY_ENTRIES = [
    ('{ rate = "x" }', ["E0301"]),
    ("{ rate = 2 }", ["E0422"]),
    ("{ rate = 0.1, rate = 0.2 }", ["E0402"]),
    ("{ raet = 0.1 }", ["E0420"]),
    ("{ twice = 0.1 }", ["E0420"]),
    ("{ rate = nothing }", ["E0204"]),
    ("{ rate = 1 / 0 }", ["E0309"]),
    ("{ raet = nothing }", ["E0204", "E0420"]),
    ('{ rate = if ctx.nodes == 1 then "x" else 0.1 }', ["E0301"]),
    ("{ rate = m.twice }", ["E0205"]),
]


@pytest.mark.parametrize(("entries", "said"), FAULTY_ENTRIES)
def test_what_an_import_gives_is_checked_at_its_place(entries: str, said: list[str]) -> None:
    write(lib=RATES)
    compilation = check_text(f'import "lib.recipe" as m {entries}\nlet x = m.twice\n')
    assert sorted(codes(compilation)) == said
    assert {finding.span.source.name for finding in compilation.diagnostics} == {RECIPE}


@pytest.mark.parametrize("entries", ['{ rate = "x" }', "{ rate = 2 }"])
def test_a_refused_entry_points_at_the_input(entries: str) -> None:
    write(lib=RATES)
    finding = only(check_text(f'import "lib.recipe" as m {entries}\nlet x = m.twice\n'))
    assert [label.span.source.name for label in finding.labels] == ["lib.recipe"]


def test_every_input_that_is_not_given_is_said_at_the_import() -> None:
    write(lib="input a: int\ninput b: Secret\ninput c: int\nlet x = a\n")
    compilation = check_text('import "lib.recipe" as m { c = 1 }\nlet x = m.x\n', ['m.b=env("X")'])
    assert [(f.code, f.span.text, f.words.message.count("`a`")) for f in compilation.diagnostics] == [
        ("E0425", "m", 1)
    ]


def test_settings_of_imports_that_are_not_there() -> None:
    write(lib=RATES)
    sets = ["m.raet=1", "m=1", "n.rate=1", "m.rate=0.1", "m.rate=0.2", "m.rate.x=1"]
    compilation = check_text('import "lib.recipe" as m\nlet x = m.twice\n', sets)
    assert sorted((f.code, f.span.source.name) for f in compilation.diagnostics) == [
        ("E0420", "--set m"),
        ("E0420", "--set m.raet"),
        ("E0420", "--set m.rate.x"),
        ("E0420", "--set n.rate"),
        ("E0423", "--set m.rate"),
    ]


# --- faults ---------------------------------------------------------------------------------------------


def test_all_errors_of_an_imported_file_are_said_there_once() -> None:
    write(lib="let a = nothing\nlet b = 1 +\nlet c = 1 / 0\ninput d: double\n")
    recipe = 'import "lib.recipe" as m\nimport "lib.recipe" as n\nlet x = m.a\nlet y = n.b\n'
    assert blamed(check_text(recipe)) == [
        ("E0121", "lib.recipe", 2),
        ("E0204", "lib.recipe", 1),
        ("E0305", "lib.recipe", 4),
        ("E0309", "lib.recipe", 3),
    ]


def test_data_is_looked_at_where_it_is_used() -> None:
    """A library may name data that only other recipes have."""
    write(lib=DATA + 'dataset far = jsonl("nowhere.jsonl")\n')
    assert codes(check_text('import "lib.recipe" as m\nlet x = m.sums\n')) == []
    assert blamed(check_text('import "lib.recipe" as m\nlet x = m.far\n')) == [("E0501", "lib.recipe", 5)]


def test_what_an_import_lost_is_not_missed() -> None:
    write(lib="let a = 1\nlet = 2\n", broken="let a = (1\n")
    said = codes(check_text('import "lib.recipe" as m\nlet x = m.b\nlet y = m.a\n'))
    assert len(said) == 1
    assert said[0].startswith("E01")


UNREADABLE = ['"nowhere.recipe"', '"home"', '"latin.jsonl"', '""', '"a\\u{0}b"', '"~nobody/x.recipe"']


@pytest.mark.parametrize("path", UNREADABLE)
def test_a_file_that_cannot_be_read_is_one_finding(path: str) -> None:
    recipe = f"import {path} as m {{ rate = 1 }}\nlet x = m.a\nlet y = m.b {{ limit = 1 }}\nlet z = m\n"
    finding = only(check_text(recipe, ["m.rate=3"]))
    assert finding.code in ("E0501", "E0507")
    assert finding.span.text == path


def test_a_near_name_is_offered() -> None:
    Path("lib").mkdir()
    Path("lib/rates.recipe").write_text("let a = 1\n")
    for path in ("lib/rates", "lib/rate.recipe", "lib/rates.recip"):
        finding = only(check_text(f'import "{path}" as m\nlet x = m.a\n'))
        assert finding.words.help == "did you mean `lib/rates.recipe`?"


WRONG_USES = [
    ("let x = m", "E0311"),
    ("let x = m { limit = 1 }", "E0311"),
    ("let x = m.inner", "E0311"),
    ("let x = m.inner.b", "E0311"),
    ("let x = m.b", "E0308"),
    ("let x = m(1)", "E0307"),
    ("let x = m + 1", "E0311"),
    ("let x = m.a.b", "E0308"),
    ("model m = hf", "E0201"),
    ("input x: int = 1 where m", "E0311"),
]


@pytest.mark.parametrize(("line", "code"), WRONG_USES)
def test_an_import_is_no_value(line: str, code: str) -> None:
    write(lib='import "inner.recipe" as inner\nlet a = 1\n', inner="let b = 1\n")
    compilation = check_text(f'import "lib.recipe" as m\n{line}\n')
    assert code in codes(compilation)
    assert len(codes(compilation)) == (2 if code == "E0201" else 1)


def test_a_member_that_is_not_there_lists_those_that_are() -> None:
    write(lib='import "inner.recipe" as inner\nlet peak = 1\nlet floor = 2\n', inner="let b = 1\n")
    (finding,) = check_text('import "lib.recipe" as m\nlet x = m.paek\n').diagnostics
    assert finding.words.notes == ("it has: peak, floor",)
    assert finding.words.help == "did you mean `peak`?"


def test_unknown_names_beside_an_import_are_said_once() -> None:
    write(lib="let a = 1\n")
    recipe = 'import "lib.recipe" as m\nlet x = unheard(m.a, m.b, nothing)\n'
    assert codes(check_text(recipe)) == ["E0204", "E0204"]


def test_names_of_imports_are_out_of_reach_in_settings() -> None:
    write(lib="let a = 1\n")
    recipe = 'import "lib.recipe" as m\ninput x: int = m.a\n'
    assert codes(check_text(recipe)) == []
    assert codes(check_text(recipe, ["x=m.a"])) == ["E0206"]


def test_circles() -> None:
    write(a='import "b.recipe" as b\nlet x = b.x\n', b='import "c.recipe" as c\nlet x = c.x\n')
    write(c='import "a.recipe" as a\nlet x = a.x\nlet wrong = nothing\n', me='import "me.recipe" as me\n')
    compilation = check_text('import "a.recipe" as a\nimport "me.recipe" as me\nlet x = a.x\n')
    assert blamed(compilation) == [
        ("E0204", "c.recipe", 3),
        ("E0207", "a.recipe", 1),
        ("E0207", "me.recipe", 1),
    ]
    circle = next(f for f in compilation.diagnostics if len(f.labels) > 1)
    assert [label.span.source.name for label in circle.labels] == ["b.recipe", "c.recipe"]


def test_links_between_folders_do_not_go_on_for_ever(folder: Path) -> None:
    (folder / "round").symlink_to(folder)
    write(lib='import "round/lib.recipe" as again\nlet x = 1\n')
    assert codes(check_text('import "lib.recipe" as m\nlet x = m.x\n')) == ["E0208"]


def test_a_deep_chain_of_imports_is_read() -> None:
    for number in range(1, DEEPEST):
        write(**{f"f{number}": f'import "f{number + 1}.recipe" as next\nlet x = next.x + 1\n'})
    write(**{f"f{DEEPEST}": "let x = 1\n"})
    assert graph_of('import "f1.recipe" as f\ninput x: int = f.x\n').inputs == {"x": DEEPEST}


def test_a_secret_of_an_import_is_not_shown() -> None:
    write(lib="input token: Secret\ninput tokens: list[Secret] = []\nlet x = 1\n")
    recipe = 'import "lib.recipe" as m\nlet x = m.x\n'
    for sets in (["m.token=hunter2"], ['m.token=env("A")', "m.tokens=[hunter2]"], ["m.tokne=hunter2"]):
        found = check_text(recipe, sets).diagnostics
        assert found
        assert "hunter2" not in render_text(found)


# --- what is read ---------------------------------------------------------------------------------------


class Unsaved(Disk):
    """The disk, with the text of some files as an editor holds it."""

    def __init__(self, texts: Mapping[Path, str]) -> None:
        self.texts = texts
        self.asked: list[Path] = []

    def exists(self, path: Path) -> bool:
        return path in self.texts or super().exists(path)

    def head(self, path: Path, limit: int) -> bytes:
        self.asked.append(path)
        return self.texts[path].encode() if path in self.texts else super().head(path, limit)


def test_imports_are_read_through_the_files_once(folder: Path) -> None:
    files = Unsaved(
        {folder / "a.recipe": 'import "b.recipe" as b\nlet x = b.x\n', folder / "b.recipe": "let x = 1\n"}
    )
    text = (
        'import "a.recipe" as a\nimport "b.recipe" as b\nimport "./b.recipe" as c\nlet x = [a.x, b.x, c.x]\n'
    )
    compilation = compile_recipe(Source(RECIPE, text, folder / RECIPE), files=files)
    assert codes(compilation) == []
    assert files.asked == [folder / "a.recipe", folder / "b.recipe"]


def test_a_text_without_a_file_imports_from_the_working_directory() -> None:
    write(lib="let x = 1\n")
    compilation = compile_recipe(Source("<text>", 'import "lib.recipe" as m\ninput x: int = m.x\n'))
    assert compilation.graph is not None


# --- unused ---------------------------------------------------------------------------------------------


def test_an_import_that_nothing_uses() -> None:
    write(lib="let a = 1\n")
    compilation = check_text('import "lib.recipe" as m\n' + LIBRARY + SAVE)
    assert places(compilation) == [("W0201", 1)]
    assert codes(check_text('import "lib.recipe" as m\n')) == []


def test_what_only_an_unused_import_is_given_goes_with_it() -> None:
    write(lib=RATES)
    recipe = 'input rate: float = 0.1\nimport "lib.recipe" as m { rate = rate }\n' + LIBRARY + SAVE
    finding = only(check_text(recipe))
    assert (finding.code, finding.span.text) == ("W0201", "m")
    assert "`rate`" in finding.words.notes[0]


# --- splitting ------------------------------------------------------------------------------------------

PARTS = {
    "asked": ASKED,
    "tiny": MODEL,
    "right": GRADER,
    "adder": REINFORCE,
    "brief": "grader brief = 0.5 * right + 0.5 * words(completion) / 100\n",
    "report": COMPARED.replace("words(completion)", "brief"),
}
NEEDS = {
    "asked": (),
    "tiny": (),
    "right": (),
    "adder": ("asked", "tiny", "right"),
    "brief": ("right",),
    "report": ("asked", "tiny", "right", "adder", "brief"),
}
SPLITS = [
    names
    for size in range(1, len(PARTS) + 1)
    for names in combinations(PARTS, size)
    if all(need in names for name in names for need in NEEDS[name])
]
"""The declarations that can stand in a file of their own, since they need no other."""


def spoken_of(text: str, names: Mapping[str, str]) -> str:
    """`text` with other names for what it uses; what it declares and its keys stay."""
    for old, new in names.items():
        text = re.sub(rf"(?<=[=\[,*] ){old}\b|(?<=\[){old}\b|(?<=^save ){old}\b", new, text, flags=re.M)
    return text


def same_graph(recipe: str, registry: Path) -> None:
    """Whether the recipe is, to the last digit, the one in a single file."""
    split, whole = graph_of(recipe), graph_of("recipe mine { seed = 3 }\n" + "".join(PARTS.values()) + SAVE)
    assert split.nodes == whole.nodes
    assert set(split.outputs) == set(whole.outputs)
    assert identities(split, content_hash, registry) == identities(whole, content_hash, registry)


@pytest.mark.parametrize("names", SPLITS, ids="+".join)
def test_splitting_a_recipe_leaves_its_graph_alone(names: tuple[str, ...], registry: Path) -> None:
    write(lib="".join(PARTS[name] for name in names))
    rest = "".join(text for name, text in PARTS.items() if name not in names) + SAVE
    recipe = 'recipe mine { seed = 3 }\nimport "lib.recipe" as m\n'
    recipe += spoken_of(rest, {name: f"m.{name}" for name in names})
    same_graph(recipe + ("evaluate again = m.report\n" if "report" in names else ""), registry)


def test_a_file_for_each_value_leaves_the_graph_alone(registry: Path) -> None:
    for name, text in PARTS.items():
        imports = "".join(f'import "{need}.recipe" as its_{need}\n' for need in NEEDS[name])
        write(**{name: imports + spoken_of(text, {need: f"its_{need}.{need}" for need in NEEDS[name]})})
    recipe = 'recipe mine { seed = 3 }\nimport "report.recipe" as a\nimport "adder.recipe" as b\n'
    same_graph(recipe + 'evaluate report = a.report\nsave b.adder as "adder"\n', registry)

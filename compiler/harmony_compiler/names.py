"""Names: which value each name stands for.

Takes a syntax tree, gives its declarations by name in an order in which each stands after everything it
mentions, and findings: names declared twice, names that belong to the language, cycles. Unknown names are
the checker's, since only it knows what is in scope at a place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import cache
from typing import TypeAlias

from harmony_compiler.findings.names import Cycle, DuplicateName, NameOfTheLanguage, SecondRecipe, UnusedValue
from harmony_compiler.graph.catalogue import LATER, constructor_names
from harmony_compiler.graph.formulas import FUNCTIONS
from harmony_grammar import syntax
from harmony_grammar.diagnostics import Diagnostic, Label
from harmony_grammar.records import Record, fields

GRADED = ("completion", "prompt", "turns", "metadata")
"""What a grader's formula speaks about."""

Named: TypeAlias = syntax.InputDeclaration | syntax.ValueDeclaration | syntax.ImportDeclaration


class Names(Record):
    """The declarations of a file, each under its name, dependencies first."""

    file: syntax.File
    recipe: syntax.RecipeDeclaration | None
    declared: dict[str, Named]
    order: tuple[str, ...]
    """Names that are part of a cycle, which was reported, come last."""
    again: tuple[Named, ...]
    """Second declarations of a name, which were reported: nothing sees their values."""
    saves: tuple[syntax.SaveDeclaration, ...]
    diagnostics: tuple[Diagnostic, ...]


@cache
def names_of_the_language() -> frozenset[str]:
    """Names that a recipe cannot declare."""
    return frozenset({"ctx", "env", *GRADED, *FUNCTIONS, *LATER, *constructor_names()})


def resolve(file: syntax.File) -> Names:
    findings: list[Diagnostic] = []
    recipe: syntax.RecipeDeclaration | None = None
    declared: dict[str, Named] = {}
    again: list[Named] = []
    saves: list[syntax.SaveDeclaration] = []
    taken = names_of_the_language()

    for declaration in file.declarations:
        match declaration:
            case syntax.RecipeDeclaration():
                if recipe is not None:
                    first = Label(recipe.span, "the first one")
                    findings.append(SecondRecipe(span=declaration.span, labels=(first,)))
                recipe = recipe or declaration
            case syntax.SaveDeclaration():
                saves.append(declaration)
            case _:
                name = declaration.name
                if name.text in taken:
                    findings.append(NameOfTheLanguage(span=name.span, name=name.text))
                elif name.text in declared:
                    first = Label(declared[name.text].name.span, "first declared here")
                    findings.append(DuplicateName(span=name.span, name=name.text, labels=(first,)))
                if name.text in declared:
                    again.append(declaration)
                else:
                    declared[name.text] = declaration

    order, cycles = _order(declared)
    findings.extend(cycles)
    return Names(file, recipe, declared, order, tuple(again), tuple(saves), tuple(findings))


def mentioned(part: object, *, short_keys: bool = True) -> Iterator[syntax.Name]:
    """Every name that an expression or declaration mentions, at any depth.

    The key of a short field, `key { … }`, may be a name or merely a key: `short_keys` counts it in.
    """
    match part:
        case syntax.Name():
            yield part
        case syntax.Field(value=syntax.With() as value, short=True) if not short_keys:
            yield from mentioned(value.fields, short_keys=False)
        case syntax.Node():
            for name in fields(part):
                yield from mentioned(getattr(part, name), short_keys=short_keys)
        case tuple():
            for item in part:
                yield from mentioned(item, short_keys=short_keys)


def close_to(name: str, known: Iterable[str]) -> str:
    """The known name that `name` was probably meant to be, or nothing."""
    from difflib import get_close_matches  # only a recipe with a mistake pays for it

    return next(iter(get_close_matches(name, list(known), n=1, cutoff=0.7)), "")


def _dependencies(declaration: Named) -> dict[str, None]:
    """What must have a value before. The condition of an input is asked when all inputs have theirs."""
    part = declaration.default if isinstance(declaration, syntax.InputDeclaration) else declaration
    return dict.fromkeys(name.text for name in mentioned(part))


def needed(names: Names, roots: Iterable[str]) -> list[str]:
    """`roots` and everything that they need, conditions of inputs included, in order."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in names.declared and name not in found:
            found.add(name)
            waiting.extend(mention.text for mention in mentioned(names.declared[name]))
    return [name for name in names.order if name in found]


def _order(declared: dict[str, Named]) -> tuple[tuple[str, ...], list[Diagnostic]]:
    """Dependencies first, by depth-first search without recursion: a recipe may chain thousands of names."""
    findings: list[Diagnostic] = []
    order: list[str] = []
    done: set[str] = set()
    circular: set[str] = set()
    for start, declaration in declared.items():
        path: dict[str, None] = {}
        stack: list[tuple[str, Iterator[str]]] = []
        if start not in done:
            path[start] = None
            stack.append((start, iter(_dependencies(declaration))))
        while stack:
            name, rest = stack[-1]
            following = next((n for n in rest if n in declared and n not in done), None)
            if following is None:
                stack.pop()
                path.popitem()
                done.add(name)
                order.append(name)
            elif following in path:
                members = list(path)
                members = members[members.index(following) :]
                if not circular.intersection(members):
                    findings.append(_cycle(members, declared))
                circular.update(members)
            else:
                path[following] = None
                stack.append((following, iter(_dependencies(declared[following]))))
    return (*(n for n in order if n not in circular), *(n for n in order if n in circular)), findings


def _cycle(members: list[str], declared: dict[str, Named]) -> Cycle:
    first = min(members, key=lambda name: declared[name].name.span.start)
    at = members.index(first)
    way = [*members[at:], *members[:at], first]
    others = tuple(Label(declared[name].name.span, "part of the circle") for name in way[1:-1])
    return Cycle(
        span=declared[first].name.span,
        name=first,
        way=" → ".join(f"`{name}`" for name in way),
        labels=others,
    )


def unused(names: Names, outputs: Collection[str]) -> Iterator[UnusedValue]:
    """Values that no other declaration mentions; `outputs` (trained models, evaluations) need no other use.

    Asked only of a recipe without errors: what could not be read may have been the use. A recipe without
    outputs is there to be imported, and each of its values may be wanted.
    """
    if not outputs:
        return
    used: set[str] = set()
    for declaration in names.file.declarations:
        own = declaration.name.text if isinstance(declaration, Named) else ""
        used.update(name.text for name in mentioned(declaration) if name.text != own)
    for name, declaration in names.declared.items():
        word = declaration.word if isinstance(declaration, syntax.ValueDeclaration) else ""
        if name not in used and name not in outputs and word not in ("train", "evaluate"):
            yield UnusedValue(span=declaration.name.span, name=name)

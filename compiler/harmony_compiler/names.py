"""Names: which value each name stands for.

Takes a syntax tree, gives its declarations by name in an order in which each stands after everything it
mentions, and findings: names declared twice, names that belong to the language, cycles. Unknown names are
the checker's, since only it knows what is in scope at a place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from harmony_grammar import syntax
from harmony_grammar.diagnostics import Diagnostic, Label

from harmony_compiler.findings.names import Cycle, DuplicateName, NameOfTheLanguage, SecondRecipe, UnusedValue
from harmony_compiler.graph.catalogue import LATER, constructor_names

GRADED = ("completion", "prompt", "turns", "metadata")
"""What a grader's formula speaks about."""

Named: TypeAlias = syntax.InputDeclaration | syntax.ValueDeclaration | syntax.ImportDeclaration


@dataclass(frozen=True)
class Names:
    """The declarations of a file, each under its name, dependencies first."""

    file: syntax.File
    recipe: syntax.RecipeDeclaration | None
    declared: dict[str, Named]
    order: tuple[str, ...]
    """Names that are part of a cycle are left out; they were reported."""
    saves: tuple[syntax.SaveDeclaration, ...]
    diagnostics: tuple[Diagnostic, ...]


def names_of_the_language() -> frozenset[str]:
    """Names that a recipe cannot declare."""
    return frozenset({"ctx", "env", *GRADED, *LATER, *constructor_names()})


def resolve(file: syntax.File) -> Names:
    findings: list[Diagnostic] = []
    recipe: syntax.RecipeDeclaration | None = None
    declared: dict[str, Named] = {}
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
                declared.setdefault(name.text, declaration)

    order, cycles = _order(declared)
    findings.extend(cycles)
    return Names(file, recipe, declared, order, tuple(saves), tuple(findings))


def mentioned(part: object) -> Iterator[syntax.Name]:
    """Every name that an expression or declaration mentions, at any depth."""
    if isinstance(part, syntax.Name):
        yield part
    elif isinstance(part, syntax.Node):
        for field in dataclasses.fields(part):
            yield from mentioned(getattr(part, field.name))
    elif isinstance(part, tuple):
        for item in part:
            yield from mentioned(item)


def close_to(name: str, known: Iterable[str]) -> str:
    """The known name that `name` was probably meant to be, or nothing."""
    from difflib import get_close_matches  # only a recipe with a mistake pays for it

    return next(iter(get_close_matches(name, list(known), n=1, cutoff=0.7)), "")


def _dependencies(declaration: Named) -> dict[str, None]:
    names = dict.fromkeys(name.text for name in mentioned(declaration))
    if isinstance(declaration, syntax.InputDeclaration):
        names.pop(declaration.name.text, None)  # its condition speaks about the input itself
    return names


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
                if name not in circular:
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
    return tuple(order), findings


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


def unused(names: Names) -> Iterator[UnusedValue]:
    """Values that no other declaration mentions. A trained model is an output, not unused.

    Asked only of a recipe without errors: what could not be read may have been the use.
    """
    if not has_outputs(names.file):
        return
    used: set[str] = set()
    for declaration in names.file.declarations:
        if isinstance(declaration, Named):
            used.update(_dependencies(declaration))
        else:
            used.update(name.text for name in mentioned(declaration))
    for name, declaration in names.declared.items():
        is_output = isinstance(declaration, syntax.ValueDeclaration) and declaration.word in (
            "train",
            "evaluate",
        )
        if name not in used and not is_output:
            yield UnusedValue(span=declaration.name.span, name=name)


def has_outputs(file: syntax.File) -> bool:
    return any(
        isinstance(declaration, syntax.SaveDeclaration)
        or (isinstance(declaration, syntax.ValueDeclaration) and declaration.word in ("train", "evaluate"))
        for declaration in file.declarations
    )

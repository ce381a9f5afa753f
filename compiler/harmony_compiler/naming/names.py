"""Names: which value each name stands for.

Takes a syntax tree, gives its declarations by name in an order in which each stands after everything it
mentions, and findings: names declared twice, names that belong to the language, cycles. Unknown names are
the checker's, since only it knows what is in scope at a place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache, cached_property
from typing import TypeAlias

from harmony_compiler.findings.names import Cycle, DuplicateName, NameOfTheLanguage, SecondRecipe, UnusedValue
from harmony_compiler.graph.catalogue import constructor_names
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
    mentions: dict[str, dict[str, None]]
    """By declaration, every name that it mentions."""
    diagnostics: tuple[Diagnostic, ...]

    @cached_property
    def places(self) -> dict[str, int]:
        """The place of each name in the order."""
        return {name: place for place, name in enumerate(self.order)}


@cache
def names_of_the_language() -> frozenset[str]:
    """Names that a recipe cannot declare."""
    return frozenset({"ctx", "env", *GRADED, *FUNCTIONS, *constructor_names()})


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

    mentions = {name: dict.fromkeys(m.text for m in mentioned(part)) for name, part in declared.items()}
    order, cycles = _order(declared, mentions)
    findings.extend(cycles)
    return Names(file, recipe, declared, order, tuple(again), tuple(saves), mentions, tuple(findings))


def mentioned(part: object, *, doubtful: bool = True) -> list[syntax.Name]:
    """Every name that an expression or declaration mentions, at any depth.

    The key of a short field, `key { … }`, may be a name or merely a key, and a name in a `filter` may be a
    column: `doubtful` counts them in.
    """
    found: list[syntax.Name] = []
    _collect(part, doubtful, found)
    return found


def _collect(part: object, doubtful: bool, found: list[syntax.Name]) -> None:
    if isinstance(part, syntax.Name):
        found.append(part)
    elif isinstance(part, tuple):
        for item in part:
            _collect(item, doubtful, found)
    elif isinstance(part, syntax.Node):
        if not doubtful and isinstance(part, syntax.Field) and _is_filter(part):
            return
        if not doubtful and isinstance(part, syntax.Field) and part.short:
            part = part.value.fields if isinstance(part.value, syntax.With) else part.value
            _collect(part, doubtful, found)
            return
        for held in vars(part).values():
            if isinstance(held, syntax.Node | tuple):
                _collect(held, doubtful, found)


def members(part: object) -> Iterator[tuple[str, str]]:
    """Every `name.member` in an expression or declaration, at any depth."""
    match part:
        case syntax.Attribute(value=syntax.Name(text=name), key=key):
            yield name, key.text
        case syntax.Node():
            for inner in fields(part):
                yield from members(getattr(part, inner))
        case tuple():
            for item in part:
                yield from members(item)


def close_to(name: str, known: Iterable[str]) -> str:
    """The known name that `name` was probably meant to be, or nothing."""
    from difflib import get_close_matches  # only a recipe with a mistake pays for it

    return next(iter(get_close_matches(name, list(known), n=1, cutoff=0.7)), "")


def _dependencies(declaration: Named, mentions: Iterable[str]) -> dict[str, bool]:
    """What must have a value before, each with whether it surely is needed.

    The condition of an input is asked when all inputs have theirs. A name in a `filter` may be a column.
    """
    if isinstance(declaration, syntax.InputDeclaration):
        return dict.fromkeys((name.text for name in mentioned(declaration.default)), True)
    sure = _without_filters(declaration)
    if sure is declaration:
        return dict.fromkeys(mentions, True)
    return dict.fromkeys(mentions, False) | dict.fromkeys((name.text for name in mentioned(sure)), True)


def _without_filters(part: object) -> object:
    """A dataset's expression as it is without its conditions on columns."""
    if isinstance(part, syntax.ValueDeclaration) and isinstance(part.value, syntax.With):
        kept = tuple(field for field in part.value.fields if not _is_filter(field))
        if len(kept) < len(part.value.fields):
            return (part.value.value, *kept)
    return part


def _is_filter(field: syntax.Field | syntax.Broken) -> bool:
    return isinstance(field, syntax.Field) and field.key.text == "filter"


def needed(names: Names, roots: Iterable[str], known: Collection[str] = ()) -> list[str]:
    """`roots` and all that they need, conditions of inputs included, in order; without what is `known`."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in names.declared and name not in found and name not in known:
            found.add(name)
            waiting.extend(names.mentions[name])
    return sorted(found, key=names.places.__getitem__)


def _order(
    declared: dict[str, Named], mentions: Mapping[str, Iterable[str]]
) -> tuple[tuple[str, ...], list[Diagnostic]]:
    """Dependencies first, by depth-first search without recursion: a recipe may chain thousands of names."""
    findings: list[Diagnostic] = []
    order: list[str] = []
    done: set[str] = set()
    circular: set[str] = set()
    needs = {name: _dependencies(part, mentions[name]) for name, part in declared.items()}
    for start in declared:
        path: dict[str, None] = {}
        stack: list[tuple[str, Iterator[tuple[str, bool]]]] = []
        if start not in done:
            path[start] = None
            stack.append((start, iter(needs[start].items())))
        while stack:
            name, rest = stack[-1]
            waits = ((n, sure) for n, sure in rest if n in declared and n not in done)
            following = next((n for n, sure in waits if sure or n not in path), None)
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
                stack.append((following, iter(needs[following].items())))
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
    """Values that no output needs; `outputs` (trained models, evaluations) need no other use.

    Of a chain of such values the last one is blamed, which nothing mentions; what only it uses goes with it.
    Asked only of a recipe without errors: what could not be read may have been the use. A recipe without
    outputs is there to be imported, and each of its values may be wanted.
    """
    if not outputs:
        return
    mentions = {name: found.keys() - {name} for name, found in names.mentions.items()}
    roots = {name for name, part in names.declared.items() if name in outputs or _is_output(part)}
    for part in (*names.saves, *((names.recipe,) if names.recipe else ())):
        roots.update(mention.text for mention in mentioned(part))
    needless = mentions.keys() - _reached(roots, mentions)
    used = {mention for name in needless for mention in mentions[name]}
    for name in names.declared:
        if name in needless and name not in used:
            along = _reached([name], mentions) & needless - {name}
            dropped = ", ".join(f"`{other}`" for other in names.declared if other in along)
            yield UnusedValue(span=names.declared[name].name.span, name=name, dropped=dropped)


def _is_output(declaration: Named) -> bool:
    return isinstance(declaration, syntax.ValueDeclaration) and declaration.word in ("train", "evaluate")


def _reached(roots: Iterable[str], mentions: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in mentions and name not in found:
            found.add(name)
            waiting.extend(mentions[name])
    return found

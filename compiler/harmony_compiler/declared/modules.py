"""Modules: every value of a recipe and of the files that it imports, in the order of their needs.

Takes names, imports, the caller's settings and the launch; gives the values of all declarations and the
saves as typed values, with findings. An imported file is checked whole, so that all its errors are said at
their places, but its `recipe` decides nothing: seeds and the run's name are the importing recipe's, so that
a recipe that is split into files makes the same graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from harmony_compiler.checking.checker import Checker
from harmony_compiler.data.heads import Heads
from harmony_compiler.declared.declarations import declared_value, recipe_seed, saved
from harmony_compiler.declared.given import Setting
from harmony_compiler.declared.imports import Library
from harmony_compiler.declared.inputs import Entry, ask_condition, input_value, inputs_of, sorted_settings
from harmony_compiler.findings.fields import DuplicateField, UnknownInput
from harmony_compiler.graph.graph import Launch
from harmony_compiler.naming.names import Named, Names, members, mentioned, names_of_the_language, needed
from harmony_compiler.naming.near import nearest
from harmony_compiler.typed import Made, Value, unknown
from harmony_grammar import syntax
from harmony_grammar.diagnostics import Diagnostic, Label
from harmony_grammar.records import Record, field


class Part(Record):
    """The values of one file: of the recipe itself, or under `prefix` (`m.`) of one that it imports."""

    prefix: str
    names: Names
    values: dict[str, Value]


class Checked(Record):
    """A recipe with every value found."""

    name: str
    seed: int
    values: dict[str, Value]
    parts: tuple[Part, ...]
    """The recipe's own, then those of every import, imports in imports included."""
    saves: tuple[Made, ...]
    diagnostics: tuple[Diagnostic, ...]


def check(
    names: Names,
    libraries: Mapping[str, Library],
    settings: Sequence[Setting],
    launch: Launch,
    heads: Heads,
) -> Checked:
    recipe = names.recipe
    name = recipe.name.text if recipe and recipe.name else _stem(names.file)
    module = _Module.open(Library(names, dict(libraries)), Checker(launch, name, heads), settings)
    if recipe:  # everything else may need its seed
        module.settle(mention.text for mention in mentioned(recipe))
        module.sow(module.seed(recipe))
    saves = module.finish()
    modules = list(module.all_modules())
    return Checked(
        name=name,
        seed=module.checker.seed,
        values=module.checker.values,
        parts=tuple(Part(prefix, part.names, part.checker.values) for prefix, part in modules),
        saves=saves,
        diagnostics=tuple(finding for _, part in modules for finding in part.checker.findings),
    )


def _stem(file: syntax.File) -> str:
    return file.source.path.stem if file.source.path else Path(file.source.name).stem


class _Module(Record, eq=False):
    """A file while it is checked: its names, what is given to its inputs, and the modules it imports."""

    names: Names
    libraries: Mapping[str, Library]
    checker: Checker
    given: dict[str, Setting | Entry]
    inner: dict[str, list[Setting]]
    """What is given to the inputs of its imports from outside."""
    entrance: syntax.ImportDeclaration | None
    again: frozenset[str]
    """Names that are declared twice."""
    modules: dict[str, _Module] = field(factory=dict)

    @staticmethod
    def open(
        library: Library,
        checker: Checker,
        settings: Sequence[Setting],
        entries: Mapping[str, Entry] | None = None,
        entrance: syntax.ImportDeclaration | None = None,
    ) -> _Module:
        names, libraries = library.names, library.libraries
        checker.declared = names.declared
        checker.lost_names = not names.file.complete
        own, inner = sorted_settings(settings, names, libraries, checker.report)
        given: dict[str, Setting | Entry] = {**(entries or {}), **own}
        again = frozenset(declaration.name.text for declaration in names.again)
        return _Module(names, libraries, checker, given, inner, entrance, again)

    def all_modules(self, prefix: str = "") -> Iterator[tuple[str, _Module]]:
        yield prefix, self
        for name, module in self.modules.items():
            yield from module.all_modules(f"{prefix}{name}.")

    def seed(self, recipe: syntax.RecipeDeclaration) -> int | None:
        self.ready(recipe)
        return recipe_seed(self.checker, recipe)

    def sow(self, seed: int | None) -> None:
        for _, module in self.all_modules():
            module.checker.seed = module.checker.seed if seed is None else seed

    def settle(self, wanted: Iterable[str]) -> None:
        """Give a value to each of `wanted` and to what they need; inputs first, and their conditions.

        Nothing should be made of an input that is refused.
        """
        order = needed(self.names, wanted, self.checker.values)
        inputs = [n for n in order if isinstance(self.names.declared[n], syntax.InputDeclaration)]
        self._give_values(needed(self.names, inputs, self.checker.values))
        self._give_values(order)

    def _give_values(self, order: Sequence[str]) -> None:
        values = self.checker.values
        fresh = {name: self.names.declared[name] for name in order if name not in values}
        for name, declaration in fresh.items():
            value = self.value(declaration)
            values[name] = unknown(value.span) if self.is_doubtful(name) else value
        for name, declaration in fresh.items():
            if isinstance(declaration, syntax.InputDeclaration) and declaration.condition is not None:
                ask_condition(self.checker, name, declaration.condition)

    def is_doubtful(self, name: str) -> bool:
        """Declared twice or a name of the language, which was reported: nobody can say what a use means."""
        return name in names_of_the_language() or name in self.again

    def value(self, declaration: Named) -> Value:
        self.ready(declaration)
        match declaration:
            case syntax.InputDeclaration(name=name):
                given = self.given.get(name.text)
                return input_value(self.checker, declaration, given, self.entrance)
            case syntax.ValueDeclaration():
                return declared_value(self.checker, declaration)
            case syntax.ImportDeclaration():
                self._enter(declaration)
                return unknown(declaration.span)

    def ready(self, part: syntax.Node) -> None:
        """Give a value to each `m.NAME` that a part of the file reads."""
        if self.modules:
            for name, member in members(part):
                if name in self.modules:
                    self.modules[name].settle([member])

    def finish(self) -> tuple[Made, ...]:
        """Give a value to everything that has none, and to the saves."""
        self.settle(inputs_of(self.names))
        self._give_values(self.names.order)
        if self.entrance is not None and self.names.recipe is not None:
            self.seed(self.names.recipe)  # its errors are said; the seed is the importing recipe's
        for declaration in self.names.again:
            self.value(declaration)
        saves: list[Made] = []
        for save in self.names.saves:
            self.ready(save)
            saves.append(saved(self.checker, save))
        for module in self.modules.values():
            module.finish()
        return tuple(saves)

    # --- imports ----------------------------------------------------------------------------------------

    def _enter(self, declaration: syntax.ImportDeclaration) -> None:
        name, library = declaration.name.text, self.libraries.get(declaration.name.text)
        if library is None or self.is_doubtful(name):
            self.checker.sweep(declaration.fields)
            return
        own = self.checker
        checker = Checker(own.launch, own.run_name, own.heads, own.seed)
        entries = self._entries(declaration, library)
        inner = self.inner.get(name, ())
        self.modules[name] = _Module.open(library, checker, inner, entries, declaration)
        own.imported[name] = checker

    def _entries(self, declaration: syntax.ImportDeclaration, library: Library) -> dict[str, Entry]:
        """What the `{ }` of an import gives, by input."""
        places: dict[str, syntax.Identifier] = {}
        entries: dict[str, Entry] = {}
        known = inputs_of(library.names)
        for item in declaration.fields:
            if not isinstance(item, syntax.Field):
                continue
            key = item.key
            if key.text in places:
                first = Label(places[key.text].span, "first given here")
                self.checker.report(DuplicateField(span=key.span, key=key.text, labels=(first,)))
            elif key.text in known:
                entries[key.text] = Entry(item.value, self.checker)
            elif library.names.file.complete:
                self.checker.report(_no_input(declaration, key, library))
            if key.text not in known or key.text in places:
                self.checker.sweep(item.value)
            places.setdefault(key.text, key)
        return entries


def _no_input(
    declaration: syntax.ImportDeclaration, key: syntax.Identifier, library: Library
) -> UnknownInput:
    known = inputs_of(library.names)
    near = nearest(key.text, known)
    other = library.names.declared.get(key.text)
    return UnknownInput(
        span=key.span,
        what=f"`{declaration.path.value}`",
        name=key.text,
        known=", ".join(known) or "none",
        suggestion=near.name,
        fixes=near.fixes(key.span, closed=True),
        found="not an input" if other is None else "only inputs can be set",
        labels=() if other is None else (Label(other.name.span, "a value of that file"),),
    )

"""Imports: the other files that a recipe takes values from, found and read before anything is checked.

Takes the names of a recipe; gives the files that it imports with the names in them, and findings. A file is
read once, however often and from wherever it is imported. A recipe without imports pays for nothing here.
"""

from __future__ import annotations

from os.path import normpath
from pathlib import Path

from harmony_compiler.checking.fitting import resolved
from harmony_compiler.files import Files, UnreadableError, read_text
from harmony_compiler.findings.data import MissingFile, UnreadableFile
from harmony_compiler.findings.names import DeepImport, ImportCycle
from harmony_compiler.graph.types import STR
from harmony_compiler.naming.names import Names, close_to, resolve
from harmony_compiler.typed import Value
from harmony_grammar import syntax
from harmony_grammar.diagnostics import Diagnostic, Label, meant
from harmony_grammar.literal_errors import BadEscape
from harmony_grammar.parser import parse_file
from harmony_grammar.records import Record
from harmony_grammar.source import Source

DEEPEST = 24
"""How many files deep imports may go: links between folders can make them go on for ever."""


class Library(Record, eq=False):
    """A file that is imported. An import in it that could not be read was reported, and is left out."""

    names: Names
    libraries: dict[str, Library]


class Imports(Record):
    """The imported files of a recipe, by the names that it gives them."""

    libraries: dict[str, Library]
    diagnostics: tuple[Diagnostic, ...]


def find_imports(names: Names, files: Files) -> Imports:
    loader = _Loader(files, names.file.source)
    libraries = loader.libraries_of(names)
    return Imports(libraries, tuple(loader.findings))


class _Step(Record):
    """A file on the way from the recipe to an import, and the declaration that imports it."""

    key: str
    """Its path; equal for one file, however it was written."""
    declaration: syntax.ImportDeclaration


class _Loader:
    def __init__(self, files: Files, recipe: Source) -> None:
        self.files = files
        self.recipe = recipe
        self.known: dict[str, Library] = {}
        self.way: list[_Step] = []
        self.findings: list[Diagnostic] = []

    def libraries_of(self, names: Names) -> dict[str, Library]:
        found: dict[str, Library] = {}
        for name, declaration in names.declared.items():
            if isinstance(declaration, syntax.ImportDeclaration):
                library = self._library(declaration)
                if library is not None:
                    found[name] = library
        return found

    def _library(self, declaration: syntax.ImportDeclaration) -> Library | None:
        path = declaration.path
        self.findings.extend(BadEscape.at(escape) for escape in path.bad_escapes)
        place = Path(resolved(Value(STR, path.value, path.span, literal=path)))
        # Not by asking the disk: only `files` may, and it need not be a disk.
        key = normpath(place)
        if key in self.known:
            return self.known[key]
        circle = self._circle(key, declaration)
        if circle is not None:
            self.findings.append(circle)
        elif len(self.way) == DEEPEST:
            self.findings.append(DeepImport(span=path.span, most=str(DEEPEST)))
        elif (source := self._read(place, path)) is not None:
            parsed = parse_file(source)
            names = resolve(parsed.tree)
            self.findings += [*parsed.diagnostics, *names.diagnostics]
            self.way.append(_Step(key, declaration))
            self.known[key] = Library(names, self.libraries_of(names))
            self.way.pop()
            return self.known[key]
        return None

    def _read(self, place: Path, path: syntax.Text) -> Source | None:
        written = path.value
        if not self.files.exists(place):
            with_suffix = place.name + ".recipe"
            beside = self.files.names_in(place.parent)
            near = with_suffix if with_suffix in beside else close_to(place.name, beside)
            suggestion = str(Path(written).with_name(near)) if near else ""
            fixes = meant(path.span, f'"{suggestion}"' if suggestion else "")
            finding = MissingFile(
                span=path.span, path=written, looked=str(place), suggestion=suggestion, fixes=fixes
            )
            self.findings.append(finding)
            return None
        try:
            if self.files.is_folder(place):
                raise UnreadableError("it is a folder")
            text = read_text(place, self.files)
        except UnreadableError as fault:
            self.findings.append(UnreadableFile(span=path.span, path=written, reason=str(fault)))
            return None
        importer = path.span.source
        shown = Path(importer.name).parent / written if importer.path else Path(written)
        return Source(str(shown), text, place)

    def _circle(self, key: str, declaration: syntax.ImportDeclaration) -> ImportCycle | None:
        """The finding that an import leads back to a file on the way to it, or None if it does not."""
        keys = [normpath(self.recipe.path) if self.recipe.path else "", *(step.key for step in self.way)]
        if key not in keys:
            return None
        steps = [*(step.declaration for step in self.way[keys.index(key) :]), declaration]
        first, *others = steps
        files = [f"`{Path(step.span.source.name).name}`" for step in steps]
        way = "" if len(steps) == 1 else f": {' → '.join([*files, files[0]])}"
        labels = tuple(Label(step.path.span, "which imports this one") for step in others)
        mend = "move what each needs of the other into a file of its own, which both import"
        if not others:
            mend = "remove the import: what this file declares is known in it by its own name"
        what = f"{files[0]} imports itself{way}"
        return ImportCycle(span=first.path.span, what=what, mend=mend, labels=labels)

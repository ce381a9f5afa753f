"""The interface of a recipe: what a caller may set.

Takes a recipe's text; gives its inputs and those of its imports, or the findings for which they cannot be
told. What is wrong with other parts of the recipe does not matter here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harmony_compiler.data.heads import Heads
from harmony_compiler.declared.imports import Library, find_imports
from harmony_compiler.declared.inputs import read_type
from harmony_compiler.declared.modules import Checked, check
from harmony_compiler.files import DISK, Files
from harmony_compiler.findings.fields import MissingImportInput, MissingInput
from harmony_compiler.graph.graph import ONE_DEVICE
from harmony_compiler.graph.types import PATH, Type
from harmony_compiler.naming.names import Names, resolve
from harmony_compiler.typed import Made, Value, in_one_line, plain
from harmony_grammar import syntax
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.parser import parse_file
from harmony_grammar.records import Record
from harmony_grammar.source import Source


class Input(Record):
    name: str
    type: Type
    required: bool
    default: str
    """As it is written, in one line; "" where there is none."""
    value: Any
    """The default where it is a constant that no launch decides, else None."""
    condition: syntax.Expression | None
    doc: str


class Interface(Record):
    """The inputs of a recipe, and those of its imports by their names."""

    name: str
    doc: str
    inputs: tuple[Input, ...]
    imports: dict[str, Interface]

    @property
    def required(self) -> bool:
        """Whether nothing runs before somebody sets something."""
        return any(part.required for part in self.inputs) or any(
            inner.required for inner in self.imports.values()
        )

    @property
    def empty(self) -> bool:
        return not self.inputs and all(inner.empty for inner in self.imports.values())


def interface_of(source: Source, files: Files = DISK) -> Interface | tuple[Diagnostic, ...]:
    parsed = parse_file(source)
    names = resolve(parsed.tree)
    imports = find_imports(names, files)
    checked = check(names, imports.libraries, (), ONE_DEVICE, Heads(files))
    lost = parsed.diagnostics if not names.file.complete else ()
    said = [*parsed.diagnostics, *names.diagnostics, *imports.diagnostics, *checked.diagnostics]
    faults = (*lost, *(finding for finding in said if _is_of_inputs(finding, checked)))
    return tuple(dict.fromkeys(faults)) or _interface(names, imports.libraries, checked, "", None)


def _is_of_inputs(finding: Diagnostic, checked: Checked) -> bool:
    if finding.severity != "error" or isinstance(finding, MissingInput | MissingImportInput):
        return False
    at = finding.span
    for part in checked.parts:
        for declaration in part.names.declared.values():
            whole = declaration.span
            inside = whole.source is at.source and whole.start <= at.start <= whole.end
            if inside and not isinstance(declaration, syntax.ValueDeclaration):
                return True
    return False


def _interface(
    names: Names,
    libraries: dict[str, Library],
    checked: Checked,
    prefix: str,
    entrance: syntax.ImportDeclaration | None,
) -> Interface:
    values = next(part.values for part in checked.parts if part.prefix == prefix)
    given = {item.key.text: item.value for item in _fields(entrance)}
    inputs: list[Input] = []
    imports: dict[str, Interface] = {}
    for name, declaration in names.declared.items():
        if isinstance(declaration, syntax.InputDeclaration):
            inputs.append(_input(declaration, given.get(name, declaration.default), values[name]))
        elif isinstance(declaration, syntax.ImportDeclaration) and name in libraries:
            library = libraries[name]
            inner = f"{prefix}{name}."
            imports[name] = _interface(library.names, library.libraries, checked, inner, declaration)
    recipe = names.recipe
    doc = recipe.doc if recipe else ""
    if entrance is not None:
        doc = entrance.doc or doc
    return Interface(entrance.path.value if entrance else checked.name, doc, tuple(inputs), imports)


def _fields(entrance: syntax.ImportDeclaration | None) -> Sequence[syntax.Field]:
    fields = entrance.fields if entrance else ()
    return [item for item in fields if isinstance(item, syntax.Field)]


def _input(declaration: syntax.InputDeclaration, default: syntax.Expression | None, value: Value) -> Input:
    faults: list[Diagnostic] = []
    type_ = read_type(declaration.type, faults.append)
    assert not faults, "an input with a fault has no interface"
    shown = default is not None and not value.shows_launch and not value.unknown and not list(_nodes(value))
    constant = plain(value) if shown else None
    if value.type == PATH and isinstance(default, syntax.Text):
        constant = default.value  # relative to the recipe, as it is written
    return Input(
        name=declaration.name.text,
        type=type_,
        required=default is None,
        default="" if default is None else in_one_line(default.span),
        value=constant,
        condition=declaration.condition,
        doc=declaration.doc,
    )


def _nodes(value: Value) -> Iterator[Made]:
    """What is made in a value, which only a recipe can write."""
    match value.data:
        case Made():
            yield value.data
        case tuple():
            for item in value.data:
                yield from _nodes(item)
        case dict():
            for item in value.data.values():
                yield from _nodes(item)

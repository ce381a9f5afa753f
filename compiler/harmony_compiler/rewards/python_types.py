"""Types of metadata: what the annotations of a Python grader's file say. Nothing is imported or run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from harmony_compiler.graph.column_types import LIST, RECORD
from harmony_compiler.graph.types import BOOL, FLOAT, INT, JSON, NONE, STR, ListOf, Type, union_of

Defined = Mapping[str, ast.AST]
"""What stands under each name at the top of a file."""

_SIMPLE: dict[str, Type] = {"str": STR, "int": INT, "float": FLOAT, "bool": BOOL, "None": NONE}
_LISTS = ("list", "List", "Sequence")
_RECORDS = ("dict", "Dict", "Mapping")


def public_name(node: ast.expr, defined: Defined) -> str:
    """What a name stands for that is imported from `harmony_dsl`; "" for any other expression."""
    match node:
        case ast.Name(id=name):
            match defined.get(name):
                case ast.ImportFrom(module="harmony_dsl", level=0, names=names):
                    return next((a.name for a in names if (a.asname or a.name) == name), "")
        case ast.Attribute(value=ast.Name(id=whole), attr=name):
            match defined.get(whole):
                case ast.Import(names=names):
                    imported = next((a.name for a in names if (a.asname or a.name) == whole), "")
                    return name if imported == "harmony_dsl" else ""
    return ""


def keys_of(
    annotation: ast.expr | None, defined: Defined, *, batched: bool
) -> Iterator[tuple[ast.Name, Type]]:
    """The keys that metadata of this type must have, each with its type; those that may be missing, not.

    Of a batched function the annotation is a list of such types.
    """
    wanted = _read(annotation)
    if batched:
        wanted = wanted.slice if isinstance(wanted, ast.Subscript) and _last(wanted.value) in _LISTS else None
    if isinstance(wanted, ast.Name) and isinstance(record := defined.get(wanted.id), ast.ClassDef):
        yield from _keys(record, defined, ())


def _keys(
    record: ast.ClassDef, defined: Defined, inside: tuple[ast.ClassDef, ...]
) -> Iterator[tuple[ast.Name, Type]]:
    if record in inside or not _is_record(record, defined):
        return
    for base in record.bases:
        if isinstance(base, ast.Name) and isinstance(above := defined.get(base.id), ast.ClassDef):
            yield from _keys(above, defined, (*inside, record))
    all_required = not any(
        given.arg == "total" and isinstance(given.value, ast.Constant) and given.value.value is False
        for given in record.keywords
    )
    for statement in record.body:
        match statement:
            case ast.AnnAssign(target=ast.Name() as name, annotation=annotation):
                required, wanted = all_required, _read(annotation)
                while isinstance(wanted, ast.Subscript) and _last(wanted.value) in (
                    "Required",
                    "NotRequired",
                ):
                    required, wanted = _last(wanted.value) == "Required", wanted.slice
                if required:
                    yield name, _type(wanted, defined)


def _is_record(record: ast.ClassDef, defined: Defined, inside: tuple[ast.ClassDef, ...] = ()) -> bool:
    """Whether a class is a `TypedDict`."""
    if record in inside:
        return False
    above = (defined.get(base.id) for base in record.bases if isinstance(base, ast.Name))
    return any(_last(base) == "TypedDict" for base in record.bases) or any(
        isinstance(base, ast.ClassDef) and _is_record(base, defined, (*inside, record)) for base in above
    )


def _type(node: ast.expr | None, defined: Defined) -> Type:
    """The type of the language for an annotation; what has none there is anything."""
    match node:
        case ast.Constant(value=None):
            return NONE
        case ast.Constant(value=str()):
            return _type(_read(node), defined)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _union(_type(left, defined), _type(right, defined))
        case ast.Subscript(value=whole, slice=part):
            parts = part.elts if isinstance(part, ast.Tuple) else [part]
            name = _last(whole)
            if name in _LISTS:
                return ListOf(_type(part, defined))
            if name == "Literal" and all(
                isinstance(p, ast.Constant) and isinstance(p.value, str) for p in parts
            ):
                return STR
            if name == "Annotated":
                return _type(parts[0], defined)
            if name in ("Optional", "Union"):
                missing = (NONE,) if name == "Optional" else ()
                return _union(*(_type(p, defined) for p in parts), *missing)
            return RECORD if name in _RECORDS else JSON
        case ast.Name(id=name) if isinstance(found := defined.get(name), ast.ClassDef):
            return RECORD if _is_record(found, defined) else JSON
    name = _last(node)
    return _SIMPLE.get(name, LIST if name in _LISTS else RECORD if name in _RECORDS else JSON)


def _union(*options: Type) -> Type:
    return JSON if JSON in options else union_of(options)


def _read(annotation: ast.expr | None) -> ast.expr | None:
    """An annotation that may stand in quotes."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            return ast.parse(annotation.value, mode="eval").body
        except (SyntaxError, ValueError):
            return None
    return annotation


def _last(node: ast.AST | None) -> str:
    """The last part of a name with dots."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""

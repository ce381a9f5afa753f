"""Python graders: what the source of a grader's file says about it.

The file is parsed, and never imported or run: whether it defines the function or the class, whether a grader
can be given the function's parameters, and which metadata it reads for certain, or says that it needs.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from harmony_compiler.checking.fitting import place_of
from harmony_compiler.files import Files
from harmony_compiler.findings.data import MissingFile, UnreadableFile
from harmony_compiler.findings.graph import (
    BadParameter,
    BrokenPython,
    NoPythonFunction,
    NoPythonPlace,
)
from harmony_compiler.naming.names import GRADED, close_to
from harmony_compiler.rewards.python_types import keys_of, public_name
from harmony_compiler.typed import Made, Read, Value
from harmony_grammar.diagnostics import Diagnostic, Label, meant
from harmony_grammar.source import Source, Span

LARGEST_PYTHON = 1024 * 1024
"""A file of graders beyond this size, in bytes, is not looked at."""

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class _Parsed(NamedTuple):
    """A Python file: its text and what it names at the top, or where it cannot be read."""

    source: Source
    defined: dict[str, ast.AST]
    """What stands under each name: a function, a class, an import, or whatever is assigned."""
    open: bool = False
    """Whether a `from … import *` may bring further names."""
    fault: tuple[str, Span] | None = None

    @property
    def functions(self) -> list[str]:
        return [name for name, what in self.defined.items() if isinstance(what, Function)]


def read_function(grader: Made, files: Files, findings: list[Diagnostic]) -> tuple[Read, ...]:
    """The metadata that the function of a Python grader reads; what is wrong with it goes to `findings`."""
    value = grader.given.get("function")
    if value is None or value.unknown:
        return ()
    written: str = value.data
    file, colon, name = written.rpartition(":")
    if (fault := _misplaced(written, file if colon else written, name if colon else "")) is not None:
        findings.append(NoPythonPlace(span=value.span, what=fault[0], mend=fault[1]))
        return ()
    parsed = _parsed(value, file, files, findings)
    if parsed is None:
        return ()
    named = _inside(value, len(file) + 1, len(written))
    if parsed.fault is not None:
        reason, place = parsed.fault
        label = Label(place, "here")
        findings.append(
            BrokenPython(span=_inside(value, 0, len(file)), file=file, reason=reason, labels=(label,))
        )
        return ()
    found = parsed.defined.get(name)
    if isinstance(found, Function):
        findings.extend(_bad_parameters(found, name, file, named, parsed))
        return tuple(_needs(found, parsed))
    if isinstance(found, ast.ClassDef) and _derives(found, parsed.defined):
        return tuple(_stated(_annotated(found), parsed, batched=False))
    if (found is None and not parsed.open) or isinstance(found, ast.ClassDef | ast.Import | ast.ImportFrom):
        findings.append(_no_function(found, name, file, named, parsed))
    return ()


def _misplaced(written: str, file: str, name: str) -> tuple[str, str] | None:
    """Why a text names no function of a Python file, and what to write."""
    if not file.endswith(".py"):
        path = file.replace(".", "/") + ".py" if name.isidentifier() and "/" not in file else "graders.py"
        what = f"`{written}` names no Python file" if file else f"`{written}` names no file"
        return what, f'write file and function, such as `"{path}:{name or "score"}"`'
    if not name.isidentifier():
        return f"`{written}` names no function", f'write file and function, such as `"{file}:score"`'
    return None


def _no_function(found: ast.AST | None, name: str, file: str, span: Span, parsed: _Parsed) -> Diagnostic:
    known, labels = parsed.functions, tuple[Label, ...]()
    suggestion = close_to(name, known) if found is None else ""
    cause, mend = f"not a function of `{file}`", f"did you mean `{suggestion}`?" if suggestion else ""
    if found is not None:
        kind = "a class" if isinstance(found, ast.ClassDef) else "imported, and defined elsewhere"
        labels = (Label(_place(found, parsed.source), f"`{name}` is {kind}"),)
        cause = "neither a function nor a `Grader`"
        mend = "derive it from `harmony_dsl.Grader`, or name a function"
        if not isinstance(found, ast.ClassDef):
            cause = "not defined as a function"
            mend = "name the file that defines it, or define a function here that calls it"
    return NoPythonFunction(
        span=span,
        file=file,
        name=name,
        cause=cause,
        known=", ".join(known) or "none",
        mend=mend,
        labels=labels,
        fixes=meant(span, suggestion),
    )


# --- the file -------------------------------------------------------------------------------------------


def _parsed(value: Value, file: str, files: Files, findings: list[Diagnostic]) -> _Parsed | None:
    """The file that a recipe names; None, and reported, where it cannot be read."""
    span = _inside(value, 0, len(file))
    path = place_of(file, value)
    if not files.exists(path):
        suggestion = close_to(path.name, [n for n in files.names_in(path.parent) if n.endswith(".py")])
        findings.append(MissingFile(span=span, path=file, looked=str(path), suggestion=suggestion))
        return None
    reason = "it is a folder" if files.is_folder(path) else ""
    read = None
    try:
        read = None if reason else files.kept(path, "python", lambda: _read(file, path, files))
    except OSError as fault:
        reason = (fault.strerror or str(fault)).lower()
    if isinstance(read, str):
        reason = read
    if reason:
        findings.append(UnreadableFile(span=span, path=file, reason=reason))
    return read if isinstance(read, _Parsed) else None


def _read(file: str, path: Path, files: Files) -> _Parsed | str | None:
    """The file, or why it cannot be read; None where nobody can say."""
    data = files.head(path, LARGEST_PYTHON + 1)
    if len(data) > LARGEST_PYTHON:
        return None
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        declared = any(b"coding" in line for line in data.split(b"\n")[:2])
        return None if declared else "it is not UTF-8 text"
    source = Source(file, text, path)
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(text)
    except SyntaxError as fault:
        line = min(max(fault.lineno or 1, 1), text.count("\n") + 1)
        last = max(len(source.line(line)) - 1, 0)
        at = _start_of(line, source) + min(max((fault.offset or 1) - 1, 0), last)
        return _Parsed(source, {}, fault=(fault.msg.replace("'", "`"), source.span(at, at + 1)))
    except (ValueError, RecursionError, MemoryError):
        return "it is no Python source"
    defined: dict[str, ast.AST] = {}
    everything = _define(tree.body, defined)
    return _Parsed(source, defined, everything)


def _define(statements: Sequence[ast.stmt], defined: dict[str, ast.AST]) -> bool:
    """Put what statements name at the top of a file into `defined`; whether there may be more."""
    everything = False
    for statement in statements:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                defined[statement.name] = statement
            case ast.Import() | ast.ImportFrom():
                for alias in statement.names:
                    everything = everything or alias.name == "*"
                    defined[(alias.asname or alias.name).partition(".")[0]] = statement
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                names = (
                    part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)
                )
                assigned = statement.value or statement
                defined.update(dict.fromkeys(names, assigned))
            case _:
                blocks = (getattr(statement, name, []) for name in ("body", "orelse", "finalbody"))
                handlers = (handler.body for handler in getattr(statement, "handlers", []))
                for block in (*blocks, *handlers):
                    everything = _define(block, defined) or everything
    return everything


# --- the function ---------------------------------------------------------------------------------------


def _bad_parameters(
    function: Function, name: str, file: str, span: Span, parsed: _Parsed
) -> Iterator[Diagnostic]:
    """Parameters that a grader cannot be given. A decorator may change what it takes; ours does not."""
    decorators = getattr(function, "decorator_list", [])
    if any(_decorates(decorator, parsed.defined) is None for decorator in decorators):
        return
    takes = function.args
    by_place = [*takes.posonlyargs, *takes.args]
    optional = {argument.arg for argument in by_place[len(by_place) - len(takes.defaults) :]}
    optional |= {
        a.arg for a, default in zip(takes.kwonlyargs, takes.kw_defaults, strict=True) if default is not None
    }
    for argument in (*by_place, *takes.kwonlyargs):
        unnamed = argument in takes.posonlyargs
        if argument.arg in optional or (argument.arg in GRADED and not unnamed):
            continue
        suggestion = close_to(argument.arg, GRADED)
        mend = (
            f"did you mean `{suggestion}`?" if suggestion else "give it a default, or read it from `metadata`"
        )
        yield BadParameter(
            span=span,
            name=name,
            file=file,
            parameter=argument.arg,
            why="can be given only by its place" if unnamed else "no grader is given",
            mend="remove the `/`: parameters are given by name" if unnamed else mend,
            labels=(Label(_place(argument, parsed.source), "has no default"),),
        )


def _decorates(decorator: ast.expr, defined: dict[str, ast.AST]) -> bool | None:
    """Whether `grader` makes a function batched; None for any other decorator."""
    call = decorator if isinstance(decorator, ast.Call) else None
    if public_name(call.func if call else decorator, defined) != "grader":
        return None
    given = {keyword.arg: keyword.value for keyword in call.keywords} if call else {}
    batched = given.get("batched")
    return isinstance(batched, ast.Constant) and batched.value is True


def _needs(function: Function, parsed: _Parsed) -> Iterator[Read]:
    """The keys of metadata that the type of the parameter names, and those that the function reads."""
    decorators = getattr(function, "decorator_list", [])
    batched = any(_decorates(decorator, parsed.defined) for decorator in decorators)
    arguments = [*function.args.args, *function.args.kwonlyargs]
    annotation = next((a.annotation for a in arguments if a.arg == "metadata"), None)
    stated = list(_stated(annotation, parsed, batched=batched))
    yield from stated
    if not batched:  # else each entry is the metadata of a sample
        known = {read.key for read in stated}
        yield from (read for read in _reads(function, parsed.source) if read.key not in known)


def _stated(annotation: ast.expr | None, parsed: _Parsed, *, batched: bool) -> Iterator[Read]:
    for name, type_ in keys_of(annotation, parsed.defined, batched=batched):
        yield Read(name.id, _place(name, parsed.source), type_)


def _reads(function: Function, source: Source) -> Iterator[Read]:
    """The keys of `metadata` that the function needs: those that it reads without asking for them first."""
    body = function.body if isinstance(function.body, list) else [function.body]
    parameters = {a.arg for a in (*function.args.args, *function.args.kwonlyargs)}
    nodes = [node for part in body for node in ast.walk(part)]
    if "metadata" not in parameters or _is_bound_anew(nodes):
        return
    tried = {
        id(node) for block in nodes if isinstance(block, ast.Try) for b in block.body for node in ast.walk(b)
    }
    asked = {_asked_for(node) for node in nodes}
    if "" in asked:
        return
    for node in nodes:
        place = _key_of(node)
        if place is None or id(node) in tried or (key := str(place.value)) in asked:
            continue
        span = _place(place, source)
        if span.text[:1] in "'\"" and len(span.text) == len(key) + 2:
            span = source.span(span.start + 1, span.end - 1)
        yield Read(key, span)


def _is_metadata(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "metadata" and isinstance(node.ctx, ast.Load)


def _is_bound_anew(nodes: Sequence[ast.AST]) -> bool:
    """Whether the name means something else somewhere in the function."""
    return any(
        (isinstance(node, ast.Name) and node.id == "metadata" and not isinstance(node.ctx, ast.Load))
        or (isinstance(node, ast.arg) and node.arg == "metadata")
        for node in nodes
    )


def _key_of(node: ast.AST) -> ast.Constant | None:
    """The key in `metadata["key"]`, where it is read."""
    match node:
        case ast.Subscript(value=whole, slice=ast.Constant(value=str()) as key, ctx=ast.Load()):
            return key if _is_metadata(whole) else None
    return None


def _asked_for(node: ast.AST) -> str | None:
    """The key that a function asks the metadata about; "" where it asks about all of it, or changes it."""
    match node:
        case ast.Compare(
            left=ast.Constant(value=str(key)), ops=[ast.In() | ast.NotIn()], comparators=[whole]
        ):
            return key if _is_metadata(whole) else None
        case ast.Call(func=ast.Attribute(value=whole, attr="get"), args=[ast.Constant(value=str(key)), *_]):
            return key if _is_metadata(whole) else None
        case ast.Subscript(value=whole, ctx=ast.Store() | ast.Del()) | ast.Attribute(value=whole):
            changes = not isinstance(node, ast.Attribute) or node.attr in ("update", "setdefault", "keys")
            return "" if changes and _is_metadata(whole) else None
        case ast.If(test=test) | ast.IfExp(test=test) | ast.Assert(test=test):
            return "" if _is_metadata(test) else None
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return "" if _is_metadata(operand) else None
        case ast.BoolOp(values=values):
            return "" if any(_is_metadata(value) for value in values) else None
    return None


# --- the class ------------------------------------------------------------------------------------------


def _derives(made: ast.ClassDef, defined: dict[str, ast.AST], below: tuple[ast.ClassDef, ...] = ()) -> bool:
    """Whether a class derives from `harmony_dsl.Grader`, or may: what is imported could do so."""
    for base in made.bases:
        if public_name(base, defined) == "Grader":
            return True
        whole = base.value if isinstance(base, ast.Attribute) else base
        match defined.get(whole.id) if isinstance(whole, ast.Name) else None:
            case ast.ClassDef() as above if above not in (*below, made):
                if _derives(above, defined, (*below, made)):
                    return True
            case ast.Import() | ast.ImportFrom():
                return True
    return False


def _annotated(made: ast.ClassDef) -> ast.expr | None:
    """The type of the class's attribute `metadata`: that of its samples."""
    for statement in made.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id="metadata"), annotation=annotation):
                return annotation
    return None


# --- places ---------------------------------------------------------------------------------------------


def _inside(value: Value, start: int, end: int) -> Span:
    """A stretch of the text that names the function."""
    return value.literal.span_of(start, end) if value.literal is not None else value.span


def _start_of(line: int, source: Source) -> int:
    return sum(len(text) + 1 for text in source.text.split("\n")[: line - 1])


def _place(node: ast.AST, source: Source) -> Span:
    """Where a node stands, the first line of it; columns of `ast` count bytes."""
    first: int = getattr(node, "lineno", 1)
    line = source.line(first)
    begin = _start_of(first, source)
    left: int = getattr(node, "col_offset", 0)
    right: int | None = getattr(node, "end_col_offset", None)
    on_one_line = getattr(node, "end_lineno", first) == first
    start = len(line.encode()[:left].decode(errors="ignore"))
    end = len(line.encode()[:right].decode(errors="ignore")) if on_one_line else len(line.rstrip())
    return source.span(begin + start, begin + max(end, start + 1))

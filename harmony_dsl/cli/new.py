"""`harmonyc new`: a recipe to start from, which checks and runs as it stands."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harmony_dsl.cli.output import Refused, did_you_mean, say
from harmony_dsl.cli.parser import Parser

if TYPE_CHECKING:
    from harmony_dsl.scaffolds.mapping import Mapped

SUMMARY = "write a recipe to start from"

ALGORITHMS = {
    "sft": "imitate worked answers",
    "dpo": "prefer the better of two answers",
    "grpo": "reinforce what graders score above the other answers to a problem",
    "ppo": "reinforce what graders score above what a critic expects",
}

SUFFIX = ".recipe"

_MODELS = "a repository of the hub, a folder, a key of the registry, or what a recipe would write"

_CONTEXTS = (64, 128, 256, 512)
"""Tokens that the tiny model's context may have. Rows too long for the last are dropped, and counted."""

_ANSWER = 32
"""Tokens of an answer that a tiny model writes about rows of the user's."""

_LONG_ANSWER = 256
"""Tokens of an answer that a pretrained model writes."""


def configure(parser: Parser) -> None:
    parser.usage = "harmonyc new [ALGORITHM [NAME]] [options]"
    parser.add_argument(
        "algorithm",
        metavar="ALGORITHM",
        nargs="?",
        help=f"{', '.join(ALGORITHMS)}; without one: what each of them does",
    )
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="the recipe's name or path (default: the algorithm's name)"
    )
    parser.add_argument(
        "--data",
        metavar="FILE",
        help="rows to train on: jsonl, json, csv or parquet (default: an example)",
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help=f"{_MODELS} (default: a tiny new one)",
    )


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    options = parser.read(arguments)
    if options.algorithm is None:
        if options.data or options.model:
            parser.error(f"an algorithm comes first: {', '.join(ALGORITHMS)}")
        say(_listed())
        return 0
    if options.algorithm not in ALGORITHMS:
        near = did_you_mean(options.algorithm, tuple(ALGORITHMS))
        parser.error(f"there is no algorithm `{options.algorithm}`{near}\nThere are {', '.join(ALGORITHMS)}")
    try:
        _write(options.algorithm, _target(options.algorithm, options.name), options.data, options.model)
    except OSError as fault:
        raise Refused(f"cannot use {fault.filename}: {fault.strerror or fault}") from fault
    except UnicodeEncodeError as fault:
        raise Refused("a path that is not UTF-8 cannot stand in a recipe: rename it") from fault
    return 0


def _listed() -> str:
    lines = [f"  harmonyc new {name:4}  {told}" for name, told in ALGORITHMS.items()]
    return "\n".join([*lines, "", "`harmonyc new --help` tells the options."])


def _target(algorithm: str, name: str | None) -> Path:
    """Where the recipe goes. A folder takes it under the algorithm's name."""
    path = Path(name or algorithm)
    if name and (name.endswith(("/", "\\")) or path.is_dir()):
        path /= algorithm
    return path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)


def _write(algorithm: str, target: Path, data: str | None, model: str | None) -> None:
    from os.path import lexists

    from harmony_dsl.scaffolds.filling import HERE, ROWS, filled, quoted, recipe_name, scaffold

    if lexists(target):
        raise Refused(f"{target} is there already, and no file is overwritten: choose another name")
    values = {"output_key": quoted(_key(target.stem, algorithm))}
    if model is not None:
        values |= {"base": _model(model, target.parent), **_usual(algorithm)}
    mapped = None
    if data is not None:
        mapped = _mapped(Path(data), algorithm)
        values |= _rows(mapped, Path(data), target.parent, tiny=model is None)
    text = filled(scaffold(algorithm), recipe_name(target.stem), values)

    rows = target.parent / ROWS
    example = (HERE / ROWS).read_bytes()
    fresh = data is None
    made: list[Path] = []
    try:
        _make(target.parent, made)
        if fresh and lexists(rows):
            if not (rows.is_file() and rows.read_bytes() == example):
                raise Refused(
                    f"{rows} is there already and holds something else, and no file is overwritten: "
                    "write the recipe into another folder, or give your rows by `--data`"
                )
            fresh = False
        if fresh:
            _put(rows, example, made)
        _check(target, text)
        _put(target, text.encode(), made)
    except BaseException:  # also when it is interrupted
        _remove(made)
        raise
    _tell(target, rows if fresh else None, mapped, tiny=model is None)


def _make(folder: Path, made: list[Path]) -> None:
    """Make a folder and those above it; what was not there is added to `made`."""
    for one in (*reversed(folder.parents), folder):
        if not one.exists():
            one.mkdir()
            made.append(one)


def _put(path: Path, data: bytes, made: list[Path]) -> None:
    with path.open("xb") as stream:
        made.append(path)
        stream.write(data)


def _remove(made: Sequence[Path]) -> None:
    from contextlib import suppress

    for path in reversed(made):
        with suppress(OSError):  # somebody has put something into the folder
            path.rmdir() if path.is_dir() else path.unlink()


def _check(target: Path, text: str) -> None:
    """See to it that nothing is written that does not check.

    Raises:
        Refused: it would not; the findings have been shown.
    """
    from harmony_compiler.findings.fields import RuleBroken
    from harmony_compiler.graph.graph import ONE_DEVICE
    from harmony_dsl.cli.parser import Request
    from harmony_dsl.cli.recipes import compile_source, show
    from harmony_grammar.source import Source

    compilation = compile_source(Source(str(target), text, target.absolute()), Request((), ONE_DEVICE))
    if compilation.graph is None:
        faults = [finding for finding in compilation.diagnostics if finding.severity == "error"]
        if any(isinstance(fault, RuleBroken) and "world size of 1" in fault.rule for fault in faults):
            raise Refused(
                f"{target} is not written, since it would not run on one device, and a recipe to start from "
                "does: write `tp = ctx.world_size`, which is as many as it is run on by `--num-processes`",
                exit_code=1,
            )
        show(faults, sys.stderr)
        raise Refused(f"{target} is not written, since it would not check", exit_code=1)


def _tell(target: Path, rows: Path | None, mapped: Mapped | None, *, tiny: bool) -> None:
    import shlex

    file = shlex.quote(str(target))
    lines = [f"wrote {target}" + (f", and {rows} with its rows" if rows else "")]
    if mapped is not None:
        how = "guessed by the names of the columns" if mapped.guessed else "a layout that is known"
        lines += [f"rows are read by {', '.join(f'`{line}`' for line in mapped.lines)}: {how}"]
    lines += ["", f"  harmonyc check {file}", f"  harmonyc preview {file}", f"  harmonyc run {file}"]
    if tiny:
        lines += ["", "Its model is new and tiny. To start from yours, set `base` and `lr` in it."]
    say("\n".join(lines))


# --- values ---------------------------------------------------------------------------------------------


def _key(stem: str, algorithm: str) -> str:
    """A key of the registry that is like a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-")[:128] or algorithm


def _model(model: str, folder: Path) -> str:
    """What a recipe in `folder` writes for a model that was named on the command line."""
    from harmony_compiler.files import DISK
    from harmony_compiler.store.home import home
    from harmony_compiler.store.registry import keys
    from harmony_dsl.scaffolds.filling import quoted

    if not model.strip():
        raise Refused(f"`--model` is empty: it takes {_MODELS}")
    place = Path(model).expanduser() if model.startswith("~/") else Path(model)
    if DISK.exists(place) and DISK.is_folder(place):
        return f"local({quoted(_seen_from(place, folder))})"
    if model[0] in "./~":
        raise Refused(f"there is no folder {model}", exit_code=1)
    if "(" in model or "{" in model:
        return model.strip()
    known = keys(home() / "models")
    if model in known:
        return f"registry({quoted(model)})"
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/\w[\w.-]*", model):
        return f"hf({quoted(model)})"
    raise Refused(
        f"`{model}` is neither a folder nor a key of the registry{did_you_mean(model, tuple(known)) or '.'} "
        f"A repository of the hub is `OWNER/NAME`, and `--model 'hf({quoted(model)})'` says that this is one",
        exit_code=1,
    )


def _usual(algorithm: str) -> dict[str, str]:
    """What suits a pretrained model: the rate that the algorithm has by default, and room for an answer."""
    from harmony_compiler.graph.catalogue import ALGORITHMS as CLASSES
    from harmony_compiler.graph.node import schema

    fields = schema(next(cls for cls in CLASSES if cls.constructor == algorithm))
    rate = fields.get("lr") or fields["lr_policy"]
    return {"lr": _number(rate.default), "max_tokens": str(_LONG_ANSWER)}


def _number(value: float) -> str:
    """`1e-5`, as people write a rate; Python has `1e-05`."""
    mantissa, _, exponent = f"{value:e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _seen_from(path: Path, folder: Path) -> str:
    """A path in a recipe is relative to the recipe, unless it was given whole."""
    if path.is_absolute():
        return str(path)
    from os.path import realpath, relpath

    # Folders may be links, which `..` leads out of elsewhere; the last name is kept as it was given.
    return Path(relpath(Path(realpath(path.parent), path.name), realpath(folder))).as_posix()


# --- data -----------------------------------------------------------------------------------------------


def _mapped(path: Path, algorithm: str) -> Mapped:
    """How a file's rows can be read.

    Raises:
        Refused: nobody could say; what is wrong with the file has been shown.
    """
    from harmony_compiler.store.datasets import FORMATS
    from harmony_compiler.store.guesses import unmapped
    from harmony_dsl.cli.recipes import show
    from harmony_dsl.scaffolds.mapping import ARGUMENT, KINDS, format_of, mapped, read_head

    if not path.is_file():
        raise Refused(f"there is no file {path}", exit_code=1)
    format_ = format_of(path)
    if format_ is None:
        ends = ", ".join(f".{name}" for name in FORMATS)
        raise Refused(f"the name of {path} does not tell how it is read: it should end in one of {ends}")
    head, findings = read_head(path, format_)
    faults = [finding for finding in findings if head.names is None or finding.severity == "error"]
    if faults:
        show([finding for finding in faults if finding.span.source.name != ARGUMENT], sys.stderr)
        whole = (finding.words.message for finding in faults if finding.span.source.name == ARGUMENT)
        raise Refused(f"no recipe is written: {next(whole, 'rows are faulty')}", exit_code=1)
    if head.table.count is not None and head.table.count < 2:
        raise Refused(
            f"no recipe is written: {path} holds one row, and of two at least one is kept to measure by",
            exit_code=1,
        )
    found = mapped(head, algorithm)
    if found is None:
        told = unmapped(head, KINDS[algorithm])
        shown = f"a row: {told['row']}" if told["row"] else f"columns: {told['columns']}"
        mend = told["mend"].removeprefix("say it by ").removeprefix("add ")
        why = f"nothing says {told['what']} in {told['rows']}\n{shown}"
        raise Refused(_without(algorithm, why, mend), exit_code=1)
    if not found.answer:
        compared = "which the graders of the scaffold compare with"
        why = f"no column of {path} ({', '.join(head.names or ())}) holds a right answer, {compared}"
        if found.turns:
            end = "do not end with a text of the assistant's"
            why = f"conversations in `{found.turns}` of {path} {end}, {compared}"
        mend = "graders that need none, such as a `judge` or a formula"
        raise Refused(_without(algorithm, why, mend), exit_code=1)
    return found


def _without(algorithm: str, why: str, mend: str) -> str:
    return (
        f"no recipe is written: {why}\n"
        f"`harmonyc new {algorithm}` without `--data` writes one about rows of its own: put your path there, "
        f"and {mend}"
    )


def _rows(mapped: Mapped, data: Path, folder: Path, *, tiny: bool) -> dict[str, str]:
    from harmony_dsl.scaffolds.mapping import datasets, format_of

    values = datasets(mapped, str(format_of(data)), _seen_from(data, folder))
    if tiny:
        room = mapped.longest + 2 * _ANSWER
        context = next((size for size in _CONTEXTS if size >= room), _CONTEXTS[-1])
        values["base"] = f"scratch {{ hidden_size = 64, layers = 2, heads = 4, context = {context} }}"
        values["max_tokens"] = str(_ANSWER)
    return values

"""Meeting: what stages ask of their graders and rows together.

Every key of metadata that a grader reads must be in the metadata of the rows that it grades, and the columns
of an evaluation must have names of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harmony_compiler.findings.data import MetadataOfAnotherType, UnknownMetadata
from harmony_compiler.findings.fields import EntryTwice
from harmony_compiler.graph.column_types import fits, read_type_text, type_text
from harmony_compiler.graph.datasets import Mix, Rows
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graders import Grader
from harmony_compiler.graph.types import JSON, STR, TEMPLATE, Type
from harmony_compiler.naming.near import nearest
from harmony_compiler.rewards.formulas import NUMBER
from harmony_compiler.typed import Graded, Made, Read, in_one_line
from harmony_grammar.diagnostics import Diagnostic, Label
from harmony_grammar.source import Span


def meet(made: Sequence[Made], needs: Mapping[int, tuple[Read, ...]]) -> Iterator[Diagnostic]:
    """Keys that graders read and rows do not have, or have of another type.

    `needs` are those of templates, Python functions and published graders, by the grader's id.
    """
    for stage in made:
        if issubclass(stage.cls, Grader):
            continue
        for dataset, graders in _graded(stage):
            reads = [read for grader in graders for read in _reads(grader, needs)]
            for rows in sources_of(dataset):
                yield from _unmet(stage, rows, reads)


def _graded(stage: Made) -> Iterator[tuple[Any, list[Made]]]:
    """The datasets whose prompts a stage answers, each with the graders of the answers."""
    if "sampling" in stage.values:
        yield stage.values["dataset"], list(graders_of(stage))
    validation = stage.values.get("validation")
    if isinstance(validation, Made):
        grader = validation.values["grader"] or stage.values.get("grader")
        if grader is not None:
            yield validation.values["dataset"], list(_graders_in(grader, stage.values["metrics"]))


def sources_of(dataset: Any) -> Iterator[Made]:
    """A dataset, or those that a mixture is made of."""
    if isinstance(dataset, Made) and issubclass(dataset.cls, Mix):
        for part in dataset.values["datasets"] if isinstance(dataset.values["datasets"], tuple) else ():
            yield from sources_of(part)
    elif isinstance(dataset, Made) and issubclass(dataset.cls, Rows):
        yield dataset


def graders_of(stage: Made) -> Iterator[Made]:
    """The graders of a stage, those inside them included, each once."""
    return _graders_in(*stage.values.values())


def _graders_in(*values: Any) -> Iterator[Made]:
    waiting, seen = list(values), set[int]()
    while waiting:
        value = waiting.pop()
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Made) and issubclass(part.cls, Grader) and id(part) not in seen:
                seen.add(id(part))
                waiting += part.values.values()
                yield part


def reads_of(grader: Made, needs: Mapping[int, tuple[Read, ...]]) -> Iterator[Read]:
    """What a grader and those inside it read of the metadata; `needs` are as in `meet`."""
    for part in _graders_in(grader):
        yield from _reads(part, needs)


def entries_twice(made: Sequence[Made]) -> Iterator[Diagnostic]:
    """Evaluations that name two of their columns alike."""
    for evaluation in made:
        for key in ("models", "graders") if issubclass(evaluation.cls, Compare) else ():
            entries = evaluation.given[key].data if key in evaluation.given else ()
            first: dict[str, Span] = {}
            for entry in entries if isinstance(entries, tuple) else ():
                text = in_one_line(entry.span)
                if (known := first.setdefault(text, entry.span)) is not entry.span:
                    labels = (Label(known, "the first one"),)
                    yield EntryTwice(span=entry.span, entry=text, key=key, labels=labels)


def _reads(grader: Made, needs: Mapping[int, tuple[Read, ...]]) -> tuple[Read, ...]:
    formula = grader.given.get("expression")
    of_formula = formula.data.reads if formula is not None and isinstance(formula.data, Graded) else ()
    own = (Read(key, grader.head, read_type_text(text) or JSON) for key, text in _own_needs(grader))
    return (*of_formula, *needs.get(id(grader), ()), *own)


def _own_needs(grader: Made) -> tuple[tuple[str, str], ...]:
    return grader.cls.needs if issubclass(grader.cls, Grader) else ()


def _unmet(stage: Made, dataset: Made, reads: Sequence[Read]) -> Iterator[Diagnostic]:
    known, written = dataset.metadata, dataset.given.get("metadata")
    if known is None:
        return
    for read in reads:
        if read.key not in known:
            near = nearest(read.key, known)
            mend = f"did you mean `{near.name}`?" if near.name else f"give the dataset {_example(read)}"
            place = written.span if written is not None else dataset.head
            cause = "the metadata of these rows" if known else "these rows have no metadata"
            yield UnknownMetadata(
                span=read.span,
                key=read.key,
                stage=stage.cls.constructor,
                known=", ".join(known) or "none",
                mend=mend,
                labels=(Label(place, cause),),
                fixes=near.fixes(read.span),
            )
        elif not fits(known[read.key], read.type):
            part = written.data.get(read.key) if written and isinstance(written.data, dict) else None
            place = part.span if part is not None else written.span if written is not None else dataset.head
            yield MetadataOfAnotherType(
                span=read.span,
                key=read.key,
                stage=stage.cls.constructor,
                found=type_text(known[read.key]),
                wanted="a number" if read.type == NUMBER else f"`{type_text(read.type)}`",
                mend=_mend(read, known[read.key], is_template=part is not None and part.type == TEMPLATE),
                labels=(Label(place, f"`{read.key}` of these rows"),),
            )


def _example(read: Read) -> str:
    """How a dataset gets a key."""
    passed = read.type not in (JSON, STR, NUMBER)
    value = f'column("{read.key}")' if passed else '"{{ … }}"'
    return f"`metadata = {{ {read.key} = {value} }}`"


def _mend(read: Read, found: Type, is_template: bool) -> str:
    if read.type == NUMBER and found == STR and read.span.text == read.key:
        return f"`number(metadata.{read.key})` reads the number that a text is"
    if is_template:
        return "a template makes a text; `column(…)` passes a column as it is"
    return 'a template makes a text of it: `"{{ … }}"`' if read.type == STR else ""

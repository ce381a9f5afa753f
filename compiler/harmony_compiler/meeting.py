"""Meeting: what stages ask of their graders and rows together.

Every key of metadata that a grader reads must be in the metadata of the rows that it grades, and the columns
of an evaluation must have names of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harmony_compiler.findings.data import UnknownMetadata
from harmony_compiler.findings.fields import EntryTwice
from harmony_compiler.graph.datasets import Rows
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graders import Grader
from harmony_compiler.names import close_to
from harmony_compiler.typed import UNKNOWN_DATA, Graded, Made, Read, in_one_line
from harmony_grammar.diagnostics import Diagnostic, Label
from harmony_grammar.source import Span


def meet(made: Sequence[Made], needs: Mapping[int, tuple[Read, ...]]) -> Iterator[Diagnostic]:
    """Keys that graders read and rows do not have. `needs` are those of templates, by the grader's id."""
    for stage in made:
        dataset = stage.values.get("dataset")
        if isinstance(dataset, Made) and issubclass(dataset.cls, Rows) and not issubclass(stage.cls, Grader):
            for grader in graders_of(stage):
                yield from _unknown_keys(stage, dataset, _reads(grader, needs))


def graders_of(stage: Made) -> Iterator[Made]:
    """The graders of a stage, those inside them included, each once."""
    waiting, seen = [stage], {id(stage)}
    while waiting:
        for value in waiting.pop().values.values():
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, Made) and issubclass(part.cls, Grader) and id(part) not in seen:
                    seen.add(id(part))
                    waiting.append(part)
                    yield part


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
    return (*of_formula, *needs.get(id(grader), ()))


def _unknown_keys(stage: Made, dataset: Made, reads: Sequence[Read]) -> Iterator[Diagnostic]:
    known = dataset.values["metadata"]
    if known is UNKNOWN_DATA or dataset.lost:
        return
    known = known or {}
    written = dataset.given.get("metadata")
    place = written.span if written is not None else dataset.head
    for read in reads:
        if read.key not in known:
            suggestion = close_to(read.key, known)
            example = f'`metadata = {{ {read.key} = "{{{{ … }}}}" }}`'
            yield UnknownMetadata(
                span=read.span,
                key=read.key,
                stage=stage.cls.constructor,
                known=", ".join(known) or "none",
                mend=f"did you mean `{suggestion}`?" if suggestion else f"give the dataset {example}",
                labels=(
                    Label(place, "the metadata of these rows" if known else "these rows have no metadata"),
                ),
            )

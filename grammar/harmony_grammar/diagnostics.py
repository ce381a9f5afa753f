"""What the compiler says: findings as values.

A finding is an instance of a small frozen class. Its code, its slug and its words are class variables; the
words are templates filled from the instance's own fields, so that a class reads as the message it makes:

    class UnknownColumn(Diagnostic):
        code, slug = "E0502", "unknown-column"
        message = "the dataset has no column `{column}`"
        label = "not a column of {file}"
        notes = ("columns: {columns}",)
        column: str
        file: str
        columns: str

A label, note or help that names an empty field is not said: `help = "did you mean `{suggestion}`?"` stays
silent where there is no suggestion. The severity follows from the code's first letter (`E`, `W`, `N`).
Codes are stable and never reused: two classes with one code are a `TypeError` when the second is defined.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import get_annotations
from string import Formatter
from typing import ClassVar, Literal, dataclass_transform

from harmony_grammar.source import Span

Severity = Literal["error", "warning", "note"]

_SEVERITY: dict[str, Severity] = {"E": "error", "W": "warning", "N": "note"}

LEDGER: dict[str, type[Diagnostic]] = {}
"""Every code that was ever given out, with its class."""


@dataclass(frozen=True)
class Label:
    """A further place that explains the finding."""

    span: Span
    message: str


@dataclass(frozen=True)
class Edit:
    """Replace the text of `span` by `text`."""

    span: Span
    text: str


@dataclass(frozen=True)
class Fix:
    """A change that mends the finding. Only a `safe` one may be applied without a look."""

    message: str
    edits: tuple[Edit, ...]
    applicability: Literal["safe", "unsafe"] = "unsafe"


@dataclass_transform(kw_only_default=True, frozen_default=True)
class _Finding:
    """Makes its subclasses behave as frozen dataclasses with keyword arguments would.

    They are none, since a dataclass generates and compiles six methods a class: for a hundred kinds of
    findings that is a quarter of a whole `check`, spent before the recipe is read.
    """

    _fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        own = get_annotations(cls).items()
        cls._fields += tuple(name for name, annotation in own if not str(annotation).startswith("ClassVar"))

    def __init__(self, **given: object) -> None:
        for name in self._fields:
            if name in given:
                self.__dict__[name] = given.pop(name)
            elif not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} needs {name}")
        if given:
            raise TypeError(f"{type(self).__name__} has no {', '.join(given)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a finding is frozen: cannot set {name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Finding) and type(self) is type(other) and self._values == other._values

    def __hash__(self) -> int:
        return hash((type(self), *self._values.values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self._values.items())
        return f"{type(self).__name__}({fields})"

    @property
    def _values(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self._fields}


class Diagnostic(_Finding):
    """One finding. Subclasses set the words; `span` is the cause, `labels` are further places."""

    code: ClassVar[str] = ""
    slug: ClassVar[str] = ""
    message: ClassVar[str] = ""
    label: ClassVar[str] = ""
    notes: ClassVar[tuple[str, ...]] = ()
    help: ClassVar[str] = ""

    span: Span
    labels: tuple[Label, ...] = ()
    fixes: tuple[Fix, ...] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__dict__.get("code") and LEDGER.setdefault(cls.code, cls) is not cls:
            raise TypeError(f"{cls.code} is taken by {LEDGER[cls.code].__qualname__}")

    @property
    def severity(self) -> Severity:
        return _SEVERITY[self.code[0]]

    @property
    def words(self) -> Words:
        """The finding in words: every template filled."""
        values = self._values
        notes = (_say(note, values) for note in self.notes)
        return Words(
            message=self.message.format_map(values),
            label=_say(self.label, values),
            notes=tuple(note for note in notes if note),
            help=_say(self.help, values),
        )


@dataclass(frozen=True)
class Words:
    """The texts of a finding, ready to print. An empty string means: nothing to say there."""

    message: str
    label: str
    notes: tuple[str, ...]
    help: str


def _say(template: str, values: Mapping[str, object]) -> str:
    named = (name for _, name, _, _ in Formatter().parse(template) if name)
    return "" if any(values[name] == "" for name in named) else template.format_map(values)


def sort_key(finding: Diagnostic) -> tuple[str, int, int, str]:
    """The order in which findings are shown: by file, then by place."""
    return (finding.span.source.name, finding.span.source.first_line, finding.span.start, finding.code)

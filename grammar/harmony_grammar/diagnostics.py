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
from typing import ClassVar, Literal, dataclass_transform

from harmony_grammar.masking import masked
from harmony_grammar.records import Record, fields
from harmony_grammar.source import Span

Severity = Literal["error", "warning", "note"]

_SEVERITY: dict[str, Severity] = {"E": "error", "W": "warning", "N": "note"}

LEDGER: dict[str, type[Diagnostic]] = {}
"""Every code that was ever given out, with its class."""


class Label(Record):
    """A further place that explains the finding."""

    span: Span
    message: str


class Edit(Record):
    """Replace the text of `span` by `text`."""

    span: Span
    text: str


class Fix(Record):
    """A change that mends the finding. Only a `safe` one may be applied without a look."""

    message: str
    edits: tuple[Edit, ...]
    applicability: Literal["safe", "unsafe"] = "unsafe"


def change(message: str, span: Span, text: str, *, safe: bool = False) -> tuple[Fix, ...]:
    """The fix that writes `text` in place of `span`."""
    return (Fix(message, (Edit(span, text),), "safe" if safe else "unsafe"),)


def enclose(message: str, span: Span, before: str, after: str, *, off: int = 0, safe: bool = False) -> Fix:
    """The fix that writes `before` and `after` around `span`, in place of `off` characters at both ends.

    What stands between is no part of it: a text may be a secret, which no finding repeats.
    """
    opening = Edit(Span(span.source, span.start, span.start + off), before)
    closing = Edit(Span(span.source, span.end - off, span.end), after)
    return Fix(message, (opening, closing), "safe" if safe else "unsafe")


def meant(span: Span, text: str, *, safe: bool = False) -> tuple[Fix, ...]:
    """The fix that writes what was probably meant; none where nothing comes near."""
    return change(f"write `{text}`", span, text, safe=safe) if text else ()


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Diagnostic(Record, kw_only=True):
    """One finding. Subclasses set the words; `span` is the cause, `labels` are further places."""

    code: ClassVar[str] = ""
    slug: ClassVar[str] = ""
    message: ClassVar[str] = ""
    label: ClassVar[str] = ""
    notes: ClassVar[tuple[str, ...]] = ()
    help: ClassVar[str] = ""
    secret: ClassVar[bool] = False
    """Whether what stands at `span` must not be shown."""

    span: Span
    labels: tuple[Label, ...] = ()
    fixes: tuple[Fix, ...] = ()
    hides: tuple[Span, ...] = ()
    """Further places where a secret stands."""

    def __init_subclass__(cls, *, kw_only: bool = True) -> None:
        super().__init_subclass__(kw_only=kw_only)
        if cls.__dict__.get("code") and LEDGER.setdefault(cls.code, cls) is not cls:
            raise TypeError(f"{cls.code} is taken by {LEDGER[cls.code].__qualname__}")

    @property
    def severity(self) -> Severity:
        return _SEVERITY[self.code[0]]

    @property
    def words(self) -> Words:
        """The finding in words: every template filled."""
        values = {name: getattr(self, name) for name in fields(self)}
        notes = (_say(note, values) for note in self.notes)
        return Words(
            message=masked(self.message.format_map(values)),
            label=_say(self.label, values),
            notes=tuple(note for note in notes if note),
            help=_say(self.help, values),
        )


class Words(Record):
    """The texts of a finding, ready to print. An empty string means: nothing to say there."""

    message: str
    label: str
    notes: tuple[str, ...]
    help: str


def _say(template: str, values: Mapping[str, object]) -> str:
    from string import Formatter  # most recipes have nothing said of them

    named = (name for _, name, _, _ in Formatter().parse(template) if name)
    return "" if any(values[name] == "" for name in named) else masked(template.format_map(values))


def sort_key(finding: Diagnostic) -> tuple[str, int, int, str]:
    """The order in which findings are shown: by file, then by place."""
    return (finding.span.source.name, finding.span.source.first_line, finding.span.start, finding.code)

"""The reference of the language's names, read off the node classes: nothing in it is written twice.

`entries` gives what there is to say about a name, as values; `terminal` and `markdown` write it down.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from harmony_compiler.checking.calls import signature
from harmony_compiler.explain.words import WORDS, Word
from harmony_compiler.graph.catalogue import (
    ALGORITHMS,
    CONSTRUCTORS,
    DATASETS,
    GRADERS,
    MODELS,
    SETTINGS,
)
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.formulas import FUNCTIONS, Function
from harmony_compiler.graph.graders import UNBOUNDED, Grader
from harmony_compiler.graph.node import (
    Bounds,
    Constructor,
    Derived,
    FieldSpec,
    ReadWith,
    schema,
    summary,
)
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.settings import Recipe
from harmony_compiler.graph.types import PERCENT, ListOf, RecordOf, SettingsType, Type, options_of
from harmony_compiler.rewards.formula_text import quoted
from harmony_grammar.records import Record, fields

GROUPS: Mapping[str, tuple[str, tuple[type[Constructor], ...]]] = {
    "model": ("a model", MODELS),
    "dataset": ("a dataset", DATASETS),
    "grader": ("a grader", GRADERS),
    "train": ("an algorithm", ALGORITHMS),
    "evaluate": ("an evaluation", (Compare,)),
    "settings": ("settings", SETTINGS),
    "declarations": ("a declaration", (Recipe, Save)),
}
"""What is constructed: by the word that declares it, where there is one, what each is and how it is made."""

DECLARING = ("model", "dataset", "grader", "train", "evaluate")
"""The groups whose name is a word that declares."""

ROLES = {
    "placement": "placement: how it is computed; changes the result by rounding only",
    "watching": "watching: what is seen or kept; changes no result",
}


class FieldTold(Record):
    """What there is to say about one field."""

    name: str
    type: str
    default: str
    """As a recipe writes it; empty where the field is required."""
    doc: str
    facts: tuple[str, ...]
    """Its bounds, when it is read, its role."""
    examples: tuple[str, ...]
    role: str

    @property
    def said(self) -> str:
        """The documentation, its facts behind it."""
        return f"{self.doc} ({'; '.join(self.facts)})" if self.facts else self.doc


class RuleTold(Record):
    """A rule between fields: what is said where it is broken, and what helps."""

    fields: tuple[str, ...]
    message: str
    help: str
    warns: bool


class Entry(Record):
    """What there is to say about one name in one of its meanings."""

    name: str
    group: str
    kind: str
    summary: str
    about: str
    form: str = ""
    """How a recipe writes it."""
    facts: tuple[str, ...] = ()
    formula: str = ""
    fields: tuple[FieldTold, ...] = ()
    between: tuple[str, ...] = ()
    """What holds between fields, whatever their values."""
    rules: tuple[RuleTold, ...] = ()
    members: tuple[tuple[str, str, str], ...] = ()
    """What stands behind its dot: name, type, and what it is."""


def names() -> dict[str, tuple[str, ...]]:
    """Every name with a reference, by group."""
    grouped = {word: tuple(cls.constructor for cls in members) for word, (_, members) in GROUPS.items()}
    for group, (_, words) in WORDS.items():
        grouped[group] = (*grouped.pop(group, ()), *(word.name for word in words))
    grouped["functions"] = tuple(FUNCTIONS)
    return {group: tuple(dict.fromkeys(members)) for group, members in grouped.items()}


def entries(name: str) -> tuple[Entry, ...]:
    """All that a name of the language means; nothing where it means nothing."""
    return tuple(entry for group in names() for entry in entries_in(group) if entry.name == name)


@cache
def entries_in(group: str) -> tuple[Entry, ...]:
    """The names of a group, in the order of the catalogue."""
    kind, members = GROUPS.get(group, ("", ()))
    made = [_constructor(group, kind, cls) for cls in members]
    if group == "functions":
        made += [_function(function) for function in FUNCTIONS.values()]
    kind, words = WORDS.get(group, ("", ()))
    return (*made, *(_word(group, kind, word) for word in words))


def owners(field: str) -> tuple[Entry, ...]:
    """What has a field of this name; of `grpo.lr`, `grpo` alone."""
    owner, _, name = field.rpartition(".")
    having = (entry for group in GROUPS for entry in entries_in(group) if not owner or entry.name == owner)
    return tuple(entry for entry in having if any(told.name == name for told in entry.fields))


def _constructor(word: str, kind: str, cls: type[Constructor]) -> Entry:
    rules = (
        RuleTold((rule.blame, *rule.beside), _in_words(rule.message), _in_words(rule.help), rule.warns)
        for rule in cls.rules
    )
    return Entry(
        name=cls.constructor,
        group=word,
        kind=kind,
        summary=summary(cls),
        about=" ".join((cls.__doc__ or "").split()),
        form=_form(word, cls),
        facts=tuple(_facts(cls)),
        formula=cls.formula,
        fields=tuple(_field(cls, spec) for spec in _ordered(cls).values()),
        between=tuple(_between(cls)),
        rules=tuple(rules),
    )


def _function(function: Function) -> Entry:
    takes = ("It takes graders as well, and is a grader then: their scores, combined.",)
    facts = takes if function.of_scores else ()
    said, form = function.doc, signature(function)
    return Entry(function.name, "functions", "a function", said, said, form, facts)


def _word(group: str, kind: str, word: Word) -> Entry:
    first, dot, _ = word.about.partition(". ")
    return Entry(
        word.name, group, kind, first + dot.strip(), word.about, form=word.form, members=word.members
    )


def _ordered(cls: type[Constructor]) -> dict[str, FieldSpec]:
    """The fields as people ask for them: what is required, its own, then what it shares with others."""
    line = [base for base in cls.__mro__ if issubclass(base, Constructor)]
    shared = {name: sum(name in fields(base) for base in line) for name in fields(cls)}
    return dict(sorted(schema(cls).items(), key=lambda field: (not field[1].required, shared[field[0]])))


def _form(word: str, cls: type[Constructor]) -> str:
    """How a recipe writes it."""
    if cls is Save:
        return "save MODEL as KEY { field = value, … }"
    argument = f"({cls.argument.upper()})" if cls.argument else ""
    rest = any(name != cls.argument for name in schema(cls))
    made = f"{cls.constructor}{argument}{' { field = value, … }' if rest else ''}"
    if cls is Recipe:
        return made.replace("recipe", "recipe NAME")
    return made if word == "settings" else f"{word} NAME = {made}"


def _facts(cls: type[Constructor]) -> Iterator[str]:
    """What can be said of it before its fields: where settings stand, what a grader gives and needs."""
    wanted = SettingsType(cls.constructor)
    owners_of: dict[str, dict[str, None]] = {}
    for owner in CONSTRUCTORS:
        for name, spec in schema(owner).items():
            if wanted in _parts(spec.type):
                owners_of.setdefault(f"`{name}`", {})[f"`{owner.constructor}`"] = None
    for having in dict.fromkeys(map(tuple, owners_of.values())):
        those = [name for name, owners in owners_of.items() if tuple(owners) == having]
        several = "s" if len(those) > 1 else ""
        yield f"in the field{several} {listed(those)} of {listed(having)}"
    if issubclass(cls, Grader):
        yield f"score: {'any number' if cls.scores == UNBOUNDED else '{:g} to {:g}'.format(*cls.scores)}"
        if cls.needs:
            needs = listed([f"`{key}: {type_}`" for key, type_ in cls.needs])
            yield f"needs metadata {needs}"


def _parts(type_: Type) -> Iterator[Type]:
    """A type with all that it is made of."""
    for option in options_of(type_):
        yield option
        if isinstance(option, ListOf | RecordOf):
            yield from _parts(option.item)


def _field(cls: type[Constructor], spec: FieldSpec) -> FieldTold:
    facts = [_range(spec.bounds, "%" if spec.type == PERCENT else "")]
    if spec.usual:
        facts.append("usually {} to {}".format(*map(written, spec.usual)))
    facts += [_when(read) for read in cls.reads if read.field == spec.name]
    facts += [f"only beside `{need.other}`" for need in cls.needs_fields if need.field == spec.name]
    facts += [spec.role] if spec.role in ROLES else []
    default = "" if spec.required else _default(spec)
    examples = () if "such as" in spec.doc else (example for example in spec.examples if example != default)
    return FieldTold(
        name=spec.name,
        type=str(spec.type),
        default=default,
        doc=spec.doc,
        facts=tuple(fact for fact in facts if fact),
        examples=tuple(examples),
        role=spec.role,
    )


def _default(spec: FieldSpec) -> str:
    return spec.default.text if isinstance(spec.default, Derived) else written(spec.default)


def _when(read: ReadWith) -> str:
    """When a field is read at all."""
    options = read.values or (read.unless,)
    when = listed([f"`{read.option} = {written(option)}`" for option in options], "or")
    return f"{'read only' if read.values else 'not read'} with {when}"


def _range(bounds: Bounds, unit: str) -> str:
    limits = (
        ("above", bounds.above),
        ("at least", bounds.at_least),
        ("below", bounds.below),
        ("at most", bounds.at_most),
    )
    return " and ".join(f"{word} {limit:g}{unit}" for word, limit in limits if limit is not None)


def _between(cls: type[Constructor]) -> Iterator[str]:
    """What holds between fields, whatever their values."""
    yield from (f"A recipe gives exactly one of {_named(group)}." for group in cls.exactly_one)
    yield from (f"A recipe gives at least one of {_named(group)}." for group in cls.at_least_one)
    yield from (f"`{read.field}` is {_when(read)}." for read in cls.reads if "." in read.field)


def _in_words(text: str) -> str:
    """The text of a rule without the values that break it."""
    said = re.sub(r" = \{\w+\}", "", text)
    return re.sub(r"`?(?<!\{)\{(\w+)\}(?!\})`?", r"`\1`", said).replace("{{", "{").replace("}}", "}")


def written(value: Any) -> str:
    """A default as a recipe writes it."""
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case str():
            return quoted(value)
        case float():
            if not 0 < abs(value) < 1e-3:
                return repr(value)
            digits, exponent = f"{value:.12e}".split("e")
            return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"
        case tuple():
            return f"[{', '.join(written(item) for item in value)}]"
        case Constructor():
            plain = {name: getattr(value, name) for name in schema(type(value))}
            set_ = {n: v for n, v in plain.items() if v != schema(type(value))[n].default}
            fields = ", ".join(f"{name} = {written(item)}" for name, item in set_.items())
            return f"{value.constructor} {{ {fields} }}" if fields else f"{value.constructor} {{ }}"
        case _:
            return str(value)


def _named(names: Sequence[str]) -> str:
    return listed([f"`{name}`" for name in names])


def listed(words: Sequence[str], last: str = "and") -> str:
    *before, end = words
    return f"{', '.join(before)} {last} {end}" if before else end

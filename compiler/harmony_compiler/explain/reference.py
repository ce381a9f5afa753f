"""The reference of the language's names, read off the node classes: nothing in it is written twice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from harmony_compiler.checking.calls import signature
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
from harmony_grammar.records import fields

WIDTH = 100

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


def names() -> dict[str, tuple[str, ...]]:
    """Every name with a reference, by group."""
    grouped = {
        word: tuple(dict.fromkeys(cls.constructor for cls in members))
        for word, (_, members) in GROUPS.items()
    }
    return grouped | {"functions": tuple(FUNCTIONS)}


def reference(name: str) -> str | None:
    """All that a name of the language means, as people read it; None where it means nothing."""
    if name in GROUPS:
        return _group(name)
    texts = [
        _constructor(word, kind, cls)
        for word, (kind, members) in GROUPS.items()
        for cls in members
        if cls.constructor == name
    ]
    if name in FUNCTIONS:
        texts.append(_function(FUNCTIONS[name]))
    return "\n\n".join(texts) or None


def owners(field: str) -> tuple[str, ...]:
    """The constructors that have a field of this name."""
    every: tuple[type[Constructor], ...] = (*CONSTRUCTORS, Recipe, Save)
    having = (cls.constructor for cls in every if field in schema(cls))
    return tuple(dict.fromkeys(having))


def _group(word: str) -> str:
    _, members = GROUPS[word]
    width = max(len(cls.constructor) for cls in members)
    lines = [f"{word}: what `{word} NAME = …` can make" if word in DECLARING else word, ""]
    for cls in members:
        lines += _item(cls.constructor, width, [summary(cls)])
    return "\n".join(lines)


def _constructor(word: str, kind: str, cls: type[Constructor]) -> str:
    lines = [f"{cls.constructor}: {kind}", ""]
    lines += _folded(" ".join((cls.__doc__ or "").split()))
    lines += ["", f"  {_form(word, cls)}", *_places(cls), *_formula(cls)]
    specs = _ordered(cls)
    if specs:
        width = max(len(name) for name in specs)
        lines += ["", "fields"]
        for name, spec in specs.items():
            lines += _item(name, width, [_value(spec), *_told(cls, spec)])
    lines += _between(cls)
    shown = {spec.role for spec in specs.values()}
    legend = [said for role, said in ROLES.items() if role in shown]
    return "\n".join([*lines, *([""] if legend else []), *legend])


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


def _places(cls: type[Constructor]) -> Iterator[str]:
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
        yield from _folded(f"in the field{several} {_listed(those)} of {_listed(having)}", "  ")
    if issubclass(cls, Grader):
        yield f"  score: {'any number' if cls.scores == UNBOUNDED else '{:g} to {:g}'.format(*cls.scores)}"
        if cls.needs:
            needs = _listed([f"`{key}: {type_}`" for key, type_ in cls.needs])
            yield f"  needs metadata {needs}"


def _formula(cls: type[Constructor]) -> Iterator[str]:
    """What is computed, as the class has it; its prose is folded."""
    if cls.formula:
        yield from ("", "formula")
        for line in cls.formula.splitlines():
            yield from _folded(line, "  ") if len(line) > WIDTH - 2 else [f"  {line}".rstrip()]


def _parts(type_: Type) -> Iterator[Type]:
    """A type with all that it is made of."""
    for option in options_of(type_):
        yield option
        if isinstance(option, ListOf | RecordOf):
            yield from _parts(option.item)


def _value(spec: FieldSpec) -> str:
    if spec.required:
        return f"{spec.type}, required"
    default = spec.default.text if isinstance(spec.default, Derived) else written(spec.default)
    return f"{spec.type} = {default}"


def _told(cls: type[Constructor], spec: FieldSpec) -> Iterator[str]:
    """What is said about a field below its type."""
    facts = [_range(spec.bounds, "%" if spec.type == PERCENT else "")]
    if spec.usual:
        facts.append("usually {} to {}".format(*map(written, spec.usual)))
    facts += [_when(read) for read in cls.reads if read.field == spec.name]
    facts += [f"only beside `{need.other}`" for need in cls.needs_fields if need.field == spec.name]
    facts += [spec.role] if spec.role in ROLES else []
    said = "; ".join(fact for fact in facts if fact)
    yield f"{spec.doc} ({said})" if said else spec.doc
    examples = [example for example in spec.examples if example != written(spec.default)]
    if examples and "such as" not in spec.doc:
        yield f"such as {_listed(examples, 'or')}"


def _when(read: ReadWith) -> str:
    """When a field is read at all."""
    options = read.values or (read.unless,)
    when = _listed([f"`{read.option} = {written(option)}`" for option in options], "or")
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
    """What holds between fields."""
    said = [f"A recipe gives exactly one of {_named(group)}." for group in cls.exactly_one]
    said += [f"A recipe gives at least one of {_named(group)}." for group in cls.at_least_one]
    said += [f"`{read.field}` is {_when(read)}." for read in cls.reads if "." in read.field]
    yield from ("", *(line for text in said for line in _folded(text))) if said else ()
    for heading, warns in (("errors", False), ("warnings", True)):
        rules = [rule for rule in cls.rules if rule.warns == warns]
        if rules:
            yield from ("", heading)
        for rule in rules:
            yield from _folded(_in_words(rule.message), "  - ", "    ")
            yield from _folded(_in_words(rule.help), "    ") if rule.help else ()


def _in_words(text: str) -> str:
    """The text of a rule without the values that break it."""
    said = re.sub(r" = \{\w+\}", "", text)
    return re.sub(r"`?(?<!\{)\{(\w+)\}(?!\})`?", r"`\1`", said).replace("{{", "{").replace("}}", "}")


def _function(function: Function) -> str:
    lines = [f"{function.name}: a function", "", *_folded(function.doc), "", f"  {signature(function)}"]
    if function.of_scores:
        lines += ["", *_folded("It takes graders as well, and is a grader then: their scores, combined.")]
    return "\n".join(lines)


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


def _item(name: str, width: int, said: Sequence[str]) -> list[str]:
    """A name, and beside it what is said about it, each text from a line of its own."""
    margin = " " * (width + 4)
    lines = [line for text in said for line in _folded(text, margin)]
    return [f"  {name:{width}}  {lines[0].lstrip()}", *lines[1:]]


def _folded(text: str, first: str = "", rest: str | None = None) -> list[str]:
    further = first if rest is None else rest
    return wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _named(names: Sequence[str]) -> str:
    return _listed([f"`{name}`" for name in names])


def _listed(words: Sequence[str], last: str = "and") -> str:
    *before, end = words
    return f"{', '.join(before)} {last} {end}" if before else end

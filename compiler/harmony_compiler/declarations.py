"""Declarations: every value of a recipe, in the order in which they need one another.

Takes names, the caller's settings and the launch; gives the values of all declarations and the saves as
typed values, with findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harmony_grammar import syntax
from harmony_grammar.diagnostics import Diagnostic, Label
from harmony_grammar.parser import parse_expression

from harmony_compiler.checker import Checker
from harmony_compiler.construct import construct
from harmony_compiler.findings.fields import (
    BadKey,
    ConditionFails,
    DuplicateField,
    MissingInput,
    UnknownField,
)
from harmony_compiler.findings.graph import NotSupportedYet
from harmony_compiler.findings.types import WrongDeclaration
from harmony_compiler.fitting import describe, fit
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.graph import Launch
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.types import INT, MODEL, STR, UNKNOWN, DatasetType, Type
from harmony_compiler.inputs import Setting, read_type, settings_by_name, taken_as_text
from harmony_compiler.names import Names, close_to, mentioned
from harmony_compiler.store.registry import KEY
from harmony_compiler.typed import Made, Value, unknown

EDITION = 1

_WORDS: dict[str, tuple[Type, str]] = {
    "model": (MODEL, "a model"),
    "dataset": (DatasetType(), "a dataset"),
    "train": (MODEL, "a training stage"),
}
_LATER_WORDS = {"grader": "a grader", "evaluate": "an evaluation"}


@dataclass(frozen=True)
class Checked:
    """A recipe with every value found."""

    name: str
    seed: int
    values: dict[str, Value]
    inputs: dict[str, Value]
    saves: tuple[Made, ...]
    diagnostics: tuple[Diagnostic, ...]


def check(names: Names, settings: Sequence[Setting], launch: Launch) -> Checked:
    recipe = names.recipe
    name = recipe.name.text if recipe and recipe.name else _stem(names.file)
    checker = Checker(
        launch=launch,
        run_name=name,
        declared=frozenset(names.declared),
        lost_names=not names.file.complete,
    )
    inputs = [n for n, d in names.declared.items() if isinstance(d, syntax.InputDeclaration)]
    given = settings_by_name(settings, inputs, checker.report)

    first = _before_recipe(names)
    for declared in first:
        checker.values[declared] = _declared(checker, names.declared[declared], given)
    if recipe:
        _recipe_fields(checker, recipe)
    for declared in names.order:
        if declared not in first:
            checker.values[declared] = _declared(checker, names.declared[declared], given)
    saves = tuple(_save(checker, declaration) for declaration in names.saves)
    return Checked(
        name=name,
        seed=checker.seed,
        values=checker.values,
        inputs={n: checker.values[n] for n in inputs if n in checker.values},
        saves=saves,
        diagnostics=tuple(checker.findings),
    )


def _stem(file: syntax.File) -> str:
    return file.source.path.stem if file.source.path else Path(file.source.name).stem


def _before_recipe(names: Names) -> list[str]:
    """What the recipe's own fields need, in order: everything else may need the recipe's seed."""
    needed = {name.text for name in mentioned(names.recipe)} if names.recipe else set()
    for name in reversed(names.order):
        if name in needed:
            needed.update(mention.text for mention in mentioned(names.declared[name]))
    return [name for name in names.order if name in needed]


def _recipe_fields(checker: Checker, recipe: syntax.RecipeDeclaration) -> None:
    seen: dict[str, syntax.Identifier] = {}
    for field in recipe.fields:
        if not isinstance(field, syntax.Field):
            continue
        key = field.key
        if key.text in seen:
            first = Label(seen[key.text].span, "first given here")
            checker.report(DuplicateField(span=key.span, key=key.text, labels=(first,)))
        elif key.text == "seed":
            value = checker.expect(field.value, INT, "`seed`")
            checker.seed = 0 if value.unknown else value.data
        elif key.text == "edition":
            value = checker.expect(field.value, INT, "`edition`")
            if not value.unknown and value.data != EDITION:
                what = f"edition {value.data} of the language"
                checker.report(NotSupportedYet(span=value.span, what=what))
        else:
            suggestion = close_to(key.text, ("seed", "edition"))
            known = "" if suggestion else "seed, edition"
            finding = UnknownField(
                span=key.span, constructor="recipe", key=key.text, known=known, suggestion=suggestion
            )
            checker.report(finding)
        seen.setdefault(key.text, key)


def _declared(
    checker: Checker,
    declaration: syntax.InputDeclaration | syntax.ValueDeclaration | syntax.ImportDeclaration,
    given: dict[str, Setting],
) -> Value:
    match declaration:
        case syntax.InputDeclaration():
            return _input(checker, declaration, given.get(declaration.name.text))
        case syntax.ValueDeclaration():
            return _value(checker, declaration)
        case syntax.ImportDeclaration():
            checker.report(NotSupportedYet(span=declaration.path.span, what="`import`"))
            return unknown(declaration.span)


# --- inputs ---------------------------------------------------------------------------------------------


def _input(checker: Checker, declaration: syntax.InputDeclaration, setting: Setting | None) -> Value:
    name = declaration.name
    type_ = read_type(declaration.type, checker.report)
    default = declaration.default
    if setting is not None and type_ != UNKNOWN:
        value = _set(checker, setting, type_)
    elif default is not None:
        value = checker.expect(default, type_, f"`{name.text}`") if type_ != UNKNOWN else unknown(name.span)
    else:
        if type_ != UNKNOWN and not isinstance(default, syntax.Broken):
            checker.report(MissingInput(span=name.span, name=name.text))
        value = unknown(name.span)
    # An input is no literal any more: its type was stated, and decides where it fits.
    value = Value(value.type, value.data, value.span, by_launch=value.by_launch)
    if declaration.condition is not None:
        _condition(checker, declaration, value)
    return value


def _set(checker: Checker, setting: Setting, type_: Type) -> Value:
    source = setting.source
    span = source.span(0, len(source.text))
    if taken_as_text(type_):
        literal = syntax.Text(span, setting.text)
        fitted = fit(Value(STR, setting.text, span, literal=literal), type_, f"`{setting.name}`")
        if isinstance(fitted, Diagnostic):
            checker.report(fitted)
            return unknown(span)
        return fitted
    expression, findings = parse_expression(source)
    checker.findings.extend(findings)
    checker.closed = True
    value = checker.expect(expression, type_, f"`{setting.name}`")
    checker.closed = False
    return value


def _condition(checker: Checker, declaration: syntax.InputDeclaration, value: Value) -> None:
    assert declaration.condition is not None
    name = declaration.name.text
    checker.values[name] = value
    holds = checker.condition(declaration.condition, "the condition of an input")
    if not holds.unknown and not value.unknown and not holds.data:
        condition = declaration.condition.span
        label = () if value.span.source is condition.source else (Label(condition, "the condition"),)
        finding = ConditionFails(
            span=value.span, name=name, value=f"{value.data}", condition=condition.text, labels=label
        )
        checker.report(finding)


# --- values ---------------------------------------------------------------------------------------------


def _value(checker: Checker, declaration: syntax.ValueDeclaration) -> Value:
    word, name = declaration.word, declaration.name
    if what := _LATER_WORDS.get(word):
        checker.report(NotSupportedYet(span=name.span, what=what))
        return unknown(declaration.span)
    if word == "let":
        return checker.value(declaration.value)
    wanted, expected = _WORDS[word]
    value = checker.value(declaration.value, wanted)
    trains = isinstance(value.data, Made) and issubclass(value.data.cls, Algorithm)
    if value.unknown or (isinstance(value.type, type(wanted)) and (word != "train" or trains)):
        return value
    mend = f"declare it with `model {name.text} = …`" if word == "train" and value.type == MODEL else ""
    finding = WrongDeclaration(
        span=value.span, word=word, name=name.text, expected=expected, found=describe(value), mend=mend
    )
    checker.report(finding)
    return unknown(declaration.span)


def _save(checker: Checker, declaration: syntax.SaveDeclaration) -> Made:
    """`save MODEL as KEY { … }`: a constructor in other words."""
    head = declaration.key.span
    fields = [
        syntax.Field(
            declaration.model.span, syntax.Identifier(declaration.model.span, "model"), declaration.model
        ),
        syntax.Field(head, syntax.Identifier(head, "key"), declaration.key),
        *declaration.fields,
    ]
    made = construct(checker, Save, (), fields, head=head, span=declaration.span).data
    assert isinstance(made, Made)
    key = made.values["key"]
    if isinstance(key, str) and not KEY.fullmatch(key):
        checker.report(BadKey(span=made.given["key"].span, key=key))
    return made

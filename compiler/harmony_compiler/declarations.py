"""Declarations: every value of a recipe, in the order in which they need one another.

Takes names, the caller's settings and the launch; gives the values of all declarations and the saves as
typed values, with findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harmony_compiler.checker import Checker, secret_name
from harmony_compiler.construct import construct
from harmony_compiler.findings.fields import BadKey, ConditionFails, MissingInput, SecretAsText
from harmony_compiler.findings.graph import NotSupportedYet
from harmony_compiler.findings.types import UnknownOption, WrongDeclaration
from harmony_compiler.fitting import advice, describe
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.graph import Launch
from harmony_compiler.graph.models import Reloaded
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.settings import Recipe
from harmony_compiler.graph.types import (
    BOOL,
    EVALUATION,
    FLOAT,
    GRADER,
    INT,
    MODEL,
    PERCENT,
    SECRET,
    STR,
    UNKNOWN,
    DatasetType,
    Type,
)
from harmony_compiler.inputs import Setting, read_type, settings_by_name, taken_as_text
from harmony_compiler.names import Names, mentioned, names_of_the_language, needed
from harmony_compiler.scores import as_grader
from harmony_compiler.store.registry import KEY
from harmony_compiler.typed import Made, Value, unknown
from harmony_grammar import syntax
from harmony_grammar.diagnostics import Diagnostic, Label
from harmony_grammar.parser import parse_expression
from harmony_grammar.records import Record
from harmony_grammar.source import Source

EDITION = 1

_WORDS: dict[str, tuple[Type, str]] = {
    "model": (MODEL, "a model"),
    "dataset": (DatasetType(), "a dataset"),
    "grader": (GRADER, "a grader"),
    "train": (MODEL, "a training stage"),
    "evaluate": (EVALUATION, "an evaluation"),
}


class Checked(Record):
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

    # Everything else may need the recipe's seed, and nothing should be made of an input that is refused.
    if recipe:
        _settle(checker, names, needed(names, [mention.text for mention in mentioned(recipe)]), given)
        _recipe_fields(checker, recipe)
    _settle(checker, names, needed(names, inputs), given)
    _settle(checker, names, names.order, given)
    for declaration in names.again:
        _declared(checker, declaration, given)
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


def _settle(checker: Checker, names: Names, wanted: Sequence[str], given: dict[str, Setting]) -> None:
    """Give a value to each of `wanted` that has none, then ask the conditions of the inputs among them."""
    fresh = {name: names.declared[name] for name in wanted if name not in checker.values}
    # A name declared twice or belonging to the language was reported: nobody can say what a use of it means.
    doubtful = names_of_the_language() | {declaration.name.text for declaration in names.again}
    for name, declaration in fresh.items():
        value = _declared(checker, declaration, given)
        checker.values[name] = unknown(value.span) if name in doubtful else value
    for name, declaration in fresh.items():
        if isinstance(declaration, syntax.InputDeclaration) and declaration.condition is not None:
            _condition(checker, name, declaration.condition)


def _recipe_fields(checker: Checker, recipe: syntax.RecipeDeclaration) -> None:
    head = recipe.name.span if recipe.name else recipe.span
    made = construct(checker, Recipe, (), recipe.fields, head=head, span=recipe.span).data
    seed, edition = made.values["seed"], made.values["edition"]
    if isinstance(seed, int):
        checker.seed = seed
    if isinstance(edition, int) and edition != EDITION:
        span, known = made.given["edition"].span, str(EDITION)
        checker.report(UnknownOption(span=span, place="`edition`", given=f"{edition}", options=known))


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
        if type_ == UNKNOWN:
            checker.value(default)
            return unknown(name.span)
        value = checker.expect(default, type_, f"`{name.text}`")
    else:
        if type_ != UNKNOWN and not isinstance(default, syntax.Broken):
            checker.report(MissingInput(span=name.span, name=name.text))
        value = unknown(name.span)
    # An input is no literal any more: its type was stated, and decides where it fits.
    return Value(value.type, value.data, value.span, by_launch=value.by_launch)


def _set(checker: Checker, setting: Setting, type_: Type) -> Value:
    source = setting.source
    span = source.span(0, len(source.text))
    if taken_as_text(type_):
        literal = syntax.Text(span, setting.text)
        return checker.fitted(Value(STR, setting.text, span, literal=literal), type_, f"`{setting.name}`")
    expression, findings = parse_expression(source)
    if type_ == SECRET and secret_name(expression) is None:
        # What was given may be the secret itself, and must not be shown.
        hidden = Source(source.name, "…").span(0, 1)
        checker.report(SecretAsText(span=hidden, place=f"`{setting.name}`"))
        return unknown(span)
    checker.findings.extend(findings)
    checker.closed = True
    value = checker.expect(expression, type_, f"`{setting.name}`")
    checker.closed = False
    return value


def _condition(checker: Checker, name: str, condition: syntax.Expression) -> None:
    """Ask the condition of an input; a value that breaks it was reported, and absorbs what follows."""
    value = checker.values[name]
    place = "the condition of an input"
    holds = checker.fitted(checker.condition(condition, place), BOOL, place)
    if not holds.unknown and not value.unknown and not holds.data:
        span = condition.span
        label = () if value.span.source is span.source else (Label(span, "the condition"),)
        shown = value.span.text
        if value.type in (INT, FLOAT, PERCENT):
            shown = f"{value.data:g}" if value.type == FLOAT else f"{value.data}"
        checker.report(
            ConditionFails(span=value.span, name=name, value=shown, condition=span.text, labels=label)
        )
        checker.values[name] = unknown(value.span)


# --- values ---------------------------------------------------------------------------------------------


def _value(checker: Checker, declaration: syntax.ValueDeclaration) -> Value:
    word, name = declaration.word, declaration.name
    if word == "let":
        return checker.value(declaration.value)
    wanted, expected = _WORDS[word]
    value = checker.value(declaration.value, wanted)
    if word == "grader":
        value = as_grader(value) or value
    made = value.data if isinstance(value.data, Made) else None
    # Of a copy that asks for another training, that was said.
    trains = made is not None and (issubclass(made.cls, Algorithm) or (made.cls is Reloaded and made.lost))
    fits = value.type == wanted or (word == "dataset" and isinstance(value.type, DatasetType))
    if value.unknown or (fits and (word != "train" or trains)):
        return value
    fitting = next((w for w, (type_, _) in _WORDS.items() if type_ == value.type), "let")
    if isinstance(value.type, DatasetType):
        fitting = "dataset"
    mend = advice(value, (GRADER,))[1] if word == "grader" else ""
    head = declaration.value.value if isinstance(declaration.value, syntax.With) else declaration.value
    checker.report(
        WrongDeclaration(
            span=head.span,
            word=word,
            name=name.text,
            expected=expected,
            found=describe(value),
            mend=mend or f"declare it with `{fitting} {name.text} = …`",
        )
    )
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

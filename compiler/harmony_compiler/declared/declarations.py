"""Declarations: what each says, once everything that it mentions has a value.

Takes a checker and a declaration; gives its value, a `Made` for a `save`, the seed for a `recipe`. In which
order they are asked is `modules`'s business.
"""

from __future__ import annotations

from harmony_compiler.checking.checker import Checker
from harmony_compiler.checking.construct import construct
from harmony_compiler.checking.fitting import advice, describe
from harmony_compiler.findings.fields import BadKey
from harmony_compiler.findings.types import UnknownOption, WrongDeclaration
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.models import Reloaded
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.settings import Recipe
from harmony_compiler.graph.types import (
    ENDPOINT,
    EVALUATION,
    GRADER,
    MODEL,
    DatasetType,
    Type,
    options_of,
    union_of,
)
from harmony_compiler.rewards.scores import as_grader
from harmony_compiler.store.registry import is_key
from harmony_compiler.typed import Made, Value, unknown
from harmony_grammar import syntax
from harmony_grammar.diagnostics import meant
from harmony_grammar.source import Span

EDITION = 1

_WORDS: dict[str, tuple[Type, str]] = {
    "model": (union_of((MODEL, ENDPOINT)), "a model"),
    "dataset": (DatasetType(), "a dataset"),
    "grader": (GRADER, "a grader"),
    "train": (MODEL, "a training stage"),
    "evaluate": (EVALUATION, "an evaluation"),
}


def recipe_seed(checker: Checker, recipe: syntax.RecipeDeclaration) -> int | None:
    """The seed that a recipe says, or None where it could not be read; its edition must be ours."""
    head = recipe.name.span if recipe.name else recipe.span
    made = construct(checker, Recipe, (), recipe.fields, head=head, span=recipe.span).data
    seed, edition = made.values["seed"], made.values["edition"]
    if isinstance(edition, int) and edition != EDITION:
        span, known = made.given["edition"].span, str(EDITION)
        checker.report(UnknownOption(span=span, place="`edition`", given=f"{edition}", options=known))
    return seed if isinstance(seed, int) else None


def declared_value(checker: Checker, declaration: syntax.ValueDeclaration) -> Value:
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
    fits = value.type in options_of(wanted) or (word == "dataset" and isinstance(value.type, DatasetType))
    if value.unknown or (fits and (word != "train" or trains)):
        return value
    fitting = next((w for w, (type_, _) in _WORDS.items() if value.type in options_of(type_)), "let")
    if isinstance(value.type, DatasetType):
        fitting = "dataset"
    mend = advice(value, (GRADER,))[1] if word == "grader" else ""
    head = declaration.value.value if isinstance(declaration.value, syntax.With) else declaration.value
    start = declaration.span.start
    own = Span(declaration.span.source, start, start + len(word))
    checker.report(
        WrongDeclaration(
            span=head.span,
            word=word,
            name=name.text,
            expected=expected,
            found=describe(value),
            mend=mend or f"declare it with `{fitting} {name.text} = …`",
            fixes=() if mend else meant(own, fitting),
        )
    )
    return unknown(declaration.span)


def saved(checker: Checker, declaration: syntax.SaveDeclaration) -> Made:
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
    if isinstance(key, str) and not is_key(key):
        checker.report(BadKey(span=made.given["key"].span, key=key))
    return made

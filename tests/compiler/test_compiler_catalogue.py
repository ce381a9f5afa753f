"""The catalogue: what every node class must say about itself."""

from __future__ import annotations

import string
from typing import Any

import pytest

from harmony_compiler.graph import catalogue
from harmony_compiler.graph.algorithms import Sft
from harmony_compiler.graph.formulas import FUNCTIONS, Function
from harmony_compiler.graph.models import LoadSettings
from harmony_compiler.graph.node import (
    Constructor,
    Derived,
    FieldSpec,
    Node,
    Settings,
    schema,
    summary,
    tag_of,
)
from harmony_compiler.graph.types import (
    BOOL,
    DURATION,
    FLOAT,
    INT,
    MODEL,
    NONE,
    PERCENT,
    STR,
    DatasetType,
    ListOf,
    LiteralText,
    ModelType,
    RecordOf,
    SettingsType,
    Type,
    options_of,
)
from harmony_compiler.graph.values import Duration, Percent, Ref
from harmony_compiler.naming.names import names_of_the_language

CLASSES = (*catalogue.CONSTRUCTORS, *catalogue.INTERNAL)
FIELDS = [(cls, spec) for cls in CLASSES for spec in schema(cls).values()]
EACH_CLASS = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.constructor)
EACH_FIELD = pytest.mark.parametrize(
    ("cls", "spec"), FIELDS, ids=[f"{cls.constructor}.{spec.name}" for cls, spec in FIELDS]
)

OUTSIDE = {"recipe.seed", "ctx.world_size", "ctx.gpus_per_node", "ctx.ranks"}
"""Names with a dot that a rule or a derived default may ask for."""


def fits(value: Any, option: Type) -> bool:
    """Whether a default may stand in a field of this type."""
    match option:
        case LiteralText(text=text):
            return bool(value == text)
        case SettingsType(name=name):
            return isinstance(value, Settings) and value.constructor == name
        case ListOf(item=item):
            return isinstance(value, tuple) and all(fits(part, item) for part in value)
        case RecordOf(item=item):
            return isinstance(value, dict) and all(fits(part, item) for part in value.values())
        case ModelType() | DatasetType():
            return False
    kinds = {
        BOOL: bool,
        INT: int,
        FLOAT: float,
        STR: str,
        PERCENT: Percent,
        DURATION: Duration,
        NONE: type(None),
    }
    return type(value) is kinds.get(option)


@EACH_CLASS
def test_a_class_says_what_it_is(cls: type[Constructor]) -> None:
    assert summary(cls).endswith(".")
    assert issubclass(cls, Node | Settings)


@EACH_FIELD
def test_a_field_says_what_it_is(cls: type[Constructor], spec: FieldSpec) -> None:
    assert spec.doc.strip() == spec.doc != ""
    assert not spec.doc.endswith(".")
    assert not spec.doc[0].isupper() or spec.doc.startswith("JSON")
    assert spec.role in ("semantic", "placement", "watching")
    assert spec.name.isidentifier()


@EACH_FIELD
def test_a_default_keeps_type_and_bounds(cls: type[Constructor], spec: FieldSpec) -> None:
    if spec.required or isinstance(spec.default, Derived):
        return
    assert any(fits(spec.default, option) for option in options_of(spec.type))
    number = spec.default.value if isinstance(spec.default, Percent) else spec.default
    if isinstance(number, int | float) and not isinstance(number, bool):
        assert spec.bounds.broken_by(number) is None


@EACH_FIELD
def test_a_derived_default_asks_for_what_stands_before_it(cls: type[Constructor], spec: FieldSpec) -> None:
    if isinstance(spec.default, Derived):
        names = list(schema(cls))
        before = {*names[: names.index(spec.name)], *OUTSIDE}
        assert before.issuperset(spec.default.needs)
        assert spec.default.text


@EACH_CLASS
def test_a_rule_speaks_of_fields_that_are_there(cls: type[Constructor]) -> None:
    known = {*schema(cls), *OUTSIDE, *_fields_of_settings(cls)}
    for rule in cls.rules:
        asked = {rule.blame, *rule.beside}
        assert rule.blame in known - OUTSIDE
        assert known.issuperset(asked)
        assert rule.help, "a rule says what to change"
        words = {name.rpartition(".")[2] for name in asked}
        for text in (rule.message, rule.help):
            assert words.issuperset(name for _, name, _, _ in string.Formatter().parse(text) if name)


def _fields_of_settings(cls: type[Constructor]) -> set[str]:
    """`sampling.temperature`, `model.tp`: of a field that holds settings or a model, their fields."""
    found: set[str] = set()
    for spec in schema(cls).values():
        for option in options_of(spec.type):
            if isinstance(option, SettingsType):
                found.update(f"{spec.name}.{name}" for name in schema(catalogue.class_of(option.name)))
        if spec.type == MODEL:
            found.update(f"{spec.name}.{name}" for name in schema(LoadSettings))
    return found


@EACH_CLASS
def test_what_reads_a_field_is_a_field(cls: type[Constructor]) -> None:
    known = {*schema(cls), *_fields_of_settings(cls)}
    for pair in cls.reads:
        assert {pair.field, pair.option} <= known
        assert bool(pair.values) != (pair.unless is not None)
        if pair.field in schema(cls):
            assert not schema(cls)[pair.field].required
    for need in cls.needs_fields:
        assert {need.field, need.other} <= known


@EACH_CLASS
def test_groups_and_arguments_are_fields(cls: type[Constructor]) -> None:
    for group in (*cls.exactly_one, *cls.at_least_one):
        assert len(group) > 1
        assert not [name for name in group if schema(cls)[name].required]
    assert cls.argument is None or schema(cls)[cls.argument].required


@EACH_CLASS
def test_a_constructor_with_all_defaults_can_be_made(cls: type[Constructor]) -> None:
    """Python sees a derived default as a field without one: nothing but the compiler fills it in."""
    given = {
        name: None for name, spec in schema(cls).items() if spec.required or isinstance(spec.default, Derived)
    }
    made = cls(**given)
    assert all(getattr(made, name) == spec.default for name, spec in schema(cls).items() if name not in given)


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=lambda function: function.name)
def test_a_function_says_what_it_is(function: Function) -> None:
    assert function.doc
    assert function.parameters
    assert not function.doc.endswith(".")
    assert not function.of_scores or set(function.parameters) == {FLOAT}
    assert function.name in names_of_the_language()


def test_names_are_given_once() -> None:
    tags = [tag_of(cls) for cls in CLASSES]
    assert len(set(tags)) == len(tags)
    assert names_of_the_language() >= {cls.constructor for cls in catalogue.CONSTRUCTORS}


@EACH_CLASS
def test_a_class_is_found_by_its_name(cls: type[Constructor]) -> None:
    assert catalogue.class_of(tag_of(cls)) is cls
    assert cls in (*catalogue.constructors_named(cls.constructor), *catalogue.INTERNAL)


@pytest.mark.parametrize(
    ("epochs", "rows", "per_step", "steps"),
    [(1, 10, 4, 3), (1.0, 12, 4, 3), (1.1, 10, 1, 11), (0.1, 10, 4, 1), (3, 1000, 64, 47), (0.3, 10, 3, 1)],
)
def test_epochs_become_steps_as_their_decimal_is_written(
    epochs: float, rows: int, per_step: int, steps: int
) -> None:
    stage = Sft(model=Ref("m"), dataset=Ref("d"), seed=0, epochs=epochs, samples_per_batch=per_step)
    assert stage.steps_over(rows) == steps

"""What a recipe can construct: the base of the node classes, which are the catalogue.

A node class states once everything there is to know about a constructor. Its fields are declared with
`field(...)`: default, bounds, documentation and role stand there, the type is the Python annotation.
Checker, plan, reference and schema read them from the class through `schema(cls)`.
"""

from __future__ import annotations

import math
import sys
import typing
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import Any, ClassVar, Literal, dataclass_transform

from harmony_compiler.graph.types import (
    CONDITION,
    PATH,
    DatasetType,
    EndpointType,
    GraderType,
    ListOf,
    ModelType,
    Type,
    options_of,
    type_of_annotation,
)
from harmony_grammar.records import Record, fields
from harmony_grammar.records import field as declare

Role = Literal["semantic", "placement", "watching"]
"""What a field can change: the result; only its rounding (where and how it is computed); nothing."""

NOT_GIVEN: Any = object()


class Derived(Record):
    """A default that `compute` makes from the values of `needs`; `text` is how people write it.

    Names with a dot stand for what does not belong to the constructor (`recipe.seed`).
    """

    text: str
    needs: tuple[str, ...]
    compute: Callable[..., Any]


RECIPE_SEED = Derived("the recipe's seed", ("recipe.seed",), lambda seed: seed)


class Bounds(Record):
    """What a number may be. Each bound is optional."""

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None

    def broken_by(self, value: float) -> str | None:
        """The bound that `value` breaks, in words, or None."""
        if not math.isfinite(value):
            return "must be a finite number"
        if self.above is not None and not value > self.above:
            return f"must be above {self.above:g}"
        if self.at_least is not None and not value >= self.at_least:
            return f"must be at least {self.at_least:g}"
        if self.below is not None and not value < self.below:
            return f"must be below {self.below:g}"
        if self.at_most is not None and not value <= self.at_most:
            return f"must be at most {self.at_most:g}"
        return None


class FieldSpec(Record):
    """Everything the compiler knows about one field of a constructor."""

    name: str
    type: Type
    default: Any
    doc: str
    bounds: Bounds
    role: Role
    folder: bool
    """Whether a path here names a folder, not a file."""
    usual: tuple[float, float] | None
    """The numbers that people mean for a pretrained model; one far from them is probably a slip."""
    examples: tuple[str, ...]
    """Values as a recipe writes them, where not every value of the type makes sense."""
    semantic_with: str | None
    """The field beside which this one can change the result, whatever its role."""

    def is_semantic(self, made: Constructor) -> bool:
        """Whether what `made` computes depends on the field."""
        beside = self.semantic_with
        return self.role == "semantic" or (beside is not None and getattr(made, beside) is not None)

    @property
    def required(self) -> bool:
        return self.default is NOT_GIVEN

    @cached_property
    def is_edge(self) -> bool:
        """Whether the field holds the id of another node, or a list of them."""
        held = (option.item if isinstance(option, ListOf) else option for option in options_of(self.type))
        return any(is_node(part) for option in held for part in options_of(option))

    @cached_property
    def over_columns(self) -> bool:
        """Whether the field is a condition on the columns of a row."""
        return CONDITION in options_of(self.type)

    @cached_property
    def names_files(self) -> bool:
        """Whether the field may hold a path, or a list of them. A path in a graph is absolute."""
        return any(option in (PATH, ListOf(PATH)) for option in options_of(self.type))


def field(
    default: Any = NOT_GIVEN,
    *,
    doc: str,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    role: Role = "semantic",
    folder: bool = False,
    usual: tuple[float, float] | None = None,
    examples: tuple[str, ...] = (),
    semantic_with: str | None = None,
) -> Any:
    """Declare a field of a constructor. Without a default it is required."""
    bounds = Bounds(above, at_least, below, at_most)
    spec = {"default": default, "doc": doc, "bounds": bounds, "role": role, "folder": folder}
    spec |= {"usual": usual, "examples": examples, "semantic_with": semantic_with}
    # Python sees a derived default only where the compiler did not fill it in: as a field without one.
    plain = {} if default is NOT_GIVEN or isinstance(default, Derived) else {"default": default}
    return declare(**plain, spec=spec)


class Rule(Record):
    """A constraint between fields. It is blamed on `blame`, with a label at each field of `beside`.

    `holds` is called with their values in that order. A name with a dot stands for what the launch decides
    (`ctx.world_size`), for a field of a structured value (`sampling.temperature`), or for how a model is
    loaded (`model.tp`); `ctx.ranks` are the copies of the trained model. A rule in which a value is `none` is
    not asked. A rule that `warns` forbids nothing.
    """

    blame: str
    beside: tuple[str, ...]
    holds: Callable[..., bool]
    message: str
    help: str = ""
    warns: bool = False


class ReadWith(Record):
    """A field that is read only where the field `option` has one of `values`, or another value than `unless`.

    Written where it would be ignored, it is an error. Names may have a dot, as in a `Rule`.
    """

    field: str
    option: str
    values: tuple[Any, ...] = ()
    unless: Any = None

    def read(self, chosen: Any) -> bool:
        return chosen in self.values if self.values else bool(chosen != self.unless)


class Needs(Record):
    """A field that means nothing without another; `why` says so in words."""

    field: str
    other: str
    why: str


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Constructor(Record, kw_only=True):
    """Base of everything a recipe constructs. The docstring's first line is the constructor's summary."""

    constructor: ClassVar[str]
    """The name that recipes use."""
    tag: ClassVar[str] = ""
    """The name in a graph, where two constructors share the one that recipes use."""
    formula: ClassVar[str] = ""
    """What the runtime computes, for `explain`: see `equations`."""
    argument: ClassVar[str | None] = None
    """The field that a positional argument fills."""
    rules: ClassVar[tuple[Rule, ...]] = ()
    exactly_one: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Groups of fields of which a recipe gives exactly one."""
    at_least_one: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Groups of fields of which a recipe gives one or more."""
    needs_fields: ClassVar[tuple[Needs, ...]] = ()
    """Fields that another one must stand beside."""
    reads: ClassVar[tuple[ReadWith, ...]] = ()
    """Fields that only some options look at."""


class Settings(Constructor):
    """A structured value inside a field, such as a schedule."""


class Node(Constructor):
    """A node of the graph. `semantics` is raised by hand when the mathematics of the class changes."""

    semantics: ClassVar[int] = 1

    @classmethod
    def result(cls, given: Mapping[str, Any]) -> Type:
        """The type of the value that this node yields; `given` holds the fields that the recipe set."""
        raise NotImplementedError


def tag_of(cls: type[Constructor]) -> str:
    """The name of a constructor in a graph: no two have the same."""
    return cls.tag or cls.constructor


def schema(cls: type[Constructor]) -> dict[str, FieldSpec]:
    """The fields of a constructor by name, in the order of declaration."""
    return _read_schema(typing.cast(Any, cls))


@cache
def _read_schema(cls: Any) -> dict[str, FieldSpec]:
    return {name: _read_field(_owner(cls, name), name) for name in fields(cls)}


def _owner(cls: type, name: str) -> type:
    """The class in which a field is declared, whose heirs share what is read of it."""
    # As `inspect.get_annotations` has it, whose import costs as much as a parse.
    return next(base for base in cls.__mro__ if name in base.__dict__.get("__annotations__", {}))  # noqa: RUF063


@cache
def _read_field(owner: Any, name: str) -> FieldSpec:
    # `typing.get_type_hints` resolves every annotation of every base again, and takes ten times as long.
    hint = eval(owner.__annotations__[name], vars(sys.modules[owner.__module__]))
    return FieldSpec(name=name, type=type_of_annotation(hint), **fields(owner)[name].spec)


def summary(cls: type[Constructor]) -> str:
    """The first line of the class's docstring."""
    return (cls.__doc__ or "").strip().partition("\n")[0]


def is_node(type_: Type) -> bool:
    """Whether a value of this type is a node of the graph."""
    return isinstance(type_, ModelType | EndpointType | DatasetType | GraderType)

"""Records: small values with named fields, which is what the whole compiler is made of.

    class Label(Record):
        span: Span
        message: str = ""

They read and behave as frozen dataclasses do, and are none: a dataclass generates and compiles six methods
when its class is made, and for the two hundred classes that a `check` imports that is a third of its time.
A record's class costs next to nothing; its `__init__` is compiled when its first instance is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, dataclass_transform

R = TypeVar("R")

_NOTHING: Any = object()


class Field:
    """What is declared about one field, beside its annotation."""

    __slots__ = ("compare", "default", "factory", "name", "repr", "spec")

    def __init__(
        self, default: Any, factory: Callable[[], Any] | None, compare: bool, repr: bool, spec: Any
    ) -> None:
        self.name = ""
        self.default = default
        self.factory = factory
        self.compare = compare
        self.repr = repr
        self.spec = spec


def field(
    *,
    default: Any = _NOTHING,
    factory: Callable[[], Any] | None = None,
    compare: bool = True,
    repr: bool = True,
    spec: Any = None,
) -> Any:
    """Declare a field that is not compared or shown, has a fresh default, or carries a `spec` of its own."""
    return Field(default, factory, compare, repr, spec)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Record:
    """Base of all records. `frozen=False` makes a class whose fields can be set, `eq=False` one whose
    instances equal only themselves, `kw_only=True` one whose fields are given by name."""

    __fields: Mapping[str, Field] = {}
    __frozen = True
    __kw_only = False

    def __init_subclass__(
        cls, *, frozen: bool | None = None, eq: bool = True, kw_only: bool | None = None
    ) -> None:
        if frozen is not None:
            cls.__frozen = frozen
        if kw_only is not None:
            cls.__kw_only = kw_only
        own: dict[str, Field] = {}
        # As `inspect.get_annotations` has it, whose import costs as much as a parse.
        for name, annotation in cls.__dict__.get("__annotations__", {}).items():  # noqa: RUF063
            if str(annotation).startswith("ClassVar"):
                continue
            given = cls.__dict__.get(name, _NOTHING)
            declared = given if isinstance(given, Field) else Field(given, None, True, True, None)
            declared.name = name
            if given is declared and declared.default is _NOTHING:
                delattr(cls, name)
            elif given is declared:
                setattr(cls, name, declared.default)
            own[name] = declared
        cls.__fields = {**cls.__fields, **own}
        if "__init__" not in cls.__dict__:
            cls.__init__ = _first_init  # type: ignore[assignment, method-assign]
        if not eq:
            cls.__eq__ = object.__eq__  # type: ignore[method-assign]
            cls.__hash__ = object.__hash__  # type: ignore[method-assign]
        elif not cls.__frozen:
            cls.__hash__ = None  # type: ignore[assignment]

    def __setattr__(self, name: str, value: object) -> None:
        if self.__frozen:
            raise AttributeError(f"{type(self).__name__} is frozen: cannot set {name}")
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} keeps its fields: cannot delete {name}")

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other):
            return NotImplemented
        mine, theirs = self.__dict__, other.__dict__
        return all(mine[name] == theirs[name] for name, f in self.__fields.items() if f.compare)

    def __hash__(self) -> int:
        values = self.__dict__
        return hash((type(self), *(values[name] for name, f in self.__fields.items() if f.compare)))

    def __repr__(self) -> str:
        values = self.__dict__
        shown = (f"{name}={values[name]!r}" for name, f in self.__fields.items() if f.repr)
        return f"{type(self).__qualname__}({', '.join(shown)})"


def fields(record: Record | type[Record]) -> Mapping[str, Field]:
    """The fields of a record or of its class by name, those of its bases first."""
    return record._Record__fields  # type: ignore[union-attr, no-any-return]


def values(record: Record) -> dict[str, Any]:
    """The values of a record's fields by name."""
    held = record.__dict__
    return {name: held[name] for name in fields(record)}


def replace(record: R, /, **changes: Any) -> R:
    """The same record with other values in some fields."""
    held = record.__dict__
    kept = {name: held[name] for name in fields(record) if name not in changes}  # type: ignore[arg-type]
    return type(record)(**kept, **changes)


def as_data(value: Any) -> Any:
    """A record as a dictionary of its fields, records inside it likewise."""
    match value:
        case Record():
            return {name: as_data(held) for name, held in values(value).items()}
        case dict():
            return {key: as_data(held) for key, held in value.items()}
        case list() | tuple():
            return type(value)(as_data(held) for held in value)
    return value


_FEW = 4
"""To compile an `__init__` takes as long as to fill so many dozen instances without one."""


def _first_init(self: Record, *given: Any, **named: Any) -> None:
    """Stands as `__init__` until a class has had a few instances, and then compiles the class's own.

    What does not fit the fields is left to that, which says so as Python does.
    """
    cls = type(self)
    made = cls.__dict__.get("_Record__made", 0)
    if made < _FEW:
        cls._Record__made = made + 1  # type: ignore[attr-defined]
        if (held := _fitted(cls, given, named)) is not None:
            self.__dict__.update(held)
            return
    cls.__init__ = _compiled_init(cls)  # type: ignore[method-assign]
    cls.__init__(self, *given, **named)


def _fitted(cls: type[Record], given: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any] | None:
    """The values of an instance's fields; None where they are not those that its class takes."""
    declared = fields(cls)
    if given:
        order = [name for name, f in declared.items() if f.default is _NOTHING and f.factory is None]
        order += [name for name, f in declared.items() if f.default is not _NOTHING or f.factory is not None]
        by_place = dict(zip(order, given, strict=False))
        if len(given) > len(order) or cls._Record__kw_only or by_place.keys() & named:  # type: ignore[attr-defined]
            return None
        named = by_place | named
    if not named.keys() <= declared.keys():
        return None
    held: dict[str, Any] = {}
    for name, f in declared.items():
        if name in named:
            held[name] = named[name]
        elif f.factory is not None:
            held[name] = f.factory()
        elif f.default is not _NOTHING:
            held[name] = f.default
        else:
            return None
    return held


def _compiled_init(cls: type[Record]) -> Callable[..., None]:
    scope: dict[str, Any] = {"_nothing": _NOTHING}
    required: list[str] = []
    optional: list[str] = []
    body: list[str] = []
    for name, declared in fields(cls).items():
        if declared.factory is not None:
            scope[f"_make_{name}"] = declared.factory
            optional.append(f"{name}=_nothing")
            body.append(f"_held[{name!r}] = _make_{name}() if {name} is _nothing else {name}")
            continue
        if declared.default is not _NOTHING:
            scope[f"_default_{name}"] = declared.default
            optional.append(f"{name}=_default_{name}")
        else:
            required.append(name)
        body.append(f"_held[{name!r}] = {name}")
    kw_only = cls._Record__kw_only  # type: ignore[attr-defined]
    parameters = ["self", *(["*"] if kw_only and (required or optional) else []), *required, *optional]
    lines = [
        f"def __init__({', '.join(parameters)}):",
        " _held = self.__dict__",
        *(f" {line}" for line in body),
    ]
    exec("\n".join(lines), scope)
    made: Callable[..., None] = scope["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made

"""People's graders: functions and classes in Python, and what they say about themselves. No torch here.

A function takes any of `completion`, `prompt`, `turns` and `metadata` by name, and returns a number, a grade,
or None where it has nothing to say. `@grader(batched=True)` has it take lists of them, and return a list.
"""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from inspect import Parameter, isawaitable, iscoroutinefunction, signature
from numbers import Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, overload

from harmony_runtime.graders.answered import grade_of
from harmony_runtime.graders.protocol import DoesNotApply, Failure, Grade, Grader, Sample, Score

GIVEN = ("completion", "prompt", "turns", "metadata")
"""What a function may take."""
BATCH = 32
"""Samples that a batched function gets at most, where it does not say."""

_BATCH_OF = "_harmony_batch"
_Function = TypeVar("_Function", bound=Callable[..., Any])


@overload
def grader(function: _Function, /) -> _Function: ...
@overload
def grader(*, batched: bool = False, batch: int = BATCH) -> Callable[[_Function], _Function]: ...
def grader(
    function: Callable[..., Any] | None = None, /, *, batched: bool = False, batch: int = BATCH
) -> Callable[..., Any]:
    """Say that a function is a grader; it stays the function that it is.

    With `batched`, its parameters are lists of equal length, at most `batch` long, and it returns a list with
    an answer for each entry.

    Raises:
        TypeError: it takes a parameter that no grader is given.
        ValueError: `batch` is less than 1.
    """
    if batch < 1:
        raise ValueError(f"`batch` is {batch}: a batch has at least one sample")

    def mark(marked: Callable[..., Any]) -> Callable[..., Any]:
        _taken(marked)
        setattr(marked, _BATCH_OF, batch if batched else None)
        return marked

    return mark if function is None else mark(function)


def grader_of(made: Any) -> Grader:
    """The grader that a function, a subclass of `Grader` or an instance of one is.

    Raises:
        TypeError: it is none of these, or a function with a parameter that no grader is given.
    """
    if isinstance(made, Grader):
        return made
    if isinstance(made, type) and issubclass(made, Grader):
        return made()
    if isinstance(made, type) or not callable(made):
        what = f"the class `{made.__name__}`" if isinstance(made, type) else f"a `{type(made).__name__}`"
        raise TypeError(
            f"{what} is no grader: name a function, or a class that derives from `harmony_dsl.Grader`"
        )
    return FunctionGrader(made)


class FunctionGrader(Grader):
    """A function as a grader."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._takes = _taken(function)
        self.batch: int | None = getattr(function, _BATCH_OF, None)
        """How many samples it takes at once; None where it takes them one by one."""
        self.waits = iscoroutinefunction(function)
        """Whether it is `async`; another one keeps the thread busy in which it is called."""

    async def grade(self, sample: Sample) -> Grade:
        (grade,) = await self.grade_all([sample])
        return grade

    async def grade_all(
        self, samples: Sequence[Sample], run: Callable[..., Awaitable[Any]] | None = None
    ) -> list[Grade]:
        """The grades in order, of at most `batch` samples. `run` says where a function that is not `async` is
        called, such as `asyncio.to_thread`.

        Whatever the function raises is raised.
        """
        grades: list[Grade] = []
        questions: Sequence[Any] = samples if self.batch is None else [samples]
        for question in questions:
            named = {name: _read(question, name) for name in self._takes}
            if run is None or self.waits:
                answer = self._function(**named)
            else:
                answer = await run(self._function, **named)
            if isawaitable(answer):
                answer = await answer
            grades += [_grade(answer)] if self.batch is None else _grades(answer, len(question))
        return grades


def metadata_schema(made: Any) -> dict[str, Any]:
    """The JSON schema of the metadata that a grader takes; `{}` where it says nothing.

    A function says it by the type of its parameter `metadata`, a class by that of its attribute: a
    `TypedDict`, of which a batched function takes a list.
    """
    if isinstance(made, FunctionGrader):
        made = made._function
    if isinstance(made, Grader):
        made = type(made)
    try:
        wanted = typing.get_type_hints(made, include_extras=True).get("metadata")
    except (NameError, TypeError, AttributeError):  # a name that only type checkers see
        return {}
    if typing.get_origin(wanted) in (list, Sequence):
        wanted = next(iter(typing.get_args(wanted)), None)
    return _record(wanted, ()) if typing.is_typeddict(wanted) else {}


# --- parameters and answers -----------------------------------------------------------------------------


def _taken(function: Callable[..., Any]) -> tuple[str, ...]:
    """The parameters that a function is given."""
    name = getattr(function, "__name__", type(function).__name__)
    given = ", ".join(f"`{name}`" for name in GIVEN)
    taken = []
    for parameter in signature(function).parameters.values():
        if parameter.kind is Parameter.VAR_POSITIONAL:
            continue
        if parameter.kind is Parameter.VAR_KEYWORD:
            return GIVEN
        if parameter.name in GIVEN and parameter.kind is not Parameter.POSITIONAL_ONLY:
            taken.append(parameter.name)
        elif parameter.default is Parameter.empty:
            raise TypeError(
                f"`{name}` takes a parameter `{parameter.name}`, which no grader is given by name: it is "
                f"given any of {given}, and any other parameter needs a default"
            )
    return tuple(taken)


def _read(question: Any, name: str) -> Any:
    if isinstance(question, Sample):
        return list(question.turns) if name == "turns" else getattr(question, name)
    return [_read(sample, name) for sample in question]


def _grade(answer: Any) -> Grade:
    match answer:
        case None:
            return DoesNotApply()
        case Score() | DoesNotApply() | Failure():
            return grade_of(answer)
        case int() | float():
            return grade_of(Score(answer))
        case Real():  # those of other libraries, too
            return grade_of(Score(float(answer)))
    what = f"a `{type(answer).__name__}`"
    return Failure(f"returned {what} instead of a number, None, or a grade such as `Score(0.5)`")


def _grades(answers: Any, count: int) -> list[Grade]:
    """The answers of a batched function."""
    if isinstance(answers, str | Mapping) or not hasattr(answers, "__len__"):
        what = f"a `{type(answers).__name__}`"
        return [Failure(f"returned {what} instead of a list with an answer for each sample")] * count
    if len(answers) != count:
        return [Failure(f"returned {len(answers)} answers to {count} samples")] * count
    return [_grade(answer) for answer in answers]


# --- types as JSON schemas ------------------------------------------------------------------------------

_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}
_QUALIFIERS = (typing.Required, typing.NotRequired, typing.Annotated)


def _record(record: Any, inside: tuple[Any, ...]) -> dict[str, Any]:
    """A `TypedDict`; one that holds itself is said once."""
    if record in inside:
        return {"type": "object"}
    hints = typing.get_type_hints(record, include_extras=True)
    fields = {key: _schema(hint, (*inside, record)) for key, hint in hints.items()}
    required = [key for key, hint in hints.items() if _is_required(hint, key in record.__required_keys__)]
    return {"type": "object", "properties": fields, "required": required}


def _is_required(hint: Any, by_class: bool) -> bool:
    """Whether a key must be there. A class whose annotations are texts knows only what holds for all."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _is_required(typing.get_args(hint)[0], by_class)
    return by_class if origin not in (typing.Required, typing.NotRequired) else origin is typing.Required


def _schema(hint: Any, inside: tuple[Any, ...]) -> dict[str, Any]:
    """The schema of a type; `{}` takes everything."""
    if hint in _SIMPLE:
        return {"type": _SIMPLE[hint]}
    if typing.is_typeddict(hint):
        return _record(hint, inside)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in _QUALIFIERS:
        return _schema(arguments[0], inside)
    if origin in (typing.Union, UnionType):
        return {"anyOf": [_schema(option, inside) for option in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if list in (hint, origin):
        return {"type": "array"} | ({"items": _schema(arguments[0], inside)} if arguments else {})
    if dict in (hint, origin):
        of_values = {"additionalProperties": _schema(arguments[1], inside)} if arguments else {}
        return {"type": "object"} | of_values
    return {}

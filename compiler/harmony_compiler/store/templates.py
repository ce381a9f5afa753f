"""Templates: text with `{{ … }}`, filled from a row or from a sample.

They run in Jinja's sandbox. A name that is not there, and a value that is null, are faults: Jinja would print
nothing or "None", and a model would learn to say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment


class TemplateFaultError(Exception):
    """A template cannot be read or filled; the message says why."""


class Template:
    def __init__(self, text: str) -> None:
        try:
            self._template = _ENVIRONMENT.from_string(text)
        except TemplateError as fault:
            raise TemplateFaultError(str(fault)) from fault
        # Jinja's chain of dicts costs more than filling the template does.
        self._template.globals = dict(self._template.globals)

    def fill(self, values: Mapping[str, Any]) -> str:
        """The text of the template.

        Raises:
            TemplateFaultError: it has none for these values.
        """
        try:
            return self._template.render(values)
        except (
            TemplateError,
            ArithmeticError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            RecursionError,
        ) as fault:
            raise TemplateFaultError(str(fault)) from fault


class _Missing(StrictUndefined):
    """A name that is not there, told without Python's words for it."""

    @property
    def _undefined_message(self) -> str:
        if isinstance(self._undefined_obj, Mapping):
            return f"there is no key `{self._undefined_name}`"
        return super()._undefined_message


class _Environment(ImmutableSandboxedEnvironment):
    def getattr(self, obj: Any, attribute: str) -> Any:
        # Jinja takes `metadata.items` for the method of a dict.
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


def _printable(value: Any) -> Any:
    if value is None:
        raise ValueError("it prints a value that is null")
    return value


_ENVIRONMENT = _Environment(
    undefined=_Missing, keep_trailing_newline=True, autoescape=False, finalize=_printable
)

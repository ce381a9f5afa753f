"""Templates of graders. No torch here."""

from __future__ import annotations

from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.protocol import Failure, Sample
from harmony_runtime.templates import Template, TemplateFaultError


class Filled:
    """The template of a field, filled from a sample."""

    def __init__(self, text: str, field: str) -> None:
        self._field = field
        try:
            self._template = Template(text)
        except TemplateFaultError as fault:
            raise RunFailed(f"the template of `{field}` cannot be read: {fault}") from fault

    def of(self, sample: Sample) -> str | Failure:
        try:
            return self._template.fill(vars(sample))
        except TemplateFaultError as fault:
            return Failure(f"the template of `{self._field}` fails: {fault}")

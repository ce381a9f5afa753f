"""Files with inputs: `--inputs FILE.toml`, `.json`, `.yaml` or `.yml`.

Gives settings, or the one finding that says why there are none. The parsers of these formats tell no places,
so each name is looked for in the text, in the order in which the parser found it. What a finding shows is
its own name and value alone: beside them may stand a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harmony_compiler.declared.given import Given, Setting
from harmony_compiler.files import DISK, Files, UnreadableError, read_text
from harmony_compiler.findings.fields import BrokenInputs, UnreadableInputs
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.source import Source, Span

LARGEST = 100_000
"""A file with more values than this holds something else: in YAML, a few lines can stand for millions."""


class NoYamlError(Exception):
    """A YAML file is to be read, and there is no reader of YAML."""


class _BrokenError(Exception):
    """The text is not what its suffix says; `place` is the offset at which that was seen."""

    def __init__(self, reason: str, place: int | None = None) -> None:
        super().__init__(reason)
        self.place = place


def read_inputs(path: str, files: Files = DISK) -> tuple[Setting, ...] | Diagnostic:
    """The settings in a file of one of the `SUFFIXES`.

    Raises:
        NoYamlError: PyYAML is not installed.
    """
    place = Path(path).absolute()
    name, read = _FORMATS[place.suffix.lower()]
    try:
        text = read_text(place, files)
    except UnreadableError as fault:
        return UnreadableInputs(span=Source(path, "", place).span(0, 0), path=path, reason=str(fault))
    source = Source(path, text, place)
    try:
        data = read(text)
        if not isinstance(data, dict):
            raise _BrokenError("it holds no names with values")
        finder = _Finder(source)
        return tuple(Setting(str(key), given=finder.entry(str(key), value)) for key, value in data.items())
    except _BrokenError as fault:
        reason, at = str(fault), fault.place
    except RecursionError:
        reason, at = "it is nested too deeply", None
    if at is None:
        return BrokenInputs(span=Source(path, "", place).span(0, 0), path=path, format=name, reason=reason)
    hidden = Source(path, "…", place, source.position(at).line)  # the line may hold a secret
    return BrokenInputs(span=hidden.span(0, 1), path=path, format=name, reason=reason, here="in this line")


# --- formats --------------------------------------------------------------------------------------------


def _toml(text: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        reason, _, at = str(fault).partition(" (at line ")
        numbers = [int(number) for number in re.findall(r"\d+", at)]
        raise _BrokenError(_lower(reason), _offset(text, *numbers) if len(numbers) == 2 else None) from fault


def _json(text: str) -> Any:
    import json

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise _BrokenError(f"`{key}` stands twice in one object")
            found[key] = value
        return found

    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as fault:
        raise _BrokenError(_lower(fault.msg), fault.pos) from fault
    except ValueError as fault:  # a number of thousands of digits
        raise _BrokenError(_lower(str(fault))) from fault


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError as fault:
        raise NoYamlError from fault

    try:
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark
        place = None if mark is None else _offset(text, mark.line + 1, mark.column + 1)
        raise _BrokenError(_lower(fault.problem or "it cannot be read"), place) from fault
    except (yaml.YAMLError, ValueError) as fault:  # a date that is none
        raise _BrokenError(_lower(str(fault).splitlines()[0])) from fault
    return {} if data is None else data


_FORMATS: dict[str, tuple[str, Callable[[str], Any]]] = {
    ".toml": ("TOML", _toml),
    ".json": ("JSON", _json),
    ".yaml": ("YAML", _yaml),
    ".yml": ("YAML", _yaml),
}


SUFFIXES = tuple(_FORMATS)


def _lower(reason: str) -> str:
    return reason[:1].lower() + reason[1:]


def _offset(text: str, line: int, column: int) -> int:
    starts = [0, *(at.end() for at in re.finditer("\n", text))]
    return min(starts[min(line, len(starts)) - 1] + column - 1, len(text))


# --- places ---------------------------------------------------------------------------------------------

_BETWEEN = re.compile(r"""["']?[ \t]*[:=][ \t]*""")
_SKIPPED = re.compile(r"""[\s,\[\]"'-]*""")
_WORDS: dict[type, re.Pattern[str]] = {
    bool: re.compile(r"\b(true|false|yes|no|on|off)\b", re.IGNORECASE),
    type(None): re.compile(r"\bnull\b|~", re.IGNORECASE),
}
_ANY_WORD = re.compile(r"""(?:-(?=[\d.]))?[^\s,:{}\[\]#"'-][^\s,}\]#"']*""")
"""How values that are no texts are written in any of the formats: `1e-3`, `07:30:00`."""


class _Finder:
    """Looks for names and values in a text, in the order in which they stand in it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.at = 0
        self.count = 0

    def entry(self, key: str, value: Any) -> Given:
        start = self._key(key)
        if start is None:
            name = Source(self.source.name, key, self.source.path).span(0, len(key))
            return self._given(value, name, None)
        self.at = start + len(key)
        between = _BETWEEN.match(self.source.text, self.at)
        self.at = between.end() if between else self.at
        name = self._excerpt(start, start, start + len(key))
        in_quotes = start > 0 and self.source.text[start - 1] in "\"'"
        return self._given(value, name, start - in_quotes)

    def _given(self, value: Any, name: Span, key: int | None) -> Given:
        self.count += 1
        if self.count > LARGEST:
            raise _BrokenError(f"it holds more than {LARGEST:,} values")
        if isinstance(value, dict):
            inner: dict[str, Given] = {}
            for part, held in value.items():
                inner[str(part)] = self.entry(str(part), held)
            return Given(inner, name, name)
        if isinstance(value, list):
            return Given(tuple(self._given(item, name, key) for item in value), name, name)
        found = None if key is None else self._scalar(value)
        if found is None:
            if not isinstance(value, str):
                return Given(value, name, name)
            line = name.source.first_line  # escapes, or several lines: shown as it was meant
            text = Source(self.source.name, value, self.source.path, line).span(0, len(value))
            return Given(value, name, name, text)
        start, end = found
        self.at = end
        near = "\n" not in self.source.text[key:end]
        return Given(value, self._excerpt(key if near and key is not None else start, start, end), name)

    def _scalar(self, value: Any) -> tuple[int, int] | None:
        """Where a text stands as it is, or a number; None if it does not."""
        text = self.source.text
        if isinstance(value, str):
            start = text.find(value, self.at) if value and "\n" not in value else -1
            end = start + len(value)
        else:
            word = _WORDS.get(type(value), _ANY_WORD).search(text, self.at)
            start, end = word.span() if word else (-1, -1)
        skipped = start >= 0 and _SKIPPED.fullmatch(text, self.at, start)
        return (start, end) if skipped else None

    def _key(self, key: str) -> int | None:
        """Where a name stands, after what was found before; else anywhere."""
        pattern = re.compile(rf"""(?<![\w-]){re.escape(key)}(?=["']?[ \t]*[:=.\]])""")
        for start in (self.at, 0):
            for found in pattern.finditer(self.source.text, start):
                line = self.source.text.rfind("\n", 0, found.start()) + 1
                if "#" not in self.source.text[line : found.start()]:
                    return found.start()
        return None

    def _excerpt(self, shown: int, start: int, end: int) -> Span:
        """A place on a line, of which only the part from `shown` to `end` is shown, and a quote behind it."""
        text = self.source.text
        rest = end + (text[end : end + 1] in ("'", '"'))
        line = text.rfind("\n", 0, shown) + 1
        number = self.source.position(shown).line
        blanks = " " * (shown - line)
        excerpt = Source(self.source.name, blanks + text[shown:rest], self.source.path, number)
        return excerpt.span(start - line, end - line)

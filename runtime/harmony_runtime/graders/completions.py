"""Completions from a file: lines of JSON with a `completion` and, as graders need, `prompt turns metadata`.

The file is read for `harmonyc grade`. A `samples.jsonl` of a run is such a file: what it says beside is known
here and not read. No torch here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from harmony_compiler.store.rows import SHOWN, kind_of, read_bytes
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.source import Source, Span
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.protocol import Sample

READ = ("completion", "prompt", "turns", "metadata")

OF_A_RUN = (
    *("stage", "step", "model", "validation", "stop", "reward", "value", "advantage", "grades"),
    "completion_tokens",
)
"""What else a line of `samples.jsonl` holds."""

LARGEST = 256 * 1024 * 1024
"""Bytes of a file that is graded."""

_BOM = b"\xef\xbb\xbf"


class UnknownRowKey(Diagnostic):
    code, slug = "E0524", "unknown-row-key"
    message = "a completion has no key `{key}`"
    label = "not a key of it"
    notes = ("keys: {keys}; what graders need of a dataset's row stands in `metadata`",)
    help = "did you mean `{suggestion}`?"
    key: str
    keys: str = ", ".join(READ)
    suggestion: str


class NoCompletion(Diagnostic):
    code, slug = "E0525", "no-completion"
    message = "the row has no `completion`"
    label = 'a row is `{{"prompt": "…", "completion": "…", "metadata": {{…}}}}`'


class WrongRowValue(Diagnostic):
    code, slug = "E0526", "wrong-row-value"
    message = "`{key}` is {found}, not {wanted}"
    label = "here"
    key: str
    found: str
    wanted: str


def read_completions(path: Path) -> list[tuple[int, Sample]]:
    """The samples of a file, each with its line.

    Raises:
        RunFailed: the file cannot be read, holds none, or lines of it are at fault.
    """
    samples: list[tuple[int, Sample]] = []
    faulty: list[list[Diagnostic]] = []
    for number, line in _lines(path):
        row = read_bytes(path, number, line)
        wrong = [row] if isinstance(row, Diagnostic) else []
        if isinstance(row, dict):
            wrong = list(_faults_of(path, number, line.decode(), row))
            if not wrong:
                samples.append((number, _sample(row)))
        if wrong:
            faulty.append(wrong)
    if faulty:
        shown: list[Diagnostic | str] = [fault for wrong in faulty[:SHOWN] for fault in wrong]
        if len(faulty) > SHOWN:
            shown.append(f"{path}: {len(faulty):,} rows are faulty; the first {SHOWN} are shown")
        raise RunFailed(*shown)
    if not samples:
        raise RunFailed(f'{path} holds no rows; one looks like {{"prompt": "…", "completion": "…"}}')
    return samples


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
    except OSError as fault:
        raise RunFailed(f"{path} cannot be read: {fault.strerror or fault}") from fault
    if len(text) > LARGEST:
        raise RunFailed(f"{path} is larger than {LARGEST // 2**20} MiB; grade a part of it")
    yield from enumerate(text.removeprefix(_BOM).split(b"\n"), 1)


def _sample(row: Mapping[str, Any]) -> Sample:
    """What is told of only one of `prompt` and `turns` says the other."""
    turns = tuple(row.get("turns") or ())
    asked = next((turn["content"] for turn in reversed(turns) if turn["role"] == "user"), "")
    prompt = row.get("prompt", asked)
    if not turns and prompt:
        turns = ({"role": "user", "content": prompt},)
    return Sample(
        row["completion"],
        prompt,
        turns=turns,
        metadata=row.get("metadata", {}),
        tokens=row.get("completion_tokens"),
    )


# --- what can be wrong ----------------------------------------------------------------------------------


def _faults_of(path: Path, number: int, line: str, row: Mapping[str, Any]) -> Iterator[Diagnostic]:
    places = _Places(path, number, line)
    missing = "completion" not in row
    for key, value in row.items():
        if key not in READ + OF_A_RUN:
            near = "".join(get_close_matches(key, [known for known in READ if known not in row], n=1))
            missing &= near != "completion"
            yield UnknownRowKey(span=places.key(key), key=key, suggestion=near)
        elif wanted := _wanted(key, value):
            yield WrongRowValue(span=places.value(key), key=key, found=kind_of(value), wanted=wanted)
    if missing:
        yield NoCompletion(span=places.row())


def _wanted(key: str, value: Any) -> str:
    """What should stand there; empty where it does."""
    match key:
        case "completion" | "prompt" if not isinstance(value, str):
            return "a text"
        case "completion_tokens" if value is not None and (type(value) is not int or value < 0):
            return "a number of tokens"
        case "metadata" if not isinstance(value, dict):
            return "an object"
        case "turns" if not (isinstance(value, list) and all(map(_is_turn, value))):
            return 'a list of `{"role": "user", "content": "…"}`'
    return ""


def _is_turn(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("role"), str):
        return False
    content = value.get("content")
    return isinstance(content, str) or (content is None and bool(value.get("tool_calls")))


class _Places:
    """Where the keys and values of a JSON object stand in its line."""

    def __init__(self, path: Path, number: int, line: str) -> None:
        self._source = Source(str(path), line.rstrip("\r\n"), path=path, first_line=number)

    def row(self) -> Span:
        return self._source.span(0, len(self._source.text))

    def key(self, wanted: str) -> Span:
        start, end, _ = self._find(wanted)
        return self._source.span(start, end)

    def value(self, wanted: str) -> Span:
        _, _, value = self._find(wanted)
        return self._source.span(*value)

    def _find(self, wanted: str) -> tuple[int, int, tuple[int, int]]:
        """Start and end of a key, the last of its name, and of its value."""
        text, read = self._source.text, json.JSONDecoder().raw_decode
        found = (0, len(text), (0, len(text)))
        at = text.index("{")
        while (at := text.find('"', at)) >= 0:
            key, end = read(text, at)
            value = text.index(":", end) + 1
            value += len(text[value:]) - len(text[value:].lstrip())
            _, stop = read(text, value)
            if key == wanted:
                found = (at, end, (value, stop))
            at = stop
        return found

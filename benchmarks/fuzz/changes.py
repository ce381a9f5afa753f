"""New inputs of old ones: bytes, words and lines moved about, and JSON with other values in its places."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from harmony_compiler.graph.catalogue import CONSTRUCTORS
from harmony_compiler.graph.formulas import FUNCTIONS
from harmony_compiler.graph.node import schema
from harmony_compiler.graph.types import LiteralText, options_of

LARGEST = 64 * 1024
"""No input has more bytes."""

_PUNCTUATION = [
    *"{}[]()<>.,:;=%\"'`\\|#+-*/&!?@~\n\r\t \0",
    '"""',
    "{{ ",
    " }}",
    "{% ",
    " %}",
    "//",
    "**",
    "->",
]
# fmt: off
_PLAIN = [
    "recipe", "input", "let", "import", "as", "model", "dataset", "grader", "train", "evaluate",
    "save", "where", "if", "then", "else", "not", "and", "or", "in", "true", "false", "none", "env",
    "ctx", "null", "NaN", "Infinity", "int", "float", "str", "bool", "percent", "duration", "Path",
    "Secret", "Model", "Dataset", "Grader", "Regex", "Endpoint", "list", "Prompt", "Thread",
    "Preference", "completion", "prompt", "turns", "metadata", "messages", "role", "content",
    "user", "assistant", "system", "tool", "question", "answer", "for", "endfor", "endif", "set",
    "macro", "include", "extends", "is", "def", "class", "return", "lambda", "async", "await",
    "import_module", "base64", "len", "trim", "tojson", "lower", "upper", "default", "join",
]
# fmt: on
_ODD = [
    *("\ufeff", "\u2028", "\u200b", "é", "\U0001f600", "\ud7ff", "ﬁ", "İ", "\x85", "\x1b[31m", "٣", "０"),
    *(
        "0",
        "-1",
        "1e309",
        "-0.0",
        "1e-400",
        "0x10",
        "1_000",
        "9223372036854775808",
        "9" * 400,
        "0." + "1" * 400,
    ),
    *("100%", "1e9%", "5min", "99999999d", "$1", "../" * 3, "/", "~", "C:\\", "nul", "%s", "{0}", "{}"),
]


def _of_the_language() -> list[str]:
    words = set(FUNCTIONS)
    for cls in CONSTRUCTORS:
        words.add(cls.constructor)
        for name, spec in schema(cls).items():
            words |= {
                name,
                *(option.text for option in options_of(spec.type) if isinstance(option, LiteralText)),
            }
    return sorted(words)


WORDS = [word.encode() for word in (*_PUNCTUATION, *_PLAIN, *_ODD, *_of_the_language())]

BYTES = [
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\x00\x00",
    b"\x1f\x8b",
    b"PAR1",
    b"\xef\xbb\xbf",
]
"""What is no text."""

OPENING = [
    b"(",
    b"[",
    b"{",
    b"[[",
    b'{"a":',
    b"-",
    b"not ",
    b"if ",
    b"- ",
    b"{% if x %}",
    b"{{ (",
    b"lambda: ",
    b"x.",
]
"""What stands inside itself when it is repeated."""

Change = Callable[[bytes, Sequence[bytes], Random], bytes]


def changed(data: bytes, pool: Sequence[bytes], random: Random) -> bytes:
    """An input like `data`, with a few changes; `pool` are others of its kind."""
    if random.random() < 0.5 and data[:1] in (b"{", b"["):
        data = _json(data, random)
    for _ in range(1 + int(random.expovariate(0.7))):
        data = random.choice(CHANGES)(data, pool, random)
    return data[:LARGEST]


def _stretch(data: bytes, random: Random) -> tuple[int, int]:
    """Bounds of a piece: mostly a short one."""
    start = random.randrange(len(data) + 1)
    length = (
        int(min(random.expovariate(1 / 12), len(data)))
        if random.random() < 0.8
        else random.randrange(len(data) + 1)
    )
    return start, min(start + length, len(data))


def _delete(data: bytes, pool: Sequence[bytes], random: Random) -> bytes:
    start, end = _stretch(data, random)
    return data[:start] + data[end:]


def _repeat(data: bytes, pool: Sequence[bytes], random: Random) -> bytes:
    start, end = _stretch(data, random)
    times = random.choice((2, 2, 3, 50))
    return data[:start] + data[start:end] * times + data[end:]


def _flip(data: bytes, pool: Sequence[bytes], random: Random) -> bytes:
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :]


def _insert(data: bytes, pool: Sequence[bytes], random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    word = random.choice(BYTES if random.random() < 0.05 else WORDS)
    return data[:at] + word + data[at:]


def _replace_word(data: bytes, pool: Sequence[bytes], random: Random) -> bytes:
    """A word by one that the same or another input has, or that the language knows."""
    places = _words(data)
    if not places:
        return _insert(data, pool, random)
    start, end = random.choice(places)
    source = random.choice((data, random.choice(pool))) if pool else data
    others = _words(source)
    if others and random.random() < 0.6:
        first, last = random.choice(others)
        return data[:start] + source[first:last] + data[end:]
    return data[:start] + random.choice(WORDS) + data[end:]


def _words(data: bytes) -> list[tuple[int, int]]:
    return [found.span() for found in re.finditer(rb"[\w.]+|\"[^\"\n]*\"|[^\w\s]", data[:LARGEST])]


def _splice(data: bytes, pool: Sequence[bytes], random: Random) -> bytes:
    """A piece of another input in the place of one of this."""
    other = random.choice(pool) if pool else data
    start, end = _stretch(data, random)
    first, last = _stretch(other, random)
    return data[:start] + other[first:last] + data[end:]


def _lines(data: bytes, pool: Sequence[bytes], random: Random) -> bytes:
    """A line left out, said twice, swapped, or from elsewhere."""
    lines = data.split(b"\n")
    at, other = random.randrange(len(lines)), random.randrange(len(lines))
    match random.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(other, lines[at])
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case _:
            lines.insert(at, random.choice((random.choice(pool) if pool else data).split(b"\n")))
    return b"\n".join(lines)


def _nest(data: bytes, pool: Sequence[bytes], random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice(OPENING) * random.choice((2, 30, 300, 3000)) + data[at:]


CHANGES: tuple[Change, ...] = (
    *(_delete, _repeat, _flip, _insert, _insert, _replace_word, _replace_word, _replace_word),
    *(_splice, _splice, _lines, _lines, _nest),
)


# --- JSON -----------------------------------------------------------------------------------------------

_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**63, -0.0, 0.5, 1e308, float("nan"), float("inf"), "", "x", "0", " "),
    *([], {}, [[]], [None], [1, "a"], {"": 0}, {"a": {"b": []}}, "\ud800", "\0", "é" * 300, 10**30, "../x"),
    *({"percent": 5}, {"percent": "x"}, {"duration": [5, "min"]}, {"duration": [1, "year"]}, {"env": 3}),
    *({"record": {"a": 1}}, {"constructor": "sft", "fields": {}}, {"constructor": "x", "fields": {}}),
]


def _json(data: bytes, random: Random) -> bytes:
    """Another value in one place, or a key or item more or less; the same bytes where they are no JSON."""
    try:
        whole = [json.loads(data)]
        places = list(_places(whole))
        for _ in range(1 + int(random.expovariate(1))):
            holder, key = random.choice(places)
            other, elsewhere = random.choice(places)
            match random.randrange(6):
                case 0 if isinstance(holder, dict):
                    holder.pop(key, None)
                case 1 if isinstance(holder, dict):
                    holder[random.choice(WORDS).decode()] = holder[key]
                case 2 if isinstance(holder, list):
                    holder.insert(key, other[elsewhere])
                case 3:
                    holder[key] = other[elsewhere]
                case 4:
                    holder[key] = random.choice((str, lambda value: [value]))(holder[key])
                case _:
                    holder[key] = random.choice(_VALUES)
        return json.dumps(whole[0], indent=random.choice((None, 1))).encode("utf-8", "surrogatepass")
    except (ValueError, LookupError, RecursionError):
        return data


def _places(value: Any) -> Any:
    """Every place inside a value: what holds it, and under which key or number."""
    for key, held in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(held, dict | list):
            yield from _places(held)

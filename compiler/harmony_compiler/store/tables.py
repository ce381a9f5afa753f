"""Tables: the rows at the beginning of a data file, in each format that needs the standard library alone.

A reader takes the first bytes of a file and gives rows with their places; what is wrong with a row is kept as
a function of the file's shown name, so that one reading serves recipes that name the file differently.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8, getincrementaldecoder
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from itertools import chain, compress
from operator import itemgetter
from pathlib import Path
from typing import Any

from harmony_compiler.store.rows import kind_of, read_line
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.records import Record
from harmony_grammar.source import Source, Span


class MalformedJson(Diagnostic):
    code, slug = "E0530", "malformed-json"
    message = "the file is not JSON: {reason}"
    label = "here"
    help = "{mend}"
    reason: str
    mend: str = "a `json` file is one array of objects"


class NotAnArray(Diagnostic):
    code, slug = "E0531", "not-an-array"
    message = "the file holds {found}, not an array of rows"
    label = "here an array should begin: `[`"
    help = "a `json` file is one array of objects"
    found: str


class ItemNotAnObject(Diagnostic):
    code, slug = "E0532", "item-not-an-object"
    message = "an item of the array is {found}, not an object"
    label = 'a row is an object: `{{"column": value}}`'
    help = "a `json` file is one array of objects"
    found: str


class MalformedCsv(Diagnostic):
    code, slug = "E0533", "malformed-csv"
    message = "{fault}"
    label = "{cause}"
    help = "{mend}"
    fault: str
    cause: str
    mend: str


class ColumnTwice(Diagnostic):
    code, slug = "E0534", "column-twice"
    message = "two columns are called `{name}`"
    label = "the names of the columns stand here"
    help = "give each column a name of its own"
    name: str


class Excerpt(Record):
    """A stretch of some lines of a file; `line` is the number of the first one."""

    text: str
    line: int
    start: int
    end: int

    def span(self, file: Path) -> Span:
        return Source(str(file), self.text, file, self.line).span(self.start, max(self.end, self.start + 1))


Fault = Callable[[Path], Diagnostic]
"""What is wrong with a row of a file that is shown under some name."""


class Table:
    """The rows at the beginning of a file."""

    def __init__(
        self,
        rows: Sequence[dict[str, Any]] = (),
        *,
        whole: bool = True,
        places: Callable[[int], Excerpt] | None = None,
        faults: Sequence[Fault] = (),
        unreadable: str = "",
        types: dict[str, str] | None = None,
        count: int | None = None,
    ) -> None:
        self.rows = rows
        self.whole = whole
        """Whether the file has no other rows."""
        self.places = places
        """Where a row stands; None where it is no text."""
        self.faults = faults
        self.unreadable = unreadable
        """Why nothing can be read."""
        self.types = types
        """Columns with their types, where the file states them."""
        self.count = len(rows) if whole else count
        """How many rows the file has; None where that was not seen."""
        self._columns: dict[str, list[Any]] = {}
        self._facts: dict[Any, Any] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns: every key of every row."""
        return tuple(dict.fromkeys(chain(self.types or (), chain.from_iterable(self.rows))))

    def column(self, name: str) -> list[Any]:
        """The values of a column; a row without it has None."""
        if name not in self._columns:
            try:
                self._columns[name] = list(map(itemgetter(name), self.rows))
            except KeyError:
                self._columns[name] = [row.get(name) for row in self.rows]
        return self._columns[name]

    def fact(self, key: Any, find: Callable[[], Any]) -> Any:
        """What was once found out about the rows, so that it is found out once."""
        if key not in self._facts:
            self._facts[key] = find()
        return self._facts[key]


def _text(data: bytes, whole: bool) -> str:
    """The text of a file's first bytes, without a character that is cut in the middle.

    Raises:
        UnicodeDecodeError: it is none.
    """
    return getincrementaldecoder("utf-8")().decode(data.removeprefix(BOM_UTF8), final=whole)


def _no_text(data: bytes, fault: UnicodeDecodeError) -> Table:
    line = data.removeprefix(BOM_UTF8).count(b"\n", 0, fault.start) + 1
    return Table(unreadable=f"line {line} is not UTF-8 text")


# --- JSON lines -----------------------------------------------------------------------------------------

_SEVERAL_IN_A_LINE = r"\}\s*,\s*\{"
_DECODE: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def json_lines(data: bytes, whole: bool) -> Table:
    """Rows of a file with one JSON object a line."""
    try:
        text = _text(data, whole)
    except UnicodeDecodeError as fault:
        return _no_text(data, fault)
    lines = text.split("\n")
    if not whole:
        lines.pop()
    if not lines or not lines[-1]:
        lines = lines[:-1]
    rows = _all_rows(lines, one_each=not re.search(_SEVERAL_IN_A_LINE, text))
    if rows is not None:
        return Table(rows, whole=whole, places=lambda row: _of_line(lines, row + 1))
    return _line_by_line(lines, whole)


def _all_rows(lines: list[str], one_each: bool) -> list[dict[str, Any]] | None:
    """The rows of lines that are one object each, as most files have it; else None.

    One array of all lines is read faster than each by itself. `one_each` says that no line can hold two
    objects: as many items as lines are then the lines.
    """
    rows: list[Any]
    try:
        if one_each:
            rows = json.loads("[" + ",\n".join(lines) + "]")
        else:
            rows = []
            for line in lines:
                row, end = _DECODE(line, 0)
                if end < len(line) and line[end:].strip():
                    return None
                rows.append(row)
    except (ValueError, StopIteration, RecursionError):
        return None
    return rows if len(rows) == len(lines) and set(map(type, rows)) <= {dict} else None


def _line_by_line(lines: list[str], whole: bool) -> Table:
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    faults: list[Fault] = []
    nowhere = Path()
    for number, line in enumerate(lines, start=1):
        row = read_line(nowhere, number, line)
        if isinstance(row, Diagnostic):
            faults.append(partial(_fault_of_line, number, line))
        elif row is not None:
            rows.append(row)
            numbers.append(number)
    return Table(rows, whole=whole, faults=faults, places=lambda row: _of_line(lines, numbers[row]))


def _fault_of_line(number: int, line: str, file: Path) -> Diagnostic:
    fault = read_line(file, number, line)
    assert isinstance(fault, Diagnostic)
    return fault


def _of_line(lines: list[str], number: int) -> Excerpt:
    text = lines[number - 1].rstrip("\r\n")
    return Excerpt(text, number, 0, len(text))


# --- JSON -----------------------------------------------------------------------------------------------

_BLANK = re.compile(r"[ \t\n\r]*")
EXTRA = "Extra data"
"""What Python's reader says where a second value follows the first."""


def json_array(data: bytes, whole: bool) -> Table:
    """Rows of a file that is one JSON array of objects."""
    try:
        text = _text(data, whole)
    except UnicodeDecodeError as fault:
        return _no_text(data, fault)
    if not text.strip():
        return Table(whole=whole)
    read: Any
    try:
        read = json.loads(text) if whole else [item for item, _ in _items(text)]
    except json.JSONDecodeError as fault:
        return Table(faults=[partial(_malformed, text, fault.pos, fault.msg)])
    except ValueError:  # valid, but Python holds no integer of so many digits
        return Table(faults=[partial(_malformed, text, 0, "it holds too long a number")])
    except RecursionError:
        return Table(faults=[partial(_malformed, text, 0, "it is nested too deeply")])
    start = behind_blanks(text, 0)
    if not isinstance(read, list) or text[start] != "[":
        found = kind_of(read) if whole else "one value after another"
        begin = line_at(text, start, one=True)
        return Table(faults=[lambda file: NotAnArray(span=begin.span(file), found=found)])
    bad = [number for number, item in enumerate(read) if type(item) is not dict]
    good = [type(item) is dict for item in read]
    numbers = list(compress(range(len(read)), good)) if bad else range(len(read))
    starts: list[int] = []

    def place(number: int) -> Excerpt:
        if not starts:
            starts.extend(at for _, at in _items(text))
        return line_at(text, starts[number])

    def not_an_object(number: int, file: Path) -> Diagnostic:
        return ItemNotAnObject(span=place(number).span(file), found=kind_of(read[number]))

    return Table(
        list(compress(read, good)) if bad else read,
        whole=whole,
        faults=[partial(not_an_object, number) for number in bad],
        places=lambda row: place(numbers[row]),
    )


def _items(text: str) -> Iterator[tuple[Any, int]]:
    """The items of the array at the beginning of a text with their places, as far as they are whole."""
    at = behind_blanks(text, 0) + 1
    while True:
        at = behind_blanks(text, at)
        try:
            item, end = _DECODE(text, at)
        except (ValueError, StopIteration, RecursionError):
            return
        behind = behind_blanks(text, end)
        if text[behind : behind + 1] not in (",", "]"):
            return  # `12` may be the beginning of `123`
        yield item, at
        if text[behind] == "]":
            return
        at = behind + 1


def behind_blanks(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _malformed(text: str, position: int, reason: str, file: Path) -> Diagnostic:
    place = line_at(text, min(position, max(len(text.rstrip()) - 1, 0)), one=True)
    return malformed(place, reason, text.lstrip()[:1], file)


def malformed(place: Excerpt, reason: str, first: str, file: Path) -> Diagnostic:
    """What is wrong at a place of a JSON file that begins with the character `first`."""
    said = reason[:1].lower() + reason[1:]
    if reason == EXTRA and first == "{":
        said, mend = "a second value follows the first", "a file with one object a line is read by `jsonl(…)`"
        return MalformedJson(span=place.span(file), reason=said, mend=mend)
    return MalformedJson(span=place.span(file), reason=said)


def line_at(text: str, position: int, one: bool = False) -> Excerpt:
    """A place in a text, to the end of its line or of one character."""
    first = text.rfind("\n", 0, position) + 1
    last = text.find("\n", position)
    line = text[first : last if last >= 0 else len(text)].rstrip("\r")
    start = position - first
    return Excerpt(line, text.count("\n", 0, first) + 1, start, start + 1 if one else len(line))


# --- CSV ------------------------------------------------------------------------------------------------


def csv_rows(data: bytes, whole: bool) -> Table:
    """Rows of values separated by commas; the first line names the columns, and every value is a text."""
    import csv  # few recipes have such a file
    from io import StringIO

    try:
        text = _text(data, whole)
    except UnicodeDecodeError as fault:
        return _no_text(data, fault)
    before = csv.field_size_limit(max(len(text), 1))
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    records: list[tuple[list[str], int]] = []
    broken: Fault | None = None
    line = 1
    try:
        for record in reader:
            if record:
                records.append((record, line))
            line = reader.line_num + 1
    except csv.Error as fault:
        if whole:
            broken = partial(broken_csv, _numbered(text, line), str(fault))
    else:
        if not whole and records:
            records.pop()  # it may be cut
    finally:
        csv.field_size_limit(before)
    if not records:
        return Table(whole=whole, faults=[broken] if broken else [])
    (header, first), *rest = records
    twice = next((name for number, name in enumerate(header) if name in header[:number]), None)
    if twice is not None:
        place = _numbered(text, first)
        return Table(faults=[lambda file: ColumnTwice(span=place.span(file), name=twice)])
    good = [(record, number) for record, number in rest if len(record) == len(header)]
    faults: list[Fault] = [
        partial(other_length, _numbered(text, number), len(record), len(header))
        for record, number in rest
        if len(record) != len(header)
    ]
    return Table(
        [dict(zip(header, record, strict=True)) for record, _ in good],
        whole=whole and broken is None,
        faults=[*faults, broken] if broken else faults,
        places=lambda row: _numbered(text, good[row][1]),
        types=dict.fromkeys(header, "str"),
    )


def _numbered(text: str, number: int) -> Excerpt:
    """A line as the reader counts them, which takes a lone carriage return for the end of one too."""
    line = re.split(r"\r\n|\r|\n", text, maxsplit=number)[number - 1]
    return Excerpt(line, number, 0, len(line))


def broken_csv(place: Excerpt, reason: str, file: Path) -> Diagnostic:
    fault = f"the file is no CSV: {reason.replace(chr(39), '`')}"
    cause, mend = "in the row that begins here", 'a `"` inside a quoted value is written `""`'
    return MalformedCsv(span=place.span(file), fault=fault, cause=cause, mend=mend)


def other_length(place: Excerpt, found: int, expected: int, file: Path) -> Diagnostic:
    span = place.span(file)
    fault = f"the row has {_counted(found, 'value')}, and the file {_counted(expected, 'column')}"
    if found > expected:
        mend = "a value with a comma in it stands in quotes"
        return MalformedCsv(span=span, fault=fault, cause="too many", mend=mend)
    return MalformedCsv(span=span, fault=fault, cause="too few", mend="an empty value needs its comma too")


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


# --- compressed files -----------------------------------------------------------------------------------


def unzipped(data: bytes, limit: int) -> tuple[bytes, bool]:
    """The first `limit` bytes of what a file's first bytes hold, and whether they are all of it.

    Raises:
        ValueError: the file is damaged.
    """
    import zlib

    found = b""
    while data and len(found) < limit:
        reader = zlib.decompressobj(wbits=31)
        try:
            found += reader.decompress(data, limit - len(found))
        except zlib.error as fault:
            raise ValueError("it cannot be decompressed") from fault
        if not reader.eof:
            return found, False
        data = reader.unused_data
    return found, not data

"""Masking: what no finding shows of a text, although it shows the line.

A credential in an address, a text behind `api_key =` and its like, and whatever looks like a key of one of
the large services. Only the shown line is masked: the text of a `Source` stays as it is, and so do all places
in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

MASK = "•"

_USER = r"://[^/\s\"'@:]*:(?P<password>[^/\s\"'@]+)@"
_LONE_USER = r"://(?P<user>[^/\s\"'@:]{16,})@"
_NAMES = r"api[_-]?key|key|(?:access[_-]?|auth[_-]?)?token|pass(?:word|wd)?|pwd|secret|sig(?:nature)?"
_PARAMETER = rf"[?&](?:{_NAMES})=(?P<parameter>[^&#\s\"']+)"
_KEY = r"\b(?P<key>(?:sk|hf|gh[opsu]|xox[abp]|glpat)[-_][A-Za-z0-9_-]{16,})"
_SECRETS = r"api_?key|(?:access_|auth_|hf_)?token|access_key|passw(?:or)?d|secret|authorization"
_FIELD = rf"\b(?:{_SECRETS})\"?\s*=\s*\"(?P<field>(?!\{{\{{)[^\"{{]+)\""
_CREDENTIAL = "(?i)" + "|".join((_USER, _LONE_USER, _PARAMETER, _KEY, _FIELD))
"""Compiled where the first line is shown, and not when a check starts."""


def credentials(text: str) -> Iterator[tuple[int, int, bool]]:
    """Where credentials stand in a text, and whether each names the user of an address."""
    for found in re.finditer(_CREDENTIAL, text):
        assert found.lastgroup is not None
        start, end = found.span(found.lastgroup)
        yield start, end, found.lastgroup in ("password", "user")


def masked(line: str, places: Iterable[tuple[int, int]] = ()) -> str:
    """A line without its credentials and without what stands at `places`; as long as before."""
    found = ((start, end) for start, end, _ in credentials(line))
    for first, last in (*found, *places):
        start, end = max(first, 0), min(last, len(line))
        if start < end:
            line = line[:start] + MASK * (end - start) + line[end:]
    return line

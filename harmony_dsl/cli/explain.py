"""`harmonyc explain`: the page of a finding, or the reference of a name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harmony_dsl.cli.output import Refused, did_you_mean, say
from harmony_dsl.cli.parser import Parser

if TYPE_CHECKING:
    from harmony_compiler.explain.pages import Given

SUMMARY = "tell about a finding by its code, or about a name of the language"

_WIDTH = 100
_CODE = re.compile(r"\b([EWN]\d{4})\b", re.IGNORECASE)


def configure(parser: Parser) -> None:
    parser.usage = "harmonyc explain [CODE | NAME]"
    parser.add_argument(
        "words",
        metavar="CODE | NAME",
        nargs="*",
        help="a finding, such as `E0502` or `unknown-column`; or a name, such as `grpo`, `clamp`, `lr` or "
        "`grpo.lr`; without one: all that there is",
    )


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    asked = " ".join(parser.read(arguments).words).strip("`[]:")
    say(_told(asked) if asked else _index())
    return 0


def _told(asked: str) -> str:
    from harmony_compiler.explain.pages import given_out

    given = given_out()
    if code := _CODE.search(asked):
        return _finding(code[1].upper(), given)
    slug = asked.lower().replace(" ", "-")
    for entry in given.values():
        if entry.slug == slug:
            return _finding(entry.code, given)
    from harmony_compiler.explain.reference import names
    from harmony_compiler.explain.terminal import told, told_of_field

    text = told(asked) or told(asked.lower()) or told_of_field(asked)
    if text is not None:
        return text
    known = (*given, *(entry.slug for entry in given.values()))
    known += tuple(word for group, members in names().items() for word in (group, *members))
    raise Refused(
        f"there is nothing called `{asked}`{did_you_mean(asked, known) or '.'} "
        "`harmonyc explain` alone lists what there is."
    )


def _finding(code: str, given: dict[str, Given]) -> str:
    from harmony_compiler.explain.pages import page, page_text

    entry = given.get(code)
    if entry is None:
        near = did_you_mean(code, tuple(given))
        raise Refused(
            f"no finding has the code `{code}`{near or '.'} `harmonyc explain` alone lists them all."
        )
    if entry.retired:
        return (
            f"{entry.code} {entry.slug}\n\n"
            "This code is retired: an earlier version gave it out, this one does not, and none will use it\n"
            "for anything else."
        )
    shown = page(code)
    if shown is None:
        raise Refused(f"`{code} {entry.slug}` has no page in this installation")
    return page_text(shown)


def _index() -> str:
    """All codes by family, and all names by what they make."""
    from textwrap import wrap

    from harmony_compiler.explain.pages import FAMILIES, given_out
    from harmony_compiler.explain.reference import names

    entries = [entry for entry in given_out().values() if not entry.retired]
    lines = ["harmonyc explain CODE"]
    for start, about in FAMILIES.items():
        shown = [f"{entry.code} {entry.slug}" for entry in entries if entry.code.startswith(start)]
        if shown:
            lines += ["", f"  {about}", *_in_columns(shown)]
    lines += ["", "harmonyc explain NAME", ""]
    grouped = names()
    width = max(len(group) for group in grouped)
    for group, members in grouped.items():
        margin = " " * (width + 4)
        folded = wrap(" ".join(members), _WIDTH, initial_indent=margin, subsequent_indent=margin)
        lines += [f"  {group:{width}}  {folded[0].lstrip()}", *folded[1:]]
    return "\n".join(lines)


def _in_columns(words: Sequence[str]) -> list[str]:
    """Words side by side, as many as a line holds."""
    width = 32
    beside = (_WIDTH - 4) // width
    rows = [words[at : at + beside] for at in range(0, len(words), beside)]
    return ["    " + "".join(f"{word:{width}}" for word in row).rstrip() for row in rows]

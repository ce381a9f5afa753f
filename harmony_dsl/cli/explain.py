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
_CODE = re.compile(r"\b([EWN])(\d{3,4})\b", re.IGNORECASE)
_HEADING = re.compile(r"(?:error|warning|note)?\[([^\[\]]*)\]")
"""How a finding begins."""

_ARGUMENTS = re.compile(r"\s*[\[({].*", re.DOTALL)
"""What a name is given: `Dataset[Prompt]`, `env("KEY")`, `lora { }`."""


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
    asked = " ".join(parser.read(arguments).words).strip("`: ")
    say(_told(asked) if asked else _index())
    return 0


def _told(asked: str) -> str:
    from harmony_compiler.explain.pages import given_out

    given = given_out()
    if heading := _HEADING.fullmatch(asked):
        asked = heading[1]
    if code := _CODE.search(asked):
        return _finding(f"{code[1].upper()}{code[2]:0>4}", given)
    slug = asked.lower().replace(" ", "-")
    for entry in given.values():
        if entry.slug == slug:
            return _finding(entry.code, given)
    from harmony_compiler.explain.terminal import told, told_of_field, told_of_member

    for word in dict.fromkeys((asked, asked.lower(), name := _ARGUMENTS.sub("", asked), name.lower())):
        if text := told(word) or told_of_field(word) or told_of_member(word):
            return text
    raise Refused(_nothing(asked, given))


def _nothing(asked: str, given: dict[str, Given]) -> str:
    """That there is nothing of this name, and what is near: of `grpo.lrr` only what `grpo` has."""
    from harmony_compiler.explain.reference import entries, names, owners

    owner, _, field = asked.lower().rpartition(".")
    found = entries(owner)
    having = [told.name for entry in found for told in entry.fields]
    having += [name for entry in found for name, _, _ in entry.members]
    if having:
        near = did_you_mean(field, tuple(having)).replace("`", f"`{owner}.", 1) or "."
        return f"there is nothing called `{asked}`{near} `harmonyc explain {owner}` lists what it has."
    known: tuple[str, ...] = (*given, *(entry.slug for entry in given.values()))
    known += tuple(word for group, members in names().items() for word in (group, *members))
    near = f"; did you mean `{field}`?" if owners(field) else did_you_mean(asked, known) or "."
    return f"there is nothing called `{asked}`{near} `harmonyc explain` alone lists what there is."


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
    from harmony_compiler.explain.words import RESERVED

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
    margin = " " * (width + 4)
    reserved = " ".join(word for word in RESERVED if word.isalpha())
    lines += wrap(f"  {'reserved':{width}}  {reserved}", _WIDTH, subsequent_indent=margin)
    return "\n".join(lines)


def _in_columns(words: Sequence[str]) -> list[str]:
    """Words side by side, as many as a line holds."""
    width = 32
    beside = (_WIDTH - 4) // width
    rows = [words[at : at + beside] for at in range(0, len(words), beside)]
    return ["    " + "".join(f"{word:{width}}" for word in row).rstrip() for row in rows]

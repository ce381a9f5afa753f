"""The pages of findings, and the ledger of their codes.

A page is a small file of Markdown, `pages/E0502.md`: a heading with code and slug, the rule in prose, and,
where a recipe can show it, the sections `## Breaks it` and `## Keeps it`. Their fences are

    ```recipe                   the recipe of the section, as `harmonyc check` sees it
    ```recipe --set lr=2        with these options
    ```recipe grade right       or as another command sees it
    ```jsonl rows.jsonl         a file that lies beside the recipe

Every recipe is compiled by the tests, so that no page says what is not so. `ledger.txt` is the file of
record: every code that was ever given out, with its slug. A code whose rule is gone stays there, `retired`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from harmony_grammar.records import Record

HERE = Path(__file__).parent
PAGES = HERE / "pages"
LEDGER = HERE / "ledger.txt"

BREAKS, KEEPS = "Breaks it", "Keeps it"

FAMILIES = {
    "E01": "the form of the text",
    "E02": "names",
    "E03": "types",
    "E04": "fields, their values, and inputs",
    "E05": "files, rows and templates",
    "E06": "what the recipe as a whole asks for",
    "E07": "room in models and machines",
    "E90": "our own failures",
    "W": "warnings: it runs, and is probably not what was meant",
    "N": "notes",
}
"""What the codes of a family are about, by what they begin with."""

_FENCE = re.compile(r"^```(\w+)(.*)\n((?:.*\n)*?)```$", re.MULTILINE)


class Given(Record):
    """A code that was given out."""

    code: str
    slug: str
    retired: bool = False


class Example(Record):
    """A recipe of a page, with the words behind `harmonyc` that show what the page says."""

    recipe: str
    command: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    """Names and texts of the files that lie beside it."""


class Page(Record):
    code: str
    slug: str
    text: str
    """The whole page, as Markdown."""

    @property
    def prose(self) -> str:
        """The rule in words, without the heading and the recipes."""
        return self.text.partition("\n")[2].partition("\n## ")[0].strip("\n")

    @property
    def first_sentence(self) -> str:
        """What the page says first, on one line."""
        paragraph = " ".join(self.prose.partition("\n\n")[0].split())
        # A full stop within `…` ends no sentence.
        found = re.match(r"(?:`[^`]*`|[^`])*?[.!?](?=\s|$)", paragraph)
        return found[0] if found else paragraph

    def example(self, section: str) -> Example | None:
        """The recipe of a section, if the page has one."""
        import shlex

        _, heading, body = self.text.partition(f"\n## {section}\n")
        if not heading:
            return None
        recipe, command, files = "", "check", []
        for language, said, content in _FENCE.findall(body.partition("\n## ")[0]):
            if _names_a_file(language, said):
                files.append((said.strip(), content))
            else:
                recipe, command = content, _command(said)
        return Example(recipe, tuple(shlex.split(command)), tuple(files))


def _names_a_file(language: str, said: str) -> bool:
    return bool(said.strip()) and (language != "recipe" or said.endswith(".recipe"))


def _command(said: str) -> str:
    """What is typed behind `harmonyc`, the recipe aside; options alone are those of `check`."""
    options = said.strip()
    return options if options and not options.startswith("-") else f"check {options}".rstrip()


def given_out() -> dict[str, Given]:
    """The ledger: every code by itself, in order."""
    lines = (line.split() for line in LEDGER.read_text(encoding="utf-8").splitlines())
    entries = (Given(code, slug, bool(rest)) for code, slug, *rest in (line for line in lines if line))
    return {entry.code: entry for entry in entries}


def page(code: str) -> Page | None:
    """The page of a code, if there is one."""
    file = PAGES / f"{code}.md"
    if not file.is_file():
        return None
    text = file.read_text(encoding="utf-8")
    heading = text.partition("\n")[0].removeprefix("# ")
    return Page(code, heading.partition(" ")[2], text)


def page_text(page: Page) -> str:
    """A page as people read it on a terminal."""
    text = _FENCE.sub(lambda fence: "\n".join(_shown(*fence.groups())), page.text)
    return re.sub(r"^#+ ", "", text, flags=re.MULTILINE).rstrip("\n")


def _shown(language: str, said: str, content: str) -> Iterator[str]:
    """A fence: what lies beside and what is typed stand above it."""
    if _names_a_file(language, said):
        yield f"  {said.strip()}:"
    elif said.strip():
        command, _, options = _command(said).partition(" ")
        yield f"  $ harmonyc {command} FILE {options}".rstrip()
    for line in content.splitlines():
        yield f"    {line}" if line else ""

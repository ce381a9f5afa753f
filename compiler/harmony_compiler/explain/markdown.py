"""The reference as pages of Markdown: `python -m harmony_compiler.explain.markdown docs/reference`.

One page a family of names, one of all findings, and one that leads to them. A test holds the written pages
to what comes out here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from harmony_compiler.explain.examples import example_of, text_of
from harmony_compiler.explain.pages import FAMILIES, given_out, page
from harmony_compiler.explain.reference import DECLARING, ROLES, Entry, FieldTold, entries_in, listed, names

FAMILY: Mapping[str, tuple[str, str]] = {
    "model": ("models", "Models"),
    "dataset": ("datasets", "Datasets"),
    "grader": ("graders", "Graders"),
    "functions": ("functions", "Functions"),
    "train": ("algorithms", "Algorithms"),
    "evaluate": ("evaluations", "Evaluations"),
    "settings": ("settings", "Settings"),
    "declarations": ("declarations", "Declarations"),
    "names": ("names", "Names"),
    "types": ("types", "Types"),
}
"""By group of names its page, and the heading there."""

_WRITTEN = (
    "`make reference` writes this page from what the compiler itself reads; `harmonyc explain {}` tells the "
    "same on a terminal."
)
_FROM_HERE = "../../compiler/harmony_compiler/explain"


def reference_pages() -> dict[str, str]:
    """The text of every page by the name of its file."""
    pages = {f"{file}.md": _page(group, heading) for group, (file, heading) in FAMILY.items()}
    return {"README.md": _index(), **pages, "findings.md": _findings()}


def _index() -> str:
    lines = ["# Reference", "", _WRITTEN.format("NAME"), ""]
    lines += [
        f"The examples are whole recipes, and check. They lie [here]({_FROM_HERE}/examples), beside the data "
        "that they read.",
        "",
        "| page | names |",
        "| --- | --- |",
    ]
    for group, (file, heading) in FAMILY.items():
        words = (*DECLARING, *names()[group]) if group == "declarations" else names()[group]
        links = " ".join(f"[{name}]({file}.md#{name.lower()})" for name in words)
        lines.append(f"| [{heading}]({file}.md) | {links} |")
    lines.append("| [Findings](findings.md) | every code |")
    return _joined(lines)


def _page(group: str, heading: str) -> str:
    lines = [f"# {heading}", "", _WRITTEN.format(group), ""]
    sections = [(entry.name, entry.group, _entry(entry)) for entry in entries_in(group)]
    if group == "declarations":
        sections = [*((word, word, _declaring(word)) for word in DECLARING), *sections]
    shown: dict[str, str] = {}
    for name, of, told in sections:
        lines += told
        example = example_of(of, name)
        if example in shown:
            lines += [f"An example stands under [{shown[example]}](#{shown[example].lower()}).", ""]
        else:
            shown[example] = name
            lines += _block("recipe", text_of(example))
    return _joined(lines)


def _declaring(word: str) -> Iterator[str]:
    """A word that declares what has a page of its own."""
    file, _ = FAMILY[word]
    made = listed([f"[`{name}`]({file}.md#{name})" for name in names()[word]], "or")
    yield from (
        f"## {word}",
        "",
        *_block("text", f"{word} NAME = value"),
        f"The value is made by {made}.",
        "",
    )


def _entry(entry: Entry) -> Iterator[str]:
    yield from (f"## {entry.name}", "", _sentence(entry.about), "")
    if entry.form:
        yield from _block("text", entry.form)
    for fact in entry.facts:
        yield from (_sentence(_linked(fact)), "")
    if entry.formula:
        yield from _block("text", entry.formula)
    if entry.fields:
        yield from ("| field | type | default | |", "| --- | --- | --- | --- |")
        yield from map(_row, entry.fields)
        yield ""
    if entry.members:
        yield from ("| member | type | |", "| --- | --- | --- |")
        yield from (f"| `{name}` | `{type_}` | {said} |" for name, type_, said in entry.members)
        yield ""
    for text in entry.between:
        yield from (text, "")
    for heading, warns in (("Errors:", False), ("Warnings:", True)):
        rules = [rule for rule in entry.rules if rule.warns == warns]
        if rules:
            yield from (heading, "")
            yield from (f"- {rule.message}{f': {rule.help}' if rule.help else ''}" for rule in rules)
            yield ""
    roles = {told.role for told in entry.fields}
    for role, said in ROLES.items():
        if role in roles:
            yield from (f"*{role}*{said.removeprefix(role)}.", "")


def _row(told: FieldTold) -> str:
    default = f"`{told.default}`" if told.default else "required"
    such = f"; such as {listed([f'`{one}`' for one in told.examples], 'or')}" if told.examples else ""
    return f"| `{told.name}` | {_type(told.type)} | {_cell(default)} | {_cell(told.said + such)} |"


def _type(text: str) -> str:
    """A type as code, each option a link where it has a place of its own."""
    return " \\| ".join(map(_option, _options(text)))


def _options(text: str) -> list[str]:
    """The options of a union; one of them may hold another union in brackets."""
    options: list[str] = []
    for part in text.split(" | "):
        if options and _depth(options[-1]):
            options[-1] += f" | {part}"
        else:
            options.append(part)
    return options


def _depth(text: str) -> int:
    """How many brackets are open at the end of a type."""
    bare = re.sub(r'"[^"]*"', "", text)
    return sum(bare.count(sign) for sign in "[{(") - sum(bare.count(sign) for sign in ")}]")


def _option(option: str) -> str:
    code = _cell(f"`{option}`")
    if '"' in option:
        return code
    for word in reversed(re.findall(r"\w+", option)):
        if word in names()["settings"]:
            return f"[{code}](settings.md#{word})"
        if word in names()["types"] and word[0].isupper():
            return f"[{code}](types.md#{word.lower()})"
    return code


def _linked(text: str) -> str:
    """A text whose names lead to where they are told of, where they have one meaning only."""
    places: dict[str, list[str]] = {}
    for group, (file, _) in FAMILY.items():
        for name in names()[group]:
            places.setdefault(name, []).append(f"{file}.md#{name.lower()}")

    def link(found: re.Match[str]) -> str:
        leading = places.get(found[1], [])
        return f"[{found[0]}]({leading[0]})" if len(leading) == 1 else found[0]

    return re.sub(r"`(\w+)`", link, text)


def _findings() -> str:
    given = given_out().values()
    lines = ["# Findings", "", _WRITTEN.format("CODE"), ""]
    for start, about in FAMILIES.items():
        lines += [f"## {about[:1].upper()}{about[1:]}", "", "| code | | |", "| --- | --- | --- |"]
        for entry in given:
            if entry.code.startswith(start) and not entry.retired:
                link = f"[{entry.code}]({_FROM_HERE}/pages/{entry.code}.md)"
                lines.append(f"| {link} | {entry.slug} | {_cell(_rule(entry.code))} |")
        lines.append("")
    retired = [f"`{entry.code} {entry.slug}`" for entry in given if entry.retired]
    if retired:
        lines += [f"Retired, and never used again: {listed(retired)}.", ""]
    return _joined(lines)


def _rule(code: str) -> str:
    shown = page(code)
    return shown.first_sentence if shown else ""


def _block(language: str, text: str) -> Iterator[str]:
    yield from (f"```{language}", *text.strip("\n").splitlines(), "```", "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _sentence(text: str) -> str:
    """Docstrings are sentences, and what is said of functions and facts becomes one."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m harmony_compiler.explain.markdown FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in reference_pages().items():
        (folder / name).write_text(text, encoding="utf-8")

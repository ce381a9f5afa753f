"""The reference as people read it on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap

from harmony_compiler.explain.examples import example_of, text_of
from harmony_compiler.explain.reference import (
    DECLARING,
    ROLES,
    Entry,
    FieldTold,
    RuleTold,
    entries,
    entries_in,
    listed,
    names,
    owners,
)
from harmony_compiler.explain.words import RESERVED

WIDTH = 100


def told(name: str) -> str | None:
    """All that a name of the language means, or what a group of names has; None where it means nothing."""
    if name in RESERVED:
        return "\n".join((f"{name}: a reserved word", "", *_folded(RESERVED[name])))
    if name in names():
        return "\n".join((*_group(name), *_field_too(name)))
    lines: list[str] = []
    found = entries(name)
    shown = [example_of(entry.group, entry.name) for entry in found]
    for at, entry in enumerate(found):
        lines += [*([""] if lines else []), *_entry(entry)]
        # What one example shows of several meanings stands below the last of them.
        if shown[at] not in shown[at + 1 :]:
            lines += _example(shown[at])
    return "\n".join((*lines, *_field_too(name))) if lines else None


def _field_too(name: str) -> Iterator[str]:
    """Where else to look for a name that is a field as well."""
    if having := tuple(dict.fromkeys(owner.name for owner in owners(name))):
        those = listed([f"`{owner}`" for owner in having])
        yield from ("", *_folded(f"`{name}` is a field of {those}, too."))
        yield f"`harmonyc explain {having[0]}.{name}` tells more."


def told_of_member(member: str) -> str | None:
    """What stands behind the dot of a name: `ctx.world_size`. None where nothing has it."""
    owner, _, name = member.rpartition(".")
    lines: list[str] = []
    for entry in (entry for entry in entries_in("names") if owner in ("", entry.name)):
        for known, type_, said in entry.members:
            if known == name:
                lines += [f"{name}: a member of `{entry.name}`", "", f"  {type_}", *_folded(said, "  ")]
                lines += ["", f"`harmonyc explain {entry.name}` tells more."]
    return "\n".join(lines) or None


def told_of_field(field: str) -> str | None:
    """What a field means in all that has it, or in one: `lr`, `grpo.lr`. None where nothing has it."""
    owner, _, name = field.rpartition(".")
    having = owners(field)
    meanings: dict[FieldTold, dict[str, None]] = {}
    for entry in having:
        meaning = next(told for told in entry.fields if told.name == name)
        meanings.setdefault(meaning, {})[f"`{entry.name}`"] = None
    if not meanings:
        return None
    lines = [f"{name}: a field{f' of `{owner}`' if owner else ''}"]
    for meaning, those in meanings.items():
        lines += ["", *([] if owner else _folded(f"of {listed(tuple(those))}", "  "))]
        lines += [line for text in _said(meaning) for line in _folded(text, "  " if owner else "    ")]
    for entry in having if owner else ():
        lines += _rules(rule for rule in entry.rules if name in rule.fields)
    more = owner or f"{having[0].name}.{name}"
    return "\n".join([*lines, "", f"`harmonyc explain {more}` tells more."])


def _group(word: str) -> Iterator[str]:
    members = entries_in(word)
    width = max(len(entry.name) for entry in members)
    yield from (f"{word}: what `{word} NAME = …` can make" if word in DECLARING else word, "")
    for entry in members:
        yield from _item(entry.name, width, [entry.summary])
    if word in DECLARING:
        yield from _example(example_of(word, word))


def _entry(entry: Entry) -> Iterator[str]:
    yield from (f"{entry.name}: {entry.kind}", "", *_folded(entry.about))
    if entry.form:
        yield from ("", f"  {entry.form}")
    # A function has none but what its arguments may be, which is a sentence.
    yield from ("",) if entry.facts and entry.group == "functions" else ()
    for fact in entry.facts:
        yield from _folded(fact, "" if entry.group == "functions" else "  ")
    yield from _formula(entry.formula)
    items = [(told.name, list(_said(told))) for told in entry.fields]
    items += [(name, [type_, said]) for name, type_, said in entry.members]
    if items:
        yield from ("", "members" if entry.members else "fields")
        for name, said in items:
            yield from _item(name, max(len(name) for name, _ in items), said)
    yield from ("",) if entry.between else ()
    for text in entry.between:
        yield from _folded(text)
    yield from _rules(entry.rules)
    roles = {told.role for told in entry.fields}
    legend = [said for role, said in ROLES.items() if role in roles]
    yield from ("", *legend) if legend else ()


def _formula(formula: str) -> Iterator[str]:
    """What is computed, as the class has it; its prose is folded."""
    if formula:
        yield from ("", "formula")
    for line in formula.splitlines():
        yield from _folded(line, "  ") if len(line) > WIDTH - 2 else [f"  {line}".rstrip()]


def _said(told: FieldTold) -> Iterator[str]:
    """What is said about a field, its type first."""
    yield f"{told.type} = {told.default}" if told.default else f"{told.type}, required"
    yield told.said
    if told.examples:
        yield f"such as {listed(told.examples, 'or')}"


def _rules(rules: Iterable[RuleTold]) -> Iterator[str]:
    rules = tuple(rules)
    for heading, warns in (("errors", False), ("warnings", True)):
        said = [rule for rule in rules if rule.warns == warns]
        yield from ("", heading) if said else ()
        for rule in said:
            yield from _folded(rule.message, "  - ", "    ")
            yield from _folded(rule.help, "    ") if rule.help else ()


def _example(example: str) -> Iterator[str]:
    yield from ("", "example")
    yield from (f"  {line}".rstrip() for line in text_of(example).splitlines())


def _item(name: str, width: int, said: Sequence[str]) -> list[str]:
    """A name, and beside it what is said about it, each text from a line of its own."""
    margin = " " * (width + 4)
    lines = [line for text in said for line in _folded(text, margin)]
    return [f"  {name:{width}}  {lines[0].lstrip()}", *lines[1:]]


def _folded(text: str, first: str = "", rest: str | None = None) -> list[str]:
    further = first if rest is None else rest
    return wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )

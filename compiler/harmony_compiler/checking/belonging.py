"""Fields that a constructor does not have: what they were meant to be, or where they belong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from harmony_compiler.checking.habits import advice_on, also_called
from harmony_compiler.findings.fields import FixedField, UnknownField
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.catalogue import ALGORITHMS, CONSTRUCTORS, class_of
from harmony_compiler.graph.datasets import Rows
from harmony_compiler.graph.graders import Combination, Formula, Grader
from harmony_compiler.graph.models import LoadSettings, Reloaded
from harmony_compiler.graph.node import Constructor, FieldSpec, Settings, schema
from harmony_compiler.graph.types import GRADER, MODEL, DatasetType, SettingsType, Type, options_of
from harmony_compiler.naming.near import nearest
from harmony_compiler.typed import Value
from harmony_grammar import syntax
from harmony_grammar.diagnostics import Diagnostic, Edit, Fix, meant
from harmony_grammar.layout import put_in, taken_out
from harmony_grammar.records import Record

Specs = Mapping[str, FieldSpec]


class Mend(Record):
    """What to do about a field. `home` is the field of this constructor that it was meant to be or belongs
    into, "" if there is none."""

    home: str
    words: str
    fixes: tuple[Fix, ...] = ()


class Block(Record):
    """The place of an unknown field: the constructor, its fields, all that is written beside it."""

    cls: type[Constructor]
    specs: Specs
    fields: Sequence[syntax.Field]

    def written(self, name: str) -> syntax.Field | None:
        return next((field for field in self.fields if field.key.text == name), None)


def unknown_field(block: Block, field: syntax.Field, of: Value | None) -> tuple[Diagnostic, Mend | None]:
    """The finding about a field that the constructor does not have. `of` is the value that is copied."""
    key, what = field.key, _called(block.cls, of)
    if of is not None and of.type == MODEL:
        made = of.data
        while made.cls is Reloaded:
            made = made.given["source"].data
        if key.text in schema(made.cls):
            trained = issubclass(made.cls, Algorithm)
            mend = (
                "write a second `train` for other numbers" if trained else "write it where the model is made"
            )
            known = _known(block.specs)
            finding = FixedField(span=key.span, key=key.text, what=what, known=known, mend=mend)
            return finding, None
    found = next(_mends(block, field), None)
    words, fixes = (found.words, found.fixes) if found else ("", ())
    known = "" if found else _known(block.specs)
    finding_ = UnknownField(span=key.span, what=what, key=key.text, known=known, mend=words, fixes=fixes)
    return finding_, found


def _known(specs: Specs) -> str:
    return ", ".join(sorted(specs, key=lambda name: not specs[name].required))


def _called(cls: type[Constructor], of: Value | None) -> str:
    """What the fields of a block belong to, in words."""
    if cls in (Formula, Combination):
        return "a formula"
    if of is None or of.type != MODEL:
        return f"`{cls.constructor}`"
    return "a trained model" if issubclass(of.data.cls, Algorithm | Reloaded) else "an existing model"


def _mends(block: Block, field: syntax.Field) -> Iterator[Mend]:
    """What may help, the likeliest first."""
    key, specs = field.key, block.specs
    for name in (key.text, *also_called(key.text)):
        if own := _own_name(block.cls, name, specs):
            yield _renamed(block, field, own, f"`{block.cls.constructor}` calls it `{own}`")
        elif name in specs:
            yield _renamed(block, field, name, f"here it is called `{name}`")
        yield from _in_settings(block, name)
        yield from _around(block, name)
        yield from _in_a_part(block, name)
    if advice := advice_on(key.text, specs):
        home = next(iter(advice.fields), "")
        fixes = meant(key.span, home) if advice.renames and not block.written(home) else ()
        yield Mend(home, advice.words, fixes)
    missing = [name for name in specs if not block.written(name)]
    near = nearest(key.text, missing)
    if near.name:
        yield Mend(near.name, f"did you mean `{near.name}`?", near.fixes(key.span, closed=True))
    if issubclass(block.cls, Algorithm):
        others = [f"`{sibling.constructor}`" for sibling in ALGORITHMS if key.text in schema(sibling)]
        if others:
            yield Mend("", f"it is a field of {' and '.join(others)}")


def _renamed(block: Block, field: syntax.Field, name: str, words: str) -> Mend:
    fixes = () if block.written(name) else meant(field.key.span, name, safe=True)
    return Mend(name, words, fixes)


def _own_name(cls: type[Constructor], name: str, specs: Specs) -> str:
    """What an algorithm itself calls a field that others call `name`, or nothing."""
    if not issubclass(cls, Algorithm):
        return ""
    common = {own: name for sibling in ALGORITHMS for name, own in sibling.own_names.items()}.get(name, name)
    own = cls.own_names.get(common, common)
    return own if own != name and own in specs else ""


# --- settings -------------------------------------------------------------------------------------------


def _in_settings(block: Block, name: str) -> Iterator[Mend]:
    """`temperature` belongs to `sampling`."""
    homes = list(_homes(block.specs, name))
    if len({home for home, _ in homes}) > 1:
        said = " or ".join(f"`{home}`" for home in dict.fromkeys(home for home, _ in homes))
        yield Mend("", f"it belongs to {said}")
    elif homes:
        home, head = homes[0]
        target = block.written(home)
        head = (
            _head_of(target, [option for _, option in homes]) or _default_of(block.specs[home], homes) or head
        )
        written = head if head == home else f"{home} = {head}"
        words = f"it belongs to `{home}`: write `{written} {{ {name} = … }}`"
        yield Mend(home, words, _moved(block, home, written))


def _homes(specs: Specs, name: str) -> Iterator[tuple[str, str]]:
    """The fields whose settings have a field `name`, each with the constructor of such settings."""
    for home, spec in specs.items():
        for option in options_of(spec.type):
            if isinstance(option, SettingsType) and name in schema(class_of(option.name)):
                yield home, option.name


def _head_of(target: syntax.Field | None, options: Iterable[str]) -> str:
    """The constructor that a field is written with, if it is one of `options`."""
    value = target.value if target else None
    while isinstance(value, syntax.With | syntax.Call):
        value = value.value if isinstance(value, syntax.With) else value.callee
    return value.text if isinstance(value, syntax.Name) and value.text in options else ""


def _default_of(spec: FieldSpec, homes: Sequence[tuple[str, str]]) -> str:
    name = getattr(type(spec.default), "constructor", "")
    return name if name in [option for _, option in homes] else ""


def _moved(block: Block, home: str, head: str) -> tuple[Fix, ...]:
    """Move all fields that belong into the settings `home`: one by one, they would make a block each."""
    strays = {field: name for field in block.fields if (name := _name_in(block.specs, home, field.key.text))}
    texts = [name + field.span.text[len(field.key.span.text) :] for field, name in strays.items()]
    spans = [field.span for field in strays]
    target = block.written(home)
    if target is None:
        edits = [Edit(spans[0], f"{head} {{ {', '.join(texts)} }}"), *taken_out(spans[1:])]
        # Where nothing was asked for, to ask for it changes more than the place of a field.
        safe = block.specs[home].default is not None
    else:
        into = _put_into(target.value, list(strays.values()), texts)
        if into is None:
            return ()
        edits, safe = [into, *taken_out(spans)], True
    names = " and ".join(f"`{field.key.text}`" for field in strays)
    return (Fix(f"move {names} into `{home}`", tuple(edits), "safe" if safe else "unsafe"),)


def _name_in(specs: Specs, home: str, key: str) -> str:
    """What an unknown field is called in the settings `home`, or nothing."""
    names = () if key in specs else (key, *also_called(key))
    return next((name for name in names if {home} == {held for held, _ in _homes(specs, name)}), "")


def _put_into(value: syntax.Expression, names: Sequence[str], texts: Sequence[str]) -> Edit | None:
    source = value.span.source
    if isinstance(value, syntax.With | syntax.Record):
        given = {field.key.text for field in value.fields if isinstance(field, syntax.Field)}
        if given.intersection(names):
            return None
    match value:
        case syntax.With(value=inner, fields=fields):
            # In the short form `key { … }` the inner value is the key itself.
            opening = source.text.index("{", inner.span.end)
            return put_in(source.span(opening, value.span.end), [field.span for field in fields], texts)
        case syntax.Record(fields=fields):
            return put_in(value.span, [field.span for field in fields], texts)
        case syntax.Name() | syntax.Call():
            end = source.span(value.span.end, value.span.end)
            return Edit(end, f" {{ {', '.join(texts)} }}")
    return None


def _around(block: Block, name: str) -> Iterator[Mend]:
    """`lr` in `sampling` belongs to the stage around it."""
    if not issubclass(block.cls, Settings):
        return
    own = SettingsType(block.cls.constructor)
    for owner in CONSTRUCTORS:
        held = [field for field, spec in schema(owner).items() if own in options_of(spec.type)]
        if held and name in schema(owner):
            around = f"the {_kind(owner)} around it"
            yield Mend("", f"it belongs to {around}: write it beside `{held[0]}`, not inside")
            return


def _kind(cls: type[Constructor]) -> str:
    return "stage" if issubclass(cls, Algorithm) else f"`{cls.constructor}`"


# --- parts ----------------------------------------------------------------------------------------------

_PARTS: tuple[tuple[Type, type[Constructor], str], ...] = (
    (MODEL, LoadSettings, "model"),
    (DatasetType(), Rows, "dataset"),
    (GRADER, Grader, "grader"),
)


def _in_a_part(block: Block, name: str) -> Iterator[Mend]:
    """`tp` in a stage belongs to its model, `prompt` to its dataset."""
    for home, spec in block.specs.items():
        for type_, cls, kind in _PARTS:
            if not any(type(option) is type(type_) for option in options_of(spec.type)):
                continue
            inner = f"{name} = …" if name in schema(cls) else _written_in(schema(cls), name)
            if inner:
                target = block.written(home)
                held = target.value.span.text if target and isinstance(target.value, syntax.Name) else "…"
                yield Mend("", f"it belongs to the {kind}: write `{home} = {held} {{ {inner} }}`")
                return


def _written_in(specs: Specs, name: str) -> str:
    """`adapter = lora { rank = … }`."""
    for home, head in _homes(specs, name):
        return f"{head if head == home else f'{home} = {head}'} {{ {name} = … }}"
    return ""

"""Constructors: blocks that hold to every rule of their class.

All that is known here is read from the class: which fields there are, their types, bounds and examples, which
of them exclude one another, and the rules between them. Fields are drawn freely, and those that break a rule
are drawn again, replaced by a number that keeps it, or left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from typing import Any

from hypothesis import reject

from harmony_compiler.checking.rules import Reading, ask, of_launch
from harmony_compiler.files import DISK
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.catalogue import class_of
from harmony_compiler.graph.datasets import MAPPED, Rows
from harmony_compiler.graph.models import LoadSettings, Reloaded
from harmony_compiler.graph.node import (
    NOT_GIVEN,
    Constructor,
    Derived,
    FieldSpec,
    Node,
    Settings,
    is_node,
    schema,
)
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.settings import Column
from harmony_compiler.graph.types import (
    FLOAT,
    GRADER,
    INT,
    NONE,
    STR,
    DatasetType,
    ListOf,
    LiteralText,
    RecordOf,
    SettingsType,
    Type,
    options_of,
)
from harmony_compiler.lineage import setting
from harmony_compiler.typed import Made
from harmony_compiler.whole.columns import answers_to_nothing
from harmony_compiler.whole.stages import ill_fitting
from harmony_dsl.testing.data import TURNS
from harmony_dsl.testing.formulas import KEYS
from harmony_dsl.testing.parts import (
    blamed_fields,
    columns_in,
    has_turns,
    holds_rows,
    holds_turns,
    is_of_kind,
    is_text,
    metadata_fields,
    record,
    result_of,
    toggled,
    turn_of,
    typed,
)
from harmony_dsl.testing.tree import Block, Field, Several
from harmony_dsl.testing.values import NOWHERE, POWERS, Drawn, Values
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.records import replace

TRIES = 12
"""How often a broken rule is mended before the draw is given up."""


class Constructors(Values):
    """Draws blocks. Values that are nodes of the graph are drawn by a subclass, which knows all of them."""

    seed = 0
    """The recipe's seed, from which others derive."""
    columns: tuple[str, ...] | None = None
    """The columns of the dataset that is being drawn; None where nobody knows them."""
    rows: DatasetType = DatasetType("Prompt")
    """The kind of rows of the stage that is being drawn: what a dataset of any kind has there."""

    def edge(self, type_: Type, spec: FieldSpec, needs: Mapping[str, str]) -> Drawn:
        """A value that is a node; a dataset has metadata as `needs` says."""
        raise NotImplementedError

    # --- blocks -----------------------------------------------------------------------------------------

    def block(
        self,
        cls: type[Constructor],
        given: Mapping[str, Drawn] | None = None,
        *,
        rows: DatasetType | None = None,
        needs: Mapping[str, str] | None = None,
        share: int = 30,
    ) -> Drawn:
        """A constructor with its fields. `given` are fixed; a dataset is of the kind `rows`, with metadata as
        `needs` says. `share` is the percentage of optional fields that are written."""
        fixed = dict(given or {})
        names = self._names(cls, fixed, share)
        names += [name for name in metadata_fields(cls) if needs and name not in (*names, *fixed)]
        with self._among(cls, rows):
            drawn = self._fields(cls, names, fixed, needs or {})
            self._settle(cls, drawn, fixed.keys(), rows, needs)
        return self.made(cls, drawn, cls.constructor)

    @contextmanager
    def _among(self, cls: type[Constructor], rows: DatasetType | None) -> Iterator[None]:
        """What is drawn meanwhile stands inside of `cls`, whose rows decide those of inner datasets."""
        outer, columns, self.columns = self.rows, self.columns, None
        asked = [option for spec in schema(cls).values() for option in options_of(spec.type)]
        self.rows = next((o for o in asked if isinstance(o, DatasetType) and o.rows), rows or outer)
        yield
        self.rows, self.columns = outer, columns

    def changed(
        self,
        original: Drawn,
        names: Collection[str],
        *,
        rows: DatasetType | None = None,
        needs: Mapping[str, str] | None = None,
    ) -> Drawn:
        """`original { … }`, a copy with other values in some fields; `original` is written as its name."""
        made: Made = original.data
        if issubclass(made.cls, Algorithm):
            return self._reloaded(original, names)
        before = original.fields
        fixed = {name: held for name, held in before.items() if name not in names}
        with self._among(made.cls, rows):
            drawn = {**fixed, **self._fields(made.cls, names, {}, needs or {})}
            self._settle(made.cls, drawn, before.keys() - set(names), rows, needs)
        columns = columns_in(made.cls, drawn) if issubclass(made.cls, Rows) else None
        if columns is not None and not has_turns(columns) and any(holds_turns(one) for one in drawn.values()):
            reject()  # the copy states columns, and the original reads another one
        changes = {name: held for name, held in drawn.items() if before.get(name) is not held}
        gone = before.keys() - drawn.keys()
        if not all(NONE in options_of(schema(made.cls)[name].type) for name in gone):
            reject()  # only what may be `none` can be taken away again
        changes |= {name: Drawn("none", None) for name in sorted(gone)}
        copied = self.made(made.cls, drawn, "")
        return self._copied(original, copied, changes)

    def _reloaded(self, original: Drawn, names: Collection[str]) -> Drawn:
        """A trained model with other load settings."""
        changes = self._fields(Reloaded, names, {}, {})
        drawn = {"source": original, **changes}
        self._settle(Reloaded, drawn, {"source"})
        changes = {name: held for name, held in drawn.items() if name != "source"}
        return self._copied(original, self.made(Reloaded, drawn, ""), changes)

    def _copied(self, original: Drawn, copied: Drawn, changes: Mapping[str, Drawn]) -> Drawn:
        assert isinstance(copied.expression, Block) and isinstance(original.expression, str)
        block = copied.expression
        written = tuple(Field(name, one.expression) for name, one in changes.items())
        block = Block(original.expression, written, block.cls, True, block.held)
        return replace(copied, expression=block)

    def made(self, cls: type[Constructor], drawn: Mapping[str, Drawn], head: str) -> Drawn:
        """The block of fields that were drawn."""
        held = self.held(cls, drawn)
        given = {name: typed(one) for name, one in drawn.items()}
        needs = {key: type_ for one in drawn.values() for key, type_ in one.needs.items()}
        needs |= dict(getattr(cls, "needs", ()))
        type_ = result_of(cls, drawn) if issubclass(cls, Node) else SettingsType(cls.constructor)
        return Drawn(
            Block(head, tuple(Field(n, one.expression) for n, one in drawn.items()), cls, False, held),
            Made(cls, given, {name: held[name] for name in schema(cls)}, NOWHERE, NOWHERE),
            type_,
            needs if type_ == GRADER or issubclass(cls, Settings) else {},
            drawn,
        )

    def held(self, cls: type[Constructor], drawn: Mapping[str, Drawn]) -> dict[str, Any]:
        """The value of every field, defaults filled in, and what a derived default or a rule may ask for."""
        around = {"recipe.seed": self.seed, **of_launch(self.launch)}
        inherited = self._inherited(cls, drawn)
        found: dict[str, Any] = {}
        for name, spec in schema(cls).items():
            if name in drawn:
                found[name] = drawn[name].data
            elif name in inherited:
                found[name] = inherited[name]
            elif isinstance(spec.default, Derived):
                found[name] = spec.default.compute(*((around | found)[need] for need in spec.default.needs))
            elif spec.default is not NOT_GIVEN:
                found[name] = spec.default
        return around | found

    def _inherited(self, cls: type[Constructor], drawn: Mapping[str, Drawn]) -> dict[str, Any]:
        """What a model that was loaded anew keeps of the one that it was."""
        if cls is not Reloaded:
            return {}
        names = schema(LoadSettings).keys() - drawn.keys()
        return {name: setting(drawn["source"].data, name) for name in names}

    # --- fields -----------------------------------------------------------------------------------------

    def writable(self, cls: type[Constructor], spec: FieldSpec) -> bool:
        """Whether the field may be written at all."""
        if spec.name in self.within.without:
            return False
        return spec.required or bool(self._options(spec))

    def allowed(self, cls: type[Constructor]) -> bool:
        """Whether the constructor may be written at all."""
        return cls.constructor not in self.within.without

    def _options(self, spec: FieldSpec) -> list[Type]:
        """The types of which a value may be drawn."""
        found = [option for option in options_of(spec.type) if option != NONE and self._drawable(option)]
        if spec.name in self.within.numbers:
            found = [option for option in found if option in (INT, FLOAT)] or found
        if spec.name in MAPPED and self.columns is not None and not has_turns(self.columns):
            found = [option for option in found if not isinstance(option, SettingsType)]
        return found

    def _drawable(self, option: Type) -> bool:
        match option:
            case SettingsType(name=name):
                return self.allowed(class_of(name))
            case LiteralText(text=text):
                return f'"{text}"' not in self.within.without
            case ListOf(item=item) | RecordOf(item=item):
                return any(self._drawable(part) for part in options_of(item))
        return True

    def _names(self, cls: type[Constructor], fixed: Mapping[str, Drawn], share: int) -> list[str]:
        """The fields to write beside the fixed ones."""
        groups = [
            [name for name in group if self.writable(cls, schema(cls)[name])] for group in cls.exactly_one
        ]
        members = {name for group in cls.exactly_one for name in group}
        chosen = {self.pick(group) for group in groups if not fixed.keys() & set(group)}
        found = []
        for name, spec in schema(cls).items():
            asked = spec.required or name in chosen or (self._always(spec) and name not in members)
            if name in fixed or (name in members and name not in chosen) or not self.writable(cls, spec):
                continue
            if asked or self.chance(share):
                found.append(name)
        return found

    def _always(self, spec: FieldSpec) -> bool:
        """Whether `numbers` asks for the field, or for one of the settings in it."""
        numbers = self.within.numbers
        inner = [class_of(o.name) for o in options_of(spec.type) if isinstance(o, SettingsType)]
        needed = spec.default is not None and any(name in numbers for cls in inner for name in schema(cls))
        return spec.name in numbers or needed

    def _fields(
        self,
        cls: type[Constructor],
        names: Collection[str],
        fixed: Mapping[str, Drawn],
        needs: Mapping[str, str],
    ) -> dict[str, Drawn]:
        """A value for each of the names. Datasets come last: graders say what metadata they must have."""
        specs = schema(cls)
        drawn = dict(fixed)
        for name in sorted(names, key=lambda name: turn_of(specs[name])):
            if issubclass(cls, Rows) and turn_of(specs[name]):
                self.columns = columns_in(cls, drawn)
                if not self.writable(cls, specs[name]):
                    continue
            if holds_rows(specs[name].type) and any(one.type == GRADER for one in drawn.values()):
                self.rows = DatasetType("Prompt")  # graders score answers to prompts
            drawn[name] = self.value(cls, specs[name], _wanted(drawn, needs))
        return drawn

    def value(self, cls: type[Constructor], spec: FieldSpec, needs: Mapping[str, str]) -> Drawn:
        """A value for a field of a class."""
        if needs and spec.name in metadata_fields(cls):
            return self._metadata(cls, spec, needs)
        empty = not spec.required and NONE in options_of(spec.type) and self.chance(5)
        if empty and spec.name not in self.within.numbers:
            return Drawn("none", None)
        return self._filled(cls, spec, needs)

    def _filled(self, cls: type[Constructor], spec: FieldSpec, needs: Mapping[str, str]) -> Drawn:
        """A value that is not `none`."""
        if spec.examples and spec.name not in self.within.numbers:
            known = [text for text in spec.examples if text not in self.within.without]
            return self.example(self.pick(known), spec.type)
        options = self._options(spec)
        return self._with_defaults(self._of_type(self.pick(options), cls, spec, needs), spec.default)

    def _with_defaults(self, drawn: Drawn, default: Any) -> Drawn:
        """Settings in a field: what they leave open is as the field's own default has it."""
        made = drawn.data
        if not isinstance(made, Made) or not isinstance(default, made.cls):
            return drawn
        held = {
            name: one if name in made.given else getattr(default, name) for name, one in made.values.items()
        }
        return replace(drawn, data=Made(made.cls, made.given, held, NOWHERE, NOWHERE))

    def _of_type(
        self, type_: Type, cls: type[Constructor], spec: FieldSpec, needs: Mapping[str, str]
    ) -> Drawn:
        if is_node(type_):
            return self.edge(type_, spec, needs)
        match type_:
            case SettingsType() if spec.name in MAPPED:
                return self._turns()
            case SettingsType(name=name):
                return self.block(class_of(name), needs=needs)
            case ListOf(item=item):
                return self._several(item, cls, spec, needs)
            case RecordOf(item=item):
                keys = self.some(("a", "b", '"a key"', *KEYS))
                held = {key: self._any_of(item, cls, spec, needs) for key in keys}
                return record(held)
        return self.plain(type_, spec, cls)

    def _turns(self) -> Drawn:
        """A column of turns, with what its turns look like."""
        name = self.pick(tuple(TURNS))
        written = {"name": f'"{name}"', **TURNS[name]}
        specs = schema(Column)
        given = {key: self.example(text, specs[key].type) for key, text in written.items()}
        return self.block(Column, given, share=0)

    def _metadata(self, cls: type[Constructor], spec: FieldSpec, needs: Mapping[str, str]) -> Drawn:
        """Metadata with the keys that graders need: a text from a template, anything else from its column."""
        held = {
            key: self.template(cls)
            if type_ == "str"
            else self.block(Column, {"name": self.example(f'"{key}"', STR)}, share=0)
            for key, type_ in needs.items()
        }
        return record(held)

    def _any_of(self, item: Type, cls: type[Constructor], spec: FieldSpec, needs: Mapping[str, str]) -> Drawn:
        options = [option for option in options_of(item) if self._drawable(option)]
        return self._of_type(self.pick(options), cls, spec, needs)

    def _several(
        self, item: Type, cls: type[Constructor], spec: FieldSpec, needs: Mapping[str, str]
    ) -> Drawn:
        """A list whose items are all written differently."""
        found: dict[str, Drawn] = {}
        for _ in range(1 + (1 if self.chance(50) else 0) + (1 if self.chance(20) else 0)):
            one = self._any_of(item, cls, spec, needs)
            found.setdefault(repr(one.expression), one)
        held = tuple(found.values())
        asked = {key: type_ for one in held for key, type_ in one.needs.items()}
        data = tuple(one.data for one in held)
        written = Several(tuple(one.expression for one in held))
        return Drawn(written, data, ListOf(held[0].type), asked, parts=held)

    # --- rules ------------------------------------------------------------------------------------------

    def _settle(
        self,
        cls: type[Constructor],
        drawn: dict[str, Drawn],
        fixed: Collection[str],
        rows: DatasetType | None = None,
        needs: Mapping[str, str] | None = None,
    ) -> None:
        """Change what is not fixed until every rule holds."""
        self.columns = columns_in(cls, drawn) if issubclass(cls, Rows) else None
        if rows is not None:
            self._to_kind(cls, drawn, fixed, rows, needs or {})
        for _ in range(TRIES):
            faults = self.faults(cls, drawn)
            if not faults:
                return
            self._mend(cls, drawn, fixed, faults, rows=rows, needs=needs or {})
        reject()

    def faults(self, cls: type[Constructor], drawn: Mapping[str, Drawn]) -> list[Diagnostic]:
        """What the compiler would say of these fields."""
        found: list[Diagnostic] = []
        reading = Reading(
            {name: typed(one) for name, one in drawn.items()}, {n: d.span for n, d in drawn.items()}
        )
        inherited = self._inherited(cls, drawn)
        ask(found.append, cls, reading, self.held(cls, drawn), head=NOWHERE, inherited=inherited)
        if issubclass(cls, LoadSettings | Save):  # heads and adapter may be those of the model it was
            found += ill_fitting([self.made(cls, drawn, "").data], self.launch, DISK)
        if issubclass(cls, Rows):
            found += answers_to_nothing(self.made(cls, drawn, "").data)
        return [finding for finding in found if finding.severity == "error"]

    def _mend(
        self,
        cls: type[Constructor],
        drawn: dict[str, Drawn],
        fixed: Collection[str],
        faults: list[Diagnostic],
        *,
        rows: DatasetType | None,
        needs: Mapping[str, str],
    ) -> None:
        specs = schema(cls)
        kept = {name for group in cls.exactly_one for name in group}
        kept |= {name for name, spec in specs.items() if self._always(spec)}
        free = [
            name
            for name in blamed_fields(cls, drawn, faults[0])
            if name not in fixed and self.writable(cls, specs[name]) and (name in drawn or name not in kept)
        ]
        for name in self.some(free, len(free)) if free else ():
            spec = specs[name]
            dropped = {key: one for key, one in drawn.items() if key != name}
            optional = (
                name in drawn and not spec.required and name not in kept and is_of_kind(cls, dropped, rows)
            )
            if optional and self.chance(50) and len(self.faults(cls, dropped)) < len(faults):
                del drawn[name]
                return
            others = [self.plain(option, spec, cls) for option in self._options(spec) if is_text(option)]
            others += [*self._numbers(spec, drawn), self.value(cls, spec, _wanted(drawn, needs))]
            ways = [{**drawn, name: one} for one in others]
            ways += [dropped] if optional else []
            better = [
                way for way in ways if is_of_kind(cls, way, rows) and len(self.faults(cls, way)) < len(faults)
            ]
            if better:
                chosen = self.pick(better)
                drawn.clear()
                drawn.update(chosen)
                return

    def _numbers(self, spec: FieldSpec, drawn: Mapping[str, Drawn]) -> list[Drawn]:
        """Whole numbers that a field may hold, many of which divide the other ones."""
        held = drawn.get(spec.name)
        whole = INT in options_of(spec.type) if held is None else type(held.data) is int
        if not whole or (spec.examples and spec.name not in self.within.numbers):
            return []
        low, high = self._range(spec)
        near = {data * n for one in drawn.values() if type(data := one.data) is int for n in (1, 2, 3)}
        fitting = [n for n in sorted(near | set(POWERS)) if low <= n <= high and not spec.bounds.broken_by(n)]
        return [Drawn(f"{number}", number) for number in fitting]

    def _to_kind(
        self,
        cls: type[Constructor],
        drawn: dict[str, Drawn],
        fixed: Collection[str],
        rows: DatasetType,
        needs: Mapping[str, str],
    ) -> None:
        """Write or leave out as few fields as make the rows of the kind that is asked for."""
        specs = schema(cls)
        if rows.rows == "Prompt" and "on_too_long" in drawn:  # a cut prompt asks another question
            drawn["on_too_long"] = Drawn('"error"', "error")
        free = [
            n for n, spec in specs.items() if not (spec.required or n in fixed) and self.writable(cls, spec)
        ]
        for size in range(4):
            ways = [
                names for names in combinations(free, size) if is_of_kind(cls, toggled(drawn, names), rows)
            ]
            if ways:
                for name in self.pick(ways):
                    if name in drawn:
                        del drawn[name]
                    else:
                        drawn[name] = self._filled(cls, specs[name], needs)
                return
        reject()


def _wanted(drawn: Mapping[str, Drawn], needs: Mapping[str, str]) -> dict[str, str]:
    """What graders ask of the rows of a block: those that were drawn in it, and those around it."""
    return {key: type_ for one in drawn.values() for key, type_ in one.needs.items()} | dict(needs)

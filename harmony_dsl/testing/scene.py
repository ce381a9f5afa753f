"""The scene: everything that a recipe declares, while it is drawn.

Values that are nodes are named, used again, copied with changes or written where they are used. The catalogue
says which constructors make a value of a type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from harmony_compiler.graph import catalogue
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.datasets import JsonLines
from harmony_compiler.graph.graph import Launch
from harmony_compiler.graph.models import LoadSettings
from harmony_compiler.graph.node import Constructor, FieldSpec, Node, is_node, schema
from harmony_compiler.graph.types import (
    BOOL,
    CONDITION,
    DURATION,
    EVALUATION,
    FLOAT,
    GRADER,
    INT,
    MODEL,
    NONE,
    PATH,
    PERCENT,
    SECRET,
    STR,
    TEMPLATE,
    DatasetType,
    EndpointType,
    ListOf,
    LiteralText,
    ModelType,
    Type,
    options_of,
)
from harmony_compiler.graph.values import Secret
from harmony_compiler.typed import Made
from harmony_dsl.testing import formulas
from harmony_dsl.testing.constructors import Constructors
from harmony_dsl.testing.data import LAYOUTS, columns_of
from harmony_dsl.testing.tree import Block, Declaration, Glued
from harmony_dsl.testing.values import Drawn, Within
from harmony_grammar.records import replace

_WORDS = {"Model": "model", "Endpoint": "let", "Grader": "grader"}
"""The word that declares a value of a type."""

DEEPEST = 3
"""How deep constructors are nested before only simple ones are drawn."""

_INPUTS = (BOOL, INT, FLOAT, PERCENT, STR, DURATION, NONE, TEMPLATE, SECRET)
"""The plain types that an input is given here."""


class Scene(Constructors):
    """Draws what stages need, and declares it."""

    def __init__(self, draw: st.DrawFn, within: Within, launch: Launch) -> None:
        super().__init__(draw, within, launch)
        self.declarations: list[Declaration] = []
        self.settings: list[tuple[str, str]] = []
        self.known: list[Drawn] = []
        """The declared nodes, each written as its name."""
        self._depth = 0
        self._taken = 0

    # --- declarations -----------------------------------------------------------------------------------

    def name(self, stem: str) -> str:
        self._taken += 1
        return f"{stem}_{self._taken}"

    def declare(self, drawn: Drawn, word: str) -> Drawn:
        """Give a value a name; what is drawn then is the name."""
        name = self.name(word)
        self.declarations.append(Declaration(word, name, drawn.expression))
        named = replace(drawn, expression=name)
        self.known.append(named)
        return named

    def value(self, cls: type[Constructor], spec: FieldSpec, needs: Mapping[str, str]) -> Drawn:
        drawn = super().value(cls, spec, needs)
        if not isinstance(drawn.expression, str) or drawn.expression.isidentifier() or not self.chance(6):
            return drawn
        if drawn.fields or drawn.parts or spec.is_edge or CONDITION in options_of(spec.type):
            return drawn
        name = self.name("value")
        asked = _input_type(spec.type)
        if not asked or self.chance(50):
            self.declarations.append(Declaration("let", name, drawn.expression))
        elif type(drawn.data) in (int, float) and self.chance(50):
            condition = f"{name} >= {drawn.data!r} - 1 and not ({name} != {name})"
            self.declarations.append(Declaration("input", name, drawn.expression, asked, condition))
            if self.chance(50):
                self.settings.append((name, repr(drawn.data)))
        else:
            self.declarations.append(Declaration("input", name, drawn.expression, asked))
            if isinstance(drawn.data, Secret) and self.chance(50):
                self.settings.append((name, str(drawn.data)))
        return replace(drawn, expression=name)

    # --- nodes ------------------------------------------------------------------------------------------

    def edge(self, type_: Type, spec: FieldSpec, needs: Mapping[str, str]) -> Drawn:
        self._depth += 1
        try:
            match type_:
                case ModelType():
                    return self._model()
                case EndpointType():
                    return self._node(self._makers(type_), MODEL)
                case DatasetType():
                    return self._dataset(type_ if type_.rows else self.rows, needs)
            alone = not any(isinstance(option, ListOf) for option in options_of(spec.type))
            return self.reward() if alone else self.grader()
        finally:
            self._depth -= 1

    def _drawable(self, option: Type) -> bool:
        return bool(self._makers(option)) if is_node(option) else super()._drawable(option)

    def _makers(self, type_: Type) -> list[type[Constructor]]:
        """The constructors that make a value of a type, training stages aside."""
        return [
            cls
            for cls in catalogue.CONSTRUCTORS
            if issubclass(cls, Node)
            and not issubclass(cls, Algorithm)
            and _like(cls.result({}), type_)
            and self.allowed(cls)
        ]

    def _node(self, makers: Sequence[type[Constructor]], declared: Type) -> Drawn:
        return self._placed(self.block(self.pick(makers)), _WORDS[str(declared)])

    def _placed(self, drawn: Drawn, word: str) -> Drawn:
        """A new value where it is used, or under a name."""
        if self.chance(25):
            return drawn
        if self.chance(15) and not _ambiguous(drawn) and isinstance(drawn.data, Made):
            return self.declare(drawn, "let")
        if self.chance(8) and not isinstance(drawn.type, DatasetType) and str(drawn.type) in _WORDS:
            name = self.name("input")
            self.declarations.append(Declaration("input", name, drawn.expression, str(drawn.type)))
            named = replace(drawn, expression=name)
            self.known.append(named)
            return named
        return self.declare(drawn, "let" if isinstance(drawn.type, EndpointType) else word)

    def _model(self) -> Drawn:
        known = [one for one in self.known if one.type == MODEL]
        if known and self.chance(70):
            model = self.pick(known)
            names = [name for name, spec in schema(LoadSettings).items() if self.writable(LoadSettings, spec)]
            if names and self.chance(25):
                return self._placed(self.changed(model, self.some(names, 2)), "model")
            return model
        return self._node(self._makers(MODEL), MODEL)

    # --- datasets ---------------------------------------------------------------------------------------

    def _dataset(self, rows: DatasetType, needs: Mapping[str, str]) -> Drawn:
        makers = [cls for cls in self._makers(DatasetType()) if self._can_give(cls, needs)]
        known = [one for one in self.known if isinstance(one.type, DatasetType)]
        fitting = [one for one in known if self._can_give(one.data.cls, needs) and not _recognised(one)]
        equal = [one for one in known if one.type == rows and _gives(one, needs) and _answers(one, rows)]
        if equal and self.chance(50):
            return self.pick(equal)
        if self.chance(12) and not needs and (layout := self._layout(rows)) is not None:
            return self._placed(layout, "dataset")
        outer, self.rows = self.rows, rows
        try:
            if fitting and self.chance(30):
                original = self.pick([one for one in fitting if not _of_others(one.data.cls)] or fitting)
                if not _of_others(original.data.cls):
                    return self._placed(self._copy(original, rows, needs), "dataset")
            simple = [cls for cls in makers if self._depth < DEEPEST or not _of_others(cls)]
            return self._placed(self.block(self.pick(simple), rows=rows, needs=needs, share=20), "dataset")
        finally:
            self.rows = outer

    def _layout(self, rows: DatasetType) -> Drawn | None:
        """Rows of a known layout, which need no mapping."""
        files = [name for name, layout in LAYOUTS.items() if layout.rows == rows.rows]
        if not files or not self.allowed(JsonLines):
            return None
        drawn = self.made(
            JsonLines, {"path": self.example(f'"{self.pick(files)}"', PATH)}, JsonLines.constructor
        )
        return replace(drawn, type=rows)

    def _copy(self, original: Drawn, rows: DatasetType, needs: Mapping[str, str]) -> Drawn:
        """A dataset with changes, of another kind or with other metadata where that is asked for."""
        cls = original.data.cls
        names = [name for name, spec in schema(cls).items() if not spec.required and self.writable(cls, spec)]
        changes = self.some(names, 3)
        if not _gives(original, needs) and "metadata" not in changes:
            changes.append("metadata")
        if not _answers(original, rows) and "on_too_long" not in changes:
            changes.append("on_too_long")
        return self.changed(original, changes, rows=rows, needs=needs)

    def _can_give(self, cls: type[Constructor], needs: Mapping[str, str]) -> bool:
        """Whether the rows of a constructor have what graders ask for beside texts."""
        others = [key for key, type_ in needs.items() if type_ != "str"]
        return not others or _of_others(cls) or set(others) <= set(columns_of(cls.constructor))

    # --- graders ----------------------------------------------------------------------------------------

    def grader(self) -> Drawn:
        known = [one for one in self.known if one.type == GRADER]
        if known and self.chance(40):
            return self.pick(known)
        if self.chance(30):
            return self._placed(self._formula(), "grader")
        return self._placed(self._leaf(), "grader")

    def _leaf(self) -> Drawn:
        makers = [cls for cls in self._makers(GRADER) if self._depth < DEEPEST or not _of_others(cls)]
        return self.block(self.pick(makers))

    def _formula(self) -> Drawn:
        text = formulas.number(self.pick)
        return Drawn(text, (), GRADER, dict.fromkeys(formulas.read_by(text), "str"))

    def reward(self) -> Drawn:
        """Graders from whose sum something can be learned: the first has a weight that nothing takes away."""
        first = self._placed(self._leaf(), "grader")
        if not self.chance(60):
            return first
        first = self._named(first)
        parts: list[Drawn] = [first]
        glued = [f"{self.pick(('0.5', '2', '10%'))} * ", first.expression]
        for _ in range(1 + self.chance(40)):
            part = self._named(self.grader())
            shape = self.pick(
                ("2 * {}", "clamp({}, -1, 1)", "mean({}, 1)", "(if words(completion) > 1 then {} else 0)")
            )
            before, _, behind = shape.partition("{}")
            if isinstance(part.expression, str) and not part.expression.isidentifier():
                before, behind = f"{before}(", f"){behind}"
            glued += [f" + {before}", part.expression, behind]
            parts.append(part)
        needs = {key: type_ for part in parts for key, type_ in part.needs.items()}
        return self._placed(Drawn(Glued(tuple(glued)), (), GRADER, needs), "grader")

    def _named(self, drawn: Drawn) -> Drawn:
        """A grader for the inside of a formula, where nothing says that a grader is meant."""
        return self.declare(drawn, "grader") if _ambiguous(drawn) else drawn

    # --- outputs ----------------------------------------------------------------------------------------

    def stage(self) -> None:
        """A training stage, by one of the algorithms."""
        makers = [cls for cls in catalogue.CONSTRUCTORS if issubclass(cls, Algorithm) and self.allowed(cls)]
        self.declare(self.block(self.pick(makers)), "train")

    def evaluation(self) -> None:
        makers = [
            cls
            for cls in catalogue.CONSTRUCTORS
            if issubclass(cls, Node) and self.allowed(cls) and cls.result({}) == EVALUATION
        ]
        name = self.name("report")
        self.declarations.append(Declaration("evaluate", name, self.block(self.pick(makers)).expression))


def _like(made: Type, asked: Type) -> bool:
    return made == asked or (isinstance(made, DatasetType) and isinstance(asked, DatasetType))


def _recognised(dataset: Drawn) -> bool:
    """Whether a dataset leaves its mapping to its layout, with columns of its own."""
    path = dataset.fields.get("path")
    return path is not None and isinstance(path.expression, str) and path.expression.strip('"') in LAYOUTS


def _ambiguous(drawn: Drawn) -> bool:
    """Whether only a place tells which constructor is meant: `registry("key")`."""
    written = drawn.expression
    return (
        isinstance(written, Block)
        and not written.copies
        and len(catalogue.constructors_named(written.head)) > 1
    )


def _of_others(cls: type[Constructor]) -> bool:
    """Whether a constructor is made of other nodes."""
    return any(spec.is_edge and spec.required for spec in schema(cls).values())


def _gives(dataset: Drawn, needs: Mapping[str, str]) -> bool:
    """Whether a dataset has the metadata that is asked for."""
    held = dataset.fields.get("metadata")
    return not needs or (
        held is not None and isinstance(held.data, dict) and needs.keys() <= held.data.keys()
    )


def _answers(dataset: Drawn, rows: DatasetType) -> bool:
    """Whether rows can be asked as they are: a cut prompt asks another question."""
    held = dataset.fields.get("on_too_long")
    return rows.rows != "Prompt" or held is None or held.data != "truncate"


def _input_type(type_: Type) -> str:
    """A type as an input states it, or nothing where inputs have no such type."""
    plain = all(option in _INPUTS or isinstance(option, LiteralText) for option in options_of(type_))
    return str(type_) if plain else ""

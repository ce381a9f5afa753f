"""Slips: faults of form, and faulty declarations behind a well-typed recipe."""

from __future__ import annotations

from harmony_compiler.graph.types import FLOAT, INT, PERCENT, STR, TEMPLATE
from harmony_dsl.testing.seeding import FAULTS, Hand, Place, Seeded, fault
from harmony_dsl.testing.tree import MARK, Block, Field, Glued, Several, changed

_ADDED = {
    "name twice": ("E0201", "let spare = 1\nlet {mark}spare = 2\n"),
    "name of the language": ("E0202", "let words = 1\n"),
    "circle": ("E0205", "let {mark}spare = other + 1\nlet other = spare - 1\n"),
    "second recipe": ("E0203", ""),
    "function without arguments": ("E0313", "let spare = words()\n"),
    "arguments too many": ("E0409", 'dataset spare = jsonl("rows.jsonl", {mark}"rows.json")\n'),
    "operands that do not go together": ("E0306", 'let spare = "a" * 2\n'),
    "condition that is none": ("E0310", "let spare = if 1 then 2 else 3\n"),
    "call of a number": ("E0307", "let spare = 3(4)\n"),
    "word of the language alone": ("E0311", "let spare = env\n"),
    "fields of a number": ("E0411", "let spare = 3 {{ a = 1 }}\n"),
    "not said which": ("E0315", 'let spare = hf("gpt2")\n'),
    "unknown type": ("E0305", "input spare: floot = 3\n"),
    "input without a value": ("E0421", "input spare: int\n"),
    "condition of an input": ("E0422", "input spare: int = 3 where spare > 5\n"),
    "wrong declaration": ("E0302", 'model spare = rows([{{ a = "b" }}])\n'),
    "import of nothing": ("E0501", 'import "nowhere.recipe" as spare\n'),
    "python function that is not there": ("E0613", 'grader spare = python("graders.py:scor")\n'),
    "python parameter that nobody gives": ("E0614", 'grader spare = python("graders.py:picky")\n'),
    "python file that is not there": ("E0501", 'grader spare = python("nowhere.py:score")\n'),
    "model that nobody saved": ("E0606", 'model spare = registry("nobody")\n'),
    "dataset that nobody registered": ("E0542", 'dataset spare = registry("nobody")\n'),
    "rows that nothing maps": (
        "E0550",
        "train spare = sft {{\n  steps = 1\n"
        '  model = local("tiny-model")\n  dataset = {mark}rows([{{ a = 1 }}])\n}}\n',
    ),
    "merge of nothing": (
        "E0711",
        'model spare = local("tiny-model") {{ adapter = none }}\n'
        'save spare as "spare" {{ merge = {mark}true }}\n',
    ),
    "unknown escape": ("E0106", 'let spare = "a\\q"\n'),
    "unclosed bracket": ("E0112", "let spare = {mark}(1 + 2\n"),
    "closer without an opener": ("E0113", "let spare = 1)\n"),
    "wrong closer": ("E0114", "let spare = [1, 2)\n"),
    "declarations on one line": ("E0119", "let spare = 1 let other = 2\n"),
    "reserved word": ("E0125", "let in = 3\n"),
    "equals for comparison": ("E0124", "let spare = if 1 = 1 then 2 else 3\n"),
    "then without if": ("E0126", "let spare = 1 then 2\n"),
    "if without else": ("E0127", "let spare = if true then 2\n"),
    "unknown declaration": ("E0128", 'modl spare = local("tiny-model")\n'),
    "foreign letters": ("E0102", "let größe = 1\n"),
    "malformed number": ("E0109", "let spare = 1__000\n"),
    "number too large": ("E0110", "let spare = 99999999999999999999\n"),
}
"""Faulty declarations with their codes, on lines of their own behind a recipe."""


def _adds(name: str, code: str, text: str) -> None:
    def add(hand: Hand) -> Seeded | None:
        return hand.add(text.format(mark=MARK), code)

    FAULTS[name] = add


for _name, (_code, _text) in _ADDED.items():
    _adds(_name, _code, _text)


@fault
def second_recipe(hand: Hand) -> Seeded | None:
    first = "" if hand.declared("recipe") else "recipe one { }\n"
    return hand.add(f"{first}{MARK}recipe another {{ }}\n", "E0203")


@fault
def name_declared_twice(hand: Hand) -> Seeded | None:
    name = hand.pick(hand.declared("model", "dataset", "grader", "train", "let", "input")).name
    return hand.add(f"let {MARK}{name} = 1\n", "E0201")


@fault
def field_of_a_trained_model(hand: Hand) -> Seeded | None:
    name = hand.pick(hand.declared("train")).name
    return hand.add(f"model spare = {name} {{ {MARK}seed = 1 }}\n", "E0405")


@fault
def bad_key(hand: Hand) -> Seeded | None:
    name = hand.pick(hand.declared("train")).name
    return hand.add(f'save {name} as {MARK}"../{name}"\n', "E0410")


@fault
def taken_key(hand: Hand) -> Seeded | None:
    name = hand.pick(hand.declared("train")).name
    return hand.add(f'save {name} as {MARK}"sorter"\n', "E0603")


@fault
def key_twice(hand: Hand) -> Seeded | None:
    one = hand.pick(hand.declared("train")).name
    other = 'model spare = local("tiny-model")\nsave spare as "twice"\n'
    return hand.add(f'{other}save {one} as {MARK}"twice"\n', "E0604")


# --- form -----------------------------------------------------------------------------------------------


def _simple(place: Place) -> bool:
    """A value on one line that ends a line in the plain layout."""
    value = place.field.value
    return isinstance(value, str) and "\n" not in value and "if " not in value


def _sign(hand: Hand, place: Place | None, equals: str, code: str) -> Seeded | None:
    """Another sign between a field and its value."""
    if place is None:
        return None
    new = Field(place.field.key, Glued((MARK, place.field.value)), equals)
    return Seeded(changed(hand.recipe, place.field, (new,)), code, plainly=True)


def _named(place: Place) -> bool:
    """Whether the plain layout writes the field with its key, and its value begins with no bracket."""
    return (
        _simple(place)
        and str(place.field.value)[0] not in "([{"
        and place.block.cls is not None
        and place.field.key != place.block.cls.argument
    )


@fault
def missing_equals(hand: Hand) -> Seeded | None:
    return _sign(hand, hand.place(_named), " ", "E0122")


@fault
def colon_for_equals(hand: Hand) -> Seeded | None:
    return _sign(hand, hand.place(_named), ": ", "E0123")


def _before_a_block(place: Place) -> bool:
    """Whether a field in the short form follows, `sampling { … }`: it would be the value that is missing."""
    fields = place.block.fields
    behind = fields[fields.index(place.field) + 1 :]
    return bool(behind) and isinstance(behind[0].value, Block)


@fault
def missing_value(hand: Hand) -> Seeded | None:
    place = hand.place(lambda place: _named(place) and not _before_a_block(place))
    if place is None:
        return None
    new = Field(f"{MARK}{place.field.key}", "", " =")
    return Seeded(changed(hand.recipe, place.field, (new,)), "E0121", plainly=True)


@fault
def stray_character(hand: Hand) -> Seeded | None:
    place = hand.place(_named)
    return place and hand.set(place, f"{place.field.value} {MARK}{hand.pick('$?§')}", "E0101", plainly=True)


@fault
def semicolon(hand: Hand) -> Seeded | None:
    place = hand.place(_named)
    return place and hand.set(place, f"{place.field.value}{MARK};", "E0118", plainly=True)


@fault
def unclosed_string(hand: Hand) -> Seeded | None:
    place = hand.place(lambda place: _named(place) and STR in place.options)
    return hand.set(place, '"abc', "E0103", plainly=True) or hand.add('let spare = "abc\n', "E0103")


@fault
def single_quotes(hand: Hand) -> Seeded | None:
    place = hand.place(lambda place: STR in place.options and not place.spec.examples)
    return hand.set(place, "'abc'", "E0104") or hand.add("let spare = 'abc'\n", "E0104")


@fault
def quote_in_template(hand: Hand) -> Seeded | None:
    place = hand.place(
        lambda place: TEMPLATE in place.options and _named(place) and place.field.value != "none"
    )
    return hand.set(place, '"{{ a["b"] }}"', "E0105", plainly=True)


@fault
def unknown_unit(hand: Hand) -> Seeded | None:
    place = hand.place(lambda place: bool({INT, FLOAT} & set(place.options)))
    return hand.set(place, "5parsecs", "E0108")


@fault
def detached_percent(hand: Hand) -> Seeded | None:
    return hand.set(hand.place(lambda place: PERCENT in place.options), "50 %", "E0111")


@fault
def leading_point(hand: Hand) -> Seeded | None:
    place = hand.place(lambda place: FLOAT in place.options and place.spec.bounds.broken_by(0.25) is None)
    return hand.set(place, ".25", "E0107")


@fault
def missing_comma(hand: Hand) -> Seeded | None:
    place = hand.place(lambda place: _two_words(place.field.value))
    if place is None or not isinstance(place.field.value, Several):
        return hand.add(f"let spare = [1 {MARK}2]\n", "E0120")
    first, *rest = place.field.value.items
    items = [part for item in rest[1:] for part in (", ", item)]
    return hand.set(place, Glued(("[", first, " ", MARK, rest[0], *items, "]")), "E0120", plainly=True)


def _two_words(value: object) -> bool:
    """Whether a list has a second item that begins with a word or a text: a bracket would call the first."""
    if not isinstance(value, Several) or len(value.items) < 2:
        return False
    second = value.items[1]
    return isinstance(second, str) and second[0] not in "([{"


@fault
def unclosed_block(hand: Hand) -> Seeded | None:
    """A block that nothing closes, behind everything else: the bracket is blamed."""
    return hand.add(f'dataset spare = csv("rows.csv") {MARK}{{\n  limit = 1\n', "E0112")

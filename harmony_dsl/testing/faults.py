"""Faults of meaning: one is seeded into a well-typed recipe.

Each kind finds its places by what the node classes say of their fields, so that a new field can be misspelt,
left out, out of range or of a wrong type without a word here.
"""

from __future__ import annotations

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.catalogue import constructor_names
from harmony_compiler.graph.datasets import Rows
from harmony_compiler.graph.node import Derived, schema
from harmony_compiler.graph.types import (
    CONDITION,
    DURATION,
    FLOAT,
    FORMULA,
    GRADER,
    INT,
    JSON,
    NONE,
    PATH,
    PERCENT,
    REGEX,
    SECRET,
    TEMPLATE,
    DatasetType,
    ListOf,
    LiteralText,
    options_of,
)
from harmony_compiler.naming.names import names_of_the_language
from harmony_compiler.typed import Made
from harmony_dsl.testing.data import FORMATS
from harmony_dsl.testing.seeding import Hand, Place, Seeded, beyond, fault, misspelt
from harmony_dsl.testing.tree import MARK, Block, Field, Glued, Several

NUMBERS = {INT, FLOAT, PERCENT}


# --- fields ---------------------------------------------------------------------------------------------


@fault
def misspelt_field(hand: Hand) -> Seeded | None:
    place = hand.place(lambda place: len(place.field.key) > 1)
    if place is None or place.block.cls is None:
        return None
    known = [name for block in hand.blocks() if block.cls for name in schema(block.cls)]
    key = misspelt(hand.pick, place.field.key, [*known, *schema(place.block.cls)])
    fields = [Field(f"{MARK}{key}", one.value) if one is place.field else one for one in place.block.fields]
    return hand.put(place.block, hand.with_fields(place.block, fields), "E0401")


@fault
def field_twice(hand: Hand) -> Seeded | None:
    place = hand.place(lambda place: isinstance(place.field.value, str))
    return place and hand.behind(place, f"{MARK}{place.field.key} = {place.field.value}", "E0402")


@fault
def missing_field(hand: Hand) -> Seeded | None:
    place = hand.place(lambda place: place.spec.required and not place.block.copies)
    if place is None:
        return None
    kept = [one for one in place.block.fields if one is not place.field]
    return hand.put(place.block, hand.marked(hand.with_fields(place.block, kept)), "E0403")


@fault
def out_of_range(hand: Hand) -> Seeded | None:
    place = hand.place(lambda place: bool(set(place.options) & NUMBERS and beyond(place.spec.bounds)))
    if place is None:
        return None
    only_shares = set(place.options) <= {PERCENT, NONE}
    return hand.set(place, f"{hand.pick(beyond(place.spec.bounds))}{'%' if only_shares else ''}", "E0404")


@fault
def share_beyond_the_whole(hand: Hand) -> Seeded | None:
    return hand.set(hand.place(lambda place: PERCENT in place.options), "101%", "E0404")


@fault
def wrong_type(hand: Hand) -> Seeded | None:
    place = hand.place(lambda place: not {DURATION, JSON, CONDITION, FORMULA} & set(place.options))
    return hand.set(place, "5min", "E0301")


@fault
def value_of_another_kind(hand: Hand) -> Seeded | None:
    """A model where a dataset belongs, and the like."""
    place = hand.place(lambda place: place.spec.is_edge and not isinstance(place.options[0], ListOf))
    if place is None:
        return None
    of_rows = any(isinstance(option, DatasetType) for option in place.options)
    return hand.set(place, 'local("tiny-model")' if of_rows else 'rows([{ a = "b" }])', "E0301")


@fault
def rows_of_another_kind(hand: Hand) -> Seeded | None:
    wanted = {"Thread": "Prompt", "Preference": "Thread", "Prompt": "Preference"}
    fields = {
        "Prompt": 'prompt = "{{ question }}"',
        "Thread": 'prompt = "{{ question }}", completion = "{{ answer }}"',
        "Preference": 'prompt = "{{ question }}", chosen = "{{ answer }}", rejected = "no"',
    }
    place = hand.place(
        lambda place: isinstance(place.spec.type, DatasetType) and place.spec.type.rows is not None
    )
    if place is None or not isinstance(place.spec.type, DatasetType):
        return None
    return hand.set(place, f'jsonl("rows.jsonl") {{ {fields[wanted[str(place.spec.type.rows)]]} }}', "E0301")


@fault
def unknown_option(hand: Hand) -> Seeded | None:
    place = hand.place(_only_options)
    return hand.set(place, '"nothing like it"', "E0304")


def _only_options(place: Place) -> bool:
    texts = {PATH, TEMPLATE, REGEX, *(option for option in place.options if str(option) == "str")}
    return any(isinstance(o, LiteralText) for o in place.options) and not texts & set(place.options)


@fault
def unknown_name(hand: Hand) -> Seeded | None:
    place = hand.place(lambda place: CONDITION not in place.options)
    return hand.set(place, "nothing_of_this_name", "E0204")


@fault
def unknown_constructor(hand: Hand) -> Seeded | None:
    block = hand.pick(hand.heads())
    head = misspelt(hand.pick, block.head, [*names_of_the_language(), *constructor_names()])
    return hand.put(block, Block(f"{MARK}{head}", block.fields, block.cls, held=block.held), "E0204")


@fault
def both_of_a_group(hand: Hand) -> Seeded | None:
    """`epochs` and `steps`."""
    place = hand.place(lambda place: bool(_others(place)) and place.field.value != "none")
    return place and hand.behind(place, f"{MARK}{hand.pick(_others(place))} = 1", "E0407")


def _others(place: Place) -> list[str]:
    groups = place.block.cls.exactly_one if place.block.cls else ()
    return [name for group in groups if place.field.key in group for name in group if name != place.field.key]


@fault
def none_of_a_group(hand: Hand) -> Seeded | None:
    """Neither `epochs` nor `steps`."""
    found = hand.heads(lambda block: bool(block.cls and block.cls.exactly_one))
    if not found:
        return None
    block = hand.pick(found)
    members = {name for group in block.cls.exactly_one for name in group} if block.cls else set()
    kept = [one for one in block.fields if one.key not in members]
    return hand.put(block, hand.marked(hand.with_fields(block, kept)), "E0408")


@fault
def broken_rule(hand: Hand) -> Seeded | None:
    """An indivisible batch, and whatever else the rules of a class forbid."""
    found: list[tuple[Place, Place, int]] = []
    for block in hand.heads():
        for name in (one.key for one in block.fields):
            found += _breaking(hand, block, name)
    if not found:
        return None
    changed, blamed, number = hand.pick(found)
    mark = Field(blamed.field.key, Glued((MARK, blamed.field.value)))
    fields = [mark if one is blamed.field else one for one in changed.block.fields]
    value = Glued((MARK, f"{number}")) if blamed.field is changed.field else f"{number}"
    fields = [Field(one.key, value) if one.key == changed.field.key else one for one in fields]
    return hand.put(changed.block, hand.with_fields(changed.block, fields), "E0406")


def _breaking(hand: Hand, block: Block, name: str) -> list[tuple[Place, Place, int]]:
    """Whole numbers in a field that break exactly one rule of its class, with the field that is blamed."""
    if block.cls is None or type(block.held.get(name)) is not int:
        return []
    places = {
        one.key: Place(block, one, spec) for one in block.fields if (spec := schema(block.cls).get(one.key))
    }
    specs = schema(block.cls)
    # What is derived from the number would change with it.
    derived = {
        other for other, spec in specs.items() if isinstance(spec.default, Derived) and other not in places
    }
    rules = [rule for rule in block.cls.rules if not rule.warns and not derived & {rule.blame, *rule.beside}]
    mine = [rule for rule in rules if name in (rule.blame, *rule.beside)]
    if any("." in part for rule in mine for part in (rule.blame, *rule.beside)):
        mine = [rule for rule in mine if not any("." in part for part in (rule.blame, *rule.beside))]
    found = []
    for number in (1, 3, 5, 7, 12, 48, 1000):
        held = {**block.held, name: number}
        if places[name].spec.bounds.broken_by(number):
            continue
        broken = [
            rule
            for rule in rules
            if all(held.get(part) is not None for part in (rule.blame, *rule.beside))
            and not rule.holds(*(held[part] for part in (rule.blame, *rule.beside)))
        ]
        if len(broken) == 1 and broken[0] in mine:
            blamed = next(part for part in (broken[0].blame, *broken[0].beside) if part in places)
            found.append((places[name], places[blamed], number))
    return found


@fault
def field_that_nothing_reads(hand: Hand) -> Seeded | None:
    """`label_smoothing` beside a loss without it."""
    for block in hand.heads(lambda block: bool(block.cls and block.cls.reads)):
        for read in block.cls.reads if block.cls else ():
            spec = schema(block.cls).get(read.field) if block.cls else None
            taken = [one.key for one in block.fields]
            if (
                spec is None
                or read.field in taken
                or "." in read.option
                or read.read(block.held[read.option])
            ):
                continue
            simple = {str(INT): "1", str(FLOAT): "0.1", "bool": "true", str(PERCENT): "5%"}
            value = next((simple[str(o)] for o in options_of(spec.type) if str(o) in simple), None)
            if value is not None:
                fields = (*block.fields, Field(f"{MARK}{read.field}", value))
                return hand.put(block, hand.with_fields(block, fields), "E0413")
    return None


@fault
def field_without_another(hand: Hand) -> Seeded | None:
    """`early_stop` without `validation`."""
    copied = {block.cls for block in hand.blocks() if block.copies}  # a copy would lack the same again
    for block in hand.heads(
        lambda block: bool(block.cls and block.cls.needs_fields) and block.cls not in copied
    ):
        written = {one.key: one for one in block.fields}
        for need in block.cls.needs_fields if block.cls else ():
            pair = written.get(need.field), written.get(need.other)
            if pair[0] is None or pair[1] is None or "none" in (pair[0].value, pair[1].value):
                continue
            kept = [one for one in block.fields if one not in pair]
            kept.append(Field(need.field, Glued((MARK, pair[0].value))))
            return hand.put(block, hand.with_fields(block, kept), "E0414")
    return None


# --- numbers and texts ----------------------------------------------------------------------------------


@fault
def bare_share(hand: Hand) -> Seeded | None:
    place = hand.place(lambda place: PERCENT in place.options and FLOAT not in place.options)
    return hand.set(place, "0.5", "E0303")


@fault
def known_only_when_graded(hand: Hand) -> Seeded | None:
    return hand.set(
        hand.place(lambda place: bool(set(place.options) & NUMBERS)), "words(completion)", "E0312"
    )


@fault
def no_such_fact_of_the_launch(hand: Hand) -> Seeded | None:
    place = hand.place(lambda place: bool(set(place.options) & NUMBERS))
    return hand.set(place, f"ctx.{MARK}wrld_size", "E0308")


@fault
def division_by_zero(hand: Hand) -> Seeded | None:
    return hand.set(hand.place(lambda place: bool(set(place.options) & NUMBERS)), "1 / 0", "E0309")


@fault
def secret_as_text(hand: Hand) -> Seeded | None:
    place = hand.place(lambda place: SECRET in place.options)
    return hand.set(place, '"sk-1234567890"', "E0424") or hand.add(
        'input spare: Secret = "sk-1234567890"\n', "E0424"
    )


@fault
def credential_in_an_address(hand: Hand) -> Seeded | None:
    place = hand.place(lambda place: any(text.startswith('"http') for text in place.spec.examples))
    address = '"https://me:hunter2@example.com/v1"'
    return hand.set(place, address, "E0417") or hand.add(f"grader spare = remote({address})\n", "E0417")


@fault
def missing_file(hand: Hand) -> Seeded | None:
    place = hand.place(lambda place: PATH in place.options)
    return hand.set(place, '"nowhere/to_be.found"', "E0501")


@fault
def broken_regex(hand: Hand) -> Seeded | None:
    place = hand.place(lambda place: REGEX in place.options)
    return hand.set(place, '"(a"', "E0314") or hand.add('grader spare = matches("(a")\n', "E0314")


# --- templates and rows ---------------------------------------------------------------------------------


def _template(hand: Hand, *, of_rows: bool) -> Place | None:
    """A template: one of a dataset whose columns are known, or any."""

    def fits(place: Place) -> bool:
        cls = place.block.cls
        known = (
            cls is not None
            and issubclass(cls, Rows)
            and (cls.constructor in FORMATS or "items" in schema(cls))
        )
        written = isinstance(place.field.value, str) and place.field.value != "none"
        return TEMPLATE in place.options and written and (known or not of_rows)

    return hand.place(fits)


@fault
def unknown_column(hand: Hand) -> Seeded | None:
    texts = ('"{{ %sqestion }}"', '"{{ %sqestion | trim }}"', '"""\n{{ question }}\n{{ %sqestion }}\n"""')
    return hand.set(_template(hand, of_rows=True), hand.pick(texts) % MARK, "E0502")


@fault
def unknown_filter(hand: Hand) -> Seeded | None:
    return hand.set(_template(hand, of_rows=False), f"\"{{{{ 'a' | {MARK}trimm }}}}\"", "E0504")


@fault
def broken_template(hand: Hand) -> Seeded | None:
    texts = ("\"{{ 'a' | }}\"", '"{% if true %}a"', "\"{{ 'a' \"", "\"{% include 'a' %}\"")
    return hand.set(_template(hand, of_rows=False), hand.pick(texts), "E0503")


@fault
def unknown_metadata(hand: Hand) -> Seeded | None:
    """A grader that reads what its rows do not have."""

    def fits(place: Place) -> bool:
        # Where none grades, the rows may be other ones than prompts.
        graded = GRADER in place.options and place.field.value != "none"
        return graded and _known_metadata(place.block)

    place = hand.place(fits)
    return hand.set(place, f"words(completion) + words(metadata.{MARK}nothing_like_it)", "E0512")


def _known_metadata(block: Block) -> bool:
    dataset = block.held.get("dataset")
    if not isinstance(dataset, Made) or not issubclass(dataset.cls, Rows):
        return False
    return isinstance(dataset.values["metadata"], dict | None) and _has(block, "dataset")


def _has(block: Block, name: str) -> bool:
    return any(one.key == name for one in block.fields)


# --- graders and outputs --------------------------------------------------------------------------------


def _reward(hand: Hand) -> Place | None:
    return hand.place(
        lambda place: (
            place.spec.type == GRADER
            and place.block.cls is not None
            and issubclass(place.block.cls, Algorithm)
        )
    )


@fault
def constant_reward(hand: Hand) -> Seeded | None:
    return hand.set(_reward(hand), "words(completion) - words(completion) + 2", "E0607")


@fault
def weights_of_zero(hand: Hand) -> Seeded | None:
    return hand.set(_reward(hand), "0 * words(completion)", "E0608")


@fault
def reward_that_reads_no_completion(hand: Hand) -> Seeded | None:
    return hand.set(_reward(hand), "words(prompt)", "E0609")


@fault
def entry_twice(hand: Hand) -> Seeded | None:
    place = hand.place(
        lambda place: (
            isinstance(place.field.value, Several)
            and place.block.head == "compare"
            and isinstance(place.field.value.items[0], str)
        )
    )
    if place is None or not isinstance(place.field.value, Several):
        return None
    first = place.field.value.items[0]
    parts = [part for item in place.field.value.items for part in (item, ", ")]
    return hand.set(place, Glued(("[", *parts, f"{MARK}{first}", "]")), "E0412")

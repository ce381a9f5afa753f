"""Hypothesis strategies: well-typed recipes, made from the catalogue itself, and broken ones."""

from __future__ import annotations

import re
from collections.abc import Callable

from compiler_support import COMPARED, GOOD, REINFORCED, replaced
from hypothesis import strategies as st

from harmony_compiler.graph.algorithms import Grpo, Sft
from harmony_compiler.graph.catalogue import class_of
from harmony_compiler.graph.datasets import JsonLines, LiteralRows
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graders import Contains, Equals, Matches
from harmony_compiler.graph.models import HubModel, LocalModel, ScratchModel
from harmony_compiler.graph.node import Bounds, Constructor, FieldSpec, schema
from harmony_compiler.graph.settings import Sampling
from harmony_compiler.graph.types import (
    BOOL,
    FLOAT,
    INT,
    NONE,
    PATH,
    PERCENT,
    STR,
    TEMPLATE,
    ListOf,
    LiteralText,
    RecordOf,
    SettingsType,
    Type,
    options_of,
)

Draw = Callable[[st.SearchStrategy[str]], str]

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters='"\\', exclude_categories=["C"]), max_size=8)
_TEMPLATES = [
    '"{{ question }}"',
    'r"{{ answer | trim }}"',
    '"""\n  {% if question %}{{ question }}{% endif %}\n  """',
    '"= \\n {{ answer[0] }}"',
    '""',
]
_CHOSEN = {
    # Fields that rules or the disk bind to one another.
    "hidden_size": ["16", "32", "8 * 6"],
    "heads": ["1", "2", "4"],
    "kv_heads": ["1"],
    "vocab_size": ["103", "32_000"],
    "tp": ["1", "ctx.world_size"],
    "split": ['"train"', '"train[:90%]"', '"train[-1:] + train[:1]"'],
    "tokenizer": ['"chars"', '"home"'],
    "context": ["24", "256"],
    "completions_per_sample": ["2", "4"],
    "samples_per_mini_batch": ["4", "2 * 4"],
    "max_tokens": ["1", "2 + 2"],
    "stop": ["[]", '[".", "\\n"]'],
    "temperature": ["0.5", "1.0", "100%"],
    "top_k": ["2", "3 * 4"],
    "regex": ['"^[0-9]+$"', 'r"\\d"', '""'],
    "expected": ['"{{ metadata.answer }}"', "\"{{ metadata['answer'] | trim }}\"", '"2"'],
    "text": [
        '"{{ prompt }} {{ completion | lower }}"',
        '"{% for turn in turns %}{{ turn.role }}{% endfor %}"',
    ],
    "items": ['[{ question = "1+1", answer = "2" }]', "[{ question = [1, none] }, { answer = { a = 1.5 } }]"],
}


def _number(bounds: Bounds, whole: bool) -> st.SearchStrategy[str]:
    low = next((bound for bound in (bounds.at_least, bounds.above) if bound is not None), -100)
    high = next((bound for bound in (bounds.at_most, bounds.below) if bound is not None), low + 100)
    if whole:
        return st.integers(int(low), int(high)).filter(lambda n: bounds.broken_by(n) is None).map(str)
    return st.floats(low, high).filter(lambda x: bounds.broken_by(x) is None).map(repr)


def _of_type(type_: Type, bounds: Bounds) -> st.SearchStrategy[str]:
    match type_:
        case LiteralText(text=text):
            return st.just(f'"{text}"')
        case SettingsType(name=name):
            return constructed(class_of(name))
        case ListOf(item=item):
            items = st.lists(_of_type(item, bounds), max_size=3)
            return items.map(lambda found: f"[{', '.join(found)}]")
        case RecordOf(item=item):
            keys = st.sampled_from(["a", "b", '"a key"'])
            fields = st.dictionaries(keys, _of_type(item, bounds), max_size=3)
            return fields.map(lambda found: "{ " + ", ".join(f"{k} = {v}" for k, v in found.items()) + " }")
    by_type = {
        BOOL: st.sampled_from(["true", "false", "not true", "1 < 2"]),
        INT: _number(bounds, whole=True),
        FLOAT: _number(bounds, whole=False),
        PERCENT: st.integers(0, 100).map(lambda n: f"{n}%"),
        NONE: st.just("none"),
        STR: _TEXT.map(lambda text: f'"{text}"'),
        TEMPLATE: st.sampled_from(_TEMPLATES),
        PATH: st.nothing(),
    }
    return by_type[type_]


def values(spec: FieldSpec) -> st.SearchStrategy[str]:
    """Texts of values that a field takes."""
    if spec.name in _CHOSEN:
        return st.sampled_from(_CHOSEN[spec.name])
    return st.one_of([_of_type(option, spec.bounds) for option in options_of(spec.type)])


@st.composite
def constructed(draw: Draw, cls: type[Constructor], **fixed: str) -> str:
    """A constructor with its required fields, and some of the others, in any order and layout."""
    specs = schema(cls)
    groups = [draw(st.sampled_from(group)) for group in cls.exactly_one]
    members = {name for group in cls.exactly_one for name in group}
    given = dict(fixed)
    for name, spec in specs.items():
        needed = spec.required or name in groups
        left_out = name in members and name not in groups
        if name not in given and not left_out and (needed or draw(st.booleans())):
            value = draw(values(spec))
            given[name] = draw(values(spec).filter(lambda text: text != "none")) if needed else value
    if given.get("architecture") == '"gpt2"':
        given.pop("kv_heads", None)
    names = draw(st.permutations(list(given)))
    cut = draw(st.integers(0, len(names)))
    inside, behind = ([f"{name} = {given[name]}" for name in part] for part in (names[:cut], names[cut:]))
    arguments = f"({', '.join(inside)})" if inside else ""
    return f"{cls.constructor}{arguments} {{\n  " + "\n  ".join(behind) + "\n}"


_TEXTS = st.recursive(
    st.sampled_from(["completion", "prompt", "metadata.answer", 'metadata["answer"]', "turns[0].content"]),
    lambda texts: st.one_of(
        st.builds("{}({})".format, st.sampled_from(["lower", "strip"]), texts),
        st.builds("({} + {})".format, texts, texts | st.just('"a"')),
        st.builds("{}[{}]".format, texts, st.integers(0, 3)),
    ),
    max_leaves=3,
)
"""Texts that are known when a completion is graded."""


def _numbers_over(numbers: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    conditions = st.one_of(
        st.builds("{} {} {}".format, numbers, st.sampled_from(["<", "<=", "==", "!="]), numbers),
        st.builds("{} {} {}".format, _TEXTS, st.sampled_from(["in", "not in", "==", ">"]), _TEXTS),
        st.builds('matches({}, "^a|b$")'.format, _TEXTS),
    )
    return st.one_of(
        st.builds("({} {} {})".format, numbers, st.sampled_from(["+", "-", "*", "//"]), numbers),
        st.builds("{}({})".format, st.sampled_from(["abs", "round", "mean"]), numbers),
        st.builds("clamp({}, 0, 10)".format, numbers),
        st.builds("(if {} then {} else {})".format, conditions, numbers, numbers),
        st.builds("(if {} and not ({}) then {} else none)".format, conditions, conditions, numbers),
    )


FORMULAS = st.recursive(
    st.one_of(
        st.builds("{}({})".format, st.sampled_from(["words", "chars", "lines", "number", "len"]), _TEXTS),
        st.builds("agreement({}, {})".format, _TEXTS, _TEXTS),
        st.builds("contains({}, {})".format, _TEXTS, _TEXTS).map("0.5 * {}".format),
    ),
    _numbers_over,
    max_leaves=4,
)
"""Numbers that are known when a completion is graded."""


def rewards(graders: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Combinations of graders, from which something can be learned: each leaf has a weight of its own."""
    weights = st.sampled_from(["0.5", "2", "10%"])
    more = st.one_of(
        st.builds("{} * {}".format, weights, graders),
        st.builds("clamp({}, -1, 1)".format, graders),
        st.builds("mean({}, {})".format, graders, FORMULAS),
        st.builds("(if {} > 1 then {} else 0)".format, FORMULAS, graders),
        graders.map(lambda name: f'{name} {{ on_failure = "zero" }}'),
    )
    return st.lists(more, min_size=1, max_size=3).map(" + ".join)


@st.composite
def imitations(draw: Draw) -> list[str]:
    """Two stages over a model `base`."""
    mapping = {"prompt": draw(st.sampled_from(_TEMPLATES)), "completion": draw(st.sampled_from(_TEMPLATES))}
    path = draw(st.sampled_from(['"sums.jsonl"', '["sums.jsonl", "sums.jsonl"]']))
    dataset = draw(
        st.one_of(constructed(JsonLines, path=path, **mapping), constructed(LiteralRows, **mapping))
    )
    return [
        f"dataset lessons = {dataset}",
        f"train first = {draw(constructed(Sft, model='base', dataset='lessons'))}",
        f"train second = {draw(constructed(Sft, model='first { tp = 1 }', dataset='lessons'))}",
        'save second as "second"',
    ]


@st.composite
def reinforcements(draw: Draw) -> list[str]:
    """Graders, a stage that reinforces and an evaluation, over a model `base`."""
    leaf = draw(st.one_of(constructed(Equals), constructed(Contains), constructed(Matches), FORMULAS))
    reward = draw(rewards(st.sampled_from(["exact", "close", 'contains("1")'])))
    stage = draw(
        constructed(
            Grpo,
            model="base",
            dataset="asked",
            grader=f"exact + ({reward})",
            completions_per_sample=draw(st.sampled_from(["2", "4"])),
            samples_per_batch="16",
            samples_per_mini_batch=draw(st.sampled_from(["4", "2 * 4"])),
            sampling=draw(constructed(Sampling, max_tokens="2")),
        )
    )
    report = draw(
        constructed(
            Compare,
            models="[base, polished]",
            dataset="asked",
            graders=f"[close, {draw(FORMULAS)} + exact]",
            sampling=draw(constructed(Sampling, max_tokens="2", temperature="0.5")),
        )
    )
    return [
        f"grader close = {leaf}",
        "grader exact = agreement(completion, metadata.answer)",
        'dataset asked = jsonl("sums.jsonl") { prompt = "{{ question }}", metadata = { answer = "a" } }',
        f"train polished = {stage}",
        f"evaluate report = {report}",
        'save polished as "polished"',
    ]


@st.composite
def recipes(draw: Draw) -> str:
    """A recipe without errors that imitates, or reinforces and evaluates."""
    model = draw(
        st.one_of(
            constructed(ScratchModel),
            constructed(HubModel, repo='"Qwen/Qwen3-0.6B"'),
            constructed(LocalModel, path='"home"'),
        )
    )
    parts = [f"model base = {model}", f"recipe generated {{ seed = {draw(st.integers(0, 99))} }}"]
    parts += draw(st.one_of(imitations(), reinforcements()))
    return "\n".join(draw(st.permutations(parts))) + "\n"


# --- broken recipes -------------------------------------------------------------------------------------

_LEARNT = "recipe rich { seed = 3 }\ninput rate: float = 1e-2 where 0 < rate < 1\n" + GOOD.replace(
    "lr = 1e-2", "lr = if rate > 0.5 then rate else [rate, 2 * rate][0]\n  schedule = linear { warmup = 5% }"
)
RICH = [
    _LEARNT,
    "let long = words(completion) - 2\n"
    + replaced(REINFORCED, ("grader = right", "grader = if long > 3 then 0.5 * right else -long / 7"))
    + COMPARED,
]
TOKENS = [re.findall(r"\s+|\w+|\"[^\"]*\"|.", text) for text in RICH]


@st.composite
def mutated(draw: Draw) -> str:
    """A good recipe with some tokens deleted, doubled, swapped or replaced, or a stretch of it cut out."""
    tokens = list(draw(st.sampled_from(TOKENS)))
    for _ in range(draw(st.integers(1, 4))):
        at, other = (draw(st.integers(0, len(tokens) - 1)) for _ in range(2))
        match draw(st.sampled_from(["delete", "double", "swap", "replace", "cut", "insert"])):
            case "delete":
                tokens[at] = ""
            case "double":
                tokens[at] *= 2
            case "swap":
                tokens[at], tokens[other] = tokens[other], tokens[at]
            case "replace":
                tokens[at] = tokens[other]
            case "cut":
                tokens[min(at, other) : max(at, other)] = [""]
            case "insert":
                tokens[at] += draw(
                    st.sampled_from([*"{}[]().,=%\"'\\\n#", "none", "ctx", "grpo", "env", "1e9"])
                )
    return "".join(tokens)


FRAGMENTS = [
    *("recipe", "input", "let", "model", "dataset", "train", "save", "as", "where", "if", "then", "else"),
    *("a", "b", "tiny", "sums", "sft", "scratch", "jsonl", "rows", "hf", "env", "ctx", "prompt", "seed"),
    *("= ", "{ ", " }", "(", ")", "[", "]", ", ", ".", ": ", "\n", " ", "+", "-", "*", "//", "<", "==", "in"),
    *("1", "0", "1e-5", "10%", "5min", "9223372036854775807", "true", "none", '"x"', '"{{ x }}"', '"{%"'),
    *(
        "grader",
        "evaluate",
        "completion",
        "turns",
        "metadata",
        ".key",
        "words(",
        "mean(",
        "contains(",
        "0.5 * ",
    ),
    *("matches(", 'r"^("', "equals", "if completion == ", "not ", " and ", "-"),
    *("int", "str", "Model", "list[int]", '"sums.jsonl"', "# c\n", "## d\n", "\\", "é", "\u2028", "\x00"),
]
SOUP = st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join)

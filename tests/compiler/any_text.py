"""Hypothesis strategies for texts that may be anything: recipes gone wrong, and soup of words."""

from __future__ import annotations

import re

from compiler_support import COMPARED, GOOD, REINFORCED, replaced
from hypothesis import strategies as st

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
def mutated(draw: st.DrawFn) -> str:
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

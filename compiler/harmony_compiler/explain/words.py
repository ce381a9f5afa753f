"""Words of the language that no class stands for: what declares, what formulas read, and types."""

from __future__ import annotations

from collections.abc import Mapping

from harmony_grammar.records import Record


class Word(Record):
    """A word, what it is, and how a recipe writes it."""

    name: str
    about: str
    form: str = ""
    members: tuple[tuple[str, str, str], ...] = ()
    """What stands behind its dot: name, type, and what it is."""


_DECLARATIONS = (
    Word(
        "import",
        "The values of another recipe, as `NAME.value`. Only what is used comes in: its `recipe`, `save` "
        "and `evaluate` do not run. Its inputs keep their defaults, or are set in `{ }` or by "
        "`--set NAME.input=…`.",
        'import "FILE.recipe" as NAME { input = value, … }',
    ),
    Word(
        "input",
        "A value that a caller may set, by `--set NAME=value` or a file of values. One without a default "
        "must be set, and one that breaks its condition is refused.",
        "input NAME: TYPE = default where condition",
    ),
    Word(
        "let",
        "A named value of any type. An algorithm under `let` is trained like one under `train`.",
        "let NAME = value",
    ),
)

_NAMES = (
    Word(
        "completion",
        "The text that is graded, in formulas and in templates of graders.",
        "completion: str",
    ),
    Word("prompt", "What the completion answers: the text of the last user turn.", "prompt: str"),
    Word(
        "turns",
        "All turns before the completion, in formulas and in templates of graders.",
        "turns: list[turn]",
        (("role", "str", "who speaks"), ("content", "str", "the text")),
    ),
    Word(
        "metadata",
        "The named values of the row, as the dataset's `metadata` gives them. A grader that reads one needs "
        "it, and a dataset without it is an error.",
        "metadata.NAME",
    ),
    Word(
        "ctx",
        "What the launch decides. It may decide the value of a field, and never which models, datasets and "
        "stages there are.",
        "ctx.NAME",
        (
            ("world_size", "int", "processes in all, one a device"),
            ("nodes", "int", "machines"),
            ("gpus_per_node", "int", "processes on each machine"),
            ("run_name", "str", "the recipe's name"),
        ),
    ),
    Word(
        "env",
        "A secret, by the name of the environment variable that holds it. It stands in fields of type "
        "`Secret` alone, and is never printed, logged, hashed or written to the graph.",
        'env("NAME")',
    ),
)

_TYPES = (
    Word("bool", "True or false.", "true"),
    Word("int", "A whole number. It is taken for a `float` too.", "1_000"),
    Word("float", "A number.", "1e-5"),
    Word("percent", "A share, without a blank before the sign. It is taken for a `float` too.", "10%"),
    Word("str", 'A text. In quotes a type is that text alone: `"slow" | "fast"`.', '"text"'),
    Word("duration", "A stretch of time, in `ms`, `s`, `min`, `h` or `d`.", "30s"),
    Word("none", "No value. `T | none` is a type whose value may be missing.", "none"),
    Word("list", "Values of one type, in their order: `list[T]`.", '["yes", "no"]'),
    Word(
        "Path",
        "A file or folder, relative to the file in which it is written; in `--set`, to the working folder.",
        '"data/problems.jsonl"',
    ),
    Word("Regex", 'A regular expression of Python. In `r"…"` backslashes stand as they are.', 'r"^[0-9]+$"'),
    Word("Secret", "The name of an environment variable with a secret: see `env`.", 'env("NAME")'),
    Word(
        "Template",
        "A text with parts that are filled in, in the language of Jinja. Every name in it is checked.",
        '"{{ question }}"',
    ),
    Word("Model", "Weights that can be trained or sampled.", 'hf("OWNER/NAME")'),
    Word(
        "Endpoint",
        "A served model. It can judge and be compared, and not be trained.",
        'endpoint("http://localhost:8000/v1") { model = "judge" }',
    ),
    Word(
        "Dataset",
        "Rows. `Dataset[Prompt]` are rows of that kind, and `Dataset` alone rows of any.",
        "Dataset[Prompt]",
    ),
    Word("Prompt", "Rows that ask: `prompt` alone. `grpo` and `ppo` take them.", "Dataset[Prompt]"),
    Word(
        "Thread",
        "Rows that ask and answer: `prompt` with `completion`, or `messages`. `sft` takes them.",
        "Dataset[Thread]",
    ),
    Word(
        "Preference",
        "Rows with a better and a worse answer: `chosen` and `rejected`. `dpo` takes them.",
        "Dataset[Preference]",
    ),
    Word("Table", "Rows of which no turns are made: nothing is mapped.", "Dataset[Table]"),
    Word("Grader", "What scores a completion. A formula is one, too.", 'equals("{{ metadata.answer }}")'),
    Word("Adapter", "What is trained beside the weights: `lora { }`, or `none`.", "lora { rank = 8 }"),
    Word("Schedule", "A course of the learning rate.", "cosine { } | linear { } | constant { }"),
    Word("Optimizer", "An optimiser with its numbers.", "adamw { }"),
    Word("Sampling", "How completions are drawn.", "sampling { max_tokens = 512 }"),
    Word("Validation", "What a stage is measured on, or `none`.", "validation { dataset = heldout }"),
    Word("Checkpoint", "When the state of a stage is kept, or `none`.", "checkpoint { every = 10min }"),
    Word(
        "EarlyStop",
        "What ends a stage early, or `none`.",
        'early_stop { metric = "validation_loss", patience = 3 }',
    ),
)

RESERVED: Mapping[str, str] = {
    "and": "Whether both hold: `a and b`. It binds tighter than `or`.",
    "as": "Names what comes before it: `save MODEL as KEY`, `import FILE as NAME`.",
    "else": "The value where the condition does not hold: `if CONDITION then VALUE else VALUE`.",
    "false": "A value of the type `bool`.",
    "if": "One of two values: `if CONDITION then VALUE else VALUE`. Inside an operator it stands in `( )`.",
    "in": 'Whether a list has a value: `level in ["easy", "hard"]`.',
    "not in": 'Whether a list does not have a value: `level not in ["easy", "hard"]`.',
    "not": "Whether something does not hold: `not a`.",
    "or": "Whether one of both holds: `a or b`. It binds looser than `and`.",
    "then": "The value where the condition holds: `if CONDITION then VALUE else VALUE`.",
    "true": "A value of the type `bool`.",
    "where": "What the value of an input must fulfil: `input NAME: TYPE = default where CONDITION`.",
}
"""The reserved words that are told of nowhere else."""

WORDS: Mapping[str, tuple[str, tuple[Word, ...]]] = {
    "declarations": ("a declaration", _DECLARATIONS),
    "names": ("a name of the language", _NAMES),
    "types": ("a type", _TYPES),
}
"""The words by group, with what each of a group is."""

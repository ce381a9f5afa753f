"""Lengths in a plan: what the compiler counts without the runtime is what the runtime counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
import torch
from runtime_support import GPT2, ROOT, desk_of
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from harmony_compiler.compile import compile_recipe
from harmony_compiler.files import DISK, HEAD
from harmony_compiler.graph.algorithms import Algorithm, Sft
from harmony_compiler.plan import tokenizers
from harmony_compiler.plan.lengths import Lengths, lengths_of
from harmony_grammar.source import Source
from harmony_runtime.data.tokens.pairs import pairs_of
from harmony_runtime.data.tokens.prompts import prompts_of
from harmony_runtime.data.tokens.trained import tokens_of

WIDE, ROWS = 100_000, 40

WORDS = (
    "a",
    " b",
    "the ",
    "\n",
    "\n\n",
    "  ",
    "<eos>",
    "<user>",
    "<",
    "é",
    "漢字",
    "🙂🙂",
    "12+3",
    "<|end|>",
    "\t",
)


def texts(seed: int, least: int = 1) -> list[str]:
    chance = Random(seed)
    return ["".join(chance.choices(WORDS, k=chance.randint(least, 30))) for _ in range(ROWS)]


def written(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


# --- models ---------------------------------------------------------------------------------------------

MARKED = (
    "{%- for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
GENERATION = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}"
    "[A]{{ m.content }}<|end|>{% endgeneration %}{% else %}[{{ m.role | upper }}]{{ m.content }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}[A]{% endif %}"
)
OTHERWISE = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m.role }} {{ m.keys() | list | tojson }} "
    "{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant now: {% endif %}"
)


def saved(folder: Path, template: str | None = None, *, bos: bool = False, **settings: Any) -> Path:
    """A folder with a small tokenizer, trained on the words of the rows."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=330,
        special_tokens=["<s>", "<|start|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    bpe.train_from_iterator(texts(1) + ["user\n", "assistant\n", "]]]"] * 9, trainer)
    if bos:
        bpe.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", bpe.token_to_id("<s>"))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="<|end|>", chat_template=template, **settings
    )
    tokenizer.save_pretrained(folder)
    return folder


def scratch(context: int, fields: str = "") -> str:
    return f"scratch {{ hidden_size = 8, layers = 1, heads = 1, context = {context} {fields} }}"


Model = Callable[[Path, int], str]
"""A model of some context, as a recipe writes it, with its files in a folder."""


def of_chars(fields: str = "") -> Model:
    return lambda folder, context: scratch(context, fields)


def of_folder(template: str | None = None, fields: str = "", **options: Any) -> Model:
    def make(folder: Path, context: int) -> str:
        place = folder / "tokenizer"
        if not place.exists():
            saved(place, template, **options)
            (folder / "other.jinja").write_text(OTHERWISE)
        return scratch(context, f', tokenizer = "{place}" {fields}')

    return make


def of_model(kind: str, template: str) -> Model:
    """A model's own folder, which `local` names; its weights are not asked for."""

    def make(folder: Path, context: int) -> str:
        place = saved(folder / "model", template)
        about = {"model_type": kind, "max_position_embeddings": context, "vocab_size": 400}
        (place / "config.json").write_text(json.dumps(about))
        (place / "generation_config.json").write_text('{"eos_token_id": [0, 1]}')
        (place / "model.safetensors").touch()
        return f'local("{place}")'

    return make


MODELS: dict[str, Model] = {
    "chars": of_chars(),
    "chars, plain": of_chars(', chat_template = "plain"'),
    "chars, another end": of_chars(', end_token = "~"'),
    "marked": of_folder(MARKED),
    "generation": of_folder(GENERATION),
    "no template": of_folder(),
    "no template, with a beginning": of_folder(bos=True),
    "marked, with a beginning": of_folder(MARKED, bos=True),
    "a beginning by the settings": of_folder(MARKED, add_bos_token=True),
    "plain": of_folder(MARKED, ', chat_template = "plain"'),
    "another end": of_folder(MARKED, ', chat_template = "plain", end_token = "<s>"'),
    "a file": of_folder(
        MARKED, ', chat_template = "{}/other.jinja", generation_prompt = "as_trained"', bos=True
    ),
    "qwen3": of_model("qwen3", MARKED),
    "llama": of_model("llama", MARKED.replace("<|end|>", "<s>")),
    "gpt2": of_model("gpt2", GENERATION),
}

# --- rows -----------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    rows: list[dict[str, Any]]
    fields: str
    stage: str


def conversation(number: int) -> list[dict[str, Any]]:
    chance = Random(number)
    says = ["".join(chance.choices(WORDS, k=9)) + "." for _ in range(5)]
    turns = [
        {"from": ("human", "gpt")[n % 2], "value": said} for n, said in enumerate(says[: 2 + number % 3])
    ]
    if turns[-1]["from"] == "human":
        turns.append(
            {"from": "gpt", "value": [{"type": "text", "text": "x"}, {"type": "text", "text": " y"}]}
        )
    return [{"from": "system", "value": "sys"}, *turns] if number % 2 else turns


def weighted(number: int) -> list[dict[str, Any]]:
    roles = ("user", "assistant", "user", "assistant")
    turns: list[dict[str, Any]] = [{"role": role, "content": f"]]{role} {number}"} for role in roles]
    turns[1 + 2 * (number % 2)]["weight"] = 0
    return turns


SFT = "sft { model = m, dataset = d, steps = 1, train_on = %r }"
ONE = SFT.replace("%r", '"last"')
ALL = SFT.replace("%r", '"all"')
DPO = "dpo { model = m, dataset = d, steps = 1 }"
GRPO = (
    "grpo { model = m, dataset = d, grader = words(completion), steps = 1, completions_per_sample = 2, "
    "samples_per_batch = 4, samples_per_mini_batch = 2, sampling { max_tokens = 7 } }"
)
THREE = [
    {"q": one, "a": two, "b": three, "n": number, "f": number / 4, "t": number % 2 == 0}
    for number, (one, two, three) in enumerate(zip(texts(2), texts(3, 0), texts(4), strict=True))
]
PAIRED = [
    {
        "chosen": [*turns, {"role": "assistant", "content": a}],
        "rejected": [*turns, {"role": "assistant", "content": b}],
    }
    for a, b in zip(texts(5), texts(6), strict=True)
    for turns in [[{"role": "user", "content": f"{a}?"}]]
]
SPOKEN = [
    {side: f"\n\nHuman: {one} ?\n\nAssistant: {said}" for side, said in (("chosen", two), ("rejected", one))}
    for one, two in zip(["a", "b\n", "é"] * 9, texts(7)[:27], strict=True)
]

DATA: dict[str, Asked] = {
    "threads": Asked(THREE, 'prompt = "{{ q }}", completion = "{{ a }}"', ONE),
    "with a system": Asked(
        THREE, 'system = "be {{ f }} {{ t }}", prompt = "{{ q }}: {{ n }}\\n", completion = "{{ a }}"', ONE
    ),
    "richer templates": Asked(
        THREE,
        'prompt = "{% if t %}{{ q | upper }}{% endif %}{{ b[1:] }}-", completion = "{{ a | trim }}\\n", '
        'metadata = { n = column("n") }',
        ONE,
    ),
    "everything": Asked(
        THREE, 'prompt = "{{ q }}", completion = "{{ a }}"', SFT.replace("%r", '"everything"')
    ),
    "conversations": Asked([{"conversations": conversation(number)} for number in range(ROWS)], "", ALL),
    "weighted": Asked([{"messages": weighted(number)} for number in range(8)], "", ALL),
    "prompts": Asked(THREE, 'prompt = "{{ q }}"', GRPO),
    "prompts with a system": Asked(THREE, 'system = "{{ b }}", prompt = "{{ q }}{{ n }}"', GRPO),
    "conversations asked": Asked(
        [{"messages": weighted(number)} for number in range(8)], 'prompt = column("messages")', GRPO
    ),
    "pairs": Asked(THREE, 'prompt = "{{ q }}", chosen = "{{ a }}", rejected = "{{ b }}"', DPO),
    "pairs of conversations": Asked(PAIRED, "", DPO),
    "pairs of transcripts": Asked(SPOKEN, "", DPO),
    "a slice": Asked(THREE, 'prompt = "{{ q }}", split = "train[25%:75%] + train[-3:]"', GRPO),
    "the first": Asked(THREE, 'prompt = "{{ q }}", completion = "{{ a }}", limit = 9', ONE),
    "shuffled": Asked(THREE, 'prompt = "{{ q }}", completion = "{{ a }}", shuffle = true', ONE),
}


class Found(NamedTuple):
    kept: int
    dropped: int
    lengths: list[int]
    tokens: int


def both(recipe: str, home: Path) -> tuple[Lengths | None, Found]:
    """What the compiler counts, and what the runtime does."""
    compilation = compile_recipe(Source("case.recipe", recipe, home / "case.recipe"))
    graph, looked = compilation.graph, compilation.looked
    assert graph is not None and looked is not None, [str(f.words.message) for f in compilation.diagnostics]
    ((ref, stage),) = ((ref, node) for ref, node in graph.nodes.items() if isinstance(node, Algorithm))
    dataset = getattr(stage, "dataset")  # noqa: B009 - each algorithm has one
    counted = lengths_of(looked.made[ref], looked.made[dataset], looked.heads, DISK)
    desk = desk_of(graph, home)
    blueprint = desk.blueprints.of(getattr(stage, stage.trains))
    rows: Any
    if isinstance(stage, Sft):
        rows = tokens_of(desk, dataset, blueprint, stage.train_on)
        lengths = rows.lengths(torch.arange(len(rows))).tolist()
    elif stage.constructor == "dpo":
        rows = pairs_of(desk, dataset, blueprint)
        lengths = rows.lengths.tolist()
    else:
        rows = prompts_of(desk, dataset, blueprint, getattr(stage, "sampling").max_tokens)  # noqa: B009
        lengths = rows.lengths.tolist()
    tokens = int(rows.sizes.sum()) if stage.constructor == "dpo" else sum(lengths)
    return counted, Found(rows.counts["kept"], rows.counts["too_long_and_dropped"], lengths, tokens)


def recipe_of(asked: Asked, model: str, file: Path) -> str:
    rest = ', on_too_long = "drop"' if "sampling" in asked.stage else ""
    return (
        f"model m = {model}\n"
        f'dataset d = jsonl("{file}") {{ {asked.fields} {rest} }}\n'
        f"train t = {asked.stage}\n"
        'save t as "t"\n'
    )


MAIN = ("chars", "marked")
"""Models that are tried with all rows."""

CASES = [
    *((model, data) for model in MAIN for data in DATA),
    *((model, "conversations") for model in MODELS),
    ("generation", "weighted"),
    *((model, data) for model in ("plain", "generation", "a file") for data in ("pairs", "prompts")),
]


@pytest.mark.parametrize(("model", "data"), dict.fromkeys(CASES))
def test_the_compiler_counts_what_the_runtime_does(model: str, data: str, tmp_path: Path) -> None:
    asked, file = DATA[data], tmp_path / "data.jsonl"
    written(file, asked.rows)

    def of(context: int) -> tuple[Lengths | None, Found]:
        made = MODELS[model](tmp_path, context).replace("{}", str(tmp_path))
        return both(recipe_of(asked, made, file), tmp_path / str(context))

    counted, found = of(WIDE)
    assert counted is not None
    assert (counted.exact, counted.whole, counted.too_long) == (True, True, 0)
    assert counted.by.startswith("characters" if model.startswith("chars") else "tokenizer.json of")
    assert (counted.looked_at, counted.tokens) == (found.kept, found.tokens)
    assert counted.longest == max(found.lengths)
    assert counted.mean == pytest.approx(sum(found.lengths) / found.kept)
    if model not in MAIN:
        return
    between = sorted(found.lengths)[found.kept // 2] + WIDE - counted.room
    counted, found = of(between)
    assert counted is not None
    assert (counted.too_long, counted.looked_at) == (found.dropped, found.kept + found.dropped)


# --- real data ------------------------------------------------------------------------------------------

GSM8K = ROOT.parent / "shared" / "data" / "gsm8k" / "train_1000.jsonl"
BPE = GPT2.parent / "tiny-bpe-2k"


@pytest.mark.skipif(not (GSM8K.exists() and BPE.is_dir()), reason="the real data is not here")
@pytest.mark.parametrize("folder", [BPE, GPT2], ids=lambda folder: folder.name)
@pytest.mark.parametrize("data", ["threads", "prompts"])
def test_real_rows_by_real_tokenizers(
    folder: Path, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizers, "MOST", HEAD)
    fields = 'limit = 300, prompt = "{{ question }}"' + (
        ', completion = "{{ answer }}"' if data == "threads" else ""
    )
    asked = Asked([], fields, ONE if data == "threads" else GRPO)
    counted, found = both(recipe_of(asked, scratch(2000, f', tokenizer = "{folder}"'), GSM8K), tmp_path)
    assert counted is not None
    assert (counted.exact, counted.whole, counted.looked_at) == (True, True, 300)
    assert (counted.tokens, counted.longest) == (found.tokens, max(found.lengths))

"""Our side: recipes as a user would write them, one a case."""

from __future__ import annotations

from benchmarks.bench.cases import LR, Case, Size

ENDLESS = 1_000_000
"""Steps: who measures ends the run."""

COLUMNS = {
    "sft": 'prompt = "{{ question }}", completion = "{{ answer }}"',
    "dpo": 'prompt = "{{ question }}", chosen = "{{ answer }}", rejected = "{{ worse }}"',
    "grpo": 'prompt = "{{ question }}", metadata = { answer = "{{ answer }}" }',
}
COLUMNS["ppo"] = COLUMNS["grpo"]


def warm(size: Size) -> str:
    """A new model that has learned to answer and to end its answers, in the registry."""
    tokenizer = '"tokenizer"' if size.words else '"chars"'
    return f"""\
recipe warm {{ seed = 7 }}
dataset lessons = jsonl("lessons.jsonl") {{ {COLUMNS["sft"]} }}
model newborn = scratch {{
  architecture = "qwen3"
  tokenizer = {tokenizer}
  hidden_size = {size.hidden}
  layers = {size.layers}
  heads = {size.heads}
  kv_heads = {size.kv_heads}
  mlp_size = {size.mlp}
  context = {size.context}
  tied = true
}}
train taught = sft {{
  model = newborn
  dataset = lessons
  lr = {1e-3 if size.words else 3e-3}
  samples_per_batch = 32
  schedule = constant {{ }}
  steps = {size.warm_steps}
}}
save taught as "{size.key}"
"""


def recipe(case: Case) -> str:
    """The work of a case, on `rows.jsonl` beside it."""
    fields = "\n".join(f"  {name} = {value}" for name, value in _fields(case).items())
    grader = (
        "grader close = agreement(completion, metadata.answer)\n" if case.algorithm in ("grpo", "ppo") else ""
    )
    return f"""\
recipe bench {{ seed = 7 }}
dataset questions = jsonl("rows.jsonl") {{ {COLUMNS[case.algorithm]} }}
{grader}\
train measured = {case.algorithm} {{
{fields}
}}
save measured as "measured"
"""


def _fields(case: Case) -> dict[str, object]:
    of_model = "policy_model" if case.algorithm == "ppo" else "model"
    fields: dict[str, object] = {
        of_model: f'registry("{case.size.key}")',
        "dataset": "questions",
        "samples_per_batch": case.batch,
        "schedule": "constant { }",
    }
    drawing = {
        "grader": "close",
        "kl_beta": case.kl_beta,
        "sampling": f"{{ max_tokens = {case.size.max_tokens} }}",
    }
    match case.algorithm:
        case "sft":
            return fields | {"lr": LR, "steps": ENDLESS}
        case "dpo":
            return fields | {"lr": LR, "beta": 0.1, "steps": ENDLESS}
        case "grpo":
            own = {
                "lr": LR,
                "completions_per_sample": case.group,
                "samples_per_mini_batch": case.batch,
                "advantage": '"mean_std"',
                "clip_range": 0.2,
                "steps": ENDLESS,
            }
            return fields | drawing | own
        case "ppo":
            own = {
                "lr_policy": LR,
                "lr_value": LR,
                "samples_per_mini_batch": case.batch // case.mini_batches,
                "mini_epochs": case.mini_epochs,
                "clip_range": 0.2,
                "clip_range_value": 0.2,
                "value_warmup": 0,
                "max_num_ppo_steps": ENDLESS,
            }
            return fields | drawing | own
    raise ValueError(case.algorithm)

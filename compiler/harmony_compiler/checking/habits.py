"""Fields that people write from habit: what other trainers call things, and what it is called here.

Read only when a field is unknown. The names are those of TRL and transformers, Axolotl, LLaMA-Factory,
torchtune, NeMo-RL and verl.
"""

from __future__ import annotations

from collections.abc import Container

from harmony_grammar.records import Record


class Habit(Record):
    """What is said of names from elsewhere. `fields` are those meant here, of which a constructor has at most
    one; without any it is said everywhere. `renames` offers to write the field's name instead."""

    fields: tuple[str, ...]
    words: str
    renames: bool = False


_STEPS = ("steps", "max_num_ppo_steps")
_LR = ("lr", "lr_policy")
_MODEL = ("model", "policy_model")

_RENAMED: dict[tuple[str, ...], str] = {
    # names here, and names elsewhere that mean the same
    _LR: "learning_rate learnrate lr_max",
    ("lr_value",): "value_lr critic_lr value_learning_rate",
    ("epochs",): "num_train_epochs num_epochs max_epochs max_num_epochs n_epochs total_epochs",
    _STEPS: "max_steps max_num_steps num_steps total_steps n_steps train_steps total_training_steps",
    ("completions_per_sample",): (
        "num_generations num_generations_per_prompt group_size num_return_sequences rollouts_per_prompt"
    ),
    ("max_grad_norm",): "gradient_clipping gradient_clip_val clip_grad_norm grad_clip clip_grad grad_norm",
    ("label_smoothing",): "label_smoothing_factor",
    ("mini_epochs",): "ppo_epochs num_ppo_epochs num_iterations updates_per_batch",
    ("clip_range",): "cliprange clip_eps epsilon clip_ratio epsilon_low clip_ratio_low ratio_clip_min",
    ("clip_range_high",): "epsilon_high clip_ratio_high ratio_clip_max",
    ("clip_range_value",): "cliprange_value value_clip",
    ("gae_lambda",): "lam lmbda",
    ("gae_gamma",): "gamma discount",
    ("whiten",): "whiten_advantages normalize_advantages",
    ("layers",): "num_hidden_layers num_layers n_layer n_layers",
    ("heads",): "num_attention_heads num_heads n_head n_heads",
    ("hidden_size",): "n_embd d_model hidden_dim embed_dim dim",
    ("context",): "max_position_embeddings block_size n_ctx n_positions context_length seq_len",
    ("kv_heads",): "num_key_value_heads num_kv_heads n_kv_heads",
    ("mlp_size",): "intermediate_size ffn_dim d_ff",
    ("tied",): "tie_word_embeddings",
    ("top_k",): "topk",
    ("top_p",): "topp nucleus",
    (
        "max_tokens",
    ): "max_new_tokens max_completion_length max_response_length response_length max_generated_tokens",
    ("stop",): "stop_strings stop_sequences stop_words stop_token",
    ("rank",): "r lora_r lora_rank",
    ("alpha",): "lora_alpha",
    ("dropout",): "lora_dropout",
    ("targets",): "target_modules lora_target lora_target_modules modules",
    ("warmup",): "warmup_steps num_warmup_steps lr_warmup_steps",
    ("beta1",): "adam_beta1",
    ("beta2",): "adam_beta2",
    ("eps",): "adam_epsilon adam_eps",
    ("limit",): "max_samples max_train_samples max_rows",
    ("path",): "file files filename data_files train_file",
    ("config",): "subset",
    ("criteria",): "rubric rubrics",
    ("regex",): "pattern",
    ("expected",): "answer target reference",
    ("system",): "system_prompt system_message",
    ("keep",): "save_total_limit keep_top_k",
    ("patience",): "early_stopping_patience",
    ("tp",): "tensor_parallel_size tensor_model_parallel_size tensor_parallel",
    ("gradient_checkpointing",): (
        "activation_checkpointing use_gradient_checkpointing enable_activation_checkpointing"
    ),
    ("max_failure_rate",): "failure_rate",
}

_BATCH = Habit(
    ("samples_per_batch",),
    "`samples_per_batch` counts the rows of one step over all devices and accumulations, in `grpo` and `ppo` "
    "the completions",
    renames=True,
)
_LENGTH = Habit(
    (),
    "not needed: rows are held against the model's own context, and `on_too_long` of the dataset says what "
    "happens to longer ones",
)
_SCHEDULE = Habit(("schedule",), "write `schedule = cosine {{ warmup = 10% }}`, or `linear`, or `constant`")
_WARMUP = Habit(("schedule",), "a share of the steps is a percent: `schedule = cosine {{ warmup = 10% }}`")
_DTYPE_HERE = Habit(("dtype",), 'write `dtype = "bfloat16"`')
_DTYPE = Habit((), 'it belongs to the model: write `model = base {{ dtype = "bfloat16" }}`')
_ATTENTION_HERE = Habit(("attention",), 'write `attention = "flash_attention_2"`')
_ATTENTION = Habit((), 'it belongs to the model: write `model = base {{ attention = "flash_attention_2" }}`')
_START = Habit(
    _MODEL, '`{field}` takes a model: `{field} = hf("…")` from the hub, `local("…")` from a folder'
)
_CHECKPOINT = Habit(("checkpoint",), "write `checkpoint {{ every = … }}`: steps, a share or a time")
_VALIDATION = Habit(("validation",), "write `validation {{ dataset = …, every = … }}`")
_OUT = Habit((), "a run's folder is chosen when it starts: `harmonyc run FILE --out DIR`")
_DEVICES = Habit(
    (),
    "devices are the launch's: `--num-processes` and `--num-machines`; one copy on several is `tp`",
)
_TEMPLATE = Habit((), 'what a turn says is the dataset\'s: `dataset NAME = … {{ prompt = "{{{{ … }}}}" }}`')
_REWARD = Habit(
    ("grader",), "a reward is a grader, and several are one formula: `grader = 0.8 * a + 0.2 * b`"
)
_TRACKERS = Habit(("trackers",), 'write `trackers = ["wandb"]`')
_KL = Habit(("kl_beta",), "the weight of the distance from the stage's start is `kl_beta`", True)
_MEASURED = Habit((), "not needed: every step is written to `metrics.jsonl` of the run's folder")

_ADVISED: dict[Habit, str] = {
    _BATCH: (
        "batch_size train_batch_size global_batch_size train_global_batch_size per_device_train_batch_size "
        "per_device_batch_size micro_batch_size train_micro_batch_size rollout_batch_size"
    ),
    Habit(
        (),
        "not needed: `samples_per_batch` is the whole batch, and the model's `max_batch_tokens` is what fits "
        "into memory at once",
    ): "gradient_accumulation_steps grad_accumulation_steps accumulate_grad_batches gradient_accumulation",
    Habit(
        ("samples_per_mini_batch",), "`samples_per_mini_batch` counts the completions of one update", True
    ): "mini_batch_size ppo_mini_batch_size num_mini_batches",
    _LENGTH: (
        "max_seq_length max_seq_len sequence_len cutoff_len model_max_length max_total_sequence_length "
        "max_prompt_length max_length"
    ),
    _SCHEDULE: "lr_scheduler_type lr_scheduler lr_schedule scheduler learning_rate_schedule",
    _WARMUP: "warmup_ratio warmup_proportion",
    _DTYPE_HERE: "bf16 fp16 tf32 torch_dtype precision mixed_precision",
    _ATTENTION_HERE: "attn_implementation flash_attention flash_attn attn",
    _DTYPE: "bf16 fp16 tf32 torch_dtype precision mixed_precision",
    _ATTENTION: "attn_implementation flash_attention flash_attn attn",
    Habit(
        (), "weights are trained in the type that the model's `dtype` names; there is no quantised training"
    ): ("load_in_4bit load_in_8bit quantization quantization_bit bnb_config"),
    _START: "model_name_or_path model_name base_model pretrained_model_name_or_path model_path base policy",
    Habit((), "the reference is the weights at the start of this stage: nobody names it"): (
        "ref_model reference_model ref_model_path sync_ref_model"
    ),
    _REWARD: "reward reward_funcs reward_functions reward_model reward_weights rewards graders reward_fn",
    _KL: "beta kl_coef kl_coeff kl_loss_coef init_kl_coef kl_penalty reference_policy_kl_penalty",
    Habit(("beta",), "how closely the model keeps to the stage's start is `beta`", True): (
        "kl_beta kl_coef reference_policy_kl_penalty dpo_beta pref_beta"
    ),
    Habit(("optimizer",), "write `optimizer = adamw {{ … }}`"): "optim optimizer_type adam betas",
    Habit(("loss",), "the options of `loss` are its names here"): "loss_type pref_loss dpo_loss",
    Habit(("reduce",), "how a loss is averaged is `reduce`"): "loss_type loss_agg_mode",
    Habit(
        ("advantage",), '`advantage = "mean_std"` also divides by the group\'s deviation, `"mean"` does not'
    ): "scale_rewards normalize_advantages normalize_rewards",
    Habit(("truncated",), 'write `truncated = "mask"`'): "mask_truncated_completions overlong_filtering",
    Habit(
        ("train_on",), 'write `train_on = "last"`, `"all"` assistant turns, or `"everything"`'
    ): "train_on_inputs train_on_prompt completion_only_loss assistant_only_loss mask_prompt",
    _CHECKPOINT: "save_steps save_strategy saves_per_epoch save_period checkpoint_every save_freq",
    _VALIDATION: (
        "eval_steps eval_strategy evaluation_strategy evals_per_epoch val_period val_set_size eval_dataset "
        "val_dataset do_eval per_device_eval_batch_size"
    ),
    _MEASURED: "logging_steps logging_strategy log_every_n_steps log_interval",
    Habit(("log_samples",), "write `log_samples = …`: completions of a step that are kept"): (
        "log_completions num_completions_to_print"
    ),
    _TRACKERS: "report_to use_wandb wandb_project wandb logger tensorboard",
    _OUT: "output_dir output_path overwrite_output_dir save_dir checkpoint_dir log_dir",
    _DEVICES: (
        "deepspeed fsdp fsdp_config world_size num_gpus gpus n_gpus num_processes num_machines num_nodes "
        "devices nnodes n_gpus_per_node"
    ),
    Habit(
        (), "not needed: a micro-batch holds whole rows, as many as the model's `max_batch_tokens` allows"
    ): ("packing sample_packing pad_to_sequence_len sequence_packing group_by_length"),
    Habit(("dataset",), "`dataset` takes one dataset; `mix([…])` makes one of several"): (
        "datasets train_dataset train_data dataset_name data train_files dataset_mixture"
    ),
    _TEMPLATE: "dataset_text_field prompt_template text_field input_key prompt_key",
    Habit(
        ("prompt",), "what the user says is `prompt`, a template", True
    ): "instruction question input query user text",
    Habit(("completion",), "what the assistant says is `completion`, a template", True): (
        "output response answer assistant target"
    ),
    Habit(
        ("rejected",), "the worse answer is `rejected`, the better one `chosen`", True
    ): "losing reject negative",
    Habit(("chosen",), "the better answer is `chosen`, the worse one `rejected`", True): "winning positive",
}


def also_called(name: str) -> tuple[str, ...]:
    """The fields here that other trainers call `name`, with the same meaning."""
    return tuple(field for fields, names in _RENAMED.items() if name in names.split() for field in fields)


def advice_on(name: str, known: Container[str]) -> Habit | None:
    """What to say of a field of another trainer where the fields are the `known` ones; it names at most one
    of them."""
    for habit, names in _ADVISED.items():
        if name in names.split():
            fields = tuple(field for field in habit.fields if field in known)
            if fields or not habit.fields:
                words = habit.words.format(field=next(iter(fields), ""))
                return Habit(fields[:1], words, habit.renames)
    return None

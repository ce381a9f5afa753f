"""Stages: what a recipe's constructors ask of the models and rows that they name.

Rules that a class can declare stand there (`rules`); here are those that need files, types or the whole way
that a model has come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import gcd
from typing import Any

from harmony_compiler.checking.fitting import describe, fit
from harmony_compiler.files import Files
from harmony_compiler.findings.fields import UnknownMetric, UnusualRate
from harmony_compiler.findings.resources import (
    AdapterOnParts,
    CutTwice,
    NoPlanToCut,
    NothingToMerge,
    UnevenHeads,
    UnknownTarget,
)
from harmony_compiler.findings.types import MixedRows, WrongValidation
from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.datasets import Mix
from harmony_compiler.graph.graph import Launch
from harmony_compiler.graph.measures import GRADED, better
from harmony_compiler.graph.models import (
    LINEAR_LAYERS,
    UNCUT,
    HubModel,
    LoadSettings,
    LocalModel,
    RegistryModel,
    ScratchModel,
)
from harmony_compiler.graph.node import schema
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.types import DatasetType
from harmony_compiler.lineage import adapter, origin, setting, written
from harmony_compiler.naming.near import nearest
from harmony_compiler.typed import Made, Value
from harmony_compiler.whole.model_config import config_of, stated
from harmony_grammar.diagnostics import Diagnostic, Label


def ill_fitting(made: Sequence[Made], launch: Launch, files: Files) -> Iterator[Diagnostic]:
    """What does not fit together, and what is doubtful."""
    for item in made:
        if issubclass(item.cls, LoadSettings):
            yield from list(_uncut(item, files)) or _uneven_heads(item, launch, files)
            yield from _cut_otherwise(item, launch)
            yield from _unknown_targets(item)
        elif issubclass(item.cls, Save):
            yield from _nothing_to_merge(item)
        elif issubclass(item.cls, Mix):
            yield from _mixed_rows(item)
        elif issubclass(item.cls, Algorithm):
            yield from _wrong_validation(item)
            yield from _unknown_metric(item)
            yield from _unusual_rates(item)


# --- weights in parts -----------------------------------------------------------------------------------


def _uncut(model: Made, files: Files) -> Iterator[Diagnostic]:
    """`tp` cuts matrices by a plan, which not every architecture has. Of most loaded models the run knows."""
    given, tp, source = model.given.get("tp"), model.values["tp"], origin(model)
    if given is None or source is None or not isinstance(tp, int) or tp == 1:
        return
    folder = source.given.get("path") if issubclass(source.cls, LocalModel) else None
    if folder is not None and isinstance(source.values["path"], str):
        kinds = [part.get("model_type") for part in config_of(source.values["path"], files)]
    else:
        kinds = [source.values.get("architecture")]
    for kind in kinds:
        if kind in UNCUT:
            place = source.given.get("architecture")
            yield NoPlanToCut(
                span=given.span,
                tp=str(tp),
                architecture=kind,
                fact=f"so says the `config.json` of `{folder.span.text}`" if folder is not None else "",
                labels=() if place is None else (Label(place.span, "the architecture"),),
            )
            return


def _cut_otherwise(model: Made, launch: Launch) -> Iterator[Diagnostic]:
    """Weights are cut in one way, and where an adapter stands beside them in none."""
    tp, written_tp = setting(model, "tp"), written(model, "tp")
    by_tp = isinstance(tp, int) and tp > 1 and written_tp is not None
    own = [model.given[name] for name in ("adapter", "tp") if name in model.given]
    if launch.shard and by_tp and "tp" in model.given:
        yield CutTwice(span=model.given["tp"].span, tp=str(tp))
    if isinstance(adapter(model), Made) and (launch.shard or by_tp) and own:
        adapts = "adapter" in model.given
        other = written_tp if adapts else written(model, "adapter")
        shows = (by_tp or not adapts) and other is not None
        yield AdapterOnParts(
            span=own[0].span,
            how=f"`tp` = {tp}" if by_tp else "`--shard`",
            cause="the adapter" if adapts else "cuts them",
            mend="leave `tp` at 1" if by_tp else "leave `--shard` out",
            labels=(Label(other.span, "cuts them" if adapts else "the adapter"),)
            if shows and other is not None
            else (),
        )


def _uneven_heads(model: Made, launch: Launch, files: Files) -> Iterator[Diagnostic]:
    """`tp` gives each device of a copy the same number of heads."""
    given, tp, source = model.given.get("tp"), model.values["tp"], origin(model)
    if given is None or source is None or not isinstance(tp, int) or launch.gpus_per_node % tp:
        return  # of a `tp` that does not fit the launch, that was said
    heads = list(_heads(source, files))
    whole = gcd(launch.gpus_per_node, *(count for _, count, _ in heads))
    for name, count, value in heads:
        if count % tp:
            place = () if value is None else (Label(value.span, f"the {name}"),)
            fits = " or ".join(f"{n}" for n in range(1, whole + 1) if whole % n == 0)
            folder = source.given.get("path") if value is None else None
            yield UnevenHeads(
                span=given.span,
                tp=str(tp),
                count=str(count),
                name=name,
                fits=fits,
                fact=f"so says the `config.json` of `{folder.span.text}`" if folder is not None else "",
                labels=place,
            )
            return


def _heads(source: Made, files: Files) -> Iterator[tuple[str, int, Value | None]]:
    """The heads of a model, as far as they are known, with where the recipe writes them."""
    kinds = (("attention heads", "heads", _HEADS), ("key and value heads", "kv_heads", _KV_HEADS))
    sound = issubclass(source.cls, ScratchModel) and _is_sound(source)
    config: Any = ()
    if issubclass(source.cls, LocalModel) and isinstance(source.values["path"], str):
        config = config_of(source.values["path"], files)
    for name, field, keys in kinds:
        count = source.values[field] if sound else stated(config, *keys)
        if isinstance(count, int) and count > 0:
            yield name, count, source.given.get(field)


_HEADS = ("num_attention_heads", "n_head")
_KV_HEADS = ("num_key_value_heads",)


def _is_sound(scratch: Made) -> bool:
    """Whether the heads of a new model keep its own rules: of what breaks them something was said."""
    width, heads, shared = (scratch.values[name] for name in ("hidden_size", "heads", "kv_heads"))
    if not (isinstance(width, int) and isinstance(heads, int)):
        return False
    return width % heads == 0 and (not isinstance(shared, int) or heads % shared == 0)


# --- rows -----------------------------------------------------------------------------------------------


def _mixed_rows(mix: Made) -> Iterator[Diagnostic]:
    """A mixture has rows of one kind; what differs from most of its parts is the odd one."""
    value = mix.given.get("datasets")
    parts = value.data if value is not None and isinstance(value.data, tuple) else ()
    kinds = [part.type.rows for part in parts if isinstance(part.type, DatasetType)]
    if len(set(kinds)) < 2 or None in kinds or len(kinds) < len(parts):
        return
    most = max(kinds, key=lambda kind: (kinds.count(kind), -kinds.index(kind)))
    odd = next(part for part in parts if part.type.rows != most)
    other = next(part for part in parts if part.type.rows == most)
    yield MixedRows(
        span=odd.span,
        found=describe(odd),
        others=describe(other),
        labels=(Label(other.span, f"this is {describe(other)}"),),
    )


def _wrong_validation(stage: Made) -> Iterator[Diagnostic]:
    """Validation measures the loss on rows of the stage's kind, or grades answers to prompts."""
    validation = _validation(stage)
    rows = validation.given.get("dataset") if validation is not None else None
    if validation is None or rows is None or rows.unknown:
        return
    grader, own = validation.given.get("grader"), schema(stage.cls)["dataset"].type
    scored = grader is not None and grader.data is not None
    wanted = DatasetType("Prompt") if scored else own
    if isinstance(fit(rows, wanted, ""), Value):
        return
    prompts = not scored and isinstance(fit(rows, DatasetType("Prompt"), ""), Value)
    asks = "the `grader` of `validation`" if scored else f"`validation` of `{stage.cls.constructor}`"
    yield WrongValidation(
        span=rows.span,
        asks=asks,
        wanted=str(wanted),
        found=describe(rows),
        fact="a grader scores answers, so it takes prompts"
        if scored
        else "without a `grader` the loss is measured, on rows like those that are trained on",
        mend="add a `grader` that scores the answers to these prompts" if prompts else "",
        labels=(Label(grader.span, "scores answers"),) if grader is not None and scored else (),
    )


def _validation(stage: Made) -> Made | None:
    value = stage.given.get("validation")
    return value.data if value is not None and isinstance(value.data, Made) else None


def _unknown_metric(stage: Made) -> Iterator[Diagnostic]:
    """An early stop watches a metric that the stage has, and of which more or less is better."""
    value, validation = stage.given.get("early_stop"), _validation(stage)
    metric = value.data.given.get("metric") if value is not None and isinstance(value.data, Made) else None
    if metric is None or metric.unknown or validation is None or not issubclass(stage.cls, Algorithm):
        return
    graded = validation.values["grader"] is not None
    measures = (*(GRADED if graded else stage.cls.validates), *stage.cls.measures)
    # Each grader has a metric, of a step's completions and of a validation's answers.
    of = {"reward": "grade/", "validation_reward": "validation_grade/"}
    starts = tuple(start for reward, start in of.items() if reward in measures)
    known = [one for one in measures if better(one) and (one != "kl" or stage.values["kl_beta"] != 0)]
    name = metric.data
    if name in known or name.startswith(starts):
        return
    near = nearest(name, known)
    yield UnknownMetric(
        span=metric.span,
        stage=stage.cls.constructor,
        name=name,
        cause="of which neither more nor less is better" if name in measures else "no such metric",
        known=", ".join((*known, *(f"{start}NAME" for start in starts))),
        suggestion=near.name,
        fixes=near.quoted().fixes(metric.span, closed=True),
    )


# --- adapters -------------------------------------------------------------------------------------------


def _unknown_targets(model: Made) -> Iterator[Diagnostic]:
    """An adapter stands beside layers that there are. Those of loaded models are known to the run."""
    lora = model.values["adapter"] if "adapter" in model.given else None
    source = origin(model)
    if source is None or source.cls is not ScratchModel or not isinstance(lora, Made):
        return
    targets, architecture = lora.values["targets"], source.values["architecture"]
    if not isinstance(targets, tuple) or architecture not in LINEAR_LAYERS:
        return
    known = LINEAR_LAYERS[architecture]
    for target in targets:
        if isinstance(target, str) and target.rpartition(".")[2] not in known:  # a longer path is one, too
            yield UnknownTarget(
                span=lora.given["targets"].span,
                architecture=architecture,
                name=target,
                known=", ".join(known),
                suggestion=nearest(target, known).name,
            )
            return


def _nothing_to_merge(save: Made) -> Iterator[Diagnostic]:
    """What is merged is an adapter."""
    model = save.values["model"]
    if save.values["merge"] is True and adapter(model) is None:
        value = written(model, "adapter")
        labels = () if value is None else (Label(value.span, "here the model lost its adapter"),)
        yield NothingToMerge(span=save.given["merge"].span, labels=labels)


# --- learning rates -------------------------------------------------------------------------------------

PRETRAINED = (HubModel, LocalModel, RegistryModel)


def _unusual_rates(stage: Made) -> Iterator[Diagnostic]:
    """A rate that nobody fine-tunes pretrained weights with; a new model may take any."""
    trained = stage.values[stage.cls.trains] if issubclass(stage.cls, Algorithm) else None
    source = origin(trained)
    if source is None or not issubclass(source.cls, PRETRAINED):
        return
    for name, spec in schema(stage.cls).items():
        value = stage.given.get(name)
        rate = value.data if value is not None and not value.unknown else None
        if value is None or spec.usual is None or not isinstance(rate, int | float):
            continue
        low, high = spec.usual
        most = high * 10 if adapter(trained) not in (None, "kept") else high
        if not low <= rate <= most:
            yield UnusualRate(
                span=value.span,
                key=name,
                rate=_power(rate),
                way="above" if rate > most else "below",
                usual=f"{_power(low)} to {_power(most)}",
                effect="the model is likely to forget what it knows"
                if rate > most
                else "the weights will hardly move",
            )


def _power(number: float) -> str:
    """A rate as people write it: `1e-7`, `2.5e-4`, `0.3`."""
    if abs(number) >= 0.05:
        return f"{number:g}"
    mantissa, _, exponent = f"{number:.6e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"

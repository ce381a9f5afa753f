"""Overflow: stages and evaluations that need more memory than a device has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from harmony_compiler.findings.resources import DeviceOverflow
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.values import Ref
from harmony_compiler.lineage import written
from harmony_compiler.plan.held import ALWAYS
from harmony_compiler.plan.memory import Memory, told_bytes
from harmony_compiler.typed import Made
from harmony_grammar.diagnostics import Label

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", re.IGNORECASE)
_UNITS = ("", "K", "M", "G", "T")


def bytes_of(text: str) -> int | None:
    """A size as people write it, `80GiB`, `24GB` or a number of bytes; None where it is none."""
    found = _SIZE.fullmatch(text)
    if found is None or (found[3] and not found[2]):
        return None
    size = float(found[1]) * (1024 if found[3] else 1000) ** _UNITS.index(found[2].upper())
    return int(size) if size >= 1 else None


def overflowing(
    graph: Graph, memories: Mapping[Ref, Memory | str], made: Mapping[Ref, Made], limit: int
) -> Iterator[DeviceOverflow]:
    """What needs more than `limit` bytes in a device; `made` says where each stage is written."""
    for ref, memory in memories.items():
        if isinstance(memory, Memory) and memory.total > limit:
            largest, stage = memory.largest, made[ref]
            yield DeviceOverflow(
                span=stage.head,
                stage=graph.stage_name(ref),
                needed=told_bytes(memory.total),
                limit=told_bytes(limit),
                largest=f"{largest.name}, {told_bytes(largest.bytes)}",
                rest=", ".join(
                    f"{term.name} {told_bytes(term.bytes)}"
                    for term in sorted(memory.terms, key=lambda term: -term.bytes)
                    if term.phase in (ALWAYS, memory.peak) and term is not largest
                ),
                mend=_MENDS.get(largest.field.rpartition(".")[2], "lower `{field}`").format(
                    field=largest.field
                ),
                labels=_labels(stage, largest.field),
            )


_MENDS = {
    "adapter": "train a low-rank adapter in place of all weights, with `{field} = lora {{ }}`",
    "--shard": "start more processes, with `--shard`, each of which holds a part of the weights; or take a "
    "smaller model",
    "gradient_checkpointing": "set `{field} = true`, which computes more and keeps less",
    "dtype": 'set `{field} = "bfloat16"`',
    "kl_beta": "set `kl_beta = 0`, which asks for no reference",
    "tp": "raise `{field}`",
    "grader": "take a smaller judge, or one that is served",
    "models": "take a smaller model",
    "checkpoint": "leave `checkpoint` out",
    "early_stop": "leave `early_stop` out",
    "value_model": "take a smaller `value_model`",
    "validation.dataset": "validate on fewer rows",
}
"""By the last word of a term's field, what to do; else it is lowered."""


def _labels(stage: Made, field: str) -> tuple[Label, ...]:
    """Where the recipe sets the field that lowers the largest term."""
    model, _, name = field.partition(".")
    loaded = name and model in stage.values
    value = written(stage.values[model], name) if loaded else stage.given.get(field)
    return () if value is None else (Label(value.span, "is set here"),)

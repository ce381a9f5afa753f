"""`instructions`: the share of a row's instructions that a completion follows. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from harmony_compiler.graph import graders as nodes
from harmony_runtime.graders.kinds import Rule
from harmony_runtime.graders.protocol import DoesNotApply, Failure, Grade, Sample, Score
from harmony_runtime.graders.rules.instructions.kind import Miss, UnfitRowError
from harmony_runtime.graders.rules.instructions.languages import demanded
from harmony_runtime.graders.rules.instructions.table import KINDS

if TYPE_CHECKING:
    from harmony_runtime.graders.making import Bench


class Instructions(Rule):
    """Holds each completion against the instructions of its row."""

    def __init__(self, node: nodes.Instructions) -> None:
        demanded()
        self._all = node.score == "all"

    def apply(self, sample: Sample) -> Grade:
        try:
            instructions = _of_row(sample.metadata)
        except UnfitRowError as fault:
            return Failure(str(fault))
        if not instructions:
            return DoesNotApply("the row has no instructions")
        faults: list[str] = []
        missed: list[str] = []
        for name, arguments in instructions:
            try:
                miss = _miss(sample.completion, name, arguments)
            except UnfitRowError as fault:
                faults.append(str(fault))
            else:
                missed += [] if miss is None else [f"{name} ({miss})"]
        if faults:
            return Failure("; ".join(faults))
        value = float(not missed) if self._all else 1 - len(missed) / len(instructions)
        return Score(value, "not followed: " + ", ".join(missed) if missed else "")


def instructions(node: nodes.Instructions, bench: Bench) -> Instructions:
    """The grader of a node."""
    return Instructions(node)


def _of_row(metadata: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Names of instructions, each with its arguments."""
    names, arguments = metadata.get("instruction_id_list"), metadata.get("kwargs")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UnfitRowError("the metadata has no list of texts `instruction_id_list`")
    if not isinstance(arguments, list):
        raise UnfitRowError("the metadata has no list `kwargs`")
    if len(names) != len(arguments):
        raise UnfitRowError(f"`instruction_id_list` names {len(names)}, and `kwargs` holds {len(arguments)}")
    return list(zip(names, arguments, strict=True))


def _miss(text: str, name: str, given: Any) -> Miss:
    """How the completion misses an instruction. An argument that is None was not given.

    Raises:
        UnfitRowError: it names all that is wrong with the instruction.
    """
    kind = KINDS.get(name)
    if kind is None:
        near = get_close_matches(name, KINDS, 1)
        hint = f"; the nearest is `{near[0]}`" if near else ""
        raise UnfitRowError(f"`{name}` is no kind of instruction{hint}")
    if not isinstance(given, Mapping):
        raise UnfitRowError(f"`{name}`: its `kwargs` are no object")
    arguments = {key: value for key, value in given.items() if value is not None}
    if faults := kind.faults(arguments):
        raise UnfitRowError(f"`{name}` {', '.join(faults)}")
    try:
        miss = kind.miss(text, **arguments)
    except UnfitRowError as fault:
        raise UnfitRowError(f"`{name}` {fault}") from fault
    return miss if text.strip() else "the completion is empty"

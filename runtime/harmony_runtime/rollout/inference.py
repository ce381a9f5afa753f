"""Models that only answer or score, beside those in training: each is loaded once, whoever asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.spawning import weights_of
from harmony_compiler.graph.values import Ref
from harmony_runtime.failures import RunFailed
from harmony_runtime.models import heads, weights
from harmony_runtime.models.blueprint import Blueprint, Blueprints
from harmony_runtime.models.heads import Critic
from harmony_runtime.processes.context import Context
from harmony_runtime.processes.mesh import M, Mesh
from harmony_runtime.rollout.local import LocalEngine


class Alone(Mesh):
    """Of a model that each process has to itself, also where what is trained is cut or spread: each asks it
    about its own share, when it comes to that."""

    def place(self, module: M) -> M:
        return module.to(self.device)

    def together(self, module: nn.Module) -> AbstractContextManager[None]:
        return nullcontext()


class Inference:
    """The models of a run that only answer or score.

    Each is a copy of its own, also of a model that is trained. It is loaded when somebody first takes it, and
    released when the last one has given it back; those that differ only in how they are spoken to share one.
    """

    def __init__(self, graph: Graph, blueprints: Blueprints, context: Context) -> None:
        self._graph = graph
        self._blueprints = blueprints
        self._mesh = Alone(context)
        self._taken: dict[Any, _Taken] = {}

    def blueprint(self, ref: Ref) -> Blueprint:
        """That of a model that is going to be taken.

        Raises:
            RunFailed: it cannot be, as far as that is known without weights.
        """
        found = self._blueprints.of(ref)
        if found.settings.tp > 1:
            raise RunFailed(
                f"{found.place}`tp` = {found.settings.tp} cuts the model over processes, and one that grades "
                "is whole in each: name it once more with `tp = 1`"
            )
        return found

    @contextmanager
    def writing(self, ref: Ref) -> Iterator[LocalEngine]:
        """An engine that completes prompts with a model.

        Raises:
            RunFailed: the model cannot be loaded.
        """

        blueprint = self.blueprint(ref)

        def load() -> PreTrainedModel:
            return self._mesh.place(weights.load(blueprint)).eval().requires_grad_(False)

        with self._shared("writing", ref, load) as model:
            yield LocalEngine(model, blueprint, self._mesh)

    @contextmanager
    def scoring(self, ref: Ref) -> Iterator[Critic]:
        """A reward model: the value of a token behind a text is the score of the text.

        Raises:
            RunFailed: it is none, or cannot be loaded.
        """

        def load() -> Critic:
            blueprint = self.blueprint(ref)
            scalar = self._mesh.place(heads.reward_model(blueprint)).eval()
            return Critic(scalar.requires_grad_(False), self._mesh, blueprint.settings.dtype)

        with self._shared("scoring", ref, load) as critic:
            yield critic

    @contextmanager
    def _shared(self, use: str, ref: Ref, load: Callable[[], M]) -> Iterator[M]:
        key = use, weights_of(self._graph, ref)
        if key not in self._taken:
            with self._mesh.pulse.doing(f"loading `{self._graph.stage_name(ref)}` for graders"):
                self._taken[key] = _Taken(load())
        taken = self._taken[key]
        taken.times += 1
        try:
            yield taken.model
        finally:
            taken.times -= 1
            if not taken.times:
                del self._taken[key]


@dataclass
class _Taken:
    model: Any
    times: int = 0


def at_hand(inference: Inference | None) -> Inference:
    """
    Raises:
        RunFailed: no model may be loaded here.
    """
    if inference is None:
        raise RunFailed(
            "it grades with a model of the recipe, and none is loaded here: `harmonyc run` does that"
        )
    return inference

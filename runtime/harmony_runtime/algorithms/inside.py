"""What a step has done so far: so that a run which ends inside a step need not begin it again.

A step of reinforcement is long: completions are drawn and graded, which may cost money, and several updates
learn from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from harmony_runtime.disk.checkpoints import Tree
from harmony_runtime.graders.panel import PolicyStop

T = TypeVar("T")
Part = TypeVar("Part")


class Inside:
    """Parts of a step, each done once. Between two of them the run may pause: `pause` is called. `stopped` is
    called where the policy of a grader ends the run in the middle of a part."""

    def __init__(self, pause: Callable[[], None], stopped: Callable[[PolicyStop], PolicyStop]) -> None:
        self._pause = pause
        self._stopped = stopped
        self._made: dict[str, tuple[Any, Callable[[Any], Tree]]] = {}
        self._kept: dict[str, Tree] = {}
        """What came from a checkpoint and was not asked for yet."""
        self._updates: list[Tree] = []

    @property
    def parts(self) -> int:
        """How many parts of the step are done."""
        return len(self._made) + len(self._kept) + len(self._updates)

    def begin(self) -> None:
        """A step begins, and what the last one made is forgotten."""
        self._made, self._kept, self._updates = {}, {}, []

    def once(
        self,
        name: str,
        make: Callable[[], T],
        *,
        keep: Callable[[T], Tree] = lambda made: made,
        back: Callable[[Tree], T] = lambda kept: kept,
    ) -> T:
        """What `make` gives, which `keep` turns into a tree and `back` back into what it was."""
        if name in self._kept:
            made = back(self._kept.pop(name))
            self._made[name] = made, keep
            return made
        try:
            made = make()
        except PolicyStop as stop:
            raise self._stopped(stop) from stop
        self._made[name] = made, keep
        self._pause()
        return made

    def each(self, parts: Iterable[Part], update: Callable[[int, Part], dict[str, Any]]) -> list[Tree]:
        """What `update` gives for every part and its number: trees. It is called for those that are left."""
        for number, part in enumerate(parts):
            if number == len(self._updates):
                self._updates.append(update(number, part))
                self._pause()
        return self._updates

    def state(self) -> Tree:
        made = {name: keep(value) for name, (value, keep) in self._made.items()}
        return {"made": self._kept | made, "updates": self._updates}

    def restore(self, state: Tree) -> None:
        self._made, self._kept, self._updates = {}, state["made"], state["updates"]

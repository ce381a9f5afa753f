"""Where a model's weights come from: what must be read, made and put together, in words.

An origin is plain data. All of a run's origins are known before any weight is made, and the same one gives
the same weights each time: `weights.load` follows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmony_compiler.graph.settings import Lora


@dataclass(frozen=True)
class New:
    """Weights that a seed makes."""

    config: Any
    seed: int


@dataclass(frozen=True)
class Pretrained:
    """Weights that exist: a folder, or a repository on the hub."""

    name: str
    revision: str | None
    trust_remote_code: bool
    config: Any
    """As the files have it."""

    @property
    def options(self) -> dict[str, Any]:
        return {"revision": self.revision, "trust_remote_code": self.trust_remote_code}


@dataclass(frozen=True)
class Grown:
    """A model whose tokenizer has more tokens than it had embeddings: new rows, up to this many."""

    of: New | Pretrained
    embeddings: int


@dataclass(frozen=True)
class Merged:
    """A model that took the place of its base and adapter."""

    of: Adapted


Base = New | Pretrained | Grown | Merged
"""Weights without an adapter."""


@dataclass(frozen=True)
class Adapted:
    """A trained adapter beside its base."""

    base: Base
    folder: Path
    """As peft writes it."""


@dataclass(frozen=True)
class Fresh:
    """A new adapter, which changes nothing yet."""

    base: Base
    lora: Lora


Origin = Base | Adapted | Fresh


def merged(origin: Origin) -> Base:
    """The same model without an adapter beside it."""
    match origin:
        case Adapted():
            return Merged(origin)
        case Fresh():
            return origin.base
        case _:
            return origin


def address(base: Base, passing: Sequence[Path] = ()) -> tuple[str, str | None] | None:
    """Under which name and revision anybody finds the weights; None where they must be written down.

    What stands in a folder of `passing` may be another model tomorrow.
    """
    if not isinstance(base, Pretrained):
        return None
    place = Path(base.name)
    if not place.is_absolute():
        # A branch moves on; what was loaded is this commit.
        return base.name, commit(base) or base.revision
    inside = any(place.resolve().is_relative_to(folder.resolve()) for folder in passing)
    return None if inside else (base.name, None)


def commit(origin: Origin) -> str | None:
    """The commit of the repository that was loaded, of an adapter its own; None where no hub is asked."""
    match origin:
        case Pretrained():
            return getattr(origin.config, "_commit_hash", None)
        case New():
            return None
        case Adapted(folder=folder) if folder.parent.name == "snapshots":  # as the hub's cache is laid out
            return folder.name
        case Grown(of=inner) | Merged(of=inner) | Adapted(base=inner) | Fresh(base=inner):
            return commit(inner)


def trusts_code(origin: Origin) -> bool:
    """Whether code that came with the weights runs."""
    match origin:
        case Pretrained():
            return origin.trust_remote_code
        case New():
            return False
        case Grown(of=inner) | Merged(of=inner) | Adapted(base=inner) | Fresh(base=inner):
            return trusts_code(inner)

"""The registry of graders: one folder a key under `HOME/graders`, with a manifest and nothing else.

{
  "format_version": 1,
  "grader": "polite", "doc": "…",         its name and documentation in the recipe that published it
  "recipe": "tone", "file": "tone.recipe",
  "created": "2026-01-31T12:00:00+00:00", "harmony": "0.1",
  "scores": [0.0, null],                   the smallest and the largest score; null where there is none
  "needs": [["answer", "str"]],            keys of metadata that it reads, each with its type
  "files": {"3f2a…/score.py": "9f86d0…"},  Python files that it runs, each with its SHA-256
  "graph": {…}                             the nodes that it is made of, itself as the only output
}

The Python files stand under `HOME/graders/.files`, in folders that are named by what is in them. They stay
there when a key is replaced or removed: runs that have started go on with them.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from harmony_compiler.store.files import file_hash
from harmony_compiler.store.shelves import Shelf
from harmony_grammar.records import Record, as_data

FILES = ".files"
"""Where the Python files stand: no key begins with a dot."""


class SavedGrader(Record):
    """What the registry knows about a grader."""

    grader: str
    """Its name in the recipe that published it."""
    doc: str
    recipe: str
    file: str
    """The name of the recipe's file."""
    created: str
    """UTC, ISO 8601."""
    harmony: str
    """The version that published it."""
    scores: tuple[float, float]
    needs: tuple[tuple[str, str], ...]
    """Keys of metadata that it reads, each with its type."""
    files: dict[str, str]
    """By path under `FILES`, the SHA-256 of each Python file that it runs."""
    graph: dict[str, Any]
    """As `Graph.to_json` has it, with paths of Python files under `FILES`."""

    def same_grader(self, other: SavedGrader) -> bool:
        """Whether both score alike, by the same nodes and the same Python files."""
        return (self.graph["nodes"], self.files) == (other.graph["nodes"], other.files)


def _made(read: Any) -> SavedGrader | None:
    low, high = read["scores"]
    texts = {name: str(read[name]) for name in ("grader", "doc", "recipe", "file", "created", "harmony")}
    found = SavedGrader(
        **texts,
        scores=(-math.inf if low is None else float(low), math.inf if high is None else float(high)),
        needs=tuple((str(key), str(type_)) for key, type_ in read["needs"]),
        files={str(name): str(hash_) for name, hash_ in read["files"].items()},
        graph=dict(read["graph"]),
    )
    whole = isinstance(found.graph["nodes"], dict) and len(found.graph["outputs"]) == 1
    return found if whole and all(map(_stays_inside, found.files)) else None


def _told(grader: SavedGrader) -> dict[str, Any]:
    return {**as_data(grader), "scores": [score if math.isfinite(score) else None for score in grader.scores]}


GRADERS = Shelf("grader", made=_made, told=_told, same=SavedGrader.same_grader)


def damaged_file(root: Path, held: SavedGrader) -> Path | None:
    """The first Python file of a grader that is not as it was published, or None."""
    for name, hash_ in held.files.items():
        try:
            if file_hash(root / FILES / name) != hash_:
                return root / FILES / name
        except OSError:
            return root / FILES / name
    return None


def keep_files(root: Path, files: Mapping[str, bytes]) -> tuple[str, dict[str, str]]:
    """Put Python files that belong together into a folder of their own, unless they are there already.

    `files` has their bytes by path below the folder. Gives the name of the folder under `FILES`, and the
    SHA-256 of each file by its path under `FILES`.

    Raises:
        OSError: the disk would not have it.
    """
    from hashlib import sha256  # a check only reads
    from shutil import rmtree
    from uuid import uuid4

    hashes = {name: sha256(files[name]).hexdigest() for name in sorted(files)}
    folder = sha256("".join(f"{name}\0{hash_}\n" for name, hash_ in hashes.items()).encode()).hexdigest()[:32]
    place, fresh = root / FILES / folder, root / FILES / f".unfinished-{uuid4().hex}"
    try:
        for name, content in files.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_bytes(content)
        fresh.rename(place)
    except OSError as fault:
        if fault.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        for name in files:  # those that are there may have been damaged since; running graders keep reading
            if not (place / name).is_file() or file_hash(place / name) != hashes[name]:
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (fresh / name).replace(place / name)
    finally:
        rmtree(fresh, ignore_errors=True)
    return folder, {f"{folder}/{name}": hash_ for name, hash_ in hashes.items()}


def add(root: Path, key: str, made: SavedGrader, *, replace: bool = False) -> SavedGrader:
    """Put a grader under a key; who looks at the key meanwhile sees all of it or nothing. Gives what the key
    holds then: a grader that it holds already stays as it is.

    Raises:
        KeyTakenError: the key holds another grader.
        OSError: the disk would not have it.
    """
    return GRADERS.put(root, key, lambda _: made, replace=replace)


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return len(path.parts) > 1 and not path.is_absolute() and ".." not in path.parts

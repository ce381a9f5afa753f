"""Looking up: what the hub says now of a model or a dataset, for a recipe's lock. No torch here.

Nothing is taken from a cache: a lock says what is there, and not what was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harmony_compiler.store.arrow_types import arrow_type_text
from harmony_compiler.store.lock import Locked
from harmony_runtime.failures import RunFailed
from harmony_runtime.quiet import silence_datasets


def model(repo: str, revision: str | None, where: str) -> Locked:
    """The commit that a model's repository stands at.

    Raises:
        RunFailed: the hub does not tell; `where` is the beginning of the message.
    """
    from huggingface_hub import HfApi

    _refuse_folder(repo, where, "name a model in a folder by `local(…)`")
    with _refusals(repo, revision, where):
        return Locked(commit=_commit(HfApi().model_info(repo, revision=revision)))


def dataset(repo: str, config: str | None, revision: str | None, where: str) -> Locked:
    """The commit, columns and row counts of a dataset.

    What the hub does not state is counted: the dataset is prepared in the cache of `datasets`, as a run does.

    Raises:
        RunFailed: as `model`.
    """
    from datasets import load_dataset_builder
    from huggingface_hub import HfApi

    _refuse_folder(repo, where, "name its files, as in `jsonl(…)` or `parquet(…)`")
    silence_datasets()
    with _refusals(repo, revision, where):
        commit = _commit(HfApi().dataset_info(repo, revision=revision))
        # Of its main branch the hub knows more than of a commit, though it be the same.
        builder = load_dataset_builder(repo, config, revision=revision)
        if builder.hash != commit:  # it moved on in between
            builder = load_dataset_builder(repo, config, revision=commit)
        if builder.hash != commit:  # the library took another one from its cache
            raise ConnectionError(f"it named the commit {commit} and gave none of its files")
        info = builder.info
        if not info.features or not info.splits or any(not s.num_examples for s in info.splits.values()):
            builder.download_and_prepare()
            info = builder.info
        return Locked(_columns(info.features), _rows(info.splits), commit)


def _commit(found: Any) -> str:
    if not found.sha:
        raise ValueError("the hub names no commit")
    return str(found.sha)


def _columns(features: Any) -> dict[str, str]:
    import pyarrow as arrow

    return {field.name: arrow_type_text(arrow, field.type) for field in features.arrow_schema}


def _rows(splits: Any) -> dict[str, int]:
    return {str(name): int(split.num_examples) for name, split in sorted(splits.items())}


def _refuse_folder(repo: str, where: str, mend: str) -> None:
    if Path(repo).is_dir():
        raise RunFailed(
            f"{where}`{repo}` is a folder here, which has no commit to pin, and its content is not what "
            f"`hf` names elsewhere: {mend}"
        )


@contextmanager
def _refusals(repo: str, revision: str | None, where: str) -> Iterator[None]:
    """What the hub or its libraries say went wrong, in one paragraph."""
    from huggingface_hub import errors

    at = f" at `{revision}`" if revision else ""
    try:
        yield
    except RunFailed:
        raise
    except errors.GatedRepoError as fault:
        raise RunFailed(
            f"{where}`{repo}` is gated: ask for access on its page, and log in with `hf auth login` or set "
            "HF_TOKEN"
        ) from fault
    except errors.RepositoryNotFoundError as fault:
        raise RunFailed(
            f"{where}the hub has no repository `{repo}`, or shows it to nobody who is not logged in: look at "
            "its name, and where it is private set HF_TOKEN"
        ) from fault
    except errors.RevisionNotFoundError as fault:
        raise RunFailed(f"{where}`{repo}` has no revision `{revision}`: look at `revision`") from fault
    except Exception as fault:  # libraries read what a server answers, and raise whatever it leads to
        said = " ".join(str(fault).split()).rstrip(".") or type(fault).__name__
        if _out_of_reach(fault):
            raise RunFailed(
                f"{where}the hub cannot be asked about `{repo}`{at}: {said}. Lock where there is a network: "
                "checks and runs elsewhere use what was locked",
                exit_code=2,
            ) from fault
        raise RunFailed(f"{where}`{repo}`{at} cannot be looked up: {said}") from fault


def _out_of_reach(fault: BaseException | None) -> bool:
    """Whether nobody answered, or only that it cannot just now."""
    while fault is not None:
        names = {cls.__name__ for cls in type(fault).__mro__}
        if names & {"ConnectionError", "TimeoutError", "TransportError", "OfflineModeIsEnabled"}:
            return True
        status = getattr(getattr(fault, "response", None), "status_code", 0) or 0
        if status == 429 or status >= 500:
            return True
        fault = fault.__cause__
    return False

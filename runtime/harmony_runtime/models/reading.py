"""The parts of a pretrained model except its weights, and what may be wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from harmony_runtime.failures import RunFailed
from harmony_runtime.models import adapters
from harmony_runtime.models.origins import Adapted, Pretrained

T = TypeVar("T")


class Parts(NamedTuple):
    weights: Pretrained | Adapted
    config: Any
    tokenizer: Any
    generation: GenerationConfig


def parts(name: str, revision: str | None, trusted: bool, where: str) -> Parts:
    """What a folder or a repository of the hub holds: a model, or an adapter beside its base.

    Raises:
        RunFailed: a part is missing or cannot be used.
    """
    adapter = adapters.find(name, revision, where)
    if adapter is None:
        base = _pretrained(name, revision, trusted, where)
        return Parts(base, base.config, _tokenizer(base, where), _generation(base, where))
    base = _pretrained(adapter.base, adapter.revision, trusted, where)
    # What else an adapter brings goes before what its base has.
    own = Pretrained(str(adapter.folder), None, False, base.config)
    has_tokenizer = (adapter.folder / "tokenizer_config.json").is_file()
    has_generation = (adapter.folder / "generation_config.json").is_file()
    return Parts(
        Adapted(base, adapter.folder),
        base.config,
        _tokenizer(own if has_tokenizer else base, where),
        _generation(own if has_generation else base, where),
    )


def tokenizer_at(name: str, where: str, **options: Any) -> Any:
    tokenizer = _read(lambda: AutoTokenizer.from_pretrained(name, **options), "tokenizer", name, where)
    # Where a folder has a configuration and no tokenizer, transformers makes an empty one of that family.
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise RunFailed(f"{where}{name} brings no tokenizer: put the model's tokenizer files there")
    return tokenizer


def _pretrained(name: str, revision: str | None, trusted: bool, where: str) -> Pretrained:
    _refuse_pickles(Path(name), where)
    config = _read(
        lambda: AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=trusted),
        "configuration",
        name,
        where,
    )
    return Pretrained(name, revision, trusted, config)


def _tokenizer(home: Pretrained, where: str) -> Any:
    return tokenizer_at(home.name, where, **home.options)


def _generation(home: Pretrained, where: str) -> GenerationConfig:
    def read() -> GenerationConfig:
        try:
            return GenerationConfig.from_pretrained(home.name, revision=home.revision)
        except OSError:  # a model need not bring one
            return GenerationConfig()

    return _read(read, "generation settings", home.name, where)


def _refuse_pickles(folder: Path, where: str) -> None:
    """A pickle is code of whoever wrote it."""
    if not folder.is_absolute() or any(folder.glob("*.safetensors")):
        return
    pickled = next((file.name for kind in ("*.bin", "*.pt", "*.pth") for file in folder.glob(kind)), None)
    found = f", and `{pickled}` is a pickle, which is never loaded" if pickled else ""
    raise RunFailed(
        f"{where}{folder} holds no weights as safetensors{found}. `save_pretrained` writes them there"
    )


def _read(reader: Callable[[], T], what: str, name: str, where: str) -> T:
    try:
        return reader()
    except Exception as fault:  # libraries read files of any content, and raise whatever it leads to
        raise RunFailed(unreadable(fault, what, name, where)) from fault


def refuse_missing(report: Mapping[str, Any], name: str, where: str) -> None:
    """Refuse weights that lack a part: transformers would fill it with random numbers and go on."""
    if missing := sorted(report["missing_keys"]):
        raise RunFailed(
            f"{where}the weights in {name} lack {len(missing)} tensors that the configuration asks for, such "
            f"as `{missing[0]}`"
        )


def unreadable(fault: Exception, what: str, name: str, where: str) -> str:
    """One paragraph about a part of a model that cannot be read."""
    reason = str(fault).strip().partition("\n")[0]
    if Path(name).is_absolute():
        return f"{where}the {what} in {name} cannot be read: {reason}"
    if "connect" in str(fault).lower() or "offline" in str(fault).lower():
        return (
            f"{where}the {what} of `{name}` is not in the local cache, and the hub cannot be reached. Go "
            "online once, or copy the model here and name it with `local(…)`"
        )
    return f"{where}the {what} of `{name}` cannot be read: {reason}"

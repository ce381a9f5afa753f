"""Tokenizers: how many tokens a text has, by the built-in one or by the files of a folder.

The package `tokenizers` is imported here, and only for a recipe that names such a folder. What transformers
makes of the files depends on the class that they name; where it makes what they say, `exact` is true.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony_compiler.data.characters import count
from harmony_compiler.files import HEAD, Files
from harmony_grammar.records import Record

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LARGEST = 64 * 1024 * 1024
"""A vocabulary beyond this size, in bytes, is not read."""
MOST = 250_000
"""Characters that are put into tokens, which takes a tenth of a second; of more rows an even part is."""
LARGEST_SETTINGS = 4 * 1024 * 1024

NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Tokens that have a part to play, as tokenizers name them and templates ask for them."""

_AS_WRITTEN = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""Classes of transformers that take `tokenizer.json` as it is."""
_GPT2 = ("GPT2Tokenizer", "GPT2TokenizerFast")
_GPT2_NAMES = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
_FLAGS = ("lstrip", "rstrip", "single_word")
_ASKED_OF = (None, "gpt2", "llama", "qwen3")
"""Models beside which transformers takes the class that is named; for others it may take another one."""


class Counter(Record):
    """Counts the tokens of texts that are put into tokens piece by piece."""

    by: str
    """What it goes by, in words."""
    exact: bool
    """Whether a run finds the same."""
    sizes: Callable[[Sequence[str]], list[int]]
    """The tokens of each of some texts."""
    most: int
    """Characters that it counts without being waited for."""
    names: dict[str, str]
    """The tokens with a part to play, by their names."""
    template: str | None = None
    """The chat template that comes with it."""
    bos: str = ""
    """What it puts before each text by itself."""
    reads_on: bool = False
    """Whether a text has other tokens at the beginning than behind another one."""
    ends: tuple[str, ...] = ()
    """Tokens that end a completion beside its `eos_token`."""

    def tokens(self, texts: Sequence[Sequence[str]]) -> list[int]:
        """The tokens of texts, each given in its pieces."""
        if self.reads_on:
            texts = [["".join(pieces)] for pieces in texts]
        sizes = iter(self.sizes([piece for pieces in texts for piece in pieces]))
        return [sum(next(sizes) for _ in pieces) + self._begins(pieces[0]) for pieces in texts if pieces]

    def _begins(self, text: str) -> bool:
        return bool(self.bos) and not text.startswith(self.bos)


def characters() -> Counter:
    """The built-in tokenizer."""
    names = {f"{name}_token": f"<{name}>" for name in ("bos", "eos", "unk", "pad")}
    return Counter("characters", True, lambda texts: list(map(count, texts)), HEAD, names)


def of_folder(folder: str, shown: str, files: Files) -> Counter | None:
    """The tokenizer of a folder, which people know as `shown`; None where it cannot be read here."""
    place = Path(folder)
    settings = dict[str, Any](_GPT2_NAMES) if _is_gpt2(place, files) else {}
    settings |= _settings(place / "tokenizer_config.json", files)
    if "added_tokens_decoder" not in settings:
        settings |= _settings(place / "special_tokens_map.json", files)
    name = "vocab.json" if _is_gpt2(place, files) else "tokenizer.json"
    make = partial(_read, place, name, settings, files)
    try:
        tokenizer: Tokenizer = files.kept(place / name, f"tokenizer with {json.dumps(settings)}", make)
    except Exception:  # no package, no file, or one of any content, at which the package raises anything
        return None
    names = {key: text for key in NAMED if (text := _text(settings.get(key))) is not None}
    kind, model = settings.get("tokenizer_class"), _settings(place / "config.json", files).get("model_type")
    as_written = name == "vocab.json" or kind in _AS_WRITTEN
    changed = settings.get("split_special_tokens") or settings.get("auto_map") or _adds(tokenizer, settings)
    changed = changed or files.exists(place / "added_tokens.json")
    reads_on = _reads_on(tokenizer)
    return Counter(
        f"{name} of {shown}",
        as_written and model in _ASKED_OF and not changed and not reads_on,
        partial(_sizes, tokenizer),
        MOST,
        names,
        _template(place, settings, files),
        _bos(tokenizer, settings, names.get("bos_token")),
        reads_on,
        _ends(place, tokenizer, files),
    )


def _is_gpt2(place: Path, files: Files) -> bool:
    """Whether a folder has GPT-2's tokenizer in the files that it first had, and not in the one of today."""
    if files.exists(place / "tokenizer.json") or not files.exists(place / "merges.txt"):
        return False
    return _settings(place / "tokenizer_config.json", files).get("tokenizer_class") in _GPT2


def _read(place: Path, name: str, settings: Mapping[str, Any], files: Files) -> Tokenizer:
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    data = files.head(place / name, LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError("it is too large")
    if name == "tokenizer.json":
        tokenizer = Tokenizer.from_buffer(data)
    else:
        lines = files.head(place / "merges.txt", LARGEST).decode().splitlines()
        merges = [line.split() for line in lines if line.strip() and not line.startswith("#version")]
        pairs = [(first, second) for first, second in merges]
        tokenizer = Tokenizer(models.BPE(vocab=json.loads(data), merges=pairs))
        prefix = settings.get("add_prefix_space") is True
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    held = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    more = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or []
    asked = [settings.get(key) for key in NAMED] + (more if isinstance(more, list) else [])
    missing = {text: one for one in asked if (text := _text(one)) is not None and text not in held}
    for text, one in missing.items():
        flags = {key: bool(one.get(key)) for key in _FLAGS} if isinstance(one, dict) else {}
        tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False, **flags)])
    return tokenizer


def _adds(tokenizer: Tokenizer, settings: Mapping[str, Any]) -> bool:
    """Whether the settings list tokens that the tokenizer has not, or has otherwise."""
    listed = settings.get("added_tokens_decoder")
    held = {token.content: token for token in tokenizer.get_added_tokens_decoder().values()}
    if not isinstance(listed, dict):
        return False
    for one in listed.values():
        token = held.get(_text(one) or "")
        if token is None or any(bool(one.get(flag)) != getattr(token, flag) for flag in _FLAGS):
            return True
    return False


def _sizes(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    return [len(found.ids) for found in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def _reads_on(tokenizer: Tokenizer) -> bool:
    whole, line, word = (tokenizer.encode(text, add_special_tokens=False).ids for text in ("\na", "\n", "a"))
    return whole != line + word


def _bos(tokenizer: Tokenizer, settings: Mapping[str, Any], bos: str | None) -> str:
    """The token that stands before each text although no template writes it; "" for none."""
    if bos is None:
        return ""
    if settings.keys() & {"add_bos_token", "add_eos_token"} or tokenizer.post_processor is None:
        return bos if settings.get("add_bos_token") else ""
    return bos if tokenizer.encode("a").ids[:1] == [tokenizer.token_to_id(bos)] else ""


def _ends(place: Path, tokenizer: Tokenizer, files: Files) -> tuple[str, ...]:
    """The tokens at which the model of a folder ends a completion."""
    ids = _settings(place / "generation_config.json", files).get("eos_token_id")
    found = [tokenizer.id_to_token(n) for n in (ids if isinstance(ids, list) else [ids]) if type(n) is int]
    return tuple(token for token in found if token is not None)


def _template(place: Path, settings: Mapping[str, Any], files: Files) -> str | None:
    """The chat template in a folder: a file of its own, or a field; of several the default one."""
    if files.exists(place / "chat_template.jinja"):
        return template_in(place / "chat_template.jinja", files)
    found = settings.get("chat_template")
    if isinstance(found, list):
        found = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
    found = found.get("default") if isinstance(found, dict) else found
    return found if isinstance(found, str) else None


def template_in(path: Path, files: Files) -> str | None:
    """The chat template in a file; None where it cannot be read."""
    try:
        return files.head(path, LARGEST_SETTINGS).decode()
    except (OSError, ValueError):
        return None


def _settings(path: Path, files: Files) -> dict[str, Any]:
    """The object in a JSON file; an empty one where there is none."""
    try:
        read: Any = json.loads(files.head(path, LARGEST_SETTINGS))
    except (OSError, ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _text(token: Any) -> str | None:
    """A token of the settings: its text, or a record with that."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None

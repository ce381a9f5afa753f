"""Which language a text is in: py3langid, whose model comes with it and gives equal texts equal answers.

No torch here. It must be there before it is asked: see `demanded`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.rules.instructions.kind import UnfitRowError

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

SURE = 0.5
"""Probability from which a text is in the likeliest language, whatever else was expected."""


def demanded() -> None:
    """Raises RunFailed where the library is not installed."""
    try:
        import py3langid  # noqa: F401 - whether it is there
    except ImportError as fault:
        raise RunFailed(
            "`instructions` needs py3langid: install `harmony-dsl[graders]`", exit_code=2
        ) from fault


def is_in(text: str, language: str) -> bool:
    """Whether a language, by its code of ISO 639-1, is the likeliest one.

    Raises:
        UnfitRowError: it is not among those that are told apart.
    """
    code = language.lower().partition("-")[0]
    if code not in _identifier().labels:
        raise UnfitRowError(f"asks for the language `{language}`, which is not known")
    return _likeliest(text)[0] == code


def likely_in(text: str, language: str) -> bool:
    """Whether it may be this language: the likeliest one, or none is likely, as in a text of few words."""
    found, probability = _likeliest(text)
    return found == language or probability < SURE


def _likeliest(text: str) -> tuple[str, float]:
    found: tuple[str, float] = _identifier().classify(text.lower())
    return found


@cache
def _identifier() -> LanguageIdentifier:
    """Of the languages that have a code of ISO 639-1: dialects are not told apart from their language."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([code for code in identifier.labels if len(code) == 2])
    return identifier

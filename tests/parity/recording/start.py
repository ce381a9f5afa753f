"""The models that the other recordings start from."""

from __future__ import annotations

from recording.models import critic, language_model, moved, weights
from recording.store import Store
from transformers import PreTrainedModel

REFERENCE_FAR, DRAWING_FAR = 0.02, 0.03


def record() -> None:
    store = Store("start")
    store.facts["config"] = language_model().config.to_diff_dict()
    for name, model in {
        "policy": language_model(),
        "reference": reference(),
        "critic": critic(),
    }.items():
        store.tensors |= weights(model, f"{name}/")
    store.write()


def reference() -> PreTrainedModel:
    """A reference that is not the policy, so that no distance is 0."""
    return moved(language_model(), 3, REFERENCE_FAR)


def drawing() -> PreTrainedModel:
    """The policy that is taken to have drawn the completions: far enough for ratios that are clipped.

    Advantages of a group add up to 0. With this seed no loss is so small a difference of its terms that only
    their rounding would be compared.
    """
    return moved(language_model(), 48, DRAWING_FAR)

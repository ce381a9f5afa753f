"""What a recipe says of chat templates, in whole runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from runtime_support import Told, Train, tiny, training
from test_chat import THREAD
from test_chat_masks import ASKED, BARE
from transformers import AutoTokenizer

from harmony_runtime.failures import RunFailed

OTHERWISE = BARE.replace(ASKED, "{% if add_generation_prompt %}<assistant>!{% endif %}")


@pytest.fixture
def jinja(tmp_path: Path) -> Callable[[str], str]:
    def write(template: str) -> str:
        path = tmp_path / "own.jinja"
        path.write_text(template, encoding="utf-8")
        return str(path)

    return write


def test_values_of_the_recipe_stay_with_a_saved_model(train: Train, jinja: Callable[[str], str]) -> None:
    values = {"sign": "~"}
    model = tiny(chat_template=jinja("{{ sign }}" + BARE), template_args=values)
    saved = train(training(model, steps=1), "a").saved["small"].path
    tokenizer = AutoTokenizer.from_pretrained(saved)
    asked = {"tokenize": False, "add_generation_prompt": True}
    text = tokenizer.apply_chat_template(THREAD[:2], **asked)
    assert text == "~<system>add<eos><user>1+1<eos><assistant>"
    assert tokenizer.apply_chat_template(THREAD[:2], sign="-", **asked) == "-" + text[1:]


def test_values_that_a_template_cannot_use(
    refused: Callable[..., RunFailed], jinja: Callable[[str], str]
) -> None:
    model = tiny(chat_template=jinja("{{ sign + 1 }}" + BARE), template_args={"sign": "~"})
    fault = refused(training(model))
    assert "small.recipe:1: `base`: the chat template refuses a thread: can only concatenate" in fault.message


def test_a_prompt_that_is_not_what_is_trained_on(
    train: Train, refused: Callable[..., RunFailed], jinja: Callable[[str], str]
) -> None:
    path = jinja(OTHERWISE)
    fault = refused(training(tiny(chat_template=path)))
    assert '`generation_prompt = "as_trained"` begins completions by the words trained on' in fault.message
    told = Told()
    train(training(tiny(chat_template=path, generation_prompt="as_trained"), steps=1), "a", watcher=told)
    assert any("who loads a saved model elsewhere should do so too" in text for text in told.texts)


def test_todays_date_is_said(train: Train, jinja: Callable[[str], str]) -> None:
    told = Told()
    model = tiny(chat_template=jinja("{{ strftime_now('%d') }}" + BARE))
    train(training(model, steps=1), "a", watcher=told)
    assert any("writes today's date into threads" in text for text in told.texts)

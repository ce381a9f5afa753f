"""Reading: how a model of a recipe reads rows, its tokenizer and its chat template."""

from __future__ import annotations

from pathlib import Path

from harmony_compiler.data.heads import as_written
from harmony_compiler.files import Files
from harmony_compiler.graph.models import LocalModel, ScratchModel
from harmony_compiler.lineage import origin, setting
from harmony_compiler.plan import chats
from harmony_compiler.plan.tokenizers import Counter, characters, of_folder, template_in
from harmony_compiler.store.adapters import CONFIG
from harmony_compiler.typed import UNKNOWN_DATA, Made
from harmony_compiler.whole.room import counts_characters


def counter_of(model: Made, files: Files) -> Counter | None:
    """What counts the tokens of a model; None where nothing at hand does."""
    source = origin(model)
    if source is None:
        return None
    field = "tokenizer" if issubclass(source.cls, ScratchModel) else "path"
    if not issubclass(source.cls, ScratchModel | LocalModel) or not isinstance(source.values[field], str):
        return None
    if source.values[field] == "chars" and field == "tokenizer":
        return characters()
    folder = source.values[field]
    if files.exists(Path(folder) / CONFIG):  # an adapter, whose base is elsewhere
        return None
    return of_folder(folder, as_written(source.given[field]), files)


def chat_of(model: Made, counter: Counter, files: Files) -> chats.Chat | None:
    """How a model's turns become text; None where nobody can say, or a run would refuse it."""
    source = origin(model)
    fields = ("chat_template", "template_args", "end_token", "generation_prompt")
    template, args, end, asks = (setting(model, field) for field in fields)
    if source is None or UNKNOWN_DATA in (template, args, end, asks):
        return None
    names = counter.names | ({"eos_token": end} if end is not None else {})
    if "eos_token" not in names:
        return None
    scratch = issubclass(source.cls, ScratchModel)
    ends = (names["eos_token"], *(counter.ends if end is None and not scratch else ()))
    seen = names | (args or {})
    render: chats.Render | None
    exact = True
    if template is None and counts_characters(model):
        render = chats.characters(seen)
    elif template == "plain" or (template is None and counter.template is None and scratch):
        render = chats.plain(seen, counter.bos)
    else:
        text = counter.template if template is None else template_in(Path(template), files)
        render = None if text is None else chats.jinja(text, seen)
        exact = text is not None and "strftime_now" not in text
    return None if render is None else chats.Chat(render, ends, as_trained=asks == "as_trained", exact=exact)

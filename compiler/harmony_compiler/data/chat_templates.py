"""Chat templates: Jinja files that a recipe gives to a model.

What a tokenizer brings itself only a run sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from harmony_compiler.data.heads import as_written, paths
from harmony_compiler.data.templates import in_words
from harmony_compiler.files import HEAD, Files
from harmony_compiler.findings.data import BrokenChatTemplate, UnreadableFile
from harmony_compiler.typed import Value
from harmony_grammar.diagnostics import Diagnostic, Label
from harmony_grammar.source import Source


def broken_templates(value: Value, files: Files) -> Iterator[Diagnostic]:
    """What is wrong with the file that a model's `chat_template` names."""
    for path in paths(value):
        place = Path(path.data)
        if not files.exists(place) or files.is_folder(place):
            continue  # said elsewhere
        try:
            text, fault = files.kept(place, "chat template", partial(_read, place, files))
        except (OSError, UnicodeDecodeError) as unread:
            reason = "it is not UTF-8" if isinstance(unread, UnicodeDecodeError) else str(unread.strerror)
            yield UnreadableFile(span=path.span, path=as_written(path), reason=reason)
            continue
        if fault is not None:
            line, reason = fault
            lines = text.splitlines(keepends=True)
            start = sum(map(len, lines[: line - 1]))
            written = "".join(lines[line - 1 : line])
            start += len(written) - len(written.lstrip())
            source = Source(as_written(path), text, place)
            yield BrokenChatTemplate(
                span=source.span(start, start + len(written.strip())),
                reason=reason,
                labels=(Label(path.span, "named here"),),
            )


def _read(place: Path, files: Files) -> tuple[str, tuple[int, str] | None]:
    """The text of a template; the line at fault and what is wrong with it."""
    from jinja2 import Environment, TemplateSyntaxError

    from harmony_compiler.data.generation import Generation

    text = files.head(place, HEAD).decode("utf-8-sig").replace("\r\n", "\n")
    # Working out constants takes the cube of how deeply they are nested, and nobody needs them here.
    environment = Environment(
        autoescape=True, optimized=False, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    try:
        environment.compile(text, raw=True)  # which asks for its filters, as parsing does not
    except TemplateSyntaxError as fault:
        return text, (fault.lineno, in_words(fault.message or "it makes no sense"))
    except RecursionError:
        return text, (1, "it is nested too deeply")
    return text, None

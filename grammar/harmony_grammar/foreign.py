"""What people write who come from other languages: signs, prefixes, numbers and comments."""

from __future__ import annotations

from harmony_grammar import literal_errors
from harmony_grammar import syntax_errors as errors
from harmony_grammar.diagnostics import Diagnostic, change
from harmony_grammar.lexer import STRINGS, Token
from harmony_grammar.mending import ENDS, Mend, without
from harmony_grammar.scene import Scene
from harmony_grammar.source import Source


def foreign_comment(sign: Token, source: Source) -> Diagnostic:
    """`// comment`, `/* comment */`, `-- comment`: outside of a value no operator can be meant."""
    span = source.span(sign.start, sign.end)
    opening = source.text[sign.start : sign.start + 2]
    one_line = sign.kind == "//" or opening == "--"
    whole = source.span(sign.start, sign.start + 2)
    return errors.Unexpected(
        span=whole if one_line else span,
        expected="a declaration",
        found=f"`{opening if opening in ('//', '--', '/*') else sign.text}`",
        advice="a comment begins with `#`" if opening in ("//", "--", "/*") else "",
        fixes=change("write `#`", whole, "#", safe=True) if one_line else (),
    )


def string_prefix(scene: Scene) -> Mend | None:
    """`f"…"` and its like: a word that touches the string behind it."""
    before, token = scene.before, scene.token
    if before is None or before.kind != "NAME" or before.end != token.start:
        return None
    if token.kind not in STRINGS or before.text.lower() not in ("f", "b", "u", "r", "rb", "br", "rf", "fr"):
        return None
    index = scene.index - 1
    finding = literal_errors.StringPrefix.at(scene.span(before))
    return Mend(finding, [*scene.tokens[:index], *scene.tokens[index + 1 :]])


def operator_elsewhere(scene: Scene) -> Mend | None:
    """A sign of another language, which here is two signs that touch."""
    first = scene.before
    for before, token in ((first, scene.token), (scene.token, scene.after)):
        if before is None or before.end != token.start:
            continue
        sign = before.text + token.text
        if sign in errors.OPERATORS_ELSEWHERE:
            return without(scene, errors.UnknownOperator.of(scene.span(before).to(scene.span(token))))
    return None


def detached_unit(scene: Scene) -> Mend | None:
    """`5 min`."""
    before, token = scene.before, scene.token
    if before is None or before.kind != "NUMBER" or token.kind != "NAME" or token.indent >= 0:
        return None
    if scene.after.kind not in ENDS or not literal_errors.likely_unit(token.text):
        return None
    finding = literal_errors.DetachedUnit.between(scene.span(before), scene.span(token))
    return without(scene, finding)


def malformed_number(scene: Scene) -> Mend | None:
    """`5.` and, where no list is, `1,000`."""
    before, token = scene.before, scene.token
    if before is None or not scene.index:
        return None
    number = scene.tokens[scene.index - 2] if scene.index > 1 else before
    if before.kind == "." and number.kind == "NUMBER" and number.end == before.start:
        whole = scene.span(number).to(scene.span(before))
        return without(scene, literal_errors.MalformedNumber.at(whole))
    if token.kind == "," and before.kind == "NUMBER":
        number, comma, group = before, token, scene.after
    else:
        comma, group = before, token
    touching = number.end == comma.start and comma.end == group.start
    if comma.kind == "," and group.kind == "NUMBER" and number.kind == "NUMBER" and touching:
        groups = _groups(scene, number)
        if groups and all(len(part.text) == 3 for part in groups):
            whole = scene.span(number).to(scene.span(groups[-1]))
            return without(scene, literal_errors.MalformedNumber.at(whole))
    return None


def _groups(scene: Scene, number: Token) -> list[Token]:
    """The numbers that follow `number`, each behind a comma that touches both."""
    index = next(at for at, token in enumerate(scene.tokens) if token is number)
    found: list[Token] = []
    while True:
        before, comma, group = (scene.at(index + step) for step in (0, 1, 2))
        touching = before.end == comma.start and comma.end == group.start
        if comma.kind != "," or group.kind != "NUMBER" or not touching:
            return found
        found.append(group)
        index += 2

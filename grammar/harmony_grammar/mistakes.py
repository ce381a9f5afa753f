"""A fault of the automaton to a finding in people's words, and to tokens that can be read on.

Each recogniser looks at the place of a fault and knows one mistake; the first that knows its own wins. What
none knows is said in general words, and the smallest part around it is replaced by a BROKEN token.
"""

from __future__ import annotations

from collections.abc import Callable

from harmony_grammar import syntax_errors as errors
from harmony_grammar._tables import RESERVED
from harmony_grammar.automaton import END, MAX_DEPTH, Fault
from harmony_grammar.diagnostics import Diagnostic
from harmony_grammar.lexer import (
    DECLARATION_WORDS,
    OPERATORS,
    STRINGS,
    WORDS,
    Token,
    begins_declaration,
)
from harmony_grammar.records import Record
from harmony_grammar.regions import regions, skeleton
from harmony_grammar.scene import Scene
from harmony_grammar.source import Source

FORMS = {
    "recipe": "recipe NAME { … }",
    "import": 'import "path.recipe" as NAME { … }',
    "input": "input NAME: TYPE = default where condition",
    "save": "save MODEL as KEY { … }",
}

_ENDS = frozenset((END, "NEWLINE", ",", ")", "]", "}"))
_JOINTS = frozenset(("and", "or", "in", "then", "else", "where", "as"))
_BEGINS_VALUE = frozenset(("NAME", "NUMBER", *STRINGS, "true", "false", "none", "not", "if", "BROKEN"))


class Mend(Record):
    """How to go on: the finding if there is something to say, the tokens to read now, those to read next.

    Without `tokens` the declaration is lost.
    """

    finding: Diagnostic | None
    tokens: list[Token] | None
    rest: list[Token] | None = None


# --- the beginning of a declaration ---------------------------------------------------------------------


def begin_declaration(tokens: list[Token], source: Source) -> Mend:
    """The tokens with the first one turned into the kind of its declaration word."""
    first = tokens[0]
    second, third = (tokens[i] if i < len(tokens) else Token(END, "", first.end, first.end) for i in (1, 2))
    span = source.span(first.start, first.end)
    if first.kind == "NAME" and first.text in DECLARATION_WORDS:
        return Mend(None, _begun(first.text, tokens))
    if first.kind == "BROKEN":
        return Mend(None, None)
    if first.kind == "NAME" and second.kind in ("NAME", *STRINGS, *RESERVED):
        from difflib import get_close_matches

        close = get_close_matches(first.text, DECLARATION_WORDS, n=1)
        finding = errors.UnknownDeclaration(
            span=span,
            word=first.text,
            known=_either([f"`{word}`" for word in DECLARATION_WORDS], "and"),
            suggestion=close[0] if close else "",
        )
        word = close[0] if close else _likely_word(second, third)
        return Mend(finding, _begun(word, tokens) if word else None)
    if first.kind in WORDS or first.kind in STRINGS:
        word = {"=": "let", ":": "input", "as": "import"}.get(second.kind, "")
        if word and (first.kind == "NAME") == (word != "import"):
            place = Token(word, word, first.start, first.start)
            return Mend(errors.OutsideOfBlock.of(span, word), _begun(word, [place, *tokens]))
        if first.kind == "NAME" and second.kind == "{":
            return Mend(errors.OutsideOfBlock.of(span, "let"), None)
    return Mend(errors.Unexpected(span=span, expected="a declaration", found=_found(first)), None)


def _begun(word: str, tokens: list[Token]) -> list[Token]:
    return [tokens[0]._replace(kind=DECLARATION_WORDS[word], text=word), *tokens[1:]]


def _likely_word(second: Token, third: Token) -> str:
    """What a declaration with an unknown first word is likely to be."""
    if second.kind in STRINGS:
        return "import"
    return {"=": "let", ":": "input", "as": "save", "{": "recipe"}.get(third.kind, "")


# --- mistakes with a message of their own ---------------------------------------------------------------


def explain(tokens: list[Token], fault: Fault, source: Source) -> Mend:
    scene = Scene(tokens, fault, source)
    if scene.token.kind == "BROKEN":
        return _without(scene, None)
    if fault.too_deep:
        return _without(scene, errors.TooDeep(span=scene.blamed, limit=MAX_DEPTH))
    for recognise in _MISTAKES:
        mend = recognise(scene)
        if mend:
            return mend
    return _without(scene, _general(scene))


def _template_quote(scene: Scene) -> Mend | None:
    """A string that ends inside `{{ }}`, with something behind it that does not belong there."""
    for token in reversed(scene.tokens[: scene.index]):
        if token.kind == "STRING" and token.text.rfind("{{") > token.text.rfind("}}"):
            return _without(scene, errors.QuoteInTemplate(span=scene.span(token)))
        if token.indent >= 0:
            break
    return None


def _branches(scene: Scene) -> Mend | None:
    kind = scene.token.kind
    if "false" in scene.expected:
        return None  # any word could be a key here
    for word in ("then", "else"):
        if word in scene.expected and (kind in _ENDS or kind == "else" or word not in _item_words(scene)):
            return _without(scene, errors.IfWithoutBranch(span=scene.blamed, word=word))
    if kind in ("then", "else"):
        return _without(scene, errors.ThenWithoutIf.at(scene.span(scene.token)))
    return None


def _item_words(scene: Scene) -> set[str]:
    _, stop = next(regions(scene.tokens, scene.index), (0, len(scene.tokens)))
    return {token.kind for token in scene.tokens[scene.index : stop]}


def _two_declarations(scene: Scene) -> Mend | None:
    if (
        scene.index < 2
        or scene.brackets
        or not begins_declaration(scene.tokens[scene.index : scene.index + 2])
    ):
        return None
    finding = errors.DeclarationsOnOneLine.at(scene.span(scene.token))
    return Mend(finding, scene.tokens[: scene.index], scene.tokens[scene.index :])


def _missing_name(scene: Scene) -> Mend | None:
    word = scene.tokens[0].text if scene.tokens else ""
    if scene.index != 1 or scene.token.kind not in ("=", ":", "{", END) or "NAME" not in scene.expected:
        return None
    if scene.wants_value:
        return None
    finding = errors.MissingName(
        span=scene.span(scene.tokens[0]), word=word, form=FORMS.get(word, f"{word} NAME = value")
    )
    # A recipe without a name still has its fields.
    return Mend(finding, scene.insert("NAME") if word == "recipe" and scene.token.kind == "{" else None)


def _reserved_word(scene: Scene) -> Mend | None:
    before = scene.before
    if scene.token.kind not in RESERVED or "NAME" not in scene.expected or before is None:
        return None
    named = not scene.wants_value
    used = scene.after.kind in _ENDS and before.kind in ("=", "(", "[", ",")
    if named or used:
        return Mend(errors.ReservedWord.at(scene.span(scene.token)), scene.replace("NAME"))
    return None


def _missing_value(scene: Scene) -> Mend | None:
    before = scene.before
    if before is None or "NAME" not in scene.expected or "BROKEN" not in scene.expected:
        return None
    if scene.token.kind not in _ENDS | _JOINTS and scene.token.indent < 0:
        return None
    kind = "value" if scene.wants_value else "type"
    if before.kind in ("=", ":"):
        subject, lacks = scene.tokens[scene.index - 2].text, kind
    elif before.kind in OPERATORS or before.kind in RESERVED:
        subject, lacks = before.text, f"{kind} behind it"
    else:
        return None
    finding = errors.MissingValue.of(scene.behind(before), f"`{subject}`", lacks, f"a {kind}")
    return Mend(finding, scene.insert("BROKEN"))


def _bare_if(scene: Scene) -> Mend | None:
    before = scene.before
    if (
        scene.token.kind != "if"
        or before is None
        or before.kind not in OPERATORS | {"and", "or", "not", "in"}
    ):
        return None
    return _without(scene, errors.BareIf(span=scene.span(scene.token), operator=before.text))


def _colon(scene: Scene) -> Mend | None:
    if scene.token.kind != ":" or "=" not in scene.expected:
        return None
    return Mend(errors.ColonForEquals.at(scene.span(scene.token)), scene.replace("="))


def _comparison(scene: Scene) -> Mend | None:
    if scene.token.kind != "=" or "==" not in scene.expected:
        return None
    return Mend(errors.EqualsForComparison.at(scene.span(scene.token)), scene.replace("=="))


def _missing_comma(scene: Scene) -> Mend | None:
    before, token = scene.before, scene.token
    if before is None or "," not in scene.expected or not scene.bracket:
        return None
    if scene.bracket == "{":
        is_next = (token.kind in WORDS or token.kind in STRINGS) and scene.after.kind in ("=", "{")
    else:
        is_next = token.kind in _BEGINS_VALUE
    if not is_next:
        return None
    place = scene.behind(before)
    span = place if token.indent >= 0 else scene.span(token)
    return Mend(errors.MissingComma.before(span, place), scene.insert(","))


def _missing_equals(scene: Scene) -> Mend | None:
    before, token = scene.before, scene.token
    if before is None or "=" not in scene.expected:
        return None
    if token.kind in _ENDS and (scene.bracket == "{" or not scene.brackets):
        lost = errors.MissingValue.of(scene.behind(before), f"`{before.text}`", "value", "`=` and a value")
        return Mend(lost, scene.insert("=", "BROKEN"))
    if token.kind not in _BEGINS_VALUE | {"[", "{", "-"}:
        return None
    finding = errors.MissingEquals.between(scene.span(before), scene.span(token))
    return Mend(finding, scene.insert("="))


_MISTAKES: tuple[Callable[[Scene], Mend | None], ...] = (
    _template_quote,
    _two_declarations,
    _branches,
    _missing_name,
    _bare_if,
    _reserved_word,
    _missing_value,
    _colon,
    _comparison,
    _missing_comma,
    _missing_equals,
)

# --- everything else ------------------------------------------------------------------------------------


def _general(scene: Scene) -> Diagnostic:
    word = scene.tokens[0].text if scene.tokens else ""
    in_head = not scene.brackets and word in FORMS
    return errors.Unexpected(
        span=scene.blamed,
        expected=_people(scene.expected),
        found=_found(scene.token, breaks_off=scene.at_line_end),
        form=FORMS[word] if in_head else "",
        advice=_ADVICE.get(scene.token.text, ""),
    )


_ADVICE = {
    "|": "for a choice between conditions write `or`",
    "is": "to compare write `==`",
    "==": "a value is given with `=`",
    "elif": "write `else (if … then … else …)`",
}


def _people(kinds: frozenset[str]) -> str:
    """Kinds of tokens in words."""
    if "NUMBER" in kinds:
        return "a value"
    words: list[str] = []
    if "then" in kinds and "BROKEN" in kinds:
        words.append("a field")
    elif "then" in kinds and "NAME" in kinds:
        words.append("a name")
    elif "none" in kinds:
        words.append("a type")
    else:
        words += [name for kind, name in (("NAME", "a name"), ("STRING", "a string")) if kind in kinds]
    signs = ["=", ":", ",", ")", "]", "}", "|"]
    signs += ["as", "where", "then", "else"] if "NAME" not in kinds else []
    words += [f"`{sign}`" for sign in signs if sign in kinds]
    if "NEWLINE" in kinds and "," in kinds:
        words.append("a new line")
    if END in kinds and not words:
        words.append("the end of the declaration")
    return _either(words or ["something else"], "or")


def _either(words: list[str], last: str) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _found(token: Token, *, breaks_off: bool = False) -> str:
    if breaks_off or not token.text:
        return "the end of the line"
    shown = (
        token.text
        if len(token.text) <= 30 and "\n" not in token.text
        else token.text[:27].split("\n")[0] + "…"
    )
    return f"`{shown}`"


def _without(scene: Scene, finding: Diagnostic | None) -> Mend:
    """Replace the smallest part that holds the fault by one BROKEN token."""
    tokens = scene.tokens
    if not tokens:
        return Mend(finding, None)
    for start, stop in regions(tokens, scene.index):
        inside = tokens[start:stop]
        if [token.kind for token in inside] == ["BROKEN"]:
            continue
        first = inside[0].start if inside else tokens[start - 1].end
        last = inside[-1].end if inside else first
        return Mend(finding, [*tokens[:start], Token("BROKEN", "", first, last), *tokens[stop:]])
    return Mend(finding, skeleton(tokens))
